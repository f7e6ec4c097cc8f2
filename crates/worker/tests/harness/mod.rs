//! A supervisor that a test speaks for: an app runs on links whose other ends the test holds.

#![allow(dead_code, reason = "each test file uses what it needs")]

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shovel_link::{Filled, Incoming, Outgoing, Socket, Written};
use shovel_protocol::close::{Close, CloseCode};
use shovel_protocol::control::{Headers, OfferedConnection, RequestHead, ResponseHead, Welcome};
use shovel_protocol::handshake::Capabilities;
use shovel_protocol::id::Leased;
use shovel_protocol::pieces::Pieces;
use shovel_protocol::{
    Again, Frame, LeaseId, MessageKind, RequestId, ToSupervisor, ToWorker, When, WsMessage, WsSend,
};
use shovel_worker::{
    App, CloseEvent, Error, FetchEvent, MessageEvent, Response, RunError, SendError,
};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

/// Long enough for any machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const WINDOW_BYTES: u32 = 256 * 1024;

pub(crate) struct Supervisor {
    links: Vec<End>,
    pub(crate) worker: JoinHandle<Result<(), RunError>>,
}

/// The supervisor's end of a link.
struct End {
    socket: Socket,
    incoming: Incoming,
    outgoing: Outgoing,
    pieces: Pieces,
}

/// A frame from the worker, with its payload.
pub(crate) struct Seen {
    kind: u8,
    flags: u8,
    id: u64,
    payload: Vec<u8>,
}

impl Seen {
    pub(crate) fn read(&self) -> ToSupervisor<'_> {
        let Seen { kind, flags, id, ref payload } = *self;
        ToSupervisor::read(Frame { kind, flags, id, payload }).unwrap().unwrap()
    }
}

