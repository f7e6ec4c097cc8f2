//! What is found, in words for whoever has to find out why.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::judge::{Rule, Violation};
use super::record::Record;
use super::words::TraceEvent;

/// Violations that are told in full.
const TOLD: usize = 8;

/// Lines of a connection's log before a violation, and after it.
const LINES: (usize, usize) = (30, 6);

/// How long before a violation, and after it, deeds are told, in nanoseconds.
const AROUND: (u64, u64) = (6_000_000_000, 500_000_000);

/// A run, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// From which the run followed.
    pub seed: u64,
    /// What happened.
    pub record: Record,
    /// What should not have; empty if all is well.
    pub violations: Vec<Violation>,
    /// Resources before and after.
    pub(super) footprints: String,
    /// Lines of the pool's log, each with its time.
    pub(super) warnings: Vec<(u64, String)>,
}

impl Verdict {
    fn summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { conversations, traces, deeds, published, answered, failed, .. } = &self.record;
        let is = |wanted: fn(&TraceEvent) -> bool| {
            traces.iter().filter(|trace| wanted(&trace.event)).count()
        };
        let orders = conversations.iter().map(|one| one.orders().count()).sum::<usize>();
        let words = conversations.iter().map(|one| one.words().count()).sum::<usize>();
        let marked =
            |event: &TraceEvent| matches!(event, TraceEvent::Begun { redelivered: true, .. });
        let adopted = is(|event| matches!(event, TraceEvent::Adopted { .. }));
        let workers = traces.iter().map(|trace| trace.pid);
        let workers = workers.collect::<std::collections::BTreeSet<_>>().len();
        write!(
            f,
            "seed {}: {} connections, {orders} messages, {words} heard, {} deeds, {workers} \
             workers, {adopted} moves, {} handled again, {} publishes of an operator, {answered} \
             requests and {} without an answer; {}; for {:.1} s the machine excuses what is late; ",
            self.seed,
            conversations.len(),
            deeds.len(),
            is(marked),
            published.len(),
            failed.len(),
            self.footprints,
            self.excused().as_secs_f64(),
        )?;
        match self.violations.len() {
            0 => write!(f, "all well"),
            many => write!(f, "{many} VIOLATIONS"),
        }
    }

    /// What happened to the connection of a violation, and what was done, around it.
    fn tell(&self, f: &mut fmt::Formatter<'_>, violation: &Violation) -> fmt::Result {
        let begin = self.begin();
        writeln!(f, "\n== at {} {violation}", Time(violation.at, begin))?;
        let mut lines = Vec::new();
        let conversations = self.record.conversations.iter();
        for conversation in conversations.filter(|one| one.key == violation.key) {
            writeln!(f, "   {:?}, room {:?}", conversation.role, conversation.room)?;
            lines.extend(conversation.notes.iter().map(|(at, note)| (*at, format!("   {note}"))));
        }
        let traces = self.record.traces.iter().filter(|trace| trace.key == violation.key);
        lines.extend(
            traces.map(|trace| {
                (trace.at, format!("         worker {}: {:?}", trace.pid, trace.event))
            }),
        );
        let (before, after) = AROUND;
        let earliest = violation.at.saturating_sub(before);
        let deeds = self.record.deeds.iter().filter(|deed| deed.to >= earliest);
        let deeds = deeds.filter(|deed| deed.from <= violation.at + after);
        lines.extend(deeds.map(|deed| (deed.from, format!("***   {}", deed.what))));
        lines.sort_by_key(|(at, _)| *at);
        let middle = lines.partition_point(|(at, _)| *at <= violation.at);
        let (before, after) = LINES;
        let shown = middle.saturating_sub(before)..(middle + after).min(lines.len());
        lines[shown]
            .iter()
            .try_for_each(|(at, line)| writeln!(f, "{} {line:.300}", Time(*at, begin)))
    }

    /// In how much of the run it stood still, or may have: what the judge found excused.
    fn excused(&self) -> Duration {
        let (mut excused, mut until) = (0, 0);
        // They stand in the order of their beginnings.
        for deed in self.record.deeds.iter().filter(|deed| deed.stalls) {
            excused += deed.to.saturating_sub(deed.from.max(until));
            until = until.max(deed.to);
        }
        Duration::from_nanos(excused)
    }

    fn begin(&self) -> u64 {
        self.record
            .conversations
            .iter()
            .filter_map(|one| Some(one.notes.first()?.0))
            .min()
            .unwrap_or(0)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.summary(f)?;
        if self.violations.is_empty() {
            return Ok(());
        }
        let mut count = BTreeMap::<Rule, usize>::new();
        self.violations.iter().for_each(|found| *count.entry(found.rule).or_default() += 1);
        writeln!(f, "\n{count:?}")?;
        self.violations.iter().take(TOLD).try_for_each(|violation| self.tell(f, violation))?;
        writeln!(f, "\nwarnings of the pool")?;
        let begin = self.begin();
        let mut warnings = self.warnings.iter();
        warnings.try_for_each(|(at, line)| writeln!(f, "{} {line:.400}", Time(*at, begin)))
    }
}

/// Seconds since the first client came.
struct Time(u64, u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Time(at, begin) = self;
        write!(f, "{:8.4}", at.saturating_sub(*begin) as f64 / 1e9)
    }
}
