/* Runtimes and fibers: every function, and every wrong way to call it. */
#include "check.h"

static int64_t identity(void *argument)
{
    return (int64_t)(intptr_t)argument;
}

static int64_t sleep_long(void *argument)
{
    UNUSED(argument);
    return poly_sleep((uint64_t)3600 * 1000 * MILLI);
}

static int64_t join_it(void *argument)
{
    return poly_join(*(poly_fiber *)argument, NULL);
}

static void nothing_works_without_objects(void)
{
    poly_runtime *none = NULL;
    poly_runtime_options options = POLY_RUNTIME_OPTIONS_INIT;
    poly_counters counters = POLY_COUNTERS_INIT;
    GIVES(-EINVAL, poly_runtime_new(NULL, NULL));
    options.backend = 77;
    GIVES(-EINVAL, poly_runtime_new(&options, &none));
    options.backend = 0;
    options.size = 3;
    GIVES(-EINVAL, poly_runtime_new(&options, &none));
    options.size = sizeof options;
    options.workers = POLY_MOST_WORKERS + 1;
    GIVES(-EINVAL, poly_runtime_new(&options, &none));
    options.workers = 0;
    options.stack_size = (size_t)1 << 40;
    GIVES(-EINVAL, poly_runtime_new(&options, &none));
    options.stack_size = 0;
    options.backend = POLY_BACKEND_IO_URING;
    options.ring_entries = 3000000000u;
    CHECK(poly_runtime_new(&options, &none) < 0);
    CHECK(none == NULL);
    GIVES(0, poly_runtime_free(NULL));
    GIVES(-EINVAL, poly_runtime_run(NULL, identity, NULL, NULL));
    GIVES(-EINVAL, poly_runtime_shutdown(NULL, 0));
    GIVES(-EINVAL, poly_stats(NULL, &counters));
    GIVES(-EINVAL, poly_runtime_describe(NULL, NULL, 0));
    GIVES(-EINVAL, poly_self(NULL));
}

static void outside_a_fiber_calls_block_the_thread(void)
{
    poly_fiber nobody = { 12345 }, self;
    uint64_t before = poly_now();
    QUIETLY(poly_now() >= before);
    GIVES(-EPERM, poly_spawn(NULL, identity, NULL, NULL));
    GIVES(-EPERM, poly_self(&self));
    GIVES(0, poly_yield());
    GIVES(0, poly_check());
    GIVES(0, poly_sleep(MILLI));
    GIVES(0, poly_sleep_until(poly_now() + MILLI));
    CHECK(poly_now() >= before + 2 * MILLI);
    GIVES(-ESRCH, poly_join(nobody, NULL));
    GIVES(-ESRCH, poly_detach(nobody));
    GIVES(-ESRCH, poly_cancel(nobody));
}

static int64_t fibers_have_names_and_results(void *argument)
{
    poly_fiber fiber, self, joiner;
    int64_t result = 0;
    UNUSED(argument);
    GIVES(0, poly_self(&self));
    CHECK(self.id != 0);
    GIVES(0, poly_spawn(NULL, identity, (void *)(intptr_t)-42, &fiber));
    GIVES(0, poly_join(fiber, &result));
    CHECK(result == -42);
    GIVES(-ESRCH, poly_join(fiber, &result));
    GIVES(-ESRCH, poly_cancel(fiber));
    GIVES(-ESRCH, poly_detach(fiber));
    GIVES(-EINVAL, poly_spawn(NULL, NULL, NULL, &fiber));
    GIVES(-EDEADLK, poly_join(self, NULL));
    GIVES(-EDEADLK, poly_runtime_free(runtime));
    GIVES(-EDEADLK, poly_runtime_shutdown(runtime, 0));

    GIVES(0, poly_spawn(runtime, sleep_long, NULL, &fiber));
    GIVES(0, poly_spawn(NULL, join_it, &fiber, &joiner));
    GIVES(0, poly_yield());
    GIVES(-EBUSY, poly_join(fiber, NULL));
    GIVES(-EBUSY, poly_detach(fiber));
    GIVES(0, poly_cancel(fiber));
    GIVES(0, poly_join(joiner, &result));
    CHECK(result == 0);

    GIVES(0, poly_spawn(NULL, identity, NULL, &fiber));
    GIVES(0, poly_yield());
    GIVES(0, poly_cancel(fiber)); /* it has ended, and is still to be joined */
    GIVES(0, poly_detach(fiber));
    GIVES(-ESRCH, poly_detach(fiber));
    GIVES(0, poly_spawn(NULL, identity, NULL, NULL));
    GIVES(0, poly_yield());
    return 0;
}

static void a_shutdown_is_final(void)
{
    poly_counters counters = POLY_COUNTERS_INIT;
    poly_fiber fiber;
    int64_t result = 0;
    GIVES(0, poly_runtime_new(NULL, &runtime));
    QUIETLY(poly_runtime_describe(runtime, NULL, 0) > 0);
    GIVES(-EINVAL, poly_runtime_describe(runtime, NULL, 1));
    GIVES(0, poly_spawn(runtime, sleep_long, NULL, &fiber));
    GIVES(0, poly_runtime_run(runtime, identity, NULL, NULL));
    GIVES(0, poly_runtime_shutdown(runtime, POLY_FOREVER));
    GIVES(0, poly_join(fiber, &result));
    CHECK(result == -ECANCELED);
    GIVES(-ESHUTDOWN, poly_spawn(runtime, identity, NULL, NULL));
    GIVES(-ESHUTDOWN, poly_runtime_run(runtime, identity, NULL, NULL));
    GIVES(0, poly_stats(runtime, &counters));
    CHECK(counters.switches >= 2);
    counters.size = 1;
    GIVES(-EINVAL, poly_stats(runtime, &counters));
    GIVES(0, poly_runtime_free(runtime));
    GIVES(-ESRCH, poly_join(fiber, NULL));
}

static void errors_have_words(void)
{
    QUIETLY(strcmp(poly_strerror(-EAGAIN), strerror(EAGAIN)) == 0);
    QUIETLY(strcmp(poly_strerror(ECANCELED), strerror(ECANCELED)) == 0);
    QUIETLY(strstr(poly_strerror(-POLY_EPANIC), "panicked") != NULL);
    QUIETLY(strstr(poly_strerror(-POLY_EFORKED), "parent") != NULL);
    QUIETLY(strlen(poly_strerror(987654)) > 0);
    QUIETLY(strlen(poly_strerror((int)0x80000000u)) > 0);
    QUIETLY(poly_version() >> 16 == POLY_VERSION_MAJOR);
    QUIETLY(poly_abi_version() == POLY_ABI);
}

/* 5 * 1000000000 of plain numbers is something else. */
static void spans_are_as_wide_as_deadlines(void)
{
    int seconds = 5;
    CHECK((unsigned)seconds * POLY_SECOND == 5000 * POLY_MILLISECOND);
    CHECK(5000 * POLY_MILLISECOND == 5000000 * POLY_MICROSECOND && 5 * POLY_SECOND > UINT32_MAX);
    CHECK(sizeof POLY_SECOND == sizeof poly_now() && sizeof POLY_MILLISECOND == sizeof poly_now());
}

int main(void)
{
    hangs_after(60);
    spans_are_as_wide_as_deadlines();
    nothing_works_without_objects();
    outside_a_fiber_calls_block_the_thread();
    in_a_fiber(fibers_have_names_and_results);
    a_shutdown_is_final();
    errors_have_words();
    return 0;
}
