//! Turns: clients whose frames are hardly more than their heads must not keep others from being
//! answered. Server and clients share a thread, so what is counted is who got how much, and no time.

use std::io::{ErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::MapErr;
use http_body_util::{BodyExt as _, Empty};
use shovel_edge::backend::{Accepted, Answer, BodyError};
use shovel_edge::connection::Server;
use shovel_edge::listener::{Bound, Listener};
use shovel_edge::ws::{Deadlines, Settings, SlowConsumer, Socket};
use shovel_edge::{
    Backend, Crowd, Failure, Notes, Peer, Refused, RequestBody, Turn, Upgrade, http as edge_http,
};
use shovel_protocol::{Close, MessageKind};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::{spawn_local, yield_now};

const GREEDY: usize = 10;

/// What each of them may get between the request of another and its answer: sixteen reads of those whose
/// frames are small. Nine or so are needed: until the request is seen, read, answered, and written.
const SHARE_BYTES: usize = 64 * 1024;

const UPGRADE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const UPLOAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Echoes messages at once, and takes bodies as they come.
struct Echo;

type NoBody = MapErr<Empty<Bytes>, fn(std::convert::Infallible) -> BodyError>;

thread_local! {
    /// By their numbers.
    static SOCKETS: std::cell::RefCell<Vec<Socket>> = const { std::cell::RefCell::new(Vec::new()) };
}

impl Backend for Echo {
    type Body = NoBody;
    type Route = usize;

    async fn fetch(
        self: Rc<Self>,
        request: Box<Request<RequestBody>>,
        _: Rc<Peer>,
        _: Notes,
    ) -> Result<Response<NoBody>, Failure> {
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        Err(Failure::BadGateway("its body ends"))
    }

    async fn upgrade(
        self: Rc<Self>,
        _: Box<Parts>,
        _: Rc<Peer>,
        _: Notes,
        socket: Socket,
    ) -> Result<Answer<Self>, Failure> {
        let route = SOCKETS.with_borrow_mut(|sockets| {
            sockets.push(socket);
            sockets.len() - 1
        });
        let (protocol, headers) = (None, HeaderMap::new());
        Ok(Upgrade::Accepted(Accepted { route, protocol, headers }))
    }

    fn message(self: &Rc<Self>, route: usize, kind: MessageKind, data: &[u8]) {
        SOCKETS.with_borrow(|sockets| {
            sockets[route].send(kind, data);
        });
    }

    fn is_idle(&self, _: usize) -> bool {
        true
    }

    fn pressure(&self, _: usize, _: bool) {}

    fn closed(self: &Rc<Self>, _: usize, close: Close) {
        panic!("closed: {close:?}");
    }

    fn asks(self: &Rc<Self>, _: bool) {}

    fn relieved(&self, _: shovel_edge::Relief) {}

    fn held_back(&self) {}

    fn emptied(&self, _: Self::Route) {}

    fn refused(&self, why: Refused) {
        panic!("refused: {why:?}");
    }
}

/// Sends the same frame for ever, as much of it as is taken.
struct Greedy {
    stream: UnixStream,
    frames: Vec<u8>,
    taken: usize,
}

impl Greedy {
    fn go_on(&mut self) {
        loop {
            match self.stream.write(&self.frames[self.taken % self.frames.len()..]) {
                Ok(bytes) => self.taken += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        // Of those that were answered for good our side has ended.
        while matches!(self.stream.read(&mut [0; 1024]), Ok(1..)) {}
    }
}

fn drain(stream: &mut UnixStream) -> usize {
    let (mut all, mut buffer) = (0, [0; 64 * 1024]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => panic!("the connection has ended"),
            Ok(bytes) => all += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return all,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Its client sends on, which nobody wants.
const LAST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nxx";

/// What is read at once of a body. It lasts for several turns, so that one of them may read again.
const READ_BYTES: usize = 64 * 1024;

/// Connects and upgrades.
async fn connect(address: &SocketAddr) -> UnixStream {
    let mut stream = UnixStream::connect_addr(address).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream.write_all(UPGRADE).unwrap();
    while drain(&mut stream) == 0 {
        yield_now().await;
    }
    stream
}

fn settings() -> Settings {
    let long = Duration::from_secs(600);
    Settings {
        max_message_bytes: 1 << 20,
        max_messages_per_second: None,
        outbox_limit_bytes: 16 << 20,
        slow_consumer: SlowConsumer::Close,
        ping_interval: long,
        pong_timeout: long,
        read_timeout: long,
        write_timeout: long,
        close_timeout: long,
    }
}

fn serve(address: &SocketAddr) {
    let (turn, deadlines) = (Turn::default(), Deadlines::new(&settings()));
    spawn_local(turn.clone().run());
    spawn_local(deadlines.clone().run());
    let (http, crowd) = (edge_http::Settings::default(), Crowd::default());
    let server = Server::new(Rc::new(Echo), turn, deadlines, settings(), http, 100, crowd);
    let listener = UnixListener::bind_addr(address).unwrap();
    spawn_local(server.serve(Listener::open(&Bound::Unix(listener, None)).unwrap()));
}

/// The most that all greedy clients get between a message of another and its echo.
async fn most_taken(address: &SocketAddr, begin: &[u8], frame: &[u8]) -> usize {
    let mut all = Vec::new();
    for _ in 0..GREEDY {
        let mut stream = match begin.is_ascii() && !begin.is_empty() {
            true => UnixStream::connect_addr(address).unwrap(),
            false => connect(address).await,
        };
        stream.set_nonblocking(true).unwrap();
        stream.write_all(begin).unwrap();
        all.push(Greedy { stream, frames: frame.repeat(8192), taken: 0 });
    }
    let mut healthy = connect(address).await;
    let taken = |all: &[Greedy]| all.iter().map(|one| one.taken).sum::<usize>();
    // That their frames are small is learnt from the first of them.
    for _ in 0..50 {
        all.iter_mut().for_each(Greedy::go_on);
        yield_now().await;
    }
    let mut most = 0;
    for _ in 0..10 {
        // What fits into the kernel is none of the pool's doing.
        all.iter_mut().for_each(Greedy::go_on);
        let before = taken(&all);
        healthy.write_all(&[0x81, 0x81, 0, 0, 0, 0, b'x']).unwrap();
        while drain(&mut healthy) == 0 {
            yield_now().await;
            all.iter_mut().for_each(Greedy::go_on);
        }
        most = most.max(taken(&all) - before);
    }
    assert!(taken(&all) > 10 * GREEDY * 1024, "they got something");
    most
}

/// B141, and D208.
#[test]
fn a_few_bytes_of_those_who_send_the_least_at_a_time_are_read_before_another_is_answered() {
    // One runtime looks at IO as often as an I/O thread's does.
    let mut builder = Builder::new_current_thread();
    builder.enable_all().event_interval(16);
    for (name, share_bytes, begin, frame) in [
        ("pings", SHARE_BYTES, &[][..], &[0x89, 0x80, 0, 0, 0, 0][..]),
        ("pongs", SHARE_BYTES, &[], &[0x8a, 0x80, 0, 0, 0, 0]),
        ("chunks", 2 * READ_BYTES, UPLOAD, b"1\r\nx\r\n"),
        ("behind the last request", 2 * READ_BYTES, LAST, &[b'x'; 64]),
        ("continuations", SHARE_BYTES, &[0x02, 0x80, 0, 0, 0, 0], &[0x00, 0x80, 0, 0, 0, 0]),
    ] {
        let runtime = builder.build_local(LocalOptions::default()).unwrap();
        let id = format!("shovel-turns-{}-{name}", std::process::id());
        let address = SocketAddr::from_abstract_name(id).unwrap();
        let most = runtime.block_on(async {
            serve(&address);
            most_taken(&address, begin, frame).await
        });
        println!("{name}: {most}");
        assert!(most <= GREEDY * share_bytes, "{name}: {most} bytes");
        SOCKETS.take();
    }
}
