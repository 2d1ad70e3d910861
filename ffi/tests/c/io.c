/* Every operation, in a fiber and outside one. */
#include "check.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int64_t files(void *argument)
{
    char name[] = "/tmp/polyphony-XXXXXX", bytes[16];
    struct iovec vector[2] = { { bytes, 3 }, { bytes + 8, 8 } };
    struct statx about;
    int fd = mkstemp(name);
    UNUSED(argument);
    CHECK(fd >= 0);
    GIVES(0, poly_close(fd));
    fd = poly_openat(AT_FDCWD, name, O_RDWR | O_CLOEXEC, 0);
    CHECK(fd >= 0);
    GIVES(5, poly_write(fd, "hello", 5));
    GIVES(5, poly_pwrite(fd, "world", 5, 5));
    GIVES(0, poly_fsync(fd, 0));
    GIVES(0, poly_fsync(fd, 1));
    GIVES(10, poly_pread(fd, bytes, sizeof bytes, 0));
    CHECK(memcmp(bytes, "helloworld", 10) == 0);
    GIVES(-EINVAL, poly_pread(fd, bytes, 1, -1));
    GIVES(-EINVAL, poly_pwrite(fd, bytes, 1, -7));
    CHECK(lseek(fd, 0, SEEK_SET) == 0);
    GIVES(10, poly_readv(fd, vector, 2));
    CHECK(memcmp(bytes, "hel", 3) == 0 && memcmp(bytes + 8, "loworld", 7) == 0);
    GIVES(0, poly_read(fd, bytes, sizeof bytes));
    GIVES(11, poly_writev(fd, vector, 2));
    GIVES(-EINVAL, poly_readv(fd, vector, -1));
    GIVES(0, poly_statx(AT_FDCWD, name, 0, STATX_SIZE, &about));
    CHECK(about.stx_size == 21);
    GIVES(0, poly_close(fd));
    GIVES(-EBADF, poly_close(fd));
    GIVES(-EBADF, poly_read(fd, bytes, 1));
    GIVES(-EBADF, poly_write(-1, bytes, 1));
    CHECK(unlink(name) == 0);
    GIVES(-ENOENT, poly_openat(AT_FDCWD, name, O_RDONLY, 0));
    GIVES(-ENOENT, poly_statx(AT_FDCWD, name, 0, STATX_SIZE, &about));
    GIVES(-EFAULT, poly_openat(AT_FDCWD, NULL, O_RDONLY, 0));
    return 0;
}

static int64_t pipes(void *argument)
{
    int one[2], two[2];
    char bytes[16];
    UNUSED(argument);
    CHECK(pipe2(one, O_CLOEXEC) == 0 && pipe2(two, O_CLOEXEC) == 0);
    GIVES(POLLOUT, poly_poll(one[1], POLLOUT));
    GIVES(6, poly_write(one[1], "abcdef", 6));
    GIVES(POLLIN, poly_poll(one[0], POLLIN));
    GIVES(6, poly_tee(one[0], two[1], 100, 0));
    GIVES(6, poly_read(two[0], bytes, sizeof bytes));
    GIVES(4, poly_splice(one[0], -1, two[1], -1, 4, 0));
    GIVES(4, poly_read(two[0], bytes, sizeof bytes));
    CHECK(memcmp(bytes, "abcd", 4) == 0);
    GIVES(2, poly_read(one[0], bytes, sizeof bytes));
    GIVES(-EFAULT, poly_write(one[1], NULL, 5));
    GIVES(0, poly_close(one[1]));
    GIVES(0, poly_read(one[0], bytes, sizeof bytes));
    GIVES(0, poly_close(one[0]));
    GIVES(0, poly_close(two[0]));
    GIVES(-EPIPE, poly_write(two[1], "x", 1));
    GIVES(0, poly_close(two[1]));
    return 0;
}

static int bound(int kind, struct sockaddr_in6 *address)
{
    socklen_t length = sizeof *address;
    int fd = poly_socket(AF_INET6, kind | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    memset(address, 0, sizeof *address);
    address->sin6_family = AF_INET6;
    address->sin6_addr = in6addr_loopback;
    CHECK(bind(fd, (struct sockaddr *)address, sizeof *address) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)address, &length) == 0);
    return fd;
}

static int64_t datagrams_over_ipv6(void *argument)
{
    struct sockaddr_in6 here, there, from;
    char bytes[16] = "", control[64];
    struct iovec sent = { (void *)(uintptr_t)"ping", 4 }, got = { bytes, sizeof bytes };
    struct msghdr out, in;
    int mine = bound(SOCK_DGRAM, &here), theirs = bound(SOCK_DGRAM, &there);
    UNUSED(argument);
    memset(&out, 0, sizeof out);
    memset(&in, 0, sizeof in);
    out.msg_name = &there;
    out.msg_namelen = sizeof there;
    out.msg_iov = &sent;
    out.msg_iovlen = 1;
    in.msg_name = &from;
    in.msg_namelen = sizeof from;
    in.msg_iov = &got;
    in.msg_iovlen = 1;
    in.msg_control = control;
    in.msg_controllen = sizeof control;
    GIVES(4, poly_sendmsg(mine, &out, 0));
    GIVES(4, poly_recvmsg(theirs, &in, 0));
    CHECK(memcmp(bytes, "ping", 4) == 0 && from.sin6_port == here.sin6_port);
    GIVES(-EAGAIN, poly_recv(theirs, bytes, sizeof bytes, MSG_DONTWAIT));
    GIVES(0, poly_close(mine));
    GIVES(0, poly_close(theirs));
    return 0;
}

