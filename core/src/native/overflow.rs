//! Whose stack was too small.
//!
//! A stack that overflows touches its guard page, and the process dies of SIGSEGV, as it must. Before it does, a
//! line on standard error names the fiber and the size of its stack: a crash in a leaf function tells nobody that.
//!
//! The handler stands on a stack of its own, for the fiber's is full; each worker has one. It touches nothing but
//! the addresses of the slabs and the fiber's record, and writes with one system call. Then, and at once where the
//! fault is none of ours, it does as if it had not been there: it calls the handler that it has taken the place
//! of, or puts back what was there and lets the fault happen again.

use std::{
    fmt::{self, Write},
    mem, ptr,
    sync::{
        Once,
        atomic::{AtomicPtr, Ordering},
    },
};

use libc::{c_int, c_void, siginfo_t};

use super::stack::{self, Overrun};

/// The action that was there before.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());
const STACK: usize = 64 * 1024;

/// From now on an overrun stack is reported; unless `POLYPHONY_OVERFLOW=0` says that SIGSEGV is not ours.
pub(crate) fn watch() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        if std::env::var_os("POLYPHONY_OVERFLOW").is_none_or(|wish| wish != "0") {
            install();
        }
    });
}

fn install() {
    // SAFETY: all zeros is a valid action, and the kernel reads and writes the two that we own. What was there
    // before is published before the handler can run, and never freed.
    unsafe {
        let before = Box::into_raw(Box::new(mem::zeroed::<libc::sigaction>()));
        if libc::sigaction(libc::SIGSEGV, ptr::null(), before) != 0 {
            return drop(Box::from_raw(before));
        }
        BEFORE.store(before, Ordering::Release);
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = on_fault as *const () as usize;
        // NODEFER, for the fault may happen again while a handler before us runs.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        libc::sigaction(libc::SIGSEGV, &action, ptr::null_mut());
    }
}

/// The stack on which this thread hears of faults, while it is here.
#[derive(Debug)]
pub(crate) struct AlternateStack(*mut c_void);

impl AlternateStack {
    /// One for the calling thread, where it has none.
    pub(crate) fn new() -> Self {
        let mut present = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: 0, ss_size: 0 };
        // SAFETY: the kernel writes what is ours.
        let known = unsafe { libc::sigaltstack(ptr::null(), &mut present) } == 0;
        if !known || present.ss_flags & libc::SS_DISABLE == 0 {
            return AlternateStack(ptr::null_mut());
        }
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh mapping, which this thread keeps until it has put it out of use.
        unsafe {
            let start = libc::mmap(ptr::null_mut(), STACK, access, flags | libc::MAP_STACK, -1, 0);
            if start == libc::MAP_FAILED {
                return AlternateStack(ptr::null_mut());
            }
            let ours = libc::stack_t { ss_sp: start, ss_flags: 0, ss_size: STACK };
            libc::sigaltstack(&ours, ptr::null_mut());
            AlternateStack(start)
        }
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        if self.0.is_null() {
            return;
        }
        let none = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        // SAFETY: ours, and no handler runs on it: it is this thread that is here.
        unsafe {
            libc::sigaltstack(&none, ptr::null_mut());
            libc::munmap(self.0, STACK);
        }
    }
}

extern "C" fn on_fault(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes what happened; a signal that somebody has sent has no address.
    let is_fault = unsafe { (*info).si_code } > 0;
    // SAFETY: as above.
    if is_fault && let Some(overrun) = stack::overrun(unsafe { (*info).si_addr() } as usize) {
        report(&overrun);
    }
    // SAFETY: published before this handler was installed, and never freed.
    let before = unsafe { &*BEFORE.load(Ordering::Acquire) };
    match before.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: what was there before. The fault happens again on return; a signal that was sent does not,
            // so it is sent again.
            unsafe {
                libc::sigaction(signal, before, ptr::null_mut());
                if !is_fault {
                    libc::raise(signal);
                }
            }
        }
        handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the flag says what kind of handler it is.
            unsafe {
                let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = mem::transmute(handler);
                handler(signal, info, context);
            }
        }
        handler => {
            // SAFETY: as above.
            let handler: extern "C" fn(c_int) = unsafe { mem::transmute(handler) };
            handler(signal);
        }
    }
}

/// Text in place: nothing may be allocated in a handler.
struct Line {
    text: [u8; 256],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.text[self.length..];
        let length = text.len().min(room.len());
        room[..length].copy_from_slice(&text.as_bytes()[..length]);
        self.length += length;
        Ok(())
    }
}

fn report(overrun: &Overrun) {
    let mut line = Line { text: [0; 256], length: 0 };
    let Overrun { fiber, name, size } = overrun;
    let kilobytes = size / 1024;
    // None of it can fail: what is too long is cut.
    let _ = write!(line, "polyphony: fiber {:#x}", fiber.number());
    if !name.is_empty() {
        let _ = write!(line, " \"{name}\"");
    }
    let _ = writeln!(line, " has overrun its stack of {kilobytes} KiB");
    // SAFETY: so many bytes are there. Nobody can be told that it failed.
    unsafe { libc::write(libc::STDERR_FILENO, line.text.as_ptr().cast(), line.length) };
}
