//! Channels, across workers and I/O threads.

use serde_json::Value;
use shovel_tests::{Options, Pool, WebSocket, get, post};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::owned::connection_on_each_worker;

async fn publish(pool: &Pool, channel: &str, text: &str) -> Value {
    get(pool.address(), &format!("/publish?channel={channel}&text={text}")).await.json()
}

in_both_modes!(
    a_publish_reaches_every_subscriber_on_every_worker_once_the_publisher_too,
    Options::app().workers(3).with("--io-threads", "2")
);
/// C23.
async fn a_publish_reaches_every_subscriber_on_every_worker_once_the_publisher_too(pool: Pool) {
    let mut owned = connection_on_each_worker(&pool, "/ws?subscribe=room", 3).await;
    owned[0].socket.send("publish room hello").await;
    for subscriber in &mut owned {
        subscriber.socket.expect_text("hello").await;
        // Had it come twice, the second would stand before this.
        assert_eq!(subscriber.socket.ask("next").await, "echo next");
    }
}

in_both_modes!(
    a_publish_by_an_object_reaches_all_other_objects_of_the_name_and_not_itself,
    Options::app().workers(2).with("--io-threads", "2")
);
/// C23.
async fn a_publish_by_an_object_reaches_all_other_objects_of_the_name_and_not_itself(pool: Pool) {
    let answer = get(pool.address(), "/publish-by-object?text=first").await;
    let publisher = answer.text().parse::<u64>().unwrap();
    let heard = |text: &str| {
        let events = pool.events("heard").into_iter().filter(|event| event["text"] == text);
        let mut heard = events
            .map(|event| (event["pid"].as_u64().unwrap(), event["object"].as_u64().unwrap()))
            .collect::<Vec<_>>();
        heard.sort_unstable();
        heard
    };
    let mut everyone = pool
        .workers()
        .iter()
        .flat_map(|worker| [(u64::from(worker.pid), 1), (u64::from(worker.pid), 2)])
        .collect::<Vec<_>>();
    everyone.sort_unstable();
    let others =
        everyone.iter().copied().filter(|object| *object != (publisher, 1)).collect::<Vec<_>>();
    shovel_tests::until("all others to hear it", || heard("first") == others).await;
    // This comes behind it at the object that published, and is heard there too.
    get(pool.address(), "/publish?channel=objects&text=second").await;
    shovel_tests::until("everyone to hear the second", || heard("second") == everyone).await;
    assert_eq!(heard("first"), others);
}

/// C24.
#[tokio::test]
async fn fetch_handlers_timers_and_other_workers_publish_as_message_handlers_do() {
    let pool = Pool::start(Options::app().workers(2)).await;
    let mut owned = connection_on_each_worker(&pool, "/ws?subscribe=room", 2).await;
    owned[1].socket.send("publish room from a message").await;
    let _joining = WebSocket::connect(pool.address(), "/ws?publish=room+from+an+upgrade").await;
    for subscriber in &mut owned {
        let mut texts = [subscriber.socket.next_text().await, subscriber.socket.next_text().await];
        texts.sort_unstable();
        assert_eq!(texts, ["from a message", "from an upgrade"]);
    }
    let published = publish(&pool, "room", "from+a+request").await;
    assert_eq!(published, serde_json::json!({"delivered": 2, "dropped": 0, "closed": 0}));
    get(pool.address(), "/timer?channel=room&gate=tick").await;
    for subscriber in &mut owned {
        subscriber.socket.expect_text("from a request").await;
    }
    pool.open_gate("tick");
    for subscriber in &mut owned {
        subscriber.socket.expect_text("from a timer").await;
    }
}

in_both_modes!(a_publish_of_an_upgrade_that_is_not_accepted_never_was);
/// C24.
async fn a_publish_of_an_upgrade_that_is_not_accepted_never_was(pool: Pool) {
    let mut subscriber = WebSocket::connect(pool.address(), "/ws?subscribe=room").await;
    let path = "/ws?upgrade&subscribe=room&publish=room+never&other";
    WebSocket::try_connect(pool.address(), path).await.unwrap_err();
    assert_eq!(publish(&pool, "room", "first").await["delivered"], 1);
    subscriber.expect_text("first").await;
}

in_both_modes!(subscribing_twice_delivers_once_and_channels_do_not_leak);
/// C25.
async fn subscribing_twice_delivers_once_and_channels_do_not_leak(pool: Pool) {
    let path = "/ws?subscribe=a&subscribe=a&subscribe=b";
    let mut socket = WebSocket::connect(pool.address(), path).await;
    assert_eq!(socket.ask("subscribe a").await, "subscribed a");
    assert_eq!(publish(&pool, "a", "one").await["delivered"], 1);
    assert_eq!(publish(&pool, "c", "nobody").await["delivered"], 0);
    assert_eq!(publish(&pool, "b", "two").await["delivered"], 1);
    socket.expect_text("one").await;
    socket.expect_text("two").await;
    assert_eq!(socket.ask("next").await, "echo next");
}

