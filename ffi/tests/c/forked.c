/* The child of a fork gets errors instead of hanging, and may begin anew. */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>

static poly_channel *channel;
static poly_mutex mutex = POLY_MUTEX_INIT, unused = POLY_MUTEX_INIT;
static poly_condition condition = POLY_CONDITION_INIT;
static poly_semaphore semaphore = POLY_SEMAPHORE_INIT;
static poly_event event = POLY_EVENT_INIT;
static poly_rwlock rwlock = POLY_RWLOCK_INIT;
static poly_once once = POLY_ONCE_INIT;
static poly_wait_group group = POLY_WAIT_GROUP_INIT;
static poly_scope scope;
static int last_words;

static void say(void *words)
{
    ++*(int *)words;
}

static void use_everything(void)
{
    GIVES(0, poly_mutex_lock(&mutex));
    GIVES(0, poly_condition_signal(&condition));
    GIVES(0, poly_semaphore_release(&semaphore, 1));
    GIVES(0, poly_event_set(&event));
    GIVES(0, poly_rwlock_write(&rwlock));
    GIVES(0, poly_once_run(&once, say, &last_words));
    GIVES(0, poly_wait_group_add(&group, 1));
}

/* What the parent has used is the parent's, also where it could be had; what nobody has used is anybody's. */
static void nothing_is_the_childs(void)
{
    poly_case select;
    void *item;
    memset(&select, 0, sizeof select);
    select.channel = channel;
    select.operation = POLY_CASE_RECV;
    select.item = &item;
    GIVES(-POLY_EFORKED, poly_select(&select, 1, POLY_FOREVER));
    GIVES(-POLY_EFORKED, poly_channel_send(channel, NULL));
    GIVES(-POLY_EFORKED, poly_channel_try_send(channel, NULL));
    GIVES(-POLY_EFORKED, poly_channel_try_recv(channel, &item));
    GIVES(-POLY_EFORKED, poly_channel_close(channel));
    GIVES(-POLY_EFORKED, poly_channel_length(channel));
    GIVES(-POLY_EFORKED, poly_mutex_lock(&mutex));
    GIVES(-POLY_EFORKED, poly_mutex_try_lock(&mutex));
    GIVES(-POLY_EFORKED, poly_mutex_unlock(&mutex));
    GIVES(0, poly_mutex_lock(&unused));
    GIVES(-POLY_EFORKED, poly_condition_wait(&condition, &unused));
    GIVES(0, poly_mutex_unlock(&unused));
    GIVES(-POLY_EFORKED, poly_condition_signal(&condition));
    GIVES(-POLY_EFORKED, poly_condition_broadcast(&condition));
    GIVES(-POLY_EFORKED, poly_semaphore_acquire(&semaphore, 1));
    GIVES(-POLY_EFORKED, poly_semaphore_try_acquire(&semaphore, 1));
    GIVES(-POLY_EFORKED, poly_semaphore_release(&semaphore, 1));
    GIVES(-POLY_EFORKED, poly_event_wait(&event));
    GIVES(-POLY_EFORKED, poly_event_set(&event));
    GIVES(-POLY_EFORKED, poly_event_reset(&event));
    GIVES(-POLY_EFORKED, poly_event_is_set(&event));
    GIVES(-POLY_EFORKED, poly_rwlock_read(&rwlock));
    GIVES(-POLY_EFORKED, poly_rwlock_write(&rwlock));
    GIVES(-POLY_EFORKED, poly_rwlock_try_read(&rwlock));
    GIVES(-POLY_EFORKED, poly_rwlock_try_write(&rwlock));
    GIVES(-POLY_EFORKED, poly_rwlock_unlock(&rwlock));
    GIVES(-POLY_EFORKED, poly_once_run(&once, say, &last_words));
    GIVES(-POLY_EFORKED, poly_wait_group_add(&group, -1));
    GIVES(-POLY_EFORKED, poly_wait_group_done(&group));
    GIVES(-POLY_EFORKED, poly_wait_group_wait(&group));
    GIVES(-POLY_EFORKED, poly_wait_group_try_wait(&group));
    GIVES(-POLY_EFORKED, poly_runtime_describe(runtime, NULL, 0));
    GIVES(-EPERM, poly_scope_close(&scope));
}

