/*
 * A chat server: two fibers a client, one that listens and one that writes, with a channel between them.
 *
 *     cc chat.c $(pkg-config --cflags --libs polyphony) -o chat
 *     ./chat PORT [MILLISECONDS]          with port 0 the system chooses; the first line says which
 *     nc localhost PORT                   then talk: /name NAME, /join ROOM, /who, /quit, or something to say
 *
 * A room waits for nobody: a client that does not read misses lines, and is dropped when one could not be written to
 * it for so long; five seconds without a second argument. SIGINT or SIGTERM ends the server: it accepts nobody more,
 * says so to everybody, and gives them as long to hear it.
 *
 * docs/native/tutorial.md leads here.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* SOCK_CLOEXEC */
#endif
#include <errno.h>
#include <polyphony.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BACKLOG = 1024,
    LINE = 512,          /* bytes that a client may say at once */
    NAME = 20,
    OUTBOX = 64,            /* lines that wait for a client */
    SEND_BUFFER = 16 * 1024 /* bytes of them that wait in the kernel */
};

/* Somebody who is here. It lives on the stack of the fiber that listens to it. */
struct client {
    int fd;
    poly_channel *outbox;
    char name[NAME], room[NAME];
    struct client *next;
};

/* Who is here. Fibers of several workers look, so it has a lock; names and rooms are changed under it, too. */
static struct {
    poly_mutex lock;
    struct client *first;
    unsigned long guests;
} hall;

static poly_wait_group talking;
static uint64_t patience = 5 * POLY_SECOND;

/* Puts a copy of a line into a client's outbox, whose writer frees it. A full one is left alone. */
static void post(struct client *client, const char *line)
{
    char *copy = strdup(line);
    if (copy != NULL && poly_channel_try_send(client->outbox, copy) < 0)
        free(copy);
}

/* Tells everybody in a room, or everybody if it is NULL. The caller holds the lock. */
static void tell(const char *room, const char *format, ...)
{
    char line[LINE + 2 * NAME];
    struct client *client;
    va_list rest;
    va_start(rest, format);
    vsnprintf(line, sizeof line, format, rest);
    va_end(rest);
    for (client = hall.first; client != NULL; client = client->next) {
        if (room == NULL || strcmp(client->room, room) == 0)
            post(client, line);
    }
}

static struct client *find(const char *name)
{
    struct client *client = hall.first;
    while (client != NULL && strcmp(client->name, name) != 0)
        client = client->next;
    return client;
}

static void rename_to(struct client *client, const char *name)
{
    if (*name == '\0' || strlen(name) >= NAME || find(name) != NULL) {
        post(client, "* you cannot have that name\n");
        return;
    }
    tell(client->room, "* %s is now %s\n", client->name, name);
    strcpy(client->name, name);
}

static void move_to(struct client *client, const char *room)
{
    if (*room == '\0' || strlen(room) >= NAME) {
        post(client, "* there is no such room\n");
        return;
    }
    tell(client->room, "* %s goes to %s\n", client->name, room);
    strcpy(client->room, room);
    tell(client->room, "* %s is here\n", client->name);
}

static void list(struct client *client)
{
    char line[LINE];
    struct client *other;
    for (other = hall.first; other != NULL; other = other->next) {
        snprintf(line, sizeof line, "* %s in %s\n", other->name, other->room);
        post(client, line);
    }
}

/* Does what a line says. Returns 0, or less if the client wants no more, or is to hear no more. */
static int obey(struct client *client, const char *line)
{
    int error = poly_mutex_lock(&hall.lock);
    if (error < 0)
        return error;
    if (strcmp(line, "/quit") == 0)
        error = -ECANCELED;
    else if (strcmp(line, "/who") == 0)
        list(client);
    else if (strncmp(line, "/name ", 6) == 0)
        rename_to(client, line + 6);
    else if (strncmp(line, "/join ", 6) == 0)
        move_to(client, line + 6);
    else if (*line == '/')
        post(client, "* /name NAME, /join ROOM, /who, /quit\n");
    else
        tell(client->room, "%s: %s\n", client->name, line);
    poly_mutex_unlock(&hall.lock);
    return error;
}

/* Listens until the client is gone, says too much in one line, or this fiber is told to end. */
static void listen_to(struct client *client)
{
    char buffer[LINE];
    size_t filled = 0;
    for (;;) {
        char *end;
        int64_t length = poly_recv(client->fd, buffer + filled, sizeof buffer - filled, 0);
        if (length <= 0)
            return;
        filled += (size_t)length;
        while ((end = (char *)memchr(buffer, '\n', filled)) != NULL) {
            size_t used = (size_t)(end + 1 - buffer);
            *end = '\0';
            if (end > buffer && end[-1] == '\r')
                end[-1] = '\0';
            if (obey(client, buffer) < 0)
                return;
            filled -= used;
            memmove(buffer, buffer + used, filled);
        }
        if (filled == sizeof buffer)
            return;
    }
}

/* Writes what comes to the outbox until that is closed and empty. A client that does not take a line in time fails
 * this fiber, and with it the scope in which it is listened to. */
static int64_t write_lines(void *argument)
{
    struct client *client = (struct client *)argument;
    void *line;
    while (poly_channel_recv(client->outbox, &line) == 0) {
        size_t length = strlen((char *)line);
        poly_scope scope;
        int64_t sent;
        poly_scope_open(&scope, poly_now() + patience);
        sent = poly_send(client->fd, line, length, MSG_WAITALL);
        poly_scope_close(&scope);
        free(line);
        if (sent != (int64_t)length)
            return sent < 0 ? sent : -ETIMEDOUT;
    }
    return poly_shutdown(client->fd, SHUT_RDWR); /* who listens hears the end */
}

