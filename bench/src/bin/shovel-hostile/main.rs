//! Clients that are out to take a pool's memory or time, and what honest ones see of it.
//!
//! `shovel-hostile PID 127.0.0.1:PORT 127.0.0.1:ADMIN ATTACK [CLIENTS] [SECONDS]`, where the pool with
//! this PID serves the user-app, and its metrics at the second address. Honest clients run for a while
//! alone, then beside the attack, then until what the attack took is free again. The attackers are a
//! process of their own, which is killed: so its clients vanish in the middle of what they do. They
//! come again whenever they are closed. Attacks: see `attack`. Loopback only; ends by itself.

mod attack;
mod honest;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use shovel_bench::{children, cpu_seconds, get, resident_mib};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use self::attack::Attack;
use self::honest::{Honest, Seen};

/// How long the honest are alone.
const CALM: Duration = Duration::from_secs(10);

/// How often to tell how it goes.
const SLICE: Duration = Duration::from_secs(5);

/// What was taken has to be free after so long.
const FREED_WITHIN: Duration = Duration::from_secs(90);

/// Less than this is what honest clients hold.
const FREE_MIB: f64 = 1.0;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match words[..] {
        ["attack", address, attack, clients] => {
            let clients = clients.parse().context("not a number")?;
            LocalSet::new().block_on(&runtime, attack::run(address, attack.parse()?, clients))
        }
        [pid, address, admin, attack, ref rest @ ..] => {
            let is_loopback = |address: &str| address.starts_with("127.0.0.1:");
            ensure!(is_loopback(address) && is_loopback(admin), "on loopback only");
            let number = |at: usize, default: u64| -> anyhow::Result<u64> {
                rest.get(at).map_or(Ok(default), |text| text.parse().context("not a number"))
            };
            let pool = Pool { pid: pid.parse().context("not a pid")?, address, admin };
            let (clients, seconds) = (number(0, 10_000)?, number(1, 30)?.min(300));
            let attack = attack.parse()?;
            LocalSet::new().block_on(&runtime, measure(&pool, attack, clients, seconds))
        }
        _ => bail!(
            "usage: shovel-hostile PID 127.0.0.1:PORT 127.0.0.1:ADMIN ATTACK [CLIENTS] [SECONDS]"
        ),
    }
}

/// Where a pool is.
struct Pool<'a> {
    pid: u32,
    address: &'a str,
    admin: &'a str,
}

async fn measure(
    pool: &Pool<'_>,
    attack: Attack,
    clients: u64,
    seconds: u64,
) -> anyhow::Result<()> {
    let honest = Honest::gather(pool.address, attack).await?;
    sleep(Duration::from_secs(1)).await;
    honest.take();
    let cpu = Cpu::of(pool);
    sleep(CALM).await;
    let calm = honest.take();
    println!("alone:    {calm}\n          {}, {}", cpu.since(pool), Memory::of(pool).await?);

    let attackers = Attackers::begin(pool, attack, clients)?;
    let (begin, cpu) = (Instant::now(), Cpu::of(pool));
    let (mut worst, mut attacked) = (Memory::default(), Seen::default());
    while begin.elapsed() < Duration::from_secs(seconds) {
        let slice = Instant::now();
        while slice.elapsed() < SLICE {
            sleep(Duration::from_millis(500)).await;
            worst = worst.max(Memory::of(pool).await?);
        }
        let seen = honest.take();
        println!(
            "    {:>3.0} s: {seen}\n           {}",
            begin.elapsed().as_secs_f64(),
            Memory::of(pool).await?
        );
        attacked.add(seen);
    }
    println!("attacked: {attacked}\n          {}, at most {worst}", cpu.since(pool));
    println!("ratios:   {}", attacked.ratios(&calm));
    println!("attack:   {}", attackers.end()?);

    let gone = Instant::now();
    let left = loop {
        let memory = Memory::of(pool).await?;
        if memory.held_mib < FREE_MIB || gone.elapsed() > FREED_WITHIN {
            break memory;
        }
        sleep(Duration::from_millis(100)).await;
    };
    println!("{:.1} s after they were killed: {left}", gone.elapsed().as_secs_f64());
    sleep(Duration::from_secs(5)).await;
    println!("5 s later: {}", Memory::of(pool).await?);
    for line in get(pool.admin, "/metrics").await?.lines() {
        let is_told =
            ["shovel_client_memory", "shovel_websocket_closes", "shovel_refused", "shovel_relie"]
                .iter()
                .any(|start| line.starts_with(start));
        if is_told && !line.ends_with(" 0") {
            println!("    {line}");
        }
    }
    Ok(())
}

