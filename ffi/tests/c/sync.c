/* Channels, mutexes, conditions, semaphores, events. */
#include "check.h"

static poly_channel *channel;
static poly_mutex mutex = POLY_MUTEX_INIT;
static poly_condition condition = POLY_CONDITION_INIT;
static poly_semaphore semaphore = POLY_SEMAPHORE_INIT;
static poly_event event = POLY_EVENT_INIT;

static void nothing_works_without_objects(void)
{
    void *item;
    GIVES(-EINVAL, poly_channel_new(1, NULL));
    GIVES(-EINVAL, poly_channel_send(NULL, NULL));
    GIVES(-EINVAL, poly_channel_try_send(NULL, NULL));
    GIVES(-EINVAL, poly_channel_recv(NULL, &item));
    GIVES(-EINVAL, poly_channel_try_recv(NULL, &item));
    GIVES(-EINVAL, poly_channel_close(NULL));
    GIVES(-EINVAL, poly_channel_length(NULL));
    GIVES(0, poly_channel_free(NULL));
    GIVES(-EINVAL, poly_mutex_lock(NULL));
    GIVES(-EINVAL, poly_mutex_try_lock(NULL));
    GIVES(-EINVAL, poly_mutex_unlock(NULL));
    GIVES(-EINVAL, poly_condition_wait(NULL, &mutex));
    GIVES(-EINVAL, poly_condition_wait(&condition, NULL));
    GIVES(-EINVAL, poly_condition_signal(NULL));
    GIVES(-EINVAL, poly_condition_broadcast(NULL));
    GIVES(-EINVAL, poly_semaphore_acquire(NULL, 1));
    GIVES(-EINVAL, poly_semaphore_try_acquire(NULL, 1));
    GIVES(-EINVAL, poly_semaphore_release(NULL, 1));
    GIVES(-EINVAL, poly_event_wait(NULL));
    GIVES(-EINVAL, poly_event_set(NULL));
    GIVES(-EINVAL, poly_event_reset(NULL));
    GIVES(-EINVAL, poly_event_is_set(NULL));
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
    alarm(60);
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
    nothing_works_without_objects();
    in_a_fiber(channels);
    in_a_fiber(mutexes_and_conditions);
    in_a_fiber(semaphores_and_events);
    threads_receive_too();
    return 0;
}
