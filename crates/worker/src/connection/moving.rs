//! What lets a connection go on with another worker: its attachment, and when that counts.

use super::Connection;
use crate::attachment::{self, Attachment, AttachmentError};
use crate::supervised::tenure::Attached;

impl Connection {
    /// Attaches state to the connection, by which another worker can go on with it; see
    /// [`App::portable`](crate::App::portable). It replaces what was attached before.
    ///
    /// Within a handler it counts once the handler has ended, together with all else that it did.
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use shovel_worker::{Attachment, Error, MessageEvent};
    ///
    /// #[derive(Default, Serialize, Deserialize)]
    /// struct Score(u32);
    ///
    /// impl Attachment for Score {}
    ///
    /// async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    ///     let Score(before) = event.attachment()?.unwrap_or_default();
    ///     event.connection().attach(&Score(before + 1))?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`AttachmentError`]: over 16 KiB as JSON, or the app is not portable.
    pub fn attach<T: Attachment>(&self, state: &T) -> Result<(), AttachmentError> {
        self.attach_checked(T::VERSION, attachment::write(state)?)
    }

    /// Attaches bytes of the app's own making, and a number by which it knows how to read them.
    ///
    /// ```
    /// # use shovel_worker::{AttachmentError, Connection};
    /// fn remember(connection: &Connection, room: u32) -> Result<(), AttachmentError> {
    ///     connection.attach_bytes(1, &room.to_le_bytes())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`AttachmentError`]: over 16 KiB, or the app is not portable.
    pub fn attach_bytes(&self, version: u32, data: &[u8]) -> Result<(), AttachmentError> {
        attachment::check_len(data)?;
        self.attach_checked(version, data.to_vec())
    }

    /// What was attached last, by this worker or another; `None` if nothing ever was.
    ///
    /// ```
    /// # use shovel_worker::{AttachmentError, Connection};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Member { name: String }
    /// # impl shovel_worker::Attachment for Member {}
    /// fn name(connection: &Connection) -> Result<String, AttachmentError> {
    ///     let member: Option<Member> = connection.attachment()?;
    ///     Ok(member.map_or("nobody".to_owned(), |member| member.name))
    /// }
    /// ```
    ///
    /// # Errors
    /// [`AttachmentError`]: it cannot be read as a `T`.
    pub fn attachment<T: Attachment>(&self) -> Result<Option<T>, AttachmentError> {
        let attached = self.tenure.attached();
        attached.map(|attached| attachment::read(attached.version, &attached.data)).transpose()
    }

    /// Version and bytes of what was attached last; `None` if nothing ever was.
    ///
    /// ```
    /// # use shovel_worker::Connection;
    /// fn room(connection: &Connection) -> Option<u32> {
    ///     let (1, data) = connection.attachment_bytes()? else { return None };
    ///     Some(u32::from_le_bytes(data.try_into().ok()?))
    /// }
    /// ```
    pub fn attachment_bytes(&self) -> Option<(u32, Vec<u8>)> {
        self.tenure.attached().map(|attached| (attached.version, attached.data.into_vec()))
    }

    /// Has the connection end with this worker, in an app whose connections are portable: on a reload
    /// it is closed with 1012. In return its messages cost less, and what a handler does to it takes
    /// effect at once. Call it in the fetch handler; later it does nothing.
    ///
    /// ```
    /// # use shovel_worker::{Error, FetchEvent, Response};
    /// async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    ///     let (connection, response) = event.upgrade_websocket()?;
    ///     if event.request().uri().path() == "/positions" {
    ///         // Its clients come back by themselves, and nothing is lost by that.
    ///         connection.pin();
    ///     }
    ///     Ok(response)
    /// }
    /// ```
    pub fn pin(&self) {
        self.tenure.pin();
    }

    /// Lets out at once what the running handler has done so far to a portable connection.
    ///
    /// Without it, all that a handler does takes effect when it ends. With it, a message that is
    /// handled again after a crash may have been answered in part already: then
    /// [`MessageEvent::partial`](crate::MessageEvent::partial) says so.
    ///
    /// ```
    /// # use shovel_worker::{Error, MessageEvent};
    /// # async fn take_some_seconds() {}
    /// async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    ///     event.connection().send("working on it").await?;
    ///     event.connection().flush().await;
    ///     take_some_seconds().await;
    ///     event.connection().send("done").await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Cancel safety
    /// Cancelled while it waits for room, nothing was let out.
    pub async fn flush(&self) {
        while !self.tenure.try_flush() {
            self.tenure.link().wait_for_room().await;
        }
    }

    /// Waits until another worker has the connection, or is about to. Never ends if the connection
    /// closes here.
    ///
    /// For tasks that belong to a connection: the next worker's adopt handler starts its own.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use shovel_worker::Connection;
    ///
    /// async fn tick(connection: Connection) {
    ///     loop {
    ///         tokio::select! {
    ///             () = connection.moved() => return,
    ///             () = tokio::time::sleep(Duration::from_secs(1)) => {}
    ///         }
    ///         if connection.send("tick").await.is_err() {
    ///             return;
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Cancel safety
    /// Safe: only waits.
    pub async fn moved(&self) {
        self.tenure.moved().await;
    }

    fn attach_checked(&self, version: u32, data: Vec<u8>) -> Result<(), AttachmentError> {
        match self.tenure.attach(Attached { version, data: data.into() }) {
            true => Ok(()),
            false => Err(AttachmentError::NotPortable),
        }
    }
}
