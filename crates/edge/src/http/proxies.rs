//! Proxies whose word about their clients is taken.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::backend::Peer;

/// Proxies that are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// Those with an address in this network.
    Net(IpNet),
    /// Whoever connects to a Unix socket.
    Unix,
}

impl FromStr for Proxy {
    type Err = &'static str;

    /// Reads a network (`10.0.0.0/8`), an address, or `unix`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "unix" {
            return Ok(Proxy::Unix);
        }
        let address = || text.parse().map(|address: IpAddr| IpNet::from(address));
        let expected = "a proxy is a network such as 10.0.0.0/8, an address, or unix";
        text.parse().or_else(|_| address()).map(Proxy::Net).map_err(|_| expected)
    }
}

/// Whether somebody's word is taken.
pub(crate) fn trusts(proxies: &[Proxy], peer: &Peer) -> bool {
    match peer.address {
        Some(address) => trusts_address(proxies, address.ip()),
        None => proxies.contains(&Proxy::Unix),
    }
}

pub(super) fn trusts_address(proxies: &[Proxy], address: IpAddr) -> bool {
    // A listener on [::] sees clients of IPv4 as ::ffff:a.b.c.d.
    let address = address.to_canonical();
    let is_in = |proxy: &Proxy| matches!(proxy, Proxy::Net(net) if net.contains(&address));
    proxies.iter().any(is_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> Vec<Proxy> {
        ["10.0.0.0/8", "192.168.1.1", "2001:db8::/32"].map(|text| text.parse().unwrap()).into()
    }

    #[test]
    fn proxies_are_trusted_by_network_and_a_mapped_address_is_one_of_ipv4() {
        for (address, is_trusted) in [
            ("10.9.8.7:1", true),
            ("[::ffff:10.9.8.7]:1", true),
            ("192.168.1.1:1", true),
            ("192.168.1.2:1", false),
            ("[2001:db8::5]:1", true),
            ("[::1]:1", false),
        ] {
            let peer = Peer::new(Some(address.parse().unwrap()));
            assert_eq!(trusts(&proxies(), &peer), is_trusted, "{address}");
        }
        assert!(!trusts(&proxies(), &Peer::new(None)));
        assert!(trusts(&[Proxy::Unix], &Peer::new(None)));
        for wrong in ["", "10.0.0.0/33", "localhost", "10.0.0"] {
            assert!(wrong.parse::<Proxy>().is_err(), "{wrong}");
        }
    }
}
