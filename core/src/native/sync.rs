//! What fibers wait for that is not the kernel: each other.
//!
//! All of these work between fibers of any worker and between fibers and plain threads, which block.
//! Waiters are served in the order in which they came. A waiter that is cancelled takes nothing with it:
//! what it would have got goes to the next. An object must outlive the calls on it.

mod channel;
mod condvar;
mod event;
mod mutex;
mod semaphore;

pub use self::{
    channel::{Channel, SendError},
    condvar::Condvar,
    event::Event,
    mutex::Mutex,
    semaphore::Semaphore,
};
