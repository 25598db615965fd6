//! What a run reads, laid out for the runtime: neighbours, all that came before, levels looked up, places.

use super::{Pair, Walk, Wavefront, memory::Recalled};
use crate::{
    graph::wavefront::{Gather, LABELS, Part, Run, Source},
    runtime::{Input, Values},
};

/// Input buffers of a run.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) pairs: Vec<Pair>,
    gathers: Vec<Vec<f32>>,
    pub(super) pasts: Vec<Recalled>,
    positions: Vec<Vec<i64>>,
    masks: Vec<Vec<u8>>,
    labels: Vec<i64>,
}

/// Shapes of inputs in a run of so many pairs.
pub(super) struct Shapes {
    gathers: Vec<[usize; 2]>,
    pasts: Vec<[usize; 4]>,
    one_axis: [usize; 1],
    one_column: [usize; 2],
}

impl Buffers {
    /// Shapes for a part of the program, of images of so many pixels.
    pub(super) fn shapes(&self, part: &Part, places: usize) -> Shapes {
        let rows = self.pairs.len();
        let gathers = self.gathers.iter();
        let pasts = part.pasts.iter().map(|past| past.dims(places));
        Shapes {
            gathers: gathers.map(|buffer| [rows, buffer.len() / rows]).collect(),
            pasts: pasts
                .map(|[heads, first, second]| [rows, heads, first, second])
                .collect(),
            one_axis: [rows],
            one_column: [rows, 1],
        }
    }

    /// The inputs as the graph calls them.
    pub(super) fn inputs<'a>(&'a self, part: &'a Part, shapes: &'a Shapes) -> Vec<Input<'a>> {
        let input = |name: &'a str, shape: &'a [usize], values| Input { name, shape, values };
        let mut inputs =
            Vec::with_capacity(shapes.gathers.len() + part.masks.len() + part.positions.len() + part.pasts.len() + 1);
        for ((gather, buffer), shape) in part.gathers.iter().zip(&self.gathers).zip(&shapes.gathers) {
            inputs.push(input(&gather.input, shape, Values::Floats(buffer)));
        }
        for (mask, buffer) in part.masks.iter().zip(&self.masks) {
            inputs.push(input(&mask.input, &shapes.one_column, Values::Bytes(buffer)));
        }
        for (position, buffer) in part.positions.iter().zip(&self.positions) {
            inputs.push(input(&position.input, &shapes.one_axis, Values::Ints(buffer)));
        }
        if part.takes_labels {
            inputs.push(input(LABELS, &shapes.one_axis, Values::Ints(&self.labels)));
        }
        for ((past, recalled), shape) in part.pasts.iter().zip(&self.pasts).zip(&shapes.pasts) {
            inputs.push(input(&past.input, shape, Values::Floats(&recalled.values)));
        }
        inputs
    }
}

