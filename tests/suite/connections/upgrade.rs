//! What an upgrade gives and answers.

use std::collections::HashSet;

use shovel_tests::{Pool, WebSocket, get};

in_both_modes!(
    an_upgrade_gives_a_connection_with_an_id_of_its_own_its_url_and_headers,
    Options::app().workers(2)
);
/// A1.
async fn an_upgrade_gives_a_connection_with_an_id_of_its_own_its_url_and_headers(pool: Pool) {
    let mut ids = HashSet::new();
    for number in 0..4 {
        let path = format!("/ws?subscribe=room-{number}");
        let headers = [("x-test", "first, second")];
        let mut socket =
            WebSocket::try_connect_with(pool.address(), &path, &headers).await.unwrap();
        socket.send("info").await;
        let info = socket.next_json().await;
        assert_eq!(info["url"], path);
        assert_eq!(info["header"], "first, second");
        let id = info["id"].as_str().unwrap();
        // RFC 9562 §5.7: the version stands at the front of the third group.
        assert_eq!((id.len(), &id[14..15]), (36, "7"), "{id}");
        assert!(ids.insert(id.to_owned()), "{id} came twice");
    }
}

in_both_modes!(upgrading_a_request_that_offers_none_is_an_error_value);
/// A2.
async fn upgrading_a_request_that_offers_none_is_an_error_value(pool: Pool) {
    let answer = get(pool.address(), "/ws?upgrade").await;
    assert_eq!(answer.status, 409);
    assert_eq!(answer.text(), "the request does not ask for an upgrade to websocket");
}

in_both_modes!(upgrading_a_request_twice_is_an_error_value);
/// A2.
async fn upgrading_a_request_twice_is_an_error_value(pool: Pool) {
    let refused = WebSocket::try_connect(pool.address(), "/ws?upgrade&upgrade").await.unwrap_err();
    assert_eq!(refused.status(), 409);
    assert_eq!(refused.body().as_deref(), Some(&b"the request is upgraded already"[..]));
}

in_both_modes!(an_upgrade_that_is_declined_gets_the_handlers_response_unchanged);
/// A3.
async fn an_upgrade_that_is_declined_gets_the_handlers_response_unchanged(pool: Pool) {
    for status in [401, 403, 426] {
        let path = format!("/ws?decline={status}");
        let refused = WebSocket::try_connect(pool.address(), &path).await.unwrap_err();
        assert_eq!(refused.status(), status);
        assert_eq!(refused.body().as_deref(), Some(&b"no entry"[..]));
        let cookies = refused.headers().get_all("set-cookie").iter().collect::<Vec<_>>();
        assert_eq!(cookies, ["a=1", "b=2"]);
        assert_eq!(refused.headers()["x-why"], "not today");
    }
}

in_both_modes!(an_upgrade_whose_response_is_not_returned_is_not_accepted);
/// A3.
async fn an_upgrade_whose_response_is_not_returned_is_not_accepted(pool: Pool) {
    let refused = WebSocket::try_connect(pool.address(), "/ws?upgrade&other").await.unwrap_err();
    assert_eq!(refused.status(), 200);
    assert_eq!(refused.body().as_deref(), Some(&b"something else"[..]));
}

in_both_modes!(what_the_fetch_handler_sends_comes_first_and_in_order);
/// A4.
async fn what_the_fetch_handler_sends_comes_first_and_in_order(pool: Pool) {
    let path = "/ws?send=one&send=two&send=three";
    let mut socket = WebSocket::connect(pool.address(), path).await;
    socket.send("four").await;
    for text in ["one", "two", "three", "echo four"] {
        socket.expect_text(text).await;
    }
}

in_both_modes!(a_close_in_the_fetch_handler_follows_the_handshake_and_what_was_sent);
/// A5.
async fn a_close_in_the_fetch_handler_follows_the_handshake_and_what_was_sent(pool: Pool) {
    let mut socket = WebSocket::connect(pool.address(), "/ws?send=hello&close=4001+bye").await;
    socket.expect_text("hello").await;
    socket.expect_close(4001, "bye").await;
    let is_close = |event: &serde_json::Value| event["event"] == "close";
    let event = pool.wait_for_event("the close event", is_close).await;
    assert_eq!((&event["code"], &event["was_clean"]), (&4001.into(), &true.into()));
}

in_both_modes!(cookies_and_headers_set_on_the_upgrade_are_on_the_101);
/// A6.
async fn cookies_and_headers_set_on_the_upgrade_are_on_the_101(pool: Pool) {
    let path = "/ws?upgrade&header=set-cookie+a=1&header=set-cookie+b=2;+Path=/&header=x-own+yes";
    let socket = WebSocket::connect(pool.address(), path).await;
    let cookies = socket.headers.get_all("set-cookie").iter().collect::<Vec<_>>();
    assert_eq!(cookies, ["a=1", "b=2; Path=/"]);
    assert_eq!(socket.headers["x-own"], "yes");
}

in_both_modes!(the_subprotocol_that_the_handler_picks_is_on_the_101);
/// A7.
async fn the_subprotocol_that_the_handler_picks_is_on_the_101(pool: Pool) {
    let offered = [("sec-websocket-protocol", "chat.v2, chat.v1")];
    let mut socket = WebSocket::try_connect_with(pool.address(), "/ws?protocol=chat.v1", &offered)
        .await
        .unwrap();
    assert_eq!(socket.headers["sec-websocket-protocol"], "chat.v1");
    socket.send("info").await;
    assert_eq!(socket.next_json().await["protocol"], "chat.v1");
}

in_both_modes!(no_subprotocol_is_sent_when_none_is_picked_or_offered);
/// A7.
async fn no_subprotocol_is_sent_when_none_is_picked_or_offered(pool: Pool) {
    let mut socket = WebSocket::connect(pool.address(), "/ws").await;
    assert!(!socket.headers.contains_key("sec-websocket-protocol"));
    socket.send("info").await;
    assert!(socket.next_json().await["protocol"].is_null());
    // A client that offers some and is told none has not failed either (RFC 6455 §4.2.2), though
    // tungstenite's takes it so: seen by its bytes.
    let mut raw = shovel_tests::Raw::connect(pool.address()).await;
    let offer = "Sec-WebSocket-Protocol: chat.v2\r\n";
    raw.write(shovel_tests::upgrade_request("/ws", offer)).await;
    let head = raw.head().await.to_lowercase();
    assert!(
        head.starts_with("http/1.1 101 ") && !head.contains("sec-websocket-protocol"),
        "{head}"
    );
}

in_both_modes!(a_subprotocol_that_was_not_offered_is_an_error_in_the_handler);
/// A7.
async fn a_subprotocol_that_was_not_offered_is_an_error_in_the_handler(pool: Pool) {
    let offered = [("sec-websocket-protocol", "chat.v2")];
    let refused = WebSocket::try_connect_with(pool.address(), "/ws?protocol=chat.v9", &offered)
        .await
        .unwrap_err();
    assert_eq!(refused.status(), 409);
    let body = String::from_utf8_lossy(refused.body().as_deref().unwrap_or_default()).into_owned();
    assert!(body.contains("chat.v9"), "{body}");
}
