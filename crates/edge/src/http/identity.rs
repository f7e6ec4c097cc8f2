//! What a request is called: its trace (W3C Trace Context) and its id, which is ours.

use http::{HeaderMap, HeaderName, HeaderValue};

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Length of a `traceparent` of version 00: `00-TRACE-PARENT-FLAGS`.
const TRACEPARENT_BYTES: usize = 55;

/// What a request is called.
pub(crate) struct Names {
    /// 32 hexadecimal digits, those of its trace if that begins here; or what a proxy says.
    pub(super) id: HeaderValue,
    /// The `traceparent` that it came with.
    pub(super) trace: Option<HeaderValue>,
}

impl Names {
    /// The id of the trace that it came with.
    pub(super) fn trace_id(&self) -> Option<&str> {
        self.trace.as_ref()?.to_str().ok()?.get(3..35)
    }
}

/// Gives a request its names.
///
/// A trace that comes with the request goes on as it is: no span is recorded here, so none may
/// stand between the client's and the app's. Without one, or with a bad one, a trace begins,
/// marked as sampled: the app, which records, is to decide. An id of the client's is dropped:
/// anyone can write it, and two requests would have the same. That of a trusted proxy stays.
pub(super) fn identify(headers: &mut HeaderMap, is_trusted: bool) -> Names {
    let trace = trace_of(headers).cloned();
    let id = if trace.is_some() {
        trace_id()
    } else {
        // §3.3: a state without its parent says nothing.
        headers.remove(TRACESTATE);
        let id = trace_id();
        headers.insert(TRACEPARENT, begin(&id));
        id
    };
    // Of several nobody could say which one it is.
    let given = only(headers, &X_REQUEST_ID).filter(|given| is_trusted && is_id(given));
    if let Some(id) = given.cloned() {
        return Names { id, trace };
    }
    // Digits are no control characters.
    let id = HeaderValue::from_bytes(&id).unwrap_or_else(|_| HeaderValue::from_static(""));
    headers.insert(X_REQUEST_ID, id.clone());
    Names { id, trace }
}

/// Something that fits into a log.
fn is_id(value: &HeaderValue) -> bool {
    (1..=128).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn trace_of(headers: &HeaderMap) -> Option<&HeaderValue> {
    only(headers, &TRACEPARENT).filter(|one| is_traceparent(one.as_bytes()))
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut all = headers.get_all(name).iter();
    let one = all.next()?;
    all.next().is_none().then_some(one)
}

/// Trace Context §3.2. Later versions may be longer and begin as this one does.
fn is_traceparent(value: &[u8]) -> bool {
    let Some((head, rest)) = value.split_at_checked(TRACEPARENT_BYTES) else { return false };
    let fits = match &head[..2] {
        b"ff" => false,
        b"00" => rest.is_empty(),
        _ => matches!(rest, [] | [b'-', ..]) && rest.iter().all(u8::is_ascii_graphic),
    };
    let is_hex = |part: &[u8]| part.iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |part: &[u8]| part.iter().all(|c| *c == b'0');
    let (trace, parent) = (&head[3..35], &head[36..52]);
    fits && [2, 35, 52].iter().all(|dash| head[*dash] == b'-')
        && [&head[..2], trace, parent, &head[53..]].into_iter().all(is_hex)
        && !is_zero(trace)
        && !is_zero(parent)
}

fn begin(trace: &[u8; 32]) -> HeaderValue {
    let mut value = [b'-'; TRACEPARENT_BYTES];
    value[..2].copy_from_slice(b"00");
    value[3..35].copy_from_slice(trace);
    value[36..52].copy_from_slice(&hex(fastrand::u64(1..)));
    value[53..].copy_from_slice(b"01");
    // Digits and dashes are no control characters.
    HeaderValue::from_bytes(&value).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn trace_id() -> [u8; 32] {
    let mut id = [0; 32];
    id[..16].copy_from_slice(&hex(fastrand::u64(..)));
    // All zeros would be no trace.
    id[16..].copy_from_slice(&hex(fastrand::u64(1..)));
    id
}

fn hex(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    for (place, digit) in digits.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (60 - 4 * place)) as usize & 15];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    #[test]
    fn a_trace_that_comes_with_a_request_goes_on_as_it_is() {
        let mut headers = headers(&[("traceparent", GOOD), ("tracestate", "a=1")]);
        let names = identify(&mut headers, false);
        assert_eq!(names.trace_id(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        let id = names.id;
        assert_eq!(headers["traceparent"], GOOD);
        assert_eq!(headers["tracestate"], "a=1");
        assert_eq!(headers["x-request-id"], id);
        assert!(!GOOD.contains(id.to_str().unwrap()), "two requests of a trace are two");
    }

    #[test]
    fn without_a_trace_one_begins_and_names_the_request() {
        let mut headers = headers(&[("tracestate", "a=1"), ("x-request-id", "mine")]);
        let names = identify(&mut headers, false);
        assert_eq!(names.trace_id(), None);
        let id = names.id.to_str().unwrap();
        assert!(is_traceparent(headers["traceparent"].as_bytes()), "{headers:?}");
        assert_eq!(headers["traceparent"].to_str().unwrap()[3..35], *id);
        assert_eq!(headers["x-request-id"], id);
        assert!(!headers.contains_key("tracestate"));
    }

    #[test]
    fn the_id_that_a_trusted_proxy_gave_stays_if_it_is_one() {
        for (given, stays) in [("abc-1", true), ("", false), ("a b", false)] {
            let mut headers = headers(&[("x-request-id", given)]);
            let id = identify(&mut headers, true).id;
            assert_eq!(id == given, stays, "{given}");
            assert_eq!(headers["x-request-id"], id);
        }
    }

    #[test]
    fn two_ids_are_none_even_of_a_trusted_proxy() {
        let mut headers = headers(&[("x-request-id", "one")]);
        headers.append(X_REQUEST_ID, HeaderValue::from_static("two"));
        let id = identify(&mut headers, true).id;
        assert!(headers.get_all(X_REQUEST_ID).iter().eq([&id]) && id.len() == 32);
    }

    #[test]
    fn two_traces_are_none() {
        let mut headers = headers(&[("traceparent", GOOD)]);
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        identify(&mut headers, false);
        assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1);
        assert_ne!(headers["traceparent"], GOOD);
    }

    #[test]
    fn what_is_no_traceparent_is_told_apart() {
        for good in
            [GOOD.to_owned(), GOOD.replacen("00", "cc", 1) + "-more", "01".to_owned() + &GOOD[2..]]
        {
            assert!(is_traceparent(good.as_bytes()), "{good}");
        }
        let zeros = "0".repeat(32);
        for bad in [
            String::new(),
            GOOD[..54].to_owned(),
            GOOD.to_owned() + "-more",
            "cc".to_owned() + &GOOD[2..] + "more",
            "cc".to_owned() + &GOOD[2..] + "-m\u{f6}re",
            GOOD.replacen("00", "ff", 1),
            GOOD.to_uppercase(),
            GOOD.replace("4bf", "4bg"),
            GOOD.replace('-', "_"),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &zeros),
            GOOD.replace("00f067aa0ba902b7", &zeros[..16]),
        ] {
            assert!(!is_traceparent(bad.as_bytes()), "{bad}");
        }
    }
}
