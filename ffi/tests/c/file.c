/* Files, directories and copies. */
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { SIZE = 300000, ENTRIES = 900, ROUNDS = 300 };

static char here[] = "/tmp/polyphony-XXXXXX";
static unsigned char pattern[SIZE], got[SIZE];

/* A path in the test's own directory. */
static const char *path(const char *name)
{
    static char paths[4][128];
    static int next;
    next = (next + 1) % 4;
    snprintf(paths[next], sizeof paths[next], "%s/%s", here, name);
    return paths[next];
}

static int opened(const char *name, int flags)
{
    int fd = poly_openat(AT_FDCWD, path(name), flags | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    return fd;
}

static int64_t names(void *argument)
{
    int directory;
    UNUSED(argument);
    GIVES(0, poly_mkdirat(AT_FDCWD, path("sub"), 0700));
    GIVES(-EEXIST, poly_mkdirat(AT_FDCWD, path("sub"), 0700));
    directory = opened("sub", O_RDONLY | O_DIRECTORY);
    GIVES(0, poly_close(opened("old", O_CREAT | O_WRONLY)));
    GIVES(0, poly_renameat(AT_FDCWD, path("old"), directory, "new", 0));
    GIVES(-ENOENT, poly_renameat(AT_FDCWD, path("old"), directory, "new", 0));
    GIVES(-ENOTEMPTY, poly_unlinkat(AT_FDCWD, path("sub"), AT_REMOVEDIR));
    GIVES(-EISDIR, poly_unlinkat(AT_FDCWD, path("sub"), 0));
    GIVES(0, poly_unlinkat(directory, "new", 0));
    GIVES(-ENOENT, poly_unlinkat(directory, "new", 0));
    GIVES(-EBADF, poly_unlinkat(-1, "new", 0));
    GIVES(-EFAULT, poly_mkdirat(AT_FDCWD, NULL, 0700));
    GIVES(0, poly_close(directory));
    GIVES(0, poly_unlinkat(AT_FDCWD, path("sub"), AT_REMOVEDIR));
    return 0;
}

static int64_t directories(void *argument)
{
    static char seen[ENTRIES];
    poly_directory *directory;
    poly_directory_entry entry;
    int each, count = 0, next;
    char name[32];
    UNUSED(argument);
    memset(seen, 0, sizeof seen);
    for (each = 0; each < ENTRIES; each++) {
        int fd;
        snprintf(name, sizeof name, "entry %d", each);
        fd = open(path(name), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        CHECK(fd >= 0 && close(fd) == 0);
    }
    GIVES(0, poly_directory_new(AT_FDCWD, here, &directory));
    for (;;) {
        errno = SENTINEL;
        next = poly_directory_next(directory, &entry);
        CHECK(errno == SENTINEL && next >= 0);
        if (next == 0)
            break;
        CHECK(sscanf(entry.name, "entry %d", &each) == 1 && !seen[each]++);
        CHECK(entry.kind == DT_REG || entry.kind == DT_UNKNOWN);
        CHECK(entry.inode != 0);
        count++;
    }
    CHECK(count == ENTRIES);
    GIVES(0, poly_directory_next(directory, &entry));
    GIVES(0, poly_directory_free(directory));
    for (each = 0; each < ENTRIES; each++) {
        snprintf(name, sizeof name, "entry %d", each);
        CHECK(unlink(path(name)) == 0);
    }
    GIVES(-ENOENT, poly_directory_new(AT_FDCWD, path("nothing"), &directory));
    GIVES(-ENOTDIR, poly_directory_new(AT_FDCWD, "/dev/null", &directory));
    GIVES(-EINVAL, poly_directory_new(AT_FDCWD, NULL, &directory));
    GIVES(-EINVAL, poly_directory_new(AT_FDCWD, here, NULL));
    GIVES(-EINVAL, poly_directory_next(NULL, &entry));
    GIVES(0, poly_directory_free(NULL));
    return 0;
}

/* A file with the pattern in it, which stands at its beginning. */
static int source_file(void)
{
    int fd = opened("source", O_CREAT | O_TRUNC | O_RDWR);
    GIVES(SIZE, poly_write_all(fd, pattern, SIZE));
    CHECK(lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static void has_the_pattern(int fd, size_t length)
{
    CHECK(lseek(fd, 0, SEEK_SET) == 0);
    memset(got, 0, sizeof got);
    GIVES(length, poly_read_exactly(fd, got, SIZE));
    CHECK(memcmp(got, pattern, length) == 0);
}

static int64_t between_files(void *argument)
{
    int from = source_file(), to = opened("target", O_CREAT | O_TRUNC | O_RDWR), status, appended;
    struct stat about;
    UNUSED(argument);
    GIVES(100, poly_copy(from, to, 100));
    GIVES(SIZE - 100, poly_copy(from, to, UINT64_MAX));
    GIVES(0, poly_copy(from, to, UINT64_MAX));
    GIVES(0, poly_copy(from, to, 0));
    has_the_pattern(to, SIZE);
    /* Files that the system cannot copy itself, or of which it does not know the size. */
    CHECK(lseek(from, 0, SEEK_SET) == 0);
    appended = opened("appended", O_CREAT | O_TRUNC | O_WRONLY | O_APPEND);
    GIVES(SIZE, poly_copy(from, appended, UINT64_MAX));
    CHECK(fstat(appended, &about) == 0 && about.st_size == SIZE);
    status = poly_openat(AT_FDCWD, "/proc/self/status", O_RDONLY | O_CLOEXEC, 0);
    CHECK(status >= 0 && poly_copy(status, appended, UINT64_MAX) > 100);
    GIVES(-EBADF, poly_copy(from, -1, 1));
    GIVES(-EBADF, poly_copy(-1, to, 1));
    GIVES(-EBADF, poly_copy(appended, to, 1)); /* which is not open for reading */
    GIVES(0, poly_close(status));
    GIVES(0, poly_close(appended));
    GIVES(0, poly_close(from));
    GIVES(0, poly_close(to));
    GIVES(0, poly_unlinkat(AT_FDCWD, path("source"), 0));
    GIVES(0, poly_unlinkat(AT_FDCWD, path("target"), 0));
    GIVES(0, poly_unlinkat(AT_FDCWD, path("appended"), 0));
    return 0;
}

struct copy {
    int from, to;
};

/* Copies to the end, and closes what it has written to. */
static int64_t copy_all(void *argument)
{
    struct copy *copy = (struct copy *)argument;
    int64_t count = poly_copy(copy->from, copy->to, UINT64_MAX);
    poly_close(copy->to);
    return count;
}

static int64_t write_pattern(void *argument)
{
    int fd = (int)(intptr_t)argument;
    int64_t count = poly_write_all(fd, pattern, SIZE);
    poly_close(fd);
    return count;
}

/* Whatever the two sides are, all of it arrives. */
static int64_t between_all_kinds(void *argument)
{
    int from_pipe, to_pipe;
    UNUSED(argument);
    for (from_pipe = 0; from_pipe < 3; from_pipe++) {
        for (to_pipe = 0; to_pipe < 2; to_pipe++) {
            int in[2], out[2];
            struct copy copy;
            poly_fiber writer = { 0 }, copier;
            int64_t result;
            if (from_pipe == 2)
                in[0] = source_file();
            else if (from_pipe == 1)
                CHECK(pipe2(in, O_CLOEXEC) == 0);
            else
                CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) == 0);
            if (to_pipe)
                CHECK(pipe2(out, O_CLOEXEC) == 0);
            else
                CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out) == 0);
            copy.from = in[0];
            copy.to = out[1];
            if (from_pipe != 2)
                GIVES(0, poly_spawn(NULL, write_pattern, (void *)(intptr_t)in[1], &writer));
            GIVES(0, poly_spawn(NULL, copy_all, &copy, &copier));
            memset(got, 0, sizeof got);
            GIVES(SIZE, poly_read_exactly(out[0], got, SIZE));
            CHECK(memcmp(got, pattern, SIZE) == 0);
            GIVES(0, poly_read_exactly(out[0], got, 1));
            if (from_pipe != 2) {
                GIVES(0, poly_join(writer, &result));
                CHECK(result == SIZE);
            }
            GIVES(0, poly_join(copier, &result));
            CHECK(result == SIZE);
            GIVES(0, poly_close(in[0]));
            GIVES(0, poly_close(out[0]));
        }
    }
    GIVES(0, poly_unlinkat(AT_FDCWD, path("source"), 0));
    return 0;
}

