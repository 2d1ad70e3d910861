//! What no cell of the grid tells: several operations on one descriptor, operations for ever, buffers
//! that run out.

use std::{
    ffi::CString,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd},
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use polyphony_core::{
    backend::Backend,
    host::Then,
    op::{Op, OpKey, POSITION},
};

use crate::support::{
    BUFFERS, Bench,
    fds::{self, Mode},
    forever, memory,
};

fn read(fd: &OwnedFd, buf: &mut [u8]) -> Op {
    Op::Read { fd: fd.as_raw_fd(), buf: buf.as_mut_ptr(), len: buf.len() as u32, offset: POSITION }
}

/// Every reader of one pipe gets its share, and one that is cancelled takes nothing.
pub fn many_readers_share_one_descriptor<B: Backend>(bench: &mut Bench<B>) {
    let (from, to) = fds::pipe(Mode::Blocking);
    let keys: Vec<OpKey> = (0..10).map(|_| bench.submit(read(&from, memory(1)))).collect();
    bench.settle();
    for &key in &keys[..5] {
        bench.shard.cancel(key);
        assert_eq!(bench.result(key), -libc::ECANCELED);
    }
    fds::write(&to, b"fives");
    for &key in &keys[5..] {
        assert_eq!(bench.result(key), 1);
    }
}

/// A reader and a writer of one socket do not wait for each other.
pub fn both_directions_of_a_descriptor_wait_apart<B: Backend>(bench: &mut Bench<B>) {
    let (here, there, sent) = fds::full_socket_pair(Mode::Blocking);
    let reading = bench.submit(read(&here, memory(8)));
    let fd = here.as_raw_fd();
    let writing = bench.submit(Op::Send { fd, buf: b"more".as_ptr(), len: 4, flags: 0 });
    bench.settle();
    fds::write(&there, b"hello");
    assert_eq!(bench.result(reading), 5);
    assert!(bench.outcomes(writing).is_empty(), "there is no room yet");
    drop(fds::read(&there, sent));
    assert_eq!(bench.result(writing), 4);
}

