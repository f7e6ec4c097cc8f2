//! The head of a request (RFC 9112 §2 to §7): what it asks for, and what follows it.
//!
//! A request whose head is refused here never reaches a backend, and its connection ends: what comes
//! behind it cannot be told apart from it.

use std::mem::MaybeUninit;

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::{HeaderMap, Method, StatusCode, Uri, Version};

use crate::lists;

use super::framing::{Length, end_of_fields};
use super::target;

/// What may stand in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Request line and fields together, in bytes.
    pub max_bytes: usize,
    /// Fields.
    pub max_fields: usize,
}

/// The most fields that can be allowed.
pub const MOST_FIELDS: usize = 1000;

/// So many are added on the way to the app: `traceparent`, and who asked for what. There is room for them
/// at once, since to grow costs more than all else about a small head.
const ADDED_FIELDS: usize = 6;

/// So many bytes of empty lines may stand before a request.
const EMPTY_BYTES: usize = 4;

/// A whole head.
#[derive(Debug)]
pub struct Head {
    /// What is asked for.
    pub method: Method,
    /// Path and query; `*` of an OPTIONS request. The authority of an absolute target stands in
    /// `Host` instead (RFC 9112 §3.2.2).
    pub uri: Uri,
    /// 1.0 or 1.1.
    pub version: Version,
    /// As they came.
    pub headers: HeaderMap,
    /// Of the body that follows.
    pub length: Length,
    /// Whether the client would send another request on this connection.
    pub keeps: bool,
    /// Whether it waits for a word before it sends its body (RFC 9110 §10.1.1).
    pub expects_continue: bool,
}

/// How a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 4xx or 5xx.
    pub status: StatusCode,
    /// The rule.
    pub why: &'static str,
}

impl Refusal {
    pub(super) fn too_long_a_body() -> Self {
        refuse(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long")
    }
}

/// What stands in front of the bytes that came.
#[derive(Debug)]
pub enum Found {
    /// Not enough to tell.
    Nothing,
    /// A head, which is so many bytes long.
    Head(Box<Head>, usize),
}

fn refuse(status: StatusCode, why: &'static str) -> Refusal {
    Refusal { status, why }
}

pub(super) fn bad(why: &'static str) -> Refusal {
    refuse(StatusCode::BAD_REQUEST, why)
}

/// Looks for a head. `looked_at`: so many bytes of `input` were not enough before.
///
/// # Errors
/// How what came is to be refused.
pub fn find(input: &[u8], looked_at: usize, limits: &Limits) -> Result<Found, Refusal> {
    let empty = empty_lines(input)?;
    let input_here = &input[empty..];
    let within = &input_here[..input_here.len().min(limits.max_bytes)];
    if looked_at > 0 && within.len() < limits.max_bytes {
        let seen = line_before(within, looked_at.saturating_sub(empty));
        let has_new_request_line = seen == 0 && within.contains(&b'\n');
        if !has_new_request_line && end_of_fields(&within[seen..]).is_none() {
            // It was found to be no nonsense before. To read all of it each time would cost too much.
            return Ok(Found::Nothing);
        }
    }
    // Nearly all of them stay untouched: to fill in so many would cost more than to read a head.
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let most = limits.max_fields.min(MOST_FIELDS);
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(within, &mut fields[..most]) {
        Ok(httparse::Status::Complete(bytes)) => {
            let head = read(&request)?;
            Ok(Found::Head(Box::new(head), empty + bytes))
        }
        Ok(httparse::Status::Partial) if within.len() < limits.max_bytes => Ok(Found::Nothing),
        Ok(httparse::Status::Partial) if request.path.is_none() => {
            Err(refuse(StatusCode::URI_TOO_LONG, "the request line is too long"))
        }
        Ok(httparse::Status::Partial) => Err(too_large("the headers are too long")),
        Err(httparse::Error::TooManyHeaders) => Err(too_large("there are too many headers")),
        Err(httparse::Error::Version) if names_a_version(within) => {
            Err(refuse(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1 is spoken here"))
        }
        Err(_) => Err(bad("the head is malformed")),
    }
}

/// How many bytes of empty lines stand before the request, which are skipped (RFC 9112 §2.2).
fn empty_lines(input: &[u8]) -> Result<usize, Refusal> {
    let mut empty = 0;
    loop {
        empty += match &input[empty..] {
            [b'\r', b'\n', ..] => 2,
            [b'\n', ..] => 1,
            _ => return Ok(empty),
        };
        if empty > EMPTY_BYTES {
            return Err(bad("empty lines"));
        }
    }
}

/// Whether the request line is one, but for its version.
fn names_a_version(input: &[u8]) -> bool {
    let line = input.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let version = words.nth(2);
    words.next().is_none() && version.is_some_and(|version| version.starts_with(b"HTTP/"))
}

/// Where the line begins that has not ended within so many bytes; an empty one would end the head.
fn line_before(input: &[u8], at: usize) -> usize {
    let seen = &input[..at.min(input.len())];
    seen.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

fn too_large(why: &'static str) -> Refusal {
    refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, why)
}

fn read(request: &httparse::Request<'_, '_>) -> Result<Head, Refusal> {
    let version = if request.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let method = Method::from_bytes(request.method.unwrap_or_default().as_bytes())
        .map_err(|_| bad("the method is malformed"))?;
    match method {
        Method::CONNECT => {
            return Err(refuse(StatusCode::NOT_IMPLEMENTED, "CONNECT is for proxies"));
        }
        Method::TRACE => {
            return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "TRACE is not allowed"));
        }
        _ => {}
    }
    let mut headers = HeaderMap::with_capacity(request.headers.len() + ADDED_FIELDS);
    for field in request.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(bad("a header is malformed"));
        };
        headers.append(name, value);
    }
    let uri = target::read(&method, request.path.unwrap_or_default(), version, &mut headers)?;
    let length = length(version, &headers)?;
    let mut expectations = headers.get_all(EXPECT).iter();
    if expectations.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(refuse(StatusCode::EXPECTATION_FAILED, "the expectation is unknown"));
    }
    // Nobody waits for a word before nothing.
    let expects_continue =
        version == Version::HTTP_11 && headers.contains_key(EXPECT) && length != Length::Bytes(0);
    let keeps = match version {
        Version::HTTP_11 => !lists::names(&headers, &CONNECTION, "close"),
        _ => {
            let says = |option| lists::names(&headers, &CONNECTION, option);
            says("keep-alive") && !says("close")
        }
    };
    Ok(Head { method, uri, version, headers, length, keeps, expects_continue })
}

