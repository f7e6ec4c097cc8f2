//! Requests that were asked once: each is answered, unless its worker died or stood still.

use super::{Case, Rule, Violation, Violations};

pub(super) fn judge(case: &Case<'_>, violations: &mut Violations) {
    for failed in &case.record.failed {
        let is_over = case.is_terminated(failed.to);
        if !is_over && case.harm(failed.from, failed.to) == 0 {
            let what = format!("a request: {}", failed.why);
            violations.0.push(Violation { rule: Rule::Refused, key: 0, at: failed.to, what });
        }
    }
    // A pool that is told to end soon after its clients have come may not answer any before.
    if case.record.answered == 0 && case.record.terminated.is_none() {
        let what = "no request was answered: this run does not count".to_owned();
        violations.0.push(Violation { rule: Rule::ShowsNothing, key: 0, at: 0, what });
    }
}
