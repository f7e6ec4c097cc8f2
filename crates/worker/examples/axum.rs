//! An axum Router with three WebSockets: `/theirs` by axum's own extractor, as it may stand in any
//! app, `/ours` by that of the SDK, which is faster and may use channels, and `/ws/counter`, whose
//! connections stay open when the pool is reloaded or a worker dies.
//!
//! ```sh
//! cargo build --example axum
//! shovel-pool --workers 2 target/debug/examples/axum
//! ```

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Path, ws};
use axum::response::Response;
use axum::routing::{any, get};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use shovel_worker::axum::{Connection, Message, WebSocket, WebSocketUpgrade};
use shovel_worker::{Attachment, Channels, Error, Published, StatusCode, WorkerInfo};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), shovel_worker::RunError> {
    shovel_worker::serve(routes()).await
}

fn routes() -> Router {
    Router::new()
        .route("/", get(hello))
        .route("/theirs", any(theirs))
        .route("/ours/{room}", any(ours).post(announce))
        .route("/ws/counter", any(counter))
}

async fn hello(
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    Extension(worker): Extension<WorkerInfo>,
) -> String {
    format!("hello {client}, this is worker {}\n", worker.index)
}

/// An echo, as it would be without this SDK.
async fn theirs(upgrade: ws::WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async |mut socket| {
        while let Some(Ok(message)) = socket.recv().await {
            if socket.send(message).await.is_err() {
                return;
            }
        }
    })
}

async fn ours(upgrade: WebSocketUpgrade, Path(room): Path<String>) -> Response {
    upgrade.on_upgrade(async move |socket| {
        if let Err(error) = join(socket, &room).await {
            tracing::warn!(room, "{error}");
        }
    })
}

/// What one writes in a room all read, whichever worker they are with.
async fn join(mut socket: WebSocket, room: &str) -> Result<(), Error> {
    let connection = socket.connection().clone();
    connection.subscribe(room)?;
    while let Some(Ok(Message::Text(text))) = socket.recv().await {
        connection.publish(room, text).await?;
    }
    Ok(())
}

/// Publishes a request's body, from outside any connection.
async fn announce(
    Path(room): Path<String>,
    Extension(channels): Extension<Channels>,
    body: String,
) -> Result<Json<u64>, StatusCode> {
    let channel = channels.channel(&room).map_err(|_| StatusCode::BAD_REQUEST)?;
    let published = channel.publish(body).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let Published { delivered, .. } = published;
    Ok(Json(delivered))
}

/// What a connection to the counter takes along to its next worker.
#[derive(Default, Serialize, Deserialize)]
struct Count {
    n: u64,
}

impl Attachment for Count {}

/// How many messages came on a connection, whichever workers it has had.
async fn counter(upgrade: WebSocketUpgrade, Extension(worker): Extension<WorkerInfo>) -> Response {
    upgrade.portable(async move |conn| {
        if let Err(error) = count(conn, worker).await {
            tracing::warn!("{error}");
        }
    })
}

#[derive(Serialize)]
struct Answer<'a> {
    n: u64,
    echo: &'a str,
    pid: u32,
    generation: u32,
    redelivered: bool,
}

/// The count and its answer take effect together, when the next message is asked for.
async fn count(mut conn: Connection<Count>, worker: WorkerInfo) -> Result<(), Error> {
    while let Some(Ok(message)) = conn.recv().await {
        let echo = match message {
            Message::Text(echo) => echo,
            Message::Binary(_) => {
                conn.connection().close(1003, "text only")?;
                continue;
            }
            _ => continue,
        };
        conn.state.n += 1;
        let answer = Answer {
            n: conn.state.n,
            echo: &echo,
            pid: worker.pid,
            generation: worker.generation,
            redelivered: conn.redelivered(),
        };
        conn.send(Message::Text(serde_json::to_string(&answer)?.into())).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use shovel_worker::App;
    use shovel_worker::testing::TestApp;

    use super::*;

    fn app() -> App<()> {
        App::from(routes())
    }

    #[tokio::test]
    async fn the_count_goes_on_whichever_worker_counts() {
        let test = TestApp::start(app()).await.unwrap();
        let client = test.connect("/ws/counter").await.unwrap();
        client.send("a").await;
        test.reload(app()).await.unwrap();
        client.send("b").await;
        let ((), crashed) = tokio::join!(client.send("c"), test.crash(app()));
        crashed.unwrap();
        let pid = std::process::id();
        let answer = |n: u64, echo: &str, generation: u32, redelivered: bool| {
            let answer = Answer { n, echo, pid, generation, redelivered };
            serde_json::to_string(&answer).unwrap().into()
        };
        let expected =
            [answer(1, "a", 1, false), answer(2, "b", 2, false), answer(3, "c", 2, true)];
        assert_eq!(client.received(), expected);
    }

    #[tokio::test]
    async fn a_room_is_closed_by_a_reload() {
        let test = TestApp::start(app()).await.unwrap();
        let client = test.connect("/ours/tea").await.unwrap();
        client.send("hello").await;
        assert_eq!(client.received(), ["hello".into()]);
        test.reload(app()).await.unwrap();
        assert_eq!(client.closed(), Some((1012, "server reloading".to_owned())));
    }
}
