//! Channels as objects of the app.

mod harness;

use std::sync::Arc;

use harness::{Notes, REQUEST, Supervisor};
use shovel_protocol::control;
use shovel_protocol::{Again, MessageKind, PublishToken, ToSupervisor, ToWorker, WsMessage};
use shovel_worker::{App, Error, FetchEvent, Message, StartEvent};

const ANSWER: control::Published = control::Published { delivered: 3, dropped: 2, closed: 1 };

/// C134: whoever listens hears that nothing will come.
#[tokio::test]
async fn a_subscription_that_is_refused_ends() {
    let notes = Arc::new(Notes::default());
    let mut heard = notes.listen();
    let app = App::new(notes).on_start(async |event: StartEvent<Arc<Notes>>| {
        let mut subscription = event.channel("room")?.subscribe();
        let notes = event.state().clone();
        tokio::spawn(async move { notes.say(format!("{:?}", subscription.recv().await)) });
        Ok::<_, Error>(())
    });
    let mut supervisor = Supervisor::start_with(app, 1, false).await;
    supervisor.expect(ToSupervisor::Subscribe { channel: "room" }).await;
    supervisor.expect_ready().await;
    supervisor.send(&[ToWorker::ChannelRefused { channel: "room" }]).await;
    assert_eq!(heard.next().await, "None");
    supervisor.vanish().await;
}

/// C23, C24: two objects listen; one of them publishes.
#[tokio::test]
async fn an_object_does_not_receive_what_it_published_itself() {
    let notes = Arc::new(Notes::default());
    let mut heard = notes.listen();
    let app = App::new(notes).on_start(async |event: StartEvent<Arc<Notes>>| {
        let (ours, other) = (event.channel("room")?, event.channel("room")?);
        for (name, channel) in [("ours", ours.clone()), ("other", other)] {
            let (mut subscription, notes) = (channel.subscribe(), event.state().clone());
            tokio::spawn(async move {
                while let Some(message) = subscription.recv().await {
                    notes.say(format!("{name} {message:?}"));
                }
                notes.say("end");
            });
        }
        let notes = event.state().clone();
        tokio::spawn(async move {
            let published = ours.clone().publish("from ours").await.unwrap();
            notes.say(format!("{published:?}"));
        });
        Ok::<_, Error>(())
    });
    let mut supervisor = Supervisor::start_with(app, 1, false).await;
    supervisor.expect(ToSupervisor::Subscribe { channel: "room" }).await;
    supervisor.expect_ready().await;
    let seen = supervisor.next().await;
    let ToSupervisor::Publish { token, channel, kind, data } = seen.read() else {
        panic!("no publish: {:?}", seen.read());
    };
    let message = |token, data| ToWorker::ChannelMessage { token, channel, kind, data };
    let back = message(token, data);
    let answer = ToWorker::Published { token, published: ANSWER };
    supervisor.send(&[back, answer, message(PublishToken::NONE, b"from elsewhere")]).await;
    let mut notes = Vec::new();
    for _ in 0..4 {
        notes.push(heard.next().await);
    }
    notes.sort();
    let expected = [
        "Published { delivered: 3, dropped: 2, closed: 1 }",
        "other \"from elsewhere\"",
        "other \"from ours\"",
        "ours \"from elsewhere\"",
    ];
    assert_eq!(notes, expected);
    supervisor.vanish().await;
    assert_eq!([heard.next().await, heard.next().await], ["end", "end"]);
}

/// C27: the worker itself is subscribed while anyone in it listens.
#[tokio::test]
async fn the_last_subscription_that_goes_unsubscribes_the_worker() {
    let app = App::new(()).on_fetch(async |event: FetchEvent<()>| {
        let channel = event.channel("room")?;
        let first = channel.subscribe();
        let second = event.channel("room")?.subscribe();
        drop(first);
        drop(second);
        let _again = channel.subscribe();
        Ok::<_, Error>(())
    });
    let mut supervisor = Supervisor::start(app).await;
    supervisor.get(REQUEST, "/").await;
    let channel = "room";
    supervisor.expect(ToSupervisor::Subscribe { channel }).await;
    supervisor.expect(ToSupervisor::Unsubscribe { channel }).await;
    supervisor.expect(ToSupervisor::Subscribe { channel }).await;
    supervisor.expect(ToSupervisor::Unsubscribe { channel }).await;
    supervisor.response().await;
    supervisor.shut_down().await;
}

/// C26: with several links, what one object publishes goes over one.
#[tokio::test]
async fn publishes_of_an_object_go_over_the_first_link() {
    let app = App::new(()).on_fetch(async |event: FetchEvent<()>| {
        let channel = event.channels().channel("room")?;
        channel.publish("one").await?;
        channel.publish(vec![2; 200_000]).await?;
        Ok::<_, Error>(())
    });
    let mut supervisor = Supervisor::start_with(app, 2, false).await;
    supervisor.expect_ready().await;
    let head = harness::head("GET", "/");
    supervisor.send_on(1, &[ToWorker::Request { request: REQUEST, head, end: true }]).await;
    for expected in [Message::from("one"), Message::from(vec![2; 200_000])] {
        let seen = supervisor.next_on(0).await;
        let ToSupervisor::Publish { token, kind, data, .. } = seen.read() else {
            panic!("no publish: {:?}", seen.read());
        };
        assert_eq!((data, kind.is_binary()), (expected.as_bytes(), expected.as_text().is_none()));
        supervisor.send_on(0, &[ToWorker::Published { token, published: ANSWER }]).await;
    }
    assert!(matches!(supervisor.next_on(1).await.read(), ToSupervisor::Response { .. }));
    supervisor.shut_down().await;
}

/// Two long publishes of nobody in particular must not mingle on the link.
#[tokio::test]
async fn long_publishes_of_two_connections_arrive_whole() {
    let app = App::new(()).on_fetch(harness::accept).on_message(
        async |event: shovel_worker::MessageEvent<()>| {
            event.connection().publish("room", event.message().clone()).await
        },
    );
    let mut supervisor = Supervisor::start(app).await;
    supervisor.open("/").await;
    let mut other = harness::CONNECTION;
    other.0.slot += 1;
    let ToWorker::Request { mut head, end, .. } = harness::offer("/") else { unreachable!() };
    head.offer.as_mut().unwrap().connection = other.to_wire();
    supervisor.send(&[ToWorker::Request { request: REQUEST, head, end }]).await;
    supervisor.next().await;
    let (ours, theirs) = (vec![1; 150_000], vec![2; 150_000]);
    let message = |connection, data| {
        ToWorker::Message(WsMessage {
            connection,
            seq: 1,
            again: Again::default(),
            kind: MessageKind::Binary,
            data,
        })
    };
    // One batch of whole frames, so that both are handled in the same turn.
    supervisor.send(&[message(harness::CONNECTION, &ours)]).await;
    supervisor.send(&[message(other, &theirs)]).await;
    let mut publishes = Vec::new();
    while publishes.len() < 2 {
        let seen = supervisor.next().await;
        if let ToSupervisor::Publish { data, .. } = seen.read() {
            publishes.push(data.to_vec());
        }
    }
    publishes.sort();
    assert!(publishes == [ours, theirs]);
}

#[tokio::test]
async fn a_channel_needs_a_possible_name() {
    let app = App::new(()).on_start(async |event: StartEvent<()>| {
        assert!(event.channel("").is_err());
        assert!(event.channel(&"n".repeat(1025)).is_err());
        event.channel(&"n".repeat(1024)).map(drop)
    });
    Supervisor::start(app).await.shut_down().await;
}
