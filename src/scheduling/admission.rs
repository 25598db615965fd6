//! Admission by cost: how much work may be in the house at once. Cost is the worker time that work is estimated to take, from what
//! the same work took before.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::Class;

/// The books of one scheduler.
#[derive(Debug)]
pub(super) struct Admission {
    classes: [Account; 2],
    draining: AtomicBool,
    workers: u32,
}

#[derive(Debug)]
struct Account {
    capacity: Duration,
    admitted_nanoseconds: AtomicU64,
}

/// Leave to submit work of a certain cost; gives the room back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    class: Class,
    cost_nanoseconds: u64,
}

/// Why a request is not admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdmissionError {
    /// There is no room now.
    Full {
        /// When there should be.
        retry_after: Duration,
    },
    /// There would never be room: the request alone costs more than may be in the house.
    TooLarge {
        /// What it costs.
        cost: Duration,
        /// What there may be.
        capacity: Duration,
    },
    /// No new work is taken.
    Draining,
}

impl Admission {
    pub(super) fn new(interactive: Duration, bulk: Duration, workers: usize) -> Arc<Self> {
        let account = |capacity| Account {
            capacity,
            admitted_nanoseconds: AtomicU64::new(0),
        };
        Arc::new(Self {
            classes: [account(interactive), account(bulk)],
            draining: AtomicBool::new(false),
            workers: u32::try_from(workers).unwrap_or(u32::MAX).max(1),
        })
    }

    pub(super) fn admit(
        self: &Arc<Self>,
        class: Class,
        cost: Duration,
    ) -> Result<Permit, AdmissionError> {
        if self.is_draining() {
            return Err(AdmissionError::Draining);
        }
        let account = &self.classes[class.index()];
        let capacity = account.capacity;
        if cost > capacity {
            return Err(AdmissionError::TooLarge { cost, capacity });
        }
        let cost_nanoseconds = nanoseconds(cost);
        account
            .admitted_nanoseconds
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |admitted| {
                let total = admitted.checked_add(cost_nanoseconds)?;
                (total <= nanoseconds(capacity)).then_some(total)
            })
            .map_err(|admitted| {
                let excess = (Duration::from_nanos(admitted) + cost).saturating_sub(capacity);
                AdmissionError::Full {
                    retry_after: excess / self.workers,
                }
            })?;
        Ok(Permit {
            admission: Arc::clone(self),
            class,
            cost_nanoseconds,
        })
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Permit {
    pub(super) fn class(&self) -> Class {
        self.class
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.classes[self.class.index()]
            .admitted_nanoseconds
            .fetch_sub(self.cost_nanoseconds, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn room_is_given_back_and_classes_do_not_mix() {
        let admission = Admission::new(seconds(10), seconds(100), 2);
        let first = admission.admit(Class::Interactive, seconds(8)).unwrap();
        assert_eq!(
            admission.admit(Class::Interactive, seconds(4)).unwrap_err(),
            AdmissionError::Full {
                retry_after: seconds(1)
            }
        );
        let _bulk = admission.admit(Class::Bulk, seconds(100)).unwrap();
        drop(first);
        let _second = admission.admit(Class::Interactive, seconds(10)).unwrap();
    }

    #[test]
    fn what_can_never_fit_says_so_and_draining_takes_nothing() {
        let admission = Admission::new(seconds(10), seconds(100), 2);
        assert_eq!(
            admission
                .admit(Class::Interactive, seconds(11))
                .unwrap_err(),
            AdmissionError::TooLarge {
                cost: seconds(11),
                capacity: seconds(10)
            }
        );
        admission.drain();
        assert_eq!(
            admission.admit(Class::Bulk, seconds(1)).unwrap_err(),
            AdmissionError::Draining
        );
    }
}
