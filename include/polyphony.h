/*
 * polyphony.h: fibers for C (C99) and C++ (C++11), on io_uring. Version 2.0. MIT licence.
 *
 * A fiber is a function with a stack of its own that runs on one of a runtime's threads. Where it would
 * block, it suspends: the thread runs other fibers until the kernel, a timer or another fiber has what it
 * waits for. Code reads from top to bottom, as with threads; a parked fiber costs about four kilobytes.
 *
 *     #include <polyphony.h>
 *     #include <string.h>
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
 * function named _free; _free(NULL) is fine. Descriptors that a call makes are the caller's to close, and are
 * closed on exec. A poly_buf is given back with poly_buf_release, a poly_process is waited for. Fibers are named by
 * numbers: nobody frees them, and a name whose fiber is gone is -ESRCH, never another fiber. Mutexes, conditions,
 * semaphores, events and their like, and scopes, are structs of the caller's; there is nothing to free. Memory of
 * the caller's is never freed here.
 *
 * Lifetimes. Buffers, addresses, paths, vectors and messages are borrowed until the call returns. A call
 * that is cancelled returns only when the kernel has let go of them, so they may stand on the fiber's
 * stack. An object must outlive every call on it: before freeing it, see to it that no call on it is
 * running.
 *
 * Cancellation and deadlines. A call that may suspend is refused with -ECANCELED if its fiber has been
 * cancelled, with -ETIMEDOUT if a deadline of a scope has passed, also where it need not have waited. If
 * what it waits for has happened before the cancellation did, it returns that result: no byte, no
 * descriptor and no item is lost, and the cancellation is for the next call. Calls that move many bytes in steps
 * (poly_read_exactly, poly_write_all, poly_copy) tell in the same way how far they came. A read of a regular file
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
 * Signals. A handler may call poly_now, poly_version, poly_abi_version, poly_strerror and poly_loop_wake. To wake a fiber
 * it writes to a pipe that the fiber reads; or the signal is blocked before the runtime is made and a fiber waits
 * in poly_signal_next.
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
 * -EINVAL; with POLY_DEBUG=abort the process ends there. So does one that is given a copy of a poly_buf or a
 * poly_process that is gone. Freed objects then keep their memory. What is all zeros may be any object of the
 * caller's. Handlers of signals may be anywhere, so poly_loop_wake is not checked; and the child of a fork may know
 * less. Without it nothing is looked up, and such a call does what it may.
 *
 * Tools. AddressSanitizer works, and names an overrun stack. valgrind is told where the stacks are; io_uring stands
 * still under it, and tells it nothing of what it writes: set POLYPHONY_BACKEND=epoll there.
 *
 * Fork. In the child, every call on what the parent has used answers -POLY_EFORKED: runtimes, channels, acceptors,
 * mutexes and the like. The fiber that forked goes on as a plain thread; the child may make a runtime of its own. If
 * that fiber's function returns, the child exits.
 *
 * Hosts. A language whose runtime has fibers of its own needs none of the library's: a poly_loop is the scheduler of
 * one thread, without stacks. It tells the host what is next and never calls it; its functions never suspend, and
 * poly_loop_wait is the only one that waits.
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

/* Spans of time, in nanoseconds: 3 * POLY_SECOND. They are 64 bits wide, as a product of plain numbers is not. */
#define POLY_MICROSECOND UINT64_C(1000)
#define POLY_MILLISECOND UINT64_C(1000000)
#define POLY_SECOND      UINT64_C(1000000000)

/* Initialisers: all zeros, and the size where there is one. */
#define POLY_RUNTIME_OPTIONS_INIT { sizeof(poly_runtime_options), 0, 0, 0, 0, 0, 0, 0, 0, NULL }
#define POLY_COUNTERS_INIT    { sizeof(poly_counters), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define POLY_PROCESS_OPTIONS_INIT { sizeof(poly_process_options), NULL, NULL, NULL, NULL, NULL, 0, 0 }
#define POLY_LOOP_OPTIONS_INIT { sizeof(poly_loop_options), 0, 0, 0, 0 }
#define POLY_MUTEX_INIT       { { 0, 0, 0, 0 } }
#define POLY_CONDITION_INIT   { { 0, 0, 0, 0 } }
#define POLY_SEMAPHORE_INIT   { { 0, 0, 0, 0 } }
#define POLY_EVENT_INIT       { { 0, 0, 0, 0 } }
#define POLY_RWLOCK_INIT      { { 0, 0, 0, 0, 0, 0 } }
#define POLY_ONCE_INIT        { { 0, 0, 0, 0 } }
#define POLY_WAIT_GROUP_INIT  { { 0, 0, 0, 0 } }


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
 * No such host, or no such service.
 */
#define POLY_ENOHOST 10002

/**
 * The name server did not answer; it may do so later.
 */
#define POLY_ENOANSWER 10003

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
 * No name has more bytes, with the zero that ends it; what is longer is cut.
 */
#define POLY_NAME_ROOM 32

/**
 * No process has more keys.
 */
#define POLY_MOST_LOCAL_KEYS 1024

/**
 * Only IPv4 addresses count.
 */
#define POLY_NET_IPV4 1

/**
 * Only IPv6 addresses count. Together with `POLY_NET_IPV4` both do, as without either.
 */
#define POLY_NET_IPV6 2

/**
 * Several sockets may be bound to the same address, each with this flag; the kernel spreads connections and
 * datagrams among them (SO_REUSEPORT). For a listener a worker, say.
 */
#define POLY_NET_SHARED_PORT 4

/**
 * A child leads a process group of its own: it is not told of the terminal's signals, and `kill(-pid, …)`
 * reaches it and its children.
 */
#define POLY_PROCESS_GROUP 1

/**
 * A ticker tells every tick: who is late gets those that were missed one after the other, without a wait.
 * Without this flag they are skipped, and told as a number.
 */
#define POLY_TICKER_CATCH_UP 1

/**
 * The case sends its item.
 */
#define POLY_CASE_SEND 1

/**
 * The case receives an item.
 */
#define POLY_CASE_RECV 2

/**
 * Ends at once with 0.
 */
#define POLY_OPERATION_NOP 1

/**
 * read(2): `fd`, `pointer` and `length`.
 */
#define POLY_OPERATION_READ 2

/**
 * write(2): `fd`, `pointer` and `length`. It raises SIGPIPE where nobody reads.
 */
#define POLY_OPERATION_WRITE 3

/**
 * pread(2): as READ, and `offset`.
 */
#define POLY_OPERATION_PREAD 4

/**
 * pwrite(2): as WRITE, and `offset`.
 */
#define POLY_OPERATION_PWRITE 5

/**
 * readv(2): `fd`; `pointer` is a struct iovec of `length` parts, at most 1024.
 */
#define POLY_OPERATION_READV 6

/**
 * writev(2): as READV.
 */
#define POLY_OPERATION_WRITEV 7

/**
 * recv(2): `fd`, `pointer`, `length` and `flags`.
 */
#define POLY_OPERATION_RECV 8

/**
 * send(2), without SIGPIPE: as RECV.
 */
#define POLY_OPERATION_SEND 9

/**
 * recvmsg(2): `fd`, `flags`; `pointer` is a struct msghdr.
 */
#define POLY_OPERATION_RECVMSG 10

/**
 * sendmsg(2), without SIGPIPE: as RECVMSG.
 */
#define POLY_OPERATION_SENDMSG 11

/**
 * read(2) into a buffer of the loop's, lent when there is something: `fd`, `length`. See `poly_loop_release`.
 */
#define POLY_OPERATION_READ_BUFFER 12

/**
 * recv(2) into a buffer of the loop's: as READ_BUFFER, and `flags`.
 */
#define POLY_OPERATION_RECV_BUFFER 13

/**
 * accept4(2): `fd`, `flags`; `pointer` is a struct sockaddr and `other` its socklen_t, or both are NULL. The
 * result is a descriptor.
 */
#define POLY_OPERATION_ACCEPT 14

/**
 * accept4(2) for ever: `fd`, `flags`. An event for each connection, until it is cancelled or fails.
 */
#define POLY_OPERATION_ACCEPT_MANY 15

/**
 * connect(2), to its end: `fd`; `pointer` is a struct sockaddr of `length` bytes.
 */
#define POLY_OPERATION_CONNECT 16

/**
 * openat(2): `fd` is a directory or AT_FDCWD, `pointer` the path, `flags`, `mode`. The result is a descriptor.
 */
#define POLY_OPERATION_OPENAT 17

/**
 * close(2): `fd`. What waits on it is cancelled first: `poly_loop_cancel_fd`.
 */
#define POLY_OPERATION_CLOSE 18

