//! The chat: a page, and a WebSocket for everybody in a room.
//!
//! Everything is a JSON object in a text message. The server sends
//! `{"type":"welcome","you","room","pid","generation"}` first, then what happens in the room, the
//! client's own part included: `{"type":"joined","name"}`, `{"type":"message","name","text"}` and
//! `{"type":"left","name"}`; `{"type":"refused","why"}` for what it did not pass on; and
//! `{"type":"moved","pid","generation","cause"}` when another worker has the connection. The client
//! sends `{"text"}`; a text message that is no such object is taken as it stands.
//!
//! There is no list of who is here: each worker knows only its own connections.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use shovel_worker::{
    AdoptCause, AdoptEvent, Attachment, CloseEvent, Connection, Error, FetchEvent, IntoResponse,
    MessageEvent, Response, StatusCode, header,
};

use crate::State;

/// Where the chat's WebSocket is; the query may have a `room` and a `name`.
pub(crate) const PATH: &str = "/ws/chat";

const NAME_LIMIT_CHARACTERS: usize = 32;
const TEXT_LIMIT_CHARACTERS: usize = 4000;
const DEFAULT_ROOM: &str = "lobby";

/// The chat page, one file without anything from elsewhere.
pub(crate) fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        // The page's script and style stand in the page; it needs nothing but its own server.
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
             img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
        ),
    ];
    (headers, include_str!("page/chat.html")).into_response()
}

/// Lets a client into its room: it is welcomed, and everybody there hears of it.
pub(crate) async fn join(mut event: FetchEvent<State>) -> Result<Response, Error> {
    let (connection, response) = event.upgrade_websocket()?;
    let member = Member::who_asks(&connection);
    // Not returned, the upgrade is not accepted: the client gets the error instead.
    if !is_name(&member.name) || !is_name(&member.room) {
        let limit = format!("name and room have 1 to {NAME_LIMIT_CHARACTERS} characters\n");
        return Err(Error::status(StatusCode::BAD_REQUEST, limit));
    }
    // What the next worker will know: the connection outlives this one.
    connection.attach(&member)?;
    let worker = event.worker();
    let welcome = ToClient::Welcome {
        you: &member.name,
        room: &member.room,
        pid: worker.pid,
        generation: worker.generation,
    };
    connection.send(welcome.to_json()).await?;
    connection.subscribe(&member.channel())?;
    member.tell_room(&connection, ToClient::Joined { name: &member.name }).await?;
    Ok(response)
}

/// Passes on to the room what a member says.
pub(crate) async fn message(event: &MessageEvent<State>) -> Result<(), Error> {
    let connection = event.connection();
    let text = event.message().as_text().map(said).unwrap_or_default();
    let why = match text.trim() {
        "" => "there is no text in it",
        text if text.chars().count() > TEXT_LIMIT_CHARACTERS => "it is too long",
        text => {
            let member = event.attachment::<Member>()?.unwrap_or_default();
            let news = ToClient::Message { name: &member.name, text };
            return member.tell_room(connection, news).await;
        }
    };
    connection.send(ToClient::Refused { why }.to_json()).await?;
    Ok(())
}

/// Tells the room that a member is gone.
pub(crate) async fn close(event: &CloseEvent<State>) -> Result<(), Error> {
    let member = event.attachment::<Member>()?.unwrap_or_default();
    member.tell_room(event.connection(), ToClient::Left { name: &member.name }).await
}

/// Tells a member, and nobody else, that another worker is here for it now. It is still subscribed.
pub(crate) async fn adopt(event: &AdoptEvent<State>) -> Result<(), Error> {
    let cause = match event.cause() {
        AdoptCause::Crash => "crash",
        AdoptCause::Wake => "wake",
        _ => "reload",
    };
    let worker = event.worker();
    let moved = ToClient::Moved { pid: worker.pid, generation: worker.generation, cause };
    event.connection().send(moved.to_json()).await?;
    Ok(())
}

/// Who a connection is, and where: attached to it, so that there is no table of members that could
/// outlive its connections, and none that dies with a worker.
#[derive(Default, Serialize, Deserialize)]
struct Member {
    name: String,
    room: String,
}

impl Attachment for Member {}