/// Processor time of the supervisor and of its workers.
struct Cpu {
    supervisor: f64,
    workers: f64,
    at: Instant,
}

impl Cpu {
    fn of(pool: &Pool<'_>) -> Cpu {
        let workers = children(pool.pid).into_iter().map(cpu_seconds).sum();
        Cpu { supervisor: cpu_seconds(pool.pid), workers, at: Instant::now() }
    }

    fn since(&self, pool: &Pool<'_>) -> String {
        let now = Cpu::of(pool);
        let share = 100.0 / self.at.elapsed().as_secs_f64();
        format!(
            "supervisor {:.0} % of a core, workers {:.0} %",
            (now.supervisor - self.supervisor) * share,
            (now.workers - self.workers) * share
        )
    }
}

/// What a pool has.
#[derive(Clone, Copy, Default)]
struct Memory {
    resident_mib: f64,
    workers_mib: f64,
    held_mib: f64,
    allocated_mib: f64,
}

impl Memory {
    async fn of(pool: &Pool<'_>) -> anyhow::Result<Memory> {
        let workers = children(pool.pid);
        let asked = timeout(Duration::from_secs(10), get(pool.admin, "/metrics"));
        let metrics = asked.await.context("the admin address does not answer")??;
        let mib = |name: &str| -> f64 {
            let values = metrics.lines().filter(|line| line.starts_with(name));
            let values = values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            values.sum::<f64>() / 1024.0 / 1024.0
        };
        Ok(Memory {
            resident_mib: resident_mib(pool.pid)?,
            workers_mib: workers.into_iter().filter_map(|pid| resident_mib(pid).ok()).sum(),
            held_mib: mib("shovel_client_memory_bytes"),
            allocated_mib: mib("shovel_allocated_bytes"),
        })
    }

    fn max(self, other: Memory) -> Memory {
        Memory {
            resident_mib: self.resident_mib.max(other.resident_mib),
            workers_mib: self.workers_mib.max(other.workers_mib),
            held_mib: self.held_mib.max(other.held_mib),
            allocated_mib: self.allocated_mib.max(other.allocated_mib),
        }
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "clients hold {:.1} MiB, allocated {:.1}, supervisor resident {:.1}, workers {:.1}",
            self.held_mib, self.allocated_mib, self.resident_mib, self.workers_mib
        )
    }
}

/// The process of the attackers.
struct Attackers(Child);

impl Attackers {
    fn begin(pool: &Pool<'_>, attack: Attack, clients: u64) -> anyhow::Result<Attackers> {
        // On one machine they take the processors of those whom they attack, which is not what is to
        // be measured.
        let child = Command::new("setsid")
            .args(["nice", "-n", "19"])
            .arg(std::env::current_exe()?)
            .args(["attack", pool.address, attack.name(), &clients.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .context("nice does not run")?;
        Ok(Attackers(child))
    }

    /// Kills it; the last that it said.
    fn end(mut self) -> anyhow::Result<String> {
        self.0.kill()?;
        let mut said = String::new();
        if let Some(stdout) = &mut self.0.stdout {
            std::io::Read::read_to_string(stdout, &mut said)?;
        }
        self.0.wait()?;
        Ok(said.lines().last().unwrap_or("said nothing").to_owned())
    }
}
