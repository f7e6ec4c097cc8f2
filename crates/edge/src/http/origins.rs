//! Which web pages may open WebSockets. A browser sends a user's cookies along whichever page asks,
//! and lets that page read the answers, so a page of somebody else's could act for the user (RFC
//! 6455 §10.2). Other clients send no origin, or any.

use std::str::FromStr;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Uri};

use super::headers::X_FORWARDED_HOST;

/// An origin as browsers write it (RFC 6454 §6.2): in lower case, without the scheme's own port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl FromStr for Origin {
    type Err = &'static str;

    /// Reads `https://example.com`, with a port or without, or `null`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "an origin is SCHEME://HOST or SCHEME://HOST:PORT, without a path; or same, \
                        or *";
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
        let text = text.strip_suffix(own_port(scheme)).unwrap_or(&text);
        Ok(Origin(text.to_owned()))
    }
}

/// Pages that may open WebSockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// Those of the host that they ask.
    Same,
    /// Those of any host.
    Any,
    /// Those of this origin.
    One(Origin),
}

impl FromStr for AllowedOrigin {
    type Err = &'static str;

    /// Reads `same`, `*`, or an origin.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "same" => Ok(AllowedOrigin::Same),
            "*" => Ok(AllowedOrigin::Any),
            text => text.parse().map(AllowedOrigin::One),
        }
    }
}

impl AllowedOrigin {
    fn allows(&self, origin: &Origin, headers: &HeaderMap) -> bool {
        match self {
            AllowedOrigin::Same => origin.is_of_host_in(headers),
            AllowedOrigin::Any => true,
            AllowedOrigin::One(allowed) => allowed == origin,
        }
    }
}

impl Origin {
    /// Whether this is the host, with its port, that the client asks: as it says itself, or as the
    /// first proxy has heard it. `X-Forwarded-Host` is a trusted proxy's by now, or as `Host`. The
    /// scheme is not compared, since a proxy may have ended TLS.
    fn is_of_host_in(&self, headers: &HeaderMap) -> bool {
        let Some((scheme, authority)) = self.0.split_once("://") else { return false };
        let own_port = own_port(scheme);
        let is_it = |host: &str| {
            let host = host.trim().to_ascii_lowercase();
            host.strip_suffix(own_port).unwrap_or(&host) == authority
        };
        let hosts = [HOST, X_FORWARDED_HOST].map(|name| headers.get(name)?.to_str().ok());
        hosts.into_iter().flatten().filter_map(|hosts| hosts.split(',').next()).any(is_it)
    }
}

/// Behind a host, as browsers do not write it.
fn own_port(scheme: &str) -> &'static str {
    match scheme {
        "https" | "wss" => ":443",
        "http" | "ws" => ":80",
        // No host ends like that.
        _ => " ",
    }
}

/// Whether an upgrade may go on. Without a list those of the same host may.
pub(super) fn allows(allowed: &[AllowedOrigin], headers: &HeaderMap) -> bool {
    let allowed = if allowed.is_empty() { &[AllowedOrigin::Same] } else { allowed };
    if allowed.contains(&AllowedOrigin::Any) {
        return true;
    }
    let is_allowed = |origin: &HeaderValue| {
        let origin = origin.to_str().ok().and_then(|origin| origin.parse().ok());
        origin.is_some_and(|origin| allowed.iter().any(|allowed| allowed.allows(&origin, headers)))
    };
    headers.get_all(ORIGIN).iter().all(is_allowed)
}

/// Tells of an upgrade that may not go on: who asks, and whom.
pub(super) fn log_refused(headers: &HeaderMap) {
    let text = |name| {
        let values = headers.get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect::<Vec<_>>().join(", ")
    };
    let (origin, host) = (text(ORIGIN), text(X_FORWARDED_HOST));
    let why = "a page of another origin may open no WebSocket; --allow-origin says which may";
    // The target is what the log knows lines by that anybody can cause.
    tracing::warn!(target: "refusals", origin, host, "{why}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(allowed: &[&str], headers: &[(&'static str, &'static str)]) -> bool {
        let allowed: Vec<_> = allowed.iter().map(|it| it.parse().unwrap()).collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        allows(&allowed, &map)
    }

    #[test]
    fn only_listed_origins_pass_and_those_who_send_none() {
        let allowed = ["https://Example.com:443", "http://a.test:8080"];
        let host = ("host", "c.test");
        assert!(passes(&allowed, &[host]));
        assert!(passes(&allowed, &[host, ("origin", "https://example.com")]));
        assert!(passes(&allowed, &[host, ("origin", "http://a.test:8080")]));
        for other in [
            "https://example.com.evil",
            "http://example.com",
            "http://a.test",
            "http://c.test",
            "null",
            "",
        ] {
            assert!(!passes(&allowed, &[host, ("origin", other)]), "{other}");
        }
        let both = [("origin", "https://example.com"), ("origin", "https://evil.test")];
        assert!(!passes(&allowed, &both));
        assert!(passes(&["https://a.test", "same"], &[host, ("origin", "http://c.test")]));
    }

    #[test]
    fn the_same_origin_has_the_host_and_port_that_are_asked_whatever_its_scheme() {
        for (host, origin) in [
            ("a.test", "http://a.test"),
            ("a.test", "https://a.test"),
            ("A.test", "https://a.TEST"),
            ("a.test:8080", "http://a.test:8080"),
            ("a.test:80", "http://a.test"),
            ("a.test:443", "https://a.test:443"),
            ("[::1]:8080", "http://[::1]:8080"),
        ] {
            assert!(passes(&[], &[("host", host), ("origin", origin)]), "{host} {origin}");
            assert!(passes(&["same"], &[("host", host), ("origin", origin)]), "{host} {origin}");
        }
        for (host, origin) in [
            ("a.test", "http://b.test"),
            ("a.test", "http://a.test:8080"),
            ("a.test:8080", "http://a.test"),
            ("a.test:443", "http://a.test"),
            ("a.test", "http://sub.a.test"),
            ("a.test", "http://a.test.evil"),
            ("null", "null"),
            ("", "null"),
            ("", ""),
        ] {
            assert!(!passes(&[], &[("host", host), ("origin", origin)]), "{host} {origin}");
            assert!(passes(&["*"], &[("host", host), ("origin", origin)]), "{host} {origin}");
        }
        assert!(!passes(&[], &[("origin", "http://a.test")]), "no host");
    }

    #[test]
    fn the_host_that_the_first_proxy_was_asked_is_the_same_too() {
        let asked = |host| {
            let forwarded = ("x-forwarded-host", host);
            passes(&[], &[("host", "inner:9000"), forwarded, ("origin", "https://a.test")])
        };
        assert!(asked("a.test") && asked("a.test:443, inner") && !asked("b.test, a.test"));
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
