//! Looks at every state that a world can come to, nearest first.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::time::Instant;

use crate::steps::Action;
use crate::witness::{Seen, Step, Violation};
use crate::world::{Config, World};

/// A world that can be searched.
pub trait Searched: Clone + Debug + Hash {
    type Config;
    type Action: Copy + Debug + 'static;
    type Seen: Copy + Debug + Ord + 'static;

    /// How time may pass until something is due.
    const TIME_PASSES: &'static [Self::Action];

    fn begin(config: &Self::Config) -> Self;
    fn name(config: &Self::Config) -> &'static str;
    /// What must have been seen at least once.
    fn demands(config: &Self::Config) -> &'static [Self::Seen];
    /// What must never be seen.
    fn forbids(config: &Self::Config) -> &'static [Self::Seen];

    /// What happens by itself. Empty when everything has settled but for time.
    fn progress(&self, config: &Self::Config, actions: &mut Vec<Self::Action>);
    /// What need not happen.
    fn faults(&self, config: &Self::Config, actions: &mut Vec<Self::Action>);
    fn step(
        &mut self,
        config: &Self::Config,
        action: Self::Action,
        seen: &mut Vec<Self::Seen>,
    ) -> Step;
    /// Whether anything is due at some time.
    fn is_waiting(&self) -> bool;
    /// Judges a world in which nothing happens any more.
    fn is_settled(&self, config: &Self::Config, seen: &mut Vec<Self::Seen>) -> Step;
}

/// What is asked of it is only whether something is in it, never its order.
#[expect(
    clippy::disallowed_types,
    reason = "nothing depends on its order, and it is three times as fast"
)]
type Fingerprints = std::collections::HashSet<u64>;

/// So often time may pass before something must have come of it.
const PATIENCE: usize = 40;

/// Where a state came from, to tell how a fault came about.
#[derive(Clone, Copy)]
struct Way<A> {
    before: u32,
    action: Option<A>,
}

/// Searches a world, up to as many states as are asked for.
pub fn look(config: Config) {
    look_at::<World>(config);
}

/// The same, of a world of any kind.
pub fn look_at<W: Searched>(config: W::Config) {
    let most = std::env::var("SHOVEL_NEMESIS_STATES").ok().and_then(|value| value.parse().ok());
    search::<W>(&config, most.unwrap_or(300_000));
}

/// Fails with the shortest way to a state in which a rule does not hold. Stops after `most` states.
pub fn search<W: Searched>(config: &W::Config, most: usize) {
    let begun = Instant::now();
    let mut known = Fingerprints::default();
    let mut steps = vec![Way { before: 0, action: None }];
    let first = W::begin(config);
    known.insert(fingerprint(&first));
    let mut waiting = VecDeque::from([(first, 0)]);
    let mut seen = Vec::new();
    let mut actions = Vec::new();
    let mut taken: usize = 0;
    while let Some((world, at)) = waiting.pop_front() {
        actions.clear();
        world.progress(config, &mut actions);
        if actions.is_empty() {
            match settle(config, &world, &mut seen) {
                Err(violation) => fail(config, &violation, &steps, at, None, &world),
                Ok(true) => {}
                Ok(false) => actions.extend_from_slice(W::TIME_PASSES),
            }
        }
        world.faults(config, &mut actions);
        for action in &actions {
            taken += 1;
            let mut next = world.clone();
            if let Err(violation) = next.step(config, *action, &mut seen) {
                fail(config, &violation, &steps, at, Some(*action), &next);
            }
            if known.insert(fingerprint(&next)) && steps.len() < most {
                waiting.push_back((next, steps.len() as u32));
                steps.push(Way { before: at, action: Some(*action) });
            }
        }
        forget_repeats(&mut seen);
    }
    let is_whole = steps.len() < most;
    let capped = if is_whole { "" } else { ", not all" };
    println!(
        "{}: {} states{capped}, {taken} steps, {:.1} s",
        W::name(config),
        steps.len(),
        begun.elapsed().as_secs_f32()
    );
    for forbidden in W::forbids(config) {
        assert!(!seen.contains(forbidden), "{}: has seen {forbidden:?}", W::name(config));
    }
    for demanded in W::demands(config).iter().filter(|_| is_whole) {
        assert!(seen.contains(demanded), "{}: never saw {demanded:?}", W::name(config));
    }
}

