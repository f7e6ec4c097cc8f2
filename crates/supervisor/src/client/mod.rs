//! The subcommands: what an operator asks a pool that runs.
//!
//! The walk: [`Ask`] -> [`connect`] finds the pool and asks it -> [`text`] for people, the answer
//! as it came for machines. [`top`] asks again and again.

mod connect;
mod text;
mod top;

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use serde_json::Value;
use shovel_router::units;
use shovel_scribe::plain::{paragraph, plain_json};

use self::connect::{AskError, PoolClient};
use crate::admin::wire::{
    Connections, ENDING, PAGE, Published, Question, Reloaded, Scaled, Status,
};

/// What is asked of a pool that runs.
#[derive(Debug, Subcommand)]
pub enum Ask {
    /// Show what the pool is and does
    Status(Target),
    /// Show the workers
    Workers(Target),
    /// List WebSockets
    Connections {
        /// Of the worker with this id alone
        #[arg(long, value_name = "ID")]
        worker: Option<u32>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        target: Target,
    },
    /// Load the program anew and wait until that is done: exit 0 if it is, 1 if the old generation
    /// goes on or the pool ends
    Reload(Target),
    /// Change the number of workers, until the pool ends
    Scale {
        /// How many
        #[arg(value_name = "N", value_parser = units::limit)]
        workers: u32,
        #[command(flatten)]
        target: Target,
    },
    /// Publish a message to the subscribers of a channel
    Publish {
        /// The channel
        channel: String,
        /// The message; - or nothing reads it from stdin
        message: Option<OsString>,
        /// Send it as a binary message
        #[arg(long)]
        binary: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Watch the pool
    Top {
        /// How often to look
        #[arg(long, value_name = "DURATION", default_value = "1s")]
        #[arg(value_parser = units::some_duration)]
        interval: Duration,
        #[command(flatten)]
        pool: Pool,
    },
}

/// Which pool, and how to answer.
#[derive(Args, Debug)]
pub struct Target {
    #[command(flatten)]
    pool: Pool,
    /// Answer in JSON, in one line
    #[arg(long)]
    json: bool,
}

/// Which pool is asked.
#[derive(Args, Debug)]
pub struct Pool {
    /// The socket of the pool, if several run or it was given one [variable: SHOVEL_ADMIN_SOCKET]
    #[arg(long, value_name = "PATH")]
    admin_socket: Option<PathBuf>,
}

/// Why a subcommand fails.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("{0}")]
    Output(#[from] std::io::Error),
    #[error("cannot read the message: {0}")]
    Message(std::io::Error),
    #[error("the reload has failed, and the pool goes on as before: {0}")]
    Reload(String),
    #[error("the reload has not finished: {ENDING}")]
    Ending,
}

/// Asks, and tells the answer.
pub fn run(ask: &Ask) -> ExitCode {
    match answer(ask) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that has gone (as `head` does) wants to hear nothing more.
        Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::FAILURE
        }
        Err(failure) => {
            eprintln!("error: {}", paragraph(&failure.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn answer(ask: &Ask) -> Result<(), Failure> {
    match ask {
        Ask::Status(target) => {
            target.tell(target.ask(&Question::Status, &[])?, |status: &Status| text::status(status))
        }
        Ask::Workers(target) => {
            let status = target.ask(&Question::Status, &[])?;
            match target.json {
                true => say_json(&status["workers"]),
                false => target.tell(status, |status: &Status| text::workers(status)),
            }
        }
        Ask::Connections { worker, limit, target } => connections(target, *worker, *limit),
        Ask::Reload(target) => {
            let reloaded = target.ask(&Question::Reload, &[]).map_err(|error| match error {
                AskError::Refused(why) if why == ENDING => Failure::Ending,
                AskError::Refused(why) => Failure::Reload(why),
                error => Failure::Ask(error),
            })?;
            target.tell(reloaded, |reloaded: &Reloaded| text::reloaded(reloaded))
        }
        Ask::Scale { workers, target } => {
            let scaled = target.ask(&Question::Scale { workers: *workers }, &[])?;
            target.tell(scaled, |scaled: &Scaled| text::scaled(scaled))
        }
        Ask::Publish { channel, message, binary, target } => {
            let message = match message {
                Some(message) if message != "-" => message.clone().into_vec(),
                _ => message_from_stdin().map_err(Failure::Message)?,
            };
            let (bytes, binary) = (message.len() as u64, *binary);
            let question = Question::Publish { channel: channel.clone(), binary, bytes };
            let published = target.ask(&question, &message)?;
            target.tell(published, |published: &Published| text::published(published))
        }
        Ask::Top { interval, pool } => Ok(top::run(&mut pool.connect()?, *interval)?),
    }
}

/// Asks page after page.
fn connections(target: &Target, worker: Option<u32>, limit: usize) -> Result<(), Failure> {
    let mut pool = target.pool.connect()?;
    let mut all = Connections::default();
    loop {
        let left = limit - all.connections.len();
        let question = Question::Connections { from: all.next, limit: left.min(PAGE), worker };
        let page: Connections = connect::read(pool.ask(&question, &[])?)?;
        all.connections.extend(page.connections);
        all.next = page.next;
        if all.next.is_none() || all.connections.len() >= limit {
            break;
        }
    }
    match target.json {
        true => say_json(&serde_json::json!(all.connections))?,
        false => say(&text::connections(&all.connections))?,
    }
    if all.next.is_some() {
        eprintln!("there may be more: --limit {}", limit.saturating_mul(10));
    }
    Ok(())
}

fn message_from_stdin() -> std::io::Result<Vec<u8>> {
    let mut message = Vec::new();
    std::io::stdin().lock().read_to_end(&mut message)?;
    Ok(message)
}

impl Target {
    fn ask(&self, question: &Question, message: &[u8]) -> Result<Value, AskError> {
        self.pool.connect()?.ask(question, message)
    }

    fn tell<T: DeserializeOwned>(
        &self,
        answer: Value,
        text: impl Fn(&T) -> String,
    ) -> Result<(), Failure> {
        match self.json {
            true => say_json(&answer),
            false => say(&text(&connect::read(answer)?)),
        }
    }
}

impl Pool {
    fn connect(&self) -> Result<PoolClient, AskError> {
        let variable = || std::env::var_os("SHOVEL_ADMIN_SOCKET").map(PathBuf::from);
        PoolClient::to(self.admin_socket.clone().or_else(variable))
    }
}

/// What others have said does no harm to a terminal.
fn say_json(value: &Value) -> Result<(), Failure> {
    say(&format!("{}\n", plain_json(&value.to_string())))
}

fn say(text: &str) -> Result<(), Failure> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}
