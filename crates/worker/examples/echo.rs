//! The smallest app: it sends every message back, text as text and binary as binary.
//!
//! ```sh
//! cargo build --example echo && shovel-pool ./target/debug/examples/echo
//! ```

use shovel_worker::{App, Error, FetchEvent, MessageEvent, Response, RunError};

fn app() -> App<()> {
    App::new(()).on_fetch(fetch).on_message(message)
}

async fn fetch(mut event: FetchEvent<()>) -> Result<Response, Error> {
    let (_connection, response) = event.upgrade_websocket()?;
    Ok(response)
}

async fn message(event: MessageEvent<()>) -> Result<(), Error> {
    event.connection().send(event.message().clone()).await?;
    Ok(())
}

fn main() -> Result<(), RunError> {
    app().run()
}

#[cfg(test)]
mod tests {
    use shovel_worker::testing::TestApp;

    #[tokio::test]
    async fn a_message_comes_back_as_it_went() {
        let app = TestApp::start(super::app()).await.unwrap();
        let client = app.connect("/").await.unwrap();
        client.send("hello").await;
        client.send(vec![0, 159, 255]).await;
        assert_eq!(client.received(), ["hello".into(), vec![0, 159, 255].into()]);
    }

    #[tokio::test]
    async fn a_browser_without_websocket_is_told_to_upgrade() {
        let app = TestApp::start(super::app()).await.unwrap();
        let response = app.get("/").await;
        assert_eq!(response.status(), 426);
        assert_eq!(response.header("upgrade"), Some("websocket"));
    }
}
