//! A fiber: its record, its name, and how it begins and ends.
//!
//! ```text
//! Vacant ──spawn──▶ Live ──its function returns──▶ Done ──join, detach──▶ Vacant, next generation
//!                     └──────── and it was detached, or somebody joins ───▶ Vacant
//! ```
//!
//! A record is never unmapped, so a name can always be looked up; whether it still names anybody is
//! decided under the record's lock. Apart from `id`, `latch`, `end` and what says where the fiber stands, a
//! record is touched by the fiber's home thread only: by the fiber itself, or by its worker while the fiber is
//! off its stack.
//!
//! A fiber that may move stands, while it is ready, where any worker of its crew may take it: it is *exposed*.
//! Whoever takes it makes itself its home, then says that it is exposed no more. So a worker that finds a
//! fiber not exposed, and then finds that it is its home, has it for itself; and one that finds it exposed
//! leaves it alone: who takes it sees, by its next blocking call, what was latched before.
//!
//! That holds for live fibers. News of a fiber may come when its slot is vacant, or while somebody makes another
//! fiber there: whoever has a record and does not know whose it is by now asks where it [`stands`](FiberRef::stands),
//! under its lock. Under the lock a live fiber stays live; and it is made live last of all, when it is complete.

use std::{
    any::{Any, TypeId},
    cell::{Cell, UnsafeCell},
    fmt,
    marker::PhantomData,
    mem::{ManuallyDrop, MaybeUninit},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::{self, NonNull},
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, Ordering},
    thread,
};

use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::{
    belongings::{self, Belongings},
    errno::{Errno, Result},
    exceptions,
    family::{self, Kin},
    lock::{Guarded, Lock},
    park::{self, Waiter, Waiters, Wake},
    sanitize,
    scope::Open,
    stack::{self, Reach, Slab},
    worker::Worker,
};
use crate::{
    crew::Roaming,
    op::{Op, OpKey},
    timers::TimerKey,
};

/// Names a fiber, for ever: once the fiber is gone its name is an error, never another fiber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FiberId(u64);

const INDEX_BITS: u32 = 24;
const CLASS_BITS: u32 = 3;
const GENERATION: u64 = 1 << (INDEX_BITS + CLASS_BITS);

/// The number of a name.
fn number(class: u8, index: u32, generation: u64) -> u64 {
    generation | u64::from(class) << INDEX_BITS | u64::from(index)
}

impl FiberId {
    /// The name as a number; never 0.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The name that `number` came from. Any number will do: a wrong one names nobody.
    pub fn from_number(number: u64) -> Self {
        FiberId(number)
    }

    /// The record that the name leads to. Whether it is still this fiber's must be asked under its lock.
    pub(crate) fn find(self) -> Result<FiberRef> {
        stack::slot(self.class(), self.index()).ok_or(Errno::NO_SUCH_FIBER)
    }

    fn class(self) -> usize {
        (self.0 >> INDEX_BITS) as usize & ((1 << CLASS_BITS) - 1)
    }

    fn index(self) -> u32 {
        self.0 as u32 & ((1 << INDEX_BITS) - 1)
    }
}

/// What a fiber asks of its worker as it leaves its stack.
#[derive(Clone, Copy)]
pub(crate) enum Ask {
    /// Run the others first.
    Yield,
    /// Perform this operation.
    Perform(*const Op),
    /// Let go of this lock; somebody will wake me.
    Release(*const Lock),
    /// Let go of these; one of several will wake me.
    ReleaseAll(*const Vec<&'static Lock>),
    /// Nothing: this timer will wake me.
    Sleep(*const TimerKey),
}

/// What a fiber waits for.
#[derive(Clone, Copy)]
pub(crate) enum Parked {
    /// Its worker has not heard of it yet.
    Unstarted,
    /// Nothing: it runs, or stands in the run queue.
    Ready,
    /// The last completion of an operation.
    Operation(OpKey),
    /// A point in time.
    Asleep(TimerKey),
    /// Somebody who finds it in a list.
    Listed(*const Waiter),
    /// Nothing any more.
    Ended,
}

/// How far a fiber has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Vacant,
    Live { detached: bool },
    Done,
}

