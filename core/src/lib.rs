//! The scheduler of Polyphony: it knows nothing of Ruby, of C, or of stacks.
//!
//! A [`Shard`](shard::Shard) is all scheduling state of one thread: run queue, timers, operations in
//! flight, a backend, an inbox. A [`Host`](host::Host) runs fibers. A [`Backend`](backend::Backend)
//! carries operations to the kernel. The loop between them, with numbers for fibers:
//!
//! ```
//! use polyphony_core::{backend::{Backend, Wait, sim::Sim}, host::{Host, Then}, op::{OpKey, Outcome},
//!                      run_queue::Fifo, shard::{Next, Shard}, timers::TimerKey};
//! use std::time::Duration;
//!
//! struct Sleepers;
//! impl Host for Sleepers {
//!     type Fiber = u32;
//!     type Keep = ();
//!     type Queue = Fifo<u32>;
//!     fn completed(&mut self, _: u32, _: OpKey, _: Outcome) -> Then { Then::Ready }
//!     fn expired(&mut self, _: u32, _: TimerKey) -> Then { Then::Ready }
//!     fn notified(&mut self, _: u32) -> Then { Then::Ready }
//! }
//!
//! let mut shard = Shard::new(Sleepers, Sim::new(1));
//! let start = shard.now();
//! shard.at(start + Duration::from_secs(3600), 1);
//! shard.at(start + Duration::from_secs(60), 2);
//! let mut woken = Vec::new();
//! loop {
//!     match shard.next() {
//!         Next::Run(fiber) => woken.push(fiber),
//!         Next::Wait(mut wait) => { wait.block().unwrap(); shard.harvest(wait) }
//!         Next::Idle => break,
//!     }
//! }
//! assert_eq!(woken, [2, 1]); // an hour of virtual time, in no time
//! ```

pub mod backend;
pub mod buffers;
#[cfg(feature = "native")]
pub mod crew;
pub mod error;
pub mod host;
pub mod inbox;
#[cfg(feature = "native")]
pub mod native;
pub mod offload;
pub mod op;
pub mod run_queue;
pub mod shard;
pub mod stats;
/// What the models of the inbox put something else in the place of.
mod sync {
    pub(crate) use std::sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    };
}
mod syscall;
pub mod time;
pub mod timers;
pub mod trace;