static int64_t connect_to(void *argument)
{
    struct sockaddr_in6 *address = (struct sockaddr_in6 *)argument;
    int fd = poly_socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    if (poly_connect(fd, (struct sockaddr *)address, sizeof *address) < 0)
        return -1;
    return fd;
}

static int64_t streams_over_ipv6(void *argument)
{
    struct sockaddr_in6 address, peer;
    socklen_t length = sizeof peer;
    poly_fiber client;
    int64_t fd = -1;
    char bytes[8];
    int server = bound(SOCK_STREAM, &address), accepted;
    UNUSED(argument);
    CHECK(listen(server, 16) == 0);
    GIVES(0, poly_spawn(runtime, connect_to, &address, &client));
    accepted = poly_accept(server, (struct sockaddr *)&peer, &length, SOCK_CLOEXEC);
    CHECK(accepted >= 0 && peer.sin6_family == AF_INET6);
    GIVES(0, poly_join(client, &fd));
    CHECK(fd >= 0);
    GIVES(3, poly_send((int)fd, "abc", 3, 0));
    GIVES(3, poly_recv(accepted, bytes, sizeof bytes, 0));
    GIVES(0, poly_shutdown((int)fd, SHUT_WR));
    GIVES(0, poly_recv(accepted, bytes, sizeof bytes, 0));
    GIVES(0, poly_close((int)fd));
    GIVES(0, poly_close(accepted));
    GIVES(0, poly_close(server));
    GIVES(-EBADF, poly_accept(server, NULL, NULL, 0));
    GIVES(-EAFNOSUPPORT, poly_socket(12345, SOCK_STREAM, 0));
    fd = connect_to(&address);
    CHECK(fd == -1); /* refused: nobody listens any more */
    return 0;
}

/* Out of descriptors, an accept fails, and the connection waits until there is one again. */
static int64_t accept_without_descriptors(void *argument)
{
    struct sockaddr_in6 address;
    struct rlimit limit, none;
    poly_fiber client;
    int64_t fd = -1;
    int server = bound(SOCK_STREAM, &address), accepted, spare;
    UNUSED(argument);
    CHECK(listen(server, 16) == 0);
    GIVES(0, poly_spawn(runtime, connect_to, &address, &client));
    GIVES(0, poly_join(client, &fd));
    spare = dup(server);
    CHECK(spare >= 0 && close(spare) == 0);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    none = limit;
    none.rlim_cur = (rlim_t)spare; /* the lowest free number is out of bounds */
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    GIVES(-EMFILE, poly_accept(server, NULL, NULL, SOCK_CLOEXEC));
    GIVES(-EMFILE, poly_accept(server, NULL, NULL, SOCK_CLOEXEC));
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    accepted = poly_accept(server, NULL, NULL, SOCK_CLOEXEC);
    CHECK(accepted >= 0);
    GIVES(0, poly_close(accepted));
    GIVES(0, poly_close((int)fd));
    GIVES(0, poly_close(server));
    return 0;
}

static int64_t children(void *argument)
{
    siginfo_t info;
    pid_t child = fork();
    UNUSED(argument);
    if (child == 0)
        _exit(7);
    CHECK(child > 0);
    memset(&info, 0, sizeof info);
    GIVES(0, poly_waitid(P_PID, (uint32_t)child, &info, WEXITED));
    CHECK(info.si_pid == child && info.si_status == 7);
    GIVES(-ECHILD, poly_waitid(P_PID, (uint32_t)child, &info, WEXITED));
    GIVES(-EINVAL, poly_waitid(-1, 0, &info, WEXITED));
    return 0;
}

static int64_t read_one(void *argument)
{
    char byte;
    return poly_read((int)(intptr_t)argument, &byte, 1);
}

static int64_t closing_ends_calls(void *argument)
{
    int ends[2];
    poly_fiber reader;
    int64_t result = 0;
    UNUSED(argument);
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    GIVES(0, poly_spawn(NULL, read_one, (void *)(intptr_t)ends[0], &reader));
    GIVES(0, poly_yield());
    GIVES(0, poly_close(ends[0]));
    GIVES(0, poly_join(reader, &result));
    CHECK(result == -EBADF);
    GIVES(0, poly_close(ends[1]));
    return 0;
}

int main(void)
{
    poly_entry everywhere[] = { files, pipes, datagrams_over_ipv6, children };
    size_t each;
    signal(SIGPIPE, SIG_IGN);
    for (each = 0; each < sizeof everywhere / sizeof *everywhere; each++) {
        alarm(60);
        CHECK(everywhere[each](NULL) == 0); /* outside a fiber: the plain system calls */
        in_a_fiber(everywhere[each]);
    }
    in_a_fiber(streams_over_ipv6);
    in_a_fiber(accept_without_descriptors);
    in_a_fiber(closing_ends_calls);
    return 0;
}
