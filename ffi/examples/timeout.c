/*
 * A deadline for several calls at once: whatever blocks within the scope ends when its time is up.
 *
 *     cc timeout.c $(pkg-config --cflags --libs polyphony) -o timeout && ./timeout
 */
#include <errno.h>
#include <polyphony.h>
#include <stdio.h>
#include <unistd.h>

/* Reads a request of two bytes from somebody who sends one and falls silent. */
static int64_t read_request(int fd, uint64_t patience)
{
    poly_scope scope;
    char request[2];
    int64_t got = 0, late;
    poly_scope_open(&scope, poly_now() + patience);
    while (got < 2) {
        int64_t more = poly_read(fd, request + got, (size_t)(2 - got));
        if (more <= 0)
            break;
        got += more;
    }
    late = poly_scope_close(&scope);
    return late < 0 ? late : got;
}

static int64_t run(void *argument)
{
    int *ends = (int *)argument;
    int64_t result;
    poly_write(ends[1], "a", 1);
    result = read_request(ends[0], 20 * POLY_MILLISECOND);
    printf("half a request: %s\n", result < 0 ? poly_strerror((int)result) : "complete");
    poly_write(ends[1], "bc", 2);
    printf("a whole one: %lld bytes\n", (long long)read_request(ends[0], POLY_SECOND));
    return result == -ETIMEDOUT ? 0 : 1;
}

int main(void)
{
    poly_runtime *runtime;
    int64_t result = 1;
    int ends[2];
    if (pipe(ends) < 0 || poly_runtime_new(NULL, &runtime) < 0)
        return 1;
    poly_runtime_run(runtime, run, ends, &result);
    poly_runtime_free(runtime);
    close(ends[0]);
    close(ends[1]);
    return (int)result;
}
