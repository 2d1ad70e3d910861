//! Paths, looked up before Ruby does: what the kernel has in memory is there in microseconds, and what it has not is
//! asked for through the ring, while other fibers run.
//!
//! openat2(2) with `RESOLVE_CACHED` says which of the two it is, without waiting. Afterwards Ruby's own call finds the
//! path in the kernel's memory and is made where it stands: modes, encodings and errors are its own. Where the kernel
//! cannot say (before 5.12, or where it may not), nothing is known and nothing is waited for.

use std::{ffi::CString, mem, ptr};

use magnus::{Error, RModule, RString, Ruby, Value, function, prelude::*};
use polyphony_core::op::Op;
use rb_sys::VALUE;

use crate::{
    io::string_bytes,
    roots::Keep,
    scheduler::{Scheduler, Woken},
    socket::hidden,
};

/// Defines the primitives in the module of the gem's own functions.
pub(crate) fn define(module: RModule) -> Result<(), Error> {
    module.define_singleton_method("look_up", function!(look_up, 2))?;
    module.define_singleton_method("look_through", function!(look_through, 1))
}

/// Looks a path up, a link at its end too if `follow`: `:waits` for a FIFO or a device that may wait for somebody,
/// `:device` for one that never does, the size of anything else; nil where there is nothing, or nothing is known.
fn look_up(ruby: &Ruby, path: Value, follow: bool) -> Result<Value, Error> {
    let Some((scheduler, path)) = Scheduler::current().zip(named(path)?) else {
        return Ok(ruby.qnil().as_value());
    };
    let found = match cached(&path, follow) {
        Err(libc::EAGAIN) => ask(scheduler, path, follow)?,
        found => found.ok(),
    };
    Ok(found.map_or(ruby.qnil().as_value(), |found| kind(ruby, &found)))
}

/// Reads through a directory that the kernel has not in memory, or that is large, so that Ruby finds it there. Whether
/// it is large: Ruby keeps its lock while it lists a directory.
fn look_through(path: Value) -> Result<bool, Error> {
    let Some((scheduler, path)) = Scheduler::current().zip(named(path)?) else { return Ok(false) };
    let found = cached(&path, true);
    let large = found.is_ok_and(|found| found.stx_size >= LARGE);
    if large || found.is_err_and(|errno| errno == libc::EAGAIN) {
        let string = hidden_path(&path, 0);
        mem::drop(path);
        let argument = string_bytes(string).0.cast_mut().cast();
        perform(scheduler, Op::Offload { function: read_through, argument }, string)?;
    }
    Ok(large)
}

/// Bytes from which a directory is large: some five hundred names.
const LARGE: u64 = 16 * 1024;

/// A path as the kernel wants it. Nothing for what is none, which Ruby's own call says.
fn named(path: Value) -> Result<Option<CString>, Error> {
    let path = match RString::from_value(path) {
        Some(path) => Some(path),
        None => path.check_funcall::<_, _, Value>("to_path", ()).transpose()?.and_then(RString::from_value),
    };
    // SAFETY: the bytes are copied before anything of Ruby's runs.
    Ok(path.and_then(|path| CString::new(unsafe { path.as_slice() }).ok()))
}

/// What the kernel has in memory of a path, or why not: `EAGAIN` says that it would have to ask for it.
fn cached(path: &CString, follow: bool) -> Result<libc::statx, i32> {
    // SAFETY: zeros are a valid value; it is plain data.
    let mut how: libc::open_how = unsafe { mem::zeroed() };
    how.flags = (libc::O_PATH | libc::O_CLOEXEC | if follow { 0 } else { libc::O_NOFOLLOW }) as u64;
    how.resolve = libc::RESOLVE_CACHED;
    // SAFETY: path and structure are alive for the call.
    let fd = unsafe {
        libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path.as_ptr(), &raw const how, size_of_val(&how))
    };
    if fd < 0 {
        return Err(last_errno());
    }
    let (flags, fd) = (libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC, fd as i32);
    // SAFETY: as above; zeros are a valid value of what is filled. The descriptor is ours, and closed once.
    unsafe {
        let mut found: libc::statx = mem::zeroed();
        let failed = libc::statx(fd, c"".as_ptr(), flags, WANTED, &raw mut found) != 0;
        let errno = last_errno();
        libc::close(fd);
        if failed { Err(errno) } else { Ok(found) }
    }
}

const WANTED: u32 = libc::STATX_TYPE | libc::STATX_SIZE;

/// Has the kernel look a path up, on whatever disk or net it is.
fn ask(scheduler: &Scheduler, path: CString, follow: bool) -> Result<Option<libc::statx>, Error> {
    let string = hidden_path(&path, size_of::<libc::statx>());
    mem::drop(path);
    let start = string_bytes(string).0.cast_mut();
    let op = Op::Statx {
        dir: libc::AT_FDCWD,
        path: start.wrapping_add(size_of::<libc::statx>()).cast(),
        flags: if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW },
        mask: WANTED,
        into: start.cast(),
    };
    let result = perform(scheduler, op, string)?;
    // SAFETY: the kernel has filled it, and the string is alive: it is named below.
    let found = (result >= 0).then(|| unsafe { ptr::read_unaligned(start.cast::<libc::statx>()) });
    std::hint::black_box(string);
    Ok(found)
}

/// Performs an operation on what the string holds: its result, or what was raised meanwhile.
fn perform(scheduler: &Scheduler, op: Op, string: VALUE) -> Result<i32, Error> {
    let performed = scheduler.perform(op, |roots| Keep::Value(roots.keep(string)));
    match performed.woken {
        Some(Woken::Error(error)) => return Err(error),
        Some(Woken::Value(value)) => scheduler.keep_for_later(value),
        None => {}
    }
    Ok(performed.outcome.result)
}

/// A string that no Ruby code sees, with so much room and a path behind it. Ruby frees it, also where the fiber that
/// waits is never heard of again.
fn hidden_path(path: &CString, room: usize) -> VALUE {
    let bytes = path.as_bytes_with_nul();
    let string = hidden(room + bytes.len());
    let start = string_bytes(string).0.cast_mut();
    // SAFETY: the string is fresh and has so much room.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), start.wrapping_add(room), bytes.len()) };
    string
}

/// Reads a directory's names, for nobody: the kernel then has them in memory.
///
/// # Safety
///
/// `path` is a path that ends with a zero, alive for the call.
unsafe fn read_through(path: *mut ()) {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC | libc::O_NONBLOCK;
    let mut names = [0_u64; 4096];
    // SAFETY: by the contract above; the kernel fills an array of ours, and the descriptor is closed once.
    unsafe {
        let fd = libc::open(path.cast(), flags);
        if fd < 0 {
            return;
        }
        while libc::syscall(libc::SYS_getdents64, fd, names.as_mut_ptr(), size_of_val(&names)) > 0 {}
        libc::close(fd);
    }
}

fn kind(ruby: &Ruby, found: &libc::statx) -> Value {
    match u32::from(found.stx_mode) & libc::S_IFMT {
        libc::S_IFCHR if found.stx_rdev_major == MEMORY => ruby.to_symbol("device").as_value(),
        libc::S_IFIFO | libc::S_IFCHR => ruby.to_symbol("waits").as_value(),
        _ => ruby.integer_from_u64(found.stx_size).as_value(),
    }
}

/// The devices of memory (`/dev/null` and its kin), which never wait.
const MEMORY: u32 = 1;

fn last_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}
