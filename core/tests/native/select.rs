use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use polyphony_core::{
    native::{
        Errno, FOREVER, Options, Placement, Runtime, spawn,
        sync::{Case, Channel, select},
        yield_now,
    },
    time::Time,
};

use crate::{in_a_fiber, watched};

fn soon() -> Time {
    Time::monotonic() + Duration::from_millis(1)
}

fn in_an_hour() -> Time {
    Time::monotonic() + Duration::from_secs(3600)
}

#[test]
fn a_select_does_the_one_that_is_ready_and_leaves_the_others_alone() {
    in_a_fiber(|| {
        let [empty, full, filled] = [(); 3].map(|()| Channel::bounded(1));
        full.send(1).unwrap();
        filled.send(2).unwrap();
        let mut cases =
            [Case::Receive(&empty, None), Case::Send(&full, Some(3)), Case::Receive(&filled, None)];
        assert_eq!(select(&mut cases, Time(0)), Ok((2, Ok(()))));
        assert!(matches!(cases, [Case::Receive(_, None), Case::Send(_, Some(3)), Case::Receive(_, Some(2))]));
        assert_eq!(select(&mut cases[..2], Time(0)), Err(Errno::new(libc::EAGAIN)));
        assert_eq!(select(&mut cases[..2], soon()), Err(Errno::TIMED_OUT));
        assert!(matches!(cases[1], Case::Send(_, Some(3))));
        assert_eq!((empty.len(), full.len()), (0, 1));
        assert!(empty.is_idle() && full.is_idle());
        assert_eq!(select::<i32>(&mut [], FOREVER), Err(Errno::new(libc::EINVAL)));
    });
}

#[test]
fn a_select_that_waits_is_served_by_the_first_and_stands_in_no_line_afterwards() {
    in_a_fiber(|| {
        let channels = Arc::new([(); 3].map(|()| Channel::bounded(0)));
        for chosen in 0..3 {
            let theirs = channels.clone();
            let waiting = spawn(move || {
                let mut cases = [0, 1, 2].map(|n| Case::Receive(&theirs[n], None));
                let done = select(&mut cases, in_an_hour());
                let [a, b, c] = cases.map(|case| match case {
                    Case::Receive(_, item) | Case::Send(_, item) => item,
                });
                (done, [a, b, c])
            })
            .unwrap();
            yield_now().unwrap();
            channels[chosen].send(7).unwrap();
            let mut items = [None; 3];
            items[chosen] = Some(7);
            assert_eq!(waiting.join(), Ok((Ok((chosen, Ok(()))), items)));
            assert!(channels.iter().all(Channel::is_idle));
        }
    });
}

#[test]
fn a_select_may_name_a_channel_twice_and_both_ways() {
    in_a_fiber(|| {
        let channel = Arc::new(Channel::bounded(0));
        let theirs = channel.clone();
        let waiting = spawn(move || {
            let mut cases =
                [Case::Send(&*theirs, Some(1)), Case::Receive(&theirs, None), Case::Receive(&theirs, None)];
            select(&mut cases, FOREVER)
        })
        .unwrap();
        yield_now().unwrap();
        assert_eq!(channel.recv(), Ok(1));
        assert_eq!(waiting.join(), Ok(Ok((0, Ok(())))));
        assert!(channel.is_idle());
    });
}

#[test]
fn closing_a_channel_is_a_case_that_has_happened() {
    in_a_fiber(|| {
        let channels = Arc::new([(); 2].map(|()| Channel::<u8>::bounded(0)));
        let theirs = channels.clone();
        let waiting = spawn(move || {
            let mut cases = [Case::Receive(&theirs[0], None), Case::Send(&theirs[1], Some(1))];
            (select(&mut cases, FOREVER), matches!(cases[1], Case::Send(_, Some(1))))
        })
        .unwrap();
        yield_now().unwrap();
        channels[1].close().unwrap();
        assert_eq!(waiting.join(), Ok((Ok((1, Err(Errno::CLOSED))), true)));
        let mut cases = [Case::Send(&channels[1], Some(1))];
        assert_eq!(select(&mut cases, FOREVER), Ok((0, Err(Errno::CLOSED))));
    });
}

#[test]
fn a_select_that_is_cancelled_keeps_what_it_would_have_sent() {
    in_a_fiber(|| {
        let channels = Arc::new([(); 2].map(|()| Channel::bounded(0)));
        let theirs = channels.clone();
        let waiting = spawn(move || {
            let mut cases = [0, 1].map(|n| Case::Send(&theirs[n], Some(n)));
            (select(&mut cases, FOREVER), matches!(cases, [Case::Send(_, Some(0)), Case::Send(_, Some(1))]))
        })
        .unwrap();
        yield_now().unwrap();
        waiting.cancel().unwrap();
        assert_eq!(waiting.join(), Ok((Err(Errno::CANCELED), true)));
        assert_eq!(channels[0].try_recv(), Err(Errno::new(libc::EAGAIN)));
    });
}

