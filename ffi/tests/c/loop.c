/* Loops, by hand: the test is the host, and its coroutines are numbers. With an argument all of it runs on the
 * simulated backend, which is told before each operation what the kernel would have answered. */
#include "check.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { ME = 42, ROUNDS = 500, THREADS = 4, NOTES = 1000, LENT = 128, LENT_BY_THE_SIMULATION = 8 };

static poly_loop *loop;
static int simulated;

static void begin_with(uint32_t ring_entries, uint32_t completion_entries)
{
    poly_loop_options options = POLY_LOOP_OPTIONS_INIT;
    options.backend = simulated ? POLY_BACKEND_SIM : POLY_BACKEND_AUTO;
    options.ring_entries = ring_entries;
    options.completion_entries = completion_entries;
    GIVES(0, poly_loop_new(&options, &loop));
}

static void begin(void)
{
    begin_with(0, 0);
}

static void end(void)
{
    poly_counters counters = POLY_COUNTERS_INIT;
    poly_loop_event event;
    GIVES(POLY_LOOP_IDLE, poly_loop_next(loop, &event));
    GIVES(0, poly_loop_stats(loop, &counters));
    CHECK(counters.in_flight == 0 && counters.timers == 0 && counters.fibers == 0);
    CHECK(counters.submitted == counters.completed && counters.stolen == 0);
    GIVES(0, poly_loop_free(loop));
}

static poly_loop_event next_event(void)
{
    poly_loop_event event;
    for (;;) {
        int next = poly_loop_next(loop, &event);
        if (next == POLY_LOOP_EVENT)
            return event;
        CHECK(next == POLY_LOOP_WAIT);
        CHECK(poly_loop_wait(loop, POLY_FOREVER) >= 0);
    }
}

static poly_operation operation(uint32_t kind, int fd)
{
    poly_operation made;
    memset(&made, 0, sizeof made);
    made.kind = kind;
    made.fd = fd;
    made.user_data = ME;
    return made;
}

static poly_operation with(poly_operation made, const void *pointer, size_t length)
{
    made.pointer = (void *)(uintptr_t)pointer;
    made.length = length;
    return made;
}

static void answer(int fd, uint32_t kind, int32_t result, const void *bytes, uint32_t flags)
{
    if (simulated)
        GIVES(0, poly_loop_answer(loop, fd, kind, result, bytes, 0, flags));
}

static uint64_t submit(poly_operation made)
{
    uint64_t source = 0;
    GIVES(0, poly_loop_submit(loop, &made, &source));
    return source;
}

static poly_loop_event completed(uint64_t source)
{
    poly_loop_event event = next_event();
    CHECK(event.kind == POLY_LOOP_COMPLETED && event.source == source && event.user_data == ME);
    return event;
}

/* Performs an operation whose result is known, and may read some bytes. */
static poly_loop_event gives(int32_t expected, poly_operation made, const void *bytes)
{
    poly_loop_event event;
    int has_no_fd = made.kind == POLY_OPERATION_NOP
                    || (made.kind >= POLY_OPERATION_STATX && made.kind <= POLY_OPERATION_WAITID);
    answer(has_no_fd ? -1 : made.fd, made.kind, expected, bytes, 0);
    event = completed(submit(made));
    if (event.result != expected) {
        fprintf(stderr, "operation %u gives %lld, not %d\n", made.kind, (long long)event.result, expected);
        abort();
    }
    CHECK(event.flags == 0);
    return event;
}

/* The same for what makes a descriptor. */
static int opens(poly_operation made)
{
    poly_loop_event event;
    answer(made.kind == POLY_OPERATION_OPENAT ? -1 : made.fd, made.kind, 77, NULL, 0);
    event = completed(submit(made));
    CHECK(event.result >= 0 && (!simulated || event.result == 77));
    return (int)event.result;
}

static void make_pipe(int ends[2])
{
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
}

static void close_both(const int ends[2])
{
    CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
}

static void streams(void)
{
    int ends[2], others[2];
    char bytes[16] = "";
    struct iovec parts[2];
    poly_operation moved;
    parts[0].iov_base = bytes;
    parts[0].iov_len = 2;
    parts[1].iov_base = bytes + 2;
    parts[1].iov_len = 8;
    make_pipe(ends);
    make_pipe(others);
    gives(0, operation(POLY_OPERATION_NOP, 0), NULL);
    gives(5, with(operation(POLY_OPERATION_WRITE, ends[1]), "hello", 5), NULL);
    gives(5, with(operation(POLY_OPERATION_READ, ends[0]), bytes, sizeof bytes), "hello");
    CHECK(memcmp(bytes, "hello", 5) == 0);
    gives(10, with(operation(POLY_OPERATION_WRITEV, ends[1]), parts, 2), NULL);
    gives(10, with(operation(POLY_OPERATION_READV, ends[0]), parts, 2), "hello abcd");
    gives(POLLOUT, (moved = operation(POLY_OPERATION_POLL, ends[1]), moved.flags = POLLOUT, moved), NULL);
    gives(3, with(operation(POLY_OPERATION_WRITE, ends[1]), "abc", 3), NULL);
    moved = with(operation(POLY_OPERATION_TEE, ends[0]), NULL, 3);
    moved.other_fd = others[1];
    gives(3, moved, NULL);
    moved.kind = POLY_OPERATION_SPLICE;
    moved.offset = moved.other_offset = -1;
    gives(3, moved, NULL);
    gives(6, with(operation(POLY_OPERATION_READ, others[0]), bytes, sizeof bytes), "abcabc");
    CHECK(memcmp(bytes, "abcabc", 6) == 0);
    gives(0, operation(POLY_OPERATION_CLOSE, ends[1]), NULL);
    gives(0, with(operation(POLY_OPERATION_READ, ends[0]), bytes, sizeof bytes), NULL);
    gives(-EBADF, with(operation(POLY_OPERATION_READ, -1), bytes, sizeof bytes), NULL);
    if (simulated)
        CHECK(close(ends[1]) == 0);
    CHECK(close(ends[0]) == 0);
    close_both(others);
}

