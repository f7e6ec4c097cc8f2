//! The metrics, in the text format of Prometheus.
//!
//! Nothing is counted here. [`Snapshot`] has the numbers, these tables have their names, and
//! `prometheus-client` writes them down. `shovel_*` is of the pool as a whole, `shovel_worker_*`
//! of each place, by the label `worker`: its index, under which all workers that ever had the
//! place are counted together, so that a restart or a reload sets nothing back to 0.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use shovel_core::fleet::{ReloadState, WorkerState, WorkerView};
use shovel_router::counts::{LATENCY_BOUNDS_MICROS, LatencySums, OfThread, OfWorker, WorkerSums};

use super::status::Snapshot;
use crate::log;
use crate::worker::memory::{allocated_bytes, resident_bytes};

pub use prometheus_text::CONTENT_TYPE;

/// Everything, as Prometheus reads it.
pub fn render(snapshot: Snapshot) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = prometheus_text::encode(&mut text, &registry);
    text
}

/// Counts of workers, which the pool has in all and each place has its own.
const OF_WORKERS: [(&str, OfWorker, &str); 11] = [
    ("requests", OfWorker::Requests, "Requests that workers were given, upgrades among them"),
    ("request_body_bytes", OfWorker::RequestBytes, "Bytes of requests' bodies"),
    ("response_body_bytes", OfWorker::ResponseBytes, "Bytes of responses' bodies"),
    ("connections_opened", OfWorker::Upgrades, "WebSockets that were accepted"),
    ("messages_received", OfWorker::MessagesReceived, "Messages from WebSocket clients"),
    ("message_bytes_received", OfWorker::MessageBytesReceived, "Bytes of these messages"),
    ("messages_sent", OfWorker::MessagesSent, "Messages sent to one WebSocket client each"),
    ("message_bytes_sent", OfWorker::MessageBytesSent, "Bytes of these messages"),
    ("messages_published", OfWorker::Published, "Messages that workers published"),
    (
        "slow_consumers",
        OfWorker::SlowConsumers,
        "WebSockets closed because their client read too slowly",
    ),
    (
        "stray_frames",
        OfWorker::StrayFrames,
        "Frames dropped because their worker does not have what they are about",
    ),
];

/// Counts of the pool that no worker has.
const OF_POOL: [(&str, OfThread, &str); 8] = [
    (
        "requests_repeated",
        OfThread::Repeated,
        "Requests that another worker was asked, since theirs did not answer pings",
    ),
    (
        "messages_delivered",
        OfThread::Delivered,
        "Published messages queued for a subscriber, once for each",
    ),
    ("message_bytes_delivered", OfThread::DeliveredBytes, "Bytes of these messages"),
    (
        "messages_dropped_for_workers",
        OfThread::DroppedForWorkers,
        "Published messages that a subscribed worker was too slow for",
    ),
    (
        "messages_dropped_for_clients",
        OfThread::DroppedForClients,
        "Published messages dropped for a subscriber that reads too slowly, once for each",
    ),
    (
        "clients_held_back",
        OfThread::HeldBack,
        "Times that a client was not read because it sent too many messages in a second",
    ),
    (
        "connections_refused",
        OfThread::Refused,
        "WebSockets closed because a worker refused to take them over",
    ),
    (
        "connections_quarantined",
        OfThread::Quarantined,
        "WebSockets closed because an event of theirs ended three workers",
    ),
];

/// Classes of statuses, as the label `code` has them.
const RESPONSES: [(&str, OfThread); 5] = [
    ("1xx", OfThread::Informational),
    ("2xx", OfThread::Successful),
    ("3xx", OfThread::Redirected),
    ("4xx", OfThread::ClientErrors),
    ("5xx", OfThread::ServerErrors),
];

/// Why the pool itself answered in place of a worker, as the label `reason` has it.
const FAILURES: [(&str, OfThread); 5] = [
    ("no-worker", OfThread::Unavailable),
    ("queue-full", OfThread::Crowded),
    ("timeout", OfThread::TimedOut),
    ("worker-lost", OfThread::BadGateway),
    ("client-broke-off", OfThread::BrokenOff),
];

