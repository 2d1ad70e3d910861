/*
 * polyphony.h: fibers for C (C99) and C++ (C++11), on io_uring. Version 2.0. MIT licence.
 *
 * A fiber is a function with a stack of its own that runs on one of a runtime's threads. Where it would
 * block, it suspends: the thread runs other fibers until the kernel, a timer or another fiber has what it
 * waits for. Code reads from top to bottom, as with threads; a parked fiber costs about four kilobytes.
 *
 *     static int64_t hello(void *name) { return poly_write(1, name, strlen(name)); }
 *
 *     int main(void) {
 *         poly_runtime *runtime;
 *         int64_t written;
 *         if (poly_runtime_new(NULL, &runtime) < 0) return 1;
 *         poly_runtime_run(runtime, hello, "hello\n", &written);
 *         poly_runtime_free(runtime);
 *     }
 *
 *     cc hello.c $(pkg-config --cflags --libs polyphony)
 *
 * The archive instead of the shared library:
 *
 *     cc hello.c $(pkg-config --cflags polyphony) $(pkg-config --variable=archive polyphony)
 *
 * With CMake: find_package(polyphony 2), and link polyphony::polyphony, or polyphony::static for the archive.
 *
 * CONVENTIONS
 *
 * Results. Every function that can fail returns a value >= 0 or a negative error number: -EAGAIN,
 * -ECANCELED, -POLY_EPANIC. poly_strerror has the words. Nothing is reported through errno: a call that
 * does not suspend leaves it as it was; after one that does it is what the fibers that ran meanwhile made
 * of it.
 *
 * Arguments. The object comes first, outputs come last. Outputs are written on success only. NULL where an
 * object or an output is required is -EINVAL; bad buffers are -EFAULT, as in the system calls. A length
 * beyond 0x7ffff000 means that many bytes. Structs that may grow begin with their size: a program and a
 * library of different ages agree on what both know.
 *
 * Ownership. What a function named _new puts into its output is the caller's, and is freed once by the
 * function named _free; _free(NULL) is fine. Fibers are named by numbers: nobody frees them, and a name
 * whose fiber is gone is -ESRCH, never another fiber. Mutexes, conditions, semaphores, events and scopes
 * are structs of the caller's; there is nothing to free. Memory of the caller's is never freed here.
 *
 * Lifetimes. Buffers, addresses, paths, vectors and messages are borrowed until the call returns. A call
 * that is cancelled returns only when the kernel has let go of them, so they may stand on the fiber's
 * stack. An object must outlive every call on it: before freeing it, see to it that no call on it is
 * running.
 *
 * Cancellation and deadlines. A call that may suspend is refused with -ECANCELED if its fiber has been
 * cancelled, with -ETIMEDOUT if a deadline of a scope has passed, also where it need not have waited. If
 * what it waits for has happened before the cancellation did, it returns that result: no byte, no
 * descriptor and no item is lost, and the cancellation is for the next call. A read of a regular file
 * cannot be interrupted once a disk works on it.
 *
 * Threads. Each function says who may call it. "Any thread" is: any fiber and any plain thread, at any
 * time, at the same time. A call that would suspend a fiber blocks a plain thread; operations are then the
 * plain system calls. A runtime's threads are its workers. A fiber that waits to begin is taken by whichever
 * has nothing to do; then it runs on that thread to its last instruction, so thread-local variables are safe to
 * use, but other fibers run on the same thread whenever it suspends. Fibers of several workers run at the same
 * time: what they share needs a mutex, a channel or atomics. poly_spawn_as starts fibers that may move later,
 * and says what they must not do, or that never move; poly_spawn_on chooses the worker.
 *
 * Signals. A handler may call poly_now, poly_version, poly_abi_version and poly_strerror. To wake a fiber
 * it writes to a pipe that the fiber reads; or the signal is blocked and a fiber reads a signalfd(2).
 *
 * Stacks. A fiber's stack has a fixed size and a guard page: running over it is SIGSEGV, and a line on standard
 * error names the fiber and its stack's size before the process dies. For that the first poly_runtime_new
 * installs a handler of SIGSEGV, which leaves every other fault to the action that it found; the workers have
 * alternate signal stacks. POLYPHONY_OVERFLOW=0 in the environment keeps SIGSEGV as it is. A function with a
 * frame larger than a page can step over the guard unless it is compiled with -fstack-clash-protection; what
 * is large is better allocated. longjmp, pthread_exit and C++ exceptions must not leave a fiber's function.
 * Within it exceptions are thrown and caught as ever, and handlers and destructors may suspend: unless the C++
 * runtime is linked statically into a program that does not export __cxa_get_globals.
 *
 * Debugging. With POLY_DEBUG=1 in the environment, a call that is given a runtime, a channel or an object of the
 * caller's which is another, has been freed, by whom, or never was one says so on standard error and answers
 * -EINVAL; with POLY_DEBUG=abort the process ends there. Freed objects then keep their memory. What is all zeros
 * may be any object of the caller's. Without it nothing is looked up, and such a call does what it may.
 *
 * Tools. AddressSanitizer works, and names an overrun stack. valgrind is told where the stacks are; io_uring stands
 * still under it, and tells it nothing of what it writes: set POLYPHONY_BACKEND=epoll there.
 *
 * Fork. In the child, runtimes and channels of the parent answer -POLY_EFORKED, and the fiber that forked
 * goes on as a plain thread; the child may make a runtime of its own. If that fiber's function returns,
 * the child exits.
 *
 * Versions. Functions and constants are added, never changed, while POLY_ABI (the soname) stays the same.
 */


