//! Many portable connections while their workers are replaced, killed and put to sleep: what their
//! clients see of it.
//!
//! `shovel-moves PID 127.0.0.1:PORT SCENARIO [CLIENTS]`, where the pool with this PID serves the
//! user-app. Each client sends a numbered message a second to `/ws/counter`, whose answers have a
//! count: one that is missing, doubled or out of order shows. Scenarios: `reload`, `kill`,
//! `reloads` (a hundred, with HTTP clients beside), `sleep`. Loopback only; ends by itself.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use std::{fs, process};

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::LocalSet;
use tokio::time::{interval, sleep, timeout};

const PERIOD: Duration = Duration::from_secs(1);

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [pid, address, scenario, rest @ ..] = &args[..] else {
        bail!("usage: shovel-moves PID 127.0.0.1:PORT reload|kill|reloads|sleep [CLIENTS]");
    };
    ensure!(address.starts_with("127.0.0.1:"), "benchmarks run on loopback only");
    let clients = rest.first().map_or(Ok(10_000), |text| text.parse()).context("not a number")?;
    let pid: u32 = pid.parse().context("not a pid")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let crowd = Crowd::gather(address, clients).await?;
        println!("{clients} clients are connected");
        match &scenario[..] {
            "reload" => reload(pid, &crowd).await?,
            "kill" => kill(pid, &crowd).await?,
            "reloads" => reloads(pid, address, &crowd).await?,
            "sleep" => asleep(pid, &crowd).await?,
            other => bail!("no scenario is called {other:?}"),
        }
        crowd.judge()
    })
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
    closed: Cell<bool>,
    wrong: Cell<u64>,
    /// Has it send at once.
    speak: Notify,
}

impl Crowd {
    async fn gather(address: &str, count: usize) -> anyhow::Result<Crowd> {
        let (speaking, listening) = watch::channel(true);
        let mut clients = Vec::with_capacity(count);
        for number in 0..count {
            let socket = connect(address, "/ws/counter").await?;
            let client = Rc::new(Client::default());
            // Spread over the period, as a crowd would be.
            let delay = PERIOD * number as u32 / count as u32;
            let run = speak(socket, client.clone(), listening.clone(), delay);
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
    mut listening: watch::Receiver<bool>,
    delay: Duration,
) {
    sleep(delay).await;
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut number = 0;
    loop {
        tokio::select! {
            _ = ticks.tick(), if *listening.borrow_and_update() => {}
            () = client.speak.notified() => {}
            _ = listening.changed(), if !*listening.borrow() => continue,
        }
        number += 1;
        let (sent, text) = (Instant::now(), number.to_string());
        if socket.write_all(&frame(text.as_bytes())).await.is_err() {
            return client.closed.set(true);
        }
        let Ok(answer) = read_message(&mut socket).await else { return client.closed.set(true) };
        let took = sent.elapsed();
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

async fn reloads(pid: u32, address: &str, crowd: &Crowd) -> anyhow::Result<()> {
    let (failed, done) = (Rc::new(Cell::new(0u64)), Rc::new(Cell::new(0u64)));
    for _ in 0..4 {
        let (address, failed, done) = (address.to_owned(), failed.clone(), done.clone());
        tokio::task::spawn_local(async move {
            loop {
                match request(&address).await {
                    Ok(()) => done.set(done.get() + 1),
                    Err(_) => failed.set(failed.get() + 1),
                }
                sleep(Duration::from_millis(5)).await;
            }
        });
    }
    let mut resident = Vec::new();
    for number in 1..=100 {
        let before = children(pid);
        signal(pid, "HUP")?;
        let start = Instant::now();
        while children(pid).iter().any(|child| before.contains(child)) {
            ensure!(start.elapsed() < Duration::from_secs(60), "reload {number} does not end");
            sleep(Duration::from_millis(5)).await;
        }
        if number % 10 == 0 {
            resident.push(resident_mib(pid)?);
        }
    }
    crowd.until_answered(2).await?;
    println!(
        "100 reloads; {} HTTP requests on new connections, {} failed",
        done.get(),
        failed.get()
    );
    let told: Vec<_> = resident.iter().map(|mib| format!("{mib:.1}")).collect();
    println!("resident MiB of the supervisor after each tenth: {}", told.join(" "));
    ensure!(failed.get() == 0, "requests failed");
    Ok(())
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

async fn request(address: &str) -> anyhow::Result<()> {
    let mut socket = TcpStream::connect(address).await?;
    let asked = format!("GET /hello HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(asked.as_bytes()).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("Hello, world!"), "{answer}");
    Ok(())
}

async fn connect(address: &str, path: &str) -> anyhow::Result<TcpStream> {
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(socket.read_u8().await?);
    }
    ensure!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    Ok(socket)
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

/// Processes that a process has started from its main thread (proc(5), children).
fn children(pid: u32) -> Vec<u32> {
    let told = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    told.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

fn cpu_seconds(pid: u32) -> f64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0.0 };
    let nanos = |task: std::path::PathBuf| -> Option<u64> {
        fs::read_to_string(task.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    tasks.flatten().filter_map(|task| nanos(task.path())).sum::<u64>() as f64 / 1e9
}

fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib / 1024.0)
}
