//! What kills its workers is found and given up; what was only there is not.

use std::time::Duration;

use shovel_core::custody::{
    Command, Death, Event, GiveUpCause, Left, Loss, Phase, Route, WorkerCell,
};
use shovel_protocol::WorkerId;

use crate::cell::SharedCell;
use crate::house::{ADOPT_TIMEOUT, FIRST, House, MOMENT};

/// Longer than others wait for any suspect.
const LONGEST_TRIAL: Duration = Duration::from_secs(70);

/// Many workers of one program; the first is offered.
struct Line {
    house: House<SharedCell>,
    next: u32,
}

impl Line {
    fn new() -> Self {
        Line { house: House::of(&[FIRST]), next: 2 }
    }

    fn worker(&self) -> WorkerId {
        WorkerId(self.next - 1)
    }

    /// The worker dies, and the next is offered.
    fn die(&mut self, death: Death) {
        let dead = self.worker();
        let next = WorkerId(self.next);
        self.next += 1;
        self.house.join_sibling(next, dead);
        self.house.offer(&[next]);
        self.house.die(dead, death);
        self.house.pass(MOMENT);
    }

    /// The same, and the next worker adopts what there is.
    fn die_and_adopt(&mut self, death: Death, routes: &[Route]) {
        self.die(death);
        self.adopt(routes);
    }

    fn adopt(&mut self, routes: &[Route]) {
        let is_adopting = |house: &House<SharedCell>, route: Route| {
            house.is_there(route) && house.phase(route) == Phase::Adopting
        };
        for _ in 0..routes.len() {
            for route in routes {
                if is_adopting(&self.house, *route) {
                    self.house.adopt(*route);
                }
            }
            // A trial may have to end before.
            self.house.pass(LONGEST_TRIAL);
        }
    }

    /// A connection with a message under way.
    fn busy(&mut self) -> Route {
        let route = self.house.portable(self.worker());
        self.house.messages(route, 1);
        route
    }

    fn given_up(&self) -> Vec<(Route, GiveUpCause, u64)> {
        let mut all = Vec::new();
        for told in &self.house.told {
            if let Command::GiveUp { route, cause, given_up, .. } = told {
                all.push((*route, *cause, *given_up));
            }
        }
        all
    }
}

#[test]
fn the_third_death_gives_its_messages_up_and_leaves_the_close() {
    let mut line = Line::new();
    let route = line.busy();
    line.house.messages(route, 1);
    for _ in 0..2 {
        line.die_and_adopt(Death::Fault, &[route]);
        assert!(line.house.get(route).is_handling());
    }
    assert!(line.given_up().is_empty());
    line.house.given.clear();
    line.die_and_adopt(Death::Fault, &[route]);
    assert_eq!(line.given_up(), [(route, GiveUpCause::Poison, 2)]);
    assert_eq!(line.house.given(route), [(3, false, false)]);
    assert_eq!(line.house.commit(route, 3), Left::Closed);
}

#[test]
fn a_close_that_kills_its_workers_takes_the_connection_with_it() {
    let mut line = Line::new();
    let route = line.house.portable(FIRST);
    line.house.close(route);
    (0..2).for_each(|_| line.die_and_adopt(Death::Fault, &[route]));
    assert!(line.house.get(route).is_handling());
    let worker = Some(line.worker());
    line.die(Death::Fault);
    assert!(!line.house.is_there(route));
    let end = Command::End { route, loss: Loss::Poison, worker };
    assert!(line.house.told.contains(&end));
}

#[test]
fn only_what_was_handed_over_is_blamed() {
    let mut line = Line::new();
    let (busy, idle) = (line.house.portable(FIRST), line.house.portable(FIRST));
    for _ in 0..10 {
        line.die_and_adopt(Death::Fault, &[busy, idle]);
    }
    line.house.messages(busy, 1);
    line.die_and_adopt(Death::Fault, &[busy, idle]);
    assert!(line.house.get(busy).is_handling() && !line.house.cell(line.worker()).has_trial());
}

#[test]
fn a_death_that_we_meant_is_nobodys_fault() {
    let mut line = Line::new();
    let route = line.busy();
    for _ in 0..10 {
        line.die_and_adopt(Death::Ours, &[route]);
    }
    assert!(line.house.get(route).is_handling() && line.given_up().is_empty());
}

#[test]
fn after_two_deaths_an_event_is_a_suspect_until_it_is_committed() {
    let mut line = Line::new();
    let route = line.busy();
    line.die_and_adopt(Death::Fault, &[]);
    assert!(!line.house.cell(line.worker()).has_trial());
    line.house.adopt(route);
    line.die(Death::Fault);
    assert!(line.house.cell(line.worker()).has_trial());
    line.house.adopt(route);
    assert!(line.house.cell(line.worker()).has_trial());
    line.house.commit(route, 1);
    assert!(!line.house.cell(line.worker()).has_trial());
    line.house.messages(route, 1);
    line.die_and_adopt(Death::Fault, &[route]);
    assert!(line.house.get(route).is_handling() && line.given_up().is_empty());
}

