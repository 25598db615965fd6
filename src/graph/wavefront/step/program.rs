//! The graphs as parts of the program: every input and output by its name, with what it holds.

use super::{Draft, Emitter, name_of};
use crate::graph::{
    protobuf::{ElementType, Model, Node, ValueInfo},
    wavefront::{
        Cache, Compiled, Gather, LABELS, LOGITS, Mask, Part, Past, Position, Run, Source, Tables, Unsupported,
        schedule::Role, stencil::Window,
    },
    weights,
};

impl Emitter<'_> {
    /// Ends the step graph in the logits, and declares what it, and the graph of whole rows that is written before it,
    /// read and hand on.
    pub(super) fn finish(mut self, row: Option<(Draft, u64)>, model: &Model) -> Result<Compiled, Unsupported> {
        let width = self.stencil.tensors[self.stencil.logits].width();
        let writer = &mut self.draft.writer;
        let shape = writer.ints([0, width as i64]);
        writer.node(Node::new("Reshape", &[&name_of(self.stencil.logits), &shape], LOGITS));
        let tables = self.tables(model)?;
        debug_assert_eq!(self.tabulated.len(), tables.tables.len());
        let caches = self.caches();
        let delays = || {
            self.schedule.roles.iter().filter_map(|role| match role {
                Role::Step(delay) => Some(*delay),
                _ => None,
            })
        };
        let (first_delay, last_delay) = (delays().min().unwrap_or(0).min(0), delays().max().unwrap_or(0).max(0));
        let sums_all = !self.stencil.summed.is_empty();
        let step = std::mem::take(&mut self.draft);
        let logits = ValueInfo::batched(LOGITS, ElementType::Float, &[width]);
        Ok(Compiled {
            pass_multiply_adds: sums_all.then(|| weights::count(model)),
            assumptions: self.stencil.assumptions.clone(),
            predictions: self.stencil.predictions,
            lag: self.schedule.lag,
            first_delay,
            last_delay,
            multiply_adds: self.multiply_adds,
            step: self.declared(step, vec![logits], (&caches, &tables), model),
            row_multiply_adds: row.as_ref().map_or(0, |(_, multiply_adds)| *multiply_adds),
            row: row.map(|(row, _)| self.declared(row, Vec::new(), (&caches, &tables), model)),
            tables,
            caches,
        })
    }

    /// Declares what a graph reads, and what it hands on beside `outputs`.
    fn declared(
        &self,
        draft: Draft,
        mut outputs: Vec<ValueInfo>,
        (caches, tables): (&[Cache], &Tables),
        model: &Model,
    ) -> Part {
        let (gathers, positions, masks) = (draft.gathers(caches, tables), draft.positions(), draft.masks());
        let pasts: Vec<Past> = draft.pasts.values().cloned().collect();
        let pixels = self.stencil.shape.pixels();
        let reals = |name: &str, sizes: &[usize]| ValueInfo::batched(name, ElementType::Float, sizes);
        let numbers = |name: &str| ValueInfo::batched(name, ElementType::Int64, &[]);
        let mut inputs: Vec<ValueInfo> = gathers
            .iter()
            .map(|gather| reals(&gather.input, &[gather.size()]))
            .collect();
        let mask = |mask: &Mask| ValueInfo::batched(&mask.input, ElementType::Uint8, &[1]);
        inputs.extend(masks.iter().map(mask));
        inputs.extend(pasts.iter().map(|past| reals(&past.input, &past.dims(pixels))));
        inputs.extend(positions.iter().map(|position| numbers(&position.input)));
        inputs.extend(draft.takes_labels.then(|| numbers(LABELS)));
        let mut kept = Vec::new();
        for (&tensor, &(place, _)) in &self.cached {
            if draft.tensors.contains(&tensor) {
                outputs.push(reals(&name_of(tensor), &self.stencil.tensors[tensor].features));
                kept.push(place);
            }
        }
        outputs.extend(pasts.iter().map(|past| reals(&past.output, &[past.heads * past.width])));
        Part {
            gathers,
            positions,
            masks,
            caches: kept,
            pasts,
            takes_labels: draft.takes_labels,
            graph: draft.writer.into_model(model, inputs, outputs),
        }
    }

    /// The tensors that are looked up later, in the order of their places.
    fn caches(&self) -> Vec<Cache> {
        let mut caches = vec![None; self.cached.len()];
        for (&tensor, &(place, kept)) in &self.cached {
            caches[place] = Some(Cache {
                output: name_of(tensor),
                width: self.stencil.tensors[tensor].width(),
                delay: self.schedule.delay(tensor),
                kept,
            });
        }
        caches.into_iter().flatten().collect()
    }
}

impl Draft {
    /// The inputs that hold neighbours, in the order in which they were named.
    fn gathers(&self, caches: &[Cache], tables: &Tables) -> Vec<Gather> {
        let gather = |((source, delay, places, window), input): (&super::GatherKey, &String)| Gather {
            input: input.clone(),
            source: *source,
            width: match source {
                Source::Cache(place) => caches[*place].width,
                Source::Table(place) => tables.tables[*place].channels.len(),
            },
            delay: *delay,
            runs: Run::side_by_side(places.iter().copied()),
            rows: (window.top, window.bottom),
            columns: (window.left, window.right),
        };
        let mut gathers: Vec<Gather> = self.gathers.iter().map(gather).collect();
        gathers.sort_by(|a, b| a.input.len().cmp(&b.input.len()).then(a.input.cmp(&b.input)));
        gathers
    }

    fn positions(&self) -> Vec<Position> {
        let position = |(&delay, input): (&i64, &String)| Position {
            input: input.clone(),
            delay,
        };
        self.positions.iter().map(position).collect()
    }

    fn masks(&self) -> Vec<Mask> {
        let mask = |((delay, window), input): (&(i64, Window), &String)| Mask {
            input: input.clone(),
            delay: *delay,
            rows: (window.top, window.bottom),
            columns: (window.left, window.right),
        };
        self.masks.iter().map(mask).collect()
    }
}
