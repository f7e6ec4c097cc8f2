//! A worker's side: what ships of the SDK, one [`Tenure`] per lease, and an app around it.

use shovel_core::tenure::{
    Answer, Conclusion, Deed, Next, OnPressure, Outcome, Staging, Tenure, What,
};
use shovel_protocol::LeaseId;

use crate::app::BYTES;
use crate::frames::{AppState, Down, Effect, Marked, ToSupervisor, ToWorker, Up};
use crate::witness::{Seen, Step, Violation, demand};
use crate::world::{Config, Life, World};

/// A connection as a worker knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    pub connection: u8,
    pub lease: LeaseId,
    pub tenure: Tenure<Mail, Staged, AppState>,
    /// What the app remembers of it.
    pub app: AppState,
    /// The last event that it finished.
    pub done: u8,
    pub running: Option<Running>,
    pub has_flushed: bool,
    /// It was asked to give the connection up.
    pub was_asked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Running {
    Fetch,
    Adopt,
    Message(u8),
    Close(u8),
    Release { revoked: bool },
}

/// An event as it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mail {
    Adopt,
    Message(Marked),
    Close(Marked),
}

/// What waits of what was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Staged(pub Vec<Effect>);

impl Staging for Staged {
    fn bytes(&self) -> usize {
        self.0.len()
    }

