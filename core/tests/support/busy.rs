//! One CPU that others use as well.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Threads that spin on the CPU of [`stay_on_one_cpu`] until this is dropped.
pub struct Hogs {
    busy: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Hogs {
    /// So many; they end by themselves after a while, should the test end before it says stop.
    pub fn new(count: usize) -> Self {
        let busy = Arc::new(AtomicBool::new(true));
        let threads = (0..count).map(|_| {
            let busy = busy.clone();
            thread::spawn(move || {
                stay_on_one_cpu().unwrap();
                let start = Instant::now();
                while busy.load(Ordering::Relaxed) && start.elapsed() < Duration::from_secs(30) {
                    std::hint::spin_loop();
                }
            })
        });
        Hogs { threads: threads.collect(), busy }
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        self.busy.store(false, Ordering::Relaxed);
        self.threads.drain(..).for_each(|hog| hog.join().unwrap());
    }
}

/// Pins the calling thread, and those that it starts, to the first CPU that it may use. It makes system
/// calls only, so a child may call it between fork and exec.
pub fn stay_on_one_cpu() -> std::io::Result<()> {
    // SAFETY: plain data, filled by the kernel and by the macros that are made for it.
    unsafe {
        let mut mine: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&mine), &mut mine);
        let first = (0..1024).find(|&cpu| libc::CPU_ISSET(cpu, &mine)).unwrap_or(0);
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(first, &mut one);
        match libc::sched_setaffinity(0, size_of_val(&one), &one) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}
