//! Connections: messages and closes.

mod harness;

use harness::{
    CONNECTION, REQUEST, State, Supervisor, app, closed, commit, echo, offer, sent, text,
};
use shovel_protocol::head::flags;
use shovel_protocol::{
    Act, Again, Effect, Header, Kind, MessageKind, ToSupervisor, ToWorker, When, WsMessage, WsSend,
};
use shovel_worker::{CloseEvent, Error, Message, MessageEvent, SendError};

/// B13, and `docs/wire.md`, "Events and commit".
#[tokio::test]
async fn an_echo_is_one_frame() {
    let (app, ..) = app();
    let mut supervisor = Supervisor::start(app.on_message(echo)).await;
    supervisor.open("/").await;
    for (seq, message) in [(1, "one"), (2, ""), (3, "three")] {
        supervisor.send(&[text(seq, message)]).await;
        supervisor.expect(sent(message, true)).await;
    }
    supervisor.expect_nothing().await;
    supervisor.shut_down().await;
}

/// A commit is cumulative: `docs/wire.md`, "Events and commit".
#[tokio::test]
async fn messages_in_a_row_share_a_commit() {
    let (app, ..) = app();
    let mut supervisor = Supervisor::start(app.on_message(echo)).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "one"), text(2, ""), text(3, "three")]).await;
    for message in ["one", "", "three"] {
        supervisor.expect(sent(message, false)).await;
    }
    supervisor.expect(commit(3)).await;
    supervisor.send(&[text(4, "four")]).await;
    supervisor.expect(sent("four", true)).await;
    supervisor.shut_down().await;
}

/// What comes between two messages of a connection ends their row.
#[tokio::test]
async fn a_row_ends_where_another_frame_comes() {
    let (app, ..) = app();
    let mut supervisor = Supervisor::start(app.on_message(echo)).await;
    supervisor.open("/").await;
    let ping = ToWorker::Ping { nonce: 5 };
    supervisor.send(&[text(1, "one"), text(2, "two"), ping, text(3, "three")]).await;
    supervisor.expect(sent("one", false)).await;
    supervisor.expect(sent("two", false)).await;
    supervisor.expect(commit(2)).await;
    supervisor.expect(ToSupervisor::Pong { nonce: 5 }).await;
    supervisor.expect(sent("three", true)).await;
    supervisor.shut_down().await;
}

/// A piece of a long message is no other frame: it may take a while until the last has come.
#[tokio::test]
async fn a_row_goes_on_beside_a_message_in_pieces() {
    let (app, ..) = app();
    let mut supervisor = Supervisor::start(app.on_message(echo)).await;
    supervisor.open("/").await;
    let piece = |flags| Header { len: 9, kind: Kind::WsMessage as u8, flags, id: 77 }.to_bytes();
    let mut batch = Vec::new();
    text(1, "one").put(&mut batch);
    batch.extend_from_slice(&piece(flags::MORE));
    batch.extend_from_slice(b"12345678a");
    text(2, "two").put(&mut batch);
    text(3, "three").put(&mut batch);
    supervisor.send_bytes(&batch).await;
    for message in ["one", "two", "three"] {
        supervisor.expect(sent(message, false)).await;
    }
    supervisor.expect(commit(3)).await;
    supervisor.shut_down().await;
}

/// B14: it is not known how long it will wait.
#[tokio::test]
async fn what_was_handled_before_a_handler_that_waits_is_committed_at_once() {
    let (app, shared, _heard) = app();
    let app = app.on_message(async |event: MessageEvent<State>| {
        match event.message().as_text() {
            Some("silent") => return Ok(()),
            Some("slow") => {
                event.connection().send("at first").await?;
                event.state().go.notified().await;
            }
            _ => {}
        }
        echo(event).await
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "silent"), text(2, "slow"), text(3, "behind")]).await;
    // Not as the flag LAST of a handler that has not ended.
    supervisor.expect(sent("at first", false)).await;
    supervisor.expect(commit(1)).await;
    supervisor.expect_nothing().await;
    shared.go.notify_one();
    supervisor.expect(sent("slow", true)).await;
    supervisor.expect(sent("behind", true)).await;
    supervisor.shut_down().await;
}

