//! The one table of Ruby values of a scheduler.
//!
//! Run queue, timers and operations hold names; a name leads here, to the fiber's record, or nowhere
//! once the fiber has ended. `mark` therefore has one place to look at, compaction has nothing to
//! correct (what stands here is pinned), and a late wake-up finds nobody.
//!
//! Other threads write here only under the GVL, and never while the owner is inside its shard.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    rc::Rc,
};

use magnus::{
    Value, gc,
    rb_sys::{AsRawValue, FromRawValue},
};
use polyphony_core::{
    host::{Host, Then},
    op::{OpKey, Outcome},
    run_queue::{Moving, Numbered},
    time::Time,
    timers::TimerKey,
};
use rb_sys::{Qnil, VALUE};

use crate::scheduler::Watched;

/// Names a fiber of one scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    index: u32,
    generation: u32,
}

impl Name {
    /// The fiber that made the scheduler: the thread's main fiber, or the one that forked.
    pub(crate) const MAIN: Name = Name { index: 0, generation: 1 };

    /// The name as a number that fits a Ruby Fixnum.
    pub(crate) fn number(self) -> u64 {
        u64::from(self.generation & GENERATIONS) << 32 | u64::from(self.index)
    }

    pub(crate) fn from_number(number: u64) -> Self {
        Name { index: number as u32, generation: (number >> 32) as u32 }
    }
}

const GENERATIONS: u32 = (1 << 29) - 1;

impl Numbered for Name {
    #[inline]
    fn number(self) -> usize {
        self.index as usize
    }
}

/// What somebody wants a fiber to be resumed with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scheduled {
    pub(crate) value: VALUE,
    /// The value is an exception to raise.
    pub(crate) raises: bool,
    /// It ends a block whose time is up, begun so far in the fiber's shields. What else is to be raised there
    /// means more than that block, so it comes first; this comes next, where the block has not ended.
    pub(crate) timeout: Option<Depth>,
}

impl Scheduled {
    /// What somebody schedules, as opposed to a timer.
    pub(crate) fn new(value: VALUE, raises: bool) -> Self {
        Scheduled { value, raises, timeout: None }
    }

    /// Of two exceptions, the one that is raised first, and the other where that is to be raised as well.
    fn contend(self, later: Scheduled) -> (Scheduled, Option<Scheduled>) {
        match (self.timeout, later.timeout) {
            (_, Some(_)) => (self, Some(later)),
            (Some(_), None) => (later, Some(self)),
            (None, None) => (later, None),
        }
    }
}

/// All that a scheduler knows of one fiber.
#[derive(Debug)]
pub(crate) struct Record {
    generation: u32,
    pub(crate) fiber: VALUE,
    pub(crate) scheduled: Option<Scheduled>,
    pub(crate) outcomes: Outcomes,
    /// The timer that a sleep waits for.
    pub(crate) alarm: Option<TimerKey>,
    /// Whoever transferred to the fiber says so here; a fiber that is resumed for nothing does not see it.
    pub(crate) granted: bool,
    /// The fiber was spun, and has not said yet that it begins.
    pub(crate) fresh: bool,
    /// The fiber that this one has resumed and that is parked: what is scheduled here goes there.
    pub(crate) inner: Option<Name>,
    /// What woke the fiber from a `block` of the scheduler interface.
    pub(crate) unblocked: Option<VALUE>,
    /// The fiber sits in `suspend`, which ends when nothing can happen any more.
    pub(crate) may_idle: bool,
    /// The wait in a line that the fiber is in; 0 for none. No two waits of a process have the same.
    pub(crate) ticket: u64,
    /// Somebody called the fiber for that wait.
    pub(crate) called: bool,
    /// A value that was scheduled while the fiber waited for something else: the next `suspend`, `snooze` or
    /// `sleep` returns it.
    pub(crate) kept: Option<VALUE>,
    /// When the fiber began to wait, as near as the kernel's last tick.
    pub(crate) since: Time,
    /// What few fibers have, and only for a while.
    rare: Option<Box<Rare>>,
}

/// Shields, interjections and detention.
#[derive(Debug, Default)]
struct Rare {
    shields: u32,
    /// What the shields keep from the fiber.
    held: Option<Scheduled>,
    /// Timeouts that another exception came before, in their order.
    late: Vec<Scheduled>,
    /// The time for clean-up is over: no shield helps any more.
    exposed: bool,
    interjections: VecDeque<VALUE>,
    /// An interjection runs, under the name that `inner` says.
    aside: bool,
    /// The fiber was made by `Fiber.new` and has not begun: it will not say when it does.
    unannounced: bool,
    /// The fiber is held up; whether it would run otherwise.
    detained: Option<bool>,
}

