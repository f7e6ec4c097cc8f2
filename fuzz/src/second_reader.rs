//! Second readers of HTTP/1, which share nothing with `edge::http1` but the tokens of a head.
//!
//! Of requests it is hyper's server. Of responses it is written here, and reads as a client must
//! that takes nothing on trust (RFC 9112 §6.3).

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;

/// A request as hyper sees it.
#[derive(Debug, Default)]
pub struct HyperRequest {
    pub head: Request<()>,
    pub body: Vec<u8>,
    /// `None` if the body does not become whole.
    pub trailers: Option<HeaderMap>,
}

/// All requests that hyper finds in what one client says.
pub fn requests(input: &[u8]) -> Vec<HyperRequest> {
    let found = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn({
        let found = found.clone();
        move |request: Request<Incoming>| {
            let found = found.clone();
            async move {
                let (parts, mut incoming) = request.into_parts();
                let (mut body, mut trailers) = (Vec::new(), Some(HeaderMap::new()));
                let at = found.borrow().len();
                let head = Request::from_parts(parts, ());
                found.borrow_mut().push(HyperRequest { head, ..HyperRequest::default() });
                while let Some(frame) = incoming.frame().await {
                    match frame.map(hyper::body::Frame::into_data) {
                        Ok(Ok(data)) => body.extend_from_slice(&data),
                        Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
                        Err(_) => trailers = None,
                    }
                }
                let mut found = found.borrow_mut();
                (found[at].body, found[at].trailers) = (body, trailers);
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        }
    });
    let mut builder = http1::Builder::new();
    builder.max_headers(1000).header_read_timeout(None).half_close(true);
    let mut connection = pin!(builder.serve_connection(OneWay(input.to_vec(), 0), service));
    let mut context = Context::from_waker(Waker::noop());
    // It wakes itself to go on, and nothing else is waited for.
    for _ in 0..10_000 {
        if connection.as_mut().poll(&mut context).is_ready() {
            break;
        }
    }
    drop(connection);
    found.take()
}

/// What is read from memory; what is written is dropped.
struct OneWay(Vec<u8>, usize);

impl Read for OneWay {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.0[self.1..];
        let bytes = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..bytes]);
        self.1 += bytes;
        Poll::Ready(Ok(()))
    }
}

impl Write for OneWay {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A response as a client sees it.
#[derive(Debug)]
pub struct ClientResponse {
    pub status: StatusCode,
    /// As they came, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, Vec<u8>)>,
    pub end: End,
}

/// How the body of a response ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where it says, and so many bytes from its begin the next one begins.
    At(usize),
    /// With the connection, as it says.
    Close,
    /// With the connection, before the end that it says.
    Early,
}

/// The response in front, to a request with this method.
///
/// # Panics
/// If it breaks a rule that the one who sends it has to keep.
pub fn response(input: &[u8], method: &Method) -> ClientResponse {
    let mut fields = [httparse::EMPTY_HEADER; 200];
    let mut parsed = httparse::Response::new(&mut fields);
    let head = match parsed.parse(input).expect("a head") {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => panic!("no whole head: {:?}", String::from_utf8_lossy(input)),
    };
    assert_eq!(parsed.version, Some(1));
    for line in input[..head].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        assert_eq!(line.last(), Some(&b'\r'), "a line that does not end with CRLF");
    }
    let status = StatusCode::from_u16(parsed.code.expect("a status")).expect("a status");
    let owned =
        |field: &httparse::Header<'_>| (field.name.to_ascii_lowercase(), field.value.to_vec());
    let headers: Vec<_> = parsed.headers.iter().map(owned).collect();
    let all =
        |name: &'static str| headers.iter().filter(move |(other, _)| other == name).map(|(_, v)| v);
    let lengths: Vec<_> = all("content-length").collect();
    let codings: Vec<_> = all("transfer-encoding").collect();
    assert!(lengths.len() + codings.len() <= 1, "two lengths: {headers:?}");
    let rest = &input[head..];
    let is_bodiless = *method == Method::HEAD
        || status.is_informational()
        || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
    let (body, trailers, end) = match (&lengths[..], &codings[..]) {
        _ if is_bodiless => (Vec::new(), Vec::new(), End::At(head)),
        ([length], _) => {
            let digits = std::str::from_utf8(length).expect("digits");
            assert!(digits.bytes().all(|byte| byte.is_ascii_digit()), "{digits}");
            let length = digits.parse::<usize>().expect("a length");
            let end = if rest.len() < length { End::Early } else { End::At(head + length) };
            (rest[..length.min(rest.len())].to_vec(), Vec::new(), end)
        }
        (_, [coding]) => {
            assert_eq!(coding.as_slice(), b"chunked");
            let (body, trailers, end) = chunked(rest);
            (body, trailers, end.map_or(End::Early, |end| End::At(head + end)))
        }
        ([], _) => (rest.to_vec(), Vec::new(), End::Close),
        (_, _) => unreachable!("it was counted"),
    };
    ClientResponse { status, headers, body, trailers, end }
}

type Chunked = (Vec<u8>, Vec<(String, Vec<u8>)>, Option<usize>);

/// RFC 9112 §7.1, to the letter. The end is missing if it has not come.
fn chunked(input: &[u8]) -> Chunked {
    let (mut at, mut body) = (0, Vec::new());
    let line = |at: usize| {
        let bytes = input[at..].windows(2).position(|two| two == b"\r\n")?;
        Some((&input[at..at + bytes], at + bytes + 2))
    };
    loop {
        let Some((size, data)) = line(at) else { return (body, Vec::new(), None) };
        let size = std::str::from_utf8(size).expect("a size");
        assert!(!size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit()), "{size:?}");
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            at = data;
            break;
        }
        let here = &input[data..];
        body.extend_from_slice(&here[..size.min(here.len())]);
        let Some(rest) = here.get(size..) else { return (body, Vec::new(), None) };
        if rest.len() < 2 {
            return (body, Vec::new(), None);
        }
        assert_eq!(&rest[..2], b"\r\n", "a chunk that is longer than it says");
        at = data + size + 2;
    }
    let mut trailers = Vec::new();
    loop {
        let Some((field, next)) = line(at) else { return (body, trailers, None) };
        at = next;
        if field.is_empty() {
            return (body, trailers, Some(at));
        }
        let colon = field.iter().position(|byte| *byte == b':').expect("a field");
        let name = std::str::from_utf8(&field[..colon]).expect("a name").to_ascii_lowercase();
        trailers.push((name, field[colon + 1..].trim_ascii().to_vec()));
    }
}
