//! The attackers: so many clients of one kind, or of all greedy kinds, until the process is killed.

use std::cell::Cell;
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, sleep_until};

/// What an attacker's own system keeps for it. On loopback it would come out of the same pool as what
/// the server's keeps.
const SYSTEM_BUFFER_BYTES: u32 = 16 * 1024;

/// How long one that was closed waits until it comes again.
const COMES_AGAIN: Duration = Duration::from_secs(2);

/// What all attackers together send in a second: a network of 1 Gbit/s. Loopback has no such bound, and
/// whoever is sent more than it can read is late for everybody.
const BYTES_PER_SECOND: f64 = 125e6;

/// What may be sent at once after a pause.
const BURST: Duration = Duration::from_millis(50);

const MESSAGE_BYTES: u64 = 16 * 1024 * 1024;

macro_rules! attacks {
    ($($kind:ident $name:literal),* $(,)?) => {
        /// What attackers do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Attack { $($kind),* }

        impl Attack {
            pub fn name(self) -> &'static str {
                match self { $(Attack::$kind => $name),* }
            }
        }

        impl FromStr for Attack {
            type Err = anyhow::Error;

            fn from_str(name: &str) -> anyhow::Result<Attack> {
                match name {
                    $($name => Ok(Attack::$kind),)*
                    _ => Err(anyhow!("attacks are {}", [$($name),*].join(", "))),
                }
            }
        }
    };
}

attacks! {
    // Greedy: many of them, and each holds what it can.
    Unread "unread",
    Unfinished "unfinished",
    Uploads "uploads",
    Pipelines "pipelines",
    Greedy "greedy",
    // Floods: few of them, who never pause.
    Pings "pings",
    Pongs "pongs",
    Continuations "continuations",
    Messages "messages",
    Chunks "chunks",
    Gets "gets",
    Connects "connects",
    Heads "heads",
    // Some of the subscribers of a channel do not read.
    Subscribers "subscribers",
}

const GREEDY: [Attack; 4] =
    [Attack::Unread, Attack::Unfinished, Attack::Uploads, Attack::Pipelines];

/// Attacks until it is killed. Says once a second how it goes.
pub async fn run(address: &str, attack: Attack, clients: u64) -> anyhow::Result<()> {
    // Where sessions are scheduled as groups (sched(7)), niceness counts within a group alone. `setsid`
    // has made one of this process.
    let _ = std::fs::write("/proc/self/autogroup", "19");
    let counts = Rc::new(Counts::default());
    for number in 0..clients {
        let attack = match attack {
            Attack::Greedy => GREEDY[number as usize % GREEDY.len()],
            other => other,
        };
        let (address, counts) = (address.to_owned(), counts.clone());
        tokio::task::spawn_local(async move {
            loop {
                counts.begun.set(counts.begun.get() + 1);
                let result = be(attack, &address, &counts).await;
                if result.is_err() {
                    counts.failed.set(counts.failed.get() + 1);
                }
                if attack != Attack::Connects {
                    sleep(COMES_AGAIN).await;
                }
            }
        });
        if number % 100 == 99 {
            sleep(Duration::from_millis(5)).await;
        }
    }
    loop {
        println!(
            "{} connections begun, {} of them ended by the other side, {:.0} MiB sent",
            counts.begun.get(),
            counts.failed.get(),
            counts.bytes.get() as f64 / 1024.0 / 1024.0
        );
        sleep(Duration::from_secs(1)).await;
    }
}

#[derive(Default)]
struct Counts {
    begun: Cell<u64>,
    failed: Cell<u64>,
    bytes: Cell<u64>,
    /// When what has been sent will be through.
    through: Cell<Option<Instant>>,
}

impl Counts {
    /// Waits until so much can be sent.
    async fn pass(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes as u64);
        let now = Instant::now();
        let from = self.through.get().map_or(now, |through| through.max(now - BURST));
        let through = from + Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND);
        self.through.set(Some(through));
        if through > now {
            sleep_until(through).await;
        }
    }
}

