/* Several workers: where fibers run, what moves, and work that blocks. */
#include "check.h"

#include <fcntl.h>

enum { WORKERS = 2, FIBERS = 200 };

static poly_runtime *several;
static poly_channel *channel;
static poly_mutex mutex;
static long count;

static int64_t where(void *argument)
{
    UNUSED(argument);
    return poly_worker();
}

static int64_t stays(void *argument)
{
    int before = poly_worker(), turn;
    UNUSED(argument);
    for (turn = 0; turn < 20; turn++) {
        if (poly_yield() != 0 || poly_worker() != before) return -1;
    }
    return before;
}

static int64_t computes_until_it_is_told(void *told)
{
    while (!__atomic_load_n((int *)told, __ATOMIC_SEQ_CST)) poly_check();
    return 0;
}

static int64_t tells(void *told)
{
    __atomic_store_n((int *)told, 1, __ATOMIC_SEQ_CST);
    return poly_worker();
}

static int64_t counts(void *argument)
{
    int turn;
    UNUSED(argument);
    for (turn = 0; turn < 50; turn++) {
        if (poly_mutex_lock(&mutex) != 0) return -1;
        count++;
        if (turn % 8 == 0) poly_yield();
        if (poly_mutex_unlock(&mutex) != 0) return -1;
    }
    return 0;
}

static int64_t sends(void *item)
{
    return poly_channel_send(channel, item);
}

static int64_t blocks(void *span)
{
    CHECK(poly_worker() == -EPERM); /* it is no fiber here */
    usleep(*(useconds_t *)span);
    return 42;
}

static int64_t offloads(void *span)
{
    int64_t result = -1;
    int done = poly_offload(blocks, span, &result);
    return done < 0 ? done : result;
}

static int64_t sleeps(void *argument)
{
    UNUSED(argument);
    return poly_sleep(POLY_FOREVER);
}

static void fibers_run_where_they_are_told(void)
{
    poly_fiber fibers[FIBERS];
    int64_t result;
    int index;
    for (index = 0; index < FIBERS; index++) {
        GIVES(0, poly_spawn_on(NULL, (uint32_t)(index % WORKERS), stays, NULL, &fibers[index]));
    }
    for (index = 0; index < FIBERS; index++) {
        GIVES(0, poly_join(fibers[index], &result));
        CHECK(result == index % WORKERS);
    }
    GIVES(0, poly_spawn_as(NULL, POLY_SPAWN_PINNED, where, NULL, &fibers[0]));
    GIVES(0, poly_join(fibers[0], &result));
    CHECK(result == poly_worker());
    GIVES(-EINVAL, poly_spawn_on(NULL, WORKERS, where, NULL, NULL));
    GIVES(-EINVAL, poly_spawn_as(NULL, 77, where, NULL, NULL));
    GIVES(-EINVAL, poly_spawn_as(NULL, 0, NULL, NULL, NULL));
    GIVES(-EINVAL, poly_spawn_on(NULL, 0, NULL, NULL, NULL));
}

static void a_fiber_runs_although_this_one_computes(uint32_t flags)
{
    int told = 0;
    int64_t result;
    poly_fiber other;
    GIVES(0, poly_spawn_as(NULL, flags, tells, &told, &other));
    GIVES(0, computes_until_it_is_told(&told));
    GIVES(0, poly_join(other, &result));
    CHECK(result != poly_worker());
}

static void locks_and_channels_work_between_workers(void)
{
    poly_fiber fibers[FIBERS];
    int64_t result;
    intptr_t sum = 0;
    int index;
    void *item;
    for (index = 0; index < FIBERS; index++) {
        uint32_t flags = index % 2 == 0 ? POLY_SPAWN_MIGRATABLE : 0;
        GIVES(0, poly_spawn_as(NULL, flags, counts, NULL, &fibers[index]));
        if (index % 3 == 0) GIVES(0, poly_spawn_as(NULL, flags, sends, (void *)(intptr_t)index, NULL));
    }
    for (index = 0; index < FIBERS; index += 3) {
        CHECK(poly_channel_recv(channel, &item) == 0);
        sum += (intptr_t)item;
    }
    CHECK(sum == 67 * 99);
    for (index = 0; index < FIBERS; index++) {
        CHECK(poly_join(fibers[index], &result) == 0 && result == 0);
    }
    CHECK(count == FIBERS * 50);
}

