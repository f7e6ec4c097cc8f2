//! Messages: what connections and channels carry.

use std::fmt;
use std::ops::Deref;
use std::str::Utf8Error;
use std::sync::Arc;

use bytes::Bytes;
use shovel_protocol::MessageKind;

/// One complete message. A clone shares the bytes.
///
/// ```
/// use shovel_worker::Message;
///
/// let text = Message::from("hello");
/// let binary = Message::from(vec![1, 2, 3]);
/// assert_eq!(text.as_text(), Some("hello"));
/// assert_eq!(binary.as_text(), None);
/// assert_eq!(binary.as_bytes(), [1, 2, 3]);
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Message {
    /// UTF-8.
    Text(Text),
    /// Any bytes.
    Binary(Bytes),
}

/// Text that is cheap to clone.
///
/// ```
/// use shovel_worker::Text;
///
/// let text = Text::from("hello");
/// assert!(text.starts_with("hell"));
/// assert_eq!(text, "hello");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Text(Arc<str>);

impl Message {
    /// The text, unless the message is binary.
    ///
    /// ```
    /// # use shovel_worker::Message;
    /// assert_eq!(Message::from("hello").as_text(), Some("hello"));
    /// assert_eq!(Message::from(b"hello".as_slice()).as_text(), None);
    /// ```
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }
    }

    /// The bytes, of text too.
    ///
    /// ```
    /// # use shovel_worker::Message;
    /// assert_eq!(Message::from("hello").as_bytes(), b"hello");
    /// ```
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// The bytes, of text too. Those of text are copied.
    ///
    /// ```
    /// # use shovel_worker::{Bytes, Message};
    /// assert_eq!(Message::from(vec![7]).into_bytes(), Bytes::from_static(&[7]));
    /// ```
    pub fn into_bytes(self) -> Bytes {
        match self {
            Message::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Message::Binary(bytes) => bytes,
        }
    }

    /// Length in bytes.
    ///
    /// ```
    /// # use shovel_worker::Message;
    /// assert_eq!(Message::from("für").len(), 4);
    /// ```
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether there are no bytes.
    ///
    /// ```
    /// # use shovel_worker::Message;
    /// assert!(Message::from("").is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn kind(&self) -> MessageKind {
        match self {
            Message::Text(_) => MessageKind::Text,
            Message::Binary(_) => MessageKind::Binary,
        }
    }

    /// Copies a message out of a read buffer. `None` for text that is not UTF-8.
    #[inline]
    pub(crate) fn copied(kind: MessageKind, data: &[u8]) -> Option<Message> {
        Some(match kind {
            MessageKind::Text => Message::Text(simdutf8::basic::from_utf8(data).ok()?.into()),
            MessageKind::Binary => Message::Binary(Bytes::copy_from_slice(data)),
        })
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Text(text) => text.fmt(f),
            Message::Binary(bytes) => bytes.fmt(f),
        }
    }
}

impl From<Text> for Message {
    fn from(text: Text) -> Self {
        Message::Text(text)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Message::Text(text.into())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Message::Text(text.into())
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Message::Binary(bytes)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Message::Binary(bytes.into())
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Message::Binary(Bytes::copy_from_slice(bytes))
    }
}

impl Text {
    /// The text.
    ///
    /// ```
    /// use shovel_worker::Text;
    ///
    /// assert_eq!(Text::from("hello").as_str(), "hello");
    /// ```
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text(text.into())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text(text.into())
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Self {
        Text(text.as_str().into())
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.as_str().to_owned()
    }
}

/// Copies.
impl From<Text> for Bytes {
    fn from(text: Text) -> Self {
        Bytes::copy_from_slice(text.as_bytes())
    }
}

impl TryFrom<Bytes> for Text {
    type Error = Utf8Error;

    fn try_from(bytes: Bytes) -> Result<Self, Utf8Error> {
        std::str::from_utf8(&bytes).map(Text::from)
    }
}

impl TryFrom<Vec<u8>> for Text {
    type Error = Utf8Error;

    fn try_from(bytes: Vec<u8>) -> Result<Self, Utf8Error> {
        std::str::from_utf8(&bytes).map(Text::from)
    }
}

impl PartialEq<String> for Text {
    fn eq(&self, other: &String) -> bool {
        **self == **other
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
