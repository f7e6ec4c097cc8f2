//! The channels of one connection.

use std::collections::BTreeMap;

use super::ChannelIndex;

/// So many are searched one by one: most connections have few, and a list takes the least memory.
const FEW: usize = 16;

/// The channels of one connection, kept by whoever keeps the connection.
#[derive(Debug)]
pub struct Subscriptions(Listings);

#[derive(Debug)]
enum Listings {
    /// In no order.
    Few(Vec<Listing>),
    Many(BTreeMap<ChannelIndex, u32>),
}

/// Where a connection stands in the list of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) channel: ChannelIndex,
    pub(super) position: u32,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Subscriptions(Listings::Few(Vec::new()))
    }
}

impl Subscriptions {
    /// The channels, in no order.
    pub fn channels(&self) -> impl Iterator<Item = ChannelIndex> + '_ {
        let (few, many) = match &self.0 {
            Listings::Few(few) => (few.as_slice(), None),
            Listings::Many(many) => (&[][..], Some(many)),
        };
        let many = many.into_iter().flat_map(|many| many.keys().copied());
        few.iter().map(|listing| listing.channel).chain(many)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Listings::Few(few) => few.len(),
            Listings::Many(many) => many.len(),
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
            Listings::Few(few) => few
                .iter()
                .find(|listing| listing.channel == channel)
                .map(|listing| listing.position),
            Listings::Many(many) => many.get(&channel).copied(),
        }
    }

    /// Notes a listing, instead of what was known of the channel.
    pub(super) fn put(&mut self, listing: Listing) {
        match &mut self.0 {
            Listings::Few(few) => match few.iter().position(|its| its.channel == listing.channel) {
                Some(at) => few[at] = listing,
                None if few.len() < FEW => few.push(listing),
                None => {
                    let all = few.iter().chain([&listing]);
                    let many = all.map(|listing| (listing.channel, listing.position)).collect();
                    self.0 = Listings::Many(many);
                }
            },
            Listings::Many(many) => {
                many.insert(listing.channel, listing.position);
            }
        }
    }

    /// Notes where it stands by now in a channel, if that is among them.
    pub(super) fn move_to(&mut self, listing: Listing) {
        if self.contains(listing.channel) {
            self.put(listing);
        }
    }

    pub(super) fn take(&mut self, channel: ChannelIndex) -> Option<Listing> {
        let taken = match &mut self.0 {
            Listings::Few(few) => {
                let at = few.iter().position(|listing| listing.channel == channel)?;
                return Some(few.swap_remove(at));
            }
            Listings::Many(many) => many.remove(&channel)?,
        };
        if self.is_empty() {
            *self = Subscriptions::default();
        }
        Some(Listing { channel, position: taken })
    }

    pub(super) fn into_listings(self) -> Vec<Listing> {
        match self.0 {
            Listings::Few(few) => few,
            Listings::Many(many) => {
                many.into_iter().map(|(channel, position)| Listing { channel, position }).collect()
            }
        }
    }
}
