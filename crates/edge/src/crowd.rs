//! How many clients come from one address, over all threads.
//!
//! Asked when a client comes and when it goes, and only if there is a limit: nothing on the way of
//! a message or request waits for the lock.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The clients of all threads by address; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Crowd(Arc<Mutex<HashMap<IpAddr, u32>>>);

/// One of the clients of an address, until it is dropped.
#[derive(Debug)]
pub(crate) struct Member {
    crowd: Crowd,
    address: IpAddr,
}

impl Crowd {
    /// Counts one more client, unless there are `limit` already.
    pub(crate) fn enter(&self, address: IpAddr, limit: u32) -> Option<Member> {
        let address = household(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Member { crowd: self.clone(), address })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut counts = self.crowd.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// Whoever has one address of IPv6 has the 2^64 of its network.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_is_counted_no_more_and_then_costs_nothing() {
        let crowd = Crowd::default();
        let enter = |address: &str| crowd.enter(address.parse().unwrap(), 2);
        let (first, _second) = (enter("1.2.3.4"), enter("::ffff:1.2.3.4"));
        assert!(first.is_some() && enter("1.2.3.4").is_none());
        assert!(enter("1.2.3.5").is_some());
        drop(first);
        assert!(enter("1.2.3.4").is_some());
        let same = (enter("2001:db8::1"), enter("2001:db8::2"));
        assert!(enter("2001:db8::3").is_none(), "{same:?}");
        assert!(enter("2001:db8:0:1::1").is_some());
        drop((same, _second));
        assert!(crowd.0.lock().unwrap().is_empty());
    }
}