static void sockets(void)
{
    int pair[2];
    char bytes[16] = "";
    struct iovec part;
    struct msghdr message;
    poly_operation made;
    part.iov_base = bytes;
    part.iov_len = sizeof bytes;
    memset(&message, 0, sizeof message);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    gives(4, with(operation(POLY_OPERATION_SEND, pair[0]), "ping", 4), NULL);
    gives(4, with(operation(POLY_OPERATION_RECV, pair[1]), bytes, sizeof bytes), "ping");
    gives(16, with(operation(POLY_OPERATION_SENDMSG, pair[0]), &message, 0), NULL);
    gives(16, with(operation(POLY_OPERATION_RECVMSG, pair[1]), &message, 0), "ping.ping.ping.p");
    made = with(operation(POLY_OPERATION_RECV, pair[1]), bytes, sizeof bytes);
    made.flags = MSG_DONTWAIT;
    gives(-EAGAIN, made, NULL);
    made = operation(POLY_OPERATION_SHUTDOWN, pair[0]);
    made.flags = SHUT_WR;
    gives(0, made, NULL);
    if (!simulated)
        gives(0, with(operation(POLY_OPERATION_RECV, pair[1]), bytes, sizeof bytes), NULL);
    close_both(pair);
    gives(-EBADF, made, NULL);
}

/* A listener on the loopback, and its address. */
static int listener(struct sockaddr_in *address)
{
    socklen_t length = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)address, length) == 0 && listen(fd, 16) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)address, &length) == 0);
    return fd;
}

/* Connects through the loop. */
static int connects(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    gives(0, with(operation(POLY_OPERATION_CONNECT, fd), address, sizeof *address), NULL);
    return fd;
}

static void closes_opened(int fd)
{
    if (!simulated)
        CHECK(close(fd) == 0);
}

static void connections(void)
{
    struct sockaddr_in address, peer;
    socklen_t length = sizeof peer;
    int server = listener(&address), client = connects(&address), one;
    poly_operation made = with(operation(POLY_OPERATION_ACCEPT, server), &peer, 0);
    poly_loop_event event;
    uint64_t accepting;
    made.other = &length;
    made.flags = SOCK_CLOEXEC;
    one = opens(made);
    CHECK(simulated || peer.sin_family == AF_INET);
    closes_opened(one);
    CHECK(close(client) == 0);

    answer(server, POLY_OPERATION_ACCEPT_MANY, 78, NULL, POLY_LOOP_MORE);
    answer(server, POLY_OPERATION_ACCEPT_MANY, 79, NULL, POLY_LOOP_MORE);
    made = operation(POLY_OPERATION_ACCEPT_MANY, server);
    made.user_data = 7;
    accepting = submit(made);
    for (one = 0; one < 2; one++) {
        client = simulated ? -1 : socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (!simulated)
            CHECK(connect(client, (struct sockaddr *)&address, sizeof address) == 0);
        event = next_event();
        CHECK(event.user_data == 7 && event.source == accepting && event.flags == POLY_LOOP_MORE);
        CHECK(event.result >= 0);
        closes_opened((int)event.result);
        CHECK(simulated || close(client) == 0);
    }
    GIVES(0, poly_loop_cancel(loop, accepting));
    event = next_event();
    CHECK(event.source == accepting && event.result == -ECANCELED && event.flags == 0);
    GIVES(-ESRCH, poly_loop_cancel(loop, accepting));
    CHECK(close(server) == 0);
}

static void readiness_for_ever(void)
{
    int ends[2];
    char byte;
    uint64_t watching;
    poly_loop_event event;
    poly_operation made;
    int round;
    make_pipe(ends);
    made = operation(POLY_OPERATION_POLL_MANY, ends[0]);
    made.flags = POLLIN;
    answer(ends[0], POLY_OPERATION_POLL_MANY, POLLIN, NULL, POLY_LOOP_MORE);
    answer(ends[0], POLY_OPERATION_POLL_MANY, POLLIN, NULL, POLY_LOOP_MORE);
    watching = submit(made);
    for (round = 0; round < 2; round++) {
        CHECK(write(ends[1], "x", 1) == 1);
        event = completed(watching);
        CHECK(event.result == POLLIN && event.flags == POLY_LOOP_MORE);
        CHECK(read(ends[0], &byte, 1) == 1);
    }
    GIVES(1, poly_loop_cancel_fd(loop, ends[0]));
    do
        event = completed(watching); /* what became ready may be told once more */
    while (event.flags == POLY_LOOP_MORE);
    CHECK(event.result == -ECANCELED);
    close_both(ends);
}

static void files(void)
{
    char place[] = "/tmp/polyphony-loop-XXXXXX", bytes[8];
    uint64_t described[64];
    int directory = mkdtemp(place) == NULL ? -1 : open(place, O_DIRECTORY | O_CLOEXEC), fd;
    poly_operation made = with(operation(POLY_OPERATION_OPENAT, directory), "one", 0);
    CHECK(directory >= 0);
    made.flags = O_CREAT | O_RDWR | O_CLOEXEC;
    made.mode = 0600;
    fd = opens(made);
    made = with(operation(POLY_OPERATION_PWRITE, fd), "abcdef", 6);
    made.offset = 2;
    gives(6, made, NULL);
    made = with(operation(POLY_OPERATION_PREAD, fd), bytes, 3);
    made.offset = 4;
    gives(3, made, "cde");
    CHECK(memcmp(bytes, "cde", 3) == 0);
    made = operation(POLY_OPERATION_FSYNC, fd);
    made.flags = 1;
    gives(0, made, NULL);
    made = with(operation(POLY_OPERATION_STATX, directory), "one", 0);
    made.mode = 0x7ff; /* STATX_BASIC_STATS */
    made.other = described;
    gives(0, made, NULL);
    made = with(operation(POLY_OPERATION_RENAMEAT, directory), "one", 0);
    made.other_fd = directory;
    made.other = (void *)(uintptr_t) "two";
    gives(0, made, NULL);
    gives(0, operation(POLY_OPERATION_CLOSE, fd), NULL);
    gives(0, with(operation(POLY_OPERATION_UNLINKAT, directory), "two", 0), NULL);
    made = with(operation(POLY_OPERATION_MKDIRAT, directory), "three", 0);
    made.mode = 0700;
    gives(0, made, NULL);
    if (!simulated)
        CHECK(unlinkat(directory, "three", AT_REMOVEDIR) == 0);
    CHECK(rmdir(place) == 0 && close(directory) == 0);
}

