//! Which web pages may open WebSockets. A browser sends a user's cookies along whichever page asks,
//! and lets that page read the answers, so a page of somebody else's could act for the user (RFC
//! 6455 §10.2). Other clients send no origin, or any.

use std::str::FromStr;

use http::header::ORIGIN;
use http::{HeaderMap, Uri};

/// An origin as browsers write it (RFC 6454 §6.2): in lower case, without the scheme's own port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl FromStr for Origin {
    type Err = &'static str;

    /// Reads `https://example.com`, with a port or without, or `null`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "an origin is SCHEME://HOST or SCHEME://HOST:PORT, without a path";
        let text = text.to_ascii_lowercase();
        if text == "null" {
            return Ok(Origin(text));
        }
        let uri: Uri = text.parse().map_err(|_| expected)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(expected);
        };
        if text != format!("{scheme}://{authority}") || authority.as_str().contains('@') {
            return Err(expected);
        }
        let own_port = match scheme {
            "https" => ":443",
            "http" => ":80",
            _ => "",
        };
        let text = text.strip_suffix(own_port).unwrap_or(&text);
        Ok(Origin(text.to_owned()))
    }
}

/// Whether an upgrade may go on. Without a list everyone's may.
pub(super) fn allows(allowed: &[Origin], headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let is_allowed = |origin: &http::HeaderValue| {
        let origin = origin.to_str().ok().and_then(|origin| origin.parse().ok());
        origin.is_some_and(|origin| allowed.contains(&origin))
    };
    allowed.is_empty() || origins.all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_origins_pass_and_those_who_send_none() {
        let allowed: Vec<Origin> =
            ["https://Example.com:443", "http://a.test:8080"].map(|it| it.parse().unwrap()).into();
        let passes = |origins: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for origin in origins {
                headers.append(ORIGIN, http::HeaderValue::from_static(origin));
            }
            allows(&allowed, &headers)
        };
        assert!(passes(&[]));
        assert!(passes(&["https://example.com"]));
        assert!(passes(&["http://a.test:8080"]));
        for other in ["https://example.com.evil", "http://example.com", "http://a.test", "null", ""]
        {
            assert!(!passes(&[other]), "{other}");
        }
        assert!(!passes(&["https://example.com", "https://evil.test"]));
    }

    #[test]
    fn an_origin_has_no_path_and_a_scheme() {
        for wrong in
            ["example.com", "https://a/", "https://a/b", "https://", "https://u@a", "*", ""]
        {
            assert!(wrong.parse::<Origin>().is_err(), "{wrong}");
        }
        assert_eq!("null".parse(), Ok(Origin("null".into())));
    }
}