#ifndef POLYPHONY_H
#define POLYPHONY_H

/* Generated by cbindgen from ffi/src: POLY_REGENERATE=1 cargo test -p polyphony-ffi --test header. */

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

struct statx; /* <sys/stat.h> with _GNU_SOURCE */

/* Initialisers: all zeros, and the size where there is one. */
#define POLY_OPTIONS_INIT     { sizeof(poly_options), 0, 0, 0, 0, 0 }
#define POLY_COUNTERS_INIT    { sizeof(poly_counters), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define POLY_MUTEX_INIT       { { 0, 0, 0, 0 } }
#define POLY_CONDITION_INIT   { { 0, 0, 0, 0 } }
#define POLY_SEMAPHORE_INIT   { { 0, 0, 0, 0 } }
#define POLY_EVENT_INIT       { { 0, 0, 0, 0 } }


/**
 * The version of this header: major, as `POLY_ABI`.
 */
#define POLY_VERSION_MAJOR 2

/**
 * The version of this header: minor.
 */
#define POLY_VERSION_MINOR 0

/**
 * The version of this header: patch.
 */
#define POLY_VERSION_PATCH 0

/**
 * The binary interface that this header describes; it changes with the soname only.
 */
#define POLY_ABI 2

/**
 * The function of the fiber panicked (one written in Rust).
 */
#define POLY_EPANIC 10001

/**
 * The object belongs to the process that this one was forked from: EOWNERDEAD.
 */
#define POLY_EFORKED 130

/**
 * io_uring where the kernel allows it, else epoll; the environment variable `POLYPHONY_BACKEND`
 * (`io_uring`, `epoll` or `auto`) decides otherwise.
 */
#define POLY_BACKEND_AUTO 0

/**
 * io_uring or an error.
 */
#define POLY_BACKEND_IO_URING 1

/**
 * epoll.
 */
#define POLY_BACKEND_EPOLL 2

/**
 * A span or a deadline that never ends.
 */
#define POLY_FOREVER UINT64_MAX

/**
 * No runtime has more workers.
 */
#define POLY_MOST_WORKERS 64

/**
 * A fiber may go on, after each call that suspends, on another thread: wherever a worker has nothing to do.
 * Only for functions that keep nothing of their thread across such a call: compilers keep the addresses of
 * `errno` and of thread-local variables in registers, so neither may be used by a function that also suspends,
 * nor by one that is inlined into it; and no lock of pthreads may be held across the call.
 */
#define POLY_SPAWN_MIGRATABLE 1

/**
 * A fiber runs on the worker of the fiber that starts it, from its first instruction. A plain thread starts
 * such fibers on the workers in turns.
 */
#define POLY_SPAWN_PINNED 2

/**
 * A queue of pointers between fibers, and between fibers and threads. Freed by `poly_channel_free`.
 */
typedef struct poly_channel poly_channel;

/**
 * Worker threads and the fibers that run on them. Usable from any thread; freed by `poly_runtime_free`.
 */
typedef struct poly_runtime poly_runtime;

/**
 * How to make a runtime. Begin with `POLY_OPTIONS_INIT` and change what you like; 0 is the default of
 * every field but `size`.
 */
