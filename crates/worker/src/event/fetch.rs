//! A request came.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, Request, StatusCode, header};

use super::{Context, shared_methods, wait_until};
use crate::supervised::exchange::Exchange;
use crate::work::Work;
use crate::{Connection, ConnectionId};

/// A client has sent a request, which may offer an upgrade to WebSocket.
///
/// Whatever the handler returns is the answer. An upgrade is accepted by returning the response
/// that [`FetchEvent::upgrade_websocket`] gave.
///
/// ```
/// use shovel_worker::{Error, FetchEvent, IntoResponse, Response, StatusCode};
///
/// async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
///     match event.request().uri().path() {
///         "/" => Ok("hello\n".into_response()),
///         "/echo" => Ok(event.take_body().into_response()),
///         "/ws" => Ok(event.upgrade_websocket()?.1),
///         _ => Err(Error::status(StatusCode::NOT_FOUND, "there is nothing here\n")),
///     }
/// }
/// ```
pub struct FetchEvent<S> {
    context: Arc<Context<S>>,
    exchange: Arc<Exchange>,
    request: Request<()>,
    /// Behind a lock that is never taken: a body is not `Sync`, and an event must be, so that
    /// handlers may pass it on by reference.
    body: Mutex<Body>,
    client: Option<SocketAddr>,
}

/// The client's address, among the extensions of each request that has one.
///
/// ```
/// use shovel_worker::{Body, ClientAddress, Request};
///
/// /// For code that is given the request alone.
/// fn is_local(request: &Request<Body>) -> bool {
///     let address = request.extensions().get::<ClientAddress>();
///     address.is_none_or(|ClientAddress(address)| address.ip().is_loopback())
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub SocketAddr);

/// Why a request was not upgraded.
///
/// ```
/// use shovel_worker::{Error, FetchEvent, Html, IntoResponse, Response, UpgradeError};
///
/// /// A WebSocket for those who ask for one, and a page for all others.
/// async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
///     match event.upgrade_websocket() {
///         Ok((_connection, response)) => Ok(response),
///         Err(UpgradeError::NotOffered) => Ok(Html("<h1>chat</h1>").into_response()),
///         Err(error) => Err(error.into()),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// It does not ask for it.
    #[error("the request does not ask for an upgrade to websocket")]
    NotOffered,
    /// It has been upgraded before.
    #[error("the request is upgraded already")]
    Twice,
    /// It has been answered, or its client has gone.
    #[error("the request has been answered, or its client is gone; upgrade before returning")]
    Answered,
    /// The client does not speak the subprotocol that was picked.
    #[error("the client does not offer the subprotocol {0:?}; pick one of `event.protocols()`")]
    Protocol(String),
}

/// In the extensions of the response that accepts an upgrade.
#[derive(Clone)]
pub(crate) struct Accepted(pub(crate) Connection);

impl<S> FetchEvent<S> {
    pub(crate) fn new(
        context: Arc<Context<S>>,
        exchange: Arc<Exchange>,
        mut request: Request<Body>,
        client: Option<SocketAddr>,
    ) -> FetchEvent<S> {
        if let Some(client) = client {
            request.extensions_mut().insert(ClientAddress(client));
        }
        if let Some(offer) = exchange.offer() {
            request.extensions_mut().insert(ConnectionId(offer.uuid));
        }
        let (head, body) = request.into_parts();
        let (request, body) = (Request::from_parts(head, ()), Mutex::new(body));
        FetchEvent { context, exchange, request, body, client }
    }

    /// The head of the request. Its extensions hold the [`ClientAddress`], and the
    /// [`ConnectionId`] that an upgrade would have. The body comes by [`FetchEvent::take_body`] or
    /// [`FetchEvent::into_request`].
    ///
    /// ```
    /// # use shovel_worker::{Error, FetchEvent};
    /// async fn fetch(event: FetchEvent<()>) -> Result<String, Error> {
    ///     let request = event.request();
    ///     Ok(format!("{} {}\n", request.method(), request.uri()))
    /// }
    /// ```
    pub fn request(&self) -> &Request<()> {
        &self.request
    }

    /// The head of the request, to change it.
    ///
    /// ```
    /// # use shovel_worker::{Body, Error, FetchEvent, Request, Response, Uri};
    /// # async fn serve(request: Request<Body>) -> Result<Response, Error> { Ok(Response::default()) }
    /// async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    ///     if event.request().uri().path() == "/" {
    ///         *event.request_mut().uri_mut() = Uri::from_static("/index.html");
    ///     }
    ///     serve(event.into_request()).await
    /// }
    /// ```
    pub fn request_mut(&mut self) -> &mut Request<()> {
        &mut self.request
    }

