//! Who is subscribed to which channel, within one thread.
//!
//! Called by link readers. A channel exists while it has subscribers; an empty one costs nothing.
//! Subscribers are kept in a list per channel, so that a publish walks memory in order; each
//! subscriber knows its subscriptions ([`Subscriptions`]), so that neither joining nor leaving searches.

mod subscriptions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shovel_protocol::WorkerId;

use crate::slots::Slot;
use subscriptions::Listing;
pub use subscriptions::Subscriptions;

/// A channel within one [`Channels`]; valid while it has subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelIndex(pub u32);

/// All channels of a thread that have subscribers.
#[derive(Debug, Default)]
pub struct Channels {
    names: BTreeMap<Arc<str>, ChannelIndex>,
    channels: Vec<Channel>,
    free: Vec<ChannelIndex>,
    /// The channels of each worker that subscribed itself.
    of_workers: BTreeMap<WorkerId, BTreeSet<ChannelIndex>>,
    /// Subscriptions of all.
    count: usize,
    limits: Limits,
}

/// How many subscriptions there may be in one [`Channels`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of one connection.
    pub per_connection: usize,
    /// Of one worker itself.
    pub per_worker: usize,
    /// Of all.
    pub in_all: usize,
}

/// The limit that forbids one more subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Full {
    /// [`Limits::per_connection`].
    Connection,
    /// [`Limits::per_worker`].
    Worker,
    /// [`Limits::in_all`].
    All,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { per_connection: usize::MAX, per_worker: usize::MAX, in_all: usize::MAX }
    }
}

#[derive(Debug, Default)]
struct Channel {
    /// Held once for both: names may be long.
    name: Arc<str>,
    connections: Vec<Slot>,
    workers: Vec<WorkerId>,
}

/// Gives access to the [`Subscriptions`] of the connection in a slot.
pub trait Subscribers {
    /// Those of the connection in this slot; `None` if there is none.
    fn subscriptions(&mut self, slot: Slot) -> Option<&mut Subscriptions>;
}

impl Channels {
    /// Other limits, for subscriptions from now on.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Finds a channel that has subscribers.
    pub fn find(&self, name: &str) -> Option<ChannelIndex> {
        self.names.get(name).copied()
    }

    /// The connections subscribed to a channel, each once.
    pub fn connections(&self, channel: ChannelIndex) -> &[Slot] {
        self.channels.get(channel.0 as usize).map_or(&[], |channel| &channel.connections)
    }

    /// The workers that subscribed themselves, each once.
    pub fn workers(&self, channel: ChannelIndex) -> &[WorkerId] {
        self.channels.get(channel.0 as usize).map_or(&[], |channel| &channel.workers)
    }

    /// The name of a channel; empty if it has no subscribers.
    pub fn name(&self, channel: ChannelIndex) -> &str {
        self.channels.get(channel.0 as usize).map_or("", |channel| &channel.name)
    }

