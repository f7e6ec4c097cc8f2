//! Honest clients, and how long they are waited on.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use shovel_bench::connect;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::attack::{Attack, frame};

const ECHOES: u32 = 100;
const GETS: u32 = 50;
const SUBSCRIBERS: u32 = 9_000;
const PERIOD: Duration = Duration::from_millis(200);

/// Longer than this is an answer that does not come.
const PATIENCE: Duration = Duration::from_secs(30);

const PUBLISHED_BYTES: usize = 2048;

/// All honest clients.
pub struct Honest(Rc<RefCell<Seen>>);

/// How long each kind of answer took.
#[derive(Default)]
pub struct Seen {
    /// How late this process itself is: no answer is seen earlier.
    late: Vec<Duration>,
    echoes: Vec<Duration>,
    gets: Vec<Duration>,
    connects: Vec<Duration>,
    published: Vec<Duration>,
    failed: u64,
}

impl Honest {
    pub async fn gather(address: &str, attack: Attack) -> anyhow::Result<Honest> {
        let honest = Honest(Rc::default());
        honest.watch_itself();
        if attack == Attack::Subscribers {
            honest.subscribe(address).await?;
            return Ok(honest);
        }
        for number in 0..ECHOES {
            spawn_local(ask_on(number, ECHOES, honest.0.clone(), Echo::open(address).await?));
        }
        for number in 0..GETS {
            spawn_local(ask_on(number, GETS, honest.0.clone(), Get::open(address).await?));
        }
        spawn_local(ask_on(0, 1, honest.0.clone(), NewConnection(address.to_owned())));
        Ok(honest)
    }

    /// What was seen since the last time.
    pub fn take(&self) -> Seen {
        std::mem::take(&mut self.0.borrow_mut())
    }

    fn watch_itself(&self) {
        let seen = self.0.clone();
        spawn_local(async move {
            let mut ticks = interval_at(Instant::now(), Duration::from_millis(7));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let due = ticks.tick().await;
                seen.borrow_mut().late.push(due.elapsed());
            }
        });
    }

    /// Subscribers of a channel, one of which publishes when it was last.
    async fn subscribe(&self, address: &str) -> anyhow::Result<()> {
        let begin = Instant::now();
        for _ in 0..SUBSCRIBERS {
            let (socket, seen) = (connect(address, "/ws/room/crowd").await?, self.0.clone());
            spawn_local(async move {
                if receive(socket, begin, &seen).await.is_err() {
                    seen.borrow_mut().failed += 1;
                }
            });
        }
        let mut publisher = connect(address, "/ws/room/crowd").await?;
        spawn_local(async move {
            let mut ticks = interval_at(Instant::now(), PERIOD);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut ignored = vec![0; 64 * 1024];
            loop {
                ticks.tick().await;
                let mut payload = vec![0; PUBLISHED_BYTES];
                payload[..8].copy_from_slice(&(begin.elapsed().as_nanos() as u64).to_be_bytes());
                publisher.write_all(&frame(0x82, &payload)).await.expect("publishes");
                while publisher.try_read(&mut ignored).is_ok_and(|bytes| bytes > 0) {}
            }
        });
        Ok(())
    }
}

async fn receive(
    mut socket: TcpStream,
    begin: Instant,
    seen: &RefCell<Seen>,
) -> anyhow::Result<()> {
    let mut buffer = vec![0; 4 + PUBLISHED_BYTES];
    loop {
        socket.read_exact(&mut buffer[..2]).await?;
        anyhow::ensure!(buffer[0] != 0x88, "closed");
        if buffer[0] == 0x89 {
            socket.write_all(&frame(0x8a, b"")).await?;
            continue;
        }
        socket.read_exact(&mut buffer[2..]).await?;
        let sent = u64::from_be_bytes(buffer[4..12].try_into()?);
        seen.borrow_mut().published.push(begin.elapsed() - Duration::from_nanos(sent));
    }
}

/// Someone who asks for something.
trait Asks {
    async fn ask(&mut self) -> anyhow::Result<()>;
    fn seen(seen: &mut Seen) -> &mut Vec<Duration>;
}