/// B13: one over the limit of a frame is committed by a frame of its own.
#[tokio::test]
async fn a_message_of_several_pieces_is_committed_too() {
    let (app, ..) = app();
    let mut supervisor = Supervisor::start(app.on_message(echo)).await;
    supervisor.open("/").await;
    let long = "x".repeat(200_000);
    supervisor.send(&[text(1, &long)]).await;
    supervisor.expect(sent(&long, false)).await;
    supervisor.expect(commit(1)).await;
    supervisor.shut_down().await;
}

/// A handler that sends nothing must not ride on the send of the one before.
#[tokio::test]
async fn a_silent_handler_is_committed_by_a_frame_of_its_own() {
    let (app, ..) = app();
    let app = app.on_message(async |event: MessageEvent<State>| match event.message().is_empty() {
        true => Ok(()),
        false => echo(event).await,
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "one")]).await;
    supervisor.expect(sent("one", true)).await;
    supervisor.send(&[text(2, "")]).await;
    supervisor.expect(commit(2)).await;
    supervisor.send(&[text(3, "three"), text(4, "")]).await;
    supervisor.expect(sent("three", false)).await;
    supervisor.expect(commit(4)).await;
    supervisor.shut_down().await;
}

/// B14.
#[tokio::test]
async fn messages_behind_a_suspended_handler_wait_and_other_connections_do_not() {
    let (app, shared, _heard) = app();
    let app = app.on_message(async |event: MessageEvent<State>| {
        if event.message().as_text() == Some("slow") {
            event.state().go.notified().await;
        }
        echo(event).await
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    let mut other = CONNECTION;
    other.0.slot += 1;
    let ToWorker::Request { mut head, end, .. } = offer("/other") else { unreachable!() };
    head.offer.as_mut().unwrap().connection = other.to_wire();
    supervisor.send(&[ToWorker::Request { request: REQUEST, head, end }]).await;
    supervisor.next().await;

    let (kind, data) = (MessageKind::Binary, &b"quick"[..]);
    let again = Again::default();
    let quick = ToWorker::Message(WsMessage { connection: other, seq: 1, again, kind, data });
    supervisor.send(&[text(1, "slow"), text(2, "behind"), quick]).await;
    let (connection, when) = (other, When::Now);
    supervisor.expect(WsSend { connection, when, kind, data, last: true }.into()).await;
    supervisor.expect_nothing().await;
    shared.go.notify_one();
    supervisor.expect(sent("slow", true)).await;
    supervisor.expect(sent("behind", true)).await;
    supervisor.send(&[text(3, "after")]).await;
    supervisor.expect(sent("after", true)).await;
    supervisor.shut_down().await;
}

/// B15.
#[tokio::test]
async fn background_work_does_not_hold_up_the_next_message() {
    let (app, shared, _heard) = app();
    let app = app.on_message(async |event: MessageEvent<State>| {
        let (state, connection) = (event.state().clone(), event.connection().clone());
        if event.message().as_text() == Some("work") {
            event.wait_until(async move {
                state.go.notified().await;
                connection.send("worked").await.unwrap();
            });
        }
        Ok::<_, Error>(())
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "work"), text(2, "next")]).await;
    supervisor.expect(commit(2)).await;
    shared.go.notify_one();
    supervisor.expect(sent("worked", false)).await;
    supervisor.shut_down().await;
}

/// B16.
#[tokio::test]
async fn a_panic_or_an_error_fails_one_event_only() {
    let (app, ..) = app();
    let app = app.on_message(async |event: MessageEvent<State>| match event.message().as_text() {
        Some("panic") => panic!("by intent"),
        Some("late panic") => {
            tokio::task::yield_now().await;
            panic!("by intent")
        }
        Some("error") => Err(Error::message("by intent")),
        _ => echo(event).await,
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "panic"), text(2, "error"), text(3, "late panic")]).await;
    supervisor.expect(commit(2)).await;
    supervisor.expect(commit(3)).await;
    supervisor.send(&[text(4, "fine")]).await;
    supervisor.expect(sent("fine", true)).await;
    supervisor.shut_down().await;
}

