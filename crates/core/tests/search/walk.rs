//! Random walks through larger worlds than can be searched.

use std::time::Duration;

use fastrand::Rng;
use shovel_core::custody::Death;

use crate::search::{forget_repeats, settle};
use crate::steps::Action;
use crate::witness::{Seen, Violation};
use crate::world::{Config, Faults, PLAIN, World};

const LARGE: Config = Config {
    name: "large",
    connections: 4,
    workers: 2,
    places: 5,
    messages: 8,
    window: 3,
    flushes: true,
    hooks: true,
    faults: Faults {
        crashes: 2,
        kills: 3,
        outside: 2,
        hangs: 1,
        reloads: 3,
        recycles: 2,
        sleeps: 3,
        ends: 1,
        time_ups: 1,
        client_closes: 2,
        late_upgrades: 1,
        refusals: 1,
        ticks: 4,
        panics: 2,
        presses: 3,
        times: 6,
    },
    ..PLAIN
};

/// So many come to everything.
const MANY: u64 = 10_000;

/// Seeds come from `SHOVEL_WALK_SEED` on, `SHOVEL_WALKS` of them; each world is drawn from its own.
#[test]
fn no_random_walk_breaks_a_rule() {
    let number = |name, otherwise| {
        std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
    };
    let first: u64 = number("SHOVEL_WALK_SEED", 0);
    let mut seen = Vec::new();
    let walks = number("SHOVEL_WALKS", MANY);
    for seed in first..first + walks {
        walk(seed, &mut seen);
        forget_repeats(&mut seen);
    }
    let demanded = [
        Seen::Moved,
        Seen::Redelivered,
        Seen::Partial,
        Seen::CloseRedelivered,
        Seen::Refused,
        Seen::Quarantined,
        Seen::Lost,
        Seen::EndUnheard,
        Seen::CutOff,
        Seen::Cut,
        Seen::TooLate,
        Seen::Crossed,
        Seen::Tried,
        Seen::SuspectInCompany,
        Seen::Asleep,
        Seen::Stuck,
        Seen::Panicked,
        Seen::Finished,
        Seen::Ended,
    ];
    for one in demanded.into_iter().filter(|_| walks >= MANY) {
        assert!(seen.contains(&one), "never saw {one:?}");
    }
}

fn walk(seed: u64, seen: &mut Vec<Seen>) {
    let mut random = Rng::with_seed(seed);
    let config = draw(&mut random);
    let mut world = World::new(&config);
    let mut actions: Vec<Action> = Vec::new();
    let mut way = Vec::new();
    loop {
        actions.clear();
        world.progress(&config, &mut actions);
        if actions.is_empty() {
            match settle(&config, &world, seen) {
                Err(violation) => fail(seed, &config, &violation, &way, &world),
                Ok(true) => {}
                Ok(false) => actions.push(Action::TimePasses),
            }
        }
        // Faults are few beside what goes well, so that they come at any depth.
        let is_quiet = actions.is_empty() || actions == [Action::TimePasses];
        if is_quiet || random.u32(0..8) == 0 {
            world.faults(&config, &mut actions);
        }
        let Some(action) = random.choice(&actions).copied() else { return };
        let stepped = world.step(&config, action, seen);
        way.push(action);
        if let Err(violation) = stepped {
            fail(seed, &config, &violation, &way, &world);
        }
    }
}

fn fail(seed: u64, config: &Config, violation: &Violation, way: &[Action], world: &World) -> ! {
    panic!("seed {seed}: {} after {way:?}\nin {config:?}\n{world:#?}", violation.0);
}

fn draw(random: &mut Rng) -> Config {
    let mut config = LARGE;
    config.connections = random.u8(1..=4);
    config.window = random.u8(1..=4);
    config.moves = random.u32(1..=4);
    config.owner_wait = Duration::from_secs(random.choice([1, 3, 30]).unwrap_or(30));
    config.attach_from = random.u8(0..3);
    config.app_closes = if random.bool() { 0 } else { random.u8(1..=8) };
    config.hasty = random.bool();
    config.echoes = random.bool() && config.app_closes == 0;
    config.adopts = random.u8(0..8) > 0;
    config.newer_adopts = config.adopts && random.u8(0..8) > 0;
    // They come once at most, and nothing comes after them.
    config.faults.ends = random.u8(0..2);
    if !config.adopts {
        config.faults.panics = 0;
    }
    draw_poison(random, &mut config);
    config
}

fn draw_poison(random: &mut Rng, config: &mut Config) {
    let victim = random.u8(0..config.connections);
    let kinds = random.u8(0..6);
    if kinds > 2 {
        return;
    }
    if kinds != 1 {
        config.poison = Some((victim, random.u8(1..=8)));
        config.poison_death = if random.bool() { Death::Fault } else { Death::Killed };
    }
    if kinds != 0 {
        config.poison_adopt = Some(random.u8(0..config.connections));
    }
    // Whose fault a death is, is only certain if there is one reason for them.
    config.faults.crashes = 0;
    config.faults.hangs = 0;
    config.faults.times = 0;
}
