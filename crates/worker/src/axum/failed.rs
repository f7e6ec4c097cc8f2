//! What there is instead of an upgrade.

use std::fmt;

use axum::Error;
use axum::response::{IntoResponse, Response};

use crate::UpgradeError;

/// What to do if an upgrade was not accepted after all.
///
/// ```
/// use shovel_worker::axum::OnFailedUpgrade;
///
/// struct Log;
///
/// impl OnFailedUpgrade for Log {
///     fn call(self, error: axum::Error) {
///         tracing::warn!("no upgrade: {error}");
///     }
/// }
/// ```
pub trait OnFailedUpgrade: Send + 'static {
    /// Called instead of the function given to [`on_upgrade`](crate::axum::WebSocketUpgrade::on_upgrade).
    fn call(self, error: Error);
}

/// Does nothing.
///
/// ```
/// use shovel_worker::axum::{DefaultOnFailedUpgrade, WebSocketUpgrade};
///
/// fn plain(upgrade: WebSocketUpgrade<DefaultOnFailedUpgrade>) -> WebSocketUpgrade {
///     upgrade
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct DefaultOnFailedUpgrade;

/// The request offers no upgrade to WebSocket. The client gets 426.
///
/// ```
/// use axum::response::{IntoResponse, Response};
/// use shovel_worker::axum::{WebSocketUpgrade, WebSocketUpgradeRejection};
///
/// /// A page for browsers, and a WebSocket for scripts.
/// async fn page(upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>) -> Response {
///     match upgrade {
///         Ok(upgrade) => upgrade.on_upgrade(async |_socket| {}),
///         Err(_rejection) => "a page\n".into_response(),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebSocketUpgradeRejection;

impl<F: FnOnce(Error) + Send + 'static> OnFailedUpgrade for F {
    fn call(self, error: Error) {
        self(error);
    }
}

impl OnFailedUpgrade for DefaultOnFailedUpgrade {
    fn call(self, _error: Error) {}
}

impl IntoResponse for WebSocketUpgradeRejection {
    fn into_response(self) -> Response {
        crate::Error::from(UpgradeError::NotOffered).into_response(false)
    }
}

impl fmt::Display for WebSocketUpgradeRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        UpgradeError::NotOffered.fmt(f)
    }
}

impl std::error::Error for WebSocketUpgradeRejection {}