/// B17.
#[tokio::test]
async fn the_close_event_comes_once_after_all_messages_and_is_committed() {
    let (app, shared, mut heard) = app();
    let app = app.on_message(async |event: MessageEvent<State>| {
        event.state().go.notified().await;
        event.state().notes.say(event.message().as_text().unwrap());
        Ok::<_, Error>(())
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "one"), text(2, "two"), closed(3, 4000), closed(3, 4000)]).await;
    supervisor.expect_nothing().await;
    assert!(heard.nothing_more());
    for seq in 1..=2 {
        shared.go.notify_one();
        supervisor.expect(commit(seq)).await;
    }
    supervisor.expect(commit(3)).await;
    for note in ["one", "two", "closed 4000 \"bye\" true"] {
        assert_eq!(heard.next().await, note);
    }
    supervisor.send(&[text(4, "stray"), closed(5, 4000)]).await;
    supervisor.expect_nothing().await;
    assert!(heard.nothing_more());
    supervisor.shut_down().await;
}

/// B17.
#[tokio::test]
async fn messages_after_the_app_s_own_close_are_dropped_but_committed() {
    let (app, _shared, mut heard) = app();
    let app = app.on_message(async |event: MessageEvent<State>| {
        event.state().notes.say(event.message().as_text().unwrap());
        if event.seq() == 2 {
            event.connection().close(4002, "enough")?;
            event.connection().close(4003, "twice")?;
        }
        Ok::<_, Error>(())
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "one"), text(2, "two"), text(3, "three"), closed(4, 4002)]).await;
    let close = Effect::Close { code: 4002, reason: "enough" };
    supervisor.expect(Act::new(CONNECTION, When::Now, close).into()).await;
    for seq in 2..=4 {
        supervisor.expect(commit(seq)).await;
    }
    assert_eq!(heard.next().await, "one");
    assert_eq!(heard.next().await, "two");
    assert_eq!(heard.next().await, "closed 4002 \"bye\" true");
    supervisor.shut_down().await;
}

