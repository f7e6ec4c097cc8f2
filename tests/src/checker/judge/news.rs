//! What was published: each subscriber hears each publisher of its room, in order, once, and
//! everything from its upgrade to its end.

use std::collections::HashMap;

use super::{Case, Rule, Violations};
use crate::checker::record::{Conversation, Note};
use crate::checker::words::{Task, TraceEvent, Word};

/// Between an answer and what its handler published, on another thread, in nanoseconds.
const FAN_OUT: u64 = 1_000_000_000;

/// Something that was published, and by whom does not matter.
struct News {
    n: u64,
    /// The first handler that may have published it began.
    begun: Option<u64>,
    /// It has published it for certain.
    answered: Option<u64>,
}

pub(super) fn judge(case: &Case<'_>, violations: &mut Violations) {
    let mut rooms = HashMap::<u32, Vec<&Conversation>>::new();
    for conversation in &case.record.conversations {
        if let Some(room) = conversation.room {
            rooms.entry(room).or_default().push(conversation);
        }
    }
    for (room, members) in &rooms {
        let published = members.iter().map(|member| (member.key, published(case, member)));
        let mut published = published.collect::<HashMap<_, _>>();
        published.insert(0, published_by_operator(case, *room));
        for member in members.iter().filter(|member| member.opened().is_some()) {
            judge_listener(member, listened_until(case, member), &published, violations);
        }
    }
}

fn published_by_operator(case: &Case<'_>, wanted: u32) -> Vec<News> {
    let published = case.record.published.iter().filter(|one| one.room == wanted);
    let news =
        published.map(|one| News { n: one.n, begun: Some(one.from), answered: Some(one.to) });
    news.collect()
}

fn published(case: &Case<'_>, publisher: &Conversation) -> Vec<News> {
    let mut begun = HashMap::<u64, u64>::new();
    for trace in case.traces(publisher) {
        if let TraceEvent::Begun { n, .. } = trace.event {
            begun.entry(n).or_insert(trace.at);
        }
    }
    let answers = publisher.words().filter_map(|(at, word)| match word {
        Word::Answer(answer) => Some((answer.n, at)),
        _ => None,
    });
    let answered = answers.collect::<HashMap<_, _>>();
    let orders = publisher.orders().filter(|(_, order)| order.task == Task::Publish);
    let published = orders.map(|(_, order)| {
        let n = order.n;
        News { n, begun: begun.get(&n).copied(), answered: answered.get(&n).copied() }
    });
    published.collect()
}

/// Until when a listener would have read what came. One that cuts its socket off leaves unread what
/// its kernel had for it, which is much if it was given no time: of such a one it is known only that it
/// has read all up to its last answer.
fn listened_until(case: &Case<'_>, listener: &Conversation) -> u64 {
    let is_cut = |note: &(u64, Note)| matches!(note.1, Note::Cut { .. });
    if !listener.notes.iter().any(is_cut) {
        return listener.ended();
    }
    let answers = listener.words().filter_map(|(_, word)| match word {
        Word::Answer(answer) => Some(answer.n),
        _ => None,
    });
    let last = answers.last();
    let mut begun = case.traces(listener).iter().filter_map(|trace| match trace.event {
        TraceEvent::Begun { n, .. } if Some(n) == last => Some(trace.at),
        _ => None,
    });
    begun.next().unwrap_or(0)
}

fn judge_listener(
    listener: &Conversation,
    ended: u64,
    published: &HashMap<u32, Vec<News>>,
    violations: &mut Violations,
) {
    let mut heard = HashMap::<u32, Vec<u64>>::new();
    for (at, word) in listener.words() {
        let Word::News { publisher, n } = word else { continue };
        let theirs = published.get(&publisher).map_or(&[][..], Vec::as_slice);
        let is_real = theirs.iter().any(|one| one.n == n && one.begun.is_some_and(|at_| at_ <= at));
        if !is_real {
            violations.add(Rule::Invented, listener, at, word.to_string());
        }
        let before = heard.entry(publisher).or_default();
        match before.last() {
            Some(last) if before.contains(&n) => {
                let what = format!("{word}, after {last}");
                violations.add(Rule::Doubled, listener, at, what);
            }
            Some(last) if n < *last => {
                let what = format!("{word}, after {last}");
                violations.add(Rule::OutOfOrder, listener, at, what);
            }
            _ => {}
        }
        before.push(n);
    }
    let opened = listener.opened().unwrap_or(0);
    for (publisher, theirs) in published {
        let heard = heard.get(publisher).map_or(&[][..], Vec::as_slice);
        for News { n, begun, answered } in theirs {
            let (Some(begun), Some(answered)) = (begun, answered) else { continue };
            if *begun > opened && answered + FAN_OUT < ended && !heard.contains(n) {
                let what = format!("news {publisher} {n}");
                violations.add(Rule::Lost, listener, *answered, what);
            }
        }
    }
}
