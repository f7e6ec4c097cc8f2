//! What the owner of a connection knows of its client's slowness.
//!
//! It is told at the end of the turn in which the outbox went over its limit, and answers behind
//! all that it has sent before. What comes until then is forgiven, within bounds. A client may catch
//! up and fall behind again before the first answer is there, so answers are counted: only the last
//! one says that the owner knows of the present pressure.

use shovel_protocol::head::HEADER_BYTES;

/// What a worker may still send after it was told of pressure, beside one message: what its own
/// bound and both socket buffers hold. A message counts as it is on the link, with the frame's header: so
/// many empty ones are bounded too, each of which waits for the client as more than its bytes.
const GRACE_BYTES: usize = 4 * 1024 * 1024;

/// What the owner of a connection was told, and has answered.
#[derive(Debug, Default)]
pub struct Pressure {
    is_on: bool,
    /// What may still come of an owner that does not know yet.
    grace_bytes: usize,
    /// How often it was told and has not answered.
    unanswered: u32,
    /// It found this pressure when it took the connection over; no answer tells when its adopt
    /// handler has ended, which may send all the same.
    was_found: bool,
}

impl Pressure {
    /// Of a connection that a worker takes over.
    pub fn found(is_on: bool, max_message_bytes: usize) -> Self {
        let grace_bytes = max_message_bytes + GRACE_BYTES;
        Pressure { is_on, grace_bytes, unanswered: 0, was_found: is_on }
    }

    /// The client reads too slowly, and its owner is told.
    pub fn begin(&mut self, max_message_bytes: usize) {
        self.is_on = true;
        self.grace_bytes = max_message_bytes + GRACE_BYTES;
        self.unanswered += 1;
    }

    /// The owner is asked to give the connection up. What it sends meanwhile was held back, or comes
    /// from its release handler. That is not the client's fault.
    pub fn let_go(&mut self, max_message_bytes: usize) {
        self.grace_bytes = max_message_bytes + GRACE_BYTES;
        self.was_found = self.is_on;
    }

    /// The client keeps up again.
    pub fn end(&mut self) {
        (self.is_on, self.was_found) = (false, false);
    }

    /// The owner has answered.
    pub fn answered(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// Whether the client reads too slowly.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether a send of so many bytes over the limit is forgiven, since the owner did not know when it
    /// sent it.
    pub fn forgives(&mut self, bytes: usize) -> bool {
        if !self.is_on {
            // Not told yet: that happens at the end of the turn.
            return true;
        }
        let left = self.grace_bytes.checked_sub(bytes.saturating_add(HEADER_BYTES));
        self.grace_bytes = left.unwrap_or(0);
        left.is_some() && (self.unanswered > 0 || self.was_found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: usize = 1000;

    #[test]
    fn what_comes_before_the_answer_is_forgiven_within_bounds_and_what_comes_behind_it_is_not() {
        let mut pressure = Pressure::default();
        assert!(pressure.forgives(usize::MAX));
        pressure.begin(MESSAGE);
        assert!(pressure.forgives(GRACE_BYTES - HEADER_BYTES));
        assert!(pressure.forgives(MESSAGE - HEADER_BYTES));
        assert!(!pressure.forgives(1));
        pressure.begin(MESSAGE);
        pressure.answered();
        pressure.answered();
        assert!(!pressure.forgives(1));
        pressure.end();
        assert!(pressure.forgives(1));
    }

    #[test]
    fn messages_without_bytes_are_not_forgiven_without_end() {
        let mut pressure = Pressure::default();
        pressure.begin(0);
        let forgiven = (0..).take_while(|_| pressure.forgives(0)).count();
        assert_eq!(forgiven, GRACE_BYTES / HEADER_BYTES);
    }

    #[test]
    fn pressure_that_a_worker_finds_is_not_answered() {
        let mut pressure = Pressure::found(true, MESSAGE);
        assert!(pressure.forgives(1));
        pressure.end();
        pressure.begin(MESSAGE);
        pressure.answered();
        assert!(!pressure.forgives(1));
    }

    #[test]
    fn the_answer_to_an_earlier_pressure_does_not_say_that_the_owner_knows_of_this_one() {
        let mut pressure = Pressure::default();
        pressure.begin(MESSAGE);
        pressure.end();
        pressure.begin(MESSAGE);
        pressure.answered();
        assert!(pressure.forgives(1));
        pressure.answered();
        assert!(!pressure.forgives(1));
    }
}
