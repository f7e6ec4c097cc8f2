//! The channels of one connection.

use std::collections::BTreeMap;

use super::ChannelIndex;

/// So many are searched one by one: most connections have few, and a list takes the least memory.
const FEW: usize = 16;

/// The channels of one connection, kept by whoever keeps the connection.
#[derive(Debug)]
pub struct Subscriptions(Places);

#[derive(Debug)]
enum Places {
    /// In no order.
    Few(Vec<Place>),
    Many(BTreeMap<ChannelIndex, u32>),
}

/// Where a connection stands in the list of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) channel: ChannelIndex,
    pub(super) position: u32,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Subscriptions(Places::Few(Vec::new()))
    }
}

impl Subscriptions {
    /// The channels, in no order.
    pub fn channels(&self) -> impl Iterator<Item = ChannelIndex> + '_ {
        let (few, many) = match &self.0 {
            Places::Few(few) => (few.as_slice(), None),
            Places::Many(many) => (&[][..], Some(many)),
        };
        let many = many.into_iter().flat_map(|many| many.keys().copied());
        few.iter().map(|place| place.channel).chain(many)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Places::Few(few) => few.len(),
            Places::Many(many) => many.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this channel is among them.
    pub fn contains(&self, channel: ChannelIndex) -> bool {
        self.position(channel).is_some()
    }

    pub(super) fn position(&self, channel: ChannelIndex) -> Option<u32> {
        match &self.0 {
            Places::Few(few) => {
                few.iter().find(|place| place.channel == channel).map(|place| place.position)
            }
            Places::Many(many) => many.get(&channel).copied(),
        }
    }

    /// Notes a place, in place of what was known of the channel.
    pub(super) fn put(&mut self, place: Place) {
        match &mut self.0 {
            Places::Few(few) => match few.iter().position(|its| its.channel == place.channel) {
                Some(at) => few[at] = place,
                None if few.len() < FEW => few.push(place),
                None => {
                    let all = few.iter().chain([&place]);
                    let many = all.map(|place| (place.channel, place.position)).collect();
                    self.0 = Places::Many(many);
                }
            },
            Places::Many(many) => {
                many.insert(place.channel, place.position);
            }
        }
    }

    /// Notes where it stands by now in a channel, if that is among them.
    pub(super) fn move_to(&mut self, place: Place) {
        if self.contains(place.channel) {
            self.put(place);
        }
    }

    pub(super) fn take(&mut self, channel: ChannelIndex) -> Option<Place> {
        let taken = match &mut self.0 {
            Places::Few(few) => {
                let at = few.iter().position(|place| place.channel == channel)?;
                return Some(few.swap_remove(at));
            }
            Places::Many(many) => many.remove(&channel)?,
        };
        if self.is_empty() {
            *self = Subscriptions::default();
        }
        Some(Place { channel, position: taken })
    }

    pub(super) fn into_places(self) -> Vec<Place> {
        match self.0 {
            Places::Few(few) => few,
            Places::Many(many) => {
                many.into_iter().map(|(channel, position)| Place { channel, position }).collect()
            }
        }
    }
}
