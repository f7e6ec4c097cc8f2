use shovel_protocol::limits::CONNECTION_WINDOW_BYTES as WINDOW_BYTES;

use super::*;
use crate::transfer::{Closing, Committed, Event, Left};

fn committed(left: Left) -> Result<Committed<Vec<&'static str>>, OutOfTurn> {
    Ok(Committed { effects: Vec::new(), left })
}

#[test]
fn nothing_is_taken_in_before_it_is_accepted() {
    let mut connection = offered();
    assert_eq!(connection.hand_over(1), None);
    assert!(!connection.append("message", 1) && !connection.is_open());
    assert_eq!(connection.append_close(going_away()), Closing::Nothing);
}

#[test]
fn messages_are_taken_in_whoever_has_it_and_handed_over_only_to_an_owner() {
    for mut connection in [releasing(), adopting(), unowned()] {
        assert!(connection.append("message", 1));
        assert!(connection.next().is_none());
        assert!(!connection.is_idle());
    }
    let mut connection = owned();
    assert!(connection.append("message", 1));
    let event = connection.next().unwrap();
    assert_eq!((event.seq, event.event), (1, &Event::Message("message")));
    assert!(connection.next().is_none());
}

#[test]
fn the_window_closes_and_a_commit_opens_it() {
    let mut connection = unkept();
    assert_eq!(connection.hand_over(10), Some((1, true)));
    assert_eq!(connection.hand_over(WINDOW_BYTES), Some((2, false)));
    assert!(!connection.is_open());
    assert_eq!(connection.commit(1), committed(Left::Some { open: false }));
    assert_eq!(connection.commit(2), committed(Left::Nothing));
    assert!(connection.is_open());

    let mut connection = owned();
    assert!(connection.append("small", 10) && connection.is_open());
    assert!(connection.append("large", WINDOW_BYTES) && !connection.is_open());
    give(&mut connection, 0);
    assert_eq!(connection.commit(1), committed(Left::Some { open: false }));
    assert_eq!(connection.commit(2), committed(Left::Nothing));
    assert!(connection.is_open());
}

#[test]
fn a_message_larger_than_the_window_goes_alone() {
    let mut connection = unkept();
    assert_eq!(connection.hand_over(64 * WINDOW_BYTES), Some((1, false)));
    assert_eq!(connection.commit_next(), committed(Left::Nothing));
    assert!(connection.is_open());
}

#[test]
fn many_empty_messages_close_the_window_too() {
    let mut connection = unkept();
    let handed = (0..1_000_000).take_while(|_| connection.hand_over(0).unwrap().1).count();
    assert!(handed < 10_000, "{handed} empty messages were handed over");
    let mut connection = unowned();
    let kept = (0..1_000_000).take_while(|_| connection.append("", 0) && connection.is_open());
    assert!(kept.count() < 10_000);
}

#[test]
fn a_commit_is_cumulative_and_never_goes_back() {
    let mut connection = owned();
    give(&mut connection, 3);
    assert_eq!(connection.commit(3), committed(Left::Nothing));
    assert_eq!(connection.commit(1), committed(Left::Nothing));
    assert_eq!(connection.committed(), 3);
    assert_eq!(connection.commit(4), Err(OutOfTurn::Beyond));
    assert_eq!(connection.commit_next(), Err(OutOfTurn::Beyond));
}

#[test]
fn only_what_was_handed_over_can_be_committed() {
    let mut connection = releasing();
    connection.append("message", 1);
    assert_eq!(connection.commit(1), Err(OutOfTurn::Beyond));
    assert_eq!(adopting().commit(0), Err(OutOfTurn::Adopting));
}

#[test]
fn a_commit_lets_out_what_was_staged_in_order_and_once() {
    for (mut connection, seq) in [(owned(), 1), (owned(), 2)] {
        give(&mut connection, 2);
        connection.staged().unwrap().push("send");
        connection.staged().unwrap().push("subscribe");
        assert_eq!(connection.commit(seq).unwrap().effects, ["send", "subscribe"]);
        assert!(connection.commit(seq).unwrap().effects.is_empty());
    }
}