/**
 * shutdown(2): `fd`; `flags` is SHUT_RD, SHUT_WR or SHUT_RDWR.
 */
#define POLY_OPERATION_SHUTDOWN 19

/**
 * Waits until one of the events in `flags` (POLLIN, …) has come to `fd`. The result is the set that has.
 */
#define POLY_OPERATION_POLL 20

/**
 * The same for ever: an event each time that the descriptor becomes ready, until it is cancelled or fails.
 * -EPERM for what is always ready.
 */
#define POLY_OPERATION_POLL_MANY 21

/**
 * splice(2): from `fd` at `offset` to `other_fd` at `other_offset`, `length`, `flags`; a negative offset is none.
 */
#define POLY_OPERATION_SPLICE 22

/**
 * tee(2): from `fd` to `other_fd`, `length`, `flags`.
 */
#define POLY_OPERATION_TEE 23

/**
 * fsync(2): `fd`; fdatasync(2) where `flags` is 1.
 */
#define POLY_OPERATION_FSYNC 24

/**
 * statx(2): `fd` is a directory or AT_FDCWD, `pointer` the path, `flags`, `mode` the mask; `other` is a struct
 * statx.
 */
#define POLY_OPERATION_STATX 25

/**
 * renameat2(2): from `pointer` in `fd` to `other` in `other_fd`, paths in directories, with `flags`.
 */
#define POLY_OPERATION_RENAMEAT 26

/**
 * unlinkat(2): `fd`, `pointer` and `flags`.
 */
#define POLY_OPERATION_UNLINKAT 27

/**
 * mkdirat(2): `fd`, `pointer` and `mode`.
 */
#define POLY_OPERATION_MKDIRAT 28

/**
 * waitid(2): `mode` is P_PID or another idtype_t, `length` the id, `flags` the options; `other` is a siginfo_t,
 * or NULL.
 */
#define POLY_OPERATION_WAITID 29

/**
 * `poly_loop_offload`, for `poly_loop_answer`: it is not submitted this way.
 */
#define POLY_OPERATION_OFFLOAD 30

/**
 * No kernel, for tests of hosts; loops only. Time stands still until a wait, then jumps to whatever comes first.
 * Operations end as `poly_loop_answer` says, or when they are cancelled; while one is in flight, the memory that it
 * reads into is overwritten again and again.
 */
#define POLY_BACKEND_SIM 3

/**
 * Nothing is ready: `poly_loop_wait`.
 */
#define POLY_LOOP_WAIT 0

/**
 * There is an event.
 */
#define POLY_LOOP_EVENT 1

/**
 * Nothing is ready, in flight or timed: only another thread or a signal can help.
 */
#define POLY_LOOP_IDLE 2

/**
 * `poly_loop_ready` was called with this `user_data`.
 */
#define POLY_LOOP_READY 1

/**
 * The operation `source` has ended, or goes on where `flags` has `POLY_LOOP_MORE`.
 */
#define POLY_LOOP_COMPLETED 2

/**
 * The timer `source` has reached its deadline, and is gone.
 */
#define POLY_LOOP_EXPIRED 3

/**
 * `poly_loop_notify` was called with this `user_data`.
 */
#define POLY_LOOP_NOTIFIED 4

/**
 * More events of the same operation will follow.
 */
#define POLY_LOOP_MORE 1

/**
 * A listener whose connections are accepted as they come. Freed by `poly_acceptor_free`.
 */
typedef struct poly_acceptor poly_acceptor;

/**
 * A queue of pointers between fibers, and between fibers and threads. Freed by `poly_channel_free`.
 */
typedef struct poly_channel poly_channel;

/**
 * A directory that is being read. Freed by `poly_directory_free`.
 */
typedef struct poly_directory poly_directory;

/**
 * The scheduler of one thread, for a language whose runtime has fibers of its own: a queue of who is ready, timers,
 * operations in flight and what other threads have said, without stacks. The host keeps its coroutines and switches
 * between them; the loop tells it whose turn it is, and with what. No function of the loop's calls the host.
 *
 * A loop belongs to the thread that made it: "its thread" below, and to any other -EPERM. It never suspends a
 * fiber: within one it would hold up the worker. Freed by `poly_loop_free`, before its thread ends.
 *
 *     for (;;) {
 *         poly_loop_event event;
 *         int next = poly_loop_next(loop, &event);
 *         if (next == POLY_LOOP_EVENT)
 *             resume((coroutine *)(uintptr_t)event.user_data, event.result); // which submits, and yields
 *         else if (next == POLY_LOOP_WAIT)
 *             poly_loop_wait(loop, POLY_FOREVER); // here an interpreter lets go of its lock
 *         else
 *             break;
 *     }
 */
typedef struct poly_loop poly_loop;

/**
 * Worker threads and the fibers that run on them. Usable from any thread; freed by `poly_runtime_free`.
 */
typedef struct poly_runtime poly_runtime;

/**
 * How to make a runtime. Begin with `POLY_RUNTIME_OPTIONS_INIT` and change what you like; 0 is the default of
 * every field but `size`.
 *
 *     poly_runtime_options options = POLY_RUNTIME_OPTIONS_INIT;
 *     options.workers = 1;
 *     error = poly_runtime_new(&options, &runtime);
 *
 */
typedef struct {
    /**
     * `sizeof(poly_runtime_options)`: tells which version of this struct it is.
     */
    size_t size;
    /**
     * Threads that run fibers, at most `POLY_MOST_WORKERS`; as many as may run at once by default. With
     * several, fibers run at the same time, and what they share needs a lock or a channel.
     */
    uint32_t workers;
    /**
     * One of `POLY_BACKEND_*`.
     */
    uint32_t backend;
    /**
     * Bytes of stack a fiber has at least; 64 KiB by default. It is never less than 16 KiB; more than 256 MiB is
     * -EINVAL.
     */
    size_t stack_size;
    /**
     * Fibers that there may be at once, beyond which none is started: -EAGAIN. As many as there is memory for by
     * default.
     */
    size_t max_fibers;
    /**
     * Threads that the pool of `poly_offload` may have. All runtimes of the process share it, so who asks last
     * decides; as many as may run at once, but 4 to 16, by default.
     */
    uint32_t offload_threads;
    /**
     * Entries of io_uring's submission queue; 256 by default, at most 32,768. The kernel rounds up to a
     * power of two.
     */
    uint32_t ring_entries;
    /**
     * Entries of io_uring's completion queue; 4096 by default, or twice as many as the other has if that is more. At
     * least 2 and as many as the other has, so 256 where `ring_entries` is 0; at most 65,536.
     */
    uint32_t completion_entries;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * What the worker threads are called, with a number behind it: copied; "polyphony" by default. The system
     * shows 15 bytes.
     */
    const char *name;
} poly_runtime_options;

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
 * A call with an argument.
 */
typedef void (*poly_callback)(void *argument);

/**
 * What each fiber has a value of its own for.
 */
typedef struct {
    /**
     * Meaningless.
     */
    uint32_t id;
} poly_local_key;

/**
 * A deadline and the children of a fiber, while they are in force. It lives in the caller's frame, and is closed
 * before the frame is left.
 *
 *     poly_scope scope;
 *     poly_scope_open(&scope, poly_now() + 5 * POLY_SECOND);
 *     poly_scope_spawn(&scope, 0, fetch, &first, NULL);
 *     poly_scope_spawn(&scope, 0, fetch, &second, NULL);
 *     error = poly_scope_close(&scope);  // both have ended: both have fetched, or neither goes on
 *
 * In C++ a guard does that, also where an exception passes:
 *
 *     struct Scope {
 *         poly_scope scope;
 *         explicit Scope(uint64_t deadline) { poly_scope_open(&scope, deadline); }
 *         ~Scope() { poly_scope_close(&scope); }
 *     };
 *
 * One that is left open, by `return`, longjmp or an exception, stays in force until the scope around it is closed,
 * which answers -ENOTEMPTY, or until the fiber ends: then its children are cancelled and waited for.
 */
typedef struct {
    /**
     * Ours.
     */
    uint64_t reserved[8];
} poly_scope;

/**
 * What is in a directory.
 */
typedef struct {
    /**
     * Its name: the directory's, until the next call with it.
     */
    const char *name;
    /**
     * Its number in the file system.
     */
    uint64_t inode;
    /**
     * What it is: DT_REG, DT_DIR and so on of <dirent.h>; DT_UNKNOWN (0) where the file system does not say.
     */
    uint32_t kind;
} poly_directory_entry;

/**
 * Bytes that were read into a buffer of the library's. The caller's until it gives the buffer back with
 * `poly_buf_release`; it may be copied and moved, and `data` and `length` may be changed as the bytes are
 * used up. All zeros is empty: there is nothing to give back.
 */
