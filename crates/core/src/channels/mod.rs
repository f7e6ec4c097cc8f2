//! Who is subscribed to which channel, within one thread.
//!
//! Called by link readers. A channel exists while it has subscribers; an empty one costs nothing.
//! Subscribers are kept in a list per channel, so that a publish walks memory in order; each
//! subscriber knows its places, so that leaving does not search.

use std::collections::BTreeMap;

use shovel_protocol::WorkerId;

/// A channel within one [`Channels`]; valid while it has subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelIndex(pub u32);

/// The slot of a subscribed connection.
pub type Slot = u32;

/// All channels of a thread that have subscribers.
#[derive(Debug, Default)]
pub struct Channels {
    names: BTreeMap<Box<str>, ChannelIndex>,
    channels: Vec<Channel>,
    free: Vec<ChannelIndex>,
}

#[derive(Debug, Default)]
struct Channel {
    name: Box<str>,
    connections: Vec<Slot>,
    workers: Vec<WorkerId>,
}

/// The channels of one connection, kept by whoever keeps the connection.
#[derive(Debug, Default)]
pub struct Subscriptions(Vec<Place>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    channel: ChannelIndex,
    position: u32,
}

/// Gives access to the [`Subscriptions`] of the connection in a slot.
pub trait Subscribers {
    /// Those of the connection in this slot; `None` if there is none.
    fn subscriptions(&mut self, slot: Slot) -> Option<&mut Subscriptions>;
}

impl Channels {
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
    pub fn subscribe(&mut self, name: &str, slot: Slot, places: &mut Subscriptions) {
        let index = self.find_or_make(name);
        if places.position(index).is_some() {
            return;
        }
        let channel = &mut self.channels[index.0 as usize];
        places.0.push(Place { channel: index, position: channel.connections.len() as u32 });
        channel.connections.push(slot);
    }

    /// Ends a subscription of the connection in a slot. Does nothing if there is none.
    pub fn unsubscribe(&mut self, name: &str, slot: Slot, all: &mut impl Subscribers) {
        let Some(index) = self.find(name) else { return };
        let Some(places) = all.subscriptions(slot) else { return };
        let Some(at) = places.position(index) else { return };
        let place = places.0.swap_remove(at);
        self.leave(place, all);
    }

    /// Ends all subscriptions of the connection in a slot.
    pub fn unsubscribe_all(&mut self, slot: Slot, all: &mut impl Subscribers) {
        let Some(places) = all.subscriptions(slot) else { return };
        for place in std::mem::take(&mut places.0) {
            self.leave(place, all);
        }
    }

    /// Subscribes a worker itself; a second time does nothing.
    pub fn subscribe_worker(&mut self, name: &str, worker: WorkerId) {
        let index = self.find_or_make(name);
        let workers = &mut self.channels[index.0 as usize].workers;
        if !workers.contains(&worker) {
            workers.push(worker);
        }
    }

    /// Ends a worker's own subscription.
    pub fn unsubscribe_worker(&mut self, name: &str, worker: WorkerId) {
        if let Some(index) = self.find(name) {
            self.channels[index.0 as usize].workers.retain(|other| *other != worker);
            self.drop_if_empty(index);
        }
    }

    /// Ends all of a worker's own subscriptions.
    pub fn forget_worker(&mut self, worker: WorkerId) {
        let indices: Vec<_> = self.names.values().copied().collect();
        for index in indices {
            self.channels[index.0 as usize].workers.retain(|other| *other != worker);
            self.drop_if_empty(index);
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

    fn find_or_make(&mut self, name: &str) -> ChannelIndex {
        if let Some(index) = self.find(name) {
            return index;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.channels.push(Channel::default());
            ChannelIndex(self.channels.len() as u32 - 1)
        });
        self.channels[index.0 as usize].name = name.into();
        self.names.insert(name.into(), index);
        index
    }

    /// Takes a connection off a channel's list; the last of the list takes its position.
    fn leave(&mut self, place: Place, all: &mut impl Subscribers) {
        let connections = &mut self.channels[place.channel.0 as usize].connections;
        connections.swap_remove(place.position as usize);
        if let Some(moved) = connections.get(place.position as usize)
            && let Some(places) = all.subscriptions(*moved)
        {
            places.move_to(place);
        }
        self.drop_if_empty(place.channel);
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

impl Subscriptions {
    /// The channels, in no order.
    pub fn channels(&self) -> impl Iterator<Item = ChannelIndex> + '_ {
        self.0.iter().map(|place| place.channel)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn position(&self, channel: ChannelIndex) -> Option<usize> {
        self.0.iter().position(|place| place.channel == channel)
    }

    fn move_to(&mut self, place: Place) {
        if let Some(at) = self.position(place.channel) {
            self.0[at] = place;
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
            self.channels.subscribe(name, slot, &mut self.all[slot as usize]);
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
            let (mut world, mut model) = (World::with(8), std::collections::BTreeSet::new());
            for step in 0..400 {
                let (name, slot) = (["a", "b", "c"][random.usize(..3)], random.u32(..8));
                match random.u8(..5) {
                    0 | 1 => {
                        world.subscribe(name, slot);
                        model.insert((name, slot));
                    }
                    2 | 3 => {
                        world.unsubscribe(name, slot);
                        model.remove(&(name, slot));
                    }
                    _ => {
                        world.channels.unsubscribe_all(slot, &mut All(&mut world.all));
                        model.retain(|(_, other)| *other != slot);
                    }
                }
                for name in ["a", "b", "c"] {
                    let expected: Vec<_> =
                        model.iter().filter(|(n, _)| *n == name).map(|(_, s)| *s).collect();
                    assert_eq!(world.members(name), expected, "seed {seed}, step {step}");
                }
            }
        }
    }

    #[test]
    fn a_worker_is_a_subscriber_of_its_own() {
        let mut world = World::with(1);
        world.channels.subscribe_worker("a", WorkerId(7));
        world.channels.subscribe_worker("a", WorkerId(7));
        let index = world.channels.find("a").unwrap();
        assert_eq!(world.channels.workers(index), [WorkerId(7)]);
        world.channels.forget_worker(WorkerId(7));
        assert!(world.channels.is_empty());
    }
}
