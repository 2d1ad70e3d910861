//! The backend that is chosen at run time: by an option, by `POLYPHONY_BACKEND`, or by what works.

use std::{env, fmt, io, os::fd::RawFd, str::FromStr};

use super::{
    Backend, Taken, Time, Wait, Waker,
    epoll::{Epoll, EpollWait},
    uring::{Uring, UringOptions, UringWait},
};
use crate::{
    buffers::BufferId,
    error::Error,
    op::{Op, OpKey, Outcome},
};

/// Which backend to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// io_uring where the kernel allows it, else epoll.
    #[default]
    Auto,
    /// io_uring or an error.
    IoUring,
    /// epoll.
    Epoll,
}

impl Choice {
    /// What `POLYPHONY_BACKEND` says; `Auto` where it is unset or empty.
    pub fn from_env() -> Result<Self, UnknownChoice> {
        match env::var("POLYPHONY_BACKEND") {
            Ok(name) if !name.is_empty() => name.parse(),
            _ => Ok(Choice::Auto),
        }
    }
}

impl FromStr for Choice {
    type Err = UnknownChoice;

    fn from_str(name: &str) -> Result<Self, UnknownChoice> {
        match name {
            "auto" => Ok(Choice::Auto),
            "io_uring" => Ok(Choice::IoUring),
            "epoll" => Ok(Choice::Epoll),
            _ => Err(UnknownChoice(name.to_owned())),
        }
    }
}

/// A name that is no backend's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownChoice(String);

impl fmt::Display for UnknownChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "POLYPHONY_BACKEND: no backend is called {:?}; there are io_uring, epoll and auto", self.0)
    }
}

impl std::error::Error for UnknownChoice {}

/// io_uring or epoll.
#[derive(Debug)]
pub enum Any {
    /// io_uring.
    Uring(Box<Uring>),
    /// epoll.
    Epoll(Box<Epoll>),
}

impl Any {
    /// The backend of that choice. Where `Auto` had to fall back, the second value says why, for people.
    pub fn new(choice: Choice, options: UringOptions) -> Result<(Self, Option<String>), Error> {
        let nowait = options.features.nowait;
        let epoll = || Epoll::new(options.buffers).map(|epoll| Box::new(epoll.with_nowait(nowait)));
        if choice == Choice::Epoll {
            return Ok((Any::Epoll(epoll()?), None));
        }
        match Uring::new(options) {
            Ok(uring) => Ok((Any::Uring(Box::new(uring)), None)),
            Err(error) if choice == Choice::IoUring => Err(error),
            Err(error) => {
                let epoll = epoll()?;
                let note = format!(
                    "polyphony: {}; falling back to epoll. Set POLYPHONY_BACKEND=epoll to silence this.",
                    error.in_short()
                );
                Ok((Any::Epoll(epoll), Some(note)))
            }
        }
    }

    /// Its short name: `io_uring` or `epoll`.
    pub fn name(&self) -> &'static str {
        match self {
            Any::Uring(_) => "io_uring",
            Any::Epoll(_) => "epoll",
        }
    }
}

/// A wait of either.
#[derive(Debug)]
pub enum AnyWait {
    /// io_uring's.
    Uring(UringWait),
    /// epoll's.
    Epoll(EpollWait),
}

impl Wait for AnyWait {
    fn block(&mut self) -> io::Result<()> {
        match self {
            AnyWait::Uring(wait) => wait.block(),
            AnyWait::Epoll(wait) => wait.block(),
        }
    }

    fn may_sleep(&self) -> bool {
        match self {
            AnyWait::Uring(wait) => wait.may_sleep(),
            AnyWait::Epoll(wait) => wait.may_sleep(),
        }
    }
}

macro_rules! either {
    ($self:ident, $backend:ident => $call:expr) => {
        match $self {
            Any::Uring($backend) => $call,
            Any::Epoll($backend) => $call,
        }
    };
}

impl Backend for Any {
    type Wait = AnyWait;

    #[inline]
    fn submit(&mut self, key: OpKey, op: &Op) -> Taken {
        either!(self, backend => backend.submit(key, op))
    }

    fn cancel(&mut self, key: OpKey, op: &Op) -> Taken {
        either!(self, backend => backend.cancel(key, op))
    }

    #[inline]
    fn wants_turn(&self) -> bool {
        either!(self, backend => backend.wants_turn())
    }

    fn wait(&mut self, deadline: Option<Time>) -> AnyWait {
        match self {
            Any::Uring(uring) => AnyWait::Uring(uring.wait(deadline)),
            Any::Epoll(epoll) => AnyWait::Epoll(epoll.wait(deadline)),
        }
    }

    fn harvest(&mut self, wait: Option<AnyWait>, each: &mut dyn FnMut(OpKey, Outcome)) {
        match (self, wait) {
            (Any::Uring(uring), Some(AnyWait::Uring(wait))) => uring.harvest(Some(wait), each),
            (Any::Uring(uring), _) => uring.harvest(None, each),
            (Any::Epoll(epoll), Some(AnyWait::Epoll(wait))) => epoll.harvest(Some(wait), each),
            (Any::Epoll(epoll), _) => epoll.harvest(None, each),
        }
    }

    fn buffer(&self, id: BufferId, len: usize) -> &[u8] {
        either!(self, backend => backend.buffer(id, len))
    }

    fn recycle(&mut self, id: BufferId) {
        either!(self, backend => backend.recycle(id));
    }

    #[inline]
    fn now(&self) -> Time {
        Time::monotonic()
    }

    #[inline]
    fn is_ahead(&self, time: Time) -> bool {
        either!(self, backend => backend.is_ahead(time))
    }

    fn waker(&self) -> Waker {
        either!(self, backend => backend.waker())
    }

    fn discard(&mut self, fd: RawFd) {
        either!(self, backend => backend.discard(fd));
    }

    fn describe(&self) -> String {
        either!(self, backend => backend.describe())
    }

    fn descriptor(&mut self) -> Option<RawFd> {
        either!(self, backend => backend.descriptor())
    }

    fn until(&self) -> Option<Time> {
        either!(self, backend => backend.until())
    }
}
