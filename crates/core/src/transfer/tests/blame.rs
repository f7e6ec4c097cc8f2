use super::*;
use crate::transfer::Left;

/// Its worker dies, and had nothing else under way.
fn die(connection: &mut Small) -> Orphaned {
    connection.orphan(Blame::Alone, going_away())
}

/// Its worker dies, and had other things under way.
fn die_in_company(connection: &mut Small) -> Orphaned {
    connection.orphan(Blame::InCompany, going_away())
}

fn is_suspect(connection: &Small) -> bool {
    connection.suspect().is_some()
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
    assert!(!is_suspect(&connection));
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
        assert!(!is_suspect(&connection), "anyone may adopt it");
        pass(&mut connection);
        assert_eq!(is_suspect(&connection), death == 2);
        assert!(!connection.carries_suspect());
        while connection.next().is_some() {}
        assert_eq!(connection.carries_suspect(), death == 2);
        assert!(!is_suspect(&connection), "what comes behind a suspect is none");
    }
    connection.commit(1).unwrap();
    assert!(!connection.carries_suspect() && !is_suspect(&connection));
    assert_eq!(die(&mut connection), Orphaned::Unowned);
}

#[test]
fn the_third_death_in_adopting_is_the_last() {
    let mut connection = adopting();
    for death in 1..=2 {
        assert_eq!(die(&mut connection), Orphaned::Unowned);
        assert_eq!(is_suspect(&connection), death == 2);
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
        assert!(!is_suspect(&connection) && !connection.carries_suspect());
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
    assert!(is_suspect(&connection));
}

#[test]
fn what_was_in_company_when_its_workers_died_is_given_up_only_when_they_die_of_it_alone() {
    for dies_adopting in [false, true] {
        let mut connection = owned();
        give(&mut connection, 1);
        let again = |connection: &mut Small| {
            connection.adopt("next").unwrap();
            if !dies_adopting {
                connection.adopted().unwrap();
                connection.next().unwrap();
            }
        };
        if dies_adopting {
            connection.orphan(Blame::None, going_away());
            connection.adopt("next").unwrap();
        }
        for _ in 0..7 {
            assert_eq!(die_in_company(&mut connection), Orphaned::Unowned);
            again(&mut connection);
        }
        let mut hopeless = connection.clone();
        assert_ne!(die_in_company(&mut hopeless), Orphaned::Unowned, "nothing else is likely");
        assert_ne!(die(&mut connection), Orphaned::Unowned);
    }
}

#[test]
fn others_wait_longer_after_each_trial_that_showed_nothing() {
    let mut connection = owned();
    give(&mut connection, 1);
    let mut lasted = Vec::new();
    for _ in 0..7 {
        die_in_company(&mut connection);
        pass(&mut connection);
        lasted.extend(connection.suspect().map(|lasts| lasts.as_secs()));
        connection.next().unwrap();
    }
    // The longest is longer than `--hang-timeout`, so that one who hangs is found.
    assert_eq!(lasted, [1, 4, 16, 64, 64, 64]);
}

#[test]
fn events_and_adoptions_are_under_way_until_they_have_ended() {
    let mut connection = owned();
    assert!(!connection.is_under_way() && !connection.has_next());
    connection.append("message", 1);
    assert!(!connection.is_under_way() && connection.has_next());
    connection.next().unwrap();
    assert!(connection.is_under_way() && !connection.has_next());
    connection.commit(1).unwrap();
    assert!(!connection.is_under_way());
    connection.append("message", 1);
    connection.orphan(Blame::None, going_away());
    assert!(!connection.is_under_way() && !connection.has_next());
    connection.adopt("next").unwrap();
    assert!(connection.is_under_way() && !connection.has_next());
    connection.adopted().unwrap();
    assert!(!connection.is_under_way() && connection.has_next());
    let mut unkept = unkept();
    unkept.hand_over(1).unwrap();
    assert!(!unkept.is_under_way() && !unkept.has_next());
}