/// Asks in each period, in its own part of it.
async fn ask_on<A: Asks>(number: u32, of: u32, seen: Rc<RefCell<Seen>>, mut asks: A) {
    let mut ticks = interval_at(Instant::now() + PERIOD * number / of, PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let sent = Instant::now();
        let result = timeout(PATIENCE, asks.ask()).await;
        A::seen(&mut seen.borrow_mut()).push(sent.elapsed());
        if !matches!(result, Ok(Ok(()))) {
            seen.borrow_mut().failed += 1;
            // Another one would ask again.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

struct Echo(TcpStream);

impl Echo {
    async fn open(address: &str) -> anyhow::Result<Echo> {
        Ok(Echo(connect(address, "/ws/echo").await?))
    }
}

impl Asks for Echo {
    async fn ask(&mut self) -> anyhow::Result<()> {
        self.0.write_all(&frame(0x82, &[b'h'; 64])).await?;
        let mut answer = [0; 66];
        self.0.read_exact(&mut answer).await?;
        anyhow::ensure!(answer[..2] == [0x82, 64], "not the echo");
        Ok(())
    }

    fn seen(seen: &mut Seen) -> &mut Vec<Duration> {
        &mut seen.echoes
    }
}

struct Get {
    socket: TcpStream,
    request: String,
}

impl Get {
    async fn open(address: &str) -> anyhow::Result<Get> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Get { socket, request: format!("GET /hello HTTP/1.1\r\nHost: {address}\r\n\r\n") })
    }
}

impl Asks for Get {
    async fn ask(&mut self) -> anyhow::Result<()> {
        self.socket.write_all(self.request.as_bytes()).await?;
        let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
        while !answer.ends_with(b"Hello, world!") {
            let bytes = self.socket.read(&mut buffer).await?;
            anyhow::ensure!(bytes > 0, "closed");
            answer.extend_from_slice(&buffer[..bytes]);
        }
        anyhow::ensure!(answer.starts_with(b"HTTP/1.1 200"), "refused");
        Ok(())
    }

    fn seen(seen: &mut Seen) -> &mut Vec<Duration> {
        &mut seen.gets
    }
}

/// Who connects anew for each request.
struct NewConnection(String);

impl Asks for NewConnection {
    async fn ask(&mut self) -> anyhow::Result<()> {
        shovel_bench::get(&self.0, "/hello").await.map(|_| ())
    }

    fn seen(seen: &mut Seen) -> &mut Vec<Duration> {
        &mut seen.connects
    }
}

impl Seen {
    fn kinds(&self) -> [(&'static str, &[Duration]); 5] {
        [
            ("echo", &self.echoes),
            ("GET", &self.gets),
            ("new connection", &self.connects),
            ("published", &self.published),
            ("own lag", &self.late),
        ]
    }

    pub fn add(&mut self, other: Seen) {
        self.late.extend(other.late);
        self.echoes.extend(other.echoes);
        self.gets.extend(other.gets);
        self.connects.extend(other.connects);
        self.published.extend(other.published);
        self.failed += other.failed;
    }

    /// How many times longer it took than before.
    pub fn ratios(&self, before: &Seen) -> String {
        let each =
            self.kinds().into_iter().zip(before.kinds()).filter(|((_, now), _)| !now.is_empty());
        let each = each.map(|((name, now), (_, before))| {
            let ratio = |share| at(now, share).as_secs_f64() / at(before, share).as_secs_f64();
            format!("{name} p50 x{:.1}, p99 x{:.1}", ratio(0.5), ratio(0.99))
        });
        each.collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, took) in self.kinds().into_iter().filter(|(_, took)| !took.is_empty()) {
            let ms = |share| at(took, share).as_secs_f64() * 1e3;
            let (p50, p99, longest) = (ms(0.5), ms(0.99), ms(1.0));
            write!(f, "{name} {p50:.2}/{p99:.2}/{longest:.1} ms ({}); ", took.len())?;
        }
        write!(f, "{} failed", self.failed)
    }
}

/// That which so large a share is not longer than.
fn at(took: &[Duration], share: f64) -> Duration {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    let place = (sorted.len() as f64 - 1.0).max(0.0) * share;
    sorted.get(place as usize).copied().unwrap_or_default()
}
