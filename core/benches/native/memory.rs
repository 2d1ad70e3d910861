//! Memory of fibers that wait.

use polyphony_core::native::{Options, Runtime, io, spawn, yield_now};

use crate::measure::{missing, pipe, resident};

/// Half a million fibers that wait for a byte, over 10,000 descriptors: resident bytes a fiber. All of them
/// are served afterwards, so none was waiting in vain.
pub(crate) fn parked() -> f64 {
    const FIBERS: usize = 500_000;
    const PIPES: usize = 4_990; // and the runtime's own descriptors
    if !allow_descriptors(2 * PIPES as u64 + 20) {
        missing("10,000 descriptors are not allowed here");
    }
    let runtime = Runtime::new(Options::with_workers(1)).expect("a runtime");
    let told = runtime.run(|| {
        let pipes: Vec<[i32; 2]> = (0..PIPES).map(|_| pipe()).collect();
        let before = resident();
        let fibers: Vec<_> = (0..FIBERS)
            .map(|n| {
                let fd = pipes[n % PIPES][0];
                spawn(move || io::read(fd, &mut [0; 1])).unwrap()
            })
            .collect();
        (0..3).for_each(|_| yield_now().unwrap());
        let each = (resident() - before) as f64 / FIBERS as f64;
        let bytes = vec![0; FIBERS.div_ceil(PIPES)];
        pipes.iter().for_each(|pipe| io::write_all(pipe[1], &bytes).unwrap());
        let ended = fibers.into_iter().map(|fiber| fiber.join().unwrap());
        (each, ended.filter(|read| *read == Ok(1)).count())
    });
    let (each, served) = told.expect("the bench neither panics nor is cancelled");
    assert_eq!(served, FIBERS);
    each
}

/// Raises the soft limit as far as it may; says whether so many descriptors are allowed.
fn allow_descriptors(count: u64) -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: room for a limit.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: it reads a limit.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    limit.rlim_cur >= count
}