typedef struct {
    /**
     * The bytes; they are not to be written.
     */
    const uint8_t *data;
    /**
     * How many there are.
     */
    size_t length;
    /**
     * Ours.
     */
    uint64_t reserved[2];
} poly_buf;

/**
 * A descriptor that a child is to have.
 */
typedef struct {
    /**
     * Its number in the child: 0, 1 and 2 are its standard input, output and error.
     */
    int child;
    /**
     * Which of ours it is, or -1 for /dev/null.
     */
    int parent;
} poly_process_fd;

/**
 * How to start a process. Begin with `POLY_PROCESS_OPTIONS_INIT` and set `argv`; 0 is the default of every
 * other field but `size`.
 */
typedef struct {
    /**
     * `sizeof(poly_process_options)`: tells which version of this struct it is.
     */
    size_t size;
    /**
     * Its arguments, ended by NULL; there is at least one.
     */
    const char *const *argv;
    /**
     * Its environment as `NAME=value`, ended by NULL; the caller's if NULL.
     */
    const char *const *envp;
    /**
     * The program: a path, or a name that is looked for in PATH; `argv[0]` if NULL.
     */
    const char *file;
    /**
     * The directory that it starts in; the caller's if NULL.
     */
    const char *directory;
    /**
     * Descriptors that it is to have. Of all others it has those that are not closed on exec.
     */
    const poly_process_fd *descriptors;
    /**
     * How many of them.
     */
    size_t descriptor_count;
    /**
     * 0 or `POLY_PROCESS_GROUP`.
     */
    uint32_t flags;
} poly_process_options;

/**
 * A child process that has been started. The caller's to copy and to keep; `poly_process_wait` or
 * `poly_process_close` ends it, once.
 */
typedef struct {
    /**
     * Its number, for people and for kill(2).
     */
    int32_t pid;
    /**
     * A descriptor that is readable once it has ended (pidfd_open(2)); -1 when it has been waited for.
     */
    int pidfd;
} poly_process;

/**
 * A signal that has come.
 */
typedef struct {
    /**
     * Which: SIGINT, SIGTERM, …
     */
    int32_t number;
    /**
     * Why it was sent: SI_USER, CLD_EXITED and so on; see sigaction(2).
     */
    int32_t code;
    /**
     * Who sent it, where a process did.
     */
    int32_t pid;
    /**
     * Whose process that is.
     */
    uint32_t uid;
    /**
     * Of a child that ended: its status or signal.
     */
    int32_t status;
    /**
     * What sigqueue(3) sent along.
     */
    int32_t value;
} poly_signal;

/**
 * Something that happens again and again. A struct of the caller's, to be copied and forgotten at will; there
 * is nothing to free.
 */
typedef struct {
    /**
     * When it ticks next, as `poly_now` tells the time.
     */
    uint64_t next;
    /**
     * Nanoseconds between two ticks.
     */
    uint64_t period;
    /**
     * 0 or `POLY_TICKER_CATCH_UP`.
     */
    uint32_t flags;
} poly_ticker;

/**
 * One of the sends and receives of `poly_select`.
 */
typedef struct {
    /**
     * The channel; NULL for a case that never happens.
     */
    poly_channel *channel;
    /**
     * What is sent; or where what is received is put.
     */
    void *item;
    /**
     * `POLY_CASE_SEND` or `POLY_CASE_RECV`.
     */
    uint32_t operation;
    /**
     * Of the case that has happened: 0, or -EPIPE if its channel is closed.
     */
    int32_t result;
} poly_case;

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

/**
 * A lock for one who writes or many who read. All zeros is unlocked. Not copied or moved while in use.
 */
typedef struct {
    /**
     * Ours.
     */
    uint64_t reserved[6];
} poly_rwlock;

/**
 * Something that is done once. All zeros is not yet. Not copied or moved while in use.
 */
typedef struct {
    /**
     * Ours.
     */
    uint64_t reserved[4];
} poly_once;

/**
 * A count of things to be done. All zeros is nothing to be done. Not copied or moved while in use.
 */
typedef struct {
    /**
     * Ours.
     */
    uint64_t reserved[4];
} poly_wait_group;

/**
 * How to make a loop. Begin with `POLY_LOOP_OPTIONS_INIT`; 0 is the default of every field but `size`.
 */
typedef struct {
    /**
     * `sizeof(poly_loop_options)`: tells which version of this struct it is.
     */
    size_t size;
    /**
     * One of `POLY_BACKEND_*`.
     */
    uint32_t backend;
    /**
     * Entries of io_uring's submission queue, as in `poly_runtime_options`.
     */
    uint32_t ring_entries;
    /**
     * Entries of io_uring's completion queue, as there.
     */
    uint32_t completion_entries;
    /**
     * 0.
     */
    uint32_t reserved;
} poly_loop_options;

/**
 * An operation, and whom its event is for. Begin with all zeros. Each `POLY_OPERATION_*` says what it uses; what it
 * does not use is not looked at.
 */
typedef struct {
    /**
     * Comes back in the event: a coroutine's address, or its number.
     */
    uint64_t user_data;
    /**
     * One of `POLY_OPERATION_*`.
     */
    uint32_t kind;
    /**
     * The descriptor.
     */
    int32_t fd;
    /**
     * A buffer, a path or a struct, by the kind. Borrowed until the last event of the operation, with all that it
     * points to.
     */
    void *pointer;
    /**
     * How long that is.
     */
    uint64_t length;
    /**
     * Where in the file.
     */
    int64_t offset;
    /**
     * As in the system call.
     */
    uint32_t flags;
    /**
     * As in the system call.
     */
    uint32_t mode;
    /**
     * A second descriptor.
     */
    int32_t other_fd;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * A second pointer, borrowed like the first.
     */
    void *other;
    /**
     * Where in the other file.
     */
    int64_t other_offset;
} poly_operation;

/**
 * What the loop has to say: one turn of one coroutine.
 */
typedef struct {
    /**
     * Whom it is for: what the operation, the timer or the call that caused it was given.
     */
    uint64_t user_data;
    /**
     * Of an operation: what its system call returns, or a negative error number. Else 0.
     */
    int64_t result;
    /**
     * The number of the operation or the timer; no two of them have the same. Else 0.
     */
    uint64_t source;
    /**
     * Of a read into a buffer of the loop's: `result` bytes, until `poly_loop_release`. Else NULL.
     */
    const void *data;
    /**
     * What happened: `POLY_LOOP_READY`, `_COMPLETED`, `_EXPIRED` or `_NOTIFIED`.
     */
    uint32_t kind;
    /**
     * 0 or `POLY_LOOP_MORE`.
     */
    uint32_t flags;
} poly_loop_event;

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
int poly_runtime_new(const poly_runtime_options *options, poly_runtime **runtime);

/**
 * Runs `entry(argument)` in a fiber and waits until it has returned.
 *
 * Blocks a plain thread; suspends a fiber. `*result` becomes what `entry` returned; `result` may be NULL.
 * Any thread.
 * Returns 0, -EAGAIN where there are `max_fibers`, -ESHUTDOWN, -ENOMEM, -POLY_EFORKED; in a fiber also -ECANCELED and
 * -ETIMEDOUT. Since 2.0.
 */
int poly_runtime_run(const poly_runtime *runtime,
                     poly_entry entry,
                     void *argument,
                     int64_t *result);

/**
 * Ends a runtime: takes no more fibers, cancels those that run, and waits until they have ended. From
 * then on every blocking call of such a fiber answers -ECANCELED, not only the next one.
 *
 * Waits until `deadline` at most, which may be `POLY_FOREVER`. Blocks the thread; not for fibers of the same
 * runtime. Any other thread.
 * Returns 0; -ETIMEDOUT while fibers still run: `poly_runtime_fibers` names them, `poly_runtime_describe` says what
 * they wait for; call again to wait longer; -EDEADLK in one of its own fibers; -POLY_EFORKED. Since 2.0.
 */
int poly_runtime_shutdown(const poly_runtime *runtime,
                          uint64_t deadline);

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
 * Blocks the thread; not for fibers of the same runtime. Any other thread.
 * Returns 0; -EDEADLK in one of its own fibers, and then nothing has happened. In the child of a fork it
 * frees what can be freed there. Since 2.0.
 */
int poly_runtime_free(poly_runtime *runtime);

