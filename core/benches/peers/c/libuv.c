/*
 * libuv: callbacks on one loop. It has no fibers, so there are the rows of timers, of files and of echo only; what they
 * do stands in ../src/rows.rs.
 *
 *     libuv ROW
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

enum { TIMEOUTS = 500000, SLEEPERS = 10000, NAPS = 20, READERS = 64, READS = 3000, BUFFER = 1024, BACKLOG = 4096 };

static void check(int right)
{
    if (!right)
        abort();
}

/* Nanoseconds of CPU time that this process has used, in all its threads and in the kernel. */
static double cpu(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static uint64_t seeded(uint64_t seed)
{
    return 0x9e3779b97f4a7c15u ^ seed * 0xd1342543de82ef95u;
}

static uint64_t below(uint64_t *number, uint64_t bound)
{
    *number ^= *number << 13;
    *number ^= *number >> 7;
    *number ^= *number << 17;
    return *number % bound;
}

/* A sleeper: a timer, and what it is at. Timers are of milliseconds. */
struct sleeper {
    uv_timer_t timer;
    uint64_t numbers;
    uint64_t due; /* ns */
    double late;  /* us */
    int naps;
};

static struct sleeper sleepers[SLEEPERS];

static void never(uv_timer_t *timer)
{
    (void)timer;
    abort();
}

/* What a timeout is around is over in the next iteration: until then others run, as in the other runtimes. */
struct request {
    uv_idle_t idle;
    uv_timer_t timeout;
    int left;
};

static void answered(uv_idle_t *idle)
{
    struct request *request = (struct request *)idle;
    uv_timer_stop(&request->timeout);
    if (request->left-- > 0)
        uv_timer_start(&request->timeout, never, 3600000, 0);
    else
        uv_idle_stop(idle);
}

static double timeouts(uv_loop_t *loop)
{
    struct request request = { .left = TIMEOUTS };
    uv_timer_init(loop, &request.timeout);
    uv_idle_init(loop, &request.idle);
    double start = cpu();
    uv_idle_start(&request.idle, answered);
    uv_run(loop, UV_RUN_DEFAULT);
    return (cpu() - start) / TIMEOUTS;
}

static void nap(uv_timer_t *timer)
{
    struct sleeper *sleeper = (struct sleeper *)timer;
    if (sleeper->naps++ < NAPS)
        uv_timer_start(timer, nap, (5000 + below(&sleeper->numbers, 10000) + 999) / 1000, 0);
}

static double sleeps(uv_loop_t *loop)
{
    double start = cpu();
    for (int n = 0; n < SLEEPERS; n++) {
        sleepers[n].numbers = seeded((uint64_t)n);
        uv_timer_init(loop, &sleepers[n].timer);
        nap(&sleepers[n].timer);
    }
    uv_run(loop, UV_RUN_DEFAULT);
    return (cpu() - start) / (SLEEPERS * NAPS);
}

static void wake(uv_timer_t *timer)
{
    struct sleeper *sleeper = (struct sleeper *)timer;
    sleeper->late = ((double)uv_hrtime() - (double)sleeper->due) / 1e3;
}

static int earlier(const void *a, const void *b)
{
    const struct sleeper *left = a, *right = b;
    return (left->late > right->late) - (left->late < right->late);
}

/* A timeout counts from the loop's own time, which is of milliseconds too: a sleep rounds up, lest it end early. */
static double lateness(uv_loop_t *loop, int percent)
{
    uint64_t start = uv_hrtime();
    for (int n = 0; n < SLEEPERS; n++) {
        uint64_t numbers = seeded((uint64_t)n);
        sleepers[n].due = start + 200000000 + below(&numbers, 1000000000);
        uv_timer_init(loop, &sleepers[n].timer);
        uv_timer_start(&sleepers[n].timer, wake, (sleepers[n].due + 999999) / 1000000 - uv_now(loop), 0);
    }
    uv_run(loop, UV_RUN_DEFAULT);
    qsort(sleepers, SLEEPERS, sizeof *sleepers, earlier);
    return sleepers[SLEEPERS * percent / 100].late;
}

/* A reader: a page, and the request that fills it. */
struct reader {
    uv_fs_t request;
    uint64_t numbers;
    int reads;
    char page[4096];
};

static struct reader readers[READERS];
static uv_file file;
static uint64_t pages;

static void read_next(uv_fs_t *request)
{
    struct reader *reader = (struct reader *)request;
    uv_buf_t buffer = uv_buf_init(reader->page, sizeof reader->page);
    uv_loop_t *loop = uv_default_loop();
    if (reader->reads > 0) {
        check(request->result == sizeof reader->page);
        uv_fs_req_cleanup(request);
    }
    if (reader->reads++ < READS)
        uv_fs_read(loop, request, file, &buffer, 1, (int64_t)(below(&reader->numbers, pages) * 4096), read_next);
}

static double reads(uv_loop_t *loop)
{
    struct stat status;
    double start = cpu();
    file = open(getenv("POLYPHONY_BENCH_FILE"), O_RDONLY | O_CLOEXEC);
    check(file >= 0 && fstat(file, &status) == 0);
    pages = (uint64_t)status.st_size / 4096;
    for (int n = 0; n < READERS; n++) {
        readers[n].numbers = seeded((uint64_t)n);
        read_next(&readers[n].request);
    }
    uv_run(loop, UV_RUN_DEFAULT);
    return (cpu() - start) / (READERS * READS);
}

/* A connection, and the one write that it may have under way. */
struct connection {
    uv_tcp_t stream;
    uv_write_t write;
    char bytes[BUFFER];
};

static void lend(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)suggested;
    *buffer = uv_buf_init(((struct connection *)handle)->bytes, BUFFER);
}