static void children(void)
{
    siginfo_t info;
    poly_operation made = operation(POLY_OPERATION_WAITID, 0);
    pid_t child = simulated ? 1 : fork();
    if (child == 0)
        _exit(3);
    CHECK(child > 0);
    memset(&info, 0, sizeof info);
    made.mode = P_PID;
    made.length = (uint64_t)child;
    made.flags = WEXITED;
    made.other = &info;
    gives(0, made, NULL);
    CHECK(simulated || (info.si_code == CLD_EXITED && info.si_status == 3));
}

static void lent_buffers(void)
{
    poly_loop_event events[LENT + 1];
    int pair[2], each, most = simulated ? LENT_BY_THE_SIMULATION : LENT;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    CHECK(write(pair[0], "hello", 5) == 5);
    events[0] = gives(5, with(operation(POLY_OPERATION_READ_BUFFER, pair[1]), NULL, 100), "hello");
    CHECK(events[0].data != NULL && memcmp(events[0].data, "hello", 5) == 0);
    GIVES(0, poly_loop_release(loop, events[0].data));
    GIVES(-EINVAL, poly_loop_release(loop, events[0].data));
    GIVES(-EINVAL, poly_loop_release(loop, pair));
    GIVES(0, poly_loop_release(loop, NULL));
    for (each = 0; each < most; each++) {
        CHECK(write(pair[0], "x", 1) == 1);
        events[each] = gives(1, with(operation(POLY_OPERATION_RECV_BUFFER, pair[1]), NULL, 100), "x");
    }
    CHECK(write(pair[0], "y", 1) == 1);
    answer(pair[1], POLY_OPERATION_RECV_BUFFER, 1, "y", 0);
    events[most] = completed(submit(with(operation(POLY_OPERATION_RECV_BUFFER, pair[1]), NULL, 100)));
    CHECK(events[most].result == -ENOBUFS && events[most].data == NULL);
    for (each = 0; each < most; each++)
        GIVES(0, poly_loop_release(loop, events[each].data));
    events[0] = gives(1, with(operation(POLY_OPERATION_RECV_BUFFER, pair[1]), NULL, 100), "y");
    CHECK(*(const char *)events[0].data == 'y');
    GIVES(0, poly_loop_release(loop, events[0].data));
    CHECK(shutdown(pair[0], SHUT_WR) == 0);
    for (each = 0; each < 2 * most; each++) { /* nothing is lent for the end */
        events[0] = gives(0, with(operation(POLY_OPERATION_RECV_BUFFER, pair[1]), NULL, 100), NULL);
        CHECK(events[0].data == NULL);
    }
    close_both(pair);
}

static void every_operation(void)
{
    begin();
    streams();
    sockets();
    connections();
    readiness_for_ever();
    files();
    children();
    lent_buffers();
    end();
}

static void turns_come_in_order(void)
{
    poly_loop_event event;
    uint64_t each;
    begin();
    GIVES(POLY_LOOP_IDLE, poly_loop_next(loop, &event));
    for (each = 0; each < 300; each++)
        GIVES(0, poly_loop_ready(loop, each % 100)); /* the same one may be due several turns */
    for (each = 0; each < 300; each++) {
        GIVES(POLY_LOOP_EVENT, poly_loop_next(loop, &event));
        CHECK(event.kind == POLY_LOOP_READY && event.user_data == each % 100);
        CHECK(event.result == 0 && event.source == 0 && event.data == NULL && event.flags == 0);
    }
    end();
}

/* One that always has a turn more does not keep the others from hearing of the kernel, of time and of threads. */
static void who_always_yields_starves_nobody(void)
{
    int ends[2], heard = 0, rounds = 0;
    char byte;
    begin();
    make_pipe(ends);
    answer(ends[0], POLY_OPERATION_READ, 1, "x", 0);
    submit(with(operation(POLY_OPERATION_READ, ends[0]), &byte, 1));
    CHECK(write(ends[1], "x", 1) == 1);
    GIVES(0, poly_loop_arm(loop, 0, ME, NULL));
    GIVES(0, poly_loop_notify(loop, ME));
    GIVES(0, poly_loop_ready(loop, 1));
    while (heard < 3) {
        poly_loop_event event;
        GIVES(POLY_LOOP_EVENT, poly_loop_next(loop, &event));
        CHECK(rounds++ < 1000);
        if (event.user_data == 1)
            GIVES(0, poly_loop_ready(loop, 1));
        else
            heard++;
    }
    CHECK(next_event().user_data == 1);
    close_both(ends);
    end();
}

static void timers(void)
{
    uint64_t hour = UINT64_C(3600000) * MILLI, unit = simulated ? hour : 2 * MILLI, sources[4], start;
    poly_loop_event event;
    begin();
    start = (uint64_t)poly_loop_now(loop);
    CHECK(simulated || start <= poly_now());
    QUIETLY(poly_loop_now(loop) >= (int64_t)start);
    GIVES(0, poly_loop_arm(loop, start + 3 * hour, 3, &sources[3]));
    GIVES(0, poly_loop_arm(loop, start + unit, 1, &sources[1]));
    GIVES(0, poly_loop_arm(loop, POLY_FOREVER, 2, &sources[2]));
    GIVES(0, poly_loop_arm(loop, start, 0, &sources[0]));
    event = next_event();
    CHECK(event.kind == POLY_LOOP_EXPIRED && event.user_data == 0 && event.source == sources[0]);
    CHECK(event.result == 0 && event.flags == 0);
    GIVES(-ESRCH, poly_loop_disarm(loop, sources[0]));
    GIVES(-ESRCH, poly_loop_rearm(loop, sources[0], 0));
    GIVES(0, poly_loop_rearm(loop, sources[2], start + 2 * unit));
    CHECK(next_event().user_data == 1 && (uint64_t)poly_loop_now(loop) >= start + unit);
    CHECK(next_event().user_data == 2 && (uint64_t)poly_loop_now(loop) >= start + 2 * unit);
    GIVES(0, poly_loop_disarm(loop, sources[3]));
    GIVES(-ESRCH, poly_loop_disarm(loop, sources[3]));
    /* One that has expired and was not told is not told, once it is disarmed. */
    GIVES(0, poly_loop_arm(loop, 0, 4, &sources[3]));
    GIVES(1, poly_loop_wait(loop, POLY_FOREVER));
    GIVES(-ESRCH, poly_loop_rearm(loop, sources[3], start));
    GIVES(0, poly_loop_disarm(loop, sources[3]));
    GIVES(-ESRCH, poly_loop_disarm(loop, sources[3]));
    end();
}

