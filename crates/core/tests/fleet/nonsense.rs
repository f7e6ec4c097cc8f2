//! Events that make no sense, in any order.

use std::time::Duration;

use fastrand::Rng;
use shovel_core::fleet::{Config, Event, Exit, Fleet, RecycleReason};
use shovel_protocol::id::{Generation, WorkerId};

use crate::harness::{config, epoch, seconds};

/// Any event at all, about workers and generations that may exist.
fn nonsense(random: &mut Rng) -> Event {
    let worker = WorkerId(random.u32(0..30));
    let generation = Generation(random.u32(0..8));
    let why = "why".to_string();
    match random.u32(0..32) {
        0 => Event::ImageFailed { generation, why },
        1..4 => Event::ImageLoaded { generation },
        4..8 => Event::Spawned { worker, pid: 1 },
        8 => Event::SpawnFailed { worker, why },
        9..13 => Event::LinkObtained { worker },
        13..17 => Event::Ready { worker },
        17 => Event::Refused { worker, why },
        18..20 => Event::Ponged { worker },
        20 => Event::LinkEnded { worker, why: random.bool().then_some(why) },
        21..23 => Event::Gone { worker, exit: Exit::Signal(random.i32(..)) },
        23..26 => Event::Drained { worker },
        26..28 => Event::ShutdownCompleted { worker },
        28..30 => Event::RecycleWanted { worker, why: RecycleReason::MaxRequests },
        30 => Event::ReloadRequested,
        _ if random.u32(0..3) == 0 => Event::Idle { worker },
        _ if random.u32(0..8) == 0 => Event::WorkWanted,
        _ if random.u32(0..30) == 0 => Event::Emptied,
        _ if random.u32(0..8) == 0 => Event::Stuck { worker, has_requests: random.bool() },
        _ if random.u32(0..8) == 0 => Event::Reconfigured { config: config(random.u32(0..6)) },
        _ if random.u32(0..8) == 0 => Event::ReloadRefused { why },
        _ if random.u32(0..8) == 0 => Event::ScaleRequested { workers: random.u32(0..6) },
        _ if random.u32(0..50) == 0 => Event::TerminateRequested,
        _ => Event::ReloadRequested,
    }
}

#[test]
fn no_sequence_of_events_makes_the_pool_panic_or_spin() {
    for seed in 0..300 {
        println!("seed {seed}");
        let mut random = Rng::with_seed(seed);
        let timeout = [Duration::ZERO, seconds(1), Duration::MAX][random.usize(0..3)];
        let config = Config {
            drain_timeout: timeout,
            max_age: Some(timeout),
            min_workers: random.u32(0..3),
            seed,
            ..config(random.u32(0..4))
        };
        let mut now = epoch();
        let mut fleet = Fleet::new(config, now);
        for _ in 0..500 {
            now += Duration::from_millis(random.u64(0..3_000));
            fleet.handle_event(nonsense(&mut random), now);
            fleet.handle_timeout(now);
            assert!(fleet.poll_timeout().is_none_or(|at| at > now), "no progress");
            while fleet.poll_command().is_some() {}
        }
    }
}