typedef struct {
    /**
     * `sizeof(poly_options)`: tells which version of this struct it is.
     */
    size_t size;
    /**
     * One of `POLY_BACKEND_*`.
     */
    uint32_t backend;
    /**
     * Threads that run fibers, at most `POLY_MOST_WORKERS`; as many as may run at once by default. With
     * several, fibers run at the same time, and what they share needs a lock or a channel.
     */
    uint32_t workers;
    /**
     * Bytes of stack a fiber has at least; 64 KiB by default, 16 KiB to 256 MiB.
     */
    size_t stack_size;
    /**
     * Entries of io_uring's submission queue; 256 by default, at most 32,768. The kernel rounds up to a
     * power of two.
     */
    uint32_t sq_entries;
    /**
     * Entries of io_uring's completion queue; 4096 by default, at least 2 and as many as the other has, at
     * most 65,536.
     */
    uint32_t cq_entries;
} poly_options;

/**
 * What a fiber runs. It must return; neither a C++ exception nor longjmp may leave it.
 */
typedef int64_t (*poly_entry)(void *argument);

/**
 * Names a fiber. Copy it freely; a name whose fiber is gone names nobody, for ever.
 */
typedef struct {
    /**
     * Meaningless, and never 0 in a name.
     */
    uint64_t id;
} poly_fiber;

/**
 * What a runtime has done, and what it is doing.
 */
typedef struct {
    /**
     * `sizeof(poly_counters)`, set by the caller.
     */
    size_t size;
    /**
     * Fibers that have not ended.
     */
    uint64_t fibers;
    /**
     * Operations that the kernel has.
     */
    uint64_t in_flight;
    /**
     * Timers that are armed.
     */
    uint64_t timers;
    /**
     * Times a fiber was resumed.
     */
    uint64_t switches;
    /**
     * Times the loop turned to the kernel.
     */
    uint64_t turns;
    /**
     * Operations begun.
     */
    uint64_t submitted;
    /**
     * Operations ended.
     */
    uint64_t completed;
    /**
     * Cancellations that the kernel was asked for.
     */
    uint64_t cancels;
    /**
     * Timers that reached their deadline.
     */
    uint64_t expired;
    /**
     * Fibers that one worker took from another.
     */
    uint64_t stolen;
} poly_counters;

/**
 * A deadline while it is in force. It lives in the caller's frame, is not moved or copied, and is
 * closed before the frame is left.
 */
typedef struct {
    /**
     * Ours.
     */
    uint64_t reserved[8];
} poly_scope;

/**
 * A lock that fibers wait for without holding their thread. All zeros is unlocked. Not copied or moved
 * while in use; there is nothing to free.
 */
typedef struct {
    /**
     * Ours.
     */
    uint64_t reserved[4];
} poly_mutex;

/**
 * A condition variable. All zeros is one that nobody waits for. Not copied or moved while in use.
 */
typedef struct {
    /**
     * Ours.
     */
    uint64_t reserved[4];
} poly_condition;

/**
 * A counting semaphore. All zeros is one without permits: release some first. Not copied or moved
 * while in use.
 */
typedef struct {
    /**
     * Ours.
     */
    uint64_t reserved[4];
} poly_semaphore;

/**
 * Something that has happened, or has not yet. All zeros is not yet. Not copied or moved while in use.
 */
typedef struct {
    /**
     * Ours.
     */
    uint64_t reserved[4];
} poly_event;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the library that runs: major << 16 | minor << 8 | patch.
 *
 * Never suspends. Any thread. Since 2.0.
 */
uint32_t poly_version(void);

/**
 * The binary interface of the library that runs. It is `POLY_ABI` if header and library fit together.
 *
 * Never suspends. Any thread. Since 2.0.
 */
uint32_t poly_abi_version(void);

/**
 * An error in words, in English. `error` is a result of any function here, or its positive: the
 * system's numbers and ours alike.
 *
 * The text is static: never free it. Never NULL. Never suspends. Any thread. Since 2.0.
 */
const char *poly_strerror(int error);

/**
 * Makes a runtime and starts its worker threads, which inherit the signal mask of the caller.
 *
 * `options` may be NULL: defaults. On success `*runtime` is the caller's, to be freed with
 * `poly_runtime_free`. Where io_uring is refused and `POLY_BACKEND_AUTO` falls back to epoll, one line on
 * standard error says so.
 * Never suspends. Any thread.
 * Returns 0; -EINVAL for options or a `POLYPHONY_BACKEND` that make no sense; -E2BIG for options that only
 * a later library knows; or what the system says: -ENOMEM, -EMFILE, -EAGAIN where no thread can be
 * started, -EPERM and -ENOSYS where io_uring alone was asked for and is refused. Since 2.0.
 */
int poly_runtime_new(const poly_options *options, poly_runtime **runtime);

/**
 * Runs `entry(argument)` in a fiber and waits until it has returned.
 *
 * Blocks a plain thread; suspends a fiber. `*result` becomes what `entry` returned; `result` may be NULL.
 * Any thread.
 * Returns 0, -ESHUTDOWN, -ENOMEM, -POLY_EFORKED; in a fiber also -ECANCELED and -ETIMEDOUT. Since 2.0.
 */
