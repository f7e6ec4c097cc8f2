//! The header in which a proxy that passes TCP on tells whose connection it is: the PROXY protocol,
//! versions 1 and 2, as HAProxy's `proxy-protocol.txt` has them.
//!
//! [`read`] has bytes in and values out; `receive` reads from a connection, and nothing beyond the
//! header: what follows is the client's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// How version 2 begins.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// How version 1 begins.
const WORD: &[u8] = b"PROXY ";

/// Longest header of version 1, with its CR LF.
const LINE_BYTES: usize = 107;

/// What stands before the addresses of version 2: signature, command, family and length.
const HEAD_BYTES: usize = 16;

/// How far a header has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// At least so many bytes of it are missing, so that so many can be read without reading what
    /// is behind it. Never 0.
    Missing(usize),
    /// It is whole.
    Whole(Source),
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// That of a client with this address.
    Client(SocketAddr),
    /// The proxy's own, or of somebody whose address cannot be told: the peer's address stands.
    Peer,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// It begins otherwise.
    #[error("there is no PROXY header")]
    Missing,
    /// It begins as one and breaks a rule.
    #[error("the PROXY header breaks a rule: {0}")]
    Malformed(&'static str),
}

/// Reads what has come of a header.
///
/// # Errors
/// As soon as it cannot become one.
pub fn read(bytes: &[u8]) -> Result<Progress, BadHeader> {
    let begins_as = |begin: &[u8]| bytes.iter().zip(begin).all(|(a, b)| a == b);
    match (begins_as(WORD), begins_as(&SIGNATURE)) {
        (false, false) => Err(BadHeader::Missing),
        _ if bytes.len() < SIGNATURE.len() => Ok(Progress::Missing(SIGNATURE.len() - bytes.len())),
        (true, _) => read_line(bytes),
        (false, true) => read_binary(bytes),
    }
}

