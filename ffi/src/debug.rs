//! The debug mode: which address is an object of which kind, and who has freed it.
//!
//! `POLY_DEBUG=1` in the environment, read once, turns it on. Then every object that is made, or used for the first
//! time while it is all zeros, is written down by its address; one that is freed stays written down, with who did
//! it, and its memory is kept, so that no address is ever two objects. A call with the wrong one says so on standard
//! error and answers `EINVAL`; with `POLY_DEBUG=abort` the process ends there, for a debugger to look at.
//!
//! ```text
//! polyphony: poly_channel_send: 0x5581b3c012a0 was freed by fiber 0x8000001
//! polyphony: poly_semaphore_acquire: 0x7f2a4c1ff9e0 is a poly_mutex
//! ```
//!
//! What is found is kept aside until the call returns, for only there its name is known. So a call costs one look
//! at a byte where the mode is off.
//!
//! The child of a fork begins with what its parent has written down: what was freed before stays freed. If a thread
//! that the child does not have was writing just then, it begins with nothing; what is not known may be the parent's
//! from then on, so it is let through: each object itself says whose it is.

use std::{
    any::type_name,
    cell::Cell,
    collections::HashMap,
    fmt, process, ptr,
    sync::{
        Mutex, PoisonError, TryLockError,
        atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering},
    },
};

use polyphony_core::native::{self, Errno, FiberId, KeepErrno, Name, Result};

/// Who calls.
#[derive(Clone, Copy)]
enum Caller {
    Fiber(FiberId, Name),
    Thread(libc::pid_t),
}

/// What is known of an address.
#[derive(Clone, Copy)]
struct Record {
    kind: &'static str,
    freed_by: Option<Caller>,
}

/// What is known in a process. Never freed: somebody may be looking.
struct Records {
    forks: u32,
    /// Whether there may be objects of a parent's, which are not in here.
    inherits: bool,
    by_address: Mutex<HashMap<usize, Record>>,
}

/// What is wrong with an object that a call was given.
#[derive(Clone, Copy)]
struct Complaint {
    address: usize,
    what: Wrong,
}

