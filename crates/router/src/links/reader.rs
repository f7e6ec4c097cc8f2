//! Reads one link to its end.
//!
//! The walk: socket -> `Incoming` -> `WsSend`, which most are, or `Pieces` -> `ToSupervisor` ->
//! [`super::frames`]. Everything readable is taken before what comes of it is written.

use std::rc::Rc;

use shovel_link::{Filled, Incoming};
use shovel_protocol::head::Kind;
use shovel_protocol::limits::payload_bytes;
use shovel_protocol::pieces::Pieces;
use shovel_protocol::{BadFrame, Frame, ToSupervisor, WorkerId, WsSend};

use super::link::Link;
use crate::driver::FromThread;
use crate::router::Router;

/// Reads a link until its worker is gone.
pub struct LinkReader {
    incoming: Incoming,
    frames: FrameHandler,
}

/// Whom the frames of a link go to.
struct FrameHandler {
    router: Rc<Router>,
    link: Rc<Link>,
    /// The first link also carries what is about the worker as a whole.
    is_first: bool,
    pieces: Pieces,
    ready: bool,
}

/// Why reading stopped.
enum Stop {
    /// The other end has closed.
    End,
    /// The process is gone.
    Reaped,
    /// The worker does not read what is written to it.
    Unread,
    /// The worker broke the protocol, or the socket failed.
    Bad(BadFrame),
    Failed(std::io::Error),
}

impl LinkReader {
    pub fn new(router: Rc<Router>, link: Rc<Link>, is_first: bool) -> Self {
        let limit = payload_bytes(router.settings.get().ws.max_message_bytes as u64);
        let pieces = Pieces::new(limit);
        let frames = FrameHandler { router, link, is_first, pieces, ready: false };
        LinkReader { incoming: Incoming::default(), frames }
    }

    /// Reads until the process is gone and nothing it said is left.
    pub async fn run(mut self) {
        let stop = self.read().await;
        if !matches!(stop, Stop::Reaped) {
            self.tell_end(&stop);
            // What a link brought after a bad frame is not looked at.
            self.frames.router.on_link_ended(&self.frames.link);
            self.frames.link.reaped().await;
        }
        if matches!(stop, Stop::Reaped) {
            self.read_rest();
        }
        self.frames.router.bury(&self.frames.link);
    }

    async fn read(&mut self) -> Stop {
        loop {
            // Cancel-safe: a read that did not return has taken nothing.
            let filled = tokio::select! {
                biased;
                () = self.frames.link.reaped() => return Stop::Reaped,
                () = self.frames.link.overflowed() => return Stop::Unread,
                filled = self.incoming.fill(&self.frames.link.socket) => filled,
            };
            match filled {
                Ok(Filled::Bytes | Filled::Nothing) => {}
                Ok(Filled::End) => return Stop::End,
                Err(error) => return Stop::Failed(error),
            }
            if let Err(bad) = self.take_frames() {
                return Stop::Bad(bad);
            }
            self.frames.router.publisher.room().await;
        }
    }

    /// A grandchild may hold the other end open, so that no end is ever read: nothing more to read
    /// is the end.
    fn read_rest(&mut self) {
        while let Ok(Filled::Bytes) = self.incoming.try_fill(&self.frames.link.socket) {
            if self.take_frames().is_err() {
                return;
            }
        }
    }

    fn tell_end(&self, stop: &Stop) {
        let (worker, news) = (self.frames.link.worker, &self.frames.router.news);
        match stop {
            Stop::Bad(BadFrame::Handshake(refusal)) => {
                let why = refusal.to_string();
                news.send(FromThread::Refused { worker, why });
            }
            Stop::Bad(bad) => {
                let why = Some(format!("broke the link protocol: {bad}"));
                news.send(FromThread::LinkEnded { worker, why });
            }
            Stop::Unread => {
                let why = Some("does not read its link: too much waits for it".to_owned());
                news.send(FromThread::LinkEnded { worker, why });
            }
            Stop::Failed(error) => {
                let why = Some(format!("has a link that failed: {error}"));
                news.send(FromThread::LinkEnded { worker, why });
            }
            Stop::End | Stop::Reaped => {
                news.send(FromThread::LinkEnded { worker, why: None });
            }
        }
    }