static void gone(uv_handle_t *handle)
{
    free(handle);
}

static void echo(uv_stream_t *stream, ssize_t length, const uv_buf_t *bytes);

static void written(uv_write_t *write, int error)
{
    if (error < 0)
        uv_close((uv_handle_t *)write->handle, gone);
    else
        uv_read_start(write->handle, lend, echo);
}

/* Tries to write at once, which is the cheapest; the rest, if any, waits, and reading with it. */
static void echo(uv_stream_t *stream, ssize_t length, const uv_buf_t *bytes)
{
    struct connection *connection = (struct connection *)stream;
    if (length < 0) {
        uv_close((uv_handle_t *)stream, gone);
        return;
    }
    uv_buf_t all = uv_buf_init(bytes->base, (unsigned)length);
    int sent = uv_try_write(stream, &all, 1);
    if (sent == length)
        return;
    sent = sent < 0 ? 0 : sent;
    uv_buf_t rest = uv_buf_init(bytes->base + sent, (unsigned)(length - sent));
    uv_read_stop(stream);
    check(uv_write(&connection->write, stream, &rest, 1, written) == 0);
}

static void welcome(uv_stream_t *listener, int error)
{
    struct connection *connection = malloc(sizeof *connection);
    check(error == 0 && connection != NULL);
    uv_tcp_init(listener->loop, &connection->stream);
    check(uv_accept(listener, (uv_stream_t *)&connection->stream) == 0);
    uv_read_start((uv_stream_t *)&connection->stream, lend, echo);
}

static double serve(uv_loop_t *loop)
{
    static uv_tcp_t listener;
    struct sockaddr_in address;
    int length = sizeof address;
    uv_ip4_addr("127.0.0.1", 0, &address);
    uv_tcp_init(loop, &listener);
    check(uv_tcp_bind(&listener, (struct sockaddr *)&address, 0) == 0);
    check(uv_listen((uv_stream_t *)&listener, BACKLOG, welcome) == 0);
    check(uv_tcp_getsockname(&listener, (struct sockaddr *)&address, &length) == 0);
    printf("listening on port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return uv_run(loop, UV_RUN_DEFAULT);
}

static double measure(uv_loop_t *loop, const char *row)
{
    if (strcmp(row, "timeout") == 0)
        return timeouts(loop);
    if (strcmp(row, "sleep") == 0)
        return sleeps(loop);
    if (strcmp(row, "p50") == 0)
        return lateness(loop, 50);
    if (strcmp(row, "p99") == 0)
        return lateness(loop, 99);
    if (strcmp(row, "file reads") == 0)
        return reads(loop);
    if (strcmp(row, "echo") == 0)
        return serve(loop);
    fprintf(stderr, "no such row: %s\n", row);
    exit(2);
}

int main(int argc, char **argv)
{
    check(argc == 2);
    printf("%.3f\n", measure(uv_default_loop(), argv[1]));
    return 0;
}
