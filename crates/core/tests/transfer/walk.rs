//! Random walks through larger worlds than can be searched.

use fastrand::Rng;

use crate::search::forget_repeats;
use crate::steps::Action;
use crate::witness::Seen;
use crate::world::{Config, Faults, PLAIN, World};

const LARGE: Config = Config {
    name: "large",
    connections: 3,
    workers: 2,
    places: 5,
    messages: 8,
    window: 3,
    flushes: true,
    hooks: true,
    faults: Faults {
        crashes: 2,
        kills: 3,
        reloads: 3,
        sleeps: 3,
        rebalances: 4,
        client_closes: 2,
        late_upgrades: 1,
        refusals: 1,
        revokes: 3,
        ticks: 4,
        waits: 1,
        lapses: 2,
    },
    ..PLAIN
};

/// Seeds come from `SHOVEL_WALK_SEED` on, `SHOVEL_WALKS` of them; each world is drawn from its own.
#[test]
fn no_random_walk_breaks_a_rule() {
    let number = |name, otherwise| {
        std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
    };
    let first: u64 = number("SHOVEL_WALK_SEED", 0);
    let mut seen = Vec::new();
    for seed in first..first + number("SHOVEL_WALKS", 3_000) {
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
        Seen::Cut,
        Seen::Crossed,
        Seen::TooLate,
        Seen::SuspectWaits,
        Seen::SuspectInCompany,
        Seen::Finished,
    ];
    for one in demanded {
        assert!(seen.contains(&one), "never saw {one:?}");
    }
}

fn walk(seed: u64, seen: &mut Vec<Seen>) {
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let config = draw(&mut random);
    let mut world = World::new(&config);
    let mut actions: Vec<Action> = Vec::new();
    loop {
        actions.clear();
        world.progress(&config, &mut actions);
        if actions.is_empty()
            && let Err(violation) = world.is_settled(&config)
        {
            panic!("seed {seed}: {} at\n{world:#?}", violation.0);
        }
        // Faults are few beside what goes well, so that they come at any depth.
        if actions.is_empty() || random.u32(0..8) == 0 {
            world.faults(&config, &mut actions);
        }
        let Some(action) = random.choice(&actions).copied() else { return };
        if let Err(violation) = world.step(&config, action, seen) {
            panic!("seed {seed}: {} after {action:?} at\n{world:#?}", violation.0);
        }
    }
}

fn draw(random: &mut Rng) -> Config {
    let mut config = LARGE;
    config.connections = random.usize(1..=3);
    config.window = random.u8(1..=4);
    config.attach_from = random.u8(0..3);
    config.app_closes = if random.bool() { 0 } else { random.u8(1..=8) };
    config.patient = random.bool();
    config.echoes = random.bool() && config.app_closes == 0;
    config.adopts = random.u8(0..8) > 0;
    let victim = random.usize(0..config.connections);
    let kinds = random.u8(0..5);
    if kinds > 2 {
        return config;
    }
    if kinds != 1 {
        config.poison = Some((victim, random.u8(1..=8)));
    }
    if kinds != 0 {
        config.poison_adopt = Some(random.usize(0..config.connections));
    }
    // Whose fault a crash is, is only certain if there is one reason for them.
    config.faults.crashes = 0;
    config
}
