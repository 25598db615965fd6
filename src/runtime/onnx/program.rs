//! Programs: a graph with the sessions that its runs needed so far, and a run of one of them.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ort::{
    environment::Environment,
    session::{OutputSelector, RunOptions, Session, builder::PrepackedWeights},
    value::TensorRef,
};

use super::{
    super::{Input, Placement, Program, RuntimeError, Threads, Values, View, time_limit},
    commit, cores,
    failure::Failure,
    provider, settings,
};

/// A graph with the sessions that its runs needed so far: `ort` runs a session through `&mut`, because some of the
/// runtime's allocators are not safe to share. A session costs about two copies of the weights and its working memory,
/// so none is made before a run needs it.
pub(super) struct OnnxProgram {
    name: String,
    environment: Environment,
    placement: Placement,
    /// The graph's file: what further sessions are made from.
    graph: Vec<u8>,
    /// Weights in the layout of the kernels, shared by all sessions.
    weights: PrepackedWeights,
    /// Sessions without threads of their own that no run uses now.
    narrow: Mutex<Vec<Session>>,
    /// How many of those are kept.
    most_narrow: usize,
    /// The one that spreads a run over several cores.
    wide: Mutex<Option<Session>>,
}

impl fmt::Debug for OnnxProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OnnxProgram({})", self.name)
    }
}

impl Program for OnnxProgram {
    fn run_with(
        &self,
        inputs: &[Input<'_>],
        outputs: &[&str],
        threads: Threads,
        read: &mut dyn FnMut(&[View<'_>]),
    ) -> Result<(), RuntimeError> {
        let result = match threads {
            Threads::One => self.run_narrow(inputs, outputs, read),
            Threads::All => self.run_wide(inputs, outputs, read),
        };
        result.map_err(|failure| failure.of_run(&self.name))
    }
}

impl OnnxProgram {
    /// A graph of which no session has been made; sessions for `most_narrow` runs of one thread are kept.
    pub(super) fn new(
        name: &str,
        graph: Vec<u8>,
        (environment, placement): (&Environment, Placement),
        most_narrow: usize,
    ) -> Self {
        Self {
            name: name.to_owned(),
            environment: environment.clone(),
            placement,
            graph,
            weights: PrepackedWeights::new(),
            narrow: Mutex::default(),
            most_narrow,
            wide: Mutex::default(),
        }
    }

    /// Makes the first session, which tells whether the runtime takes the graph.
    pub(super) fn warm_up(&self) -> Result<(), Failure> {
        let session = self.session(Threads::One)?;
        self.narrow().push(session);
        Ok(())
    }

    fn run_narrow(
        &self,
        inputs: &[Input<'_>],
        outputs: &[&str],
        read: &mut dyn FnMut(&[View<'_>]),
    ) -> Result<(), Failure> {
        let idle = self.narrow().pop();
        let mut session = idle.map_or_else(|| self.session(Threads::One), Ok)?;
        let result = run(&mut session, inputs, outputs, read);
        // There may be more callers than workers: somebody from outside, such as the load gate.
        let mut narrow = self.narrow();
        if narrow.len() < self.most_narrow {
            narrow.push(session);
        }
        result
    }

    fn run_wide(
        &self,
        inputs: &[Input<'_>],
        outputs: &[&str],
        read: &mut dyn FnMut(&[View<'_>]),
    ) -> Result<(), Failure> {
        let mut wide = self.wide.lock().unwrap_or_else(PoisonError::into_inner);
        let session = match &mut *wide {
            Some(session) => session,
            empty => empty.insert(self.session(Threads::All)?),
        };
        run(session, inputs, outputs, read)
    }

    fn narrow(&self) -> MutexGuard<'_, Vec<Session>> {
        self.narrow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self, threads: Threads) -> Result<Session, Failure> {
        let builder = settings(&self.environment)?.with_prepacked_weights(&self.weights)?;
        let builder = match threads {
            Threads::One => builder.with_independent_thread_pool()?.with_intra_threads(1)?,
            Threads::All => builder,
        };
        let threads = match threads {
            Threads::One => 1,
            Threads::All => cores(),
        };
        let mut builder = provider::register(builder, self.placement, threads)?;
        commit(&mut builder, &self.graph)
    }
}

/// Runs a graph and shows `read` the outputs, in the order in which they were asked for.
pub(super) fn run(
    session: &mut Session,
    inputs: &[Input<'_>],
    outputs: &[&str],
    read: &mut dyn FnMut(&[View<'_>]),
) -> Result<(), Failure> {
    let values = inputs
        .iter()
        .map(|input| {
            let value = match input.values {
                Values::Bytes(values) => TensorRef::from_array_view((input.shape, values))?.into_dyn(),
                Values::Floats(values) | Values::Weights(values) => {
                    TensorRef::from_array_view((input.shape, values))?.into_dyn()
                }
                Values::Ints(values) => TensorRef::from_array_view((input.shape, values))?.into_dyn(),
            };
            Ok((input.name, value))
        })
        .collect::<Result<Vec<_>, ort::Error>>()?;
    let (stoppable, selective);
    let answer = if time_limit::is_limited() {
        // Options that say which outputs are wanted cannot be shared with whoever looks at the clock.
        stoppable = Arc::new(RunOptions::new()?);
        let running = Arc::clone(&stoppable);
        let stop = move || {
            let _ = running.terminate();
        };
        time_limit::stoppable(stop, || session.run_with_options(values, &*stoppable)).map_err(Failure::Impatient)??
    } else if outputs.len() < session.outputs().len() {
        // Outputs that nobody asked for stay in the runtime's own buffers.
        let none = OutputSelector::no_default();
        let wanted = outputs.iter().fold(none, |all, &name| all.with(name));
        selective = RunOptions::new()?.with_outputs(wanted);
        session.run_with_options(values, &selective)?
    } else {
        session.run(values)?
    };
    let views = outputs
        .iter()
        .map(|&name| {
            let value = answer.get(name).ok_or_else(|| format!("no output {name:?}"))?;
            let (shape, values) = value.try_extract_tensor::<f32>().map_err(|error| error.to_string())?;
            Ok(View {
                shape: shape.iter().map(|&size| size.max(0) as usize).collect(),
                values,
            })
        })
        .collect::<Result<Vec<_>, String>>()?;
    read(&views);
    Ok(())
}
