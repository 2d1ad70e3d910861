/* What the debug mode says of wrong objects. Each call is refused; the test that runs this reads standard error. */
#include "check.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>

static poly_channel *freed_in_a_fiber;

/* What the next complaint must say, in the order in which they come. */
static void expect(const char *function, const void *address, const char *what)
{
    if (address == NULL)
        printf("polyphony: %s: NULL %s\n", function, what);
    else
        printf("polyphony: %s: %#llx %s\n", function, (unsigned long long)(uintptr_t)address, what);
}

static int64_t free_it(void *argument)
{
    poly_fiber self;
    char what[64];
    UNUSED(argument);
    GIVES(0, poly_self(&self));
    GIVES(0, poly_fiber_set_name(self, "culprit"));
    GIVES(0, poly_channel_free(freed_in_a_fiber));
    snprintf(what, sizeof what, "was freed by fiber %#llx \"culprit\"", (unsigned long long)self.id);
    expect("poly_channel_free", freed_in_a_fiber, what);
    GIVES(-EINVAL, poly_channel_free(freed_in_a_fiber));
    expect("poly_channel_send", freed_in_a_fiber, what);
    GIVES(-EINVAL, poly_channel_send(freed_in_a_fiber, NULL));
    return 0;
}

static void nothing(void *argument)
{
    UNUSED(argument);
}

static int64_t wrong_kinds(void *argument)
{
    poly_mutex mutex = POLY_MUTEX_INIT, copy;
    poly_semaphore semaphore = POLY_SEMAPHORE_INIT;
    poly_event event = POLY_EVENT_INIT;
    poly_rwlock lock = POLY_RWLOCK_INIT;
    poly_once once = POLY_ONCE_INIT;
    poly_wait_group group = POLY_WAIT_GROUP_INIT;
    poly_condition condition = POLY_CONDITION_INIT;
    poly_channel *channel;
    UNUSED(argument);
    GIVES(0, poly_channel_new(1, &channel));
    expect("poly_runtime_workers", channel, "is a poly_channel");
    GIVES(-EINVAL, poly_runtime_workers((poly_runtime *)channel));
    expect("poly_channel_close", runtime, "is a poly_runtime");
    GIVES(-EINVAL, poly_channel_close((poly_channel *)runtime));
    expect("poly_runtime_describe", channel, "is a poly_channel");
    GIVES(-EINVAL, poly_runtime_describe((poly_runtime *)channel, NULL, 0));
    expect("poly_channel_length", NULL, "is no poly_channel");
    GIVES(-EINVAL, poly_channel_length(NULL));
    expect("poly_channel_try_send", &semaphore, "is no poly_channel");
    GIVES(-EINVAL, poly_channel_try_send((poly_channel *)&semaphore, NULL));
    GIVES(0, poly_channel_free(channel));

    GIVES(0, poly_mutex_lock(&mutex));
    expect("poly_semaphore_acquire", &mutex, "is a poly_mutex");
    GIVES(-EINVAL, poly_semaphore_acquire((poly_semaphore *)&mutex, 1));
    GIVES(0, poly_semaphore_release(&semaphore, 2));
    expect("poly_event_set", &semaphore, "is a poly_semaphore");
    GIVES(-EINVAL, poly_event_set((poly_event *)&semaphore));
    GIVES(0, poly_event_set(&event));
    expect("poly_rwlock_read", &event, "is a poly_event");
    GIVES(-EINVAL, poly_rwlock_read((poly_rwlock *)&event));
    GIVES(0, poly_rwlock_read(&lock));
    expect("poly_once_run", &lock, "is a poly_rwlock");
    GIVES(-EINVAL, poly_once_run((poly_once *)&lock, nothing, NULL));
    GIVES(0, poly_rwlock_unlock(&lock));
    GIVES(0, poly_once_run(&once, nothing, NULL));
    expect("poly_wait_group_done", &once, "is a poly_once");
    GIVES(-EINVAL, poly_wait_group_done((poly_wait_group *)&once));
    GIVES(0, poly_wait_group_add(&group, 1));
    expect("poly_mutex_lock", &group, "is a poly_wait_group");
    GIVES(-EINVAL, poly_mutex_lock((poly_mutex *)&group));
    GIVES(0, poly_condition_signal(&condition));
    expect("poly_mutex_try_lock", &condition, "is a poly_condition");
    GIVES(-EINVAL, poly_mutex_try_lock((poly_mutex *)&condition));
    expect("poly_condition_wait", &semaphore, "is a poly_semaphore");
    GIVES(-EINVAL, poly_condition_wait((poly_condition *)&semaphore, &mutex));
    copy = mutex;
    expect("poly_mutex_unlock", &copy, "is no poly_mutex: it was not all zeros when it was first used");
    GIVES(-EINVAL, poly_mutex_unlock(&copy));
    GIVES(0, poly_mutex_unlock(&mutex));
    return 0;
}

