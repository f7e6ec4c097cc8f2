//! Clients of the fixture's portable connections, which check every answer: none is missing,
//! doubled, out of order or torn, whichever workers the connection has.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use shovel_tests::{Pool, WebSocket, until};
use tokio::task::JoinHandle;

/// Where such connections are.
pub(crate) const PATH: &str = "/ws/portable";

/// Length of the long one among the parts of an answer.
const LONG: usize = 200 << 10;

/// How much of a message its answer repeats.
const ECHO: usize = 64;

/// A connection, and what was sent and answered on it.
pub(crate) struct Counted {
    pub(crate) socket: WebSocket,
    /// The connection's id.
    pub(crate) id: String,
    unanswered: VecDeque<String>,
    answered: u64,
}

impl Counted {
    /// Connects with this query.
    pub(crate) async fn connect(pool: &Pool, query: &str) -> Counted {
        Self::of(WebSocket::connect(pool.address(), &format!("{PATH}?{query}")).await).await
    }

    /// Asks who it is.
    pub(crate) async fn of(socket: WebSocket) -> Counted {
        let (id, unanswered) = (String::new(), VecDeque::new());
        let mut client = Counted { socket, id, unanswered, answered: 0 };
        let about = client.ask("hello").await;
        about["about"]["id"].as_str().unwrap().clone_into(&mut client.id);
        client
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.socket.send(text).await;
        self.unanswered.push_back(text.to_owned());
    }

    /// Receives the answer to the oldest message without one, with all its parts; returns the last.
    pub(crate) async fn receive(&mut self) -> Value {
        let text = self.unanswered.pop_front().expect("a message without an answer");
        self.answered += 1;
        let parts = if text.starts_with("parts") { 4 } else { 1 };
        let mut pid = None;
        for part in 0..parts {
            let answer = self.socket.next_json().await;
            let of = |field: &str| answer[field].as_u64();
            let long = answer["long"].as_str().map(str::len);
            let expected_long = if part == 2 { LONG } else { 0 };
            let echo = &text[..text.len().min(ECHO)];
            assert_eq!(
                (of("n"), of("seq"), of("part"), answer["echo"].as_str(), long),
                (
                    Some(self.answered),
                    Some(self.answered),
                    Some(part),
                    Some(echo),
                    Some(expected_long)
                ),
            );
            let first = *pid.get_or_insert(of("pid"));
            assert_eq!(of("pid"), first, "one handler's answer is of two workers");
            if part + 1 == parts {
                return answer;
            }
        }
        unreachable!("each answer has a part")
    }

    /// Sends text and returns the answer.
    pub(crate) async fn ask(&mut self, text: &str) -> Value {
        self.send(text).await;
        while self.unanswered.len() > 1 {
            self.receive().await;
        }
        self.receive().await
    }

    /// The process that has the connection.
    pub(crate) async fn pid(&mut self) -> u32 {
        pid_in(&self.ask("who").await)
    }

    /// Receives all answers that are still to come.
    pub(crate) async fn settle(&mut self) {
        while !self.unanswered.is_empty() {
            self.receive().await;
        }
    }
}

/// Two connections beside another, opened before and after it: a worker is told of the moves of all
/// its connections in order, so when both have left, it knows that the one between is to leave.
pub(crate) struct Beside(Vec<Counted>);

impl Beside {
    /// Opens a connection between two others. For pools with one worker.
    pub(crate) async fn open(pool: &Pool, query: &str) -> (Counted, Beside) {
        let before = Counted::connect(pool, "").await;
        let client = Counted::connect(pool, query).await;
        (client, Beside(vec![before, Counted::connect(pool, "").await]))
    }

    /// Waits until the worker with this process has let go of both.
    pub(crate) async fn wait_until_released(&self, pool: &Pool, pid: u32) {
        for client in &self.0 {
            let has_left = |event: &Value| {
                event["event"] == "released" && event["id"] == client.id && event["pid"] == pid
            };
            pool.wait_for_event("another connection's move", has_left).await;
        }
    }
}

/// The process that an answer, or an event, names.
pub(crate) fn pid_in(answer: &Value) -> u32 {
    answer["pid"].as_u64().and_then(|pid| pid.try_into().ok()).expect("a pid")
}

/// Clients that send without a pause, each with two messages under way at any time.
pub(crate) struct Busy {
    over: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    redelivered: Arc<AtomicUsize>,
    longest_pause: Arc<Mutex<Duration>>,
    clients: Vec<JoinHandle<Counted>>,
}

impl Busy {
    /// Each message has these words by turns.
    pub(crate) fn start(clients: Vec<Counted>, words: &'static [&'static str]) -> Busy {
        let over = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(AtomicUsize::new(0));
        let redelivered = Arc::new(AtomicUsize::new(0));
        let longest_pause = Arc::new(Mutex::new(Duration::ZERO));
        let clients = clients
            .into_iter()
            .map(|mut client| {
                let (over, answers) = (over.clone(), answers.clone());
                let (redelivered, longest_pause) = (redelivered.clone(), longest_pause.clone());
                tokio::spawn(async move {
                    let mut words = words.iter().cycle();
                    client.send(words.next().unwrap()).await;
                    let mut answered = Instant::now();
                    while !over.load(Ordering::SeqCst) {
                        client.send(words.next().unwrap()).await;
                        let answer = client.receive().await;
                        answers.fetch_add(1, Ordering::SeqCst);
                        let pause = answered.elapsed();
                        answered = Instant::now();
                        let mut longest = longest_pause.lock().unwrap();
                        *longest = pause.max(*longest);
                        drop(longest);
                        if answer["redelivered"] == true {
                            redelivered.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    client.settle().await;
                    client
                })
            })
            .collect();
        Busy { over, answers, redelivered, longest_pause, clients }
    }

    /// Waits until so many more have been answered.
    pub(crate) async fn wait_for_answers(&self, more: usize) {
        let enough = self.answers.load(Ordering::SeqCst) + more;
        until("answers", || {
            self.answers.load(Ordering::SeqCst) >= enough
                || self.clients.iter().any(JoinHandle::is_finished)
        })
        .await;
    }

    /// How many answers were to messages that had been handed over before.
    pub(crate) fn redelivered(&self) -> usize {
        self.redelivered.load(Ordering::SeqCst)
    }

    /// The longest time that one of them has waited for its next answer.
    pub(crate) fn longest_pause(&self) -> Duration {
        *self.longest_pause.lock().unwrap()
    }

    /// Has them stop, and all answers received.
    pub(crate) async fn finish(self) -> Vec<Counted> {
        self.over.store(true, Ordering::SeqCst);
        let mut clients = Vec::new();
        for client in self.clients {
            clients.push(client.await.unwrap());
        }
        clients
    }
}
