//! A client of the checker: it keeps orders under way, and notes what it sends and gets.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::record::{Conversation, Note, Role};
use super::words::{Answer, Order, Task, Word, now};
use crate::PATIENCE;

/// Orders without an answer that one client may have.
const MOST_UNDER_WAY: u64 = 4;

/// When an order without an answer is lost. Nobody promises less: when kills have made suspects of all
/// connections, each worker tries them one after the other, and on a machine with other work 240 of
/// them have taken 47 s.
pub(super) const ANSWERS_WITHIN: Duration = Duration::from_secs(120);

/// What clients close with.
pub const FAREWELL: u16 = 4000;

/// What all clients are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// What they do.
    pub season: Season,
    /// Counts up when visitors are to end all at once.
    pub gusts: u32,
}

/// What clients do for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Season {
    /// They order.
    Busy,
    /// They order, but the end of no worker.
    Calm,
    /// They listen.
    Quiet,
    /// They order nothing more, wait for their last answers and say so.
    Late,
    /// They close.
    Over,
}

/// One connection, from its upgrade on.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    weather: watch::Receiver<Weather>,
    random: Rng,
    conversation: Conversation,
    ordered: u64,
    /// So many of those need not be waited for.
    answered: u64,
    /// Orders behind them that nothing will be heard of.
    undone: BTreeSet<u64>,
    /// The client ends by itself then.
    leaves: Option<Instant>,
    /// The client does not read until then.
    deaf: Option<Instant>,
}

type Stream = WebSocketStream<TcpStream>;