/* A host that keeps both kinds of numbers in one place, and mistakes one for the other, hits nothing. */
static void numbers_are_of_one_thing(void)
{
    poly_operation reading;
    uint64_t operations[3], armed[3];
    int ends[2], i;
    char byte;
    begin();
    make_pipe(ends);
    reading = with(operation(POLY_OPERATION_READ, ends[0]), &byte, 1);
    for (i = 0; i < 3; i++) {
        operations[i] = submit(reading);
        GIVES(0, poly_loop_arm(loop, POLY_FOREVER, 0, &armed[i]));
    }
    for (i = 0; i < 3; i++) {
        GIVES(-ESRCH, poly_loop_cancel(loop, armed[i]));
        GIVES(-ESRCH, poly_loop_disarm(loop, operations[i]));
        GIVES(-ESRCH, poly_loop_rearm(loop, operations[i], 0));
    }
    for (i = 0; i < 3; i++) {
        GIVES(0, poly_loop_disarm(loop, armed[i]));
        GIVES(0, poly_loop_cancel(loop, operations[i]));
        CHECK(completed(operations[i]).result == -ECANCELED);
    }
    close_both(ends);
    end();
}

/* A wait with a deadline ends then; one of 0 does not sleep; and events that are there end any. */
static void waits(void)
{
    uint64_t start;
    poly_loop_event event;
    int ends[2];
    char byte;
    begin();
    make_pipe(ends);
    submit(with(operation(POLY_OPERATION_READ, ends[0]), &byte, 1));
    GIVES(0, poly_loop_wait(loop, 0));
    start = (uint64_t)poly_loop_now(loop);
    while ((uint64_t)poly_loop_now(loop) < start + MILLI)
        GIVES(0, poly_loop_wait(loop, start + MILLI));
    GIVES(POLY_LOOP_WAIT, poly_loop_next(loop, &event));
    GIVES(0, poly_loop_ready(loop, 1));
    GIVES(1, poly_loop_wait(loop, POLY_FOREVER));
    GIVES(0, poly_loop_wake(loop)); /* before the wait that it ends */
    CHECK(next_event().user_data == 1);
    GIVES(0, poly_loop_wait(loop, POLY_FOREVER));
    GIVES(1, poly_loop_cancel_all(loop));
    CHECK(next_event().result == -ECANCELED);
    close_both(ends);
    end();
}

/* Whichever is faster, the byte is read once: by the operation, or by the next. */
static void cancellations_race(void)
{
    int ends[2], round;
    begin();
    make_pipe(ends);
    for (round = 0; round < ROUNDS; round++) {
        char byte = 0;
        uint64_t reading;
        poly_loop_event event;
        int early = (int)random_below(4);
        if (early == 0)
            answer(ends[0], POLY_OPERATION_READ, 1, "x", 0);
        reading = submit(with(operation(POLY_OPERATION_READ, ends[0]), &byte, 1));
        if (early & 1)
            CHECK(poly_loop_wait(loop, 0) >= 0);
        if (!simulated)
            CHECK(write(ends[1], "x", 1) == 1);
        if (early & 2)
            CHECK(poly_loop_wait(loop, 0) >= 0);
        CHECK(poly_loop_cancel(loop, reading) == 0 || poly_loop_cancel(loop, reading) == -ESRCH);
        event = completed(reading);
        CHECK(event.flags == 0 && (event.result == 1 || event.result == -ECANCELED));
        GIVES(-ESRCH, poly_loop_cancel(loop, reading));
        if (event.result == 1)
            CHECK(byte == 'x');
        else if (!simulated)
            CHECK(read(ends[0], &byte, 1) == 1);
    }
    close_both(ends);
    end();
}

static void cancellations_are_counted(void)
{
    int ends[2], others[2], each;
    char bytes[8];
    begin();
    make_pipe(ends);
    make_pipe(others);
    for (each = 0; each < 3; each++)
        submit(with(operation(POLY_OPERATION_READ, ends[0]), bytes + each, 1));
    submit(with(operation(POLY_OPERATION_READ, others[0]), bytes + 3, 1));
    GIVES(0, poly_loop_cancel_fd(loop, ends[1]));
    GIVES(0, poly_loop_cancel_fd(loop, -1));
    GIVES(3, poly_loop_cancel_fd(loop, ends[0]));
    for (each = 0; each < 3; each++)
        CHECK(next_event().result == -ECANCELED);
    GIVES(1, poly_loop_cancel_all(loop));
    CHECK(next_event().result == -ECANCELED);
    GIVES(0, poly_loop_cancel_all(loop));
    GIVES(-ESRCH, poly_loop_cancel(loop, 0));
    GIVES(-ESRCH, poly_loop_cancel(loop, UINT64_MAX));
    close_both(ends);
    close_both(others);
    end();
}

/* More than the queues hold: nothing is refused, nothing lost. */
static void small_rings(void)
{
    int ends[2];
    char bytes[100];
    uint64_t sources[100];
    size_t each;
    begin_with(2, 4);
    make_pipe(ends);
    for (each = 0; each < 100; each++)
        sources[each] = submit(with(operation(POLY_OPERATION_READ, ends[0]), bytes + each, 1));
    for (each = 0; each < 100; each++)
        submit(operation(POLY_OPERATION_NOP, 0));
    for (each = 0; each < 100; each++)
        CHECK(next_event().result == 0);
    for (each = 0; each < 100; each++)
        GIVES(0, poly_loop_cancel(loop, sources[each]));
    for (each = 0; each < 100; each++)
        CHECK(next_event().result == -ECANCELED);
    close_both(ends);
    end();
}

static int64_t large(void *argument)
{
    *(int *)argument += 1;
    return INT64_C(1) << 40;
}

static int64_t wait_for_a_byte(void *fd)
{
    char byte;
    return read(*(int *)fd, &byte, 1);
}

