//! What a pool holds while nobody is connected: afterwards it must be what it was before.

use std::fmt;

use serde_json::Value;

use crate::{Pool, children, open_descriptors, resident_bytes};

/// Memory that the supervisor may hold in the end beyond what it held in the beginning: an
/// allocator does not give back all that it has touched, and how much differs between runs.
const RESIDENT_TOLERANCE: u64 = 24 * 1024 * 1024;

/// Resources of a supervisor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Footprint {
    connections: u64,
    channels: u64,
    descriptors: usize,
    children: usize,
    resident_bytes: u64,
    /// Nothing, if the allocator does not tell. What of it is too much is decided by
    /// [`Growth`](super::growth::Growth).
    pub(super) allocated_bytes: u64,
}

impl Footprint {
    pub(super) async fn of(pool: &Pool) -> Self {
        // First: whoever asks is connected too.
        let status = pool.status().await;
        let number = |value: &Value| value.as_u64().expect("a number in the status");
        Footprint {
            connections: number(&status["connections"]),
            channels: number(&status["channels"]["total"]),
            descriptors: open_descriptors(pool.pid()),
            children: children(pool.pid()).len(),
            resident_bytes: resident_bytes(pool.pid()),
            allocated_bytes: status["allocated_bytes"].as_u64().unwrap_or_default(),
        }
    }

    /// Whether nothing has changed since, as far as that does not change with each look.
    pub(super) fn is_as(self, other: Footprint) -> bool {
        let counts = |of: Footprint| {
            (of.connections, of.channels, of.descriptors, of.children, of.resident_bytes)
        };
        counts(self) == counts(other)
    }

    /// Whether nobody is connected.
    pub(super) fn is_idle(self) -> bool {
        (self.connections, self.channels) == (0, 0)
    }

    /// What is left that was not there `before`.
    pub(super) fn more_than(self, before: Footprint) -> Option<String> {
        let tolerated = before.resident_bytes + RESIDENT_TOLERANCE;
        let grew = self.connections > before.connections
            || self.channels > before.channels
            || self.descriptors > before.descriptors
            || self.children > before.children
            || self.resident_bytes > tolerated;
        grew.then(|| format!("{self}; before the run {before}"))
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Footprint { connections, channels, descriptors, children, .. } = self;
        let (mib, kib) = (self.resident_bytes / 1024 / 1024, self.allocated_bytes / 1024);
        write!(
            f,
            "{connections} connections, {channels} channels, {descriptors} descriptors, \
             {children} processes, {mib} MiB, {kib} KiB of it allocated"
        )
    }
}
