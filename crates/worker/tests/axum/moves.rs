//! Portable connections of a Router, in the module that apps are tested with.

use axum::extract::Path;
use axum::response::Response;
use axum::{Extension, Router, routing::any};
use serde::{Deserialize, Serialize};
use shovel_worker::axum::{Adopted, Connection, Message, WebSocketUpgrade};
use shovel_worker::testing::TestApp;
use shovel_worker::{AdoptCause, App, Attachment, WorkerInfo};

#[derive(Default, Serialize, Deserialize)]
struct Count {
    n: u64,
}

impl Attachment for Count {}

async fn count(
    upgrade: WebSocketUpgrade,
    Path(name): Path<String>,
    worker: Extension<WorkerInfo>,
    adopted: Option<Extension<Adopted>>,
) -> Response {
    let cause = adopted.map(|Extension(adopted)| adopted.cause);
    upgrade.portable(async move |mut conn: Connection<Count>| {
        while let Some(Ok(Message::Text(text))) = conn.recv().await {
            conn.state.n += 1;
            let (n, again, generation) = (conn.state.n, conn.redelivered(), worker.generation);
            let answer = format!("{name} {n} {generation} {cause:?} {again}");
            conn.send(answer.into()).await.unwrap();
            if &*text == "hang" && !conn.redelivered() {
                std::future::pending::<()>().await;
            }
        }
    })
}

async fn plain(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async |mut socket| while socket.recv().await.is_some() {})
}

fn app() -> App<()> {
    Router::new().route("/count/{name}", any(count)).route("/plain", any(plain)).into()
}

#[tokio::test]
async fn a_route_goes_on_with_its_connection_after_a_reload_and_a_crash() {
    let test = TestApp::start(app()).await.unwrap();
    let client = test.connect("/count/ada").await.unwrap();
    client.send("one").await;
    test.reload(app()).await.unwrap();
    client.send("two").await;
    let ((), crashed) = tokio::join!(client.send("hang"), async {
        // The answer is not seen, since its handler never ends.
        test.crash(app()).await
    });
    crashed.unwrap();
    let (reload, crash) = (Some(AdoptCause::Reload), Some(AdoptCause::Crash));
    let expected = [
        format!("ada 1 1 {:?} false", None::<AdoptCause>).into(),
        format!("ada 2 2 {reload:?} false").into(),
        format!("ada 3 2 {crash:?} true").into(),
    ];
    assert_eq!(client.received(), expected);
    test.shut_down().await.unwrap();
}

#[tokio::test]
async fn a_route_that_is_not_portable_ends_with_its_worker() {
    let test = TestApp::start(app()).await.unwrap();
    let client = test.connect("/plain").await.unwrap();
    test.reload(app()).await.unwrap();
    assert_eq!(client.closed(), Some((1012, "server reloading".to_owned())));
    let client = test.connect("/plain").await.unwrap();
    test.crash(app()).await.unwrap();
    assert_eq!(client.closed(), Some((1011, "worker lost".to_owned())));
}
