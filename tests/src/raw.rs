//! Bytes on a TCP connection, for what no proper client would send.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::within;

/// A TCP connection and what has been read of it.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// A WebSocket frame of the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// 1 text, 2 binary, 8 close, 9 ping, 10 pong (RFC 6455 §5.2).
    pub opcode: u8,
    /// Not masked.
    pub payload: Vec<u8>,
}

impl RawFrame {
    /// The code of a close frame.
    ///
    /// # Panics
    /// If it is none.
    pub fn close_code(&self) -> u16 {
        assert_eq!(self.opcode, 8, "not a close frame: {self:?}");
        u16::from_be_bytes([self.payload[0], self.payload[1]])
    }
}

impl Raw {
    /// Connects.
    ///
    /// # Panics
    /// If that is refused.
    pub async fn connect(address: SocketAddr) -> Raw {
        let stream = within("a connection", TcpStream::connect(address)).await.expect("connect");
        Raw { stream, unread: Vec::new() }
    }

    /// Connects and upgrades.
    ///
    /// # Panics
    /// If that is not accepted.
    pub async fn websocket(address: SocketAddr, path: &str) -> Raw {
        let mut raw = Raw::connect(address).await;
        raw.upgrade(path).await;
        raw
    }

    async fn upgrade(&mut self, path: &str) {
        self.write(upgrade_request(path, "")).await;
        let head = self.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    }

    /// As [`Raw::websocket`], with a kernel that takes little for a client that does not read.
    ///
    /// # Panics
    /// If that is not accepted.
    pub async fn websocket_with_little_room(address: SocketAddr, path: &str) -> Raw {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(32 << 10).expect("a small buffer");
        let stream = within("a connection", socket.connect(address)).await.expect("connect");
        let mut raw = Raw { stream, unread: Vec::new() };
        raw.upgrade(path).await;
        raw
    }

    /// Writes these bytes.
    ///
    /// # Panics
    /// If the connection has failed.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        within("room to write", self.stream.write_all(bytes.as_ref())).await.expect("write");
    }

    /// Writes these bytes, or as many of them as the server takes. Returns whether it took all.
    pub async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        within("room to write", self.stream.write_all(bytes.as_ref())).await.is_ok()
    }

    /// Writes a whole WebSocket frame, masked as a client's must be (RFC 6455 §5.3).
    ///
    /// # Panics
    /// If the connection has failed.
    pub async fn write_frame(&mut self, opcode: u8, payload: &[u8]) {
        self.write(masked_frame(0x80 | opcode, payload)).await;
    }

    /// Writes a WebSocket frame that others of its message follow.
    ///
    /// # Panics
    /// If the connection has failed.
    pub async fn write_fragment(&mut self, opcode: u8, payload: &[u8]) {
        self.write(masked_frame(opcode, payload)).await;
    }

    /// Goes without a word: whatever is on its way is lost.
    ///
    /// # Panics
    /// If the connection cannot be reset.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("an open socket");
    }

    /// Ends this side, and only this one.
    ///
    /// # Panics
    /// If the connection has failed.
    pub async fn end(&mut self) {
        within("the end", self.stream.shutdown()).await.expect("an end");
    }

    /// The head of the next response, with the empty line that ends it.
    ///
    /// # Panics
    /// If the connection ends before.
    pub async fn head(&mut self) -> String {
        loop {
            let end = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            if let Some(end) = end {
                let head = self.unread.drain(..end + 4).collect();
                return String::from_utf8(head).expect("a head in text");
            }
            assert!(self.read().await, "the end rather than a head: {:?}", self.unread);
        }
    }

    /// The next `len` bytes.
    ///
    /// # Panics
    /// If the connection ends before.
    pub async fn take(&mut self, len: usize) -> Vec<u8> {
        while self.unread.len() < len {
            assert!(self.read().await, "the end rather than {len} bytes: {:?}", self.unread);
        }
        self.unread.drain(..len).collect()
    }

    /// Everything up to the end of the connection.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.read().await {}
        std::mem::take(&mut self.unread)
    }

    /// Everything up to the end of the connection, and whether that is a reset.
    ///
    /// # Panics
    /// If it does not end, or fails otherwise.
    pub async fn rest_and_reset(&mut self) -> (Vec<u8>, bool) {
        loop {
            let read = within("bytes", self.stream.read_buf(&mut self.unread)).await;
            let is_reset = match read {
                Ok(0) => false,
                Ok(_) => continue,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => true,
                Err(error) => panic!("{error}"),
            };
            return (std::mem::take(&mut self.unread), is_reset);
        }
    }

    /// Whether something has come.
    pub fn has_bytes(&self) -> bool {
        !self.unread.is_empty() || self.stream.try_read(&mut [0; 1]).is_ok()
    }

    /// The next WebSocket frame.
    ///
    /// # Panics
    /// If the connection ends before, or the frame is masked.
    pub async fn frame(&mut self) -> RawFrame {
        let (opcode, len) = self.frame_head().await;
        RawFrame { opcode, payload: self.take(len).await }
    }

    /// The head of the next WebSocket frame: its opcode, and how long its payload is.
    ///
    /// # Panics
    /// As [`Raw::frame`].
    pub async fn frame_head(&mut self) -> (u8, usize) {
        let head = self.take(2).await;
        assert_eq!(head[1] & 0x80, 0, "a masked frame from the server");
        let len = match head[1] {
            126 => self.take(2).await.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)),
            127 => self.take(8).await.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)),
            len => usize::from(len),
        };
        (head[0] & 0x0f, len)
    }

    /// Reads what there is; `false` at the end. A reset is an end.
    async fn read(&mut self) -> bool {
        let read = within("bytes", self.stream.read_buf(&mut self.unread)).await;
        read.is_ok_and(|read| read > 0)
    }
}

/// A proper request for an upgrade, with more header lines (each ending in CRLF).
pub fn upgrade_request(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: shovel.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

/// A WebSocket frame, masked as a client's must be (RFC 6455 §5.3). `first` is its first byte: the
/// opcode, and 0x80 if it is the last of its message.
pub fn masked_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}