impl Supervisor {
    /// Starts an app on one link and waits until it is ready.
    pub(crate) async fn start<S: Send + Sync + 'static>(app: App<S>) -> Supervisor {
        let mut supervisor = Self::start_with(app, 1, false).await;
        supervisor.expect_ready().await;
        supervisor
    }

    /// Starts an app and says hello, no more.
    pub(crate) async fn start_with<S: Send + Sync + 'static>(
        app: App<S>,
        links: u32,
        dev: bool,
    ) -> Supervisor {
        let capabilities = Capabilities::ADOPT.and(Capabilities::OUTBOX);
        Self::start_as(app, links, dev, capabilities).await
    }

    /// The same, as a supervisor that can do so much.
    pub(crate) async fn start_as<S: Send + Sync + 'static>(
        app: App<S>,
        links: u32,
        dev: bool,
        capabilities: Capabilities,
    ) -> Supervisor {
        let mut supervisor = Self::silent(app, links);
        for link in 0..links {
            let welcome = Welcome {
                worker: 7,
                index: 2,
                generation: 3,
                link,
                links,
                max_message_bytes: 16 * 1024 * 1024,
                body_window_bytes: WINDOW_BYTES,
                dev,
            };
            let hello = ToWorker::hello(capabilities, welcome);
            supervisor.send_on(link, &[hello]).await;
        }
        supervisor
    }

    /// Starts an app and says nothing.
    pub(crate) fn silent<S: Send + Sync + 'static>(app: App<S>, links: u32) -> Supervisor {
        let (ours, theirs): (Vec<_>, Vec<_>) =
            (0..links).map(|_| UnixStream::pair().unwrap()).unzip();
        let links = ours.into_iter().map(End::new).collect();
        Supervisor { links, worker: tokio::spawn(app.serve_on(theirs)) }
    }

    pub(crate) async fn expect_ready(&mut self) {
        assert!(matches!(self.next().await.read(), ToSupervisor::Ready(_)));
    }

    /// Writes frames in one batch on the first link.
    pub(crate) async fn send(&mut self, frames: &[ToWorker<'_>]) {
        self.send_on(0, frames).await;
    }

    pub(crate) async fn send_on(&mut self, link: u32, frames: &[ToWorker<'_>]) {
        let end = &mut self.links[link as usize];
        end.outgoing.put(0, |batch| frames.iter().for_each(|frame| frame.put(batch)));
        while end.outgoing.write_to(&end.socket).unwrap() == Written::Full {
            patiently("room to write", end.socket.writable()).await.unwrap();
        }
    }

    /// Writes bytes that may be no frame.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        let end = &mut self.links[0];
        end.outgoing.put(0, |batch| batch.extend_from_slice(bytes));
        end.outgoing.write_to(&end.socket).unwrap();
    }

    /// The next frame on the first link.
    pub(crate) async fn next(&mut self) -> Seen {
        self.next_on(0).await
    }

    pub(crate) async fn next_on(&mut self, link: u32) -> Seen {
        patiently("a frame", self.links[link as usize].next()).await
    }

    /// The next frame on the first link is this one.
    pub(crate) async fn expect(&mut self, frame: ToSupervisor<'_>) {
        assert_eq!(self.next().await.read(), frame);
    }

    /// All that the worker did for the frames before, and that did not have to wait, has arrived.
    pub(crate) async fn expect_nothing(&mut self) {
        self.send(&[ToWorker::Ping { nonce: 99 }]).await;
        self.expect(ToSupervisor::Pong { nonce: 99 }).await;
    }

    /// A request whose head is all of it.
    pub(crate) async fn get(&mut self, request: RequestId, target: &str) {
        let head = head("GET", target);
        self.send(&[ToWorker::Request { request, head, end: true }]).await;
    }

    /// A request that offers an upgrade.
    pub(crate) async fn offer(&mut self, target: &str) {
        self.send(&[offer(target)]).await;
    }

    /// Upgrades the connection [`CONNECTION`].
    pub(crate) async fn open(&mut self, target: &str) {
        self.offer(target).await;
        let seen = self.next().await;
        assert!(matches!(seen.read(), ToSupervisor::Upgrade { .. }), "{:?}", seen.read());
    }

    /// Reads a whole response without credit; returns status and body.
    pub(crate) async fn response(&mut self) -> (u16, Vec<u8>) {
        let seen = self.next().await;
        let ToSupervisor::Response { head: ResponseHead { status, .. }, end, .. } = seen.read()
        else {
            panic!("no response: {:?}", seen.read());
        };
        let mut body = Vec::new();
        let mut ended = end;
        while !ended {
            let seen = self.next().await;
            let ToSupervisor::ResponseBody { data, end, .. } = seen.read() else {
                panic!("no body: {:?}", seen.read());
            };
            body.extend_from_slice(data);
            ended = end;
        }
        (status, body)
    }

    /// Tells the worker to stop, and waits until it has.
    pub(crate) async fn shut_down(mut self) {
        self.send(&[ToWorker::Shutdown]).await;
        self.expect(ToSupervisor::ShutdownComplete).await;
        patiently("the end", self.worker).await.unwrap().unwrap();
    }

    /// How the worker ended by itself.
    pub(crate) async fn ended(self) -> RunError {
        patiently("the end", self.worker).await.unwrap().unwrap_err()
    }

    /// Ends all links; returns how the worker ended.
    pub(crate) async fn vanish(self) -> RunError {
        drop(self.links);
        patiently("the end", self.worker).await.unwrap().unwrap_err()
    }
}

impl End {
    fn new(stream: UnixStream) -> End {
        End {
            socket: Socket::new(stream).unwrap(),
            incoming: Incoming::default(),
            outgoing: Outgoing::default(),
            pieces: Pieces::new(64 * 1024 * 1024),
        }
    }

    async fn next(&mut self) -> Seen {
        loop {
            while let Some(frame) = self.incoming.next_frame().unwrap() {
                if let Some(Frame { kind, flags, id, payload }) = self.pieces.push(frame).unwrap() {
                    return Seen { kind, flags, id, payload: payload.to_vec() };
                }
            }
            let filled = self.incoming.fill(&self.socket).await.unwrap();
            assert_ne!(filled, Filled::End, "the worker has ended its link");
        }
    }
}

pub(crate) async fn patiently<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