/**
 * Describes a runtime, for people: its backend and how that was set up, and a line for each fiber that has not
 * ended: its name, and what it waits for.
 *
 *     io_uring (SINGLE_ISSUER DEFER_TASKRUN)
 *     fiber 0x8000001 "accept" on worker 0: waits for the kernel: accept of descriptor 5
 *     fiber 0x8000002 "client" on worker 1: waits for an item in a channel, cancelled
 *
 * As much as fits into `room` bytes is written to `text`, with a zero at its end; `text` may be NULL if `room` is 0.
 * Asks each worker, and waits for a fraction of a second at most where one is busy: blocks the thread.
 * Any thread.
 * Returns the length of the whole text; -EINVAL, -POLY_EFORKED. Since 2.0.
 */
int64_t poly_runtime_describe(const poly_runtime *runtime,
                              char *text,
                              size_t room);

/**
 * Reads the counters of a runtime. Set `counters->size` first.
 *
 * Asks each worker, so it waits while one is busy: blocks a plain thread and suspends a fiber; but for a
 * fiber of the same runtime where that has one worker.
 * Any thread.
 * Returns 0; -ENOMEM where there is no room for one fiber more, which does the asking; -EINVAL, -POLY_EFORKED.
 * Since 2.0.
 */
int poly_stats(const poly_runtime *runtime,
               poly_counters *counters);

/**
 * Starts a fiber that runs `entry(argument)`: in `runtime`, or in the calling fiber's if `runtime` is
 * NULL. What `argument` points to must live until the fiber has used it. Whichever worker comes first runs
 * it, and runs it to its end.
 *
 *     poly_fiber fiber;
 *     int64_t result;
 *     if (poly_spawn(NULL, fetch, &first, &fiber) == 0)
 *         error = poly_join(fiber, &result);
 *
 * With `fiber` not NULL, `*fiber` becomes its name, and somebody must join or detach it, else its stack is
 * kept. With `fiber` NULL it is detached from the start.
 * Never suspends: the fiber runs when its turn comes. Any thread, if `runtime` is given.
 * Returns 0, -EINVAL, -EPERM outside a fiber without a runtime, -EAGAIN where there are `max_fibers`, -ENOMEM,
 * -ESHUTDOWN, -POLY_EFORKED. Since 2.0.
 */
int poly_spawn(const poly_runtime *runtime,
               poly_entry entry,
               void *argument,
               poly_fiber *fiber);

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
 *     int64_t sum;
 *     error = poly_offload(add_up, numbers, &sum);
 *
 * Suspends; a plain thread runs `entry` itself. Any thread.
 * Returns 0; -EINVAL; -ECANCELED or -ETIMEDOUT, and then `entry` was never called: once it has begun, the call
 * waits until it has returned, and a cancellation is for the next call. Since 2.0.
 */
int poly_offload(poly_entry entry,
                 void *argument,
                 int64_t *result);

/**
 * Has `entry(argument)` called on a thread of the pool of `poly_offload`, if one is free to begin at once, and does
 * not wait for it. What it returns is lost: it tells by a channel, a wait group or an event, which such a thread may
 * use like any other.
 *
 * Never suspends. Any thread.
 * Returns 0; -EAGAIN if every thread of the pool is taken, and then `entry` is not called; -EINVAL. Since 2.0.
 */
int poly_try_offload(poly_entry entry,
                     void *argument);

/**
 * Waits until a fiber has ended. `*result` becomes what its function returned; `result` may be NULL.
 *
 * A fiber is joined once: then its name names nobody. One that has not begun, and that no other worker has taken,
 * begins at once. Suspends a fiber, blocks a plain thread.
 * Any thread.
 * Returns 0; -ESRCH if there is no such fiber (any more) or it was detached; -EBUSY if somebody else
 * waits for it; -EDEADLK for oneself; -ECANCELED or -ETIMEDOUT, and then it can be joined later.
 * Since 2.0.
 */
int poly_join(poly_fiber fiber,
              int64_t *result);

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
 * Gives a fiber a name, for `poly_runtime_describe` and debuggers: as much of it as fits into `POLY_NAME_ROOM`.
 * It is copied.
 *
 * Never suspends. Any thread.
 * Returns 0; -EINVAL for NULL; -ESRCH if there is no such fiber. Since 2.0.
 */
int poly_fiber_set_name(poly_fiber fiber,
                        const char *name);

/**
 * Copies a fiber's name to `name`, which has `room` bytes: as much as fits, with a zero at its end.
 *
 * Never suspends. Any thread.
 * Returns the length of the name, 0 where it has been given none; -EINVAL for NULL or no room; -ESRCH if there is
 * no such fiber. Since 2.0.
 */
int64_t poly_fiber_name(poly_fiber fiber,
                        char *name,
                        size_t room);

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
 * Makes a key, for which every fiber has a value of its own: NULL until it sets one. A key lives as long as the
 * process. When a fiber ends whose value is not NULL, `destructor(value)` is called in that fiber, if it is not
 * NULL; it may suspend, and nothing ends its calls. If it sets new values their destructors are called, too, four
 * times at most.
 *
 * Unlike a variable of a thread the value goes with the fiber wherever it runs.
 * Never suspends. Any thread.
 * Returns 0; -EINVAL for NULL; -EAGAIN where there are `POLY_MOST_LOCAL_KEYS` keys. Since 2.0.
 */
int poly_local_key_create(poly_callback destructor,
                          poly_local_key *key);

/**
 * Gives the calling fiber its value for a key. What was there before is not destroyed.
 *
 * Never suspends. Fibers only.
 * Returns 0; -EINVAL for what is no key; -EPERM outside a fiber. Since 2.0.
 */
int poly_local_set(poly_local_key key, void *value);

/**
 * The calling fiber's value for a key; NULL where it has set none, outside a fiber, and for what is no key.
 *
 * Never suspends. Any thread. Since 2.0.
 */
void *poly_local_get(poly_local_key key);

/**
 * Has `callback(argument)` called when the calling fiber ends: when its function has returned, whatever made it
 * return, and its scopes are closed. Of several the last is called first. It is called in the fiber, before who
 * joins it goes on; it may suspend, and nothing ends its calls. In the child of a fork it is not called.
 *
 * Never suspends. Fibers only.
 * Returns 0; -EINVAL for NULL; -EPERM outside a fiber. Since 2.0.
 */
int poly_on_exit(poly_callback callback,
                 void *argument);

/**
 * Opens a scope: until it is closed, every blocking call of this fiber returns -ETIMEDOUT once `poly_now`
 * has reached `deadline`, and its children are cancelled then. Scopes nest; the nearest deadline counts, whichever
 * scope it belongs to. `POLY_FOREVER` is no deadline.
 *
 * Never suspends. Fibers only.
 * Returns 0; -EPERM outside a fiber; -EINVAL for NULL, and for a scope that is open, also if the function that
 * opened it has returned. Since 2.0.
 */
int poly_scope_open(poly_scope *scope,
                    uint64_t deadline);

/**
 * Starts a fiber that runs `entry(argument)` and ends before the scope does: a child of the scope. If it returns a
 * negative number other than -ECANCELED it has failed, and the scope is cancelled with that number as its
 * result: its other children are cancelled, and the owner's calls within the scope are refused. `flags` are those
 * of `poly_spawn_as`.
 *
 * With `fiber` not NULL, `*fiber` becomes its name. It can be joined for its result until the scope is closed, and
 * need not be.
 * Never suspends. The scope's owner, and its children.
 * Returns 0; -ECANCELED, each time, if the scope is cancelled, or one that the caller is in, unless it has raised a
 * shield; -EINVAL if it is none of the caller's; -EPERM outside a fiber; what `poly_spawn` returns. Since 2.0.
 */
int poly_scope_spawn(poly_scope *scope,
                     uint32_t flags,
                     poly_entry entry,
                     void *argument,
                     poly_fiber *fiber);

/**
 * Cancels a scope: its children, and every blocking call of its owner's within it from now on, which returns
 * -ECANCELED until the scope is closed.
 *
 * Never suspends. The scope's owner, and its children.
 * Returns 0; -EINVAL if it is none of the caller's; -EPERM outside a fiber. Since 2.0.
 */
int poly_scope_cancel(poly_scope *scope);

/**
 * Waits until every child of a scope has ended, and closes it. If the wait is cancelled or a deadline passes, the
 * children are cancelled, and waited for all the same.
 *
 * Suspends while there are children. Fibers only.
 * Returns 0, or why the scope ended early: what the first child to fail returned (-POLY_EPANIC if it
 * panicked); -ETIMEDOUT if the scope's own deadline has ended or refused a call, or children; -ECANCELED if its
 * children were cancelled: by `poly_scope_cancel`, with their owner, or by an outer scope.
 * -ENOTEMPTY if scopes that were opened within it had been left open: they are closed then, their children
 * cancelled, and so is this one.
 * -EINVAL if it is no open scope of this fiber; -EPERM outside a fiber: then nothing has happened. Since 2.0.
 */