/// A listener brings every connection, until it is cancelled.
pub fn accepting_for_ever_brings_every_connection<B: Backend>(bench: &mut Bench<B>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let key = bench.submit(Op::AcceptMany { fd: listener.as_raw_fd(), flags: libc::SOCK_CLOEXEC });
    let mut clients = Vec::new();
    for count in 1..=100 {
        clients.push(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        if count % 10 == 0 {
            bench.outcomes_of(key, count);
        }
    }
    bench.shard.cancel(key);
    assert_eq!(bench.result(key), -libc::ECANCELED);
    let told = bench.outcomes(key).to_vec();
    assert_eq!(told.len(), 101);
    for outcome in &told[..100] {
        assert!(outcome.more);
        // SAFETY: a descriptor made for us.
        drop(unsafe { OwnedFd::from_raw_fd(outcome.result) });
    }
}

/// Polling for ever tells each time something comes, and does not repeat itself while it lies there.
pub fn polling_for_ever_tells_of_changes<B: Backend>(bench: &mut Bench<B>) {
    let (from, to) = fds::pipe(Mode::Blocking);
    let key = bench.submit(Op::PollMany { fd: from.as_raw_fd(), events: libc::POLLIN as u32 });
    bench.settle();
    for count in 1..=5 {
        fds::write(&to, b"!");
        let told = bench.outcomes_of(key, count);
        assert!(told.iter().all(|outcome| outcome.more && outcome.result == i32::from(libc::POLLIN)));
        for _ in 0..20 {
            bench.visit();
        }
        assert_eq!(bench.outcomes(key).len(), count, "the same news was told again");
    }
    bench.shard.cancel(key);
    assert_eq!(bench.result(key), -libc::ECANCELED);
}

/// More changes at once than any queue holds: all are told, and none of those who hear of them has to
/// begin anew.
pub fn polling_for_ever_outlives_a_flood<B: Backend>(bench: &mut Bench<B>) {
    let pipes: Vec<_> = (0..24).map(|_| fds::pipe(Mode::Blocking)).collect();
    let keys: Vec<OpKey> = (pipes.iter())
        .map(|(from, _)| bench.submit(Op::PollMany { fd: from.as_raw_fd(), events: libc::POLLIN as u32 }))
        .collect();
    for _ in 0..10 {
        bench.settle();
        let told: Vec<usize> = keys.iter().map(|&key| bench.outcomes(key).len()).collect();
        pipes.iter().for_each(|(_, to)| fds::write(to, b"!"));
        for (&key, told) in keys.iter().zip(told) {
            bench.outcomes_of(key, told + 1);
        }
        pipes.iter().for_each(|(from, _)| drop(fds::read(from, 1)));
    }
    for key in keys {
        let told = bench.outcomes(key);
        assert!(told.iter().all(|told| told.more && told.result == i32::from(libc::POLLIN)), "{told:?}");
        bench.shard.cancel(key);
        bench.outcome(key);
    }
}

/// What is always ready has no changes to tell.
pub fn polling_a_file_for_ever_is_refused<B: Backend>(bench: &mut Bench<B>) {
    let (file, null) = (fds::file(b""), OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
    for fd in [&file, &null].map(AsRawFd::as_raw_fd) {
        assert_eq!(bench.perform(Op::PollMany { fd, events: libc::POLLIN as u32 }), -libc::EPERM);
    }
}

/// A poll that goes on for ever and a read beside it both get what is theirs.
pub fn polling_for_ever_leaves_readers_alone<B: Backend>(bench: &mut Bench<B>) {
    let (here, there) = fds::socket_pair(libc::SOCK_STREAM, Mode::Nonblocking);
    let poll = bench.submit(Op::PollMany { fd: here.as_raw_fd(), events: libc::POLLIN as u32 });
    for _ in 0..10 {
        let key = bench.submit(read(&here, memory(8)));
        bench.settle();
        fds::write(&there, b"hello");
        assert_eq!(bench.result(key), 5);
    }
    assert!(!bench.outcomes(poll).is_empty());
    bench.shard.cancel(poll);
    assert_eq!(bench.result(poll), -libc::ECANCELED);
}

/// A timer fires before those of which the kernel has heard earlier, and does not wait for them.
pub fn a_nearer_timer_fires_first_though_it_was_armed_last<B: Backend>(bench: &mut Bench<B>) {
    bench.shard.host_mut().then = Some(Then::Ready);
    let start = bench.shard.now();
    let spans = [3_600_000, 60, 1].map(Duration::from_millis);
    for (fiber, span) in (1..).zip(spans) {
        bench.shard.at(start + span, fiber);
        assert_eq!(bench.perform(Op::Nop), 0);
    }
    while bench.shard.host().expired.len() < 2 {
        bench.turn();
    }
    assert_eq!(bench.shard.host().expired, [3, 2]);
    assert!(bench.shard.now() >= start + spans[1], "a timer fired early");
}

/// A timer that was disarmed keeps nobody from sleeping until the next one, nor makes it late or early.
pub fn a_disarmed_timer_is_soon_forgotten<B: Backend>(bench: &mut Bench<B>) {
    bench.shard.host_mut().then = Some(Then::Ready);
    let start = bench.shard.now();
    let gone = bench.shard.at(start + Duration::from_millis(40), 1);
    assert_eq!(bench.perform(Op::Nop), 0);
    assert!(bench.shard.disarm(gone));
    bench.shard.at(start + Duration::from_millis(80), 2);
    let turns = bench.shard.stats().turns;
    while bench.shard.host().expired.is_empty() {
        bench.turn();
    }
    assert_eq!(bench.shard.host().expired, [2]);
    assert!(bench.shard.now() >= start + Duration::from_millis(80));
    assert!(bench.shard.stats().turns - turns < 20, "it did not sleep");
}

/// Fibers that are always ready, and ask nothing of the kernel, do not hide that a time has come.
pub fn a_timer_fires_while_fibers_only_compute<B: Backend>(bench: &mut Bench<B>) {
    bench.shard.host_mut().then = Some(Then::Ready);
    let deadline = bench.shard.now() + Duration::from_millis(40);
    bench.shard.at(deadline, 7);
    assert_eq!(bench.perform(Op::Nop), 0);
    while bench.shard.host().expired.is_empty() {
        bench.shard.ready(1);
        bench.turn();
        let late = bench.shard.now() > deadline + Duration::from_secs(10);
        assert!(!late, "the timer is forgotten");
    }
    assert!(bench.shard.now() >= deadline);
}

/// Where all buffers are with somebody a pooled read says so, and works again when one is back.
pub fn pooled_reads_say_when_buffers_run_out<B: Backend>(bench: &mut Bench<B>) {
    let (from, to) = fds::pipe(Mode::Blocking);
    let op = Op::ReadPooled { fd: from.as_raw_fd(), len: 1 };
    let mut lent = Vec::new();
    for _ in 0..BUFFERS.count {
        fds::write(&to, b"!");
        let key = bench.submit(op);
        lent.push(bench.outcome(key).buffer.expect("there is a buffer left"));
    }
    fds::write(&to, b"!");
    assert_eq!(bench.perform(op), -libc::ENOBUFS);
    for id in lent {
        bench.shard.recycle(id);
    }
    assert_eq!(bench.perform(op), 1);
}

/// More parked pooled reads than there are buffers: a parked one owns none.
pub fn parked_pooled_reads_own_no_buffer<B: Backend>(bench: &mut Bench<B>) {
    let pipes: Vec<_> = (0..100).map(|_| fds::pipe(Mode::Blocking)).collect();
    let keys: Vec<OpKey> = (pipes.iter())
        .map(|(from, _)| bench.submit(Op::ReadPooled { fd: from.as_raw_fd(), len: 8 }))
        .collect();
    bench.settle();
    for ((_, to), key) in pipes.iter().zip(keys) {
        fds::write(to, b"hello");
        let outcome = bench.outcome(key);
        assert_eq!(outcome.result, 5);
        let id = outcome.buffer.unwrap();
        assert_eq!(bench.shard.buffer(id, 5), b"hello");
        bench.shard.recycle(id);
    }
}

/// MSG_WAITALL waits for all of it, and gives up what is there when it is cancelled.
pub fn a_receive_that_wants_everything_gets_it_or_tells_what_came<B: Backend>(bench: &mut Bench<B>) {
    for cancelling in [false, true] {
        let (here, there) = fds::socket_pair(libc::SOCK_STREAM, Mode::Blocking);
        let buf = memory(8).as_mut_ptr();
        let fd = here.as_raw_fd();
        let key = bench.submit(Op::Recv { fd, buf, len: 8, flags: libc::MSG_WAITALL });
        bench.settle();
        fds::write(&there, b"poly");
        bench.settle();
        assert!(bench.outcomes(key).is_empty());
        if cancelling {
            bench.shard.cancel(key);
            assert_eq!(bench.result(key), 4, "the bytes that had come are lost");
            continue;
        }
        fds::write(&there, b"phon");
        assert_eq!(bench.result(key), 8);
    }
}

/// However a write is cut, what it says that it wrote is what the other side gets.
pub fn a_write_in_parts_says_how_much_it_wrote<B: Backend>(bench: &mut Bench<B>) {
    for sizes in [[0, 1000, 0], [100, 200, 300], [300, 0, 5]] {
        for (from, to) in [fds::pipe(Mode::Blocking), fds::terminal(Mode::Blocking)] {
            let parts = forever(sizes.map(|size| {
                let part = memory(size);
                (0..).zip(part.iter_mut()).for_each(|(number, byte)| *byte = number as u8);
                libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: size }
            }));
            let op = Op::Writev { fd: to.as_raw_fd(), iov: parts.as_ptr(), count: 3, offset: POSITION };
            let count = bench.perform(op) as usize;
            let all = sizes.iter().flat_map(|&size| (0..size).map(|number| number as u8));
            assert!((1..=sizes.iter().sum()).contains(&count), "{count} of {sizes:?}");
            assert_eq!(fds::read(&from, count), all.take(count).collect::<Vec<_>>());
        }
    }
}

/// A kernel that refuses an operation as it is submitted may leave what stands behind it where it is.
pub fn a_refused_operation_holds_up_none_behind_it<B: Backend>(bench: &mut Bench<B>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap(); // epoll tries no sooner
    let refused =
        Op::Accept { fd: listener.as_raw_fd(), addr: ptr::null_mut(), len: ptr::null_mut(), flags: 1 };
    let pipes: Vec<_> = (0..9).map(|_| fds::pipe(Mode::Blocking)).collect();
    let keys: Vec<[OpKey; 2]> = (pipes.iter())
        .map(|(from, _)| [bench.submit(refused), bench.submit(read(from, memory(8)))])
        .collect();
    for ((_, to), [refused, read]) in pipes.iter().zip(keys) {
        assert_eq!(bench.result(refused), -libc::EINVAL);
        fds::write(to, b"!");
        assert_eq!(bench.result(read), 1);
    }
}

/// A program that ignores no signal must not die of a peer that has gone.
pub fn a_send_raises_no_signal<B: Backend>(bench: &mut Bench<B>) {
    extern "C" fn hear(_: i32) {}
    let (here, there) = fds::socket_pair(libc::SOCK_STREAM, Mode::Blocking);
    drop(there);
    let fd = here.as_raw_fd();
    let part = forever([libc::iovec { iov_base: memory(1).as_mut_ptr().cast(), iov_len: 1 }]);
    // SAFETY: all zeroes is an empty message.
    let mut message = unsafe { std::mem::zeroed::<libc::msghdr>() };
    (message.msg_iov, message.msg_iovlen) = (part.as_mut_ptr(), 1);
    // SAFETY: the sets are alive for their calls, and the handler does nothing. Ignored, the signal would not show; this
    // thread blocks it, so that it stays pending.
    let raised = unsafe {
        let handler: extern "C" fn(i32) = hear;
        libc::signal(libc::SIGPIPE, handler as libc::sighandler_t);
        let (mut pipe, mut pending) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigaddset(&raw mut pipe, libc::SIGPIPE);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const pipe, ptr::null_mut());
        assert_eq!(bench.perform(Op::Send { fd, buf: b"x".as_ptr(), len: 1, flags: 0 }), -libc::EPIPE);
        assert_eq!(bench.perform(Op::SendMsg { fd, msg: &raw const message, flags: 0 }), -libc::EPIPE);
        libc::sigpending(&raw mut pending);
        libc::sigismember(&raw const pending, libc::SIGPIPE)
    };
    assert_eq!(raised, 0, "SIGPIPE");
}