#[derive(Clone, Copy)]
enum Wrong {
    Is(&'static str),
    Freed(Caller),
    Unknown(&'static str),
    NotZeroed(&'static str),
}

const UNREAD: u8 = 0;
const OFF: u8 = 1;
const ON: u8 = 2;
const ABORT: u8 = 3;

static MODE: AtomicU8 = AtomicU8::new(UNREAD);
/// Those of this process; null before the first.
static RECORDS: AtomicPtr<Records> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    static COMPLAINT: Cell<Option<Complaint>> = const { Cell::new(None) };
}

/// Whether calls are checked.
#[inline]
pub(crate) fn is_on() -> bool {
    match MODE.load(Ordering::Relaxed) {
        OFF => false,
        UNREAD => read_mode() != OFF,
        _ => true,
    }
}

/// An object has been made.
pub(crate) fn made<T>(object: *const T) {
    if is_on() {
        write_down(object.addr(), Record { kind: kind::<T>(), freed_by: None });
    }
}

/// An object is being freed by the caller. Says whether its memory is to be kept.
pub(crate) fn freed<T>(object: *const T) -> bool {
    if is_on() {
        write_down(object.addr(), Record { kind: kind::<T>(), freed_by: Some(Caller::this()) });
    }
    is_on()
}

/// Checks an address that is to be an object which somebody has made.
#[inline]
pub(crate) fn expect<T>(object: *const T) -> Result<()> {
    if is_on() { check(object.addr(), kind::<T>(), Wrong::Unknown) } else { Ok(()) }
}

/// Checks an object that the caller may copy: `place` is where this copy stands, and `number` the same in all of them.
#[inline]
pub(crate) fn expect_copy<T>(number: usize, place: *const T) -> Result<()> {
    if is_on() { check_at(number, place.addr(), kind::<T>(), Wrong::Unknown) } else { Ok(()) }
}

/// An object that may be copied has been made, which has this number.
pub(crate) fn made_copyable<T>(number: usize) {
    made::<T>(ptr::without_provenance(number));
}

/// An object that may be copied is being freed, and with it all its copies.
pub(crate) fn freed_copies<T>(number: usize) {
    freed::<T>(ptr::without_provenance(number));
}

/// Checks an object in the caller's memory, which is one from when it is all zeros and used.
#[inline]
pub(crate) fn expect_embedded<T>(object: &T) -> Result<()> {
    if is_on() { check_embedded(object) } else { Ok(()) }
}

#[cold]
fn check_embedded<T>(object: &T) -> Result<()> {
    let words = ptr::from_ref(object).cast::<AtomicU64>();
    let count = size_of::<T>() / size_of::<AtomicU64>();
    // SAFETY: so many words are within the object, which is one that is written by its methods only.
    let is_zero = |index| unsafe { &*words.add(index) }.load(Ordering::Relaxed) == 0;
    if (0..count).all(is_zero) {
        made(object);
    }
    check(ptr::from_ref(object).addr(), kind::<T>(), Wrong::NotZeroed)
}

/// A call answers with an error: says what was wrong with its object, if that was it. `F` is a closure in the
/// function that was called, which has the name.
#[cold]
pub(crate) fn answered<F>() {
    if is_on() {
        blame(function(type_name::<F>()));
    }
}

fn blame(function: &str) {
    let Some(complaint) = complaint(None) else { return };
    let _keep = KeepErrno::new();
    eprintln!("polyphony: {function}: {complaint}");
    if MODE.load(Ordering::Relaxed) == ABORT {
        process::abort();
    }
}

/// `poly_yield` of `polyphony::fiber::poly_yield::{{closure}}`.
fn function(path: &'static str) -> &'static str {
    path.split("::").find(|part| part.starts_with("poly_")).unwrap_or(path)
}

/// `poly_mutex` of `polyphony::sync::poly_mutex`.
fn kind<T>() -> &'static str {
    let path = type_name::<T>();
    path.rsplit("::").next().unwrap_or(path)
}

fn check(address: usize, kind: &'static str, unknown: fn(&'static str) -> Wrong) -> Result<()> {
    check_at(address, address, kind, unknown)
}

/// Checks what is written down under a key; a complaint names the address.
#[cold]
fn check_at(
    key: usize,
    address: usize,
    kind: &'static str,
    unknown: fn(&'static str) -> Wrong,
) -> Result<()> {
    let known = with_records(|records| records.get(&key).copied());
    let what = match known {
        None if key != 0 && Records::here().inherits => return Ok(()),
        Some(Record { freed_by: Some(caller), .. }) => Wrong::Freed(caller),
        Some(record) if record.kind == kind => return Ok(()),
        Some(record) => Wrong::Is(record.kind),
        None => unknown(kind),
    };
    complaint(Some(Complaint { address, what }));
    Err(Errno::new(libc::EINVAL))
}

/// Puts a complaint, or none, in the place of the thread's last. The thread is asked for anew each time.
#[inline(never)]
fn complaint(new: Option<Complaint>) -> Option<Complaint> {
    COMPLAINT.replace(new)
}

fn write_down(address: usize, record: Record) {
    with_records(|records| records.insert(address, record));
}

fn with_records<T>(body: impl FnOnce(&mut HashMap<usize, Record>) -> T) -> T {
    let _keep = KeepErrno::new();
    body(&mut Records::here().by_address.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Records {
    fn here() -> &'static Records {
        let known = RECORDS.load(Ordering::Acquire);
        // SAFETY: null, or published below and never freed.
        match unsafe { known.as_ref() } {
            Some(records) if records.forks == native::forks() => records,
            before => Records::begin(known, before.map_or_else(Records::none, Records::inherited)),
        }
    }

    fn none() -> Records {
        Records { forks: native::forks(), inherits: false, by_address: Mutex::default() }
    }

    /// A parent's, for the child of a fork.
    fn inherited(&self) -> Records {
        let copy = match self.by_address.try_lock() {
            Ok(records) => Some(records.clone()),
            Err(TryLockError::Poisoned(_) | TryLockError::WouldBlock) => None,
        };
        let inherits = self.inherits || copy.is_none();
        Records { inherits, by_address: Mutex::new(copy.unwrap_or_default()), ..Records::none() }
    }

    fn begin(before: *mut Records, made: Records) -> &'static Records {
        let made = Box::into_raw(Box::new(made));
        match RECORDS.compare_exchange(before, made, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: not null, and never freed from now on.
            Ok(_) => unsafe { &*made },
            Err(others) => {
                // SAFETY: nobody has seen ours; what was published instead is never freed.
                unsafe {
                    drop(Box::from_raw(made));
                    &*others
                }
            }
        }
    }
}

#[cold]
fn read_mode() -> u8 {
    let wish = std::env::var_os("POLY_DEBUG");
    let mode = match wish.as_deref().and_then(|wish| wish.to_str()) {
        None | Some("" | "0") => OFF,
        Some("abort") => ABORT,
        Some(_) => ON,
    };
    MODE.store(mode, Ordering::Relaxed);
    mode
}

impl Caller {
    fn this() -> Self {
        match native::myself() {
            Some(fiber) => Caller::Fiber(fiber, fiber.name().unwrap_or_default()),
            // SAFETY: it takes nothing and cannot fail.
            None => Caller::Thread(unsafe { libc::gettid() }),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Caller::Fiber(id, name) if name.is_empty() => write!(f, "fiber {:#x}", id.number()),
            Caller::Fiber(id, name) => write!(f, "fiber {:#x} \"{name}\"", id.number()),
            Caller::Thread(id) => write!(f, "thread {id}"),
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            0 => f.write_str("NULL ")?,
            address => write!(f, "{address:#x} ")?,
        }
        match self.what {
            Wrong::Is(kind) => write!(f, "is a {kind}"),
            Wrong::Freed(caller) => write!(f, "was freed by {caller}"),
            Wrong::Unknown(kind) => write!(f, "is no {kind}"),
            Wrong::NotZeroed(kind) => write!(f, "is no {kind}: it was not all zeros when it was first used"),
        }
    }
}