int64_t poly_scope_close(poly_scope *scope);

/**
 * Begins a stretch in which neither cancellations nor deadlines end or refuse a call of this fiber: for
 * cleaning up. They are heeded once the shield is lowered. Shields nest.
 *
 *     poly_shield_raise();
 *     poly_write_all(fd, "bye\n", 4);
 *     poly_shield_lower();
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
 * Wakes everybody who waits for a descriptor: the calls of the runtime's fibers on it end with -EBADF, as if it
 * were closed, an acceptor's too. For a descriptor that something else is about to close, which `poly_close`
 * does by itself.
 *
 * May suspend; never refused for a cancellation or a deadline. Fibers only.
 * Returns how many calls were ended; -EPERM outside a fiber. Since 2.0.
 */
int64_t poly_poll_cancel_fd(int fd);

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
 * Renames a file: renameat2(2). Both directories may be AT_FDCWD; `flags` are 0 or RENAME_NOREPLACE and such.
 *
 * Suspends. Returns 0 or a negative error number. Any thread. Since 2.0.
 */
int poly_renameat(int directory,
                  const char *path,
                  int new_directory,
                  const char *new_path,
                  unsigned int flags);

/**
 * Removes a file, or with AT_REMOVEDIR an empty directory: unlinkat(2). `directory` may be AT_FDCWD.
 *
 * Suspends. Returns 0 or a negative error number. Any thread. Since 2.0.
 */
int poly_unlinkat(int directory, const char *path, int flags);

/**
 * Makes a directory: mkdirat(2). `directory` may be AT_FDCWD.
 *
 * Suspends. Returns 0 or a negative error number. Any thread. Since 2.0.
 */
int poly_mkdirat(int directory, const char *path, mode_t mode);

/**
 * Reads `length` bytes, in as many reads as it takes. For stream sockets `poly_recv` with MSG_WAITALL does it
 * in one.
 *
 * Suspends. Returns the bytes read: fewer than asked for at the end of the file, or where an error, a
 * cancellation or a deadline came after the first of them, which is then for the next call; or a negative error
 * number. No byte is lost. -EINVAL for a buffer of NULL. Any thread. Since 2.0.
 */
int64_t poly_read_exactly(int fd,
                          void *buffer,
                          size_t length);

/**
 * Writes `length` bytes, in as many writes as it takes. Like write(2) it raises SIGPIPE where nobody reads; for
 * sockets `poly_send` with MSG_WAITALL does it in one, and raises none.
 *
 * Suspends. Returns the bytes written: fewer than asked for where an error, a cancellation or a deadline came
 * after the first of them, which is then for the next call; or a negative error number. -EINVAL for a buffer of
 * NULL. Any thread. Since 2.0.
 */
int64_t poly_write_all(int fd,
                       const void *buffer,
                       size_t length);

/**
 * Copies up to `length` bytes from one descriptor to another, each from where it stands: UINT64_MAX until the
 * end. Between files the file system copies (copy_file_range); a pipe at either end is spliced; everything else
 * passes through memory.
 *
 * Suspends. Nobody else may read `from` meanwhile. Any thread.
 * Returns the bytes copied: fewer than asked for at the end of `from`, or where an error, a cancellation or a
 * deadline came after the first of them, which is then for the next call; or a negative error number. What is
 * taken from a file, a pipe or a stream socket has been written to `to`: no byte is lost. But what comes from a
 * datagram socket or a device, or from a pipe into something that takes no splice (a terminal, a file opened
 * with O_APPEND), is read first, and is lost if the write that follows is ended. Since 2.0.
 */
int64_t poly_copy(int from,
                  int to,
                  uint64_t length);

/**
 * Opens a directory to be read. `from` is where a relative path starts, a descriptor or AT_FDCWD.
 *
 * On success `*directory` is the caller's, to be freed with `poly_directory_free`. Suspends. Any thread.
 * Returns 0; -ENOENT, -ENOTDIR, -EINVAL for NULL, and what else open(2) says. Since 2.0.
 */
int poly_directory_new(int from, const char *path, poly_directory **directory);

/**
 * The next entry of a directory, in no order; "." and ".." are left out.
 *
 *     poly_directory_entry entry;
 *     while (poly_directory_next(directory, &entry) > 0)
 *         puts(entry.name);
 *
 * Suspends now and then, when the system is asked for more. Any thread, one at a time.
 * Returns 1 and the entry in `*entry`, 0 at the end, or a negative error number. A call that is cancelled skips
 * nothing. Since 2.0.
 */
int poly_directory_next(poly_directory *directory,
                        poly_directory_entry *entry);

/**
 * Closes a directory and frees it. NULL is fine.
 *
 * Suspends; never refused for a cancellation or a deadline. Any thread.
 * Returns 0. Since 2.0.
 */
int poly_directory_free(poly_directory *directory);

/**
 * Reads up to `length` bytes from `fd` into a buffer that the library brings: read(2). A fiber that waits this
 * way holds no memory for bytes that have not come. A buffer holds 16 KiB, so it reads no more at once.
 *
 * On success `*buffer` is the caller's, to be given back with `poly_buf_release`; at the end of the file it is
 * empty. Buffers are few: give each back soon. Where all are lent out, one is allocated.
 * Suspends the calling fiber, not the thread. A migratable fiber does not move during this call. Any thread.
 * Returns the bytes read, 0 at end of file, -EINVAL for a length of 0, or what `poly_read` returns. No byte is
 * lost by a call that is cancelled. Since 2.0.
 */
int64_t poly_read_buffer(int fd,
                         size_t length,
                         poly_buf *buffer);

/**
 * Receives up to `length` bytes into a buffer that the library brings: recv(2). As `poly_read_buffer`; what of
 * a datagram does not fit is lost.
 *
 *     poly_buf bytes;
 *     while (poly_recv_buffer(fd, SIZE_MAX, 0, &bytes) > 0) {
 *         use(bytes.data, bytes.length);
 *         poly_buf_release(&bytes);
 *     }
 *
 * Suspends, unless `flags` has MSG_DONTWAIT. Any thread.
 * Returns the bytes received, 0 at the end, -EINVAL for a length of 0, or what `poly_recv` returns. Since 2.0.
 */
int64_t poly_recv_buffer(int fd,
                         size_t length,
                         int flags,
                         poly_buf *buffer);

/**
 * Gives a buffer back, once for all copies of the struct, and makes this one empty. An empty one is fine.
 *
 * Never suspends. Any thread, also after the runtime has been freed; in the child of a fork nothing happens.
 * Returns 0; -EINVAL for NULL. Since 2.0.
 */
int poly_buf_release(poly_buf *buffer);

/**
 * Connects to a service of a host by TCP: `poly_tcp_connect("example.org", "443", 0)`. Both are names or
 * numbers, as for getaddrinfo(3), which is asked on the offload pool; `flags` are 0 or `POLY_NET_IPV4` or
 * `POLY_NET_IPV6`.
 *
 * Where the host has several addresses, IPv6 and IPv4 are tried in turns (RFC 8305): the next begins when the
 * last has failed, or has taken a quarter of a second, and the first that answers wins.
 * Suspends, and heeds cancellation and deadlines also while the name is looked up. Outside a fiber it blocks
 * the thread. Any thread.
 * Returns a descriptor, which is the caller's to close, is closed on exec and blocks; -POLY_ENOHOST,
 * -POLY_ENOANSWER, or why the first address could not be connected to: -ECONNREFUSED, -ENETUNREACH and so on;
 * -ECANCELED, -ETIMEDOUT, -EINVAL. No descriptor is left behind then. Since 2.0.
 */
int poly_tcp_connect(const char *host, const char *service, uint32_t flags);

/**
 * Listens for TCP connections: `poly_tcp_listen(NULL, "8080", 1024, 0)`. `host` is a name or address of this
 * machine, or NULL for all of them, IPv6's and IPv4's at once; service "0" has the system choose a port,
 * which `poly_local_port` tells. `flags` are 0 or some of `POLY_NET_*`.
 *
 * The address can be bound again as soon as the listener is closed (SO_REUSEADDR).
 * May suspend, to look names up. Any thread.
 * Returns a descriptor, which is the caller's to close; -EADDRINUSE, -EACCES and the like of the first
 * address; -POLY_ENOHOST, -POLY_ENOANSWER, -ECANCELED, -ETIMEDOUT, -EINVAL. Since 2.0.
 */
int poly_tcp_listen(const char *host, const char *service, int backlog, uint32_t flags);

/**
 * Makes a socket for UDP datagrams that is bound to an address of this machine; arguments are those of
 * `poly_tcp_listen`.
 *
 * May suspend, to look names up. Any thread.
 * Returns a descriptor, which is the caller's to close, or what `poly_tcp_listen` returns. Since 2.0.
 */
