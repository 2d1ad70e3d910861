/* A stack that is too small is a crash that says whose stack it was. */
#include "check.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* Deeper than any stack is. */
static int64_t dig(int64_t depth)
{
    volatile char frame[512];
    frame[0] = (char)depth;
    return depth < 100000 ? dig(depth + 1) + frame[0] : 0;
}

static int64_t dig_deep(void *argument)
{
    poly_fiber self;
    CHECK(poly_self(&self) == 0);
    if (argument != NULL)
        CHECK(poly_fiber_set_name(self, (const char *)argument) == 0);
    fprintf(stderr, "I am %#llx\n", (unsigned long long)self.id);
    return dig(0);
}

/* In the second of two fibers on a worker of its own, after it has suspended. */
static int64_t dig_among_others(void *argument)
{
    static char name[] = "digger";
    poly_fiber other;
    UNUSED(argument);
    CHECK(poly_spawn_on(NULL, 1, dig_deep, name, &other) == 0);
    return poly_join(other, NULL);
}

static volatile uintptr_t nowhere = 8;

static int64_t write_to_nowhere(void *argument)
{
    UNUSED(argument);
    *(volatile char *)nowhere = 1;
    return 0;
}

static int64_t send_the_signal(void *argument)
{
    UNUSED(argument);
    raise(SIGSEGV);
    return poly_sleep(POLY_FOREVER);
}

static void leave(int signal)
{
    UNUSED(signal);
    if (write(2, "mine\n", 5) == 5)
        _exit(7);
}

static void leave_with_address(int signal, siginfo_t *info, void *context)
{
    UNUSED(context);
    if (info->si_addr != NULL)
        leave(signal);
}

static void handle_without_address(void)
{
    signal(SIGSEGV, leave);
}

static void handle_with_address(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = leave_with_address;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, NULL);
}

static void ask_for_silence(void)
{
    setenv("POLYPHONY_OVERFLOW", "0", 1);
}

static void prepare_nothing(void)
{
}

static char said[4096];

/* Runs a fiber in a child with stacks of that size; what it says on standard error is in `said`. */
static int end_of(poly_entry entry, size_t stack_size, void (*prepare)(void))
{
    int status, ends[2];
    size_t length = 0;
    ssize_t count;
    pid_t child;
    CHECK(pipe(ends) == 0);
    child = fork();
    if (child == 0) {
        struct rlimit none = { 0, 0 };
        poly_runtime_options options = POLY_RUNTIME_OPTIONS_INIT;
        setrlimit(RLIMIT_CORE, &none);
        dup2(ends[1], 2);
        alarm(60);
        prepare();
        options.workers = 2;
        options.stack_size = stack_size;
        CHECK(poly_runtime_new(&options, &runtime) == 0);
        poly_runtime_run(runtime, entry, NULL, NULL);
        _exit(0);
    }
    close(ends[1]);
    while ((count = read(ends[0], said + length, sizeof said - 1 - length)) > 0)
        length += (size_t)count;
    said[length] = 0;
    close(ends[0]);
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    return status;
}

static int dies(int status)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

/* Whether it has said that of the fiber that has named itself. */
static int has_named(const char *title, const char *size)
{
    char expected[128];
    unsigned long long id;
    const char *name = strstr(said, "I am ");
    CHECK(name != NULL && sscanf(name, "I am %llx", &id) == 1);
    snprintf(expected, sizeof expected, "polyphony: fiber %#llx%s has overrun its stack of %s\n", id, title, size);
    return strstr(said, expected) != NULL;
}

int main(void)
{
    CHECK(dies(end_of(dig_deep, 0, prepare_nothing)));
    CHECK(has_named("", "64 KiB"));
    CHECK(dies(end_of(dig_among_others, 0, prepare_nothing)));
    CHECK(has_named(" \"digger\"", "64 KiB"));
    CHECK(dies(end_of(dig_deep, 300000, prepare_nothing)));
    CHECK(has_named("", "1024 KiB"));
    CHECK(dies(end_of(dig_deep, 0, ask_for_silence)));
    CHECK(strstr(said, "polyphony:") == NULL);

    /* Other faults, and those of a program that handles them itself, are as they were. */
    CHECK(dies(end_of(write_to_nowhere, 0, prepare_nothing)));
    CHECK(strcmp(said, "") == 0);
    CHECK(dies(end_of(send_the_signal, 0, prepare_nothing)));
    CHECK(strcmp(said, "") == 0);
    CHECK(end_of(write_to_nowhere, 0, handle_with_address) == 7 << 8);
    CHECK(strcmp(said, "mine\n") == 0);
    CHECK(end_of(dig_deep, 0, handle_with_address) == 7 << 8);
    CHECK(has_named("", "64 KiB") && strstr(said, "mine\n") != NULL);
    CHECK(end_of(send_the_signal, 0, handle_without_address) == 7 << 8);
    CHECK(strcmp(said, "mine\n") == 0);
    return 0;
}