    fn take_frames(&mut self) -> Result<(), BadFrame> {
        while let Some(frame) = self.incoming.next_frame()? {
            self.frames.handle(frame)?;
        }
        Ok(())
    }
}

impl FrameHandler {
    #[inline]
    fn handle(&mut self, frame: Frame<'_>) -> Result<(), BadFrame> {
        // Most are sends, and in one piece.
        match frame.is(Kind::WsSend) && self.pieces.is_whole(&frame) {
            true => self.router.on_send(&self.link, WsSend::read(frame)?),
            false => self.handle_any(frame),
        }
    }

    /// Any frame. Apart, so that the way of most is short.
    #[inline(never)]
    fn handle_any(&mut self, frame: Frame<'_>) -> Result<(), BadFrame> {
        let Some(whole) = self.pieces.push(frame)? else { return Ok(()) };
        match ToSupervisor::read(whole)? {
            Some(ToSupervisor::Ready(greeting)) => {
                self.router.note_abilities(&self.link, greeting.capabilities);
                let is_first = !std::mem::replace(&mut self.ready, true);
                self.about_worker(Kind::Ready, is_first, |worker| FromThread::Ready { worker })
            }
            Some(ToSupervisor::Pong { nonce }) => {
                let is_asked = self.link.take_pong(nonce);
                self.about_worker(Kind::Pong, is_asked, |worker| FromThread::Ponged { worker })
            }
            Some(ToSupervisor::ShutdownComplete) => {
                let news = |worker| FromThread::ShutdownCompleted { worker };
                self.about_worker(Kind::ShutdownComplete, self.link.take_leave(), news)
            }
            Some(frame) => self.router.on_frame(&self.link, frame),
            None => Ok(()),
        }
    }

