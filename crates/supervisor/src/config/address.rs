//! Where to listen, as one writes it.

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf, Access),
    /// A descriptor that was inherited, already listening.
    Inherited(RawFd),
    /// Those that the service manager has passed under this name.
    Passed(String),
}

/// Who may connect to a Unix socket: as the system has it for new files, where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Its permissions, such as 0o660.
    pub mode: Option<u32>,
    /// Its owner, by name or number.
    pub user: Option<String>,
    /// The same for its group.
    pub group: Option<String>,
}

impl Address {
    /// Reads `IP:PORT`, `unix:PATH[,mode=660][,user=NAME][,group=NAME]`, `fd:N` or `fd:NAME`.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("unix:") {
            let mut parts = rest.split(',');
            let path = parts.next().unwrap_or_default();
            return match path.is_empty() {
                true => Err("unix: needs a path".into()),
                false => Ok(Address::Unix(path.into(), Access::parse(parts)?)),
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

impl Access {
    /// A misspelt option must not be taken for a part of the path: the socket would be open to
    /// others than was meant.
    fn parse<'a>(options: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut access = Access::default();
        for option in options {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let set = match name {
                "mode" => match u32::from_str_radix(value, 8) {
                    Ok(mode @ ..=0o777) => access.mode.replace(mode).is_some(),
                    _ => return Err(format!("mode is octal, such as 660, not '{value}'")),
                },
                "user" if !value.is_empty() => access.user.replace(value.into()).is_some(),
                "group" if !value.is_empty() => access.group.replace(value.into()).is_some(),
                _ => {
                    let expected = "mode=660, user=NAME and group=NAME";
                    return Err(format!(
                        "behind the path of a socket stand {expected}, not '{option}'"
                    ));
                }
            };
            if set {
                return Err(format!("{name} is given twice"));
            }
        }
        Ok(access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_written() {
        let tcp = Address::Tcp("127.0.0.1:80".parse().unwrap());
        assert_eq!(Address::parse("127.0.0.1:80"), Ok(tcp));
        let unix = |path: &str, access| Ok(Address::Unix(path.into(), access));
        assert_eq!(Address::parse("unix:/run/x"), unix("/run/x", Access::default()));
        let [user, group] = ["app", "33"].map(|name| Some(name.to_owned()));
        let access = Access { mode: Some(0o660), user, group };
        assert_eq!(
            Address::parse("unix:/run/x,mode=0660,group=33,user=app"),
            unix("/run/x", access)
        );
        assert_eq!(Address::parse("fd:3"), Ok(Address::Inherited(3)));
        assert_eq!(Address::parse("fd:web"), Ok(Address::Passed("web".into())));
        for text in ["", "localhost", "8080", "unix:", "fd:", "fd:1", "fd:-3"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mistake_behind_a_path_is_no_part_of_it() {
        for options in
            ["", "mode", "mode=", "mode=888", "mode=1777", "user=", "moed=660", "mode=6,mode=6"]
        {
            assert!(Address::parse(&format!("unix:/run/x,{options}")).is_err(), "{options}");
        }
        assert!(Address::parse("unix:,mode=660").is_err());
    }
}
