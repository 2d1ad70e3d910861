/* Scopes with children, and what is done when a fiber ends. */
#include "check.h"

static const uint64_t HOUR = (uint64_t)3600 * 1000 * MILLI;

static int ended; /* how many children have */
static poly_scope *shared;

static int64_t sleep_long(void *argument)
{
    int error = poly_sleep(HOUR);
    UNUSED(argument);
    CHECK(poly_shield_raise() == 0 && poly_yield() == 0); /* cleaning up takes its time */
    ended++;
    return error;
}

static int64_t give(void *argument)
{
    CHECK(poly_yield() == 0);
    ended++;
    return (int64_t)(intptr_t)argument;
}

static int64_t bring_a_sibling(void *argument)
{
    UNUSED(argument);
    GIVES(0, poly_scope_spawn(shared, 0, give, NULL, NULL));
    return give(NULL);
}

static int64_t a_scope_waits_for_its_children(void *argument)
{
    poly_scope scope, inner;
    poly_fiber child;
    int64_t result = 0;
    int each;
    UNUSED(argument);
    ended = 0;
    GIVES(0, poly_scope_open(&scope, POLY_FOREVER));
    for (each = 0; each < 200; each++)
        GIVES(0, poly_scope_spawn(&scope, 0, give, NULL, NULL));
    GIVES(0, poly_scope_close(&scope));
    CHECK(ended == 200);
    GIVES(-EINVAL, poly_scope_close(&scope));
    GIVES(-EINVAL, poly_scope_spawn(&scope, 0, give, NULL, NULL));
    GIVES(-EINVAL, poly_scope_cancel(&scope));
    /* A child may be joined, and need not be; it may bring siblings. */
    ended = 0;
    shared = &scope;
    GIVES(0, poly_scope_open(&scope, POLY_FOREVER));
    GIVES(-EINVAL, poly_scope_spawn(&scope, 77, give, NULL, NULL));
    GIVES(-EINVAL, poly_scope_spawn(&scope, 0, NULL, NULL, NULL));
    GIVES(0, poly_scope_spawn(&scope, POLY_SPAWN_PINNED, give, (void *)41, &child));
    GIVES(0, poly_scope_spawn(&scope, POLY_SPAWN_MIGRATABLE, bring_a_sibling, NULL, NULL));
    GIVES(0, poly_join(child, &result));
    CHECK(result == 41);
    GIVES(0, poly_scope_spawn(&scope, 0, give, (void *)42, &child));
    /* Scopes nest. */
    GIVES(0, poly_scope_open(&inner, POLY_FOREVER));
    GIVES(0, poly_scope_spawn(&inner, 0, give, NULL, NULL));
    GIVES(0, poly_scope_spawn(&scope, 0, give, NULL, NULL));
    GIVES(0, poly_scope_close(&inner));
    GIVES(0, poly_scope_close(&scope));
    CHECK(ended == 6);
    GIVES(-ESRCH, poly_join(child, NULL));
    return 0;
}

static int64_t the_first_failure_cancels_the_others(void *argument)
{
    poly_scope scope;
    poly_fiber child;
    int64_t result = 0;
    UNUSED(argument);
    ended = 0;
    GIVES(0, poly_scope_open(&scope, POLY_FOREVER));
    GIVES(0, poly_scope_spawn(&scope, 0, sleep_long, NULL, NULL));
    GIVES(0, poly_scope_spawn(&scope, 0, sleep_long, NULL, &child));
    GIVES(0, poly_scope_spawn(&scope, 0, give, (void *)(intptr_t)-EIO, NULL));
    GIVES(0, poly_scope_spawn(&scope, 0, give, (void *)(intptr_t)-ENOENT, NULL));
    /* The owner's calls end, too, until it closes the scope. */
    GIVES(-ECANCELED, poly_sleep(HOUR));
    GIVES(-ECANCELED, poly_yield());
    GIVES(-ECANCELED, poly_check());
    GIVES(-ECANCELED, poly_scope_spawn(&scope, 0, give, NULL, NULL));
    GIVES(-EIO, poly_scope_close(&scope));
    CHECK(ended == 4);
    GIVES(0, poly_yield());
    /* A child that ends because it was told to has not failed. */
    ended = 0;
    GIVES(0, poly_scope_open(&scope, POLY_FOREVER));
    GIVES(0, poly_scope_spawn(&scope, 0, sleep_long, NULL, &child));
    GIVES(0, poly_yield());
    GIVES(0, poly_cancel(child));
    GIVES(0, poly_join(child, &result));
    CHECK(result == -ECANCELED);
    GIVES(0, poly_scope_close(&scope));
    return 0;
}

