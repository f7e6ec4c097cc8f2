//! What a hostile client may send: no bytes make the reading of requests panic, and how they are cut
//! into reads changes nothing of what is found: heads, bodies, trailers, and where each ends. hyper
//! finds the same requests.
//!
//! Where ours refuses, hyper may accept. Where both accept, these differences are meant, and no others:
//!
//! | what | why |
//! |---|---|
//! | the target loses its scheme and host, and `Host` is that host | RFC 9112 §3.2.2 |
//! | some trailers are dropped | RFC 9110 §6.5.1 |
//! | trailers that end a line with LF alone are not compared, nor what is behind them | hyper looks for CR and drops what it does not find |

#![no_main]

use http::header::HOST;
use http::{HeaderMap, Version};
use libfuzzer_sys::fuzz_target;
use shovel_edge::http::Limits;
use shovel_edge::http1::framing::{self, Decoder};
use shovel_edge::http1::head;
use shovel_fuzz::fields;
use shovel_fuzz::second_reader::{HyperRequest, requests};

const LIMITS: Limits = Limits { max_bytes: 4096, max_fields: 20 };

/// What is found in some bytes.
#[derive(Debug, Default)]
struct Found {
    requests: Vec<Request>,
    /// What comes next breaks a rule.
    is_refused: bool,
}

#[derive(Debug)]
struct Request {
    head: head::Head,
    body: Vec<u8>,
    /// `None` if the body has no end.
    trailers: Option<HeaderMap>,
    /// Lines of its trailers end with LF alone.
    has_lf: bool,
}

/// Reads as from a connection, which ends with the first request that does not keep it.
fn read(input: &[u8], sizes: &[usize]) -> Found {
    let mut found = Found::default();
    let (mut carry, mut looked_at, mut body) = (Vec::new(), 0, None::<Decoder>);
    let (mut rest, mut sizes) = (input, sizes.iter().cycle());
    loop {
        let is_again = match (&mut body, found.requests.last_mut()) {
            (Some(decoder), Some(request)) => match decoder.decode(&carry) {
                Ok((skipped, framing::Found::Data(bytes))) => {
                    request.body.extend_from_slice(&carry[skipped..skipped + bytes]);
                    carry.drain(..skipped + bytes);
                    true
                }
                Ok((skipped, framing::Found::End(trailers))) => {
                    request.has_lf = has_bare_lf(&carry[..skipped]);
                    request.trailers = Some(trailers);
                    carry.drain(..skipped);
                    (body, looked_at) = (None, 0);
                    if !request.head.keeps {
                        return found;
                    }
                    true
                }
                Ok((skipped, framing::Found::Nothing)) => {
                    carry.drain(..skipped);
                    false
                }
                Err(_) => {
                    found.is_refused = true;
                    return found;
                }
            },
            _ => match head::find(&carry, looked_at, &LIMITS) {
                Ok(head::Found::Head(head, bytes)) => {
                    carry.drain(..bytes);
                    looked_at = 0;
                    let decoder = Decoder::new(head.length);
                    let is_whole = decoder.is_done();
                    let keeps = head.keeps;
                    let trailers = is_whole.then(HeaderMap::new);
                    let (head, read) = (*head, Vec::new());
                    found.requests.push(Request { head, body: read, trailers, has_lf: false });
                    body = (!is_whole).then_some(decoder);
                    if is_whole && !keeps {
                        return found;
                    }
                    true
                }
                Ok(head::Found::Nothing) => {
                    looked_at = carry.len();
                    false
                }
                Err(_) => {
                    found.is_refused = true;
                    return found;
                }
            },
        };
        if is_again {
            continue;
        }
        if rest.is_empty() {
            return found;
        }
        let size = sizes.next().copied().unwrap_or(1).clamp(1, rest.len());
        carry.extend_from_slice(&rest[..size]);
        rest = &rest[size..];
    }
}

fn has_bare_lf(bytes: &[u8]) -> bool {
    let is_bare = |at: &usize| bytes[*at] == b'\n' && (*at == 0 || bytes[*at - 1] != b'\r');
    (0..bytes.len()).any(|at| is_bare(&at))
}

fuzz_target!(|input: ([u8; 4], &[u8])| {
    let (sizes, bytes) = input;
    let whole = read(bytes, &[usize::MAX]);
    let cut = read(bytes, &sizes.map(usize::from));
    compare_cut(&whole, &cut);
    compare_with_hyper(&whole, &requests(bytes));
});

/// What is nonsense may be seen as such sooner or later, and so more or less of the body before it. All
/// else is the same: no request is found behind what is nonsense to the other.
fn compare_cut(whole: &Found, cut: &Found) {
    assert_eq!(whole.requests.len(), cut.requests.len());
    for (one, other) in whole.requests.iter().zip(&cut.requests) {
        assert_eq!(format!("{:?}", one.head), format!("{:?}", other.head));
        assert_eq!(one.trailers, other.trailers);
        match one.trailers {
            Some(_) => assert_eq!(one.body, other.body),
            None => {
                let both = one.body.len().min(other.body.len());
                assert_eq!(one.body[..both], other.body[..both]);
            }
        }
    }
}

fn compare_with_hyper(ours: &Found, theirs: &[HyperRequest]) {
    for (at, one) in ours.requests.iter().enumerate() {
        let Some(other) = theirs.get(at) else { panic!("hyper does not see {one:?}") };
        compare_heads(&one.head, other);
        let Some(trailers) = &one.trailers else { return };
        if one.has_lf {
            return;
        }
        assert_eq!(one.body, other.body);
        let Some(others) = &other.trailers else { panic!("hyper sees no end of {one:?}") };
        let others = fields::of(others);
        assert!(fields::of(trailers).iter().all(|field| others.contains(field)), "{others:?}");
    }
    if !ours.is_refused {
        assert_eq!(ours.requests.len(), theirs.len(), "hyper sees more");
    }
}

fn compare_heads(ours: &head::Head, theirs: &HyperRequest) {
    let theirs = &theirs.head;
    assert_eq!(&ours.method, theirs.method());
    let version = theirs.version();
    assert_eq!(ours.version, version);
    let (mut our_fields, mut their_fields) = (ours.headers.clone(), theirs.headers().clone());
    if let Some(authority) = theirs.uri().authority() {
        assert_eq!(ours.headers[HOST], authority.as_str());
        our_fields.remove(HOST);
        their_fields.remove(HOST);
    }
    assert_eq!(fields::of(&our_fields), fields::of(&their_fields));
    // Written out, an empty path is the root.
    let target = theirs.uri().path_and_query().map_or("*".to_owned(), ToString::to_string);
    assert_eq!(ours.uri.to_string(), target);
    assert!(version == Version::HTTP_11 || ours.length != framing::Length::Chunked);
}