/// A stage, which is changed under the fiber's lock; but for a vacant slot's, which its only owner makes live
/// without asking anybody.
pub(crate) struct StageCell(AtomicU8);

impl StageCell {
    const fn vacant() -> Self {
        StageCell(AtomicU8::new(0))
    }

    #[inline]
    pub(crate) fn get(&self) -> Stage {
        match self.0.load(Ordering::Acquire) {
            0 => Stage::Vacant,
            1 => Stage::Live { detached: false },
            2 => Stage::Live { detached: true },
            _ => Stage::Done,
        }
    }

    #[inline]
    pub(crate) fn set(&self, stage: Stage) {
        let number = match stage {
            Stage::Vacant => 0,
            Stage::Live { detached } => 1 + u8::from(detached),
            Stage::Done => 3,
        };
        self.0.store(number, Ordering::Release);
    }
}

/// What whoever joins needs to know; guarded by the fiber's lock.
pub(crate) struct End {
    pub(crate) stage: StageCell,
    pub(crate) joiners: Waiters,
}

/// How far a fiber may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Roams {
    /// It runs where it is queued.
    Nowhere,
    /// It stays where it began to run.
    UntilItRuns,
    /// Wherever it is ready.
    Always,
}

/// Where a fiber stands, as a worker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// With this worker, and nobody else touches it.
    Here,
    /// Where any worker may take it; this was its home last.
    Exposed,
    /// With another worker, or with another's exposed ones.
    Elsewhere,
}

/// Nobody has cancelled the fiber. The others are bits.
pub(crate) const CALM: u8 = 0;
/// The next blocking call is refused.
pub(crate) const CANCELLED: u8 = 1;
/// The runtime shuts down: every blocking call is refused.
pub(crate) const STOPPED: u8 = 2;
/// A scope that it has open has been cancelled: every blocking call within is refused.
pub(crate) const STRUCK: u8 = 4;

type Body = Coroutine<(), (), (), Reach>;

/// A fiber's record. The first cache line is all that a switch needs; the second is for waiting.
#[repr(C, align(64))]
pub(crate) struct Fiber {
    body: UnsafeCell<MaybeUninit<ManuallyDrop<Body>>>,
    yielder: Cell<*const Yielder<(), ()>>,
    pub(crate) ask: Cell<Ask>,
    pub(crate) latch: AtomicU8,
    /// Others may take it at any moment.
    exposed: AtomicBool,
    /// A timer of its went off while it was exposed: it looks at the clock by itself.
    pub(crate) overdue: AtomicBool,
    /// Whether it is exposed when it is queued next.
    moves: Cell<bool>,
    /// Whether it is exposed also once it has begun.
    migratable: Cell<bool>,
    /// Whether it runs in the turn of who joins it, who goes on when it has ended.
    pub(crate) lent: Cell<bool>,
    /// Whether the packet holds a value: the function has returned.
    returned: Cell<bool>,
    /// Why the operation in flight is being cancelled, where it is.
    pub(crate) interrupt: Cell<Option<Errno>>,
    pub(crate) outcome: Cell<i32>,
    pub(crate) shields: Cell<u32>,
    pub(crate) scope: Cell<*const Open>,
    pub(crate) home: AtomicPtr<Worker>,
    pub(crate) parked: Cell<Parked>,
    pub(crate) end: Guarded<End>,
    id: AtomicU64,
    packet: Cell<*mut u8>,
    kind: Cell<&'static Kind>,
    /// Its place among the children of a scope; null where it is none's, and in a vacant slot.
    pub(crate) kin: Cell<*const Kin>,
    /// Null where it has none, and in a vacant slot.
    pub(crate) belongings: AtomicPtr<Belongings>,
    context: sanitize::Context,
}

