//! Programs of large graphs.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use ort::session::Session;

use super::{
    super::{Input, Program, RuntimeError, Threads, View},
    program::run,
};

/// A large graph with its one session: each would hold the weights again, and a run is work enough for all cores.
pub(super) struct LargeProgram {
    name: String,
    session: Mutex<Session>,
}

impl LargeProgram {
    pub(super) fn new(name: &str, session: Session) -> Self {
        let (name, session) = (name.to_owned(), Mutex::new(session));
        Self { name, session }
    }
}

impl fmt::Debug for LargeProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LargeProgram({})", self.name)
    }
}

impl Program for LargeProgram {
    fn run_with(
        &self,
        inputs: &[Input<'_>],
        outputs: &[&str],
        _threads: Threads,
        read: &mut dyn FnMut(&[View<'_>]),
    ) -> Result<(), RuntimeError> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        run(&mut session, inputs, outputs, read).map_err(|failure| failure.of_run(&self.name))
    }
}
