//! What a thread counts about its work.
//!
//! Each count is a plain cell of the thread that adds to it: no atomic, no lock, no look-up by
//! name. They only go up. Somebody else learns them by asking the thread ([`crate::inspect`]).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use shovel_edge::{BrokenBody, Failure, Refused, Relief};
use shovel_protocol::WorkerIndex;

/// What is counted about one worker, on its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfWorker {
    /// Requests that it was given, upgrades among them.
    Requests,
    /// Bytes of their bodies.
    RequestBytes,
    /// Heads of responses that it gave, accepted upgrades among them.
    Answers,
    /// Time from the requests' arrival until these heads, in microseconds.
    AnswerMicros,
    /// Bytes of responses' bodies.
    ResponseBytes,
    /// Upgrades that it accepted: connections that were opened.
    Upgrades,
    /// Messages from clients that it was given.
    MessagesReceived,
    /// Their bytes.
    MessageBytesReceived,
    /// Messages that it sent to one client each.
    MessagesSent,
    /// Their bytes.
    MessageBytesSent,
    /// Messages that it published.
    Published,
    /// Connections of it that were closed because their client read too slowly.
    SlowConsumers,
    /// Frames that were dropped: about something that it does not have.
    StrayFrames,
}

/// What is counted about the thread as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfThread {
    /// Published messages that were queued for a subscribed connection, once for each.
    Delivered,
    /// Their bytes.
    DeliveredBytes,
    /// Published messages that a worker subscribed to and was too slow for.
    DroppedForWorkers,
    /// Published messages that were dropped for a client that read too slowly, once for each.
    DroppedForClients,
    /// Times that a client was not read because it sent too many messages in a second.
    HeldBack,
    /// Requests answered with 101 and the like.
    Informational,
    /// Requests answered with 2xx.
    Successful,
    /// Requests answered with 3xx.
    Redirected,
    /// Requests answered with 4xx.
    ClientErrors,
    /// Requests answered with 5xx, by the app or for want of it.
    ServerErrors,
    /// 503 because no worker was ready in time.
    Unavailable,
    /// 503 because too many requests waited for one already.
    Crowded,
    /// 504 because a worker did not answer in time.
    TimedOut,
    /// 502 because a worker was lost, or answered what cannot be passed on.
    BadGateway,
    /// Requests that another worker was asked, since theirs was late.
    Repeated,
    /// 400 because the client broke off its request's body.
    BrokenOff,
    /// Clients refused because there were too many of their address.
    OverAddressLimit,
    /// Upgrades refused because of the page that asked.
    ForeignOrigin,
    /// Upgrades refused because they break the rules of WebSockets.
    BadHandshake,
    /// Requests refused because of their heads.
    BadHead,
    /// Clients closed because no whole head came in time.
    SlowHead,
    /// Requests and upgrades refused because clients hold too much memory.
    OverMemory,
    /// Times that a client was not read because clients hold much memory.
    NotReadForMemory,
    /// WebSockets closed because they held too much of it.
    ConnectionsClosedForMemory,
    /// Requests broken off because they did.
    RequestsClosedForMemory,
    /// Upgrades that a worker accepted when their client had been answered already, or had gone.
    LateUpgrade,
    /// Subscriptions refused because their connection had as many as it may.
    FullConnection,
    /// The same, because their worker had.
    FullWorker,
    /// The same, because the thread had.
    FullThread,
    /// Connections that a worker gave up when it was asked to.
    Released,
    /// Connections that a worker gave up in the middle of a handler, which took too long.
    Revoked,
    /// Connections that a worker took over because theirs was replaced.
    AdoptedByReload,
    /// The same, because theirs had died.
    AdoptedByCrash,
    /// The same, because they had slept.
    AdoptedByWake,
    /// Connections that a worker refused to take over, and that were closed for it.
    Refused,
    /// Connections that were closed because an event of theirs had ended three workers.
    Quarantined,
}

/// Counts by name.
#[derive(Debug)]
pub struct Tally<const N: usize>([Cell<u64>; N]);

