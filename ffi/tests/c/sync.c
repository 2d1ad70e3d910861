/* Channels, mutexes, conditions, semaphores, events. */
#include "check.h"

static poly_channel *channel;
static poly_mutex mutex = POLY_MUTEX_INIT;
static poly_condition condition = POLY_CONDITION_INIT;
static poly_semaphore semaphore = POLY_SEMAPHORE_INIT;
static poly_event event = POLY_EVENT_INIT;
static poly_rwlock rwlock = POLY_RWLOCK_INIT;
static poly_once once = POLY_ONCE_INIT;
static poly_wait_group group = POLY_WAIT_GROUP_INIT;

static int64_t write_alone(void *argument)
{
    int error = poly_rwlock_write(&rwlock);
    UNUSED(argument);
    return error < 0 ? error : poly_rwlock_unlock(&rwlock);
}

static int64_t readers_and_writers(void *argument)
{
    poly_fiber writer;
    int64_t result = -1;
    UNUSED(argument);
    GIVES(0, poly_rwlock_read(&rwlock));
    GIVES(0, poly_rwlock_try_read(&rwlock));
    GIVES(-EBUSY, poly_rwlock_try_write(&rwlock));
    GIVES(0, poly_spawn(NULL, write_alone, NULL, &writer));
    GIVES(0, poly_yield());
    GIVES(-EBUSY, poly_rwlock_try_read(&rwlock)); /* else who only tries would keep the writer waiting for ever */
    GIVES(0, poly_rwlock_unlock(&rwlock));
    GIVES(0, poly_rwlock_unlock(&rwlock));
    GIVES(0, poly_join(writer, &result));
    CHECK(result == 0);
    GIVES(0, poly_rwlock_try_write(&rwlock));
    GIVES(-EDEADLK, poly_rwlock_read(&rwlock));
    GIVES(-EDEADLK, poly_rwlock_write(&rwlock));
    GIVES(0, poly_rwlock_unlock(&rwlock));
    GIVES(-EPERM, poly_rwlock_unlock(&rwlock));
    return 0;
}

static void count_up(void *count)
{
    GIVES(-EDEADLK, poly_once_run(&once, count_up, count));
    GIVES(0, poly_yield());
    ++*(int *)count;
}

static int64_t do_it_once(void *count)
{
    GIVES(0, poly_once_run(&once, count_up, count));
    return *(int *)count;
}

static int64_t does_nothing_once_cancelled(void *argument)
{
    poly_fiber self;
    int count = 0;
    UNUSED(argument);
    memset(&once, 0, sizeof once);
    GIVES(0, poly_self(&self));
    GIVES(0, poly_cancel(self));
    GIVES(-ECANCELED, poly_once_run(&once, count_up, &count));
    CHECK(count == 0);
    return do_it_once(&count) - 1;
}

static int64_t work_of_a_group(void *argument)
{
    UNUSED(argument);
    GIVES(0, poly_wait_group_done(&group));
    return 0;
}

static int64_t block_a_thread(void *event)
{
    CHECK(poly_event_wait((poly_event *)event) == 0);
    return poly_wait_group_done(&group);
}

static int offloaded;

static int64_t count_it(void *argument)
{
    UNUSED(argument);
    return ++offloaded;
}

static int64_t offload_once(void *argument)
{
    return poly_offload(count_it, argument, NULL);
}

static int64_t once_and_all_together(void *argument)
{
    poly_fiber fibers[3], waiting;
    int64_t result = 0;
    int count = 0, each, started = 0;
    poly_event release = POLY_EVENT_INIT;
    UNUSED(argument);
    for (each = 0; each < 3; each++)
        GIVES(0, poly_spawn(NULL, do_it_once, &count, &fibers[each]));
    for (each = 0; each < 3; each++) {
        GIVES(0, poly_join(fibers[each], &result));
        CHECK(result == 1);
    }
    GIVES(-EINVAL, poly_wait_group_done(&group));
    GIVES(0, poly_wait_group_try_wait(&group));
    GIVES(0, poly_wait_group_add(&group, 4));
    GIVES(-EAGAIN, poly_wait_group_try_wait(&group));
    for (each = 0; each < 3; each++)
        GIVES(0, poly_spawn(NULL, work_of_a_group, NULL, NULL));
    GIVES(0, poly_try_offload(work_of_a_group, NULL));
    CHECK(poly_wait_group_wait(&group) == 0);
    /* Every thread of the pool is taken, and then no more begin. */
    do {
        GIVES(0, poly_wait_group_add(&group, 1));
        started++;
    } while (poly_try_offload(block_a_thread, &release) == 0);
    GIVES(0, poly_wait_group_done(&group));
    GIVES(-EAGAIN, poly_try_offload(block_a_thread, &release));
    /* What waits for one of them can be taken back, and is never called. */
    waiting = begun(offload_once, 3);
    GIVES(0, poly_cancel(waiting));
    GIVES(0, poly_join(waiting, &result));
    CHECK(result == -ECANCELED && offloaded == 0);
    CHECK(started > 1 && poly_event_set(&release) >= 0);
    CHECK(poly_wait_group_wait(&group) == 0);
    return 0;
}

