/*
 * A supervisor: keeps a program running, in several processes.
 *
 *     cc supervisor.c $(pkg-config --cflags --libs polyphony) -o supervisor
 *     ./supervisor COUNT RESTARTS PROGRAM [ARGUMENT…]
 *
 * A process that fails is started again, so often at most, and later each time; one that succeeds has done its
 * work. SIGINT or SIGTERM ends all of them: they are asked to end, and after a second made to.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <polyphony.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { MOST = 64 };

static const char *const *program;
static int restarts;

/* Asks a process to end; makes it, if it does not within a second. */
static void stop(poly_process *process, int *status)
{
    poly_scope scope;
    int waited;
    poly_process_kill(process, SIGTERM);
    poly_scope_open(&scope, poly_now() + POLY_SECOND);
    waited = poly_process_wait(process, status);
    poly_scope_close(&scope);
    if (waited == 0)
        return;
    poly_process_kill(process, SIGKILL);
    poly_shield_raise();
    poly_process_wait(process, status);
    poly_shield_lower();
}

/* Keeps one process running until it succeeds, fails too often, or the fiber is cancelled. */
static int64_t keep(void *argument)
{
    int number = (int)(intptr_t)argument, attempt, status = 0;
    for (attempt = 0; attempt <= restarts; attempt++) {
        poly_process_options options = POLY_PROCESS_OPTIONS_INIT;
        poly_process process;
        int error;
        /* 10 ms, 20 ms, 40 ms, … so that what fails at once does not keep the machine busy. */
        if (attempt > 0 && poly_sleep((10 * POLY_MILLISECOND) << (attempt < 10 ? attempt - 1 : 9)) < 0)
            return 0;
        options.argv = program;
        options.flags = POLY_PROCESS_GROUP; /* the terminal's signals are ours */
        error = poly_process_spawn(&options, &process);
        if (error == -ECANCELED)
            return 0;
        if (error < 0) {
            fprintf(stderr, "supervisor: %s: %s\n", program[0], poly_strerror(error));
            return error;
        }
        if (poly_process_wait(&process, &status) < 0) {
            stop(&process, &status);
            printf("process %d stopped\n", number);
            return 0;
        }
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
            printf("process %d done\n", number);
            return 0;
        }
        printf("process %d failed, attempt %d\n", number, attempt + 1);
    }
    return -ECHILD;
}

struct all {
    int count;
    poly_fiber keepers[MOST];
};

/* Cancels all when a signal comes. */
static int64_t listen_for_signals(void *argument)
{
    struct all *all = (struct all *)argument;
    const int wanted[] = { SIGINT, SIGTERM };
    poly_signal signal;
    int fd = poly_signal_open(wanted, 2), each;
    if (fd < 0)
        return fd;
    if (poly_signal_next(fd, &signal) == 0) {
        for (each = 0; each < all->count; each++)
            poly_cancel(all->keepers[each]);
    }
    return poly_close(fd);
}

static int64_t run(void *argument)
{
    struct all *all = (struct all *)argument;
    poly_fiber listener;
    int wanted = all->count, each;
    int64_t failed = 0, result = poly_spawn(NULL, listen_for_signals, all, &listener);
    if (result < 0)
        return result;
    for (all->count = 0; all->count < wanted; all->count++) {
        if (poly_spawn(NULL, keep, (void *)(intptr_t)(all->count + 1), &all->keepers[all->count]) < 0)
            break;
    }
    printf("supervising %d\n", all->count);
    fflush(stdout);
    for (each = 0; each < all->count; each++) {
        if (poly_join(all->keepers[each], &result) == 0 && result < 0)
            failed++;
    }
    poly_cancel(listener);
    poly_join(listener, NULL);
    return failed;
}

int main(int argc, char **argv)
{
    struct all all;
    poly_runtime *runtime;
    poly_runtime_options options = POLY_RUNTIME_OPTIONS_INIT;
    int64_t failed = 0;
    sigset_t signals;
    int error;

    memset(&all, 0, sizeof all);
    all.count = argc > 3 ? atoi(argv[1]) : 0;
    if (all.count < 1 || all.count > MOST) {
        fprintf(stderr, "usage: %s COUNT RESTARTS PROGRAM [ARGUMENT...]\n", argv[0]);
        return 2;
    }
    restarts = atoi(argv[2]);
    program = (const char *const *)argv + 3;
    /* Blocked before the worker starts, so that it inherits it; the processes have none blocked. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    options.workers = 1; /* it only waits, and needs no lock around what its fibers share */
    error = poly_runtime_new(&options, &runtime);
    if (error == 0)
        error = poly_runtime_run(runtime, run, &all, &failed);
    if (error < 0)
        fprintf(stderr, "supervisor: %s\n", poly_strerror(error));
    poly_runtime_free(runtime);
    printf("failed %lld\n", (long long)failed);
    return error < 0 || failed > 0;
}