/// What is counted about one worker.
pub type WorkerTally = Tally<{ OfWorker::StrayFrames as usize + 1 }>;

/// What is counted about a thread.
pub type ThreadTally = Tally<{ OfThread::Quarantined as usize + 1 }>;

/// A [`Tally`] as it was at one moment, or the sum of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums<const N: usize>([u64; N]);

/// A [`WorkerTally`] at one moment.
pub type WorkerSums = Sums<{ OfWorker::StrayFrames as usize + 1 }>;

/// A [`ThreadTally`] at one moment.
pub type ThreadSums = Sums<{ OfThread::Quarantined as usize + 1 }>;

impl<const N: usize> Default for Tally<N> {
    fn default() -> Self {
        Tally([const { Cell::new(0) }; N])
    }
}

impl<const N: usize> Tally<N> {
    /// The counts as they are now.
    pub fn sums(&self) -> Sums<N> {
        Sums(std::array::from_fn(|place| self.0[place].get()))
    }

    fn bump(&self, place: usize, by: u64) {
        let cell = &self.0[place];
        cell.set(cell.get() + by);
    }
}

impl WorkerTally {
    /// One of the counts as it is now.
    pub fn of(&self, what: OfWorker) -> u64 {
        self.0[what as usize].get()
    }

    /// Counts one, or so many.
    pub fn add(&self, what: OfWorker, by: u64) {
        self.bump(what as usize, by);
    }

    /// Counts a message or a part of a body, and its bytes.
    pub fn add_sized(&self, what: OfWorker, bytes_of: OfWorker, bytes: usize) {
        self.add(what, 1);
        self.add(bytes_of, bytes as u64);
    }
}

impl ThreadTally {
    /// Counts one, or so many.
    pub fn add(&self, what: OfThread, by: u64) {
        self.bump(what as usize, by);
    }
}

impl<const N: usize> Default for Sums<N> {
    fn default() -> Self {
        Sums([0; N])
    }
}

impl<const N: usize> std::ops::AddAssign for Sums<N> {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
    }
}

impl<const N: usize> Sums<N> {
    /// All counts together: it changes whenever one of them does.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }
}

impl WorkerSums {
    /// One of the counts.
    pub fn of(&self, what: OfWorker) -> u64 {
        self.0[what as usize]
    }
}

impl ThreadSums {
    /// One of the counts.
    pub fn of(&self, what: OfThread) -> u64 {
        self.0[what as usize]
    }
}

impl OfThread {
    /// The count for a status.
    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            ..200 => OfThread::Informational,
            200..300 => OfThread::Successful,
            300..400 => OfThread::Redirected,
            400..500 => OfThread::ClientErrors,
            500.. => OfThread::ServerErrors,
        }
    }

    /// The count for somebody who was turned away.
    pub(crate) fn of_refusal(why: Refused) -> Self {
        match why {
            Refused::OverAddressLimit => OfThread::OverAddressLimit,
            Refused::ForeignOrigin => OfThread::ForeignOrigin,
            Refused::BadHandshake => OfThread::BadHandshake,
            Refused::BadHead => OfThread::BadHead,
            Refused::SlowHead => OfThread::SlowHead,
            Refused::OverMemory => OfThread::OverMemory,
        }
    }

    /// The count for what was done to a client because clients hold much memory.
    pub(crate) fn of_relief(how: Relief) -> Self {
        match how {
            Relief::NotRead => OfThread::NotReadForMemory,
            Relief::ClosedConnection => OfThread::ConnectionsClosedForMemory,
            Relief::ClosedRequest => OfThread::RequestsClosedForMemory,
        }
    }

    /// The count for a failure, and the status that its client is told.
    pub(crate) fn of_failure(failure: &Failure) -> (Self, u16) {
        match failure {
            Failure::Unavailable { .. } => (OfThread::Unavailable, 503),
            Failure::Crowded { .. } => (OfThread::Crowded, 503),
            Failure::BadGateway(_) => (OfThread::BadGateway, 502),
            Failure::TimedOut => (OfThread::TimedOut, 504),
            Failure::Body(BrokenBody::Gone | BrokenBody::Bad(_)) => (OfThread::BrokenOff, 400),
            Failure::Body(BrokenBody::TooLong) => (OfThread::BrokenOff, 413),
            Failure::Body(BrokenBody::TooSlow) => (OfThread::BrokenOff, 408),
        }
    }
}