impl Member {
    /// As the URL says.
    fn who_asks(connection: &Connection) -> Self {
        let query = connection.url().query().unwrap_or_default();
        let value = |wanted: &str| {
            form_urlencoded::parse(query.as_bytes())
                .find(|(key, _)| key == wanted)
                .map(|(_, value)| value.trim().to_owned())
                .filter(|value| !value.is_empty())
        };
        Self {
            name: value("name").unwrap_or_else(|| guest_name(connection)),
            room: value("room").unwrap_or_else(|| DEFAULT_ROOM.to_owned()),
        }
    }

    fn channel(&self) -> String {
        format!("chat:{}", self.room)
    }

    async fn tell_room(&self, connection: &Connection, news: ToClient<'_>) -> Result<(), Error> {
        connection.publish(&self.channel(), news.to_json()).await?;
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ToClient<'a> {
    Welcome { you: &'a str, room: &'a str, pid: u32, generation: u32 },
    Joined { name: &'a str },
    Message { name: &'a str, text: &'a str },
    Left { name: &'a str },
    Moved { pid: u32, generation: u32, cause: &'a str },
    Refused { why: &'a str },
}

impl ToClient<'_> {
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers are always valid JSON")
    }
}

#[derive(Deserialize)]
struct FromClient<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

fn said(message: &str) -> Cow<'_, str> {
    match serde_json::from_str::<FromClient<'_>>(message) {
        Ok(FromClient { text }) => text,
        Err(_) => Cow::Borrowed(message),
    }
}

fn is_name(text: &str) -> bool {
    text.chars().count() <= NAME_LIMIT_CHARACTERS && !text.chars().any(char::is_control)
}

/// A name made of the connection's id: the same each time it is asked for. The end of a UUIDv7 is
/// its random part.
fn guest_name(connection: &Connection) -> String {
    let id = connection.id().to_string();
    format!("guest-{}", &id[id.len() - 4..])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shovel_worker::testing::{TestApp, TestClient};

    use super::*;
    use crate::app;

    /// What a client was told, without the pid: all workers of a test have the same.
    fn told(client: &TestClient) -> Vec<Value> {
        let told = client.received().into_iter().map(|news| {
            let mut news: Value =
                serde_json::from_str(news.as_text().expect("text")).expect("JSON");
            news.as_object_mut().expect("an object").remove("pid");
            news
        });
        told.collect()
    }

    #[tokio::test]
    async fn a_member_stays_in_its_room_while_workers_come_and_go() {
        let test = TestApp::start(app()).await.unwrap();
        let ada = test.connect("/ws/chat?name=Ada&room=tea").await.unwrap();
        let bob = test.connect("/ws/chat?name=Bob&room=tea").await.unwrap();
        told(&ada);
        told(&bob);
        test.reload(app()).await.unwrap();
        test.crash(app()).await.unwrap();
        ada.send(r#"{"text":"still here"}"#).await;
        bob.close(1000, "").await;
        let expected = [
            json!({"type": "moved", "generation": 2, "cause": "reload"}),
            json!({"type": "moved", "generation": 2, "cause": "crash"}),
            json!({"type": "message", "name": "Ada", "text": "still here"}),
            json!({"type": "left", "name": "Bob"}),
        ];
        assert_eq!(told(&ada), expected);
        assert_eq!(told(&bob), expected[..3]);
    }

    #[test]
    fn text_is_taken_out_of_its_object_and_anything_else_as_it_stands() {
        assert_eq!(said(r#"{"text":"a \"quoted\" word"}"#), "a \"quoted\" word");
        assert_eq!(said("plain words"), "plain words");
        assert_eq!(said(r#"{"words":"none"}"#), r#"{"words":"none"}"#);
        assert_eq!(said("12"), "12");
    }

    #[test]
    fn a_name_is_short_and_printable() {
        assert!(is_name("Ada Lovelace"));
        assert!(is_name(&"ä".repeat(NAME_LIMIT_CHARACTERS)));
        assert!(!is_name(&"ä".repeat(NAME_LIMIT_CHARACTERS + 1)));
        assert!(!is_name("two\nlines"));
    }

    #[test]
    fn news_are_objects_with_a_type() {
        let news = ToClient::Message { name: "Ada", text: "<b>\"" };
        assert_eq!(news.to_json(), r#"{"type":"message","name":"Ada","text":"<b>\""}"#);
    }
}
