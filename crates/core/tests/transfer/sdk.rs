//! A worker's side: the SDK and its app, as TRANSFER's "one object per lease" says.

use crate::frames::{AppState, Down, Effect, Marked, ToSupervisor, Up};
use crate::witness::{Seen, Step, Violation, demand};
use crate::world::{Config, Life, World};

/// A connection as the SDK knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    pub lease: u8,
    pub state: AppState,
    /// The last event that it finished.
    pub done: u8,
    pub running: Option<Running>,
    pub has_flushed: bool,
    pub has_attached: bool,
    /// The fetch handler has upgraded.
    pub is_upgraded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Running {
    Fetch,
    Adopt,
    Message(u8),
    Close(u8),
}

impl World {
    fn up(&mut self, worker: usize, connection: usize, lease: u8, frame: Up) {
        self.workers[worker].up.push(ToSupervisor { connection, lease, frame });
    }

    fn object(&mut self, worker: usize, connection: usize) -> Result<&mut Object, Violation> {
        let object = self.workers[worker].sides[connection].object.as_mut();
        object.ok_or_else(|| Violation("the SDK does not know the connection".to_string()))
    }

    /// A handler begins with the first event of the mailbox.
    pub fn begin(&mut self, worker: usize, connection: usize, seen: &mut Vec<Seen>) -> Step {
        let is_elsewhere = (0..self.workers.len()).any(|other| {
            let object = self.workers[other].sides[connection].object.as_ref();
            other != worker && object.is_some_and(|object| object.running.is_some())
        });
        let frame = self.workers[worker].sides[connection].down.remove(0);
        let witness = &mut self.slots[connection].witness;
        let object = &mut self.workers[worker].sides[connection].object;
        let new = |state: AppState, done, running| Object {
            lease: frame.lease,
            state,
            done,
            running: Some(running),
            has_flushed: false,
            has_attached: running == Running::Adopt,
            is_upgraded: running == Running::Adopt,
        };
        match frame.frame {
            Down::Offer => *object = Some(new(AppState::default(), 0, Running::Fetch)),
            Down::Adopt { state, committed } => {
                demand(object.is_none(), "adopted by a worker that has it")?;
                demand(state.handled == committed, "the attachment is not that of the prefix")?;
                *object = Some(new(state, committed, Running::Adopt));
                seen.push(Seen::Moved);
            }
            Down::Message(marked) | Down::Close(marked) => {
                // The object has been given up: nobody is there to handle it.
                let Some(object) = object.as_mut().filter(|object| object.lease == frame.lease)
                else {
                    return Ok(());
                };
                witness.begins(marked)?;
                object.running = Some(if matches!(frame.frame, Down::Close(_)) {
                    Running::Close(marked.seq)
                } else {
                    object.begins_message(marked)?
                });
                object.has_flushed = false;
                if marked.redelivered {
                    let is_close = matches!(frame.frame, Down::Close(_));
                    seen.push(if is_close { Seen::CloseRedelivered } else { Seen::Redelivered });
                }
                if marked.partial {
                    seen.push(Seen::Partial);
                }
            }
            Down::Cancel | Down::Gone | Down::Release | Down::Revoke => {
                return Err(Violation("not an event".to_string()));
            }
        }
        demand(!is_elsewhere, "two workers run handlers of one connection")
    }

    /// The running handler ends, and what it did goes out in one piece.
    pub fn end(&mut self, config: &Config, worker: usize, connection: usize) -> Step {
        let object = self.object(worker, connection)?;
        let lease = object.lease;
        let running = object.running.take();
        let mut frames = Vec::new();
        match running {
            Some(Running::Fetch) => {
                object.is_upgraded = true;
                object.has_attached = config.attach_from == 0;
                let attachment = object.has_attached.then_some(object.state);
                frames.push(Up::Upgrade { attachment });
            }
            Some(Running::Adopt) => {
                object.state.ticks += u8::from(config.hooks);
                frames.extend([Up::Staged(Effect::Attach(object.state)), Up::Adopted]);
            }
            Some(Running::Message(seq)) => frames = object.end_message(config, seq),
            Some(Running::Close(seq)) => frames.push(Up::Commit(seq)),
            None => return Err(Violation("no handler runs".to_string())),
        }
        if matches!(running, Some(Running::Close(_))) {
            self.workers[worker].sides[connection].object = None;
        }
        for frame in frames {
            self.up(worker, connection, lease, frame);
        }
        Ok(())
    }

    /// The adopt handler fails; the object stays for the close event.
    pub fn refuse(&mut self, config: &Config, worker: usize, connection: usize) -> Step {
        let object = self.object(worker, connection)?;
        object.running = None;
        let (lease, effect) = (object.lease, Effect::Attach(object.state));
        if config.hooks {
            self.up(worker, connection, lease, Up::Staged(effect));
        }
        self.up(worker, connection, lease, Up::Refused);
        Ok(())
    }

    /// A running handler lets out what it has done so far.
    pub fn flush(&mut self, worker: usize, connection: usize) -> Step {
        let object = self.object(worker, connection)?;
        object.has_flushed = true;
        let lease = object.lease;
        let Some(Running::Message(seq)) = object.running else {
            return Err(Violation("no handler runs".to_string()));
        };
        let effect = Effect::Flushed(seq);
        self.up(worker, connection, lease, Up::Now { effect, during: true });
        Ok(())
    }