/// How far in a fiber's shields something was begun that is now to be raised there: a shield keeps off what
/// is from outside it.
pub(crate) type Depth = u32;

/// No shield holds it back.
pub(crate) const THROUGH: Depth = Depth::MAX;

/// What a timer does when it is due, other than ending a sleep.
#[derive(Debug)]
enum Alarm {
    Raise(VALUE, Depth, Option<Watched>),
    OpenShield,
}

/// Outcomes that a fiber has not looked at. Nearly always none or one.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    first: Option<(OpKey, Outcome)>,
    rest: Vec<(OpKey, Outcome)>,
}

impl Outcomes {
    fn push(&mut self, key: OpKey, outcome: Outcome) {
        if self.first.is_none() {
            self.first = Some((key, outcome));
        } else {
            self.rest.push((key, outcome));
        }
    }

    /// What came of an operation. Others may be of one that the fiber began before a trap handler came, which waits, too.
    pub(crate) fn take(&mut self, key: OpKey) -> Option<Outcome> {
        if self.first.as_ref().is_some_and(|(of, _)| *of == key) {
            let next = (!self.rest.is_empty()).then(|| self.rest.remove(0));
            return std::mem::replace(&mut self.first, next).map(|(_, outcome)| outcome);
        }
        let place = self.rest.iter().position(|(of, _)| *of == key)?;
        Some(self.rest.remove(place).1)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

/// The records, what timers raise, and what operations keep.
#[derive(Debug)]
pub(crate) struct Roots {
    records: Vec<Record>,
    free: Vec<u32>,
    /// What a timer does to its fiber; sleeps have no entry.
    alarms: HashMap<u64, Alarm, BuildHasherDefault<NumberHasher>>,
    keeps: Rc<Keeps>,
    live: usize,
    peak: usize,
    /// Who was made ready where no Ruby could be called, for the tracer to hear of it soon; whether with
    /// priority. Only while there is a tracer.
    woken: Option<VecDeque<(Name, bool)>>,
    /// The tracer runs: whom it makes ready is not told.
    hushed: bool,
}

impl Roots {
    /// A table whose first fiber is the main one.
    pub(crate) fn new(main: VALUE) -> Self {
        let mut roots = Roots {
            records: Vec::new(),
            free: Vec::new(),
            alarms: HashMap::default(),
            keeps: Rc::default(),
            live: 0,
            peak: 0,
            woken: None,
            hushed: false,
        };
        let name = roots.adopt(main);
        debug_assert_eq!(name, Name::MAIN);
        roots
    }

    /// Gives a fiber a name and keeps it alive until it is forgotten.
    pub(crate) fn adopt(&mut self, fiber: VALUE) -> Name {
        self.live += 1;
        self.peak = self.peak.max(self.live);
        if let Some(index) = self.free.pop() {
            let record = &mut self.records[index as usize];
            record.fiber = fiber;
            return Name { index, generation: record.generation };
        }
        let index = u32::try_from(self.records.len()).expect("fewer than 2^32 fibers");
        self.records.push(Record::new(fiber, 1));
        Name { index, generation: 1 }
    }

    /// Ends a name: late wake-ups find nobody.
    pub(crate) fn forget(&mut self, name: Name) {
        let Some(record) = self.record(name) else { return };
        let generation = (record.generation + 1) & GENERATIONS;
        *record = Record::new(0, generation);
        self.live -= 1;
        self.free.push(name.index);
    }

    #[inline]
    pub(crate) fn record(&mut self, name: Name) -> Option<&mut Record> {
        self.records
            .get_mut(name.index as usize)
            .filter(|record| record.generation == name.generation && record.fiber != 0)
    }

    /// Notes what a fiber is to be resumed with, unless something stronger stands there: an exception is
    /// replaced by an exception only. Says whether it was noted.
    pub(crate) fn schedule(&mut self, name: Name, scheduled: Scheduled) -> bool {
        let Some(record) = self.record(name) else { return false };
        let Some(earlier) = record.scheduled.filter(|earlier| earlier.raises) else {
            record.scheduled = Some(scheduled);
            return true;
        };
        if !scheduled.raises {
            return false;
        }
        let (first, late) = earlier.contend(scheduled);
        record.scheduled = Some(first);
        record.put_off(late);
        first.value == scheduled.value
    }

    /// Puts a timeout off that is scheduled for a fiber in which something else is to be raised already.
    pub(crate) fn put_off(&mut self, name: Name) {
        let Some(record) = self.record(name) else { return };
        let late = record.scheduled.take_if(|scheduled| scheduled.timeout.is_some());
        record.put_off(late);
    }

    /// A timeout that was put off is due now. Says whether there is one.
    #[inline]
    pub(crate) fn bring_late(&mut self, name: Name) -> bool {
        let Some(record) = self.record(name) else { return false };
        let Some(rare) = record.rare.as_deref_mut() else { return false };
        if record.scheduled.is_some() {
            return false;
        }
        let due = rare.late.iter().position(|late| !rare.keeps_off(late.timeout.unwrap_or(0)));
        record.scheduled = due.map(|due| rare.late.remove(due));
        record.scheduled.is_some()
    }

    /// Moves what timers have for one name to another of the same fiber.
    pub(crate) fn move_late(&mut self, from: Name, to: Name) {
        self.put_off(from);
        let Some(rare) = self.record(from).and_then(|record| record.rare.as_deref_mut()) else { return };
        let late = std::mem::take(&mut rare.late);
        if let Some(record) = self.record(to).filter(|_| !late.is_empty()) {
            record.rare_mut().late.extend(late);
        }
    }

    /// Ends the wait in a line that has that ticket; false where it is over.
    #[inline]
    pub(crate) fn call(&mut self, name: Name, ticket: u64) -> bool {
        let Some(record) = self.record(name).filter(|record| record.ticket == ticket) else { return false };
        record.called = true;
        true
    }

    /// A value that came while the fiber waited for something else is due now; one that came since is newer.
    /// Says whether there is one.
    #[inline]
    pub(crate) fn bring_kept(&mut self, name: Name) -> bool {
        let Some(record) = self.record(name) else { return false };
        let Some(value) = record.kept.take() else { return false };
        record.scheduled.get_or_insert(Scheduled::new(value, false));
        true
    }

    /// [`schedule`](Self::schedule) for what comes from elsewhere: shields hold it back, and it goes to the
    /// fiber that `name` has resumed. The name to be readied; nobody's where nothing changed.
    pub(crate) fn deliver(&mut self, name: Name, scheduled: Scheduled, depth: Depth) -> Option<Name> {
        let rare = self.record(name)?.rare.as_deref_mut();
        if let Some(rare) = rare.filter(|rare| scheduled.raises && rare.keeps_off(depth)) {
            let (first, late) = match rare.held {
                Some(held) => held.contend(scheduled),
                None => (scheduled, None),
            };
            rare.held = Some(first);
            rare.late.extend(late);
            return None;
        }
        let name = self.innermost(name);
        self.schedule(name, scheduled).then_some(name)
    }

    /// Puts a shield around what the fiber does from now on.
    pub(crate) fn shield(&mut self, name: Name) {
        self.put_off(name);
        if let Some(record) = self.record(name) {
            record.rare_mut().shields += 1;
        }
    }

    /// Takes a shield away; what the last one has held back.
    pub(crate) fn unshield(&mut self, name: Name) -> Option<Scheduled> {
        let rare = self.record(name)?.rare.as_deref_mut()?;
        rare.shields = rare.shields.saturating_sub(1);
        if rare.shields == 0 { rare.held.take() } else { None }
    }

    /// How many shields are around the fiber.
    pub(crate) fn depth(&mut self, name: Name) -> Depth {
        self.record(name).and_then(|record| record.rare.as_deref()).map_or(0, |rare| rare.shields)
    }

    /// Forgets a timer's exception that has been scheduled, or held back, and not raised. Says whether it was
    /// scheduled.
    pub(crate) fn take_back(&mut self, name: Name, marker: VALUE) -> bool {
        let Some(record) = self.record(name) else { return false };
        if let Some(rare) = record.rare.as_deref_mut() {
            rare.held.take_if(|held| held.value == marker);
            rare.late.retain(|late| late.value != marker);
        }
        record.scheduled.take_if(|scheduled| scheduled.value == marker).is_some()
    }

    /// From now on no shield helps the fiber.
    pub(crate) fn expose(&mut self, name: Name) {
        if let Some(record) = self.record(name) {
            record.rare_mut().exposed = true;
        }
    }

    /// Asks the fiber to call `block` in the middle of its wait.
    pub(crate) fn interject(&mut self, name: Name, block: VALUE) {
        if let Some(record) = self.record(name) {
            record.rare_mut().interjections.push_back(block);
        }
    }

    /// What the fiber is to call next, with a name for what it waits for meanwhile; and whether that wait is
    /// over before it begins: an exception that came in the same turn ends the call's wait, not the one around.
    pub(crate) fn begin_aside(&mut self, name: Name) -> Option<(VALUE, Name, bool)> {
        let record = self.record(name)?;
        let fiber = record.fiber;
        let block = record.rare.as_deref_mut()?.interjections.pop_front()?;
        let inside = self.adopt(fiber);
        let record = self.record(name)?;
        record.inner = Some(inside);
        record.rare_mut().aside = true;
        let exception = record.scheduled.take_if(|scheduled| scheduled.raises);
        let ends = exception.is_some_and(|exception| self.schedule(inside, exception));
        Some((block, inside, ends))
    }

    /// The call is over. What came for it too late is the fiber's.
    pub(crate) fn end_aside(&mut self, name: Name, inside: Name) -> bool {
        let (left, kept) =
            self.record(inside).map_or((None, None), |record| (record.scheduled.take(), record.kept.take()));
        self.move_late(inside, name);
        self.forget(inside);
        if let Some(record) = self.record(name) {
            record.inner = None;
            record.kept = kept.or(record.kept);
            record.rare_mut().aside = false;
        }
        left.is_some_and(|left| self.schedule(name, left)) || self.bring_late(name)
    }

    /// Whose turn it is when it is `name`'s: its own, or that of the fiber it has resumed.
    #[inline]
    pub(crate) fn turn(&mut self, name: Name) -> Option<Name> {
        let record = self.record(name)?;
        if record.rare.is_none() && record.inner.is_none() {
            return Some(name);
        }
        if let Some(would_run) = record.rare.as_deref_mut().and_then(|rare| rare.detained.as_mut()) {
            *would_run = true;
            return None;
        }
        let inner = self.hand_down(name);
        if inner == name || self.record(inner).is_some_and(|inner| inner.scheduled.is_some()) {
            return Some(inner);
        }
        // What the fiber waited for has come during an interjection: it finds its turn afterwards.
        let record = self.record(name)?;
        record.granted |= record.rare.as_deref().is_some_and(|rare| rare.aside);
        None
    }

    /// The fiber is one that will not say when it begins.
    pub(crate) fn unannounced(&mut self, name: Name) {
        if let Some(record) = self.record(name) {
            record.fresh = false;
            record.rare_mut().unannounced = true;
        }
    }

    /// Gives a fiber its turn. One that does not say that it begins cannot take what it is begun with: the
    /// transfer hands it over.
    #[inline]
    pub(crate) fn grant(&mut self, name: Name) -> Option<(VALUE, Option<VALUE>)> {
        let record = self.record(name)?;
        record.granted = true;
        if record.rare.as_deref_mut().is_some_and(|rare| std::mem::take(&mut rare.unannounced)) {
            record.granted = false;
            let first = record.scheduled.take_if(|scheduled| !scheduled.raises);
            return Some((record.fiber, first.map(|first| first.value)));
        }
        Some((record.fiber, None))
    }

    /// Lets the fiber not run, whatever is scheduled for it, until it is released.
    pub(crate) fn detain(&mut self, name: Name) {
        if let Some(record) = self.record(name) {
            record.rare_mut().detained.get_or_insert(false);
        }
    }

    /// Ends a detention. Whether the fiber should run now.
    pub(crate) fn release(&mut self, name: Name) -> bool {
        let rare = self.record(name).and_then(|record| record.rare.as_deref_mut());
        rare.and_then(|rare| rare.detained.take()).unwrap_or(false)
    }

    pub(crate) fn is_detained(&mut self, name: Name) -> bool {
        let rare = self.record(name).and_then(|record| record.rare.as_deref());
        rare.is_some_and(|rare| rare.detained.is_some())
    }

    /// A fiber that has resumed another goes on when that one does: its turn goes there, with whatever was
    /// scheduled for it before.
    fn hand_down(&mut self, name: Name) -> Name {
        let inner = self.innermost(name);
        if inner != name
            && let Some(scheduled) = self.record(name).and_then(|record| record.scheduled.take())
        {
            self.schedule(inner, scheduled);
        }
        inner
    }

    /// The name that what is scheduled for `name` really goes to.
    pub(crate) fn innermost(&mut self, name: Name) -> Name {
        match self.record(name).and_then(|record| record.inner) {
            Some(inner) if self.record(inner).is_some() => inner,
            _ => name,
        }
    }

    /// Remembers what a timer raises in the fiber that arms it.
    pub(crate) fn set_alarm(
        &mut self,
        timer: TimerKey,
        value: VALUE,
        depth: Depth,
        watched: Option<Watched>,
    ) {
        self.alarms.insert(timer.number(), Alarm::Raise(value, depth, watched));
    }

    /// The timers that are to end their fibers also where these compute, and what each raises.
    pub(crate) fn watched(&self) -> impl Iterator<Item = (TimerKey, Watched, VALUE, Depth)> {
        self.alarms.iter().filter_map(|(&timer, alarm)| match alarm {
            Alarm::Raise(value, depth, Some(watched)) => {
                Some((TimerKey::from_number(timer), *watched, *value, *depth))
            }
            Alarm::Raise(_, _, None) | Alarm::OpenShield => None,
        })
    }

    /// Lets a timer take a shield away.
    pub(crate) fn open_shield_at(&mut self, timer: TimerKey) {
        self.alarms.insert(timer.number(), Alarm::OpenShield);
    }

    pub(crate) fn clear_alarm(&mut self, timer: TimerKey) {
        self.alarms.remove(&timer.number());
    }

    /// Keeps a value alive and in its place until the returned guard is dropped.
    pub(crate) fn keep(&self, value: VALUE) -> Kept {
        self.keeps.add(value)
    }

    /// Whether to remember who is made ready. What was remembered is forgotten.
    pub(crate) fn listen(&mut self, on: bool) {
        self.woken = on.then(VecDeque::new);
    }

    /// Whether to forget who is made ready from now on.
    pub(crate) fn hush(&mut self, on: bool) {
        self.hushed = on;
    }

    /// Remembers a fiber that was made ready.
    #[inline]
    pub(crate) fn note_woken(&mut self, fiber: Name, first: bool) {
        if let Some(woken) = &mut self.woken
            && !self.hushed
        {
            woken.push_back((fiber, first));
        }
    }

    /// The first that was made ready and of whom the tracer has not heard.
    pub(crate) fn next_woken(&mut self) -> Option<(Name, bool)> {
        self.woken.as_mut()?.pop_front()
    }

    /// The fibers that have names.
    pub(crate) fn each(&self) -> impl Iterator<Item = (Name, &Record)> + '_ {
        let named = self.records.iter().enumerate().filter(|(_, record)| record.fiber != 0);
        named.map(|(index, record)| (Name { index: index as u32, generation: record.generation }, record))
    }

    /// How many fibers have a name, and how many had at most.
    pub(crate) fn population(&self) -> (usize, usize) {
        (self.live, self.peak)
    }

    pub(crate) fn mark(&self, marker: &gc::Marker) {
        // SAFETY: every VALUE in the table was put there by a Ruby call and is marked here, and only
        // here, at each collection; so it is alive and, being pinned, where it was.
        let mark = |value: VALUE| marker.mark(unsafe { Value::from_raw(value) });
        for record in self.records.iter().filter(|record| record.fiber != 0) {
            mark(record.fiber);
            record.scheduled.iter().for_each(|scheduled| mark(scheduled.value));
            record.unblocked.iter().chain(&record.kept).for_each(|&value| mark(value));
            let Some(rare) = record.rare.as_deref() else { continue };
            rare.held.iter().chain(&rare.late).for_each(|held| mark(held.value));
            rare.interjections.iter().for_each(|&block| mark(block));
        }
        self.alarms.values().for_each(|alarm| match alarm {
            Alarm::Raise(value, ..) => mark(*value),
            Alarm::OpenShield => {}
        });
        self.keeps.values.borrow().iter().filter(|&&value| value != 0).for_each(|&value| mark(value));
    }
}

impl Record {
    fn new(fiber: VALUE, generation: u32) -> Self {
        Record {
            generation,
            fiber,
            scheduled: None,
            outcomes: Outcomes::default(),
            alarm: None,
            granted: false,
            fresh: false,
            inner: None,
            unblocked: None,
            may_idle: false,
            ticket: 0,
            called: false,
            kept: None,
            since: Time::default(),
            rare: None,
        }
    }

    fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn put_off(&mut self, late: Option<Scheduled>) {
        if let Some(late) = late {
            self.rare_mut().late.push(late);
        }
    }

    fn is_interjected(&self) -> bool {
        self.rare.as_deref().is_some_and(|rare| !rare.interjections.is_empty())
    }
}

impl Rare {
    fn keeps_off(&self, depth: Depth) -> bool {
        !self.exposed && self.shields > depth
    }
}

impl Host for Roots {
    type Fiber = Name;
    type Keep = Keep;
    type Queue = Moving<Name>;

    fn completed(&mut self, fiber: Name, op: OpKey, outcome: Outcome) -> Then {
        let Some(record) = self.record(fiber) else { return Then::Nothing };
        record.outcomes.push(op, outcome);
        self.note_woken(fiber, false);
        Then::Ready
    }

    fn expired(&mut self, fiber: Name, timer: TimerKey) -> Then {
        let alarm = self.alarms.remove(&timer.number());
        let Some(record) = self.record(fiber) else { return Then::Nothing };
        if record.alarm == Some(timer) {
            record.alarm = None;
            self.note_woken(fiber, false);
            return Then::Ready;
        }
        let delivered = match alarm {
            Some(Alarm::Raise(value, depth, _)) => {
                self.deliver(fiber, Scheduled { value, raises: true, timeout: Some(depth) }, depth)
            }
            Some(Alarm::OpenShield) => match self.unshield(fiber) {
                Some(held) => self.deliver(fiber, held, THROUGH),
                None => self.bring_late(fiber).then_some(fiber),
            },
            None => None,
        };
        // Where it went to a fiber that this one has resumed, `turn` finds it there.
        let Some(delivered) = delivered else { return Then::Nothing };
        self.note_woken(delivered, false);
        Then::Ready
    }

