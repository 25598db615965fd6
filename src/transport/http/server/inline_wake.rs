//! A future that wakes itself while it is polled is polled again at once.
//!
//! The parts of a connection wake each other: a handler that wants a body wakes the connection which reads it. Through
//! the runtime, such a wake ends in a queue and rouses another thread to look for work, for every request.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// It is not being polled: who wakes it wakes the task.
const RESTING: u8 = 0;
const POLLED: u8 = 1;
/// It was woken while it was polled.
const WOKEN: u8 = 2;

/// So often at once; then other tasks of the thread have their turn.
const ROUNDS: usize = 4;

/// Polls one future.
#[derive(Debug, Default)]
pub(super) struct InlineWake(Arc<Woken>);

#[derive(Debug, Default)]
struct Woken {
    state: AtomicU8,
    task: Mutex<Option<Waker>>,
}

impl InlineWake {
    /// Polls it until it waits for something else than itself.
    pub(super) fn poll<T>(
        &self,
        context: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let task = context.waker();
        let mut kept = self.0.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(task)) {
            *kept = Some(task.clone());
        }
        drop(kept);
        let own = Waker::from(Arc::clone(&self.0));
        for _ in 0..ROUNDS {
            self.0.state.store(POLLED, Ordering::SeqCst);
            let polled = poll(&mut Context::from_waker(&own));
            let state = self.0.state.swap(RESTING, Ordering::SeqCst);
            if polled.is_ready() || state != WOKEN {
                return polled;
            }
        }
        task.wake_by_ref();
        Poll::Pending
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self
            .state
            .compare_exchange(POLLED, WOKEN, Ordering::SeqCst, Ordering::SeqCst)
            == Err(RESTING)
        {
            let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
            task.into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_wake_from_within_polls_again_and_one_from_outside_wakes_the_task() {
        let (counted, here) = (Arc::<Counted>::default(), InlineWake::default());
        let task = Waker::from(Arc::clone(&counted));
        let mut context = Context::from_waker(&task);
        let mut polls = 0;
        let mut outside = None;
        let polled = here.poll(&mut context, |context| {
            polls += 1;
            outside = Some(context.waker().clone());
            if polls == 1 {
                context.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        assert_eq!((polls, counted.0.load(Ordering::SeqCst)), (2, 0));
        outside.unwrap().wake();
        assert_eq!(counted.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_wakes_itself_for_ever_lets_others_have_their_turn() {
        let (counted, here) = (Arc::<Counted>::default(), InlineWake::default());
        let task = Waker::from(Arc::clone(&counted));
        let mut polls = 0;
        let polled = here.poll(&mut Context::from_waker(&task), |context| {
            polls += 1;
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        assert_eq!((polls, counted.0.load(Ordering::SeqCst)), (ROUNDS, 1));
    }
}