    fn acts(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

impl World {
    /// The next frame of a worker's link.
    pub fn hear(&mut self, config: &Config, place: usize, seen: &mut Vec<Seen>) -> Step {
        let worker = &mut self.workers[place];
        let ToWorker::To { connection, lease, frame } = worker.down.remove(0) else {
            // It leaves once nothing is left of its connections.
            return Ok(());
        };
        let at = worker.objects.iter().position(|object| object.lease == lease);
        let Some(at) = at else {
            let mut object = Object::new(connection, lease);
            match frame {
                Down::Request => object.begin_fetch(config),
                Down::Adopt { state, committed, pressed } => {
                    seen.push(Seen::Moved);
                    self.begin_adoption(config, &mut object, state, committed, pressed)?;
                }
                // It has been given up: nobody is there to hear of it.
                Down::Cancel
                | Down::Gone
                | Down::Message(_)
                | Down::Close(_)
                | Down::Release
                | Down::Revoke
                | Down::Pressure { .. } => return Ok(()),
            }
            let is_held =
                self.workers[place].objects.iter().any(|its| its.connection == connection);
            demand(!is_held, "it comes to a worker that has it")?;
            self.workers[place].objects.push(object);
            return Ok(());
        };
        let object = &mut worker.objects[at];
        let next = match frame {
            Down::Request | Down::Adopt { .. } => {
                return Err(Violation("a lease is given twice".to_string()));
            }
            Down::Message(marked) => {
                object.tenure.begin(What::Message(marked.seq.into()), Mail::Message(marked))
            }
            Down::Close(marked) => {
                object.tenure.client_gone();
                object.tenure.begin(What::Close(Some(marked.seq.into())), Mail::Close(marked))
            }
            Down::Cancel => {
                if object.tenure.withdraw() {
                    worker.objects.remove(at);
                }
                return Ok(());
            }
            Down::Gone => {
                object.tenure.client_gone();
                worker.objects.remove(at);
                return Ok(());
            }
            Down::Release => {
                object.was_asked = true;
                object.tenure.release()
            }
            Down::Revoke => {
                let is_running = object.tenure.revoke();
                let is_answered = object.running != Some(Running::Adopt) && !object.was_asked;
                seen.extend(is_answered.then_some(Seen::Crossed));
                if !is_running && config.hasty { object.tenure.release() } else { None }
            }
            Down::Pressure { over } => {
                if object.tenure.press(over) == OnPressure::Answer {
                    worker.up.push(ToSupervisor { connection, lease, frame: Up::Pressed });
                }
                None
            }
        };
        self.go_on(config, place, at, next, seen)
    }

    fn begin_adoption(
        &self,
        config: &Config,
        object: &mut Object,
        state: AppState,
        committed: u8,
        pressed: bool,
    ) -> Step {
        let expected = self.client(object.connection).witness.handled_by(committed);
        let has_closed = config.app_closes != 0 && state.handled >= config.app_closes;
        let is_whole = state.handled == expected || has_closed;
        demand(is_whole, "the attachment is not that of the prefix")?;
        object.tenure = Tenure::adopted(committed.into(), pressed, state);
        object.app = state;
        object.done = committed;
        let next = object.tenure.begin(What::Adopt, Mail::Adopt);
        demand(next == Some(Next::Handle(Mail::Adopt)), "an adoption does not begin")?;
        object.running = Some(Running::Adopt);
        self.is_alone_to_handle(object.connection)
    }

    /// Begins what is next, and what follows if there is nothing to handle.
    fn go_on(
        &mut self,
        config: &Config,
        place: usize,
        at: usize,
        mut next: Option<Next<Mail>>,
        seen: &mut Vec<Seen>,
    ) -> Step {
        while let Some(now) = next {
            let object = &mut self.workers[place].objects[at];
            let connection = object.connection;
            match now {
                Next::Handle(mail) => {
                    self.is_alone_to_handle(connection)?;
                    return self.begin(config, place, at, mail, seen);
                }
                Next::Skip => next = self.end_with(config, place, at, Outcome::Done)?,
                Next::Release { revoked } => {
                    object.running = Some(Running::Release { revoked });
                    if config.hooks {
                        return Ok(());
                    }
                    next = self.end_with(config, place, at, Outcome::Done)?;
                }
            }
        }
        Ok(())
    }

    fn is_alone_to_handle(&self, connection: u8) -> Step {
        let is_running = |object: &Object| {
            object.connection == connection
                && !matches!(object.running, None | Some(Running::Release { .. }))
        };
        let all = self.workers.iter().flat_map(|worker| &worker.objects);
        let is_elsewhere = all.filter(|object| is_running(object)).count() > 0;
        demand(!is_elsewhere, "two workers run handlers of one connection")
    }

    fn begin(
        &mut self,
        config: &Config,
        place: usize,
        at: usize,
        mail: Mail,
        seen: &mut Vec<Seen>,
    ) -> Step {
        let object = &mut self.workers[place].objects[at];
        object.has_flushed = false;
        let connection = usize::from(object.connection);
        let witness = &mut self.clients[connection].witness;
        let (marked, is_close) = match mail {
            Mail::Adopt => return Err(Violation("an adoption begins twice".to_string())),
            Mail::Message(marked) => {
                demand(object.done + 1 == marked.seq, "a message is lost or out of order")?;
                let expected = witness.handled_by(object.done);
                let has_closed = config.app_closes != 0 && object.done >= config.app_closes;
                let has_panicked = config.faults.panics > 0;
                let is_whole = object.app.handled == expected || has_closed || has_panicked;
                demand(is_whole, "a handler sees the state of another prefix")?;
                (marked, false)
            }
            Mail::Close(marked) => (marked, true),
        };
        witness.begins(marked)?;
        let seq = marked.seq;
        object.running = Some(if is_close { Running::Close(seq) } else { Running::Message(seq) });
        if marked.redelivered {
            seen.push(if is_close { Seen::CloseRedelivered } else { Seen::Redelivered });
        }
        seen.extend(marked.partial.then_some(Seen::Partial));
        Ok(())
    }

    /// The running handler ends, and what it did goes out in one piece. `false`: it has to wait
    /// until its client reads.
    pub fn end(
        &mut self,
        config: &Config,
        place: usize,
        at: usize,
        outcome: Outcome,
        seen: &mut Vec<Seen>,
    ) -> Step {
        let worker = &mut self.workers[place];
        let object = &mut worker.objects[at];
        let mut frames = Vec::new();
        match object.running {
            Some(Running::Fetch) => {
                object.running = None;
                let Some(accepted) = object.tenure.accept() else {
                    worker.objects.remove(at);
                    return Ok(());
                };
                let portable = accepted.portable;
                frames.push(Up::Upgrade { portable, acts: accepted.acts.0 });
                return self.write(place, at, frames);
            }
            Some(Running::Adopt) if config.hooks => {
                object.app.ticks += 1;
                object.attach(&mut frames);
            }
            Some(Running::Message(seq)) => {
                let panicked = outcome == Outcome::Panicked;
                seen.extend(panicked.then_some(Seen::Panicked));
                object.answer(config, seq, &mut frames)?;
            }
            Some(Running::Release { revoked: false }) => {
                object.app.ticks += 1;
                object.attach(&mut frames);
            }
            Some(Running::Adopt | Running::Close(_) | Running::Release { revoked: true }) => {}
            None => return Err(Violation("no handler runs".to_string())),
        }
        self.write(place, at, frames)?;
        let next = self.end_with(config, place, at, outcome)?;
        self.go_on(config, place, at, next, seen)
    }

    fn write(&mut self, place: usize, at: usize, frames: Vec<Up>) -> Step {
        let worker = &mut self.workers[place];
        let (connection, lease) = (worker.objects[at].connection, worker.objects[at].lease);
        let frames = frames.into_iter().map(|frame| ToSupervisor { connection, lease, frame });
        worker.up.extend(frames);
        Ok(())
    }

    /// Writes what the end of a handler says; the object goes if that is its last word.
    fn end_with(
        &mut self,
        config: &Config,
        place: usize,
        at: usize,
        outcome: Outcome,
    ) -> Result<Option<Next<Mail>>, Violation> {
        let object = &mut self.workers[place].objects[at];
        let running = object.running.take();
        let panicked = outcome == Outcome::Panicked;
        let mut frames = Vec::new();
        let next = object.tenure.end(outcome, |conclusion| read(conclusion, panicked, &mut frames));
        if panicked && let Some(before) = object.tenure.attachment() {
            object.app = *before;
        }
        let last = frames.iter().rev().find(|frame| **frame != Up::Pressed).cloned();
        if let Some(Up::Commit { seq, .. }) = last {
            object.done = seq;
        }
        let released = matches!(last, Some(Up::Released { .. }));
        if config.echoes {
            let commit = frames.len().saturating_sub(1);
            if let [.., Up::Now { effect, .. } | Up::Staged(effect), Up::Commit { .. }] = frames[..]
                && matches!(effect, Effect::Send { .. })
            {
                frames.truncate(commit - 1);
                frames.push(Up::Last(effect));
            }
        }
        self.write(place, at, frames)?;
        if released || matches!(running, Some(Running::Close(_))) {
            demand(next.is_none(), "something is handled of what has been given up")?;
            self.workers[place].objects.remove(at);
        }
        Ok(next)
    }

    /// A running handler lets out what it has done so far.
    pub fn flush(&mut self, place: usize, at: usize) -> Step {
        let object = &mut self.workers[place].objects[at];
        object.has_flushed = true;
        let Some(Running::Message(seq)) = object.running else {
            return Err(Violation("no handler runs".to_string()));
        };
        let effect = Effect::Flushed(seq);
        let mut frames = Vec::new();
        object.act(Deed::Send { bytes: BYTES }, effect, &mut frames)?;
        if let Some(flush) = object.tenure.flush() {
            flush.take(|staged, owed| {
                let now = |effect: &Effect| Up::Now { effect: *effect, during: true };
                frames.extend(staged.0.iter().map(now));
                frames.extend((0..owed).map(|_| Up::Pressed));
            });
        }
        self.write(place, at, frames)
    }

    /// A task beside the handlers attaches: at once, or with the handler that runs.
    pub fn tick(&mut self, place: usize, at: usize) -> Step {
        let object = &mut self.workers[place].objects[at];
        object.app.ticks += 1;
        let mut frames = Vec::new();
        object.attach(&mut frames);
        self.write(place, at, frames)
    }

    /// The running handler is dropped because it was revoked.
    pub fn drop_handler(
        &mut self,
        config: &Config,
        place: usize,
        at: usize,
        seen: &mut Vec<Seen>,
    ) -> Step {
        let object = &mut self.workers[place].objects[at];
        object.running = None;
        seen.push(Seen::Cut);
        let next = object.tenure.handler_dropped();
        self.go_on(config, place, at, next, seen)
    }

    /// It dies; of what it has written so much arrives.
    pub fn die(&mut self, place: usize, arrives: usize, death: shovel_core::custody::Death) {
        let worker = &mut self.workers[place];
        worker.life = Life::Dead(death);
        worker.up.truncate(arrives);
        worker.down.clear();
        worker.objects.clear();
        worker.is_blocked = false;
        worker.is_stuck = false;
    }
}

/// The frames that say how a handler has ended.
fn read(conclusion: Conclusion<'_, Staged, AppState>, panicked: bool, frames: &mut Vec<Up>) {
    match conclusion {
        Conclusion::Plain { seq, .. } => {
            frames.push(Up::Commit { seq: seq as u8, panicked: false })
        }
        Conclusion::Portable { attachment, staged, answer, owed } => {
            frames.extend(attachment.map(|state| Up::Staged(Effect::Attach(*state))));
            frames.extend(staged.0.iter().map(|effect| Up::Staged(*effect)));
            frames.push(match answer {
                Answer::Commit { seq, .. } => Up::Commit { seq: seq as u8, panicked },
                Answer::Adopted { taken: true } => Up::Adopted,
                Answer::Adopted { taken: false } => Up::Refused,
                Answer::Released { handled, started } => {
                    Up::Released { handled: handled as u8, started: started as u8 }
                }
            });
            frames.extend((0..owed).map(|_| Up::Pressed));
        }
    }
}
