//! The edge as it ships, with a backend that a target writes: bytes of a client in, bytes of the
//! server out.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use shovel_edge::backend::{Answer, BodyError};
use shovel_edge::connection::Server;
use shovel_edge::http::{AllowedOrigin, HalfClose, Proxy, Settings};
use shovel_edge::listener::{Bound, Listener};
use shovel_edge::ws::{Deadlines, SlowConsumer, Socket};
use shovel_edge::{Backend, Crowd, Failure, Notes, Peer, Refused, RequestBody, Turn, Upgrade, ws};
use shovel_protocol::{Close, MessageKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::task::spawn_local;

/// Longer than any of these takes, and short enough to tell that one hangs.
const PATIENCE: Duration = Duration::from_secs(4);

/// A response that a backend gives.
#[derive(Default)]
pub struct Scripted {
    pub head: Response<()>,
    pub body: ScriptedBody,
}

/// Its body.
#[derive(Default)]
pub struct ScriptedBody {
    /// `None` is where it fails.
    pub frames: VecDeque<Option<Frame<Bytes>>>,
    /// What is told of its size.
    pub size: Option<u64>,
}

impl http_body::Body for ScriptedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.frames.pop_front().map(|frame| frame.ok_or_else(|| "it fails".into())))
    }

    fn size_hint(&self) -> SizeHint {
        self.size.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A request as the backend saw it.
pub struct Seen {
    pub parts: Parts,
    pub peer: Rc<Peer>,
    /// What came of its body, and its trailers if it became whole.
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
    /// It would become a WebSocket.
    pub is_upgrade: bool,
}

/// Says what is answered to each request.
pub type Script = Box<dyn FnMut(&Parts) -> Scripted>;

struct Actor {
    seen: RefCell<Vec<Seen>>,
    script: RefCell<Script>,
}

impl Backend for Actor {
    type Body = ScriptedBody;
    type Route = ();

    async fn fetch(
        self: Rc<Self>,
        request: Box<Request<RequestBody>>,
        peer: Rc<Peer>,
        _: Notes,
    ) -> Result<Response<ScriptedBody>, Failure> {
        let (parts, mut incoming) = request.into_parts();
        let (mut body, mut trailers, mut is_whole) = (Vec::new(), HeaderMap::new(), true);
        while let Some(frame) = incoming.frame().await {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => body.extend_from_slice(&data),
                Ok(Err(frame)) => trailers = frame.into_trailers().unwrap_or_default(),
                Err(_) => is_whole = false,
            }
        }
        let trailers = is_whole.then_some(trailers);
        let Scripted { head, body: answer } = (self.script.borrow_mut())(&parts);
        self.seen.borrow_mut().push(Seen { parts, peer, body, trailers, is_upgrade: false });
        Ok(head.map(|()| answer))
    }

    async fn upgrade(
        self: Rc<Self>,
        parts: Box<Parts>,
        peer: Rc<Peer>,
        _: Notes,
        _: Socket,
    ) -> Result<Answer<Self>, Failure> {
        let Scripted { head, body } = (self.script.borrow_mut())(&parts);
        let (seen, trailers) = (Vec::new(), Some(HeaderMap::new()));
        let parts = *parts;
        self.seen.borrow_mut().push(Seen { parts, peer, body: seen, trailers, is_upgrade: true });
        Ok(Upgrade::Declined(head.map(|()| body)))
    }

    fn message(self: &Rc<Self>, (): (), _: MessageKind, _: &[u8]) {}

    fn is_idle(&self, (): ()) -> bool {
        true
    }

    fn pressure(&self, (): (), _: bool) {}

    fn closed(self: &Rc<Self>, (): (), _: Close) {}

    fn asks(self: &Rc<Self>, _: bool) {}

    fn relieved(&self, _: shovel_edge::Relief) {}

    fn held_back(&self) {}

    fn emptied(&self, _: Self::Route) {}

    fn refused(&self, _: Refused) {}
}

struct Edge {
    runtime: LocalRuntime,
    address: std::os::unix::net::SocketAddr,
    actor: Rc<Actor>,
    server: Rc<Server<Actor>>,
}

