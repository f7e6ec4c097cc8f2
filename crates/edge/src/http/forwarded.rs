//! What trusted proxies say of a request: who its client is, how it asked, and for which host.
//!
//! Each proxy adds to the end of a list what it has seen, so lists are read from the end: past what is
//! said of trusted proxies to what is said of the client. What stands before that is its own word.

use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::headers::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};
use super::proxies::{Proxy, trusts_address};

/// What a client can have asked by.
const SCHEMES: [&str; 4] = ["http", "https", "ws", "wss"];

/// What they say; `None` of what they do not say, or not in a way that can be believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) client: Option<IpAddr>,
    pub(super) proto: Option<HeaderValue>,
    pub(super) host: Option<HeaderValue>,
}

/// Reads it from the `X-Forwarded-` headers, and of each that is not there from `Forwarded`.
pub(super) fn told(proxies: &[Proxy], headers: &HeaderMap) -> Told {
    let (client, hop) = if headers.contains_key(X_FORWARDED_FOR) {
        client_behind(proxies, from_end(headers, &X_FORWARDED_FOR).map(text))
    } else {
        let elements = from_end(headers, &FORWARDED);
        client_behind(proxies, elements.map(|element| parameter(element, "for")))
    };
    let at_hop = |name: &HeaderName, of_forwarded: &str| {
        let said = if headers.contains_key(name) {
            text(nth_from_end(headers, name, hop)?)
        } else {
            parameter(nth_from_end(headers, &FORWARDED, hop)?, of_forwarded)
        };
        said.filter(|said| is_one(said))?.parse().ok()
    };
    let proto: Option<HeaderValue> = at_hop(&X_FORWARDED_PROTO, "proto");
    let proto = proto.filter(|proto| SCHEMES.iter().any(|scheme| proto == scheme));
    Told { client, proto, host: at_hop(&X_FORWARDED_HOST, "host") }
}

/// The last address that is not a trusted proxy's, and how many are said behind it. What stands behind
/// something that is no address cannot be believed.
fn client_behind<'a>(
    proxies: &[Proxy],
    from_end: impl Iterator<Item = Option<&'a str>>,
) -> (Option<IpAddr>, usize) {
    let (mut client, mut hop) = (None, 0);
    for (at, address) in from_end.enumerate() {
        let Some(address) = address.and_then(read_address) else { break };
        (client, hop) = (Some(address), at);
        if !trusts_address(proxies, address) {
            break;
        }
    }
    (client, hop)
}

/// Some proxies tell the port too.
fn read_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

/// Whether this is a scheme, or a host with or without a port, and can stand in a header as it is.
fn is_one(text: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b".:-_[]".contains(&byte);
    !text.is_empty() && text.bytes().all(is_fine)
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// What an element of `Forwarded` says under this name (RFC 7239 §4), if it needs no escapes.
fn parameter<'a>(element: &'a [u8], name: &str) -> Option<&'a str> {
    split_from_end(element, b';').into_iter().find_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (own, value) = (pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii());
        let bare = match value {
            [b'"', bare @ .., b'"'] => bare,
            _ => value,
        };
        text(bare).filter(|_| own.eq_ignore_ascii_case(name.as_bytes()))
    })
}

/// So many elements from the end; if there are fewer, the first.
fn nth_from_end<'a>(headers: &'a HeaderMap, name: &HeaderName, hop: usize) -> Option<&'a [u8]> {
    from_end(headers, name).take(hop + 1).last()
}

/// The elements of a list, over all lines, the last one first.
fn from_end<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).into_iter().rev();
    let elements = lines.flat_map(|line| split_from_end(line.as_bytes(), b','));
    elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Cuts where this stands outside of quotes (RFC 9110 §5.6.4), the last part first. Quotes are told from
/// the end, too: one that a client leaves open takes nothing of what a proxy adds behind it.
fn split_from_end(bytes: &[u8], separator: u8) -> Vec<&[u8]> {
    let (mut parts, mut end, mut is_quoted) = (Vec::new(), bytes.len(), false);
    for (at, byte) in bytes.iter().enumerate().rev() {
        if *byte == b'"' && !is_escaped(&bytes[..at]) {
            is_quoted = !is_quoted;
        } else if *byte == separator && !is_quoted {
            parts.push(&bytes[at + 1..end]);
            end = at;
        }
    }
    parts.push(&bytes[..end]);
    parts
}