int poly_udp_bind(const char *host, const char *service, uint32_t flags);

/**
 * Makes a socket for UDP datagrams to and from one service of a host; arguments are those of
 * `poly_tcp_connect`. Nothing is sent.
 *
 * May suspend, to look names up. Any thread.
 * Returns a descriptor, which is the caller's to close, or what `poly_tcp_connect` returns. Since 2.0.
 */
int poly_udp_connect(const char *host, const char *service, uint32_t flags);

/**
 * Connects to the local listener at a path.
 *
 * Suspends while the listener's queue is full. Any thread.
 * Returns a descriptor, which is the caller's to close; -ENOENT, -ECONNREFUSED, -ENAMETOOLONG, -EINVAL,
 * -ECANCELED, -ETIMEDOUT and what else connect(2) says. Since 2.0.
 */
int poly_unix_connect(const char *path);

/**
 * Listens for local connections at a path, where nothing may be yet: who comes back removes its old socket
 * first (unlink). The file stays when the listener is closed.
 *
 * Never suspends. Any thread.
 * Returns a descriptor, which is the caller's to close; -EADDRINUSE, -ENAMETOOLONG, -EINVAL and what else
 * bind(2) says. Since 2.0.
 */
int poly_unix_listen(const char *path, int backlog);

/**
 * The port that a socket of IPv4 or IPv6 is bound to.
 *
 * Never suspends. Any thread.
 * Returns the port; -EBADF, -ENOTSOCK, -EAFNOSUPPORT. Since 2.0.
 */
int poly_local_port(int fd);

/**
 * Receives a datagram and says where it came from: recvfrom(2). `address` and `address_length` may both be
 * NULL; they are written on success.
 *
 * Suspends, unless `flags` has MSG_DONTWAIT. What of a datagram does not fit is lost.
 * Returns the bytes received, or a negative error number. Any thread. Since 2.0.
 */
int64_t poly_recvfrom(int fd,
                      void *buffer,
                      size_t length,
                      int flags,
                      struct sockaddr *address,
                      socklen_t *address_length);

/**
 * Sends a datagram to an address: sendto(2), which never raises SIGPIPE here. `address` may be NULL where the
 * socket is connected.
 *
 * Suspends, unless `flags` has MSG_DONTWAIT.
 * Returns the bytes sent, or a negative error number. Any thread. Since 2.0.
 */
int64_t poly_sendto(int fd,
                    const void *buffer,
                    size_t length,
                    int flags,
                    const struct sockaddr *address,
                    socklen_t address_length);

/**
 * Begins to accept a listener's connections; `flags` are those of accept4(2), SOCK_CLOEXEC say. The listener
 * stays the caller's, and is closed after the acceptor is freed.
 *
 *     poly_acceptor *acceptor;
 *     int fd;
 *     if (poly_acceptor_new(listener, SOCK_CLOEXEC, &acceptor) < 0) return -1;
 *     while ((fd = poly_acceptor_next(acceptor)) >= 0) {
 *         if (poly_spawn(NULL, serve, (void *)(intptr_t)fd, NULL) < 0) poly_close(fd);
 *     }
 *     poly_acceptor_free(acceptor);
 *
 * On io_uring one accept brings all of them. At most a few hundred are accepted before somebody takes them;
 * the others wait in the listener's queue. The acceptor is a fiber of the runtime's, on the worker of whoever
 * makes it, and counts among its fibers.
 * Never suspends. Any thread; outside a fiber nothing begins, and each `poly_acceptor_next` is accept4(2).
 * Returns 0, -EINVAL, -ENOMEM, -ESHUTDOWN. Since 2.0.
 */
int poly_acceptor_new(int listener, int flags, poly_acceptor **acceptor);

/**
 * The next connection. Several may ask at once; they are served in the order in which they came.
 *
 * Suspends, or blocks a plain thread, while there is none. Any thread.
 * Returns a descriptor, which is the caller's to close; -EMFILE, -ENFILE, -ENOMEM, -ECONNABORTED and the like
 * of one connection: the next call tries again, so wait a little where descriptors have run out; -EBADF or
 * -EINVAL once the listener is closed or shut down, -ECANCELED also once the runtime is: there are no more;
 * -ETIMEDOUT, -POLY_EFORKED. No connection is lost by a call that is cancelled. Since 2.0.
 */
int poly_acceptor_next(const poly_acceptor *acceptor);

/**
 * Accepts no more, closes the connections that nobody has taken, and frees the acceptor. NULL is fine.
 *
 * Suspends, or blocks a plain thread, until the accept has ended; never refused for a cancellation or a
 * deadline. Any thread.
 * Returns 0; -EBUSY if somebody waits for a connection, and then nothing has happened: cancel it first.
 * Since 2.0.
 */
int poly_acceptor_free(poly_acceptor *acceptor);

/**
 * Starts a process. It hears all signals and SIGPIPE ends it, however that is with the caller.
 *
 *     const char *const arguments[] = { "make", "-s", NULL };
 *     poly_process_options options = POLY_PROCESS_OPTIONS_INIT;
 *     poly_process process;
 *     int status;
 *     options.argv = arguments;
 *     if (poly_process_spawn(&options, &process) == 0)
 *         error = poly_process_wait(&process, &status);
 *
 * On success `*process` is the caller's: wait for it, else it stays a zombie once it has ended. What `options`
 * points to is borrowed. SIGCHLD must not be ignored, nor may anybody wait for any child (waitpid(-1)).
 * Suspends. Any thread.
 * Returns 0; -ENOENT, -EACCES and the like if the program cannot be run; -EBADF for a descriptor that is none;
 * -EINVAL, -E2BIG for options of a later library; -ECANCELED or -ETIMEDOUT, and then nothing was started.
 * Since 2.0.
 */
int poly_process_spawn(const poly_process_options *options,
                       poly_process *process);

/**
 * Waits until a process has ended, and closes its descriptor. `*status` becomes what waitpid(2) tells, for
 * WIFEXITED, WEXITSTATUS and so on; `status` may be NULL. No other child's status is taken.
 *
 * Suspends. Any thread.
 * Returns 0; -ECHILD if it has been waited for; -EINVAL; -ECANCELED or -ETIMEDOUT, and then it can be waited
 * for later. Since 2.0.
 */
int poly_process_wait(poly_process *process, int *status);

/**
 * Sends a signal to a process, and never to another one that has its number by then.
 *
 * Never suspends. Any thread.
 * Returns 0; -ESRCH if it has ended, -ECHILD if it has been waited for, -EINVAL, -EPERM. Since 2.0.
 */
int poly_process_kill(const poly_process *process, int signal);

/**
 * Closes the descriptor of a process that the caller will not wait for; somebody else must, by its number, or
 * it stays a zombie. One that has been waited for is fine.
 *
 * May suspend; never refused for a cancellation or a deadline. Any thread.
 * Returns 0, -EINVAL. Since 2.0.
 */
int poly_process_close(poly_process *process);

/**
 * Opens a descriptor on which signals arrive: signalfd(2). `numbers` are `count` of SIGINT, SIGTERM, …
 *
 *     const int wanted[] = { SIGINT, SIGTERM };
 *     poly_signal signal;
 *     int signals = poly_signal_open(wanted, 2);
 *     error = poly_signal_next(signals, &signal);
 *     poly_close(signals);
 *
 * Every thread of the program must block them, else they are delivered as ever: block them first thing in
 * `main` (sigprocmask), before `poly_runtime_new`, whose workers have the mask of the thread that calls it.
 * Processes started by `poly_process_spawn` block none. Each signal is told once, to one reader; several of a
 * kind that come before one is read are one. Signals sent to one thread (pthread_kill) are not told.
 * Never suspends. Any thread.
 * Returns a descriptor for `poly_signal_next`, which the caller closes with `poly_close`; -EINVAL if the
 * calling thread does not block one of them or there is no such signal, -EMFILE. Since 2.0.
 */
int poly_signal_open(const int *numbers, size_t count);

/**
 * The next signal, waiting for one if need be. Closing the descriptor ends it, as any other read.
 *
 * Suspends, or blocks a plain thread. Any thread.
 * Returns 0; -EBADF; -EINVAL for NULL and for what is no such descriptor; -ECANCELED or -ETIMEDOUT, and no
 * signal is lost then. Since 2.0.
 */
int poly_signal_next(int fd, poly_signal *signal);