/// Reads a header from a connection, and nothing behind it.
///
/// # Errors
/// If what comes is no header, or the connection fails or ends before it is whole.
///
/// # Cancel safety
/// None: what was read is lost, and with it the connection.
pub(crate) async fn receive(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Source> {
    let mut header = Vec::with_capacity(LINE_BYTES);
    loop {
        match read(&header).map_err(io::Error::other)? {
            Progress::Whole(source) => return Ok(source),
            Progress::Missing(more) => {
                // Memory is taken as bytes arrive: the length is only a claim.
                if from.take(more as u64).read_buf(&mut header).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}

/// Version 1: one line of text.
fn read_line(bytes: &[u8]) -> Result<Progress, BadHeader> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        // The shortest line of its kind, or at least its end.
        let shortest = match &bytes[WORD.len()..] {
            [b'T', b'C', b'P', b'4', ..] => "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n".len(),
            [b'T', b'C', b'P', b'6', ..] => "PROXY TCP6 :: :: 1 1\r\n".len(),
            _ => "PROXY UNKNOWN\r\n".len(),
        };
        let ending = if bytes.ends_with(b"\r") { 1 } else { 2 };
        if bytes.len() + ending > LINE_BYTES {
            return Err(BadHeader::Malformed("its line is too long"));
        }
        return Ok(Progress::Missing(shortest.saturating_sub(bytes.len()).max(ending)));
    };
    let line = bytes[..end].strip_suffix(b"\r");
    let line = line.filter(|_| end < LINE_BYTES && end + 1 == bytes.len());
    let line = line.and_then(|line| std::str::from_utf8(line).ok());
    let line = line.ok_or(BadHeader::Malformed("its line does not end as it should"))?;
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        // What follows is to be ignored.
        return Ok(Progress::Whole(Source::Peer));
    }
    let ip = |text: &str| -> Option<IpAddr> {
        match family? {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (from, to) = (words.next().and_then(ip), words.next().and_then(ip));
    let (port, to_port) = (words.next().and_then(port), words.next().and_then(port));
    match (from, port, to, to_port, words.next()) {
        (Some(from), Some(port), Some(_), Some(_), None) => {
            Ok(Progress::Whole(client((from, port).into())))
        }
        _ => Err(BadHeader::Malformed("its line is none of version 1")),
    }
}

/// Digits alone, and no zero before others.
fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_padded = text.len() > 1 && text.starts_with('0');
    (is_number && !is_padded).then(|| text.parse().ok()).flatten()
}

/// Version 2: a head of fixed form, addresses, and more that is not needed here.
fn read_binary(bytes: &[u8]) -> Result<Progress, BadHeader> {
    let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) else {
        return Ok(Progress::Missing(HEAD_BYTES - bytes.len()));
    };
    let is_told = match head[12] {
        // `LOCAL`: the proxy asks for itself, whatever the rest says.
        0x20 => false,
        0x21 => true,
        _ => return Err(BadHeader::Malformed("its command is unknown")),
    };
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    let addresses = match head[13] {
        // `UNSPEC`, and two Unix sockets: nobody who can be told.
        _ if !is_told => 0,
        0x00 | 0x31 => 0,
        // TCP over IPv4, over IPv6: two addresses and two ports.
        0x11 => 12,
        0x21 => 36,
        _ => return Err(BadHeader::Malformed("its family is unknown")),
    };
    if length < addresses {
        return Err(BadHeader::Malformed("it is too short for its addresses"));
    }
    match rest.len().cmp(&length) {
        std::cmp::Ordering::Less => return Ok(Progress::Missing(length - rest.len())),
        std::cmp::Ordering::Equal => {}
        std::cmp::Ordering::Greater => return Err(BadHeader::Malformed("it is too long")),
    }
    let source = match (addresses, rest) {
        (12, [a, b, c, d, _, _, _, _, high, low, ..]) => {
            let ip = Ipv4Addr::new(*a, *b, *c, *d);
            client((ip, u16::from_be_bytes([*high, *low])).into())
        }
        (36, rest) => match (rest.first_chunk::<16>(), &rest[32..34]) {
            (Some(ip), [high, low]) => {
                client((Ipv6Addr::from(*ip), u16::from_be_bytes([*high, *low])).into())
            }
            _ => Source::Peer,
        },
        _ => Source::Peer,
    };
    Ok(Progress::Whole(source))
}

/// A proxy with one listener for both has clients of IPv4 with mapped addresses.
fn client(address: SocketAddr) -> Source {
    Source::Client(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    fn ipv4(more: &[u8]) -> Vec<u8> {
        [&[1, 2, 3, 4, 10, 0, 0, 1, 0x30, 0x39, 0, 80], more].concat()
    }

    fn ipv6() -> Vec<u8> {
        let from: Ipv6Addr = "2001:db8::7".parse().unwrap();
        [&from.octets()[..], &Ipv6Addr::LOCALHOST.octets(), &[0x30, 0x39, 0, 80]].concat()
    }

    /// Reads it as it would come, never a byte more than is known to be missing.
    fn come(bytes: &[u8]) -> Result<Source, BadHeader> {
        let mut had = 0;
        loop {
            match read(&bytes[..had])? {
                Progress::Whole(source) => {
                    assert_eq!(had, bytes.len(), "ended early");
                    return Ok(source);
                }
                Progress::Missing(more) => {
                    assert!(more > 0);
                    had += more;
                    assert!(had <= bytes.len(), "read {had} of {}", bytes.len());
                }
            }
        }
    }

    fn of(text: &str) -> Result<Source, BadHeader> {
        Ok(Source::Client(text.parse().unwrap()))
    }

    #[test]
    fn version_1_tells_the_client() {
        let told = |line: &str| come(line.as_bytes());
        assert_eq!(told("PROXY TCP4 1.2.3.4 10.0.0.1 12345 80\r\n"), of("1.2.3.4:12345"));
        assert_eq!(told("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n"), of("1.1.1.1:1"));
        assert_eq!(told("PROXY TCP6 2001:db8::7 ::1 12345 80\r\n"), of("[2001:db8::7]:12345"));
        assert_eq!(told("PROXY TCP6 ::ffff:1.2.3.4 ::1 0 65535\r\n"), of("1.2.3.4:0"));
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let line = format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n");
        assert_eq!(told(&line), of(&format!("[{longest}]:65535")));
        assert_eq!(told("PROXY UNKNOWN\r\n"), Ok(Source::Peer));
        let line = format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n");
        assert_eq!((line.len(), told(&line)), (LINE_BYTES, Ok(Source::Peer)));
    }

    #[test]
    fn version_2_tells_the_client() {
        assert_eq!(come(&binary(0x21, 0x11, &ipv4(&[]))), of("1.2.3.4:12345"));
        assert_eq!(come(&binary(0x21, 0x11, &ipv4(&[4, 0, 1, 9]))), of("1.2.3.4:12345"));
        assert_eq!(come(&binary(0x21, 0x21, &ipv6())), of("[2001:db8::7]:12345"));
        assert_eq!(come(&binary(0x21, 0x00, &[])), Ok(Source::Peer));
        assert_eq!(come(&binary(0x21, 0x31, &[0; 216])), Ok(Source::Peer));
        assert_eq!(come(&binary(0x20, 0x00, &[])), Ok(Source::Peer));
        assert_eq!(come(&binary(0x20, 0xff, &ipv4(&[]))), Ok(Source::Peer));
        assert_eq!(come(&binary(0x20, 0x00, &[7; 65_535])), Ok(Source::Peer));
    }

    #[test]
    fn what_is_no_header_is_refused_at_once() {
        for text in ["GET / HTTP/1.1\r\n", "PROXZ", "proxy TCP4", "\r\n\r\n\0\r\nQUIP", "\n", "\0"]
        {
            assert_eq!(read(text.as_bytes()), Err(BadHeader::Missing), "{text:?}");
        }
    }

    #[test]
    fn a_header_that_breaks_a_rule_is_refused() {
        let ends = "PROXY TCP4 1.2.3.4 10.0.0.1 12345 80";
        let lines = [
            format!("{ends}\n"),
            format!("{ends}\r\nG"),
            format!("{ends} \r\n"),
            format!("{ends} 1\r\n"),
            "PROXY TCP4 1.2.3.4 10.0.0.1 012345 80\r\n".into(),
            "PROXY TCP4 1.2.3.4 10.0.0.1 +1 80\r\n".into(),
            "PROXY TCP4 1.2.3.4 10.0.0.1 65536 80\r\n".into(),
            "PROXY TCP4 1.2.3.4 10.0.0.1 1\r\n".into(),
            "PROXY TCP4 ::1 ::1 1 1\r\n".into(),
            "PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n".into(),
            "PROXY TCP4 1.2.3.04 10.0.0.1 1 1\r\n".into(),
            "PROXY TCP4  1.2.3.4 10.0.0.1 1 1\r\n".into(),
            "PROXY UDP4 1.2.3.4 10.0.0.1 1 1\r\n".into(),
            "PROXY \r\n          ".into(),
            format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES)),
            format!("PROXY UNKNOWN {}", "x".repeat(LINE_BYTES)),
        ];
        for line in lines {
            let read = read(line.as_bytes());
            assert!(matches!(read, Err(BadHeader::Malformed(_))), "{line:?}: {read:?}");
        }
        for header in [
            binary(0x11, 0x11, &ipv4(&[])),
            binary(0x22, 0x11, &ipv4(&[])),
            binary(0x21, 0x12, &ipv4(&[])),
            binary(0x21, 0x41, &ipv4(&[])),
            binary(0x21, 0x11, &ipv4(&[])[..11]),
            binary(0x21, 0x21, &ipv6()[..35]),
            [binary(0x21, 0x11, &ipv4(&[])), vec![b'G']].concat(),
        ] {
            let read = read(&header);
            assert!(matches!(read, Err(BadHeader::Malformed(_))), "{header:?}: {read:?}");
        }
    }

    #[tokio::test]
    async fn what_follows_a_header_is_left_to_the_client() {
        let line = b"PROXY TCP4 1.2.3.4 10.0.0.1 12345 80\r\n".to_vec();
        for header in [line, binary(0x21, 0x11, &ipv4(&[4, 0, 1, 9]))] {
            let whole = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            let mut from = &whole[..];
            assert_eq!(receive(&mut from).await.ok(), of("1.2.3.4:12345").ok());
            assert_eq!(from, b"GET / HTTP/1.1\r\n");
            let mut cut = &header[..header.len() - 1];
            assert!(receive(&mut cut).await.is_err());
        }
    }

    #[test]
    fn any_beginning_of_a_header_wants_more() {
        let headers =
            [b"PROXY TCP6 2001:db8::7 ::1 1 80\r\n".to_vec(), binary(0x21, 0x21, &ipv6())];
        for header in headers {
            for end in 0..header.len() {
                let read = read(&header[..end]);
                assert!(matches!(read, Ok(Progress::Missing(_))), "{end}: {read:?}");
            }
        }
    }
}
