//! Where the body of a request ends (RFC 9112 §6 and §7.1), decided once.
//!
//! Strict: what two readers could take for two lengths is refused. Lines between chunks end with
//! CRLF; those of trailers may end with LF alone, as those of a head may (§2.2).

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, COOKIE, EXPECT, FORWARDED, HOST, MAX_FORWARDS, PROXY_AUTHORIZATION, SET_COOKIE,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::http::is_for_proxies;

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many bytes; there may be none.
    Bytes(u64),
    /// It tells itself where it ends.
    Chunked,
}

/// The longest line with the length of a chunk. Extensions stand there too; nobody uses them.
const MAX_SIZE_LINE_BYTES: usize = 1024;

/// A line with the length of a chunk may have so much, and twice the length of its chunk. What is beyond
/// that adds up: a client that sends extensions, or zeros before a length, sends a body, too.
const SIZE_LINE_BYTES: u64 = 16;

/// What may be beyond that in one body. Signatures of chunks, as some clients send, never are.
const MAX_EXCESS_BYTES: u64 = 16 * 1024;

/// The longest trailers, together with the line that ends them.
const MAX_TRAILERS_BYTES: usize = 16 * 1024;

/// The most trailers.
const MAX_TRAILERS: usize = 64;

/// Digits of a chunk's length: more than anybody sends, and no overflow.
const MAX_SIZE_DIGITS: usize = 15;

/// A rule that a body breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    /// No hexadecimal number, or what follows it is no extension.
    #[error("a chunk without a proper length")]
    ChunkLength,
    /// Much more stands between chunks than in them.
    #[error("chunks with too much beside them")]
    Excess,
    /// No CRLF follows a chunk.
    #[error("a chunk that is longer than it says")]
    ChunkEnd,
    /// Too many, too long, or no header fields.
    #[error("trailers that are too long or malformed")]
    Trailers,
}

/// Finds a body in the bytes that come.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// What came beside the body, less what it may come with: more and more of it is no body.
    excess_bytes: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// So many bytes are left.
    Length(u64),
    /// The length of a chunk is to come.
    Size,
    /// So many bytes of a chunk are left, and its CRLF.
    Chunk(u64),
    /// Trailers, and the empty line behind them.
    Trailers,
    /// Nothing is left.
    Done,
}

/// What stands in front.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Not enough to tell, or the body has ended before.
    Nothing,
    /// So many bytes of the body.
    Data(usize),
    /// The end of the body, with its trailers.
    End(HeaderMap),
}

impl Decoder {
    /// Of a body of this length.
    pub fn new(length: Length) -> Self {
        let state = match length {
            Length::Bytes(0) => State::Done,
            Length::Bytes(bytes) => State::Length(bytes),
            Length::Chunked => State::Size,
        };
        Decoder { state, excess_bytes: 0 }
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many bytes of the body are left, if that is known.
    pub fn left(&self) -> Option<u64> {
        match &self.state {
            State::Length(left) => Some(*left),
            State::Done => Some(0),
            State::Size | State::Chunk(_) | State::Trailers => None,
        }
    }

    /// Looks for the body. Returns how many bytes in front were framing, and what stands behind
    /// them. Data counts as taken. What was not enough is to come again, with more behind it; it is
    /// never more than 16 KiB.
    ///
    /// # Errors
    /// The rule that the body breaks.
    pub fn decode(&mut self, input: &[u8]) -> Result<(usize, Found), BadBody> {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            let taken = match &mut self.state {
                State::Done => return Ok((at, Found::Nothing)),
                State::Length(0) => {
                    self.state = State::Done;
                    return Ok((at, Found::End(HeaderMap::new())));
                }
                State::Length(left) | State::Chunk(left) if *left > 0 => {
                    let here = (*left).min(rest.len() as u64);
                    *left -= here;
                    let found = if here == 0 { Found::Nothing } else { Found::Data(here as usize) };
                    return Ok((at, found));
                }
                State::Chunk(_) | State::Length(_) => self.end_chunk(rest)?,
                State::Size => self.begin_chunk(rest)?,
                State::Trailers => match trailers(rest)? {
                    Some((taken, trailers)) => {
                        self.state = State::Done;
                        return Ok((at + taken, Found::End(trailers)));
                    }
                    None => None,
                },
            };
            match taken {
                Some(taken) => at += taken,
                None => return Ok((at, Found::Nothing)),
            }
        }
    }

