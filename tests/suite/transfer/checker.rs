//! Connections that outlive their worker, under everything at once: G54 to G59.

use std::time::Duration;

use shovel_tests::checker::Trial;

/// G59. `SHOVEL_CHECK_SEED` repeats a run as far as it can be repeated; `SHOVEL_CHECK_SECONDS` and
/// `SHOVEL_CHECK_CLIENTS` say how long and how many.
#[tokio::test]
async fn everything_promised_holds_while_workers_die_hang_and_are_replaced() {
    let trial = Trial {
        seed: number("SHOVEL_CHECK_SEED").unwrap_or_else(|| fastrand::u64(0..1_000_000)),
        lasts: Duration::from_secs(number("SHOVEL_CHECK_SECONDS").unwrap_or(20)),
        clients: number("SHOVEL_CHECK_CLIENTS").unwrap_or(240) as usize,
    };
    eprintln!("{trial:?}");
    let verdict = trial.run().await;
    eprintln!("{verdict}");
    assert!(verdict.violations.is_empty(), "SHOVEL_CHECK_SEED={} shows violations", trial.seed);
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is no number: {value}")))
}
