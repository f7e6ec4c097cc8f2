use super::*;
use crate::transfer::{Left, Released};

/// Gives it to the next worker.
fn pass(connection: &mut Small) {
    connection.adopt("next").unwrap();
    connection.adopted().unwrap();
}

#[test]
fn only_an_open_portable_connection_with_an_owner_is_released() {
    assert!(owned().release(AdoptCause::Wake));
    for mut connection in [unkept(), releasing(), adopting(), unowned()] {
        assert!(!connection.release(AdoptCause::Reload));
    }
    let mut without_attachment = offered();
    without_attachment.accept(true).unwrap();
    assert!(!without_attachment.release(AdoptCause::Reload));
    let mut closed = owned();
    closed.append_close(going_away());
    assert!(!closed.release(AdoptCause::Reload));
}

#[test]
fn what_was_not_begun_comes_again_unmarked() {
    let mut connection = owned();
    give(&mut connection, 3);
    connection.release(AdoptCause::Reload);
    connection.commit(1).unwrap();
    let released = connection.released(1, 1).unwrap();
    assert_eq!(released, Released { owner: "first", effects: Vec::new(), hopeless: false });
    assert_eq!(connection.phase(), Phase::Unowned);
    assert_eq!(connection.adopt("second"), Some(AdoptCause::Reload));
    assert!(connection.next().is_none());
    connection.adopted().unwrap();
    assert_eq!(marks(&mut connection), Some((2, false, false)));
    assert_eq!(marks(&mut connection), Some((3, false, false)));
}

#[test]
fn what_was_cut_comes_again_marked() {
    let mut connection = owned();
    give(&mut connection, 3);
    connection.release(AdoptCause::Reload);
    assert!(connection.revoke());
    connection.released(0, 1).unwrap();
    pass(&mut connection);
    assert_eq!(marks(&mut connection), Some((1, true, false)));
    assert_eq!(marks(&mut connection), Some((2, false, false)));
}

#[test]
fn what_the_release_hook_did_is_let_out() {
    let mut connection = releasing();
    connection.staged().unwrap().push("attach");
    assert_eq!(connection.released(0, 0).unwrap().effects, ["attach"]);
    assert!(adopting().adopted().unwrap().is_empty());
}

#[test]
fn a_release_must_agree_with_the_commits() {
    let mut connection = owned();
    give(&mut connection, 3);
    connection.commit(1).unwrap();
    connection.release(AdoptCause::Reload);
    for (handled, started) in [(0, 0), (0, 1), (2, 2), (1, 0), (1, 4)] {
        let before = connection.clone();
        assert_eq!(connection.released(handled, started).unwrap_err(), OutOfTurn::Disagrees);
        assert_eq!(connection, before);
    }
    assert!(connection.released(1, 3).is_ok());
}

#[test]
fn nothing_is_given_up_that_nobody_asked_for() {
    for mut connection in [owned(), adopting()] {
        assert_eq!(connection.released(0, 0).unwrap_err(), OutOfTurn::Unasked);
    }
    for mut connection in [owned(), releasing()] {
        assert_eq!(connection.adopted().unwrap_err(), OutOfTurn::Unasked);
        assert_eq!(connection.refused(going_away()).unwrap_err(), OutOfTurn::Unasked);
    }
}

#[test]
fn whoever_was_asked_is_told_once() {
    for mut connection in [releasing(), adopting()] {
        let phase = connection.phase();
        assert!(connection.revoke());
        assert!(!connection.revoke());
        assert_eq!(connection.phase(), phase);
    }
    assert!(!owned().revoke());
}

#[test]
fn a_revoke_that_crosses_the_adoption_may_still_be_answered() {
    let mut connection = adopting();
    connection.revoke();
    connection.adopted().unwrap();
    give(&mut connection, 2);
    connection.commit(1).unwrap();
    let released = connection.released(1, 2).unwrap();
    assert_eq!((released.owner, released.hopeless), ("second", false));
    assert_eq!(connection.adopt("third"), Some(AdoptCause::Crash));
    connection.adopted().unwrap();
    assert_eq!(marks(&mut connection), Some((2, true, false)));
    assert_eq!(connection.released(1, 1).unwrap_err(), OutOfTurn::Unasked);
}

#[test]
fn a_revoke_that_crosses_a_refusal_may_still_be_answered() {
    let mut connection = adopting();
    connection.revoke();
    connection.refused(going_away()).unwrap();
    assert!(connection.released(0, 0).is_ok());
    pass(&mut connection);
    assert_eq!(marks(&mut connection), Some((1, false, false)));
    assert_eq!(connection.commit(1).unwrap().left, Left::Closed);
}

#[test]
fn a_crash_undoes_what_the_running_handler_did_and_brings_its_message_again() {
    let mut connection = owned();
    give(&mut connection, 3);
    connection.commit(1).unwrap();
    connection.staged().unwrap().push("send");
    connection.append("unsent", 1);
    assert_eq!(connection.orphan(Blame::Alone, going_away()), Orphaned::Unowned);
    assert_eq!((connection.owner(), connection.committed()), (None, 1));
    assert_eq!(connection.adopt("second"), Some(AdoptCause::Crash));
    assert!(connection.adopted().unwrap().is_empty());
    assert_eq!(marks(&mut connection), Some((2, true, false)));
    assert_eq!(marks(&mut connection), Some((3, true, false)));
    assert_eq!(marks(&mut connection), Some((4, false, false)));
    assert!(connection.commit(2).unwrap().effects.is_empty());
}

