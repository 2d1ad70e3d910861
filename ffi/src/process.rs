//! Processes.

use std::ffi::{c_char, c_int};

use polyphony_core::native::{
    Errno, Result,
    processes::{self, Process, Program},
};

use crate::{
    boundary::{done_quietly, look, put, text, wanted},
    debug,
};

/// A child leads a process group of its own: it is not told of the terminal's signals, and `kill(-pid, …)`
/// reaches it and its children.
pub const POLY_PROCESS_GROUP: u32 = 1;

/// A descriptor that a child is to have.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct poly_process_fd {
    /// Its number in the child: 0, 1 and 2 are its standard input, output and error.
    pub child: c_int,
    /// Which of ours it is, or -1 for /dev/null.
    pub parent: c_int,
}

/// How to start a process. Begin with `POLY_PROCESS_OPTIONS_INIT` and set `argv`; 0 is the default of every
/// other field but `size`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct poly_process_options {
    /// `sizeof(poly_process_options)`: tells which version of this struct it is.
    pub size: usize,
    /// Its arguments, ended by NULL; there is at least one.
    pub argv: *const *const c_char,
    /// Its environment as `NAME=value`, ended by NULL; the caller's if NULL.
    pub envp: *const *const c_char,
    /// The program: a path, or a name that is looked for in PATH; `argv[0]` if NULL.
    pub file: *const c_char,
    /// The directory that it starts in; the caller's if NULL.
    pub directory: *const c_char,
    /// Descriptors that it is to have. Of all others it has those that are not closed on exec.
    pub descriptors: *const poly_process_fd,
    /// How many of them.
    pub descriptor_count: usize,
    /// 0 or `POLY_PROCESS_GROUP`.
    pub flags: u32,
}

/// A child process that has been started. The caller's to copy and to keep; `poly_process_wait` or
/// `poly_process_close` ends it, once.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct poly_process {
    /// Its number, for people and for kill(2).
    pub pid: i32,
    /// A descriptor that is readable once it has ended (pidfd_open(2)); -1 when it has been waited for.
    pub pidfd: c_int,
}

impl poly_process {
    unsafe fn read(process: *const poly_process) -> Result<Process> {
        // SAFETY: by the header's conventions.
        let &poly_process { pid, pidfd } = unsafe { look(process) }?;
        let number = usize::try_from(pidfd).map_err(|_| Errno::new(libc::ECHILD))?;
        debug::expect_copy(number, process)?;
        Ok(Process { pid, pidfd })
    }

    /// Its descriptor is closed now.
    fn is_over(&mut self) {
        debug::freed_copies::<poly_process>(self.pidfd as usize);
        self.pidfd = -1;
    }
}

