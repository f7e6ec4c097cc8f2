//! The cells of the table that the room keeps: each state, each event, one by one. What they add up
//! to is searched in `tests/transfer`.

mod blame;
mod handling;
mod moving;

use shovel_protocol::control::AdoptCause;
use shovel_protocol::{Close, CloseCode};

use super::{Attachment, Blame, Connection, Orphaned, OutOfTurn, Phase};

type Small = Connection<&'static str, &'static str, Vec<&'static str>>;

fn offered() -> Small {
    Connection::offered("first")
}

/// Accepted by a worker that cannot adopt.
fn unkept() -> Small {
    let mut connection = offered();
    connection.accept(false).unwrap();
    connection
}

/// Accepted by a worker that can adopt, and attached.
fn owned() -> Small {
    let mut connection = offered();
    connection.accept(true).unwrap();
    connection.attach(attachment());
    connection
}

fn releasing() -> Small {
    let mut connection = owned();
    assert!(connection.release(AdoptCause::Reload));
    connection
}

fn unowned() -> Small {
    let mut connection = owned();
    assert_eq!(connection.orphan(Blame::None, going_away()), Orphaned::Unowned);
    connection
}

fn adopting() -> Small {
    let mut connection = unowned();
    assert_eq!(connection.adopt("second"), Some(AdoptCause::Crash));
    connection
}

fn attachment() -> Attachment {
    Attachment { version: 7, data: Box::from(*b"state") }
}

fn going_away() -> Close {
    Close { code: CloseCode::GOING_AWAY, reason: "bye".to_string(), was_clean: true }
}

/// Takes in so many messages and hands them over.
fn give(connection: &mut Small, messages: usize) {
    for _ in 0..messages {
        assert!(connection.append("message", 1));
    }
    while connection.next().is_some() {}
}

/// The next event with its marks: redelivered, partial.
fn marks(connection: &mut Small) -> Option<(u64, bool, bool)> {
    connection.next().map(|event| (event.seq, event.redelivered, event.partial))
}

#[test]
fn a_connection_is_accepted_once() {
    for mut connection in [unkept(), owned(), releasing(), unowned(), adopting()] {
        let before = connection.clone();
        assert_eq!(connection.accept(true), Err(OutOfTurn::Accepted));
        assert_eq!(connection, before);
    }
}

#[test]
fn everyone_who_has_it_in_some_way_is_its_owner() {
    let owner = |connection: &Small| connection.owner().copied();
    assert_eq!(owner(&offered()), Some("first"));
    assert_eq!(owner(&owned()), Some("first"));
    assert_eq!(owner(&releasing()), Some("first"));
    assert_eq!(owner(&adopting()), Some("second"));
    assert_eq!(owner(&unowned()), None);
}

#[test]
fn what_is_not_kept_has_no_attachment() {
    let mut connection = unkept();
    connection.attach(attachment());
    assert_eq!(connection.attachment(), None);
    assert!(!connection.is_portable() && !connection.is_kept());
    assert_eq!(owned().attachment(), Some(&attachment()));
}

#[test]
fn nothing_may_be_done_to_it_before_it_is_accepted() {
    let mut connection = offered();
    assert_eq!(connection.staged().unwrap_err(), OutOfTurn::Offered);
    assert_eq!(connection.act(false), Err(OutOfTurn::Offered));
    assert_eq!(connection.commit(0).unwrap_err(), OutOfTurn::Offered);
    assert_eq!(connection.commit_next().unwrap_err(), OutOfTurn::Offered);
    assert_eq!(connection.released(0, 0).unwrap_err(), OutOfTurn::Offered);
    assert_eq!(connection.adopted().unwrap_err(), OutOfTurn::Offered);
    assert_eq!(connection.refused(going_away()).unwrap_err(), OutOfTurn::Offered);
    assert!(!connection.release(AdoptCause::Reload) && !connection.revoke());
    assert_eq!(connection.adopt("second"), None);
    assert_eq!(connection.orphan(Blame::Alone, going_away()), Orphaned::Lost);
    assert_eq!(connection.phase(), Phase::Offered);
}

#[test]
fn nobody_does_anything_to_what_nobody_has() {
    let mut connection = unowned();
    connection.append("message", 1);
    let before = connection.clone();
    assert_eq!(connection.staged().unwrap_err(), OutOfTurn::Unasked);
    assert_eq!(connection.act(true), Err(OutOfTurn::Unasked));
    assert_eq!(connection.commit(0).unwrap_err(), OutOfTurn::Unasked);
    assert_eq!(connection.released(0, 0).unwrap_err(), OutOfTurn::Unasked);
    assert_eq!(connection.adopted().unwrap_err(), OutOfTurn::Unasked);
    assert_eq!(connection.refused(going_away()).unwrap_err(), OutOfTurn::Unasked);
    assert!(!connection.release(AdoptCause::Reload) && !connection.revoke());
    assert!(connection.next().is_none());
    assert_eq!(connection, before);
}