async fn be(attack: Attack, address: &str, counts: &Counts) -> anyhow::Result<()> {
    match attack {
        Attack::Unread => {
            let mut client = Client::upgraded(address, "/ws/echo", counts).await?;
            let message = frame(0x82, &[b'x'; 4096]);
            client.repeat(&message.repeat(4)).await
        }
        Attack::Unfinished => {
            let mut client = Client::upgraded(address, "/ws/echo", counts).await?;
            let mut head = vec![0x82, 0xff];
            head.extend(MESSAGE_BYTES.to_be_bytes());
            head.extend([0; 4]);
            client.send(&head).await?;
            client.send_all_but_one(MESSAGE_BYTES).await?;
            client.wait().await
        }
        Attack::Uploads => {
            let mut client = Client::connected(address, counts).await?;
            let head = format!(
                "POST /echo HTTP/1.1\r\nHost: {address}\r\nContent-Length: {MESSAGE_BYTES}\r\n\r\n"
            );
            client.send(head.as_bytes()).await?;
            client.send_all_but_one(MESSAGE_BYTES).await?;
            client.wait().await
        }
        Attack::Pipelines => {
            let mut client = Client::connected(address, counts).await?;
            let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n");
            client.repeat(request.repeat(100).as_bytes()).await
        }
        Attack::Pings => flood(address, counts, &frame(0x89, b""), 2048).await,
        Attack::Pongs => flood(address, counts, &frame(0x8a, b""), 2048).await,
        Attack::Messages => flood(address, counts, &frame(0x82, b"x"), 2048).await,
        Attack::Continuations => {
            let mut client = Client::upgraded(address, "/ws/echo", counts).await?;
            client.send(&frame(0x02, b"")).await?;
            client.repeat(&frame(0x00, b"").repeat(2048)).await
        }
        Attack::Chunks => {
            let mut client = Client::connected(address, counts).await?;
            let head = format!(
                "POST /echo HTTP/1.1\r\nHost: {address}\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            client.send(head.as_bytes()).await?;
            let (mut read, mut write) = client.socket.split();
            let (reads, writes) =
                (drain(&mut read), write_on(counts, &mut write, "1\r\nx\r\n".repeat(2048)));
            tokio::try_join!(reads, writes).map(|_| ())
        }
        Attack::Gets => {
            let mut client = Client::connected(address, counts).await?;
            let request = format!("GET /hello HTTP/1.1\r\nHost: {address}\r\n\r\n").repeat(200);
            let (mut read, mut write) = client.socket.split();
            let (reads, writes) = (drain(&mut read), write_on(counts, &mut write, request));
            tokio::try_join!(reads, writes).map(|_| ())
        }
        Attack::Connects => {
            let client = Client::connected(address, counts).await?;
            client.socket.set_zero_linger()?;
            Ok(())
        }
        Attack::Heads => {
            let mut client = Client::connected(address, counts).await?;
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Half: ").await?;
            client.wait().await
        }
        Attack::Subscribers => {
            let mut client = Client::upgraded(address, "/ws/room/crowd", counts).await?;
            client.wait_unread().await
        }
        Attack::Greedy => unreachable!("each client is of one kind"),
    }
}

/// The same frames again and again; what comes back is read.
async fn flood(address: &str, counts: &Counts, frame: &[u8], times: usize) -> anyhow::Result<()> {
    let mut client = Client::upgraded(address, "/ws/echo", counts).await?;
    let (mut read, mut write) = client.socket.split();
    tokio::try_join!(drain(&mut read), write_on(counts, &mut write, frame.repeat(times)))
        .map(|_| ())
}

async fn drain(read: &mut (impl AsyncReadExt + Unpin)) -> anyhow::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    while read.read(&mut buffer).await? > 0 {}
    Err(anyhow!("closed"))
}

async fn write_on(
    counts: &Counts,
    write: &mut (impl AsyncWriteExt + Unpin),
    bytes: impl AsRef<[u8]>,
) -> anyhow::Result<()> {
    loop {
        counts.pass(bytes.as_ref().len()).await;
        write.write_all(bytes.as_ref()).await?;
    }
}

struct Client<'a> {
    socket: TcpStream,
    counts: &'a Counts,
}

impl<'a> Client<'a> {
    async fn connected(address: &str, counts: &'a Counts) -> anyhow::Result<Client<'a>> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(SYSTEM_BUFFER_BYTES)?;
        socket.set_send_buffer_size(SYSTEM_BUFFER_BYTES)?;
        Ok(Client { socket: socket.connect(address.parse()?).await?, counts })
    }

    async fn upgraded(address: &str, path: &str, counts: &'a Counts) -> anyhow::Result<Client<'a>> {
        let mut client = Client::connected(address, counts).await?;
        client.socket.write_all(shovel_bench::upgrade(address, path).as_bytes()).await?;
        let mut answer = [0; 12];
        client.socket.read_exact(&mut answer).await?;
        ensure!(answer == *b"HTTP/1.1 101", "refused");
        Ok(client)
    }

    async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.counts.pass(bytes.len()).await;
        self.socket.write_all(bytes).await?;
        Ok(())
    }

    async fn repeat(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        loop {
            self.send(bytes).await?;
        }
    }

    async fn send_all_but_one(&mut self, bytes: u64) -> anyhow::Result<()> {
        let (mut left, zeros) = (bytes - 1, [0; 16 * 1024]);
        while left > 0 {
            let now = left.min(zeros.len() as u64);
            self.send(&zeros[..now as usize]).await?;
            left -= now;
        }
        Ok(())
    }

    /// Waits until the other side has ended. Reads a byte a second.
    async fn wait(&mut self) -> anyhow::Result<()> {
        while self.socket.read_u8().await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
        Err(anyhow!("closed"))
    }

    /// The same, without reading.
    async fn wait_unread(&mut self) -> anyhow::Result<()> {
        loop {
            sleep(Duration::from_secs(1)).await;
            if let Some(error) = self.socket.take_error()? {
                return Err(error.into());
            }
        }
    }
}

/// A frame of a client, masked with zeros.
pub fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![head];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0xfe);
            frame.extend((long as u16).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}
