//! What requests ask for.

use std::convert::Infallible;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use shovel_worker::{
    Body, Bytes, Error, FetchEvent, HeaderName, HeaderValue, IntoResponse, Json, Published,
    Response, StatusCode,
};

use crate::{State, query, tell};

const CHUNK: &[u8] = &[b'x'; 64 * 1024];

pub(crate) async fn answer(event: FetchEvent<State>) -> Result<Response, Error> {
    let state = event.state().clone();
    let requests = state.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let path = event.request().uri().path().to_owned();
    let asked = Asked(query(event.request().uri()));
    match path.as_str() {
        "/info" => Ok(Json(info(&event, requests)).into_response()),
        "/mirror" => Ok(mirror(event)),
        "/count" => count(event).await,
        "/produce" => {
            let gate = asked.value("gate");
            if !gate.is_empty() {
                state.gates.pass(&gate, Value::Null).await;
            }
            Ok(Body::from_stream(produce(asked.value("bytes").parse()?)).into_response())
        }
        "/gated" => {
            state.gates.pass(&asked.value("gate"), Value::Null).await;
            Ok(Json(info(&event, requests)).into_response())
        }
        "/stream" => Ok(stream_through(event, asked.value("gate")).into_response()),
        "/status" => {
            let status = StatusCode::from_bytes(asked.value("code").as_bytes())?;
            Ok((status, [("x-own", "yes")]).into_response())
        }
        "/teapot" => {
            let response = (StatusCode::IM_A_TEAPOT, [("x-own", "yes")], "short and stout");
            Err(Error::response(response))
        }
        "/fail" => Err(Error::message("the secret is 42")),
        "/panic" => panic!("the secret is 42"),
        path if path.starts_with("/publish") || path == "/timer" => {
            publish(event, path, asked).await
        }
        path => act_as_process(event, path, asked),
    }
}

/// The query of a request.
struct Asked(Vec<(String, String)>);

impl Asked {
    /// Empty if it is not there.
    fn value(&self, name: &str) -> String {
        let part = self.0.iter().find(|(part, _)| part == name);
        part.map_or("", |(_, value)| value.as_str()).to_owned()
    }
}

/// What requests do to channels.
async fn publish(event: FetchEvent<State>, path: &str, asked: Asked) -> Result<Response, Error> {
    let state = event.state().clone();
    match path {
        "/publish" => {
            let channel = event.channel(&asked.value("channel"))?;
            let published = channel.publish(asked.value("text")).await?;
            Ok(Json(counts(published)).into_response())
        }
        "/publish-body" => {
            let channel = event.channel(&asked.value("channel"))?;
            let body = event.into_request().into_body().collect().await?.to_bytes();
            let published = channel.publish(String::from_utf8(body.into())?).await?;
            Ok(Json(counts(published)).into_response())
        }
        "/publish-by-object" => {
            let object = state.object.get().ok_or(Error::message("not started"))?;
            object.publish(asked.value("text")).await?;
            Ok(event.worker().pid.to_string().into_response())
        }
        "/timer" => {
            let channel = event.channel(&asked.value("channel"))?;
            tokio::spawn(async move {
                state.gates.pass(&asked.value("gate"), Value::Null).await;
                channel.publish("from a timer").await
            });
            Ok("begun".into_response())
        }
        _ => Err(Error::status(StatusCode::NOT_FOUND, "no such path")),
    }
}

/// What requests do to this process.
fn act_as_process(event: FetchEvent<State>, path: &str, asked: Asked) -> Result<Response, Error> {
    match path {
        "/background" => {
            let state = event.state().clone();
            event.wait_until(async move {
                let gate = asked.value("gate");
                state.gates.pass(&gate, Value::Null).await;
                tell(json!({"event": "background", "gate": gate}));
            });
            Ok("begun".into_response())
        }
        "/children" => {
            // What a child of this worker inherits.
            let listing = Command::new("ls").args(["-l", "/proc/self/fd"]).output()?;
            Ok(String::from_utf8_lossy(&listing.stdout).into_owned().into_response())
        }
        "/orphans" => {
            // Their parent, a shell, ends at once; they end when the gate opens.
            let waits = "while [ ! -e \"$FIXTURE_GATES/orphans\" ]; do sleep 0.01; done & ";
            let shell = waits.repeat(asked.value("count").parse()?);
            Command::new("sh").args(["-c", &shell]).stdin(Stdio::null()).status()?;
            Ok("left behind".into_response())
        }
        "/say" => {
            println!("{}", asked.value("out"));
            eprintln!("{}", asked.value("err"));
            Ok("said".into_response())
        }
        "/grow" => {
            let mib = asked.value("mib").parse::<usize>()?;
            std::mem::forget(vec![1_u8; mib << 20]);
            Ok("grown".into_response())
        }
        "/exit" => std::process::exit(9),
        "/hang" => {
            std::thread::sleep(Duration::from_secs(60));
            Ok("not for a minute".into_response())
        }
        _ => Err(Error::status(StatusCode::NOT_FOUND, "no such path")),
    }
}

fn counts(published: Published) -> Value {
    json!({"delivered": published.delivered, "dropped": published.dropped,
        "closed": published.closed})
}

fn info(event: &FetchEvent<State>, requests: u64) -> Value {
    let worker = event.worker();
    json!({"pid": worker.pid, "index": worker.index, "generation": worker.generation,
        "mode": worker.mode(), "label": event.state().label, "requests": requests,
        "client": event.client().map(|client| client.to_string())})
}

/// Sends back the body with its trailers, and tells method, target and all headers.
fn mirror(event: FetchEvent<State>) -> Response {
    let (head, body) = event.into_request().into_parts();
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    for (name, value) in &head.headers {
        let name = format!("seen-{name}");
        headers.append(name.parse::<HeaderName>().expect("a longer name"), value.clone());
    }
    // RFC 9110 §6.6.2: which trailers will come.
    if let Some(trailer) = head.headers.get("trailer") {
        headers.insert("trailer", trailer.clone());
    }
    let text = |text: &str| HeaderValue::from_str(text).expect("what came in a head");
    headers.insert("method", text(head.method.as_str()));
    headers.insert("target", text(&head.uri.to_string()));
    response
}

/// Reads the body to its end, keeping none of it.
async fn count(event: FetchEvent<State>) -> Result<Response, Error> {
    let mut body = event.into_request().into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame
            .map_err(|error| Error::message(error.to_string()))?
            .data_ref()
            .map_or(0, Bytes::len);
    }
    Ok(bytes.to_string().into_response())
}

fn produce(bytes: usize) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(bytes, |left| async move {
        let len = left.min(CHUNK.len());
        (len > 0).then(|| (Ok(Bytes::from_static(&CHUNK[..len])), left - len))
    })
}

/// A first chunk at once, the last one when the gate opens.
fn stream_through(event: FetchEvent<State>, gate: String) -> Body {
    let state = event.state().clone();
    let first = stream::iter([Ok::<_, Infallible>("first\n")]);
    let last = stream::once(async move {
        state.gates.pass(&gate, Value::Null).await;
        Ok("last\n")
    });
    Body::from_stream(first.chain(last))
}
