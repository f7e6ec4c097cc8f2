//! Headers that concern one hop only, and those that tell of the hop before.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, FORWARDED, HOST, HeaderName,
    PROXY_AUTHENTICATE, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};

use super::identity::{TRACEPARENT, TRACESTATE, X_REQUEST_ID};
use crate::backend::Peer;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Headers that a `Connection` header takes away from nobody.
const KEPT: [HeaderName; 14] = [
    TE,
    UPGRADE,
    HOST,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    AUTHORIZATION,
    COOKIE,
    FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
    TRACEPARENT,
    TRACESTATE,
    X_REQUEST_ID,
];

/// Whether a request says once which host it means; HTTP/1.0 need not say it (RFC 9112 §3.2).
pub(super) fn names_its_host(version: Version, headers: &HeaderMap) -> bool {
    match headers.get_all(HOST).iter().count() {
        0 => version != Version::HTTP_11,
        count => count == 1,
    }
}

/// Removes what concerns the hop from the client alone (RFC 9110 §7.6.1). `TE: trailers` stays,
/// since trailers are passed on.
pub(super) fn clean_request(headers: &mut HeaderMap) {
    let trailers = headers.get_all(TE).iter().any(|te| has_token(te, "trailers"));
    remove_hop_by_hop(headers);
    headers.remove(UPGRADE);
    headers.remove(TE);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes what concerns the hop to the app alone. A 426 keeps its `Upgrade`, which it must have
/// (RFC 9110 §15.5.22).
pub(super) fn clean_response<Body>(response: &mut Response<Body>) {
    let keeps_upgrade = response.status() == StatusCode::UPGRADE_REQUIRED;
    let headers = response.headers_mut();
    remove_hop_by_hop(headers);
    headers.remove(PROXY_AUTHENTICATE);
    if keeps_upgrade && headers.contains_key(UPGRADE) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    } else {
        headers.remove(UPGRADE);
    }
}

/// Says who the client is, in the usual headers and in that of RFC 7239. What the client says of
/// itself is dropped, since anyone can write it, unless it is a proxy that is trusted: then what it
/// says stands before what is said here.
pub(super) fn set_forwarded(headers: &mut HeaderMap, peer: &Peer, is_trusted: bool) {
    if !is_trusted {
        for name in [X_FORWARDED_FOR, FORWARDED, X_FORWARDED_PROTO, X_FORWARDED_HOST] {
            headers.remove(name);
        }
    }
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    let host = headers.get(HOST).cloned();
    if let Some(host) = &host {
        headers.entry(X_FORWARDED_HOST).or_insert_with(|| host.clone());
    }
    let mut forwarded = String::with_capacity(64);
    // Writing to a `String` does not fail.
    let _ = match peer.address.map(|address| address.ip()) {
        Some(IpAddr::V4(ip)) => write!(forwarded, "for={ip};proto=http"),
        Some(IpAddr::V6(ip)) => write!(forwarded, "for=\"[{ip}]\";proto=http"),
        None => write!(forwarded, "for=unknown;proto=http"),
    };
    // Within quotes only quote and backslash need care (RFC 9110 §5.6.4); no host has them.
    let host = host.as_ref().and_then(|host| host.to_str().ok());
    if let Some(host) = host.filter(|host| !host.contains(['"', '\\'])) {
        let _ = write!(forwarded, ";host=\"{host}\"");
    }
    add(headers, FORWARDED, &forwarded);
    if let Some(address) = peer.address {
        add(headers, X_FORWARDED_FOR, &address.ip().to_string());
    }
}

/// Adds to a list (RFC 9110 §5.3), in one line, which every reader understands.
fn add(headers: &mut HeaderMap, name: HeaderName, last: &str) {
    let mut list = Vec::new();
    for before in headers.get_all(&name) {
        list.extend_from_slice(before.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(last.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&list) {
        headers.insert(name, value);
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        // `TE` and `Upgrade` are looked at by the callers, and must be named here by rule. The
        // others are no options of a connection: naming them only hides them from the app.
        if !KEPT.contains(&name) {
            headers.remove(name);
        }
    }
    for name in [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING] {
        headers.remove(name);
    }
}

fn has_token(value: &HeaderValue, token: &str) -> bool {
    let value = value.to_str().unwrap_or_default();
    value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_host_is_named_once() {
        for (hosts, names_in_11, names_in_10) in
            [(0, false, true), (1, true, true), (2, false, false)]
        {
            let headers = headers(&[("host", "a")].repeat(hosts));
            assert_eq!(names_its_host(Version::HTTP_11, &headers), names_in_11, "{hosts}");
            assert_eq!(names_its_host(Version::HTTP_10, &headers), names_in_10, "{hosts}");
        }
    }

    #[test]
    fn what_concerns_one_hop_goes_no_further() {
        let mut headers = headers(&[
            ("connection", "close, x-secret"),
            ("keep-alive", "timeout=5"),
            ("x-secret", "1"),
            ("te", "trailers, deflate"),
            ("accept", "*/*"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
        ]);
        clean_request(&mut headers);
        assert_eq!(
            headers,
            self::headers(&[
                ("te", "trailers"),
                ("accept", "*/*"),
                ("cookie", "a=1"),
                ("cookie", "b=2"),
            ])
        );
    }

    #[test]
    fn what_a_client_says_of_itself_is_dropped() {
        let mut headers =
            headers(&[("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=6.6.6.6"), ("host", "h")]);
        set_forwarded(&mut headers, &Peer::new(Some("127.0.0.1:5".parse().unwrap())), false);
        assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
        assert_eq!(headers["forwarded"], "for=127.0.0.1;proto=http;host=\"h\"");
        assert_eq!(headers["x-forwarded-host"], "h");
    }

    #[test]
    fn what_a_trusted_proxy_says_stands_before_what_is_said_here() {
        let mut headers = headers(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "7.7.7.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "example.com"),
            ("forwarded", "for=7.7.7.7;proto=https"),
            ("host", "inside"),
        ]);
        set_forwarded(&mut headers, &Peer::new(Some("127.0.0.1:5".parse().unwrap())), true);
        assert_eq!(headers["x-forwarded-for"], "6.6.6.6, 7.7.7.7, 127.0.0.1");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-host"], "example.com");
        let whole = "for=7.7.7.7;proto=https, for=127.0.0.1;proto=http;host=\"inside\"";
        assert_eq!(headers["forwarded"], whole);
    }

    #[test]
    fn a_client_cannot_hide_who_it_is_from_the_app() {
        let mut headers = headers(&[
            ("connection", "x-forwarded-for, x-request-id"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-request-id", "1"),
        ]);
        clean_request(&mut headers);
        assert!(headers.contains_key("x-forwarded-for") && headers.contains_key("x-request-id"));
    }

    #[test]
    fn a_426_keeps_its_upgrade_and_others_lose_it() {
        for (status, kept) in [(426, true), (200, false)] {
            let mut response = Response::builder().status(status).header("upgrade", "websocket");
            let response = response.headers_mut().map(std::mem::take).unwrap_or_default();
            let mut whole = Response::new(());
            *whole.status_mut() = StatusCode::from_u16(status).unwrap();
            *whole.headers_mut() = response;
            clean_response(&mut whole);
            assert_eq!(whole.headers().contains_key(UPGRADE), kept);
        }
    }
}
