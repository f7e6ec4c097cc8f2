//! Somebody who asks for a page again and again, and tries nothing twice.

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::client::{Season, Weather};
use super::record::Failed;
use super::words::now;
use crate::{Http, PATIENCE};

/// From one answer to the next request.
const PAUSE: Duration = Duration::from_millis(20);

/// Requests over one socket, before there is another.
const PER_SOCKET: usize = 20;

/// What came of all that was asked.
#[derive(Debug, Default)]
pub struct Asked {
    pub answered: usize,
    pub failed: Vec<Failed>,
}

/// Asks while clients order, until they are to end.
pub async fn ask(address: SocketAddr, mut weather: watch::Receiver<Weather>) -> Asked {
    let mut asked = Asked::default();
    let mut socket = None;
    loop {
        let season = weather.borrow_and_update().season;
        match season {
            Season::Busy | Season::Calm => {}
            // Somebody who asks keeps a worker awake.
            Season::Quiet => {
                let _ = weather.changed().await;
                continue;
            }
            Season::Late | Season::Over => return asked,
        }
        if asked.answered.is_multiple_of(PER_SOCKET) {
            socket = None;
        }
        let from = now();
        let outcome = timeout(PATIENCE * 2, ask_once(address, &mut socket)).await;
        match outcome.unwrap_or_else(|_| Err("no answer".to_owned())) {
            Ok(()) => asked.answered += 1,
            Err(why) => {
                socket = None;
                asked.failed.push(Failed { from, to: now(), why });
            }
        }
        sleep(PAUSE).await;
    }
}

async fn ask_once(address: SocketAddr, socket: &mut Option<Http>) -> Result<(), String> {
    let socket = match socket {
        Some(socket) => socket,
        None => {
            let connected = Http::try_connect(address).await;
            socket.insert(connected.map_err(|error| error.to_string())?)
        }
    };
    let answer = socket.get("/").await.map_err(|error| error.to_string())?;
    match answer.status {
        StatusCode::OK => Ok(()),
        status => Err(status.to_string()),
    }
}