/// Upper bounds of the times in [`LatencySums`], in microseconds.
pub const LATENCY_BOUNDS_MICROS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// How long requests took until the head of their response.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    buckets: [Cell<u64>; LATENCY_BOUNDS_MICROS.len() + 1],
    sum_micros: Cell<u64>,
}

/// How long requests took, as of one moment; or the sum of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatencySums {
    /// How many took up to each of the bounds and longer than the one before; the last, longer
    /// than all.
    pub buckets: [u64; LATENCY_BOUNDS_MICROS.len() + 1],
    /// All times together, in microseconds.
    pub sum_micros: u64,
}

impl Latencies {
    pub(crate) fn note(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = &self.buckets[LATENCY_BOUNDS_MICROS.partition_point(|bound| *bound < micros)];
        bucket.set(bucket.get() + 1);
        self.sum_micros.set(self.sum_micros.get().saturating_add(micros));
    }

    pub(crate) fn sums(&self) -> LatencySums {
        let buckets = std::array::from_fn(|place| self.buckets[place].get());
        LatencySums { buckets, sum_micros: self.sum_micros.get() }
    }
}

impl std::ops::AddAssign for LatencySums {
    fn add_assign(&mut self, other: Self) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, more)| *sum += more);
        self.sum_micros = self.sum_micros.saturating_add(other.sum_micros);
    }
}

/// What a thread counts that no link does.
#[derive(Default)]
pub(crate) struct Measures {
    pub tally: ThreadTally,
    pub latencies: Latencies,
    /// Of links that are no more.
    buried: Cell<BTreeMap<WorkerIndex, WorkerSums>>,
}

impl Measures {
    /// Keeps what was counted on a link that ends.
    pub fn bury(&self, place: WorkerIndex, sums: WorkerSums) {
        let mut buried = self.buried.take();
        *buried.entry(place).or_default() += sums;
        self.buried.set(buried);
    }

    /// What is kept, by the index of the place.
    pub fn buried(&self) -> BTreeMap<WorkerIndex, WorkerSums> {
        let buried = self.buried.take();
        self.buried.set(buried.clone());
        buried
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_found_under_its_own_name_alone() {
        let tally = WorkerTally::default();
        tally.add_sized(OfWorker::MessagesSent, OfWorker::MessageBytesSent, 7);
        tally.add(OfWorker::StrayFrames, 2);
        let mut sums = tally.sums();
        sums += tally.sums();
        assert_eq!(sums.of(OfWorker::MessagesSent), 2);
        assert_eq!(sums.of(OfWorker::MessageBytesSent), 14);
        assert_eq!(sums.of(OfWorker::StrayFrames), 4);
        assert_eq!(sums.of(OfWorker::Requests), 0);
    }

    #[test]
    fn a_time_falls_into_the_first_bucket_whose_bound_it_does_not_pass() {
        let latencies = Latencies::default();
        for micros in [0, 500, 501, 10_000_000, 10_000_001] {
            latencies.note(Duration::from_micros(micros));
        }
        let sums = latencies.sums();
        assert_eq!(sums.buckets[..2], [2, 1]);
        assert_eq!(sums.buckets[13..], [1, 1]);
        assert_eq!(sums.buckets.iter().sum::<u64>(), 5);
        assert_eq!(sums.sum_micros, 20_001_002);
    }

    #[test]
    fn each_status_is_counted_once() {
        let statuses = [101, 200, 299, 304, 404, 499, 500, 599, 999].map(OfThread::of_status);
        assert_eq!(statuses[0], OfThread::Informational);
        assert_eq!(statuses[1], statuses[2]);
        assert_eq!(statuses[3], OfThread::Redirected);
        assert_eq!(statuses[4], OfThread::ClientErrors);
        assert_eq!(statuses[6..], [OfThread::ServerErrors; 3]);
    }
}
