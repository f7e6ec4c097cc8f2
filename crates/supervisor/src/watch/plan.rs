//! When to build: once the sources have been quiet for a moment, one build at a time, and once more
//! for what has changed meanwhile. No IO and no clock here.
//!
//! A build writes too. What it writes into folders that are watched must not make the next build,
//! and that one the next, for ever: a file that comes out of a build as it came out of the one
//! before is no change, and a chain of builds that nobody but builds has caused comes to an end.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long the sources must be quiet: an editor saves several files at once.
pub const QUIET: Duration = Duration::from_millis(150);

/// For so long after a build a change may still be its own.
const AFTERMATH: Duration = Duration::from_millis(100);

/// So many builds in a row may be caused by what changed during the one before.
const CHAIN: u32 = 5;

/// Which builds are due.
#[derive(Debug, Default)]
pub struct Plan {
    is_building: bool,
    /// What was built is being copied.
    is_held: bool,
    ended: Option<Instant>,
    due: Option<Instant>,
    /// Some change was nobody's build's.
    from_outside: bool,
    chain: u32,
    /// What files held when they last changed during a build; `None` for one that was removed.
    written: HashMap<PathBuf, Option<u64>>,
    last_written: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Build,
    /// Builds cause each other, by this file among others; nothing is built until another change.
    BreakChain {
        file: PathBuf,
    },
}

impl Plan {
    /// A source has changed. `content`: a hash of what it holds now.
    pub fn on_change(
        &mut self,
        path: PathBuf,
        content: impl FnOnce() -> Option<u64>,
        now: Instant,
    ) {
        if self.is_building || self.ended.is_some_and(|ended| now < ended + AFTERMATH) {
            let content = content();
            if self.written.get(&path) == Some(&content) {
                return;
            }
            self.written.insert(path.clone(), content);
            self.last_written = Some(path);
        } else {
            self.from_outside = true;
        }
        self.due = Some(now + QUIET);
    }

    /// The first build, which nothing has to cause.
    pub fn build_first(&mut self) {
        self.is_building = true;
    }

    /// While held, no build begins: it would write over the program while that is copied.
    pub fn hold(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// Whether one is under way.
    pub fn is_building(&self) -> bool {
        self.is_building
    }

    /// When to take the next step.
    pub fn deadline(&self) -> Option<Instant> {
        self.due.filter(|_| !self.is_building && !self.is_held)
    }

    /// What is due.
    pub fn step(&mut self, now: Instant) -> Option<Step> {
        self.deadline().filter(|due| *due <= now)?;
        self.due = None;
        let from_outside = std::mem::take(&mut self.from_outside);
        self.chain = if from_outside { 0 } else { self.chain + 1 };
        if self.chain > CHAIN {
            self.chain = 0;
            return Some(Step::BreakChain { file: self.last_written.take().unwrap_or_default() });
        }
        self.is_building = true;
        Some(Step::Build)
    }

    /// The build has ended, well or not.
    pub fn on_ended(&mut self, now: Instant) {
        self.is_building = false;
        self.ended = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    struct World {
        plan: Plan,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            World { plan: Plan::default(), now: Instant::now() }
        }

        fn change(&mut self, path: &str, content: u64) {
            self.plan.on_change(path.into(), || Some(content), self.now);
        }

        fn pass(&mut self, time: Duration) -> Option<Step> {
            self.now += time;
            self.plan.step(self.now)
        }

        fn builds(&mut self) -> bool {
            self.pass(200 * MS) == Some(Step::Build)
        }

        fn ends(&mut self) {
            self.plan.on_ended(self.now);
        }
    }

    #[test]
    fn changes_that_follow_each_other_make_one_build_when_it_is_quiet() {
        let mut world = World::new();
        for content in 0..10 {
            world.change("a", content);
            assert_eq!(world.pass(100 * MS), None);
        }
        assert_eq!(world.pass(50 * MS), Some(Step::Build));
        assert_eq!(world.pass(10_000 * MS), None);
    }

    #[test]
    fn changes_during_a_build_make_exactly_one_more() {
        let mut world = World::new();
        world.change("a", 1);
        assert!(world.builds());
        for content in 2..6 {
            world.change("a", content);
            assert!(!world.builds(), "one at a time");
        }
        world.ends();
        assert!(world.builds());
        world.ends();
        assert!(!world.builds());
    }

    #[test]
    fn no_build_begins_while_the_program_is_copied() {
        let mut world = World::new();
        world.change("a", 1);
        assert!(world.builds());
        world.change("a", 2);
        world.ends();
        world.plan.hold(true);
        assert_eq!(world.plan.deadline(), None);
        assert!(!world.builds());
        world.plan.hold(false);
        assert!(world.builds());
    }

    #[test]
    fn what_a_build_writes_again_as_it_was_makes_no_build() {
        let mut world = World::new();
        world.change("a", 1);
        assert!(world.builds());
        world.change("generated", 7);
        world.ends();
        assert!(world.builds(), "it might be somebody's");
        world.change("generated", 7);
        world.ends();
        world.now += 50 * MS;
        world.change("generated", 7);
        assert!(!world.builds());
        world.now += 1000 * MS;
        world.change("generated", 7);
        assert!(world.builds(), "touched by somebody");
    }

    #[test]
    fn a_build_that_always_writes_something_else_does_not_go_on_for_ever() {
        let mut world = World::new();
        world.change("a", 0);
        let mut builds = 0;
        while world.builds() {
            builds += 1;
            world.change("stamp", builds);
            world.ends();
        }
        assert_eq!(builds, 1 + u64::from(CHAIN));
        world.now += 1000 * MS;
        world.change("a", 1);
        assert!(world.builds(), "somebody has changed something");
    }

    #[test]
    fn the_file_that_keeps_builds_going_is_named() {
        let mut world = World::new();
        world.change("a", 0);
        let step = (1..100).find_map(|content| {
            let step = world.pass(200 * MS);
            world.change("stamp", content);
            world.ends();
            step.filter(|step| *step != Step::Build)
        });
        assert_eq!(step, Some(Step::BreakChain { file: "stamp".into() }));
    }
}
