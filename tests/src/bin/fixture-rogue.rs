//! A worker that misbehaves, written against the wire alone. `fixture-rogue MODE` says how it
//! starts and ends; what it does in between is asked for by a path or a message.
//!
//! As far as nothing is asked of it, it is honest: it answers requests with its process id, accepts
//! upgrades, echoes messages, commits, and leaves when it is told to.

use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio, exit};

use serde_json::json;
use shovel_protocol::control::{Headers, RequestHead, ResponseHead, UpgradeHead};
use shovel_protocol::handshake::{Capabilities, Greeting};
use shovel_protocol::head::{self, Frame, Header, Kind};
use shovel_protocol::id::Leased;
use shovel_protocol::to_supervisor::Effects;
use shovel_protocol::{
    Act, Effect, LeaseId, MessageKind, PublishToken, RequestId, ToSupervisor, ToWorker, When,
    WsMessage,
};

fn main() -> io::Result<()> {
    let mode = std::env::args().nth(1).unwrap_or_default();
    tell_what_was_inherited();
    let mut rogue = Rogue { link: Link::from_environment(), mode, held: None, begun: None };
    match rogue.mode.as_str() {
        "exit" => {
            eprintln!("cannot start: the database is away");
            exit(3);
        }
        "stranger" => rogue.link.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")?,
        "wrong-version" => {
            let greeting = Greeting { version: 9, oldest: 8, capabilities: Capabilities(0) };
            rogue.link.put(&ToSupervisor::Ready(greeting))?;
        }
        "never-ready" => {}
        "stager" => rogue.link.put(&ToSupervisor::ready(Capabilities::ADOPT))?,
        _ => rogue.link.put(&ToSupervisor::ready(Capabilities(0)))?,
    }
    rogue.run()
}

fn tell_what_was_inherited() {
    let mut descriptors = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").expect("descriptors").flatten() {
        // The one that lists them is gone by now.
        if let Ok(target) = std::fs::read_link(entry.path())
            && !target.starts_with("/proc")
        {
            let name = entry.file_name().into_string().expect("a number");
            descriptors.push(json!([name, target.to_string_lossy()]));
        }
    }
    let variables = std::env::vars().map(|(name, _)| name).collect::<Vec<_>>();
    let arguments = std::env::args().collect::<Vec<_>>();
    tell(json!({"event": "inherited", "descriptors": descriptors, "variables": variables,
        "arguments": arguments}));
}

fn tell(event: serde_json::Value) {
    println!("{event}");
}

struct Rogue {
    link: Link,
    mode: String,
    /// The connection of a request that is left without an answer.
    held: Option<LeaseId>,
    /// A request whose response has begun.
    begun: Option<RequestId>,
}