impl Client {
    /// A client with a number of its own, whose behaviour follows from `seed`.
    pub fn new(
        address: SocketAddr,
        weather: watch::Receiver<Weather>,
        (seed, key): (u64, u32),
        role: Role,
        rooms: u32,
    ) -> Self {
        let mut random = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9) ^ u64::from(key));
        let room = matches!(role, Role::Resident | Role::Visitor).then(|| random.u32(0..rooms));
        let leaves = match role {
            Role::Visitor => Some(Instant::now() + Duration::from_millis(random.u64(200..4000))),
            Role::Plain => Some(Instant::now() + Duration::from_millis(random.u64(3000..15_000))),
            Role::Resident | Role::Slow => None,
        };
        let conversation = Conversation { key, role, room, notes: Vec::new() };
        let (ordered, answered, undone, deaf) = (0, 0, BTreeSet::new(), None);
        Client { address, weather, random, conversation, ordered, answered, undone, leaves, deaf }
    }

    /// Converses until one side ends it. `settled` is told once, when all is answered in the end.
    pub async fn run(mut self, settled: impl FnOnce()) -> Conversation {
        let mut settled = Some(settled);
        match self.connect().await {
            Some(stream) => self.converse(stream, &mut settled).await,
            None => sleep(Duration::from_millis(50)).await,
        }
        if let Some(settled) = settled {
            settled();
        }
        self.conversation
    }

    async fn connect(&mut self) -> Option<Stream> {
        let Conversation { key, role, room, .. } = self.conversation;
        let path = if role.is_portable() { "portable" } else { "plain" };
        let room = room.map_or(String::new(), |room| format!("&room={room}"));
        let url = format!("ws://{}/{path}?key={key}{room}", self.address);
        let mut request = url.into_client_request().expect("a request");
        let headers = request.headers_mut();
        headers.insert("x-key", key.into());
        headers.insert("sec-websocket-protocol", "checked".parse().expect("a value"));
        let connect = async {
            let stream = TcpStream::connect(self.address).await?;
            // Some are gone before they are accepted.
            let hasty = role == Role::Visitor && self.random.u8(..) < 8;
            if hasty {
                let handshake = client_async(request, stream);
                return match timeout(Duration::from_millis(1), handshake).await {
                    Ok(done) => done.map(|(stream, _)| stream),
                    Err(_) => Err(tungstenite::Error::AlreadyClosed),
                };
            }
            client_async(request, stream).await.map(|(stream, _)| stream)
        };
        match timeout(PATIENCE, connect).await {
            Ok(Ok(stream)) => {
                self.note(Note::Opened);
                Some(stream)
            }
            Ok(Err(tungstenite::Error::AlreadyClosed)) => {
                self.note(Note::Cut { reset: false });
                None
            }
            Ok(Err(tungstenite::Error::Http(answer))) => {
                self.note(Note::Refused(answer.status().as_u16().to_string()));
                None
            }
            Ok(Err(error)) => {
                self.note(Note::Refused(error.to_string()));
                None
            }
            Err(_) => {
                self.note(Note::Refused("no answer".to_owned()));
                None
            }
        }
    }

    async fn converse(&mut self, mut stream: Stream, settled: &mut Option<impl FnOnce()>) {
        let mut gusts = self.weather.borrow().gusts;
        let mut heard_last = Instant::now();
        loop {
            let weather = *self.weather.borrow_and_update();
            match weather.season {
                Season::Busy | Season::Calm => {
                    if !self.order(&mut stream).await {
                        return;
                    }
                }
                Season::Late if self.answered == self.ordered => {
                    if let Some(settled) = settled.take() {
                        settled();
                    }
                }
                Season::Over => return self.close(stream, FAREWELL).await,
                Season::Quiet | Season::Late => {}
            }
            let is_blown = weather.gusts != gusts && self.random.bool();
            gusts = weather.gusts;
            if self.leaves.is_some() && (is_blown || self.leaves <= Some(Instant::now())) {
                return self.leave(stream).await;
            }
            let is_owed = self.answered < self.ordered;
            let deaf = self.deaf.take_if(|until| *until <= Instant::now()).or(self.deaf);
            let deadline = heard_last.max(deaf.unwrap_or(heard_last)) + ANSWERS_WITHIN;
            // Cancel-safe: a stream keeps what it has read of a message, the rest only waits.
            tokio::select! {
                next = stream.next(), if deaf.is_none() => {
                    heard_last = Instant::now();
                    if !self.hear(next) {
                        return;
                    }
                }
                _ = self.weather.changed() => {}
                () = sleep_until(self.leaves.unwrap_or(deadline)), if self.leaves.is_some() => {}
                () = sleep_until(deaf.unwrap_or(deadline)), if deaf.is_some() => self.deaf = None,
                () = sleep_until(deadline), if is_owed => return self.note(Note::Stuck),
            }
        }
    }

    /// Orders until enough is under way. `false` if the connection has failed.
    async fn order(&mut self, stream: &mut Stream) -> bool {
        while self.ordered - self.answered < MOST_UNDER_WAY {
            self.ordered += 1;
            let task = self.task();
            let padding = match self.random.u16(..) {
                0..200 => self.random.usize(0..200_000),
                _ => self.random.usize(0..40),
            };
            let order = Order { n: self.ordered, task, padding };
            self.note(Note::Sent(order));
            if self.conversation.is_undone(order) {
                self.undone.insert(order.n);
                self.pass_undone();
            }
            if let Err(error) = stream.send(Message::text(order.to_string())).await {
                // What came before is still to be read: the close frame that says why.
                while let Some(Ok(message)) = stream.next().await {
                    if !self.hear(Some(Ok(message))) {
                        return false;
                    }
                }
                self.note(Note::Broken(error.to_string()));
                return false;
            }
        }
        true
    }

    fn pass_undone(&mut self) {
        while self.undone.remove(&(self.answered + 1)) {
            self.answered += 1;
        }
    }

    fn task(&mut self) -> Task {
        if self.conversation.role == Role::Slow {
            return match self.random.u8(..8) {
                0 => {
                    let silence = Duration::from_millis(self.random.u64(100..1500));
                    self.deaf = Some(Instant::now() + silence);
                    Task::Long(400_000)
                }
                1..4 => Task::Long(self.random.u64(1..400_000)),
                _ => Task::Sleep(self.random.u64(50..150)),
            };
        }
        let portable = self.conversation.role.is_portable();
        let may_harm = portable && self.weather.borrow().season != Season::Calm;
        match self.random.u16(..1000) {
            0..150 => Task::Answer,
            150..250 => Task::Parts(self.random.u64(1..5)),
            250..300 if self.conversation.room.is_some() => Task::Publish,
            300..330 if portable => Task::Early(self.random.u64(10..150)),
            330..340 => Task::Fail,
            340..350 => Task::Panic,
            350..360 => Task::Block(self.random.u64(1..40)),
            360..365 => Task::Long(self.random.u64(1..200_000)),
            365 if may_harm && self.random.u8(..) < 64 => Task::Die,
            _ => Task::Sleep(self.random.u64(40..300)),
        }
    }

    /// Notes what came. `false` if nothing more can.
    fn hear(&mut self, next: Option<tungstenite::Result<Message>>) -> bool {
        match next {
            Some(Ok(Message::Text(text))) => match text.parse() {
                Ok(word) => {
                    if let Word::Answer(Answer { n, .. }) = word {
                        self.answered = self.answered.max(n.min(self.ordered));
                        self.pass_undone();
                    }
                    self.note(Note::Heard(word));
                }
                Err(_) => self.note(Note::Garbled(text.chars().take(200).collect())),
            },
            Some(Ok(Message::Close(frame))) => {
                self.note(Note::Closed(frame.map_or(1005, |frame| frame.code.into())));
                return false;
            }
            Some(Ok(Message::Binary(_))) => self.note(Note::Garbled("binary".to_owned())),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                self.note(Note::Broken(error.to_string()));
                return false;
            }
            None => {
                self.note(Note::Broken("the end".to_owned()));
                return false;
            }
        }
        true
    }

    async fn leave(&mut self, stream: Stream) {
        match self.random.u8(..4) {
            0 => self.cut(stream, false),
            1 => self.cut(stream, true),
            _ => {
                let code = FAREWELL + self.random.u16(1..900);
                self.close(stream, code).await;
            }
        }
    }

    fn cut(&mut self, stream: Stream, reset: bool) {
        if reset {
            stream.get_ref().set_zero_linger().expect("an open socket");
        }
        self.note(Note::Cut { reset });
    }

    async fn close(&mut self, mut stream: Stream, code: u16) {
        self.note(Note::Closing(code));
        let frame = CloseFrame { code: code.into(), reason: "bye".into() };
        let close = async {
            // If that fails, what can still be read says why.
            let _ = stream.send(Message::Close(Some(frame))).await;
            loop {
                let next = stream.next().await;
                if !self.hear(next) {
                    return;
                }
            }
        };
        if timeout(PATIENCE, close).await.is_err() {
            self.note(Note::Stuck);
        }
    }

    fn note(&mut self, note: Note) {
        self.conversation.notes.push((now(), note));
    }
}
