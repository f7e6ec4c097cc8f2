//! One run, from the start of a pool to its end.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::asker::{Asked, ask};
use super::client::{ANSWERS_WITHIN, Client, Season, Weather};
use super::footprint::Footprint;
use super::growth::Growth;
use super::judge::{Rule, Violation, judge};
use super::machine::Machine;
use super::nemesis::{Nemesis, Schedule, schedule};
use super::record::{Conversation, Deed, Published, Record, Role};
use super::verdict::Verdict;
use super::words::{Trace, now};
use crate::{Deploy, Line, Options, PATIENCE, Pool, is_alive, program, until};

/// How a run is to be.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// From which all follows that is chosen.
    pub seed: u64,
    /// For how long the nemesis is at work.
    pub lasts: Duration,
    /// How many clients there are at a time.
    pub clients: usize,
}

const WORKERS: u32 = 4;

/// Clients of one room hear each other.
const CLIENTS_PER_ROOM: usize = 12;

/// How long clients listen to each other after the last answer.
const ECHO: Duration = Duration::from_millis(1200);

/// Keys from here on are of those who come before the run, which is not judged.
const STRANGERS: u32 = 1_000_000_000;

/// Keys of one crowd of those who come after it, which is not judged either.
const ROUND: u32 = 10_000_000;

/// For how long those are busy before they move.
const BEFORE_A_MOVE: Duration = Duration::from_millis(500);

/// Keys from here on are of those who are there when the pool ends.
const LAST: u32 = 500_000_000;

/// For how long they are busy before.
const BEFORE_THE_END: Duration = Duration::from_millis(1500);

/// Those who ask for pages meanwhile.
const ASKERS: usize = 8;

/// Reloads in a row after all harm, in which no request may fail.
const CALM_RELOADS: u32 = 3;

/// How long after its order a worker's end may show, behind what was ordered before.
const CALMS_DOWN: Duration = Duration::from_secs(4);

/// How often it is measured whether something is left, before it counts.
const LOOKS: u32 = 100;

/// When nothing is left of those that have gone: who has waited for a worker leaves a deadline
/// behind, for as long as `--owner-wait` is by default, 30 s.
const AT_REST: Duration = Duration::from_secs(40);

struct Crowd {
    pool: Arc<Pool>,
    trial: Trial,
    weather: watch::Sender<Weather>,
    next_key: Arc<AtomicU32>,
    settled: Arc<AtomicUsize>,
    places: JoinSet<Vec<Conversation>>,
    askers: JoinSet<Asked>,
}

impl Trial {
    /// Runs it and decides.
    ///
    /// # Panics
    /// If the pool itself fails: it does not start, does not settle or does not end in order.
    pub async fn run(self) -> Verdict {
        let plan = schedule(self.seed, self.lasts);
        let machine = Machine::watch();
        let traces = TempDir::new().expect("temporary folder");
        let deploy = Deploy::of_program("fixture-checked", "first");
        let pool = Arc::new(Pool::start(self.options(&deploy, traces.path())).await);
        warm_up(&pool, self).await;
        let before = settle(&pool).await;

        let mut crowd = Crowd::gather(pool.clone(), self, 0);
        let (mut deeds, published) = crowd.live_through(&deploy, &plan).await;
        let is_whole = crowd.reload_calmly(&deeds).await;
        let (conversations, Asked { answered, failed }) = crowd.disperse().await;
        drop(crowd);

        let after = settle_to(&pool, before).await;
        let growth = if is_whole { self.grow(&pool).await } else { Growth::default() };
        let mut last = match is_whole {
            true => self.terminate(pool.clone()).await,
            false => {
                eprintln!("log of a pool whose reload does not end:\n{}", pool.log());
                Record::default()
            }
        };

        let mut pool = Arc::into_inner(pool).expect("nobody else has it");
        if is_whole {
            let status = pool.exit_status().await;
            assert_eq!(status.code(), Some(0), "{}", pool.log());
        }
        let log = pool.log().lines();
        let warnings = warnings_in(&log);
        last.deeds = machine.deeds(&log);
        deeds.extend(last.deeds.iter().cloned());
        deeds.sort_by_key(|deed| deed.from);
        let traces = read_traces(traces.path());
        last.traces.clone_from(&traces);
        let terminated = None;
        let mut record =
            Record { conversations, traces, deeds, published, answered, failed, terminated };
        let mut violations = judge(&record);
        if is_whole {
            violations.extend(judge(&last));
            // To tell what happened.
            record.conversations.extend(last.conversations);
        }
        if let Some(what) = after.more_than(before) {
            violations.push(Violation { rule: Rule::Leak, key: 0, at: now(), what });
        }
        if is_whole && growth.is_leak() {
            let what = growth.to_string();
            violations.push(Violation { rule: Rule::Leak, key: 0, at: now(), what });
        }
        if !is_whole {
            let what = format!("a reload did not end within {PATIENCE:?}");
            violations.push(Violation { rule: Rule::Stuck, key: 0, at: now(), what });
        }
        let footprints = format!("{before} before, {after} after; {growth}");
        Verdict { seed: self.seed, record, violations, footprints, warnings }
    }

