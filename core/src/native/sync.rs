//! What fibers wait for that is not the kernel: each other.
//!
//! All of these work between fibers of any worker and between fibers and plain threads, which block.
//! Waiters are served in the order in which they came. A waiter that is cancelled takes nothing with it:
//! what it would have got goes to the next. An object must outlive the calls on it. In the child of a fork every call on
//! an object that the parent has used answers [`Errno::FORKED`](super::Errno::FORKED).

mod channel;
mod condvar;
mod event;
mod mutex;
mod once;
mod rwlock;
mod select;
mod semaphore;
mod wait_group;

pub use self::{
    channel::{Channel, SendError},
    condvar::Condvar,
    event::Event,
    mutex::Mutex,
    once::Once,
    rwlock::RwLock,
    select::{Case, select},
    semaphore::Semaphore,
    wait_group::WaitGroup,
};
