//! A crew by hand: shards on the simulated kernel, driven by one thread in random orders, with numbers for fibers.

#![cfg(feature = "native")]

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use polyphony_core::{
    backend::{Wait, sim::Sim},
    crew::{Crew, Lanes, Roaming},
    host::{Host, Then},
    op::{Op, OpKey, Outcome},
    shard::{BUDGET, Next, Shard},
    timers::TimerKey,
};

/// An even one may move, an odd one stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number(usize);

/// Who has taken a fiber last; how often any was taken.
static TAKEN: Mutex<Option<HashMap<usize, usize>>> = Mutex::new(None);
static TAKES: AtomicUsize = AtomicUsize::new(0);
/// The tests share what is static.
static ALONE: Mutex<()> = Mutex::new(());

impl Roaming for Number {
    type Worker = usize;

    fn into_word(self) -> usize {
        self.0 + 1
    }

    fn from_word(word: usize) -> Self {
        Number(word - 1)
    }

    fn may_move(self) -> bool {
        self.0.is_multiple_of(2)
    }

    fn exposed(self) {}

    fn taken(self, by: usize) {
        TAKES.fetch_add(1, SeqCst);
        TAKEN.lock().unwrap().get_or_insert_default().insert(self.0, by);
    }
}

struct Counts;

impl Host for Counts {
    type Fiber = Number;
    type Keep = ();
    type Queue = Lanes<Number>;

    fn completed(&mut self, _: Number, _: OpKey, _: Outcome) -> Then {
        Then::Ready
    }

    fn expired(&mut self, _: Number, _: TimerKey) -> Then {
        Then::Ready
    }

    fn notified(&mut self, _: Number) -> Then {
        Then::Ready
    }
}

fn crew(workers: usize) -> (std::sync::Arc<Crew<Number>>, Vec<Shard<Counts, Sim>>) {
    let (crew, places) = Crew::new(workers);
    let shards = places.into_iter().enumerate().map(|(index, place)| {
        let mut shard = Shard::new(Counts, Sim::new(index as u64 + 1));
        let inbox = shard.inbox();
        shard.queue_mut().join(place, index, inbox);
        shard
    });
    let shards = shards.collect();
    (crew, shards)
}

/// The next fiber of a shard, with as many turns as it takes; nobody if it would sleep.
fn next(shard: &mut Shard<Counts, Sim>) -> Option<Number> {
    loop {
        match shard.next() {
            Next::Run(fiber) => return Some(fiber),
            Next::Wait(mut wait) => {
                let sleeps = wait.may_sleep();
                wait.block().unwrap();
                shard.harvest(wait);
                if sleeps {
                    return None;
                }
            }
            Next::Idle => {
                let wait = shard.wait_for_inbox(None);
                shard.harvest(wait);
                return None;
            }
        }
    }
}

fn random(seed: &mut u64, below: usize) -> usize {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    (*seed % below as u64) as usize
}

#[test]
fn fibers_run_in_the_order_in_which_they_came_whether_they_may_move_or_not() {
    let _alone = ALONE.lock();
    let (_, mut shards) = crew(2);
    (0..40).for_each(|number| shards[0].ready(Number(number)));
    let order: Vec<_> = (0..40).map(|_| next(&mut shards[0]).unwrap().0).collect();
    assert_eq!(order, (0..40).collect::<Vec<_>>());
}

#[test]
fn a_fiber_that_others_may_take_overtakes_the_rest_unless_somebody_has_taken_it() {
    let _alone = ALONE.lock();
    let (_, mut shards) = crew(2);
    (0..10).for_each(|number| shards[0].ready(Number(number)));
    assert!(shards[0].queue_mut().overtake_exposed(Number(8)));
    assert!(!shards[0].queue_mut().overtake_exposed(Number(8)), "it is urgent already");
    let stolen = next(&mut shards[1]).unwrap();
    assert!(!shards[0].queue_mut().overtake_exposed(stolen), "it is the other's");
    // The other has taken half of what may move; their marks are the next ones' now.
    let order: Vec<_> = (0..8).map_while(|_| next(&mut shards[0])).map(|number| number.0).collect();
    assert_eq!((stolen.0, order), (0, vec![8, 4, 1, 6, 3, 5, 7, 9]));
}