static int64_t into_files(void *argument)
{
    int each;
    UNUSED(argument);
    for (each = 0; each < 2; each++) {
        int in[2], to = opened("target", O_CREAT | O_TRUNC | O_RDWR);
        poly_fiber writer;
        if (each == 0)
            CHECK(pipe2(in, O_CLOEXEC) == 0);
        else
            CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) == 0);
        GIVES(0, poly_spawn(NULL, write_pattern, (void *)(intptr_t)in[1], &writer));
        GIVES(SIZE, poly_copy(in[0], to, UINT64_MAX));
        GIVES(0, poly_join(writer, NULL));
        has_the_pattern(to, SIZE);
        GIVES(0, poly_close(in[0]));
        GIVES(0, poly_close(to));
    }
    GIVES(0, poly_unlinkat(AT_FDCWD, path("target"), 0));
    return 0;
}

static int64_t copy_some(void *argument)
{
    struct copy *copy = (struct copy *)argument;
    return poly_copy(copy->from, copy->to, UINT64_MAX);
}

static int has_room(int fd)
{
    struct pollfd polled = { fd, POLLOUT, 0 };
    return poll(&polled, 1, 0) == 1;
}

/* A copy that is cancelled at any moment, again and again: what it has not delivered is still in its source. */
static int64_t cancelled_copies_lose_nothing(void *argument)
{
    int from_kind;
    UNUSED(argument);
    for (from_kind = 0; from_kind < 3; from_kind++) {
        int in[2], out[2], round, cancelled = 0;
        struct copy copy;
        uint64_t sent = 0, received = 0, copied = 0;
        if (from_kind == 2)
            in[0] = source_file();
        else if (from_kind == 1)
            CHECK(pipe2(in, O_CLOEXEC) == 0);
        else
            CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) == 0);
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out) == 0);
        copy.from = in[0];
        copy.to = out[1];
        for (round = 0; round < ROUNDS || received < sent; round++) {
            poly_fiber copier;
            int64_t result, length;
            uint64_t yields = random_below(8), size = 1 + random_below(1000);
            if (from_kind == 2)
                sent = SIZE;
            else if (round < ROUNDS && has_room(in[1])) {
                GIVES(size, poly_write(in[1], pattern + sent, size));
                sent += size;
            }
            GIVES(0, poly_spawn(NULL, copy_some, &copy, &copier));
            while (yields-- > 0)
                GIVES(0, poly_yield());
            GIVES(0, poly_cancel(copier));
            if (round >= ROUNDS / 2) { /* by then the target is full, and each side waits */
                length = poly_recv(out[0], got, random_below(5000), MSG_DONTWAIT);
                for (result = 0; result < length; result++)
                    CHECK(got[result] == pattern[received + (uint64_t)result]);
                received += length < 0 ? 0 : (uint64_t)length;
            }
            GIVES(0, poly_join(copier, &result));
            CHECK(result >= 0 || result == -ECANCELED);
            cancelled += result == -ECANCELED;
            copied += result < 0 ? 0 : (uint64_t)result;
        }
        CHECK(copied == sent && cancelled > 0);
        GIVES(0, poly_close(in[0]));
        if (from_kind != 2)
            GIVES(0, poly_close(in[1]));
        GIVES(0, poly_close(out[0]));
        GIVES(0, poly_close(out[1]));
    }
    GIVES(0, poly_unlinkat(AT_FDCWD, path("source"), 0));
    return 0;
}

