//! Connections that wait for their turn, each once.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::Route;

/// First in, first out. Whoever is in it already keeps its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct RouteQueue {
    queue: VecDeque<Route>,
    members: BTreeSet<Route>,
}

impl RouteQueue {
    pub(super) fn push(&mut self, route: Route) {
        if self.members.insert(route) {
            self.queue.push_back(route);
        }
    }

    /// Back to where it was popped.
    pub(super) fn push_front(&mut self, route: Route) {
        if self.members.insert(route) {
            self.queue.push_front(route);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Route> {
        let route = self.queue.pop_front()?;
        self.members.remove(&route);
        if self.queue.is_empty() {
            // The largest crowd is no measure for the next.
            self.queue = VecDeque::new();
        }
        Some(route)
    }

    pub(super) fn contains(&self, route: Route) -> bool {
        self.members.contains(&route)
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether one that was read has everybody once.
    pub(super) fn is_sound(&self) -> bool {
        let members: BTreeSet<_> = self.queue.iter().copied().collect();
        self.queue.len() == members.len() && members == self.members
    }

    pub(super) fn take(&mut self) -> Vec<Route> {
        self.members.clear();
        std::mem::take(&mut self.queue).into()
    }
}
