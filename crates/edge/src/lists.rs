//! Header fields that are lists (RFC 9110 §5.6.1).

use http::{HeaderMap, HeaderName};

/// The elements, over all lines, without those that are empty. A byte that is no text spoils its own
/// element alone: who skipped the whole line would miss what others read in it.
pub(crate) fn elements<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).into_iter().map(|line| line.as_bytes());
    let elements = lines.flat_map(|line| line.split(|byte| *byte == b','));
    elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Whether an element is this word, in whatever case.
pub(crate) fn names(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    elements(headers, name).any(|element| element.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::CONNECTION;

    use super::*;

    #[test]
    fn a_byte_that_is_no_text_hides_no_other_element() {
        let mut headers = HeaderMap::new();
        for line in [&b"close, \xe9"[..], b"", b" , \xff x,Upgrade\t"] {
            headers.append(CONNECTION, HeaderValue::from_bytes(line).unwrap());
        }
        let elements: Vec<_> = elements(&headers, &CONNECTION).collect();
        assert_eq!(elements, [&b"close"[..], b"\xe9", b"\xff x", b"Upgrade"]);
        assert!(names(&headers, &CONNECTION, "upgrade") && !names(&headers, &CONNECTION, "x"));
    }
}
