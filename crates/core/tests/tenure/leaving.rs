//! The supervisor wants a connection back.

use super::*;

const RELEASE: Option<Next<&str>> = Some(Next::Release { revoked: false });
const REVOKED: Option<Next<&str>> = Some(Next::Release { revoked: true });

#[test]
fn a_release_waits_for_the_running_handler_and_drops_what_was_not_begun() {
    let mut side = Side::portable();
    side.begin(1);
    side.send("one").unwrap();
    assert_eq!(side.message(2), None);
    assert_eq!(side.tenure.release(), None);
    assert_eq!(side.done(), RELEASE);
    assert_eq!(side.written(), "one, commit 1");
    side.send("bye").unwrap();
    side.attach("last");
    assert_eq!(side.tenure.release(), None, "asked twice");
    assert_eq!(side.done(), None);
    assert_eq!(side.written(), "attach last, bye, released 1 1");
    assert!(side.tenure.has_moved() && side.tenure.is_over());
}

#[test]
fn an_idle_connection_is_released_at_once() {
    let mut side = Side::portable();
    assert_eq!(side.tenure.release(), RELEASE);
    assert_eq!(side.done(), None);
    assert_eq!(side.written(), "released 0 0");
}

#[test]
fn a_connection_that_has_left_is_inert() {
    let mut side = Side::portable();
    side.tenure.release();
    side.done();
    side.written();
    assert_eq!(side.send("late"), Err(Refused::Moved));
    assert_eq!(side.publish("late"), Err(Refused::Moved));
    assert_eq!(side.close(), Err(Refused::Moved));
    side.attach("late");
    assert_eq!(side.tenure.attachment(), Some(&"late"));
    side.flush();
    assert_eq!(side.message(1), None);
    assert_eq!(side.tenure.release(), None);
    assert!(!side.tenure.revoke() && !side.tenure.is_revoked());
    side.tenure.client_gone();
    assert!(side.tenure.has_moved());
    assert_eq!(side.written(), "");
}

#[test]
fn a_revoke_drops_the_handler_with_what_it_did_and_names_its_event() {
    let mut side = Side::portable();
    side.begin(1);
    side.send("one").unwrap();
    side.attach("a");
    assert_eq!(side.message(2), None);
    assert!(!side.tenure.is_revoked());
    assert!(side.tenure.revoke() && side.tenure.is_revoked());
    assert_eq!(side.tenure.handler_dropped(), REVOKED);
    assert!(!side.tenure.is_revoked(), "the last handler is not dropped");
    assert_eq!(side.tenure.attachment(), Some(&"first"));
    side.send("bye").unwrap();
    side.attach("late");
    assert_eq!(side.done(), None);
    assert_eq!(side.written(), "released 0 1");
}

#[test]
fn a_handler_that_ends_before_it_could_be_dropped_is_committed() {
    let mut side = Side::portable();
    side.begin(1);
    side.send("one").unwrap();
    side.tenure.revoke();
    assert_eq!(side.done(), REVOKED);
    side.done();
    assert_eq!(side.written(), "one, commit 1, released 1 1");
}

#[test]
fn a_revoke_during_the_release_handler_drops_that() {
    let mut side = Side::portable();
    side.begin(1);
    side.done();
    assert_eq!(side.tenure.release(), RELEASE);
    side.send("bye").unwrap();
    assert!(side.tenure.revoke() && side.tenure.is_revoked());
    assert_eq!(side.tenure.handler_dropped(), REVOKED);
    side.done();
    assert_eq!(side.written(), "commit 1, released 1 1");
}

#[test]
fn a_revoke_while_it_adopts_gives_back_what_it_got() {
    let mut side = Side::adopting(false);
    side.send("one").unwrap();
    side.attach("a");
    assert!(side.tenure.revoke());
    assert_eq!(side.tenure.handler_dropped(), REVOKED);
    side.done();
    assert_eq!(side.written(), "released 4 4");
}

#[test]
fn a_release_handler_that_fails_or_panics_is_answered_for_all_the_same() {
    for (outcome, written) in
        [(Outcome::Failed, "bye, released 0 0"), (Outcome::Panicked, "released 0 0")]
    {
        let mut side = Side::portable();
        side.tenure.release();
        side.send("bye").unwrap();
        assert_eq!(side.end(outcome), None);
        assert_eq!(side.written(), written);
    }
}

#[test]
fn what_cannot_be_given_back_is_not() {
    let mut offered = Side::new(Tenure::offered());
    offered.tenure.make_portable();
    let mut gone = Side::portable();
    gone.tenure.client_gone();
    for mut side in [offered, gone, Side::plain()] {
        side.message(1);
        assert_eq!(side.tenure.release(), None);
        assert!(!side.tenure.revoke());
    }
    assert!(!Side::portable().tenure.revoke(), "nothing runs: the release is answered");
}

#[test]
fn a_close_that_comes_while_it_is_asked_for_is_handled_here() {
    let mut side = Side::portable();
    side.begin(1);
    side.tenure.release();
    side.tenure.client_gone();
    assert_eq!(side.tenure.begin(What::Close(Some(2)), "close"), None);
    assert_eq!(side.done(), Some(Next::Handle("close")));
    assert_eq!(side.done(), None);
    assert_eq!(side.written(), "commit 1, commit 2");
}
