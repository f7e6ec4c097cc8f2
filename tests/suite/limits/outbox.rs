//! H180 to H182: what an app is told of what waits for a client, and how it has slow ones treated.

use serde_json::Value;
use shovel_tests::{Options, Pool, Raw, WebSocket, post};

use crate::harness::counted::{PATH, pid_in};

/// Far more than the kernel takes for one socket.
const MESSAGES: usize = 1000;
const MESSAGE_BYTES: usize = 64 << 10;

/// The outbox limit of these pools.
const LIMIT_BYTES: u64 = 256 << 10;

/// Publishes a message of 64 KiB that begins with its number; returns how many were delivered, dropped
/// and closed.
async fn publish(pool: &Pool, number: usize) -> [u64; 3] {
    let message = format!("{number} {}", "x".repeat(MESSAGE_BYTES));
    let answer = post(pool.address(), "/publish-body?channel=news", message).await.json();
    ["delivered", "dropped", "closed"].map(|what| answer[what].as_u64().unwrap())
}

async fn slow_subscriber(pool: &Pool, query: &str) -> Raw {
    let path = format!("/ws?subscribe=news{query}");
    Raw::websocket_with_little_room(pool.address(), &path).await
}

/// The number of what it reads next, if that is a message.
async fn next_number(socket: &mut Raw) -> Option<usize> {
    let frame = socket.frame().await;
    let text = String::from_utf8(frame.payload).unwrap_or_default();
    text.split(' ').next()?.parse().ok()
}

/// A client that is watched, and for which over the limit waits.
async fn watched(pool: &Pool) -> (Raw, usize) {
    let mut slow = slow_subscriber(pool, "&slow=drop-newest").await;
    slow.write_frame(1, b"watch now").await;
    assert_eq!(slow.frame().await.payload, b"watching");
    let mut published = 0;
    while publish(pool, published).await == [1, 0, 0] {
        published += 1;
        assert!(published < MESSAGES, "nothing was ever dropped");
    }
    pool.open_gate("now");
    let told = pool.wait_for_event("what waits", |event| event["event"] == "buffered").await;
    let bytes = told["bytes"].as_u64().unwrap();
    let most = LIMIT_BYTES + 2 * MESSAGE_BYTES as u64;
    assert!((LIMIT_BYTES..most).contains(&bytes), "{bytes} bytes wait");
    (slow, published)
}

in_both_modes!(
    an_app_is_told_what_waits_for_a_client_and_when_nothing_does,
    Options::app().with("--outbox-limit", "256KiB")
);
/// H181, H182.
async fn an_app_is_told_what_waits_for_a_client_and_when_nothing_does(pool: Pool) {
    let (mut slow, published) = watched(&pool).await;
    let mut other = WebSocket::connect(pool.address(), "/ws").await;
    assert_eq!(other.ask("hello").await, "echo hello");
    assert_eq!(pool.events("empty"), Vec::<Value>::new());
    for number in 0..published {
        assert_eq!(next_number(&mut slow).await, Some(number));
    }
    let empty = pool.wait_for_event("nothing to wait", |event| event["event"] == "empty").await;
    assert_eq!(empty["result"], "Ok(())");
    // Nothing waits for one that reads.
    other.send("watch now").await;
    let told = pool.wait_for_event("what waits", |event| event["bytes"] == 0).await;
    assert_eq!(told["event"], "buffered");
    let both = async {
        while pool.events("empty").len() < 2 {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), both).await.unwrap();
}

in_both_modes!(
    an_app_waits_for_no_client_that_has_gone,
    Options::app().with("--outbox-limit", "256KiB")
);
/// H182.
async fn an_app_waits_for_no_client_that_has_gone(pool: Pool) {
    let (slow, _) = watched(&pool).await;
    drop(slow);
    let empty = pool.wait_for_event("its end", |event| event["event"] == "empty").await;
    assert_eq!(empty["result"], "Err(Closed)");
}

