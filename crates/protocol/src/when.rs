//! When an effect of a worker takes place: the flags STAGED and DURING.

use crate::head::{BadFrame, Frame, flags};

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
