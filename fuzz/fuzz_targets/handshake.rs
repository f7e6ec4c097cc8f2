//! What a client may send as the opening handshake of a WebSocket: no header makes its examination
//! panic, what is refused says so with a status that exists, and what is accepted `tungstenite`
//! accepts with the same proof.
//!
//! Where ours accepts, `tungstenite` may refuse for these reasons, and no others: it takes a list in
//! `Upgrade` for one word, reads the first line of a list alone, and wants to see what is text only.

#![no_main]

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, Method, Request, Version};
use libfuzzer_sys::fuzz_target;
use shovel_edge::http::Limits;
use shovel_edge::http1::head;
use shovel_edge::ws::handshake::{Handshake, examine};
use tokio_tungstenite::tungstenite::handshake::server::create_response;

const LIMITS: Limits = Limits { max_bytes: 16 * 1024, max_fields: 100 };

fuzz_target!(|bytes: &[u8]| {
    let Ok(head::Found::Head(head, _)) = head::find(bytes, 0, &LIMITS) else { return };
    let second = second(&head.method, head.version, &head.headers);
    match examine(&head.method, head.version, &head.headers) {
        Handshake::None => {}
        Handshake::Refused(refusal) => {
            assert!([400, 426].contains(&refusal.status.as_u16()));
            let tells = refusal.headers.iter().any(|(name, _)| name == SEC_WEBSOCKET_VERSION);
            assert_eq!(tells, refusal.status == 426);
        }
        Handshake::Valid(offer) => {
            assert!(head.method == Method::GET && head.version == Version::HTTP_11);
            let is_token = |protocol: &String| !protocol.is_empty() && !protocol.contains(',');
            assert!(offer.protocols.iter().all(is_token));
            match second {
                Some(accept) => assert_eq!(offer.accept.as_bytes(), accept),
                None => assert!(has_list(&head.headers), "{:?}", head.headers),
            }
        }
    }
});

/// The proof that `tungstenite` would give.
fn second(method: &Method, version: Version, headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut request = Request::new(());
    *request.method_mut() = method.clone();
    *request.version_mut() = version;
    *request.headers_mut() = headers.clone();
    let response = create_response(&request).ok()?;
    Some(response.headers()[SEC_WEBSOCKET_ACCEPT].as_bytes().to_vec())
}

/// Whether one of those that may be lists is more than one word in one line.
fn has_list(headers: &HeaderMap) -> bool {
    [UPGRADE, CONNECTION].iter().any(|name| {
        let mut lines = headers.get_all(name).iter();
        let first = lines.next().and_then(|line| line.to_str().ok());
        first.is_none_or(|line| line.contains([',', '\t'])) || lines.next().is_some()
    })
}