/* Joining a child is refused as any other call is: who is refused cancels the children, also the one that it joins. */
static int64_t a_child_is_not_joined_after_the_deadline(void *argument)
{
    poly_scope scope;
    poly_fiber child, joiner;
    UNUSED(argument);
    ended = 0;
    GIVES(0, poly_scope_open(&scope, 0));
    GIVES(0, poly_scope_spawn(&scope, 0, sleep_long, NULL, &child));
    GIVES(-ETIMEDOUT, poly_join(child, NULL));
    GIVES(-ETIMEDOUT, poly_scope_close(&scope));
    GIVES(0, poly_scope_open(&scope, POLY_FOREVER));
    GIVES(0, poly_scope_spawn(&scope, 0, sleep_long, NULL, &child));
    GIVES(0, poly_self(&joiner));
    GIVES(0, poly_cancel(joiner));
    GIVES(-ECANCELED, poly_join(child, NULL));
    GIVES(-ECANCELED, poly_scope_close(&scope));
    CHECK(ended == 2);
    return 0;
}

/* A child that has been told to end, and heeds that once only, starts no more fibers, wherever. */
static int64_t spawns_stubbornly(void *argument)
{
    poly_scope *scope = (poly_scope *)argument, within;
    int each;
    GIVES(-ECANCELED, poly_sleep(HOUR));
    for (each = 0; each < 3; each++) {
        GIVES(-ECANCELED, poly_scope_spawn(scope, 0, give, NULL, NULL));
        GIVES(0, poly_scope_open(&within, POLY_FOREVER));
        GIVES(-ECANCELED, poly_scope_spawn(&within, 0, give, NULL, NULL));
        GIVES(0, poly_scope_close(&within));
        GIVES(0, poly_yield());
    }
    /* Cleaning up may take several. */
    GIVES(0, poly_shield_raise());
    GIVES(0, poly_scope_open(&within, POLY_FOREVER));
    GIVES(0, poly_scope_spawn(&within, 0, give, NULL, NULL));
    GIVES(0, poly_scope_close(&within));
    return poly_shield_lower();
}

static int64_t nothing_is_spawned_in_a_cancelled_scope(void *argument)
{
    poly_scope scope, within;
    UNUSED(argument);
    ended = 0;
    GIVES(0, poly_scope_open(&scope, POLY_FOREVER));
    GIVES(0, poly_scope_spawn(&scope, 0, spawns_stubbornly, &scope, NULL));
    GIVES(0, poly_yield());
    GIVES(0, poly_scope_open(&within, POLY_FOREVER));
    GIVES(0, poly_scope_cancel(&scope));
    GIVES(-ECANCELED, poly_scope_spawn(&within, 0, give, NULL, NULL));
    GIVES(-ECANCELED, poly_scope_spawn(&within, 0, give, NULL, NULL));
    GIVES(0, poly_scope_close(&within));
    GIVES(-ECANCELED, poly_scope_close(&scope));
    CHECK(ended == 1);
    return 0;
}