/* What is freed while it suspends, too. */
static int64_t files_and_acceptors(void *argument)
{
    poly_directory *directory;
    poly_directory_entry entry;
    poly_acceptor *acceptor;
    poly_fiber self;
    char what[64];
    int listener = poly_tcp_listen("127.0.0.1", "0", 8, 0);
    UNUSED(argument);
    GIVES(0, poly_self(&self));
    snprintf(what, sizeof what, "was freed by fiber %#llx", (unsigned long long)self.id);
    GIVES(0, poly_directory_new(AT_FDCWD, "/", &directory));
    GIVES(0, poly_acceptor_new(listener, SOCK_CLOEXEC, &acceptor));
    expect("poly_directory_next", acceptor, "is a poly_acceptor");
    GIVES(-EINVAL, poly_directory_next((poly_directory *)acceptor, &entry));
    expect("poly_acceptor_next", directory, "is a poly_directory");
    GIVES(-EINVAL, poly_acceptor_next((poly_acceptor *)directory));
    GIVES(0, poly_directory_free(directory));
    GIVES(0, poly_acceptor_free(acceptor));
    expect("poly_directory_free", directory, what);
    GIVES(-EINVAL, poly_directory_free(directory));
    expect("poly_acceptor_next", acceptor, what);
    GIVES(-EINVAL, poly_acceptor_next(acceptor));
    expect("poly_acceptor_free", acceptor, what);
    GIVES(-EINVAL, poly_acceptor_free(acceptor));
    return poly_close(listener);
}

/* What is copied: a copy of what is gone is known, though its number may be another's by then. */
static int64_t buffers_and_processes(void *argument)
{
    const char *program[] = {"true", NULL};
    poly_process_options options = POLY_PROCESS_OPTIONS_INIT;
    poly_process process, early, junk = {1, 0};
    poly_buf buffer, copy, other, wild;
    poly_fiber self;
    char what[64];
    int ends[2];
    UNUSED(argument);
    GIVES(0, poly_self(&self));
    snprintf(what, sizeof what, "was freed by fiber %#llx", (unsigned long long)self.id);

    CHECK(pipe(ends) == 0 && write(ends[1], "ab", 2) == 2);
    GIVES(1, poly_read_buffer(ends[0], 1, &buffer));
    copy = buffer;
    GIVES(0, poly_buf_release(&buffer));
    GIVES(1, poly_read_buffer(ends[0], 1, &other));
    expect("poly_buf_release", &copy, what);
    GIVES(-EINVAL, poly_buf_release(&copy));
    CHECK(*(const char *)other.data == 'b');
    GIVES(0, poly_buf_release(&other));
    GIVES(0, poly_buf_release(&other));
    memset(&wild, 'x', sizeof wild);
    expect("poly_buf_release", &wild, "is no poly_buf");
    GIVES(-EINVAL, poly_buf_release(&wild));

    options.argv = program;
    GIVES(0, poly_process_spawn(&options, &process));
    early = process;
    GIVES(0, poly_process_wait(&process, NULL));
    CHECK(dup2(ends[0], early.pidfd) == early.pidfd); /* somebody else's by now */
    expect("poly_process_close", &early, what);
    GIVES(-EINVAL, poly_process_close(&early));
    expect("poly_process_kill", &early, what);
    GIVES(-EINVAL, poly_process_kill(&early, 0));
    expect("poly_process_wait", &junk, "is no poly_process");
    GIVES(-EINVAL, poly_process_wait(&junk, NULL));
    GIVES(0, poly_process_close(&process));
    GIVES(0, poly_close(early.pidfd));
    GIVES(0, poly_close(ends[0]));
    GIVES(0, poly_close(ends[1]));
    return 0;
}

/* The child of a fork knows what is its own, and what its parent had freed; what is the parent's says so itself. */
static void in_a_child(void)
{
    poly_channel *parents, *own, *freed;
    char what[64];
    int status;
    pid_t child;
    GIVES(0, poly_channel_new(1, &parents));
    GIVES(0, poly_channel_length(parents)); /* from now on it is used */
    GIVES(0, poly_channel_new(1, &freed));
    GIVES(0, poly_channel_free(freed));
    snprintf(what, sizeof what, "was freed by thread %d", (int)getpid());
    fflush(stdout);
    child = fork();
    if (child == 0) {
        GIVES(-POLY_EFORKED, poly_channel_close(parents));
        expect("poly_channel_free", freed, what);
        GIVES(-EINVAL, poly_channel_free(freed));
        GIVES(0, poly_channel_new(1, &own));
        expect("poly_runtime_workers", own, "is a poly_channel");
        GIVES(-EINVAL, poly_runtime_workers((poly_runtime *)own));
        exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    GIVES(0, poly_channel_free(parents));
}

int main(int count, char **arguments)
{
    poly_runtime *gone;
    char what[64];
    GIVES(0, poly_channel_new(1, &freed_in_a_fiber));
    if (count > 1 && strcmp(arguments[1], "abort") == 0) {
        poly_channel_close((poly_channel *)&gone);
        return 0;
    }
    in_a_fiber(free_it);
    in_a_fiber(wrong_kinds);
    in_a_fiber(files_and_acceptors);
    in_a_fiber(buffers_and_processes);
    gone = runtime; /* in_a_fiber has freed it, and this thread did */
    snprintf(what, sizeof what, "was freed by thread %d", (int)getpid());
    expect("poly_runtime_free", gone, what);
    GIVES(-EINVAL, poly_runtime_free(gone));
    expect("poly_runtime_run", gone, what);
    GIVES(-EINVAL, poly_runtime_run(gone, free_it, NULL, NULL));
    in_a_child();
    return 0;
}