/// What can be done with a packet without knowing its types.
struct Kind {
    /// Calls the function and puts its value in its place; false where it panicked.
    run: unsafe fn(*mut u8) -> bool,
    /// Moves the value out.
    deliver: unsafe fn(*mut u8, *mut u8),
    /// Drops the value.
    discard: unsafe fn(*mut u8),
    /// The type of the value.
    value: fn() -> TypeId,
}

impl Kind {
    const NONE: &Self =
        &Kind { run: |_| false, deliver: |_, _| {}, discard: |_| {}, value: TypeId::of::<()> };
}

/// The kind of packet of a function and its value.
struct KindOf<F, T>(PhantomData<(F, T)>);

impl<F: FnOnce() -> T + 'static, T: 'static> KindOf<F, T> {
    const KIND: &'static Kind =
        &Kind { run: Self::run, deliver: Self::deliver, discard: Self::discard, value: TypeId::of::<T> };

    unsafe fn run(packet: *mut u8) -> bool {
        let packet = packet.cast::<Packet<F, T>>();
        // SAFETY: a packet that has not run holds its function.
        let function = unsafe { ManuallyDrop::take(&mut (*packet).function) };
        match catch_unwind(AssertUnwindSafe(function)) {
            Ok(value) => {
                // SAFETY: the function was taken out above, so its place is free.
                unsafe { (&raw mut (*packet).value).write(ManuallyDrop::new(value)) };
                true
            }
            Err(panic) => {
                swallow(panic);
                false
            }
        }
    }

    unsafe fn deliver(packet: *mut u8, into: *mut u8) {
        let packet = packet.cast::<Packet<F, T>>();
        // SAFETY: by the caller, the packet holds a value and `into` has room for it.
        unsafe { into.cast::<T>().write(ManuallyDrop::take(&mut (*packet).value)) };
    }

    unsafe fn discard(packet: *mut u8) {
        let packet = packet.cast::<Packet<F, T>>();
        // SAFETY: by the caller, the packet holds a value.
        unsafe { ManuallyDrop::drop(&mut (*packet).value) };
    }
}

/// Drops what a panic carried. Dropping may panic in its turn; that is where we stop listening.
pub(crate) fn swallow(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
}

/// What a fiber runs, then what came of it.
union Packet<F, T> {
    function: ManuallyDrop<F>,
    value: ManuallyDrop<T>,
}

/// Where a joiner wants the value, and whether it came.
pub(crate) struct Delivery {
    pub(crate) arrived: bool,
    pub(crate) into: *mut u8,
}

/// A fiber's record by address: what queues and tables hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FiberRef(NonNull<Fiber>);

// SAFETY: a record is never unmapped, and its fields say themselves who may touch them.
unsafe impl Send for FiberRef {}

impl std::ops::Deref for FiberRef {
    type Target = Fiber;

    #[inline]
    fn deref(&self) -> &Fiber {
        // SAFETY: a reference is made for slots whose record was written, and records are never unmapped.
        unsafe { self.0.as_ref() }
    }
}

impl fmt::Debug for FiberRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fiber({:#x})", self.id.load(Ordering::Relaxed))
    }
}

impl Fiber {
    /// A record for a slot that has never been used.
    pub(crate) fn vacant(class: u8, index: u32) -> Fiber {
        Fiber {
            parked: Cell::new(Parked::Ended),
            ask: Cell::new(Ask::Yield),
            body: UnsafeCell::new(MaybeUninit::uninit()),
            yielder: Cell::new(ptr::null()),
            home: AtomicPtr::new(ptr::null_mut()),
            scope: Cell::new(ptr::null()),
            outcome: Cell::new(0),
            shields: Cell::new(0),
            interrupt: Cell::new(None),
            latch: AtomicU8::new(CALM),
            exposed: AtomicBool::new(false),
            overdue: AtomicBool::new(false),
            moves: Cell::new(false),
            migratable: Cell::new(false),
            lent: Cell::new(false),
            end: Guarded::new(End { stage: StageCell::vacant(), joiners: Waiters::new() }),
            id: AtomicU64::new(number(class, index, GENERATION)),
            packet: Cell::new(ptr::null_mut()),
            kind: Cell::new(Kind::NONE),
            returned: Cell::new(false),
            kin: Cell::new(ptr::null()),
            belongings: AtomicPtr::new(ptr::null_mut()),
            context: sanitize::Context::none(),
        }
    }
}

