//! Gates: a handler waits at one until the test has made a file of its name.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::tell;

/// The gates that are open.
pub(crate) struct Gates(watch::Sender<HashSet<String>>);

impl Default for Gates {
    fn default() -> Self {
        Gates(watch::Sender::new(HashSet::new()))
    }
}

impl Gates {
    /// Looks for gates that open, for as long as the process lives. One task looks for all
    /// handlers: a thousand may wait.
    pub(crate) fn watch(&self) {
        let Some(folder) = std::env::var_os("FIXTURE_GATES").map(PathBuf::from) else { return };
        let open = self.0.clone();
        tokio::spawn(async move {
            loop {
                let names = std::fs::read_dir(&folder).into_iter().flatten().flatten();
                let names = names.filter_map(|entry| entry.file_name().into_string().ok());
                let names = names.collect::<HashSet<_>>();
                open.send_if_modified(|open| {
                    let changed = *open != names;
                    *open = names;
                    changed
                });
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }

    /// Whether a handler could pass this gate now.
    pub(crate) fn is_open(&self, gate: &str) -> bool {
        self.0.borrow().contains(gate)
    }

    /// Tells that it waits, and waits. Tells too if it is dropped meanwhile.
    pub(crate) async fn pass(&self, gate: &str, connection: Value) {
        let pid = std::process::id();
        tell(json!({"event": "waiting", "gate": gate, "pid": pid, "connection": connection}));
        let mut waiting = Waiting { gate, passed: false };
        let mut open = self.0.subscribe();
        let _ = open.wait_for(|open| open.contains(gate)).await;
        waiting.passed = true;
    }
}

struct Waiting<'a> {
    gate: &'a str,
    passed: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.passed {
            tell(json!({"event": "dropped", "gate": self.gate}));
        }
    }
}
