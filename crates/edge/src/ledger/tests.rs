//! The ledger as a whole, without clients: what is noted, what is read, who is closed.

use std::collections::HashMap;
use std::task::Waker;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::advance;

use super::*;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

fn noop() -> Option<Waker> {
    Some(Waker::noop().clone())
}

fn ledger(limit_bytes: usize) -> Ledger {
    let ledger = Ledger::default();
    ledger.limit(limit_bytes);
    ledger
}

fn with_incoming(ledger: &Ledger, bytes: usize) -> Account {
    let account = Account::new(ledger);
    account.note_incoming(bytes, noop);
    account
}

fn with_outgoing(ledger: &Ledger, bytes: usize) -> Account {
    let account = Account::new(ledger);
    account.note_outgoing((bytes, 0), false, noop);
    account
}

const UNREAD: Reads = Reads::Nothing { is_new: true };
const STILL_UNREAD: Reads = Reads::Nothing { is_new: false };

#[derive(Clone, Debug)]
enum Step {
    Incoming(u8, usize),
    Outgoing(u8, usize, usize),
    All(u8, usize),
    Close(u8),
    Pot(u8, usize),
    DropPot(u8),
    Parcel(u8, usize),
    DropParcel(u8),
    Read(u8),
    LookAfter,
    Limit(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (who, bytes) = (0_u8..6, prop_oneof![Just(0), 0..10 * MIB]);
    let two = (0_u8..6, prop_oneof![Just(0), 0..10 * MIB]);
    prop_oneof![
        two.clone().prop_map(|(who, bytes)| Step::Incoming(who, bytes)),
        (two.clone(), 0..MIB).prop_map(|((who, bytes), shared)| Step::Outgoing(who, bytes, shared)),
        two.clone().prop_map(|(who, bytes)| Step::All(who, bytes)),
        who.clone().prop_map(Step::Close),
        two.clone().prop_map(|(who, bytes)| Step::Pot(who, bytes)),
        who.clone().prop_map(Step::DropPot),
        two.prop_map(|(who, bytes)| Step::Parcel(who, bytes)),
        who.clone().prop_map(Step::DropParcel),
        who.prop_map(Step::Read),
        Just(Step::LookAfter),
        bytes.prop_map(Step::Limit),
    ]
}

/// What a history has left.
#[derive(Default)]
struct World {
    ledger: Ledger,
    accounts: HashMap<u8, (Account, Held)>,
    pots: HashMap<u8, (Pot, usize)>,
    parcels: HashMap<u8, bytes::Bytes>,
}

impl World {
    fn account(&mut self, who: u8) -> &mut (Account, Held) {
        let ledger = &self.ledger;
        self.accounts.entry(who).or_insert_with(|| (Account::new(ledger), Held::default()))
    }

    fn do_step(&mut self, step: Step) {
        match step {
            Step::Incoming(who, bytes) => {
                let (account, held) = self.account(who);
                account.note_incoming(bytes, noop);
                held.incoming_bytes = bytes;
            }
            Step::Outgoing(who, bytes, shared) => {
                let (account, held) = self.account(who);
                account.note_outgoing((bytes, shared), bytes % 2 == 0, noop);
                (held.outgoing_bytes, held.shared_bytes) = (bytes, shared);
            }
            Step::All(who, bytes) => {
                let (account, held) = self.account(who);
                *held = Held { incoming_bytes: bytes, ..Held::default() };
                account.note(*held, false, noop);
            }
            Step::Close(who) => drop(self.accounts.remove(&who)),
            Step::Pot(which, bytes) => {
                let ledger = &self.ledger;
                let pot = self.pots.entry(which).or_insert_with(|| (ledger.pot(), 0));
                pot.0.note(bytes);
                pot.1 = bytes;
            }
            Step::DropPot(which) => drop(self.pots.remove(&which)),
            Step::Parcel(which, bytes) => {
                let parcel = Parcel::wrap(vec![0; bytes], &self.ledger);
                self.parcels.insert(which, parcel.clone());
            }
            Step::DropParcel(which) => drop(self.parcels.remove(&which)),
            Step::Read(who) => {
                let account = &self.account(who).0;
                account.reads();
                account.take_eviction();
            }
            Step::LookAfter => self.ledger.look_after(),
            Step::Limit(bytes) => self.ledger.limit(bytes),
        }
    }

    fn sum(&self) -> usize {
        let accounts = self.accounts.values();
        let accounts = accounts.map(|(_, held)| held.incoming_bytes + held.outgoing_bytes);
        let pots = self.pots.values().map(|(_, bytes)| *bytes);
        let parcels = self.parcels.values().map(|parcel| parcel.len());
        accounts.chain(pots).chain(parcels).sum()
    }