    /// The body, which streams in as it is read. A second call gives an empty one.
    ///
    /// ```
    /// use shovel_worker::{Error, FetchEvent, body};
    ///
    /// async fn fetch(mut event: FetchEvent<()>) -> Result<String, Error> {
    ///     let bytes = body::to_bytes(event.take_body(), 64 * 1024).await?;
    ///     Ok(format!("{} bytes\n", bytes.len()))
    /// }
    /// ```
    pub fn take_body(&mut self) -> Body {
        std::mem::take(self.body.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    /// The whole request, without the event.
    ///
    /// ```
    /// # use shovel_worker::{Body, Error, FetchEvent};
    /// async fn fetch(event: FetchEvent<()>) -> Result<Body, Error> {
    ///     let (_head, body) = event.into_request().into_parts();
    ///     Ok(body)
    /// }
    /// ```
    pub fn into_request(self) -> Request<Body> {
        let body = self.body.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.request.map(|()| body)
    }

    /// The client's address; none on a Unix socket. Its port is 0 if only a proxy knows it.
    ///
    /// ```
    /// # use shovel_worker::{Error, FetchEvent};
    /// async fn fetch(event: FetchEvent<()>) -> Result<String, Error> {
    ///     Ok(match event.client() {
    ///         Some(client) => format!("you are {}\n", client.ip()),
    ///         None => "you are on this machine\n".to_owned(),
    ///     })
    /// }
    /// ```
    pub fn client(&self) -> Option<SocketAddr> {
        self.client
    }

    /// The subprotocols that the client offers, the preferred one first (RFC 6455 §4.1).
    ///
    /// ```
    /// # use shovel_worker::{Error, FetchEvent, Response, StatusCode};
    /// async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    ///     let known = ["chat.v2", "chat.v1"];
    ///     let picked = event.protocols().find_map(|offered| known.into_iter().find(|k| *k == offered));
    ///     let Some(protocol) = picked else {
    ///         return Err(Error::status(StatusCode::BAD_REQUEST, "speak chat.v2 or chat.v1\n"));
    ///     };
    ///     Ok(event.upgrade_websocket_with_protocol(protocol)?.1)
    /// }
    /// ```
    pub fn protocols(&self) -> impl Iterator<Item = &str> {
        offered_protocols(self.request.headers())
    }

    /// Upgrades the request: gives the connection, usable at once, and the response to return.
    ///
    /// The response may be given more headers, such as cookies. What is done to the connection
    /// until it is returned takes effect then. If it is not returned the connection never was: it
    /// becomes inert, and there is no close event.
    ///
    /// ```
    /// # use shovel_worker::{Error, FetchEvent, HeaderValue, Response, header};
    /// async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    ///     let (connection, mut response) = event.upgrade_websocket()?;
    ///     connection.send("welcome").await?;
    ///     let cookie = HeaderValue::from_static("seen=yes");
    ///     response.headers_mut().insert(header::SET_COOKIE, cookie);
    ///     Ok(response)
    /// }
    /// ```
    ///
    /// # Errors
    /// [`UpgradeError`]. By `?`, `NotOffered` becomes a 426 that tells the client to upgrade, and any
    /// other a 500.
    pub fn upgrade_websocket(&mut self) -> Result<(Connection, Response), UpgradeError> {
        self.upgrade(None)
    }

    /// Does the same, and picks one of the subprotocols offered.
    ///
    /// ```
    /// # use shovel_worker::{Error, FetchEvent, Response};
    /// async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    ///     let (connection, response) = event.upgrade_websocket_with_protocol("chat.v1")?;
    ///     assert_eq!(connection.protocol(), Some("chat.v1"));
    ///     Ok(response)
    /// }
    /// ```
    ///
    /// # Errors
    /// As [`FetchEvent::upgrade_websocket`], and [`UpgradeError::Protocol`] if it is not offered.
    pub fn upgrade_websocket_with_protocol(
        &mut self,
        protocol: &str,
    ) -> Result<(Connection, Response), UpgradeError> {
        self.upgrade(Some(protocol))
    }

    /// What the worker has under way.
    pub(crate) fn work(&self) -> &Work {
        &self.context.work
    }

    shared_methods!();
    wait_until!();

    fn upgrade(&mut self, protocol: Option<&str>) -> Result<(Connection, Response), UpgradeError> {
        if let Some(protocol) = protocol
            && !self.protocols().any(|offered| offered == protocol)
        {
            return Err(UpgradeError::Protocol(protocol.to_owned()));
        }
        let (uri, headers) = (self.request.uri(), self.request.headers());
        let connection = self.exchange.upgrade(uri, headers, protocol)?;
        if self.context.portable {
            connection.tenure.make_portable();
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.extensions_mut().insert(Accepted(connection.clone()));
        Ok((connection, response))
    }
}

/// All lines of the header count as one list (RFC 6455 §11.3.4).
pub(crate) fn offered_protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|protocol| !protocol.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn an_event_may_be_passed_on_by_reference_between_threads() {
        fn is_sync<T: Send + Sync>() {}
        is_sync::<FetchEvent<()>>();
    }

    #[test]
    fn protocols_of_all_lines_are_offered_in_order() {
        let mut headers = HeaderMap::new();
        let name = header::SEC_WEBSOCKET_PROTOCOL;
        headers.append(&name, HeaderValue::from_static("chat.v2 , chat.v1"));
        headers.append(&name, HeaderValue::from_static("echo,"));
        let offered: Vec<_> = offered_protocols(&headers).collect();
        assert_eq!(offered, ["chat.v2", "chat.v1", "echo"]);
    }
}