in_both_modes!(
    each_connection_is_treated_as_its_app_chose_when_it_reads_too_slowly,
    Options::app().with("--outbox-limit", "256KiB").with("--slow-consumer", "drop-newest")
);
/// H180.
async fn each_connection_is_treated_as_its_app_chose_when_it_reads_too_slowly(pool: Pool) {
    const PUBLISHED: usize = 200;
    let newest = slow_subscriber(&pool, "").await;
    let mut oldest = slow_subscriber(&pool, "&slow=drop-oldest").await;
    let mut closing = slow_subscriber(&pool, "&slow=drop-oldest").await;
    closing.write_frame(1, b"slow close").await;
    assert_eq!(closing.frame().await.payload, b"slow close");
    let mut again = slow_subscriber(&pool, "&slow=close").await;
    again.write_frame(1, b"slow as-configured").await;
    assert_eq!(again.frame().await.payload, b"slow as-configured");
    let (mut dropped, mut closed) = (0, 0);
    for number in 0..PUBLISHED {
        let [delivered, its_dropped, its_closed] = publish(&pool, number).await;
        (dropped, closed) = (dropped + its_dropped, closed + its_closed);
        assert_eq!(delivered + its_dropped + closed, 4);
    }
    assert_eq!(closed, 1, "the one that was to be closed");
    assert!(dropped > PUBLISHED as u64, "{dropped} dropped of {PUBLISHED} for two clients");
    let event = pool.wait_for_event("a close", |event| event["event"] == "close").await;
    assert_eq!(event["code"], 1008);
    // Those that were dropped for this one are the oldest.
    let mut numbers = Vec::new();
    while numbers.last() != Some(&(PUBLISHED - 1)) {
        numbers.push(next_number(&mut oldest).await.expect("a message"));
    }
    assert!(numbers.len() < PUBLISHED && numbers.is_sorted() && numbers[0] == 0, "{numbers:?}");
    let readers = [newest, again, oldest].map(|socket| tokio::spawn(numbers_to_the_last(socket)));
    // While they are behind it is dropped for them, too.
    while !readers.iter().all(|reader| reader.is_finished()) {
        publish(&pool, LAST).await;
    }
    let [newest, again, oldest] = readers;
    for reader in [newest, again] {
        let numbers = reader.await.unwrap();
        assert!(numbers.len() < PUBLISHED, "nothing was dropped");
        assert!(numbers.iter().copied().eq(0..numbers.len()), "not the newest: {numbers:?}");
    }
    assert_eq!(oldest.await.unwrap(), [0; 0]);
}

/// The number of a message that is the last.
const LAST: usize = 9999;

/// Reads all messages before the last.
async fn numbers_to_the_last(mut socket: Raw) -> Vec<usize> {
    let mut numbers = Vec::new();
    loop {
        match next_number(&mut socket).await.expect("a message") {
            LAST => return numbers,
            number => numbers.push(number),
        }
    }
}

/// H180: what its app chose belongs to the connection, whoever has it.
#[tokio::test]
async fn what_was_chosen_for_a_slow_client_outlives_reloads_and_deaths() {
    let options = Options::portable().with("--outbox-limit", "256KiB");
    let pool = Pool::start(options).await;
    let path = format!("{PATH}?subscribe=news");
    let mut slow = Raw::websocket_with_little_room(pool.address(), &path).await;
    slow.write_frame(1, b"slow drop-newest").await;
    let answer: Value = serde_json::from_slice(&slow.frame().await.payload).unwrap();
    assert_eq!(answer["generation"], 1);
    pool.reload(2).await;
    slow.write_frame(1, b"hello").await;
    let answer: Value = serde_json::from_slice(&slow.frame().await.payload).unwrap();
    assert_eq!(answer["generation"], 2);
    pool.kill_worker(pid_in(&answer));
    slow.write_frame(1, b"hello").await;
    let answer: Value = serde_json::from_slice(&slow.frame().await.payload).unwrap();
    assert_eq!(answer["n"], 3);
    for number in 0..MESSAGES {
        match publish(&pool, number).await {
            [1, 0, 0] => {}
            [0, 1, 0] => return,
            other => panic!("{other:?}"),
        }
    }
    panic!("nothing was ever dropped");
}
