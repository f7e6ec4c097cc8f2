//! Slow clients at a planned move.

use serde_json::Value;
use shovel_tests::{Options, Pool, Raw};

use crate::harness::counted::{Counted, PATH, pid_in};

/// Far more than the kernel takes for one socket, in parts of 64 KiB.
const PARTS: usize = 400;

/// A client that does not read, whose handler waits for room.
struct Slow {
    client: Raw,
    /// The process that has it.
    old: u32,
    _neighbours: [Counted; 2],
}

/// Such a client, when its worker was told to release it.
async fn slow_client_that_is_to_leave(pool: &Pool) -> Slow {
    let before = Counted::connect(pool, "").await;
    let mut client = Raw::websocket(pool.address(), PATH).await;
    let after = Counted::connect(pool, "").await;
    client.write_frame(1, format!("flood {PARTS}").as_bytes()).await;
    client.write_frame(1, b"behind").await;
    let old = pool.wait_for_event("the flood", |event| event["event"] == "flooding").await;
    pool.sighup();
    // Its worker is told of all in order.
    for neighbour in [&before, &after] {
        let has_left = |event: &Value| event["event"] == "released" && event["id"] == neighbour.id;
        pool.wait_for_event("a neighbour's move", has_left).await;
    }
    Slow { client, old: pid_in(&old), _neighbours: [before, after] }
}

/// Reads what a handler has sent, and then its answer; tells how many parts there were.
async fn read_answer(slow: &mut Slow) -> (usize, Value) {
    let mut parts = 0;
    loop {
        let frame = slow.client.frame().await;
        assert_eq!(frame.opcode, 1, "closed with {} after {parts} parts", frame.close_code());
        match frame.payload.first() {
            Some(b'{') => return (parts, serde_json::from_slice(&frame.payload).unwrap()),
            _ => parts += 1,
        }
    }
}

/// G86: the client reads on, and the handler ends where it began.
#[tokio::test]
async fn a_slow_client_that_reads_on_while_it_is_released_gets_all_and_is_not_closed() {
    let options = Options::portable().with("--outbox-limit", "64KiB");
    let pool = Pool::start(options.with("--handler-timeout", "20s")).await;
    let mut slow = slow_client_that_is_to_leave(&pool).await;
    let (parts, answer) = read_answer(&mut slow).await;
    assert_eq!((parts, pid_in(&answer), &answer["redelivered"]), (PARTS, slow.old, &false.into()));
    let (parts, answer) = read_answer(&mut slow).await;
    assert_eq!(
        (parts, &answer["generation"], &answer["redelivered"]),
        (0, &2.into(), &false.into())
    );
    pool.wait_for_reload(2).await;
    assert_eq!(pool.events("close"), Vec::<Value>::new());
}

/// G86: it does not, and the handler is dropped. What it sent and was let out comes twice.
#[tokio::test]
async fn a_slow_client_whose_handler_is_dropped_for_a_move_is_not_closed() {
    let options = Options::portable().with("--outbox-limit", "64KiB");
    let pool = Pool::start(options.with("--handler-timeout", "2s")).await;
    let mut slow = slow_client_that_is_to_leave(&pool).await;
    let is_again = |event: &Value| event["event"] == "flooding" && event["pid"] != slow.old;
    pool.wait_for_event("the second try", is_again).await;
    let (parts, answer) = read_answer(&mut slow).await;
    assert!(parts > PARTS, "{parts} parts");
    assert_eq!((&answer["redelivered"], &answer["partial"]), (&true.into(), &true.into()));
    let (parts, answer) = read_answer(&mut slow).await;
    assert_eq!((parts, &answer["seq"], &answer["redelivered"]), (0, &2.into(), &false.into()));
    pool.wait_for_reload(2).await;
    assert_eq!(pool.events("close"), Vec::<Value>::new());
}
