//! Many portable connections while their workers are replaced, killed and put to sleep: what their
//! clients see of it.
//!
//! `shovel-moves PID 127.0.0.1:PORT 127.0.0.1:ADMIN SCENARIO [CLIENTS]`, where the pool with this PID
//! serves the user-app, and its metrics at the second address. Each client sends a numbered message
//! a second to `/ws/counter`, whose answers have a count: one that is missing, doubled or out of
//! order shows. Scenarios: `reload`, `kill`, `reloads` (a hundred, with HTTP clients beside),
//! `sleep`. Loopback only; ends by itself.

use std::cell::Cell;
use std::process;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use shovel_bench::{children, connect, cpu_seconds, get, resident_mib};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::LocalSet;
use tokio::time::{interval, sleep, timeout};

const PERIOD: Duration = Duration::from_secs(1);

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [pid, address, admin, scenario, rest @ ..] = &args[..] else {
        bail!(
            "usage: shovel-moves PID 127.0.0.1:PORT 127.0.0.1:ADMIN reload|kill|reloads|sleep [CLIENTS]"
        );
    };
    let is_loopback = |address: &String| address.starts_with("127.0.0.1:");
    ensure!([address, admin].into_iter().all(is_loopback), "benchmarks run on loopback only");
    let clients = rest.first().map_or(Ok(10_000), |text| text.parse()).context("not a number")?;
    let pid: u32 = pid.parse().context("not a pid")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let crowd = Crowd::gather(address, clients).await?;
        println!("{clients} clients are connected");
        match &scenario[..] {
            "reload" => reload(pid, &crowd).await?,
            "kill" => kill(pid, &crowd).await?,
            "reloads" => reloads(&Pool { pid, address, admin }, &crowd).await?,
            "sleep" => asleep(pid, &crowd).await?,
            other => bail!("no scenario is called {other:?}"),
        }
        crowd.judge()
    })
}

/// Where a pool is.
struct Pool<'a> {
    pid: u32,
    address: &'a str,
    admin: &'a str,
}

/// All clients, and what became of their messages.
struct Crowd {
    clients: Vec<Rc<Client>>,
    speaking: watch::Sender<bool>,
}

#[derive(Default)]
struct Client {
    /// The worker that answered last.
    pid: Cell<u32>,
    answers: Cell<u64>,
    /// Longest time to an answer since it was asked for last.
    longest: Cell<Duration>,
    waits: Cell<bool>,
    closed: Cell<bool>,
    wrong: Cell<u64>,
    /// Has it send at once.
    speak: Notify,
}

impl Crowd {
    async fn gather(address: &str, count: usize) -> anyhow::Result<Crowd> {
        let (speaking, heard) = watch::channel(true);
        let mut clients = Vec::with_capacity(count);
        for number in 0..count {
            let socket = connect(address, "/ws/counter").await?;
            let client = Rc::new(Client::default());
            // Spread over the period, as a crowd would be.
            let delay = PERIOD * number as u32 / count as u32;
            let run = speak(socket, client.clone(), heard.clone(), delay);
            tokio::task::spawn_local(run);
            clients.push(client);
        }
        // Until each has been answered.
        let crowd = Crowd { clients, speaking };
        crowd.until_answered(1).await?;
        Ok(crowd)
    }

    async fn until_answered(&self, more: u64) -> anyhow::Result<()> {
        let wanted: Vec<u64> =
            self.clients.iter().map(|client| client.answers.get() + more).collect();
        let reached = || {
            let all = self.clients.iter().zip(&wanted);
            all.filter(|(client, wanted)| !client.closed.get() && client.answers.get() < **wanted)
                .count()
        };
        let waited = async {
            while reached() > 0 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(60), waited)
            .await
            .with_context(|| format!("{} clients were not answered", reached()))
    }

    fn forget_longest(&self) {
        self.clients.iter().for_each(|client| client.longest.set(Duration::ZERO));
    }

    fn longest(&self) -> Vec<Duration> {
        sorted(self.clients.iter().map(|client| client.longest.get()).collect())
    }

    fn judge(&self) -> anyhow::Result<()> {
        let closed = self.clients.iter().filter(|client| client.closed.get()).count();
        let wrong: u64 = self.clients.iter().map(|client| client.wrong.get()).sum();
        let answers: u64 = self.clients.iter().map(|client| client.answers.get()).sum();
        println!("{answers} answers, {closed} closed, {wrong} lost, doubled or out of order");
        ensure!(closed == 0 && wrong == 0, "the promise does not hold");
        Ok(())
    }
}