/// B18.
#[tokio::test]
async fn a_closed_connection_is_inert_but_may_publish() {
    let (app, ..) = app();
    let app = app.on_close(async |event: CloseEvent<State>| {
        let connection = event.connection();
        assert!(!connection.is_open());
        connection.subscribe("room")?;
        connection.close(1000, "")?;
        connection.publish("room", "left").await?;
        Ok::<_, Error>(())
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[closed(1, 1000)]).await;
    let seen = supervisor.next().await;
    assert!(matches!(seen.read(), ToSupervisor::Publish { channel: "room", data: b"left", .. }));
    supervisor.expect(commit(1)).await;
    supervisor.shut_down().await;
}

/// H60.
#[tokio::test]
async fn under_pressure_send_waits_and_try_send_errs() {
    let (app, shared, mut heard) = app();
    let app = app.on_message(async |event: MessageEvent<State>| {
        event.state().go.notified().await;
        assert_eq!(event.connection().try_send("now"), Err(SendError::Full));
        event.state().notes.say("full");
        event.connection().send("in time").await?;
        Ok::<_, Error>(())
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    let over = |over| ToWorker::Pressure { connection: CONNECTION, over };
    supervisor.send(&[text(1, "go"), over(true)]).await;
    supervisor.expect(ToSupervisor::Pressed { connection: CONNECTION }).await;
    shared.go.notify_one();
    assert_eq!(heard.next().await, "full");
    supervisor.expect_nothing().await;
    supervisor.send(&[over(false)]).await;
    supervisor.expect(sent("in time", true)).await;
    supervisor.shut_down().await;
}

/// H60, B17: a handler that waits for a client that has gone must not hold up its close event.
#[tokio::test]
async fn a_close_ends_the_wait_of_a_send() {
    let (app, shared, mut heard) = app();
    let app = app.on_message(async |event: MessageEvent<State>| {
        event.state().go.notified().await;
        let refused = event.connection().send("never").await;
        event.state().notes.say(format!("{refused:?}"));
        Ok::<_, Error>(())
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    let pressure = ToWorker::Pressure { connection: CONNECTION, over: true };
    supervisor.send(&[text(1, "go"), pressure]).await;
    supervisor.expect(ToSupervisor::Pressed { connection: CONNECTION }).await;
    shared.go.notify_one();
    supervisor.expect_nothing().await;
    supervisor.send(&[closed(2, 1006)]).await;
    assert_eq!(heard.next().await, "Err(Closed)");
    supervisor.expect(commit(1)).await;
    supervisor.expect(commit(2)).await;
    supervisor.shut_down().await;
}

/// A sender that never pauses is held back by the link; all arrives, in order.
#[tokio::test]
async fn a_full_link_makes_send_wait() {
    let (app, ..) = app();
    let app = app.on_message(async |event: MessageEvent<State>| {
        for number in 0..100_u8 {
            event.connection().send(vec![number; 50_000]).await?;
        }
        Ok::<_, Error>(())
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "go")]).await;
    for number in 0..100_u8 {
        let seen = supervisor.next().await;
        let ToSupervisor::Act(Act { effect: Effect::Send { data, .. }, last, .. }) = seen.read()
        else {
            panic!("{:?}", seen.read())
        };
        assert_eq!(data, vec![number; 50_000]);
        if number == 99 && !last {
            supervisor.expect(commit(1)).await;
        }
    }
    supervisor.shut_down().await;
}

/// B20.
#[tokio::test]
async fn a_close_that_cannot_be_sent_is_refused() {
    let (app, ..) = app();
    let app = app.on_message(async |event: MessageEvent<State>| {
        for code in [0, 999, 1004, 1005, 1006, 1015, 5000] {
            assert!(event.connection().close(code, "").is_err(), "{code}");
        }
        assert!(event.connection().close(1000, &"r".repeat(124)).is_err());
        assert!(event.connection().is_open());
        echo(event).await
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "still here")]).await;
    supervisor.expect(sent("still here", true)).await;
    supervisor.shut_down().await;
}

/// Text from the supervisor is UTF-8, or the link ends.
#[tokio::test]
async fn text_that_is_not_utf8_ends_the_worker() {
    let (app, ..) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    let (kind, data) = (MessageKind::Text, &b"\xff"[..]);
    let (connection, again) = (CONNECTION, Again::default());
    supervisor
        .send(&[ToWorker::Message(WsMessage { connection, seq: 1, again, kind, data })])
        .await;
    assert!(supervisor.ended().await.to_string().contains("not UTF-8"));
}

/// Messages over the limit that `hello` names are refused before they are sent.
#[tokio::test]
async fn a_message_over_the_limit_is_refused() {
    let (app, _shared, mut heard) = app();
    let app = app.on_message(async |event: MessageEvent<State>| {
        let long = Message::from(vec![0; 16 * 1024 * 1024 + 1]);
        event.state().notes.say(event.connection().send(long).await.unwrap_err().to_string());
        Ok::<_, Error>(())
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    supervisor.send(&[text(1, "go")]).await;
    supervisor.expect(commit(1)).await;
    assert!(heard.next().await.contains("at most 16777216"));
    supervisor.shut_down().await;
}
