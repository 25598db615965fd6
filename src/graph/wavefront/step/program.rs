//! The step graph as the program of a step: every input and output by its name, with what it holds.

use super::{Emitter, name_of};
use crate::graph::{
    protobuf::{ElementType, Model, Node, ValueInfo},
    wavefront::{
        Cache, Compiled, Gather, LABELS, LOGITS, Mask, Past, Position, Run, Source, Tables, Unsupported,
        schedule::Role, stencil::Window,
    },
    weights,
};

impl Emitter<'_> {
    /// Ends the graph in the logits, and declares what it reads and what it hands on.
    pub(super) fn finish(mut self, model: &Model) -> Result<Compiled, Unsupported> {
        let width = self.stencil.tensors[self.stencil.logits].width();
        let shape = self.writer.ints([0, width as i64]);
        self.writer
            .node(Node::new("Reshape", &[&name_of(self.stencil.logits), &shape], LOGITS));
        let tables = self.tables(model)?;
        debug_assert_eq!(self.tabulated.len(), tables.tables.len());
        let caches = self.caches();
        let gathers = self.gathers(&caches, &tables);
        let positions = self.positions();
        let masks = self.masks();
        let pasts: Vec<Past> = self.pasts.values().cloned().collect();
        let inputs = self.inputs(&gathers, &masks, &pasts, &positions);
        let outputs = self.outputs(width, &pasts);
        let delays = || {
            self.schedule.roles.iter().filter_map(|role| match role {
                Role::Step(delay) => Some(*delay),
                _ => None,
            })
        };
        let sums_all = !self.stencil.summed.is_empty();
        Ok(Compiled {
            pass_multiply_adds: sums_all.then(|| weights::count(model)),
            tables,
            gathers,
            positions,
            masks,
            caches,
            pasts,
            assumptions: self.stencil.assumptions.clone(),
            takes_labels: self.takes_labels,
            predictions: self.stencil.predictions,
            lag: self.schedule.lag,
            first_delay: delays().min().unwrap_or(0).min(0),
            last_delay: delays().max().unwrap_or(0).max(0),
            multiply_adds: self.multiply_adds,
            step: self.writer.into_model(model, inputs, outputs),
        })
    }

    /// The tensors that later steps look up, in the order of their places.
    fn caches(&self) -> Vec<Cache> {
        let mut caches = vec![None; self.cached.len()];
        for (&tensor, &(place, lifetime)) in &self.cached {
            caches[place] = Some(Cache {
                output: name_of(tensor),
                width: self.stencil.tensors[tensor].width(),
                delay: self.schedule.delay(tensor),
                lifetime,
            });
        }
        caches.into_iter().flatten().collect()
    }

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

    fn inputs(&self, gathers: &[Gather], masks: &[Mask], pasts: &[Past], positions: &[Position]) -> Vec<ValueInfo> {
        let pixels = self.stencil.shape.pixels();
        let reals = |name: &str, sizes: &[usize]| ValueInfo::batched(name, ElementType::Float, sizes);
        let numbers = |name: &str| ValueInfo::batched(name, ElementType::Int64, &[]);
        let gathers = gathers.iter().map(|gather| reals(&gather.input, &[gather.size()]));
        let masks = masks
            .iter()
            .map(|mask| ValueInfo::batched(&mask.input, ElementType::Uint8, &[1]));
        let pasts = pasts.iter().map(|past| reals(&past.input, &past.dims(pixels)));
        let positions = positions.iter().map(|position| numbers(&position.input));
        let labels = self.takes_labels.then(|| numbers(LABELS));
        gathers
            .chain(masks)
            .chain(pasts)
            .chain(positions)
            .chain(labels)
            .collect()
    }

    fn outputs(&self, width: usize, pasts: &[Past]) -> Vec<ValueInfo> {
        let reals = |name: &str, sizes: &[usize]| ValueInfo::batched(name, ElementType::Float, sizes);
        let cached = self
            .cached
            .keys()
            .map(|&tensor| reals(&name_of(tensor), &self.stencil.tensors[tensor].features));
        let kept = pasts.iter().map(|past| reals(&past.output, &[past.heads * past.width]));
        std::iter::once(reals(LOGITS, &[width]))
            .chain(cached)
            .chain(kept)
            .collect()
    }
}
