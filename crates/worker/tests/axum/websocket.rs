//! Messages and closes by either extractor, and what only ours has.

use axum::Router;
use axum::extract::Path;
use axum::routing::any;
use futures_util::{SinkExt, StreamExt};
use shovel_protocol::{Act, Again, Effect, MessageKind, ToSupervisor, ToWorker, When, WsMessage};
use shovel_worker::axum::{Message, WebSocketUpgrade};

use crate::harness::{CONNECTION, State, Supervisor, closed, commit, sent, text};
use crate::{ECHOES, SLOW, routes, start, upgrade};

/// The next close that the worker asks for.
async fn expect_close(supervisor: &mut Supervisor, code: u16, reason: &str) {
    let seen = supervisor.next().await;
    assert_eq!(seen.read(), Act::new(CONNECTION, When::Now, Effect::Close { code, reason }).into());
}

/// A message is committed and its connection closed; either may come first.
async fn expect_close_and_commit(supervisor: &mut Supervisor, number: u64, close: (u16, &str)) {
    let (mut closes, mut commits) = (0, 0);
    while (closes, commits) != (1, 1) {
        match supervisor.next().await.read() {
            ToSupervisor::Act(Act {
                connection: CONNECTION,
                effect: Effect::Close { code, reason },
                ..
            }) => {
                assert_eq!((code, reason), close);
                closes += 1;
            }
            ToSupervisor::Commit { connection: CONNECTION, seq } => {
                assert_eq!(seq, number);
                commits += 1;
            }
            other => panic!("neither close nor commit: {other:?}"),
        }
    }
}

/// Nothing comes, though the worker's tasks have had several turns.
async fn expect_silence(supervisor: &mut Supervisor) {
    for _turn in 0..5 {
        supervisor.expect_nothing().await;
    }
}

/// The message that is sent next, and commits of those before it.
async fn expect_sent(supervisor: &mut Supervisor, expected: &str) {
    loop {
        let seen = supervisor.next().await;
        match seen.read() {
            ToSupervisor::Commit { .. } => {}
            ToSupervisor::Act(Act { effect: Effect::Send { binary: false, data }, .. }) => {
                assert_eq!(data, expected.as_bytes());
                return;
            }
            other => panic!("no message: {other:?}"),
        }
    }
}

/// Reads until a message is committed.
async fn expect_commit(supervisor: &mut Supervisor, number: u64) {
    loop {
        if let ToSupervisor::Commit { seq, .. } = supervisor.next().await.read()
            && seq == number
        {
            return;
        }
    }
}

