//! Choosing the worker for a request or an upgrade.
//!
//! Pure and apart from [`Fleet`](super::Fleet), since this runs for each request, on the threads
//! that do the IO, over the last snapshot offered.

use serde::{Deserialize, Serialize};

/// Where the next tie is decided; one for each chooser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rotation(usize);

impl Rotation {
    /// The index of the least load; of several equal ones, the next in rotation.
    ///
    /// `loads` are the connections and requests of each worker offered. `None` if it is empty.
    /// Takes O(n) and allocates nothing.
    pub fn pick(&mut self, loads: &[u32]) -> Option<usize> {
        // The snapshot may have shrunk since the last call.
        let start = if self.0 < loads.len() { self.0 } else { 0 };
        let in_rotation = (start..loads.len()).chain(0..start);
        let picked = in_rotation.min_by_key(|&index| loads[index])?;
        self.0 = picked + 1;
        Some(picked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_loaded_is_picked_wherever_the_rotation_stands() {
        for start in 0..5 {
            assert_eq!(Rotation(start).pick(&[3, 1, 2]), Some(1));
        }
    }

    #[test]
    fn ties_take_turns() {
        let mut rotation = Rotation::default();
        let picks: Vec<_> = (0..5).filter_map(|_| rotation.pick(&[0, 0, 9, 0])).collect();
        assert_eq!(picks, [0, 1, 3, 0, 1]);
    }

    #[test]
    fn nobody_is_picked_from_nobody() {
        assert_eq!(Rotation(7).pick(&[]), None);
    }
}
