/* Networking: TCP, UDP and local sockets by name, and acceptors. */
#include "check.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { CROWD = 300, ROUNDS = 1000 };

static char port[8];
static poly_acceptor *acceptor;

/* A listener at a port of the system's choice, which it notes. */
static int listening(const char *host, uint32_t flags)
{
    int fd = poly_tcp_listen(host, "0", 1024, flags);
    CHECK(fd >= 0);
    snprintf(port, sizeof port, "%d", poly_local_port(fd));
    return fd;
}

/* How many descriptors are open. */
static int descriptors(void)
{
    int fd, count = 0;
    for (fd = 0; fd < 2048; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* Two sockets are the ends of one connection. */
static void talks(int here, int there)
{
    char bytes[4];
    GIVES(4, poly_send(here, "ping", 4, 0));
    GIVES(4, poly_recv(there, bytes, sizeof bytes, 0));
    CHECK(memcmp(bytes, "ping", 4) == 0);
}

static void meets(const char *host, int listener, uint32_t flags)
{
    int here = poly_tcp_connect(host, port, flags), there;
    CHECK(here >= 0);
    CHECK((fcntl(here, F_GETFL) & O_NONBLOCK) == 0 && (fcntl(here, F_GETFD) & FD_CLOEXEC) != 0);
    there = poly_accept(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(there >= 0);
    talks(here, there);
    GIVES(0, poly_close(here));
    GIVES(0, poly_close(there));
}

static int64_t tcp_by_name(void *argument)
{
    int before = descriptors(), listener;
    UNUSED(argument);
    listener = listening("127.0.0.1", 0);
    meets("127.0.0.1", listener, 0);
    meets("localhost", listener, 0); /* where nobody listens at ::1 */
    meets("localhost", listener, POLY_NET_IPV4);
    CHECK(poly_tcp_connect("127.0.0.1", port, POLY_NET_IPV6) < 0);
    GIVES(-EADDRINUSE, poly_tcp_listen("127.0.0.1", port, 1, 0));
    GIVES(0, poly_close(listener));
    GIVES(-ECONNREFUSED, poly_tcp_connect("127.0.0.1", port, 0));
    listener = poly_tcp_listen("127.0.0.1", port, 1, 0); /* at once */
    CHECK(listener >= 0);
    GIVES(0, poly_close(listener));
    listener = listening(NULL, 0);
    meets("127.0.0.1", listener, 0);
    meets("::1", listener, 0);
    GIVES(0, poly_close(listener));
    listener = listening(NULL, POLY_NET_IPV6);
    meets("::1", listener, POLY_NET_IPV6);
    GIVES(-ECONNREFUSED, poly_tcp_connect("127.0.0.1", port, 0));
    GIVES(0, poly_close(listener));
    listener = listening(NULL, POLY_NET_IPV4 | POLY_NET_SHARED_PORT);
    {
        int twin = poly_tcp_listen(NULL, port, 1, POLY_NET_IPV4 | POLY_NET_SHARED_PORT);
        CHECK(twin >= 0);
        GIVES(0, poly_close(twin));
    }
    GIVES(0, poly_close(listener));
    GIVES(-POLY_ENOHOST, poly_tcp_connect("127.0.0.1", "no such service", 0));
    GIVES(-EINVAL, poly_tcp_connect(NULL, "1", 0));
    GIVES(-EINVAL, poly_tcp_connect("127.0.0.1", NULL, 0));
    GIVES(-EINVAL, poly_tcp_connect("127.0.0.1", "1", 64));
    GIVES(-EINVAL, poly_tcp_connect("127.0.0.1", "1", POLY_NET_SHARED_PORT));
    GIVES(-EINVAL, poly_tcp_listen(NULL, NULL, 1, 0));
    GIVES(-EBADF, poly_local_port(-1));
    CHECK(descriptors() == before);
    return 0;
}

static int64_t datagrams(void *argument)
{
    struct sockaddr_in6 from;
    socklen_t length = sizeof from;
    char bytes[8];
    int server = poly_udp_bind("::1", "0", 0), client;
    UNUSED(argument);
    CHECK(server >= 0);
    snprintf(port, sizeof port, "%d", poly_local_port(server));
    client = poly_udp_connect("::1", port, 0);
    CHECK(client >= 0);
    GIVES(4, poly_sendto(client, "ping", 4, 0, NULL, 0));
    GIVES(4, poly_recvfrom(server, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &length));
    CHECK(length == sizeof from && from.sin6_family == AF_INET6);
    CHECK(ntohs(from.sin6_port) == poly_local_port(client));
    GIVES(2, poly_sendto(server, "hi", 2, 0, (struct sockaddr *)&from, length));
    GIVES(2, poly_recvfrom(client, bytes, sizeof bytes, 0, NULL, NULL));
    GIVES(-EINVAL, poly_recvfrom(client, bytes, sizeof bytes, 0, (struct sockaddr *)&from, NULL));
    GIVES(-EAGAIN, poly_recvfrom(client, bytes, sizeof bytes, MSG_DONTWAIT, NULL, NULL));
    GIVES(-EBADF, poly_sendto(-1, "x", 1, 0, NULL, 0));
    GIVES(0, poly_close(client));
    GIVES(0, poly_close(server));
    return 0;
}

static int64_t local_sockets(void *argument)
{
    char directory[] = "/tmp/polyphony-XXXXXX", path[64], long_path[200];
    int listener, here, there;
    UNUSED(argument);
    CHECK(mkdtemp(directory) != NULL);
    snprintf(path, sizeof path, "%s/socket", directory);
    GIVES(-ENOENT, poly_unix_connect(path));
    listener = poly_unix_listen(path, 16);
    CHECK(listener >= 0);
    GIVES(-EADDRINUSE, poly_unix_listen(path, 16));
    here = poly_unix_connect(path);
    there = poly_accept(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(here >= 0 && there >= 0);
    talks(here, there);
    GIVES(-EAFNOSUPPORT, poly_local_port(listener));
    GIVES(0, poly_close(here));
    GIVES(0, poly_close(there));
    GIVES(0, poly_close(listener));
    GIVES(-ECONNREFUSED, poly_unix_connect(path));
    memset(long_path, 'x', sizeof long_path);
    long_path[sizeof long_path - 1] = 0;
    GIVES(-ENAMETOOLONG, poly_unix_connect(long_path));
    GIVES(-EINVAL, poly_unix_listen(NULL, 1));
    CHECK(unlink(path) == 0 && rmdir(directory) == 0);
    return 0;
}

static int64_t take_one(void *argument)
{
    UNUSED(argument);
    return poly_acceptor_next(acceptor);
}

/* Connections are brought in their order, more than are accepted unasked; what nobody takes is closed. */
static int64_t acceptors(void *argument)
{
    int before = descriptors(), listener = listening("127.0.0.1", 0), each;
    static int clients[CROWD];
    char byte;
    UNUSED(argument);
    GIVES(0, poly_acceptor_new(listener, SOCK_CLOEXEC, &acceptor));
    for (each = 0; each < CROWD; each++) {
        clients[each] = poly_tcp_connect("127.0.0.1", port, 0);
        CHECK(clients[each] >= 0);
        GIVES(1, poly_send(clients[each], &each, 1, 0));
    }
    for (each = 0; each < CROWD - 10; each++) {
        int fd = poly_acceptor_next(acceptor);
        CHECK(fd >= 0);
        GIVES(1, poly_recv(fd, &byte, 1, 0));
        CHECK(byte == (char)each);
        GIVES(0, poly_close(fd));
    }
    GIVES(0, poly_acceptor_free(acceptor));
    GIVES(0, poly_close(listener)); /* which refuses those that were never accepted */
    for (each = 0; each < CROWD; each++) {
        int64_t length = poly_recv(clients[each], &byte, 1, 0);
        CHECK(length == 0 || length == -ECONNRESET);
        GIVES(0, poly_close(clients[each]));
    }
    CHECK(descriptors() == before);
    GIVES(0, poly_acceptor_free(NULL));
    GIVES(-EINVAL, poly_acceptor_next(NULL));
    GIVES(-EINVAL, poly_acceptor_new(listener, 0, NULL));
    return 0;
}

/* Who waits for a connection may be cancelled at any moment: the connection goes to the next. */
static int64_t no_connection_is_lost(void *argument)
{
    int before = descriptors(), listener = listening("127.0.0.1", 0), round, made = 0, taken = 0;
    UNUSED(argument);
    GIVES(0, poly_acceptor_new(listener, SOCK_CLOEXEC, &acceptor));
    for (round = 0; round < ROUNDS; round++) {
        poly_fiber taker = begun(take_one, random_below(3));
        int64_t fd;
        if (random_below(2) == 0) {
            fd = poly_tcp_connect("127.0.0.1", port, 0);
            CHECK(fd >= 0);
            GIVES(0, poly_close((int)fd));
            made++;
        }
        GIVES(0, poly_cancel(taker));
        GIVES(0, poly_join(taker, &fd));
        CHECK(fd >= 0 || fd == -ECANCELED);
        if (fd >= 0) {
            GIVES(0, poly_close((int)fd));
            taken++;
        }
    }
    for (; taken < made; taken++) {
        int fd = poly_acceptor_next(acceptor);
        CHECK(fd >= 0);
        GIVES(0, poly_close(fd));
    }
    GIVES(0, poly_acceptor_free(acceptor));
    GIVES(0, poly_close(listener));
    CHECK(descriptors() == before);
    return 0;
}

/* Out of descriptors, those who wait are told once each; the connection is there when one is free again. */
static int64_t acceptors_without_descriptors(void *argument)
{
    struct rlimit limit, none;
    int listener = listening("127.0.0.1", 0), client, spare, fd;
    UNUSED(argument);
    client = poly_socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(client >= 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0);
    spare = dup(listener);
    CHECK(spare >= 0 && close(spare) == 0);
    none = limit;
    none.rlim_cur = (rlim_t)spare; /* the lowest free number is out of bounds */
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    GIVES(0, poly_acceptor_new(listener, SOCK_CLOEXEC, &acceptor)); /* the kernel looks at the limit once */
    {
        struct sockaddr_in address;
        socklen_t length = sizeof address;
        CHECK(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
        GIVES(0, poly_connect(client, (struct sockaddr *)&address, length));
    }
    GIVES(-EMFILE, poly_acceptor_next(acceptor));
    GIVES(-EMFILE, poly_acceptor_next(acceptor));
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    fd = poly_acceptor_next(acceptor);
    CHECK(fd >= 0);
    talks(client, fd);
    GIVES(0, poly_close(fd));
    GIVES(0, poly_close(client));
    GIVES(0, poly_acceptor_free(acceptor));
    GIVES(0, poly_close(listener));
    return 0;
}

static int64_t acceptors_whose_listener_is_closed(void *argument)
{
    int listener = listening("127.0.0.1", 0);
    poly_fiber taker;
    int64_t result;
    UNUSED(argument);
    GIVES(0, poly_acceptor_new(listener, SOCK_CLOEXEC, &acceptor));
    GIVES(0, poly_spawn(NULL, take_one, NULL, &taker));
    GIVES(0, poly_yield());
    GIVES(0, poly_yield());
    GIVES(-EBUSY, poly_acceptor_free(acceptor));
    GIVES(0, poly_close(listener));
    GIVES(0, poly_join(taker, &result));
    GIVES(-EBADF, result);
    GIVES(-EBADF, poly_acceptor_next(acceptor));
    GIVES(0, poly_acceptor_free(acceptor));
    return 0;
}

static int64_t the_child_of_a_fork_has_no_acceptor(void *argument)
{
    int listener = listening("127.0.0.1", 0);
    siginfo_t info;
    pid_t child;
    UNUSED(argument);
    GIVES(0, poly_acceptor_new(listener, SOCK_CLOEXEC, &acceptor));
    GIVES(0, poly_yield());
    child = fork();
    if (child == 0) {
        alarm(20);
        GIVES(-POLY_EFORKED, poly_acceptor_next(acceptor));
        GIVES(0, poly_acceptor_free(acceptor));
        _exit(0);
    }
    GIVES(0, poly_waitid(P_PID, (uint32_t)child, &info, WEXITED));
    CHECK(info.si_code == CLD_EXITED && info.si_status == 0);
    GIVES(0, poly_acceptor_free(acceptor));
    GIVES(0, poly_close(listener));
    return 0;
}

static int64_t take_many(void *argument)
{
    int64_t count = 0;
    UNUSED(argument);
    for (;;) {
        int fd = poly_acceptor_next(acceptor);
        if (fd == -ECANCELED)
            return count;
        CHECK(fd >= 0);
        GIVES(0, poly_close(fd));
        count++;
    }
}

static int64_t several_workers_share_an_acceptor(void *argument)
{
    poly_fiber takers[4];
    int listener = listening("127.0.0.1", 0), each;
    int64_t taken = 0, count;
    UNUSED(argument);
    GIVES(0, poly_acceptor_new(listener, SOCK_CLOEXEC, &acceptor));
    for (each = 0; each < 4; each++)
        CHECK(poly_spawn_on(NULL, (uint32_t)each % 2, take_many, NULL, &takers[each]) == 0);
    for (each = 0; each < CROWD; each++) {
        int fd = poly_tcp_connect("127.0.0.1", port, 0);
        char byte;
        CHECK(fd >= 0);
        CHECK(poly_recv(fd, &byte, 1, 0) == 0); /* somebody has taken it, and closed it */
        CHECK(poly_close(fd) == 0);
    }
    for (each = 0; each < 4; each++) {
        CHECK(poly_cancel(takers[each]) == 0 && poly_join(takers[each], &count) == 0);
        taken += count;
    }
    CHECK(taken == CROWD);
    CHECK(poly_acceptor_free(acceptor) == 0 && poly_close(listener) == 0);
    return 0;
}

/* A runtime that shuts down ends its acceptors; they are freed afterwards, by anybody. */
static void an_acceptor_outlives_its_runtime(void)
{
    int64_t result = -1;
    int listener = listening("127.0.0.1", 0);
    poly_runtime_options options = POLY_RUNTIME_OPTIONS_INIT;
    options.workers = 2;
    alarm(60);
    GIVES(0, poly_runtime_new(&options, &runtime));
    GIVES(0, poly_runtime_run(runtime, several_workers_share_an_acceptor, NULL, &result));
    CHECK(result == 0);
    GIVES(0, poly_acceptor_new(listener, SOCK_CLOEXEC, &acceptor)); /* by a plain thread */
    GIVES(0, poly_acceptor_free(acceptor));
    GIVES(0, poly_runtime_free(runtime));
    GIVES(0, poly_close(listener));
}

static int64_t make_acceptor(void *argument)
{
    return poly_acceptor_new(*(int *)argument, SOCK_CLOEXEC, &acceptor);
}

static void a_shut_down_runtime_accepts_no_more(void)
{
    int before = descriptors(), listener = listening("127.0.0.1", 0), client;
    int64_t result = -1;
    char byte;
    GIVES(0, poly_runtime_new(NULL, &runtime));
    GIVES(0, poly_runtime_run(runtime, make_acceptor, &listener, &result));
    CHECK(result == 0);
    client = poly_tcp_connect("127.0.0.1", port, 0);
    CHECK(client >= 0);
    result = poly_acceptor_next(acceptor); /* a plain thread waits in the hall */
    CHECK(result >= 0);
    GIVES(0, poly_close((int)result));
    GIVES(0, poly_recv(client, &byte, 1, 0));
    GIVES(0, poly_close(client));
    GIVES(0, poly_runtime_shutdown(runtime, POLY_FOREVER));
    GIVES(-ECANCELED, poly_acceptor_next(acceptor));
    GIVES(0, poly_runtime_free(runtime));
    GIVES(0, poly_acceptor_free(acceptor));
    GIVES(0, poly_close(listener));
    CHECK(descriptors() == before);
}

int main(void)
{
    poly_entry everywhere[] = { tcp_by_name, datagrams, local_sockets };
    size_t each;
    for (each = 0; each < sizeof everywhere / sizeof *everywhere; each++) {
        alarm(60);
        CHECK(everywhere[each](NULL) == 0); /* outside a fiber: the plain system calls */
        in_a_fiber(everywhere[each]);
    }
    in_a_fiber(acceptors);
    in_a_fiber(no_connection_is_lost);
    in_a_fiber(acceptors_without_descriptors);
    in_a_fiber(acceptors_whose_listener_is_closed);
    in_a_fiber(the_child_of_a_fork_has_no_acceptor);
    an_acceptor_outlives_its_runtime();
    a_shut_down_runtime_accepts_no_more();
    return 0;
}
