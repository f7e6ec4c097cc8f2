//! A client's connection while it speaks HTTP, and the server that keeps them.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use ::http::StatusCode;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::backend::{Backend, Peer, Refused};
use crate::crowd::{Crowd, Member};
use crate::http;
use crate::http1::connection::{Connection, End, Switched};
use crate::listener::Listener;
use crate::proxy_header::{self, Source};
use crate::transport::Transport;
use crate::ws::reader::Reader;
use crate::ws::{Deadlines, Settings};
use crate::{Turn, ws};

/// How long a proxy may take to say whose connection it is: it knows that from the beginning.
const PROXY_HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// All clients of one thread.
pub struct Server<B: Backend> {
    pub(crate) backend: Rc<B>,
    pub(crate) turn: Turn,
    pub(crate) deadlines: Deadlines,
    settings: Cell<Settings>,
    http: RefCell<Rc<http::Settings>>,
    stopping: watch::Sender<bool>,
    live: Live,
    client_limit: Cell<usize>,
    accepted: Cell<u64>,
    crowd: Crowd,
}

/// A peer that was let in, until its socket is closed.
pub(crate) struct Admitted {
    pub(crate) peer: Rc<Peer>,
    _member: Option<Member>,
}

impl<B: Backend> Server<B> {
    /// A server without clients. The tasks of `turn` and `deadlines` are the caller's to spawn.
    /// Clients beyond `client_limit` wait in the system's queue until others have left.
    pub fn new(
        backend: Rc<B>,
        turn: Turn,
        deadlines: Deadlines,
        settings: Settings,
        http: http::Settings,
        client_limit: usize,
        crowd: Crowd,
    ) -> Rc<Self> {
        let ((stopping, _), live) = (watch::channel(false), Live::default());
        let (client_limit, accepted) = (Cell::new(client_limit), Cell::new(0));
        Rc::new(Server {
            backend,
            turn,
            deadlines,
            settings: Cell::new(settings),
            http: RefCell::new(Rc::new(http)),
            stopping,
            live,
            client_limit,
            accepted,
            crowd,
        })
    }

    /// Accepts clients until [`Server::stop`].
    pub async fn serve(self: Rc<Self>, mut listener: Listener) {
        let mut stopping = self.stopping.subscribe();
        loop {
            // The other branch ends the loop, and with it whoever waits to be let in.
            let (transport, peer) = tokio::select! {
                accepted = self.accept(&mut listener) => accepted,
                () = stopped(&mut stopping) => return,
            };
            self.accepted.set(self.accepted.get() + 1);
            let settings = self.http();
            if settings.proxy_protocol && http::trusts(&settings.trusted_proxies, &peer) {
                let guard = self.live.enter();
                let (server, stopping) = (self.clone(), stopping.clone());
                spawn_local(async move {
                    server.introduce(transport, peer, stopping).await;
                    drop(guard);
                });
            } else {
                self.welcome(transport, peer);
            }
        }
    }

    /// Lets a client in, or turns it away.
    fn welcome(self: &Rc<Self>, transport: Transport, peer: Peer) {
        let admitted = match self.admit(peer) {
            Ok(admitted) => admitted,
            Err(peer) => {
                self.backend.refused(Refused::OverAddressLimit);
                if self.http().access_log {
                    let why = "too many connections of this address";
                    http::log_refused(&peer, StatusCode::TOO_MANY_REQUESTS, why);
                }
                return refuse(&transport);
            }
        };
        let guard = self.live.enter();
        let server = self.clone();
        spawn_local(async move {
            server.speak_http(transport, Rc::new(admitted)).await;
            drop(guard);
        });
    }

    /// Has a proxy say whose connection it is. One that does not is not guessed at: its client would
    /// have the proxy's rights.
    async fn introduce(
        self: Rc<Self>,
        mut transport: Transport,
        peer: Peer,
        mut stopping: watch::Receiver<bool>,
    ) {
        // Each branch but the first gives the connection up.
        let received = tokio::select! {
            received = timeout(PROXY_HEADER_TIMEOUT, proxy_header::receive(&mut transport)) => {
                received
            }
            () = stopped(&mut stopping) => return,
        };
        match received {
            Ok(Ok(Source::Client(address))) => self.welcome(transport, Peer::new(Some(address))),
            Ok(Ok(Source::Peer)) => self.welcome(transport, peer),
            Ok(Err(error)) => {
                self.backend.refused(Refused::BadHead);
                tracing::debug!(proxy = %peer.text, %error, "no PROXY header");
            }
            Err(_late) => self.backend.refused(Refused::SlowHead),
        }
    }

    /// Sockets of clients that are open, WebSockets among them.
    pub fn clients(&self) -> usize {
        self.live.0.count.get()
    }

