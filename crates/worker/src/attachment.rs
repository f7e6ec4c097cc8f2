//! What another worker needs to go on with a connection.

use serde::Serialize;
use serde::de::DeserializeOwned;
use shovel_protocol::limits::ATTACHMENT_BYTES;

/// State that moves along with a connection; see [`Connection::attach`](crate::Connection::attach).
///
/// It is written as JSON, so that fields may be added: give them `#[serde(default)]`. For other
/// changes count [`VERSION`](Self::VERSION) up and read the older ones in
/// [`migrate`](Self::migrate). A worker of the old program never has to read what the new one wrote,
/// unless a deploy is rolled back: then the version is higher than its own.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use shovel_worker::{Attachment, AttachmentError};
///
/// #[derive(Serialize, Deserialize)]
/// struct Member {
///     first_name: String,
///     last_name: String,
/// }
///
/// impl Attachment for Member {
///     const VERSION: u32 = 2;
///
///     fn migrate(version: u32, data: &[u8]) -> Result<Self, AttachmentError> {
///         #[derive(Deserialize)]
///         struct MemberV1 {
///             name: String,
///         }
///
///         let 1 = version else { return Err(AttachmentError::Version(version)) };
///         let MemberV1 { name } = serde_json::from_slice(data).map_err(AttachmentError::read)?;
///         let (first_name, last_name) = name.split_once(' ').unwrap_or((&name, ""));
///         Ok(Member { first_name: first_name.to_owned(), last_name: last_name.to_owned() })
///     }
/// }
/// ```
pub trait Attachment: Serialize + DeserializeOwned {
    /// Of what is written; anything but 0 if [`migrate`](Self::migrate) is to tell it apart.
    const VERSION: u32 = 1;

    /// Reads what was written under another version.
    ///
    /// # Errors
    /// [`AttachmentError`]; an adopt handler that passes it on refuses the connection.
    fn migrate(version: u32, data: &[u8]) -> Result<Self, AttachmentError> {
        let _ = data;
        Err(AttachmentError::Version(version))
    }
}

/// Nothing to remember; the connection can move all the same.
impl Attachment for () {}

/// Why something was not attached, or what is attached could not be read.
///
/// ```
/// # use shovel_worker::Attachment;
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Notes(Vec<String>);
/// # impl Attachment for Notes {}
/// use shovel_worker::{AttachmentError, Connection};
///
/// /// Keeps the latest that fit.
/// fn keep(connection: &Connection, mut notes: Notes) -> Result<(), AttachmentError> {
///     while let Err(AttachmentError::TooLong { .. }) = connection.attach(&notes) {
///         notes.0.remove(0);
///     }
///     connection.attach(&notes)
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachmentError {
    /// Over 16 KiB.
    #[error("the attachment has {len} bytes; at most {ATTACHMENT_BYTES} are allowed")]
    TooLong {
        /// In bytes.
        len: usize,
    },
    /// The connection is not portable.
    #[error("the connection cannot move, so nothing is attached; call `App::portable` first")]
    NotPortable,
    /// It cannot be written.
    #[error("the attachment cannot be written as JSON: {0}")]
    Write(#[source] serde_json::Error),
    /// It is something else.
    #[error("the attachment is not what was expected: {0}")]
    Read(#[source] serde_json::Error),
    /// It was written by a version that this program does not know.
    #[error("the attachment is of version {0}, which this program does not know")]
    Version(u32),
}

impl AttachmentError {
    /// For [`Attachment::migrate`]: it is not what was expected.
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use shovel_worker::{Attachment, AttachmentError};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Member {
    ///     name: String,
    /// }
    ///
    /// impl Attachment for Member {
    ///     const VERSION: u32 = 2;
    ///
    ///     /// Version 1 was the name alone.
    ///     fn migrate(version: u32, data: &[u8]) -> Result<Self, AttachmentError> {
    ///         match version {
    ///             1 => {
    ///                 let name = serde_json::from_slice(data).map_err(AttachmentError::read)?;
    ///                 Ok(Member { name })
    ///             }
    ///             other => Err(AttachmentError::Version(other)),
    ///         }
    ///     }
    /// }
    /// ```
    pub fn read(error: serde_json::Error) -> Self {
        AttachmentError::Read(error)
    }
}

pub(crate) fn check_len(data: &[u8]) -> Result<(), AttachmentError> {
    match data.len() {
        0..=ATTACHMENT_BYTES => Ok(()),
        len => Err(AttachmentError::TooLong { len }),
    }
}

pub(crate) fn write<T: Attachment>(value: &T) -> Result<Vec<u8>, AttachmentError> {
    let data = serde_json::to_vec(value).map_err(AttachmentError::Write)?;
    check_len(&data)?;
    Ok(data)
}

pub(crate) fn read<T: Attachment>(version: u32, data: &[u8]) -> Result<T, AttachmentError> {
    match version == T::VERSION {
        true => serde_json::from_slice(data).map_err(AttachmentError::Read),
        false => T::migrate(version, data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Count(u64);

    impl Attachment for Count {
        const VERSION: u32 = 2;

        fn migrate(version: u32, data: &[u8]) -> Result<Self, AttachmentError> {
            let 1 = version else { return Err(AttachmentError::Version(version)) };
            let text: String = serde_json::from_slice(data).map_err(AttachmentError::read)?;
            Ok(Count(text.len() as u64))
        }
    }

    #[test]
    fn an_older_version_is_migrated_and_an_unknown_one_refused() {
        let data = write(&Count(7)).unwrap();
        assert_eq!(read::<Count>(2, &data).unwrap(), Count(7));
        assert_eq!(read::<Count>(1, b"\"four\"").unwrap(), Count(4));
        assert!(matches!(read::<Count>(3, &data), Err(AttachmentError::Version(3))));
        assert!(matches!(read::<Count>(2, b"{}"), Err(AttachmentError::Read(_))));
    }

    #[test]
    fn an_attachment_is_bounded() {
        assert!(check_len(&[0; ATTACHMENT_BYTES]).is_ok());
        assert!(check_len(&[0; ATTACHMENT_BYTES + 1]).is_err());
    }
}
