//! Who may connect: an upgrade without a known session is refused by a 401 of the app's own.
//!
//! ```sh
//! cargo build --example auth && shovel-pool ./target/debug/examples/auth
//! ```
//!
//! Browsers cannot set headers on a WebSocket, but they send the cookies of its host along.

use std::collections::HashMap;

use shovel_worker::{
    App, Error, FetchEvent, HeaderMap, MessageEvent, Response, RunError, StatusCode, header,
};

/// The names of those who have logged in, by session. A real app asks its database.
struct Sessions(HashMap<&'static str, &'static str>);

impl Sessions {
    fn name(&self, headers: &HeaderMap) -> Option<&'static str> {
        let cookies = headers.get_all(header::COOKIE).into_iter();
        cookies
            .filter_map(|cookies| cookies.to_str().ok())
            .flat_map(|cookies| cookies.split(';'))
            .find_map(|cookie| cookie.trim().strip_prefix("session="))
            .and_then(|session| self.0.get(session).copied())
    }
}

fn app() -> App<Sessions> {
    App::new(Sessions(HashMap::from([("4f9c", "Ada")]))).on_fetch(fetch).on_message(message)
}

async fn fetch(mut event: FetchEvent<Sessions>) -> Result<Response, Error> {
    let Some(name) = event.state().name(event.request().headers()) else {
        return Err(unauthorized());
    };
    let (connection, response) = event.upgrade_websocket()?;
    connection.send(format!("welcome, {name}")).await?;
    Ok(response)
}

/// Who speaks is read from the headers of the upgrade, which stay with the connection: so a
/// session that has ended meanwhile is noticed.
async fn message(event: MessageEvent<Sessions>) -> Result<(), Error> {
    let connection = event.connection();
    match event.state().name(connection.headers()) {
        Some(name) => connection.send(format!("{name} said {:?}", event.message())).await?,
        None => connection.close(4401, "session has ended")?,
    }
    Ok(())
}

/// The client sees it as it stands here, on an upgrade too.
fn unauthorized() -> Error {
    let challenge = [(header::WWW_AUTHENTICATE, "Session realm=\"chat\"")];
    Error::response((StatusCode::UNAUTHORIZED, challenge, "log in first\n"))
}

fn main() -> Result<(), RunError> {
    app().run()
}

#[cfg(test)]
mod tests {
    use shovel_worker::Request;
    use shovel_worker::testing::TestApp;

    use super::*;

    fn upgrade(cookies: &str) -> Request<()> {
        Request::get("/").header(header::COOKIE, cookies).body(()).unwrap()
    }

    #[tokio::test]
    async fn a_stranger_is_refused_by_the_apps_own_answer() {
        let app = TestApp::start(app()).await.unwrap();
        for refused in [
            app.connect("/").await.unwrap_err(),
            app.connect_with(upgrade("session=guessed")).await.unwrap_err(),
        ] {
            assert_eq!(refused.status(), 401);
            assert_eq!(refused.header("www-authenticate"), Some("Session realm=\"chat\""));
            assert_eq!(refused.text().await, "log in first\n");
        }
    }

    #[tokio::test]
    async fn who_is_logged_in_is_known_by_name() {
        let app = TestApp::start(app()).await.unwrap();
        let ada = app.connect_with(upgrade("theme=dark; session=4f9c")).await.unwrap();
        assert_eq!(ada.next().await.as_text(), Some("welcome, Ada"));
        ada.send("hello").await;
        assert_eq!(ada.next().await.as_text(), Some("Ada said \"hello\""));
    }
}
