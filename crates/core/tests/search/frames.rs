//! What the links of the small world carry: the frames of a connection, without their bytes.

use shovel_core::custody::Attachment;
use shovel_protocol::LeaseId;

/// What the app knows of a connection, and what its attachment holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AppState {
    /// Messages handled, which are all up to this number.
    pub handled: u8,
    /// What tasks beside the handlers, the adopt handler and the release hook have added.
    pub ticks: u8,
}

/// Something that is done to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The answer to a message, with what the app knew after it.
    Send {
        message: u8,
        handled: u8,
    },
    /// Part of the answer to a message, before its handler ends.
    Flushed(u8),
    Attach(AppState),
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ToWorker {
    To {
        /// Whose it truly is.
        connection: u8,
        lease: LeaseId,
        frame: Down,
    },
    Shutdown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Down {
    /// `http:request`.
    Request,
    /// `http:cancel`.
    Cancel,
    Gone,
    Message(Marked),
    Close(Marked),
    Release,
    Revoke,
    Adopt {
        state: AppState,
        committed: u8,
        pressed: bool,
    },
    Pressure {
        over: bool,
    },
}

/// An event's number and marks. The number of a message is also what the client wrote into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Marked {
    pub seq: u8,
    pub redelivered: bool,
    pub partial: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ToSupervisor {
    /// Whose it truly is.
    pub connection: u8,
    pub lease: LeaseId,
    pub frame: Up,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Up {
    Upgrade {
        portable: bool,
        acts: Vec<Effect>,
    },
    Staged(Effect),
    /// `during`: a flush in a running handler.
    Now {
        effect: Effect,
        during: bool,
    },
    /// A send with the flag LAST.
    Last(Effect),
    /// `panicked`: its handler has, which no frame says.
    Commit {
        seq: u8,
        panicked: bool,
    },
    Adopted,
    Refused,
    Released {
        handled: u8,
        started: u8,
    },
    /// It knows that the client reads too slowly.
    Pressed,
}

impl AppState {
    pub fn to_attachment(self) -> Attachment {
        Attachment { version: 1, data: Box::new([self.handled, self.ticks]) }
    }

    pub fn of(attachment: &Attachment) -> Self {
        AppState { handled: attachment.data[0], ticks: attachment.data[1] }
    }
}
