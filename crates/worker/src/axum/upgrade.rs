//! The extractor that upgrades.

use std::borrow::Cow;
use std::fmt;

use axum::Error;
use axum::extract::FromRequestParts;
use axum::response::Response;
use http::HeaderValue;
use http::request::Parts;

use super::WebSocket;
use super::failed::{DefaultOnFailedUpgrade, OnFailedUpgrade, WebSocketUpgradeRejection};
use super::upgradable::{Taken, Upgradable};
use crate::{Attachment, UpgradeError};

/// Extracts the upgrade that a request offers: axum's `WebSocketUpgrade`, but for the buffers and
/// frames, which are the supervisor's affair.
///
/// ```no_run
/// use axum::extract::{Path, State};
/// use axum::response::Response;
/// use axum::routing::any;
/// use axum::{Router, http::StatusCode};
/// use shovel_worker::axum::{Message, WebSocket, WebSocketUpgrade};
///
/// async fn room(
///     upgrade: WebSocketUpgrade,
///     Path(name): Path<String>,
///     State(rooms): State<Vec<String>>,
/// ) -> Result<Response, StatusCode> {
///     if !rooms.contains(&name) {
///         return Err(StatusCode::NOT_FOUND);
///     }
///     let upgrade = upgrade.protocols(["chat.v2", "chat.v1"]);
///     Ok(upgrade.on_upgrade(|socket| chat(socket, name)))
/// }
///
/// /// Every message goes to all in the room, whichever worker they are with.
/// async fn chat(mut socket: WebSocket, room: String) {
///     let connection = socket.connection().clone();
///     if connection.subscribe(&room).is_err() {
///         return;
///     }
///     while let Some(Ok(Message::Text(text))) = socket.recv().await {
///         if connection.publish(&room, text).await.is_err() {
///             return;
///         }
///     }
/// }
///
/// fn main() -> Result<(), shovel_worker::RunError> {
///     let rooms = vec!["lobby".to_owned()];
///     shovel_worker::run(Router::new().route("/rooms/{name}", any(room)).with_state(rooms))
/// }
/// ```
#[must_use = "the upgrade is accepted by returning what `on_upgrade` gives"]
pub struct WebSocketUpgrade<F = DefaultOnFailedUpgrade> {
    offer: Upgradable,
    requested: Vec<HeaderValue>,
    selected: Option<HeaderValue>,
    max_message_bytes: Option<usize>,
    on_failed_upgrade: F,
}

#[derive(Debug, thiserror::Error)]
#[error("the upgrade was not accepted: the client is gone, or another response was returned")]
struct NotAccepted;

