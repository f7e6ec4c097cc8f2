//! Clients that ask without a pause and never try again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::Method;
use shovel_tests::{Http, request, until};
use tokio::task::JoinHandle;

/// Such clients of a pool that is reloaded: one failed request fails the test.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Half of the clients keep their connections, half open one for each request.
    pub(crate) fn start(address: SocketAddr, clients: usize, last_label: &'static str) -> Load {
        let (over, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients = (0..clients)
            .map(|number| {
                let (over, answers) = (over.clone(), answers.clone());
                tokio::spawn(ask_until_over(address, number % 2 == 0, last_label, over, answers))
            })
            .collect();
        Load { over, answers, clients }
    }

    /// Waits until so many more have been answered.
    pub(crate) async fn wait_for_answers(&self, more: usize) {
        let enough = self.answers.load(Ordering::Relaxed) + more;
        until("answers", || self.answers.load(Ordering::Relaxed) >= enough).await;
    }

    /// The last reload is over: from now on all answers must have the last label.
    pub(crate) async fn finish(self) {
        self.over.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.await.unwrap();
        }
    }
}

async fn ask_until_over(
    address: SocketAddr,
    kept: bool,
    last_label: &'static str,
    over: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
) {
    let mut http = Http::connect(address).await;
    let mut asked_since = 0;
    let mut number = 0_usize;
    while asked_since < 5 {
        let is_over = over.load(Ordering::SeqCst);
        number += 1;
        if !kept || http.is_closed() {
            http = Http::connect(address).await;
        }
        if number.is_multiple_of(3) {
            let answer = http.send(request(Method::POST, "/count", "12345")).await.unwrap();
            assert_eq!((answer.status.as_u16(), answer.text()), (200, "5"));
        } else {
            let answer = http.get("/info").await.unwrap();
            assert_eq!(answer.status, 200);
            if is_over {
                assert_eq!(answer.json()["label"], last_label);
                asked_since += 1;
            }
        }
        answers.fetch_add(1, Ordering::Relaxed);
    }
}