static int64_t seven(void *argument)
{
    UNUSED(argument);
    return 7;
}

static void in_the_child(poly_fiber parent_fiber)
{
    poly_counters counters = POLY_COUNTERS_INIT;
    poly_runtime *fresh;
    int64_t result = 0;
    int ends[2];
    char byte;
    void *item;
    alarm(20);
    CHECK(POLY_EFORKED == EOWNERDEAD);
    GIVES(-POLY_EFORKED, poly_spawn(runtime, seven, NULL, NULL));
    GIVES(-POLY_EFORKED, poly_spawn_on(runtime, 0, seven, NULL, NULL));
    GIVES(-POLY_EFORKED, poly_spawn_as(runtime, POLY_SPAWN_MIGRATABLE, seven, NULL, NULL));
    GIVES(-POLY_EFORKED, poly_runtime_fibers(runtime, NULL, 0));
    GIVES(-POLY_EFORKED, poly_runtime_run(runtime, seven, NULL, NULL));
    GIVES(-POLY_EFORKED, poly_runtime_shutdown(runtime, POLY_FOREVER));
    GIVES(-POLY_EFORKED, poly_stats(runtime, &counters));
    GIVES(-POLY_EFORKED, poly_channel_recv(channel, &item));
    nothing_is_the_childs();
    GIVES(-EPERM, poly_spawn(NULL, seven, NULL, NULL));
    GIVES(-ESRCH, poly_join(parent_fiber, NULL));
    GIVES(0, poly_yield());
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    GIVES(1, poly_write(ends[1], "x", 1));
    GIVES(1, poly_read(ends[0], &byte, 1));
    GIVES(0, poly_runtime_new(NULL, &fresh));
    GIVES(0, poly_runtime_run(fresh, seven, NULL, &result));
    CHECK(result == 7);
    GIVES(0, poly_runtime_free(fresh));
    GIVES(0, poly_channel_free(channel));
    GIVES(0, poly_runtime_free(runtime));
    _exit(0);
}

static int64_t fork_here(void *argument)
{
    poly_fiber other;
    siginfo_t info;
    pid_t child;
    UNUSED(argument);
    GIVES(0, poly_channel_new(0, &channel));
    GIVES(0, poly_channel_length(channel));
    use_everything();
    GIVES(0, poly_scope_open(&scope, POLY_FOREVER));
    GIVES(0, poly_on_exit(say, &last_words));
    GIVES(0, poly_spawn(NULL, seven, NULL, &other));
    child = fork();
    if (child == 0)
        in_the_child(other);
    memset(&info, 0, sizeof info);
    GIVES(0, poly_waitid(P_PID, (uint32_t)child, &info, WEXITED));
    CHECK(info.si_code == CLD_EXITED && info.si_status == 0);
    GIVES(0, poly_join(other, NULL));
    /* A child whose fiber returns ends: it does not run its parent's fibers a second time. */
    child = fork();
    if (child == 0)
        return 0;
    GIVES(0, poly_waitid(P_PID, (uint32_t)child, &info, WEXITED));
    CHECK(info.si_code == CLD_EXITED && info.si_status == 0);
    GIVES(0, poly_channel_free(channel));
    GIVES(0, poly_scope_close(&scope));
    GIVES(0, poly_mutex_unlock(&mutex));
    return 0;
}

static volatile int stop;

static void *make_and_free(void *argument)
{
    poly_channel *mine;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        GIVES(0, poly_channel_new(1, &mine));
        GIVES(0, poly_channel_free(mine));
    }
    return argument;
}

/* Whatever another thread is in the middle of. */
static void forks_at_any_moment(void)
{
    poly_channel *mine;
    pthread_t other;
    int each, status;
    pid_t child;
    CHECK(pthread_create(&other, NULL, make_and_free, NULL) == 0);
    for (each = 0; each < 100; each++) {
        child = fork();
        if (child == 0) {
            alarm(20);
            GIVES(0, poly_channel_new(1, &mine));
            GIVES(0, poly_channel_free(mine));
            _exit(0);
        }
        CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    CHECK(pthread_join(other, NULL) == 0);
}

int main(void)
{
    in_a_fiber(fork_here);
    forks_at_any_moment();
    return 0;
}
