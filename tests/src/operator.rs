//! Subcommands, as an operator uses them.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::options::RUNTIME_FOLDER;
use crate::{Pool, program, within};

/// What a subcommand told.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub out: String,
    /// What it wrote to stderr.
    pub err: String,
}

/// Runs `shovel-pool` with these arguments, with admin sockets in this folder.
///
/// # Panics
/// If it does not end soon.
pub async fn operate(runtime: &Path, arguments: &[&str]) -> Told {
    Told::of("a subcommand", command(runtime, arguments), b"").await
}

fn command(runtime: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("shovel-pool"));
    command.args(arguments).env(RUNTIME_FOLDER, runtime).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Told {
    async fn of(what: &str, mut command: Command, stdin: &[u8]) -> Told {
        let mut child = command.spawn().expect("start of a subcommand");
        let mut input = child.stdin.take().expect("piped");
        // One that does not read it has ended.
        let _ = input.write_all(stdin).await;
        drop(input);
        let output = within(what, child.wait_with_output()).await.expect("its output");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Told { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// What it wrote to stdout, after success.
    ///
    /// # Panics
    /// If it has failed.
    pub fn text(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        &self.out
    }

    /// The JSON that it wrote to stdout, after success.
    ///
    /// # Panics
    /// If it has failed, or that is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(self.text()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The one line that it wrote to stderr, after failure.
    ///
    /// # Panics
    /// If it has not failed, or wrote anything else.
    pub fn failure(&self) -> &str {
        assert_eq!((self.code, &*self.out), (Some(1), ""), "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        self.err.trim_end()
    }
}

impl Pool {
    /// Runs a subcommand that finds this pool by itself.
    pub async fn operate(&self, arguments: &[&str]) -> Told {
        operate(&self.runtime, arguments).await
    }

    /// As [`Pool::operate`], with something to read on stdin.
    pub async fn operate_with(&self, arguments: &[&str], stdin: &[u8]) -> Told {
        Told::of("a subcommand", command(&self.runtime, arguments), stdin).await
    }

    /// As [`Pool::operate`], in a task of its own: its outcome comes later.
    pub fn begin(&self, arguments: &[&str]) -> tokio::task::JoinHandle<Told> {
        let command = command(&self.runtime, arguments);
        tokio::spawn(async { Told::of("a subcommand", command, b"").await })
    }

    /// Its status.
    pub async fn status(&self) -> Value {
        self.operate(&["status", "--json"]).await.json()
    }
}
