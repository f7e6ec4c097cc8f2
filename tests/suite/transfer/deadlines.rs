//! How long a move of a connection may take.

use shovel_tests::checker::{Answer, Order, Task, Word};
use shovel_tests::{Options, Pool, WebSocket};
use tempfile::TempDir;

/// G54. What a worker may take to adopt a connection says nothing about how long a handler may hold
/// up the next move, though both happen soon after each other.
#[tokio::test]
async fn a_handler_has_all_its_time_though_its_connection_has_just_moved() {
    let traces = TempDir::new().expect("temporary folder");
    let options = Options::program(shovel_tests::program("fixture-checked"))
        .variable("CHECKED_TRACES", &traces.path().display().to_string())
        .with("--adopt-timeout", "3s")
        .with("--handler-timeout", "30s");
    let pool = Pool::start(options).await;
    let headers = [("x-key", "1"), ("sec-websocket-protocol", "checked")];
    // Only an adoption that is slow has a deadline at all.
    let path = "/portable?key=1&adopts=200";
    let socket = WebSocket::try_connect_with(pool.address(), path, &headers).await;
    let mut socket = socket.expect("a connection");
    let Word::Hello { pid: first } = word(&mut socket).await else { panic!("no hello") };

    pool.reload(2).await;
    assert_eq!(word(&mut socket).await, Word::Bye { pid: first, byes: 1 });
    let Word::Here { pid: second, .. } = word(&mut socket).await else { panic!("not adopted") };

    let order = Order { n: 1, task: Task::Sleep(4000), padding: 0 };
    socket.send(order.to_string()).await;
    pool.sighup();
    let Word::Answer(Answer { pid, .. }) = word(&mut socket).await else {
        panic!("the handler was dropped:\n{}", pool.log())
    };
    assert_eq!(pid, second);
    assert_eq!(word(&mut socket).await, Word::Bye { pid: second, byes: 2 });
    pool.wait_for_reload(3).await;
    pool.terminate().await;
}

async fn word(socket: &mut WebSocket) -> Word {
    let text = socket.next_text().await;
    text.parse().unwrap_or_else(|_| panic!("no word: {text}"))
}
