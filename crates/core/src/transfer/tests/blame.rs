use super::*;
use crate::transfer::Left;

/// Its worker dies of the first event.
fn die(connection: &mut Small) -> Orphaned {
    connection.orphan(Blame::Head, going_away())
}

fn pass(connection: &mut Small) {
    connection.adopt("next").unwrap();
    connection.adopted().unwrap();
}

#[test]
fn the_third_death_gives_its_messages_up_and_leaves_the_close() {
    let mut connection = owned();
    give(&mut connection, 2);
    for _ in 0..2 {
        assert_eq!(die(&mut connection), Orphaned::Unowned);
        pass(&mut connection);
        while connection.next().is_some() {}
    }
    assert_eq!(die(&mut connection), Orphaned::Quarantined { dropped: 2 });
    assert!(!connection.is_suspect());
    pass(&mut connection);
    assert_eq!(marks(&mut connection), Some((3, false, false)));
    assert_eq!(connection.commit(3).unwrap().left, Left::Closed);
}

#[test]
fn a_close_that_kills_its_workers_takes_the_connection_with_it() {
    let mut connection = owned();
    connection.append_close(going_away());
    for _ in 0..2 {
        connection.next().unwrap();
        assert_eq!(die(&mut connection), Orphaned::Unowned);
        pass(&mut connection);
    }
    connection.next().unwrap();
    assert_eq!(die(&mut connection), Orphaned::Lost);
}

#[test]
fn only_what_is_under_way_is_blamed_and_only_if_someone_is() {
    let mut connection = owned();
    give(&mut connection, 1);
    for _ in 0..5 {
        assert_eq!(connection.orphan(Blame::None, going_away()), Orphaned::Unowned);
        pass(&mut connection);
        // It owns it, but nothing was handed over.
        assert_eq!(die(&mut connection), Orphaned::Unowned);
        pass(&mut connection);
        connection.next().unwrap();
    }
    assert!(!connection.carries_suspect());
}

#[test]
fn after_two_deaths_an_event_is_a_suspect_until_it_is_committed() {
    let mut connection = owned();
    give(&mut connection, 2);
    for death in 1..=2 {
        die(&mut connection);
        assert_eq!(connection.is_suspect(), death == 2);
        pass(&mut connection);
        assert_eq!(connection.is_suspect(), death == 2);
        assert!(!connection.carries_suspect());
        while connection.next().is_some() {}
        assert_eq!(connection.carries_suspect(), death == 2);
        assert!(!connection.is_suspect(), "what comes behind a suspect is none");
    }
    connection.commit(1).unwrap();
    assert!(!connection.carries_suspect() && !connection.is_suspect());
    assert_eq!(die(&mut connection), Orphaned::Unowned);
}

#[test]
fn the_third_death_in_adopting_is_the_last() {
    let mut connection = adopting();
    for death in 1..=2 {
        assert_eq!(die(&mut connection), Orphaned::Unowned);
        assert_eq!(connection.is_suspect(), death == 2);
        connection.adopt("next");
        assert_eq!(connection.carries_suspect(), death == 2);
    }
    assert_eq!(die(&mut connection), Orphaned::Lost);
}

#[test]
fn an_adoption_that_takes_too_long_counts_like_a_death() {
    let mut connection = adopting();
    for time in 1..=3 {
        assert!(connection.revoke());
        assert_eq!(connection.released(0, 0).unwrap().hopeless, time == 3);
        connection.adopt("next");
    }
}

#[test]
fn an_answered_adoption_is_acquitted_whatever_the_answer() {
    for is_refused in [false, true] {
        let mut connection = adopting();
        for _ in 0..2 {
            die(&mut connection);
            connection.adopt("next");
        }
        if is_refused {
            connection.refused(going_away()).unwrap();
        } else {
            connection.adopted().unwrap();
        }
        assert!(!connection.is_suspect() && !connection.carries_suspect());
        die(&mut connection);
        connection.adopt("next");
        assert_eq!(die(&mut connection), Orphaned::Unowned);
    }
}

#[test]
fn a_refusal_does_not_acquit_the_close_that_killed_workers_before() {
    let mut connection = owned();
    connection.append_close(going_away());
    for _ in 0..2 {
        connection.next().unwrap();
        die(&mut connection);
        connection.adopt("next");
        connection.adopted().unwrap();
    }
    connection.orphan(Blame::None, going_away());
    connection.adopt("next");
    assert_eq!(connection.refused(going_away()), Ok(0));
    assert!(connection.is_suspect());
}