static void offloads(void)
{
    int called = 0, ends[2];
    uint64_t source;
    begin();
    answer(-1, POLY_OPERATION_OFFLOAD, 0, NULL, 0);
    GIVES(0, poly_loop_offload(loop, large, &called, ME, &source));
    CHECK(completed(source).result == INT64_C(1) << 40 && called == 1);
    GIVES(0, poly_loop_offload(loop, large, &called, ME, &source));
    GIVES(0, poly_loop_cancel(loop, source));
    answer(-1, POLY_OPERATION_OFFLOAD, 0, NULL, 0);
    {
        poly_loop_event event = completed(source);
        CHECK(event.result == -ECANCELED ? called == 1 : event.result == INT64_C(1) << 40 && called == 2);
    }
    make_pipe(ends);
    CHECK(write(ends[1], "x", 1) == 1);
    answer(-1, POLY_OPERATION_OFFLOAD, 0, NULL, 0);
    GIVES(0, poly_loop_offload(loop, wait_for_a_byte, &ends[0], ME, NULL));
    CHECK(next_event().result == 1);
    close_both(ends);
    end();
}

static void *notes(void *number)
{
    uint64_t each, base = (uint64_t)(uintptr_t)number * NOTES;
    for (each = 0; each < NOTES; each++)
        GIVES(0, poly_loop_notify(loop, base + each));
    return NULL;
}

/* Takes what other threads say, each once and in the order in which it said it; `wait` waits. */
static void hears(void (*wait)(void))
{
    uint64_t heard[THREADS] = { 0 };
    pthread_t threads[THREADS];
    uintptr_t each;
    int left = THREADS * NOTES;
    for (each = 0; each < THREADS; each++)
        CHECK(pthread_create(&threads[each], NULL, notes, (void *)each) == 0);
    while (left > 0) {
        poly_loop_event event;
        int next = poly_loop_next(loop, &event);
        if (next != POLY_LOOP_EVENT) {
            CHECK(next == POLY_LOOP_IDLE);
            wait();
            continue;
        }
        CHECK(event.kind == POLY_LOOP_NOTIFIED && event.result == 0 && event.source == 0);
        CHECK(event.user_data % NOTES == heard[event.user_data / NOTES]++);
        left--;
    }
    for (each = 0; each < THREADS; each++)
        CHECK(pthread_join(threads[each], NULL) == 0);
}

static void wait_for_ever(void)
{
    CHECK(poly_loop_wait(loop, POLY_FOREVER) >= 0);
}

static void *everything_but_its_threads(void *argument)
{
    poly_operation nop = operation(POLY_OPERATION_NOP, 0);
    poly_counters counters = POLY_COUNTERS_INIT;
    poly_loop_event event;
    uint64_t deadline;
    GIVES(-EPERM, poly_loop_submit(loop, &nop, NULL));
    GIVES(-EPERM, poly_loop_offload(loop, large, NULL, 0, NULL));
    GIVES(-EPERM, poly_loop_cancel(loop, 0));
    GIVES(-EPERM, poly_loop_cancel_fd(loop, 0));
    GIVES(-EPERM, poly_loop_cancel_all(loop));
    GIVES(-EPERM, poly_loop_arm(loop, 0, 0, NULL));
    GIVES(-EPERM, poly_loop_rearm(loop, 0, 0));
    GIVES(-EPERM, poly_loop_disarm(loop, 0));
    GIVES(-EPERM, poly_loop_ready(loop, 0));
    GIVES(-EPERM, poly_loop_next(loop, &event));
    GIVES(-EPERM, poly_loop_wait(loop, 0));
    GIVES(-EPERM, poly_loop_release(loop, NULL));
    GIVES(-EPERM, poly_loop_now(loop));
    GIVES(-EPERM, poly_loop_fd(loop));
    GIVES(-EPERM, poly_loop_prepare(loop, &deadline));
    GIVES(-EPERM, poly_loop_stats(loop, &counters));
    GIVES(-EPERM, poly_loop_describe(loop, NULL, 0));
    GIVES(-EPERM, poly_loop_answer(loop, 0, POLY_OPERATION_READ, 0, NULL, 0, 0));
    GIVES(-EPERM, poly_loop_free(loop));
    return argument;
}

static void other_threads(void)
{
    pthread_t other;
    begin();
    hears(wait_for_ever);
    CHECK(pthread_create(&other, NULL, everything_but_its_threads, NULL) == 0);
    CHECK(pthread_join(other, NULL) == 0);
    end();
}

static pthread_t owner;
static volatile int handled; /* what a handler was answered in the middle of a wait */

static void handle(int number)
{
    int saved = errno;
    int answered = poly_loop_ready(loop, 99);
    UNUSED(number);
    CHECK(poly_loop_wake(loop) == 0);
    if (answered == -EBUSY)
        __atomic_store_n(&handled, 1, __ATOMIC_SEQ_CST);
    errno = saved;
}

static int64_t disturb(void *argument)
{
    UNUSED(argument);
    while (!__atomic_load_n(&handled, __ATOMIC_SEQ_CST)) {
        CHECK(pthread_kill(owner, SIGUSR1) == 0);
        sched_yield();
    }
    return 1;
}

/* A handler may wake the loop; whatever else it tries in the middle of a call is refused. */
static void handlers_of_signals(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handle;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    begin();
    owner = pthread_self();
    answer(-1, POLY_OPERATION_OFFLOAD, 0, NULL, 0);
    GIVES(0, poly_loop_offload(loop, disturb, NULL, ME, NULL));
    for (;;) {
        poly_loop_event event = next_event();
        if (event.user_data == ME)
            break;
        CHECK(event.user_data == 99); /* it came between two calls */
    }
    CHECK(handled);
    CHECK(poly_loop_wait(loop, 0) >= 0);
    for (;;) {
        poly_loop_event event;
        if (poly_loop_next(loop, &event) != POLY_LOOP_EVENT)
            break;
    }
    end();
}

static void ignore(int number)
{
    UNUSED(number);
}

static void *signals_until_told(void *told)
{
    while (!__atomic_load_n((int *)told, __ATOMIC_SEQ_CST)) {
        CHECK(pthread_kill(owner, SIGUSR1) == 0);
        usleep(1000);
    }
    return NULL;
}

/* Also where the handler has system calls go on. */
static void signals_end_waits(void)
{
    struct sigaction action;
    pthread_t other;
    int told = 0;
    if (simulated)
        return;
    memset(&action, 0, sizeof action);
    action.sa_handler = ignore;
    action.sa_flags = SA_RESTART;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    begin();
    owner = pthread_self();
    CHECK(pthread_create(&other, NULL, signals_until_told, &told) == 0);
    GIVES(0, poly_loop_wait(loop, POLY_FOREVER));
    __atomic_store_n(&told, 1, __ATOMIC_SEQ_CST);
    CHECK(pthread_join(other, NULL) == 0);
    end();
}

