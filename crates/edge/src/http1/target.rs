//! What a request asks for, and of whom (RFC 9112 §3.2).

use std::net::Ipv6Addr;

use http::header::{HOST, HeaderMap, HeaderValue};
use http::{Method, Uri, Version};

use super::head::{Refusal, bad};

/// The target as path and query, with the host that it means in `Host`.
pub(super) fn read(
    method: &Method,
    target: &str,
    version: Version,
    headers: &mut HeaderMap,
) -> Result<Uri, Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_11 => {
            return Err(bad("the Host header must be given once"));
        }
        (Some(_), Some(_)) => return Err(bad("the Host header must be given once")),
        (Some(host), None) if !is_host(host.as_bytes()) => {
            return Err(bad("the Host header names no host"));
        }
        _ => {}
    }
    if target.contains('#') {
        return Err(bad("the target has a fragment"));
    }
    let malformed = |_| bad("the target is malformed");
    if target.starts_with('/') {
        return target.parse().map_err(malformed);
    }
    if target == "*" {
        return match *method {
            Method::OPTIONS => Ok(Uri::from_static("*")),
            _ => Err(bad("only OPTIONS may ask for *")),
        };
    }
    let uri = target.parse::<Uri>().map_err(malformed)?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    // A URL has a host (RFC 9110 §4.2.1), though the field may be empty.
    let authority = uri.authority().filter(|authority| !authority.host().is_empty());
    let authority = authority.filter(|authority| is_host(authority.as_str().as_bytes()));
    let (true, Some(authority)) = (is_web, authority) else {
        return Err(bad("the target is no path, and no URL of a web page"));
    };
    let host =
        HeaderValue::from_str(authority.as_str()).map_err(|_| bad("the target is malformed"))?;
    headers.insert(HOST, host);
    // Of the host as a whole (RFC 9112 §3.2.4).
    let is_bare = target.split_once("://").is_some_and(|(_, rest)| rest == authority.as_str());
    if *method == Method::OPTIONS && is_bare {
        return Ok(Uri::from_static("*"));
    }
    // Written out, an empty path is the root (RFC 9110 §4.2.3).
    let path = uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    path.parse().map_err(malformed)
}

/// Whether this is a host with or without a port (RFC 9110 §7.2), or nothing. A comma, which RFC 3986
/// would allow in a name, is in no name that exists, and makes a list of it for some.
fn is_host(text: &[u8]) -> bool {
    let (host, port) = match text.first() {
        Some(b'[') => {
            let Some(end) = text.iter().position(|byte| *byte == b']') else { return false };
            let address = std::str::from_utf8(&text[1..end]).ok();
            let is_address = address.is_some_and(|text| text.parse::<Ipv6Addr>().is_ok());
            if !is_address {
                return false;
            }
            (&text[..=end], &text[end + 1..])
        }
        _ => match text.iter().position(|byte| *byte == b':') {
            Some(colon) => text.split_at(colon),
            None => (text, &[][..]),
        },
    };
    let is_name = text.first() == Some(&b'[') || is_reg_name(host);
    let is_port = match port {
        [] | [b':'] => true,
        [b':', digits @ ..] => {
            let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<u16>().ok());
            digits.iter().all(u8::is_ascii_digit) && number.is_some()
        }
        _ => false,
    };
    is_name && is_port
}

/// RFC 3986 §3.2.2, without the comma.
fn is_reg_name(name: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(byte);
    let mut parts = name.split(|byte| *byte == b'%');
    let is_begin = parts.next().is_none_or(|begin| begin.iter().all(is_plain));
    is_begin
        && parts.all(|part| {
            let encoded = part.get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
            encoded && part.iter().all(is_plain)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The path and the host that a request is for.
    fn asked(line: &str, version: Version, hosts: &[&str]) -> Result<(String, String), u16> {
        let (method, target) = line.split_once(' ').unwrap();
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_bytes(host.as_bytes()).unwrap());
        }
        let uri = read(&method.parse().unwrap(), target, version, &mut headers);
        let uri = uri.map_err(|refusal| refusal.status.as_u16())?;
        let host = headers.get(HOST).map_or("", |host| host.to_str().unwrap());
        Ok((uri.to_string(), host.to_owned()))
    }

    /// D201.
    #[test]
    fn a_host_is_a_host() {
        let get = |host: &str| asked("GET /", Version::HTTP_11, &[host]);
        for host in [
            "a",
            "a.b:80",
            "a:",
            "",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:8080",
            "a_b",
            "%41",
            "%c3%A4.b:1",
            "xn--a",
        ] {
            assert!(get(host).is_ok(), "{host}");
        }
        for host in [
            "a b", "a,b", "u@a", "a/b", "a:xx", "a:70000", "[::1", "[::1]x", "[g]", "\u{e4}",
            "a:1:2", "a\"", "a\\b", "a?b", "%", "a%", "a%4", "a%zz", "a%4g:80", "a%%41", "[::1%1]",
        ] {
            assert_eq!(get(host), Err(400), "{host}");
        }
    }

    #[test]
    fn a_host_is_given_once_and_may_be_missing_in_http_1_0() {
        for hosts in [&[][..], &["a", "a"], &["a", "b"]] {
            assert_eq!(asked("GET /", Version::HTTP_11, hosts), Err(400), "{hosts:?}");
        }
        assert!(asked("GET /", Version::HTTP_10, &[]).is_ok());
        assert_eq!(asked("GET /", Version::HTTP_10, &["a", "b"]), Err(400));
    }

    /// D201.
    #[test]
    fn of_an_absolute_target_the_targets_host_wins() {
        let get = |target: &str| asked(&format!("GET {target}"), Version::HTTP_11, &["other"]);
        for (target, host, path) in [
            ("http://a/b?c", "a", "/b?c"),
            ("https://a:8080", "a:8080", "/"),
            ("HTTP://a/", "a", "/"),
            ("http://a?x", "a", "/?x"),
            ("http://a:80?", "a:80", "/?"),
            ("http://[::1]?x/y?z", "[::1]", "/?x/y?z"),
            ("/b", "other", "/b"),
            ("//a/b", "other", "//a/b"),
        ] {
            assert_eq!(get(target), Ok((path.to_owned(), host.to_owned())), "{target}");
        }
        for target in [
            "ftp://a/",
            "http://u@a/",
            "http:///a",
            "http://:80/",
            "http://?x",
            "a",
            "a:80",
            "*",
            "?a",
            "/a#b",
            "http://a?x#y",
            "http://a,b/",
            "http://a%zz/",
            "http://%/",
        ] {
            assert_eq!(get(target), Err(400), "{target}");
        }
        let options = asked("OPTIONS *", Version::HTTP_11, &["a"]);
        assert_eq!(options, Ok(("*".to_owned(), "a".to_owned())));
    }
}
