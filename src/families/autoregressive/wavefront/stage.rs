//! A part of the program, made runnable: a run on some places, and what is kept of it.

use std::sync::Arc;

use super::{Pair, Walk, Wavefront, inputs::Buffers, memory};
use crate::{
    families::network::NetworkError,
    graph::wavefront::{Cache, Gather, Part},
    runtime::{Engine, Program, Threads, View},
};

/// Values that a run of whole rows reads, at most, if it is of more than one row: enough places for the kernels.
const ROW_VALUES: usize = 1 << 22;

/// A part of the program with its runtime.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) program: Arc<dyn Program>,
    pub(super) part: Part,
    /// What a run is asked for: what the part gives, if anything, then what is kept.
    output_names: Vec<String>,
}

impl Stage {
    /// Loads a part, which gives `first` beside what is kept of it.
    pub(super) fn load(
        engine: &dyn Engine,
        name: &str,
        mut part: Part,
        first: Option<&str>,
        caches: &[Cache],
    ) -> Result<Self, NetworkError> {
        let program = engine.load_rows(name, std::mem::take(&mut part.graph))?;
        let cached = part.caches.iter().map(|&place| caches[place].output.as_str());
        let output_names = first
            .into_iter()
            .chain(cached)
            .chain(part.pasts.iter().map(|past| past.output.as_str()))
            .map(str::to_owned)
            .collect();
        Ok(Self {
            program,
            part,
            output_names,
        })
    }
}

impl Wavefront {
    /// Computes what the rows above tell of the rows of which this step is the first.
    pub(super) fn begin_rows(
        &self,
        stage: &Stage,
        walks: &mut [&mut Walk],
        buffers: &mut Buffers,
    ) -> Result<(), NetworkError> {
        let (height, width) = (self.shape.height() as i64, self.shape.width());
        let begun = |walk: &Walk| {
            let steps = walk.step - self.compiled.first_delay;
            let row = steps / self.compiled.lag;
            (steps % self.compiled.lag == 0 && row < height).then_some(row)
        };
        let rows: Vec<(usize, i64)> = (walks.iter().enumerate())
            .filter_map(|(at, walk)| Some((at, begun(walk)?)))
            .collect();
        let values: usize = stage.part.gathers.iter().map(Gather::size).sum();
        let together = ROW_VALUES / (values * width).max(1);
        for some in rows.chunks(together.max(1)) {
            buffers.pairs.clear();
            for &(walk, row) in some {
                buffers
                    .pairs
                    .extend((0..width as i64).map(|column| Pair { walk, row, column }));
            }
            self.fill(&stage.part, walks, buffers, true);
            self.run(stage, buffers, &mut |kept| {
                self.remember(&stage.part, walks, buffers, kept)
            })?;
        }
        Ok(())
    }

    /// Runs a part on what its inputs have been filled with, and hands its outputs to `read`.
    pub(super) fn run(
        &self,
        stage: &Stage,
        buffers: &Buffers,
        read: &mut dyn FnMut(&[View<'_>]),
    ) -> Result<(), NetworkError> {
        let shapes = buffers.shapes(&stage.part, self.shape.pixels());
        let inputs = buffers.inputs(&stage.part, &shapes);
        let names: Vec<&str> = stage.output_names.iter().map(String::as_str).collect();
        Ok(stage.program.run_with(&inputs, &names, Threads::One, read)?)
    }

    /// Copies what will be read later: of the places of `buffers`, the outputs that are kept.
    pub(super) fn remember(&self, part: &Part, walks: &mut [&mut Walk], buffers: &Buffers, kept: &[View<'_>]) {
        let columns = 0..self.shape.width() as i64;
        let (cached, kept) = kept.split_at(part.caches.len());
        for (view, &place) in cached.iter().zip(&part.caches) {
            let (cache, ring) = (&self.compiled.caches[place], self.layout.rings[place]);
            for (pair, values) in buffers.pairs.iter().zip(view.values.chunks_exact(ring.width)) {
                let column = pair.column - cache.delay;
                if columns.contains(&column) {
                    let at = ring.at(pair.row as usize, column as usize);
                    walks[pair.walk].memory[at..at + ring.width].copy_from_slice(values);
                }
            }
        }
        for ((view, past), &offset) in kept.iter().zip(&part.pasts).zip(&self.layout.pasts) {
            let width = past.heads * past.width;
            for (pair, values) in buffers.pairs.iter().zip(view.values.chunks_exact(width)) {
                let column = pair.column - past.delay;
                if columns.contains(&column) {
                    let place = pair.row as usize * self.shape.width() + column as usize;
                    let size = width * self.shape.pixels();
                    let memory = &mut walks[pair.walk].memory[offset..offset + size];
                    memory::keep(past, memory, place, values);
                }
            }
        }
    }
}