/**
 * Starts a ticker whose first tick comes when one period has passed. Ticks do not drift: each is a period after
 * the one before, however late that was heard.
 *
 *     poly_ticker ticker;
 *     poly_ticker_start(&ticker, POLY_SECOND, 0);
 *     while (poly_ticker_wait(&ticker) > 0)
 *         puts("a second has passed");
 *
 * Never suspends. Any thread.
 * Returns 0; -EINVAL for NULL, a period of 0 and other flags. Since 2.0.
 */
int poly_ticker_start(poly_ticker *ticker,
                      uint64_t period,
                      uint32_t flags);

/**
 * Waits for the next tick.
 *
 * Suspends; blocks a plain thread. Any thread, one at a time.
 * Returns how many ticks there have been since the last one that was told: 1, or more where some were missed;
 * always 1 for a ticker that catches up. -ECANCELED or -ETIMEDOUT, and then the tick is for the next call;
 * -EINVAL. Since 2.0.
 */
int64_t poly_ticker_wait(poly_ticker *ticker);

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
 *     while (poly_channel_recv(work, &item) == 0)
 *         fetch(item);  // until it is closed and empty
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
 * Waits for the first of several sends and receives, and does it: exactly one of them. If several need no waiting
 * it is any of them, in turns. A case whose channel is closed has happened, too.
 *
 *     poly_case cases[2] = { { work, &item, POLY_CASE_RECV, 0 }, { results, result, POLY_CASE_SEND, 0 } };
 *     switch (poly_select(cases, 2, deadline)) {
 *     case 0: break;  // cases[0].result is 0 and the item is in `item`, or -EPIPE
 *     case 1: break;  // cases[1].result is 0 and the receiver has `result`, or -EPIPE
 *     case -ETIMEDOUT: break;
 *     }
 *
 * Suspends, or blocks a plain thread, until `deadline`, which may be `POLY_FOREVER`; with 0 it does not wait.
 * Any thread.
 * Returns the index of the case, whose `result` says more; -EAGAIN with the deadline 0 if none needs no waiting;
 * -ETIMEDOUT, -ECANCELED; -EINVAL if no case has a channel, or one makes no sense; -POLY_EFORKED. Since 2.0.
 */
int poly_select(poly_case *cases,
                size_t count,
                uint64_t deadline);

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
 *     error = poly_mutex_lock(&mutex);
 *     if (error < 0) return error;
 *     while (first == 0 && error == 0)
 *         error = poly_condition_wait(&condition, &mutex);
 *     poly_mutex_unlock(&mutex);
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

/**
 * Takes a lock to read, with others who read, waiting if need be. Who asks behind one that waits to write waits,
 * too: so nobody waits for ever, but who reads already must not ask again.
 *
 * Suspends, or blocks a plain thread, while another has it to write or has asked before. Any thread.
 * Returns 0; -EDEADLK if the caller has it to write; -ECANCELED, -ETIMEDOUT, -POLY_EFORKED. Since 2.0.
 */
int poly_rwlock_read(poly_rwlock *lock);

/**
 * Takes a lock to write, alone, waiting if need be.
 *
 * Suspends, or blocks a plain thread, while another has it. Any thread.
 * Returns 0; -EDEADLK if the caller has it to write already; -ECANCELED, -ETIMEDOUT, -POLY_EFORKED. Since 2.0.
 */
int poly_rwlock_write(poly_rwlock *lock);

/**
 * Takes a lock to read if nobody has it to write or waits for it.
 *
 * Never suspends. Any thread.
 * Returns 0, -EBUSY, -POLY_EFORKED. Since 2.0.
 */
int poly_rwlock_try_read(poly_rwlock *lock);

/**
 * Takes a lock to write if nobody has it or waits for it.
 *
 * Never suspends. Any thread.
 * Returns 0, -EBUSY, -POLY_EFORKED. Since 2.0.
 */
int poly_rwlock_try_write(poly_rwlock *lock);

/**
 * Gives a lock back, whichever way the caller has it.
 *
 * Never suspends. Who has the lock.
 * Returns 0; -EPERM if nobody reads and the caller does not write; -POLY_EFORKED. Since 2.0.
 */
int poly_rwlock_unlock(poly_rwlock *lock);

/**
 * Has `callback(argument)` called if that has not happened yet, and waits until it has returned, whoever calls it.
 * Once it has returned it has happened, whatever became of the calls in it: what must not be left half done is done
 * under a shield. Who has been cancelled before does not begin.
 *
 * Suspends, or blocks a plain thread, while another calls it. Any thread.
 * Returns 0; -EDEADLK in the callback itself; -ECANCELED or -ETIMEDOUT if it was refused or the wait ended;
 * -EINVAL, -POLY_EFORKED. Since 2.0.
 */
int poly_once_run(poly_once *once,
                  poly_callback callback,
                  void *argument);

/**
 * Says that `more` things are to be done, or have been done where it is negative. Whoever waits goes on once
 * nothing is left.
 *
 * Never suspends. Any thread.
 * Returns 0; -EINVAL if more were done than there were to do; -EOVERFLOW, -POLY_EFORKED. Since 2.0.
 */
int poly_wait_group_add(poly_wait_group *group, int64_t more);

/**
 * Says that one thing is done.
 *
 * Never suspends. Any thread.
 * Returns 0; -EINVAL if nothing was to be done; -POLY_EFORKED. Since 2.0.
 */
int poly_wait_group_done(poly_wait_group *group);

/**
 * Waits until nothing is left to be done.
 *
 * Suspends, or blocks a plain thread, while something is. Any thread.
 * Returns 0, -ECANCELED, -ETIMEDOUT, -POLY_EFORKED. Since 2.0.
 */
int poly_wait_group_wait(poly_wait_group *group);

/**
 * Asks whether nothing is left to be done.
 *
 * Never suspends. Any thread.
 * Returns 0, or -EAGAIN while something is; -POLY_EFORKED. Since 2.0.
 */
int poly_wait_group_try_wait(poly_wait_group *group);

/**
 * Makes a loop for the calling thread, which must be the one to use it.
 *
 * `options` may be NULL: defaults. On success `*loop` is the caller's, to be freed with `poly_loop_free`. Where
 * io_uring is refused and `POLY_BACKEND_AUTO` falls back to epoll, one line on standard error says so.
 * Any thread; a thread may have several.
 * Returns 0; -EINVAL for options or a `POLYPHONY_BACKEND` that make no sense; -E2BIG for options that only a later
 * library knows; or what the system says: -ENOMEM, -EMFILE, -EPERM and -ENOSYS where io_uring alone was asked for
 * and is refused. Since 2.0.
 */
int poly_loop_new(const poly_loop_options *options,
                  poly_loop **loop);

/**
 * Ends a loop: cancels all that is in flight and waits until the kernel has let go of all memory, which takes as long
 * as a function takes that `poly_loop_offload` has begun. Events that nobody took are thrown away, and the
 * descriptors in them closed; lent buffers are gone. NULL is fine. No other call with this loop may be running.
 *
 * A host that wants to hear how its operations ended calls `poly_loop_cancel_all` first and goes on until the loop
 * is idle. Blocks. Its thread; in the child of a fork any.
 * Returns 0; -EPERM for another thread, and then nothing has happened. In the child of a fork it frees what can be
 * freed there. Since 2.0.
 */
int poly_loop_free(poly_loop *loop);

/**
 * Begins an operation, whose events will come from `poly_loop_next`: one, or several of which all but the last have
 * `POLY_LOOP_MORE`. It cannot be full: what the kernel does not take yet waits. On io_uring nothing happens before
 * the next wait, and one system call then begins all that was submitted.
 *
 * `operation` is borrowed for the call; what it points to until the operation's last event, also if it is cancelled:
 * the host keeps it where it is, out of its collector's reach. Where that is hard, POLY_OPERATION_RECV_BUFFER reads
 * into memory of the loop's. `*source` becomes the operation's number, for `poly_loop_cancel`; `source` may be NULL.
 * Its thread.
 * Returns 0; -EINVAL for what is no operation; -EFAULT for NULL where it needs memory; -EPERM, -EBUSY,
 * -POLY_EFORKED. Whatever else goes wrong is the result of the event. Since 2.0.
 *
 *     poly_operation read = { 0 };
 *     read.kind = POLY_OPERATION_READ;
 *     read.fd = fd;
 *     read.pointer = self->buffer;
 *     read.length = sizeof self->buffer;
 *     read.user_data = (uintptr_t)self;
 *     poly_loop_submit(loop, &read, &self->reading);
 */
int poly_loop_submit(const poly_loop *loop,
                     const poly_operation *operation,
                     uint64_t *source);

