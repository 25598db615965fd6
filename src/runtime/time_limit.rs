//! How long the calling thread waits for the runtime.
//!
//! A graph may never end: a loop in it turns as often as it says. Work that nobody may wait for without end is done
//! inside [`within`]: what the runtime does on this thread is stopped when the time is over, and everything that is
//! asked of it afterwards fails at once.

use std::{
    cell::RefCell,
    collections::HashMap,
    panic::resume_unwind,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use super::threads;

thread_local! {
    static WATCH: RefCell<Option<Arc<Watch>>> = const { RefCell::new(None) };
}

/// Something that stops what runs.
type Stop = Box<dyn Fn() + Send>;

/// One time limit, shared by the threads that work and the one that looks at the clock.
struct Watch {
    limit: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What the runtime does now, by the thread that waits for it.
    running: HashMap<ThreadId, Stop>,
    over: bool,
    finished: bool,
}

/// Runs `work`; the runtime is given `limit` for all that it is asked meanwhile on this thread.
pub fn within<T>(limit: Duration, work: impl FnOnce() -> T) -> T {
    let watch = Arc::new(Watch {
        limit,
        state: Mutex::default(),
        changed: Condvar::new(),
    });
    let outer = WATCH.replace(Some(Arc::clone(&watch)));
    // Ends the watch when the work is done, also by a panic.
    let _end = End { outer };
    thread::scope(|scope| {
        if let Err(error) = threads::start_scoped(scope, || watch.look_at_the_clock()) {
            tracing::warn!(%error, "no thread can be started: nothing ends what takes too long");
        }
        let _done = Done(&watch);
        work()
    })
}

/// Runs `beside` on another thread while this one does `work`. The limit of this thread holds for both. Where no thread
/// can be started, one comes after the other.
pub fn join<A: Send, B>(beside: impl FnOnce() -> A + Send, work: impl FnOnce() -> B) -> (A, B) {
    let watch = WATCH.with_borrow(Option::clone);
    let waiting = Mutex::new(Some(beside));
    let taken = || waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
    thread::scope(|scope| {
        let started = threads::start_scoped(scope, || {
            WATCH.set(watch);
            taken().map(|beside| beside())
        });
        let done = work();
        let other = match started.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(other)) => other,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(error) => {
                tracing::debug!(%error, "no thread can be started");
                None
            }
        };
        let other = other.or_else(|| taken().map(|beside| beside()));
        (other.unwrap_or_else(|| unreachable!("it is done once")), done)
    })
}

/// Runs `work` on a thread of its own, and waits for it no longer than `limit`. `None` if it has not ended by then: it
/// may be where nothing stops it, and is left to itself.
pub fn left_after<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<Option<T>> {
    let (send, receive) = mpsc::sync_channel(1);
    threads::room_for_one()?;
    let thread = thread::Builder::new().name("load".to_owned()).spawn(move || {
        // Nobody listens to what comes too late.
        let _ = send.send(work());
    })?;
    match receive.recv_timeout(limit) {
        Ok(result) => Ok(Some(result)),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => resume_unwind(panic),
            Ok(()) => Ok(None),
        },
    }
}

/// Runs `work`, which `stop` ends from another thread. Answers what `work` does, or the limit once it is passed.
pub(super) fn stoppable<T>(stop: impl Fn() + Send + 'static, work: impl FnOnce() -> T) -> Result<T, Duration> {
    let Some(watch) = WATCH.with_borrow(Option::clone) else {
        return Ok(work());
    };
    {
        let mut state = watch.state();
        if state.over {
            return Err(watch.limit);
        }
        state.running.insert(thread::current().id(), Box::new(stop));
    }
    let result = work();
    let mut state = watch.state();
    state.running.remove(&thread::current().id());
    if state.over { Err(watch.limit) } else { Ok(result) }
}

/// Whether anybody looks at the clock.
pub(super) fn is_limited() -> bool {
    WATCH.with_borrow(Option::is_some)
}

impl Watch {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_at_the_clock(&self) {
        let start = Instant::now();
        let mut state = self.state();
        while !state.finished {
            let left = self.limit.saturating_sub(start.elapsed());
            if left.is_zero() {
                state.over = true;
                state.running.values().for_each(|stop| stop());
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Tells the watching thread that the work is done.
struct Done<'a>(&'a Watch);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.state().finished = true;
        self.0.changed.notify_all();
    }
}

/// Gives the thread back the watch that it had before.
struct End {
    outer: Option<Arc<Watch>>,
}

impl Drop for End {
    fn drop(&mut self) {
        WATCH.set(self.outer.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_nothing_stops_is_left_to_itself() {
        let (hold, held) = mpsc::channel::<()>();
        let result = left_after(Duration::from_millis(1), move || held.recv().is_ok());
        assert_eq!(result.unwrap(), None);
        drop(hold);
        assert_eq!(left_after(Duration::from_secs(3600), || 3).unwrap(), Some(3));
    }

    #[test]
    fn work_is_stopped_when_the_time_is_over_and_nothing_starts_after() {
        let (stop, stopped) = mpsc::channel();
        within(Duration::from_millis(1), || {
            // Ends only because it is stopped.
            let result = stoppable(move || stop.send(()).unwrap(), || stopped.recv().unwrap());
            assert_eq!(result, Err(Duration::from_millis(1)));
            let result = stoppable(|| {}, || panic!("nothing starts"));
            assert_eq!(result, Err::<(), _>(Duration::from_millis(1)));
        });
        assert_eq!(stoppable(|| {}, || 3), Ok(3));
        assert!(!is_limited());
    }

    #[test]
    fn what_is_done_side_by_side_has_one_limit() {
        assert_eq!(join(|| 1, || 2), (1, 2));
        let ended = || {
            let (stop, stopped) = mpsc::channel();
            stoppable(move || stop.send(()).unwrap(), || stopped.recv().unwrap())
        };
        let limit = Duration::from_millis(1);
        assert_eq!(within(limit, || join(ended, ended)), (Err(limit), Err(limit)));
        assert!(!is_limited());
    }

    #[test]
    fn work_in_time_is_left_alone() {
        let result = within(Duration::from_secs(3600), || {
            assert!(is_limited());
            stoppable(|| panic!("not stopped"), || 3)
        });
        assert_eq!(result, Ok(3));
    }
}
