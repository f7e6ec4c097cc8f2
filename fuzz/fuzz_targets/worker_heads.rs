//! What a hostile worker may send as the head of a response: no bytes make its reading panic, and what
//! is passed on is a head that HTTP allows, which promises no body where none may be.

#![no_main]

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use libfuzzer_sys::fuzz_target;
use shovel_protocol::control::{Headers, ResponseHead};
use shovel_protocol::{Frame, ToSupervisor};
use shovel_router::{Length, header_map, response_head};

#[derive(Debug, arbitrary::Arbitrary)]
struct Input<'a> {
    is_head: bool,
    status: u16,
    fields: Vec<(&'a str, &'a [u8])>,
    raw: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let Input { is_head, status, fields, raw } = input;
    judge(&ResponseHead { status, headers: Headers(fields) }, is_head);
    // The payload of such a frame, and of the one that has trailers.
    for kind in [65, 67] {
        let frame = Frame { kind, flags: 0, id: 0, payload: raw };
        match ToSupervisor::read(frame) {
            Ok(Some(ToSupervisor::Response { head, .. })) => judge(&head, is_head),
            Ok(Some(ToSupervisor::ResponseEnd { trailers, .. })) => drop(header_map(&trailers)),
            Ok(_) | Err(_) => {}
        }
    }
});

fn judge(head: &ResponseHead<'_>, is_head: bool) {
    let Ok((response, length)) = response_head(head, is_head) else { return };
    let status = response.status();
    assert!(status.as_u16() == head.status && !status.is_informational());
    let said = said_length(response.headers());
    match (status, length) {
        (StatusCode::NO_CONTENT, _) => {
            assert_eq!((said, length), (None, Length::Unknown));
        }
        (_, Length::OfAnother) => {
            assert!(said.is_some() && (is_head || status == StatusCode::NOT_MODIFIED));
        }
        (_, Length::Bytes(bytes)) => assert_eq!(said, Some(bytes)),
        (_, Length::Unknown) => assert_eq!(said, None),
    }
    let is_plain = |value: &[u8]| !value.iter().any(|byte| b"\r\n\0".contains(byte));
    assert!(response.headers().values().all(|value| is_plain(value.as_bytes())));
    let are_given = head.headers.0.len() - usize::from(said.is_none() && has_length(head));
    assert_eq!(response.headers().len(), are_given);
}

fn has_length(head: &ResponseHead<'_>) -> bool {
    head.headers.0.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"))
}

fn said_length(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(CONTENT_LENGTH)?.to_str().expect("digits");
    assert!(value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty());
    Some(value.parse().expect("a length"))
}
