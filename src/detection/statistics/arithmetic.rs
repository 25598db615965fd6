//! Sums, spreads and scales that statistics share.

use crate::domain::image::ImageShape;

/// Side of the grid over which maps are summed.
const GRID: usize = 7;

/// sign(x) log(1 + |x|): a logarithmic scale for numbers with long tails on both sides.
pub fn signed_log(x: f64) -> f64 {
    x.signum() * x.abs().ln_1p()
}

/// Σ in double precision.
pub(super) fn total(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum()
}

/// Standard deviation of `count` values.
pub(super) fn deviation(values: impl Iterator<Item = f64>, count: f64) -> f64 {
    let (mut first, mut second) = (0.0, 0.0);
    for value in values {
        first += value;
        second += value * value;
    }
    (second / count - (first / count).powi(2)).max(0.0).sqrt()
}

/// Rows and columns of the grid over which maps of a shape are summed.
pub(super) fn grid(shape: ImageShape) -> (usize, usize) {
    (shape.height().min(GRID), shape.width().min(GRID))
}

/// Sums of a map of all dimensions over a grid of at most 7×7 regions as equal as can be, channels together, in row
/// order.
pub(super) fn regions(map: &[f32], shape: ImageShape) -> Vec<f64> {
    let (height, width) = (shape.height(), shape.width());
    let (rows, columns) = grid(shape);
    let mut sums = vec![0.0; rows * columns];
    for (index, &value) in map.iter().enumerate() {
        let pixel = index % shape.pixels();
        let (row, column) = (pixel / width * rows / height, pixel % width * columns / width);
        sums[row * columns + column] += f64::from(value);
    }
    sums
}