    /// Every channel that has subscribers, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, ChannelIndex)> {
        self.names.iter().map(|(name, index)| (&**name, *index))
    }

    /// Subscribes the connection in a slot; a second time does nothing.
    ///
    /// # Errors
    /// [`Full`]: it is not subscribed, since it would be one too many.
    pub fn subscribe(
        &mut self,
        name: &str,
        slot: Slot,
        subscriptions: &mut Subscriptions,
    ) -> Result<(), Full> {
        if self.find(name).is_some_and(|index| subscriptions.position(index).is_some()) {
            return Ok(());
        }
        if subscriptions.len() >= self.limits.per_connection {
            return Err(Full::Connection);
        }
        self.count_in()?;
        let index = self.find_or_make(name);
        let connections = &mut self.channels[index.0 as usize].connections;
        subscriptions.put(Listing { channel: index, position: connections.len() as u32 });
        connections.push(slot);
        Ok(())
    }

    /// Ends a subscription of the connection in a slot. Does nothing if there is none.
    pub fn unsubscribe(&mut self, name: &str, slot: Slot, all: &mut impl Subscribers) {
        let Some(index) = self.find(name) else { return };
        let Some(subscriptions) = all.subscriptions(slot) else { return };
        let Some(listing) = subscriptions.take(index) else { return };
        self.leave(listing, all);
    }

    /// Ends all subscriptions of the connection in a slot.
    pub fn unsubscribe_all(&mut self, slot: Slot, all: &mut impl Subscribers) {
        let Some(subscriptions) = all.subscriptions(slot) else { return };
        for listing in std::mem::take(subscriptions).into_listings() {
            self.leave(listing, all);
        }
    }

    /// Subscribes a worker itself; a second time does nothing.
    ///
    /// # Errors
    /// [`Full`]: it is not subscribed, since it would be one too many.
    pub fn subscribe_worker(&mut self, name: &str, worker: WorkerId) -> Result<(), Full> {
        let its = self.of_workers.get(&worker);
        if self.find(name).is_some_and(|index| its.is_some_and(|its| its.contains(&index))) {
            return Ok(());
        }
        if its.map_or(0, BTreeSet::len) >= self.limits.per_worker {
            return Err(Full::Worker);
        }
        self.count_in()?;
        let index = self.find_or_make(name);
        self.of_workers.entry(worker).or_default().insert(index);
        self.channels[index.0 as usize].workers.push(worker);
        Ok(())
    }

    /// Ends a worker's own subscription.
    pub fn unsubscribe_worker(&mut self, name: &str, worker: WorkerId) {
        let Some(index) = self.find(name) else { return };
        let Some(its) = self.of_workers.get_mut(&worker) else { return };
        let was_there = its.remove(&index);
        if its.is_empty() {
            self.of_workers.remove(&worker);
        }
        if was_there {
            self.leave_as_worker(index, worker);
        }
    }

    /// Ends all of a worker's own subscriptions.
    pub fn forget_worker(&mut self, worker: WorkerId) {
        for index in self.of_workers.remove(&worker).unwrap_or_default() {
            self.leave_as_worker(index, worker);
        }
    }

    /// How many channels have subscribers.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether nobody is subscribed to anything.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How many subscriptions there are.
    pub fn subscriptions(&self) -> usize {
        self.count
    }

    fn count_in(&mut self) -> Result<(), Full> {
        if self.count >= self.limits.in_all {
            return Err(Full::All);
        }
        self.count += 1;
        Ok(())
    }

    fn find_or_make(&mut self, name: &str) -> ChannelIndex {
        if let Some(index) = self.find(name) {
            return index;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.channels.push(Channel::default());
            ChannelIndex(self.channels.len() as u32 - 1)
        });
        let name = Arc::<str>::from(name);
        self.channels[index.0 as usize].name = name.clone();
        self.names.insert(name, index);
        index
    }

    /// Takes a connection off a channel's list; the last of the list takes its position.
    fn leave(&mut self, listing: Listing, all: &mut impl Subscribers) {
        self.count -= 1;
        let connections = &mut self.channels[listing.channel.0 as usize].connections;
        connections.swap_remove(listing.position as usize);
        if let Some(moved) = connections.get(listing.position as usize)
            && let Some(subscriptions) = all.subscriptions(*moved)
        {
            subscriptions.move_to(listing);
        }
        self.drop_if_empty(listing.channel);
    }

    /// Few workers are subscribed to one channel: there are not many.
    fn leave_as_worker(&mut self, index: ChannelIndex, worker: WorkerId) {
        self.count -= 1;
        self.channels[index.0 as usize].workers.retain(|other| *other != worker);
        self.drop_if_empty(index);
    }

    fn drop_if_empty(&mut self, index: ChannelIndex) {
        let channel = &mut self.channels[index.0 as usize];
        if channel.connections.is_empty() && channel.workers.is_empty() {
            self.names.remove(&channel.name);
            *channel = Channel::default();
            self.free.push(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct World {
        channels: Channels,
        all: Vec<Subscriptions>,
    }

    struct All<'a>(&'a mut Vec<Subscriptions>);

    impl Subscribers for All<'_> {
        fn subscriptions(&mut self, slot: Slot) -> Option<&mut Subscriptions> {
            self.0.get_mut(slot as usize)
        }
    }

    impl World {
        fn with(slots: usize) -> Self {
            let all = (0..slots).map(|_| Subscriptions::default()).collect();
            World { channels: Channels::default(), all }
        }

        fn subscribe(&mut self, name: &str, slot: Slot) {
            self.try_subscribe(name, slot).unwrap();
        }

        fn try_subscribe(&mut self, name: &str, slot: Slot) -> Result<(), Full> {
            self.channels.subscribe(name, slot, &mut self.all[slot as usize])
        }

        fn unsubscribe(&mut self, name: &str, slot: Slot) {
            self.channels.unsubscribe(name, slot, &mut All(&mut self.all));
        }

        fn members(&self, name: &str) -> Vec<Slot> {
            let index = self.channels.find(name);
            let mut members =
                index.map_or(Vec::new(), |index| self.channels.connections(index).to_vec());
            members.sort_unstable();
            members
        }
    }

    #[test]
    fn subscribing_twice_is_once() {
        let mut world = World::with(1);
        world.subscribe("a", 0);
        world.subscribe("a", 0);
        assert_eq!(world.members("a"), [0]);
        world.unsubscribe("a", 0);
        assert!(world.channels.is_empty());
    }

    #[test]
    fn a_stranger_that_leaves_takes_nobody_with_it() {
        let mut world = World::with(2);
        world.subscribe("a", 0);
        world.unsubscribe("a", 1);
        world.unsubscribe("b", 0);
        assert_eq!(world.members("a"), [0]);
    }

    #[test]
    fn channels_do_not_leak_into_each_other() {
        // Against a plain model, with a seed that a failure names.
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut world, mut model) = (World::with(4), std::collections::BTreeSet::new());
            // Fewer than a connection keeps in a list, or more.
            let names: Vec<_> = (0..3 + seed).map(|number| format!("channel {number}")).collect();
            for step in 0..400 {
                let (name, slot) = (names[random.usize(..names.len())].as_str(), random.u32(..4));
                match random.u8(..40) {
                    0..24 => {
                        world.subscribe(name, slot);
                        model.insert((name, slot));
                    }
                    24..39 => {
                        world.unsubscribe(name, slot);
                        model.remove(&(name, slot));
                    }
                    _ => {
                        world.channels.unsubscribe_all(slot, &mut All(&mut world.all));
                        model.retain(|(_, other)| *other != slot);
                    }
                }
                for name in &names {
                    let expected: Vec<_> =
                        model.iter().filter(|(n, _)| n == name).map(|(_, s)| *s).collect();
                    assert_eq!(world.members(name), expected, "seed {seed}, step {step}");
                }
            }
        }
    }

    #[test]
    fn a_worker_is_a_subscriber_of_its_own() {
        let mut world = World::with(1);
        world.channels.subscribe_worker("a", WorkerId(7)).unwrap();
        world.channels.subscribe_worker("a", WorkerId(7)).unwrap();
        let index = world.channels.find("a").unwrap();
        assert_eq!(world.channels.workers(index), [WorkerId(7)]);
        world.channels.forget_worker(WorkerId(7));
        assert!(world.channels.is_empty());
        assert_eq!(world.channels.subscriptions(), 0);
    }

    #[test]
    fn one_too_many_is_refused_and_leaves_nothing() {
        let mut world = World::with(2);
        world.channels.limit(Limits { per_connection: 2, per_worker: 1, in_all: 4 });
        world.subscribe("a", 0);
        world.subscribe("b", 0);
        assert_eq!(world.try_subscribe("c", 0), Err(Full::Connection));
        assert_eq!(world.try_subscribe("a", 0), Ok(()), "it is subscribed");
        world.channels.subscribe_worker("d", WorkerId(7)).unwrap();
        assert_eq!(world.channels.subscribe_worker("e", WorkerId(7)), Err(Full::Worker));
        assert_eq!(world.channels.subscribe_worker("d", WorkerId(7)), Ok(()));
        world.subscribe("a", 1);
        assert_eq!(world.try_subscribe("c", 1), Err(Full::All));
        assert_eq!(world.channels.len(), 3, "no channel of those that were refused");
        world.unsubscribe("b", 0);
        assert_eq!(world.try_subscribe("c", 1), Ok(()));
    }

    /// Linear in the channels of a connection it would be 10^10 steps.
    #[test]
    fn a_hundred_thousand_channels_cost_as_much_each_as_one() {
        const CHANNELS: usize = 100_000;
        let mut world = World::with(2);
        for name in (0..CHANNELS).map(|number| format!("channel {number}")) {
            (0..2).for_each(|slot| world.subscribe(&name, slot));
        }
        assert_eq!(world.channels.subscriptions(), 2 * CHANNELS);
        for name in (0..CHANNELS / 2).map(|number| format!("channel {number}")) {
            world.unsubscribe(&name, 0);
        }
        (0..2).for_each(|slot| world.channels.unsubscribe_all(slot, &mut All(&mut world.all)));
        assert!(world.channels.is_empty());
        assert_eq!(world.channels.subscriptions(), 0);
    }
}