int poly_runtime_run(const poly_runtime *runtime, poly_entry entry, void *argument, int64_t *result);

/**
 * Ends a runtime: takes no more fibers, cancels those that run, and waits until they have ended. From
 * then on every blocking call of such a fiber answers -ECANCELED, not only the next one.
 *
 * Waits for at most `timeout` nanoseconds, or `POLY_FOREVER`. Blocks the thread; not for fibers of the
 * same runtime. Any other thread.
 * Returns 0; -ETIMEDOUT while fibers still run (`poly_runtime_fibers` names them; call again to wait longer); -EDEADLK in one of its own
 * fibers; -POLY_EFORKED. Since 2.0.
 */
int poly_runtime_shutdown(const poly_runtime *runtime,
                          uint64_t timeout);

/**
 * Names the fibers of a runtime that have not ended: those that a shutdown waits for, say. The first `room` of
 * them are written to `fibers`, which may be NULL if `room` is 0.
 *
 * Never suspends. Any thread.
 * Returns how many there are, also if there is less room; -EINVAL, -POLY_EFORKED. Since 2.0.
 */
int64_t poly_runtime_fibers(const poly_runtime *runtime,
                            poly_fiber *fibers,
                            size_t room);

/**
 * How many workers a runtime has.
 *
 * Never suspends. Any thread.
 * Returns a number from 1 to `POLY_MOST_WORKERS`; -EINVAL for NULL. Since 2.0.
 */
int poly_runtime_workers(const poly_runtime *runtime);

/**
 * Shuts a runtime down, waiting as long as it takes, and frees it. Fibers that nobody has joined are
 * forgotten. NULL is fine. No other call with this runtime may be running.
 *
 * Returns 0; -EDEADLK in one of its own fibers, and then nothing has happened. In the child of a fork it
 * frees what can be freed there. Since 2.0.
 */
int poly_runtime_free(poly_runtime *runtime);

/**
 * The backend of a runtime and how it was set up, for people: `io_uring (SINGLE_ISSUER DEFER_TASKRUN)`.
 *
 * The text lives as long as the runtime. NULL for NULL. Never suspends. Any thread. Since 2.0.
 */
const char *poly_runtime_describe(const poly_runtime *runtime);

/**
 * Reads the counters of a runtime. Set `counters->size` first.
 *
 * Asks each worker, so it waits while one is busy: blocks a plain thread and suspends a fiber; but for a
 * fiber of the same runtime where that has one worker.
 * Any thread.
 * Returns 0, -EINVAL, -POLY_EFORKED. Since 2.0.
 */
int poly_stats(const poly_runtime *runtime, poly_counters *counters);

/**
 * Starts a fiber that runs `entry(argument)`: in `runtime`, or in the calling fiber's if `runtime` is
 * NULL. What `argument` points to must live until the fiber has used it. Whichever worker comes first runs
 * it, and runs it to its end.
 *
 * With `fiber` not NULL, `*fiber` becomes its name, and somebody must join or detach it, else its stack is
 * kept. With `fiber` NULL it is detached from the start.
 * Never suspends: the fiber runs when its turn comes. Any thread, if `runtime` is given.
 * Returns 0, -EINVAL, -EPERM outside a fiber without a runtime, -ENOMEM, -ESHUTDOWN, -POLY_EFORKED.
 * Since 2.0.
 */
int poly_spawn(const poly_runtime *runtime, poly_entry entry, void *argument, poly_fiber *fiber);

/**
 * `poly_spawn` that says how far the fiber may move: `flags` is 0, `POLY_SPAWN_MIGRATABLE` or
 * `POLY_SPAWN_PINNED`.
 *
 * Never suspends. Any thread, if `runtime` is given.
 * Returns what `poly_spawn` returns; -EINVAL also for other flags. Since 2.0.
 */
int poly_spawn_as(const poly_runtime *runtime,
                  uint32_t flags,
                  poly_entry entry,
                  void *argument,
                  poly_fiber *fiber);

/**
 * `poly_spawn` on one worker, by its number from 0: the fiber runs there and nowhere else.
 *
 * Never suspends. Any thread, if `runtime` is given.
 * Returns what `poly_spawn` returns; -EINVAL also for a worker that there is not. Since 2.0.
 */
int poly_spawn_on(const poly_runtime *runtime,
                  uint32_t worker,
                  poly_entry entry,
                  void *argument,
                  poly_fiber *fiber);