impl Rogue {
    fn run(&mut self) -> io::Result<()> {
        while let Some((header, payload)) = self.link.read()? {
            let frame = Frame {
                kind: header.kind,
                flags: header.flags,
                id: header.id,
                payload: payload.as_slice(),
            };
            match ToWorker::read(frame).expect("a frame of the supervisor's") {
                Some(ToWorker::Request { request, head, .. }) => self.on_request(request, &head)?,
                Some(ToWorker::Message(WsMessage { connection, seq, data, .. })) => {
                    self.on_message(connection, data)?;
                    self.commit(connection, seq)?;
                }
                Some(ToWorker::Closed { connection, seq, .. }) => self.commit(connection, seq)?,
                Some(ToWorker::Ping { nonce }) if self.mode != "silent" => {
                    let nonce = if self.mode == "wrong-nonce" { !nonce } else { nonce };
                    self.link.put(&ToSupervisor::Pong { nonce })?;
                }
                Some(ToWorker::ChannelRefused { channel }) => {
                    tell(json!({"event": "refused", "channel": channel}));
                }
                Some(ToWorker::Shutdown) if self.mode != "deaf" => {
                    self.link.put(&ToSupervisor::ShutdownComplete)?;
                    return Ok(());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn on_request(&mut self, request: RequestId, head: &RequestHead<'_>) -> io::Result<()> {
        let offered = head.offer.map(|offer| LeaseId::from_wire(offer.connection));
        if let Some(said) = head.target.strip_prefix("/length/") {
            let (status, length) = said.split_once('/').expect("STATUS/LENGTH");
            let status = status.parse().expect("a status");
            return self.respond(request, status, &[("content-length", length.as_bytes())]);
        }
        match (head.target, offered) {
            ("/exit", _) => exit(7),
            ("/answer-and-exit", _) => {
                self.answer(request, &[])?;
                exit(7);
            }
            ("/garbage", _) => self.write_garbage(),
            ("/bad-header", _) => self.answer(request, &[("x-split", b"a\r\nx-second: b")]),
            ("/hop-by-hop", _) => {
                self.answer(request, &[("te", b"trailers"), ("date", b"now"), ("date", b"then")])
            }
            ("/bad-name", _) => self.answer(request, &[("x split: ", b"a")]),
            ("/many-headers", _) => self.answer(request, &[("a", &b"1"[..]); 50_000]),
            ("/many-names", _) => {
                let names = (0..25_000).map(|number| format!("x{number}")).collect::<Vec<_>>();
                let headers = names.iter().map(|name| (name.as_str(), &b"1"[..]));
                self.answer(request, &headers.collect::<Vec<_>>())
            }
            ("/abort", _) => self.link.put(&ToSupervisor::Abort { request }),
            ("/begin", _) => self.begin(request, &[]),
            ("/begin-ten", _) => self.begin(request, &[("content-length", b"10")]),
            ("/end-begun" | "/abort-begun", _) => {
                let begun = self.begun.take().expect("one that has begun");
                self.link.put(&match head.target {
                    "/end-begun" => {
                        ToSupervisor::ResponseEnd { request: begun, trailers: Headers::default() }
                    }
                    _ => ToSupervisor::Abort { request: begun },
                })?;
                self.answer(request, &[])
            }
            ("/unknown-kind", _) => {
                let header = Header { len: 3, kind: 200, flags: 0xff, id: u64::MAX };
                self.link.write(&[&header.to_bytes()[..], b"new"].concat())?;
                self.answer(request, &[])
            }
            ("/strangers", _) => {
                self.act_for_strangers(None)?;
                self.answer(request, &[])
            }
            ("/wrong-side", _) => self.link.write(&from_the_wrong_side()),
            ("/subscribe", _) => {
                for channel in ["one", "two", "one", "three"] {
                    self.link.put(&ToSupervisor::Subscribe { channel })?;
                }
                self.answer(request, &[])
            }
            ("/bad-trailer", _) => {
                let head = ResponseHead { status: 200, headers: Headers::default() };
                let trailers = Headers(vec![("x-split", b"a\r\nx-second: b")]);
                // In one write: nothing of it has been sent to the client then.
                let mut batch = Vec::new();
                ToSupervisor::Response { request, head, end: false }.put(&mut batch);
                ToSupervisor::ResponseEnd { request, trailers }.put(&mut batch);
                self.link.write(&batch)
            }
            ("/subscriptions", _) => {
                self.link.put(&ToSupervisor::Subscribe { channel: "one" })?;
                self.flood(&ToSupervisor::Subscribe { channel: "two" })
            }
            ("/pongs", _) => self.flood(&ToSupervisor::Pong { nonce: 7 }),
            ("/leave-unasked", _) => self.link.put(&ToSupervisor::ShutdownComplete),
            ("/publishes", _) => {
                let token = PublishToken { publisher: 0, question: 1 };
                let (channel, kind) = ("nobody", MessageKind::Text);
                self.flood(&ToSupervisor::Publish { token, channel, kind, data: b"" })
            }
            ("/late-responses", _) => {
                let request = RequestId(Leased { slot: u32::MAX, lease: 0 });
                let head = ResponseHead { status: 200, headers: Headers::default() };
                self.flood(&ToSupervisor::Response { request, head, end: false })
            }
            ("/protocol", Some(connection)) => self.accept_as(request, connection, Some("chat")),
            ("/hold", Some(connection)) => {
                self.held = Some(connection);
                tell(json!({"event": "holding"}));
                Ok(())
            }
            ("/thief", Some(connection)) => {
                let held = self.held.expect("a connection held before");
                self.accept(request, held)?;
                self.accept(request, connection)
            }
            ("/twice", Some(connection)) => {
                self.accept(request, connection)?;
                self.accept(request, connection)
            }
            ("/portable", Some(connection)) => {
                let upgrade = UpgradeHead {
                    request: request.to_wire(),
                    protocol: None,
                    headers: Headers::default(),
                };
                let effects = Effects::default();
                self.link.put(&ToSupervisor::Upgrade {
                    connection,
                    upgrade,
                    portable: true,
                    effects,
                })
            }
            (_, Some(connection)) => self.accept(request, connection),
            (_, None) => self.answer(request, &[]),
        }
    }

    /// Five bytes of a response, and no end of it.
    fn begin(&mut self, request: RequestId, headers: &[(&str, &[u8])]) -> io::Result<()> {
        let head = ResponseHead { status: 200, headers: Headers(headers.to_vec()) };
        self.link.put(&ToSupervisor::Response { request, head, end: false })?;
        self.link.put(&ToSupervisor::ResponseBody { request, data: b"12345", end: false })?;
        self.begun = Some(request);
        Ok(())
    }

    fn on_message(&mut self, connection: LeaseId, data: &[u8]) -> io::Result<()> {
        if let Some(bytes) = data.strip_prefix(b"bytes ") {
            let bytes = std::str::from_utf8(bytes).ok().and_then(|bytes| bytes.parse().ok());
            return self.send(connection, &vec![b'x'; bytes.expect("a number")]);
        }
        match data {
            b"die" => {
                for number in 0..1000 {
                    self.send(connection, format!("last words {number}").as_bytes())?;
                }
                exit(1);
            }
            b"die at once" => {
                let mut batch = Vec::new();
                for number in 0..1000 {
                    let data = format!("last words {number}");
                    sent(connection, data.as_bytes()).put(&mut batch);
                }
                self.link.write(&batch)?;
                exit(1);
            }
            b"strangers" => {
                self.act_for_strangers(Some(connection))?;
                self.send(connection, b"tried")
            }
            b"commit too much" => {
                self.link.put(&ToSupervisor::Commit { connection, seq: 1_000_000 })
            }
            b"stage 4 MB" => {
                let data = [b's'; 60_000];
                let mut batch = Vec::new();
                for _ in 0..4_000_000 / data.len() {
                    let effect = Effect::Send { binary: false, data: &data };
                    ToSupervisor::from(Act::new(connection, When::Staged, effect)).put(&mut batch);
                }
                let effect = Effect::Send { binary: false, data: b"staged" };
                ToSupervisor::from(Act::new(connection, When::During, effect)).put(&mut batch);
                self.link.write(&batch)
            }
            b"who" => self.send(connection, std::process::id().to_string().as_bytes()),
            b"have a child" => {
                let child = Command::new("sleep").arg("30").stdin(Stdio::null()).spawn()?;
                self.send(connection, child.id().to_string().as_bytes())
            }
            data => self.send(connection, data),
        }
    }

    fn answer(&mut self, request: RequestId, headers: &[(&str, &[u8])]) -> io::Result<()> {
        let head = ResponseHead { status: 200, headers: Headers(headers.to_vec()) };
        self.link.put(&ToSupervisor::Response { request, head, end: false })?;
        let body = std::process::id().to_string();
        self.link.put(&ToSupervisor::ResponseBody { request, data: body.as_bytes(), end: true })
    }

    /// With a body of five bytes, in one write.
    fn respond(
        &mut self,
        request: RequestId,
        status: u16,
        headers: &[(&str, &[u8])],
    ) -> io::Result<()> {
        let head = ResponseHead { status, headers: Headers(headers.to_vec()) };
        let mut batch = Vec::new();
        ToSupervisor::Response { request, head, end: false }.put(&mut batch);
        ToSupervisor::ResponseBody { request, data: b"12345", end: true }.put(&mut batch);
        self.link.write(&batch)
    }

    fn accept(&mut self, request: RequestId, connection: LeaseId) -> io::Result<()> {
        self.accept_as(request, connection, None)
    }

    fn accept_as(
        &mut self,
        request: RequestId,
        connection: LeaseId,
        protocol: Option<&str>,
    ) -> io::Result<()> {
        let request = request.to_wire();
        let upgrade = UpgradeHead { request, protocol, headers: Headers::default() };
        let effects = Effects::default();
        self.link.put(&ToSupervisor::Upgrade { connection, upgrade, portable: false, effects })
    }

    fn send(&mut self, connection: LeaseId, data: &[u8]) -> io::Result<()> {
        self.link.put(&sent(connection, data).into())
    }

    fn commit(&mut self, connection: LeaseId, seq: u64) -> io::Result<()> {
        if matches!(self.mode.as_str(), "mute" | "stager") {
            return Ok(());
        }
        self.link.put(&ToSupervisor::Commit { connection, seq })
    }

    /// Acts on every connection and request that others might have.
    fn act_for_strangers(&mut self, own: Option<LeaseId>) -> io::Result<()> {
        for (slot, lease) in (0..32).flat_map(|slot| (0..8).map(move |lease| (slot, lease))) {
            let leased = Leased { slot, lease };
            let connection = LeaseId(leased);
            if own == Some(connection) {
                continue;
            }
            self.send(connection, b"stolen")?;
            let subscribe = Effect::Subscribe { channel: "stolen" };
            let close = Effect::Close { code: 4000, reason: "stolen" };
            for effect in [subscribe, close] {
                self.link.put(&Act::new(connection, When::Now, effect).into())?;
            }
            self.link.put(&ToSupervisor::Commit { connection, seq: 1 })?;
        }
        Ok(())
    }

    /// Writes this frame again and again, and reads nothing, until the link ends.
    fn flood(&mut self, frame: &ToSupervisor<'_>) -> io::Result<()> {
        let mut batch = Vec::new();
        (0..1000).for_each(|_| frame.put(&mut batch));
        loop {
            self.link.write(&batch)?;
        }
    }

    fn write_garbage(&mut self) -> io::Result<()> {
        let seed = fastrand::u64(..);
        tell(json!({"event": "garbage", "seed": seed}));
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = [0; 4096];
        random.fill(&mut bytes);
        // A length that no frame has: else the supervisor might wait for the rest of it.
        bytes[3] = 0xff;
        self.link.write(&bytes)
    }
}

fn from_the_wrong_side() -> Vec<u8> {
    let mut bytes = Vec::new();
    head::put(&mut bytes, Kind::Shutdown, 0, 0, |_| ());
    bytes
}

/// One link, read and written without a runtime.
struct Link(UnixStream);

impl Link {
    #[allow(unsafe_code, reason = "a descriptor that is known by its number alone")]
    fn from_environment() -> Link {
        let numbers = std::env::var("SHOVEL_LINK_FDS").expect("started by shovel-pool");
        let first = numbers.split(',').next().and_then(|number| number.parse::<RawFd>().ok());
        // SAFETY: the supervisor made this descriptor for us, and nothing else here takes it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(first.expect("a descriptor")) };
        let stream = UnixStream::from(descriptor);
        stream.set_nonblocking(false).expect("a blocking socket");
        Link(stream)
    }

    fn put(&mut self, frame: &ToSupervisor<'_>) -> io::Result<()> {
        let mut bytes = Vec::new();
        frame.put(&mut bytes);
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// The next frame; `None` at the end.
    fn read(&mut self) -> io::Result<Option<(Header, Vec<u8>)>> {
        let mut header = [0; head::HEADER_BYTES];
        match self.0.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let header = Header::from_bytes(&header);
        let mut payload = vec![0; header.len as usize];
        self.0.read_exact(&mut payload)?;
        Ok(Some((header, payload)))
    }
}

fn sent(connection: LeaseId, data: &[u8]) -> Act<'_> {
    Act::new(connection, When::Now, Effect::Send { binary: false, data })
}
