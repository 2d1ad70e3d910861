//! What other runtimes cost. Each program in `bin` is one of them, told which row to measure:
//!
//!     PROGRAM [current|multi] ROW
//!
//! It prints the row's figure, or serves (`echo`) until it is killed. What a row does stands beside Polyphony's own,
//! in core/benches/native; here it is done as a programmer who knows that runtime would write it. A row that a
//! runtime cannot be asked for is not in core/benches/native/peers.rs.

mod rows;

use std::{
    env,
    future::poll_fn,
    net::TcpListener,
    os::fd::RawFd,
    task::Poll,
    time::{Duration, Instant},
};

/// How much of each row there is.
pub mod size {
    /// Tasks that yield among themselves, and how often each does.
    pub const YIELDERS: (u64, u64) = (100, 30_000);
    /// Tasks spawned and joined, one after the other.
    pub const SPAWNS: u64 = 500_000;
    /// Items there and back.
    pub const ROUNDS: u64 = 500_000;
    /// Items there and back between two threads.
    pub const FAR_ROUNDS: u64 = 50_000;
    /// Tasks that want a lock, and how often each does.
    pub const LOCKERS: (u64, u64) = (4, 250_000);
    /// Timeouts that are not reached.
    pub const TIMEOUTS: u64 = 500_000;
    /// Tasks that sleep, and how often each does where CPU time is asked for.
    pub const SLEEPERS: (u64, u64) = (10_000, 20);
    /// Tasks that read a file, and how often each does.
    pub const READERS: (u64, u64) = (64, 3_000);
    /// Tasks that wait for a byte, and over how many pipes.
    pub const PARKED: (usize, usize) = (500_000, 4_990);
}

/// The runtime's flavour, if it is told one, and the row.
pub fn asked() -> Vec<String> {
    env::args().skip(1).collect()
}

/// CPU time that this process has used, in all its threads and in the kernel, since then.
pub struct Clock(Duration);

impl Clock {
    pub fn start() -> Self {
        Clock(cpu())
    }

    /// Nanoseconds a unit.
    pub fn per(&self, units: u64) -> f64 {
        (cpu() - self.0).as_nanos() as f64 / units as f64
    }
}

fn cpu() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for a timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// A sequence of numbers that look random, each run the same.
pub struct Numbers(u64);

impl Numbers {
    pub fn seeded(seed: u64) -> Self {
        Numbers(0x9e37_79b9_7f4a_7c15 ^ seed.wrapping_mul(0xd134_2543_de82_ef95))
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// When sleeper `number` of the lateness rows should wake: within a second, once all have been started.
pub fn wake_up(start: Instant, number: u64) -> Instant {
    start + Duration::from_millis(200) + Duration::from_nanos(Numbers::seeded(number).below(1_000_000_000))
}

/// How long a sleep of sleeper `number` takes in the row of CPU time: 5 to 15 ms.
pub fn nap(numbers: &mut Numbers) -> Duration {
    Duration::from_micros(5_000 + numbers.below(10_000))
}

/// Microseconds of lateness that so many in a hundred do not exceed.
pub fn percentile(mut late: Vec<Duration>, percent: usize) -> f64 {
    late.sort_unstable();
    late[(late.len() * percent / 100).min(late.len() - 1)].as_nanos() as f64 / 1e3
}

/// Lets everybody else who is ready run once; for runtimes without such a call of their own.
pub async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The file whose pages are read, and how many of them it has.
pub fn file() -> (String, u64) {
    let path = env::var("POLYPHONY_BENCH_FILE").expect("core/benches/native says which file");
    let pages = std::fs::metadata(&path).expect("the file").len() / 4096;
    (path, pages)
}

/// A listener on the loopback, whose port the first line of output says.
pub fn listen() -> TcpListener {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    // SAFETY: a listener may be told again how many may wait; the standard library lets 128.
    unsafe { libc::listen(std::os::fd::AsRawFd::as_raw_fd(&listener), 4096) };
    println!("listening on port {}", listener.local_addr().expect("a bound socket").port());
    listener
}

/// Both ends of so many new pipes, which live as long as the process. The reading ends do not block.
pub fn pipes(count: usize) -> Vec<[RawFd; 2]> {
    let limit = libc::rlimit { rlim_cur: 20_000, rlim_max: 20_000 };
    // SAFETY: it reads a limit.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    let mut ends = [0; 2];
    (0..count)
        .map(|_| {
            // SAFETY: room for two descriptors.
            assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) }, 0);
            ends
        })
        .collect()
}

/// Bytes of this process in memory, page tables included.
pub fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let field = |name: &str| -> usize {
        let line = status.lines().find(|line| line.starts_with(name)).expect("the field");
        line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse().ok()).expect("a number")
    };
    (field("VmRSS:") + field("VmPTE:")) * 1024
}