/// Asking not to wait is answered with EAGAIN rather than waited for.
pub fn a_receive_that_must_not_wait_does_not<B: Backend>(bench: &mut Bench<B>) {
    let (here, _there) = fds::socket_pair(libc::SOCK_STREAM, Mode::Blocking);
    let (fd, buf) = (here.as_raw_fd(), memory(8).as_mut_ptr());
    assert_eq!(bench.perform(Op::Recv { fd, buf, len: 8, flags: libc::MSG_DONTWAIT }), -libc::EAGAIN);
    assert_eq!(bench.perform(Op::RecvPooled { fd, len: 8, flags: libc::MSG_DONTWAIT }), -libc::EAGAIN);
}

/// A thread that gets to a read late must not find another file under the number.
pub fn a_descriptor_is_closed_after_those_who_use_it<B: Backend>(bench: &mut Bench<B>) {
    let fifo = Fifo::new();
    let path = fifo.0.as_ptr();
    let open = Op::OpenAt { dir: libc::AT_FDCWD, path, flags: libc::O_RDONLY | libc::O_CLOEXEC, mode: 0 };
    // More than there are threads for such work, each waiting for somebody who writes.
    let opens: Vec<OpKey> = (0..16).map(|_| bench.submit(open)).collect();
    let (file, other) = (fds::file(b"the file"), fds::file(b"another!"));
    let (fd, buf) = (file.into_raw_fd(), memory(8));
    let bytes = buf.as_ptr();
    let reading = bench.submit(Op::Read { fd, buf: buf.as_mut_ptr(), len: 8, offset: 0 });
    let closing = bench.submit(Op::Close { fd });
    bench.settle();
    // SAFETY: no pointers. Where the number is free it is ours to give, for nobody else makes files of it.
    let given = unsafe { libc::fcntl(other.as_raw_fd(), libc::F_DUPFD_CLOEXEC, fd) };
    let writer = fifo.open();
    assert_eq!(bench.result(reading), 8);
    // SAFETY: the memory of the tests lives for ever, and the operation has ended.
    assert_eq!(unsafe { std::slice::from_raw_parts(bytes, 8) }, b"the file");
    assert_eq!(bench.result(closing), 0);
    for key in opens {
        // SAFETY: a descriptor made for us.
        drop(unsafe { OwnedFd::from_raw_fd(bench.result(key)) });
    }
    // SAFETY: as above.
    drop((writer, unsafe { OwnedFd::from_raw_fd(given) }));
}

