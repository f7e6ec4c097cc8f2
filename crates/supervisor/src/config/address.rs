//! Where to listen, as one writes it.

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// A descriptor that was inherited, already listening.
    Inherited(RawFd),
    /// Those that the service manager has passed under this name.
    Passed(String),
}

impl Address {
    /// Reads `IP:PORT`, `unix:PATH`, `fd:N` or `fd:NAME`.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.is_empty() {
                true => Err("unix: needs a path".into()),
                false => Ok(Address::Unix(path.into())),
            };
        }
        if let Some(which) = text.strip_prefix("fd:") {
            return match which.parse() {
                Ok(number @ 3..) => Ok(Address::Inherited(number)),
                Ok(_) => Err("descriptors below 3 are not for listening".into()),
                Err(_) if which.is_empty() => Err("fd: needs a number or a name".into()),
                Err(_) => Ok(Address::Passed(which.into())),
            };
        }
        let expected = "an address is IP:PORT, unix:PATH, fd:N or fd:NAME";
        text.parse().map(Address::Tcp).map_err(|_| expected.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_written() {
        let tcp = Address::Tcp("127.0.0.1:80".parse().unwrap());
        assert_eq!(Address::parse("127.0.0.1:80"), Ok(tcp));
        assert_eq!(Address::parse("unix:/run/x"), Ok(Address::Unix("/run/x".into())));
        assert_eq!(Address::parse("fd:3"), Ok(Address::Inherited(3)));
        assert_eq!(Address::parse("fd:web"), Ok(Address::Passed("web".into())));
        for text in ["", "localhost", "8080", "unix:", "fd:", "fd:1", "fd:-3"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