/**
 * The number of the worker on which the calling fiber runs, from 0. For a migratable fiber it may be another
 * after each call that suspends.
 *
 * Never suspends. Fibers only.
 * Returns the number; -EPERM outside a fiber. Since 2.0.
 */
int poly_worker(void);

/**
 * Runs `entry(argument)`, which may block or compute for long, on a thread of a pool that all runtimes of the
 * process share, while the fiber waits. `*result` becomes what it returned; `result` may be NULL. It runs
 * outside any fiber.
 *
 * Suspends; a plain thread runs `entry` itself. Any thread.
 * Returns 0; -EINVAL; -ECANCELED or -ETIMEDOUT, and then `entry` was never called: once it has begun, the call
 * waits until it has returned, and a cancellation is for the next call. Since 2.0.
 */
int poly_offload(poly_entry entry,
                 void *argument,
                 int64_t *result);

/**
 * Waits until a fiber has ended. `*result` becomes what its function returned; `result` may be NULL.
 *
 * A fiber is joined once: then its name names nobody. Suspends a fiber, blocks a plain thread.
 * Any thread.
 * Returns 0; -ESRCH if there is no such fiber (any more) or it was detached; -EBUSY if somebody else
 * waits for it; -EDEADLK for oneself; -ECANCELED or -ETIMEDOUT, and then it can be joined later.
 * Since 2.0.
 */
int poly_join(poly_fiber fiber, int64_t *result);

/**
 * Lets a fiber end by itself: nobody will join it, and its name names nobody once it has ended.
 *
 * Never suspends. Any thread.
 * Returns 0; -ESRCH if there is no such fiber or it is detached; -EBUSY if somebody waits for it.
 * Since 2.0.
 */
int poly_detach(poly_fiber fiber);

/**
 * Cancels what a fiber waits for. Its present blocking call, or else its next one, returns -ECANCELED;
 * the one after that works again, so it can clean up. A second cancellation before the first was
 * delivered changes nothing. If what it waits for has happened all the same, that call returns its
 * result and the next one -ECANCELED: nothing that has arrived is lost.
 *
 * Never suspends, and does not wait for the fiber: join it for that. Any thread.
 * Returns 0, also for a fiber that has ended and was not joined; -ESRCH if there is no such fiber.
 * Since 2.0.
 */
int poly_cancel(poly_fiber fiber);

/**
 * Names the calling fiber.
 *
 * Never suspends. Any thread.
 * Returns 0; -EPERM outside any fiber; -EINVAL for NULL. Since 2.0.
 */
int poly_self(poly_fiber *fiber);

/**
 * Lets every other fiber that is ready run first.
 *
 * Suspends. Outside a fiber it is sched_yield(2). Any thread.
 * Returns 0, -ECANCELED, -ETIMEDOUT. Since 2.0.
 */
int poly_yield(void);

/**
 * Sleeps for so many nanoseconds; a signal does not end it.
 *
 * Suspends; blocks a plain thread. Any thread.
 * Returns 0, -ECANCELED, -ETIMEDOUT. Since 2.0.
 */
int poly_sleep(uint64_t nanoseconds);

/**
 * Sleeps until `poly_now` has reached `deadline`.
 *
 * Suspends; blocks a plain thread. Any thread.
 * Returns 0, -ECANCELED, -ETIMEDOUT. Since 2.0.
 */
int poly_sleep_until(uint64_t deadline);

/**
 * The time in nanoseconds, by the clock that deadlines are read on (CLOCK_MONOTONIC).
 *
 * Never suspends. Any thread. Since 2.0.
 */
uint64_t poly_now(void);

/**
 * Asks whether the calling fiber has been cancelled or its deadline has passed: for code that computes
 * for long. The cancellation counts as delivered.
 *
 * Never suspends. Any thread.
 * Returns 0, -ECANCELED, -ETIMEDOUT. Since 2.0.
 */
int poly_check(void);

/**
 * Opens a scope: until it is closed, every blocking call of this fiber returns -ETIMEDOUT once `poly_now`
 * has reached `deadline`. Scopes nest; the nearest deadline counts, whichever scope it belongs to.
 * `POLY_FOREVER` is no deadline.
 *
 * Never suspends. Fibers only.
 * Returns 0; -EPERM outside a fiber; -EINVAL for NULL, and for the innermost scope, which is open. Since 2.0.
 */
int poly_scope_open(poly_scope *scope, uint64_t deadline);

/**
 * Closes the scope that was opened last.
 *
 * Never suspends. Fibers only.
 * Returns 0; -ETIMEDOUT if its own deadline has ended or refused a call, and not an outer one's; -EINVAL
 * if it is not the innermost; -EPERM outside a fiber. The scope is closed unless the answer is -EINVAL or
 * -EPERM. Since 2.0.
 */
