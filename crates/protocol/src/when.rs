//! When an effect of a worker takes place: the flags STAGED and DURING.

use crate::head::{BadFrame, Frame, flags};
use crate::id::{LeaseId, PublishToken};

/// When an effect takes place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum When {
    /// At once.
    #[default]
    Now,
    /// With the next commit of its connection.
    Staged,
    /// At once, though its handler has not ended.
    During,
}

/// Who publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Publisher {
    /// An object of the worker, at once.
    Token(PublishToken),
    /// A handler, as part of what it does to its connection. Nobody in particular, and no answer
    /// is wanted.
    Handler {
        /// Whose handler.
        connection: LeaseId,
        /// [`When::Staged`] or [`When::During`]: with [`When::Now`] the id would be read as a
        /// token.
        when: When,
    },
}

impl When {
    pub(crate) fn to_flags(self) -> u8 {
        match self {
            When::Now => 0,
            When::Staged => flags::STAGED,
            When::During => flags::DURING,
        }
    }

    pub(crate) fn of(name: &'static str, frame: Frame<'_>) -> Result<Self, BadFrame> {
        match (frame.has(flags::STAGED), frame.has(flags::DURING)) {
            (false, false) => Ok(When::Now),
            (true, false) => Ok(When::Staged),
            (false, true) => Ok(When::During),
            (true, true) => Err(BadFrame::Flags { kind: name, why: "STAGED and DURING" }),
        }
    }
}

impl Publisher {
    pub(crate) fn id_and_flags(self) -> (u64, u8) {
        match self {
            Publisher::Token(token) => (token.to_wire(), 0),
            Publisher::Handler { connection, when } => {
                debug_assert!(when != When::Now, "a connection's id would be read as a token");
                (connection.to_wire(), when.to_flags())
            }
        }
    }

    pub(crate) fn of(name: &'static str, frame: Frame<'_>) -> Result<Self, BadFrame> {
        Ok(match When::of(name, frame)? {
            When::Now => Publisher::Token(PublishToken::from_wire(frame.id)),
            when => Publisher::Handler { connection: LeaseId::from_wire(frame.id), when },
        })
    }
}
