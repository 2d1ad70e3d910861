/* Sequences of calls that nobody would write: fuzz PROGRAMS SEED.
 *
 * Options are filled with what a seed says, and are answered by a runtime or by one of the errors of the header. Then
 * programs of random calls run in fibers of that runtime: channels, scopes, shields, locks, joins and cancellations
 * in any order, on objects that may be closed, full, somebody else's or not open. A call may answer whatever the
 * header says that it may, and nothing else; all that a program has begun ends with it. */
#include "check.h"

enum { FIBERS = 6, CALLS = 60, CHANNELS = 3, SCOPES = 3, LOCKS = 2 };

struct dice {
    uint64_t seed;
};

struct player {
    struct dice dice;
    size_t number;
};

static poly_channel *channels[CHANNELS];
static poly_mutex mutexes[LOCKS];
static poly_semaphore permits;
static poly_event event;
static poly_fiber fibers[FIBERS];
static uint64_t calls, made, refused;

static uint64_t roll(struct dice *dice, uint64_t below)
{
    dice->seed ^= dice->seed << 13;
    dice->seed ^= dice->seed >> 7;
    dice->seed ^= dice->seed << 17;
    return dice->seed % below;
}

/* Whether an answer is 0 or more, or one of the errors of a list that ends with 0. */
static void among(const char *call, int64_t answer, const int *errors)
{
    calls++;
    if (answer >= 0)
        return;
    for (; *errors != 0; errors++)
        if (answer == -*errors)
            return;
    fprintf(stderr, "%s answers %lld (%s)\n", call, (long long)answer, poly_strerror((int)answer));
    abort();
}

