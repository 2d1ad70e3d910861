//! Child processes.
//!
//! A child is held by a pidfd, so its name never comes to mean another process, and waiting for it takes
//! nobody else's status. Spawning blocks until the child runs its program: it is done on the offload pool.

use std::{
    ffi::{CStr, c_char},
    mem::{self, MaybeUninit},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use super::{
    errno::{Errno, Result},
    io,
    net::checked,
    perform,
    plain::KeepErrno,
};
use crate::{op::Op, syscall};

/// What to run, and how.
#[derive(Debug)]
pub struct Program<'a> {
    /// The path of the program, or its name, which is looked for in `PATH`.
    pub file: &'a CStr,
    /// Its arguments, the first one its own name; a list that ends with null.
    pub arguments: *const *const c_char,
    /// Its environment, as such a list; ours where this is null.
    pub environment: *const *const c_char,
    /// Where it begins to run; where we are, without.
    pub directory: Option<&'a CStr>,
    /// Which descriptors it has: the child's number and ours, negative for `/dev/null`. Of all others it has
    /// those that are not closed on exec.
    pub descriptors: &'a [(RawFd, RawFd)],
    /// Whether it leads a process group of its own, and is not told of the terminal's signals.
    pub leads_group: bool,
}

/// A child that was started, until it has been waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its descriptor: readable when it has ended.
    pub pidfd: RawFd,
}

/// A plan that another thread carries out while its maker waits.
struct Plan<'a, 'b>(&'a Program<'b>);

// SAFETY: the lists live until the fiber that made the plan goes on, and are only read.
unsafe impl Send for Plan<'_, '_> {}

/// Starts a child. Its signals are not blocked, and SIGPIPE ends it, whatever they do to us; else it has our
/// dispositions.
///
/// # Safety
/// The lists end with null, and their texts with zeros; all of it is valid until this returns.
pub unsafe fn spawn(program: &Program<'_>) -> Result<Process> {
    let plan = Plan(program);
    io::offload(move || {
        let plan = plan;
        let _keep = KeepErrno::new();
        // SAFETY: by the caller, who waits for this.
        unsafe { start(plan.0) }
    })?
}

/// Waits until a child has ended, takes its status, as waitpid(2) has it, and closes its descriptor.
/// `ECHILD` where somebody else has taken it. Who is interrupted may wait again.
pub fn wait(process: Process) -> Result<i32> {
    // SAFETY: plain data.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    let (kind, id) = (libc::P_PIDFD, u32::try_from(process.pidfd).map_err(|_| Errno::new(libc::ECHILD))?);
    let op = Op::WaitId { kind, id, info: &raw mut info, options: libc::WEXITED };
    // SAFETY: `info` stands here until this returns.
    Errno::check(unsafe { perform(&op) })?;
    let _keep = KeepErrno::new();
    syscall::close(process.pidfd);
    // SAFETY: waitid has filled in what a SIGCHLD carries.
    let status = unsafe { info.si_status() };
    Ok(match info.si_code {
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    })
}

/// Sends a signal to a child; `ESRCH` where it has ended.
pub fn signal(process: Process, number: i32) -> Result<()> {
    let _keep = KeepErrno::new();
    let no_info = ptr::null::<libc::siginfo_t>();
    // SAFETY: nothing is pointed to.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.pidfd, number, no_info, 0) };
    checked(sent as i32)
}

/// What libc wants to know about how a child starts; freed with this.
struct Details {
    actions: MaybeUninit<libc::posix_spawn_file_actions_t>,
    attributes: MaybeUninit<libc::posix_spawnattr_t>,
}

impl Details {
    fn new() -> Result<Self> {
        let mut details = Details { actions: MaybeUninit::uninit(), attributes: MaybeUninit::uninit() };
        // SAFETY: room for both, which these make valid.
        unsafe {
            told(libc::posix_spawn_file_actions_init(details.actions.as_mut_ptr()))?;
            if let Err(errno) = told(libc::posix_spawnattr_init(details.attributes.as_mut_ptr())) {
                libc::posix_spawn_file_actions_destroy(details.actions.as_mut_ptr());
                mem::forget(details);
                return Err(errno);
            }
        }
        Ok(details)
    }