static int64_t select_one(void *argument)
{
    poly_channel **two = (poly_channel **)argument;
    void *item = NULL;
    poly_case cases[3];
    int chosen;
    memset(cases, 0, sizeof cases);
    cases[1].channel = two[0];
    cases[1].operation = POLY_CASE_RECV;
    cases[1].item = &item;
    cases[2].channel = two[1];
    cases[2].operation = POLY_CASE_SEND;
    cases[2].item = (void *)5;
    chosen = poly_select(cases, 3, POLY_FOREVER);
    return chosen < 0 ? chosen : chosen * 100 + (cases[chosen].result < 0 ? 99 : (int64_t)(intptr_t)item);
}

static int64_t selects(void *argument)
{
    poly_channel *two[2];
    poly_case wrong;
    poly_fiber fiber;
    int64_t result = 0;
    void *item = NULL;
    UNUSED(argument);
    memset(&wrong, 0, sizeof wrong);
    GIVES(0, poly_channel_new(0, &two[0]));
    GIVES(0, poly_channel_new(0, &two[1]));
    wrong.channel = two[0];
    GIVES(-EINVAL, poly_select(&wrong, 1, 0));
    wrong.operation = POLY_CASE_RECV;
    GIVES(-EINVAL, poly_select(&wrong, 1, 0));
    wrong.item = &item;
    GIVES(-EAGAIN, poly_select(&wrong, 1, 0));
    GIVES(-ETIMEDOUT, poly_select(&wrong, 1, poly_now() + MILLI));
    GIVES(0, poly_spawn(NULL, select_one, two, &fiber));
    GIVES(0, poly_channel_send(two[0], (void *)7));
    GIVES(0, poly_join(fiber, &result));
    CHECK(result == 107);
    GIVES(0, poly_spawn(NULL, select_one, two, &fiber));
    GIVES(0, poly_channel_recv(two[1], &item));
    CHECK(item == (void *)5);
    GIVES(0, poly_join(fiber, &result));
    CHECK(result == 200);
    GIVES(0, poly_spawn(NULL, select_one, two, &fiber));
    GIVES(0, poly_yield());
    GIVES(0, poly_cancel(fiber));
    GIVES(0, poly_join(fiber, &result));
    CHECK(result == -ECANCELED);
    GIVES(0, poly_spawn(NULL, select_one, two, &fiber));
    GIVES(0, poly_yield());
    GIVES(0, poly_channel_close(two[1]));
    GIVES(0, poly_join(fiber, &result));
    CHECK(result == 299);
    GIVES(0, poly_channel_free(two[0]));
    GIVES(0, poly_channel_free(two[1]));
    return 0;
}

static int64_t receive(void *argument)
{
    void *item = NULL;
    int error = poly_channel_recv(channel, &item);
    UNUSED(argument);
    return error < 0 ? error : (int64_t)(intptr_t)item;
}

static int64_t channels(void *argument)
{
    poly_fiber one, two;
    int64_t result;
    void *item = NULL;
    UNUSED(argument);
    GIVES(0, poly_channel_new(2, &channel));
    GIVES(-EINVAL, poly_channel_recv(channel, NULL));
    GIVES(-EAGAIN, poly_channel_try_recv(channel, &item));
    GIVES(0, poly_channel_send(channel, (void *)1));
    GIVES(0, poly_channel_try_send(channel, (void *)2));
    GIVES(-EAGAIN, poly_channel_try_send(channel, (void *)3));
    GIVES(2, poly_channel_length(channel));
    GIVES(0, poly_channel_recv(channel, &item));
    CHECK(item == (void *)1);
    GIVES(0, poly_channel_try_recv(channel, &item));
    CHECK(item == (void *)2);
    /* An item meant for a receiver that was cancelled goes to the next. */
    GIVES(0, poly_spawn(NULL, receive, NULL, &one));
    GIVES(0, poly_spawn(NULL, receive, NULL, &two));
    GIVES(0, poly_yield());
    GIVES(-EBUSY, poly_channel_free(channel));
    GIVES(0, poly_cancel(one));
    GIVES(0, poly_channel_send(channel, (void *)7));
    GIVES(0, poly_join(one, &result));
    CHECK(result == -ECANCELED);
    GIVES(0, poly_join(two, &result));
    CHECK(result == 7);
    GIVES(0, poly_spawn(NULL, receive, NULL, &one));
    GIVES(0, poly_yield());
    GIVES(0, poly_channel_close(channel));
    GIVES(-EALREADY, poly_channel_close(channel));
    GIVES(0, poly_join(one, &result));
    CHECK(result == -EPIPE);
    GIVES(-EPIPE, poly_channel_send(channel, NULL));
    GIVES(-EPIPE, poly_channel_try_send(channel, NULL));
    GIVES(-EPIPE, poly_channel_try_recv(channel, &item));
    GIVES(0, poly_channel_free(channel));
    return 0;
}

