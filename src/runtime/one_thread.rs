//! Graphs that keep to one thread each, from when somebody says so.
//!
//! A runtime parts the sums of a run among its threads, and otherwise where there are more rows. Where that shows, a
//! run on one thread gives the same bits whatever shares it. Several runs still go on side by side.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{Engine, Input, Placement, Program, RuntimeError, Threads, View};
use crate::graph::protobuf::Model;

/// Whether the graphs of several engines keep to one thread. Clones say the same.
#[derive(Debug, Clone, Default)]
pub struct OneThread(Arc<AtomicBool>);

impl OneThread {
    /// Whether they do.
    pub fn is_kept(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// From now on they do, or do not.
    pub fn keep(&self, to_one: bool) {
        self.0.store(to_one, Ordering::Relaxed);
    }

    /// An engine whose graphs do so.
    pub fn of(&self, engine: Arc<dyn Engine>) -> Arc<dyn Engine> {
        Arc::new(Graphs {
            engine,
            one: self.clone(),
        })
    }
}

/// An engine that is told.
#[derive(Debug)]
struct Graphs {
    engine: Arc<dyn Engine>,
    one: OneThread,
}

/// A graph of such an engine.
#[derive(Debug)]
struct Told {
    program: Arc<dyn Program>,
    one: OneThread,
}

impl Graphs {
    fn told(&self, program: Arc<dyn Program>) -> Arc<dyn Program> {
        let one = self.one.clone();
        Arc::new(Told { program, one })
    }
}

impl Engine for Graphs {
    fn identity(&self) -> Option<String> {
        self.engine.identity()
    }

    fn placement(&self) -> Placement {
        self.engine.placement()
    }

    fn reference(&self) -> Option<Arc<dyn Engine>> {
        self.engine.reference().map(|reference| self.one.of(reference))
    }

    fn load(&self, name: &str, graph: Vec<u8>) -> Result<Arc<dyn Program>, RuntimeError> {
        self.engine.load(name, graph).map(|program| self.told(program))
    }

    fn load_model(&self, name: &str, graph: Model) -> Result<Arc<dyn Program>, RuntimeError> {
        self.engine.load_model(name, graph).map(|program| self.told(program))
    }

    fn load_rows(&self, name: &str, graph: Model) -> Result<Arc<dyn Program>, RuntimeError> {
        self.engine.load_rows(name, graph).map(|program| self.told(program))
    }

    fn load_later(&self, name: &str, graph: Vec<u8>) -> Arc<dyn Program> {
        self.told(self.engine.load_later(name, graph))
    }

    fn simplify(&self, name: &str, graph: &[u8]) -> Result<Vec<u8>, RuntimeError> {
        self.engine.simplify(name, graph)
    }
}

impl Program for Told {
    fn likes_few_rows(&self) -> bool {
        self.program.likes_few_rows()
    }

    fn run_with(
        &self,
        inputs: &[Input<'_>],
        outputs: &[&str],
        threads: Threads,
        read: &mut dyn FnMut(&[View<'_>]),
    ) -> Result<(), RuntimeError> {
        let threads = if self.one.is_kept() { Threads::One } else { threads };
        self.program.run_with(inputs, outputs, threads, read)
    }
}