#[test]
fn a_plain_thread_selects_until_a_deadline() {
    let _watched = watched();
    let channels = [(); 2].map(|()| Channel::<u8>::bounded(0));
    let mut cases = [Case::Receive(&channels[0], None), Case::Receive(&channels[1], None)];
    assert_eq!(select(&mut cases, soon()), Err(Errno::TIMED_OUT));
    assert!(channels.iter().all(Channel::is_idle));
    thread::scope(|scope| {
        scope.spawn(|| channels[1].send(5).unwrap());
        assert_eq!(select(&mut cases, in_an_hour()), Ok((1, Ok(()))));
    });
}

/// Who selects serves who selects, on several workers and on plain threads, and all are cancelled or run out of time
/// again and again: every item is received once, and nobody waits for ever.
#[test]
fn every_item_is_received_once_among_selects_of_all_kinds() {
    for capacity in [0, 1, 5] {
        selects_of_all_kinds(capacity);
    }
}

fn selects_of_all_kinds(capacity: usize) {
    const SENDERS: u64 = 4;
    const EACH: u64 = 3_000;
    let _watched = watched();
    let runtime = Runtime::new(Options::with_workers(2)).unwrap();
    let channels = Arc::new([(); 3].map(|()| Channel::bounded(capacity)));
    let (sum, count) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let send = {
        let channels = channels.clone();
        move |sender: u64| {
            for n in 0..EACH {
                let mut item = sender * EACH + n;
                // Each offers what it has at two channels, and never loses it.
                loop {
                    let (one, other) = ((n % 3) as usize, ((n + 1) % 3) as usize);
                    let mut cases =
                        [Case::Send(&channels[one], Some(item)), Case::Receive(&channels[other], None)];
                    let deadline = if n.is_multiple_of(4) {
                        Time::monotonic() + Duration::from_micros(n % 50)
                    } else {
                        FOREVER
                    };
                    let done = select(&mut cases[..1], deadline);
                    let Case::Send(_, left) = &mut cases[0] else { unreachable!() };
                    match (done, left.take()) {
                        (Ok((0, Ok(()))), None) => break,
                        (Err(Errno::TIMED_OUT | Errno::CANCELED), Some(kept)) => item = kept,
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
    };
    let receive = {
        let (channels, sum, count) = (channels.clone(), sum.clone(), count.clone());
        move || {
            let mut open = vec![0, 1, 2];
            while !open.is_empty() {
                let mut cases: Vec<_> = open.iter().map(|&n| Case::Receive(&channels[n], None)).collect();
                match select(&mut cases, Time::monotonic() + Duration::from_micros(300)) {
                    Ok((index, Ok(()))) => {
                        let Case::Receive(_, Some(item)) = cases[index] else { panic!("no item") };
                        sum.fetch_add(item, Ordering::SeqCst);
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok((index, Err(Errno::CLOSED))) => {
                        open.remove(index);
                    }
                    Err(Errno::TIMED_OUT | Errno::CANCELED) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    };
    // SAFETY: nothing on the stacks of these functions belongs to a thread.
    let migratable = unsafe { Placement::migratable() };
    let receivers: Vec<_> =
        (0..3).map(|_| runtime.spawn_placed(receive.clone(), migratable).unwrap()).collect();
    let senders: Vec<_> = (0..SENDERS - 1)
        .map(|sender| {
            let send = send.clone();
            runtime.spawn_placed(move || send(sender), migratable).unwrap()
        })
        .collect();
    thread::scope(|scope| {
        let threads = [scope.spawn(|| send(SENDERS - 1)), scope.spawn(|| receive.clone()())];
        while !threads[0].is_finished() {
            receivers.iter().chain(&senders).for_each(|fiber| fiber.cancel().unwrap());
            thread::yield_now();
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        channels.iter().for_each(|channel| assert_eq!(channel.close(), Ok(true)));
    });
    receivers.into_iter().for_each(|receiver| receiver.join().unwrap());
    let items = SENDERS * EACH;
    assert_eq!(count.load(Ordering::SeqCst), items);
    assert_eq!(sum.load(Ordering::SeqCst), items * (items - 1) / 2);
    assert!(channels.iter().all(Channel::is_idle));
}