static void enter(struct client *client)
{
    snprintf(client->name, NAME, "guest%lu", ++hall.guests);
    strcpy(client->room, "lobby");
    client->next = hall.first;
    hall.first = client;
    tell(client->room, "* %s is here\n", client->name);
}

static void leave(struct client *client)
{
    struct client **each = &hall.first;
    while (*each != client)
        each = &(*each)->next;
    *each = client->next;
    tell(client->room, "* %s has left\n", client->name);
}

/* Listens to a client and writes to it, in a scope: when this function goes on after the scope, both have ended. */
static void talk_with(struct client *client)
{
    poly_scope scope;
    poly_scope_open(&scope, POLY_FOREVER);
    if (poly_scope_spawn(&scope, 0, write_lines, client, NULL) == 0 && poly_mutex_lock(&hall.lock) == 0) {
        enter(client);
        poly_mutex_unlock(&hall.lock);
        listen_to(client);
        /* Nobody may find the client any more once it is gone; so this is not for a cancellation to end. */
        poly_shield_raise();
        poly_mutex_lock(&hall.lock);
        leave(client);
        poly_mutex_unlock(&hall.lock);
        poly_shield_lower();
    }
    poly_channel_close(client->outbox); /* the writer ends when it has written the rest */
    poly_scope_close(&scope);
}

static int64_t serve(void *argument)
{
    struct client client;
    int size = SEND_BUFFER;
    void *line;
    memset(&client, 0, sizeof client);
    client.fd = (int)(intptr_t)argument;
    /* What a client does not read is to wait in its outbox, where it is counted. */
    setsockopt(client.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (poly_channel_new(OUTBOX, &client.outbox) == 0) {
        talk_with(&client);
        while (poly_channel_try_recv(client.outbox, &line) == 0)
            free(line);
        poly_channel_free(client.outbox);
    }
    poly_close(client.fd);
    poly_wait_group_done(&talking);
    return 0; /* less would end everybody else's fibers, too: they are in one scope */
}

struct door {
    poly_acceptor *acceptor;
    poly_scope *clients;
};

static int64_t accept_all(void *argument)
{
    struct door *door = (struct door *)argument;
    for (;;) {
        int fd = poly_acceptor_next(door->acceptor);
        if (fd == -ECANCELED)
            return 0;
        if (fd < 0) {
            if (poly_sleep(10 * POLY_MILLISECOND) < 0)
                return 0;
            continue;
        }
        poly_wait_group_add(&talking, 1);
        if (poly_scope_spawn(door->clients, 0, serve, (void *)(intptr_t)fd, NULL) < 0) {
            poly_close(fd);
            poly_wait_group_done(&talking);
        }
    }
}

/* Says that this is the end, and waits for those who listen; not for the others. */
static void say_goodbye(void)
{
    struct client *client;
    poly_scope grace;
    poly_scope_open(&grace, poly_now() + patience);
    if (poly_mutex_lock(&hall.lock) == 0) {
        tell(NULL, "* the server ends\n");
        for (client = hall.first; client != NULL; client = client->next)
            poly_channel_close(client->outbox);
        poly_mutex_unlock(&hall.lock);
        poly_wait_group_wait(&talking);
    }
    poly_scope_close(&grace);
}

static int64_t serve_until_told(int listener, int signals)
{
    struct door door;
    poly_fiber accepting;
    poly_signal signal;
    poly_scope clients;
    int error = poly_acceptor_new(listener, SOCK_CLOEXEC, &door.acceptor);
    if (error < 0)
        return error;
    poly_scope_open(&clients, POLY_FOREVER);
    door.clients = &clients;
    error = poly_scope_spawn(&clients, 0, accept_all, &door, &accepting);
    if (error == 0) {
        printf("listening on port %d\n", poly_local_port(listener));
        fflush(stdout);
        error = poly_signal_next(signals, &signal);
        poly_cancel(accepting);
        poly_join(accepting, NULL);
        say_goodbye();
    }
    poly_scope_cancel(&clients);
    poly_scope_close(&clients);
    poly_acceptor_free(door.acceptor);
    return error;
}

static int64_t run(void *port)
{
    const int wanted[] = { SIGINT, SIGTERM };
    int64_t error;
    int signals, listener = poly_tcp_listen("127.0.0.1", (const char *)port, BACKLOG, 0);
    if (listener < 0)
        return listener;
    signals = poly_signal_open(wanted, 2);
    error = signals < 0 ? signals : serve_until_told(listener, signals);
    if (signals >= 0)
        poly_close(signals);
    poly_close(listener);
    return error;
}

int main(int argc, char **argv)
{
    poly_runtime *runtime;
    int64_t result = 0;
    sigset_t signals;
    int error;

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s PORT [MILLISECONDS]\n", argv[0]);
        return 2;
    }
    if (argc == 3)
        patience = strtoull(argv[2], NULL, 10) * POLY_MILLISECOND;
    /* Blocked before the workers start, so that they inherit it: the signals are read, not delivered. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    error = poly_runtime_new(NULL, &runtime);
    if (error == 0) {
        error = poly_runtime_run(runtime, run, argv[1], &result);
        poly_runtime_free(runtime);
    }
    if (error == 0)
        error = (int)result;
    if (error < 0)
        fprintf(stderr, "chat: %s\n", poly_strerror(error));
    printf("%lu clients were here\n", hall.guests);
    return error < 0;
}