/// Why clients, their requests and their upgrades were turned away, as the label `reason` has it.
const REFUSALS: [(&str, OfThread); 7] = [
    ("address-limit", OfThread::OverAddressLimit),
    ("origin", OfThread::ForeignOrigin),
    ("bad-handshake", OfThread::BadHandshake),
    ("bad-head", OfThread::BadHead),
    ("slow-head", OfThread::SlowHead),
    ("late-upgrade", OfThread::LateUpgrade),
    ("memory", OfThread::OverMemory),
];

/// What was done to clients because they hold much memory, as the label `how` has it.
const RELIEFS: [(&str, OfThread); 3] = [
    ("not-read", OfThread::NotReadForMemory),
    ("websocket-closed", OfThread::ConnectionsClosedForMemory),
    ("request-closed", OfThread::RequestsClosedForMemory),
];

/// Which limit forbids a subscription, as the label `limit` has it.
const FULL: [(&str, OfThread); 3] = [
    ("connection", OfThread::FullConnection),
    ("worker", OfThread::FullWorker),
    ("all", OfThread::FullThread),
];

/// How workers gave connections up, as the label `how` has it.
const MOVED_AWAY: [(&str, OfThread); 2] =
    [("released", OfThread::Released), ("revoked", OfThread::Revoked)];

