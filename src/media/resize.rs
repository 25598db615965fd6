//! Resizing as rows arrive: pixels of the source are added to the pixels of the target and then forgotten.
//!
//! The numbers are those of Pillow 13, to the bit: separable kernels that widen where the image shrinks, weights of 22
//! binary digits, its order of the two directions, and 8 bits between them. Most networks were trained on images that
//! were resized so.
//!
//! It knows of values and places only, not of files or colours.

mod axis;

use std::f64::consts::PI;

use serde::Deserialize;

use self::axis::{Axis, KEPT};

/// Source pixels that can be resized.
pub(super) const MAX_PIXELS: u64 = 1 << 30;

/// Binary digits of a weight behind the point.
const PRECISION: u32 = 22;

/// The filter that resizes images, in the words of Pillow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// The mean of the pixels that a target pixel covers.
    Box,
    /// A triangle of one target pixel to each side where the image shrinks, of one source pixel where it grows.
    #[default]
    Bilinear,
    /// A window by Hamming over the same pixels.
    Hamming,
    /// Keys' cubic convolution with a = −1/2, over two pixels to each side.
    Bicubic,
    /// A windowed sinc over three pixels to each side.
    Lanczos,
}

impl Filter {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Box => "box",
            Self::Bilinear => "bilinear",
            Self::Hamming => "hamming",
            Self::Bicubic => "bicubic",
            Self::Lanczos => "lanczos",
        }
    }

    /// How far it reaches to each side.
    fn support(self) -> f64 {
        match self {
            Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    /// Its value at a distance, not yet normalised.
    fn at(self, x: f64) -> f64 {
        match self {
            Self::Box if x > -0.5 && x <= 0.5 => 1.0,
            Self::Bilinear if x.abs() < 1.0 => 1.0 - x.abs(),
            Self::Hamming if x.abs() < 1.0 => sinc(x.abs()) * (0.54 + 0.46 * (x.abs() * PI).cos()),
            Self::Bicubic => cubic(x.abs()),
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            _ => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// How an image is brought to another size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resize {
    /// The filter.
    pub filter: Filter,
    /// The shorter side becomes this many pixels, the other keeps its proportion, and the middle is cut out, as
    /// torchvision's `Resize` and `CenterCrop` do. Without it both sides become the target's and the proportion is not
    /// kept.
    pub short_side: Option<u32>,
}

/// Where a target lies in the whole resized image, in pixels of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// Columns and rows of the whole.
    pub(super) whole: (usize, usize),
    /// First column and row of the target.
    pub(super) first: (usize, usize),
    /// Whether rows are put together before columns are, as Pillow does where the height shrinks by more than twice
    /// what the width does. Each direction rounds and cuts off what overshoots, so the order shows.
    pub(super) down_first: bool,
    /// Whether columns and rows come from the other end than an image as seen has them: where two pixels are equally
    /// near, a filter may take the one on a certain side.
    pub(super) mirrored: (bool, bool),
}

impl Resize {
    /// The window of a target of `target` columns and rows, which is nowhere larger than the short side if there is
    /// one.
    pub(super) fn window(self, source: (usize, usize), target: (usize, usize)) -> Window {
        let whole = match self.short_side.map(|short| short as usize) {
            None => target,
            Some(short) if source.0 <= source.1 => (short, short * source.1 / source.0),
            Some(short) => (short * source.0 / source.1, short),
        };
        let shrinks = |source: usize, whole: usize| source as i64 - whole as i64;
        let (across, down) = (shrinks(source.0, whole.0), shrinks(source.1, whole.1));
        let half = |whole: usize, target: usize| (whole.saturating_sub(target) as f64 / 2.0).round_ties_even() as usize;
        Window {
            whole,
            first: (half(whole.0, target.0), half(whole.1, target.1)),
            down_first: down > 0 && down > 2 * across,
            mirrored: (false, false),
        }
    }
}

/// An image of another size under construction. Rows of the source come from top to bottom, and pixels of a row from
/// left to right.
///
/// Memory: see [`Self::bytes`].
pub(super) struct Resizer {
    channels: usize,
    down_first: bool,
    across: Axis,
    down: Axis,
    /// Weighted values of the source row that is being read.
    row: Vec<i64>,
    /// Its number.
    y: usize,
    is_dirty: bool,
    /// Weighted sums, target row after target row; of as many columns as the source has, if rows come together first.
    sums: Vec<i64>,
}

impl Resizer {
    /// From `source`, (columns, rows) and at least 1, to the part of `target` columns and rows in the window.
    ///
    /// # Panics
    /// If the source has more than [`MAX_PIXELS`].
    pub(super) fn new(
        filter: Filter,
        source: (usize, usize),
        window: Window,
        target: (usize, usize),
        channels: usize,
    ) -> Self {
        assert!(source.0 as u64 * source.1 as u64 <= MAX_PIXELS);
        let Window {
            whole,
            first,
            down_first,
            mirrored,
        } = window;
        let columns = if down_first { source.0 } else { target.0 };
        Self {
            channels,
            down_first,
            across: Axis::new(filter, source.0, whole.0, first.0..first.0 + target.0, mirrored.0),
            down: Axis::new(filter, source.1, whole.1, first.1..first.1 + target.1, mirrored.1),
            row: vec![0; target.0 * channels],
            y: 0,
            is_dirty: false,
            sums: vec![0; columns * target.1 * channels],
        }
    }

    /// Bytes that it holds from a source of so many columns to a target, from above.
    pub(super) fn bytes(source_columns: usize, window: Window, target: (usize, usize), channels: usize) -> u64 {
        let (columns, rows, channels) = (target.0 as u64, target.1 as u64, channels as u64);
        let axes = 2 * 4 * KEPT as u64 + 48 * (columns + rows);
        let summed = if window.down_first {
            source_columns as u64
        } else {
            columns
        };
        8 * channels * (summed * rows + columns) + axes
    }

    /// Takes pixels of row `y` from column `x` on, their channels interleaved.
    pub(super) fn add(&mut self, x: usize, y: usize, values: &[u8]) {
        if self.down_first {
            return self.down(x, y, values);
        }
        if self.y != y {
            self.flush();
            self.y = y;
        }
        self.is_dirty = true;
        self.spread(x, values);
    }

    /// Adds pixels of a row to its columns in the target.
    fn spread(&mut self, x: usize, values: &[u8]) {
        match self.channels {
            1 => self.across::<1>(x, values),
            2 => self.across::<2>(x, values),
            3 => self.across::<3>(x, values),
            _ => self.across::<4>(x, values),
        }
    }

    /// Adds pixels to the target rows in which their row counts.
    fn down(&mut self, x: usize, y: usize, values: &[u8]) {
        let row = self.sums.len() / self.down.len();
        for j in self.down.touched(y..y + 1) {
            let sums = &mut self.sums[j * row + x * self.channels..][..values.len()];
            self.down.weigh(j, y..y + 1, |_, weight| {
                for (sum, &value) in sums.iter_mut().zip(values) {
                    *sum += i64::from(weight) * i64::from(value);
                }
            });
        }
    }

    fn across<const N: usize>(&mut self, x: usize, values: &[u8]) {
        let (pixels, _) = values.as_chunks::<N>();
        let sources = x..x + pixels.len();
        for i in self.across.touched(sources.clone()) {
            let mut sums = [0; N];
            self.across.weigh(i, sources.clone(), |place, weight| {
                for (sum, &value) in sums.iter_mut().zip(&pixels[place - x]) {
                    *sum += i64::from(weight) * i64::from(value);
                }
            });
            for (place, sum) in self.row[i * N..][..N].iter_mut().zip(sums) {
                *place += sum;
            }
        }
    }

    /// Adds the row to the target rows in which it counts.
    fn flush(&mut self) {
        if !std::mem::take(&mut self.is_dirty) {
            return;
        }
        for value in &mut self.row {
            *value = i64::from(to_8_bits(*value));
        }
        let here = self.y..self.y + 1;
        for j in self.down.touched(here.clone()) {
            let sums = &mut self.sums[j * self.row.len()..][..self.row.len()];
            self.down.weigh(j, here.clone(), |_, weight| {
                for (sum, &value) in sums.iter_mut().zip(&self.row) {
                    *sum += i64::from(weight) * value;
                }
            });
        }
        self.row.fill(0);
    }

    /// The values of the target, their channels interleaved.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if !self.down_first {
            self.flush();
            return self.sums.into_iter().map(to_8_bits).collect();
        }
        let sums = std::mem::take(&mut self.sums);
        let mut values = Vec::with_capacity(self.row.len() * self.down.len());
        for row in sums.chunks_exact(sums.len() / self.down.len()) {
            let row: Vec<u8> = row.iter().copied().map(to_8_bits).collect();
            self.spread(0, &row);
            values.extend(self.row.iter().copied().map(to_8_bits));
            self.row.fill(0);
        }
        values
    }
}

/// A weighted sum, rounded to the nearest level that there is.
fn to_8_bits(sum: i64) -> u8 {
    ((sum + (1 << (PRECISION - 1))) >> PRECISION).clamp(0, 255) as u8
}