static int64_t lock_and_wait(void *argument)
{
    int waited;
    UNUSED(argument);
    GIVES(0, poly_mutex_lock(&mutex));
    waited = poly_condition_wait(&condition, &mutex);
    GIVES(0, poly_mutex_unlock(&mutex));
    return waited;
}

static int64_t mutexes_and_conditions(void *argument)
{
    poly_fiber fibers[3];
    int64_t results[3];
    int each;
    UNUSED(argument);
    GIVES(-EPERM, poly_mutex_unlock(&mutex));
    GIVES(-EPERM, poly_condition_wait(&condition, &mutex));
    GIVES(0, poly_mutex_lock(&mutex));
    GIVES(-EDEADLK, poly_mutex_lock(&mutex));
    GIVES(-EBUSY, poly_mutex_try_lock(&mutex));
    GIVES(0, poly_mutex_unlock(&mutex));
    GIVES(0, poly_condition_signal(&condition));
    for (each = 0; each < 3; each++)
        GIVES(0, poly_spawn(NULL, lock_and_wait, NULL, &fibers[each]));
    GIVES(0, poly_yield());
    GIVES(0, poly_cancel(fibers[0]));
    GIVES(1, poly_condition_signal(&condition));
    GIVES(1, poly_condition_broadcast(&condition));
    for (each = 0; each < 3; each++)
        GIVES(0, poly_join(fibers[each], &results[each]));
    CHECK(results[0] == -ECANCELED && results[1] == 0 && results[2] == 0);
    GIVES(0, poly_mutex_try_lock(&mutex));
    GIVES(0, poly_mutex_unlock(&mutex));
    return 0;
}

static int64_t acquire_three(void *argument)
{
    UNUSED(argument);
    return poly_semaphore_acquire(&semaphore, 3);
}

static int64_t wait_for_event(void *argument)
{
    UNUSED(argument);
    return poly_event_wait(&event);
}

static int64_t semaphores_and_events(void *argument)
{
    poly_fiber fiber;
    int64_t result = -1;
    UNUSED(argument);
    GIVES(-EAGAIN, poly_semaphore_try_acquire(&semaphore, 1));
    GIVES(0, poly_spawn(NULL, acquire_three, NULL, &fiber));
    GIVES(0, poly_yield());
    GIVES(0, poly_semaphore_release(&semaphore, 2));
    GIVES(-EAGAIN, poly_semaphore_try_acquire(&semaphore, 1));
    GIVES(0, poly_semaphore_release(&semaphore, 2));
    GIVES(0, poly_join(fiber, &result));
    CHECK(result == 0);
    GIVES(0, poly_semaphore_try_acquire(&semaphore, 1));
    GIVES(0, poly_semaphore_release(&semaphore, 1));
    GIVES(-EOVERFLOW, poly_semaphore_release(&semaphore, UINT64_MAX));

    GIVES(0, poly_event_is_set(&event));
    GIVES(0, poly_spawn(NULL, wait_for_event, NULL, &fiber));
    GIVES(0, poly_yield());
    GIVES(1, poly_event_set(&event));
    GIVES(0, poly_event_wait(&event));
    GIVES(1, poly_event_is_set(&event));
    GIVES(0, poly_event_reset(&event));
    GIVES(0, poly_join(fiber, &result));
    CHECK(result == 0);
    return 0;
}

/* A plain thread and a fiber hand each other items; the thread blocks. */
static int64_t answer(void *argument)
{
    int64_t each;
    UNUSED(argument);
    for (each = 1; each <= 1000; each++)
        GIVES(0, poly_channel_send(channel, (void *)(intptr_t)each));
    GIVES(0, poly_channel_close(channel));
    return 0;
}

static void threads_receive_too(void)
{
    intptr_t expected = 1;
    void *item;
    hangs_after(60);
    GIVES(0, poly_runtime_new(NULL, &runtime));
    GIVES(0, poly_channel_new(0, &channel));
    GIVES(0, poly_spawn(runtime, answer, NULL, NULL));
    while (poly_channel_recv(channel, &item) == 0)
        CHECK(item == (void *)expected++);
    CHECK(expected == 1001);
    GIVES(0, poly_runtime_free(runtime));
    GIVES(0, poly_channel_free(channel));
}

int main(void)
{
    in_a_fiber(channels);
    in_a_fiber(selects);
    in_a_fiber(readers_and_writers);
    in_a_fiber(once_and_all_together);
    in_a_fiber(does_nothing_once_cancelled);
    in_a_fiber(mutexes_and_conditions);
    in_a_fiber(semaphores_and_events);
    threads_receive_too();
    return 0;
}
