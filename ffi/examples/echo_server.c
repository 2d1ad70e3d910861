/*
 * A TCP echo server: a fiber a connection.
 *
 *     cc echo_server.c $(pkg-config --cflags --libs polyphony) -o echo_server
 *     ./echo_server PORT          with 0 the system chooses the port; the first line says which
 *
 * POLYPHONY_BACKEND chooses the backend. SIGINT or SIGTERM ends it: it stops accepting, cancels its
 * connections, waits for them, and prints what it has done.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* signalfd, SOCK_CLOEXEC */
#endif
#include <errno.h>
#include <netinet/in.h>
#include <polyphony.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { BUFFER = 1024, BACKLOG = 4096 };

struct server {
    int listener;
    int signals;
    poly_fiber acceptor;
    unsigned long connections;
};

/* Sends everything, in as many sends as it takes. */
static int64_t send_all(int fd, const char *bytes, int64_t length)
{
    int64_t done = 0;
    while (done < length) {
        int64_t sent = poly_send(fd, bytes + done, (size_t)(length - done), 0);
        if (sent < 0)
            return sent;
        done += sent;
    }
    return done;
}

static int64_t serve(void *argument)
{
    int fd = (int)(intptr_t)argument;
    char buffer[BUFFER];
    int64_t length;
    while ((length = poly_recv(fd, buffer, sizeof buffer, 0)) > 0) {
        if (send_all(fd, buffer, length) < 0)
            break;
    }
    return poly_close(fd);
}

/* Accepts until it is cancelled. Out of descriptors, it waits for connections to end and goes on. */
static int64_t accept_all(void *argument)
{
    struct server *server = (struct server *)argument;
    for (;;) {
        int fd = poly_accept(server->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd == -ECANCELED)
            return 0;
        if (fd < 0) {
            if (poly_sleep(10 * POLY_MILLISECOND) == -ECANCELED)
                return 0;
            continue;
        }
        server->connections++;
        if (poly_spawn(NULL, serve, (void *)(intptr_t)fd, NULL) < 0)
            poly_close(fd);
    }
}

static int64_t run(void *argument)
{
    struct server *server = (struct server *)argument;
    struct signalfd_siginfo signal;
    int error = poly_spawn(NULL, accept_all, server, &server->acceptor);
    if (error < 0)
        return error;
    poly_read(server->signals, &signal, sizeof signal);
    poly_cancel(server->acceptor);
    return poly_join(server->acceptor, NULL);
}

static int listen_on(unsigned short port)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, BACKLOG) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0) {
        close(fd);
        return -1;
    }
    printf("listening on port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    struct server server;
    poly_runtime *runtime;
    poly_counters counters = POLY_COUNTERS_INIT;
    sigset_t signals;
    char backend[200];
    int error;

    memset(&server, 0, sizeof server);
    if (argc != 2) {
        fprintf(stderr, "usage: %s PORT\n", argv[0]);
        return 2;
    }
    /* Blocked before the workers start, so that they inherit it: the signals are read, not delivered. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    server.signals = signalfd(-1, &signals, SFD_CLOEXEC);
    server.listener = listen_on((unsigned short)atoi(argv[1]));
    if (server.signals < 0 || server.listener < 0) {
        perror("echo_server");
        return 1;
    }
    error = poly_runtime_new(NULL, &runtime);
    if (error < 0) {
        fprintf(stderr, "echo_server: no runtime: %s\n", poly_strerror(error));
        return 1;
    }
    error = poly_runtime_run(runtime, run, &server, NULL);
    if (error < 0)
        fprintf(stderr, "echo_server: %s\n", poly_strerror(error));
    poly_runtime_shutdown(runtime, POLY_FOREVER);
    poly_runtime_describe(runtime, backend, sizeof backend);
    poly_stats(runtime, &counters);
    printf("connections %lu operations %llu switches %llu turns %llu fibers %llu backend %s",
           server.connections, (unsigned long long)counters.completed,
           (unsigned long long)counters.switches, (unsigned long long)counters.turns,
           (unsigned long long)counters.fibers, backend);
    poly_runtime_free(runtime);
    close(server.listener);
    close(server.signals);
    return error < 0;
}
