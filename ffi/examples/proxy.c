/*
 * A TCP proxy with deadlines: what clients say goes to a target, and what that says comes back.
 *
 *     cc proxy.c $(pkg-config --cflags --libs polyphony) -o proxy
 *     ./proxy PORT HOST SERVICE [MILLISECONDS]
 *
 * With port 0 the system chooses; the first line says which. The target has so long to be connected to, and a
 * connection on which nothing is said for so long is closed; ten seconds without a fourth argument. SIGINT or
 * SIGTERM ends it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* SOCK_CLOEXEC */
#endif
#include <errno.h>
#include <polyphony.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BACKLOG = 1024 };

static const char *host, *service;
static uint64_t patience = 10 * POLY_SECOND;
static poly_acceptor *acceptor;

/* One direction of a connection. */
struct flow {
    int from, to;
};

/* Passes on what comes until the end, or until nothing has come for too long. */
static int64_t pass(void *argument)
{
    struct flow *flow = (struct flow *)argument;
    int64_t length = 1;
    while (length > 0) {
        poly_scope scope;
        poly_buf bytes;
        if (poly_scope_open(&scope, poly_now() + patience) < 0)
            break;
        length = poly_recv_buffer(flow->from, SIZE_MAX, 0, &bytes);
        if (length > 0) {
            if (poly_send(flow->to, bytes.data, bytes.length, MSG_WAITALL) != length)
                length = -1;
            poly_buf_release(&bytes);
        }
        poly_scope_close(&scope);
    }
    /* At an end the other direction may go on; after a failure it ends as well. */
    poly_shutdown(flow->to, SHUT_WR);
    if (length < 0)
        poly_shutdown(flow->from, SHUT_RD);
    return 0;
}

static int64_t serve(void *argument)
{
    int client = (int)(intptr_t)argument, target;
    struct flow there, back;
    poly_scope scope;
    poly_fiber other;
    if (poly_scope_open(&scope, poly_now() + patience) < 0)
        return poly_close(client);
    target = poly_tcp_connect(host, service, 0);
    poly_scope_close(&scope);
    if (target < 0) {
        fprintf(stderr, "proxy: %s:%s: %s\n", host, service, poly_strerror(target));
        return poly_close(client);
    }
    there.from = back.to = client;
    there.to = back.from = target;
    if (poly_spawn(NULL, pass, &back, &other) == 0) {
        pass(&there);
        /* A fiber that uses this frame must have ended before it is left, cancelled or not. */
        poly_shield_raise();
        poly_join(other, NULL);
        poly_shield_lower();
    }
    poly_close(target);
    return poly_close(client);
}

static int64_t accept_all(void *argument)
{
    (void)argument;
    for (;;) {
        int client = poly_acceptor_next(acceptor);
        if (client == -ECANCELED)
            return 0;
        if (client < 0) {
            if (poly_sleep(10 * POLY_MILLISECOND) < 0)
                return 0;
            continue;
        }
        if (poly_spawn(NULL, serve, (void *)(intptr_t)client, NULL) < 0)
            poly_close(client);
    }
}

static int64_t run(void *argument)
{
    const int wanted[] = { SIGINT, SIGTERM };
    int listener = poly_tcp_listen("127.0.0.1", (const char *)argument, BACKLOG, 0), signals, error;
    poly_signal signal;
    poly_fiber accepting;
    if (listener < 0)
        return listener;
    signals = poly_signal_open(wanted, 2);
    error = signals < 0 ? signals : poly_acceptor_new(listener, SOCK_CLOEXEC, &acceptor);
    if (error == 0)
        error = poly_spawn(NULL, accept_all, NULL, &accepting);
    if (error == 0) {
        printf("listening on port %d\n", poly_local_port(listener));
        fflush(stdout);
        poly_signal_next(signals, &signal);
        poly_cancel(accepting);
        error = poly_join(accepting, NULL);
    }
    poly_acceptor_free(acceptor);
    poly_close(listener);
    poly_close(signals);
    return error;
}

int main(int argc, char **argv)
{
    poly_runtime *runtime;
    int64_t result = 0;
    sigset_t signals;
    int error;

    if (argc < 4 || argc > 5) {
        fprintf(stderr, "usage: %s PORT HOST SERVICE [MILLISECONDS]\n", argv[0]);
        return 2;
    }
    host = argv[2];
    service = argv[3];
    if (argc == 5)
        patience = strtoull(argv[4], NULL, 10) * POLY_MILLISECOND;
    /* Blocked before the workers start, so that they inherit it: the signals are read, not delivered. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    error = poly_runtime_new(NULL, &runtime);
    if (error == 0)
        error = poly_runtime_run(runtime, run, argv[1], &result);
    if (error == 0)
        error = (int)result;
    if (error < 0)
        fprintf(stderr, "proxy: %s\n", poly_strerror(error));
    poly_runtime_free(runtime); /* which cancels the connections, and waits for them */
    return error < 0;
}
