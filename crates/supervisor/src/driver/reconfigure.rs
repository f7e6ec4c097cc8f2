//! Settings that change while the pool runs.

use std::time::Instant;

use shovel_core::fleet::Event;

use super::Driver;
use crate::config::sources::Reread;

impl Driver {
    /// A reload reads the settings first. Returns what the fleet is to know of it.
    pub(super) fn read_settings_again(&mut self) -> Event {
        match self.sources.read_again(&self.choices) {
            Ok(reread) => {
                self.reconfigure(reread);
                Event::ReloadRequested
            }
            Err(error) => Event::ReloadRefused { why: error.to_string() },
        }
    }

    fn reconfigure(&mut self, reread: Reread) {
        let Reread { effective, changed, kept } = reread;
        kept.iter().for_each(|line| tracing::warn!("{line}"));
        self.choices = effective.choices;
        if changed.is_empty() {
            return;
        }
        tracing::info!(keys = changed.join(" "), "settings changed");
        let mut fleet = effective.config.fleet();
        if effective.config.workers == self.config.workers {
            // The operator may have scaled meanwhile.
            fleet.workers = self.fleet.wanted();
        }
        self.config = effective.config;
        self.fleet.handle_event(Event::Reconfigured { config: fleet }, Instant::now());
        self.tell_settings();
    }
}