    /// Which signals the child can hear, and whose group it is in.
    fn set_attributes(&mut self, leads_group: bool) -> Result<()> {
        let group = if leads_group { libc::POSIX_SPAWN_SETPGROUP } else { 0 };
        let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF | group;
        let attributes = self.attributes.as_mut_ptr();
        // SAFETY: made valid by `new`; the sets are alive for their calls.
        unsafe {
            let (mut none, mut pipe) = (mem::zeroed(), mem::zeroed());
            libc::sigemptyset(&mut none);
            libc::sigemptyset(&mut pipe);
            libc::sigaddset(&mut pipe, libc::SIGPIPE);
            told(libc::posix_spawnattr_setsigmask(attributes, &none))?;
            told(libc::posix_spawnattr_setsigdefault(attributes, &pipe))?;
            told(libc::posix_spawnattr_setpgroup(attributes, 0))?;
            told(libc::posix_spawnattr_setflags(attributes, flags as i16))
        }
    }

    /// The child's descriptor `number` is our `fd`.
    fn give(&mut self, fd: RawFd, number: RawFd) -> Result<()> {
        // SAFETY: made valid by `new`.
        told(unsafe { libc::posix_spawn_file_actions_adddup2(self.actions.as_mut_ptr(), fd, number) })
    }

    fn change_directory(&mut self, to: &CStr) -> Result<()> {
        // SAFETY: made valid by `new`; the path is copied.
        told(unsafe { libc::posix_spawn_file_actions_addchdir_np(self.actions.as_mut_ptr(), to.as_ptr()) })
    }
}

impl Drop for Details {
    fn drop(&mut self) {
        // SAFETY: made valid by `new`.
        unsafe {
            libc::posix_spawn_file_actions_destroy(self.actions.as_mut_ptr());
            libc::posix_spawnattr_destroy(self.attributes.as_mut_ptr());
        }
    }
}

/// Starts a child, on this thread.
unsafe fn start(program: &Program<'_>) -> Result<Process> {
    let mut details = Details::new()?;
    details.set_attributes(program.leads_group)?;
    if let Some(directory) = program.directory {
        details.change_directory(directory)?;
    }
    // One given may have the number that another is to get: each is moved out of the way first.
    let above = program.descriptors.iter().map(|&(number, _)| number).max().map_or(3, |most| most + 1).max(3);
    let mut given = Vec::new();
    for &(number, fd) in program.descriptors {
        if number < 0 {
            return Err(Errno::new(libc::EBADF));
        }
        let copy = duplicate(fd, above)?;
        details.give(copy.as_raw_fd(), number)?;
        given.push(copy);
    }
    let environment =
        // SAFETY: the process has an environment; who changes it meanwhile breaks every spawn.
        if program.environment.is_null() { unsafe { environ } } else { program.environment };
    let mut pid = 0;
    // SAFETY: the lists by the caller, the details made valid above; libc writes to none of them.
    told(unsafe {
        libc::posix_spawnp(
            &mut pid,
            program.file.as_ptr(),
            details.actions.as_ptr(),
            details.attributes.as_ptr(),
            program.arguments.cast(),
            environment.cast(),
        )
    })?;
    match syscall::pidfd(pid as libc::id_t) {
        failed if failed < 0 => {
            // A child that nobody could hold must not run on.
            // SAFETY: our own child, which has not been waited for.
            unsafe {
                libc::kill(pid, libc::SIGKILL);
                libc::waitpid(pid, ptr::null_mut(), 0);
            }
            Err(Errno::new(-failed))
        }
        pidfd => Ok(Process { pid, pidfd }),
    }
}

/// A copy of a descriptor, or of none, with a number that is at least so high.
fn duplicate(fd: RawFd, least: RawFd) -> Result<OwnedFd> {
    let nothing = if fd < 0 { Some(open_nothing()?) } else { None };
    let fd = nothing.as_ref().map_or(fd, AsRawFd::as_raw_fd);
    // SAFETY: no pointers.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least) };
    checked(copy)?;
    // SAFETY: just made, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

fn open_nothing() -> Result<OwnedFd> {
    // SAFETY: a path that ends with a zero byte.
    let fd = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    checked(fd)?;
    // SAFETY: just made, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What those calls said that return an error's number.
fn told(number: i32) -> Result<()> {
    if number == 0 { Ok(()) } else { Err(Errno::new(number)) }
}

unsafe extern "C" {
    static environ: *const *const c_char;
}