#[test]
fn what_is_under_way_may_be_committed_while_it_is_given_up() {
    let mut connection = owned();
    give(&mut connection, 2);
    connection.release(AdoptCause::Reload);
    connection.staged().unwrap().push("send");
    assert_eq!(connection.commit(1).unwrap().effects, ["send"]);
    assert_eq!((connection.committed(), connection.phase()), (1, Phase::Releasing));
}

#[test]
fn effects_wait_for_a_commit_only_where_one_may_come_again() {
    assert_eq!(unkept().staged().unwrap_err(), OutOfTurn::NotKept);
    assert_eq!(unkept().act(false), Ok(()));
    for mut connection in [owned(), releasing(), adopting()] {
        assert!(connection.staged().is_ok());
        assert_eq!(connection.act(false), Ok(()));
    }
}

#[test]
fn the_close_is_the_last_event_and_comes_once() {
    let mut connection = unkept();
    connection.hand_over(1);
    assert_eq!(connection.append_close(going_away()), Closing::HandOver(2));
    assert_eq!(connection.append_close(going_away()), Closing::Nothing);
    assert_eq!(connection.hand_over(1), None);
    assert_eq!(connection.commit(1), committed(Left::Some { open: false }));
    assert!(!connection.is_open());
    assert_eq!(connection.commit(2), committed(Left::Closed));

    for mut connection in [owned(), releasing(), adopting(), unowned()] {
        assert_eq!(connection.append_close(going_away()), Closing::Kept);
        assert_eq!(connection.append_close(going_away()), Closing::Nothing);
        assert!(!connection.append("message", 1));
        assert!(connection.is_closed() && !connection.is_open() && !connection.is_idle());
    }
}

#[test]
fn a_full_window_does_not_hold_back_the_close() {
    let mut connection = owned();
    connection.append("large", WINDOW_BYTES);
    assert_eq!(connection.append_close(going_away()), Closing::Kept);
    give(&mut connection, 0);
    assert_eq!(connection.commit(2), committed(Left::Closed));
}

#[test]
fn a_flush_marks_the_event_that_runs_and_no_other() {
    let mut connection = owned();
    give(&mut connection, 2);
    assert_eq!(connection.commit(1), committed(Left::Some { open: true }));
    connection.act(true).unwrap();
    connection.append("unsent", 1);
    connection.orphan(Blame::None, going_away());
    connection.adopt("second");
    connection.adopted().unwrap();
    assert_eq!(marks(&mut connection), Some((2, true, true)));
    assert_eq!(marks(&mut connection), Some((3, false, false)));
}

#[test]
fn a_flush_without_an_event_under_way_marks_nothing() {
    // By a release hook, by an adopt handler, by a task beside the handlers.
    for mut connection in [releasing(), adopting(), owned()] {
        connection.act(true).unwrap();
        if connection.phase() == Phase::Adopting {
            connection.adopted().unwrap();
        }
        connection.append("message", 1);
        connection.orphan(Blame::None, going_away());
        connection.adopt("third");
        connection.adopted().unwrap();
        assert_eq!(marks(&mut connection), Some((1, false, false)));
        // Nor later, when it is handled again.
        connection.orphan(Blame::None, going_away());
        connection.adopt("fourth");
        connection.adopted().unwrap();
        assert_eq!(marks(&mut connection), Some((1, true, false)));
    }
}

#[test]
fn a_send_beside_the_handlers_marks_nothing() {
    let mut connection = owned();
    give(&mut connection, 1);
    connection.act(false).unwrap();
    connection.orphan(Blame::None, going_away());
    connection.adopt("second");
    connection.adopted().unwrap();
    assert_eq!(marks(&mut connection), Some((1, true, false)));
}