/// Whether a world in which nothing can happen but that time passes has settled: nothing comes of
/// that any more.
pub fn settle<W: Searched>(
    config: &W::Config,
    world: &W,
    seen: &mut Vec<W::Seen>,
) -> Result<bool, Violation> {
    let mut later = world.clone();
    let mut passed = vec![fingerprint(&later)];
    let mut actions = Vec::new();
    while later.is_waiting() {
        later.step(config, W::TIME_PASSES[0], seen)?;
        later.progress(config, &mut actions);
        if !actions.is_empty() {
            return Ok(false);
        }
        let print = fingerprint(&later);
        if passed.contains(&print) {
            break;
        }
        if passed.len() > PATIENCE {
            return Err(Violation("it does not come to rest".to_string()));
        }
        passed.push(print);
    }
    later.is_settled(config, seen)?;
    // What is due while everything rests may still cross a fault.
    Ok(passed.len() == 1)
}

/// A quick hash that does not change from run to run. With ten million states, two share one once in
/// 400,000 runs.
pub fn fingerprint(world: &impl Hash) -> u64 {
    let mut hasher = Mixer(0);
    world.hash(&mut hasher);
    hasher.finish()
}

struct Mixer(u64);

impl Mixer {
    fn mix(&mut self, word: u64) {
        let product =
            u128::from(self.0 ^ word ^ 0x9E37_79B9_7F4A_7C15) * 0xD6E8_FEB8_6659_FD93_u128;
        self.0 = (product as u64) ^ ((product >> 64) as u64).rotate_left(23);
    }
}

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        let mut last = Mixer(self.0);
        last.mix(0x2545_F491_4F6C_DD1D);
        last.mix(self.0.rotate_left(32));
        last.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.mix(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.mix(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.mix(word as u64);
    }
}

pub fn forget_repeats<S: Ord>(seen: &mut Vec<S>) {
    seen.sort_unstable();
    seen.dedup();
}

fn fail<W: Searched>(
    config: &W::Config,
    violation: &Violation,
    steps: &[Way<W::Action>],
    mut at: u32,
    last: Option<W::Action>,
    world: &W,
) -> ! {
    let mut way: Vec<W::Action> = last.into_iter().collect();
    while let Some(action) = steps[at as usize].action {
        way.push(action);
        at = steps[at as usize].before;
    }
    way.reverse();
    panic!("{}: {} after {way:?}\n{world:#?}", W::name(config), violation.0);
}

impl Searched for World {
    type Config = Config;
    type Action = Action;
    type Seen = Seen;

    const TIME_PASSES: &'static [Action] = &[Action::TimePasses];

    fn begin(config: &Config) -> Self {
        World::new(config)
    }

    fn name(config: &Config) -> &'static str {
        config.name
    }

    fn demands(config: &Config) -> &'static [Seen] {
        config.demands
    }

    fn forbids(config: &Config) -> &'static [Seen] {
        config.forbids
    }

    fn progress(&self, config: &Config, actions: &mut Vec<Action>) {
        self.progress(config, actions);
    }

    fn faults(&self, config: &Config, actions: &mut Vec<Action>) {
        self.faults(config, actions);
    }

    fn step(&mut self, config: &Config, action: Action, seen: &mut Vec<Seen>) -> Step {
        self.step(config, action, seen)
    }

    fn is_waiting(&self) -> bool {
        self.custody.poll_timeout().is_some()
    }

    fn is_settled(&self, config: &Config, seen: &mut Vec<Seen>) -> Step {
        self.is_settled(config, seen)
    }
}
