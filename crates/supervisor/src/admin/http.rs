//! The admin address: what monitors ask for over HTTP. It tells and changes nothing.
//!
//! One request for each connection, so that nobody keeps one: clients are few, and ask seldom. When
//! there are too many, the one that came first has to leave, so that those who say nothing, or read
//! nothing, keep nobody out.

use std::collections::VecDeque;
use std::net::TcpListener as Bound;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST};
use axum::http::{HeaderValue, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::desk::NoAnswer;
use super::hosts::Hosts;
use super::status::{self, Snapshot};
use super::{Admin, metrics};
use shovel_core::fleet::{WorkerState, WorkerView};
use shovel_scribe::plain::plain_json;

/// Most clients at once. One has an answer within milliseconds, so that it has long left when as
/// many others have come, however fast they do.
const CLIENTS: usize = 128;

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
    let (router, mut clients) = (router(admin), VecDeque::<AbortHandle>::new());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                clients.retain(|client| !client.is_finished());
                if clients.len() == CLIENTS
                    && let Some(first) = clients.pop_front()
                {
                    first.abort();
                }
                clients.push_back(tokio::spawn(answer(stream, router.clone())).abort_handle());
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a client of the admin address");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE_WITH_HEADS)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // A client that breaks off or is slow matters to nobody else.
    let _ = timeout(PATIENCE, connection).await;
}

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
