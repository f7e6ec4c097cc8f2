//! The opening handshake of a WebSocket, server side (RFC 6455 §4.2).
//!
//! Requests that can never become a WebSocket are refused here, before any worker is asked.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use sha1::{Digest as _, Sha1};

use crate::lists;

/// What a request asks for, as [`examine`] sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// An ordinary request. An `Upgrade` to something other than WebSocket may be ignored by a
    /// server (RFC 9110 §7.8).
    None,
    /// A good WebSocket handshake.
    Valid(ClientHandshake),
    /// A WebSocket handshake that breaks a rule.
    Refused(Refusal),
}

/// A client's offer to become a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHandshake {
    /// The value of `Sec-WebSocket-Accept` in the answer (RFC 6455 §4.2.2).
    pub accept: HeaderValue,
    /// The subprotocols the client offers, the one it prefers first. At most one of them may be
    /// in the answer.
    pub protocols: Vec<String>,
}

/// How to answer a handshake that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400, or 426 if the client may try again with another version.
    pub status: StatusCode,
    /// What the answer must have beside its status.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The rule, for the body of the answer.
    pub why: &'static str,
}

/// Judges the head of a request. That of HTTP/1.0 asks for no upgrade, whatever it says (RFC 9110
/// §7.8).
pub fn examine(method: &Method, version: Version, headers: &HeaderMap) -> Handshake {
    if !is_meant(version, headers) {
        return Handshake::None;
    }
    match examine_websocket(method, headers) {
        Ok(offer) => Handshake::Valid(offer),
        Err(refusal) => Handshake::Refused(refusal),
    }
}

/// Whether a request asks for a WebSocket, by the rules or against them.
pub(crate) fn is_meant(version: Version, headers: &HeaderMap) -> bool {
    version >= Version::HTTP_11 && lists::names(headers, &UPGRADE, "websocket")
}

/// Applies the rules of RFC 6455 §4.2.1 to a request that is meant as WebSocket.
fn examine_websocket(method: &Method, headers: &HeaderMap) -> Result<ClientHandshake, Refusal> {
    if method != Method::GET {
        return Err(bad_request("a WebSocket handshake must be a GET request"));
    }
    if !lists::names(headers, &CONNECTION, "upgrade") {
        return Err(bad_request("the Connection header must contain \"Upgrade\""));
    }
    let Some(key) = only(headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key)) else {
        return Err(bad_request("Sec-WebSocket-Key must be given once, 16 bytes in base64"));
    };
    if only(headers, &SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(other_version());
    }
    Ok(ClientHandshake { accept: accept(key), protocols: protocols(headers) })
}

/// The subprotocols that a client offers, the one that it prefers first.
pub fn protocols(headers: &HeaderMap) -> Vec<String> {
    let offered = lists::elements(headers, &SEC_WEBSOCKET_PROTOCOL);
    offered.filter_map(|protocol| Some(str::from_utf8(protocol).ok()?.to_owned())).collect()
}

fn bad_request(why: &'static str) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, headers: Vec::new(), why }
}

/// RFC 6455 §4.4 asks for the version spoken here, RFC 9110 §15.5.22 for `Upgrade`, which in turn
/// must be named in `Connection` (§7.8).
fn other_version() -> Refusal {
    Refusal {
        status: StatusCode::UPGRADE_REQUIRED,
        headers: vec![
            (SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
            (UPGRADE, HeaderValue::from_static("websocket")),
            (CONNECTION, HeaderValue::from_static("Upgrade")),
        ],
        why: "the WebSocket version spoken here is 13",
    }
}

/// The proof that the server read this handshake: SHA-1 of key and GUID (RFC 6455 §4.2.2).
fn accept(key: &str) -> HeaderValue {
    const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    HeaderValue::try_from(STANDARD.encode(digest)).expect("base64 is a valid header value")
}

/// Whether a key has the 16 bytes of RFC 6455 §4.2.1, item 5.
fn is_key(key: &str) -> bool {
    STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16)
}

