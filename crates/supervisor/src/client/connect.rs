//! Finding a pool that runs, and asking it.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

use interprocess::local_socket::GenericFilePath;
use interprocess::local_socket::tokio::Stream;
use interprocess::local_socket::tokio::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::admin::place;
use crate::admin::wire::{Answer, Question};

/// How long the pool may take to answer, but for a reload.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("no pool of this user runs (no socket in {0} answers)")]
    NoPool(String),
    #[error("several pools run; say which one by --admin-socket: {0}")]
    Several(String),
    #[error("no pool answers at {path}: {source}")]
    Unreachable { path: String, source: io::Error },
    #[error("the pool has ended before it answered, or does not answer this user")]
    Ended,
    #[error("the pool does not answer")]
    TimedOut,
    #[error("{0}")]
    Refused(String),
    #[error("the pool's answer is not understood: {0}")]
    Strange(serde_json::Error),
    #[error("cannot ask: {0}")]
    Runtime(io::Error),
}

/// The way to a pool.
pub struct PoolClient {
    path: PathBuf,
    runtime: Runtime,
}

impl PoolClient {
    /// To the pool with this socket, or to the only one that runs.
    ///
    /// # Errors
    /// If none runs, or several.
    pub fn to(path: Option<PathBuf>) -> Result<Self, AskError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(AskError::Runtime)?;
        let path = path.map_or_else(|| runtime.block_on(find()), Ok)?;
        Ok(PoolClient { path, runtime })
    }

    /// Asks once. `message` is what the question announces.
    ///
    /// # Errors
    /// If the pool is not there, ends, or says no.
    pub fn ask(&mut self, question: &Question, message: &[u8]) -> Result<Value, AskError> {
        let patience = match question {
            // The pool has deadlines for it.
            Question::Reload => Duration::MAX,
            _ => PATIENCE,
        };
        self.runtime.block_on(async {
            let asked = timeout(patience, ask(&self.path, question, message));
            asked.await.unwrap_or(Err(AskError::TimedOut))
        })
    }
}

/// An answer in the form that is expected.
///
/// # Errors
/// If it has another.
pub fn read<T: DeserializeOwned>(answer: Value) -> Result<T, AskError> {
    serde_json::from_value(answer).map_err(AskError::Strange)
}

/// The only socket of this user that answers.
async fn find() -> Result<PathBuf, AskError> {
    let mut found = Vec::new();
    for path in place::all() {
        // One that refuses was left behind.
        if connect(&path).await.is_ok() {
            found.push(path);
        }
    }
    let names = || found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    match &found[..] {
        [] => Err(AskError::NoPool(place::folder().display().to_string())),
        [path] => Ok(path.clone()),
        [..] => Err(AskError::Several(names().join(", "))),
    }
}

async fn connect(path: &std::path::Path) -> io::Result<Stream> {
    Stream::connect(path.to_fs_name::<GenericFilePath>()?).await
}

async fn ask(
    path: &std::path::Path,
    question: &Question,
    message: &[u8],
) -> Result<Value, AskError> {
    let unreachable = |source| AskError::Unreachable { path: path.display().to_string(), source };
    let stream = connect(path).await.map_err(unreachable)?;
    let mut line = serde_json::to_vec(question).map_err(AskError::Strange)?;
    line.push(b'\n');
    let mut writer = &stream;
    let written = async {
        writer.write_all(&line).await?;
        writer.write_all(message).await
    };
    // A pool that says no need not take all of it.
    let refused = match written.await {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(unreachable(error)),
        written => written.is_err(),
    };
    let mut answer = Vec::new();
    match (&stream).read_to_end(&mut answer).await {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => return Err(unreachable(error)),
        // With bytes of ours left unread the end is a reset, behind the answer.
        _ => {}
    }
    if answer.is_empty() || (refused && !answer.ends_with(b"\n")) {
        return Err(AskError::Ended);
    }
    match serde_json::from_slice(&answer).map_err(AskError::Strange)? {
        Answer::Ok(value) => Ok(value),
        Answer::Error(why) => Err(AskError::Refused(why)),
    }
}