    /// Frames about the worker as a whole: on its first link only, and each as often as it is wanted.
    /// The driver is told of each, so a worker must not be able to have it told at will.
    fn about_worker(
        &self,
        kind: Kind,
        is_wanted: bool,
        news: impl FnOnce(WorkerId) -> FromThread,
    ) -> Result<(), BadFrame> {
        let out_of_turn = |why| Err(BadFrame::OutOfTurn { kind: kind.name(), why });
        if !self.is_first {
            return out_of_turn("it belongs on the first link");
        }
        if !is_wanted {
            return out_of_turn("nobody asked for it");
        }
        self.router.news.send(news(self.link.worker));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::ops::Range;
    use std::sync::atomic::Ordering;

    use shovel_core::custody::{Phase, Route};
    use shovel_core::fleet::Death;
    use shovel_edge::ws::Socket;
    use shovel_protocol::control::{Headers, UpgradeHead};
    use shovel_protocol::limits::ACTS;
    use shovel_protocol::to_supervisor::{Effects, put_effect};
    use shovel_protocol::{Act, Effect, LeaseId, MessageKind, PublishToken, When};
    use tokio::time::Instant;

    use super::*;
    use crate::testing::{Thread, WORKER, run};

    const LONG: usize = 200 * 1024;

    /// A connection whose handler runs, one that listens to what it publishes, and their worker.
    struct World {
        thread: Thread,
        link: Rc<Link>,
        reader: LinkReader,
        route: Route,
        id: LeaseId,
        socket: Socket,
        listener: Socket,
    }

    /// What anybody can see of what the handler does.
    #[derive(Debug, PartialEq)]
    struct Seen {
        committed: bool,
        attached: bool,
        subscribed: bool,
        sent: bool,
        published: bool,
    }

    impl Seen {
        fn all(is: bool) -> Self {
            Seen { committed: is, attached: is, subscribed: is, sent: is, published: is }
        }
    }

    impl World {
        fn new() -> Self {
            let thread = Thread::alone();
            let link = thread.join(WORKER, &Default::default());
            let listener = thread.portable(&link);
            thread.subscribe(listener, "news");
            let listener = thread.with(listener, |_, connection| connection.client.socket.clone());
            let route = thread.portable(&link);
            let (id, socket) =
                thread.with(route, |id, connection| (id, connection.client.socket.clone()));
            thread.router.on_message(route, shovel_protocol::MessageKind::Text, b"message");
            let reader = LinkReader::new(thread.router.clone(), link.clone(), true);
            World { thread, link, reader, route, id, socket, listener }
        }

        /// All that a handler can do to its connection, and the commit: a frame, or the flag LAST.
        fn commit(&self, long: usize, is_last: bool) -> (Vec<u8>, Vec<usize>) {
            let connection = self.id;
            let long = vec![b'x'; long];
            let act = |effect| Act::new(connection, When::Staged, effect);
            let send = |data| act(Effect::Send { binary: false, data });
            let (token, binary, data) = (0, false, &b"new"[..]);
            let acts = [
                act(Effect::Attach { version: 2, data: b"state" }),
                act(Effect::Subscribe { channel: "other" }),
                act(Effect::Publish { token, channel: "news", binary, data }),
                send(&long),
                Act { last: is_last, ..send(b"done") },
            ];
            let mut frames = acts.map(ToSupervisor::Act).to_vec();
            if !is_last {
                frames.push(ToSupervisor::Commit { connection, seq: 1 });
            }
            let (mut bytes, mut ends) = (Vec::new(), Vec::new());
            for frame in frames {
                frame.put(&mut bytes);
                ends.push(bytes.len());
            }
            (bytes, ends)
        }

        /// The worker writes this much more.
        fn write(&mut self, bytes: &[u8]) {
            for part in bytes.chunks(32 * 1024) {
                self.thread.workers.borrow_mut()[0].write_all(part).unwrap();
                self.reader.read_rest();
            }
        }

        fn seen(&self) -> Seen {
            self.thread.router.share_channel("news");
            self.thread.with(self.route, |_, connection| {
                let attachment = connection.attachment();
                Seen {
                    committed: connection.committed() == 1,
                    attached: attachment.is_some_and(|attachment| attachment.version == 2),
                    subscribed: connection.client.subscriptions.channels().count() == 1,
                    sent: self.socket.waiting_bytes() > 0,
                    published: self.listener.waiting_bytes() > 0,
                }
            })
        }

        /// The worker is dead, and its link read to the end.
        fn cut(&self) -> Seen {
            self.link.reap(Death::Fault);
            self.thread.router.bury(&self.link);
            let seen = self.seen();
            self.thread.with(self.route, |_, connection| {
                assert_eq!(connection.phase(), Phase::Unowned);
                assert_eq!(connection.is_idle(), seen.committed, "handled, or to come again");
            });
            seen
        }
    }

    /// Cuts the link at each of these bytes of a commit.
    fn cut_at(places: impl IntoIterator<Item = usize>, long: usize, is_last: bool) {
        for place in places {
            run(async || {
                let mut world = World::new();
                let (bytes, _) = world.commit(long, is_last);
                world.write(&bytes[..place]);
                let is_whole = place == bytes.len();
                assert_eq!(world.cut(), Seen::all(is_whole), "cut at {place} of {}", bytes.len());
            });
        }
    }

    /// G55.
    #[test]
    fn a_link_that_is_cut_at_any_byte_of_a_commit_brings_all_of_it_or_nothing() {
        for is_last in [false, true] {
            let mut len = 0;
            run(async || len = World::new().commit(5, is_last).0.len());
            cut_at(0..=len, 5, is_last);
        }
    }

    /// G55: of a long one nothing is seen before its last byte, and around the end of each frame it
    /// is cut.
    #[test]
    fn nothing_is_seen_of_a_long_commit_before_its_last_byte() {
        for is_last in [false, true] {
            let mut around: Vec<Range<usize>> = Vec::new();
            run(async || {
                let mut world = World::new();
                let (bytes, ends) = world.commit(LONG, is_last);
                for (place, byte) in bytes.iter().enumerate() {
                    assert_eq!(world.seen(), Seen::all(false), "at {place} of {}", bytes.len());
                    world.write(&[*byte]);
                }
                assert_eq!(world.seen(), Seen::all(true));
                around = ends.iter().map(|end| end - 8..(end + 8).min(bytes.len() + 1)).collect();
            });
            cut_at(around.into_iter().flatten(), LONG, is_last);
        }
    }

    /// H232, H233: of whatever kind, and at whatever time.
    #[test]
    fn messages_that_are_too_long_and_commits_that_do_too_much_are_bad_frames() {
        run(async || {
            let world = World::new();
            let (connection, longest) = (world.id, world.link.max_message_bytes);
            let data = &vec![b'x'; longest + 1][..];
            let binary = true;
            let act = |when, effect| ToSupervisor::Act(Act::new(connection, when, effect));
            let publish = |data| Effect::Publish { token: 0, channel: "news", binary, data };
            let mut effects = Vec::new();
            put_effect(&mut effects, &Effect::Send { binary, data });
            let upgrade = UpgradeHead { request: 0, protocol: None, headers: Headers::default() };
            let (token, channel, kind) = (PublishToken::NONE, "news", MessageKind::Binary);
            let effects = Effects::new(&effects);
            for frame in [
                act(When::Now, Effect::Send { binary, data }),
                act(When::During, Effect::Send { binary, data }),
                act(When::Staged, Effect::Send { binary, data }),
                act(When::During, publish(data)),
                act(When::Staged, publish(data)),
                ToSupervisor::Publish { token, channel, kind, data },
                ToSupervisor::Upgrade { connection, upgrade, portable: false, effects },
            ] {
                let done = world.thread.router.on_frame(&world.link, frame.clone());
                let is_bad = matches!(done, Err(BadFrame::MessageTooLong { .. }));
                assert!(is_bad, "{}", format!("{frame:?}").split_at(60).0);
            }
            let longest = act(When::Staged, publish(&data[1..]));
            assert_eq!(world.thread.router.on_frame(&world.link, longest), Ok(()));
            let more = || act(When::Staged, Effect::Unsubscribe { channel: "news" });
            for _ in 1..ACTS {
                assert_eq!(world.thread.router.on_frame(&world.link, more()), Ok(()));
            }
            assert!(world.thread.router.on_frame(&world.link, more()).is_err());
        });
    }

    /// G55: a worker's child may hold the other end of the link open for longer than the worker
    /// lives. Nobody waits for that: time, which passes here only when all wait for it, stands.
    #[test]
    fn a_grandchild_that_holds_the_link_delays_no_adoption() {
        run(async || {
            let thread = Thread::alone();
            let (old, new) = (WORKER, shovel_protocol::WorkerId(2));
            let links = [old, new].map(|worker| thread.join(worker, &Default::default()));
            links.iter().for_each(|link| link.cell.adopts.store(true, Ordering::Relaxed));
            thread.offer(vec![new]);
            let reader = LinkReader::new(thread.router.clone(), links[0].clone(), true);
            tokio::task::spawn_local(reader.run());
            let route = thread.portable(&links[0]);
            let grandchild = thread.workers.borrow()[0].try_clone().unwrap();
            let begun = Instant::now();
            thread.router.reaped(old, Death::Fault);
            let owner = || thread.with(route, |_, its| its.owner());
            for _ in 0..1000 {
                if owner() == Some(new) {
                    break;
                }
                tokio::task::yield_now().await;
            }
            assert_eq!(owner(), Some(new));
            assert_eq!(begun.elapsed(), std::time::Duration::ZERO);
            drop(grandchild);
        });
    }
}
