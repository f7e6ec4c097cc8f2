//! A WebSocket client whose every wait is bounded.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::within;

/// An open connection.
#[derive(Debug)]
pub struct WebSocket {
    stream: WebSocketStream<TcpStream>,
    /// Those of the 101.
    pub headers: HeaderMap,
}

/// The answer to an upgrade that was not accepted.
pub type Refused = Response<Option<Vec<u8>>>;

impl WebSocket {
    /// Connects.
    ///
    /// # Panics
    /// If it is not accepted.
    pub async fn connect(address: SocketAddr, path: &str) -> WebSocket {
        Self::try_connect(address, path).await.unwrap_or_else(|refused| {
            let body = refused.body().as_deref().unwrap_or_default();
            panic!("{path}: {}: {}", refused.status(), String::from_utf8_lossy(body))
        })
    }

    /// Connects, or returns the response that came instead.
    ///
    /// # Errors
    /// That response.
    pub async fn try_connect(address: SocketAddr, path: &str) -> Result<WebSocket, Box<Refused>> {
        Self::try_connect_with(address, path, &[]).await
    }

    /// As [`WebSocket::try_connect`], with more headers.
    ///
    /// # Errors
    /// The response that came instead.
    pub async fn try_connect_with(
        address: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<WebSocket, Box<Refused>> {
        let mut request: Request<()> =
            format!("ws://{address}{path}").into_client_request().expect("a request");
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().expect("a header"));
        }
        let connect = async {
            let stream = TcpStream::connect(address).await.expect("connect");
            client_async_with_config(request, stream, Some(WebSocketConfig::default())).await
        };
        match within("an upgrade", connect).await {
            Ok((stream, response)) => {
                Ok(WebSocket { stream, headers: response.into_parts().0.headers })
            }
            Err(tungstenite::Error::Http(refused)) => Err(refused),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// Sends text.
    ///
    /// # Panics
    /// If the connection has failed.
    pub async fn send(&mut self, text: impl Into<String>) {
        self.send_message(Message::text(text.into())).await;
    }

    /// Sends binary data.
    ///
    /// # Panics
    /// If the connection has failed.
    pub async fn send_binary(&mut self, data: impl Into<Bytes>) {
        self.send_message(Message::binary(data)).await;
    }

    /// Sends any message.
    ///
    /// # Panics
    /// If the connection has failed.
    pub async fn send_message(&mut self, message: Message) {
        within("room to send", self.stream.send(message)).await.expect("send");
    }

    /// Queues a message without sending it yet, for many to go at once.
    ///
    /// # Panics
    /// If the connection has failed.
    pub async fn feed(&mut self, message: Message) {
        within("room to send", self.stream.feed(message)).await.expect("send");
    }

    /// The next message that is no ping; pings are answered.
    ///
    /// # Panics
    /// If the connection ends.
    pub async fn next(&mut self) -> Message {
        loop {
            let next = within("a message", self.stream.next()).await;
            match next.expect("a message rather than the end").expect("a message") {
                Message::Ping(_) => {}
                message => return message,
            }
        }
    }

    /// The next message, which must be text.
    ///
    /// # Panics
    /// If it is none.
    pub async fn next_text(&mut self) -> String {
        match self.next().await {
            Message::Text(text) => text.to_string(),
            other => panic!("not text: {other:?}"),
        }
    }

    /// The next message, which must be JSON.
    ///
    /// # Panics
    /// If it is none.
    pub async fn next_json(&mut self) -> serde_json::Value {
        let text = self.next_text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Sends text and returns the text that comes back.
    ///
    /// # Panics
    /// If none does.
    pub async fn ask(&mut self, text: &str) -> String {
        self.send(text).await;
        self.next_text().await
    }

    /// Expects this text.
    ///
    /// # Panics
    /// If something else comes.
    pub async fn expect_text(&mut self, text: &str) {
        assert_eq!(self.next_text().await, text);
    }

    /// Expects the server's close frame, answers it, and sees the socket end.
    ///
    /// # Panics
    /// If something else comes.
    pub async fn expect_close(&mut self, code: u16, reason: &str) {
        match self.next().await {
            Message::Close(Some(frame)) => {
                assert_eq!((u16::from(frame.code), frame.reason.as_str()), (code, reason));
            }
            other => panic!("not a close with {code} {reason:?}: {other:?}"),
        }
        self.expect_end().await;
    }

    /// Expects the server's close frame with this code, whatever its reason, and sees the end.
    ///
    /// # Panics
    /// If something else comes.
    pub async fn expect_close_code(&mut self, code: u16) {
        match self.next().await {
            Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), code, "{frame}"),
            other => panic!("not a close with {code}: {other:?}"),
        }
        self.expect_end().await;
    }

    /// Expects that the socket ends without another message.
    ///
    /// # Panics
    /// If a message comes.
    pub async fn expect_end(&mut self) {
        match within("the end of the socket", self.stream.next()).await {
            None | Some(Err(_)) => {}
            Some(Ok(message)) => panic!("not the end: {message:?}"),
        }
    }

    /// Closes with a code and a reason, and sees the server answer with the same code.
    ///
    /// # Panics
    /// If it does not.
    pub async fn close(mut self, code: u16, reason: &'static str) {
        self.start_close(code, reason).await;
        loop {
            match self.next().await {
                Message::Close(Some(frame)) => break assert_eq!(u16::from(frame.code), code),
                Message::Close(None) => panic!("closed without a code"),
                _ => {}
            }
        }
        self.expect_end().await;
    }

    /// Sends a close frame and leaves it at that.
    ///
    /// # Panics
    /// If the connection has failed.
    pub async fn start_close(&mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        within("room to close", self.stream.close(Some(frame))).await.expect("close");
    }
}
