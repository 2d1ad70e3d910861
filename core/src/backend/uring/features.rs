//! What of io_uring a kernel has, beyond what every ring here needs.

use io_uring::{Parameters, Probe, opcode};

/// What is used of the kernel, where the kernel has it.
///
/// Everything, but in tests: one that takes features away runs the fallbacks on a kernel that has all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Polls that go on for ever (Linux 5.13). Without them there is no ring at all.
    pub poll_many: bool,
    /// The flags of io_uring_setup: SUBMIT_ALL, COOP_TASKRUN, SINGLE_ISSUER, DEFER_TASKRUN (5.18 to 6.1).
    pub setup_flags: bool,
    /// A ring that is entered by a number of its own (5.18).
    pub registered_ring: bool,
    /// Directories made by the ring (5.15).
    pub make_dir: bool,
    /// Sockets made by the ring (5.19).
    pub socket: bool,
    /// Accepts that go on for ever (5.19).
    pub accept_many: bool,
    /// Buffers that the kernel picks when data is there (5.19).
    pub buffer_rings: bool,
    /// Waiting for children (6.7).
    pub wait_id: bool,
    /// Deadlines as they are, which saves reading the clock (6.12).
    pub absolute_deadlines: bool,
    /// Waits that do not count as waiting for a disk (6.15).
    pub no_iowait: bool,
    /// Reads of pipes and the like that are told not to wait: RWF_NOWAIT.
    pub nowait: bool,
}

impl Features {
    /// All there is.
    pub const ALL: Features = Features {
        poll_many: true,
        setup_flags: true,
        registered_ring: true,
        make_dir: true,
        socket: true,
        accept_many: true,
        buffer_rings: true,
        wait_id: true,
        absolute_deadlines: true,
        no_iowait: true,
        nowait: true,
    };

    /// What the oldest kernel has whose io_uring is used.
    pub const OLDEST: Features = Features {
        poll_many: true,
        setup_flags: false,
        registered_ring: false,
        make_dir: false,
        socket: false,
        accept_many: false,
        buffer_rings: false,
        wait_id: false,
        absolute_deadlines: false,
        no_iowait: false,
        nowait: false,
    };

    /// Those of these that the kernel has, as far as it tells.
    pub(super) fn of_kernel(self, params: &Parameters, probe: &Probe) -> Features {
        let socket = probe.is_supported(opcode::Socket::CODE);
        Features {
            // The kernel does not tell of it; these two came with the same one.
            poll_many: self.poll_many && params.is_feature_resource_tagging(),
            setup_flags: self.setup_flags,
            registered_ring: self.registered_ring,
            make_dir: self.make_dir && probe.is_supported(opcode::MkDirAt::CODE),
            socket: self.socket && socket,
            // These came with the same kernel as well; of the first it does not tell.
            accept_many: self.accept_many && socket,
            buffer_rings: self.buffer_rings && socket,
            wait_id: self.wait_id && probe.is_supported(opcode::WaitId::CODE),
            // And these two: a minimal wait is another thing that 6.12 brought.
            absolute_deadlines: self.absolute_deadlines && params.is_feature_min_timeout(),
            no_iowait: self.no_iowait && params.is_feature_no_iowait(),
            nowait: self.nowait,
        }
    }
}

impl Default for Features {
    fn default() -> Self {
        Features::ALL
    }
}