/**
 * Has `entry(argument)` called on a thread of the offload pool, for what blocks or computes. The result of its event
 * is what `entry` returned; -ECANCELED if it was cancelled before it began. Once it has begun, nothing ends it.
 *
 * `entry` must not touch the host's objects, for the host runs meanwhile; nor may a C++ exception or longjmp leave
 * it. The simulated backend calls it within a wait, and needs an answer for it. `*source` becomes the operation's
 * number; `source` may be NULL.
 * Its thread.
 * Returns 0; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
 */
int poly_loop_offload(const poly_loop *loop,
                      poly_entry entry,
                      void *argument,
                      uint64_t user_data,
                      uint64_t *source);

/**
 * Asks for an operation to be cancelled. Its last event comes all the same, and says what was faster: -ECANCELED, or
 * what the operation achieved. Until then its memory is the kernel's. Asking again changes nothing.
 *
 * Its thread.
 * Returns 0; -ESRCH if it has ended: its last event waits in `poly_loop_next` or has been told; -EINVAL, -EPERM,
 * -EBUSY, -POLY_EFORKED. Since 2.0.
 */
int poly_loop_cancel(const poly_loop *loop,
                     uint64_t source);

/**
 * Cancels every operation that waits on a descriptor. Before a descriptor is closed their last events must have
 * come, else one of them may take what belongs to the file that has the number next.
 *
 * Its thread.
 * Returns how many there are; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
 */
int64_t poly_loop_cancel_fd(const poly_loop *loop,
                            int fd);

/**
 * Cancels every operation. Timers stay.
 *
 * Its thread.
 * Returns how many there are; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
 */
int64_t poly_loop_cancel_all(const poly_loop *loop);

/**
 * Arms a timer: an event at `deadline` by the loop's clock, never before. An operation gets a deadline by a timer
 * whose event has the host cancel it, and which is disarmed when the operation was faster.
 *
 * `*source` becomes the timer's number; `source` may be NULL. POLY_FOREVER never comes. Its thread.
 * Returns 0; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
 */
int poly_loop_arm(const poly_loop *loop,
                  uint64_t deadline,
                  uint64_t user_data,
                  uint64_t *source);

/**
 * Moves a timer to another deadline.
 *
 * Its thread.
 * Returns 0; -ESRCH if it has expired, and then its event waits or has been told, or was disarmed; -EINVAL, -EPERM,
 * -EBUSY, -POLY_EFORKED. Since 2.0.
 */
int poly_loop_rearm(const poly_loop *loop,
                    uint64_t source,
                    uint64_t deadline);

/**
 * Forgets a timer. From then on it is not heard of, also if it has expired and nobody took its event: what
 * `user_data` names may be freed.
 *
 * Its thread.
 * Returns 0; -ESRCH if its event has been told, or it was disarmed before; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED.
 * Since 2.0.
 */
int poly_loop_disarm(const poly_loop *loop,
                     uint64_t source);

/**
 * Queues a turn behind the others: for a coroutine that begins, yields, or has what it waited for from another one.
 * Each call is an event.
 *
 * Its thread.
 * Returns 0; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
 */
int poly_loop_ready(const poly_loop *loop,
                    uint64_t user_data);

/**
 * What next? Takes the next event, in the order in which they came about. Now and then, in a program that always has
 * something ready, it looks for completions, timers and other threads on the way; it never waits.
 *
 * `*event` is written if there is one. A descriptor in it, the result of an accept or an open, is the host's to close.
 * Its thread.
 * Returns `POLY_LOOP_EVENT`; `POLY_LOOP_WAIT`; `POLY_LOOP_IDLE`; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED, or why the
 * kernel cannot be asked. Since 2.0.
 */
int poly_loop_next(const poly_loop *loop,
                   poly_loop_event *event);

/**
 * Waits until there is an event, at most until `deadline` by the loop's clock, and gives the kernel what was
 * submitted. POLY_FOREVER waits as long as it takes; 0 does not sleep, nor does any deadline while events are ready.
 * A signal or `poly_loop_wake` ends it, too, and it may end for nothing.
 *
 * Nothing of the host's is touched, so a host with a global lock lets go of it for this call, and no other. Its wish
 * to interrupt is told by `poly_loop_wake`, which ends this wait also if it has not begun. Blocks. Its thread.
 * Returns 1 if there is an event, else 0; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED, or why the kernel cannot be asked.
 * Since 2.0.
 */
int poly_loop_wait(const poly_loop *loop,
                   uint64_t deadline);

/**
 * Tells the loop something from elsewhere: an event with `user_data`. Ends a wait. For whatever another thread has
 * done for a coroutine; what it did is written before this call and seen after the event.
 *
 * Any thread, while the loop lives; not a signal's handler.
 * Returns 0; -EINVAL, -POLY_EFORKED. Since 2.0.
 */
int poly_loop_notify(const poly_loop *loop,
                     uint64_t user_data);

/**
 * Ends the present `poly_loop_wait`, or the next one, with nothing to tell.
 *
 * Any thread, while the loop lives, and handlers of signals.
 * Returns 0; -EINVAL, -POLY_EFORKED. Since 2.0.
 */
int poly_loop_wake(const poly_loop *loop);

/**
 * Gives a lent buffer back: `data` of an event. They are few, 128 of 16 KiB; while all are lent, reads into them end
 * with -ENOBUFS.
 *
 * NULL is fine. Its thread.
 * Returns 0; -EINVAL for what is not lent; -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
 */
int poly_loop_release(const poly_loop *loop,
                      const void *data);

/**
 * The time by the loop's clock: `poly_now`, but for the simulated backend.
 *
 * Its thread.
 * Returns nanoseconds; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
 */
int64_t poly_loop_now(const poly_loop *loop);

/**
 * A descriptor that is readable while `poly_loop_wait` would bring something, to put a loop into another: an epoll,
 * GLib's, libuv's. Before each wait there `poly_loop_prepare` is called.
 *
 * It is the loop's: neither read nor closed by the host. Its thread.
 * Returns the descriptor; -ENOTSUP for the simulated backend, and where none can be made;
 * -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
 *
 *     for (;;) {
 *         uint64_t deadline;
 *         while (poly_loop_next(loop, &event) == POLY_LOOP_EVENT)
 *             resume(&event);
 *         if (poly_loop_prepare(loop, &deadline) == 0)
 *             wait_for_it_and_others(poly_loop_fd(loop), deadline);
 *     }
 */
int poly_loop_fd(const poly_loop *loop);

/**
 * Says that the thread is about to wait by other means than `poly_loop_wait`: gives the kernel what was submitted,
 * takes in what has happened, and does not sleep.
 *
 * `*deadline` is until when the wait may last at most, by the loop's clock; POLY_FOREVER if nothing is timed. It is
 * written if the result is 0.
 * Its thread.
 * Returns 0 if the host may wait until then, or until the loop's descriptor is readable; 1 if it must not, because
 * there may be events: `poly_loop_next`, and this again; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED, or why the kernel
 * cannot be asked. Since 2.0.
 */
int poly_loop_prepare(const poly_loop *loop,
                      uint64_t *deadline);

/**
 * Reads the counters of a loop. Set `counters->size` first. `fibers` are events that nobody took yet, `switches`
 * those that were taken; `stolen` is 0.
 *
 * Its thread.
 * Returns 0; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
 */
int poly_loop_stats(const poly_loop *loop,
                    poly_counters *counters);

/**
 * Describes a loop, for people: its backend and how that was set up, and a line for each operation in flight.
 *
 *     io_uring (SINGLE_ISSUER DEFER_TASKRUN)
 *     recv of descriptor 5 for 0x55d0c8a4e2a0
 *
 * As much as fits into `room` bytes is written to `text`, with a zero at its end; `text` may be NULL if `room` is 0.
 * Its thread.
 * Returns the length of the whole text; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
 */
int64_t poly_loop_describe(const poly_loop *loop,
                           char *text,
                           size_t room);

/**
 * Says how an operation on the simulated backend ends: the next of that kind on `fd`, or one that is in flight
 * already and has no answer yet; -1 for those without a descriptor. `kind` is one of `POLY_OPERATION_*`. Several
 * answers for the same are given one after the other.
 *
 * `result` is its result; if `bytes` is not NULL it is how many of those it reads, as far as they fit. It takes `after`
 * nanoseconds. `flags` are 0 or `POLY_LOOP_MORE`: the operation goes on, with its next answer. NOP and CLOSE need
 * none. `bytes` are copied. Its thread.
 * Returns 0; -ENOTSUP for other backends; -EINVAL, -EPERM, -EBUSY, -POLY_EFORKED. Since 2.0.
 */
int poly_loop_answer(const poly_loop *loop,
                     int fd,
                     uint32_t kind,
                     int32_t result,
                     const void *bytes,
                     uint64_t after,
                     uint32_t flags);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* POLYPHONY_H */
