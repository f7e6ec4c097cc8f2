//! Reloads that nobody asks for: the program has changed, or a build has ended well.

use shovel_core::fleet::Event;
use shovel_protocol::Generation;

use super::Driver;
use crate::watch::{Watch, Watched};
use crate::worker::image::Image;

/// The first generation waits for the first build that ends well, however many fail before.
const FIRST: Generation = Generation(1);

/// What is watched, and what waits for it.
#[derive(Default)]
pub struct Development {
    watch: Option<Watch>,
    /// Generations whose program is being built.
    unbuilt: Vec<Generation>,
}

impl Development {
    /// `watch`: if anything is.
    pub fn new(watch: Option<Watch>) -> Self {
        Development { watch, unbuilt: Vec::new() }
    }

    /// What happens next to what is watched.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Watched {
        match &mut self.watch {
            Some(watch) => watch.next().await,
            None => std::future::pending().await,
        }
    }

    /// Whether this process is a build.
    pub fn awaits(&self, pid: u32) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.awaits(pid))
    }

    /// Nothing is loaded or built any more.
    pub fn stop(&mut self) {
        self.unbuilt.clear();
        self.watch.iter_mut().for_each(Watch::stop);
    }
}

impl Driver {
    /// Copies the program, unless it is being built just now: then as soon as it is.
    pub(super) fn load_image(&mut self, generation: Generation) {
        if self.development.watch.as_ref().is_some_and(Watch::is_building) {
            self.development.unbuilt.push(generation);
            return;
        }
        let (program, args) = (self.config.program.clone(), self.config.args.clone());
        self.loading.spawn_blocking(move || (generation, Image::load(program, args)));
        self.development.watch.iter_mut().for_each(|watch| watch.hold(true));
    }

    /// A copy is made, or could not be.
    pub(super) fn on_copied(&mut self) {
        let is_copied = !self.loading.is_empty();
        self.development.watch.iter_mut().for_each(|watch| watch.hold(is_copied));
    }

    /// What the fleet is to know of it.
    pub(super) fn on_watched(&mut self, watched: Watched) -> Vec<Event> {
        let unbuilt = std::mem::take(&mut self.development.unbuilt);
        match watched {
            Watched::Changed => vec![Event::ReloadRequested],
            Watched::Built if unbuilt.is_empty() => vec![Event::ReloadRequested],
            Watched::Built => {
                unbuilt.into_iter().for_each(|generation| self.load_image(generation));
                Vec::new()
            }
            Watched::BuildFailed => {
                let (first, later) = unbuilt.into_iter().partition(|one| *one == FIRST);
                self.development.unbuilt = first;
                let failed = |generation| {
                    let why = "the build failed".to_owned();
                    Event::ImageFailed { generation, why }
                };
                later.into_iter().map(failed).collect()
            }
        }
    }
}