static int64_t deadlines_and_cancellations_end_children(void *argument)
{
    poly_scope outer, scope, within;
    poly_fiber self;
    UNUSED(argument);
    ended = 0;
    GIVES(0, poly_self(&self));
    GIVES(0, poly_scope_open(&scope, poly_now() + MILLI));
    GIVES(0, poly_scope_spawn(&scope, 0, sleep_long, NULL, NULL));
    GIVES(-ETIMEDOUT, poly_scope_close(&scope));
    CHECK(ended == 1);
    GIVES(0, poly_scope_open(&scope, POLY_FOREVER));
    GIVES(0, poly_scope_spawn(&scope, 0, sleep_long, NULL, NULL));
    GIVES(0, poly_scope_cancel(&scope));
    GIVES(-ECANCELED, poly_yield());
    GIVES(-ECANCELED, poly_scope_close(&scope));
    CHECK(ended == 2);
    /* The owner is cancelled while it waits for them, or before. */
    GIVES(0, poly_scope_open(&scope, POLY_FOREVER));
    GIVES(0, poly_scope_spawn(&scope, 0, sleep_long, NULL, NULL));
    GIVES(0, poly_cancel(self));
    GIVES(-ECANCELED, poly_yield());
    GIVES(-ECANCELED, poly_yield());
    GIVES(-ECANCELED, poly_scope_close(&scope));
    GIVES(0, poly_yield());
    CHECK(ended == 3);
    /* An outer deadline ends the children of the scopes within. */
    GIVES(0, poly_scope_open(&outer, poly_now() + MILLI));
    GIVES(0, poly_scope_open(&scope, POLY_FOREVER));
    GIVES(0, poly_scope_open(&within, POLY_FOREVER));
    GIVES(0, poly_scope_spawn(&within, 0, sleep_long, NULL, NULL));
    GIVES(0, poly_scope_spawn(&scope, 0, sleep_long, NULL, NULL));
    GIVES(-ECANCELED, poly_scope_close(&within));
    GIVES(-ECANCELED, poly_scope_close(&scope));
    GIVES(-ETIMEDOUT, poly_yield());
    GIVES(-ETIMEDOUT, poly_scope_close(&outer));
    GIVES(0, poly_yield());
    CHECK(ended == 5);
    return 0;
}

static int64_t leave_a_scope_open(void)
{
    poly_scope scope;
    GIVES(0, poly_scope_open(&scope, POLY_FOREVER));
    GIVES(-EINVAL, poly_scope_open(&scope, POLY_FOREVER));
    GIVES(0, poly_scope_spawn(&scope, 0, sleep_long, NULL, NULL));
    return poly_yield();
}

static int64_t trample(void)
{
    volatile unsigned char frame[512];
    size_t each;
    for (each = 0; each < sizeof frame; each++)
        frame[each] = 0xff;
    return frame[7];
}

static int64_t return_with_open_scopes(void *argument)
{
    poly_scope scope;
    UNUSED(argument);
    GIVES(0, poly_scope_open(&scope, POLY_FOREVER));
    GIVES(0, leave_a_scope_open());
    CHECK(trample() == 0xff);
    GIVES(0, poly_yield());
    return 9;
}

static int64_t a_scope_that_was_left_is_closed_all_the_same(void *argument)
{
    poly_scope scope, stale;
    poly_fiber fiber;
    int64_t result = 0;
    UNUSED(argument);
    ended = 0;
    GIVES(0, poly_scope_open(&scope, POLY_FOREVER));
    GIVES(0, leave_a_scope_open());
    CHECK(trample() == 0xff);
    GIVES(0, poly_yield());
    GIVES(-ENOTEMPTY, poly_scope_close(&scope));
    CHECK(ended == 1);
    GIVES(0, poly_yield());
    memset(&stale, 0x5a, sizeof stale);
    GIVES(-EINVAL, poly_scope_close(&stale));
    GIVES(0, poly_spawn(NULL, return_with_open_scopes, NULL, &fiber));
    GIVES(0, poly_join(fiber, &result));
    CHECK(result == 9 && ended == 2);
    return 0;
}

/* Scopes of other fibers are not to be closed or joined by strangers. */
static int64_t meddle(void *argument)
{
    UNUSED(argument);
    GIVES(-EINVAL, poly_scope_close(shared));
    GIVES(-EINVAL, poly_scope_cancel(shared));
    GIVES(-EINVAL, poly_scope_spawn(shared, 0, give, NULL, NULL));
    return 0;
}

static int64_t close_the_parents(void *argument)
{
    UNUSED(argument);
    GIVES(-EINVAL, poly_scope_close(shared));
    GIVES(0, poly_scope_cancel(shared));
    return 0;
}

static int64_t a_scope_belongs_to_its_owner(void *argument)
{
    poly_scope scope;
    poly_fiber stranger;
    UNUSED(argument);
    shared = &scope;
    GIVES(0, poly_scope_open(&scope, POLY_FOREVER));
    GIVES(0, poly_spawn(NULL, meddle, NULL, &stranger));
    GIVES(0, poly_join(stranger, NULL));
    GIVES(0, poly_scope_spawn(&scope, 0, sleep_long, NULL, NULL));
    GIVES(0, poly_scope_spawn(&scope, 0, close_the_parents, NULL, NULL));
    GIVES(-ECANCELED, poly_scope_close(&scope));
    return 0;
}