/* What else is asked of the loop before the wait uses none up. */
static void wakes_reach_the_next_wait(void)
{
    uint64_t deadline, each;
    if (simulated)
        return;
    begin();
    for (each = 0; each < 200; each++)
        GIVES(0, poly_loop_ready(loop, each));
    submit(operation(POLY_OPERATION_NOP, 0));
    GIVES(0, poly_loop_wake(loop));
    for (each = 0; each < 201; each++)
        next_event();
    GIVES(0, poly_loop_wait(loop, POLY_FOREVER));
    CHECK(poly_loop_fd(loop) >= 0);
    while (poly_loop_prepare(loop, &deadline) == 1)
        CHECK(poly_loop_next(loop, NULL) == -EINVAL);
    GIVES(0, poly_loop_wake(loop));
    GIVES(1, poly_loop_prepare(loop, &deadline));
    GIVES(0, poly_loop_prepare(loop, &deadline));
    end();
}

static void wait_elsewhere(void)
{
    uint64_t deadline = 0;
    struct pollfd waited;
    int prepared = poly_loop_prepare(loop, &deadline);
    CHECK(prepared >= 0);
    if (prepared == 1)
        return;
    if (simulated) {
        wait_for_ever();
        return;
    }
    waited.fd = poly_loop_fd(loop);
    waited.events = POLLIN;
    /* As late as the deadline, in whole milliseconds. */
    CHECK(poll(&waited, 1, deadline == POLY_FOREVER ? -1 : (int)((deadline - poly_now()) / MILLI + 1)) >= 0);
}

static poly_loop_event next_from_elsewhere(void)
{
    poly_loop_event event;
    int next;
    while ((next = poly_loop_next(loop, &event)) != POLY_LOOP_EVENT) {
        CHECK(next == POLY_LOOP_WAIT);
        wait_elsewhere();
    }
    return event;
}

static void in_another_loop(void)
{
    int ends[2], round;
    char byte;
    uint64_t deadline, at;
    struct pollfd waited;
    begin();
    make_pipe(ends);
    if (simulated)
        GIVES(-ENOTSUP, poly_loop_fd(loop));
    else
        CHECK(fcntl(poly_loop_fd(loop), F_GETFD) >= 0);
    waited.fd = poly_loop_fd(loop);
    waited.events = POLLIN;
    GIVES(0, poly_loop_prepare(loop, &deadline));
    CHECK(deadline == POLY_FOREVER);
    GIVES(0, poly_loop_ready(loop, 1));
    GIVES(1, poly_loop_prepare(loop, &deadline));
    CHECK(next_event().user_data == 1);
    for (round = 0; round < 20; round++) {
        answer(ends[0], POLY_OPERATION_READ, 1, "x", 0);
        submit(with(operation(POLY_OPERATION_READ, ends[0]), &byte, 1));
        if (!simulated) {
            GIVES(0, poly_loop_prepare(loop, &deadline));
            CHECK(poll(&waited, 1, 0) == 0); /* nothing yet, and nothing spins */
        }
        CHECK(write(ends[1], "x", 1) == 1);
        CHECK(next_from_elsewhere().result == 1);
    }
    GIVES(0, poly_loop_wake(loop));
    GIVES(simulated ? 0 : poll(&waited, 1, -1) - 1, 0);
    while (poly_loop_prepare(loop, &deadline) == 1)
        CHECK(poly_loop_next(loop, NULL) == -EINVAL);
    GIVES(0, simulated ? 0 : poll(&waited, 1, 0)); /* it has been told, and nothing spins */
    at = (uint64_t)poly_loop_now(loop) + 5 * MILLI;
    GIVES(0, poly_loop_arm(loop, at, ME, NULL));
    while (poly_loop_prepare(loop, &deadline) == 1)
        CHECK(poly_loop_next(loop, NULL) == -EINVAL);
    CHECK(deadline <= at);
    CHECK(next_from_elsewhere().kind == POLY_LOOP_EXPIRED && (uint64_t)poly_loop_now(loop) >= at);
    hears(wait_elsewhere);
    answer(-1, POLY_OPERATION_OFFLOAD, 0, NULL, 0);
    GIVES(0, poly_loop_offload(loop, wait_for_a_byte, &ends[0], ME, NULL));
    CHECK(write(ends[1], "x", 1) == 1);
    CHECK(next_from_elsewhere().user_data == ME);
    close_both(ends);
    end();
}

