//! What is remembered of an image while it is drawn: of some tensors the last rows and columns, of others all pixels.

use std::ops::Range;

use crate::{
    domain::image::ImageShape,
    graph::wavefront::{Compiled, Past},
};

/// Where values are kept in the memory of an image.
#[derive(Debug)]
pub(super) struct Layout {
    /// Of each cached tensor, in the order of [`Compiled::caches`].
    pub(super) rings: Vec<Ring>,
    /// Of each tensor that is kept of all pixels, in the order of the step's: where its values begin.
    pub(super) pasts: Vec<usize>,
    /// Values in all.
    pub(super) size: usize,
}

impl Layout {
    pub(super) fn of(compiled: &Compiled, shape: ImageShape) -> Self {
        let (mut rings, mut size) = (Vec::new(), 0);
        for cache in &compiled.caches {
            let ring = Ring {
                offset: size,
                rows: cache.kept.rows,
                columns: cache.kept.columns,
                width: cache.width,
            };
            size += ring.rows * ring.columns * ring.width;
            rings.push(ring);
        }
        let mut pasts = Vec::new();
        for past in &compiled.step.pasts {
            pasts.push(size);
            size += past.heads * past.width * shape.pixels();
        }
        Self { rings, pasts, size }
    }
}

/// Where the values of a cached tensor are kept: `rows` × `columns` feature vectors, used in turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ring {
    offset: usize,
    rows: usize,
    columns: usize,
    pub(super) width: usize,
}

impl Ring {
    pub(super) fn at(&self, row: usize, column: usize) -> usize {
        self.offset + ((row % self.rows) * self.columns + column % self.columns) * self.width
    }

    /// Copies columns side by side; they lie side by side here too, but where it wraps around.
    pub(super) fn copy_columns(self, memory: &[f32], row: usize, column: usize, into: &mut [f32]) {
        let count = into.len() / self.width;
        let first = column % self.columns;
        let start = self.at(row, column);
        if first + count <= self.columns {
            into.copy_from_slice(&memory[start..start + into.len()]);
            return;
        }
        for (offset, into) in into.chunks_exact_mut(self.width).enumerate() {
            let at = self.at(row, column + offset);
            into.copy_from_slice(&memory[at..at + self.width]);
        }
    }
}

/// Keeps the values of one pixel; `kept` is the part of the memory that belongs to the tensor.
pub(super) fn keep(past: &Past, kept: &mut [f32], place: usize, values: &[f32]) {
    let places = kept.len() / (past.heads * past.width);
    if past.places_last {
        for (row, &value) in kept.chunks_exact_mut(places).zip(values) {
            row[place] = value;
        }
    } else {
        let heads = kept.chunks_exact_mut(places * past.width);
        for (head, values) in heads.zip(values.chunks_exact(past.width)) {
            head[place * past.width..][..past.width].copy_from_slice(values);
        }
    }
}

/// What is kept of the pixels of each pair, side by side as a run reads it.
#[derive(Debug, Default)]
pub(super) struct Recalled {
    pub(super) values: Vec<f32>,
    /// For each pair its walk, and how many of its pixels are there.
    known: Vec<(usize, usize)>,
}

impl Recalled {
    /// Forgets whose values these are: walks are to be others.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// Lays out what is known now. `pairs` gives walks and the number of pixels known of each, the one that is being
    /// computed included; `kept` what is kept of a walk. From one step to the next there is little to copy: the row
    /// above may still have been on its way, so as many pixels as a row has, `width`, are looked at again.
    pub(super) fn update<'a>(
        &mut self,
        past: &Past,
        (size, width): (usize, usize),
        pairs: impl ExactSizeIterator<Item = (usize, usize)>,
        kept: impl Fn(usize) -> &'a [f32],
    ) {
        self.values.resize(pairs.len() * size, 0.0);
        self.known.truncate(pairs.len());
        for (at, (pair, into)) in pairs.zip(self.values.chunks_exact_mut(size)).enumerate() {
            let (walk, known) = pair;
            match self.known.get_mut(at) {
                Some(before) if before.0 == walk && before.1 <= known => {
                    recall(past, kept(walk), before.1.saturating_sub(1 + width)..known, into);
                    *before = pair;
                }
                before => {
                    // What another image left must not be able to spoil this one, were it no number.
                    into.fill(0.0);
                    recall(past, kept(walk), 0..known, into);
                    match before {
                        Some(before) => *before = pair,
                        None => self.known.push(pair),
                    }
                }
            }
        }
    }
}

/// Copies what is kept of some pixels.
fn recall(past: &Past, kept: &[f32], pixels: Range<usize>, into: &mut [f32]) {
    let places = kept.len() / (past.heads * past.width);
    let unit = if past.places_last { 1 } else { past.width };
    let some = pixels.start * unit..pixels.end * unit;
    for (into, kept) in into
        .chunks_exact_mut(places * unit)
        .zip(kept.chunks_exact(places * unit))
    {
        into[some.clone()].copy_from_slice(&kept[some.clone()]);
    }
}
