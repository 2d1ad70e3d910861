/* Processes. */
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

/* Options to run a shell command. */
static poly_process_options shell(const char *const *argv)
{
    poly_process_options options = POLY_PROCESS_OPTIONS_INIT;
    options.argv = argv;
    return options;
}

static int64_t statuses(void *argument)
{
    const char *seven[] = { "sh", "-c", "exit 7", NULL }, *killed[] = { "sleep", "1000", NULL };
    const char *nothing[] = { "no-such-program", NULL }, *none[] = { NULL };
    poly_process_options options = shell(seven);
    poly_process process, other;
    poly_process_fd wrong = { 1, 1 << 20 };
    int status = 0;
    UNUSED(argument);
    GIVES(0, poly_process_spawn(&options, &process));
    CHECK(process.pid > 0 && process.pidfd >= 0);
    GIVES(0, poly_process_wait(&process, &status));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7 && process.pidfd == -1);
    GIVES(-ECHILD, poly_process_wait(&process, &status));
    GIVES(-ECHILD, poly_process_kill(&process, 0));
    GIVES(0, poly_process_close(&process));
    options = shell(killed);
    GIVES(0, poly_process_spawn(&options, &process));
    options = shell(seven);
    GIVES(0, poly_process_spawn(&options, &other)); /* whose status is not the first one's */
    GIVES(0, poly_process_kill(&process, 0));
    GIVES(0, poly_process_kill(&process, SIGTERM));
    GIVES(0, poly_process_wait(&process, &status));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    GIVES(0, poly_process_wait(&other, NULL));
    options = shell(nothing);
    GIVES(-ENOENT, poly_process_spawn(&options, &process));
    options.file = "/dev/null";
    GIVES(-EACCES, poly_process_spawn(&options, &process));
    options.file = "true";
    options.directory = "/no/such/directory";
    GIVES(-ENOENT, poly_process_spawn(&options, &process));
    options = shell(seven);
    options.descriptors = &wrong;
    options.descriptor_count = 1;
    GIVES(-EBADF, poly_process_spawn(&options, &process));
    options.descriptors = NULL;
    GIVES(-EINVAL, poly_process_spawn(&options, &process));
    options = shell(none);
    GIVES(-EINVAL, poly_process_spawn(&options, &process));
    options = shell(NULL);
    GIVES(-EINVAL, poly_process_spawn(&options, &process));
    options = shell(seven);
    options.flags = 64;
    GIVES(-EINVAL, poly_process_spawn(&options, &process));
    options.size++;
    GIVES(-E2BIG, poly_process_spawn(&options, &process));
    GIVES(-EINVAL, poly_process_spawn(&options, NULL));
    GIVES(-EINVAL, poly_process_spawn(NULL, &process));
    GIVES(-EINVAL, poly_process_wait(NULL, NULL));
    GIVES(-EINVAL, poly_process_kill(NULL, 0));
    GIVES(-EINVAL, poly_process_close(NULL));
    return 0;
}

/* The child has the descriptors that it is given, crosswise too, its directory, its environment. */
static int64_t surroundings(void *argument)
{
    const char *script[] = { "sh", "-c", "cat <&5; echo in $(pwd) with $WORD; echo wrong >&2; read none", NULL };
    const char *environment[] = { "WORD=polyphony", "PATH=/usr/bin:/bin", NULL };
    const char *expected = "from five in / with polyphony\n";
    poly_process_options options = shell(script);
    poly_process_fd given[4];
    poly_process process;
    char said[128] = "";
    int in[2], out[2], errors[2], status;
    UNUSED(argument);
    CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 && pipe2(errors, O_CLOEXEC) == 0);
    CHECK(in[0] < 30 && errors[1] < 30);
    given[0].child = 1, given[0].parent = out[1];
    given[1].child = 2, given[1].parent = errors[1];
    given[2].child = 5, given[2].parent = in[0];
    given[3].child = 0, given[3].parent = -1;
    options.envp = environment;
    options.directory = "/";
    options.descriptors = given;
    options.descriptor_count = 4;
    options.flags = POLY_PROCESS_GROUP;
    GIVES(0, poly_process_spawn(&options, &process));
    CHECK(getpgid(process.pid) == process.pid || getpgid(process.pid) < 0);
    GIVES(0, poly_close(out[1]));
    GIVES(0, poly_close(errors[1]));
    GIVES(0, poly_close(in[0]));
    GIVES(10, poly_write(in[1], "from five ", 10));
    GIVES(0, poly_close(in[1]));
    GIVES(strlen(expected), poly_read_exactly(out[0], said, sizeof said));
    CHECK(strcmp(said, expected) == 0);
    memset(said, 0, sizeof said);
    GIVES(6, poly_read_exactly(errors[0], said, sizeof said));
    CHECK(strcmp(said, "wrong\n") == 0);
    GIVES(0, poly_process_wait(&process, &status));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1); /* there was nothing to read */
    GIVES(0, poly_close(out[0]));
    GIVES(0, poly_close(errors[0]));
    return 0;
}

/* A wait that runs out of time takes nothing with it, and nobody's status is anybody else's. */
static int64_t waits_are_interrupted(void *argument)
{
    const char *sleeps[] = { "sleep", "1000", NULL };
    poly_process_options options = shell(sleeps);
    poly_process process;
    poly_scope scope;
    int round, status;
    pid_t stranger = fork();
    UNUSED(argument);
    if (stranger == 0)
        _exit(3);
    GIVES(0, poly_process_spawn(&options, &process));
    for (round = 0; round < 50; round++) {
        GIVES(0, poly_scope_open(&scope, poly_now() + 100000));
        GIVES(-ETIMEDOUT, poly_process_wait(&process, &status));
        GIVES(-ETIMEDOUT, poly_scope_close(&scope));
    }
    GIVES(0, poly_process_kill(&process, SIGKILL));
    GIVES(POLLIN, poly_poll(process.pidfd, POLLIN));
    GIVES(0, poly_process_wait(&process, &status));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    CHECK(waitpid(stranger, &status, 0) == stranger && WEXITSTATUS(status) == 3);
    GIVES(0, poly_process_spawn(&options, &process));
    GIVES(0, poly_process_kill(&process, SIGKILL));
    stranger = process.pid;
    GIVES(0, poly_process_close(&process)); /* left to somebody else */
    CHECK(process.pidfd == -1 && waitpid(stranger, NULL, 0) == stranger);
    return 0;
}

int main(void)
{
    poly_entry everywhere[] = { statuses, surroundings };
    size_t each;
    for (each = 0; each < sizeof everywhere / sizeof *everywhere; each++) {
        alarm(60);
        CHECK(everywhere[each](NULL) == 0); /* outside a fiber: the plain system calls */
        in_a_fiber(everywhere[each]);
    }
    in_a_fiber(waits_are_interrupted);
    return 0;
}
