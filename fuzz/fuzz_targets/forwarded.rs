//! What a client, or a proxy that is trusted, says of itself and of its trace: whatever it is, the app
//! sees one answer to each question, and that of a client who is not trusted is none of its own.

#![no_main]

use std::net::{IpAddr, SocketAddr};

use http::header::{
    CONNECTION, FORWARDED, HOST, HeaderName, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use shovel_edge::http::Limits;
use shovel_edge::http1::head;
use shovel_fuzz::edge::{Scripted, Seen, exchange, settings};

const LIMITS: Limits = Limits { max_bytes: 64 * 1024, max_fields: 100 };

fuzz_target!(|input: (bool, &[u8])| {
    let (is_trusted, fields) = input;
    let request = [b"GET / HTTP/1.1\r\nHost: a.test\r\n", fields, b"\r\n\r\n"].concat();
    let Ok(head::Found::Head(before, _)) = head::find(&request, 0, &LIMITS) else { return };
    let script = Box::new(|_: &_| Scripted::default());
    let (heard, seen) = exchange(&request, &[], settings(is_trusted), script);
    assert!(heard.starts_with(b"HTTP/1.1 "));
    let Some(seen) = seen.first() else { return };
    check_hop(seen);
    check_names(&before.headers, &seen.parts.headers, is_trusted);
    check_forwarded(&before.headers, seen, is_trusted);
});

/// Nothing of the hop from the client goes on.
fn check_hop(seen: &Seen) {
    let headers = &seen.parts.headers;
    let others = ["keep-alive", "proxy-connection", "proxy"].map(HeaderName::from_static);
    for name in others.iter().chain([&TRANSFER_ENCODING]) {
        assert!(!headers.contains_key(name), "{name}");
    }
    assert!(headers.get(TE).is_none_or(|te| te == "trailers" && !seen.is_upgrade));
    if !seen.is_upgrade {
        assert!(!headers.contains_key(CONNECTION) && !headers.contains_key(UPGRADE));
    }
    let is_ours = |name: &str| name.replace('_', "-").starts_with("x-forwarded-");
    assert!(!headers.keys().any(|name| name.as_str().contains('_') && is_ours(name.as_str())));
    // It is the app's to judge.
    let _ = headers.get(PROXY_AUTHORIZATION);
}

/// A trace and an id, one of each.
fn check_names(before: &HeaderMap, after: &HeaderMap, is_trusted: bool) {
    let trace = only(after, "traceparent");
    assert!(is_traceparent(trace.as_bytes()), "{trace:?}");
    let mut given = before.get_all("traceparent").iter();
    let first = given.next().filter(|value| is_traceparent(value.as_bytes()));
    match (first, given.next()) {
        (Some(first), None) => assert_eq!(first, trace),
        _ => assert!(!after.contains_key("tracestate")),
    }
    let id = only(after, "x-request-id").as_bytes();
    assert!((1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic));
    if !is_trusted {
        assert!(id.len() == 32 && !before.get_all("x-request-id").iter().any(|own| own == id));
    }
}

/// Trace Context §3.2, written anew. Of what later versions add this much is known: that it can be seen.
fn is_traceparent(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return false;
    }
    let parts: Vec<_> = text.split('-').collect();
    let [version, trace, parent, flags, more @ ..] = &parts[..] else { return false };
    let is_hex = |part: &str, digits: usize| {
        let is_digit = |digit: char| digit.is_ascii_digit() || ('a'..='f').contains(&digit);
        part.len() == digits && part.chars().all(is_digit)
    };
    let is_zero = |part: &str| part.chars().all(|digit| digit == '0');
    let is_known = is_hex(version, 2) && *version != "ff" && (*version != "00" || more.is_empty());
    let is_named = is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2);
    is_known && is_named && !is_zero(trace) && !is_zero(parent)
}

fn check_forwarded(before: &HeaderMap, seen: &Seen, is_trusted: bool) {
    let headers = &seen.parts.headers;
    let forwarded = only(headers, "forwarded").as_bytes();
    let last = forwarded.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
    assert!(last.starts_with(b"for=unknown;proto="), "{}", last.escape_ascii());
    assert!(headers.contains_key("x-forwarded-proto") && headers.contains_key("x-forwarded-host"));
    let proto = only(headers, "x-forwarded-proto").as_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".:-_[]".contains(byte);
    assert!(!proto.is_empty() && proto.iter().all(is_plain), "one, which contradicts nothing");
    assert!(last[b"for=unknown;proto=".len()..].starts_with(proto));
    if is_trusted {
        check_client(before, seen);
        return;
    }
    assert_eq!(seen.peer.address, None);
    assert_eq!(last, b"for=unknown;proto=http;host=\"a.test\"");
    assert_eq!(forwarded, last);
    assert_eq!(only(headers, "x-forwarded-proto"), "http");
    assert_eq!(only(headers, "x-forwarded-host"), before[HOST]);
    let is_known = |name: &str| ["x-forwarded-proto", "x-forwarded-host"].contains(&name);
    let is_claimed = |name: &str| {
        let of_proxies = ["x-real-ip", "x-original-url", "true-client-ip", "x-client-ip"];
        name.starts_with("x-forwarded-") && !is_known(name) || of_proxies.contains(&name)
    };
    assert!(!headers.keys().any(|name| is_claimed(name.as_str())), "{headers:?}");
    assert_eq!(headers.get_all(FORWARDED).iter().count(), 1);
}

/// Whom a trusted proxy speaks for. What `Forwarded` says in quotes is not read anew here.
fn check_client(before: &HeaderMap, seen: &Seen) {
    let of =
        |name: &str| before.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
    let list = of("x-forwarded-for");
    let client = if before.contains_key("x-forwarded-for") {
        client_behind(list.join(&b","[..]).split(|byte| *byte == b','))
    } else {
        let list = of("forwarded").join(&b","[..]);
        if list.contains(&b'"') {
            return;
        }
        client_behind(list.split(|byte| *byte == b',').map(|element| {
            let mut pairs = element.split(|byte| *byte == b';').rev();
            let of_client = pairs.find_map(|pair| {
                let (name, value) = pair.split_at(pair.iter().position(|byte| *byte == b'=')?);
                name.trim_ascii().eq_ignore_ascii_case(b"for").then(|| &value[1..])
            });
            // Whatever is no address.
            of_client.unwrap_or(if element.trim_ascii().is_empty() { element } else { b"-" })
        }))
    };
    assert_eq!(seen.peer.address, client.map(|ip| SocketAddr::new(ip, 0)));
}

/// The last address that is not of the trusted network, or else the first one of those that can be
/// read from the end.
fn client_behind<'a>(list: impl DoubleEndedIterator<Item = &'a [u8]>) -> Option<IpAddr> {
    let mut client = None;
    for one in list.rev().filter(|one| !one.trim_ascii().is_empty()) {
        let text = std::str::from_utf8(one.trim_ascii()).ok();
        let Some(ip) = text.and_then(read_address) else { break };
        client = Some(ip);
        if !matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 10) {
            break;
        }
    }
    client
}

fn read_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let ip = bare.unwrap_or(text).parse::<IpAddr>().ok();
    let ip = ip.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    ip.map(|ip| ip.to_canonical())
}

/// # Panics
/// If it is there more often, or not at all.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> &'a HeaderValue {
    let mut all = headers.get_all(name).iter();
    let one = all.next().unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(all.next(), None, "{name}");
    one
}
