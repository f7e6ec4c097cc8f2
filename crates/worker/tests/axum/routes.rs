// Included twice, with axum's `Message`, `WebSocket` and so on and with ours: so an app that uses
// these changes one import.

/// Routes that upgrade, and tell the test what they see.
pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/echo", any(echo))
        .route("/slow", any(slow))
        .route("/refused", any(refused))
}

async fn echo(upgrade: WebSocketUpgrade, extract::State(state): extract::State<State>) -> Response {
    let upgrade = upgrade.protocols(["v1", "v2"]);
    let selected = upgrade.selected_protocol().cloned();
    upgrade.on_upgrade(async move |socket| {
        assert_eq!(socket.protocol(), selected.as_ref());
        echo_until_the_end(socket, &state.notes).await;
    })
}

async fn echo_until_the_end(mut socket: WebSocket, notes: &Notes) {
    notes.say("begin");
    while let Some(message) = socket.recv().await {
        match message {
            Ok(Message::Text(text)) if text == "close" => {
                let close = CloseFrame { code: 4002, reason: "as told".into() };
                socket.send(Message::Close(Some(close))).await.unwrap();
            }
            Ok(Message::Text(text)) if text == "leave" => return,
            Ok(Message::Close(frame)) => {
                notes.say(format!("close {:?}", frame.map(|frame| frame.code)));
            }
            // The client may have closed behind this message.
            Ok(message) => drop(socket.send(message).await),
            Err(_) => notes.say("lost"),
        }
    }
    notes.say("end");
}

/// Reads when the test lets it.
async fn slow(upgrade: WebSocketUpgrade, extract::State(state): extract::State<State>) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        state.go.notified().await;
        while let Some(Ok(message)) = socket.next().await {
            state.notes.say(format!("{} bytes", message.into_data().len()));
        }
    })
}

/// Never gets its socket.
async fn refused(
    upgrade: WebSocketUpgrade,
    extract::State(state): extract::State<State>,
) -> Response {
    upgrade
        .on_failed_upgrade(move |_error| state.notes.say("failed"))
        .on_upgrade(async |_socket| panic!("it was not accepted"))
}
