//! How often each operation of each model was asked over the protocol, and what the time went into.
//!
//! Keys are models that served and operations that they have, so their number is bounded.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use super::target::Target;
use crate::trace::Span;

/// A version of a model and an operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    model: String,
    version: u32,
    operation: &'static str,
}

impl Key {
    pub(super) fn of(target: &Target) -> Self {
        Self {
            model: target.model.name.clone(),
            version: target.model.version,
            operation: target.operation.about().name,
        }
    }
}

/// A number of events and the nanoseconds that they took together.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Tally {
    pub(super) count: u64,
    pub(super) ns: u64,
}

impl Tally {
    fn add(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.count += 1;
        self.ns = self.ns.saturating_add(ns);
    }
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Counts {
    /// Milliseconds since 1970.
    pub(super) last_inference: u64,
    /// Images answered.
    pub(super) inference_count: u64,
    /// Requests answered.
    pub(super) execution_count: u64,
    pub(super) inference_stats: Stats,
}

/// Where the time went.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Stats {
    pub(super) success: Tally,
    pub(super) fail: Tally,
    /// Counts requests, since clients tell by it which version served them. Its time stays 0: waiting for a worker is
    /// part of `compute_infer`.
    pub(super) queue: Tally,
    /// Reading tensors.
    pub(super) compute_input: Tally,
    /// The operation, waiting included.
    pub(super) compute_infer: Tally,
    /// Writing tensors.
    pub(super) compute_output: Tally,
    /// Stays 0: nothing is cached.
    pub(super) cache_hit: Tally,
    /// Stays 0.
    pub(super) cache_miss: Tally,
}

/// The counters of a server.
#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<HashMap<Key, Counts>>);

impl Counters {
    pub(super) fn get(&self, key: &Key) -> Counts {
        self.lock().get(key).copied().unwrap_or_default()
    }

    // A panic while it was held left at worst one count out.
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Counts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request under way. Dropped before its end, it has failed.
#[derive(Debug)]
pub(super) struct Recording {
    counters: Arc<Counters>,
    key: Option<Key>,
    started: Instant,
    input: Option<Instant>,
    inferred: Option<(Instant, usize)>,
    encode: Span,
}

impl Recording {
    pub(super) fn new(counters: &Arc<Counters>, key: Key, started: Instant) -> Self {
        Self {
            counters: Arc::clone(counters),
            key: Some(key),
            started,
            input: None,
            inferred: None,
            encode: Span::default(),
        }
    }

    /// The tensors have been read.
    pub(super) fn read(&mut self) {
        self.input = Some(Instant::now());
    }

    /// The operation is done, with so many images. The span lasts until the answer has been written.
    pub(super) fn answered(&mut self, images: usize, encode: Span) {
        self.inferred = Some((Instant::now(), images));
        self.encode = encode;
    }

    /// The answer has been written.
    pub(super) fn written(mut self) {
        if let (Some(key), Some(input), Some((inferred, images))) = (self.key.take(), self.input, self.inferred) {
            let now = Instant::now();
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            let mut all = self.counters.lock();
            let counts = all.entry(key).or_default();
            let milliseconds = since.unwrap_or_default().as_millis();
            counts.last_inference = u64::try_from(milliseconds).unwrap_or(u64::MAX);
            counts.inference_count += images as u64;
            counts.execution_count += 1;
            let stats = &mut counts.inference_stats;
            stats.success.add(now - self.started);
            stats.queue.add(Duration::ZERO);
            stats.compute_input.add(input - self.started);
            stats.compute_infer.add(inferred - input);
            stats.compute_output.add(now - inferred);
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let mut all = self.counters.lock();
            let counts = all.entry(key).or_default();
            counts.inference_stats.fail.add(self.started.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_dropped_has_failed() {
        let counters = Arc::new(Counters::default());
        let key = Key {
            model: "m".to_owned(),
            version: 1,
            operation: "o",
        };
        let start = || Recording::new(&counters, key.clone(), Instant::now());
        drop(start());
        let mut whole = start();
        whole.read();
        whole.answered(3, Span::default());
        whole.written();
        let counts = counters.get(&key);
        let stats = counts.inference_stats;
        assert_eq!((stats.fail.count, stats.success.count, stats.queue.count), (1, 1, 1));
        assert_eq!((counts.inference_count, counts.execution_count), (3, 1));
    }
}