static int64_t read_ten_then_check(void *argument)
{
    int fd = (int)(intptr_t)argument;
    char bytes[10];
    int64_t count = poly_read_exactly(fd, bytes, sizeof bytes);
    CHECK(poly_check() == -ECANCELED && poly_check() == 0);
    return count;
}

/* What has come by then is told, and the cancellation is for the next call. */
static int64_t a_cancelled_read_tells_what_came(void *argument)
{
    int ends[2], pending;
    char bytes[8];
    poly_fiber reader;
    int64_t result;
    UNUSED(argument);
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    GIVES(0, poly_spawn(NULL, read_ten_then_check, (void *)(intptr_t)ends[0], &reader));
    GIVES(4, poly_write(ends[1], "four", 4));
    do /* until it has read them */
        GIVES(0, poly_yield());
    while (ioctl(ends[0], FIONREAD, &pending) == 0 && pending > 0);
    GIVES(0, poly_cancel(reader));
    GIVES(0, poly_join(reader, &result));
    CHECK(result == 4);
    GIVES(3, poly_write_all(ends[1], "end", 3));
    GIVES(0, poly_close(ends[1]));
    GIVES(3, poly_read_exactly(ends[0], bytes, sizeof bytes));
    GIVES(0, poly_read_exactly(ends[0], bytes, sizeof bytes));
    GIVES(-EINVAL, poly_read_exactly(ends[0], NULL, 1));
    GIVES(-EINVAL, poly_write_all(ends[0], NULL, 1));
    GIVES(0, poly_close(ends[0]));
    return 0;
}

int main(void)
{
    poly_entry everywhere[] = { names, directories, between_files };
    size_t each;
    signal(SIGPIPE, SIG_IGN);
    CHECK(mkdtemp(here) != NULL);
    for (each = 0; each < SIZE; each++)
        pattern[each] = (unsigned char)((each * 31) >> 3);
    for (each = 0; each < sizeof everywhere / sizeof *everywhere; each++) {
        alarm(60);
        CHECK(everywhere[each](NULL) == 0); /* outside a fiber: the plain system calls */
        in_a_fiber(everywhere[each]);
    }
    in_a_fiber(between_all_kinds);
    in_a_fiber(into_files);
    in_a_fiber(cancelled_copies_lose_nothing);
    in_a_fiber(a_cancelled_read_tells_what_came);
    CHECK(rmdir(here) == 0);
    return 0;
}
