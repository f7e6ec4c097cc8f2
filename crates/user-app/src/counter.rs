//! The counter: how many messages came on a connection, whichever workers it has had.
//!
//! Each text message is answered by
//! `{"n","echo","pid","generation","redelivered"}`. The count is kept in the connection's attachment
//! alone, and the attachment and the answer take effect together: so each `n` is seen exactly once,
//! though workers be reloaded or killed meanwhile.

use serde::{Deserialize, Serialize};
use shovel_worker::{Attachment, Error, FetchEvent, MessageEvent, Response};

use crate::State;

/// Where the counter's WebSocket is.
pub(crate) const PATH: &str = "/ws/counter";

#[derive(Default, Serialize, Deserialize)]
struct Count {
    n: u64,
}

impl Attachment for Count {}

#[derive(Serialize)]
struct Answer<'a> {
    n: u64,
    echo: &'a str,
    pid: u32,
    generation: u32,
    redelivered: bool,
}

pub(crate) fn join(mut event: FetchEvent<State>) -> Result<Response, Error> {
    let (connection, response) = event.upgrade_websocket()?;
    connection.attach(&Count::default())?;
    Ok(response)
}

pub(crate) async fn message(event: &MessageEvent<State>) -> Result<(), Error> {
    let Some(echo) = event.message().as_text() else {
        event.connection().close(1003, "text only")?;
        return Ok(());
    };
    let Count { n: before } = event.attachment()?.unwrap_or_default();
    let count = Count { n: before + 1 };
    event.connection().attach(&count)?;
    let answer = Answer {
        n: count.n,
        echo,
        pid: event.worker().pid,
        generation: event.worker().generation,
        redelivered: event.redelivered(),
    };
    event.connection().send(serde_json::to_string(&answer)?).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shovel_worker::testing::{TestApp, TestClient};

    use super::*;
    use crate::app;

    /// What was answered, without the pid: all workers of a test have the same.
    fn answers(client: &TestClient) -> Vec<Value> {
        let answers = client.received().into_iter().map(|answer| {
            let text = answer.as_text().expect("text");
            let mut answer: Value = serde_json::from_str(text).expect("JSON");
            answer.as_object_mut().expect("an object").remove("pid");
            answer
        });
        answers.collect()
    }

    #[tokio::test]
    async fn each_number_comes_once_though_workers_come_and_go() {
        let test = TestApp::start(app()).await.unwrap();
        let client = test.connect(PATH).await.unwrap();
        client.send("a").await;
        test.reload(app()).await.unwrap();
        client.send("b").await;
        // The worker dies when it perhaps has the message already.
        let ((), crashed) = tokio::join!(client.send("c"), test.crash(app()));
        crashed.unwrap();
        let answer = |n: u64, echo: &str, generation: u32, redelivered: bool| json!({"n": n, "echo": echo, "generation": generation, "redelivered": redelivered});
        let expected =
            [answer(1, "a", 1, false), answer(2, "b", 2, false), answer(3, "c", 2, true)];
        assert_eq!(answers(&client), expected);
    }

    #[tokio::test]
    async fn what_is_not_text_is_refused() {
        let test = TestApp::start(app()).await.unwrap();
        let client = test.connect(PATH).await.unwrap();
        client.send(vec![1]).await;
        assert_eq!(client.closed(), Some((1003, "text only".to_owned())));
    }
}