static char order[16];

static void append(void *letter)
{
    order[strlen(order)] = *(const char *)letter;
}

static poly_local_key key;

static void destroy(void *value)
{
    append(value);
    GIVES(0, poly_yield());
    if (*(const char *)value == 'y')
        GIVES(0, poly_local_set(key, (void *)"z"));
}

static int64_t with_belongings(void *argument)
{
    poly_fiber self;
    char name[8];
    UNUSED(argument);
    CHECK(poly_local_get(key) == NULL);
    GIVES(0, poly_local_set(key, (void *)"y"));
    CHECK(*(const char *)poly_local_get(key) == 'y');
    GIVES(0, poly_on_exit(append, (void *)"b"));
    GIVES(0, poly_on_exit(append, (void *)"a"));
    GIVES(-EINVAL, poly_on_exit(NULL, NULL));
    GIVES(0, poly_self(&self));
    GIVES(8, poly_fiber_name(self, name, sizeof name));
    CHECK(strcmp(name, "the nam") == 0);
    return poly_sleep(HOUR);
}

static int64_t what_a_fiber_leaves_is_cleaned_up(void *argument)
{
    poly_local_key none;
    poly_fiber fiber;
    char name[POLY_NAME_ROOM];
    int64_t result = 0;
    UNUSED(argument);
    none.id = 100000;
    GIVES(0, poly_local_key_create(destroy, &key));
    GIVES(-EINVAL, poly_local_key_create(destroy, NULL));
    GIVES(-EINVAL, poly_local_set(none, NULL));
    CHECK(poly_local_get(none) == NULL);
    GIVES(0, poly_spawn(NULL, with_belongings, NULL, &fiber));
    GIVES(0, poly_fiber_name(fiber, name, sizeof name));
    GIVES(0, poly_fiber_set_name(fiber, "the name"));
    GIVES(-EINVAL, poly_fiber_set_name(fiber, NULL));
    GIVES(0, poly_yield());
    GIVES(-EINVAL, poly_fiber_name(fiber, NULL, 3));
    GIVES(8, poly_fiber_name(fiber, name, sizeof name));
    CHECK(strcmp(name, "the name") == 0);
    GIVES(0, poly_cancel(fiber));
    GIVES(0, poly_join(fiber, &result));
    CHECK(result == -ECANCELED && strcmp(order, "abyz") == 0);
    GIVES(-ESRCH, poly_fiber_set_name(fiber, "gone"));
    GIVES(-ESRCH, poly_fiber_name(fiber, name, sizeof name));
    return 0;
}

static int64_t spawn_until_refused(void *argument)
{
    poly_fiber fibers[3];
    int each;
    UNUSED(argument);
    for (each = 0; each < 3; each++)
        GIVES(0, poly_spawn(NULL, sleep_long, NULL, &fibers[each]));
    GIVES(-EAGAIN, poly_spawn(NULL, give, NULL, NULL));
    for (each = 0; each < 3; each++) {
        GIVES(0, poly_cancel(fibers[each]));
        GIVES(0, poly_join(fibers[each], NULL));
    }
    GIVES(0, poly_spawn(NULL, give, NULL, &fibers[0]));
    GIVES(0, poly_join(fibers[0], NULL));
    return 0;
}

static int64_t name_of_the_thread(void *argument)
{
    FILE *comm = fopen("/proc/thread-self/comm", "r");
    CHECK(comm != NULL && fgets((char *)argument, 32, comm) != NULL);
    fclose(comm);
    return 0;
}

static void options_are_heeded(void)
{
    poly_runtime_options options = POLY_RUNTIME_OPTIONS_INIT;
    poly_counters counters = POLY_COUNTERS_INIT;
    char name[32] = "";
    options.workers = 2;
    options.max_fibers = 4;
    options.offload_threads = 3;
    options.name = "a name that is too long";
    GIVES(0, poly_runtime_new(&options, &runtime));
    GIVES(0, poly_runtime_run(runtime, spawn_until_refused, NULL, NULL));
    GIVES(0, poly_runtime_run(runtime, name_of_the_thread, name, NULL));
    CHECK(strcmp(name, "a name that i-0\n") == 0 || strcmp(name, "a name that i-1\n") == 0);
    GIVES(0, poly_stats(runtime, &counters));
    CHECK(counters.fibers == 0);
    GIVES(0, poly_runtime_free(runtime));
    options.reserved = 1;
    GIVES(-EINVAL, poly_runtime_new(&options, &runtime));
}

