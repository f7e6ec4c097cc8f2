//! Looks at every state that a world can come to, nearest first.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use crate::steps::Action;
use crate::witness::{Seen, Violation};
use crate::world::{Config, World};

/// What is asked of it is only whether something is in it, never its order.
#[expect(
    clippy::disallowed_types,
    reason = "nothing depends on its order, and it is three times as fast"
)]
type Fingerprints = std::collections::HashSet<u64>;

/// Where a state came from, to tell how a fault came about.
#[derive(Clone, Copy)]
struct Step {
    before: u32,
    action: Option<Action>,
}

/// Fails with the shortest way to a state in which a rule does not hold. Stops after `most` states.
pub fn search(config: &Config, most: usize) {
    let begun = Instant::now();
    let mut known = Fingerprints::default();
    let mut steps = vec![Step { before: 0, action: None }];
    let first = World::new(config);
    known.insert(fingerprint(&first));
    let mut waiting = VecDeque::from([(first, 0)]);
    let mut seen = Vec::new();
    let mut actions = Vec::new();
    let mut taken: usize = 0;
    while let Some((world, at)) = waiting.pop_front() {
        actions.clear();
        world.progress(config, &mut actions);
        if actions.is_empty()
            && let Err(violation) = world.is_settled(config)
        {
            fail(config, &violation, &steps, at, None, &world);
        }
        world.faults(config, &mut actions);
        for action in &actions {
            taken += 1;
            let mut next = world.clone();
            if let Err(violation) = next.step(config, *action, &mut seen) {
                fail(config, &violation, &steps, at, Some(*action), &next);
            }
            seen.dedup();
            if known.insert(fingerprint(&next)) && steps.len() < most {
                waiting.push_back((next, steps.len() as u32));
                steps.push(Step { before: at, action: Some(*action) });
            }
        }
        forget_repeats(&mut seen);
    }
    let is_whole = steps.len() < most;
    let capped = if is_whole { "" } else { ", not all" };
    println!(
        "{}: {} states{capped}, {taken} steps, {:.1} s",
        config.name,
        steps.len(),
        begun.elapsed().as_secs_f32()
    );
    for demanded in config.demands.iter().filter(|_| is_whole) {
        assert!(seen.contains(demanded), "{}: never saw {demanded:?}", config.name);
    }
}

/// SipHash with a fixed key. With ten million states, two share a fingerprint once in 400,000 runs.
fn fingerprint(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

pub fn forget_repeats(seen: &mut Vec<Seen>) {
    let mut kept: Vec<Seen> = Vec::new();
    for one in seen.drain(..) {
        if !kept.contains(&one) {
            kept.push(one);
        }
    }
    *seen = kept;
}

fn fail(
    config: &Config,
    violation: &Violation,
    steps: &[Step],
    mut at: u32,
    last: Option<Action>,
    world: &World,
) -> ! {
    let mut way: Vec<Action> = last.into_iter().collect();
    while let Some(action) = steps[at as usize].action {
        way.push(action);
        at = steps[at as usize].before;
    }
    way.reverse();
    panic!("{}: {} after\n{way:#?}\n{world:#?}", config.name, violation.0);
}
