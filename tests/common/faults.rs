//! An engine that does what the real one does, unless it is told to wait or to break.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use density_server::{
    graph::protobuf::Model,
    runtime::{Engine, Input, Program, RuntimeError, Threads, Values, View},
};

/// The level in the first place of an image that makes a run break, once [`Faults::arm`] was called.
pub(crate) const BREAKING_LEVEL: u8 = 3;

/// What the tests tell the engine.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    armed: AtomicBool,
    loads: AtomicUsize,
    runs: AtomicUsize,
    rows: AtomicUsize,
    delay_milliseconds: AtomicU64,
    closed: Mutex<bool>,
    changed: Condvar,
}

impl Faults {
    /// An engine under these faults.
    pub(crate) fn engine(self: &Arc<Self>, inner: Arc<dyn Engine>) -> Arc<dyn Engine> {
        Arc::new(FaultyEngine {
            inner,
            faults: Arc::clone(self),
        })
    }

    /// From now on images that start with [`BREAKING_LEVEL`] make a run panic.
    pub(crate) fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    /// Makes every run wait for [`Self::open`].
    pub(crate) fn close(&self) {
        *self.closed.lock().unwrap() = true;
    }

    /// Makes every run take longer.
    pub(crate) fn slow_down(&self, delay: Duration) {
        let milliseconds = delay.as_millis() as u64;
        self.delay_milliseconds.store(milliseconds, Ordering::SeqCst);
    }

    /// Lets all runs go on.
    pub(crate) fn open(&self) {
        *self.closed.lock().unwrap() = false;
        self.changed.notify_all();
    }

    /// Graphs that were made runnable.
    pub(crate) fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    /// Runs that have begun.
    pub(crate) fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    /// Rows of all runs that have begun.
    pub(crate) fn rows(&self) -> usize {
        self.rows.load(Ordering::SeqCst)
    }
}

#[derive(Debug)]
struct FaultyEngine {
    inner: Arc<dyn Engine>,
    faults: Arc<Faults>,
}

impl Engine for FaultyEngine {
    fn identity(&self) -> Option<String> {
        self.inner.identity()
    }

    fn load(&self, name: &str, graph: Vec<u8>) -> Result<Arc<dyn Program>, RuntimeError> {
        self.faults.loads.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(FaultyProgram {
            inner: self.inner.load(name, graph)?,
            faults: Arc::clone(&self.faults),
        }))
    }

    fn load_rows(&self, name: &str, graph: Model) -> Result<Arc<dyn Program>, RuntimeError> {
        self.faults.loads.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(FaultyProgram {
            inner: self.inner.load_rows(name, graph)?,
            faults: Arc::clone(&self.faults),
        }))
    }

    fn load_later(&self, name: &str, graph: Vec<u8>) -> Arc<dyn Program> {
        Arc::new(FaultyProgram {
            inner: self.inner.load_later(name, graph),
            faults: Arc::clone(&self.faults),
        })
    }

    fn simplify(&self, name: &str, graph: &[u8]) -> Result<Vec<u8>, RuntimeError> {
        self.inner.simplify(name, graph)
    }
}

#[derive(Debug)]
struct FaultyProgram {
    inner: Arc<dyn Program>,
    faults: Arc<Faults>,
}

impl Program for FaultyProgram {
    fn run_with(
        &self,
        inputs: &[Input<'_>],
        outputs: &[&str],
        threads: Threads,
        read: &mut dyn FnMut(&[View<'_>]),
    ) -> Result<(), RuntimeError> {
        let faults = &self.faults;
        let rows = inputs[0].shape[0];
        faults.runs.fetch_add(1, Ordering::SeqCst);
        faults.rows.fetch_add(rows, Ordering::SeqCst);
        let closed = faults.closed.lock().unwrap();
        drop(faults.changed.wait_while(closed, |closed| *closed).unwrap());
        let delay = faults.delay_milliseconds.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(delay));
        if faults.armed.load(Ordering::SeqCst)
            && let Values::Bytes(levels) = inputs[0].values
        {
            let mut images = levels.chunks(levels.len() / rows);
            assert!(!images.any(|image| image[0] == BREAKING_LEVEL), "asked to break");
        }
        self.inner.run_with(inputs, outputs, threads, read)
    }
}
