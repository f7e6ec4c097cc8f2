//! The admin address: what monitors ask for over HTTP. It tells and changes nothing.
//!
//! One request for each connection, so that nobody keeps one: clients are few, and ask seldom. When
//! there are too many, the one that came first has to leave, so that those who say nothing, or read
//! nothing, keep nobody out; one that waits for its answer last.

use std::collections::VecDeque;
use std::net::TcpListener as Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST};
use axum::http::{HeaderValue, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::desk::NoAnswer;
use super::hosts::Hosts;
use super::lingering::{LINGERS, LINGERS_AT_LEAST, linger};
use super::status::{self, Snapshot};
use super::{Admin, metrics};
use shovel_core::fleet::{WorkerState, WorkerView};
use shovel_scribe::plain::plain_json;

/// Most clients at once. Others wait in the system's queue.
const CLIENTS: usize = 128;

/// So long each may stay, however many come, before it asks and once it is answered.
const SHORTEST_STAY: Duration = Duration::from_millis(100);

/// How long a request may take to arrive.
const PATIENCE_WITH_HEADS: Duration = Duration::from_secs(5);

/// How long a client may take altogether.
const PATIENCE: Duration = Duration::from_secs(15);

/// Longest head of a request.
const HEAD_BYTES: usize = 16 * 1024;

/// How long to pause when no descriptor is left.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers clients until the process ends.
pub(super) async fn serve(bound: Bound, admin: Admin) {
    let opened = bound.set_nonblocking(true).and_then(|()| TcpListener::from_std(bound));
    let listener = match opened {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot listen for operators"),
    };
    let (router, mut clients) = (router(admin), Clients::default());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                clients.make_room().await;
                clients.add(stream, &router);
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a client of the admin address");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Those that are connected.
#[derive(Default)]
struct Clients {
    tasks: JoinSet<()>,
    /// The first first.
    here: VecDeque<(Instant, Weak<Client>)>,
}

/// One of them, as those see it who come.
#[derive(Default)]
struct Client {
    leave: Notify,
    /// It has asked and waits for its answer.
    waits: AtomicBool,
}

impl Clients {
    fn add(&mut self, stream: TcpStream, router: &Router) {
        let client = Arc::new(Client::default());
        self.here.push_back((Instant::now(), Arc::downgrade(&client)));
        self.tasks.spawn(serve_one(stream, router.clone(), client));
    }

    /// Waits until one more may come.
    async fn make_room(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        while self.tasks.len() >= CLIENTS {
            self.here.retain(|(_, client)| client.strong_count() > 0);
            let first = self.first_to_leave().map(|(_, at)| at);
            // Cancel-safe: a set of tasks keeps what was not taken, and the other branch only waits.
            tokio::select! {
                _ = self.tasks.join_next() => {}
                () = sleep_until(first.unwrap_or_else(Instant::now)), if first.is_some() => {
                    self.tell_first();
                }
            }
        }
    }

    /// Has the next one leave, if it has not begun to wait for its answer meanwhile.
    fn tell_first(&mut self) {
        let due = self.first_to_leave().filter(|(_, at)| *at <= Instant::now());
        let left = due.and_then(|(place, _)| self.here.remove(place));
        let left = left.and_then(|(_, client)| client.upgrade());
        left.into_iter().for_each(|client| client.leave.notify_one());
    }

    /// The place of the one that has to leave next, and when.
    fn first_to_leave(&self) -> Option<(usize, Instant)> {
        let waits = |client: &Weak<Client>| {
            client.upgrade().is_some_and(|client| client.waits.load(Ordering::Relaxed))
        };
        let stays = |(place, (since, client)): (usize, &(Instant, Weak<Client>))| {
            let stay = if waits(client) { PATIENCE_WITH_HEADS } else { SHORTEST_STAY };
            (place, *since + stay)
        };
        self.here.iter().enumerate().map(stays).min_by_key(|(_, at)| *at)
    }
}

async fn serve_one(mut stream: TcpStream, router: Router, client: Arc<Client>) {
    // Cancel-safe: whoever has to leave is answered no more.
    let patience = tokio::select! {
        () = answer(&mut stream, router, &client) => LINGERS,
        () = client.leave.notified() => LINGERS_AT_LEAST,
    };
    client.waits.store(false, Ordering::Relaxed);
    let _ = stream.shutdown().await;
    tokio::select! {
        () = linger(stream, patience) => {}
        () = client.leave.notified() => {}
    }
}

async fn answer(stream: &mut TcpStream, router: Router, client: &Client) {
    let service = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        client.waits.store(true, Ordering::Relaxed);
        service.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE_WITH_HEADS)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(&mut *stream), service);
    match timeout(PATIENCE, connection).await {
        // Nothing was written to it, so there is room for this.
        Ok(Err(error)) if error.is_timeout() => drop(stream.try_write(TIMED_OUT)),
        // A client that breaks off or is slow matters to nobody else.
        Ok(_) | Err(_) => {}
    }
}