/// Sends a number each second and takes the answers.
async fn speak(
    mut socket: TcpStream,
    client: Rc<Client>,
    speaking: watch::Receiver<bool>,
    delay: Duration,
) {
    sleep(delay).await;
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut number = 0;
    loop {
        tokio::select! {
            // Ticking in silence too: else all would speak at once when it ends.
            _ = ticks.tick() => if !*speaking.borrow() { continue },
            () = client.speak.notified() => {}
        }
        number += 1;
        client.waits.set(true);
        let (sent, text) = (Instant::now(), number.to_string());
        if socket.write_all(&frame(text.as_bytes())).await.is_err() {
            return client.closed.set(true);
        }
        let Ok(answer) = read_message(&mut socket).await else { return client.closed.set(true) };
        let took = sent.elapsed();
        client.waits.set(false);
        client.longest.set(client.longest.get().max(took));
        client.answers.set(client.answers.get() + 1);
        client.pid.set(field(&answer, "pid") as u32);
        let expected = format!("\"echo\":\"{number}\"");
        if field(&answer, "n") != number || !answer.contains(&expected) {
            client.wrong.set(client.wrong.get() + 1);
        }
    }
}

async fn reload(pid: u32, crowd: &Crowd) -> anyhow::Result<()> {
    crowd.forget_longest();
    crowd.until_answered(2).await?;
    let before = crowd.longest();
    crowd.forget_longest();
    let pids: Vec<u32> = crowd.clients.iter().map(|client| client.pid.get()).collect();
    signal(pid, "HUP")?;
    let start = Instant::now();
    crowd.until_answered(3).await?;
    println!("longest answer per connection, before: {}", percentiles(&before));
    println!("longest answer per connection, around the reload: {}", percentiles(&crowd.longest()));
    let moved = crowd.clients.iter().zip(&pids).filter(|(client, pid)| client.pid.get() != **pid);
    println!(
        "{} connections moved; observed for {:.1} s",
        moved.count(),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

async fn kill(pool: u32, crowd: &Crowd) -> anyhow::Result<()> {
    crowd.until_answered(1).await?;
    let victim = crowd.clients.first().context("nobody")?.pid.get();
    ensure!(children(pool).contains(&victim), "{victim} is no worker of the pool");
    let lost: Vec<_> = crowd.clients.iter().filter(|client| client.pid.get() == victim).collect();
    let answers: Vec<u64> = lost.iter().map(|client| client.answers.get()).collect();
    signal(victim, "KILL")?;
    let start = Instant::now();
    lost.iter().for_each(|client| client.speak.notify_one());
    let mut first = vec![None; lost.len()];
    while first.iter().any(Option::is_none) {
        ensure!(start.elapsed() < Duration::from_secs(30), "not all speak again");
        for (place, client) in lost.iter().enumerate() {
            if first[place].is_none() && client.answers.get() > answers[place] {
                first[place] = Some(start.elapsed());
            }
        }
        sleep(Duration::from_millis(1)).await;
    }
    let first = sorted(first.into_iter().flatten().collect());
    println!(
        "{} connections of the killed worker speak again: {}",
        lost.len(),
        percentiles(&first)
    );
    crowd.until_answered(2).await
}

async fn reloads(pool: &Pool<'_>, crowd: &Crowd) -> anyhow::Result<()> {
    let requests = Requests::begin(pool.address, 4);
    let (mut resident, mut allocated) = (Vec::new(), Vec::new());
    for number in 1..=100 {
        let before = children(pool.pid);
        signal(pool.pid, "HUP")?;
        let start = Instant::now();
        while children(pool.pid).iter().any(|child| before.contains(child)) {
            ensure!(start.elapsed() < Duration::from_secs(60), "reload {number} does not end");
            sleep(Duration::from_millis(5)).await;
        }
        if [10, 40, 70, 100].contains(&number) {
            crowd.pause(&requests).await?;
            resident.push(resident_mib(pool.pid)?);
            allocated.push(allocated_kib(pool.admin).await?);
            crowd.resume(&requests);
        }
    }
    crowd.until_answered(2).await?;
    let (done, failed) = (requests.done.get(), requests.failed.get());
    println!("100 reloads; {done} HTTP requests on new connections, {failed} failed");
    let told = |all: &[f64]| -> String { all.iter().map(|value| format!("{value:.1} ")).collect() };
    println!("of the supervisor, after 10, 40, 70 and 100 reloads:");
    println!("    resident MiB:  {}", told(&resident));
    println!("    allocated KiB: {}", told(&allocated));
    ensure!(failed == 0, "requests failed");
    ensure!(growth(&allocated) <= 0.01, "more is allocated after 100 reloads than after 10");
    ensure!(growth(&resident) <= 0.1, "more is resident after 100 reloads than after 10");
    Ok(())
}

/// By how much the last is more than the first, as a share of that.
fn growth(measured: &[f64]) -> f64 {
    let (first, last) = (measured.first().unwrap_or(&0.0), measured.last().unwrap_or(&0.0));
    last / first - 1.0
}

/// HTTP clients that ask again and again, each time on a new connection, and never twice for the
/// same.
#[derive(Default)]
struct Requests {
    are_paused: Cell<bool>,
    under_way: Cell<u64>,
    done: Cell<u64>,
    failed: Cell<u64>,
}

impl Requests {
    fn begin(address: &str, clients: usize) -> Rc<Requests> {
        let requests = Rc::new(Requests::default());
        for _ in 0..clients {
            let (address, requests) = (address.to_owned(), requests.clone());
            tokio::task::spawn_local(async move {
                loop {
                    if !requests.are_paused.get() {
                        requests.ask(&address).await;
                    }
                    sleep(Duration::from_millis(5)).await;
                }
            });
        }
        requests
    }

    async fn ask(&self, address: &str) {
        self.under_way.set(self.under_way.get() + 1);
        let count = match get(address, "/hello").await {
            Ok(body) if body == "Hello, world!" => &self.done,
            _ => &self.failed,
        };
        count.set(count.get() + 1);
        self.under_way.set(self.under_way.get() - 1);
    }
}

impl Crowd {
    /// Waits until nothing is under way, so that what is measured is what is kept.
    async fn pause(&self, requests: &Requests) -> anyhow::Result<()> {
        requests.are_paused.set(true);
        self.speaking.send_replace(false);
        let start = Instant::now();
        let waits = || self.clients.iter().any(|client| client.waits.get());
        while requests.under_way.get() > 0 || waits() {
            ensure!(start.elapsed() < Duration::from_secs(30), "not all are answered");
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    fn resume(&self, requests: &Requests) {
        requests.are_paused.set(false);
        self.speaking.send_replace(true);
    }
}

/// What the supervisor has allocated at rest. The least of what is told until the last timers have
/// run out that watched over workers which are gone: none is longer.
async fn allocated_kib(admin: &str) -> anyhow::Result<f64> {
    let mut least = f64::INFINITY;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(8) {
        let metrics = get(admin, "/metrics").await?;
        let told = metrics.lines().find_map(|line| line.strip_prefix("shovel_allocated_bytes "));
        let bytes: f64 = told.context("the allocator does not tell")?.parse()?;
        least = least.min(bytes / 1024.0);
        sleep(Duration::from_millis(250)).await;
    }
    Ok(least)
}

async fn asleep(pid: u32, crowd: &Crowd) -> anyhow::Result<()> {
    crowd.speaking.send_replace(false);
    let start = Instant::now();
    while !children(pid).is_empty() {
        ensure!(start.elapsed() < Duration::from_secs(60), "workers do not sleep");
        sleep(Duration::from_millis(20)).await;
    }
    println!("no worker is left after {:.1} s", start.elapsed().as_secs_f64());
    let (cpu, watched) = (cpu_seconds(pid), Duration::from_secs(35));
    sleep(watched).await;
    let share = (cpu_seconds(pid) - cpu) / watched.as_secs_f64() * 100.0;
    println!("supervisor while all sleep, pings included: {share:.2} % of a core");
    let first = crowd.clients.first().context("nobody")?;
    let (answers, woken) = (first.answers.get(), Instant::now());
    first.speak.notify_one();
    while first.answers.get() == answers {
        ensure!(woken.elapsed() < Duration::from_secs(30), "nobody wakes");
        sleep(Duration::from_millis(1)).await;
    }
    println!("first answer after waking: {:.0} ms", woken.elapsed().as_secs_f64() * 1e3);
    crowd.forget_longest();
    crowd.clients.iter().for_each(|client| client.speak.notify_one());
    crowd.until_answered(1).await?;
    println!("all speak at once, answered after: {}", percentiles(&crowd.longest()));
    println!("{} workers are awake", children(pid).len());
    Ok(())
}

/// A short text message, masked with zeros.
fn frame(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(text);
    frame
}

/// The next text message. Answers pings; anything else is an error.
async fn read_message(socket: &mut TcpStream) -> anyhow::Result<String> {
    loop {
        let (kind, length) = (socket.read_u8().await?, socket.read_u8().await?);
        let length = match length {
            126 => usize::from(socket.read_u16().await?),
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        socket.read_exact(&mut payload).await?;
        match kind {
            0x81 => return Ok(String::from_utf8(payload)?),
            0x89 => socket.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await?,
            other => bail!("frame {other:#x}"),
        }
    }
}

/// A number in a flat JSON object.
fn field(json: &str, name: &str) -> u64 {
    let after = json.split(&format!("\"{name}\":")).nth(1).unwrap_or_default();
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

fn sorted(mut all: Vec<Duration>) -> Vec<Duration> {
    all.sort();
    all
}

fn percentiles(sorted: &[Duration]) -> String {
    let at = |share: f64| {
        let place = ((sorted.len() as f64 - 1.0) * share) as usize;
        sorted.get(place).map_or(0.0, |took| took.as_secs_f64() * 1e3)
    };
    format!("p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms", at(0.5), at(0.99), at(1.0))
}

fn signal(pid: u32, name: &str) -> anyhow::Result<()> {
    let status =
        process::Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status()?;
    ensure!(status.success(), "cannot send {name} to {pid}");
    Ok(())
}