    /// So many clients may be connected.
    pub fn client_limit(&self) -> usize {
        self.client_limit.get()
    }

    /// Clients that were ever accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted.get()
    }

    /// Other settings, for requests and connections that begin from now on and for the time between
    /// pings.
    pub fn configure(&self, settings: Settings, http: http::Settings) {
        self.deadlines.configure(&settings);
        self.settings.set(settings);
        *self.http.borrow_mut() = Rc::new(http);
    }

    /// Another limit of clients. Those that are connected stay.
    pub fn limit_clients(&self, limit: usize) {
        self.client_limit.set(limit);
        self.live.0.left.notify_waiters();
    }

    /// Closes the listeners and every connection that is between two requests; others close when
    /// their response has gone. WebSockets are the backend's to close.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until no client is left.
    pub async fn emptied(&self) {
        self.live.emptied().await;
    }

    /// Runs a WebSocket until it ends.
    pub(crate) fn spawn_reader(self: &Rc<Self>, reader: impl Future<Output = ()> + 'static) {
        let guard = self.live.enter();
        spawn_local(async move {
            reader.await;
            drop(guard);
        });
    }

    pub(crate) fn http(&self) -> Rc<http::Settings> {
        self.http.borrow().clone()
    }

    pub(crate) fn settings(&self) -> Settings {
        self.settings.get()
    }

    pub(crate) fn socket(&self) -> ws::Socket {
        ws::Socket::new(&self.turn, &self.deadlines, &self.settings())
    }

    async fn accept(&self, listener: &mut Listener) -> (Transport, Peer) {
        let has_room = || self.live.below(|| self.client_limit.get());
        has_room().await;
        let accepted = listener.accept().await;
        // Another listener may have taken the place meanwhile.
        has_room().await;
        accepted
    }

    /// Gives the peer back if there are too many of its address.
    fn admit(&self, peer: Peer) -> Result<Admitted, Peer> {
        let settings = self.http();
        let limit = settings.clients_per_address;
        let counted = peer.address.zip(limit);
        let member = match counted.filter(|_| !http::trusts(&settings.trusted_proxies, &peer)) {
            Some((address, limit)) => match self.crowd.enter(address.ip(), limit) {
                None => return Err(peer),
                member => member,
            },
            None => None,
        };
        Ok(Admitted { peer: Rc::new(peer), _member: member })
    }

    async fn speak_http(self: Rc<Self>, transport: Transport, admitted: Rc<Admitted>) {
        let mut connection = Connection::new(self.clone(), transport, admitted.clone());
        let mut stopping = self.stopping.subscribe();
        let end = loop {
            let is_new = !connection.is_stopping();
            // Cancel-safe: the connection keeps all that it has, and the other only waits.
            tokio::select! {
                end = poll_fn(|context| connection.poll(context)) => break end,
                () = stopped(&mut stopping), if is_new => connection.stop(),
            }
        };
        if let End::Switched(switch) = end
            && let Some(switched) = connection.into_switched(switch)
        {
            // In a task of its own: this one is larger than a WebSocket's.
            self.spawn_reader(run_socket(self.clone(), switched, admitted));
        }
    }
}

/// Reads a WebSocket to its end. Until then its client stays counted.
async fn run_socket<B: Backend>(
    server: Rc<Server<B>>,
    switched: Switched<B>,
    _admitted: Rc<Admitted>,
) {
    Reader::new(server.backend.clone(), switched, &server.settings()).run().await;
}

/// Turns a client away, at little cost, since there may be many like it: it is not read, and not
/// waited for.
fn refuse(transport: &Transport) {
    const ANSWER: &[u8] =
        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    // A fresh socket has room for it; if not, the client sees the close alone.
    let _ = transport.try_write(ANSWER);
}

/// Waits until [`Server::stop`]. What `wait_for` gives is a lock that `stop` wants, so it must not
/// live on while a connection is brought to its end.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which has stopped then too.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Counts what is alive.
#[derive(Clone, Default)]
struct Live(Rc<LiveShared>);

#[derive(Default)]
struct LiveShared {
    count: Cell<usize>,
    left: Notify,
}

struct LiveGuard(Live);

impl Live {
    fn enter(&self) -> LiveGuard {
        self.0.count.set(self.0.count.get() + 1);
        LiveGuard(self.clone())
    }

    async fn emptied(&self) {
        self.below(|| 1).await;
    }

    async fn below(&self, limit: impl Fn() -> usize) {
        while self.0.count.get() >= limit() {
            self.0.left.notified().await;
        }
    }
}

impl Drop for LiveGuard {
    fn drop(&mut self) {
        let shared = &self.0.0;
        shared.count.set(shared.count.get() - 1);
        shared.left.notify_waiters();
    }
}
