//! What a handler fails with.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use crate::UpgradeError;

/// Why a handler failed, and what its client is to see of it.
///
/// Any error becomes one by `?`. Of such an error a client sees nothing but status 500; the log has
/// it whole, and with the supervisor's `--dev` the response tells it too. Only
/// [`UpgradeError::NotOffered`], which is the client's own mistake, becomes status 426.
///
/// [`Error::status`] and [`Error::response`] are seen by the client as they are, on requests and
/// upgrades alike.
///
/// It is no [`std::error::Error`] itself: only so can every such error be turned into it.
///
/// ```
/// use shovel_worker::{Error, FetchEvent, StatusCode};
///
/// async fn fetch(event: FetchEvent<()>) -> Result<String, Error> {
///     let query = event.request().uri().query().unwrap_or_default();
///     if query.is_empty() {
///         return Err(Error::status(StatusCode::BAD_REQUEST, "say what you look for\n"));
///     }
///     // What is wrong with the file is in the log; the client sees status 500.
///     Ok(std::fs::read_to_string("answers.txt")?)
/// }
/// ```
pub struct Error(Box<Cause>);

enum Cause {
    Inside(Box<dyn StdError + Send + Sync>),
    Answer { response: Response, said: Option<Cow<'static, str>> },
}

impl Error {
    /// Answers with a status and a text.
    ///
    /// ```
    /// use shovel_worker::{Error, StatusCode};
    ///
    /// let error = Error::status(StatusCode::FORBIDDEN, "members only\n");
    /// assert_eq!(error.to_string(), "403 Forbidden: members only");
    /// ```
    pub fn status(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        let response = (status, text.clone()).into_response();
        Error(Box::new(Cause::Answer { response, said: Some(text) }))
    }

    /// Answers with a response.
    ///
    /// ```
    /// use shovel_worker::{Error, Redirect, StatusCode, header};
    ///
    /// let elsewhere = Error::response(Redirect::to("/login"));
    /// let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    /// let refusal = Error::response((StatusCode::UNAUTHORIZED, challenge, "who are you?\n"));
    /// ```
    pub fn response(response: impl IntoResponse) -> Self {
        Error(Box::new(Cause::Answer { response: response.into_response(), said: None }))
    }

    /// A failure that only a text describes. The client sees status 500.
    ///
    /// ```
    /// use shovel_worker::Error;
    ///
    /// let error = Error::message("the table is empty");
    /// assert_eq!(error.to_string(), "the table is empty");
    /// ```
    pub fn message(text: impl Into<Cow<'static, str>>) -> Self {
        let cause: Box<dyn StdError + Send + Sync> = text.into().into();
        Error(Box::new(Cause::Inside(cause)))
    }

    /// Whether the client may not see it.
    pub(crate) fn is_inside(&self) -> bool {
        matches!(*self.0, Cause::Inside(_))
    }

    /// What the client gets. `dev`: it may see the inside.
    pub(crate) fn into_response(self, dev: bool) -> Response {
        match *self.0 {
            Cause::Answer { response, .. } => response,
            Cause::Inside(_) if !dev => failed(None),
            Cause::Inside(_) => failed(Some(&self.to_string())),
        }
    }
}

/// Status 500, with its reason if a client may see that.
pub(crate) fn failed(why: Option<&str>) -> Response {
    let text = match why {
        Some(why) => format!("Internal Server Error\n\n{why}\n"),
        None => "Internal Server Error".to_owned(),
    };
    let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (StatusCode::INTERNAL_SERVER_ERROR, plain, text).into_response()
}

/// The client's mistake, and it can be told how to do better (RFC 9110 §15.5.22).
fn upgrade_required() -> Error {
    let how = [(header::UPGRADE, "websocket"), (header::CONNECTION, "upgrade")];
    Error::response((StatusCode::UPGRADE_REQUIRED, how, "this is a WebSocket: upgrade to it\n"))
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let error: Box<dyn StdError + Send + Sync> = Box::new(error);
        if let Some(UpgradeError::NotOffered) = error.downcast_ref() {
            return upgrade_required();
        }
        Error(Box::new(Cause::Inside(error)))
    }
}

/// The error and all its sources, in one line.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Cause::Answer { response, said: None } => write!(f, "{}", response.status()),
            Cause::Answer { response, said: Some(text) } => {
                write!(f, "{}: {}", response.status(), text.trim_end())
            }
            Cause::Inside(error) => {
                write!(f, "{error}")?;
                let mut source = error.source();
                while let Some(error) = source {
                    write!(f, ": {error}")?;
                    source = error.source();
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no such table")]
    struct Inner;

    #[derive(Debug, thiserror::Error)]
    #[error("query failed")]
    struct Outer(#[source] Inner);

    async fn body(response: Response) -> String {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_client_sees_the_inside_only_in_dev() {
        let quiet = Error::from(Outer(Inner)).into_response(false);
        assert_eq!(quiet.status(), 500);
        assert!(!body(quiet).await.contains("table"));
        let open = Error::from(Outer(Inner)).into_response(true);
        assert!(body(open).await.contains("query failed: no such table"));
    }

    #[test]
    fn a_plain_request_for_a_websocket_is_told_to_upgrade() {
        let response = Error::from(UpgradeError::NotOffered).into_response(false);
        assert_eq!(response.status(), 426);
        assert_eq!(response.headers()["upgrade"], "websocket");
        assert_eq!(Error::from(UpgradeError::Twice).into_response(false).status(), 500);
    }

    #[tokio::test]
    async fn an_answer_is_seen_as_it_is() {
        let response = Error::status(StatusCode::UNAUTHORIZED, "who?").into_response(false);
        assert_eq!(response.status(), 401);
        assert_eq!(body(response).await, "who?");
    }
}
