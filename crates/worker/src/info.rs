//! What a worker knows of itself.

/// Which worker this is.
///
/// ```
/// use shovel_worker::{Error, FetchEvent};
///
/// async fn fetch(event: FetchEvent<()>) -> Result<String, Error> {
///     let worker = event.worker();
///     Ok(format!("worker {} of generation {}\n", worker.index, worker.generation))
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// The process.
    pub pid: u32,
    /// Its place in its generation, from 0. A restarted worker takes the index of the one that it
    /// replaces.
    pub index: u32,
    /// The workers of one load of the program, from 1; each reload makes the next.
    pub generation: u32,
    /// Counted up from 1 for as long as the supervisor lives; never reused.
    pub id: u32,
}

impl WorkerInfo {
    /// How the app is run: `"supervised"`, or `"direct"`, without a supervisor. Then index,
    /// generation and id are 0.
    ///
    /// ```
    /// # use shovel_worker::WorkerInfo;
    /// fn log(worker: &WorkerInfo) {
    ///     println!("runs in {} mode, pid {}", worker.mode(), worker.pid);
    /// }
    /// ```
    pub fn mode(&self) -> &'static str {
        match self.generation {
            0 => "direct",
            _ => "supervised",
        }
    }
}