#define MAY(call, ...)                                                                                \
    do {                                                                                              \
        static const int errors_[] = { __VA_ARGS__, 0 };                                              \
        among(#call, (call), errors_);                                                                \
    } while (0)

/* A deadline that has passed, that passes soon, that is far, or that never comes. */
static uint64_t some_deadline(struct dice *dice)
{
    switch (roll(dice, 4)) {
    case 0: return roll(dice, 2);
    case 1: return poly_now() + roll(dice, 200000);
    case 2: return poly_now() + (uint64_t)3600 * 1000 * MILLI;
    default: return POLY_FOREVER;
    }
}

static void use_a_channel(struct dice *dice)
{
    poly_channel *channel = channels[roll(dice, CHANNELS)];
    void *item = NULL;
    switch (roll(dice, 6)) {
    case 0: MAY(poly_channel_send(channel, item), EPIPE, ECANCELED, ETIMEDOUT); break;
    case 1: MAY(poly_channel_recv(channel, &item), EPIPE, ECANCELED, ETIMEDOUT); break;
    case 2: MAY(poly_channel_try_send(channel, item), EPIPE, EAGAIN); break;
    case 3: MAY(poly_channel_try_recv(channel, &item), EPIPE, EAGAIN); break;
    case 4: MAY(poly_channel_length(channel), EINVAL); break;
    default:
        if (roll(dice, 10) == 0)
            MAY(poly_channel_close(channel), EALREADY);
    }
}

static void use_a_lock(struct dice *dice)
{
    poly_mutex *mutex = &mutexes[roll(dice, LOCKS)];
    switch (roll(dice, 8)) {
    case 0: MAY(poly_mutex_lock(mutex), EDEADLK, ECANCELED, ETIMEDOUT); break;
    case 1: MAY(poly_mutex_try_lock(mutex), EBUSY, EDEADLK); break;
    case 2:
    case 3: MAY(poly_mutex_unlock(mutex), EPERM); break;
    case 4: MAY(poly_semaphore_acquire(&permits, roll(dice, 3)), ECANCELED, ETIMEDOUT); break;
    case 5: MAY(poly_semaphore_release(&permits, roll(dice, 3)), EOVERFLOW); break;
    case 6: MAY(poly_event_wait(&event), ECANCELED, ETIMEDOUT); break;
    default: MAY(roll(dice, 2) ? poly_event_set(&event) : poly_event_reset(&event), EINVAL); break;
    }
}

static void use_a_fiber(struct dice *dice, size_t mine)
{
    size_t other = roll(dice, FIBERS);
    poly_fiber nobody;
    nobody.id = roll(dice, UINT64_MAX);
    switch (roll(dice, 5)) {
    case 0: MAY(poly_cancel(fibers[other]), ESRCH); break;
    case 1: MAY(poly_join(nobody, NULL), ESRCH, ECANCELED, ETIMEDOUT); break;
    case 2: MAY(poly_join(fibers[mine], NULL), EDEADLK, EBUSY, ECANCELED, ETIMEDOUT); break;
    case 3: MAY(poly_yield(), ECANCELED, ETIMEDOUT); break;
    default: MAY(poly_sleep(roll(dice, 100000)), ECANCELED, ETIMEDOUT); break;
    }
}

/* Opens and closes scopes in order and out of order, which closes those within; how many are open is the answer. */
static size_t use_a_scope(struct dice *dice, poly_scope *scopes, size_t open)
{
    switch (roll(dice, 4)) {
    case 0:
    case 1:
        if (open == SCOPES)
            return open;
        GIVES(0, poly_scope_open(&scopes[open], some_deadline(dice)));
        return open + 1;
    case 2: {
        size_t which = roll(dice, SCOPES);
        if (which >= open) {
            GIVES(-EINVAL, poly_scope_close(&scopes[which]));
            return open;
        }
        if (which < open - 1) {
            GIVES(-ENOTEMPTY, poly_scope_close(&scopes[which]));
        } else {
            MAY(poly_scope_close(&scopes[which]), ETIMEDOUT);
        }
        return which;
    }
    default: MAY(poly_check(), ECANCELED, ETIMEDOUT); return open;
    }
}

static int64_t play(void *argument)
{
    struct player *player = (struct player *)argument;
    struct dice *dice = &player->dice;
    poly_scope scopes[SCOPES] = { { { 0 } } };
    size_t open = 0, call, lock;
    for (call = 0; call < CALLS; call++) {
        switch (roll(dice, 10)) {
        case 0:
        case 1: open = use_a_scope(dice, scopes, open); break;
        case 2: use_a_fiber(dice, player->number); break;
        case 3:
        case 4: use_a_lock(dice); break;
        case 5:
            /* Behind a shield a call may wait for ever, so nothing is called that waits for somebody. */
            GIVES(0, poly_shield_raise());
            MAY(poly_yield(), EINVAL);
            GIVES(0, poly_shield_lower());
            break;
        case 6: GIVES(-EINVAL, poly_shield_lower()); break;
        default: use_a_channel(dice); break;
        }
    }
    for (lock = 0; lock < LOCKS; lock++)
        MAY(poly_mutex_unlock(&mutexes[lock]), EPERM);
    while (open > 0)
        MAY(poly_scope_close(&scopes[--open]), ETIMEDOUT);
    return 0;
}

/* Fills a struct of options with what is likely, with what is at a border, and with anything. */
static void fill(struct dice *dice, poly_runtime_options *options)
{
    static const uint32_t likely[] = { 0, 0, 0, 1, 2, 3, 64, 65, 4096, 32768, 32769, 65537, UINT32_MAX };
    enum { LIKELY = sizeof likely / sizeof *likely };
    memset(options, 0, sizeof *options);
    options->size = roll(dice, 8) ? sizeof *options : (size_t)roll(dice, roll(dice, 2) ? 100 : UINT64_MAX);
    options->backend = likely[roll(dice, 6)];
    options->workers = roll(dice, 4) ? 1 + (uint32_t)roll(dice, 3) : likely[roll(dice, LIKELY)];
    options->stack_size = roll(dice, 4) ? 0 : (size_t)roll(dice, (uint64_t)1 << (10 + roll(dice, 40)));
    options->max_fibers = roll(dice, 4) ? 0 : 100 + (size_t)roll(dice, UINT64_MAX - 100);
    options->offload_threads = likely[roll(dice, 6)];
    options->reserved = roll(dice, 8) == 0;
    options->name = roll(dice, 4) ? NULL : "a name that is too long for a thread";
    if (roll(dice, 4) == 0) {
        options->ring_entries = likely[roll(dice, LIKELY)];
        options->completion_entries = likely[roll(dice, LIKELY)];
    }
}

/* A struct that is as long as the library may read, with zeros or anything behind what it knows. */
static int make(struct dice *dice)
{
    union {
        poly_runtime_options options;
        unsigned char bytes[4096];
    } padded;
    memset(&padded, 0, sizeof padded);
    if (roll(dice, 8) == 0)
        padded.bytes[roll(dice, sizeof padded)] = 1;
    fill(dice, &padded.options);
    return poly_runtime_new(&padded.options, &runtime);
}

static int64_t play_together(void *argument)
{
    struct dice *dice = (struct dice *)argument;
    struct player players[FIBERS];
    poly_counters counters = POLY_COUNTERS_INIT;
    int ended = 0;
    size_t each;
    for (each = 0; each < FIBERS; each++) {
        players[each].dice.seed = 1 + roll(dice, UINT64_MAX - 1);
        players[each].number = each;
    }
    /* On one worker, so that what one writes of its name the others see. */
    for (each = 0; each < FIBERS; each++)
        CHECK(poly_spawn_as(NULL, POLY_SPAWN_PINNED, play, &players[each], &fibers[each]) == 0);
    /* Whoever waits for what never comes is cancelled, again and again. */
    while (!ended) {
        CHECK(poly_yield() == 0);
        CHECK(poly_sleep(MILLI / 10) == 0);
        for (each = 0; each < FIBERS; each++)
            CHECK(poly_cancel(fibers[each]) == 0);
        CHECK(poly_stats(runtime, &counters) == 0);
        ended = counters.fibers == 1;
    }
    for (each = 0; each < FIBERS; each++)
        CHECK(poly_join(fibers[each], NULL) == 0);
    return 0;
}

static void run_a_program(struct dice *dice)
{
    poly_counters counters = POLY_COUNTERS_INIT;
    int64_t result = -1;
    size_t each;
    memset(mutexes, 0, sizeof mutexes);
    memset(&permits, 0, sizeof permits);
    memset(&event, 0, sizeof event);
    for (each = 0; each < CHANNELS; each++)
        CHECK(poly_channel_new(roll(dice, 3), &channels[each]) == 0);
    CHECK(poly_runtime_run(runtime, play_together, dice, &result) == 0 && result == 0);
    CHECK(poly_stats(runtime, &counters) == 0);
    CHECK(counters.fibers == 0 && counters.in_flight == 0 && counters.timers == 0);
    for (each = 0; each < CHANNELS; each++)
        CHECK(poly_channel_free(channels[each]) == 0);
}

int main(int argc, char **argv)
{
    uint64_t programs = argc > 1 ? strtoull(argv[1], NULL, 10) : 60, program;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    static const int errors[] = { EINVAL, E2BIG, ENOMEM, EPERM, ENOSYS, EAGAIN, EMFILE, 0 };
    for (program = 0; program < programs; program++) {
        struct dice dice;
        int answer;
        alarm(60);
        dice.seed = (seed + program) * 0x9e3779b97f4a7c15u | 1;
        answer = make(&dice);
        among("poly_runtime_new", answer, errors);
        if (answer < 0) {
            refused++;
            continue;
        }
        made++;
        run_a_program(&dice);
        CHECK(poly_runtime_free(runtime) == 0);
    }
    printf("seed %llu: %llu calls in %llu programs, %llu options refused\n", (unsigned long long)seed,
           (unsigned long long)calls, (unsigned long long)made, (unsigned long long)refused);
    CHECK(made > 0 && refused > 0);
    return 0;
}
