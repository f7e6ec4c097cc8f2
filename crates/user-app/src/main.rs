//! An app for shovel-pool to copy from: a chat, an echo, rooms and an info page.
//!
//! Each file beside this one is one part of it; this one says which request goes where. Nothing
//! is kept in memory between events: what a handler must know of a connection is attached to it, so
//! that any worker can go on with it, or stands in the URL that it was opened with.

mod chat;
mod counter;
mod echo;
mod info;
mod publish;
mod room;

use std::fmt::Display;

use shovel_worker::{
    AdoptEvent, App, CloseEvent, Error, FetchEvent, MessageEvent, Method, Response, RunError,
    StatusCode,
};

/// What every handler shares; this app needs nothing.
type State = ();

fn main() -> Result<(), RunError> {
    app().run()
}

fn app() -> App<State> {
    App::new(()).on_fetch(fetch).on_message(message).on_close(close).on_adopt(adopt)
}

async fn fetch(event: FetchEvent<State>) -> Result<Response, Error> {
    let path = event.request().uri().path().to_owned();
    if let Some(name) = path.strip_prefix(room::PATH) {
        return room::join(event, name);
    }
    if let Some(channel) = path.strip_prefix(publish::PATH) {
        require(&event, Method::POST)?;
        return publish::publish(event, channel).await;
    }
    match path.as_str() {
        "/" => require(&event, Method::GET).map(|()| chat::page()),
        chat::PATH => chat::join(event).await,
        "/hello" => require(&event, Method::GET).map(|()| info::hello()),
        "/info" => require(&event, Method::GET).map(|()| info::info(&event)),
        "/echo" => require(&event, Method::POST).map(|()| echo::body(event)),
        echo::PATH => echo::join(event),
        counter::PATH => counter::join(event),
        _ => Err(Error::status(StatusCode::NOT_FOUND, "there is nothing here\n")),
    }
}

async fn message(event: MessageEvent<State>) -> Result<(), Error> {
    match event.connection().url().path() {
        echo::PATH => echo::message(event).await,
        chat::PATH => chat::message(&event).await,
        counter::PATH => counter::message(&event).await,
        _ => room::message(&event).await,
    }
}

async fn close(event: CloseEvent<State>) -> Result<(), Error> {
    match event.connection().url().path() {
        chat::PATH => chat::close(&event).await,
        _ => Ok(()),
    }
}

/// A connection comes from another worker.
async fn adopt(event: AdoptEvent<State>) -> Result<(), Error> {
    match event.connection().url().path() {
        chat::PATH => chat::adopt(&event).await,
        _ => Ok(()),
    }
}

/// Refuses a request of another method with 405. HEAD is answered as GET is (RFC 9110 §9.3.2).
fn require(event: &FetchEvent<State>, allowed: Method) -> Result<(), Error> {
    let method = event.request().method();
    if method == allowed || (method == Method::HEAD && allowed == Method::GET) {
        return Ok(());
    }
    // RFC 9110 §15.5.6: a 405 names what is allowed.
    Err(Error::response((StatusCode::METHOD_NOT_ALLOWED, [("allow", allowed.to_string())])))
}

/// The client's mistake, in the words of the error that it caused: 400.
fn bad_request(error: impl Display) -> Error {
    Error::status(StatusCode::BAD_REQUEST, format!("{error}\n"))
}
