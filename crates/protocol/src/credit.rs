//! Byte credit for bodies: how much may be under way before the other end has consumed some.
//!
//! Each request has one [`Credit`] at the sending end and one [`Grants`] at the receiving end, in
//! each direction. Both start from the window that `hello` names.

/// What may still be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credit {
    available_bytes: u64,
}

impl Credit {
    /// A full window.
    pub fn new(window_bytes: u32) -> Self {
        Credit { available_bytes: window_bytes.into() }
    }

    /// Bytes that may be sent now.
    pub fn available_bytes(&self) -> usize {
        usize::try_from(self.available_bytes).unwrap_or(usize::MAX)
    }

    /// Takes `bytes` for something that is sent. Never goes below zero: whoever sends more than
    /// is available has looked at [`Credit::available_bytes`] wrongly.
    pub fn spend(&mut self, bytes: usize) {
        debug_assert!(bytes as u64 <= self.available_bytes);
        self.available_bytes = self.available_bytes.saturating_sub(bytes as u64);
    }

    /// Adds what a `credit` frame grants.
    pub fn grant(&mut self, bytes: u32) {
        self.available_bytes = self.available_bytes.saturating_add(bytes.into());
    }
}

/// What the receiving end owes the sender: collected, so that one frame grants for many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    owed_bytes: u32,
    window_bytes: u32,
    received_bytes: u64,
    granted_bytes: u64,
}

impl Grants {
    /// Nothing received yet.
    pub fn new(window_bytes: u32) -> Self {
        Grants {
            owed_bytes: 0,
            window_bytes,
            received_bytes: 0,
            granted_bytes: window_bytes.into(),
        }
    }

    /// Notes bytes that have arrived. `false` if the sender had no credit for them.
    pub fn receive(&mut self, bytes: usize) -> bool {
        self.received_bytes += bytes as u64;
        self.received_bytes <= self.granted_bytes
    }

    /// Notes bytes that have been consumed; returns a grant to send once half a window is owed.
    pub fn consume(&mut self, bytes: usize) -> Option<u32> {
        self.owed_bytes = self.owed_bytes.saturating_add(bytes as u32);
        if self.owed_bytes < self.window_bytes / 2 {
            return None;
        }
        self.granted_bytes += u64::from(self.owed_bytes);
        Some(std::mem::take(&mut self.owed_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_comes_back_by_grants() {
        let (mut credit, mut grants) = (Credit::new(100), Grants::new(100));
        for _ in 0..1000 {
            let bytes = credit.available_bytes().min(30);
            assert!(bytes > 0, "credit ran dry though everything was consumed");
            credit.spend(bytes);
            assert!(grants.receive(bytes));
            if let Some(grant) = grants.consume(bytes) {
                credit.grant(grant);
            }
        }
    }

    #[test]
    fn a_sender_without_credit_is_noticed() {
        let mut grants = Grants::new(100);
        assert!(grants.receive(100));
        assert!(!grants.receive(1));
    }
}
