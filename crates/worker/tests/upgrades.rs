//! Connections: upgrades, accepted or not.

mod harness;

use std::sync::Arc;

use harness::{CONNECTION, REQUEST, State, Supervisor, UUID_TEXT, app, text};
use shovel_protocol::close::{Close, CloseCode};
use shovel_protocol::control::Effect;
use shovel_protocol::limits::ACTS;
use shovel_protocol::{ToSupervisor, ToWorker};
use shovel_worker::{
    App, Bytes, Error, FetchEvent, HeaderValue, Response, SendError, StatusCode, UpgradeError,
    header,
};

/// A1, A4 to A7.
#[tokio::test]
async fn what_the_fetch_handler_did_travels_with_the_upgrade_in_order() {
    let app = App::new(()).on_fetch(async |mut event: FetchEvent<()>| {
        assert_eq!(event.protocols().collect::<Vec<_>>(), ["v2", "v1"]);
        let strange = event.upgrade_websocket_with_protocol("v3").unwrap_err();
        assert_eq!(strange, UpgradeError::Protocol("v3".to_owned()));
        let (connection, mut response) = event.upgrade_websocket_with_protocol("v1")?;
        assert_eq!(event.upgrade_websocket().unwrap_err(), UpgradeError::Twice);
        assert_eq!(connection.id().to_string(), UUID_TEXT);
        assert_eq!(connection.url(), "/room?name=a");
        connection.send("first").await?;
        connection.subscribe("room")?;
        connection.publish("room", Bytes::from_static(b"joined")).await?;
        connection.close(4001, "bye")?;
        assert_eq!(connection.try_send("after the close"), Err(SendError::Closed));
        for cookie in ["a=1", "b=2"] {
            let cookie = HeaderValue::from_static(cookie);
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        Ok::<_, Error>(response)
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.offer("/room?name=a").await;
    let seen = supervisor.next().await;
    let ToSupervisor::Upgrade { connection, upgrade, effects, .. } = seen.read() else {
        panic!("no upgrade: {:?}", seen.read());
    };
    assert_eq!((connection, upgrade.request), (CONNECTION, REQUEST.to_wire()));
    assert_eq!(upgrade.protocol, Some("v1"));
    let cookies: [(&str, &[u8]); 2] = [("set-cookie", b"a=1"), ("set-cookie", b"b=2")];
    assert_eq!(upgrade.headers.0, cookies);
    let effects: Vec<_> = effects.map(Result::unwrap).collect();
    let expected = [
        Effect::Send { binary: false, data: b"first" },
        Effect::Subscribe { channel: "room" },
        Effect::Publish { token: 0, channel: "room", binary: true, data: b"joined" },
        Effect::Close { code: 4001, reason: "bye" },
    ];
    assert_eq!(effects, expected);
}

/// A3, A8.
#[tokio::test]
async fn an_upgrade_that_is_not_returned_is_not_accepted() {
    let (app, _shared, mut heard) = app();
    let app = app.on_fetch(async |mut event: FetchEvent<State>| {
        let (connection, response) = event.upgrade_websocket()?;
        connection.send("never").await?;
        match event.request().uri().path() {
            "/declines" => Ok(Response::new("no".into())),
            "/fails" => Err(Error::status(StatusCode::UNAUTHORIZED, "who?")),
            "/panics" => panic!("by intent"),
            _ => Ok(response),
        }
    });
    let mut supervisor = Supervisor::start(app).await;
    let cases = [
        ("/declines", (200, &b"no"[..])),
        ("/fails", (401, b"who?")),
        ("/panics", (500, b"Internal Server Error")),
    ];
    for (path, (status, body)) in cases {
        supervisor.offer(path).await;
        assert_eq!(supervisor.response().await, (status, body.to_vec()));
    }
    supervisor.expect_nothing().await;
    assert!(heard.nothing_more());
    supervisor.shut_down().await;
}

/// H233: more than one frame may say, or can, accepts nothing, and the app is told.
#[tokio::test]
async fn an_upgrade_to_which_too_much_was_done_before_is_not_accepted() {
    let (app, _shared, mut heard) = app();
    let app = app.on_fetch(async |mut event: FetchEvent<State>| {
        let (connection, response) = event.upgrade_websocket()?;
        let times = if event.request().uri().path() == "/most" { ACTS } else { ACTS + 1 };
        for _ in 1..times {
            connection.send("").await?;
        }
        connection.subscribe("news")?;
        Ok::<_, Error>(response)
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.offer("/more").await;
    assert_eq!(supervisor.response().await, (500, b"Internal Server Error".to_vec()));
    assert!(heard.nothing_more());
    supervisor.offer("/most").await;
    let seen = supervisor.next().await;
    let ToSupervisor::Upgrade { effects, .. } = seen.read() else { panic!("no upgrade") };
    assert_eq!(effects.count(), ACTS);
}

/// A12.
#[tokio::test]
async fn another_request_is_not_answered_by_this_one_s_upgrade() {
    let (app, shared, _heard) = app();
    let kept = Arc::new(std::sync::Mutex::new(None));
    let app = app.on_fetch(move |mut event: FetchEvent<State>| {
        let kept = kept.clone();
        async move {
            if event.request().uri().path() == "/thief" {
                return Ok::<Response, Error>(kept.lock().unwrap().take().unwrap());
            }
            *kept.lock().unwrap() = Some(event.upgrade_websocket()?.1);
            event.state().go.notified().await;
            Ok(Response::new("no".into()))
        }
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.offer("/owner").await;
    let mut thief = REQUEST;
    thief.0.slot += 1;
    supervisor.get(thief, "/thief").await;
    assert_eq!(supervisor.response().await.0, 500);
    shared.go.notify_one();
    assert_eq!(supervisor.response().await.0, 200);
    supervisor.shut_down().await;
}

/// A2.
#[tokio::test]
async fn a_request_that_offers_no_upgrade_is_not_upgraded() {
    let app = App::new(()).on_fetch(async |mut event: FetchEvent<()>| {
        assert_eq!(event.upgrade_websocket().unwrap_err(), UpgradeError::NotOffered);
        Err::<(), _>(Error::status(StatusCode::UPGRADE_REQUIRED, ""))
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.get(REQUEST, "/").await;
    assert_eq!(supervisor.response().await.0, 426);
    supervisor.shut_down().await;
}

/// A10.
#[tokio::test]
async fn an_upgrade_that_came_too_late_is_closed_once() {
    let (app, _shared, mut heard) = app();
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    let close = Close { code: CloseCode(1011), reason: "late".into(), was_clean: false };
    let gone = ToWorker::Gone { connection: CONNECTION, close };
    supervisor.send(&[gone.clone(), gone, text(1, "stray")]).await;
    supervisor.expect_nothing().await;
    assert_eq!(heard.next().await, "closed 1011 \"late\" false");
    assert!(heard.nothing_more());
    supervisor.shut_down().await;
}

/// A9.
#[tokio::test]
async fn a_cancelled_upgrade_is_closed_once_and_its_handler_dropped() {
    let (app, _shared, mut heard) = app();
    let app = app.on_fetch(async |mut event: FetchEvent<State>| {
        let (_connection, response) = event.upgrade_websocket()?;
        let _dropped = SaysWhenDropped(State::clone(event.state()));
        std::future::pending::<()>().await;
        Ok::<_, Error>(response)
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.offer("/").await;
    let cancel = ToWorker::Cancel { request: REQUEST };
    supervisor.send(&[cancel.clone(), cancel]).await;
    let mut notes = [heard.next().await, heard.next().await];
    notes.sort();
    assert_eq!(notes, ["closed 1006 \"\" false", "dropped"]);
    supervisor.expect_nothing().await;
    assert!(heard.nothing_more());
    supervisor.shut_down().await;
}

struct SaysWhenDropped(State);

impl Drop for SaysWhenDropped {
    fn drop(&mut self) {
        self.0.notes.say("dropped");
    }
}
