//! The connection slots of a listener: so many at once, so many of one address, and who gives up its slot when others
//! come and there is none.
//!
//! A connection can be held for long without use to anybody, by clients that are silent or that wait to be refused. A
//! client that comes must not wait behind those. Here is who they are; that they go is up to themselves.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use super::activity::Activity;

/// Time between two looks for connections that can be spared.
const LOOK: Duration = Duration::from_millis(10);

/// One in so many is asked to go at once. Clients that are refused come back, so that to send all away would be to
/// have them all back.
const PART: usize = 128;

/// All places.
#[derive(Debug)]
pub(super) struct Slots {
    all: usize,
    /// 0 for no limit.
    of_an_address: usize,
    free: Arc<Semaphore>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// By address, then by number. An address without any is not there.
    connections: HashMap<IpAddr, HashMap<u64, Arc<Activity>>>,
    /// When it was last looked who can be spared.
    looked: Option<Instant>,
}

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    address: IpAddr,
    number: u64,
    _slot: OwnedSemaphorePermit,
}

impl Slots {
    /// So many in all, and so many for one address; 0 for no limit.
    pub(super) fn new(all: usize, of_an_address: usize) -> Arc<Self> {
        Arc::new(Self {
            all,
            of_an_address,
            free: Arc::new(Semaphore::new(all)),
            taken: Mutex::default(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection, as soon as there is one; none if its address has as many as it may.
    pub(super) async fn take(self: &Arc<Self>, address: IpAddr, activity: &Arc<Activity>) -> Option<Slot> {
        let address = address.to_canonical();
        if self.has_all_it_may(address) {
            return None;
        }
        let slot = self.slot().await;
        let mut taken = self.taken();
        let number = taken.next;
        taken.next += 1;
        let own = taken.connections.entry(address).or_default();
        own.insert(number, Arc::clone(activity));
        Some(Slot {
            slots: Arc::clone(self),
            address,
            number,
            _slot: slot,
        })
    }

    fn has_all_it_may(&self, address: IpAddr) -> bool {
        let limit = self.of_an_address;
        limit > 0
            && self
                .taken()
                .connections
                .get(&address)
                .is_some_and(|own| own.len() >= limit)
    }

    async fn slot(&self) -> OwnedSemaphorePermit {
        let free = || Arc::clone(&self.free);
        loop {
            if let Ok(slot) = free().try_acquire_owned() {
                return slot;
            }
            self.make_room();
            if let Ok(Ok(slot)) = timeout(LOOK, free().acquire_owned()).await {
                return slot;
            }
        }
    }

    /// Asks some of those to go who can be spared, the longest first.
    pub(super) fn make_room(&self) {
        let now = Instant::now();
        let mut taken = self.taken();
        if taken.looked.is_some_and(|looked| now < looked + LOOK) {
            return;
        }
        taken.looked = Some(now);
        let activities = taken.connections.values().flat_map(HashMap::values);
        let mut spare: Vec<_> = activities
            .filter_map(|activity| Some((activity.spare_since()?, activity)))
            .collect();
        spare.sort_unstable_by_key(|(since, _)| *since);
        for (_, activity) in spare.iter().take(self.all.div_ceil(PART)) {
            activity.want();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        if let Entry::Occupied(mut own) = taken.connections.entry(self.address) {
            own.get_mut().remove(&self.number);
            if own.get().is_empty() {
                own.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::advance;

    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test(start_paused = true)]
    async fn who_comes_waits_for_no_idle_connection_longer_than_it_may_be_spared() {
        let slots = Slots::new(2, 0);
        let connection = || Activity::new(Arc::default());
        let (idle, busy) = (connection(), connection());
        let slot = slots.take(HOME, &idle).await.unwrap();
        advance(Duration::from_millis(900)).await;
        let _place = slots.take(HOME, &busy).await.unwrap();
        let _flight = busy.begin(false, Some(0));
        let leave = tokio::spawn(async move {
            idle.wanted().await;
            drop(slot);
        });
        let start = Instant::now();
        let newcomer = connection();
        let slot = slots.take(HOME, &newcomer).await.unwrap();
        leave.await.unwrap();
        assert!(
            (100..=120).contains(&start.elapsed().as_millis()),
            "{:?}",
            start.elapsed()
        );
        // One that is at work keeps its place.
        advance(Duration::from_secs(60)).await;
        slots.make_room();
        assert!(busy.wanted().now_or_never().is_none());
        assert!(newcomer.wanted().now_or_never().is_some());
        drop(slot);
        assert_eq!(slots.taken().connections[&HOME].len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_are_spared_longest_go_first_and_not_all_at_once() {
        let slots = Slots::new(2 * PART, 0);
        let mut all = Vec::new();
        for _ in 0..2 * PART {
            let activity = Activity::new(Arc::default());
            all.push((slots.take(HOME, &activity).await.unwrap(), activity));
            advance(Duration::from_millis(10)).await;
        }
        advance(Duration::from_secs(60)).await;
        let wanted = || {
            let wanted = all.iter().map(|(_, activity)| activity.wanted().now_or_never());
            wanted.take_while(Option::is_some).count()
        };
        slots.make_room();
        slots.make_room();
        assert_eq!(wanted(), 2);
        advance(LOOK).await;
        slots.make_room();
        assert_eq!(wanted(), 4);
    }
}
