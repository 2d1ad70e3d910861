/* Signals that are read, tickers, and waking who waits for a descriptor. */
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

enum { ROUNDS = 500 };

static int signals;

static int64_t signals_are_read(void *argument)
{
    const int wanted[] = { SIGUSR1, SIGUSR2 }, unblocked[] = { SIGUSR1, SIGHUP }, wrong[] = { 1000 };
    poly_signal signal;
    int ends[2];
    UNUSED(argument);
    signals = poly_signal_open(wanted, 2);
    CHECK(signals >= 0);
    CHECK(kill(getpid(), SIGUSR1) == 0);
    GIVES(0, poly_signal_next(signals, &signal));
    CHECK(signal.number == SIGUSR1 && signal.code == SI_USER && signal.pid == getpid());
    CHECK(signal.uid == getuid());
    CHECK(kill(getpid(), SIGUSR2) == 0 && kill(getpid(), SIGUSR2) == 0);
    GIVES(0, poly_signal_next(signals, &signal));
    CHECK(signal.number == SIGUSR2);
    GIVES(-EINVAL, poly_signal_next(signals, NULL));
    GIVES(0, poly_close(signals));
    GIVES(-EBADF, poly_signal_next(signals, &signal));
    GIVES(-EINVAL, poly_signal_open(unblocked, 2));
    GIVES(-EINVAL, poly_signal_open(wrong, 1));
    GIVES(-EINVAL, poly_signal_open(NULL, 1));
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    GIVES(1, poly_write(ends[1], "x", 1));
    GIVES(-EINVAL, poly_signal_next(ends[0], &signal));
    GIVES(0, poly_close(ends[0]));
    GIVES(0, poly_close(ends[1]));
    return 0;
}

static int64_t next_signal(void *argument)
{
    poly_signal signal;
    int result = poly_signal_next(signals, &signal);
    UNUSED(argument);
    return result < 0 ? result : signal.number;
}

/* Who waits may be cancelled at any moment: the signal is the next one's. */
static int64_t no_signal_is_lost(void *argument)
{
    const int wanted[] = { SIGUSR1 };
    int round, sent = 0, told = 0;
    UNUSED(argument);
    signals = poly_signal_open(wanted, 1);
    CHECK(signals >= 0);
    for (round = 0; round < ROUNDS; round++) {
        poly_fiber waiter = begun(next_signal, random_below(3));
        int64_t result;
        if (sent == told && random_below(2) == 0) { /* two of a kind would be one */
            CHECK(kill(getpid(), SIGUSR1) == 0);
            sent++;
        }
        GIVES(0, poly_cancel(waiter));
        GIVES(0, poly_join(waiter, &result));
        CHECK(result == SIGUSR1 || result == -ECANCELED);
        told += result == SIGUSR1;
    }
    if (told < sent) {
        CHECK(next_signal(NULL) == SIGUSR1);
        told++;
    }
    CHECK(told == sent && sent > 10);
    GIVES(0, poly_close(signals));
    return 0;
}

static int64_t tickers(void *argument)
{
    poly_ticker ticker, late;
    uint64_t start;
    int each;
    UNUSED(argument);
    start = poly_now();
    GIVES(0, poly_ticker_start(&ticker, MILLI, 0));
    CHECK(ticker.next >= start + MILLI);
    for (each = 0; each < 5; each++) {
        uint64_t due = ticker.next;
        int64_t ticks = poly_ticker_wait(&ticker);
        CHECK(ticks >= 1 && poly_now() >= due && ticker.next == due + (uint64_t)ticks * MILLI);
    }
    GIVES(0, poly_ticker_start(&late, 10, POLY_TICKER_CATCH_UP));
    GIVES(0, poly_sleep(1000));
    for (each = 0; each < 50; each++)
        GIVES(1, poly_ticker_wait(&late));
    late.flags = 0;
    CHECK(poly_ticker_wait(&late) > 1);
    GIVES(-EINVAL, poly_ticker_start(&ticker, 0, 0));
    GIVES(-EINVAL, poly_ticker_start(&ticker, 1, 2));
    GIVES(-EINVAL, poly_ticker_start(NULL, 1, 0));
    GIVES(-EINVAL, poly_ticker_wait(NULL));
    memset(&ticker, 0, sizeof ticker);
    GIVES(-EINVAL, poly_ticker_wait(&ticker));
    return 0;
}

static int64_t a_tick_outlives_a_cancelled_wait(void *argument)
{
    poly_ticker ticker;
    poly_scope scope;
    uint64_t due;
    UNUSED(argument);
    GIVES(0, poly_ticker_start(&ticker, (uint64_t)3600 * 1000 * MILLI, 0));
    due = ticker.next;
    GIVES(0, poly_scope_open(&scope, poly_now() + MILLI));
    GIVES(-ETIMEDOUT, poly_ticker_wait(&ticker));
    GIVES(-ETIMEDOUT, poly_scope_close(&scope));
    CHECK(ticker.next == due);
    return 0;
}

static int64_t read_one(void *argument)
{
    char byte;
    return poly_read((int)(intptr_t)argument, &byte, 1);
}

static int64_t poll_in(void *argument)
{
    return poly_poll((int)(intptr_t)argument, POLLIN);
}

/* Everybody who waits is told, on every worker, and the descriptor is as it was. */
static int64_t waiters_are_woken(void *argument)
{
    poly_fiber waiters[4];
    int64_t result, woken = 0;
    int ends[2], each;
    char byte;
    UNUSED(argument);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    CHECK(poly_poll_cancel_fd(ends[0]) == 0 && poly_poll_cancel_fd(-1) == 0);
    for (each = 0; each < 4; each++)
        CHECK(poly_spawn_on(NULL, (uint32_t)each % 2, each < 2 ? read_one : poll_in, (void *)(intptr_t)ends[0],
                            &waiters[each]) == 0);
    while (woken < 4) {
        int64_t more = poly_poll_cancel_fd(ends[0]);
        CHECK(more >= 0);
        woken += more;
        CHECK(poly_yield() == 0);
    }
    for (each = 0; each < 4; each++)
        CHECK(poly_join(waiters[each], &result) == 0 && result == -EBADF);
    CHECK(poly_send(ends[1], "x", 1, 0) == 1 && poly_recv(ends[0], &byte, 1, 0) == 1);
    CHECK(poly_close(ends[0]) == 0 && poly_close(ends[1]) == 0);
    return 0;
}

int main(void)
{
    poly_entry everywhere[] = { signals_are_read, tickers };
    poly_runtime_options options = POLY_RUNTIME_OPTIONS_INIT;
    int64_t result = -1;
    sigset_t blocked;
    size_t each;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigaddset(&blocked, SIGUSR2);
    CHECK(sigprocmask(SIG_BLOCK, &blocked, NULL) == 0);
    for (each = 0; each < sizeof everywhere / sizeof *everywhere; each++) {
        alarm(60);
        CHECK(everywhere[each](NULL) == 0); /* outside a fiber: the plain system calls */
        in_a_fiber(everywhere[each]);
    }
    in_a_fiber(no_signal_is_lost);
    in_a_fiber(a_tick_outlives_a_cancelled_wait);
    GIVES(-EPERM, poly_poll_cancel_fd(0));
    options.workers = 2;
    GIVES(0, poly_runtime_new(&options, &runtime));
    GIVES(0, poly_runtime_run(runtime, waiters_are_woken, NULL, &result));
    CHECK(result == 0);
    GIVES(0, poly_runtime_free(runtime));
    return 0;
}