impl FiberRef {
    pub(crate) fn at(address: usize) -> Self {
        FiberRef(NonNull::new(address as *mut Fiber).expect("no record is at address 0"))
    }

    #[inline]
    pub(crate) fn from_ptr(fiber: *const Fiber) -> Option<Self> {
        NonNull::new(fiber.cast_mut()).map(FiberRef)
    }

    #[inline]
    pub(crate) fn as_ptr(self) -> *mut Fiber {
        self.0.as_ptr()
    }

    /// Makes a vacant record of one that became zeros because the system has had its memory. Whoever has a name of old
    /// may be looking at it, under its lock; it gets a generation that no such name has.
    pub(crate) fn renew(self, class: u8, index: u32, generation: u64) -> Self {
        let _end = self.end.lock();
        let new = Fiber::vacant(class, index);
        let old = self.as_ptr();
        // SAFETY: the slot is vacant and the caller's alone, and nobody else reads these of a vacant one.
        unsafe {
            (&raw mut (*old).ask).write(new.ask);
            (&raw mut (*old).interrupt).write(new.interrupt);
            (&raw mut (*old).parked).write(new.parked);
            (&raw mut (*old).kind).write(new.kind);
        }
        // Of everything else zeros are what a vacant record has.
        self.id.store(number(class, index, generation), Ordering::Relaxed);
        self
    }