    /// A task beside the handlers attaches: at once, or with the handler that runs.
    pub fn tick(&mut self, worker: usize, connection: usize) -> Step {
        let object = self.object(worker, connection)?;
        object.state.ticks += 1;
        let (lease, effect) = (object.lease, Effect::Attach(object.state));
        if object.running.is_none() {
            self.up(worker, connection, lease, Up::Now { effect, during: false });
        }
        Ok(())
    }

    /// Does what the first control frame asks for; a revoke is heard first.
    pub fn obey(
        &mut self,
        config: &Config,
        worker: usize,
        connection: usize,
        seen: &mut Vec<Seen>,
    ) -> Step {
        let side = &mut self.workers[worker].sides[connection];
        let Some(place) = control_place(&side.down) else {
            return Err(Violation("nothing to obey".to_string()));
        };
        let asked = side.down[place];
        let is_its = side.object.as_ref().is_some_and(|object| object.lease == asked.lease);
        match asked.frame {
            Down::Cancel => {
                side.down.remove(place);
                if !side.object.as_ref().is_some_and(|object| object.is_upgraded) {
                    side.down.clear();
                    side.object = None;
                }
            }
            Down::Gone => {
                side.down.remove(place);
                side.object = None;
            }
            Down::Release => {
                if !is_its {
                    // It was given up because of a revoke, before this was read.
                    side.down.remove(place);
                    return Ok(());
                }
                side.down.drain(..=place);
                let Some(mut object) = side.object.take() else { return Ok(()) };
                if config.hooks {
                    object.state.ticks += 1;
                    let effect = Effect::Attach(object.state);
                    self.up(worker, connection, asked.lease, Up::Staged(effect));
                }
                self.answer(worker, connection, asked.lease, object.done, object.done);
            }
            Down::Revoke => self.obey_revoke(config, worker, connection, place, seen),
            Down::Offer | Down::Message(_) | Down::Close(_) | Down::Adopt { .. } => {}
        }
        Ok(())
    }

    fn obey_revoke(
        &mut self,
        config: &Config,
        worker: usize,
        connection: usize,
        place: usize,
        seen: &mut Vec<Seen>,
    ) {
        let side = &mut self.workers[worker].sides[connection];
        let lease = side.down[place].lease;
        let before = &side.down[..place];
        let unread = before.iter().find_map(|frame| match frame.frame {
            Down::Adopt { committed, .. } if frame.lease == lease => Some(committed),
            _ => None,
        });
        let was_asked = before.iter().any(|frame| frame.frame == Down::Release);
        if let Some(committed) = unread {
            // The adopt handler has not begun.
            side.down.drain(..=place);
            self.answer(worker, connection, lease, committed, committed);
            return;
        }
        let Some(object) = side.object.as_ref().filter(|object| object.lease == lease) else {
            side.down.remove(place);
            return;
        };
        let is_answered = object.running != Some(Running::Adopt) && !was_asked;
        if is_answered {
            seen.push(Seen::Crossed);
        }
        if is_answered && config.patient {
            side.down.remove(place);
            return;
        }
        side.down.drain(..=place);
        let Some(object) = side.object.take() else { return };
        let started = match object.running {
            Some(Running::Message(seq) | Running::Close(seq)) => seq,
            Some(Running::Fetch | Running::Adopt) | None => object.done,
        };
        if object.running.is_some() {
            seen.push(Seen::Cut);
        }
        self.answer(worker, connection, lease, object.done, started);
    }

    fn answer(&mut self, worker: usize, connection: usize, lease: u8, handled: u8, started: u8) {
        self.up(worker, connection, lease, Up::Released { handled, started });
    }

    /// It dies; of what it has written so much arrives.
    pub fn die(&mut self, worker: usize, arrives: usize, blamed: bool) {
        let worker = &mut self.workers[worker];
        worker.life = Life::Dead { blamed };
        worker.up.truncate(arrives);
        for side in &mut worker.sides {
            side.down.clear();
            side.object = None;
        }
    }
}

impl Object {
    fn begins_message(&self, marked: Marked) -> Result<Running, Violation> {
        demand(self.done + 1 == marked.seq, "a message is lost or out of order")?;
        demand(self.state.handled + 1 == marked.seq, "a handler sees the state of another prefix")?;
        Ok(Running::Message(marked.seq))
    }

    fn end_message(&mut self, config: &Config, seq: u8) -> Vec<Up> {
        self.state.handled += 1;
        self.done = seq;
        let answer = Effect::Send { message: seq, handled: self.state.handled };
        self.has_attached |= config.attach_from == seq;
        let mut effects = Vec::new();
        if self.has_attached {
            effects.push(Effect::Attach(self.state));
        }
        let held = |effect| {
            if config.adopts { Up::Staged(effect) } else { Up::Now { effect, during: false } }
        };
        if config.echoes {
            let before = effects.into_iter().map(held);
            return before.chain([Up::Last(answer)]).collect();
        }
        effects.push(answer);
        if config.app_closes == seq {
            effects.push(Effect::Close);
        }
        effects.into_iter().map(held).chain([Up::Commit(seq)]).collect()
    }
}

/// The place of the control frame that is heard next.
pub fn control_place(down: &[crate::frames::ToWorker]) -> Option<usize> {
    let place_of = |which: fn(Down) -> bool| down.iter().position(|frame| which(frame.frame));
    place_of(|frame| frame == Down::Revoke)
        .or_else(|| place_of(|frame| matches!(frame, Down::Cancel | Down::Gone | Down::Release)))
}