    fn begin_chunk(&mut self, input: &[u8]) -> Result<Option<usize>, BadBody> {
        let looked_at = &input[..input.len().min(MAX_SIZE_LINE_BYTES)];
        let Some(end) = looked_at.iter().position(|byte| *byte == b'\n') else {
            let is_hopeless = looked_at.len() == MAX_SIZE_LINE_BYTES
                || looked_at.first().is_some_and(|byte| !byte.is_ascii_hexdigit());
            return if is_hopeless { Err(BadBody::ChunkLength) } else { Ok(None) };
        };
        let line = looked_at[..end].strip_suffix(b"\r").ok_or(BadBody::ChunkLength)?;
        let size = chunk_size(line).ok_or(BadBody::ChunkLength)?;
        let allowed_bytes = size.saturating_mul(2).saturating_add(SIZE_LINE_BYTES);
        self.excess_bytes = (self.excess_bytes + end as u64).saturating_sub(allowed_bytes);
        if self.excess_bytes > MAX_EXCESS_BYTES {
            return Err(BadBody::Excess);
        }
        self.state = match size {
            0 => State::Trailers,
            size => State::Chunk(size),
        };
        Ok(Some(end + 1))
    }

    fn end_chunk(&mut self, input: &[u8]) -> Result<Option<usize>, BadBody> {
        let end = b"\r\n";
        if !input.starts_with(&end[..input.len().min(2)]) {
            return Err(BadBody::ChunkEnd);
        }
        if input.len() < end.len() {
            return Ok(None);
        }
        self.state = State::Size;
        Ok(Some(end.len()))
    }
}

/// The length of a chunk in its line, which may have white space and extensions behind it.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, rest) = line.split_at(digits);
    let is_extension = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
    let spaces = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let is_good = match rest.get(spaces) {
        None => true,
        Some(b';') => rest[spaces..].iter().all(is_extension),
        Some(_) => false,
    };
    if !is_good || !(1..=MAX_SIZE_DIGITS).contains(&digits) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()
}

/// The trailers in front and how many bytes they are, if they are whole.
fn trailers(input: &[u8]) -> Result<Option<(usize, HeaderMap)>, BadBody> {
    let looked_at = &input[..input.len().min(MAX_TRAILERS_BYTES)];
    let Some(end) = end_of_fields(looked_at) else {
        return match looked_at.len() == MAX_TRAILERS_BYTES {
            true => Err(BadBody::Trailers),
            false => Ok(None),
        };
    };
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILERS];
    let parsed = httparse::parse_headers(&looked_at[..end], &mut fields);
    let Ok(httparse::Status::Complete((taken, fields))) = parsed else {
        return Err(BadBody::Trailers);
    };
    // Both must have found the same end.
    if taken != end {
        return Err(BadBody::Trailers);
    }
    let mut map = HeaderMap::new();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| BadBody::Trailers)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| BadBody::Trailers)?;
        if may_trail(&name) {
            map.append(name, value);
        }
    }
    Ok(Some((end, map)))
}

/// Where lines of fields end, with the empty line behind them, if it is there. Lines end with LF, and
/// a CR before it is part of that end.
pub(super) fn end_of_fields(input: &[u8]) -> Option<usize> {
    let mut begin = 0;
    for (at, _) in input.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        if matches!(&input[begin..at], [] | [b'\r']) {
            return Some(at + 1);
        }
        begin = at + 1;
    }
    None
}

