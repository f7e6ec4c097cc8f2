//! Headers that concern one hop only, and those that tell of the hop before.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, FORWARDED, HOST, HeaderName,
    PROXY_AUTHENTICATE, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};

use crate::backend::Client;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

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
/// itself is dropped: anyone can write it.
pub(super) fn set_forwarded(headers: &mut HeaderMap, client: &Client) {
    headers.remove(X_FORWARDED_FOR);
    headers.remove(FORWARDED);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    let host = headers.get(HOST).cloned();
    match &host {
        Some(host) => headers.insert(X_FORWARDED_HOST, host.clone()),
        None => headers.remove(X_FORWARDED_HOST),
    };
    let mut forwarded = String::with_capacity(64);
    // Writing to a `String` does not fail.
    let _ = match client.address.map(|address| address.ip()) {
        Some(IpAddr::V4(ip)) => write!(forwarded, "for={ip};proto=http"),
        Some(IpAddr::V6(ip)) => write!(forwarded, "for=\"[{ip}]\";proto=http"),
        None => write!(forwarded, "for=unknown;proto=http"),
    };
    // Within quotes only quote and backslash need care (RFC 9110 §5.6.4); no host has them.
    let host = host.as_ref().and_then(|host| host.to_str().ok());
    if let Some(host) = host.filter(|host| !host.contains(['"', '\\'])) {
        let _ = write!(forwarded, ";host=\"{host}\"");
    }
    if let Ok(value) = HeaderValue::try_from(forwarded) {
        headers.insert(FORWARDED, value);
    }
    if let Some(address) = client.address
        && let Ok(value) = HeaderValue::try_from(address.ip().to_string())
    {
        headers.insert(X_FORWARDED_FOR, value);
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
        if ![TE, UPGRADE, HOST, CONTENT_LENGTH, CONTENT_TYPE, AUTHORIZATION, COOKIE].contains(&name)
        {
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
        set_forwarded(&mut headers, &Client::new(Some("127.0.0.1:5".parse().unwrap())));
        assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
        assert_eq!(headers["forwarded"], "for=127.0.0.1;proto=http;host=\"h\"");
        assert_eq!(headers["x-forwarded-host"], "h");
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
