/* Reads into buffers that the library brings. */
#include "bytes.h"

#include <sys/wait.h>

enum { MANY = 300 };

/* The next bytes of the pattern, and no others. */
static int64_t receive_once(void *argument)
{
    poly_buf buffer;
    int64_t length = poly_recv_buffer(ends[0], 64, 0, &buffer), each;
    UNUSED(argument);
    if (length < 0)
        return length;
    CHECK(buffer.length == (size_t)length);
    poly_yield(); /* others read meanwhile */
    for (each = 0; each < length; each++)
        CHECK(buffer.data[each] == (unsigned char)(heard + (uint64_t)each));
    heard += (uint64_t)length;
    GIVES(0, poly_buf_release(&buffer));
    return length;
}

static int64_t reads_of_all_kinds(void *argument)
{
    char name[] = "/tmp/polyphony-XXXXXX", large[40000];
    poly_buf buffer, copy;
    int file = mkstemp(name), fds[2];
    UNUSED(argument);
    memset(large, 'x', sizeof large);
    CHECK(file >= 0 && unlink(name) == 0 && pipe2(fds, O_CLOEXEC) == 0);
    GIVES(5, poly_write(fds[1], "hello", 5));
    GIVES(3, poly_read_buffer(fds[0], 3, &buffer));
    CHECK(memcmp(buffer.data, "hel", 3) == 0);
    copy = buffer;
    buffer.data += 2; /* used up */
    buffer.length = 1;
    GIVES(2, poly_read_buffer(fds[0], SIZE_MAX, &buffer));
    CHECK(memcmp(buffer.data, "lo", 2) == 0 && memcmp(copy.data, "hel", 3) == 0);
    GIVES(0, poly_buf_release(&buffer));
    GIVES(0, poly_buf_release(&buffer)); /* empty by now */
    GIVES(0, poly_buf_release(&copy));
    GIVES(-EINVAL, poly_read_buffer(fds[0], 0, &buffer));
    GIVES(-EINVAL, poly_read_buffer(fds[0], 1, NULL));
    GIVES(-ENOTSOCK, poly_recv_buffer(fds[0], 1, 0, &buffer));
    GIVES(-EBADF, poly_read_buffer(-1, 1, &buffer));
    GIVES(-EINVAL, poly_buf_release(NULL));
    GIVES(0, poly_close(fds[1]));
    memset(&buffer, 0xff, sizeof buffer);
    GIVES(0, poly_read_buffer(fds[0], 8, &buffer)); /* the end is empty */
    CHECK(buffer.length == 0);
    GIVES(0, poly_buf_release(&buffer));
    GIVES(0, poly_close(fds[0]));
    GIVES(sizeof large, poly_write(file, large, sizeof large));
    CHECK(lseek(file, 0, SEEK_SET) == 0);
    GIVES(16384, poly_read_buffer(file, SIZE_MAX, &buffer));
    CHECK(memcmp(buffer.data, large, 16384) == 0);
    GIVES(0, poly_buf_release(&buffer));
    GIVES(0, poly_close(file));
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds) == 0);
    GIVES(-EAGAIN, poly_recv_buffer(fds[0], 8, MSG_DONTWAIT, &buffer));
    GIVES(4, poly_send(fds[1], "ping", 4, 0));
    GIVES(4, poly_recv_buffer(fds[0], 8, MSG_DONTWAIT, &buffer));
    GIVES(0, poly_buf_release(&buffer));
    GIVES(0, poly_close(fds[0]));
    GIVES(0, poly_close(fds[1]));
    return 0;
}