int poly_scope_close(poly_scope *scope);

/**
 * Begins a stretch in which neither cancellations nor deadlines end or refuse a call of this fiber: for
 * cleaning up. They are heeded once the shield is lowered. Shields nest.
 *
 * Never suspends. Fibers only.
 * Returns 0; -EPERM outside a fiber. Since 2.0.
 */
int poly_shield_raise(void);

/**
 * Ends what `poly_shield_raise` began.
 *
 * Never suspends. Fibers only.
 * Returns 0; -EINVAL if no shield is raised; -EPERM outside a fiber. Since 2.0.
 */
int poly_shield_lower(void);

/**
 * Reads up to `length` bytes from `fd` into `buffer`.
 *
 * Suspends the calling fiber, not the thread. Outside a fiber it is read(2).
 * Returns the bytes read, 0 at end of file, or a negative error number. Any thread. Since 2.0.
 */
int64_t poly_read(int fd, void *buffer, size_t length);

/**
 * Writes up to `length` bytes to `fd`; it may be fewer. Like write(2) it raises SIGPIPE where nobody reads.
 *
 * Suspends the calling fiber, not the thread. Outside a fiber it is write(2).
 * Returns the bytes written, or a negative error number. Any thread. Since 2.0.
 */
int64_t poly_write(int fd, const void *buffer, size_t length);

/**
 * Reads at an offset, which must not be negative, and leaves the file's position alone: pread(2).
 * For files: a pipe or a socket has no offsets, and may pass over this one or answer -ESPIPE.
 *
 * Suspends. Returns the bytes read, 0 at end of file, or a negative error number. Any thread. Since 2.0.
 */
int64_t poly_pread(int fd, void *buffer, size_t length, int64_t offset);

/**
 * Writes at an offset, which must not be negative, and leaves the file's position alone: pwrite(2).
 * For files: a pipe or a socket has no offsets, and may pass over this one or answer -ESPIPE.
 *
 * Suspends. Returns the bytes written, or a negative error number. Any thread. Since 2.0.
 */
int64_t poly_pwrite(int fd, const void *buffer, size_t length, int64_t offset);

/**
 * Reads into several buffers in turn: readv(2).
 *
 * The vector is borrowed like the buffers. Suspends.
 * Returns the bytes read, 0 at end of file, or a negative error number. Any thread. Since 2.0.
 */
int64_t poly_readv(int fd, const struct iovec *vector, int count);

/**
 * Writes several buffers in turn: writev(2).
 *
 * The vector is borrowed like the buffers. Suspends.
 * Returns the bytes written, or a negative error number. Any thread. Since 2.0.
 */
int64_t poly_writev(int fd, const struct iovec *vector, int count);

/**
 * Receives up to `length` bytes: recv(2).
 *
 * Suspends, also where the socket does not block, unless `flags` has MSG_DONTWAIT.
 * Returns the bytes received, 0 at the end, or a negative error number. Any thread. Since 2.0.
 */
int64_t poly_recv(int fd, void *buffer, size_t length, int flags);

/**
 * Sends up to `length` bytes: send(2), which never raises SIGPIPE here.
 *
 * Suspends, also where the socket does not block, unless `flags` has MSG_DONTWAIT.
 * Returns the bytes sent, or a negative error number. Any thread. Since 2.0.
 */
int64_t poly_send(int fd, const void *buffer, size_t length, int flags);

/**
 * Receives a message: recvmsg(2). All that `message` points to is borrowed.
 *
 * Suspends. Returns the bytes received, or a negative error number. Any thread. Since 2.0.
 */
int64_t poly_recvmsg(int fd, struct msghdr *message, int flags);

/**
 * Sends a message: sendmsg(2), which never raises SIGPIPE here. All that `message` points to is borrowed.
 *
 * Suspends. Returns the bytes sent, or a negative error number. Any thread. Since 2.0.
 */
int64_t poly_sendmsg(int fd, const struct msghdr *message, int flags);

/**
 * Accepts a connection: accept4(2). `address` and `length` may both be NULL.
 *
 * Suspends. Returns a descriptor, which is the caller's to close, or a negative error number: with
 * -EMFILE the connection still waits, and can be accepted later. Any thread. Since 2.0.
 */
int poly_accept(int fd, struct sockaddr *address, socklen_t *length, int flags);

/**
 * Connects a socket: connect(2), to its end.
 *
 * Suspends. Returns 0 or a negative error number. Any thread. Since 2.0.
 */