    /// Makes a vacant record a fiber that will run `function` once it is [`live`](Self::live).
    pub(crate) fn prepare<F, T>(self, slab: &Slab, home: *const Worker, roams: Roams, function: F) -> FiberId
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let align = align_of::<Packet<F, T>>().max(16);
        let packet = (self.as_ptr() as usize - size_of::<Packet<F, T>>()) & !(align - 1);
        let limit = slab.limit(self.index());
        sanitize::begin(limit, self.as_ptr() as usize);
        let reach = Reach::new(packet, limit);
        let packet = packet as *mut Packet<F, T>;
        // SAFETY: the packet lies between record and stack of a vacant slot, which is the caller's alone.
        unsafe { (&raw mut (*packet).function).write(ManuallyDrop::new(function)) };
        self.packet.set(packet.cast());
        self.kind.set(KindOf::<F, T>::KIND);
        self.scope.set(ptr::null());
        self.shields.set(0);
        self.interrupt.set(None);
        self.parked.set(Parked::Unstarted);
        self.latch.store(CALM, Ordering::Relaxed);
        self.overdue.store(false, Ordering::Relaxed);
        self.moves.set(roams != Roams::Nowhere);
        self.migratable.set(roams == Roams::Always);
        self.home.store(home.cast_mut(), Ordering::Release);
        let body = Coroutine::with_stack(reach, move |yielder: &Yielder<(), ()>, ()| {
            self.yielder.set(yielder);
            // SAFETY: the packet was written above and holds the function until this call.
            self.returned.set(unsafe { (self.kind.get().run)(self.packet.get()) });
            if !self.belongings.load(Ordering::Relaxed).is_null() || !self.scope.get().is_null() {
                belongings::wind_up(self);
            }
        });
        // SAFETY: the record is vacant: no body runs.
        unsafe { (*self.body.get()).write(ManuallyDrop::new(body)) };
        FiberId(self.id.load(Ordering::Relaxed))
    }

    /// A fiber that has been prepared is live from now on: its home may hear of it, and begin to run it.
    #[inline]
    pub(crate) fn live(self, detached: bool) {
        // SAFETY: the slot is vacant and the caller's alone; whoever looks at a vacant one under the lock leaves
        // it at that, and a stage is written in one piece.
        unsafe { self.end.unguarded() }.stage.set(Stage::Live { detached });
    }

    /// Where the fiber stands that has the record now, seen by this worker's own thread; `None` where none is live.
    /// One that stands here stays live, and here, until the caller lets it run.
    #[inline]
    pub(crate) fn stands(self, here: *const Worker) -> Option<Standing> {
        let end = self.end.lock();
        matches!(end.stage.get(), Stage::Live { .. }).then(|| self.standing(here))
    }

    /// Where it stands, seen by this worker's own thread. Its lock is held, and it is live.
    #[inline]
    pub(crate) fn standing(self, here: *const Worker) -> Standing {
        // In this order: see the module's promise.
        let exposed = self.exposed.load(Ordering::SeqCst);
        match (ptr::eq(self.home.load(Ordering::SeqCst), here), exposed) {
            (false, _) => Standing::Elsewhere,
            (true, true) => Standing::Exposed,
            (true, false) => Standing::Here,
        }
    }

    /// Makes a call during which the fiber, which is the one that runs, stays on its worker.
    pub(crate) fn staying<T>(self, call: impl FnOnce() -> T) -> T {
        let moves = self.moves.replace(false);
        let value = call();
        self.moves.set(moves);
        value
    }

    /// Runs the fiber until it suspends; true once it has ended.
    #[inline]
    pub(crate) fn resume(self) -> bool {
        // SAFETY: the worker resumes live fibers that it has in its queue, so `body` is written and is
        // not running.
        let body = unsafe { (*self.body.get()).assume_init_mut() };
        self.context.run(|| matches!(body.resume(()), CoroutineResult::Return(())))
    }

    /// What the fiber, which has just left its stack, asks for.
    ///
    /// It is read where it stands: a copy would be read in one piece, but was written in two a moment ago, and
    /// the processor would wait for both to reach the cache.
    #[inline]
    pub(crate) fn asked<'a>(self) -> &'a Ask {
        // SAFETY: a record is never unmapped, and only the fiber itself writes there, once it is resumed.
        unsafe { &*self.ask.as_ptr() }
    }

    /// Leaves the stack of this fiber, which is the one that runs, and returns when it is resumed.
    #[inline(always)]
    pub(crate) fn suspend(self, ask: Ask) {
        self.ask.set(ask);
        // SAFETY: a running fiber has set its yielder, which lives as long as its stack.
        exceptions::keep(|| unsafe { (*self.yielder.get()).suspend(()) });
    }

    /// Whether it is ready and has not begun. Its worker asks, and nobody else may take it.
    #[inline]
    pub(crate) fn is_new(self) -> bool {
        // SAFETY: a live fiber has a body, which does not run while its worker asks.
        matches!(self.parked.get(), Parked::Ready)
            && unsafe { !(*self.body.get()).assume_init_ref().started() }
    }

    /// Whether it is exposed only until it begins. Anybody may ask while it is live.
    #[inline]
    pub(crate) fn settles(self) -> bool {
        !self.migratable.get()
    }

    /// The fiber has ended and is off its stack: tells the joiner, or keeps the value for one. Says
    /// whether the slot is vacant now, and whom to wake.
    #[inline]
    pub(crate) fn finish(self, here: *const Worker) -> (bool, Option<Wake>) {
        self.parked.set(Parked::Ended);
        if !self.kin.get().is_null() {
            family::child_ends(self, self.returned.get());
        }
        let mut end = self.end.lock();
        if let Some(joiner) = end.joiners.pop() {
            // SAFETY: a joiner's item is a delivery on its stack, which stays until it is woken, and it
            // has asked for the type. It was popped under the lock that is still held.
            let wake = unsafe {
                self.deliver((*joiner).item().cast());
                park::grant_from(here, joiner, 0)
            };
            self.vacate(&mut end);
            return (true, Some(wake));
        }
        if end.stage.get() != (Stage::Live { detached: true }) {
            end.stage.set(Stage::Done);
            return (false, None);
        }
        self.vacate(&mut end);
        drop(end);
        self.discard();
        (true, None)
    }

    /// Nobody can name the fiber any more. Its slot may be used again once the value is gone.
    #[inline]
    pub(crate) fn vacate(self, end: &mut End) {
        end.stage.set(Stage::Vacant);
        if !self.belongings.load(Ordering::Relaxed).is_null() {
            self.discard_belongings();
        }
        let id = self.id.load(Ordering::Relaxed);
        // The highest bit stays 0: with it a number is a thread's.
        self.id.store((id + GENERATION) & (u64::MAX >> 1), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn id(self) -> FiberId {
        FiberId(self.id.load(Ordering::Relaxed))
    }

    pub(crate) fn class(self) -> usize {
        self.id().class()
    }

    pub(crate) fn index(self) -> u32 {
        self.id().index()
    }

    /// Which of the fibers that its slot has had it is: more than all before.
    pub(crate) fn generation(self) -> u64 {
        self.id().0 & !(GENERATION - 1)
    }

    /// Whether its value is of that type.
    #[inline]
    pub(crate) fn yields<T: 'static>(self) -> bool {
        let value = self.kind.get().value;
        // Functions that answer differently never share an address, so mostly there is no need to call them.
        ptr::fn_addr_eq(value, TypeId::of::<T> as fn() -> TypeId) || value() == TypeId::of::<T>()
    }

    /// Moves the value, if there is one, to where its joiner wants it.
    ///
    /// # Safety
    /// The fiber has ended, and `delivery` is alive and has room for a value of its type.
    #[inline]
    pub(crate) unsafe fn deliver(self, delivery: *mut Delivery) {
        // SAFETY: by the caller; the packet holds a value where the function has returned.
        unsafe {
            (*delivery).arrived = self.returned.get();
            if self.returned.get() {
                (self.kind.get().deliver)(self.packet.get(), (*delivery).into);
            }
        }
    }

    /// Drops the value that nobody wants. That runs the user's code; what it throws ends here.
    pub(crate) fn discard(self) {
        if !self.returned.get() {
            return;
        }
        // SAFETY: the function returned and nobody took the value, so the packet holds it.
        let discard = || unsafe { (self.kind.get().discard)(self.packet.get()) };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(discard)) {
            swallow(panic);
        }
    }
}