    fn notified(&mut self, fiber: Name) -> Then {
        let then = match self.record(fiber) {
            Some(record) if record.scheduled.is_some_and(|scheduled| scheduled.raises) => Then::ReadyFirst,
            Some(record)
                if record.scheduled.is_some()
                    || record.unblocked.is_some()
                    || record.called
                    || record.is_interjected() =>
            {
                Then::Ready
            }
            _ => Then::Nothing,
        };
        if !matches!(then, Then::Nothing) {
            self.note_woken(fiber, matches!(then, Then::ReadyFirst));
        }
        then
    }
}

/// What an operation keeps alive until the kernel has let go of it.
#[derive(Debug, Default)]
#[allow(dead_code, reason = "kept for what their drop does")]
pub(crate) enum Keep {
    /// Nothing: it touches none of our memory, or memory that outlives it anyway.
    #[default]
    Nothing,
    /// A Ruby object.
    Value(Kept),
    /// Memory of our own, with the objects that it points into.
    Memory(Box<dyn std::any::Any>, Vec<Kept>),
}

/// A Ruby value that is kept alive and in its place.
#[derive(Debug)]
pub(crate) struct Kept {
    keeps: Rc<Keeps>,
    index: usize,
}

#[derive(Debug, Default)]
struct Keeps {
    values: RefCell<Vec<VALUE>>,
    free: RefCell<Vec<usize>>,
    count: Cell<usize>,
}

impl Keeps {
    fn add(self: &Rc<Self>, value: VALUE) -> Kept {
        let mut values = self.values.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            values.push(0);
            values.len() - 1
        });
        values[index] = value;
        self.count.set(self.count.get() + 1);
        Kept { keeps: self.clone(), index }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeps.values.borrow_mut()[self.index] = 0;
        self.keeps.free.borrow_mut().push(self.index);
        self.keeps.count.set(self.keeps.count.get() - 1);
    }
}

/// Numbers that are unique need no mixing beyond a multiplication (Knuth, TAOCP 6.4).
#[derive(Default)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(self.0 ^ u64::from(byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

/// Whether a value is an exception.
pub(crate) fn is_exception(value: Value) -> bool {
    // SAFETY: `value` is a live object, as every `Value` is.
    let is = unsafe { rb_sys::rb_obj_is_kind_of(value.as_raw(), rb_sys::rb_eException) };
    is == rb_sys::Qtrue as VALUE
}

/// nil, raw.
pub(crate) const NIL: VALUE = Qnil as VALUE;
