//! Resizing as rows arrive: pixels of the source are added to the pixels of the target and then forgotten.
//!
//! It knows of values and places only, not of files or colours.

/// The filter that resizes images, for documents and for those who must repeat it elsewhere: a triangle of one target
/// pixel to each side where the image shrinks, of one source pixel where it grows. Pillow calls it `BILINEAR`.
pub const RESIZE_FILTER: &str = "triangle";

/// Source pixels that can be resized: the sums of 64 bits are proven not to overflow up to here.
pub(super) const MAX_PIXELS: u64 = 1 << 30;

/// The weight of a source pixel at the centre of a target pixel.
const ONE: f64 = 4096.0;

/// One axis: how much source place `x` counts in target place `i`.
///
/// In units of half a source pixel over the target's length everything is a whole number: the centres are (2x +
/// 1)·target and (2i + 1)·source, and the triangle reaches 2·max(source, target) to each side. So weights are the same
/// from either end, and flipping an image and resizing it commute exactly.
#[derive(Debug, Clone, Copy)]
struct Axis {
    source: u64,
    target: u64,
    reach: u64,
    /// [`ONE`] over the reach.
    slope: f64,
}

impl Axis {
    fn new(source: usize, target: usize) -> Self {
        let (source, target) = (source as u64, target as u64);
        let reach = 2 * source.max(target);
        Self {
            source,
            target,
            reach,
            slope: ONE / reach as f64,
        }
    }

    fn weight(self, x: u64, i: u64) -> u64 {
        let distance = ((2 * x + 1) * self.target).abs_diff((2 * i + 1) * self.source);
        (self.reach.saturating_sub(distance) as f64 * self.slope + 0.5) as u64
    }

    /// The source places `x` that can have a weight in target place `i`: those from the first to before the second.
    fn sources(self, i: u64) -> (u64, u64) {
        let centre = (2 * i + 1) * self.source;
        // (2x + 1)·target lies between centre − reach and centre + reach.
        let first = centre.saturating_sub(self.reach) / (2 * self.target);
        let last = (centre + self.reach) / (2 * self.target);
        (first, (last + 1).min(self.source))
    }

    /// The target places in which source place `x` can have a weight.
    fn targets(self, x: u64) -> (u64, u64) {
        let mirrored = Self {
            source: self.target,
            target: self.source,
            ..self
        };
        mirrored.sources(x)
    }

    /// The weights of all source places in target place `i`.
    fn sum(self, i: u64) -> u64 {
        let (first, end) = self.sources(i);
        (first..end).map(|x| self.weight(x, i)).sum()
    }
}

/// An image of another size under construction. Source pixels may come in any order, because whole numbers are added:
/// however they come, the result is the same.
///
/// Memory: 8 bytes for every value of the target, or of min(source, target) columns of it.
pub(super) struct Resizer {
    channels: usize,
    across: Axis,
    down: Axis,
    /// Columns of the sums: an image that gets wider is spread at the end, which is less work than for each source row.
    columns: usize,
    /// Weighted values of the source row that is being read.
    row: Vec<u64>,
    /// Its number.
    y: u64,
    is_dirty: bool,
    /// Weighted sums, target row after target row.
    sums: Vec<u64>,
}

impl Resizer {
    /// From `source` to `target`, both (columns, rows) and at least 1.
    ///
    /// # Panics
    /// If the source has more than [`MAX_PIXELS`].
    pub(super) fn new(source: (usize, usize), target: (usize, usize), channels: usize) -> Self {
        assert!(source.0 as u64 * source.1 as u64 <= MAX_PIXELS);
        let columns = source.0.min(target.0);
        Self {
            channels,
            across: Axis::new(source.0, target.0),
            down: Axis::new(source.1, target.1),
            columns,
            row: vec![0; columns * channels],
            y: 0,
            is_dirty: false,
            sums: vec![0; columns * target.1 * channels],
        }
    }

    /// Takes pixels of row `y`, their channels interleaved: the first at column `x`, the others `step` columns apart
    /// each.
    pub(super) fn add(&mut self, x: usize, step: usize, y: usize, values: &[u8]) {
        if self.y != y as u64 {
            self.flush();
            self.y = y as u64;
        }
        self.is_dirty = true;
        let pixels = values.len() / self.channels;
        if pixels == 0 {
            return;
        }
        if self.across.source <= self.across.target {
            for (pixel, values) in values.chunks_exact(self.channels).enumerate() {
                let at = (x + pixel * step) * self.channels;
                for (sum, &value) in self.row[at..].iter_mut().zip(values) {
                    *sum += u64::from(value);
                }
            }
            return;
        }
        match self.channels {
            1 => self.shrink::<1>(x, step, values),
            2 => self.shrink::<2>(x, step, values),
            3 => self.shrink::<3>(x, step, values),
            _ => self.shrink::<4>(x, step, values),
        }
    }

    /// Adds pixels to the fewer columns of the row.
    fn shrink<const N: usize>(&mut self, x: usize, step: usize, values: &[u8]) {
        let (pixels, _) = values.as_chunks::<N>();
        let (x, step) = (x as u64, step as u64);
        let last = x + (pixels.len() as u64 - 1) * step;
        let (first_target, _) = self.across.targets(x);
        let (_, end_target) = self.across.targets(last);
        for i in first_target..end_target {
            let (first, end) = self.across.sources(i);
            // Which of the pixels here lie between them.
            let from = first.saturating_sub(x).div_ceil(step);
            let to = end.saturating_sub(x).div_ceil(step).min(pixels.len() as u64);
            let mut sums = [0; N];
            for pixel in from..to {
                let weight = self.across.weight(x + pixel * step, i);
                for (sum, &value) in sums.iter_mut().zip(&pixels[pixel as usize]) {
                    *sum += weight * u64::from(value);
                }
            }
            let at = i as usize * N;
            for (place, sum) in self.row[at..at + N].iter_mut().zip(sums) {
                *place += sum;
            }
        }
    }

    /// Adds the row to the target rows in which it counts.
    fn flush(&mut self) {
        if !std::mem::take(&mut self.is_dirty) {
            return;
        }
        let (first, end) = self.down.targets(self.y);
        for j in first..end {
            let weight = self.down.weight(self.y, j);
            if weight == 0 {
                continue;
            }
            let at = j as usize * self.row.len();
            for (sum, &value) in self.sums[at..].iter_mut().zip(&self.row) {
                *sum += weight * value;
            }
        }
        self.row.fill(0);
    }

    /// The values of the target, their channels interleaved, rounded to the nearest.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.flush();
        let (across, down, channels) = (self.across, self.down, self.channels);
        let widths: Vec<u64> = (0..across.target).map(|i| across.sum(i)).collect();
        let spreads = across.source <= across.target;
        let mut values = Vec::with_capacity(widths.len() * down.target as usize * channels);
        for (j, sums) in (0..).zip(self.sums.chunks_exact(self.columns * channels)) {
            let height = down.sum(j);
            for (i, width) in (0..).zip(&widths) {
                for channel in 0..channels {
                    let sum = if spreads {
                        let (first, end) = across.sources(i);
                        let value = |x: u64| sums[x as usize * channels + channel];
                        (first..end).map(|x| across.weight(x, i) * value(x)).sum()
                    } else {
                        sums[i as usize * channels + channel]
                    };
                    let weight = width * height;
                    values.push(((sum + weight / 2) / weight) as u8);
                }
            }
        }
        values
    }
}
