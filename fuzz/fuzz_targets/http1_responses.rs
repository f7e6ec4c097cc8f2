//! What a worker says, on its way through the edge to a client: whatever its head, body and trailers
//! are, the client sees one response for each request, the one that was meant, or one that breaks off.
//! The reader at the other end takes nothing on trust.

#![no_main]

use std::collections::VecDeque;

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderMap, Method};
use http_body::Frame;
use libfuzzer_sys::fuzz_target;
use shovel_fuzz::edge::{Script, Scripted, ScriptedBody, exchange, settings};
use shovel_fuzz::second_reader::{ClientResponse, End, response};
use shovel_protocol::control::{Headers, ResponseHead};
use shovel_router::{Length, header_map, response_head};

#[derive(Arbitrary, Clone, Debug)]
struct Exchange<'a> {
    method: Asks,
    is_old: bool,
    keeps: Option<bool>,
    takes_trailers: bool,
    upload: u8,
    status: Status,
    fields: Vec<(Name, Value<'a>)>,
    parts: Vec<u16>,
    trailers: Vec<(Name, Value<'a>)>,
    fails: bool,
    tells_size: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Asks {
    Get,
    Head,
    Post,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Status {
    Ok,
    NoContent,
    NotModified,
    Reset,
    UpgradeRequired,
    Any(u16),
}

#[derive(Arbitrary, Clone, Debug)]
enum Name {
    ContentLength,
    TransferEncoding,
    Connection,
    Trailer,
    Upgrade,
    Date,
    KeepAlive,
    Own(String),
}

#[derive(Arbitrary, Clone, Debug)]
enum Value<'a> {
    Number(u16),
    /// As long as the body is.
    Fits,
    Chunked,
    Close,
    Bytes(&'a [u8]),
}

impl Asks {
    fn method(self) -> Method {
        match self {
            Asks::Get => Method::GET,
            Asks::Head => Method::HEAD,
            Asks::Post => Method::POST,
        }
    }
}

impl Exchange<'_> {
    fn request(&self, at: usize) -> String {
        let version = if self.is_old { "1.0" } else { "1.1" };
        let mut text = format!("{} /{at} HTTP/{version}\r\nHost: a\r\n", self.method.method());
        match self.keeps {
            Some(true) => text += "Connection: keep-alive\r\n",
            Some(false) => text += "Connection: close\r\n",
            None => {}
        }
        if self.takes_trailers {
            text += "TE: trailers\r\n";
        }
        if self.method == Asks::Post {
            let body = "x".repeat(usize::from(self.upload));
            return text + &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        }
        text + "\r\n"
    }

    fn would_keep(&self) -> bool {
        self.keeps.unwrap_or(!self.is_old)
    }

    fn data(&self) -> Vec<Vec<u8>> {
        let part = |(at, bytes): (usize, &u16)| vec![b'a' + (at % 26) as u8; usize::from(*bytes)];
        self.parts.iter().take(8).enumerate().map(part).collect()
    }

    fn fields(&self, of: &[(Name, Value<'_>)]) -> Vec<(String, Vec<u8>)> {
        let bytes = self.data().concat().len();
        of.iter().map(|(name, value)| (name.text(), value.bytes(bytes))).collect()
    }

    /// What passes the router, and how long its body must be.
    fn head(&self) -> Option<(http::Response<()>, Length)> {
        let status = match self.status {
            Status::Ok => 200,
            Status::NoContent => 204,
            Status::NotModified => 304,
            Status::Reset => 205,
            Status::UpgradeRequired => 426,
            Status::Any(status) => status,
        };
        let fields = self.fields(&self.fields);
        let fields = fields.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
        let head = ResponseHead { status, headers: Headers(fields) };
        response_head(&head, self.method == Asks::Head).ok()
    }

    fn trailers(&self) -> HeaderMap {
        let fields = self.fields(&self.trailers);
        let fields = fields.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
        header_map(&Headers(fields)).unwrap_or_default()
    }

    fn script(&self) -> Option<Scripted> {
        let (head, length) = self.head()?;
        let data = self.data();
        let bytes = data.concat().len() as u64;
        let size = match length {
            Length::Bytes(bytes) => Some(bytes),
            Length::Unknown if self.tells_size && !self.fails => Some(bytes),
            Length::Unknown | Length::OfAnother => None,
        };
        let mut frames: VecDeque<_> =
            data.into_iter().map(|part| Some(Frame::data(Bytes::from(part)))).collect();
        if self.fails {
            frames.push_back(None);
        } else if size.is_none() && !self.trailers.is_empty() {
            frames.push_back(Some(Frame::trailers(self.trailers())));
        }
        Some(Scripted { head, body: ScriptedBody { frames, size } })
    }
}

impl Name {
    fn text(&self) -> String {
        let known = match self {
            Name::ContentLength => "content-length",
            Name::TransferEncoding => "transfer-encoding",
            Name::Connection => "connection",
            Name::Trailer => "trailer",
            Name::Upgrade => "upgrade",
            Name::Date => "date",
            Name::KeepAlive => "keep-alive",
            Name::Own(name) => name,
        };
        known.to_owned()
    }
}

impl Value<'_> {
    fn bytes(&self, fits: usize) -> Vec<u8> {
        match self {
            Value::Number(number) => number.to_string().into_bytes(),
            Value::Fits => fits.to_string().into_bytes(),
            Value::Chunked => b"chunked".to_vec(),
            Value::Close => b"close".to_vec(),
            Value::Bytes(bytes) => bytes.to_vec(),
        }
    }
}

fuzz_target!(|exchanges: Vec<Exchange<'_>>| {
    // Those that the router refuses are answered by it.
    let exchanges: Vec<_> =
        exchanges.into_iter().filter(|one| one.script().is_some()).take(3).collect();
    let said: String = exchanges.iter().enumerate().map(|(at, one)| one.request(at)).collect();
    let mut scripts: VecDeque<_> = exchanges.iter().filter_map(Exchange::script).collect();
    let script: Script = Box::new(move |_| scripts.pop_front().unwrap_or_default());
    let (heard, seen) = exchange(said.as_bytes(), &[], settings(false), script);
    let mut rest = &heard[..];
    for (at, one) in exchanges.iter().enumerate() {
        let got = response(rest, &one.method.method());
        assert_eq!(seen[at].parts.uri.path(), format!("/{at}"));
        check_head(one, &got);
        match check_body(one, &got) {
            Some(taken) => rest = &rest[taken..],
            None => return,
        }
        if got.headers.contains(&(CONNECTION.to_string(), b"close".to_vec())) {
            assert!(!one.would_keep() || at + 1 == exchanges.len(), "it would go on");
            break;
        }
    }
    assert!(rest.is_empty(), "more than was asked for: {}", rest.escape_ascii());
});

fn check_head(one: &Exchange<'_>, got: &ClientResponse) {
    let Some((meant, length)) = one.head() else { return };
    assert_eq!(got.status, meant.status());
    let of_hop = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
        "proxy-authenticate",
        "content-length",
    ];
    let named = meant.headers().get_all(CONNECTION).iter();
    let named = named.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let named: Vec<_> = named.map(|name| name.trim_ascii().to_ascii_lowercase()).collect();
    for name in meant.headers().keys() {
        let text = name.as_str();
        if of_hop.contains(&text) || named.iter().any(|option| option == text.as_bytes()) {
            continue;
        }
        let values = meant.headers().get_all(name).iter();
        // White space around a value is none of it (RFC 9110 §5.5).
        let values = values.map(|value| value.as_bytes().trim_ascii().to_vec());
        let others = got.headers.iter().filter(|(other, _)| other == text);
        assert!(values.eq(others.map(|(_, value)| value.clone())), "{text}");
    }
    let ours = ["date", "content-length", "transfer-encoding", "connection", "upgrade"];
    let is_known = |name: &str| ours.contains(&name) || meant.headers().contains_key(name);
    assert!(got.headers.iter().all(|(name, _)| is_known(name)), "{:?}", got.headers);
    // A 205 would have none.
    if length == Length::OfAnother && got.status != 205 {
        let said = meant.headers().get(CONTENT_LENGTH).map(|value| value.as_bytes().to_vec());
        let is_it = |(name, value): &(String, Vec<u8>)| {
            name == "content-length" && Some(value) == said.as_ref()
        };
        assert!(got.headers.iter().any(is_it));
    }
}

/// How long all of it is, unless the connection ends with it.
fn check_body(one: &Exchange<'_>, got: &ClientResponse) -> Option<usize> {
    let (_, length) = one.head()?;
    let all = one.data().concat();
    let is_bodiless = one.method == Asks::Head || [204, 205, 304].contains(&got.status.as_u16());
    if is_bodiless {
        assert!(got.body.is_empty() && got.trailers.is_empty());
        return at(got);
    }
    let is_whole = match length {
        Length::Bytes(bytes) => bytes == all.len() as u64,
        Length::Unknown | Length::OfAnother => true,
    };
    match got.end {
        // What a body has in front of its fault may have gone out.
        End::Early => {
            assert!(one.fails || !is_whole);
            assert!(all.starts_with(&got.body));
            None
        }
        End::Close => {
            assert!(one.is_old && (got.body == all || one.fails));
            assert!(all.starts_with(&got.body));
            None
        }
        End::At(_) => {
            // All that it says has come before it fails, or before there is more.
            let said = matches!(length, Length::Bytes(_));
            assert!((is_whole && !one.fails) || said, "what is not whole looks so");
            assert!(all.starts_with(&got.body) && (got.body == all || !is_whole));
            let meant = one.trailers();
            let is_meant = |(name, value): &(String, Vec<u8>)| {
                meant.get_all(name).iter().any(|one| one.as_bytes().trim_ascii() == value)
            };
            assert!(got.trailers.iter().all(is_meant), "{:?}", got.trailers);
            if one.fails || !is_whole { None } else { at(got) }
        }
    }
}

fn at(got: &ClientResponse) -> Option<usize> {
    match got.end {
        End::At(end) => Some(end),
        End::Close | End::Early => None,
    }
}