thread_local! {
    static EDGE: Edge = Edge::start();
}

fn settings_of_sockets() -> ws::Settings {
    ws::Settings {
        max_message_bytes: 1 << 20,
        max_messages_per_second: None,
        outbox_limit_bytes: 1 << 20,
        slow_consumer: SlowConsumer::Close,
        ping_interval: PATIENCE * 10,
        pong_timeout: PATIENCE * 10,
        read_timeout: PATIENCE * 10,
        write_timeout: PATIENCE * 10,
        close_timeout: PATIENCE * 10,
    }
}

/// Of a client that ends its side after all that it says, whom a trusted proxy may stand for.
pub fn settings(is_trusted: bool) -> Settings {
    Settings {
        half_close: HalfClose::Answer,
        trusted_proxies: if is_trusted {
            vec![Proxy::Unix, "10.0.0.0/8".parse().expect("a network")]
        } else {
            Vec::new()
        },
        allowed_origins: vec![AllowedOrigin::Any],
        ..Settings::default()
    }
}

impl Edge {
    fn start() -> Self {
        let builder = &mut Builder::new_current_thread();
        let runtime = builder.enable_all().build_local(LocalOptions::default()).expect("a runtime");
        let name = format!("shovel-fuzz-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).expect("a name");
        let listener = UnixListener::bind_addr(&address).expect("a listener");
        let script: Script = Box::new(|_| Scripted::default());
        let actor = Rc::new(Actor { seen: RefCell::default(), script: RefCell::new(script) });
        let server = runtime.block_on(async {
            let of_sockets = settings_of_sockets();
            let (turn, deadlines) = (Turn::default(), Deadlines::new(&of_sockets));
            spawn_local(turn.clone().run());
            spawn_local(deadlines.clone().run());
            let http = settings(false);
            let crowd = Crowd::default();
            let server = Server::new(actor.clone(), turn, deadlines, of_sockets, http, 100, crowd);
            let listener = Listener::open(&Bound::Unix(listener, None)).expect("an open listener");
            spawn_local(server.clone().serve(listener));
            server
        });
        Edge { runtime, address, actor, server }
    }
}

/// Has a client say all this, cut into reads of these sizes, and returns all that it hears, and
/// what the backend saw.
pub fn exchange(
    said: &[u8],
    sizes: &[u8],
    settings: Settings,
    script: Script,
) -> (Vec<u8>, Vec<Seen>) {
    EDGE.with(|edge| {
        edge.server.configure(settings_of_sockets(), settings);
        *edge.actor.script.borrow_mut() = script;
        edge.actor.seen.take();
        let stream = std::os::unix::net::UnixStream::connect_addr(&edge.address).expect("a client");
        let heard = edge.runtime.block_on(async {
            let whole = tokio::time::timeout(PATIENCE, talk(stream, said, sizes)).await;
            whole.expect("the connection hangs")
        });
        (heard, edge.actor.seen.take())
    })
}

async fn talk(stream: std::os::unix::net::UnixStream, said: &[u8], sizes: &[u8]) -> Vec<u8> {
    stream.set_nonblocking(true).expect("a socket");
    let (mut read, mut write) = UnixStream::from_std(stream).expect("a socket").into_split();
    let saying = async move {
        let (mut rest, mut sizes) = (said, sizes.iter().cycle());
        while !rest.is_empty() {
            let size = sizes.next().map_or(rest.len(), |size| usize::from(*size));
            let (part, after) = rest.split_at(size.clamp(1, rest.len()));
            // It may be refused before it has said all.
            if write.write_all(part).await.is_err() {
                return;
            }
            rest = after;
            if !rest.is_empty() {
                tokio::task::yield_now().await;
            }
        }
        let _ = write.shutdown().await;
    };
    let hearing = async move {
        let mut heard = Vec::new();
        // What was heard before a reset counts.
        let _ = read.read_to_end(&mut heard).await;
        heard
    };
    tokio::join!(saying, hearing).1
}
