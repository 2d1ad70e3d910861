//! Channels: an item is in one place at every moment, whoever sends, receives, cancels and closes meanwhile.
//!
//! The channel is the real one.

use std::sync::atomic::{AtomicUsize as Count, Ordering::Relaxed};

use loom::{sync::Arc, thread};

use crate::native::{channel::Channel, errno::Errno, park::Party};

/// What a sender does: so many items, one after the other. Those that it keeps are of no use to anybody else.
fn send(channel: &Channel<usize>, first: usize, count: usize) -> usize {
    let mut sent = 0;
    for item in first..first + count {
        match channel.send(item) {
            Ok(()) => sent += 1,
            Err(kept) => assert_eq!(kept.item, item, "another item came back"),
        }
    }
    sent
}

/// Receives until the channel is closed and empty; what it got, and how often it was cancelled.
fn receive(channel: &Channel<usize>) -> (Vec<usize>, usize) {
    let (mut got, mut cancels) = (Vec::new(), 0);
    loop {
        match channel.recv() {
            Ok(item) => got.push(item),
            Err(Errno::CANCELED) => cancels += 1,
            Err(errno) => {
                assert_eq!(errno, Errno::CLOSED);
                return (got, cancels);
            }
        }
    }
}

/// Whom the third thread disturbs.
#[derive(Clone, Copy, PartialEq)]
enum Disturbed {
    Nobody,
    Sender,
    Receiver,
    Both,
}

/// A sender and a receiver; a third thread disturbs somebody, or closes the channel under both.
fn explore(name: &str, capacity: usize, count: usize, disturbed: Disturbed, bound: Option<usize>) {
    static ORDERS: Count = Count::new(0);
    static CANCELS: Count = Count::new(0);
    ORDERS.store(0, Relaxed);
    CANCELS.store(0, Relaxed);
    let mut model = loom::model::Builder::new();
    model.preemption_bound = bound;
    model.check(move || {
        ORDERS.fetch_add(1, Relaxed);
        let channel = Arc::new(Channel::bounded(capacity));
        let (sender, receiver) = (Party::new(), Party::new());
        let receives = thread::spawn({
            let (channel, receiver) = (channel.clone(), receiver.clone());
            move || {
                Party::enter(&receiver);
                receive(&channel)
            }
        });
        let disturbs = (disturbed != Disturbed::Nobody).then(|| {
            let (channel, sender, receiver) = (channel.clone(), sender.clone(), receiver.clone());
            thread::spawn(move || match disturbed {
                Disturbed::Nobody => {}
                Disturbed::Sender => sender.cancel(),
                Disturbed::Receiver => receiver.cancel(),
                Disturbed::Both => drop(channel.close()),
            })
        });
        Party::enter(&sender);
        let sent = send(&channel, 0, count);
        disturbs.into_iter().for_each(|thread| thread.join().unwrap());
        channel.close().unwrap();
        // A receiver that nobody tells waits for ever, which loom tells.
        let (got, cancels) = receives.join().unwrap();
        assert_eq!(got.len(), sent, "an item was lost or doubled");
        assert!(got.is_sorted(), "the items changed places");
        assert!(channel.is_idle() && channel.is_empty());
        if !matches!(disturbed, Disturbed::Nobody | Disturbed::Both) {
            let kept = usize::from(sender.hears()) + usize::from(receiver.hears());
            let heard = cancels + (count - sent);
            assert_eq!(heard + kept, 1, "a cancellation was lost or doubled: {heard} heard, {kept} kept");
            CANCELS.fetch_add(1 - kept, Relaxed);
        }
    });
    println!("{name}: {} orders, a call cancelled in {}", ORDERS.load(Relaxed), CANCELS.load(Relaxed));
    let cancels = matches!(disturbed, Disturbed::Sender | Disturbed::Receiver);
    assert_eq!(cancels, CANCELS.load(Relaxed) > 0, "the model is of what never happens");
}

#[test]
fn an_item_is_in_one_place_at_every_moment() {
    use Disturbed::{Both, Nobody, Receiver, Sender};
    explore("rendezvous", 0, 2, Nobody, Some(2));
    explore("room for one", 1, 2, Nobody, Some(2));
    explore("rendezvous, a sender cancelled", 0, 1, Sender, Some(2));
    explore("rendezvous, a receiver cancelled", 0, 1, Receiver, Some(2));
    explore("room for one, a sender cancelled", 1, 2, Sender, Some(2));
    explore("room for one, a receiver cancelled", 1, 2, Receiver, Some(2));
    explore("rendezvous, closed under both", 0, 2, Both, Some(2));
    explore("room for one, closed under both", 1, 2, Both, Some(2));
}