/// Whether what stands behind these bytes is escaped by them.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[(&'static str, &str)]) -> [String; 3] {
        let proxies = ["10.0.0.0/8", "192.168.1.1", "2001:db8::/32"];
        let proxies = proxies.map(|text| text.parse().unwrap());
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            // Each ÿ stands for a byte that is no text.
            let bytes: Vec<_> = line.chars().map(|one| u32::from(one) as u8).collect();
            headers.append(*name, HeaderValue::from_bytes(&bytes).unwrap());
        }
        let Told { client, proto, host } = super::told(&proxies, &headers);
        let plain = |value: Option<HeaderValue>| {
            value.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        let client = client.map(|address| address.to_string()).unwrap_or_default();
        [client, plain(proto), plain(host)]
    }

    fn client(lines: &[&str]) -> String {
        let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        let [client, _, _] = told(&lines);
        client
    }

    /// D170.
    #[test]
    fn the_last_address_that_is_no_proxys_is_the_clients() {
        for (lines, expected) in [
            (&["6.6.6.6, 7.7.7.7, 10.1.1.1"][..], "7.7.7.7"),
            (&["6.6.6.6", "7.7.7.7,10.1.1.1, 192.168.1.1"], "7.7.7.7"),
            (&["10.2.2.2, 10.1.1.1"], "10.2.2.2"),
            (&["7.7.7.7:80, [2001:db8::1]:443"], "7.7.7.7"),
            (&["[2001:db9::1]"], "2001:db9::1"),
            (&["6.6.6.6, unknown, 10.1.1.1"], "10.1.1.1"),
            (&["nonsense"], ""),
            (&["ÿ, 7.7.7.7"], "7.7.7.7"),
            (&["ÿ", "6.6.6.6, 7.7.7.7, 10.1.1.1"], "7.7.7.7"),
            (&["7.7.7.7, ÿ, 10.1.1.1"], "10.1.1.1"),
            (&["7.7.7.7, , 10.1.1.1,"], "7.7.7.7"),
            (&["7.7.7.7", "ÿ"], ""),
            (&["::ffff:7.7.7.7, ::ffff:10.1.1.1"], "7.7.7.7"),
            (&["[[::1]]"], ""),
            (&[], ""),
        ] {
            assert_eq!(client(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn how_and_for_which_host_is_read_where_the_client_is() {
        let (xff, proto, host) = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host");
        for (lines, expected) in [
            (&[(xff, "7.7.7.7"), (proto, "https"), (host, "a.test:8")][..], ["https", "a.test:8"]),
            // A client's own word, before that of a proxy that adds to it.
            (
                &[(xff, "6.6.6.6, 7.7.7.7"), (proto, "https, http"), (host, "evil, a")],
                ["http", "a"],
            ),
            (&[(xff, "7.7.7.7"), (host, "evil"), (host, "a")], ["", "a"]),
            // Two proxies.
            (&[(xff, "7.7.7.7, 10.1.1.1"), (proto, "https, http"), (host, "a, b")], ["https", "a"]),
            // The inner one sets what it knows.
            (&[(xff, "7.7.7.7, 10.1.1.1"), (proto, "https"), (host, "a")], ["https", "a"]),
            (&[(proto, "h;t"), (host, "a b")], ["", ""]),
            (&[(proto, "javascript"), (host, "a")], ["", "a"]),
            (&[(proto, ""), (host, "ÿ")], ["", ""]),
        ] {
            let [_, proto, host] = told(lines);
            assert_eq!([&proto[..], &host], expected, "{lines:?}");
        }
    }

    #[test]
    fn forwarded_tells_what_no_other_header_does() {
        for (line, expected) in [
            ("for=7.7.7.7;proto=https;host=a.test", ["7.7.7.7", "https", "a.test"]),
            ("For=\"[2001:db9::1]:80\" ; Proto=https", ["2001:db9::1", "https", ""]),
            (
                "for=6.6.6.6;proto=ftp, for=7.7.7.7;proto=https, for=10.1.1.1",
                ["7.7.7.7", "https", ""],
            ),
            ("for=unknown;proto=https", ["", "https", ""]),
            // Within quotes nothing is cut, nor behind one that is left open.
            ("for=7.7.7.7;proto=http;host=\"x,proto=https;host=evil\"", ["7.7.7.7", "http", ""]),
            ("for=6.6.6.6;proto=https;x=\", for=7.7.7.7;host=\"a\"", ["7.7.7.7", "", "a"]),
            ("for=7.7.7.7;host=\"a\\\"b;proto=https\"", ["7.7.7.7", "", ""]),
            ("\"", ["", "", ""]),
        ] {
            assert_eq!(told(&[("forwarded", line)]), expected, "{line}");
        }
        let lines =
            [("forwarded", "for=6.6.6.6;proto=http;host=b"), ("x-forwarded-for", "7.7.7.7")];
        assert_eq!(told(&lines), ["7.7.7.7", "http", "b"]);
    }
}
