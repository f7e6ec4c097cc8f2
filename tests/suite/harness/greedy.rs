//! Clients that make a pool hold as much as they can, and come back when they are closed.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use shovel_tests::{masked_frame, upgrade_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What such a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greed {
    /// Has 2 MiB of messages sent back, and reads none. More would only keep the worker busy.
    Echoes,
    /// Begins a message of 16 MiB, and stops after 1 MiB.
    BegunMessages,
    /// Asks for a long response, and does not read it.
    Responses,
    /// Sends a long body to a handler that does not read it.
    Uploads,
}

/// Before a client comes back.
const PAUSE: Duration = Duration::from_millis(300);

/// Room in the client's kernel: with more, the server's would take megabytes too.
const RECEIVE_BYTES: u32 = 32 << 10;

/// They go when this is dropped.
pub(crate) struct Greedy {
    _clients: JoinSet<()>,
}

impl Greedy {
    pub(crate) fn start(address: SocketAddr, clients: usize, all: &[Greed]) -> Greedy {
        let mut tasks = JoinSet::new();
        for greed in all.iter().copied().cycle().take(clients) {
            tasks.spawn(async move {
                loop {
                    // It was closed, which is what it is here for.
                    let _ = be(greed, address).await;
                    sleep(PAUSE).await;
                }
            });
        }
        Greedy { _clients: tasks }
    }
}

async fn be(greed: Greed, address: SocketAddr) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BYTES)?;
    let mut stream = socket.connect(address).await?;
    // It vanishes as one that is killed with something unread: its end would stand behind what the pool
    // does not read.
    stream.set_zero_linger()?;
    match greed {
        Greed::Echoes => {
            upgrade(&mut stream).await?;
            let message = masked_frame(0x82, &[b'x'; 16 << 10]);
            for _ in 0..128 {
                stream.write_all(&message).await?;
            }
        }
        Greed::BegunMessages => {
            upgrade(&mut stream).await?;
            let mut head = vec![0x82, 0xff];
            head.extend_from_slice(&(16_u64 << 20).to_be_bytes());
            head.extend_from_slice(&[0; 4]);
            stream.write_all(&head).await?;
            stream.write_all(&vec![b'x'; 1 << 20]).await?;
        }
        Greed::Responses => {
            let ask = "GET /produce?bytes=100000000 HTTP/1.1\r\nHost: a\r\n\r\n";
            stream.write_all(ask.as_bytes()).await?;
        }
        Greed::Uploads => {
            let length = 100 << 20;
            let head = format!(
                "POST /gated?gate=never HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.write_all(&[b'x'; 16 << 10]).await?;
            }
        }
    }
    until_closed(&stream).await
}

async fn upgrade(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(upgrade_request("/ws/echo", "").as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    match head.starts_with(b"HTTP/1.1 101 ") {
        true => Ok(()),
        false => Err(io::ErrorKind::ConnectionRefused.into()),
    }
}

/// Waits without reading.
async fn until_closed(stream: &TcpStream) -> io::Result<()> {
    loop {
        let ready = stream.ready(tokio::io::Interest::READABLE).await?;
        if ready.is_read_closed() {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
}
