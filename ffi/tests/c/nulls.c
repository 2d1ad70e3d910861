/* NULL where there must be something is answered by an error, by each function that takes a pointer; where NULL may
 * stand it is fine. */
#include "check.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int64_t nothing(void *argument)
{
    UNUSED(argument);
    return 0;
}

static void runtimes(void)
{
    GIVES(-EINVAL, poly_runtime_new(NULL, NULL));
    GIVES(-EINVAL, poly_runtime_run(NULL, nothing, NULL, NULL));
    GIVES(-EINVAL, poly_runtime_run(runtime, NULL, NULL, NULL));
    GIVES(-EINVAL, poly_runtime_shutdown(NULL, 0));
    GIVES(-EINVAL, poly_runtime_fibers(NULL, NULL, 0));
    GIVES(-EINVAL, poly_runtime_workers(NULL));
    GIVES(0, poly_runtime_free(NULL));
    GIVES(-EINVAL, poly_runtime_describe(NULL, NULL, 0));
    GIVES(-EINVAL, poly_runtime_describe(runtime, NULL, 1));
    GIVES(-EINVAL, poly_stats(NULL, NULL));
    GIVES(-EINVAL, poly_stats(runtime, NULL));
    GIVES(-EINVAL, poly_spawn(NULL, NULL, NULL, NULL));
    GIVES(-EINVAL, poly_spawn_as(NULL, 0, NULL, NULL, NULL));
    GIVES(-EINVAL, poly_spawn_on(NULL, 0, NULL, NULL, NULL));
    GIVES(-EINVAL, poly_offload(NULL, NULL, NULL));
    GIVES(0, poly_offload(nothing, NULL, NULL));
    GIVES(-EINVAL, poly_self(NULL));
    GIVES(-EINVAL, poly_try_offload(NULL, NULL));
}

static void scopes_and_belongings(void)
{
    poly_fiber nobody;
    poly_local_key none;
    char name[POLY_NAME_ROOM];
    nobody.id = 0;
    none.id = POLY_MOST_LOCAL_KEYS;
    GIVES(-EINVAL, poly_scope_open(NULL, POLY_FOREVER));
    GIVES(-EINVAL, poly_scope_spawn(NULL, 0, nothing, NULL, NULL));
    GIVES(-EINVAL, poly_scope_cancel(NULL));
    GIVES(-EINVAL, poly_scope_close(NULL));
    GIVES(-EINVAL, poly_fiber_set_name(nobody, NULL));
    GIVES(-ESRCH, poly_fiber_name(nobody, name, sizeof name));
    GIVES(-EINVAL, poly_local_key_create(NULL, NULL));
    GIVES(-EINVAL, poly_local_set(none, NULL));
    QUIETLY(poly_local_get(none) == NULL);
    GIVES(-EINVAL, poly_on_exit(NULL, NULL));
}

static void channels(void)
{
    void *item;
    poly_case none;
    GIVES(-EINVAL, poly_channel_new(1, NULL));
    GIVES(-EINVAL, poly_channel_send(NULL, NULL));
    GIVES(-EINVAL, poly_channel_try_send(NULL, NULL));
    GIVES(-EINVAL, poly_channel_recv(NULL, &item));
    GIVES(-EINVAL, poly_channel_recv(NULL, NULL));
    GIVES(-EINVAL, poly_channel_try_recv(NULL, &item));
    GIVES(-EINVAL, poly_channel_close(NULL));
    GIVES(-EINVAL, poly_channel_length(NULL));
    memset(&none, 0, sizeof none);
    GIVES(-EINVAL, poly_select(NULL, 1, 0));
    GIVES(-EINVAL, poly_select(&none, 1, 0));
    GIVES(0, poly_channel_free(NULL));
}

static void call_it(void *argument)
{
    UNUSED(argument);
}

static void locks(void)
{
    poly_mutex mutex = POLY_MUTEX_INIT;
    poly_condition condition = POLY_CONDITION_INIT;
    poly_once once = POLY_ONCE_INIT;
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
    GIVES(-EINVAL, poly_rwlock_read(NULL));
    GIVES(-EINVAL, poly_rwlock_write(NULL));
    GIVES(-EINVAL, poly_rwlock_try_read(NULL));
    GIVES(-EINVAL, poly_rwlock_try_write(NULL));
    GIVES(-EINVAL, poly_rwlock_unlock(NULL));
    GIVES(-EINVAL, poly_once_run(NULL, call_it, NULL));
    GIVES(-EINVAL, poly_once_run(&once, NULL, NULL));
    GIVES(-EINVAL, poly_wait_group_add(NULL, 1));
    GIVES(-EINVAL, poly_wait_group_done(NULL));
    GIVES(-EINVAL, poly_wait_group_wait(NULL));
    GIVES(-EINVAL, poly_wait_group_try_wait(NULL));
}