    fn holders(&self) -> usize {
        self.accounts.values().filter(|(_, held)| *held != Held::default()).count()
    }
}

proptest! {
    #[test]
    fn the_sum_is_what_all_hold_after_any_history_and_nothing_when_all_are_gone(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut world = World::default();
        for step in steps {
            world.do_step(step);
            prop_assert_eq!(world.ledger.held_bytes(), world.sum());
            let holders = world.ledger.0.holders.borrow();
            prop_assert_eq!(holders.len(), world.holders());
            for (place, entry) in holders.iter().enumerate() {
                prop_assert_eq!(entry.place.get(), place);
            }
        }
        let World { ledger, accounts, pots, parcels } = world;
        drop((accounts, pots, parcels));
        ledger.look_after();
        prop_assert_eq!(ledger.held_bytes(), 0);
        prop_assert!(ledger.0.holders.borrow().is_empty());
        prop_assert!(ledger.0.waiting.borrow().is_empty());
        prop_assert!(ledger.0.permitted.borrow().is_empty());
    }
}

#[test]
fn while_memory_is_short_the_greedy_are_not_read_and_all_others_are() {
    let ledger = ledger(8 * MIB);
    let idle = Account::new(&ledger);
    let greedy = with_outgoing(&ledger, 3 * MIB);
    assert_eq!(greedy.reads(), Reads::All);
    let modest = with_outgoing(&ledger, MIB);
    let all = [&greedy, &modest, &idle];
    assert_eq!(all.map(Account::reads), [UNREAD, Reads::All, Reads::All]);
    assert_eq!(greedy.reads(), STILL_UNREAD);
    // It has taken some of it, and is read again before it is below what made memory short.
    greedy.note_outgoing((2 * MIB - KIB, 0), true, noop);
    ledger.look_after();
    assert_eq!(all.map(Account::reads), [Reads::All; 3]);
}

#[test]
fn at_the_bound_those_that_hold_something_are_not_read_and_others_little_at_a_time() {
    let ledger = ledger(8 * MIB);
    let (idle, greedy) = (Account::new(&ledger), with_outgoing(&ledger, 8 * MIB));
    let little = with_outgoing(&ledger, 16 * KIB);
    assert_eq!(greedy.reads(), UNREAD);
    assert!([&idle, &little].iter().all(|its| matches!(its.reads(), Reads::Little(_))));
}

#[tokio::test(start_paused = true)]
async fn at_the_bound_the_greediest_without_progress_is_closed_and_only_it() {
    let ledger = ledger(8 * MIB);
    let holders = [2, 4, 1].map(|mib| with_outgoing(&ledger, mib * MIB));
    advance(Duration::from_secs(11)).await;
    let quick = with_outgoing(&ledger, MIB);
    ledger.look_after();
    assert!(!quick.take_eviction());
    assert_eq!(holders.each_ref().map(Account::take_eviction), [false, true, false]);
    assert!(!ledger.refuses());
    assert!(!holders[1].take_eviction(), "told once");
}

#[test]
fn what_is_nobodys_cannot_be_closed_and_has_new_clients_refused() {
    let ledger = ledger(8 * MIB);
    let pot = ledger.pot();
    pot.add(9 * MIB);
    ledger.look_after();
    assert!(ledger.refuses());
    pot.take(4 * MIB);
    ledger.look_after();
    assert!(!ledger.refuses());
}

#[test]
fn what_many_share_counts_once_and_until_the_last_has_it() {
    let ledger = ledger(8 * MIB);
    let parcel = Parcel::wrap(vec![0; MIB], &ledger);
    let others = vec![parcel.clone(); 100];
    drop(parcel);
    assert_eq!(ledger.held_bytes(), MIB);
    drop(others);
    assert_eq!(ledger.held_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn of_those_that_all_wait_with_what_they_have_begun_some_may_finish() {
    let ledger = ledger(16 * MIB);
    let begun: Vec<_> = (0..10).map(|_| with_incoming(&ledger, MIB)).collect();
    assert!(begun.iter().all(|its| its.reads() == UNREAD));
    let mut seen = [false; 10];
    for _ in 0..10 {
        ledger.look_after();
        let read = begun.iter().map(|its| its.reads() == Reads::All);
        let read: Vec<_> = read.collect();
        let count = read.iter().filter(|is_read| **is_read).count();
        assert!((1..=4).contains(&count), "{read:?}");
        seen.iter_mut().zip(read).for_each(|(seen, is_read)| *seen |= is_read);
        // None of them goes on, so others have their turn.
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(seen, [true; 10]);
}

#[tokio::test(start_paused = true)]
async fn of_many_that_are_to_be_closed_or_read_again_a_few_are_at_a_time() {
    let ledger = ledger(MIB);
    let holders: Vec<_> = (0..300).map(|_| with_outgoing(&ledger, 8 * KIB)).collect();
    advance(Duration::from_secs(11)).await;
    let closed = || holders.iter().filter(|its| its.take_eviction()).count();
    ledger.look_after();
    assert_eq!(closed(), 64);
    // There is room for what they hold, but for them to be read it takes their turn.
    assert!(holders.iter().all(|its| matches!(its.reads(), Reads::Little(_))));
    let greedy: Vec<_> = (0..300).map(|_| with_outgoing(&ledger, 20 * KIB)).collect();
    assert!(greedy.iter().all(|its| its.reads() == UNREAD));
    ledger.limit(100 * MIB);
    let waiting = || ledger.0.waiting.borrow().len();
    for left in [236, 172, 108, 44, 0] {
        ledger.look_after();
        assert_eq!(waiting(), left);
    }
}
