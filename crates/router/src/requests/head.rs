//! Heads of requests and responses, as the edge has them and as they stand in frames.

use http::header::{CONTENT_LENGTH, DATE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};
use shovel_edge::Peer;
use shovel_protocol::control::{Headers, OfferedConnection, RequestHead, ResponseHead};

use super::body::Length;

/// The head of a request, for its worker.
pub fn request_head<'a>(
    parts: &'a Parts,
    peer: &'a Peer,
    offer: Option<OfferedConnection>,
) -> RequestHead<'a> {
    let version = match parts.version {
        Version::HTTP_09 | Version::HTTP_10 => 10,
        Version::HTTP_2 => 20,
        _ => 11,
    };
    RequestHead {
        method: parts.method.as_str(),
        target: target(parts),
        version,
        headers: headers(&parts.headers),
        client: &peer.text,
        offer,
    }
}

/// Path and query, or what another form of the target has of them (RFC 9112 §3.2).
pub fn target(parts: &Parts) -> &str {
    match parts.uri.path_and_query() {
        Some(target) => target.as_str(),
        None => parts.uri.authority().map_or("*", |authority| authority.as_str()),
    }
}

/// As they stand in a frame.
pub fn headers(headers: &HeaderMap) -> Headers<'_> {
    Headers(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect())
}

/// Why headers of a worker cannot be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// A name or value that may not stand in a header.
    Malformed,
    /// More than a map takes, which panics if it is not asked first.
    TooMany,
}

impl Unfit {
    /// Of the head of a response.
    pub fn of_head(self) -> &'static str {
        match self {
            Unfit::Malformed => "a header with a bad name or value",
            Unfit::TooMany => "more headers than a response can have",
        }
    }

    /// Of what comes behind its body.
    pub fn of_trailers(self) -> &'static str {
        match self {
            Unfit::Malformed => "a trailer with a bad name or value",
            Unfit::TooMany => "more trailers than a response can have",
        }
    }
}

/// As a worker sent them.
pub fn header_map(headers: &Headers<'_>) -> Result<HeaderMap, Unfit> {
    let too_many = |_| Unfit::TooMany;
    let mut map = HeaderMap::try_with_capacity(headers.0.len()).map_err(too_many)?;
    for (name, value) in &headers.0 {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Unfit::Malformed)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| Unfit::Malformed)?;
        map.try_append(name, value).map_err(too_many)?;
    }
    Ok(map)
}

/// The head of a response as the edge takes it, and how long its body must be.
///
/// # Errors
/// Why it cannot be passed on.
pub fn response_head(
    head: &ResponseHead<'_>,
    is_head: bool,
) -> Result<(Response<()>, Length), &'static str> {
    let status = StatusCode::from_u16(head.status).ok();
    let status = status.filter(|status| !status.is_informational()).ok_or("impossible status")?;
    let mut headers = header_map(&head.headers).map_err(Unfit::of_head)?;
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => Length::Unknown,
        (Some(one), None) => {
            // `parse` alone would take "+5" (RFC 9110 §8.6).
            let digits = one.to_str().ok().filter(|text| text.bytes().all(|c| c.is_ascii_digit()));
            let length = digits.and_then(|text| text.parse().ok());
            Length::Bytes(length.ok_or("a Content-Length that is not one number")?)
        }
        (Some(_), Some(_)) => return Err("several Content-Lengths"),
    };
    let length = match (length, status) {
        (Length::Bytes(_), StatusCode::NO_CONTENT) => {
            // RFC 9110 §8.6 does not allow it there.
            headers.remove(CONTENT_LENGTH);
            Length::Unknown
        }
        (Length::Bytes(_), StatusCode::NOT_MODIFIED) => Length::OfAnother,
        (Length::Bytes(_), _) if is_head => Length::OfAnother,
        (length, _) => length,
    };
    // One time only: which of several is meant, the next hop might see otherwise.
    if headers.get_all(DATE).iter().nth(1).is_some()
        && let Some(first) = headers.get(DATE).cloned()
    {
        headers.insert(DATE, first);
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok((response, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, lines: &[(&str, &str)]) -> Result<(Response<()>, Length), &'static str> {
        let headers = lines.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        response_head(&ResponseHead { status, headers: Headers(headers) }, false)
    }

    #[test]
    fn more_headers_than_a_map_takes_are_refused() {
        assert!(read(200, &[("a", "b"); 10]).is_ok());
        let why = read(200, &[("a", "b"); 50_000]).unwrap_err();
        assert_eq!(why, "more headers than a response can have");
    }

    #[test]
    fn of_several_dates_the_first_stays() {
        let (response, _) = read(200, &[("date", "one"), ("a", "b"), ("date", "two")]).unwrap();
        let dates: Vec<_> = response.headers().get_all(DATE).iter().collect();
        assert_eq!(dates, ["one"]);
    }

    #[test]
    fn only_digits_are_a_length() {
        assert_eq!(read(200, &[("content-length", "5")]).unwrap().1, Length::Bytes(5));
        for text in ["+5", "-5", "5 ", "5,5", "", "0x5", "99999999999999999999"] {
            assert!(read(200, &[("content-length", text)]).is_err(), "{text}");
        }
    }

    #[test]
    fn a_length_stands_only_where_it_may() {
        let (response, length) = read(204, &[("content-length", "5")]).unwrap();
        assert!(!response.headers().contains_key(CONTENT_LENGTH));
        assert_eq!(length, Length::Unknown);
        assert_eq!(read(304, &[("content-length", "5")]).unwrap().1, Length::OfAnother);
    }
}
