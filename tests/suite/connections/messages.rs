//! Messages, and the handlers that get them.

use shovel_tests::{Options, Pool, WebSocket};
use tokio_tungstenite::tungstenite::Message;

in_both_modes!(text_and_binary_of_every_length_come_back_as_they_went);
/// B13.
async fn text_and_binary_of_every_length_come_back_as_they_went(pool: Pool) {
    let mut socket = WebSocket::connect(pool.address(), "/ws/echo").await;
    for len in [0, 1, 125, 126, 65_535, 65_536, 8 << 20] {
        let text = "löffel".chars().cycle().take(len).collect::<String>();
        let binary = (0..len).map(|at| (at % 251) as u8).collect::<Vec<_>>();
        socket.send(text.clone()).await;
        // Not by assert_eq: nobody reads 8 MiB of difference.
        assert!(socket.next_text().await == text, "text of {len} characters");
        socket.send_binary(binary.clone()).await;
        assert!(socket.next().await == Message::binary(binary), "binary of {len} bytes");
    }
}

in_both_modes!(ten_thousand_messages_come_back_in_order, Options::app().with("--io-threads", "2"));
/// B13.
async fn ten_thousand_messages_come_back_in_order(pool: Pool) {
    let mut socket = WebSocket::connect(pool.address(), "/ws/echo").await;
    const AT_ONCE: usize = 500;
    for batch in 0..10_000 / AT_ONCE {
        let numbers = (batch * AT_ONCE..(batch + 1) * AT_ONCE).map(|number| number.to_string());
        for number in numbers.clone() {
            socket.feed(Message::text(number)).await;
        }
        socket.send("end").await;
        for number in numbers {
            socket.expect_text(&number).await;
        }
        socket.expect_text("end").await;
    }
}

in_both_modes!(messages_of_a_connection_wait_for_its_slow_handler_and_others_do_not);
/// B14.
async fn messages_of_a_connection_wait_for_its_slow_handler_and_others_do_not(pool: Pool) {
    let mut slow = WebSocket::connect(pool.address(), "/ws").await;
    let mut other = WebSocket::connect(pool.address(), "/ws").await;
    slow.send("gate slow").await;
    slow.send("behind").await;
    pool.wait_at_gate("slow").await;
    assert_eq!(other.ask("beside").await, "echo beside");
    slow.send("further behind").await;
    assert_eq!(other.ask("again").await, "echo again");
    pool.open_gate("slow");
    for text in ["passed slow", "echo behind", "echo further"] {
        slow.expect_text(text).await;
    }
}

in_both_modes!(work_given_to_wait_until_does_not_delay_the_next_message);
/// B15.
async fn work_given_to_wait_until_does_not_delay_the_next_message(pool: Pool) {
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    assert_eq!(socket.ask("background later").await, "begun");
    pool.wait_at_gate("later").await;
    assert_eq!(socket.ask("next").await, "echo next");
    pool.open_gate("later");
    socket.expect_text("background later").await;
}

in_both_modes!(a_handler_that_panics_or_fails_fails_that_message_only_and_is_logged);
/// B16.
async fn a_handler_that_panics_or_fails_fails_that_message_only_and_is_logged(pool: Pool) {
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    socket.send("info").await;
    let info = socket.next_json().await;
    let (id, pid) = (info["id"].as_str().unwrap(), info["pid"].as_u64());
    for (command, words) in [("panic", "the message is bad"), ("fail", "the message is wrong")] {
        socket.send(command).await;
        assert_eq!(socket.ask("next").await, "echo next");
        let is_it = |line: &shovel_tests::Line| {
            let output = line.output().unwrap_or_default();
            // An app by itself is not told apart from others.
            let is_its = line.number("pid").is_none_or(|its| Some(its) == pid);
            output.contains(words) && output.contains(id) && is_its
        };
        pool.wait_for(&format!("a line about {command}"), is_it).await;
    }
    assert!(pool.events("close").is_empty());
}

in_both_modes!(an_error_with_a_response_of_its_own_sends_that_on_requests_and_upgrades);
/// B16.
async fn an_error_with_a_response_of_its_own_sends_that_on_requests_and_upgrades(pool: Pool) {
    let answer = shovel_tests::get(pool.address(), "/teapot").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (418, "short and stout"));
    assert_eq!(answer.header("x-own"), "yes");
    let answer = shovel_tests::get(pool.address(), "/nowhere").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (404, "no such path"));
    let refused = WebSocket::try_connect(pool.address(), "/ws?teapot").await.unwrap_err();
    assert_eq!(refused.status(), 418);
    assert_eq!(refused.body().as_deref(), Some(&b"short and stout"[..]));
}

/// B14: with several I/O threads every connection finds its worker and its answers find it.
#[tokio::test]
async fn connections_of_all_threads_and_workers_keep_their_messages_apart() {
    let pool = Pool::start(Options::app().workers(2).with("--io-threads", "2")).await;
    let mut sockets = Vec::new();
    for _ in 0..16 {
        sockets.push(WebSocket::connect(pool.address(), "/ws/echo").await);
    }
    for round in 0..20 {
        for (number, socket) in sockets.iter_mut().enumerate() {
            socket.send(format!("{number} {round}")).await;
        }
        for (number, socket) in sockets.iter_mut().enumerate() {
            socket.expect_text(&format!("{number} {round}")).await;
        }
    }
}
