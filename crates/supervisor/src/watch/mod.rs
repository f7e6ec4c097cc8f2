//! For development: sees when the program changes, or builds it when its sources do, and says when
//! to reload.
//!
//! The walk: [`files`] tells what changes on disk -> [`settling`] when a program is whole, [`plan`]
//! when to build -> [`build`] runs the command -> [`Watched`] for the driver, which reloads. Nothing
//! here knows of workers.

mod build;
mod files;
mod plan;
mod settling;

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until};

use self::build::{Build, Built};
use self::files::{Change, Files, What};
use self::plan::{Plan, Step};
use self::settling::{Fingerprint, Settling};
use crate::config::Config;
use crate::worker::descriptors::Limit;
use crate::worker::image;

/// How often to look at the program though nothing was said of it.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What the driver is to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// There is something new to load.
    Changed,
    /// A build has ended well.
    Built,
    /// A build has failed; its words are in the log.
    BuildFailed,
}

/// Watches what the operator has named.
#[derive(Debug)]
pub struct Watch {
    files: Files,
    program: Option<Program>,
    /// When sources that need no build have been quiet.
    sources_due: Option<Instant>,
    builder: Option<Builder>,
    look: Interval,
    is_stopped: bool,
}

/// The program, where no build says when it is new.
#[derive(Debug)]
struct Program {
    path: PathBuf,
    settling: Settling,
}

#[derive(Debug)]
struct Builder {
    command: OsString,
    /// What builds make, which is no source wherever it lies.
    program: PathBuf,
    plan: Plan,
    build: Option<Build>,
    colours: bool,
    limit: Option<Limit>,
}

impl Watch {
    /// Begins to watch, and to build, if the operator wants that. `colours`: what a build says is
    /// shown on a terminal.
    ///
    /// # Errors
    /// What cannot be watched, and why not.
    pub fn start(
        config: &Config,
        colours: bool,
        limit: Option<Limit>,
    ) -> anyhow::Result<Option<Self>> {
        if !config.is_watched() {
            return Ok(None);
        }
        let mut files = Files::new().context("cannot watch files")?;
        let program = image::find(&config.program).unwrap_or_else(|_| (&config.program).into());
        let program = std::path::absolute(program).context("cannot watch the program")?;
        for path in config.sources() {
            let path =
                std::path::absolute(&path).with_context(|| format!("cannot watch {path:?}"))?;
            files.watch_sources(&path)?;
        }
        let (mut watched, mut builder) = (None, None);
        match &config.build {
            Some(command) => {
                let (command, plan) = (command.clone(), Plan::default());
                builder = Some(Builder { command, program, plan, build: None, colours, limit });
            }
            None => {
                let settling = Settling::new(Fingerprint::of(&program));
                let program = Program { path: program, settling };
                program.watch(&mut files);
                watched = Some(program);
            }
        }
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if let Some(builder) = &mut builder {
            builder.plan.build_first();
            builder.start();
        }
        let (program, sources_due) = (watched, None);
        Ok(Some(Watch { files, program, sources_due, builder, look, is_stopped: false }))
    }

    /// Whether the program may not be whole.
    pub fn is_building(&self) -> bool {
        self.builder.as_ref().is_some_and(|builder| builder.plan.is_building())
    }

    /// Whether the program is being copied: no build may write over it then.
    pub fn hold(&mut self, is_copied: bool) {
        if let Some(builder) = &mut self.builder {
            builder.plan.hold(is_copied);
        }
    }

    /// Whether this process is a build.
    pub fn awaits(&self, pid: u32) -> bool {
        let build = self.builder.as_ref().and_then(|builder| builder.build.as_ref());
        build.is_some_and(|build| build.pid() == Some(pid))
    }

    /// Has nothing more to say, and the build that runs is to end; it is killed when this is
    /// dropped.
    pub fn stop(&mut self) {
        self.is_stopped = true;
        if let Some(build) = self.builder.as_ref().and_then(|builder| builder.build.as_ref()) {
            build.terminate();
        }
    }

