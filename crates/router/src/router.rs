//! Everything that an I/O thread has, each part the business of one room.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use shovel_core::channels::Channels;
use shovel_core::custody::Moment;
use shovel_core::slots::Slots;
use shovel_edge::{Pot, Turn};
use tokio::time::Instant;

use crate::counts::Measures;
use crate::custody::state::{Alarm, ThreadCustody};
use crate::driver::news::NewsSender;
use crate::fanout::crossing::Sender;
use crate::fanout::publisher::{Publisher, Share};
use crate::requests::queue::RequestQueue;
use crate::requests::table::Request;
use crate::settings::Settings;

/// The state of an I/O thread. Its parts are borrowed one at a time and never across an `await`.
pub struct Router {
    pub(crate) settings: Cell<Settings>,
    /// Whether each end of a connection is told, not only to those who look for faults.
    pub(crate) access_log: Cell<bool>,
    pub(crate) turn: Turn,
    pub(crate) news: NewsSender,
    /// Who has which connection, and all that is kept of clients and workers.
    pub(crate) custody: RefCell<ThreadCustody>,
    pub(crate) alarm: Alarm,
    pub(crate) requests: RefCell<Slots<Request>>,
    /// Requests that no worker has yet.
    pub(crate) queue: RequestQueue,
    /// Messages that are kept.
    pub(crate) kept: Pot,
    pub(crate) channels: RefCell<Channels>,
    pub(crate) publisher: Publisher,
    pub(crate) measures: Measures,
    began: Instant,
}

impl Router {
    pub fn new(turn: Turn, settings: Settings, news: NewsSender, crossing: Sender) -> Rc<Self> {
        let thread = crossing.thread as u32;
        let router = Rc::new_cyclic(|me: &Weak<Router>| {
            let share: Weak<dyn Share> = me.clone();
            let mut channels = Channels::default();
            channels.limit(settings.channels);
            Router {
                settings: Cell::new(settings),
                access_log: Cell::new(false),
                turn: turn.clone(),
                news,
                custody: RefCell::new(ThreadCustody::new(thread, settings.of_custody())),
                alarm: Alarm::default(),
                requests: RefCell::default(),
                queue: RequestQueue::default(),
                kept: turn.ledger().pot(),
                channels: RefCell::new(channels),
                publisher: Publisher::new(share, turn, crossing),
                measures: Measures::default(),
                began: Instant::now(),
            }
        });
        router.limit_memory();
        router
    }

    /// How much clients may make this thread hold, and how much of it may be messages that are kept.
    pub(crate) fn limit_memory(&self) {
        let limit = self.settings.get().client_memory_bytes;
        self.turn.ledger().limit(limit);
        self.custody.borrow_mut().limit_kept(limit / 4);
    }

    /// Now, as custody counts.
    pub(crate) fn now(&self) -> Moment {
        Moment(self.began.elapsed())
    }

    pub(crate) fn instant(&self, moment: Moment) -> Instant {
        self.began + moment.0
    }
}
