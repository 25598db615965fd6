//! Products of rows with constant weights.
//!
//! Weights lie in panels of as many columns as two vectors of the processor hold, so that a run reads them from the
//! first to the last. A block of rows goes through a panel at once: its sums stay in registers. Each sum begins with
//! the bias and adds up its terms in order, whatever rows share the block, so that the same row gives the same bits in
//! any company.

use std::ops::Range;

use pulp::{Arch, NullaryFnOnce, Simd, WithSimd};

/// Floats in 64 bytes: a line of the cache.
const LINE: usize = 16;

/// Weights of several products in panels.
#[derive(Debug, Default)]
pub(super) struct Panels {
    values: Vec<f32>,
    /// Where the first begins: at the beginning of a line.
    first: usize,
}

/// Where the weights of one product are, and what is added to it.
#[derive(Debug)]
pub(super) struct Weights {
    place: Range<usize>,
    /// One for each column of the panels.
    bias: Vec<f32>,
    outputs: usize,
}

impl Panels {
    /// Room for so many values.
    pub(super) fn with_room_for(values: usize) -> Self {
        let values: Vec<f32> = Vec::with_capacity(values + LINE);
        let first = values.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        let mut panels = Self { values, first };
        panels.values.resize(first, 0.0);
        panels
    }

    /// Lays out weights [inputs, outputs].
    pub(super) fn push(&mut self, weights: &[f32], mut bias: Vec<f32>, columns: usize) -> Weights {
        let outputs = bias.len();
        let padded = outputs.next_multiple_of(columns);
        bias.resize(padded, 0.0);
        let start = self.values.len();
        for first in (0..padded).step_by(columns) {
            let some = first..(first + columns).min(outputs);
            for row in weights.chunks_exact(outputs) {
                self.values.extend_from_slice(&row[some.clone()]);
                self.values.resize(self.values.len() + columns - some.len(), 0.0);
            }
        }
        Weights {
            place: start - self.first..self.values.len() - self.first,
            bias,
            outputs,
        }
    }

    fn of(&self, weights: &Weights) -> &[f32] {
        &self.values[self.first..][weights.place.clone()]
    }
}

impl Weights {
    /// Values that the panels of such weights take.
    pub(super) fn room(inputs: usize, outputs: usize, columns: usize) -> usize {
        inputs * outputs.next_multiple_of(columns)
    }
}

/// Columns of a panel on this processor, or `None` where it has no fused multiplication for vectors: there a library
/// that knows the processor is faster.
pub(super) fn columns(processor: Arch) -> Option<usize> {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    let lanes = processor.dispatch(Lanes);
    (lanes > 1).then_some(2 * lanes)
}

/// Values that stand in a row, side by side with those of other parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) values: &'a [f32],
    pub(super) width: usize,
}

/// One product.
pub(super) struct Product<'a> {
    pub(super) parts: &'a [Part<'a>],
    pub(super) weights: &'a Weights,
    pub(super) panels: &'a Panels,
    pub(super) rows: usize,
    pub(super) into: &'a mut [f32],
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let columns = 2 * S::F32_LANES;
        let outputs = self.weights.outputs;
        // Two sums for each row, and registers for what is multiplied.
        let most = if S::REGISTER_COUNT >= 32 { 12 } else { 6 };
        let size = self.rows.div_ceil(self.rows.div_ceil(most).max(1));
        let inputs: usize = self.parts.iter().map(|part| part.width).sum();
        let panels = self.panels.of(self.weights).chunks_exact(inputs * columns);
        for (at, panel) in panels.enumerate() {
            let first = at * columns;
            let bias = &self.weights.bias[first..first + columns];
            let mut row = 0;
            while row < self.rows {
                let rows = size.min(self.rows - row);
                let place = Place { row, first, outputs };
                let (parts, into) = (self.parts, &mut *self.into);
                macro_rules! blocks {
                    ($($rows:literal)*) => {
                        match rows {
                            $($rows => simd.vectorize(Block::<S, $rows> { simd, parts, panel, bias, place, into }),)*
                            _ => {}
                        }
                    };
                }
                blocks!(1 2 3 4 5 6 7 8 9 10 11 12);
                row += rows;
            }
        }
    }
}

/// Where a block stands in the product.
#[derive(Clone, Copy)]
struct Place {
    row: usize,
    first: usize,
    outputs: usize,
}

/// Bytes after which weights are on their way while others are multiplied: a page.
const AHEAD: usize = 4096;

/// Asks for the weights that follow these. Of a few rows a product waits for weights more than it multiplies; with
/// them under way it takes two thirds of the time.
#[inline(always)]
fn fetch<T>(weights: &T) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..size_of::<T>()).step_by(LINE * size_of::<f32>()) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let place = (&raw const *weights).cast::<i8>().wrapping_add(AHEAD + line);
        // SAFETY: it is a hint. Nothing is read from where there is nothing.
        #[allow(unsafe_code)]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(place);
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = weights;
}

/// Some rows by one panel.
struct Block<'a, S: Simd, const ROWS: usize> {
    simd: S,
    parts: &'a [Part<'a>],
    panel: &'a [f32],
    bias: &'a [f32],
    place: Place,
    into: &'a mut [f32],
}

impl<S: Simd, const ROWS: usize> NullaryFnOnce for Block<'_, S, ROWS> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { simd, place, .. } = self;
        let lanes = S::F32_LANES;
        let [first, second] = [&self.bias[..lanes], &self.bias[lanes..]].map(|bias| simd.partial_load_f32s(bias));
        let mut sums = [[first, second]; ROWS];
        let mut panel = self.panel;
        for part in self.parts {
            let (own, rest) = panel.split_at(part.width * 2 * lanes);
            panel = rest;
            let weights = pulp::as_arrays::<2, _>(S::as_simd_f32s(own).0).0;
            let rows: [&[f32]; ROWS] =
                std::array::from_fn(|row| &part.values[(place.row + row) * part.width..][..weights.len()]);
            for (input, weight) in weights.iter().enumerate() {
                fetch(weight);
                let &[first, second] = weight;
                for (row, sums) in rows.iter().zip(&mut sums) {
                    let value = simd.splat_f32s(row[input]);
                    sums[0] = simd.mul_add_e_f32s(value, first, sums[0]);
                    sums[1] = simd.mul_add_e_f32s(value, second, sums[1]);
                }
            }
        }
        let end = place.outputs.min(place.first + 2 * lanes);
        for (row, sums) in sums.into_iter().enumerate() {
            let row = (place.row + row) * place.outputs;
            let into = &mut self.into[row + place.first..row + end];
            let (first, second) = into.split_at_mut(lanes.min(into.len()));
            simd.partial_store_f32s(first, sums[0]);
            simd.partial_store_f32s(second, sums[1]);
        }
    }
}