static void work_that_blocks_goes_elsewhere(void)
{
    poly_fiber fiber;
    poly_scope scope;
    useconds_t span = 1000;
    int64_t result = 0;
    GIVES(-EINVAL, poly_offload(NULL, NULL, NULL));
    CHECK(poly_offload(blocks, &span, &result) == 0 && result == 42);
    CHECK(poly_offload(blocks, &span, NULL) == 0);
    /* Refused before it began: it is not called. */
    GIVES(0, poly_scope_open(&scope, 0));
    GIVES(-ETIMEDOUT, poly_offload(blocks, &span, &result));
    GIVES(-ETIMEDOUT, poly_scope_close(&scope));
    GIVES(0, poly_spawn(NULL, offloads, &span, &fiber));
    GIVES(0, poly_cancel(fiber));
    GIVES(0, poly_join(fiber, &result));
    CHECK(result == -ECANCELED || result == 42); /* it may have begun on another worker */
}

static int64_t body(void *argument)
{
    poly_counters counters = POLY_COUNTERS_INIT;
    UNUSED(argument);
    fibers_run_where_they_are_told();
    a_fiber_runs_although_this_one_computes(0);
    a_fiber_runs_although_this_one_computes(POLY_SPAWN_MIGRATABLE);
    locks_and_channels_work_between_workers();
    work_that_blocks_goes_elsewhere();
    CHECK(poly_stats(several, &counters) == 0);
    CHECK(counters.stolen > 0);
    return 0;
}

static poly_channel *nothing_comes;
static poly_wait_group group = POLY_WAIT_GROUP_INIT;

static int64_t receives(void *argument)
{
    void *item;
    UNUSED(argument);
    GIVES(0, poly_wait_group_done(&group));
    return poly_channel_recv(nothing_comes, &item);
}

static int64_t reads(void *argument)
{
    char byte;
    GIVES(0, poly_wait_group_done(&group));
    GIVES(0, poly_shield_raise());
    return poly_read(*(int *)argument, &byte, 1);
}

static int64_t joins(void *argument)
{
    GIVES(0, poly_wait_group_done(&group));
    return poly_join(*(poly_fiber *)argument, NULL);
}

/* Asks until a line is among what is said: a fiber says that it is about to wait, and waits a moment later. */
static void is_told(const char *line)
{
    char text[2000], few[4];
    int64_t length;
    do {
        length = poly_runtime_describe(several, text, sizeof text);
        CHECK(length == (int64_t)strlen(text));
    } while (strstr(text, line) == NULL);
    CHECK(poly_runtime_describe(several, few, sizeof few) > 3 && strlen(few) == 3);
}

static int64_t describe_from_inside(void *argument)
{
    poly_fiber self;
    UNUSED(argument);
    GIVES(0, poly_self(&self));
    GIVES(0, poly_fiber_set_name(self, "I myself"));
    is_told("\"I myself\" on worker ");
    is_told(": runs\n");
    return 0;
}

static void everybody_says_what_it_waits_for(void)
{
    poly_fiber receiver, reader, joiner;
    int ends[2];
    char line[100];
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    GIVES(0, poly_channel_new(0, &nothing_comes));
    GIVES(0, poly_wait_group_add(&group, 3));
    GIVES(0, poly_spawn(several, receives, NULL, &receiver));
    GIVES(0, poly_fiber_set_name(receiver, "receiver"));
    GIVES(0, poly_spawn(several, reads, ends, &reader));
    GIVES(0, poly_spawn(several, joins, &receiver, &joiner));
    CHECK(poly_wait_group_wait(&group) == 0);
    is_told("\"receiver\" on worker ");
    is_told(": waits for an item in a channel\n");
    is_told(": joins fiber ");
    snprintf(line, sizeof line, ": waits for the kernel: read of descriptor %d, shielded\n", ends[0]);
    is_told(line);
    GIVES(0, poly_runtime_run(several, describe_from_inside, NULL, NULL));
    CHECK(write(ends[1], "x", 1) == 1);
    GIVES(0, poly_channel_close(nothing_comes));
    GIVES(0, poly_join(joiner, NULL));
    GIVES(0, poly_join(reader, NULL));
    GIVES(0, poly_channel_free(nothing_comes));
    CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
}

