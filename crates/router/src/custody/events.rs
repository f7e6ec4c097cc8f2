//! How workers come and go, as custody is told.

use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shovel_core::custody::Event;
use shovel_core::fleet::{Death, DrainReason};
use shovel_link as link_io;
use shovel_protocol::control::Welcome;
use shovel_protocol::handshake::Capabilities;
use shovel_protocol::{LeaseId, ToWorker, WorkerId};
use tokio::time::sleep;

use crate::driver::FromThread;
use crate::links::cell::{Linked, SharedCell};
use crate::links::link::Link;
use crate::router::Router;
use crate::settings::Settings;

/// How often to look for workers that nobody needs.
const SHORTEST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Router {
    /// Tells custody what has happened, and does what follows.
    pub(crate) fn tell_custody(self: &Rc<Self>, event: Event) {
        self.custody.borrow_mut().handle_event(event, self.now());
        self.go_on();
    }

    /// Other settings, for what begins from now on.
    pub(crate) fn configure(&self, settings: Settings) {
        self.settings.set(settings);
        self.custody.borrow_mut().configure(settings.of_custody());
        self.channels.borrow_mut().limit(settings.channels);
        self.limit_memory();
    }

    /// A new worker's link, if it can be used.
    pub(crate) fn join(
        self: &Rc<Self>,
        worker: WorkerId,
        stream: UnixStream,
        welcome: Welcome,
        cell: Arc<SharedCell>,
    ) -> Option<Rc<Link>> {
        let socket = match link_io::Socket::new(stream) {
            Ok(socket) => socket,
            Err(error) => {
                let why = Some(format!("has a link that cannot be used: {error}"));
                self.news.send(FromThread::LinkEnded { worker, why });
                return None;
            }
        };
        let weak = Rc::downgrade(self);
        let on_room = Box::new(move |paused: Vec<LeaseId>| {
            if let Some(router) = weak.upgrade() {
                paused.into_iter().for_each(|connection| router.go_on_with(connection));
                router.queue.look_again();
            }
        });
        let link = Link::new((worker, &welcome), cell, socket, self.turn.clone(), on_room);
        let capabilities = Capabilities::ADOPT.and(Capabilities::CONTINUE);
        link.send(&ToWorker::hello(capabilities.and(Capabilities::OUTBOX), welcome));
        self.custody.borrow_mut().join(worker, Linked(link.clone()), self.now());
        Some(link)
    }

    /// Replaces the snapshot of workers that take new work. Others go on with what those that are
    /// late have not answered.
    pub(crate) fn set_offer(self: &Rc<Self>, workers: Vec<WorkerId>, late: Vec<WorkerId>) {
        self.tell_custody(Event::Offered { workers });
        late.into_iter().for_each(|worker| self.ask_others(worker));
        self.queue.look_again();
    }

    /// The pool ends.
    pub(crate) fn begin_end(self: &Rc<Self>) {
        self.tell_custody(Event::EndBegan);
    }

    /// No worker will come any more.
    pub(crate) fn end_waits(self: &Rc<Self>) {
        self.tell_custody(Event::WaitsEnded);
        self.queue.end();
    }

    /// A worker gives up what it has: its requests finish, its connections move or close.
    pub(crate) fn drain(self: &Rc<Self>, worker: WorkerId, why: DrainReason) {
        self.tell_custody(Event::DrainWanted { worker, why });
    }

    /// Ends what a worker has not finished in time: responses break off, connections close, and
    /// their close events are the last that it hears of them. One that can move does not close: if
    /// its worker does not let go of it, that worker is to be ended.
    pub(crate) fn cut(self: &Rc<Self>, worker: WorkerId) {
        self.break_off_all(worker, "the worker did not finish in time", true);
        self.tell_custody(Event::TimeUp { worker });
    }

    /// The worker's process is gone; its link is read to the end first.
    pub(crate) fn reaped(&self, worker: WorkerId, death: Death) {
        match self.custody.borrow().worker(worker) {
            Some(link) => link.reap(death),
            None => self.news.send(FromThread::Gone { worker }),
        }
    }

    /// A worker's link brings nothing more and takes nothing more.
    pub(crate) fn on_link_ended(self: &Rc<Self>, link: &Link) {
        link.end();
        self.tell_custody(Event::LinkEnded { worker: link.worker });
    }

    /// The worker is gone and its link read to the end: requests fail or are asked again, its
    /// connections go to other workers or close 1011.
    pub(crate) fn bury(self: &Rc<Self>, link: &Rc<Link>) {
        let worker = link.worker;
        // Before its requests end: until its death is known they count as what it had under way.
        self.on_link_ended(link);
        self.break_off_all(worker, "the worker was lost", false);
        self.tell_custody(Event::Died { worker, death: link.death() });
        self.channels.borrow_mut().forget_worker(worker);
        self.measures.bury(link.index, link.tally.sums());
        self.news.send(FromThread::Gone { worker });
    }

    /// The worker has told what it can do.
    pub(crate) fn note_abilities(&self, link: &Link, can: Capabilities) {
        let adopts = can.contains(Capabilities::ADOPT);
        link.cell.adopts.store(adopts, Ordering::Relaxed);
        let continues = can.contains(Capabilities::CONTINUE);
        link.cell.continues.store(continues, Ordering::Relaxed);
    }

    fn look_for_rest(self: &Rc<Self>) {
        let workers: Vec<_> = self
            .custody
            .borrow()
            .workers()
            .map(|(worker, link)| (worker, link.tally.sums().total()))
            .collect();
        for (worker, activity) in workers {
            self.tell_custody(Event::ActivityTold { worker, activity });
        }
    }
}

/// Looks for workers that nobody needs, as long as the thread runs.
pub async fn look_for_rest(router: Rc<Router>) {
    loop {
        let sleep_after = router.settings.get().sleep_after;
        // It may be set by another configuration.
        let pause = sleep_after.map_or(LONGEST_PAUSE, |after| after / 4);
        sleep(pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)).await;
        if sleep_after.is_some() {
            router.look_for_rest();
        }
    }
}