/// The value of a header that may occur only once (RFC 6455 §11.3.1, §11.3.5).
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut lines = headers.get_all(name).into_iter();
    let value = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    Some(value.to_str().ok()?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 4] = [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ];

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let parse = |&(name, value): &(&str, &str)| {
            (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap())
        };
        lines.iter().map(parse).collect()
    }

    fn get(headers: &HeaderMap) -> Handshake {
        examine(&Method::GET, Version::HTTP_11, headers)
    }

    /// The good handshake with every `name` line replaced by one for each of `values`.
    fn with(name: &str, values: &[&str]) -> Handshake {
        let mut lines: Vec<_> = GOOD.into_iter().filter(|line| line.0 != name).collect();
        lines.extend(values.iter().map(|&value| (name, value)));
        get(&headers(&lines))
    }

    fn status(handshake: Handshake) -> u16 {
        match handshake {
            Handshake::None => 0,
            Handshake::Valid(_) => 101,
            Handshake::Refused(refusal) => refusal.status.as_u16(),
        }
    }

    fn offer(handshake: Handshake) -> ClientHandshake {
        match handshake {
            Handshake::Valid(offer) => offer,
            other => panic!("not an offer: {other:?}"),
        }
    }

    #[test]
    fn the_key_of_rfc_6455_section_1_3_gets_the_answer_printed_there() {
        let offer = offer(get(&headers(&GOOD)));
        assert_eq!(offer.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(offer.protocols, Vec::<String>::new());
    }

    #[test]
    fn a_request_that_does_not_name_websocket_is_ordinary_whatever_else_it_has() {
        assert_eq!(get(&HeaderMap::new()), Handshake::None);
        assert_eq!(with("upgrade", &["h2c"]), Handshake::None);
        assert_eq!(with("upgrade", &["websockets, xwebsocket"]), Handshake::None);
        let post = headers(&[("upgrade", "h2c"), ("connection", "upgrade")]);
        assert_eq!(examine(&Method::POST, Version::HTTP_10, &post), Handshake::None);
    }

    #[test]
    fn upgrade_and_connection_are_lists_in_any_case_on_any_line() {
        assert_eq!(status(with("upgrade", &["h2c, WebSocket"])), 101);
        assert_eq!(status(with("upgrade", &["h2c", "WEBSOCKET"])), 101);
        assert_eq!(status(with("connection", &["keep-alive,upgrade"])), 101);
        assert_eq!(status(with("connection", &["keep-alive", "UPGRADE"])), 101);
    }

    #[test]
    fn a_handshake_without_the_connection_option_is_refused_with_400() {
        assert_eq!(status(with("connection", &[])), 400);
        assert_eq!(status(with("connection", &["keep-alive", "upgrades"])), 400);
    }

    #[test]
    fn only_a_get_of_http_1_1_or_later_can_be_a_handshake() {
        let good = headers(&GOOD);
        assert_eq!(status(examine(&Method::POST, Version::HTTP_11, &good)), 400);
        assert_eq!(examine(&Method::GET, Version::HTTP_10, &good), Handshake::None);
    }

    #[test]
    fn a_key_must_be_given_once_and_have_16_bytes() {
        let key = GOOD[2].1;
        for values in [
            &[][..],
            &[""],
            &["not base64"],
            &["c2hvcnQ="],
            &["dGhlIHNhbXBsZSBub25jZTE="],
            &["dGhlIHNhbXBsZSBub25jZQ"],
            &[key, key],
        ] {
            assert_eq!(status(with("sec-websocket-key", values)), 400, "{values:?}");
        }
    }

    #[test]
    fn a_missing_or_other_version_is_told_the_one_spoken_here() {
        for values in [&[][..], &["8"], &["13, 8"], &["13", "13"], &["130"], &["\u{e9}"]] {
            let Handshake::Refused(refusal) = with("sec-websocket-version", values) else {
                panic!("accepted {values:?}");
            };
            assert_eq!(refusal.status, 426, "{values:?}");
            let headers: HeaderMap = refusal.headers.into_iter().collect();
            assert_eq!(headers[SEC_WEBSOCKET_VERSION], "13");
            assert_eq!(headers[UPGRADE], "websocket");
            assert_eq!(headers[CONNECTION], "Upgrade");
        }
    }

    #[test]
    fn protocols_are_offered_in_the_order_of_all_lines() {
        let offer = offer(with("sec-websocket-protocol", &["chat.v2, chat.v1", "", " , echo"]));
        assert_eq!(offer.protocols, ["chat.v2", "chat.v1", "echo"]);
    }
}
