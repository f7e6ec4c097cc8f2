//! Connections of which the test knows the owner.

use shovel_tests::{Pool, WebSocket};

/// Connects until each worker of the pool owns a connection; returns one of each, by pid. An app by
/// itself is its only worker.
pub(crate) async fn connection_on_each_worker(
    pool: &Pool,
    path: &str,
    workers: usize,
) -> Vec<Owned> {
    let workers = if pool.is_alone() { 1 } else { workers };
    let mut owned: Vec<Owned> = Vec::new();
    // Kept until the end, so that new ones go to the workers that have fewer.
    let mut surplus = Vec::new();
    for _ in 0..workers * 8 {
        let mut socket = WebSocket::connect(pool.address(), path).await;
        socket.send("info").await;
        let info = loop {
            // What the path asks the fetch handler to send comes first.
            let text = socket.next_text().await;
            match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(info) if info["pid"].is_number() => break info,
                _ => {}
            }
        };
        let (id, pid) = (info["id"].as_str().unwrap().to_owned(), info["pid"].as_u64().unwrap());
        if owned.iter().any(|other| u64::from(other.pid) == pid) {
            surplus.push(socket);
        } else {
            owned.push(Owned { socket, id, pid: pid.try_into().unwrap() });
        }
        if owned.len() == workers {
            return owned;
        }
    }
    panic!("connections went to {} of {workers} workers only:\n{}", owned.len(), pool.log());
}

/// A connection and the worker that owns it.
pub(crate) struct Owned {
    pub(crate) socket: WebSocket,
    pub(crate) id: String,
    pub(crate) pid: u32,
}
