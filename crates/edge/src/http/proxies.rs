//! Proxies whose word about their clients is taken, and what they say.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;
use ipnet::IpNet;

use super::headers::X_FORWARDED_FOR;
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

fn trusts_address(proxies: &[Proxy], address: IpAddr) -> bool {
    // A listener on [::] sees clients of IPv4 as ::ffff:a.b.c.d.
    let address = address.to_canonical();
    let is_in = |proxy: &Proxy| matches!(proxy, Proxy::Net(net) if net.contains(&address));
    proxies.iter().any(is_in)
}

/// The client that a chain of trusted proxies speaks for. Each appends to `X-Forwarded-For` the
/// address that has asked it, so the last one that is not a trusted proxy's is the client's. What
/// stands before it is what that client says, and need not even be text. `None` if they do not say.
pub(super) fn client_behind(proxies: &[Proxy], headers: &HeaderMap) -> Option<IpAddr> {
    let lines = headers.get_all(X_FORWARDED_FOR).into_iter().rev();
    let mut client = None;
    for address in lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
        // What stands behind something that is no address cannot be believed.
        let Some(address) = read_address(address) else { break };
        client = Some(address);
        if !trusts_address(proxies, address) {
            break;
        }
    }
    client
}

/// Some proxies tell the port too.
fn read_address(bytes: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> Vec<Proxy> {
        ["10.0.0.0/8", "192.168.1.1", "2001:db8::/32"].map(|text| text.parse().unwrap()).into()
    }

    fn behind(lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            // Each ÿ stands for a byte that is no text.
            let bytes: Vec<_> = line.chars().map(|one| u32::from(one) as u8).collect();
            headers.append(X_FORWARDED_FOR, http::HeaderValue::from_bytes(&bytes).unwrap());
        }
        client_behind(&proxies(), &headers).map(|address| address.to_string())
    }

    #[test]
    fn the_last_address_that_is_no_proxys_is_the_clients() {
        for (lines, client) in [
            (&["6.6.6.6, 7.7.7.7, 10.1.1.1"][..], Some("7.7.7.7")),
            (&["6.6.6.6", "7.7.7.7,10.1.1.1, 192.168.1.1"], Some("7.7.7.7")),
            (&["10.2.2.2, 10.1.1.1"], Some("10.2.2.2")),
            (&["7.7.7.7:80, [2001:db8::1]:443"], Some("7.7.7.7")),
            (&["[2001:db9::1]"], Some("2001:db9::1")),
            (&["6.6.6.6, unknown, 10.1.1.1"], Some("10.1.1.1")),
            (&["nonsense"], None),
            (&["ÿ, 7.7.7.7"], Some("7.7.7.7")),
            (&["ÿ", "6.6.6.6, 7.7.7.7, 10.1.1.1"], Some("7.7.7.7")),
            (&["7.7.7.7, ÿ, 10.1.1.1"], Some("10.1.1.1")),
            (&["7.7.7.7, , 10.1.1.1"], Some("10.1.1.1")),
            (&["7.7.7.7", "ÿ"], None),
            (&["::ffff:7.7.7.7, ::ffff:10.1.1.1"], Some("7.7.7.7")),
            (&["[[::1]]"], None),
            (&[], None),
        ] {
            assert_eq!(behind(lines).as_deref(), client, "{lines:?}");
        }
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