/// A named pipe, for as long as this lives.
struct Fifo(CString);

impl Fifo {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("polyphony-{}-{count}", std::process::id());
        let path =
            CString::new(std::env::temp_dir().join(name).into_os_string().into_encoded_bytes()).unwrap();
        // SAFETY: a path that ends with a zero byte.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
        Fifo(path)
    }

    /// Opens it for reading and writing, which waits for nobody.
    fn open(&self) -> OwnedFd {
        // SAFETY: a path that ends with a zero byte, and a descriptor made for us.
        unsafe { OwnedFd::from_raw_fd(libc::open(self.0.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC)) }
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        // SAFETY: a path that ends with a zero byte.
        unsafe { libc::unlink(self.0.as_ptr()) };
    }
}

/// No operation changes whether a user's descriptor blocks.
pub fn no_descriptor_changes_its_mode<B: Backend>(bench: &mut Bench<B>) {
    for mode in fds::MODES {
        let (from, to) = fds::pipe(mode);
        let key = bench.submit(read(&from, memory(8)));
        bench.settle();
        assert_eq!(fds::mode(from.as_raw_fd()), mode);
        fds::write(&to, b"hello");
        assert_eq!(bench.result(key), 5);
        assert_eq!(fds::mode(from.as_raw_fd()), mode);
    }
}
