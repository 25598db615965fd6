//! Graphs that run one row at a time, whatever is asked for.

use std::sync::Arc;

use super::{Engine, Input, Output, Placement, Program, RuntimeError, Threads, Values, View};
use crate::graph::protobuf::Model;

/// An engine whose graphs never see two rows of a batch together.
#[derive(Debug)]
pub struct OneAtATime(pub Arc<dyn Engine>);

/// A graph of such an engine.
#[derive(Debug)]
struct Rows(Arc<dyn Program>);

impl Engine for OneAtATime {
    fn identity(&self) -> Option<String> {
        self.0.identity()
    }

    fn placement(&self) -> Placement {
        self.0.placement()
    }

    fn reference(&self) -> Option<Arc<dyn Engine>> {
        let reference = self.0.reference()?;
        Some(Arc::new(Self(reference)))
    }

    fn load(&self, name: &str, graph: Vec<u8>) -> Result<Arc<dyn Program>, RuntimeError> {
        Ok(Arc::new(Rows(self.0.load(name, graph)?)))
    }

    fn load_model(&self, name: &str, graph: Model) -> Result<Arc<dyn Program>, RuntimeError> {
        Ok(Arc::new(Rows(self.0.load_model(name, graph)?)))
    }

    fn load_rows(&self, name: &str, graph: Model) -> Result<Arc<dyn Program>, RuntimeError> {
        let program = self.0.load_rows(name, graph)?;
        // Kernels of rows know no company.
        if program.likes_few_rows() {
            return Ok(program);
        }
        Ok(Arc::new(Rows(program)))
    }

    fn load_later(&self, name: &str, graph: Vec<u8>) -> Arc<dyn Program> {
        Arc::new(Rows(self.0.load_later(name, graph)))
    }

    /// Such a graph may do with a batch what it does not with one row, so nothing is to be concluded from a simpler
    /// form.
    fn simplify(&self, name: &str, _graph: &[u8]) -> Result<Vec<u8>, RuntimeError> {
        Err(RuntimeError::Load {
            name: name.to_owned(),
            cause: "it runs one image at a time, as its manifest says".to_owned(),
        })
    }
}

impl Program for Rows {
    fn run_with(
        &self,
        inputs: &[Input<'_>],
        outputs: &[&str],
        threads: Threads,
        read: &mut dyn FnMut(&[View<'_>]),
    ) -> Result<(), RuntimeError> {
        let rows = inputs.first().map_or(1, |input| input.shape[0]);
        if rows <= 1 {
            return self.0.run_with(inputs, outputs, threads, read);
        }
        let shapes: Vec<Vec<usize>> = inputs
            .iter()
            .map(|input| match input.values {
                Values::Weights(_) => input.shape.to_vec(),
                _ => std::iter::once(1).chain(input.shape[1..].iter().copied()).collect(),
            })
            .collect();
        let mut all: Vec<Output> = Vec::new();
        for row in 0..rows {
            let own: Vec<Input<'_>> = inputs
                .iter()
                .zip(&shapes)
                .map(|(input, shape)| Input {
                    name: input.name,
                    shape,
                    values: row_of(input.values, row, rows),
                })
                .collect();
            let answer = self.0.run(&own, outputs, threads)?;
            if row == 0 {
                all = answer;
                continue;
            }
            for (all, answer) in all.iter_mut().zip(answer) {
                all.shape[0] += answer.shape[0];
                all.values.extend(answer.values);
            }
        }
        let views: Vec<View<'_>> = all
            .iter()
            .map(|output| View {
                shape: output.shape.clone(),
                values: &output.values,
            })
            .collect();
        read(&views);
        Ok(())
    }
}

/// The values of one row of a batch.
fn row_of(values: Values<'_>, row: usize, rows: usize) -> Values<'_> {
    fn part<T>(values: &[T], row: usize, rows: usize) -> &[T] {
        let size = values.len() / rows;
        &values[row * size..(row + 1) * size]
    }
    match values {
        Values::Bytes(values) => Values::Bytes(part(values, row, rows)),
        Values::Floats(values) => Values::Floats(part(values, row, rows)),
        Values::Ints(values) => Values::Ints(part(values, row, rows)),
        Values::Weights(values) => Values::Weights(values),
    }
}
