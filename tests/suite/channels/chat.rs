//! C28: the chat of the example app, over two workers.

use serde_json::Value;
use shovel_tests::{Options, Pool, WebSocket, get, program};

/// Reads until a message of this type comes.
async fn next_of_type(socket: &mut WebSocket, kind: &str) -> Value {
    loop {
        let message = socket.next_json().await;
        if message["type"] == kind {
            return message;
        }
    }
}

/// C28.
#[tokio::test]
async fn two_people_chat_though_different_workers_own_them() {
    let pool = Pool::start(Options::program(program("user-app")).workers(2)).await;
    let mut anna = WebSocket::connect(pool.address(), "/ws/chat?room=tea&name=Anna").await;
    let welcome = next_of_type(&mut anna, "welcome").await;
    assert_eq!((&welcome["you"], &welcome["room"]), (&"Anna".into(), &"tea".into()));
    let mut bert = WebSocket::connect(pool.address(), "/ws/chat?room=tea&name=Bert").await;
    let pid = next_of_type(&mut bert, "welcome").await["pid"].clone();
    assert_ne!(pid, welcome["pid"], "ties go in rotation");
    loop {
        // Anna may see that she has joined herself.
        if next_of_type(&mut anna, "joined").await["name"] == "Bert" {
            break;
        }
    }
    anna.send(r#"{"text": "hello <b>you</b>"}"#).await;
    for socket in [&mut anna, &mut bert] {
        let message = next_of_type(socket, "message").await;
        assert_eq!(
            (&message["name"], &message["text"]),
            (&"Anna".into(), &"hello <b>you</b>".into())
        );
    }
    bert.close(1000, "").await;
    assert_eq!(next_of_type(&mut anna, "left").await["name"], "Bert");
}

/// C28.
#[tokio::test]
async fn rooms_do_not_hear_each_other() {
    let pool = Pool::start(Options::program(program("user-app"))).await;
    let mut tea = WebSocket::connect(pool.address(), "/ws/chat?room=tea&name=Anna").await;
    let mut coffee = WebSocket::connect(pool.address(), "/ws/chat?room=coffee&name=Bert").await;
    tea.send("only for tea").await;
    assert_eq!(next_of_type(&mut tea, "message").await["text"], "only for tea");
    coffee.send("only for coffee").await;
    assert_eq!(next_of_type(&mut coffee, "message").await["text"], "only for coffee");
}

/// The routes of the example that people copy.
#[tokio::test]
async fn the_example_serves_its_page_its_info_and_its_echoes() {
    let pool = Pool::start(Options::program(program("user-app")).workers(2)).await;
    let page = get(pool.address(), "/").await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.text().contains("/ws/chat"));
    assert_eq!(get(pool.address(), "/hello").await.text(), "Hello, world!");
    let info = get(pool.address(), "/info").await.json();
    assert_eq!((&info["mode"], &info["generation"]), (&"supervised".into(), &1.into()));
    let worker = pool.workers().into_iter().find(|worker| u64::from(worker.pid) == info["pid"]);
    assert_eq!(info["worker"], worker.unwrap().index);
    let echo = shovel_tests::post(pool.address(), "/echo", "and back").await;
    assert_eq!(echo.text(), "and back");
    let mut socket = WebSocket::connect(pool.address(), "/ws/echo").await;
    assert_eq!(socket.ask("and back").await, "and back");
}

/// The room and the publish route of the example.
#[tokio::test]
async fn the_examples_room_publishes_to_itself_and_from_outside() {
    let pool = Pool::start(Options::program(program("user-app")).workers(2)).await;
    let mut first = WebSocket::connect(pool.address(), "/ws/room/one").await;
    let mut second = WebSocket::connect(pool.address(), "/ws/room/one").await;
    first.send("hello").await;
    first.expect_text("hello").await;
    second.expect_text("hello").await;
    let answer = shovel_tests::post(pool.address(), "/publish/room:one", "news").await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json(), serde_json::json!({"delivered": 2, "dropped": 0, "closed": 0}));
    first.expect_text("news").await;
    second.expect_text("news").await;
}