#[test]
fn a_mark_outlives_another_crash_and_a_planned_move() {
    let mut connection = owned();
    give(&mut connection, 2);
    connection.act(true).unwrap();
    connection.orphan(Blame::None, going_away());
    // This one dies adopting and taints nothing, and the next gives it up at once.
    connection.adopt("second");
    connection.orphan(Blame::None, going_away());
    pass(&mut connection);
    connection.release(AdoptCause::Rebalance);
    connection.released(0, 0).unwrap();
    pass(&mut connection);
    assert_eq!(marks(&mut connection), Some((1, true, true)));
    assert_eq!(marks(&mut connection), Some((2, true, false)));
}

#[test]
fn whoever_dies_adopting_taints_nothing() {
    let mut connection = adopting();
    connection.append("message", 1);
    connection.staged().unwrap().push("send");
    assert_eq!(connection.orphan(Blame::None, going_away()), Orphaned::Unowned);
    connection.adopt("third");
    assert!(connection.adopted().unwrap().is_empty());
    assert_eq!(marks(&mut connection), Some((1, false, false)));
}

#[test]
fn what_the_adopt_handler_did_is_let_out() {
    let mut connection = adopting();
    connection.staged().unwrap().push("send");
    assert_eq!(connection.adopted().unwrap(), ["send"]);
    assert_eq!((connection.phase(), connection.owner()), (Phase::Owned, Some(&"second")));
}

#[test]
fn only_what_nobody_has_is_adopted() {
    for mut connection in [owned(), releasing(), adopting()] {
        let before = connection.clone();
        assert_eq!(connection.adopt("third"), None);
        assert_eq!(connection, before);
    }
}

#[test]
fn what_cannot_move_is_lost_with_its_worker() {
    let mut without_attachment = offered();
    without_attachment.accept(true).unwrap();
    give(&mut without_attachment, 1);
    for mut connection in [unkept(), without_attachment] {
        assert_eq!(connection.orphan(Blame::Alone, going_away()), Orphaned::Lost);
    }
}

#[test]
fn messages_from_before_the_first_attachment_come_again_too() {
    let mut connection = offered();
    connection.accept(true).unwrap();
    give(&mut connection, 2);
    connection.attach(attachment());
    connection.commit(1).unwrap();
    assert_eq!(connection.orphan(Blame::Alone, going_away()), Orphaned::Unowned);
    pass(&mut connection);
    assert_eq!(marks(&mut connection), Some((2, true, false)));
}

#[test]
fn whoever_refuses_it_has_it_for_its_close_alone() {
    let mut connection = owned();
    give(&mut connection, 2);
    connection.commit(1).unwrap();
    connection.orphan(Blame::Alone, going_away());
    connection.append("third", 1);
    connection.adopt("second");
    connection.staged().unwrap().push("send");
    assert_eq!(connection.refused(going_away()), Ok(2));
    assert!(connection.is_closed() && !connection.append("late", 1));
    assert_eq!(connection.committed(), 1);
    assert_eq!(marks(&mut connection), Some((4, false, false)));
    let committed = connection.commit(4).unwrap();
    assert!(committed.effects.is_empty());
    assert_eq!(committed.left, Left::Closed);
}

#[test]
fn a_refusal_after_the_clients_close_keeps_that_close() {
    let mut connection = adopting();
    connection.append("message", 1);
    connection.append_close(going_away());
    assert_eq!(connection.refused(going_away()), Ok(1));
    assert_eq!(marks(&mut connection), Some((2, false, false)));
}

#[test]
fn what_was_given_up_is_not_committed_by_anyone() {
    let mut connection = adopting();
    connection.append("message", 1);
    connection.refused(going_away()).unwrap();
    connection.commit(1).unwrap();
    assert_eq!(connection.committed(), 0);
}

#[test]
fn a_close_event_comes_again_if_its_owner_dies_in_it() {
    let mut connection = owned();
    connection.append_close(going_away());
    assert_eq!(marks(&mut connection), Some((1, false, false)));
    assert_eq!(connection.orphan(Blame::Alone, going_away()), Orphaned::Unowned);
    pass(&mut connection);
    assert_eq!(marks(&mut connection), Some((1, true, false)));
    assert_eq!(connection.commit(1).unwrap().left, Left::Closed);
}

#[test]
fn what_arrives_while_it_is_given_up_waits_for_the_next_owner() {
    let mut connection = releasing();
    connection.append("message", 1);
    connection.append_close(going_away());
    connection.released(0, 0).unwrap();
    assert!(!connection.is_idle());
    pass(&mut connection);
    assert_eq!(marks(&mut connection), Some((1, false, false)));
    assert_eq!(marks(&mut connection), Some((2, false, false)));
}