int poly_connect(int fd, const struct sockaddr *address, socklen_t length);

/**
 * Makes a socket: socket(2).
 *
 * May suspend. Returns a descriptor, which is the caller's to close, or a negative error number.
 * Any thread. Since 2.0.
 */
int poly_socket(int domain, int kind, int protocol);

/**
 * Shuts a connection down, in one direction or both: shutdown(2).
 *
 * Suspends. Returns 0 or a negative error number. Any thread. Since 2.0.
 */
int poly_shutdown(int fd, int how);

/**
 * Closes a descriptor. Calls of the runtime's other fibers on it end first, with -EBADF; those of another
 * runtime, and of threads, are not told.
 *
 * Suspends. It closes also when the calling fiber has been cancelled, and never answers -ECANCELED.
 * Returns 0 or a negative error number. Any thread. Since 2.0.
 */
int poly_close(int fd);

/**
 * Opens a file: openat(2). `directory` may be AT_FDCWD; `mode` counts where the file is created.
 *
 * Suspends. Returns a descriptor, which is the caller's to close, or a negative error number.
 * Any thread. Since 2.0.
 */
int poly_openat(int directory, const char *path, int flags, mode_t mode);

/**
 * Writes a file's data, and its metadata too unless `data_only`, to its device: fsync(2), fdatasync(2).
 *
 * Suspends. Returns 0 or a negative error number. Any thread. Since 2.0.
 */
int poly_fsync(int fd, int data_only);

/**
 * Describes a file: statx(2). `*into` is written on success.
 *
 * Suspends. Returns 0 or a negative error number. Any thread. Since 2.0.
 */
int poly_statx(int directory, const char *path, int flags, unsigned int mask, struct statx *into);

/**
 * Waits until one of `events` (POLLIN, …) has come to a descriptor.
 *
 * Suspends; a scope gives it a deadline. Returns the events that have come, or a negative error number.
 * Any thread. Since 2.0.
 */
int poly_poll(int fd, short events);

/**
 * Moves bytes between a pipe and another descriptor without copying: splice(2). A negative offset is
 * none: pipes have none, files then use their position. Offsets are not updated.
 *
 * Suspends. Returns the bytes moved, 0 at the end, or a negative error number. Any thread. Since 2.0.
 */
int64_t poly_splice(int from,
                    int64_t from_offset,
                    int to,
                    int64_t to_offset,
                    size_t length,
                    unsigned int flags);

/**
 * Copies bytes from pipe to pipe and leaves them in the first: tee(2).
 *
 * Suspends. Returns the bytes copied, 0 at the end, or a negative error number. Any thread. Since 2.0.
 */
int64_t poly_tee(int from, int to, size_t length, unsigned int flags);

/**
 * Waits for a child process: waitid(2). `kind` is an idtype_t (P_PID, P_ALL, …), `info` points to a
 * siginfo_t, which is written on success, or is NULL.
 *
 * Suspends. Returns 0 or a negative error number. Any thread. Since 2.0.
 */
int poly_waitid(int kind, uint32_t id, void *info, int options);

/**
 * Makes a channel that holds `capacity` items: 0 hands each over in person, SIZE_MAX holds as many as
 * there is memory for.
 *
 * On success `*channel` is the caller's, to be freed with `poly_channel_free`.
 * Never suspends. Any thread.
 * Returns 0, -EINVAL. Since 2.0.
 */
int poly_channel_new(size_t capacity, poly_channel **channel);

/**
 * Sends an item, waiting for room if need be. What it points to, if anything, becomes the receiver's.
 *
 * Suspends, or blocks a plain thread, while the channel is full. Any thread.
 * Returns 0; -EPIPE if the channel is or becomes closed, -ECANCELED, -ETIMEDOUT, -POLY_EFORKED: then the
 * item is still the caller's. Since 2.0.
 */
int poly_channel_send(poly_channel *channel, void *item);

/**
 * Sends an item if that needs no waiting.
 *
 * Never suspends. Any thread.
 * Returns 0; -EAGAIN if the channel is full, -EPIPE if it is closed: the item is still the caller's.
 * Since 2.0.
 */
int poly_channel_try_send(poly_channel *channel, void *item);

/**
 * Receives the item that was sent first, waiting for one if need be.
 *
 * Suspends, or blocks a plain thread, while the channel is empty. Any thread.
 * Returns 0 and the item in `*item`; -EPIPE once the channel is closed and empty; -ECANCELED or
 * -ETIMEDOUT, and then the item that would have come goes to the next receiver. Since 2.0.
 */
int poly_channel_recv(poly_channel *channel, void **item);

