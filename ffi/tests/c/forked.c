/* The child of a fork gets errors instead of hanging, and may begin anew. */
#include "check.h"

#include <fcntl.h>
#include <sys/wait.h>

static poly_channel *channel;

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
    return 0;
}

int main(void)
{
    in_a_fiber(fork_here);
    return 0;
}