/// Starts a process. It hears all signals and SIGPIPE ends it, however that is with the caller.
///
///     const char *const arguments[] = { "make", "-s", NULL };
///     poly_process_options options = POLY_PROCESS_OPTIONS_INIT;
///     poly_process process;
///     int status;
///     options.argv = arguments;
///     if (poly_process_spawn(&options, &process) == 0)
///         error = poly_process_wait(&process, &status);
///
/// On success `*process` is the caller's: wait for it, else it stays a zombie once it has ended. What `options`
/// points to is borrowed. SIGCHLD must not be ignored, nor may anybody wait for any child (waitpid(-1)).
/// Suspends. Any thread.
/// Returns 0; -ENOENT, -EACCES and the like if the program cannot be run; -EBADF for a descriptor that is none;
/// -EINVAL, -E2BIG for options of a later library; -ECANCELED or -ETIMEDOUT, and then nothing was started.
/// Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_process_spawn(
    options: *const poly_process_options,
    process: *mut poly_process,
) -> c_int {
    done_quietly(|| {
        wanted(process)?;
        let invalid = Errno::new(libc::EINVAL);
        // SAFETY: every version of the struct begins with its size.
        match *unsafe { look(options.cast::<usize>()) }? {
            fits if fits == size_of::<poly_process_options>() => {}
            larger if larger > size_of::<poly_process_options>() => return Err(Errno::new(libc::E2BIG)),
            _ => return Err(invalid),
        }
        // SAFETY: options live for the call, by the header's conventions, and are as large.
        let options = unsafe { look(options) }?;
        // SAFETY: a list that ends with NULL, if there is one.
        if options.argv.is_null() || unsafe { *options.argv }.is_null() {
            return Err(invalid);
        }
        if options.flags & !POLY_PROCESS_GROUP != 0 {
            return Err(invalid);
        }
        // SAFETY: texts that end with a zero byte; the list has a first element.
        let file = unsafe { text(if options.file.is_null() { *options.argv } else { options.file }) }?;
        // SAFETY: as above.
        let directory = unsafe { optional(options.directory) }?;
        let given: Vec<(c_int, c_int)> = match options.descriptor_count {
            0 => Vec::new(),
            count => {
                // SAFETY: so many stand there, by the header's conventions.
                let given = unsafe { std::slice::from_raw_parts(look(options.descriptors)?, count) };
                given.iter().map(|given| (given.child, given.parent)).collect()
            }
        };
        let program = Program {
            file,
            arguments: options.argv,
            environment: options.envp,
            directory,
            descriptors: &given,
            leads_group: options.flags & POLY_PROCESS_GROUP != 0,
        };
        // SAFETY: the lists are the caller's, and live for the call.
        let Process { pid, pidfd } = unsafe { processes::spawn(&program) }?;
        debug::made_copyable::<poly_process>(pidfd as usize);
        // SAFETY: not null, and an output by the header's conventions.
        unsafe { put(process, poly_process { pid, pidfd }) }
    })
}

unsafe fn optional<'a>(name: *const c_char) -> Result<Option<&'a std::ffi::CStr>> {
    // SAFETY: by the caller.
    if name.is_null() { Ok(None) } else { unsafe { text(name) }.map(Some) }
}

/// Waits until a process has ended, and closes its descriptor. `*status` becomes what waitpid(2) tells, for
/// WIFEXITED, WEXITSTATUS and so on; `status` may be NULL. No other child's status is taken.
///
/// Suspends. Any thread.
/// Returns 0; -ECHILD if it has been waited for; -EINVAL; -ECANCELED or -ETIMEDOUT, and then it can be waited
/// for later. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_process_wait(process: *mut poly_process, status: *mut c_int) -> c_int {
    done_quietly(|| {
        // SAFETY: by the header's conventions.
        let told = processes::wait(unsafe { poly_process::read(process) }?)?;
        // SAFETY: looked at above.
        unsafe { (*process).is_over() };
        // SAFETY: an output by the header's conventions.
        if status.is_null() { Ok(()) } else { unsafe { put(status, told) } }
    })
}

/// Sends a signal to a process, and never to another one that has its number by then.
///
/// Never suspends. Any thread.
/// Returns 0; -ESRCH if it has ended, -ECHILD if it has been waited for, -EINVAL, -EPERM. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_process_kill(process: *const poly_process, signal: c_int) -> c_int {
    // SAFETY: by the header's conventions.
    done_quietly(|| processes::signal(unsafe { poly_process::read(process) }?, signal))
}

/// Closes the descriptor of a process that the caller will not wait for; somebody else must, by its number, or
/// it stays a zombie. One that has been waited for is fine.
///
/// May suspend; never refused for a cancellation or a deadline. Any thread.
/// Returns 0, -EINVAL. Since 2.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poly_process_close(process: *mut poly_process) -> c_int {
    done_quietly(|| {
        // SAFETY: by the header's conventions.
        match unsafe { poly_process::read(process) } {
            Err(gone) if gone == Errno::new(libc::ECHILD) => Ok(()),
            Err(wrong) => Err(wrong),
            Ok(Process { pidfd, .. }) => {
                // SAFETY: looked at above; the caller's.
                unsafe { (*process).is_over() };
                polyphony_core::native::close(pidfd)
            }
        }
    })
}
