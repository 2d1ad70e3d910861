//! Counters that a shard keeps as it goes. Reading them costs a copy.

/// What a shard has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Fibers handed out by `next`.
    pub switches: u64,
    /// Returns of `Next::Wait`.
    pub turns: u64,
    /// Operations submitted.
    pub submitted: u64,
    /// Operations whose last completion has come.
    pub completed: u64,
    /// Cancellations asked for.
    pub cancels: u64,
    /// Operations that had to wait because the submission queue was full.
    pub queued: u64,
    /// Operations tried again after readiness, because their descriptor does not block.
    pub retried: u64,
    /// Timers that reached their deadline.
    pub expired: u64,
    /// Names taken from the inbox.
    pub notified: u64,
    /// Fibers taken from the queues of other workers.
    pub stolen: u64,
    /// How late the latest timers were served, in nanoseconds: what others held the loop for.
    pub lag: u64,
    /// The longest `lag` of all.
    pub lag_peak: u64,
}

impl Stats {
    /// What two shards have done together.
    pub fn plus(self, other: Stats) -> Stats {
        Stats {
            switches: self.switches + other.switches,
            turns: self.turns + other.turns,
            submitted: self.submitted + other.submitted,
            completed: self.completed + other.completed,
            cancels: self.cancels + other.cancels,
            queued: self.queued + other.queued,
            retried: self.retried + other.retried,
            expired: self.expired + other.expired,
            notified: self.notified + other.notified,
            stolen: self.stolen + other.stolen,
            lag: self.lag.max(other.lag),
            lag_peak: self.lag_peak.max(other.lag_peak),
        }
    }
}
