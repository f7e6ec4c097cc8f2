//! What is done to a connection: inside the upgrade, at once, or with the commit of its handler.

use super::*;

#[test]
fn what_a_fetch_handler_does_travels_in_the_upgrade() {
    let mut side = Side::new(Tenure::offered());
    side.tenure.make_portable();
    side.send("hello").unwrap();
    side.attach("state");
    side.publish("joined").unwrap();
    assert_eq!(side.written(), "");
    side.accept(true);
    assert_eq!(side.written(), r#"upgrade with ["hello", "attach state", "joined"]"#);
    assert_eq!(side.tenure.attachment(), Some(&"state"));
    assert_eq!(side.tenure.accept(), None, "accepted twice");
}

#[test]
fn a_fetch_handler_may_do_16_mib_and_no_more() {
    let mut side = Side::new(Tenure::offered());
    let most = shovel_core::tenure::OFFERED_BYTES;
    side.act("long", Deed::Send { bytes: most }, most).unwrap();
    assert_eq!(side.send("more"), Err(Refused::TooMuch));
    assert_eq!(side.publish("more"), Err(Refused::TooMuch));
    side.close().unwrap();
}

#[test]
fn a_fetch_handler_may_do_so_many_things_and_send_no_more() {
    let mut side = Side::new(Tenure::offered());
    for _ in 0..OFFERED_ACTS {
        side.act("", Deed::Send { bytes: 0 }, 0).unwrap();
    }
    assert_eq!(side.send(""), Err(Refused::TooMuch));
    assert_eq!(side.publish(""), Err(Refused::TooMuch));
    // Nobody could tell the app: it shows when the upgrade is accepted.
    side.act("news", Deed::Subscribe, 4).unwrap();
    assert_eq!(side.tenure.offers().unwrap().acts(), OFFERED_ACTS + 1);
}

#[test]
fn a_connection_that_the_fetch_handler_has_closed_takes_no_messages() {
    for portable in [false, true] {
        let mut side = Side::new(Tenure::offered());
        if portable {
            side.tenure.make_portable();
        }
        side.close().unwrap();
        assert!(!side.tenure.is_open());
        assert_eq!(side.send("late"), Err(Refused::Closed));
        side.publish("left").unwrap();
        side.accept(portable);
        assert!(!side.tenure.is_plain());
        assert_eq!(side.message(1), Some(Next::Skip));
    }
}

#[test]
fn a_pinned_connection_stages_nothing() {
    let mut side = Side::new(Tenure::offered());
    side.tenure.make_portable();
    side.tenure.pin();
    side.attach("state");
    assert_eq!(side.written(), "not portable");
    side.accept(false);
    side.begin(1);
    side.send("one").unwrap();
    assert_eq!(side.done(), None);
    assert_eq!(side.written(), "upgrade with [], one now, commit 1");
}

#[test]
fn what_anybody_does_while_a_handler_runs_waits_for_its_end_and_else_goes_out_at_once() {
    let mut side = Side::portable();
    side.send("timer").unwrap();
    side.attach("idle");
    assert_eq!(side.written(), "timer now, attach idle now");
    side.begin(1);
    side.send("one").unwrap();
    side.attach("a");
    side.publish("two").unwrap();
    side.attach("b");
    assert_eq!(side.written(), "");
    assert_eq!(side.tenure.attachment(), Some(&"b"));
    assert_eq!(side.done(), None);
    assert_eq!(side.written(), "attach b, one, two, commit 1");
    side.begin(2);
    assert_eq!(side.done(), None);
    assert_eq!(side.written(), "commit 2", "an attachment is written once");
}

#[test]
fn what_is_let_out_is_not_written_again_with_the_commit() {
    let mut side = Side::portable();
    side.begin(1);
    side.send("one").unwrap();
    side.attach("a");
    side.flush();
    assert_eq!(side.written(), "one during");
    side.flush();
    side.send("two").unwrap();
    side.done();
    assert_eq!(side.written(), "attach a, two, commit 1");
}

/// The caller lets out by `Flush::take` alone: a link without room changes nothing.
#[test]
fn a_flush_that_is_not_taken_changes_nothing() {
    let mut side = Side::portable();
    side.begin(1);
    side.send("one").unwrap();
    let before = side.clone();
    assert!(side.tenure.flush().is_some());
    assert_eq!(side, before);
    assert_eq!(Side::portable().tenure.flush(), None, "nothing is staged");
}

#[test]
fn more_than_1_mib_is_let_out_before_the_handler_has_ended() {
    let mut side = Side::portable();
    side.begin(1);
    let bytes = STAGED_BYTES;
    side.act("long", Deed::Send { bytes }, bytes).unwrap();
    assert_eq!(side.written(), "", "one act of any size is staged");
    side.send("more").unwrap();
    assert_eq!(side.written(), "long during");
    side.done();
    assert_eq!(side.written(), "more, commit 1");
}

#[test]
fn more_acts_than_take_place_at_once_are_let_out_too_whatever_they_are() {
    for deed in [Deed::Send { bytes: 0 }, Deed::Publish { bytes: 0 }, Deed::Subscribe] {
        let mut side = Side::portable();
        side.begin(1);
        for _ in 0..STAGED_ACTS {
            side.act("one", deed, 1).unwrap();
        }
        assert_eq!(side.written(), "");
        side.act("more", deed, 1).unwrap();
        let out = side.written();
        assert_eq!(out.matches("one during").count(), STAGED_ACTS, "{deed:?}");
        side.done();
        assert_eq!(side.written(), "more, commit 1");
    }
}

#[test]
fn nothing_but_a_publish_is_done_to_a_closed_connection() {
    for mut side in [Side::plain(), Side::portable()] {
        side.tenure.client_gone();
        side.written();
        assert!(side.tenure.is_over() && !side.tenure.is_open());
        assert_eq!(side.send("late"), Err(Refused::Closed));
        assert_eq!(side.act("news", Deed::Subscribe, 4), Err(Refused::Closed));
        assert_eq!(side.close(), Err(Refused::Closed));
        side.publish("left").unwrap();
        assert_eq!(side.written(), "left now");
    }
}

#[test]
fn a_connection_that_was_never_accepted_gets_its_close_and_nothing_is_committed() {
    let mut side = Side::new(Tenure::offered());
    side.tenure.make_portable();
    assert!(side.tenure.withdraw());
    assert!(!side.tenure.withdraw() && side.tenure.accept().is_none());
    assert!(!side.tenure.was_accepted() && side.tenure.is_over());
    assert_eq!(side.tenure.begin(What::Close(None), "close"), Some(Next::Handle("close")));
    side.publish("left").unwrap();
    assert_eq!(side.done(), None);
    assert_eq!(side.written(), "left now");
}

/// `ws:gone`: nobody would commit what is staged.
#[test]
fn the_end_of_a_connection_that_the_supervisor_does_not_have_stages_nothing() {
    let mut side = Side::portable();
    side.tenure.client_gone();
    assert_eq!(side.tenure.begin(What::Close(None), "close"), Some(Next::Handle("close")));
    side.publish("left").unwrap();
    side.attach("late");
    assert_eq!(side.done(), None);
    assert_eq!(side.written(), "left now");
}
