//! Messages in the shape that axum gives them; with the feature `axum-messages` they convert.

use axum::Error;
use bytes::Bytes;

/// Text that is cheap to clone, named as axum names its own.
pub use crate::Text as Utf8Bytes;

/// A code of a close frame (RFC 6455 §7.4).
///
/// ```
/// let code: shovel_worker::axum::CloseCode = 1000;
/// ```
pub type CloseCode = u16;

/// Why a connection is, or was, closed.
///
/// ```
/// use shovel_worker::axum::{CloseFrame, Message};
///
/// let bye = Message::Close(Some(CloseFrame { code: 4000, reason: "bye".into() }));
/// assert_eq!(bye.to_text().unwrap(), "bye");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// The reason as a number.
    pub code: CloseCode,
    /// The reason as text, at most 123 bytes.
    pub reason: Utf8Bytes,
}

/// What a socket sends and receives.
///
/// ```
/// use shovel_worker::axum::Message;
///
/// fn length(message: &Message) -> usize {
///     match message {
///         Message::Text(text) => text.len(),
///         Message::Binary(data) => data.len(),
///         Message::Ping(_) | Message::Pong(_) | Message::Close(_) => 0,
///     }
/// }
/// assert_eq!(length(&"four".into()), 4);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// UTF-8.
    Text(Utf8Bytes),
    /// Any bytes.
    Binary(Bytes),
    /// Never received, and dropped if sent: the supervisor itself answers pings and sends them.
    Ping(Bytes),
    /// As `Ping`.
    Pong(Bytes),
    /// Received: the client's socket has closed, and nothing follows. `None` if no code was given.
    /// Sent: closes the connection, with 1000 if `None`.
    Close(Option<CloseFrame>),
}

impl Message {
    /// A text message.
    ///
    /// ```
    /// use shovel_worker::axum::Message;
    ///
    /// assert_eq!(Message::text("hello"), Message::Text("hello".into()));
    /// ```
    pub fn text(text: impl Into<Utf8Bytes>) -> Message {
        Message::Text(text.into())
    }

    /// A binary message.
    ///
    /// ```
    /// use shovel_worker::axum::Message;
    ///
    /// assert_eq!(Message::binary(vec![1, 2]), vec![1, 2].into());
    /// ```
    pub fn binary(data: impl Into<Bytes>) -> Message {
        Message::Binary(data.into())
    }

    /// The bytes, of text and of a close frame's reason too; those are copied.
    ///
    /// ```
    /// use shovel_worker::axum::Message;
    ///
    /// assert_eq!(Message::text("hello").into_data(), "hello");
    /// ```
    pub fn into_data(self) -> Bytes {
        match self {
            Message::Text(text) => text.into(),
            Message::Binary(data) | Message::Ping(data) | Message::Pong(data) => data,
            Message::Close(None) => Bytes::new(),
            Message::Close(Some(frame)) => frame.reason.into(),
        }
    }

    /// The text, also of bytes.
    ///
    /// ```
    /// use shovel_worker::axum::Message;
    ///
    /// assert_eq!(Message::binary("hello").into_text().unwrap(), "hello");
    /// assert!(Message::binary(vec![0xff]).into_text().is_err());
    /// ```
    ///
    /// # Errors
    /// They are not UTF-8.
    pub fn into_text(self) -> Result<Utf8Bytes, Error> {
        match self {
            Message::Text(text) => Ok(text),
            Message::Binary(data) | Message::Ping(data) | Message::Pong(data) => {
                data.try_into().map_err(Error::new)
            }
            Message::Close(None) => Ok(Utf8Bytes::default()),
            Message::Close(Some(frame)) => Ok(frame.reason),
        }
    }

    /// Borrows the text, also of bytes.
    ///
    /// ```
    /// use shovel_worker::axum::Message;
    ///
    /// assert_eq!(Message::binary("hello").to_text().unwrap(), "hello");
    /// ```
    ///
    /// # Errors
    /// They are not UTF-8.
    pub fn to_text(&self) -> Result<&str, Error> {
        match self {
            Message::Text(text) => Ok(text),
            Message::Binary(data) | Message::Ping(data) | Message::Pong(data) => {
                std::str::from_utf8(data).map_err(Error::new)
            }
            Message::Close(None) => Ok(""),
            Message::Close(Some(frame)) => Ok(&frame.reason),
        }
    }
}

impl From<crate::Message> for Message {
    fn from(message: crate::Message) -> Self {
        match message {
            crate::Message::Text(text) => Message::Text(text),
            crate::Message::Binary(data) => Message::Binary(data),
        }
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Message::Text(text.into())
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Message::Text(text.into())
    }
}

impl From<&[u8]> for Message {
    fn from(data: &[u8]) -> Self {
        Message::Binary(Bytes::copy_from_slice(data))
    }
}

impl From<Bytes> for Message {
    fn from(data: Bytes) -> Self {
        Message::Binary(data)
    }
}

impl From<Vec<u8>> for Message {
    fn from(data: Vec<u8>) -> Self {
        Message::Binary(data.into())
    }
}

impl From<Message> for Vec<u8> {
    fn from(message: Message) -> Self {
        message.into_data().into()
    }
}

#[cfg(feature = "axum-messages")]
mod from_axum {
    use axum::extract::ws;

    use super::{CloseFrame, Message};

    impl From<ws::Message> for Message {
        fn from(message: ws::Message) -> Self {
            match message {
                ws::Message::Text(text) => Message::Text(text.as_str().into()),
                ws::Message::Binary(data) => Message::Binary(data),
                ws::Message::Ping(data) => Message::Ping(data),
                ws::Message::Pong(data) => Message::Pong(data),
                ws::Message::Close(frame) => Message::Close(frame.map(CloseFrame::from)),
            }
        }
    }

    impl From<Message> for ws::Message {
        fn from(message: Message) -> Self {
            match message {
                Message::Text(text) => ws::Message::Text(text.as_str().into()),
                Message::Binary(data) => ws::Message::Binary(data),
                Message::Ping(data) => ws::Message::Ping(data),
                Message::Pong(data) => ws::Message::Pong(data),
                Message::Close(frame) => ws::Message::Close(frame.map(ws::CloseFrame::from)),
            }
        }
    }

    impl From<ws::CloseFrame> for CloseFrame {
        fn from(frame: ws::CloseFrame) -> Self {
            CloseFrame { code: frame.code, reason: frame.reason.as_str().into() }
        }
    }

    impl From<CloseFrame> for ws::CloseFrame {
        fn from(frame: CloseFrame) -> Self {
            ws::CloseFrame { code: frame.code, reason: frame.reason.as_str().into() }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_message_is_the_same_after_a_turn_through_axum_s_own() {
            let close = CloseFrame { code: 4001, reason: "bye".into() };
            for message in [
                Message::text("grüezi"),
                Message::binary(vec![0, 255]),
                Message::Ping("ping".into()),
                Message::Pong("pong".into()),
                Message::Close(None),
                Message::Close(Some(close)),
            ] {
                assert_eq!(Message::from(ws::Message::from(message.clone())), message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_only_if_they_are_utf8() {
        assert_eq!(Message::binary("ok").to_text().unwrap(), "ok");
        assert_eq!(Message::binary("ok").into_text().unwrap(), "ok");
        assert!(Message::binary(vec![0xff]).to_text().is_err());
        assert!(Message::binary(vec![0xff]).into_text().is_err());
    }
}
