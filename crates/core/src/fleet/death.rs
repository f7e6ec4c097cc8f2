//! Whose doing the end of a process was.

use serde::{Deserialize, Serialize};

use super::Exit;

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// What a worker's end says about what it was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Death {
    /// Nothing: we ended it for a reason of ours, or it left in order.
    Ours,
    /// Little: SIGKILL or SIGTERM from somebody else ended it. That may be an operator; but the kernel
    /// also kills a process that takes all memory.
    Killed,
    /// That it may be the reason: it crashed, or exited.
    Fault,
    /// That it may be the reason, and holds up all else: we ended it because it did not answer any
    /// more, or broke off its link.
    Hang,
}

/// What we had told a process when it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// Nothing that ends it.
    #[default]
    Nothing,
    /// That it may leave.
    Leave,
    /// It was killed by us, though it had done nothing wrong.
    Dismissed,
    /// It was killed by us, because it hung or broke off its link.
    Blamed,
}

impl Death {
    /// What an end says after what was told before.
    pub fn of(exit: Exit, told: Told) -> Death {
        match (told, exit) {
            (Told::Dismissed, _) | (Told::Leave, Exit::Code(0)) => Death::Ours,
            (Told::Blamed, _) => Death::Hang,
            (Told::Nothing | Told::Leave, Exit::Signal(SIGKILL | SIGTERM)) => Death::Killed,
            (Told::Nothing | Told::Leave, Exit::Code(_) | Exit::Signal(_)) => Death::Fault,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kills_that_are_not_ours_are_taken_for_kills() {
        const ABORTED: Exit = Exit::Signal(6);
        for (exit, told, death) in [
            (Exit::Signal(SIGKILL), Told::Nothing, Death::Killed),
            (Exit::Signal(SIGTERM), Told::Nothing, Death::Killed),
            (Exit::Signal(SIGKILL), Told::Leave, Death::Killed),
            (Exit::Signal(SIGKILL), Told::Dismissed, Death::Ours),
            (Exit::Signal(SIGKILL), Told::Blamed, Death::Hang),
            (ABORTED, Told::Nothing, Death::Fault),
            (ABORTED, Told::Leave, Death::Fault),
            (Exit::Code(0), Told::Nothing, Death::Fault),
            (Exit::Code(0), Told::Leave, Death::Ours),
            (Exit::Code(1), Told::Leave, Death::Fault),
        ] {
            assert_eq!(Death::of(exit, told), death, "{exit} after {told:?}");
        }
    }
}
