//! Reads one link to its end.
//!
//! The walk: socket -> `Incoming` -> `Pieces` -> `ToSupervisor` -> [`super::frames`] and
//! [`super::responses`]. Everything readable is taken before anything that comes of it is written.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use shovel_link::{Filled, Incoming};
use shovel_protocol::handshake::Capabilities;
use shovel_protocol::head::Kind;
use shovel_protocol::limits::payload_bytes;
use shovel_protocol::pieces::Pieces;
use shovel_protocol::{BadFrame, ToSupervisor};

use super::FromThread;
use super::link::Link;
use super::router::Router;

/// Reads a link until its worker is gone.
pub struct LinkReader {
    router: Rc<Router>,
    link: Rc<Link>,
    /// The first link also carries what is about the worker as a whole.
    is_first: bool,
    incoming: Incoming,
    pieces: Pieces,
    ready: bool,
}

/// Why reading stopped.
enum Stop {
    /// The other end has closed.
    End,
    /// The process is gone.
    Reaped,
    /// The worker broke the protocol, or the socket failed.
    Bad(BadFrame),
    Failed(std::io::Error),
}

impl LinkReader {
    pub fn new(router: Rc<Router>, link: Rc<Link>, is_first: bool) -> Self {
        let limit = payload_bytes(router.settings.get().ws.max_message_bytes as u64);
        let (incoming, pieces) = (Incoming::default(), Pieces::new(limit));
        LinkReader { router, link, is_first, incoming, pieces, ready: false }
    }

    /// Reads until the process is gone and nothing it said is left.
    pub async fn run(mut self) {
        let stop = self.read().await;
        if !matches!(stop, Stop::Reaped) {
            self.tell_end(&stop);
            // What a link brought after a bad frame is not looked at.
            self.link.end();
            self.link.reaped().await;
        }
        if matches!(stop, Stop::Reaped) {
            self.read_rest();
        }
        self.router.bury(&self.link);
    }

    async fn read(&mut self) -> Stop {
        loop {
            // Cancel-safe: a read that did not return has taken nothing.
            let filled = tokio::select! {
                biased;
                () = self.link.reaped() => return Stop::Reaped,
                filled = self.incoming.fill(&self.link.socket) => filled,
            };
            match filled {
                Ok(Filled::Bytes | Filled::Nothing) => {}
                Ok(Filled::End) => return Stop::End,
                Err(error) => return Stop::Failed(error),
            }
            if let Err(bad) = self.take_frames() {
                return Stop::Bad(bad);
            }
            self.router.publisher.room().await;
        }
    }

    /// A grandchild may hold the other end open, so that no end is ever read: nothing more to read
    /// is the end.
    fn read_rest(&mut self) {
        while let Ok(Filled::Bytes) = self.incoming.try_fill(&self.link.socket) {
            if self.take_frames().is_err() {
                return;
            }
        }
    }

    fn tell_end(&self, stop: &Stop) {
        let (worker, reports) = (self.link.worker, &self.router.reports);
        match stop {
            Stop::Bad(BadFrame::Handshake(refusal)) => {
                let why = refusal.to_string();
                reports.send(FromThread::Refused { worker, why });
            }
            Stop::Bad(bad) => {
                let why = Some(format!("broke the link protocol: {bad}"));
                reports.send(FromThread::LinkEnded { worker, why });
            }
            Stop::Failed(error) => {
                let why = Some(format!("has a link that failed: {error}"));
                reports.send(FromThread::LinkEnded { worker, why });
            }
            Stop::End | Stop::Reaped => {
                reports.send(FromThread::LinkEnded { worker, why: None });
            }
        }
    }

    fn take_frames(&mut self) -> Result<(), BadFrame> {
        while let Some(frame) = self.incoming.next_frame()? {
            let Some(whole) = self.pieces.push(frame)? else { continue };
            let (router, link) = (&self.router, &self.link);
            // Matched where it was read: most are sends, and moving those takes longer than all
            // else that is done here.
            match ToSupervisor::read(whole) {
                Ok(Some(ToSupervisor::Send { connection, when, kind, data, last })) => {
                    router.on_send(link, connection, when, kind, data, last)?;
                }
                Ok(Some(
                    ref frame @ (ToSupervisor::Ready(_)
                    | ToSupervisor::Pong { .. }
                    | ToSupervisor::ShutdownComplete),
                )) => about_worker(router, link, self.is_first, &mut self.ready, frame)?,
                Ok(Some(frame)) => router.on_frame(link, frame)?,
                Ok(None) => {}
                Err(bad) => return Err(bad),
            }
        }
        Ok(())
    }
}

/// Frames about the worker as a whole: on its first link only.
fn about_worker(
    router: &Router,
    link: &Link,
    is_first: bool,
    ready: &mut bool,
    frame: &ToSupervisor<'_>,
) -> Result<(), BadFrame> {
    let worker = link.worker;
    if let ToSupervisor::Ready(greeting) = frame {
        let adopts = greeting.capabilities.contains(Capabilities::ADOPT);
        link.counters.adopts.store(adopts, Ordering::Relaxed);
    }
    let (kind, report) = match frame {
        ToSupervisor::Ready(_) => (Kind::Ready, FromThread::Ready { worker }),
        ToSupervisor::Pong { .. } => (Kind::Pong, FromThread::Ponged { worker }),
        _ => (Kind::ShutdownComplete, FromThread::ShutdownCompleted { worker }),
    };
    let out_of_turn = |why| Err(BadFrame::OutOfTurn { kind: kind.name(), why });
    if !is_first {
        return out_of_turn("it belongs on the first link");
    }
    if kind == Kind::Ready && std::mem::replace(ready, true) {
        return out_of_turn("the worker is ready already");
    }
    router.reports.send(report);
    Ok(())
}
