//! What becomes of the acts of a handler that fails.

use shovel_tests::{Options, Pool, WebSocket};

use crate::harness::counted::PATH;

/// A connection, and one that hears what is published.
struct Heard {
    pool: Pool,
    socket: WebSocket,
    listener: WebSocket,
}

impl Heard {
    async fn start() -> Heard {
        let pool = Pool::start(Options::portable()).await;
        let socket = WebSocket::connect(pool.address(), PATH).await;
        let path = format!("{PATH}?subscribe=heard");
        let listener = WebSocket::connect(pool.address(), &path).await;
        Heard { pool, socket, listener }
    }

    /// What the next message is told of the attachment and of its own number.
    async fn expect_next(&mut self, n: u64, seq: u64, note: &str) {
        self.socket.send("next").await;
        let answer = self.socket.next_json().await;
        assert_eq!((&answer["n"], &answer["seq"]), (&n.into(), &seq.into()), "{answer}");
        assert_eq!(answer["about"]["note"], note, "{answer}");
        assert_eq!(answer["redelivered"], false, "{answer}");
    }

    /// How many hear the channel to which the handler subscribed its client.
    async fn subscribed(&self) -> u64 {
        let told = self.pool.operate(&["publish", "staged", "news", "--json"]).await.json();
        told["delivered"].as_u64().unwrap()
    }

    /// Nothing was published before this.
    async fn expect_unheard(&mut self) {
        self.pool.operate(&["publish", "heard", "last", "--json"]).await.json();
        self.listener.expect_text("last").await;
    }
}

/// G85: the event is finished and does not come again; what it staged is dropped.
#[tokio::test]
async fn a_handler_that_panics_has_done_nothing_and_its_message_is_finished() {
    let mut heard = Heard::start().await;
    heard.expect_next(1, 1, "").await;
    heard.socket.send("panic").await;
    heard.expect_next(2, 3, "").await;
    assert_eq!(heard.subscribed().await, 0);
    heard.expect_unheard().await;
    // The next worker finds it so too.
    heard.pool.reload(2).await;
    heard.expect_next(3, 4, "").await;
}

/// G85: what was let out before stays.
#[tokio::test]
async fn a_handler_that_panics_after_a_flush_has_done_what_it_let_out_and_no_more() {
    let mut heard = Heard::start().await;
    heard.socket.send("panic flush").await;
    heard.socket.expect_text("let out").await;
    heard.expect_next(1, 2, "").await;
    assert_eq!(heard.subscribed().await, 0);
    heard.expect_unheard().await;
}

/// G85: an error is an outcome that the app has chosen.
#[tokio::test]
async fn a_handler_that_returns_an_error_commits_what_it_did() {
    let mut heard = Heard::start().await;
    heard.socket.send("fail").await;
    heard.socket.expect_text("let out").await;
    heard.socket.expect_text("staged").await;
    heard.listener.expect_text("staged").await;
    heard.expect_next(2, 2, "staged").await;
    assert_eq!(heard.subscribed().await, 1);
    heard.socket.expect_text("news").await;
    heard.pool.reload(2).await;
    heard.expect_next(3, 3, "staged").await;
}
