//! The cases of BEHAVIOUR, group by group, against the shipped programs: a real `shovel-pool`, real
//! worker processes, real clients. Each test's comment names its number.
//!
//! One program with a module per topic rather than one program each: it is linked once.

/// Makes two tests of a function that is given a running app: behind a supervisor, and by itself.
/// For the cases that BEHAVIOUR marks (D). The options are those of the fixture app, unless others
/// are given; of their flags an app by itself has those that it knows as variables.
macro_rules! in_both_modes {
    ($body:ident) => {
        in_both_modes!($body, Options::app());
    };
    ($body:ident, $options:expr) => {
        mod $body {
            use shovel_tests::{Options, Pool};

            #[tokio::test]
            async fn in_the_pool() {
                super::$body(Pool::start($options).await).await;
            }

            #[tokio::test]
            async fn alone() {
                super::$body(Pool::start($options.alone()).await).await;
            }
        }
    };
}

mod a_upgrade;
mod a_upgrade_faults;
mod b_close;
mod b_limits;
mod b_messages;
mod b_slow;
mod c_channels;
mod c_chat;
mod cli;
mod counted;
mod cut_short;
mod d_bodies;
mod d_http;
mod d_malformed;
mod d_rogue;
mod d_timeouts;
mod e_crash;
mod e_recycle;
mod e_start;
mod e_workers;
mod examples;
mod f_reload;
mod f_reload_faults;
mod f_reload_sockets;
mod f_terminate;
mod f_terminate_faults;
mod flood;
mod g_attachment;
mod g_checker;
mod g_close;
mod g_crash;
mod g_deadlines;
mod g_offer;
mod g_quarantine;
mod g_reload;
mod g_sleep;
mod h_descriptors;
mod h_limits;
mod i_admin_socket;
mod i_configuration;
mod i_metrics;
mod i_metrics_moves;
mod i_metrics_refusals;
mod i_operate;
mod k_development;
mod load;
mod log_access;
mod log_closes;
mod log_output;
mod log_unread;
mod python;
mod service_container;
mod service_init;
mod service_notify;
mod service_sockets;
mod transfer;
mod watched;

use shovel_tests::{Pool, WebSocket};

/// Connects until each worker of the pool owns a connection; returns one of each, by pid. An app by
/// itself is its only worker.
async fn connection_on_each_worker(pool: &Pool, path: &str, workers: usize) -> Vec<Owned> {
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
struct Owned {
    socket: WebSocket,
    id: String,
    pid: u32,
}
