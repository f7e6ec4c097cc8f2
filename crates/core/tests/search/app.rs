//! The app of the small world: it counts the messages of a connection, answers each with the count,
//! and attaches it.

use shovel_core::tenure::{Attach, Deed, Destination, Refused, Tenure};
use shovel_protocol::LeaseId;

use crate::frames::{AppState, Effect, Up};
use crate::sdk::{Object, Running};
use crate::witness::{Step, Violation};
use crate::world::Config;

/// Of a message, whatever it says.
pub const BYTES: usize = 1;

impl Object {
    pub fn new(connection: u8, lease: LeaseId) -> Self {
        Object {
            connection,
            lease,
            tenure: Tenure::offered(),
            app: AppState::default(),
            done: 0,
            running: None,
            has_flushed: false,
            was_asked: false,
        }
    }

    pub fn begin_fetch(&mut self, config: &Config) {
        self.running = Some(Running::Fetch);
        if !config.adopts {
            return;
        }
        self.tenure.make_portable();
        if config.attach_from == 0
            && let Attach::Offered(acts, _) = self.tenure.attach(self.app)
        {
            acts.0.push(Effect::Attach(self.app));
        }
    }

    /// Whether the running handler has something to send that its client does not take.
    pub fn must_wait(&self) -> bool {
        matches!(self.running, Some(Running::Message(_)))
            && self.tenure.clone().act(Deed::Send { bytes: BYTES }) == Err(Refused::Pressed)
    }

    pub fn answer(&mut self, config: &Config, seq: u8, frames: &mut Vec<Up>) -> Step {
        self.app.handled = seq;
        if config.adopts && (self.tenure.attachment().is_some() || config.attach_from == seq) {
            self.attach(frames);
        }
        let answer = Effect::Send { message: seq, handled: seq };
        self.act(Deed::Send { bytes: BYTES }, answer, frames)?;
        if config.app_closes == seq {
            self.act(Deed::Close, Effect::Close, frames)?;
        }
        Ok(())
    }

    pub fn attach(&mut self, frames: &mut Vec<Up>) {
        let effect = Effect::Attach(self.app);
        match self.tenure.attach(self.app) {
            Attach::Now(_) => frames.push(Up::Now { effect, during: false }),
            Attach::Offered(acts, _) => acts.0.push(effect),
            Attach::AtEnd | Attach::Nowhere | Attach::NotPortable => {}
        }
    }

    pub fn act(&mut self, deed: Deed, effect: Effect, frames: &mut Vec<Up>) -> Step {
        match self.tenure.act(deed) {
            Ok(Destination::Now) => frames.push(Up::Now { effect, during: false }),
            Ok(Destination::Staged(staged) | Destination::Offered(staged)) => staged.0.push(effect),
            Ok(Destination::Full(_)) => return Err(Violation("too much is staged".to_string())),
            // The client has gone, or was dismissed by the app.
            Err(Refused::Closed) => {}
            Err(refused @ (Refused::Pressed | Refused::TooMuch | Refused::Moved)) => {
                return Err(Violation(format!("a handler may not act: {refused:?}")));
            }
        }
        Ok(())
    }
}