    /// Ends the pool while all are busy.
    async fn terminate(self, pool: Arc<Pool>) -> Record {
        let mut crowd = Crowd::gather(pool.clone(), self, LAST);
        sleep(BEFORE_THE_END).await;
        let terminated = Some(now());
        pool.sigterm();
        let supervisor = pool.pid();
        until("the supervisor's end", || !is_alive(supervisor)).await;
        let (conversations, Asked { answered, failed }) = crowd.disperse().await;
        Record { conversations, answered, failed, terminated, ..Record::default() }
    }

    /// Has equal crowds come and go, whose connections move and whose workers die.
    async fn grow(self, pool: &Arc<Pool>) -> Growth {
        let mut growth = Growth::default();
        growth.note(settle(pool).await.allocated_bytes);
        for round in 1.. {
            let mut crowd = Crowd::gather(pool.clone(), self, STRANGERS + round * ROUND);
            sleep(BEFORE_A_MOVE).await;
            crowd.reload().await;
            let worker = pool.workers().first().copied();
            worker.into_iter().for_each(|worker| pool.kill_worker(worker.pid));
            sleep(BEFORE_A_MOVE).await;
            crowd.reload().await;
            crowd.disperse().await;
            growth.note(settle(pool).await.allocated_bytes);
            if growth.is_known() {
                break;
            }
        }
        growth
    }

    fn rooms(self) -> u32 {
        self.clients.div_ceil(CLIENTS_PER_ROOM) as u32
    }

    fn options(self, deploy: &Deploy, traces: &Path) -> Options {
        let threads = if self.seed.is_multiple_of(2) { "2" } else { "1" };
        let options = Options::deployed(deploy)
            .workers(WORKERS)
            .variable("CHECKED_TRACES", &traces.display().to_string())
            // What each thread keeps of small pieces that were freed would count as allocated.
            .variable("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")
            .with("--io-threads", threads)
            .with("--ready-timeout", "4s")
            .with("--hang-timeout", "3s")
            .with("--handler-timeout", "2s")
            .with("--adopt-timeout", "2s")
            .with("--close-spread", "300ms")
            .with("--drain-timeout", "20s");
        match supervisor_knows("--sleep-after") {
            true => options.with("--sleep-after", "300ms").with("--min-workers", "0"),
            false => options,
        }
    }
}

/// As many clients as there will be come and go, so that what is allocated once is allocated.
async fn warm_up(pool: &Arc<Pool>, trial: Trial) {
    let mut crowd = Crowd::gather(pool.clone(), trial, STRANGERS);
    sleep(Duration::from_secs(1)).await;
    crowd.disperse().await;
}

/// Waits until everybody is gone and nothing is under way.
async fn settle(pool: &Pool) -> Footprint {
    let mut last = Footprint::of(pool).await;
    let mut same = 0;
    for _ in 0..LOOKS {
        let next = Footprint::of(pool).await;
        same = if next.is_as(last) && next.is_idle() { same + 1 } else { 0 };
        last = next;
        if same == 5 {
            return last;
        }
        sleep(PATIENCE / LOOKS).await;
    }
    panic!("the pool does not come to rest: {last}")
}

/// What is there afterwards, at once or a while later.
async fn settle_to(pool: &Pool, before: Footprint) -> Footprint {
    for _ in 0..LOOKS {
        let after = Footprint::of(pool).await;
        if after.more_than(before).is_none() {
            return after;
        }
        sleep(AT_REST / LOOKS).await;
    }
    Footprint::of(pool).await
}

impl Crowd {
    /// Clients whose keys come after this one.
    fn gather(pool: Arc<Pool>, trial: Trial, key: u32) -> Crowd {
        let weather = Weather { season: Season::Busy, gusts: 0 };
        let mut crowd = Crowd {
            pool,
            trial,
            weather: watch::Sender::new(weather),
            next_key: Arc::new(AtomicU32::new(key)),
            settled: Arc::default(),
            places: JoinSet::new(),
            askers: JoinSet::new(),
        };
        for _ in 0..ASKERS {
            crowd.askers.spawn(ask(crowd.pool.address(), crowd.weather.subscribe()));
        }
        for place in 0..trial.clients {
            let role = match place % 20 {
                0..12 => Role::Resident,
                12 => Role::Slow,
                13..16 => Role::Visitor,
                _ => Role::Plain,
            };
            crowd.occupy(role);
        }
        crowd
    }

