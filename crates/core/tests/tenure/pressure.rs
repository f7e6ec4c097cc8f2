//! A client that reads too slowly.

use super::*;

#[test]
fn sends_wait_while_the_client_lags_and_nothing_else_does() {
    for mut side in [Side::plain(), Side::portable()] {
        side.written();
        assert_eq!(side.tenure.press(true), OnPressure::Answer);
        assert!(!side.tenure.is_plain());
        assert_eq!(side.send("one"), Err(Refused::Pressed));
        side.publish("two").unwrap();
        side.act("three", Deed::Subscribe, 5).unwrap();
        assert_eq!(side.tenure.press(false), OnPressure::Relieve);
        side.send("four").unwrap();
        side.close().unwrap();
        assert_eq!(side.written(), "two now, three now, four now, close now");
    }
}

#[test]
fn pressure_is_answered_behind_what_is_staged() {
    let mut side = Side::portable();
    side.begin(1);
    assert_eq!(side.tenure.press(true), OnPressure::Answer, "nothing is staged yet");
    side.publish("one").unwrap();
    assert_eq!(side.tenure.press(true), OnPressure::Owe);
    assert_eq!(side.tenure.press(true), OnPressure::Owe);
    side.flush();
    assert_eq!(side.written(), "one during, pressed, pressed");
    side.publish("two").unwrap();
    assert_eq!(side.tenure.press(true), OnPressure::Owe);
    side.end(Outcome::Panicked);
    assert_eq!(side.written(), "commit 1, pressed", "what was dropped is no reason to be silent");
}

#[test]
fn nobody_is_told_behind_the_last_answer_that_the_pressure_is_known() {
    let mut side = Side::portable();
    side.tenure.release();
    side.send("bye").unwrap();
    assert_eq!(side.tenure.press(true), OnPressure::Owe);
    side.done();
    assert_eq!(side.written(), "bye, released 0 0");
}

#[test]
fn an_adopt_handler_does_not_wait_for_a_slow_client() {
    let mut side = Side::adopting(true);
    side.send("one").unwrap();
    side.done();
    assert_eq!(side.written(), "one, adopted");
    assert_eq!(side.send("two"), Err(Refused::Pressed));
}