/// Why workers took connections over, as the label `cause` has it.
const TAKEN_OVER: [(&str, OfThread); 3] = [
    ("reload", OfThread::AdoptedByReload),
    ("crash", OfThread::AdoptedByCrash),
    ("wake", OfThread::AdoptedByWake),
];

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.encode_pool(&mut page)?;
        self.encode_reloads(&mut page)?;
        self.encode_traffic(&mut page)?;
        self.encode_moves(&mut page)?;
        self.encode_queues(&mut page)?;
        self.encode_memory(&mut page)?;
        self.encode_places(&mut page)?;
        self.encode_workers(&mut page)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Snapshot {
    fn encode_pool(&self, page: &mut Page<'_>) -> fmt::Result {
        let view = &self.view;
        let uptime = view.now.saturating_duration_since(view.started).as_secs_f64();
        let version = env!("CARGO_PKG_VERSION");
        page.gauges("build_info", "The version that runs", "version", [(version, 1.0)])?;
        page.gauge("uptime_seconds", "Since the pool began", uptime)?;
        let rss = resident_bytes(std::process::id()) as f64;
        page.gauge("resident_memory_bytes", "Of the supervisor, without workers", rss)?;
        if let Some(bytes) = allocated_bytes() {
            let help = "What the supervisor has allocated and not freed";
            page.gauge("allocated_bytes", help, bytes as f64)?;
        }
        let help = "Lines of the log that were dropped, as nobody read it";
        page.counter("log_lines_dropped", help, log::dropped())?;
        page.gauge("generation", "The generation that serves", view.generation.0.into())?;
        page.gauge("workers_wanted", "Workers that a generation is to have", view.wanted.into())?;
        let help = "Places without a worker, because none is needed there for now";
        page.gauge("workers_asleep", help, view.asleep as f64)?;
        let states = [
            ("starting", WorkerState::Starting),
            ("ready", WorkerState::Ready),
            ("draining", WorkerState::Draining),
            ("stopping", WorkerState::Stopping),
        ];
        let counted = states.map(|(name, state)| {
            (name, view.workers.iter().filter(|worker| worker.state == state).count() as f64)
        });
        page.gauges("workers", "Workers in each state", "state", counted)
    }

    fn encode_reloads(&self, page: &mut Page<'_>) -> fmt::Result {
        let history = &self.view.history;
        let outcomes = [
            ("finished", history.reloads_finished),
            ("abandoned", history.reloads_abandoned),
            ("refused", history.reloads_refused),
        ];
        page.counters("reloads", "Reloads that have ended, and how", "outcome", outcomes)?;
        let under_way = f64::from(self.view.reload != ReloadState::Idle);
        page.gauge("reload_under_way", "Whether one is", under_way)?;
        let help = "Workers replaced for their age, requests or memory";
        page.counter("recycles", help, history.recycles)?;
        let restarts = history.restarts.values().sum();
        page.counter("restarts", "Restarts of workers that failed", restarts)
    }

    fn encode_traffic(&self, page: &mut Page<'_>) -> fmt::Result {
        let numbers = &self.numbers;
        let (all, thread) = (numbers.all(), numbers.thread);
        page.gauge("clients", "Open sockets of clients", numbers.clients as f64)?;
        let help = "As many may be open, others wait";
        page.gauge("clients_limit", help, numbers.client_limit as f64)?;
        page.counter("clients_accepted", "Sockets of clients, ever", numbers.accepted)?;
        page.gauge("connections", "Open WebSockets", numbers.connections() as f64)?;
        for (name, what, help) in OF_WORKERS {
            page.counter(name, help, all.of(what))?;
        }
        for (name, what, help) in OF_POOL {
            page.counter(name, help, thread.of(what))?;
        }
        let responses = RESPONSES.map(|(name, what)| (name, thread.of(what)));
        page.counters("responses", "Requests by the class of their status", "code", responses)?;
        let help = "Requests that the pool answered in place of a worker";
        let failures = FAILURES.map(|(name, what)| (name, thread.of(what)));
        page.counters("request_failures", help, "reason", failures)?;
        let help = "Clients, requests and upgrades that were turned away";
        let refusals = REFUSALS.map(|(name, what)| (name, thread.of(what)));
        page.counters("refusals", help, "reason", refusals)?;
        let help = "Subscriptions to channels that were refused, by the limit that forbids them";
        let full = FULL.map(|(name, what)| (name, thread.of(what)));
        page.counters("subscriptions_refused", help, "limit", full)?;
        let help = "Time until the head of the response";
        page.histogram("request_duration_seconds", help, &numbers.latencies)
    }

    /// Connections on their way from one worker to another.
    fn encode_moves(&self, page: &mut Page<'_>) -> fmt::Result {
        let numbers = &self.numbers;
        let count = |what| numbers.thread.of(what);
        let moved_away = MOVED_AWAY.map(|(name, what)| (name, count(what)));
        let help = "WebSockets that a worker gave up for another one, and how";
        page.counters("connections_moved_from_workers", help, "how", moved_away)?;
        let taken_over = TAKEN_OVER.map(|(name, what)| (name, count(what)));
        let help = "WebSockets that a worker took over from another one, and why";
        page.counters("connections_moved_to_workers", help, "cause", taken_over)?;
        let help = "WebSockets that no worker has: asleep, or waiting for one";
        page.gauge("connections_unowned", help, numbers.unowned as f64)?;
        let help = "Bytes of unfinished messages of portable WebSockets";
        page.gauge("kept_message_bytes", help, numbers.kept_bytes as f64)
    }

    fn encode_queues(&self, page: &mut Page<'_>) -> fmt::Result {
        let numbers = &self.numbers;
        let under_way = numbers.requests() as f64;
        page.gauge("requests_under_way", "Requests that workers have", under_way)?;
        let help = "Requests that wait for a ready worker";
        page.gauge("requests_waiting", help, numbers.requests_waiting as f64)?;
        let help = "Bytes that wait for WebSocket clients";
        page.gauge("outbox_bytes", help, numbers.outbox_bytes as f64)?;
        let help = "Bytes that wait to be written to workers";
        let waiting: u64 = numbers.workers.values().map(|worker| worker.waiting_bytes).sum();
        page.gauge("link_waiting_bytes", help, waiting as f64)?;
        let help = "Bytes of publishes on their way between I/O threads";
        page.gauge("publish_waiting_bytes", help, numbers.crossing_bytes as f64)?;
        let help = "Channels that have subscribers, counted on each I/O thread";
        page.gauge("channels", help, numbers.channels as f64)?;
        let help = "Subscriptions to channels, of connections and of workers themselves";
        page.gauge("subscriptions", help, numbers.subscriptions as f64)
    }

    /// What clients make the pool hold.
    fn encode_memory(&self, page: &mut Page<'_>) -> fmt::Result {
        let numbers = &self.numbers;
        let help = "Bytes that the pool holds because of clients";
        page.gauge("client_memory_bytes", help, numbers.client_memory_bytes as f64)?;
        let help = "As many may be held, see --max-client-memory";
        page.gauge("client_memory_limit_bytes", help, numbers.client_memory_limit_bytes as f64)?;
        let help = "What was done to clients because they hold much memory";
        let reliefs = RELIEFS.map(|(name, what)| (name, numbers.thread.of(what)));
        page.counters("client_memory_reliefs", help, "how", reliefs)
    }

    /// What has been counted of each place.
    fn encode_places(&self, page: &mut Page<'_>) -> fmt::Result {
        let places = &self.numbers.places;
        let of = |count: &dyn Fn(&WorkerSums) -> f64| {
            places.iter().map(|(index, sums)| (index.to_string(), count(sums))).collect()
        };
        for (name, what, help) in OF_WORKERS {
            page.places(name, help, MetricType::Counter, of(&|sums| sums.of(what) as f64))?;
        }
        let help = "Heads of responses that it gave, accepted upgrades among them";
        let answers = of(&|sums| sums.of(OfWorker::Answers) as f64);
        page.places("answers", help, MetricType::Counter, answers)?;
        let help = "Time until these heads, all together";
        let seconds = of(&|sums| sums.of(OfWorker::AnswerMicros) as f64 / 1e6);
        page.places("answer_seconds", help, MetricType::Counter, seconds)?;
        let restarts = places.keys().map(|index| {
            let restarts = self.view.history.restarts.get(index).copied().unwrap_or_default();
            (index.to_string(), restarts as f64)
        });
        page.places("restarts", "Restarts", MetricType::Counter, restarts.collect())
    }

    /// What the workers that hold each place have now: two, while one takes over from the other.
    fn encode_workers(&self, page: &mut Page<'_>) -> fmt::Result {
        let mut now = |name: &str, help: &str, of: &dyn Fn(&WorkerView) -> f64| {
            let mut places = std::collections::BTreeMap::<_, f64>::new();
            for worker in &self.view.workers {
                *places.entry(worker.index).or_default() += of(worker);
            }
            let places = places.into_iter().map(|(index, sum)| (index.to_string(), sum));
            page.places(name, help, MetricType::Gauge, places.collect())
        };
        let numbers =
            |worker: &WorkerView| self.numbers.workers.get(&worker.id).copied().unwrap_or_default();
        now("connections", "WebSockets that it owns", &|worker| {
            numbers(worker).connections as f64
        })?;
        let help = "Requests that it has";
        now("requests_under_way", help, &|worker| numbers(worker).requests as f64)?;
        let help = "Bytes that wait to be written to it";
        now("link_waiting_bytes", help, &|worker| numbers(worker).waiting_bytes as f64)?;
        let memory = |worker: &WorkerView| worker.pid.map_or(0, resident_bytes) as f64;
        now("resident_memory_bytes", "Its memory", &memory)
    }
}