static void a_shutdown_names_who_has_not_ended(void)
{
    int told = 0;
    char text[1000];
    poly_fiber busy, sleeper, left[4];
    int64_t result;
    GIVES(0, poly_spawn(several, computes_until_it_is_told, &told, &busy));
    GIVES(0, poly_spawn(several, sleeps, NULL, &sleeper));
    GIVES(2, poly_runtime_fibers(several, left, 4));
    GIVES(2, poly_runtime_fibers(several, NULL, 0));
    GIVES(-EINVAL, poly_runtime_fibers(several, NULL, 1));
    do {
        GIVES(-ETIMEDOUT, poly_runtime_shutdown(several, poly_now() + MILLI));
    } while (poly_runtime_fibers(several, left, 4) != 1);
    CHECK(left[0].id == busy.id);
    GIVES(0, poly_fiber_set_name(busy, "the busy one"));
    CHECK(poly_runtime_describe(several, text, sizeof text) > 0);
    CHECK(strstr(text, "\"the busy one\": its worker is busy") != NULL);
    GIVES(0, poly_join(sleeper, &result));
    CHECK(result == -ECANCELED);
    GIVES(0, tells(&told) == -EPERM ? 0 : -1);
    GIVES(0, poly_runtime_shutdown(several, POLY_FOREVER));
    GIVES(0, poly_runtime_fibers(several, left, 4));
    GIVES(0, poly_join(busy, &result));
}

/* Begins anew as soon as the descriptor is closed under it, and perhaps a little before. */
static int64_t reads_twice(void *argument)
{
    int fd = *(int *)argument;
    char byte;
    CHECK(poly_read(fd, &byte, 1) == -EBADF);
    CHECK(poly_read(fd, &byte, 1) == -EBADF);
    return 0;
}

static int64_t closes_under_others(void *argument)
{
    poly_fiber readers[WORKERS];
    int round, ends[2], worker;
    UNUSED(argument);
    for (round = 0; round < 300; round++) {
        poly_scope scope;
        CHECK(pipe(ends) == 0);
        CHECK(poly_scope_open(&scope, poly_now() + (uint64_t)20 * 1000 * MILLI) == 0);
        for (worker = 0; worker < WORKERS; worker++)
            CHECK(poly_spawn_on(NULL, (uint32_t)worker, reads_twice, &ends[0], &readers[worker]) == 0);
        CHECK(poly_sleep(MILLI / 10) == 0);
        CHECK(poly_close(ends[0]) == 0);
        for (worker = 0; worker < WORKERS; worker++)
            CHECK(poly_join(readers[worker], NULL) == 0);
        CHECK(poly_scope_close(&scope) == 0);
        CHECK(poly_close(ends[1]) == 0);
    }
    return 0;
}

int main(void)
{
    poly_runtime_options options = POLY_RUNTIME_OPTIONS_INIT;
    int64_t result = -1;
    useconds_t span = 0;
    hangs_after(60);
    options.workers = WORKERS;
    GIVES(0, poly_channel_new(3, &channel));
    GIVES(0, poly_runtime_new(&options, &several));
    GIVES(WORKERS, poly_runtime_workers(several));
    GIVES(-EINVAL, poly_runtime_workers(NULL));
    GIVES(-EINVAL, poly_runtime_fibers(NULL, NULL, 0));
    GIVES(-EPERM, poly_worker());
    GIVES(-EPERM, poly_spawn_on(NULL, 0, where, NULL, NULL));
    CHECK(poly_offload(blocks, &span, &result) == 0 && result == 42);
    GIVES(0, poly_runtime_run(several, body, NULL, &result));
    CHECK(result == 0);
    GIVES(0, poly_runtime_run(several, closes_under_others, NULL, NULL));
    everybody_says_what_it_waits_for();
    a_shutdown_names_who_has_not_ended();
    GIVES(0, poly_runtime_free(several));
    GIVES(0, poly_channel_free(channel));
    return 0;
}
