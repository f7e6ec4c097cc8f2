//! Bodies that stream, clients that leave.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use shovel_tests::{Http, Pool, body_of, get, request, resident_bytes, within};
use tokio::sync::mpsc;

const GROWTH_ALLOWED_BYTES: u64 = 64 << 20;
const CHUNK: &[u8] = &[b'x'; 64 * 1024];

fn post_of(
    path: &str,
) -> (
    mpsc::Sender<Bytes>,
    Request<impl http_body::Body<Data = Bytes, Error = std::convert::Infallible> + Send + use<>>,
) {
    let (parts, body) = mpsc::channel(1);
    let request = Request::post(path).header("host", "a").body(body_of(body)).unwrap();
    (parts, request)
}

async fn next_data(body: &mut Incoming) -> Option<Bytes> {
    let frame = within("a part of the body", body.frame()).await?.expect("a whole body");
    Some(frame.into_data().expect("data"))
}

/// Watches memory while something passes, and remembers the most.
struct Watch {
    pids: Vec<u32>,
    before: Vec<u64>,
    most: Vec<u64>,
}

impl Watch {
    fn over(pool: &Pool) -> Watch {
        let mut pids = vec![pool.pid()];
        pids.extend(pool.workers().iter().map(|worker| worker.pid));
        let before = pids.iter().map(|pid| resident_bytes(*pid)).collect::<Vec<_>>();
        Watch { pids, most: before.clone(), before }
    }

    fn look(&mut self) {
        for (pid, most) in self.pids.iter().zip(&mut self.most) {
            *most = resident_bytes(*pid).max(*most);
        }
    }

    fn assert_little_growth(mut self) {
        self.look();
        for ((pid, before), most) in self.pids.iter().zip(&self.before).zip(&self.most) {
            let grown = most - before;
            assert!(grown < GROWTH_ALLOWED_BYTES, "process {pid} grew by {grown} bytes");
        }
    }
}

in_both_modes!(the_first_part_arrives_before_the_last_is_made);
/// D30.
async fn the_first_part_arrives_before_the_last_is_made(pool: Pool) {
    let mut http = Http::connect(pool.address()).await;
    let answer = http.stream(request(Method::GET, "/stream?gate=last", "")).await.unwrap();
    let mut body = answer.into_body();
    assert_eq!(next_data(&mut body).await.unwrap(), "first\n");
    pool.open_gate("last");
    assert_eq!(next_data(&mut body).await.unwrap(), "last\n");
    assert!(next_data(&mut body).await.is_none());
}

in_both_modes!(a_body_is_echoed_part_by_part_while_it_is_sent);
/// D30.
async fn a_body_is_echoed_part_by_part_while_it_is_sent(pool: Pool) {
    let mut http = Http::connect(pool.address()).await;
    let (parts, request) = post_of("/mirror");
    let mut body = http.stream(request).await.unwrap().into_body();
    for number in 0..5 {
        let part = Bytes::from(format!("part {number}"));
        parts.send(part.clone()).await.unwrap();
        assert_eq!(next_data(&mut body).await.unwrap(), part);
    }
    drop(parts);
    assert!(next_data(&mut body).await.is_none());
}

in_both_modes!(an_upload_of_a_gibibyte_passes_in_bounded_memory);
/// D30.
async fn an_upload_of_a_gibibyte_passes_in_bounded_memory(pool: Pool) {
    let mut watch = Watch::over(&pool);
    let (parts, request) = post_of("/count");
    let mut http = Http::connect(pool.address()).await;
    let sending = tokio::spawn(async move { http.send(request).await.unwrap() });
    for number in 0..(1 << 30) / CHUNK.len() {
        within("room to upload", parts.send(Bytes::from_static(CHUNK))).await.unwrap();
        if number % 256 == 0 {
            watch.look();
        }
    }
    drop(parts);
    assert_eq!(sending.await.unwrap().text(), (1 << 30).to_string());
    watch.assert_little_growth();
}

in_both_modes!(a_download_of_a_gibibyte_passes_in_bounded_memory);
/// D30.
async fn a_download_of_a_gibibyte_passes_in_bounded_memory(pool: Pool) {
    let mut watch = Watch::over(&pool);
    let mut http = Http::connect(pool.address()).await;
    let path = format!("/produce?bytes={}", 1 << 30);
    let mut body = http.stream(request(Method::GET, &path, "")).await.unwrap().into_body();
    let (mut bytes, mut looked_at) = (0, 0);
    while let Some(data) = next_data(&mut body).await {
        assert!(data.iter().step_by(4096).all(|byte| *byte == b'x'));
        bytes += data.len();
        if bytes - looked_at > 16 << 20 {
            looked_at = bytes;
            watch.look();
        }
    }
    assert_eq!(bytes, 1 << 30);
    watch.assert_little_growth();
}

in_both_modes!(a_download_that_nobody_reads_is_held_back);
/// D30: a client that does not read holds the worker back instead of filling memory.
async fn a_download_that_nobody_reads_is_held_back(pool: Pool) {
    let watch = Watch::over(&pool);
    let mut http = Http::connect(pool.address()).await;
    let path = format!("/produce?bytes={}", 1 << 30);
    let mut body = http.stream(request(Method::GET, &path, "")).await.unwrap().into_body();
    next_data(&mut body).await.unwrap();
    for _ in 0..50 {
        assert_eq!(get(pool.address(), "/info").await.status, 200, "others go on");
    }
    watch.assert_little_growth();
}

in_both_modes!(a_client_that_leaves_has_its_handler_dropped);
/// D31.
async fn a_client_that_leaves_has_its_handler_dropped(pool: Pool) {
    let mut http = Http::connect(pool.address()).await;
    let asking =
        tokio::spawn(
            async move { http.get("/gated?gate=never").await.map(|answer| answer.status) },
        );
    pool.wait_at_gate("never").await;
    let left = Instant::now();
    asking.abort();
    let _ = asking.await;
    pool.wait_for_event("the end of the handler", |event| event["event"] == "dropped").await;
    // Promised are 100 ms; the machine that tests may be busy.
    assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());
}

in_both_modes!(a_client_that_leaves_in_mid_response_has_its_stream_dropped);
/// D31.
async fn a_client_that_leaves_in_mid_response_has_its_stream_dropped(pool: Pool) {
    let mut http = Http::connect(pool.address()).await;
    let answer = http.stream(request(Method::GET, "/stream?gate=never", "")).await.unwrap();
    let mut body = answer.into_body();
    assert_eq!(next_data(&mut body).await.unwrap(), "first\n");
    pool.wait_at_gate("never").await;
    drop((body, http));
    pool.wait_for_event("the end of the stream", |event| event["event"] == "dropped").await;
}
