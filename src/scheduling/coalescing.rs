//! Whether a short run should wait a moment so that others can join its batch.
//!
//! Where many requests are under way, those that have come to the same thread gather in one batch if the first of them
//! waits until the thread has looked at the others. Where there is one at a time nobody comes, and the moment costs the
//! waking of another thread that looks for work. What happened last tells which of the two it is.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;
use tokio::task::yield_now;

/// So many runs in a row without company, and it is not waited for any more.
const PATIENCE: u32 = 4;

/// It is tried again with every so many-th run.
const TRIAL: u32 = 16;

/// Runs since one that had company.
#[derive(Debug, Default)]
pub(super) struct Coalescing(AtomicU32);

impl Coalescing {
    /// Whether to wait for it.
    pub(super) fn is_likely(&self) -> bool {
        let alone = self.0.load(Ordering::Relaxed);
        alone < PATIENCE || alone.is_multiple_of(TRIAL)
    }

    /// A run had company, or had not.
    pub(super) fn note(&self, had_company: bool) {
        // Two threads that write at once lose a count, which does not matter.
        let alone = self.0.load(Ordering::Relaxed);
        let alone = if had_company { 0 } else { alone.wrapping_add(1) };
        self.0.store(alone, Ordering::Relaxed);
    }
}

/// Ends when the thread has looked at its other tasks. The runtime's own way to do that ends when the task is polled
/// again, for whatever reason.
pub(super) async fn moment() {
    let passed = Arc::<Passed>::default();
    let mut others = pin!(yield_now());
    let mut is_asked = false;
    poll_fn(|context| {
        passed.task.register(context.waker());
        if !is_asked {
            is_asked = true;
            let waker = Waker::from(Arc::clone(&passed));
            // It answers by the waker.
            let _ = others.as_mut().poll(&mut Context::from_waker(&waker));
        }
        if passed.is_over.load(Ordering::SeqCst) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

#[derive(Default)]
struct Passed {
    is_over: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Passed {
    fn wake(self: Arc<Self>) {
        self.is_over.store(true, Ordering::SeqCst);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_moment_is_not_over_because_somebody_looks() {
        let mut moment = Box::pin(moment());
        for _ in 0..3 {
            assert!(futures_util::FutureExt::now_or_never(&mut moment).is_none());
        }
        moment.await;
    }

    #[test]
    fn it_is_waited_for_until_it_stays_away_and_tried_again() {
        let coalescing = Coalescing::default();
        let waits = |runs: usize| {
            (0..runs)
                .filter(|_| {
                    let waits = coalescing.is_likely();
                    coalescing.note(false);
                    waits
                })
                .count()
        };
        assert_eq!(waits(4), 4);
        assert_eq!(waits(160), 10);
        coalescing.note(true);
        assert_eq!(waits(4), 4);
    }
}