impl Roaming for FiberRef {
    type Worker = *const Worker;

    #[inline]
    fn into_word(self) -> usize {
        self.as_ptr() as usize
    }

    #[inline]
    fn from_word(word: usize) -> Self {
        FiberRef::at(word)
    }

    /// A fiber that waits while it unwinds stays: how many panics there are is counted a thread.
    #[inline]
    fn may_move(self) -> bool {
        self.moves.get() && !thread::panicking()
    }

    #[inline]
    fn exposed(self) {
        self.exposed.store(true, Ordering::Relaxed);
    }

    #[inline]
    fn taken(self, by: *const Worker) {
        if !ptr::eq(self.home.load(Ordering::Relaxed), by) {
            // Sequentially consistent, as is every later look at the latch: who has latched something and then
            // finds the old home here knows that the fiber will see it.
            self.home.swap(by.cast_mut(), Ordering::SeqCst);
        }
        self.exposed.store(false, Ordering::Release);
        self.moves.set(self.migratable.get());
    }
}

// The picture above `Fiber` in numbers: whoever adds a field sees to it that a switch stays in one line, and the
// whole record in three. What the sanitizers are told is not counted.
const _: () = assert!(
    std::mem::offset_of!(Fiber, latch) == 64 && size_of::<Fiber>() == 192
        || cfg!(any(feature = "address-sanitizer", feature = "thread-sanitizer"))
);