/* More are lent at once than any pool has, by fibers that wait and by fibers that hold. */
static int64_t more_than_there_are(void *argument)
{
    static poly_buf held[MANY];
    poly_fiber readers[MANY];
    int64_t length;
    int each;
    UNUSED(argument);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    for (each = 0; each < MANY; each++) {
        GIVES(1, poly_send(ends[1], &each, 1, 0));
        GIVES(1, poly_recv_buffer(ends[0], 8, 0, &held[each]));
    }
    heard = MANY;
    for (each = 0; each < MANY; each++)
        GIVES(0, poly_spawn(NULL, receive_once, NULL, &readers[each]));
    GIVES(0, poly_yield());
    for (each = 0; each < MANY; each++) {
        char next = (char)(MANY + each);
        CHECK(held[each].data[0] == (unsigned char)each);
        if (each % 2 == 0)
            GIVES(0, poly_buf_release(&held[each]));
        GIVES(1, poly_send(ends[1], &next, 1, 0));
    }
    for (each = 0; each < MANY; each++) {
        GIVES(0, poly_join(readers[each], &length));
        CHECK(length > 0 || length == -ECANCELED);
        if (heard == 2 * MANY) { /* some have got the bytes of several */
            int rest;
            for (rest = each + 1; rest < MANY; rest++)
                GIVES(0, poly_cancel(readers[rest]));
        }
    }
    CHECK(heard == 2 * MANY);
    for (each = 1; each < MANY; each += 2) {
        CHECK(held[each].data[0] == (unsigned char)each);
        GIVES(0, poly_buf_release(&held[each]));
    }
    GIVES(0, poly_close(ends[0]));
    GIVES(0, poly_close(ends[1]));
    return 0;
}

static int64_t no_byte_is_lost(void *argument)
{
    UNUSED(argument);
    no_byte_is_lost_by(receive_once, NULL);
    return 0;
}

/* Fills a buffer, and leaves it to somebody else. */
static int64_t fill(void *argument)
{
    return poly_recv_buffer(ends[0], 8, 0, (poly_buf *)argument);
}

static int64_t release(void *argument)
{
    return poly_buf_release((poly_buf *)argument);
}

/* Buffers go from worker to worker and back, also in fibers that move. */
static int64_t across_workers(void *argument)
{
    int round;
    UNUSED(argument);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    for (round = 0; round < 2000; round++) {
        poly_buf buffer;
        poly_fiber other;
        int64_t result;
        char sent = (char)round;
        CHECK(poly_send(ends[1], &sent, 1, 0) == 1);
        if (round % 2 == 0)
            CHECK(poly_spawn_on(NULL, 0, fill, &buffer, &other) == 0);
        else
            CHECK(poly_spawn_as(NULL, POLY_SPAWN_MIGRATABLE, fill, &buffer, &other) == 0);
        CHECK(poly_join(other, &result) == 0 && result == 1);
        CHECK(buffer.data[0] == (unsigned char)sent);
        CHECK(poly_spawn_on(NULL, 1, release, &buffer, &other) == 0);
        CHECK(poly_join(other, &result) == 0 && result == 0);
    }
    CHECK(poly_close(ends[0]) == 0 && poly_close(ends[1]) == 0);
    return 0;
}

static int64_t keep(void *argument)
{
    poly_buf *buffer = (poly_buf *)argument;
    siginfo_t info;
    pid_t child;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    GIVES(4, poly_send(ends[1], "kept", 4, 0));
    GIVES(4, poly_recv_buffer(ends[0], 8, 0, buffer));
    child = fork();
    if (child == 0) {
        alarm(20);
        CHECK(memcmp(buffer->data, "kept", 4) == 0);
        GIVES(0, poly_buf_release(buffer));
        _exit(0);
    }
    GIVES(0, poly_waitid(P_PID, (uint32_t)child, &info, WEXITED));
    CHECK(info.si_code == CLD_EXITED && info.si_status == 0);
    GIVES(0, poly_close(ends[0]));
    GIVES(0, poly_close(ends[1]));
    return 0;
}

int main(void)
{
    poly_runtime_options options = POLY_RUNTIME_OPTIONS_INIT;
    poly_buf kept;
    int64_t result = -1;
    alarm(60);
    CHECK(reads_of_all_kinds(NULL) == 0); /* outside a fiber: the plain system calls */
    in_a_fiber(reads_of_all_kinds);
    in_a_fiber(more_than_there_are);
    in_a_fiber(no_byte_is_lost);
    options.workers = 2;
    GIVES(0, poly_runtime_new(&options, &runtime));
    GIVES(0, poly_runtime_run(runtime, across_workers, NULL, &result));
    CHECK(result == 0);
    GIVES(0, poly_runtime_run(runtime, keep, &kept, &result));
    CHECK(result == 0);
    GIVES(0, poly_runtime_free(runtime));
    CHECK(memcmp(kept.data, "kept", 4) == 0); /* it outlives the worker that lent it */
    GIVES(0, poly_buf_release(&kept));
    return 0;
}
