//! How much memory all requests together may hold: bodies, decoded pixels, answers that nobody has read yet.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::model::{Kind, Refusal};

/// The books of a server.
#[derive(Debug)]
pub struct MemoryBudget {
    capacity: usize,
    held: AtomicUsize,
}

/// Bytes that a request holds; given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    memory_budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl MemoryBudget {
    /// Room for so many bytes.
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            held: AtomicUsize::new(0),
        })
    }

    /// An entry without bytes, to be [grown](Reservation::grow).
    pub fn open(self: &Arc<Self>) -> Reservation {
        Reservation {
            memory_budget: Arc::clone(self),
            bytes: 0,
        }
    }

    /// Bytes that are held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl Reservation {
    /// Takes room for more bytes, if there is any.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let room = |held: usize| {
            held.checked_add(bytes)
                .filter(|&total| total <= self.memory_budget.capacity)
        };
        self.memory_budget
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room)
            .map_err(|_| {
                Refusal::new(
                    Kind::Overloaded,
                    "the requests at hand fill the memory that the server grants them; try again",
                )
                .with_retry_after(std::time::Duration::from_secs(1))
            })?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory_budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_back_and_no_more_is_given_than_there_is() {
        let memory_budget = MemoryBudget::new(10);
        let mut first = memory_budget.open();
        first.grow(6).unwrap();
        first.grow(2).unwrap();
        let mut second = memory_budget.open();
        assert_eq!(second.grow(3).unwrap_err().kind(), Kind::Overloaded);
        assert!(second.grow(usize::MAX).is_err());
        drop(first);
        second.grow(10).unwrap();
        drop(second);
        assert_eq!(memory_budget.held(), 0);
    }
}