impl Wavefront {
    /// Lays out the inputs. What is cached stays the same while the channels of a pixel are drawn one after the other.
    pub(super) fn fill(&self, part: &Part, walks: &[&mut Walk], buffers: &mut Buffers, is_first_run: bool) {
        let Buffers {
            pairs,
            gathers,
            pasts,
            positions,
            masks,
            labels,
            ..
        } = buffers;
        gathers.resize_with(part.gathers.len(), Vec::new);
        positions.resize_with(part.positions.len(), Vec::new);
        masks.resize_with(part.masks.len(), Vec::new);
        for (gather, buffer) in part.gathers.iter().zip(gathers) {
            match gather.source {
                Source::Cache(place) if is_first_run => {
                    let ring = self.layout.rings[place];
                    fill(gather, pairs, buffer, |pair, row, column, into| {
                        let memory = &walks[pair.walk].memory;
                        ring.copy_columns(memory, row, column, into);
                    });
                }
                Source::Cache(_) => {}
                Source::Table(place) => {
                    let (table, spec) = (&self.tables[place], &self.compiled.tables.tables[place]);
                    fill(gather, pairs, buffer, |pair, row, column, into| {
                        let levels = &walks[pair.walk].levels;
                        self.look_up(table, &spec.channels, levels, row, column, into);
                    });
                }
            }
        }
        if !is_first_run {
            return;
        }
        let width = self.shape.width() as i64;
        pasts.resize_with(part.pasts.len(), Recalled::default);
        let pixels = self.shape.pixels();
        for ((past, &offset), recalled) in part.pasts.iter().zip(&self.layout.pasts).zip(pasts) {
            let size = past.heads * past.width * pixels;
            let known = pairs.iter().map(|pair| {
                let known = (pair.row * width + pair.column - past.delay + 1).max(0) as usize;
                (pair.walk, known.min(pixels))
            });
            recalled.update(past, (size, width as usize), known, |walk| {
                &walks[walk].memory[offset..offset + size]
            });
        }
        for (position, buffer) in part.positions.iter().zip(positions) {
            buffer.clear();
            buffer.extend(pairs.iter().map(|pair| {
                let column = (pair.column - position.delay).clamp(0, width - 1);
                pair.row * width + column
            }));
        }
        for (mask, buffer) in part.masks.iter().zip(masks) {
            buffer.clear();
            buffer.extend(pairs.iter().map(|pair| {
                let column = pair.column - mask.delay;
                let rows = mask.rows.0..mask.rows.1;
                let columns = mask.columns.0..mask.columns.1;
                u8::from(rows.contains(&pair.row) && columns.contains(&column))
            }));
        }
        labels.clear();
        if part.takes_labels {
            labels.extend(pairs.iter().map(|pair| walks[pair.walk].label));
        }
    }

    /// The features of pixels side by side.
    fn look_up(&self, table: &[f32], channels: &[usize], levels: &[u8], row: usize, column: usize, into: &mut [f32]) {
        let width = channels.len();
        let pixel = row * self.shape.width() + column;
        if self.shape.channels() == 1 {
            for (offset, into) in into.chunks_exact_mut(width).enumerate() {
                let level = usize::from(levels[pixel + offset]);
                into.copy_from_slice(&table[level * width..(level + 1) * width]);
            }
            return;
        }
        let (all, pixels) = (self.shape.channels(), self.shape.pixels());
        for (offset, into) in into.chunks_exact_mut(width).enumerate() {
            // The row of the level of each channel; there are at most four channels.
            let mut rows = [table; 4];
            for (channel, row) in rows[..all].iter_mut().enumerate() {
                let level = usize::from(levels[channel * pixels + pixel + offset]);
                *row = &table[level * width..(level + 1) * width];
            }
            for ((feature, into), &channel) in into.iter_mut().enumerate().zip(channels) {
                *into = rows[channel][feature];
            }
        }
    }
}

/// Fills the input of a gather: for every pair its neighbours, zero where they lie outside. `copy` gets a pair, a row,
/// the first column, and the place of so many columns as fit.
fn fill(gather: &Gather, pairs: &[Pair], buffer: &mut Vec<f32>, mut copy: impl FnMut(&Pair, usize, usize, &mut [f32])) {
    let (width, size) = (gather.width, gather.size());
    buffer.resize(pairs.len() * size, 0.0);
    for (pair, mut into) in pairs.iter().zip(buffer.chunks_exact_mut(size.max(1))) {
        for &Run { dy, dx, count } in &gather.runs {
            let (own, rest) = into.split_at_mut(count * width);
            into = rest;
            let row = pair.row + dy;
            let first = pair.column - gather.delay + dx;
            let begin = first.max(gather.columns.0);
            let end = (first + count as i64).min(gather.columns.1);
            if row < gather.rows.0 || row >= gather.rows.1 || begin >= end {
                own.fill(0.0);
                continue;
            }
            let (from, to) = ((begin - first) as usize * width, (end - first) as usize * width);
            own[..from].fill(0.0);
            copy(pair, row as usize, begin as usize, &mut own[from..to]);
            own[to..].fill(0.0);
        }
    }
}
