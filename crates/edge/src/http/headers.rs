//! Headers that concern one hop only, and those that tell of the hop before.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, FORWARDED, HOST, HeaderName,
    PROXY_AUTHENTICATE, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::forwarded::Told;
use super::identity::{TRACEPARENT, TRACESTATE, X_REQUEST_ID};
use crate::backend::Peer;
use crate::lists;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Headers that a `Connection` header takes away from nobody.
const KEPT: [HeaderName; 18] = [
    TE,
    UPGRADE,
    SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION,
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

/// Headers that concern one hop, whether `Connection` names them or not.
const OF_ONE_HOP: [HeaderName; 4] = [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING];

/// Headers by which proxies tell whose request it was and what it asked for.
const OF_PROXIES: [&str; 15] = [
    "ali-cdn-real-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "client-ip",
    "do-connecting-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded",
    "forwarded-for",
    "front-end-https",
    "proxy-client-ip",
    "remote-user",
    "ssl-client-cert",
    "true-client-ip",
    "wl-proxy-client-ip",
];

/// The same of those that begin with `x-`, beside `x-forwarded-`.
const X_OF_PROXIES: [&str; 22] = [
    "appengine-user-ip",
    "azure-clientip",
    "client-cert",
    "client-ip",
    "cluster-client-ip",
    "envoy-external-address",
    "envoy-original-path",
    "forwarded",
    "host",
    "http-host-override",
    "original-host",
    "original-url",
    "originating-ip",
    "proxyuser-ip",
    "real-ip",
    "remote-addr",
    "remote-ip",
    "remote-user",
    "rewrite-url",
    "scheme",
    "url-scheme",
    "vercel-forwarded-for",
];

/// Removes what concerns the hop from the client alone (RFC 9110 §7.6.1). `TE: trailers` stays,
/// since trailers are passed on.
pub(super) fn clean_request(headers: &mut HeaderMap) {
    let trailers = lists::names(headers, &TE, "trailers");
    remove_hop_by_hop(headers);
    headers.remove(UPGRADE);
    headers.remove(TE);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes from an upgrade what concerns the hop from the client alone; what makes it an upgrade stays.
pub(super) fn clean_upgrade(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    headers.remove(TE);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
}

/// Removes what concerns the hop to the app alone. A 426 keeps its `Upgrade`, which it must have
/// (RFC 9110 §15.5.22).
pub(super) fn clean_response<Body>(response: &mut Response<Body>) {
    let keeps_upgrade = response.status() == StatusCode::UPGRADE_REQUIRED;
    let headers = response.headers_mut();
    remove_hop_by_hop(headers);
    headers.remove(PROXY_AUTHENTICATE);
    headers.remove(TE);
    if keeps_upgrade && headers.contains_key(UPGRADE) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    } else {
        headers.remove(UPGRADE);
    }
}

/// Says who the client is, in the usual headers and in that of RFC 7239. What the client says of
/// itself is dropped, since anyone can write it, unless it is a proxy that is trusted, which has `told`
/// something: then what it says of clients stands before what is said here, and how and whom it was
/// asked holds in every header, so that none contradicts another.
pub(super) fn set_forwarded(headers: &mut HeaderMap, peer: &Peer, told: Option<Told>) {
    drop_unbelieved(headers, told.is_some());
    let Told { proto, host, .. } = told.unwrap_or_default();
    let proto = proto.unwrap_or(HeaderValue::from_static("http"));
    let host = host.or_else(|| headers.get(HOST).cloned());
    add(headers, FORWARDED, &element(peer, &proto, host.as_ref()));
    headers.insert(X_FORWARDED_PROTO, proto);
    if let Some(host) = host {
        headers.insert(X_FORWARDED_HOST, host);
    }
    if let Some(ip) = peer.ip() {
        add(headers, X_FORWARDED_FOR, ip);
    }
}

/// What `Forwarded` says of one hop (RFC 7239 §4).
fn element(peer: &Peer, proto: &HeaderValue, host: Option<&HeaderValue>) -> String {
    let mut element = String::with_capacity(96);
    match peer.ip() {
        Some(ip) if ip.contains(':') => element.extend(["for=\"[", ip, "]\""]),
        Some(ip) => element.extend(["for=", ip]),
        None => element.push_str("for=unknown"),
    }
    element.extend([";proto=", proto.to_str().unwrap_or("http")]);
    // Within quotes only quote and backslash need care (RFC 9110 §5.6.4); no host has them.
    let quoted = host.and_then(|host| host.to_str().ok());
    if let Some(host) = quoted.filter(|host| !host.contains(['"', '\\'])) {
        element.extend([";host=\"", host, "\""]);
    }
    element
}

/// Removes what only a proxy could know, unless one says it that is trusted; and from everybody,
/// since proxies pass on what they do not know, what becomes another header in the eyes of apps:
/// `Proxy`, which many take for the variable `HTTP_PROXY`, and ours with underscores.
fn drop_unbelieved(headers: &mut HeaderMap, is_trusted: bool) {
    remove_all(headers, |name| {
        is_another(name.as_str()) || !is_trusted && is_of_proxies(name.as_str())
    });
}

fn is_of_proxies(name: &str) -> bool {
    // Most headers are of neither kind, and are compared with few.
    match name.strip_prefix("x-") {
        Some(rest) => rest.starts_with("forwarded-") || X_OF_PROXIES.contains(&rest),
        None => OF_PROXIES.contains(&name),
    }
}

/// Whether many an app takes this header for another one.
fn is_another(name: &str) -> bool {
    if !name.contains('_') {
        return name == "proxy";
    }
    let meant = name.replace('_', "-");
    let is_of_this_hop = ["connection", "transfer-encoding", "keep-alive", "trailer", "expect"];
    is_of_proxies(&meant)
        || is_of_this_hop.contains(&&*meant)
        || KEPT.iter().any(|kept| kept.as_str() == meant)
}

/// Whether a trailer tells what is believed of trusted proxies alone, and of them in headers alone.
pub(crate) fn is_for_proxies(name: &HeaderName) -> bool {
    is_of_proxies(name.as_str()) || is_another(name.as_str())
}

/// Adds to a list (RFC 9110 §5.3), in one line, which every reader understands.
fn add(headers: &mut HeaderMap, name: HeaderName, last: &str) {
    let mut list = Vec::with_capacity(last.len());
    for before in headers.get_all(&name).iter().filter(|before| !before.is_empty()) {
        list.extend_from_slice(before.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(last.as_bytes());
    if let Ok(value) = HeaderValue::try_from(list) {
        headers.insert(name, value);
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named = lists::elements(headers, &CONNECTION);
    let named: Vec<_> = named.filter_map(|name| HeaderName::from_bytes(name).ok()).collect();
    // `TE` and `Upgrade` are looked at by the callers, and must be named here by rule. The others are
    // no options of a connection: naming them only hides them from the app.
    let is_named = |name: &HeaderName| named.contains(name) && !KEPT.contains(name);
    remove_all(headers, |name| OF_ONE_HOP.contains(name) || is_named(name));
}

/// Removes those of which this is true. Mostly there are none, and none is looked up then.
fn remove_all(headers: &mut HeaderMap, is_unwanted: impl Fn(&HeaderName) -> bool) {
    let unwanted: Vec<_> = headers.keys().filter(|name| is_unwanted(name)).cloned().collect();
    for name in unwanted {
        headers.remove(name);
    }
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

    /// D29: `Connection` names what goes no further in an upgrade too; what makes it an upgrade stays,
    /// whatever is named.
    #[test]
    fn what_concerns_one_hop_goes_no_further_in_an_upgrade() {
        let of_upgrade = [
            ("upgrade", "websocket"),
            ("sec-websocket-key", "a2V5"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat"),
            ("host", "h"),
        ];
        let named = "keep-alive, Upgrade, X-Secret, Sec-WebSocket-Key, sec-websocket-version, \
            sec-websocket-protocol, host";
        let mut headers = headers(&of_upgrade);
        headers.append(CONNECTION, HeaderValue::from_static(named));
        headers.append("x-secret", HeaderValue::from_static("1"));
        headers.append(KEEP_ALIVE, HeaderValue::from_static("timeout=5"));
        clean_upgrade(&mut headers);
        let mut expected = self::headers(&of_upgrade);
        expected.append(CONNECTION, HeaderValue::from_static("upgrade"));
        assert_eq!(headers, expected);
    }

    #[test]
    fn what_a_client_says_of_itself_is_dropped() {
        let mut headers =
            headers(&[("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=6.6.6.6"), ("host", "h")]);
        set_forwarded(&mut headers, &Peer::new(Some("127.0.0.1:5".parse().unwrap())), None);
        assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
        assert_eq!(headers["forwarded"], "for=127.0.0.1;proto=http;host=\"h\"");
        assert_eq!(headers["x-forwarded-host"], "h");
    }

    #[test]
    fn an_address_stands_without_its_port_in_brackets_where_they_must_be() {
        for (address, alone, element) in [
            (Some("127.0.0.1:5"), Some("127.0.0.1"), "for=127.0.0.1;proto=http"),
            (Some("[::1]:5"), Some("::1"), "for=\"[::1]\";proto=http"),
            (Some("[fe80::1%3]:5"), Some("fe80::1"), "for=\"[fe80::1]\";proto=http"),
            (None, None, "for=unknown;proto=http"),
        ] {
            let mut headers = HeaderMap::new();
            set_forwarded(&mut headers, &Peer::new(address.map(|it| it.parse().unwrap())), None);
            assert_eq!(headers["forwarded"], element);
            let alone_there = headers.get("x-forwarded-for").map(|ip| ip.to_str().unwrap());
            assert_eq!(alone_there, alone);
        }
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
        let told = Told {
            proto: Some(HeaderValue::from_static("https")),
            host: Some(HeaderValue::from_static("example.com")),
            ..Told::default()
        };
        set_forwarded(&mut headers, &Peer::new(Some("127.0.0.1:5".parse().unwrap())), Some(told));
        assert_eq!(headers["x-forwarded-for"], "6.6.6.6, 7.7.7.7, 127.0.0.1");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-host"], "example.com");
        let whole = "for=7.7.7.7;proto=https, for=127.0.0.1;proto=https;host=\"example.com\"";
        assert_eq!(headers["forwarded"], whole);
    }

    /// D36.
    #[test]
    fn no_header_contradicts_another_about_how_a_trusted_proxy_was_asked() {
        let mut headers = headers(&[
            ("host", "inside"),
            ("x-forwarded-proto", "https, http"),
            ("x-forwarded-host", "evil, c.test:8"),
            ("x-forwarded-for", ""),
        ]);
        let told = Told {
            proto: Some(HeaderValue::from_static("http")),
            host: Some(HeaderValue::from_static("c.test:8")),
            ..Told::default()
        };
        set_forwarded(&mut headers, &Peer::new(Some("127.0.0.1:5".parse().unwrap())), Some(told));
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "c.test:8");
        assert_eq!(headers["forwarded"], "for=127.0.0.1;proto=http;host=\"c.test:8\"");
        // An empty element is none (RFC 9110 §5.6.1).
        assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    }

    #[test]
    fn what_only_a_proxy_could_know_is_dropped_and_disguises_are_from_everybody() {
        let of_proxies = ["x-real-ip", "x-original-url", "x-rewrite-url", "x-forwarded-port"];
        let disguises = [
            "x_forwarded_for",
            "x-forwarded_for",
            "x_real_ip",
            "x_request_id",
            "content_length",
            "proxy",
        ];
        for is_trusted in [false, true] {
            let all = of_proxies.iter().chain(&disguises).chain(&["x_own", "accept"]);
            let lines: Vec<_> = all.map(|name| (*name, "6.6.6.6")).collect();
            let mut headers = headers(&lines);
            set_forwarded(&mut headers, &Peer::new(None), is_trusted.then(Told::default));
            for name in of_proxies {
                assert_eq!(headers.contains_key(name), is_trusted, "{name}");
            }
            for name in disguises {
                assert!(!headers.contains_key(name), "{name}");
            }
            assert!(headers.contains_key("x_own") && headers.contains_key("accept"));
        }
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