#[tokio::test]
async fn both_extractors_echo_text_and_binary_in_order() {
    for path in ECHOES {
        let (router, _state, mut heard) = routes();
        let mut supervisor = start(router).await;
        let (protocol, headers) = upgrade(&mut supervisor, path).await;
        assert_eq!(protocol.as_deref(), Some("v1"), "{path}");
        assert_eq!(headers, Vec::<String>::new(), "{path}");
        assert_eq!(heard.next().await, "begin", "{path}");
        let long = "x".repeat(200_000);
        supervisor.send(&[text(1, "one"), text(2, ""), text(3, &long)]).await;
        for expected in ["one", "", &long] {
            expect_sent(&mut supervisor, expected).await;
        }
        let (kind, data) = (MessageKind::Binary, &b"\x00\xff"[..]);
        let (connection, again) = (CONNECTION, Again::default());
        supervisor
            .send(&[ToWorker::Message(WsMessage { connection, seq: 4, again, kind, data })])
            .await;
        loop {
            match supervisor.next().await.read() {
                ToSupervisor::Commit { .. } => {}
                ToSupervisor::Act(Act { effect: Effect::Send { binary, data }, .. }) => {
                    assert_eq!((binary, data), (true, &b"\x00\xff"[..]));
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_client_s_close_is_received_with_its_code_and_committed_when_the_task_has_ended() {
    for path in ECHOES {
        let (router, _state, mut heard) = routes();
        let mut supervisor = start(router).await;
        upgrade(&mut supervisor, path).await;
        heard.next().await;
        supervisor.send(&[text(1, "last"), closed(2, 4001)]).await;
        assert_eq!(heard.next().await, "close Some(4001)", "{path}");
        assert_eq!(heard.next().await, "end", "{path}");
        expect_commit(&mut supervisor, 2).await;
        supervisor.shut_down().await;
    }
}

#[tokio::test]
async fn a_client_that_goes_away_is_an_error_to_the_task() {
    for path in ECHOES {
        let (router, _state, mut heard) = routes();
        let mut supervisor = start(router).await;
        upgrade(&mut supervisor, path).await;
        heard.next().await;
        supervisor.send(&[closed(1, 1006)]).await;
        assert_eq!(heard.next().await, "lost", "{path}");
        assert_eq!(heard.next().await, "end", "{path}");
        supervisor.expect(commit(1)).await;
        supervisor.shut_down().await;
    }
}

#[tokio::test]
async fn a_close_by_the_task_has_its_code_and_reason() {
    for path in ECHOES {
        let (router, _state, mut heard) = routes();
        let mut supervisor = start(router).await;
        upgrade(&mut supervisor, path).await;
        heard.next().await;
        supervisor.send(&[text(1, "close")]).await;
        expect_close_and_commit(&mut supervisor, 1, (4002, "as told")).await;
        supervisor.send(&[closed(2, 4002)]).await;
        supervisor.expect(commit(2)).await;
        assert!(heard.next().await.starts_with("close"), "{path}");
        assert_eq!(heard.next().await, "end", "{path}");
        supervisor.shut_down().await;
    }
}

#[tokio::test]
async fn a_task_that_ends_closes_its_connection() {
    for path in ECHOES {
        let (router, _state, mut heard) = routes();
        let mut supervisor = start(router).await;
        upgrade(&mut supervisor, path).await;
        heard.next().await;
        supervisor.send(&[text(1, "leave")]).await;
        expect_close_and_commit(&mut supervisor, 1, (1000, "")).await;
        supervisor.send(&[closed(2, 1000)]).await;
        supervisor.expect(commit(2)).await;
        supervisor.shut_down().await;
    }
}

#[tokio::test]
async fn a_task_that_panics_closes_its_connection_1011() {
    let router = Router::new().route(
        "/",
        any(async |upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(async |mut socket| {
                socket.recv().await;
                panic!("by intent");
            })
        }),
    );
    let mut supervisor = start(router).await;
    upgrade(&mut supervisor, "/").await;
    supervisor.send(&[text(1, "go")]).await;
    expect_close_and_commit(&mut supervisor, 1, (1011, "")).await;
    supervisor.send(&[closed(2, 1011)]).await;
    supervisor.expect(commit(2)).await;
    supervisor.shut_down().await;
}

/// The window of the supervisor holds the client back, for nothing is committed unhandled.
#[tokio::test]
async fn a_message_is_committed_only_when_the_next_one_is_asked_for() {
    let shared = State::default();
    let mut heard = shared.notes.listen();
    let told = shared.clone();
    let router = Router::new().route(
        "/",
        any(async move |upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(async move |mut socket| {
                while let Some(Ok(message)) = socket.recv().await {
                    told.notes.say(message.to_text().unwrap());
                    told.go.notified().await;
                }
            })
        }),
    );
    let mut supervisor = start(router).await;
    upgrade(&mut supervisor, "/").await;
    supervisor.send(&[text(1, "one"), text(2, "two")]).await;
    assert_eq!(heard.next().await, "one");
    expect_silence(&mut supervisor).await;
    shared.go.notify_one();
    supervisor.expect(commit(1)).await;
    assert_eq!(heard.next().await, "two");
    assert!(heard.nothing_more());
    expect_silence(&mut supervisor).await;
    shared.go.notify_one();
    supervisor.expect(commit(2)).await;
}

/// The supervisor's window holds the client back. axum's extractor has the 64 KiB of the pipe before
/// it in addition.
#[tokio::test]
async fn messages_that_a_task_does_not_read_are_not_committed() {
    for path in SLOW {
        let (router, state, mut heard) = routes();
        let mut supervisor = start(router).await;
        upgrade(&mut supervisor, path).await;
        let long = "x".repeat(100_000);
        supervisor.send(&[text(1, &long), text(2, "short")]).await;
        expect_silence(&mut supervisor).await;
        state.go.notify_one();
        assert_eq!(heard.next().await, "100000 bytes", "{path}");
        assert_eq!(heard.next().await, "5 bytes", "{path}");
        expect_commit(&mut supervisor, 1).await;
    }
}

/// B17: what came before a close is handled before it, also by a task that is slow.
#[tokio::test]
async fn a_close_comes_after_the_messages_that_a_slow_task_has_not_read() {
    for path in SLOW {
        let (router, state, mut heard) = routes();
        let mut supervisor = start(router).await;
        upgrade(&mut supervisor, path).await;
        supervisor.send(&[text(1, "1"), text(2, "22"), text(3, "333"), closed(4, 1001)]).await;
        expect_commit(&mut supervisor, 3).await;
        state.go.notify_one();
        for length in [1, 2, 3, "bye".len()] {
            assert_eq!(heard.next().await, format!("{length} bytes"), "{path}");
        }
        expect_commit(&mut supervisor, 4).await;
        supervisor.shut_down().await;
    }
}

#[tokio::test]
async fn a_split_socket_sends_while_it_receives_and_waits_for_a_slow_client() {
    let router = Router::new().route(
        "/",
        any(async |upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(async |socket| {
                let (to_client, from_client) = socket.split();
                from_client.forward(to_client).await.unwrap();
            })
        }),
    );
    let mut supervisor = start(router).await;
    upgrade(&mut supervisor, "/").await;
    let pressure = |over| ToWorker::Pressure { connection: CONNECTION, over };
    supervisor.send(&[pressure(true), text(1, "one"), text(2, "two")]).await;
    supervisor.expect(ToSupervisor::Pressed { connection: CONNECTION }).await;
    supervisor.send(&[pressure(false)]).await;
    expect_sent(&mut supervisor, "one").await;
    expect_sent(&mut supervisor, "two").await;
    supervisor.send(&[closed(3, 1000)]).await;
    expect_commit(&mut supervisor, 3).await;
    supervisor.shut_down().await;
}

#[tokio::test]
async fn a_message_over_the_route_s_limit_closes_1009() {
    let router = Router::new().route(
        "/",
        any(async |upgrade: WebSocketUpgrade| {
            upgrade.max_message_size(3).on_upgrade(async |mut socket| {
                assert_eq!(socket.recv().await.unwrap().unwrap(), Message::text("abc"));
                assert!(socket.recv().await.unwrap().is_err());
            })
        }),
    );
    let mut supervisor = start(router).await;
    upgrade(&mut supervisor, "/").await;
    supervisor.send(&[text(1, "abc"), text(2, "abcd")]).await;
    supervisor.expect(commit(1)).await;
    expect_close(&mut supervisor, 1009, "message too big").await;
}

#[tokio::test]
async fn a_socket_s_connection_subscribes_and_publishes() {
    let router = Router::new().route(
        "/rooms/{room}",
        any(async |upgrade: WebSocketUpgrade, Path(room): Path<String>| {
            upgrade.on_upgrade(async move |mut socket| {
                socket.connection().subscribe(&room).unwrap();
                while let Some(Ok(Message::Text(text))) = socket.recv().await {
                    socket.connection().publish(&room, text).await.unwrap();
                }
            })
        }),
    );
    let mut supervisor = start(router).await;
    upgrade(&mut supervisor, "/rooms/attic").await;
    let subscribe = Effect::Subscribe { channel: "attic" };
    supervisor.expect(Act::new(CONNECTION, When::Now, subscribe).into()).await;
    supervisor.send(&[text(1, "hello")]).await;
    let seen = supervisor.next().await;
    let ToSupervisor::Publish { channel: "attic", data: b"hello", .. } = seen.read() else {
        panic!("{:?}", seen.read());
    };
    supervisor.expect(commit(1)).await;
}

/// Only the message's own handle keeps it from being committed, not a clone of the connection.
#[tokio::test]
async fn a_connection_taken_from_its_socket_may_still_send_until_it_is_closed() {
    let shared = State::default();
    let told = shared.clone();
    let router = Router::new().route(
        "/",
        any(async move |upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(async move |mut socket| {
                let connection = socket.connection().clone();
                socket.recv().await;
                socket.send("by the socket".into()).await.unwrap();
                connection.send("by the connection").await.unwrap();
                SinkExt::close(&mut socket).await.unwrap();
                assert!(connection.try_send("too late").is_err());
                told.go.notified().await;
            })
        }),
    );
    let mut supervisor = start(router).await;
    upgrade(&mut supervisor, "/").await;
    supervisor.send(&[text(1, "go")]).await;
    supervisor.expect(sent("by the socket", false)).await;
    supervisor.expect(sent("by the connection", false)).await;
    expect_close(&mut supervisor, 1000, "").await;
    shared.go.notify_one();
    supervisor.expect(commit(1)).await;
}
