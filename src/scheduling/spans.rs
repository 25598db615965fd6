//! The spans of batches: how long what is traced waited, and which batch it went with. A batch serves many requests, so
//! that its span stands in the trace of the first of them and is linked with all. What takes many turns, as a drawn
//! image does, has a span for the first of them alone: hundreds would tell nothing more.

use std::time::Duration;

use super::Parallelism;
use crate::trace::{Span, Trace};

/// What waited and is worked on for the first time: where it stands in its trace, and for how long it waited.
pub(super) type Starting = Vec<(Trace, u64)>;

/// The span of a batch, if anything starts with it that is traced.
#[derive(Default)]
pub(super) struct BatchSpan(Span);

impl BatchSpan {
    /// Begins a batch of `rows`, and ends the waiting of what is `starting`.
    pub(super) fn begin(starting: &[(Trace, u64)], (model, operation): (&str, &str), rows: usize) -> Self {
        let Some((first, _)) = starting.first() else {
            return Self::default();
        };
        let mut batch = first.span("batch");
        batch.set("density.model", model.to_owned());
        batch.set("density.operation", operation.to_owned());
        batch.set("density.rows", rows as i64);
        // Items of one request come one after the other.
        for same in starting.chunk_by(|one, other| one.0.is(&other.0)) {
            let longest = same.iter().map(|&(_, waited)| waited).max().unwrap_or_default();
            let trace = &same[0].0;
            let mut queue = trace.span_since("queue", Duration::from_nanos(longest));
            queue.set("density.images", same.len() as i64);
            queue.link(&batch.trace());
            batch.link(trace);
        }
        Self(batch)
    }

    /// The span of the run itself.
    pub(super) fn run(&self, parallelism: Parallelism) -> Span {
        let mut run = self.0.trace().span("run");
        run.set("density.alone", parallelism == Parallelism::Alone);
        run
    }

    /// The batch failed.
    pub(super) fn fail(&mut self, cause: &str) {
        self.0.fail(cause);
    }
}