/// Whether a field may stand behind a body: none that says how the message is read, who sends it or
/// where it goes (RFC 9110 §6.5.1).
pub(crate) fn may_trail(name: &HeaderName) -> bool {
    const BARRED: [HeaderName; 18] = [
        AUTHORIZATION,
        CACHE_CONTROL,
        CONNECTION,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        COOKIE,
        EXPECT,
        FORWARDED,
        HOST,
        MAX_FORWARDS,
        PROXY_AUTHORIZATION,
        SET_COOKIE,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    let text = name.as_str();
    let is_of_proxies = is_for_proxies(name) || text.starts_with("proxy-");
    let is_ours = matches!(text, "keep-alive" | "x-request-id" | "traceparent" | "tracestate");
    !BARRED.contains(name) && !is_of_proxies && !is_ours
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of a body that comes in pieces of so many bytes, its trailers, and what stands behind it.
    fn read(
        length: Length,
        input: &[u8],
        piece: usize,
    ) -> Result<(Vec<u8>, Option<HeaderMap>, usize), BadBody> {
        let mut decoder = Decoder::new(length);
        let (mut data, mut carry) = (Vec::new(), Vec::new());
        let mut taken_in_all = 0;
        let mut pieces = input.chunks(piece);
        loop {
            let (skipped, found) = decoder.decode(&carry)?;
            let taken = match &found {
                Found::Data(bytes) => {
                    data.extend_from_slice(&carry[skipped..skipped + bytes]);
                    skipped + bytes
                }
                Found::End(_) | Found::Nothing => skipped,
            };
            taken_in_all += taken;
            carry.drain(..taken);
            match found {
                Found::End(trailers) => return Ok((data, Some(trailers), taken_in_all)),
                Found::Data(_) => {}
                Found::Nothing => match pieces.next() {
                    Some(piece) => carry.extend_from_slice(piece),
                    None => return Ok((data, None, taken_in_all)),
                },
            }
        }
    }

    #[test]
    fn a_body_is_found_however_it_is_cut() {
        let chunked = b"5\r\nhello\r\n07;a=\"b\"\r\n, world\r\n0 ; x\r\nX-Sum: 1\r\n\r\nGET";
        for piece in 1..chunked.len() {
            let (data, trailers, taken) = read(Length::Chunked, chunked, piece).unwrap();
            assert_eq!((&data[..], taken), (&b"hello, world"[..], chunked.len() - 3), "{piece}");
            assert_eq!(trailers.unwrap()["x-sum"], "1");
            let (data, trailers, taken) = read(Length::Bytes(5), b"helloGET", piece).unwrap();
            assert_eq!((&data[..], taken, trailers), (&b"hello"[..], 5, Some(HeaderMap::new())));
        }
        assert_eq!(read(Length::Bytes(5), b"hell", 4).unwrap().1, None);
    }

    #[test]
    fn trailers_may_end_their_lines_with_lf_and_nothing_behind_them_is_swallowed() {
        let body = b"0\r\nX-T: 1\n\r\nGET / HTTP/1.1\r\n";
        for (body, end) in [(&body[..], 12), (b"0\r\nX-T: 1\n\nGET", 11), (b"0\r\n\r\nGET", 5)] {
            for piece in 1..body.len() {
                let (_, trailers, taken) = read(Length::Chunked, body, piece).unwrap();
                assert_eq!((trailers.is_some(), taken), (true, end), "{piece}");
            }
        }
    }

    #[test]
    fn a_chunk_that_breaks_a_rule_is_refused() {
        for body in [
            "ZZ\r\n",
            "\r\n",
            "-1\r\n",
            "+1\r\n",
            " 1\r\na",
            "0x1\r\n",
            "1\na\r\n",
            "1 1\r\na\r\n",
            "1;\u{1}\r\n",
            "1000000000000000\r\n",
            "5\r\nhello, and too much\r\n",
            "1\r\na\n0\r\n\r\n",
            "1\r\n\r\n\r\n\r\nb",
        ] {
            for piece in [1, body.len()] {
                assert!(
                    read(Length::Chunked, body.as_bytes(), piece).is_err(),
                    "{body:?} by {piece}"
                );
            }
        }
        let long = format!("1;{}", "x".repeat(MAX_SIZE_LINE_BYTES));
        assert_eq!(read(Length::Chunked, long.as_bytes(), 7), Err(BadBody::ChunkLength));
    }

    /// D202.
    #[test]
    fn what_stands_between_chunks_is_bounded_for_the_body_as_a_whole() {
        let body = |size: &str, len: usize, chunks: usize| {
            format!("{size}\r\n{}\r\n", "x".repeat(len)).repeat(chunks) + "0\r\n\r\n"
        };
        let extension = "e".repeat(500);
        for (line, len, chunks) in [
            (format!("1;{extension}"), 1, 40),
            (format!("1 {}", " ".repeat(1000)), 1, 20),
            (format!("1;{}", "e".repeat(20)), 1, 10_000),
        ] {
            let found = read(Length::Chunked, body(&line, len, chunks).as_bytes(), 1000);
            assert_eq!(found, Err(BadBody::Excess), "{line:.20}");
        }
        let signature = format!("400;chunk-signature={}", "a".repeat(64));
        for (line, len, chunks) in [
            (signature, 1024, 2000),
            ("00000001".to_owned(), 1, 20_000),
            ("1;a=b".to_owned(), 1, 20_000),
            (format!("1;{extension}"), 1, 30),
        ] {
            let (data, trailers, _) =
                read(Length::Chunked, body(&line, len, chunks).as_bytes(), 64 << 10).unwrap();
            assert_eq!((data.len(), trailers.is_some()), (len * chunks, true), "{line:.20}");
        }
    }

    #[test]
    fn trailers_that_break_a_rule_are_refused() {
        let many = "a: b\r\n".repeat(MAX_TRAILERS + 1);
        let long = format!("a: {}\r\n", "x".repeat(MAX_TRAILERS_BYTES));
        for trailers in
            ["no field\r\n", " a: b\r\n", "a : b\r\n", "a: b\r\n c\r\n", "a: \0\r\n", &many, &long]
        {
            let body = format!("0\r\n{trailers}\r\n");
            assert_eq!(
                read(Length::Chunked, body.as_bytes(), 1000),
                Err(BadBody::Trailers),
                "{trailers:.20}"
            );
        }
    }

    #[test]
    fn what_says_how_a_message_is_read_does_not_trail() {
        let names = [
            "host",
            "content-length",
            "authorization",
            "x-forwarded-for",
            "transfer-encoding",
            "cookie",
            "x-real-ip",
            "x-original-url",
            "proxy",
            "x_forwarded_for",
            "content_length",
        ];
        let lines: String = names.iter().map(|name| format!("{name}: 1\r\n")).collect();
        let body = format!("0\r\n{lines}x-sum: 1\r\n\r\n");
        let (_, trailers, _) = read(Length::Chunked, body.as_bytes(), 100).unwrap();
        assert_eq!(trailers.unwrap().keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-sum"]);
    }
}
