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
    /// How late the latest timers were served, in nanoseconds: what others held the loop for.
    pub lag: u64,
    /// The longest `lag` of all.
    pub lag_peak: u64,
}