pub(crate) const CONNECTION: LeaseId = LeaseId(Leased { slot: 5, lease: 6 });
pub(crate) const REQUEST: RequestId = RequestId(Leased { slot: 1, lease: 2 });
const UUID: [u8; 16] = [1, 2, 3, 4, 5, 6, 0x77, 8, 0x89, 10, 11, 12, 13, 14, 15, 16];
pub(crate) const UUID_TEXT: &str = "01020304-0506-7708-890a-0b0c0d0e0f10";

pub(crate) fn head<'a>(method: &'a str, target: &'a str) -> RequestHead<'a> {
    RequestHead {
        method,
        target,
        version: 11,
        headers: Headers(vec![("host", b"example.org")]),
        client: "192.0.2.1:4321",
        offer: None,
    }
}

pub(crate) fn offer(target: &str) -> ToWorker<'_> {
    let offer = Some(OfferedConnection { connection: CONNECTION.to_wire(), uuid: UUID });
    let headers = Headers(vec![("sec-websocket-protocol", b"v2, v1")]);
    let head = RequestHead { offer, headers, ..head("GET", target) };
    ToWorker::Request { request: REQUEST, head, end: true }
}

pub(crate) fn text(seq: u64, text: &str) -> ToWorker<'_> {
    let (kind, data) = (MessageKind::Text, text.as_bytes());
    ToWorker::Message(WsMessage {
        connection: CONNECTION,
        seq,
        again: Again::default(),
        kind,
        data,
    })
}

pub(crate) fn sent(text: &str, last: bool) -> ToSupervisor<'_> {
    let (kind, data) = (MessageKind::Text, text.as_bytes());
    WsSend { connection: CONNECTION, when: When::Now, kind, data, last }.into()
}

pub(crate) fn commit(seq: u64) -> ToSupervisor<'static> {
    ToSupervisor::Commit { connection: CONNECTION, seq }
}

pub(crate) fn closed(seq: u64, code: u16) -> ToWorker<'static> {
    let close = Close { code: CloseCode(code), reason: "bye".into(), was_clean: true };
    ToWorker::Closed { connection: CONNECTION, seq, again: Again::default(), close }
}

/// Accepts every upgrade.
pub(crate) async fn accept<S: Send + Sync + 'static>(
    mut event: FetchEvent<S>,
) -> Result<Response, Error> {
    Ok(event.upgrade_websocket()?.1)
}

/// What handlers say to their test.
pub(crate) struct Notes {
    notes: mpsc::UnboundedSender<String>,
    heard: Mutex<Option<mpsc::UnboundedReceiver<String>>>,
}

impl Default for Notes {
    fn default() -> Self {
        let (notes, heard) = mpsc::unbounded_channel();
        Notes { notes, heard: Mutex::new(Some(heard)) }
    }
}

impl Notes {
    pub(crate) fn say(&self, note: impl Into<String>) {
        let _ = self.notes.send(note.into());
    }

    /// The test's side; once.
    pub(crate) fn listen(&self) -> Heard {
        Heard(self.heard.lock().unwrap().take().unwrap())
    }
}

pub(crate) struct Heard(mpsc::UnboundedReceiver<String>);

impl Heard {
    pub(crate) async fn next(&mut self) -> String {
        patiently("a note", self.0.recv()).await.unwrap()
    }

    pub(crate) fn nothing_more(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

/// What handlers and their test share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) notes: Notes,
    pub(crate) go: Notify,
}

/// The app's state is shared with the test.
pub(crate) type State = Arc<Shared>;

/// An app that accepts every upgrade and notes every close.
pub(crate) fn app() -> (App<State>, State, Heard) {
    let shared = State::default();
    let heard = shared.notes.listen();
    let app = App::new(shared.clone()).on_fetch(accept).on_close(note_close);
    (app, shared, heard)
}

pub(crate) async fn echo(event: MessageEvent<State>) -> Result<(), Error> {
    event.connection().send(event.message().clone()).await?;
    Ok(())
}

async fn note_close(event: CloseEvent<State>) -> Result<(), Error> {
    let refused = event.connection().send("too late").await;
    assert_eq!(refused, Err(SendError::Closed));
    let (code, reason, clean) = (event.code(), event.reason(), event.was_clean());
    event.state().notes.say(format!("closed {code} {reason:?} {clean}"));
    Ok(())
}
