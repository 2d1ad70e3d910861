//! Pages of a file at random, many readers at once: fibers, and a bare ring at the same depth.

use std::{
    env,
    fs::{File, OpenOptions},
    io::Write,
    os::{
        fd::{AsRawFd, RawFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
    time::Instant,
};

use io_uring::{opcode, squeue, types};
use polyphony_core::native::{Options, Runtime, io, spawn};

use crate::{
    measure::{Numbers, missing, per_unit},
    operations::bare_ring,
};

const PAGE: usize = 4096;
const PAGES: u64 = 16 * 1024;
const READERS: u64 = 64;
const EACH: u64 = 3_000;

/// The variable that tells peers, too, which file it is.
pub(crate) const FILE: &str = "POLYPHONY_BENCH_FILE";

/// Makes the file, for all rows of this run.
pub(crate) fn make() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    let mut file = File::create(&path).expect("a file");
    (0..PAGES).for_each(|page| file.write_all(&[page as u8; PAGE]).expect("room on the disk"));
    file.sync_all().expect("the disk works");
    // SAFETY: no other thread runs yet.
    unsafe { env::set_var(FILE, path) };
}

/// CPU time of a read by one of the fibers.
pub(crate) fn cached() -> f64 {
    let file = open(0);
    per_unit(READERS * EACH, || fibers_read(file.as_raw_fd()))
}

/// CPU time of a read by the ring.
pub(crate) fn bare_cached() -> f64 {
    let file = open(0);
    per_unit(READERS * EACH, || ring_reads(file.as_raw_fd()))
}

/// Time that passes for each read by the fibers where the disk is asked.
pub(crate) fn direct() -> f64 {
    let file = open(libc::O_DIRECT);
    passing(|| fibers_read(file.as_raw_fd()))
}

/// Time that passes for each read by the ring where the disk is asked.
pub(crate) fn bare_direct() -> f64 {
    let file = open(libc::O_DIRECT);
    passing(|| ring_reads(file.as_raw_fd()))
}

fn path() -> PathBuf {
    env::var_os(FILE).expect("main has made the file").into()
}

fn open(flags: i32) -> File {
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path());
    file.unwrap_or_else(|error| missing(&format!("the file system does not let it: {error}")))
}

fn passing(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / (READERS * EACH) as f64
}

/// A page that the disk may write to.
#[repr(align(4096))]
struct Page([u8; PAGE]);

fn fibers_read(fd: RawFd) {
    let runtime = Runtime::new(Options::with_workers(1)).expect("a runtime");
    let reads = move |number| {
        let (mut page, mut numbers) = (Box::new(Page([0; PAGE])), Numbers::seeded(number));
        for _ in 0..EACH {
            let at = numbers.below(PAGES) * PAGE as u64;
            assert_eq!(io::read_at(fd, &mut page.0, at), Ok(PAGE));
        }
    };
    let all = runtime.run(move || {
        let fibers: Vec<_> = (0..READERS).map(|number| spawn(move || reads(number)).unwrap()).collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    });
    all.expect("the bench neither panics nor is cancelled");
}

/// A reader without a fiber.
struct Reader {
    page: Box<Page>,
    numbers: Numbers,
    left: u64,
}

impl Reader {
    fn next(&mut self, fd: RawFd, number: u64) -> Option<squeue::Entry> {
        self.left = self.left.checked_sub(1)?;
        let at = self.numbers.below(PAGES) * PAGE as u64;
        let read = opcode::Read::new(types::Fd(fd), self.page.0.as_mut_ptr(), PAGE as u32);
        Some(read.offset(at).build().user_data(number))
    }
}

fn ring_reads(fd: RawFd) {
    let reader =
        |number| Reader { page: Box::new(Page([0; PAGE])), numbers: Numbers::seeded(number), left: EACH };
    let mut readers: Vec<Reader> = (0..READERS).map(reader).collect();
    let mut ring = bare_ring();
    let mut next: Vec<squeue::Entry> =
        readers.iter_mut().zip(0..).filter_map(|(reader, number)| reader.next(fd, number)).collect();
    let mut in_flight = 0;
    loop {
        in_flight += next.len();
        for entry in next.drain(..) {
            // SAFETY: a page outlives the read into it, for all are waited for.
            unsafe { ring.submission().push(&entry) }.expect("room");
        }
        if in_flight == 0 {
            return;
        }
        ring.submit_and_wait(1).expect("the ring works");
        for completion in ring.completion() {
            assert_eq!(completion.result(), PAGE as i32);
            in_flight -= 1;
            next.extend(readers[completion.user_data() as usize].next(fd, completion.user_data()));
        }
    }
}
