//! Which hosts a request to the admin address may name.
//!
//! A page of anybody's can have its own name lead to this machine (DNS rebinding), and its reader's
//! browser then asks us in the page's name and lets it read the answer. Such a request names the
//! page's host: so only names are answered that nobody else can own.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Names that are answered beside those of this machine.
#[derive(Clone, Debug, Default)]
pub struct Hosts(Arc<[String]>);

impl Hosts {
    /// `*` among them answers every name.
    pub fn new(names: &[String]) -> Self {
        Hosts(names.iter().map(|name| bare(name).to_ascii_lowercase()).collect())
    }

    /// Whether this host, with or without a port, is one of ours. An address always is: no name
    /// has led to it.
    pub fn include(&self, host: &str) -> bool {
        let name = bare(without_port(host)).to_ascii_lowercase();
        let is_address = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(inside) => inside.parse::<Ipv6Addr>().is_ok(),
            None => name.parse::<Ipv4Addr>().is_ok(),
        };
        // RFC 6761 §6.3: these lead to this machine, whoever is asked.
        let is_local = name == "localhost" || name.ends_with(".localhost");
        is_address || is_local || self.0.iter().any(|ours| *ours == name || ours == "*")
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// A name is the same with the dot of the root behind it.
fn bare(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_answered_that_nobody_else_can_own() {
        let hosts = Hosts::new(&["pool.Internal".to_owned()]);
        let ours = [
            "localhost",
            "LocalHost:9090",
            "localhost.",
            "a.localhost:1",
            "127.0.0.1",
            "10.0.0.7:9090",
            "[::1]",
            "[::1]:9090",
            "pool.internal",
            "POOL.internal.:80",
        ];
        for host in ours {
            assert!(hosts.include(host), "{host}");
        }
        let others = [
            "",
            "evil.test",
            "evil.test:9090",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "notlocalhost",
            "::1",
            "[::1",
            "[evil]",
            "1",
            "0x7f.1",
            "localhost@evil.test",
            "evil.test:80:90",
            "*",
        ];
        for host in others {
            assert!(!hosts.include(host), "{host}");
        }
        assert!(Hosts::new(&["*".to_owned()]).include("evil.test"));
    }
}
