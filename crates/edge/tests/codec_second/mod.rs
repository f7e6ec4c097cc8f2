//! `tungstenite` as a second reader of WebSocket frames.

use std::io::{self, Cursor, Read, Write};

use shovel_protocol::MessageKind;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use crate::codec_client::{Event, Transcript};

/// How a stream of frames ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In good order, with more to come.
    Open,
    /// With a close frame.
    Closed,
    /// With bytes that break a rule.
    Refused,
}

/// How this one ended.
pub(crate) fn end(transcript: &Transcript) -> End {
    match (&transcript.violation, transcript.events.last()) {
        (Some(_), _) => End::Refused,
        (None, Some(Event::Close(_))) => End::Closed,
        (None, _) => End::Open,
    }
}

/// What `tungstenite` makes of these bytes.
pub(crate) fn decode_with_tungstenite(
    bytes: &[u8],
    role: Role,
    limit_bytes: usize,
) -> (Vec<Event>, End) {
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .max_message_size(Some(limit_bytes))
        .max_frame_size(Some(limit_bytes));
    let stream = OneWay(Cursor::new(bytes.to_vec()));
    let mut socket = WebSocket::from_raw_socket(stream, role, Some(config));
    let mut events = Vec::new();
    loop {
        events.push(match socket.read() {
            Ok(Message::Text(text)) => Event::Message(MessageKind::Text, text.as_bytes().to_vec()),
            Ok(Message::Binary(data)) => Event::Message(MessageKind::Binary, data.to_vec()),
            Ok(Message::Ping(payload)) => Event::Ping(payload.to_vec()),
            Ok(Message::Pong(payload)) => Event::Pong(payload.to_vec()),
            Ok(Message::Close(Some(close))) if close.reason == "Protocol violation" => {
                return (events, End::Refused);
            }
            Ok(Message::Close(close)) => {
                let close = close.map(|close| (close.code.into(), close.reason.to_string()));
                events.push(Event::Close(close));
                return (events, End::Closed);
            }
            Ok(Message::Frame(frame)) => panic!("a raw frame was read: {frame}"),
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                return (events, End::Open);
            }
            Err(Error::Io(error)) => panic!("reading memory fails: {error}"),
            Err(_) => return (events, End::Refused),
        });
    }
}

/// A stream that is read from memory; what is written is dropped.
struct OneWay(Cursor<Vec<u8>>);

impl Read for OneWay {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for OneWay {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
