//! The side of a connection that is written to, and how it ends.
//!
//! A client takes the end of our side for the end of what ends with the connection (RFC 9112 §6.3). So
//! until that is whole, the connection can only end with a reset, whoever ends it: its task, its
//! deadlines, or the system for a process that is gone.

use crate::transport::WriteHalf;

/// Until we have ended.
pub(super) struct Writing {
    half: Option<WriteHalf>,
    /// What goes out ends with the connection, and is not whole.
    is_open_ended: bool,
}

impl Writing {
    pub(super) fn new(half: WriteHalf) -> Self {
        Writing { half: Some(half), is_open_ended: false }
    }

    pub(super) fn half(&self) -> Option<&WriteHalf> {
        self.half.as_ref()
    }

    /// What goes out from now on ends with the connection.
    pub(super) fn begin_open_ended(&mut self) {
        self.set_open_ended(true);
    }

    /// All of it has gone out.
    pub(super) fn note_whole(&mut self) {
        if self.is_open_ended {
            self.set_open_ended(false);
        }
    }

    /// Whether its end would look like the end of what went out before.
    pub(super) fn is_open_ended(&self) -> bool {
        self.is_open_ended
    }

    /// Ends our side.
    pub(super) fn end(&mut self) {
        self.half = None;
    }

    /// For what is spoken next.
    pub(super) fn take(&mut self) -> Option<WriteHalf> {
        self.half.take()
    }

    fn set_open_ended(&mut self, is_open_ended: bool) {
        self.is_open_ended = is_open_ended;
        if let Some(half) = &self.half {
            half.reset_at_close(is_open_ended);
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if self.is_open_ended
            && let Some(half) = self.half.take()
        {
            half.abandon();
        }
    }
}
