//! A response as it goes out (RFC 9112 §4 to §7).

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode, Version};

use super::framing::may_trail;
use crate::outbox::Outbox;
use crate::turn::Buffers;

/// A part that is shorter is copied beside what frames it; a longer one goes out as it is.
const COPIED_BYTES: usize = 2 * 1024;

/// What of a request decides how its response is framed.
#[derive(Clone, Debug)]
pub(super) struct ResponseContext {
    pub(super) method: Method,
    pub(super) version: Version,
    /// The client takes trailers.
    pub(super) takes_trailers: bool,
}

/// How the body of a response is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none, whatever the backend has.
    None,
    /// So many bytes are left of what the head says.
    Length(u64),
    /// In chunks; trailers follow if they may.
    Chunked { trailers: bool },
    /// It ends with the connection.
    Close,
}

impl Framing {
    /// Of a response of which its backend knows this much. Sets the headers that say so.
    pub(super) fn choose(
        asked: &ResponseContext,
        status: StatusCode,
        headers: &mut HeaderMap,
        size: Option<u64>,
    ) -> Framing {
        headers.remove(TRANSFER_ENCODING);
        let is_bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
        if status.is_informational() || status == StatusCode::NO_CONTENT {
            headers.remove(CONTENT_LENGTH);
        }
        // It has no content either (RFC 9110 §15.3.6), but no reader knows that by its status.
        if status == StatusCode::RESET_CONTENT {
            headers.insert(CONTENT_LENGTH, 0.into());
            return Framing::None;
        }
        if asked.method == Method::HEAD || is_bodiless || status.is_informational() {
            return Framing::None;
        }
        // What the head says holds: a body of another length breaks off.
        let said =
            headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if let Some(size) = said {
            return Framing::Length(size);
        }
        if let Some(size) = size {
            headers.insert(CONTENT_LENGTH, size.into());
            return Framing::Length(size);
        }
        headers.remove(CONTENT_LENGTH);
        if asked.version != Version::HTTP_11 {
            return Framing::Close;
        }
        headers.insert(TRANSFER_ENCODING, http::HeaderValue::from_static("chunked"));
        Framing::Chunked { trailers: asked.takes_trailers || headers.contains_key(TRAILER) }
    }

    /// Puts a part of the body out. `false` if it is more than the head says.
    pub(super) fn put(&mut self, outbox: &mut Outbox, buffers: &Buffers, data: Bytes) -> bool {
        match self {
            Framing::None => return true,
            Framing::Length(left) => match left.checked_sub(data.len() as u64) {
                Some(rest) => *left = rest,
                None => return false,
            },
            Framing::Close => {}
            // It would be the end.
            Framing::Chunked { .. } if data.is_empty() => return true,
            Framing::Chunked { .. } => {
                outbox.put(buffers, |out| put_chunk_size(out, data.len()));
            }
        }
        if data.len() < COPIED_BYTES {
            outbox.put(buffers, |out| out.extend_from_slice(&data));
        } else {
            outbox.put_shared(buffers, data, 0);
        }
        if let Framing::Chunked { .. } = self {
            outbox.put(buffers, |out| out.extend_from_slice(b"\r\n"));
        }
        true
    }

    /// Ends the body. `false` if it is less than the head says.
    pub(super) fn end(&self, outbox: &mut Outbox, buffers: &Buffers, trailers: &HeaderMap) -> bool {
        if let Framing::Chunked { trailers: has_trailers } = self {
            outbox.put(buffers, |out| {
                out.extend_from_slice(b"0\r\n");
                let kept = trailers.iter().filter(|(name, _)| *has_trailers && may_trail(name));
                kept.for_each(|(name, value)| put_field(out, name.as_str(), value.as_bytes()));
                out.extend_from_slice(b"\r\n");
            });
        }
        matches!(
            self,
            Framing::None | Framing::Close | Framing::Chunked { .. } | Framing::Length(0)
        )
    }
}