/**
 * Receives an item if one is there.
 *
 * Never suspends. Any thread.
 * Returns 0 and the item in `*item`; -EAGAIN if there is none, -EPIPE if there never will be. Since 2.0.
 */
int poly_channel_try_recv(poly_channel *channel, void **item);

/**
 * Closes a channel: whoever waits is told, nothing more can be sent, and what is in it can still be
 * received.
 *
 * Never suspends. Any thread.
 * Returns 0; -EALREADY if it was closed before. Since 2.0.
 */
int poly_channel_close(poly_channel *channel);

/**
 * How many items are in a channel.
 *
 * Never suspends. Any thread. Since 2.0.
 */
int64_t poly_channel_length(const poly_channel *channel);

/**
 * Frees a channel, and forgets the items that are in it: receive them first if they own anything. No
 * other call on it may be running. NULL is fine.
 *
 * Never suspends. Any thread.
 * Returns 0; -EBUSY if somebody waits for it, and then nothing has happened. Since 2.0.
 */
int poly_channel_free(poly_channel *channel);

/**
 * Takes a lock, waiting for it if need be. It passes from owner to owner in the order in which they
 * asked. Who ends without giving it back keeps it for ever.
 *
 * Suspends, or blocks a plain thread, while another has it. Any thread.
 * Returns 0; -EDEADLK if the caller has it already; -ECANCELED, -ETIMEDOUT. Since 2.0.
 */
int poly_mutex_lock(poly_mutex *mutex);

/**
 * Takes a lock if nobody has it.
 *
 * Never suspends. Any thread.
 * Returns 0, -EBUSY. Since 2.0.
 */
int poly_mutex_try_lock(poly_mutex *mutex);

/**
 * Gives a lock to whoever has waited longest.
 *
 * Never suspends. The fiber or thread that has the lock.
 * Returns 0; -EPERM if the caller does not have it. Since 2.0.
 */
int poly_mutex_unlock(poly_mutex *mutex);

/**
 * Unlocks `mutex`, waits to be signalled, and locks it again, whatever the answer is. There are no
 * spurious wake-ups.
 *
 * Suspends, or blocks a plain thread. The fiber or thread that has the lock.
 * Returns 0; -EPERM if the caller does not have the lock; -ECANCELED or -ETIMEDOUT, and then the signal
 * that would have come goes to the next. Since 2.0.
 */
int poly_condition_wait(poly_condition *condition, poly_mutex *mutex);

/**
 * Wakes whoever has waited longest.
 *
 * Never suspends. Any thread.
 * Returns how many were woken: 0 or 1. Since 2.0.
 */
int poly_condition_signal(poly_condition *condition);

/**
 * Wakes everybody who waits.
 *
 * Never suspends. Any thread.
 * Returns how many were woken. Since 2.0.
 */
int64_t poly_condition_broadcast(poly_condition *condition);

/**
 * Takes `permits`, all at once, waiting for them if need be. Whoever wants few does not overtake who has
 * waited for many.
 *
 * Suspends, or blocks a plain thread, while there are too few. Any thread.
 * Returns 0, -ECANCELED, -ETIMEDOUT. Since 2.0.
 */
int poly_semaphore_acquire(poly_semaphore *semaphore, uint64_t permits);

/**
 * Takes `permits` if they are there and nobody waits.
 *
 * Never suspends. Any thread.
 * Returns 0, -EAGAIN. Since 2.0.
 */
int poly_semaphore_try_acquire(poly_semaphore *semaphore, uint64_t permits);

/**
 * Puts `permits` back, or in for the first time.
 *
 * Never suspends. Any thread.
 * Returns 0, -EOVERFLOW. Since 2.0.
 */
int poly_semaphore_release(poly_semaphore *semaphore, uint64_t permits);

/**
 * Waits until an event is set.
 *
 * Suspends, or blocks a plain thread, while it is not. Any thread.
 * Returns 0, -ECANCELED, -ETIMEDOUT. Since 2.0.
 */
int poly_event_wait(poly_event *event);

/**
 * Sets an event and wakes everybody who waits for it.
 *
 * Never suspends. Any thread.
 * Returns how many were woken. Since 2.0.
 */
int64_t poly_event_set(poly_event *event);

/**
 * Makes an event one that has not happened.
 *
 * Never suspends. Any thread.
 * Returns 0. Since 2.0.
 */
int poly_event_reset(poly_event *event);

/**
 * Asks whether an event is set.
 *
 * Never suspends. Any thread.
 * Returns 1 or 0. Since 2.0.
 */
int poly_event_is_set(const poly_event *event);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* POLYPHONY_H */
