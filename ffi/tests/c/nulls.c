/* NULL where there must be something is answered by an error, by each function that takes a pointer; where NULL may
 * stand it is fine. */
#include "check.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int64_t nothing(void *argument)
{
    UNUSED(argument);
    return 0;
}

static int64_t objects(void *argument)
{
    poly_mutex mutex = POLY_MUTEX_INIT;
    void *item;
    UNUSED(argument);
    GIVES(-EINVAL, poly_runtime_new(NULL, NULL));
    GIVES(-EINVAL, poly_runtime_run(NULL, nothing, NULL, NULL));
    GIVES(-EINVAL, poly_runtime_run(runtime, NULL, NULL, NULL));
    GIVES(-EINVAL, poly_runtime_shutdown(NULL, 0));
    GIVES(-EINVAL, poly_runtime_fibers(NULL, NULL, 0));
    GIVES(-EINVAL, poly_runtime_workers(NULL));
    GIVES(0, poly_runtime_free(NULL));
    QUIETLY(poly_runtime_describe(NULL) == NULL);
    GIVES(-EINVAL, poly_stats(NULL, NULL));
    GIVES(-EINVAL, poly_stats(runtime, NULL));
    GIVES(-EINVAL, poly_spawn(NULL, NULL, NULL, NULL));
    GIVES(-EINVAL, poly_spawn_as(NULL, 0, NULL, NULL, NULL));
    GIVES(-EINVAL, poly_spawn_on(NULL, 0, NULL, NULL, NULL));
    GIVES(-EINVAL, poly_offload(NULL, NULL, NULL));
    GIVES(0, poly_offload(nothing, NULL, NULL));
    GIVES(-EINVAL, poly_self(NULL));
    GIVES(-EINVAL, poly_scope_open(NULL, POLY_FOREVER));

    GIVES(-EINVAL, poly_channel_new(1, NULL));
    GIVES(-EINVAL, poly_channel_send(NULL, NULL));
    GIVES(-EINVAL, poly_channel_try_send(NULL, NULL));
    GIVES(-EINVAL, poly_channel_recv(NULL, &item));
    GIVES(-EINVAL, poly_channel_recv(NULL, NULL));
    GIVES(-EINVAL, poly_channel_try_recv(NULL, &item));
    GIVES(-EINVAL, poly_channel_close(NULL));
    GIVES(-EINVAL, poly_channel_length(NULL));
    GIVES(0, poly_channel_free(NULL));

    GIVES(-EINVAL, poly_mutex_lock(NULL));
    GIVES(-EINVAL, poly_mutex_try_lock(NULL));
    GIVES(-EINVAL, poly_mutex_unlock(NULL));
    GIVES(-EINVAL, poly_condition_wait(NULL, &mutex));
    GIVES(-EINVAL, poly_condition_signal(NULL));
    GIVES(-EINVAL, poly_condition_broadcast(NULL));
    GIVES(-EINVAL, poly_semaphore_acquire(NULL, 1));
    GIVES(-EINVAL, poly_semaphore_try_acquire(NULL, 1));
    GIVES(-EINVAL, poly_semaphore_release(NULL, 1));
    GIVES(-EINVAL, poly_event_wait(NULL));
    GIVES(-EINVAL, poly_event_set(NULL));
    GIVES(-EINVAL, poly_event_reset(NULL));
    GIVES(-EINVAL, poly_event_is_set(NULL));
    return 0;
}

static int64_t buffers(void *argument)
{
    int ends[2], sockets[2];
    UNUSED(argument);
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
    CHECK(write(ends[1], "12345678", 8) == 8 && write(sockets[1], "12345678", 8) == 8);
    GIVES(-EFAULT, poly_read(ends[0], NULL, 8));
    GIVES(-EFAULT, poly_write(ends[1], NULL, 8));
    GIVES(-EFAULT, poly_readv(ends[0], NULL, 1));
    GIVES(-EFAULT, poly_writev(ends[1], NULL, 1));
    GIVES(-EBADF, poly_pread(-1, NULL, 8, 0));
    GIVES(-EBADF, poly_pwrite(-1, NULL, 8, 0));
    GIVES(-EFAULT, poly_recv(sockets[0], NULL, 8, 0));
    GIVES(-EFAULT, poly_send(sockets[0], NULL, 8, 0));
    GIVES(-EFAULT, poly_recvmsg(sockets[0], NULL, 0));
    GIVES(-EFAULT, poly_sendmsg(sockets[0], NULL, 0));
    GIVES(-EINVAL, poly_accept(sockets[0], NULL, NULL, 0)); /* it does not listen */
    GIVES(-EFAULT, poly_connect(sockets[0], NULL, 2));
    GIVES(-EFAULT, poly_openat(AT_FDCWD, NULL, O_RDONLY, 0));
    GIVES(-EFAULT, poly_statx(AT_FDCWD, "/", 0, STATX_MODE, NULL));
    GIVES(-ECHILD, poly_waitid(P_ALL, 0, NULL, WEXITED));
    GIVES(0, poly_close(ends[0]));
    GIVES(0, poly_close(ends[1]));
    GIVES(0, poly_close(sockets[0]));
    GIVES(0, poly_close(sockets[1]));
    return 0;
}

static int64_t results(void *argument)
{
    poly_fiber fiber;
    UNUSED(argument);
    GIVES(-EINVAL, poly_runtime_fibers(runtime, NULL, 1));
    GIVES(1, poly_runtime_fibers(runtime, NULL, 0));
    GIVES(-EINVAL, poly_scope_close(NULL));
    GIVES(0, poly_spawn(NULL, nothing, NULL, &fiber));
    GIVES(0, poly_join(fiber, NULL));
    return 0;
}

int main(void)
{
    poly_options options = POLY_OPTIONS_INIT;
    options.workers = 1;
    GIVES(0, poly_runtime_new(&options, &runtime));
    CHECK(objects(NULL) == 0 && buffers(NULL) == 0); /* outside a fiber */
    GIVES(0, poly_runtime_free(runtime));
    in_a_fiber(objects);
    in_a_fiber(buffers);
    in_a_fiber(results);
    return 0;
}