/// Puts a head out. `keeps`: the connection is kept afterwards; `None` if that is not ours to say.
pub(super) fn put_head(
    out: &mut Vec<u8>,
    version: Version,
    status: StatusCode,
    headers: &HeaderMap,
    keeps: Option<bool>,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("Unknown").as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        put_field(out, name.as_str(), value.as_bytes());
    }
    match keeps {
        Some(false) => put_field(out, CONNECTION.as_str(), b"close"),
        // A client of 1.0 is to be told; others know.
        Some(true) if version != Version::HTTP_11 => {
            put_field(out, CONNECTION.as_str(), b"keep-alive");
        }
        Some(true) | None => {}
    }
    if !headers.contains_key(DATE) && !status.is_informational() {
        put_date(out);
    }
    out.extend_from_slice(b"\r\n");
}

fn put_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn put_chunk_size(out: &mut Vec<u8>, size: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    let each = (0..digits).rev().map(|place| DIGITS[size >> (place * 4) & 15]);
    out.extend(each);
    out.extend_from_slice(b"\r\n");
}

/// A server with a clock says when it answers (RFC 9110 §6.6.1). Written anew once a second.
fn put_date(out: &mut Vec<u8>) {
    thread_local! {
        static WRITTEN: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.unwrap_or(Duration::ZERO).as_secs();
    WRITTEN.with_borrow_mut(|(second, text)| {
        if *second != seconds || text.is_empty() {
            *second = seconds;
            *text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        }
        put_field(out, DATE.as_str(), text.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn asked(method: Method, version: Version) -> ResponseContext {
        ResponseContext { method, version, takes_trailers: false }
    }

    #[test]
    fn a_body_is_framed_by_what_is_known_of_it() {
        let get = asked(Method::GET, Version::HTTP_11);
        let choose = |asked: &ResponseContext, status: u16, size| {
            let mut headers = HeaderMap::new();
            let status = StatusCode::from_u16(status).unwrap();
            let framing = Framing::choose(asked, status, &mut headers, size);
            let length =
                headers.get(CONTENT_LENGTH).map(|value| value.to_str().unwrap().to_owned());
            (framing, length)
        };
        assert_eq!(choose(&get, 200, Some(5)), (Framing::Length(5), Some("5".to_owned())));
        assert_eq!(choose(&get, 200, None), (Framing::Chunked { trailers: false }, None));
        assert_eq!(choose(&get, 204, Some(0)), (Framing::None, None));
        assert_eq!(choose(&get, 304, None), (Framing::None, None));
        for size in [None, Some(5)] {
            assert_eq!(choose(&get, 205, size), (Framing::None, Some("0".to_owned())));
        }
        let old = asked(Method::GET, Version::HTTP_10);
        assert_eq!(choose(&old, 200, None), (Framing::Close, None));
        let head = asked(Method::HEAD, Version::HTTP_11);
        assert_eq!(choose(&head, 200, Some(5)), (Framing::None, None));
    }

    #[test]
    fn a_head_says_what_becomes_of_the_connection() {
        let mut headers = HeaderMap::new();
        headers.insert("x", HeaderValue::from_static("1"));
        headers.insert(DATE, HeaderValue::from_static("now"));
        for (version, keeps, line) in [
            (Version::HTTP_11, Some(true), ""),
            (Version::HTTP_11, Some(false), "connection: close\r\n"),
            (Version::HTTP_10, Some(true), "connection: keep-alive\r\n"),
            (Version::HTTP_11, None, ""),
        ] {
            let mut out = Vec::new();
            put_head(&mut out, version, StatusCode::OK, &headers, keeps);
            let expected = format!("HTTP/1.1 200 OK\r\nx: 1\r\ndate: now\r\n{line}\r\n");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let mut out = Vec::new();
        put_head(&mut out, Version::HTTP_11, StatusCode::OK, &HeaderMap::new(), None);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("\r\ndate: ") && text.ends_with(" GMT\r\n\r\n"), "{text}");
    }

    #[test]
    fn chunks_tell_their_size_in_hexadecimal_digits() {
        for size in [1, 9, 10, 15, 16, 255, 256, 65_536, usize::MAX] {
            let mut out = Vec::new();
            put_chunk_size(&mut out, size);
            assert_eq!(out, format!("{size:x}\r\n").into_bytes());
        }
    }
}