    /// Has a client there, and another each time it ends, until all is over.
    fn occupy(&mut self, role: Role) {
        let (seed, address) = (self.trial.seed, self.pool.address());
        let rooms = self.trial.rooms();
        let weather = self.weather.subscribe();
        let (next_key, settled) = (self.next_key.clone(), self.settled.clone());
        self.places.spawn(async move {
            let mut conversations = Vec::new();
            let mut has_settled = false;
            let mut settle = || {
                if !std::mem::replace(&mut has_settled, true) {
                    settled.fetch_add(1, Ordering::Relaxed);
                }
            };
            loop {
                let key = next_key.fetch_add(1, Ordering::Relaxed) + 1;
                let client = Client::new(address, weather.clone(), (seed, key), role, rooms);
                // One that stays settles when all is answered; others need not be waited for.
                let conversation = match role.stays() {
                    true => client.run(&mut settle).await,
                    false => client.run(|| {}).await,
                };
                conversations.push(conversation);
                let season = weather.borrow().season;
                if matches!(season, Season::Late | Season::Over) {
                    return conversations;
                }
            }
        });
    }

    /// Goes on until the nemesis has done its work.
    async fn live_through(
        &mut self,
        deploy: &Deploy,
        plan: &Schedule,
    ) -> (Vec<Deed>, Vec<Published>) {
        let (pool, chosen) = (self.pool.clone(), (self.trial.seed, self.trial.rooms()));
        let nemesis = Nemesis::new(&pool, deploy, &self.weather, chosen);
        nemesis.run(plan).await
    }

    /// Reloads some more when all harm is over, and says whether that came to its end.
    async fn reload_calmly(&self, deeds: &[Deed]) -> bool {
        let harms = deeds.iter().filter(|deed| deed.harms).map(|deed| deed.to);
        let left = Duration::from_nanos(harms.max().unwrap_or(0).saturating_sub(now()));
        self.weather.send_modify(|weather| weather.season = Season::Calm);
        sleep(left.max(CALMS_DOWN)).await;
        for _ in 0..CALM_RELOADS {
            if !self.reload().await {
                return false;
            }
        }
        true
    }

    /// Reloads, which moves all clients, and says whether that came to its end.
    async fn reload(&self) -> bool {
        let before = self.pool.log().lines().len();
        self.pool.sighup();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if has_reloaded(&self.pool, before) {
                return true;
            }
            sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// Everybody waits for the last answers, listens for a moment more, and closes.
    async fn disperse(&mut self) -> (Vec<Conversation>, Asked) {
        let staying = (0..self.trial.clients).filter(|place| place % 20 < 13).count();
        self.weather.send_modify(|weather| weather.season = Season::Late);
        let settled = self.settled.clone();
        let deadline = Instant::now() + ANSWERS_WITHIN;
        while settled.load(Ordering::Relaxed) < staying && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        sleep(ECHO).await;
        self.weather.send_modify(|weather| weather.season = Season::Over);
        let mut conversations = Vec::new();
        while let Some(place) = self.places.join_next().await {
            conversations.extend(place.expect("a client that does not panic"));
        }
        conversations.sort_by_key(|conversation| conversation.key);
        let mut all = Asked::default();
        while let Some(asked) = self.askers.join_next().await {
            let Asked { answered, failed } = asked.expect("one who asks and does not panic");
            all.answered += answered;
            all.failed.extend(failed);
        }
        (conversations, all)
    }
}

/// Whether a reload has ended behind these lines of the log, and none is under way.
fn has_reloaded(pool: &Pool, before: usize) -> bool {
    let is_over = pool.log().lines()[before..].iter().rev().find_map(|line| {
        let ends = line.is("reload finished");
        (ends || line.is("reload started")).then_some(ends)
    });
    is_over == Some(true)
}

/// What the pool has warned of, as it stands in its log.
fn warnings_in(log: &[Line]) -> Vec<(u64, String)> {
    let is_warning = |line: &&Line| matches!(line.level(), "WARN" | "ERROR");
    let warnings = log.iter().filter(is_warning);
    warnings.map(|line| (line.time().unwrap_or_default(), line.raw.clone())).collect()
}

fn supervisor_knows(flag: &str) -> bool {
    let help = Command::new(program("shovel-pool")).arg("--help").output().expect("its help");
    String::from_utf8_lossy(&help.stdout).contains(flag)
}

/// What all workers noted, by time. A worker that died may have been cut off in its last line.
fn read_traces(folder: &Path) -> Vec<Trace> {
    let mut traces = Vec::new();
    for entry in std::fs::read_dir(folder).expect("folder of traces").flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("traces");
        traces.extend(text.lines().filter_map(|line| line.parse::<Trace>().ok()));
    }
    traces.sort_by_key(|trace| trace.at);
    traces
}