/// As a tree of fibers does that join their children: nothing is left behind of those that overtake.
#[test]
fn what_overtakes_leaves_no_place_behind() {
    let _alone = ALONE.lock();
    let (_, mut shards) = crew(2);
    shards[0].ready(Number(0));
    for round in 1..100_000 {
        shards[0].ready(Number(2 * round));
        assert!(shards[0].queue_mut().overtake_exposed(Number(2 * round)));
        assert_eq!(next(&mut shards[0]), Some(Number(2 * round)));
    }
    assert_eq!(next(&mut shards[0]), Some(Number(0)));
    assert_eq!(next(&mut shards[0]), None);
}

#[test]
fn more_fibers_wait_on_a_shelf_than_it_had_room_for() {
    let _alone = ALONE.lock();
    let (_, mut shards) = crew(2);
    (0..5_000).for_each(|number| shards[0].ready(Number(2 * number)));
    let ran = (0..20_000).filter_map(|turn| next(&mut shards[turn % 2]));
    let mut ran: Vec<_> = ran.map(|number| number.0).collect();
    ran.sort_unstable();
    assert!(ran.iter().copied().eq((0..5_000).map(|number| 2 * number)), "{} ran", ran.len());
}

#[test]
fn thieves_take_only_what_may_move_and_every_fiber_runs_once() {
    let _alone = ALONE.lock();
    for seed in 1..=300u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (crew, mut shards) = crew(1 + seed as usize % 4);
        let count = shards.len();
        let (mut runs, mut given) = (HashMap::<usize, usize>::new(), 0);
        let mut idle = 0;
        while given < 500 || idle < 100 * count {
            let worker = random(&mut state, count);
            if given < 500 && random(&mut state, 2) == 0 {
                match random(&mut state, 4) {
                    0 => crew.inject(Number(2 * given * count)),
                    _ => shards[worker].ready(Number(given * count * 2 + (worker * 2 + 1) % (2 * count))),
                }
                given += 1;
                continue;
            }
            let Some(Number(number)) = next(&mut shards[worker]) else {
                idle += 1;
                continue;
            };
            idle = 0;
            *runs.entry(number).or_default() += 1;
            if number % 2 == 1 {
                assert_eq!((number / 2) % count, worker, "seed {seed}: one that stays has moved");
            }
        }
        assert_eq!(runs.values().sum::<usize>(), 500, "seed {seed}: some were lost");
    }
}

/// Fibers that only yield, on every worker, some of which move: each runs again before long, and so does one that
/// waits for the kernel.
#[test]
fn whoever_is_ready_runs_within_a_bounded_number_of_turns_and_so_do_completions() {
    let _alone = ALONE.lock();
    const FIBERS: usize = 30;
    let (_, mut shards) = crew(2);
    (0..FIBERS).for_each(|number| shards[number % 2].ready(Number(number)));
    let waiting = Number(1001);
    let deadline = shards[0].now();
    shards[0].submit(waiting, Op::Timeout { deadline }, ());
    let mut waited = [0; FIBERS];
    let mut until_the_kernel = 0;
    for turn in 0..20_000 {
        let worker = turn % 2;
        let Some(Number(number)) = next(&mut shards[worker]) else { continue };
        if number == waiting.0 {
            // What a budget lets run first, and who stood in line by then.
            assert!(until_the_kernel <= BUDGET as usize + 2 * FIBERS, "{until_the_kernel} switches");
            until_the_kernel = 0;
            let deadline = shards[0].now();
            shards[0].submit(waiting, Op::Timeout { deadline }, ());
            continue;
        }
        until_the_kernel += usize::from(worker == 0);
        waited.iter_mut().for_each(|turns| *turns += 1);
        assert!(waited[number] <= 4 * FIBERS, "{number} waited for {} turns", waited[number]);
        waited[number] = 0;
        shards[worker].yielded(Number(number));
    }
    assert!(waited.iter().all(|&turns| turns <= 4 * FIBERS), "{waited:?}");
}