    /// What happens next.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Watched {
        if self.is_stopped {
            std::future::pending::<()>().await;
        }
        loop {
            let deadline = self.deadline();
            let build = self.builder.as_mut().and_then(|builder| builder.build.as_mut());
            // Cancel-safe: the queue keeps changes, a build goes on, the others only wait.
            let watched = tokio::select! {
                change = self.files.next() => {
                    self.on_change(change);
                    None
                }
                built = ended(build) => Some(self.on_built(built)),
                () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {
                    self.on_deadline(Instant::now())
                }
                _ = self.look.tick(), if self.program.is_some() => {
                    self.look_around();
                    None
                }
            };
            if let Some(watched) = watched {
                return watched;
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let settling = self.program.as_ref().and_then(|program| program.settling.deadline());
        let build = self.builder.as_ref().and_then(|builder| builder.plan.deadline());
        [settling, build, self.sources_due].into_iter().flatten().min()
    }

    fn on_change(&mut self, change: Change) {
        let now = Instant::now();
        if let Some(program) = &mut self.program
            && (change.path == program.path || change.what == What::Anything)
        {
            program.settling.on_change(change.what, now);
            return;
        }
        if change.what == What::Touched || !self.files.is_source(&change) {
            return;
        }
        match &mut self.builder {
            Some(builder) => builder.on_source(change.path, now),
            None => self.sources_due = Some(now + plan::QUIET),
        }
    }

    fn on_deadline(&mut self, now: Instant) -> Option<Watched> {
        let mut is_changed = self.sources_due.take_if(|due| *due <= now).is_some();
        if let Some(Program { path, settling }) = &mut self.program
            && settling.deadline().is_some_and(|at| at <= now)
        {
            is_changed |= settling.look(Fingerprint::of(path), now);
        }
        if let Some(builder) = &mut self.builder {
            builder.take_step(now);
        }
        is_changed.then_some(Watched::Changed)
    }

    /// The folder of the program may be another one by now, which is not watched.
    fn look_around(&mut self) {
        let Some(program) = &mut self.program else { return };
        program.settling.notice(Fingerprint::of(&program.path), Instant::now());
        if program.settling.deadline().is_some() {
            program.watch(&mut self.files);
        }
    }

    fn on_built(&mut self, built: Built) -> Watched {
        if let Some(builder) = &mut self.builder {
            builder.build = None;
            builder.plan.on_ended(Instant::now());
        }
        let Built { status, took, output } = built;
        let why = match status {
            Ok(status) if status.success() => {
                tracing::info!(?took, "built");
                return Watched::Built;
            }
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        for line in output.lines() {
            tracing::error!(line, "build output");
        }
        tracing::error!(?took, why, "build failed");
        Watched::BuildFailed
    }
}

impl Program {
    /// Its folder may not be there yet: it is looked for from time to time anyhow.
    fn watch(&self, files: &mut Files) {
        if let Err(error) = files.watch_file(&self.path) {
            tracing::debug!("{error}");
        }
    }
}

impl Builder {
    fn on_source(&mut self, path: PathBuf, now: Instant) {
        if path == self.program {
            return;
        }
        // Without a path it may be any file: never as it was before.
        let is_any = path.as_os_str().is_empty();
        let content = || if is_any { Some(fastrand::u64(..)) } else { hash_of(&path) };
        self.plan.on_change(path.clone(), content, now);
    }

    fn take_step(&mut self, now: Instant) {
        match self.plan.step(now) {
            None => {}
            Some(Step::Build) => self.start(),
            Some(Step::BreakChain { file }) => tracing::warn!(
                "each build changes a source, {} for one; the next build waits for another change",
                file.display()
            ),
        }
    }

    fn start(&mut self) {
        tracing::info!(command = %self.command.display(), "building");
        match Build::start(&self.command, self.colours, self.limit) {
            Ok(build) => self.build = Some(build),
            Err(error) => {
                tracing::error!(%error, "the build could not be started");
                self.plan.on_ended(Instant::now());
            }
        }
    }
}

/// Never, if there is no build.
async fn ended(build: Option<&mut Build>) -> Built {
    match build {
        Some(build) => build.ended().await,
        None => std::future::pending().await,
    }
}

/// Tells what a file holds from what it held. Large ones are not read: they count as changed each
/// time that they are written.
fn hash_of(path: &Path) -> Option<u64> {
    const LARGE: u64 = 1024 * 1024;
    let mut hasher = DefaultHasher::new();
    let found = std::fs::metadata(path).ok()?;
    match found.len() > LARGE {
        true => (found.mtime(), found.mtime_nsec()).hash(&mut hasher),
        false => std::fs::read(path).ok()?.hash(&mut hasher),
    }
    Some(hasher.finish())
}
