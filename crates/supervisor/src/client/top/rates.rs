//! How fast the counts of a pool go up, from one status to the next.

use std::collections::{BTreeMap, VecDeque};

use crate::admin::wire::{Status, Totals, Worker};

/// How many rates are kept to be drawn.
const KEPT: usize = 400;

/// The last status and what it means beside the one before.
#[derive(Debug)]
pub struct Watched {
    pub status: Status,
    /// `None` until there are two of one pool.
    pub rates: Option<Rates>,
    pub requests: VecDeque<u64>,
    pub messages: VecDeque<u64>,
}

/// Per second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    pub clients: f64,
    pub connections: f64,
    pub requests: f64,
    pub server_errors: f64,
    pub received: f64,
    pub sent: f64,
    pub published: f64,
    pub delivered: f64,
    pub slow_consumers: f64,
    /// By the id of the worker.
    pub workers: BTreeMap<u32, WorkerRates>,
}

/// Per second, of one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorkerRates {
    pub requests: f64,
    pub messages: f64,
}

impl Watched {
    /// The first status.
    pub fn new(status: Status) -> Self {
        let (requests, messages) = (VecDeque::new(), VecDeque::new());
        Watched { status, rates: None, requests, messages }
    }

    /// The next one.
    pub fn take(&mut self, status: Status) {
        self.rates = rates(&self.status, &status);
        self.status = status;
        match &self.rates {
            Some(rates) => {
                keep(&mut self.requests, rates.requests);
                let messages = rates.received + rates.sent + rates.delivered;
                keep(&mut self.messages, messages);
            }
            None => {
                self.requests.clear();
                self.messages.clear();
            }
        }
    }
}

fn keep(series: &mut VecDeque<u64>, rate: f64) {
    series.push_front(rate.round() as u64);
    series.truncate(KEPT);
}

fn rates(before: &Status, now: &Status) -> Option<Rates> {
    let seconds = now.uptime - before.uptime;
    if before.pid != now.pid || seconds <= 0.0 {
        return None;
    }
    let rate = |of: fn(&Totals) -> u64| {
        of(&now.totals).saturating_sub(of(&before.totals)) as f64 / seconds
    };
    let workers = now.workers.iter().map(|worker| {
        let earlier = before.workers.iter().find(|earlier| earlier.id == worker.id);
        let rate = |of: fn(&Worker) -> u64| {
            of(worker).saturating_sub(earlier.map_or(0, of)) as f64 / seconds
        };
        let rates = WorkerRates {
            requests: rate(|worker| worker.requests),
            messages: rate(|worker| worker.messages_received),
        };
        (worker.id, rates)
    });
    Some(Rates {
        clients: rate(|totals| totals.clients_accepted),
        connections: rate(|totals| totals.connections_opened),
        requests: rate(|totals| totals.requests),
        server_errors: rate(|totals| totals.server_errors),
        received: rate(|totals| totals.messages_received),
        sent: rate(|totals| totals.messages_sent),
        published: rate(|totals| totals.published),
        delivered: rate(|totals| totals.delivered),
        slow_consumers: rate(|totals| totals.slow_consumers),
        workers: workers.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::text::tests::status;

    #[test]
    fn a_rate_is_what_was_added_by_the_time_that_went_by() {
        let before = status();
        let mut now = before.clone();
        now.uptime += 2.0;
        now.totals.requests += 10;
        now.workers[0].messages_received += 3;
        let mut watched = Watched::new(before);
        watched.take(now);
        let rates = watched.rates.unwrap();
        assert_eq!(rates.requests, 5.0);
        assert_eq!(rates.workers[&1].messages, 1.5);
        assert_eq!(watched.requests, [5]);
    }

    #[test]
    fn another_pool_has_no_rates_yet() {
        let mut watched = Watched::new(status());
        let mut other = status();
        other.pid += 1;
        other.uptime += 1.0;
        watched.take(other);
        assert_eq!(watched.rates, None);
    }
}
