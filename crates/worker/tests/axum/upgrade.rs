//! Upgrades, accepted or not.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::{HeaderValue, StatusCode, header};
use shovel_protocol::ToWorker;
use shovel_worker::axum::WebSocketUpgrade;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::trace::TraceLayer;

use crate::harness::{self, REQUEST};
use crate::{ECHOES, REFUSED, routes, start, upgrade, upgrade_request};

/// A3.
#[tokio::test]
async fn a_refusal_by_middleware_reaches_the_client_and_fails_the_upgrade() {
    async fn refuse(request: Request, next: Next) -> Response {
        let _discarded = next.run(request).await;
        (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], "who?").into_response()
    }
    let (router, _state, mut heard) = routes();
    let mut supervisor = start(router.layer(middleware::from_fn(refuse))).await;
    for path in REFUSED {
        supervisor.send(&[upgrade_request(path)]).await;
        assert_eq!(supervisor.response().await, (401, b"who?".to_vec()), "{path}");
        assert_eq!(heard.next().await, "failed", "{path}");
    }
    supervisor.shut_down().await;
}

/// A9.
#[tokio::test]
async fn a_client_that_leaves_in_mid_handshake_fails_the_upgrade() {
    async fn pause(State(state): State<harness::State>, request: Request, next: Next) -> Response {
        let response = next.run(request).await;
        state.notes.say("upgraded");
        std::future::pending::<()>().await;
        response
    }
    let (router, state, mut heard) = routes();
    let router = router.layer(middleware::from_fn_with_state(state, pause));
    let mut supervisor = start(router).await;
    for path in REFUSED {
        supervisor.send(&[upgrade_request(path)]).await;
        assert_eq!(heard.next().await, "upgraded", "{path}");
        supervisor.send(&[ToWorker::Cancel { request: REQUEST }]).await;
        assert_eq!(heard.next().await, "failed", "{path}");
    }
    supervisor.shut_down().await;
}

/// A6.
#[tokio::test]
async fn headers_that_middleware_adds_are_on_the_101_and_none_of_the_handshake() {
    for path in ECHOES {
        let (router, ..) = routes();
        let router = router
            .layer(CompressionLayer::new())
            .layer(CorsLayer::permissive())
            .layer(TraceLayer::new_for_http());
        let mut supervisor = start(router).await;
        let (_, headers) = upgrade(&mut supervisor, path).await;
        assert!(headers.iter().any(|name| name == "access-control-allow-origin"), "{headers:?}");
        for handshake in ["connection", "upgrade", "sec-websocket-accept", "content-length"] {
            assert!(!headers.iter().any(|name| name == handshake), "{path} {headers:?}");
        }
    }
}

/// A2.
#[tokio::test]
async fn an_ordinary_request_to_a_websocket_s_route_is_told_to_upgrade() {
    let router = Router::new().route("/", any(async |_upgrade: WebSocketUpgrade| StatusCode::OK));
    let mut supervisor = start(router).await;
    supervisor.get(REQUEST, "/").await;
    let (status, body) = supervisor.response().await;
    assert_eq!(status, 426);
    assert!(String::from_utf8(body).unwrap().contains("upgrade"));
    supervisor.shut_down().await;
}

/// A7.
#[tokio::test]
async fn a_subprotocol_that_is_not_offered_fails_the_upgrade() {
    let router = Router::new().route(
        "/",
        any(async |mut upgrade: WebSocketUpgrade| {
            let requested: Vec<_> = upgrade.requested_protocols().cloned().collect();
            assert_eq!(requested, ["v2", "v1"]);
            upgrade.set_selected_protocol(HeaderValue::from_static("v3"));
            upgrade.on_upgrade(async |_socket| panic!("it was refused"))
        }),
    );
    let mut supervisor = start(router).await;
    supervisor.send(&[upgrade_request("/")]).await;
    assert_eq!(supervisor.response().await.0, 500);
    supervisor.shut_down().await;
}
