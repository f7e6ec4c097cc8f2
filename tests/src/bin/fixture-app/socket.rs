//! WebSockets: what the query of an upgrade asks its handler to do, step by step, and what each
//! message asks for.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use serde_json::{Value, json};
use shovel_worker::{
    Body, CloseEvent, Connection, Error, FetchEvent, HeaderName, HeaderValue, IntoResponse,
    Message, MessageEvent, Response, SlowConsumer, StatusCode,
};

use crate::{State, query, tell};

/// What is kept of a connection.
#[derive(Default)]
pub(crate) struct Entry {
    echoes: bool,
    handled: u64,
}

/// Accepts a connection whose messages are sent back as they are.
pub(crate) fn echo(mut event: FetchEvent<State>) -> Result<Response, Error> {
    let (connection, response) = event.upgrade_websocket()?;
    remember(event.state(), &connection, true);
    Ok(response)
}

/// Upgrades at the step `upgrade` or `protocol`, else before the first step.
pub(crate) async fn upgrade(mut event: FetchEvent<State>) -> Result<Response, Error> {
    let mut steps = query(event.request().uri());
    let upgrades = ["upgrade", "protocol", "decline"];
    if !steps.iter().any(|(step, _)| upgrades.contains(&step.as_str())) {
        steps.insert(0, ("upgrade".to_owned(), String::new()));
    }
    let state = event.state().clone();
    let mut accepted = None;
    for (step, value) in &steps {
        if matches!(step.as_str(), "upgrade" | "protocol") {
            let upgraded = if step == "upgrade" {
                event.upgrade_websocket()
            } else {
                event.upgrade_websocket_with_protocol(value)
            };
            match upgraded {
                Ok((connection, response)) => {
                    remember(&state, &connection, false);
                    accepted = Some((connection, response));
                }
                Err(error) => {
                    return Ok((StatusCode::CONFLICT, error.to_string()).into_response());
                }
            }
        } else if let Some(answer) = take_step(&state, &mut accepted, step, value).await? {
            return Ok(answer);
        }
    }
    let (_, response) = accepted.ok_or(Error::message("not upgraded"))?;
    Ok(response)
}

/// Takes one step of the fetch handler; some end it with an answer of their own.
async fn take_step(
    state: &State,
    accepted: &mut Option<(Connection, Response)>,
    step: &str,
    value: &str,
) -> Result<Option<Response>, Error> {
    match step {
        "gate" => {
            let id = accepted.as_ref().map(|(connection, _)| connection.id().to_string());
            state.gates.pass(value, json!(id)).await;
        }
        "decline" => {
            let headers = [("set-cookie", "a=1"), ("x-why", "not today")];
            let mut response = (headers, "no entry").into_response();
            *response.status_mut() = StatusCode::from_bytes(value.as_bytes())?;
            response.headers_mut().append("set-cookie", HeaderValue::from_static("b=2"));
            return Ok(Some(response));
        }
        "other" => return Ok(Some("something else".into_response())),
        "panic" => panic!("the secret is 42"),
        "fail" => return Err(Error::message("the secret is 42")),
        "teapot" => return Err(Error::status(StatusCode::IM_A_TEAPOT, "short and stout")),
        _ => {
            let Some((connection, response)) = accepted else {
                return Err(Error::message("upgrade first"));
            };
            match step {
                "header" => add_header(response, value)?,
                "close" => {
                    let (code, reason) = value.split_once(' ').unwrap_or((value, ""));
                    connection.close(code.parse()?, reason)?;
                }
                "send" => connection.send(value).await?,
                "subscribe" => connection.subscribe(value)?,
                "slow" => connection.set_slow_consumer(slow_consumer(value)?),
                "publish" => {
                    let (channel, text) = value.split_once(' ').unwrap_or((value, ""));
                    connection.publish(channel, text).await?;
                }
                // For the close handler, which reads them from the url.
                "farewell" | "closing" => {}
                _ => return Err(Error::message(format!("no such step: {step}"))),
            }
        }
    }
    Ok(None)
}

fn add_header(response: &mut Response<Body>, value: &str) -> Result<(), Error> {
    let (name, value) = value.split_once(' ').unwrap_or((value, ""));
    response.headers_mut().append(name.parse::<HeaderName>()?, value.parse()?);
    Ok(())
}

/// An echo, or a command: a word and what it is about.
pub(crate) async fn message(event: MessageEvent<State>) -> Result<(), Error> {
    let (connection, state) = (event.connection(), event.state());
    let echoes = {
        let mut connections = connections(state);
        let entry = connections.entry(connection.id().to_string()).or_default();
        entry.handled += 1;
        entry.echoes
    };
    let Some(text) = event.message().as_text().filter(|_| !echoes) else {
        return Ok(connection.send(event.message().clone()).await?);
    };
    let (command, about) = text.split_once(' ').unwrap_or((text, ""));
    match command {
        "info" => connection.send(about_connection(&event)).await?,
        "gate" => {
            state.gates.pass(about, json!(connection.id().to_string())).await;
            connection.send(format!("passed {about}")).await?;
        }
        "watch" => {
            watch(&event, about);
            connection.send("watching").await?;
        }
        "background" => {
            let (state, client) = (state.clone(), connection.clone());
            let gate = about.to_owned();
            event.wait_until(async move {
                state.gates.pass(&gate, Value::Null).await;
                let _ = client.send(format!("background {gate}")).await;
            });
            connection.send("begun").await?;
        }
        "panic" => panic!("the message is bad"),
        "fail" => return Err(Error::message("the message is wrong")),
        _ => act_on_connection(connection, command, about).await?,
    }
    Ok(())
}