/// RFC 9112 §6.3, without its leniencies.
fn length(version: Version, headers: &HeaderMap) -> Result<Length, Refusal> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let said = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(_), Some(_)) => return Err(bad("several Content-Lengths")),
        (Some(length), None) => {
            let digits = length.to_str().ok().filter(|text| !text.is_empty());
            let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            // What no file system holds is no length, whatever fits into the number.
            let length = digits
                .and_then(|text| text.parse().ok())
                .filter(|length| *length <= i64::MAX as u64);
            Some(length.ok_or(bad("the Content-Length is malformed"))?)
        }
    };
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter().peekable();
    if codings.peek().is_none() {
        return Ok(Length::Bytes(said.unwrap_or(0)));
    }
    if version != Version::HTTP_11 {
        return Err(bad("HTTP/1.0 knows no Transfer-Encoding"));
    }
    if said.is_some() {
        return Err(bad("Content-Length and Transfer-Encoding together"));
    }
    match (codings.next(), codings.next()) {
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Ok(Length::Chunked)
        }
        (Some(coding), None) if coding.is_empty() => Err(bad("the Transfer-Encoding is empty")),
        _ => Err(refuse(StatusCode::NOT_IMPLEMENTED, "only the transfer coding chunked is known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_bytes: 1024, max_fields: 10 };

    fn read(text: impl AsRef<[u8]>) -> Result<Head, u16> {
        match find(text.as_ref(), 0, &LIMITS) {
            Ok(Found::Head(head, bytes)) => {
                assert_eq!(bytes, text.as_ref().len());
                Ok(*head)
            }
            Ok(Found::Nothing) => Err(0),
            Err(refusal) => Err(refusal.status.as_u16()),
        }
    }

    fn with(fields: &str) -> Result<Head, u16> {
        read(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
    }

    #[test]
    fn a_head_is_found_however_it_is_cut_and_what_follows_is_left() {
        for head in
            ["\r\nGET /a?b HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n", "GET /a?b HTTP/1.1\nHost: a\n\n"]
        {
            let input = format!("{head}GET /next");
            let mut looked_at = 0;
            for end in 1..head.len() {
                let found = find(&input.as_bytes()[..end], looked_at, &LIMITS);
                assert!(matches!(found, Ok(Found::Nothing)), "{end}: {found:?}");
                looked_at = end;
            }
            for looked_at in 0..head.len() {
                let found = find(input.as_bytes(), looked_at, &LIMITS);
                let Ok(Found::Head(found, bytes)) = found else { panic!("{looked_at}: {found:?}") };
                assert_eq!((bytes, found.uri.to_string()), (head.len(), "/a?b".to_owned()));
                assert!(found.keeps && found.length == Length::Bytes(0));
            }
        }
    }

    #[test]
    fn nonsense_is_refused_before_it_ends() {
        for (text, status) in [
            ("\u{16}\u{3}\u{1}", 400),
            ("GET / HTTP/2.0\r\n", 505),
            ("PRI * HTTP/2.0\r\n", 505),
            ("GET /a b HTTP", 400),
            ("GET / HTTP/1.1\r\nBad Name", 400),
            ("GET / HTTP/1.1\r\nHost : a", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\n f", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb", 400),
            ("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("\r\n\r\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ] {
            assert_eq!(read(text).unwrap_err(), status, "{text:?}");
        }
    }

    #[test]
    fn empty_lines_before_a_request_are_few_however_they_are_cut() {
        for (lines, is_good) in
            [("\r\n\r\n", true), ("\n\n\n\n", true), ("\r\n\r\n\r\n", false), ("\r\r\n", false)]
        {
            let head = format!("{lines}GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            for cut in 0..head.len() {
                let found = find(&head.as_bytes()[..cut], 0, &LIMITS)
                    .and_then(|_| find(head.as_bytes(), cut, &LIMITS));
                assert_eq!(matches!(found, Ok(Found::Head(..))), is_good, "{lines:?}, {cut}");
            }
        }
    }

    #[test]
    fn each_expectation_is_looked_at() {
        let twice = "Content-Length: 3\r\nExpect: 100-continue\r\nExpect: 100-Continue\r\n";
        assert!(with(twice).unwrap().expects_continue);
        assert!(!with("Expect: 100-continue\r\n").unwrap().expects_continue, "before nothing");
        let two = with("Expect: 100-continue\r\nExpect: cake\r\n");
        assert_eq!(two.unwrap_err(), 417);
    }

    #[test]
    fn what_is_too_large_is_told_apart() {
        let long = "x".repeat(2000);
        assert_eq!(read(format!("GET /{long}")).unwrap_err(), 414);
        assert_eq!(read(format!("GET / HTTP/1.1\r\nX: {long}")).unwrap_err(), 431);
        assert_eq!(with(&"X: 1\r\n".repeat(11)).unwrap_err(), 431);
        // Looked at before, and now full.
        let text = format!("GET / HTTP/1.1\r\nX: {long}");
        let refusal = find(text.as_bytes(), 500, &LIMITS).unwrap_err();
        assert_eq!(refusal.status.as_u16(), 431);
    }

    #[test]
    fn a_length_is_told_once_and_plainly() {
        for (fields, length) in [
            ("", Length::Bytes(0)),
            ("Content-Length: 18\r\n", Length::Bytes(18)),
            ("Transfer-Encoding: Chunked\r\n", Length::Chunked),
        ] {
            assert_eq!(with(fields).unwrap().length, length);
        }
        for (fields, status) in [
            ("Content-Length: 3\r\nContent-Length: 3\r\n", 400),
            ("Content-Length: 3, 3\r\n", 400),
            ("Content-Length: +3\r\n", 400),
            ("Content-Length: -3\r\n", 400),
            ("Content-Length: 0x3\r\n", 400),
            ("Content-Length:\r\n", 400),
            ("Content-Length: 18446744073709551615\r\n", 400),
            ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Transfer-Encoding:\r\n", 400),
            ("Transfer-Encoding: gzip, chunked\r\n", 501),
            ("Transfer-Encoding: chunked, chunked\r\n", 501),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 501),
            ("Transfer-Encoding: identity\r\n", 501),
            ("Transfer-Encoding: cow\r\n", 501),
            ("Transfer-Encoding: \u{b}chunked\r\n", 400),
        ] {
            assert_eq!(with(fields).unwrap_err(), status, "{fields}");
        }
        let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(read(old).unwrap_err(), 400);
    }

    #[test]
    fn methods_for_others_are_refused() {
        assert_eq!(read("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap_err(), 501);
        assert_eq!(read("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap_err(), 405);
        assert!(read("PURGE / HTTP/1.1\r\nHost: a\r\n\r\n").is_ok());
    }

    #[test]
    fn a_connection_is_kept_as_its_version_says_and_its_options() {
        for (version, fields, keeps) in [
            (1, "", true),
            (1, "Connection: close\r\n", false),
            (1, "Connection: x, Close\r\n", false),
            (0, "", false),
            (0, "Connection: Keep-Alive\r\n", true),
            (0, "Connection: keep-alive, close\r\n", false),
        ] {
            let head = read(format!("GET / HTTP/1.{version}\r\nHost: a\r\n{fields}\r\n")).unwrap();
            assert_eq!(head.keeps, keeps, "{version} {fields}");
        }
    }

    #[test]
    fn an_expectation_is_known_or_refused() {
        assert!(with("Content-Length: 3\r\nExpect: 100-Continue\r\n").unwrap().expects_continue);
        assert_eq!(with("Expect: cake\r\n").unwrap_err(), 417);
        assert!(!read("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").unwrap().expects_continue);
    }
}
