//! One event after another, and how each ends.

use super::*;

#[test]
fn events_wait_for_those_before_them() {
    for mut side in [Side::plain(), Side::portable()] {
        side.written();
        side.begin(1);
        assert_eq!(side.message(2), None);
        side.tenure.client_gone();
        assert_eq!(side.tenure.begin(What::Close(Some(3)), "close"), None);
        assert_eq!(side.done(), Some(Next::Handle("message")));
        assert_eq!(side.done(), Some(Next::Handle("close")));
        assert_eq!(side.done(), None);
        assert_eq!(side.written(), "commit 1, commit 2, commit 3");
    }
}

#[test]
fn a_row_is_committed_once() {
    let mut side = Side::plain();
    side.written();
    side.begin(1);
    assert_eq!(side.tenure.end_row(3, |report| put(&mut side.link, report)), None);
    side.begin(4);
    side.tenure.row_waits(5, 6);
    assert_eq!(side.message(7), None);
    assert_eq!(side.done(), Some(Next::Handle("message")));
    assert_eq!(side.written(), "commit up to 3, commit 6");
}

#[test]
fn messages_behind_the_app_s_own_close_are_dropped_but_committed() {
    for mut side in [Side::plain(), Side::portable()] {
        side.written();
        side.begin(1);
        assert_eq!(side.message(2), None);
        side.close().unwrap();
        assert_eq!(side.send("late"), Err(Refused::Closed));
        assert_eq!(side.close(), Err(Refused::Closed));
        assert_eq!(side.message(3), None);
        side.tenure.client_gone();
        assert_eq!(side.tenure.begin(What::Close(Some(4)), "close"), None);
        for _ in 2..=3 {
            assert_eq!(side.done(), Some(Next::Skip));
        }
        assert_eq!(side.done(), Some(Next::Handle("close")));
        let written = side.written();
        assert!(written.starts_with("close") && written.ends_with("commit 3"), "{written}");
    }
}

#[test]
fn a_handler_that_fails_commits_what_it_did() {
    let mut side = Side::portable();
    side.begin(1);
    side.send("one").unwrap();
    side.attach("a");
    side.end(Outcome::Failed);
    assert_eq!(side.written(), "attach a, one, commit 1");
}

#[test]
fn of_a_handler_that_panics_nothing_happens_but_its_commit_and_what_it_had_let_out() {
    let mut side = Side::portable();
    side.begin(1);
    side.send("one").unwrap();
    side.flush();
    side.send("two").unwrap();
    side.attach("a");
    side.end(Outcome::Panicked);
    assert_eq!(side.written(), "one during, commit 1");
    assert_eq!(side.tenure.attachment(), Some(&"first"));
    side.begin(2);
    side.done();
    assert_eq!(side.written(), "commit 2");
}

#[test]
fn a_connection_whose_close_was_dropped_with_its_handler_is_open_again() {
    let mut side = Side::portable();
    side.begin(1);
    assert_eq!(side.message(2), None);
    side.close().unwrap();
    assert!(!side.tenure.is_open());
    assert_eq!(side.end(Outcome::Panicked), Some(Next::Handle("message")));
    assert!(side.tenure.is_open());
    side.send("two").unwrap();
    side.done();
    assert_eq!(side.written(), "commit 1, two, commit 2");
}

#[test]
fn a_close_that_was_let_out_stays_though_its_handler_panics() {
    let mut side = Side::portable();
    side.begin(1);
    assert_eq!(side.message(2), None);
    side.close().unwrap();
    side.flush();
    assert_eq!(side.end(Outcome::Panicked), Some(Next::Skip));
    assert!(!side.tenure.is_open());
    assert_eq!(side.written(), "close during, commit 1");
}

#[test]
fn a_handler_of_which_a_part_has_panicked_commits_what_it_does_after_that() {
    let mut side = Side::portable();
    side.begin(1);
    side.send("one").unwrap();
    side.attach("a");
    side.tenure.panicked();
    side.close().unwrap();
    side.done();
    assert_eq!(side.written(), "close, commit 1");
    assert_eq!(side.tenure.attachment(), Some(&"first"));
    side.tenure.panicked();
    assert_eq!(side.tenure.attachment(), Some(&"first"), "nothing runs");
}

#[test]
fn an_adopt_handler_that_fails_or_panics_refuses_and_nothing_that_it_did_is_said() {
    for outcome in [Outcome::Failed, Outcome::Panicked] {
        let mut side = Side::adopting(false);
        side.send("one").unwrap();
        side.attach("a");
        assert_eq!(side.message(5), None);
        assert_eq!(side.end(outcome), Some(Next::Skip));
        assert_eq!(side.written(), "refused");
        assert_eq!(side.send("late"), Err(Refused::Closed));
        assert_eq!(side.done(), None);
        side.tenure.client_gone();
        assert_eq!(side.tenure.begin(What::Close(Some(9)), "close"), Some(Next::Handle("close")));
        assert_eq!(side.done(), None);
        assert_eq!(side.written(), "commit 5, commit up to 9");
    }
}

/// Who ends with the pool is closed though it is being adopted: docs/wire.md, "Taking over".
#[test]
fn a_close_that_comes_while_it_is_adopted_is_handled_behind_that() {
    let mut side = Side::adopting(false);
    side.tenure.client_gone();
    assert_eq!(side.tenure.begin(What::Close(Some(5)), "close"), None);
    assert_eq!(side.done(), Some(Next::Handle("close")));
    assert_eq!(side.written(), "adopted");
    assert_eq!(side.done(), None);
    assert_eq!(side.written(), commit(5, true));
}

#[test]
fn an_adoption_commits_what_its_handler_did_and_events_follow() {
    let mut side = Side::adopting(false);
    side.send("one").unwrap();
    side.attach("a");
    assert_eq!(side.message(5), None);
    assert_eq!(side.done(), Some(Next::Handle("message")));
    assert_eq!(side.written(), "attach a, one, adopted");
    assert_eq!(side.done(), None);
    assert_eq!(side.written(), "commit 5");
}
