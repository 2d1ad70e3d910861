//! The children of a scope: fibers that end before it does.
//!
//! A family is part of a scope's record. Its lock guards who belongs to it, and its verdict: why it is to end
//! early, if it is. The first verdict counts; with it every child is cancelled, and the owner's calls within the
//! scope are refused.
//!
//! ```text
//! child fails, deadline passes, owner is cancelled ──▶ verdict ──▶ each child, and the owner: cancelled
//! last child ends ──▶ the owner, which waits in `close`, goes on
//! ```
//!
//! A child cancels its siblings before it leaves the family, and the scope's record is used again only once all
//! have left: whoever has a child's place in hand has a family.

use std::{
    cell::Cell,
    ptr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::{
    current,
    errno::{Errno, Result},
    fiber::{FiberId, FiberRef, STRUCK},
    lock::Guarded,
    park::{self, Waiters, What},
    spawn,
};

/// A family. Its record is used again and again, so what is allocated stays.
#[derive(Default)]
pub(crate) struct Family {
    members: Guarded<Members>,
    /// Whether there is a verdict.
    struck: AtomicBool,
    /// Which scope it belongs to.
    serial: AtomicU64,
}

struct Members {
    owner: Option<FiberRef>,
    children: usize,
    first: *const Kin,
    /// A negative number once there is one.
    verdict: i64,
    /// Children that may be joined; some may have been.
    joinable: Vec<FiberId>,
    /// When that many are known, those that are gone are forgotten.
    forget_at: usize,
    #[allow(clippy::vec_box, reason = "a place is known by its address")]
    spare: Vec<Box<Kin>>,
    waiting: Waiters,
}

// SAFETY: members are touched under the family's lock; what is pointed to is made by boxes of theirs.
unsafe impl Send for Members {}

/// A child's place in its family.
pub(crate) struct Kin {
    family: *const Family,
    next: Cell<*const Kin>,
    previous: Cell<*const Kin>,
    /// The child; 0 until it is spawned.
    id: AtomicU64,
}

/// How many places a family keeps for its next children.
const SPARE: usize = 64;

impl Default for Members {
    fn default() -> Self {
        Members {
            owner: None,
            children: 0,
            first: ptr::null(),
            verdict: 0,
            joinable: Vec::new(),
            forget_at: SPARE,
            spare: Vec::new(),
            waiting: Waiters::new(),
        }
    }
}

impl Family {
    /// Becomes the family of a scope that its owner opens.
    #[inline]
    pub(crate) fn begin(&self, serial: u64, owner: FiberRef) {
        self.serial.store(serial, Ordering::Relaxed);
        // SAFETY: nobody else knows of a scope that is being opened.
        let members = unsafe { self.members.alone() };
        (members.owner, members.verdict) = (Some(owner), 0);
        self.struck.store(false, Ordering::Relaxed);
    }

    pub(crate) fn serial(&self) -> u64 {
        self.serial.load(Ordering::Relaxed)
    }

    /// Whether it is to end early.
    pub(crate) fn is_struck(&self) -> bool {
        self.struck.load(Ordering::SeqCst)
    }

    /// Why it was to end early: a negative number; or 0.
    pub(crate) fn verdict(&self) -> i64 {
        self.members.lock().verdict
    }

    /// Makes place for a child that is about to be spawned. [`Errno::CANCELED`] where the family is to end.
    pub(crate) fn admit(&self) -> Result<*const Kin> {
        let mut members = self.members.lock();
        if members.verdict != 0 {
            return Err(Errno::CANCELED);
        }
        let kin = members.spare.pop().unwrap_or_else(|| Box::new(Kin::new(self)));
        kin.id.store(0, Ordering::Relaxed);
        kin.previous.set(ptr::null());
        kin.next.set(members.first);
        let kin = Box::into_raw(kin).cast_const();
        // SAFETY: a linked place is a member's, and goes only once it is unlinked.
        if let Some(first) = unsafe { members.first.as_ref() } {
            first.previous.set(kin);
        }
        members.first = kin;
        members.children += 1;
        Ok(kin)
    }

    /// A child has been spawned that somebody may join, until the scope is closed.
    pub(crate) fn is_joinable(&self, child: FiberId) {
        let mut members = self.members.lock();
        if members.joinable.len() == members.forget_at {
            members.joinable.retain(|id| id.find().is_ok_and(|fiber| fiber.id() == *id));
            members.forget_at = 2 * members.joinable.len().max(SPARE);
        }
        members.joinable.push(child);
    }

    /// Takes a place back: its child has ended, or was never spawned.
    ///
    /// # Safety
    /// `admit` gave it, and it was not taken back before.
    pub(crate) unsafe fn dismiss(&self, kin: *const Kin) {
        let mut members = self.members.lock();
        // SAFETY: by the caller it is linked, and made by a box.
        let kin = unsafe { Box::from_raw(kin.cast_mut()) };
        // SAFETY: the neighbours are linked.
        unsafe {
            match kin.previous.get().as_ref() {
                Some(previous) => previous.next.set(kin.next.get()),
                None => members.first = kin.next.get(),
            }
            if let Some(next) = kin.next.get().as_ref() {
                next.previous.set(kin.previous.get());
            }
        }
        if members.spare.len() < SPARE {
            members.spare.push(kin);
        }
        members.children -= 1;
        if members.children == 0 {
            park::wake_first(members, |members| &members.waiting);
        }
    }

    /// Ends early, for a reason: a negative number. The first reason counts. Any thread that is a member's or the
    /// owner's; touches no shard, so that hosts may call it.
    pub(crate) fn strike(&self, why: i64) {
        let (owner, children) = {
            let mut members = self.members.lock();
            if members.verdict != 0 {
                return;
            }
            members.verdict = why;
            self.struck.store(true, Ordering::SeqCst);
            (members.owner, members.children())
        };
        for child in children {
            // Who has ended meanwhile needs no cancelling.
            let _ = child.cancel_by_post();
        }
        if let Some(owner) = owner {
            owner.latch.fetch_or(STRUCK, Ordering::SeqCst);
            park::forward(owner);
        }
    }

    /// Waits until no child is left.
    pub(crate) fn wait(&self) -> Result<()> {
        let me = park::may_wait()?;
        let members = self.members.lock();
        if members.children == 0 {
            return Ok(());
        }
        let waited = park::wait_as(me, What::Children, members, |members| &members.waiting, ptr::null_mut());
        Errno::check(waited).map(drop)
    }

    /// Whether any child has not ended.
    pub(crate) fn has_children(&self) -> bool {
        self.members.lock().children > 0
    }

    /// The scope is closed: nobody joins the children any more.
    pub(crate) fn end(&self) {
        let joinable = {
            let mut members = self.members.lock();
            (members.owner, members.forget_at) = (None, SPARE);
            std::mem::take(&mut members.joinable)
        };
        for child in joinable {
            // Who was joined is gone; who is being joined goes with that.
            let _ = spawn::detach(child);
        }
    }
}

impl Members {
    fn children(&self) -> Vec<FiberId> {
        let mut children = Vec::with_capacity(self.children);
        let mut next = self.first;
        // SAFETY: linked places are members', and the lock is held.
        while let Some(kin) = unsafe { next.as_ref() } {
            children.push(FiberId::from_number(kin.id.load(Ordering::SeqCst)));
            next = kin.next.get();
        }
        children
    }
}

impl Kin {
    fn new(family: *const Family) -> Self {
        let nobody = || Cell::new(ptr::null());
        Kin { family, next: nobody(), previous: nobody(), id: AtomicU64::new(0) }
    }

    /// The family; the caller is a child that has not left it.
    pub(crate) fn family(&self) -> &Family {
        // SAFETY: a scope's record goes only once all children have left, and the caller has not.
        unsafe { &*self.family }
    }

    /// The place is this fiber's, which nobody can run yet.
    pub(crate) fn settle(&self, child: FiberId) {
        self.id.store(child.number(), Ordering::SeqCst);
    }
}

/// A child's function has returned: a negative value is a failure of the family. Not `-ECANCELED`: that is how
/// a child ends that was told to.
pub(crate) fn child_says(value: i64) {
    let kin = current::fiber().map_or(ptr::null(), |fiber| fiber.kin.get());
    // SAFETY: a child's place stays until the child has left its stack.
    if let Some(kin) = unsafe { kin.as_ref() }
        && value < 0
        && value != -i64::from(libc::ECANCELED)
    {
        kin.family().strike(value);
    }
}

/// A child has left its stack, for good.
#[cold]
pub(crate) fn child_ends(child: FiberRef, returned: bool) {
    let kin = child.kin.replace(ptr::null());
    // SAFETY: the place is the child's until it is taken back below.
    let family = unsafe { (*kin).family() };
    if !returned {
        family.strike(-i64::from(Errno::PANIC.number()));
    }
    // SAFETY: it was given to this child, which ends once.
    unsafe { family.dismiss(kin) };
}