async fn act_on_connection(
    connection: &Connection,
    command: &str,
    about: &str,
) -> Result<(), Error> {
    match command {
        "close" => {
            let (code, reason) = about.split_once(' ').unwrap_or((about, ""));
            match connection.close(code.parse()?, reason) {
                Ok(()) => {
                    let late = connection.send("after the close").await;
                    tell(json!({"event": "sent late", "result": format!("{late:?}")}));
                }
                Err(error) => connection.send(format!("refused: {error}")).await?,
            }
        }
        // A message of so many bytes, and the close with this code right behind it.
        "farewell" => {
            let (bytes, code) = about.split_once(' ').unwrap_or((about, "1000"));
            connection.send(vec![0; bytes.parse()?]).await?;
            connection.close(code.parse()?, "farewell")?;
        }
        "subscribe" => {
            connection.subscribe(about)?;
            connection.send(format!("subscribed {about}")).await?;
        }
        "unsubscribe" => {
            connection.unsubscribe(about)?;
            connection.send(format!("unsubscribed {about}")).await?;
        }
        "publish" => {
            let (channel, text) = about.split_once(' ').unwrap_or((about, ""));
            connection.publish(channel, text).await?;
        }
        "publish-binary" => connection.publish(about, vec![0, 159, 146, 150]).await?,
        "publish-many" => publish_many(connection, about).await?,
        "flood" => flood(connection, about.parse()?).await?,
        "slow" => {
            connection.set_slow_consumer(slow_consumer(about)?);
            connection.send(format!("slow {about}")).await?;
        }
        other => connection.send(format!("echo {other}")).await?,
    }
    Ok(())
}

/// COUNT CHANNEL NAME: numbered messages in a row, and then one to the client itself.
async fn publish_many(connection: &Connection, about: &str) -> Result<(), Error> {
    let words = about.split(' ').collect::<Vec<_>>();
    let [count, channel, name] = words[..] else {
        return Err(Error::message("publish-many COUNT CHANNEL NAME"));
    };
    for number in 0..count.parse::<u64>()? {
        connection.publish(channel, format!("{name} {number}")).await?;
    }
    connection.send(format!("{name} is done")).await?;
    Ok(())
}

/// Tells what waits for the client when the gate is open, and when nothing does.
fn watch(event: &MessageEvent<State>, gate: &str) {
    let (state, client) = (event.state().clone(), event.connection().clone());
    let gate = gate.to_owned();
    event.wait_until(async move {
        state.gates.pass(&gate, Value::Null).await;
        tell(json!({"event": "buffered", "bytes": client.buffered().await.ok()}));
        let empty = format!("{:?}", client.outbox_empty().await);
        tell(json!({"event": "empty", "result": empty}));
    });
}

/// What becomes of what is published to a slow client, as the flag of the pool says it.
pub(crate) fn slow_consumer(text: &str) -> Result<SlowConsumer, Error> {
    match text {
        "close" => Ok(SlowConsumer::Close),
        "drop-newest" => Ok(SlowConsumer::DropNewest),
        "drop-oldest" => Ok(SlowConsumer::DropOldest),
        "as-configured" => Ok(SlowConsumer::AsConfigured),
        _ => Err(Error::message("no such policy")),
    }
}

/// As many messages of 64 KiB.
async fn flood(connection: &Connection, count: u64) -> Result<(), Error> {
    let part = "x".repeat(64 << 10);
    tell(json!({"event": "flooding"}));
    for _ in 0..count {
        connection.send(part.as_str()).await?;
    }
    tell(json!({"event": "flooded"}));
    Ok(())
}

fn about_connection(event: &MessageEvent<State>) -> Message {
    let (connection, worker) = (event.connection(), event.worker());
    let header = |name| connection.headers().get(name).and_then(|value| value.to_str().ok());
    json!({"id": connection.id().to_string(), "url": connection.url().to_string(),
        "pid": worker.pid, "generation": worker.generation, "label": event.state().label,
        "protocol": connection.protocol(), "header": header("x-test"),
        "traceparent": header("traceparent"), "request": header("x-request-id")})
    .to_string()
    .into()
}

/// Tells what the event says and what can still be done, after the gate `closing` if the url names
/// one; publishes to the channel `farewell` if it names one.
pub(crate) async fn close(event: CloseEvent<State>) -> Result<(), Error> {
    let connection = event.connection();
    let id = connection.id().to_string();
    let mut inert = Vec::new();
    for (step, value) in query(connection.url()) {
        match step.as_str() {
            "closing" => event.state().gates.pass(&value, json!(id)).await,
            "farewell" => {
                inert = vec![
                    format!("{:?}", connection.send("too late").await),
                    format!("{:?}", connection.subscribe(&value)),
                    format!("{:?}", connection.close(4000, "again")),
                ];
                connection.publish(&value, format!("{id} left")).await?;
            }
            _ => {}
        }
    }
    let entry = connections(event.state()).remove(&id);
    tell(json!({"event": "close", "id": id, "code": event.code(), "reason": event.reason(),
        "was_clean": event.was_clean(), "handled": entry.map(|entry| entry.handled),
        "inert": inert, "pid": event.worker().pid}));
    Ok(())
}

fn remember(state: &State, connection: &Connection, echoes: bool) {
    let entry = Entry { echoes, handled: 0 };
    connections(state).insert(connection.id().to_string(), entry);
}

fn connections(state: &State) -> MutexGuard<'_, HashMap<String, Entry>> {
    state.connections.lock().unwrap_or_else(PoisonError::into_inner)
}
