//! Handles events in the turn of a link's reader.
//!
//! A handler is polled once in place: most end there. Only one that does not becomes a task, and
//! the next events of its connection wait until it has ended; the task then goes on with them.
//!
//! Messages of one connection often come one behind the other. Handled in place they are a *row*:
//! the connection stays begun between them, and one commit at the end is for all, so that what a
//! message costs is its handler and no lock around it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use shovel_core::tenure::Outcome;

use super::caught::{Caught, Failure, catch_panic};
use super::dispatch::{Dispatch, Handling};
use super::tenure::{Event, Next};
use crate::event::Arrived;
use crate::seat::Seat;
use crate::{Connection, MessageEvent};

/// What a link's reader hands events to.
pub(crate) struct InPlace<S> {
    dispatch: Arc<Dispatch<S>>,
    /// Of the last message's handler, for the next.
    seat: Option<Pin<Box<dyn Seat<MessageEvent<S>>>>>,
    row: Option<Row>,
}

/// Messages whose handlers have ended and are not committed yet. Only of a plain connection: what
/// they have done is on its way already.
struct Row {
    connection: Connection,
    handled: u64,
}

impl<S: Send + Sync + 'static> InPlace<S> {
    pub(crate) fn new(dispatch: Arc<Dispatch<S>>) -> Self {
        InPlace { dispatch, seat: None, row: None }
    }

    /// Handles a message, after what came before it on its connection. It may leave a row open:
    /// before anything but a message is handled, and when nothing more has arrived, the reader calls
    /// [`InPlace::end_row`].
    #[inline]
    pub(crate) fn message(&mut self, connection: &Connection, arrived: Box<Arrived>) {
        if self.row.as_ref().is_some_and(|row| row.is_open_for(connection)) {
            return self.handle_message(connection, arrived);
        }
        self.end_row();
        match connection.tenure.begin(Event::Message(arrived)) {
            Some(Next::Handle(Event::Message(arrived))) => self.handle_message(connection, arrived),
            Some(other) => self.handle(connection, other),
            None => {}
        }
    }

    /// Handles an event, after those before it on its connection.
    pub(crate) fn deliver(&mut self, connection: &Connection, event: Event) {
        if let Some(next) = connection.tenure.begin(event) {
            self.handle(connection, next);
        }
    }

    /// Gives a connection back, after the handler that runs.
    pub(crate) fn release(&mut self, connection: &Connection) {
        if let Some(next) = connection.tenure.release() {
            self.handle(connection, next);
        }
    }

    /// Commits what was handled in a row.
    #[inline]
    pub(crate) fn end_row(&mut self) {
        if let Some(Row { connection, handled }) = self.row.take() {
            let next = connection.tenure.end_row(handled);
            self.go_on(&connection, next);
        }
    }

    #[inline]
    fn handle_message(&mut self, connection: &Connection, arrived: Box<Arrived>) {
        let seq = arrived.seq;
        let outcome = match self.poll_message(connection, arrived) {
            Ok(outcome) => outcome,
            Err(waiting) => {
                if let Some(row) = self.row.take() {
                    row.connection.tenure.row_waits(row.handled, seq);
                }
                return self.dispatch.spawn(connection.clone(), waiting);
            }
        };
        match &mut self.row {
            Some(row) => row.handled = seq,
            None if connection.tenure.is_plain() => {
                self.row = Some(Row { connection: connection.clone(), handled: seq });
            }
            None => {
                let next = connection.tenure.end(outcome);
                self.go_on(connection, next);
            }
        }
    }

    /// How the handler has ended; or the handler, if it has not.
    // As docs/decisions/0019 has it.
    #[inline(always)]
    fn poll_message(
        &mut self,
        connection: &Connection,
        arrived: Box<Arrived>,
    ) -> Result<Outcome, Handling> {
        let Some(new_seat) = &self.dispatch.handlers.message else { return Ok(Outcome::Done) };
        let event = MessageEvent::new(self.dispatch.context.clone(), arrived);
        let mut seat = self.seat.take().unwrap_or_else(new_seat);
        let polled = catch_panic(|| {
            seat.as_mut().call(event);
            seat.as_mut().poll(&mut in_place())
        });
        let result = match polled {
            Ok(Poll::Pending) => {
                return Err(Handling { handler: Some(Caught::Running(seat)), name: "message" });
            }
            Ok(Poll::Ready(result)) => {
                self.seat = Some(seat);
                result.map_err(Failure::Error)
            }
            Err(text) => {
                // Of the two panics the first says more.
                let _again = catch_panic(|| drop(seat));
                Err(Failure::Panic(text))
            }
        };
        Ok(self.dispatch.outcome(connection, "message", result))
    }

    fn go_on(&mut self, connection: &Connection, next: Option<Next>) {
        if let Some(next) = next {
            self.handle(connection, next);
        }
    }

    fn handle(&mut self, connection: &Connection, next: Next) {
        let mut next = Some(next);
        while let Some(now) = next {
            match self.poll(connection, now) {
                Ok(outcome) => next = connection.tenure.end(outcome),
                Err(waiting) => return self.dispatch.spawn(connection.clone(), waiting),
            }
        }
    }

    /// As [`InPlace::poll_message`], of any event.
    fn poll(&mut self, connection: &Connection, next: Next) -> Result<Outcome, Handling> {
        if let Next::Handle(Event::Message(arrived)) = next {
            return self.poll_message(connection, arrived);
        }
        let mut handling = self.dispatch.call(connection, next);
        match self.dispatch.poll(connection, &mut handling, &mut in_place()) {
            Poll::Pending => Err(handling),
            Poll::Ready(outcome) => Ok(outcome),
        }
    }
}

/// Nobody is woken: what waits becomes a task, which is polled again.
fn in_place() -> TaskContext<'static> {
    TaskContext::from_waker(Waker::noop())
}

impl Row {
    fn is_open_for(&self, connection: &Connection) -> bool {
        Arc::ptr_eq(&self.connection.tenure, &connection.tenure) && connection.tenure.is_plain()
    }
}
