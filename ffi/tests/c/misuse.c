/* Wrong calls are answered: by an error at once, never by a hang. */
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>

static int64_t descriptors_that_are_none(void *argument)
{
    char byte = 0;
    struct iovec parts[2] = { { &byte, 1 }, { NULL, 4 } };
    int wrong[] = { -1, -100, 1 << 30 };
    size_t each;
    UNUSED(argument);
    for (each = 0; each < sizeof wrong / sizeof *wrong; each++) {
        int fd = wrong[each];
        GIVES(-EBADF, poly_read(fd, &byte, 1));
        GIVES(-EBADF, poly_write(fd, &byte, 1));
        GIVES(-EBADF, poly_readv(fd, parts, 1));
        GIVES(-EBADF, poly_recv(fd, &byte, 1, 0));
        GIVES(-EBADF, poly_accept(fd, NULL, NULL, 0));
        GIVES(-EBADF, poly_poll(fd, POLLIN));
        GIVES(-EBADF, poly_fsync(fd, 0));
        GIVES(-EBADF, poly_splice(fd, -1, fd, -1, 1, 0));
        GIVES(-EBADF, poly_tee(fd, fd, 1, 0));
        GIVES(-EBADF, poly_close(fd));
    }
    return 0;
}

static int64_t the_wrong_end_of_a_pipe(void *argument)
{
    int one[2], two[2];
    char bytes[8] = "";
    UNUSED(argument);
    CHECK(pipe2(one, O_CLOEXEC) == 0 && pipe2(two, O_CLOEXEC) == 0);
    GIVES(-EBADF, poly_read(one[1], bytes, 1));
    GIVES(-EBADF, poly_write(one[0], bytes, 1));
    GIVES(-EBADF, poly_tee(one[0], two[0], 1, 0));
    GIVES(-EBADF, poly_tee(one[1], two[1], 1, 0));
    GIVES(-EBADF, poly_splice(one[0], -1, two[0], -1, 1, 0));
    GIVES(-EBADF, poly_splice(one[1], -1, two[1], -1, 1, 0));
    GIVES(-ENOTSOCK, poly_recv(one[0], bytes, 1, 0));
    GIVES(-ENOTSOCK, poly_accept(one[0], NULL, NULL, 0));
    GIVES(0, poly_close(one[0]));
    GIVES(0, poly_close(one[1]));
    GIVES(0, poly_close(two[0]));
    GIVES(0, poly_close(two[1]));
    return 0;
}

static int64_t bad_memory_and_counts(void *argument)
{
    int ends[2];
    char bytes[8] = "";
    struct iovec parts[2] = { { bytes, 4 }, { NULL, 4 } };
    UNUSED(argument);
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    GIVES(0, poly_write(ends[1], NULL, 0));
    GIVES(-EFAULT, poly_write(ends[1], NULL, 4));
    GIVES(-EFAULT, poly_writev(ends[1], parts + 1, 1));
    GIVES(-EINVAL, poly_writev(ends[1], parts, 100000));
    GIVES(-EINVAL, poly_readv(ends[0], parts, -1));
    GIVES(8, poly_write(ends[1], "12345678", 8));
    GIVES(-EFAULT, poly_read(ends[0], (void *)1, 8));
    GIVES(8, poly_read(ends[0], bytes, sizeof bytes));
    GIVES(-EFAULT, poly_openat(AT_FDCWD, (const char *)1, O_RDONLY, 0));
    GIVES(0, poly_close(ends[0]));
    GIVES(0, poly_close(ends[1]));
    return 0;
}

static int64_t scopes_that_are_none(void *argument)
{
    poly_scope scope;
    UNUSED(argument);
    GIVES(-EINVAL, poly_scope_close(NULL)); /* while no scope is open */
    GIVES(0, poly_scope_open(&scope, POLY_FOREVER));
    GIVES(-EINVAL, poly_scope_open(&scope, POLY_FOREVER));
    GIVES(-EINVAL, poly_scope_close(NULL));
    GIVES(0, poly_scope_close(&scope));
    return 0;
}

static int64_t names_that_are_nobodys(void *argument)
{
    uint64_t round;
    UNUSED(argument);
    for (round = 0; round < 20000; round++) {
        poly_fiber nobody;
        nobody.id = round < 2 ? 0 - round : random_below(UINT64_MAX);
        GIVES(-ESRCH, poly_join(nobody, NULL));
        GIVES(-ESRCH, poly_cancel(nobody));
        GIVES(-ESRCH, poly_detach(nobody));
    }
    return 0;
}

static void options_of_a_later_library(void)
{
    struct {
        poly_runtime_options options;
        uint64_t later;
    } grown = { POLY_RUNTIME_OPTIONS_INIT, 0 };
    poly_runtime_options options = POLY_RUNTIME_OPTIONS_INIT;
    poly_runtime *made = NULL;
    grown.options.size = sizeof grown;
    GIVES(0, poly_runtime_new(&grown.options, &made));
    GIVES(0, poly_runtime_free(made));
    grown.later = 1;
    GIVES(-E2BIG, poly_runtime_new(&grown.options, &made));
    options.size = SIZE_MAX;
    GIVES(-E2BIG, poly_runtime_new(&options, &made));
    options.size = sizeof options;
    options.completion_entries = 1;
    GIVES(-EINVAL, poly_runtime_new(&options, &made));
    options.completion_entries = 0;
    options.ring_entries = 65536;
    GIVES(-EINVAL, poly_runtime_new(&options, &made));
}

int main(void)
{
    poly_entry everywhere[] = { descriptors_that_are_none, the_wrong_end_of_a_pipe, bad_memory_and_counts,
                                names_that_are_nobodys };
    size_t each;
    signal(SIGPIPE, SIG_IGN);
    for (each = 0; each < sizeof everywhere / sizeof *everywhere; each++) {
        alarm(60);
        CHECK(everywhere[each](NULL) == 0); /* outside a fiber */
        in_a_fiber(everywhere[each]);
    }
    in_a_fiber(scopes_that_are_none);
    options_of_a_later_library();
    return 0;
}
