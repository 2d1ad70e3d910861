//! The backends of a loop: those that there are, and the simulated one for tests of hosts.

use std::{io, os::fd::RawFd};

use polyphony_core::{
    backend::{
        Backend, Taken, Wait, Waker,
        any::{Any, AnyWait},
        sim::{Sim, SimWait},
    },
    buffers::BufferId,
    op::{Op, OpKey, Outcome},
    time::Time,
};

/// The kernel, or a simulation.
#[derive(Debug)]
pub(crate) enum Kernel {
    Real(Any),
    Simulated(Box<Sim>),
}

/// A wait of either.
#[derive(Debug)]
pub(crate) enum KernelWait {
    Real(AnyWait),
    Simulated(SimWait),
}

impl Wait for KernelWait {
    fn block(&mut self) -> io::Result<()> {
        match self {
            KernelWait::Real(wait) => wait.block(),
            KernelWait::Simulated(wait) => wait.block(),
        }
    }

    fn may_sleep(&self) -> bool {
        match self {
            KernelWait::Real(wait) => wait.may_sleep(),
            KernelWait::Simulated(wait) => wait.may_sleep(),
        }
    }
}

macro_rules! either {
    ($self:ident, $backend:ident => $call:expr) => {
        match $self {
            Kernel::Real($backend) => $call,
            Kernel::Simulated($backend) => $call,
        }
    };
}

impl Backend for Kernel {
    type Wait = KernelWait;

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

    fn wait(&mut self, deadline: Option<Time>) -> KernelWait {
        match self {
            Kernel::Real(backend) => KernelWait::Real(backend.wait(deadline)),
            Kernel::Simulated(sim) => KernelWait::Simulated(sim.wait(deadline)),
        }
    }

    fn harvest(&mut self, wait: Option<KernelWait>, each: &mut dyn FnMut(OpKey, Outcome)) {
        match (self, wait) {
            (Kernel::Real(backend), Some(KernelWait::Real(wait))) => backend.harvest(Some(wait), each),
            (Kernel::Real(backend), _) => backend.harvest(None, each),
            (Kernel::Simulated(sim), Some(KernelWait::Simulated(wait))) => sim.harvest(Some(wait), each),
            (Kernel::Simulated(sim), _) => sim.harvest(None, each),
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
        either!(self, backend => backend.now())
    }

    #[inline]
    fn is_ahead(&self, time: Time) -> bool {
        either!(self, backend => backend.is_ahead(time))
    }

    fn waker(&self) -> Waker {
        either!(self, backend => backend.waker())
    }

    fn discard(&mut self, fd: RawFd) {
        match self {
            Kernel::Real(backend) => backend.discard(fd),
            // A number that a test has scripted: it may be that of a file.
            Kernel::Simulated(_) => {}
        }
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