in_both_modes!(unsubscribing_ends_that_subscription_alone);
/// C25.
async fn unsubscribing_ends_that_subscription_alone(pool: Pool) {
    let mut socket = WebSocket::connect(pool.address(), "/ws?subscribe=a&subscribe=b").await;
    let mut other = WebSocket::connect(pool.address(), "/ws?subscribe=a").await;
    for channel in ["stranger", "a"] {
        let answer = socket.ask(&format!("unsubscribe {channel}")).await;
        assert_eq!(answer, format!("unsubscribed {channel}"));
    }
    assert_eq!(publish(&pool, "a", "one").await["delivered"], 1);
    assert_eq!(publish(&pool, "b", "two").await["delivered"], 1);
    socket.expect_text("two").await;
    other.expect_text("one").await;
}

in_both_modes!(
    order_holds_per_publisher_for_every_subscriber,
    Options::app().workers(2).with("--io-threads", "2")
);
/// C26.
async fn order_holds_per_publisher_for_every_subscriber(pool: Pool) {
    const COUNT: usize = 500;
    let mut subscribers = Vec::new();
    for _ in 0..6 {
        subscribers.push(WebSocket::connect(pool.address(), "/ws?subscribe=room").await);
    }
    let publishers = connection_on_each_worker(&pool, "/ws", 2).await;
    let mut publishers: Vec<_> = publishers.into_iter().map(|owned| owned.socket).collect();
    if pool.is_alone() {
        publishers.push(WebSocket::connect(pool.address(), "/ws").await);
    }
    for (publisher, name) in publishers.iter_mut().zip(["left", "right"]) {
        publisher.send(format!("publish-many {COUNT} room {name}")).await;
    }
    for subscriber in &mut subscribers {
        let (mut left, mut right) = (0, 0);
        for _ in 0..2 * COUNT {
            let text = subscriber.next_text().await;
            let (name, number) = text.split_once(' ').unwrap();
            let expected = if name == "left" { &mut left } else { &mut right };
            assert_eq!(number, expected.to_string(), "of {name}");
            *expected += 1;
        }
        assert_eq!((left, right), (COUNT, COUNT));
    }
}

in_both_modes!(a_send_does_not_overtake_what_its_handler_published_before);
/// C26.
async fn a_send_does_not_overtake_what_its_handler_published_before(pool: Pool) {
    const COUNT: usize = 200;
    let mut socket = WebSocket::connect(pool.address(), "/ws?subscribe=room").await;
    for _ in 0..5 {
        socket.send(format!("publish-many {COUNT} room mine")).await;
        for number in 0..COUNT {
            socket.expect_text(&format!("mine {number}")).await;
        }
        socket.expect_text("mine is done").await;
    }
}

in_both_modes!(text_stays_text_and_binary_stays_binary, Options::app().workers(2));
/// C26.
async fn text_stays_text_and_binary_stays_binary(pool: Pool) {
    let mut owned = connection_on_each_worker(&pool, "/ws?subscribe=room", 2).await;
    owned[0].socket.send("publish room löffel").await;
    owned[0].socket.send("publish-binary room").await;
    for subscriber in &mut owned {
        assert_eq!(subscriber.socket.next().await, Message::text("löffel"));
        assert_eq!(subscriber.socket.next().await, Message::binary(vec![0, 159, 146, 150]));
    }
}

in_both_modes!(
    a_publish_far_over_the_outbox_limit_reaches_every_subscriber_whole,
    Options::app().workers(2).with("--io-threads", "2").with("--outbox-limit", "64KiB")
);
/// C23 and H60: an outbox below its limit takes one message of any legal size.
async fn a_publish_far_over_the_outbox_limit_reaches_every_subscriber_whole(pool: Pool) {
    let mut owned = connection_on_each_worker(&pool, "/ws?subscribe=room", 2).await;
    let text = (0..4 << 20).map(|at| char::from(b'a' + (at % 23) as u8)).collect::<String>();
    let answer = post(pool.address(), "/publish-body?channel=room", text.clone()).await.json();
    assert_eq!((&answer["delivered"], &answer["closed"]), (&owned.len().into(), &0.into()));
    for subscriber in &mut owned {
        assert!(subscriber.socket.next_text().await == text);
    }
}

/// C27.
#[tokio::test]
async fn subscriptions_end_with_their_connection_however_it_ends() {
    let pool = Pool::start(Options::app().workers(2)).await;
    let mut owned = connection_on_each_worker(&pool, "/ws?subscribe=room", 2).await;
    let (mut second, first) = (owned.pop().unwrap(), owned.pop().unwrap());
    let before = publish(&pool, "room", "x").await["delivered"].as_u64().unwrap();
    assert_eq!(before, 2);
    first.socket.close(1000, "").await;
    pool.wait_for_close_event(&first.id).await;
    assert_eq!(publish(&pool, "room", "y").await["delivered"], 1);
    second.socket.expect_text("x").await;
    second.socket.expect_text("y").await;
    drop(second.socket);
    pool.wait_for_close_event(&second.id).await;
    assert_eq!(publish(&pool, "room", "z").await["delivered"], 0);
}

/// C23 and E39: what a dead worker's connections were subscribed to is forgotten with them.
#[tokio::test]
async fn a_killed_workers_connections_are_no_subscribers_any_more() {
    let pool = Pool::start(Options::app().workers(2)).await;
    let mut owned = connection_on_each_worker(&pool, "/ws?subscribe=room", 2).await;
    pool.kill_worker(owned[0].pid);
    owned[0].socket.expect_close_code(1011).await;
    let published = publish(&pool, "room", "x").await;
    assert_eq!(published["delivered"], 1);
    owned[1].socket.expect_text("x").await;
}