/// For whoever does not ask in time.
const TIMED_OUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

fn router(admin: Admin) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .layer(middleware::map_response(never_kept))
        .layer(middleware::from_fn_with_state(admin.facts.hosts.clone(), only_ours))
        .with_state(admin)
}

/// Answers those alone who ask for a host that is ours.
async fn only_ours(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let named = request.headers().get_all(HOST).iter().map(|host| host.to_str().unwrap_or(""));
    let mut named: Vec<_> = named.collect();
    // Of the absolute form, which a proxy is asked in (RFC 9112 §3.2.2).
    named.extend(request.uri().authority().map(|authority| authority.as_str()));
    // No browser is so old.
    let is_old = named.is_empty() && request.version() == Version::HTTP_10;
    match is_old || (!named.is_empty() && named.iter().all(|host| hosts.include(host))) {
        true => next.run(request).await,
        false => (StatusCode::MISDIRECTED_REQUEST, OTHER_HOST).into_response(),
    }
}

/// What a request for another host is told.
const OTHER_HOST: &str = "this host is not served here: ask by address or as localhost, or name the \
                          host by --admin-host\n";

/// Numbers of a moment are of no use in a cache.
async fn never_kept(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match Snapshot::take(&admin.desk).await {
        Ok(snapshot) => {
            let content_type = [(CONTENT_TYPE, metrics::CONTENT_TYPE)];
            (content_type, metrics::render(snapshot)).into_response()
        }
        Err(error) => unavailable(error),
    }
}

async fn status(State(admin): State<Admin>) -> Response {
    let told = match status::status(&admin).await {
        Ok(status) => serde_json::to_string(&status),
        Err(error) => return unavailable(error),
    };
    match told {
        Ok(json) => {
            let json = plain_json(&json).into_owned();
            ([(CONTENT_TYPE, "application/json")], json).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Whether the pool lives: the driver and all I/O threads answer.
async fn healthz(State(admin): State<Admin>) -> Response {
    match Snapshot::take(&admin.desk).await {
        Ok(_) => "ok\n".into_response(),
        Err(error) => unavailable(error),
    }
}

/// Whether it should be sent requests: a worker is ready, or sleeps until one comes, and the pool is
/// not ending.
async fn readyz(State(admin): State<Admin>) -> Response {
    let view = match admin.desk.view().await {
        Ok(view) => view,
        Err(error) => return unavailable(error),
    };
    let serving = view.generation;
    let serves =
        |worker: &WorkerView| worker.state == WorkerState::Ready && worker.generation == serving;
    let is_ready = view.workers.iter().any(serves) || view.asleep > 0;
    match (view.is_ending, is_ready) {
        (true, _) => unavailable(NoAnswer::Ending),
        (false, false) => unavailable("no worker is ready"),
        (false, true) => "ok\n".into_response(),
    }
}

fn unavailable(why: impl std::fmt::Display) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
}
