//! What may come in place of a PROXY header: no bytes make the parser panic, read on for ever, or read
//! beyond the header, and it says the same however the bytes come. A header that a proxy writes, of
//! either version, means what the proxy meant.

#![no_main]

use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use shovel_edge::proxy_header::{BadHeader, Progress, Source, read};

/// Head of version 2 and what its length can tell.
const MOST_BYTES: usize = 16 + 65_535;

fuzz_target!(|input: (Option<(IpAddr, IpAddr, u16, u16, u8)>, &[u8])| {
    let (written, bytes) = input;
    check(bytes);
    if let Some((from, to, port, to_port, command)) = written {
        let (from, to) = match (from, to) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => (from, to),
            (from, _) => (from, from),
        };
        let client = Source::Client(SocketAddr::new(from.to_canonical(), port));
        let line = line(from, to, port, to_port);
        check(&line);
        assert_eq!(read(&line), Ok(Progress::Whole(client)));
        // What stands behind the addresses is not needed here.
        let more = &bytes[..bytes.len().min(100)];
        let is_own = command == 0x20;
        let command = if is_own { 0x20 } else { 0x21 };
        let binary = binary(command, from, to, [port, to_port], more);
        check(&binary);
        let expected = if is_own { Source::Peer } else { client };
        assert_eq!(read(&binary), Ok(Progress::Whole(expected)));
    }
});

fn line(from: IpAddr, to: IpAddr, port: u16, to_port: u16) -> Vec<u8> {
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {from} {to} {port} {to_port}\r\n").into_bytes()
}

fn binary(command: u8, from: IpAddr, to: IpAddr, ports: [u16; 2], more: &[u8]) -> Vec<u8> {
    let mut rest = Vec::new();
    for address in [from, to] {
        match address {
            IpAddr::V4(ip) => rest.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => rest.extend_from_slice(&ip.octets()),
        }
    }
    ports.iter().for_each(|port| rest.extend_from_slice(&port.to_be_bytes()));
    rest.extend_from_slice(more);
    let family = if from.is_ipv4() { 0x11 } else { 0x21 };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend_from_slice(&[command, family]);
    header.extend_from_slice(&(rest.len() as u16).to_be_bytes());
    header.extend_from_slice(&rest);
    header
}

fn check(bytes: &[u8]) {
    let Some((source, end)) = come(bytes) else { return };
    assert_eq!(read(&bytes[..end]), source.map(Progress::Whole));
    // Whatever is behind it changes no refusal into a header.
    if source.is_err() {
        assert!(read(bytes).is_err() || bytes.len() < end);
    }
}

/// Reads as from a connection. `None` if more would have to come.
fn come(bytes: &[u8]) -> Option<(Result<Source, BadHeader>, usize)> {
    let mut had = 0;
    loop {
        match read(&bytes[..had]) {
            Ok(Progress::Whole(source)) => return Some((Ok(source), had)),
            Err(bad) => return Some((Err(bad), had)),
            Ok(Progress::Missing(more)) => {
                assert!(more > 0 && had + more <= MOST_BYTES);
                had += more;
                if had > bytes.len() {
                    return None;
                }
            }
        }
    }
}