/// What is written, one metric after the other.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let name = format!("shovel_{name}");
        let encoder = self.0.encode_descriptor(&name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let name = format!("shovel_{name}");
        let encoder = self.0.encode_descriptor(&name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: [(&str, f64); N],
    ) -> fmt::Result {
        self.family(&format!("shovel_{name}"), help, MetricType::Gauge, label, values)
    }

    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: [(&str, u64); N],
    ) -> fmt::Result {
        let values = values.map(|(of, value)| (of, value as f64));
        self.family(&format!("shovel_{name}"), help, MetricType::Counter, label, values)
    }

    fn places(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        values: Vec<(String, f64)>,
    ) -> fmt::Result {
        self.family(&format!("shovel_worker_{name}"), help, kind, "worker", values)
    }

    fn family<S: AsRef<str>>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        label: &str,
        values: impl IntoIterator<Item = (S, f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (of, value) in values {
            let labels = [(label, of.as_ref())];
            let encoder: MetricEncoder<'_> = family.encode_family(&labels)?;
            match kind {
                MetricType::Counter => ConstCounter::new(value).encode(encoder)?,
                _ => ConstGauge::new(value).encode(encoder)?,
            }
        }
        Ok(())
    }

    fn histogram(&mut self, name: &str, help: &str, sums: &LatencySums) -> fmt::Result {
        let name = format!("shovel_{name}");
        let mut encoder = self.0.encode_descriptor(&name, help, None, MetricType::Histogram)?;
        let bounds = LATENCY_BOUNDS_MICROS.map(|micros| micros as f64 / 1e6);
        let bounds = bounds.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(sums.buckets).collect();
        let count = sums.buckets.iter().sum();
        let sum = sums.sum_micros as f64 / 1e6;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}