impl<F> WebSocketUpgrade<F> {
    /// Picks the first of these subprotocols that the client offers, if it offers any.
    ///
    /// ```
    /// # use axum::response::Response;
    /// # use shovel_worker::axum::{Message, WebSocket, WebSocketUpgrade};
    /// async fn chat(upgrade: WebSocketUpgrade) -> Response {
    ///     upgrade.protocols(["chat.v2", "chat.v1"]).on_upgrade(async |_socket| {})
    /// }
    /// ```
    pub fn protocols<I>(mut self, protocols: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Cow<'static, str>>,
    {
        let known = protocols.into_iter().map(Into::into);
        self.selected = known
            .filter_map(|name| HeaderValue::from_str(&name).ok())
            .find(|name| self.requested.contains(name));
        self
    }

    /// The subprotocols that the client offers, the preferred one first.
    ///
    /// ```
    /// # use axum::response::Response;
    /// # use shovel_worker::axum::{Message, WebSocket, WebSocketUpgrade};
    /// fn is_old(upgrade: &WebSocketUpgrade) -> bool {
    ///     upgrade.requested_protocols().all(|protocol| protocol == "chat.v1")
    /// }
    /// ```
    pub fn requested_protocols(&self) -> impl Iterator<Item = &HeaderValue> {
        self.requested.iter()
    }

    /// Picks a subprotocol. If the client does not offer it the upgrade fails, with status 500
    /// (RFC 6455 §4.1).
    ///
    /// ```
    /// # use axum::response::Response;
    /// # use shovel_worker::axum::{Message, WebSocket, WebSocketUpgrade};
    /// async fn chat(mut upgrade: WebSocketUpgrade) -> Response {
    ///     let preferred = upgrade.requested_protocols().next().cloned();
    ///     if let Some(preferred) = preferred {
    ///         upgrade.set_selected_protocol(preferred);
    ///     }
    ///     upgrade.on_upgrade(async |_socket| {})
    /// }
    /// ```
    pub fn set_selected_protocol(&mut self, protocol: HeaderValue) {
        self.selected = Some(protocol);
    }

    /// The subprotocol that is picked.
    ///
    /// ```
    /// # use axum::response::Response;
    /// # use shovel_worker::axum::{Message, WebSocket, WebSocketUpgrade};
    /// fn is_chat(upgrade: &WebSocketUpgrade) -> bool {
    ///     upgrade.selected_protocol().is_some_and(|protocol| protocol == "chat.v2")
    /// }
    /// ```
    pub fn selected_protocol(&self) -> Option<&HeaderValue> {
        self.selected.as_ref()
    }

    /// Closes the connection with 1009 at a message of over this many bytes. The supervisor's
    /// `--max-message-size` holds in any case.
    ///
    /// ```
    /// # use axum::response::Response;
    /// # use shovel_worker::axum::{Message, WebSocket, WebSocketUpgrade};
    /// async fn chat(upgrade: WebSocketUpgrade) -> Response {
    ///     upgrade.max_message_size(1000).on_upgrade(async |_socket| {})
    /// }
    /// ```
    pub fn max_message_size(mut self, max_bytes: usize) -> Self {
        self.max_message_bytes = Some(max_bytes);
        self
    }

    /// What to do if the upgrade is not accepted after all; nothing, unless given.
    ///
    /// ```
    /// # use axum::response::Response;
    /// # use shovel_worker::axum::{Message, WebSocket, WebSocketUpgrade};
    /// async fn chat(upgrade: WebSocketUpgrade) -> Response {
    ///     let upgrade = upgrade.on_failed_upgrade(|error| tracing::warn!("no upgrade: {error}"));
    ///     upgrade.on_upgrade(async |_socket| {})
    /// }
    /// ```
    pub fn on_failed_upgrade<C: OnFailedUpgrade>(self, callback: C) -> WebSocketUpgrade<C> {
        WebSocketUpgrade {
            offer: self.offer,
            requested: self.requested,
            selected: self.selected,
            max_message_bytes: self.max_message_bytes,
            on_failed_upgrade: callback,
        }
    }

    /// Gives the response that accepts the upgrade. Once it is returned and the upgrade accepted,
    /// the function is called with the socket, in a task of its own.
    ///
    /// Middleware may add headers, or answer otherwise, in which case the upgrade fails.
    ///
    /// ```
    /// # use axum::response::Response;
    /// # use shovel_worker::axum::{Message, WebSocket, WebSocketUpgrade};
    /// async fn greet(upgrade: WebSocketUpgrade) -> Response {
    ///     upgrade.on_upgrade(async |mut socket| {
    ///         let _ = socket.send(Message::text("hello")).await;
    ///     })
    /// }
    /// ```
    #[must_use = "the upgrade is accepted by returning this"]
    pub fn on_upgrade<C, Fut>(self, callback: C) -> Response
    where
        C: FnOnce(WebSocket) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
        F: OnFailedUpgrade,
    {
        let taken = match take(&self.offer, self.selected.as_ref()) {
            Ok(taken) => taken,
            Err(error) => {
                tracing::error!("cannot upgrade: {error}");
                self.on_failed_upgrade.call(Error::new(error.clone()));
                return crate::Error::from(error).into_response(false);
            }
        };
        let Taken { connection, events, response, is_adopted } = taken;
        if is_adopted {
            let error = "it was portable, and is not any more";
            tracing::error!(connection = %connection.id(), "cannot take the connection over: {error}");
            return crate::Error::message(error).into_response(false);
        }
        let socket =
            WebSocket::new(connection.clone(), events, self.selected, self.max_message_bytes);
        let (tenure, on_failed_upgrade) = (connection.tenure.clone(), self.on_failed_upgrade);
        self.offer.spawn(&connection, async move {
            if tenure.accepted().await {
                callback(socket).await;
            } else {
                on_failed_upgrade.call(Error::new(NotAccepted));
            }
        });
        response
    }
}

impl WebSocketUpgrade {
    /// Does what [`on_upgrade`](Self::on_upgrade) does, with a connection that outlives its worker,
    /// and whose state begins as `T::default()`.
    ///
    /// When the worker is replaced, dies or goes to sleep, the client stays connected. Another
    /// worker then calls the Router again with the request that began the connection, middleware
    /// and extractors included, and the function given here goes on with the connection and its
    /// state. No response is sent, and in the request's extensions is [`Adopted`](super::Adopted).
    /// If the Router answers otherwise the connection is closed with 1012.
    ///
    /// What the function does between two calls of [`Connection::recv`](super::Connection::recv)
    /// takes effect with the second, all of it or nothing; see
    /// [`flush`](crate::Connection::flush). At a planned move it is dropped while it waits for the
    /// next message, or at its next `await` if the message takes longer than `--handler-timeout`.
    ///
    /// ```no_run
    /// use axum::extract::Path;
    /// use axum::response::Response;
    /// use serde::{Deserialize, Serialize};
    /// use shovel_worker::Attachment;
    /// use shovel_worker::axum::{Connection, Message, WebSocketUpgrade};
    ///
    /// #[derive(Default, Serialize, Deserialize)]
    /// struct Count(u64);
    ///
    /// impl Attachment for Count {}
    ///
    /// async fn count(upgrade: WebSocketUpgrade, Path(name): Path<String>) -> Response {
    ///     upgrade.portable(async move |mut conn: Connection<Count>| {
    ///         while let Some(Ok(Message::Text(_))) = conn.recv().await {
    ///             conn.state.0 += 1;
    ///             let answer = format!("{name} has said {} things", conn.state.0);
    ///             if conn.send(answer.into()).await.is_err() {
    ///                 return;
    ///             }
    ///         }
    ///     })
    /// }
    /// ```
    #[must_use = "the upgrade is accepted by returning this"]
    pub fn portable<T, C, Fut>(self, callback: C) -> Response
    where
        T: Attachment + Default + Send + 'static,
        C: FnOnce(super::Connection<T>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.portable_from(T::default(), callback)
    }

