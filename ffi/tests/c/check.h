/* What every C test has: a check that ends the process, and a call that must leave errno alone. */
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <polyphony.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SENTINEL = 4711, MILLI = 1000000 };

#define CHECK(condition)                                                                              \
    do {                                                                                              \
        if (!(condition)) {                                                                           \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                   \
            abort();                                                                                  \
        }                                                                                             \
    } while (0)

/* Calls with errno set to a sentinel, and checks that it is still there and the result as expected. */
#define GIVES(expected, call)                                                                         \
    do {                                                                                              \
        long long expected_ = (long long)(expected), given_;                                          \
        errno = SENTINEL;                                                                             \
        given_ = (long long)(call);                                                                   \
        if (errno != SENTINEL || given_ != expected_) {                                               \
            fprintf(stderr, "%s:%d: %s gives %lld (%s), errno %d; expected %lld\n", __FILE__, __LINE__, \
                    #call, given_, poly_strerror((int)given_), errno, expected_);                     \
            abort();                                                                                  \
        }                                                                                             \
    } while (0)

/* For what gives no number: evaluates an expression, which must be true and leave errno alone. */
#define QUIETLY(expression)                                                                           \
    do {                                                                                              \
        errno = SENTINEL;                                                                             \
        CHECK((expression) && errno == SENTINEL);                                                     \
    } while (0)

#define UNUSED(name) ((void)(name))

static poly_runtime *runtime;

/* Ends a process that hangs after so many seconds, or so many times as many where TEST_SLOWNESS says so. */
static inline void hangs_after(unsigned seconds)
{
    const char *slowness = getenv("TEST_SLOWNESS");
    alarm(seconds * (slowness == NULL ? 1 : (unsigned)atoi(slowness)));
}

/* Runs a test's fiber to its end in a fresh runtime of one worker, where fibers take turns as they come; nothing
 * may be left behind. */
static inline void in_a_fiber(poly_entry entry)
{
    poly_runtime_options options = POLY_RUNTIME_OPTIONS_INIT;
    poly_counters counters = POLY_COUNTERS_INIT;
    int64_t result = -1;
    hangs_after(60);
    options.workers = 1;
    GIVES(0, poly_runtime_new(&options, &runtime));
    GIVES(0, poly_runtime_run(runtime, entry, NULL, &result));
    CHECK(result == 0);
    GIVES(0, poly_stats(runtime, &counters));
    CHECK(counters.in_flight == 0 && counters.timers == 0 && counters.fibers == 0);
    GIVES(0, poly_runtime_free(runtime));
}

/* A random number below `below`, the same in every run. */
static inline uint64_t random_below(uint64_t below)
{
    static uint64_t seed = 0x9e3779b97f4a7c15u;
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % below;
}

/* Starts a fiber, and lets it run for so many turns. */
static inline poly_fiber begun(poly_entry entry, uint64_t turns)
{
    poly_fiber fiber;
    GIVES(0, poly_spawn(NULL, entry, NULL, &fiber));
    while (turns-- > 0)
        GIVES(0, poly_yield());
    return fiber;
}

#endif