#[test]
fn what_hangs_is_a_suspect_at_once() {
    let mut line = Line::new();
    let route = line.busy();
    line.die(Death::Hang);
    assert!(line.house.cell(line.worker()).has_trial());
    line.house.adopt(route);
    line.die(Death::Hang);
    line.house.adopt(route);
    assert!(line.given_up().is_empty());
    line.die(Death::Hang);
    assert_eq!(line.given_up(), [(route, GiveUpCause::Poison, 1)]);
}

#[test]
fn a_message_that_was_finished_is_not_convicted_for_the_one_behind_it() {
    let mut line = Line::new();
    let route = line.busy();
    (0..2).for_each(|_| line.die_and_adopt(Death::Fault, &[route]));
    line.house.messages(route, 1);
    line.house.given.clear();
    line.house.commit(route, 1);
    assert_eq!(line.house.numbers(route), [2]);
    line.die_and_adopt(Death::Fault, &[route]);
    assert!(line.given_up().is_empty(), "its first death");
    assert_eq!(line.house.given(route), [(2, true, false)]);
}

#[test]
fn healthy_messages_before_a_poison_are_all_handled() {
    let mut line = Line::new();
    let route = line.house.portable(FIRST);
    line.house.messages(route, 4);
    let mut handled = Vec::new();
    // The fourth kills; what was handled before it is committed only if there was time.
    line.die_and_adopt(Death::Fault, &[route]);
    for _ in 0..10 {
        while line.house.get(route).is_handling() && line.house.get(route).acked() < 3 {
            let seq = line.house.get(route).acked() + 1;
            handled.push(seq);
            line.house.commit(route, seq);
        }
        if !line.given_up().is_empty() {
            break;
        }
        line.die_and_adopt(Death::Fault, &[route]);
    }
    assert_eq!(handled, [1, 2, 3]);
    assert_eq!(line.given_up(), [(route, GiveUpCause::Poison, 1)]);
    assert_eq!(line.house.get(route).committed(), 3);
}

#[test]
fn events_that_an_ended_tenure_may_have_begun_go_one_at_a_time() {
    let mut line = Line::new();
    let route = line.house.portable(FIRST);
    line.house.messages(route, 3);
    line.die_and_adopt(Death::Ours, &[route]);
    line.house.messages(route, 2);
    line.house.given.clear();
    line.house.commit(route, 1);
    assert_eq!(line.house.given(route), [(2, true, false)]);
    line.house.commit(route, 2);
    assert_eq!(line.house.given(route), [(3, true, false)]);
    line.house.commit(route, 3);
    assert_eq!(line.house.given(route), [(4, false, false), (5, false, false)]);
}

#[test]
fn the_third_death_in_adopting_is_the_last() {
    let mut line = Line::new();
    let route = line.house.portable(FIRST);
    line.die(Death::Ours);
    for death in 1..=2 {
        assert_eq!(line.house.phase(route), Phase::Adopting);
        line.die(Death::Fault);
        assert_eq!(line.house.cell(line.worker()).has_trial(), death == 2);
    }
    let worker = Some(line.worker());
    line.die(Death::Fault);
    assert!(!line.house.is_there(route));
    let end = Command::End { route, loss: Loss::PoisonAdopt, worker };
    assert!(line.house.told.contains(&end));
}

#[test]
fn an_adoption_that_takes_too_long_counts_like_a_death() {
    let mut line = Line::new();
    let route = line.house.portable(FIRST);
    line.die(Death::Ours);
    for time in 1..=3 {
        assert!(line.house.is_there(route), "time {time}");
        line.house.pass(ADOPT_TIMEOUT + MOMENT);
        line.house.release(route);
        line.house.pass(MOMENT);
    }
    assert!(!line.house.is_there(route));
}

#[test]
fn an_answered_adoption_is_acquitted_whatever_the_answer() {
    for is_taken in [true, false] {
        let mut line = Line::new();
        let route = line.house.portable(FIRST);
        (0..3).for_each(|_| line.die(Death::Fault));
        assert!(line.house.cell(line.worker()).has_trial());
        assert_eq!(line.house.try_adopt(route, is_taken), Ok(true));
        assert!(!line.house.cell(line.worker()).has_trial());
        (0..2).for_each(|_| line.die(Death::Fault));
        assert!(line.house.is_there(route));
    }
}