static void servers(void)
{
    poly_process_options program = POLY_PROCESS_OPTIONS_INIT;
    poly_process process;
    GIVES(-EINVAL, poly_tcp_connect(NULL, "80", 0));
    GIVES(-EINVAL, poly_tcp_connect("127.0.0.1", NULL, 0));
    GIVES(-EINVAL, poly_tcp_listen(NULL, NULL, 8, 0));
    GIVES(-EINVAL, poly_udp_bind(NULL, NULL, 0));
    GIVES(-EINVAL, poly_udp_connect(NULL, NULL, 0));
    GIVES(-EINVAL, poly_unix_connect(NULL));
    GIVES(-EINVAL, poly_unix_listen(NULL, 8));
    GIVES(-EINVAL, poly_acceptor_new(-1, 0, NULL));
    GIVES(-EINVAL, poly_acceptor_next(NULL));
    GIVES(0, poly_acceptor_free(NULL));
    GIVES(-EINVAL, poly_process_spawn(NULL, &process));
    GIVES(-EINVAL, poly_process_spawn(&program, &process)); /* it has no arguments */
    GIVES(-EINVAL, poly_process_spawn(&program, NULL));
    GIVES(-EINVAL, poly_process_wait(NULL, NULL));
    GIVES(-EINVAL, poly_process_kill(NULL, SIGTERM));
    GIVES(-EINVAL, poly_process_close(NULL));
    GIVES(-EINVAL, poly_signal_open(NULL, 1));
    GIVES(-EINVAL, poly_signal_next(-1, NULL));
    GIVES(-EINVAL, poly_ticker_start(NULL, 1, 0));
    GIVES(-EINVAL, poly_ticker_wait(NULL));
}

static void files(void)
{
    poly_directory *directory;
    GIVES(-EFAULT, poly_renameat(AT_FDCWD, NULL, AT_FDCWD, "nowhere", 0));
    GIVES(-EFAULT, poly_unlinkat(AT_FDCWD, NULL, 0));
    GIVES(-EFAULT, poly_mkdirat(AT_FDCWD, NULL, 0700));
    GIVES(-EINVAL, poly_read_exactly(0, NULL, 1));
    GIVES(-EINVAL, poly_write_all(1, NULL, 1));
    GIVES(-EINVAL, poly_directory_new(AT_FDCWD, NULL, &directory));
    GIVES(-EINVAL, poly_directory_new(AT_FDCWD, "/", NULL));
    GIVES(-EINVAL, poly_directory_next(NULL, NULL));
    GIVES(0, poly_directory_new(AT_FDCWD, "/", &directory));
    GIVES(-EINVAL, poly_directory_next(directory, NULL));
    GIVES(0, poly_directory_free(directory));
    GIVES(0, poly_directory_free(NULL));
}

static int64_t objects(void *argument)
{
    UNUSED(argument);
    runtimes();
    channels();
    locks();
    servers();
    files();
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
    GIVES(-EINVAL, poly_read_buffer(ends[0], 8, NULL));
    GIVES(-EINVAL, poly_recv_buffer(sockets[0], 8, 0, NULL));
    GIVES(-EINVAL, poly_buf_release(NULL));
    GIVES(-EFAULT, poly_recvfrom(sockets[0], NULL, 8, 0, NULL, NULL));
    GIVES(-EFAULT, poly_sendto(sockets[0], NULL, 8, 0, NULL, 0));
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
    scopes_and_belongings();
    GIVES(0, poly_spawn(NULL, nothing, NULL, &fiber));
    GIVES(0, poly_join(fiber, NULL));
    return 0;
}

int main(void)
{
    poly_runtime_options options = POLY_RUNTIME_OPTIONS_INIT;
    options.workers = 1;
    GIVES(0, poly_runtime_new(&options, &runtime));
    CHECK(objects(NULL) == 0 && buffers(NULL) == 0); /* outside a fiber */
    GIVES(0, poly_runtime_free(runtime));
    in_a_fiber(objects);
    in_a_fiber(buffers);
    in_a_fiber(results);
    return 0;
}