static int descriptors(void)
{
    int fd, count = 0;
    for (fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* Freed in the middle of everything, a loop leaves no memory to the kernel and no descriptor open. */
static void freed_with_all_in_flight(void)
{
    struct sockaddr_in address;
    int server = listener(&address), client, ends[2], before, each;
    char *bytes = (char *)malloc(64);
    poly_operation made;
    make_pipe(ends);
    before = descriptors();
    begin();
    for (each = 0; each < 64; each++)
        submit(with(operation(POLY_OPERATION_READ, ends[0]), bytes + each, 1));
    submit(with(operation(POLY_OPERATION_READ_BUFFER, ends[0]), NULL, 10));
    GIVES(0, poly_loop_arm(loop, POLY_FOREVER, ME, NULL));
    client = connects(&address);
    made = operation(POLY_OPERATION_ACCEPT, server);
    made.flags = SOCK_CLOEXEC;
    answer(server, POLY_OPERATION_ACCEPT, 200, NULL, 0);
    submit(made);
    made.kind = POLY_OPERATION_ACCEPT_MANY;
    submit(made);
    CHECK(poly_loop_wait(loop, POLY_FOREVER) == 1); /* nobody takes what it brought */
    GIVES(0, poly_loop_offload(loop, large, &each, ME, NULL));
    GIVES(0, poly_loop_ready(loop, ME));
    GIVES(0, poly_loop_notify(loop, ME));
    GIVES(0, poly_loop_free(loop));
    free(bytes);
    CHECK(close(client) == 0);
    while (descriptors() != before) /* a thread of the pool lets go of the last one a moment later */
        sched_yield();
    close_both(ends);
    CHECK(close(server) == 0);
}

static void what_it_says(void)
{
    poly_counters counters = POLY_COUNTERS_INIT;
    int ends[2];
    char byte, text[200], line[64];
    begin();
    make_pipe(ends);
    submit(with(operation(POLY_OPERATION_READ, ends[0]), &byte, 1));
    CHECK(poly_loop_describe(loop, text, sizeof text) == (int64_t)strlen(text));
    GIVES((long long)strlen(text), poly_loop_describe(loop, NULL, 0));
    CHECK(strncmp(text, simulated ? "sim\n" : "io_uring", 4) == 0 || strncmp(text, "epoll\n", 6) == 0);
    snprintf(line, sizeof line, "\nread of descriptor %d for 0x2a\n", ends[0]);
    CHECK(strstr(text, line) != NULL);
    GIVES((long long)strlen(text), poly_loop_describe(loop, line, 4));
    CHECK(strncmp(line, text, 3) == 0 && line[3] == '\0');
    GIVES(0, poly_loop_arm(loop, POLY_FOREVER, ME, NULL));
    GIVES(0, poly_loop_ready(loop, ME));
    GIVES(0, poly_loop_stats(loop, &counters));
    CHECK(counters.in_flight == 1 && counters.timers == 1 && counters.fibers == 1 && counters.submitted == 1);
    counters.size--;
    GIVES(-EINVAL, poly_loop_stats(loop, &counters));
    GIVES(0, poly_loop_free(loop));
    close_both(ends);
}

static void nulls(void)
{
    poly_operation nop = operation(POLY_OPERATION_NOP, 0);
    GIVES(-EINVAL, poly_loop_new(NULL, NULL));
    GIVES(0, poly_loop_free(NULL));
    GIVES(-EINVAL, poly_loop_submit(NULL, &nop, NULL));
    GIVES(-EINVAL, poly_loop_submit(loop, NULL, NULL));
    GIVES(-EINVAL, poly_loop_offload(NULL, large, NULL, 0, NULL));
    GIVES(-EINVAL, poly_loop_offload(loop, NULL, NULL, 0, NULL));
    GIVES(-EINVAL, poly_loop_cancel(NULL, 0));
    GIVES(-EINVAL, poly_loop_cancel_fd(NULL, 0));
    GIVES(-EINVAL, poly_loop_cancel_all(NULL));
    GIVES(-EINVAL, poly_loop_arm(NULL, 0, 0, NULL));
    GIVES(-EINVAL, poly_loop_rearm(NULL, 0, 0));
    GIVES(-EINVAL, poly_loop_disarm(NULL, 0));
    GIVES(-EINVAL, poly_loop_ready(NULL, 0));
    GIVES(-EINVAL, poly_loop_next(NULL, NULL));
    GIVES(-EINVAL, poly_loop_next(loop, NULL));
    GIVES(-EINVAL, poly_loop_wait(NULL, 0));
    GIVES(-EINVAL, poly_loop_notify(NULL, 0));
    GIVES(-EINVAL, poly_loop_wake(NULL));
    GIVES(-EINVAL, poly_loop_release(NULL, NULL));
    GIVES(-EINVAL, poly_loop_now(NULL));
    GIVES(-EINVAL, poly_loop_fd(NULL));
    GIVES(-EINVAL, poly_loop_prepare(NULL, NULL));
    GIVES(-EINVAL, poly_loop_prepare(loop, NULL));
    GIVES(-EINVAL, poly_loop_stats(NULL, NULL));
    GIVES(-EINVAL, poly_loop_stats(loop, NULL));
    GIVES(-EINVAL, poly_loop_describe(NULL, NULL, 0));
    GIVES(-EINVAL, poly_loop_describe(loop, NULL, 1));
    GIVES(-EINVAL, poly_loop_answer(NULL, 0, POLY_OPERATION_READ, 0, NULL, 0, 0));
}

static void operations_that_are_none(void)
{
    char byte;
    uint32_t kind, with_memory[] = { POLY_OPERATION_READ,     POLY_OPERATION_WRITE,    POLY_OPERATION_PREAD,
                                     POLY_OPERATION_PWRITE,   POLY_OPERATION_READV,    POLY_OPERATION_WRITEV,
                                     POLY_OPERATION_RECV,     POLY_OPERATION_SEND,     POLY_OPERATION_RECVMSG,
                                     POLY_OPERATION_SENDMSG,  POLY_OPERATION_CONNECT,  POLY_OPERATION_OPENAT,
                                     POLY_OPERATION_STATX,    POLY_OPERATION_RENAMEAT, POLY_OPERATION_UNLINKAT,
                                     POLY_OPERATION_MKDIRAT };
    uint64_t source = 4711;
    size_t each;
    poly_operation made;
    for (kind = POLY_OPERATION_OFFLOAD; kind != 1000; kind++) {
        made = with(operation(kind, 0), &byte, 1);
        GIVES(-EINVAL, poly_loop_submit(loop, &made, &source));
    }
    made.kind = 0;
    GIVES(-EINVAL, poly_loop_submit(loop, &made, &source));
    for (each = 0; each < sizeof with_memory / sizeof *with_memory; each++) {
        made = with(operation(with_memory[each], 0), NULL, 1);
        GIVES(-EFAULT, poly_loop_submit(loop, &made, &source));
    }
    made = with(operation(POLY_OPERATION_READV, 0), &byte, 1025);
    GIVES(-EINVAL, poly_loop_submit(loop, &made, &source));
    made = with(operation(POLY_OPERATION_PREAD, 0), &byte, 1);
    made.offset = -1;
    GIVES(-EINVAL, poly_loop_submit(loop, &made, &source));
    made = with(operation(POLY_OPERATION_RECV_BUFFER, 0), NULL, 0);
    GIVES(-EINVAL, poly_loop_submit(loop, &made, &source));
    made = operation(POLY_OPERATION_NOP, 0);
    made.reserved = 1;
    GIVES(-EINVAL, poly_loop_submit(loop, &made, &source));
    CHECK(source == 4711);
}

static void options_that_are_none(void)
{
    struct {
        poly_loop_options options;
        uint64_t later;
    } grown = { POLY_LOOP_OPTIONS_INIT, 0 };
    poly_loop_options options = POLY_LOOP_OPTIONS_INIT;
    poly_loop *made = NULL;
    grown.options.size = sizeof grown;
    GIVES(0, poly_loop_new(&grown.options, &made));
    GIVES(0, poly_loop_free(made));
    grown.later = 1;
    GIVES(-E2BIG, poly_loop_new(&grown.options, &made));
    options.size--;
    GIVES(-EINVAL, poly_loop_new(&options, &made));
    options.size++;
    options.backend = 4;
    GIVES(-EINVAL, poly_loop_new(&options, &made));
    options.backend = 0;
    options.completion_entries = 1;
    GIVES(-EINVAL, poly_loop_new(&options, &made));
    options.completion_entries = 255; /* the submission queue has 256 by default */
    GIVES(-EINVAL, poly_loop_new(&options, &made));
    options.completion_entries = 256;
    GIVES(0, poly_loop_new(&options, &made));
    GIVES(0, poly_loop_free(made));
    options.completion_entries = 0;
    options.reserved = 1;
    GIVES(-EINVAL, poly_loop_new(&options, &made));
}

static void misuse(void)
{
    begin();
    nulls();
    operations_that_are_none();
    options_that_are_none();
    GIVES(-EINVAL, poly_loop_answer(loop, 0, 1000, 0, NULL, 0, 0));
    GIVES(-EINVAL, poly_loop_answer(loop, 0, POLY_OPERATION_READ, 0, NULL, 0, 2));
    if (!simulated)
        GIVES(-ENOTSUP, poly_loop_answer(loop, 0, POLY_OPERATION_READ, 0, NULL, 0, 0));
    end();
}

static void in_the_child(int fd)
{
    poly_operation nop = operation(POLY_OPERATION_NOP, 0);
    poly_counters counters = POLY_COUNTERS_INIT;
    poly_loop *parents = loop;
    poly_loop_event event;
    uint64_t deadline;
    GIVES(-POLY_EFORKED, poly_loop_submit(loop, &nop, NULL));
    GIVES(-POLY_EFORKED, poly_loop_offload(loop, large, NULL, 0, NULL));
    GIVES(-POLY_EFORKED, poly_loop_cancel(loop, 0));
    GIVES(-POLY_EFORKED, poly_loop_cancel_fd(loop, fd));
    GIVES(-POLY_EFORKED, poly_loop_cancel_all(loop));
    GIVES(-POLY_EFORKED, poly_loop_arm(loop, 0, 0, NULL));
    GIVES(-POLY_EFORKED, poly_loop_rearm(loop, 0, 0));
    GIVES(-POLY_EFORKED, poly_loop_disarm(loop, 0));
    GIVES(-POLY_EFORKED, poly_loop_ready(loop, 0));
    GIVES(-POLY_EFORKED, poly_loop_next(loop, &event));
    GIVES(-POLY_EFORKED, poly_loop_wait(loop, POLY_FOREVER));
    GIVES(-POLY_EFORKED, poly_loop_notify(loop, 0));
    GIVES(-POLY_EFORKED, poly_loop_wake(loop));
    GIVES(-POLY_EFORKED, poly_loop_release(loop, NULL));
    GIVES(-POLY_EFORKED, poly_loop_now(loop));
    GIVES(-POLY_EFORKED, poly_loop_fd(loop));
    GIVES(-POLY_EFORKED, poly_loop_prepare(loop, &deadline));
    GIVES(-POLY_EFORKED, poly_loop_stats(loop, &counters));
    GIVES(-POLY_EFORKED, poly_loop_describe(loop, NULL, 0));
    GIVES(-POLY_EFORKED, poly_loop_answer(loop, 0, POLY_OPERATION_READ, 0, NULL, 0, 0));
    begin();
    gives(0, operation(POLY_OPERATION_NOP, 0), NULL);
    end();
    GIVES(0, poly_loop_free(parents));
    _exit(0);
}

/* The child of a fork has no part in its parent's loop, whatever is in flight there, and may make its own. */
static void forks(void)
{
    int ends[2], status;
    char byte = 0;
    uint64_t reading;
    pid_t child;
    begin();
    make_pipe(ends);
    reading = submit(with(operation(POLY_OPERATION_READ, ends[0]), &byte, 1));
    CHECK(poly_loop_wait(loop, 0) == 0);
    child = fork();
    if (child == 0) {
        hangs_after(20);
        in_the_child(ends[0]);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    answer(ends[0], POLY_OPERATION_READ, 1, "x", 0);
    CHECK(write(ends[1], "x", 1) == 1);
    CHECK(completed(reading).result == 1 && byte == 'x');
    close_both(ends);
    end();
}

/* Threads come and go, each with a loop; a thread may have several. */
static void *a_loop_of_its_own(void *argument)
{
    poly_loop_options options = POLY_LOOP_OPTIONS_INIT;
    poly_loop *loops[3];
    poly_operation nop = operation(POLY_OPERATION_NOP, 0);
    poly_loop_event event;
    size_t each;
    int next;
    options.backend = simulated ? POLY_BACKEND_SIM : POLY_BACKEND_AUTO;
    for (each = 0; each < 3; each++) {
        GIVES(0, poly_loop_new(&options, &loops[each]));
        GIVES(0, poly_loop_submit(loops[each], &nop, NULL));
    }
    for (each = 0; each < 3; each++) {
        while ((next = poly_loop_next(loops[each], &event)) == POLY_LOOP_WAIT)
            CHECK(poly_loop_wait(loops[each], POLY_FOREVER) >= 0);
        CHECK(next == POLY_LOOP_EVENT && event.user_data == ME);
        GIVES(0, poly_loop_free(loops[each]));
    }
    return argument;
}

static void a_loop_in_each_thread(void)
{
    pthread_t threads[THREADS];
    size_t each;
    for (each = 0; each < THREADS; each++)
        CHECK(pthread_create(&threads[each], NULL, a_loop_of_its_own, NULL) == 0);
    for (each = 0; each < THREADS; each++)
        CHECK(pthread_join(threads[each], NULL) == 0);
}

int main(int count, char **arguments)
{
    void (*tests[])(void) = { freed_with_all_in_flight, /* first: nobody else opens and closes anything yet */
                              every_operation,
                              turns_come_in_order,
                              who_always_yields_starves_nobody,
                              timers,
                              numbers_are_of_one_thing,
                              waits,
                              cancellations_race,
                              small_rings,
                              offloads,
                              cancellations_are_counted,
                              other_threads,
                              in_another_loop,
                              handlers_of_signals,
                              signals_end_waits,
                              wakes_reach_the_next_wait,
                              what_it_says,
                              misuse,
                              forks,
                              a_loop_in_each_thread };
    size_t each;
    simulated = count > 1 && strcmp(arguments[1], "sim") == 0;
    for (each = 0; each < sizeof tests / sizeof *tests; each++) {
        hangs_after(60);
        tests[each]();
    }
    return 0;
}