#[test]
fn what_was_in_company_is_given_up_only_when_its_worker_dies_of_it_alone() {
    for dies_alone in [true, false] {
        let mut line = Line::new();
        let route = line.busy();
        for _ in 0..7 {
            line.house.custody.begin_request(line.worker());
            line.die_and_adopt(Death::Fault, &[route]);
            assert!(line.house.get(route).is_handling() && line.given_up().is_empty());
        }
        if !dies_alone {
            line.house.custody.begin_request(line.worker());
        }
        // After so many, nothing else is likely.
        line.die(Death::Fault);
        assert_eq!(line.given_up(), [(route, GiveUpCause::Poison, 1)]);
    }
}

#[test]
fn a_request_is_company_though_it_is_ended_before_the_death_is_told() {
    let mut line = Line::new();
    let route = line.busy();
    for _ in 0..4 {
        let worker = line.worker();
        line.house.custody.begin_request(worker);
        line.house.happens(Event::LinkEnded { worker });
        line.house.custody.answer_request(worker);
        line.house.custody.end_request(worker);
        line.die_and_adopt(Death::Fault, &[route]);
    }
    assert!(line.given_up().is_empty() && line.house.get(route).is_handling());
}

#[test]
fn an_event_that_was_never_alone_in_its_trial_is_not_convicted_by_kills_from_outside() {
    let mut line = Line::new();
    let route = line.busy();
    for _ in 0..20 {
        line.house.custody.begin_request(line.worker());
        line.die_and_adopt(Death::Killed, &[route]);
        assert!(line.house.get(route).is_handling());
    }
    assert!(line.given_up().is_empty());
}

#[test]
fn an_event_that_was_alone_in_its_trial_at_three_kills_is_convicted() {
    let mut line = Line::new();
    let route = line.busy();
    // These two make it a suspect, and are no trial.
    for _ in 0..2 {
        line.die(Death::Killed);
        line.house.adopt(route);
    }
    for _ in 0..2 {
        assert!(line.house.cell(line.worker()).has_trial());
        line.die(Death::Killed);
        line.house.adopt(route);
    }
    assert!(line.given_up().is_empty());
    line.die(Death::Killed);
    assert_eq!(line.given_up(), [(route, GiveUpCause::Poison, 1)]);
}

#[test]
fn a_death_is_the_fault_of_what_was_alone_on_all_threads() {
    for is_alone in [true, false] {
        let mut line = Line::new();
        let route = line.busy();
        (0..2).for_each(|_| line.die_and_adopt(Death::Fault, &[route]));
        let mut theirs = House::new(1);
        theirs.join(line.worker(), line.house.cell(line.worker()).clone());
        let stranger = theirs.portable(line.worker());
        theirs.messages(stranger, 1);
        // Our suspect's trial has lapsed by then.
        theirs.now = line.house.now;
        theirs.pass(MOMENT);
        assert!(theirs.get(stranger).is_handling());
        if is_alone {
            theirs.commit(stranger, 1);
        }
        // Whichever thread learns of it first.
        theirs.die(line.worker(), Death::Fault);
        line.die(Death::Fault);
        assert_eq!(line.given_up().len(), usize::from(is_alone));
    }
}

#[test]
fn a_message_of_a_connection_that_ends_with_its_worker_is_company_too() {
    for is_finished in [false, true] {
        let mut line = Line::new();
        let route = line.busy();
        (0..2).for_each(|_| line.die_and_adopt(Death::Fault, &[route]));
        let plain = line.house.plain(line.worker());
        line.house.messages(plain, 1);
        if is_finished {
            line.house.commit(plain, 1);
        }
        line.die(Death::Fault);
        assert_eq!(line.given_up().len(), usize::from(is_finished));
    }
}

#[test]
fn others_wait_longer_after_each_trial_that_showed_nothing() {
    let mut line = Line::new();
    let route = line.busy();
    let mut lasted = Vec::new();
    for _ in 0..7 {
        line.house.custody.begin_request(line.worker());
        line.die(Death::Fault);
        if line.house.cell(line.worker()).has_trial() {
            let begun = line.house.now;
            line.house.adopt(route);
            while line.house.cell(line.worker()).has_trial() {
                line.house.pass(MOMENT);
            }
            lasted.push((line.house.now - begun).as_secs_f64().round() as u32);
        } else {
            line.house.adopt(route);
        }
    }
    // The longest is longer than `--hang-timeout`, so that one who hangs is found.
    assert_eq!(lasted, [1, 4, 16, 64, 64, 64]);
}

#[test]
fn what_is_refused_is_not_acquitted_of_a_close_that_killed_workers_before() {
    let mut line = Line::new();
    let route = line.house.portable(FIRST);
    line.house.close(route);
    (0..2).for_each(|_| line.die_and_adopt(Death::Fault, &[route]));
    line.die(Death::Ours);
    line.house.refuse(route);
    assert!(line.house.cell(line.worker()).has_trial());
}