/* Families on several workers, with failures and cancellations from all sides. */
static int64_t sleep_or_fail(void *argument)
{
    uint64_t what = (uint64_t)(uintptr_t)argument;
    if (what % 16 == 0)
        return -EIO;
    return what % 3 == 0 ? poly_yield() : poly_sleep(what % 5 * 10000);
}

static int64_t one_family(void *argument)
{
    uint64_t seed = (uint64_t)(uintptr_t)argument;
    poly_scope scope;
    int64_t error;
    int each, spawned = 0;
    GIVES(0, poly_scope_open(&scope, seed % 7 == 0 ? poly_now() + seed % 50000 : POLY_FOREVER));
    for (each = 0; each < 8; each++)
        spawned += poly_scope_spawn(&scope, each % 2 == 0 ? 0 : POLY_SPAWN_MIGRATABLE, sleep_or_fail,
                                    (void *)(uintptr_t)(seed * 31 + (uint64_t)each), NULL) == 0;
    if (seed % 11 == 0)
        poly_scope_cancel(&scope);
    error = poly_scope_close(&scope);
    CHECK(error == 0 || error == -EIO || error == -ETIMEDOUT || error == -ECANCELED);
    CHECK(error != 0 || spawned == 8);
    return error == -EIO ? 0 : error == -ETIMEDOUT || error == -ECANCELED ? 0 : error;
}

static int64_t many_families(void *argument)
{
    enum { FAMILIES = 64, ROUNDS = 60 };
    int round, each;
    UNUSED(argument);
    for (round = 0; round < ROUNDS; round++) {
        poly_fiber families[FAMILIES];
        for (each = 0; each < FAMILIES; each++)
            GIVES(0, poly_spawn(NULL, one_family, (void *)(uintptr_t)random_below(1u << 30), &families[each]));
        for (each = 0; each < FAMILIES; each++) {
            if (each % 5 == 0)
                poly_cancel(families[each]);
            GIVES(0, poly_join(families[each], NULL));
        }
    }
    return 0;
}

static void families_of_several_workers(void)
{
    poly_runtime_options options = POLY_RUNTIME_OPTIONS_INIT;
    poly_counters counters = POLY_COUNTERS_INIT;
    alarm(100);
    options.workers = 3;
    GIVES(0, poly_runtime_new(&options, &runtime));
    GIVES(0, poly_runtime_run(runtime, many_families, NULL, NULL));
    GIVES(0, poly_stats(runtime, &counters));
    CHECK(counters.in_flight == 0 && counters.timers == 0 && counters.fibers == 0);
    GIVES(0, poly_runtime_free(runtime));
}

int main(void)
{
    poly_scope scope;
    memset(&scope, 0, sizeof scope);
    GIVES(-EPERM, poly_scope_spawn(&scope, 0, give, NULL, NULL));
    GIVES(-EPERM, poly_scope_cancel(&scope));
    GIVES(-EINVAL, poly_scope_cancel(NULL));
    GIVES(-EINVAL, poly_scope_spawn(NULL, 0, give, NULL, NULL));
    GIVES(-EPERM, poly_on_exit(append, NULL));
    in_a_fiber(a_scope_waits_for_its_children);
    in_a_fiber(the_first_failure_cancels_the_others);
    in_a_fiber(a_child_is_not_joined_after_the_deadline);
    in_a_fiber(nothing_is_spawned_in_a_cancelled_scope);
    in_a_fiber(deadlines_and_cancellations_end_children);
    in_a_fiber(a_scope_that_was_left_is_closed_all_the_same);
    in_a_fiber(a_scope_belongs_to_its_owner);
    in_a_fiber(what_a_fiber_leaves_is_cleaned_up);
    GIVES(-EPERM, poly_local_set(key, NULL));
    CHECK(poly_local_get(key) == NULL);
    options_are_heeded();
    families_of_several_workers();
    return 0;
}
