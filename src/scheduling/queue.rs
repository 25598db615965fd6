//! What waits in one lane, in the fair order and by due time at once.

use std::collections::{BTreeMap, BTreeSet};

/// Where an entry stands. Times are in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The fair order (see [`super::fair_shares`]).
    pub(super) tag: u64,
    /// By when it is promised to be finished.
    pub(super) due: u64,
    /// When it came, to tell equals apart: a number that no other entry has.
    pub(super) sequence: u64,
}

/// What goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The smallest tag.
    Fair,
    /// The earliest due time.
    Due,
}

/// A queue in two orders.
#[derive(Debug)]
pub(super) struct Queue<E> {
    fair: BTreeMap<(u64, u64), (u64, E)>,
    by_due: BTreeSet<(u64, u64, u64)>,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self {
            fair: BTreeMap::new(),
            by_due: BTreeSet::new(),
        }
    }
}

impl Place {
    /// What the order compares.
    fn rank(&self, order: Order) -> (u64, u64, u64) {
        match order {
            Order::Fair => (self.tag, self.sequence, 0),
            Order::Due => (self.due, self.tag, self.sequence),
        }
    }
}

impl<E> Queue<E> {
    pub(super) fn push(&mut self, place: Place, entry: E) {
        self.by_due.insert(place.rank(Order::Due));
        self.fair.insert((place.tag, place.sequence), (place.due, entry));
    }

    /// The entry that goes first.
    pub(super) fn first(&self, order: Order) -> Option<(Place, &E)> {
        let key = match order {
            Order::Fair => *self.fair.first_key_value()?.0,
            Order::Due => {
                let &(_, tag, sequence) = self.by_due.first()?;
                (tag, sequence)
            }
        };
        let (due, entry) = self.fair.get(&key)?;
        let place = Place {
            tag: key.0,
            due: *due,
            sequence: key.1,
        };
        Some((place, entry))
    }

    /// The rank of the entry that goes first, to compare lanes by.
    pub(super) fn first_rank(&self, order: Order) -> Option<(u64, u64, u64)> {
        Some(self.first(order)?.0.rank(order))
    }

    pub(super) fn remove(&mut self, place: Place) -> Option<E> {
        let (_, entry) = self.fair.remove(&(place.tag, place.sequence))?;
        self.by_due.remove(&place.rank(Order::Due));
        Some(entry)
    }

    /// All entries, in the fair order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &E> {
        self.fair.values().map(|(_, entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_orders_hold_the_same_entries() {
        let mut queue = Queue::default();
        let place = |tag, due, sequence| Place { tag, due, sequence };
        let places = [place(2, 10, 0), place(1, 30, 1), place(1, 20, 2)];
        for place in places {
            queue.push(place, place.sequence);
        }
        let first = |queue: &Queue<u64>, order| queue.first(order).map(|(_, &entry)| entry);
        assert_eq!(first(&queue, Order::Fair), Some(1));
        assert_eq!(first(&queue, Order::Due), Some(0));
        assert_eq!(queue.remove(places[0]), Some(0));
        assert_eq!(queue.remove(places[0]), None);
        assert_eq!(first(&queue, Order::Due), Some(2));
        assert_eq!(queue.remove(places[1]), Some(1));
        assert_eq!(first(&queue, Order::Fair), Some(2));
        assert_eq!(queue.iter().collect::<Vec<_>>(), [&2]);
    }
}