    /// Does the same with another state to begin with. Of a connection that is taken over the state
    /// is what it was.
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use shovel_worker::Attachment;
    /// # #[derive(Default, Serialize, Deserialize)]
    /// # struct Points { n: u64 }
    /// # impl Attachment for Points {}
    /// # use axum::response::Response;
    /// # use shovel_worker::axum::{Connection, WebSocketUpgrade};
    /// async fn count_down(upgrade: WebSocketUpgrade) -> Response {
    ///     upgrade.portable_from(Points { n: 10 }, async |mut conn: Connection<Points>| {
    ///         while conn.state.n > 0 && conn.recv().await.is_some() {
    ///             conn.state.n -= 1;
    ///         }
    ///     })
    /// }
    /// ```
    #[must_use = "the upgrade is accepted by returning this"]
    pub fn portable_from<T, C, Fut>(self, initial: T, callback: C) -> Response
    where
        T: Attachment + Send + 'static,
        C: FnOnce(super::Connection<T>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let offer = self.offer.clone();
        match self.take_portable(initial) {
            Ok((conn, response)) => {
                let connection = conn.connection().clone();
                let tenure = connection.tenure.clone();
                offer.spawn(&connection, async move {
                    if tenure.accepted().await {
                        callback(conn).await;
                    }
                });
                response
            }
            Err(error) => {
                tracing::error!("cannot upgrade: {error}");
                error.into_response(false)
            }
        }
    }

    fn take_portable<T: Attachment>(
        self,
        initial: T,
    ) -> Result<(super::Connection<T>, Response), crate::Error> {
        let taken = take(&self.offer, self.selected.as_ref())?;
        let Taken { connection, events, response, is_adopted } = taken;
        let state = match connection.attachment()? {
            Some(state) => state,
            None if is_adopted => return Err(crate::Error::message("nothing is attached to it")),
            None => {
                connection.tenure.make_portable();
                initial
            }
        };
        let socket = WebSocket::new(connection, events, self.selected, self.max_message_bytes);
        Ok((super::Connection::new(socket, state)?, response))
    }
}

fn take(offer: &Upgradable, protocol: Option<&HeaderValue>) -> Result<Taken, UpgradeError> {
    let Some(protocol) = protocol else { return offer.take(None) };
    // None that the client offers is anything but ASCII.
    match protocol.to_str() {
        Ok(protocol) => offer.take(Some(protocol)),
        Err(_) => Err(UpgradeError::Protocol(format!("{protocol:?}"))),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for WebSocketUpgrade {
    type Rejection = WebSocketUpgradeRejection;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let offer = parts.extensions.get::<Upgradable>().ok_or(WebSocketUpgradeRejection)?.clone();
        Ok(WebSocketUpgrade {
            requested: offer.protocols(),
            offer,
            selected: None,
            max_message_bytes: None,
            on_failed_upgrade: DefaultOnFailedUpgrade,
        })
    }
}

impl<F> fmt::Debug for WebSocketUpgrade<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("WebSocketUpgrade");
        debug.field("requested", &self.requested).field("selected", &self.selected);
        debug.finish_non_exhaustive()
    }
}
