//! The nearest row of a bank, exactly, for a part of the work that all distances take.
//!
//! Rows and places are turned to the principal axes of the bank, which changes no distance. What the first few axes say
//! of a distance is never more than all of it, and nearly all of it, since places differ most along these. So one
//! matrix product gives a lower bound of every distance; the row with the least bound is measured wholly, then only
//! rows whose bound is below the least distance so far (as the first coordinates of a rotated space are used by
//! McNames 2001). With 8,192 places of 152 numbers of a network's maps these are some dozens of rows. Of a place that
//! is far from all rows bounds say little: where many rows are left, another product gives all distances.

use nalgebra::{DMatrix, DMatrixView};

use super::matrix::{mean, products};
use crate::runtime::Threads;

/// The share of the variance that the first axes have. More of them make the product dearer, fewer leave more rows to
/// be measured.
const SHARE: f64 = 0.9;

/// The share of the rows that are measured one by one, at most: more are cheaper in a product.
const ONE_BY_ONE: f64 = 1.0 / 32.0;

/// What single precision leaves uncertain of a squared distance that comes of a product, in units of the squared
/// lengths of place and row.
const UNCERTAIN: f32 = 8.0 * f32::EPSILON;

/// Rows whose bounds are looked at together.
const BLOCK: usize = 64;

/// A bank whose rows have been turned.
#[derive(Debug)]
pub(super) struct Bank {
    size: usize,
    /// Axes as rows, those of the largest variance first.
    axes: DMatrix<f32>,
    /// The mean of the rows along the axes.
    centre: Vec<f32>,
    /// The rows along the axes, one after the other.
    rows: Vec<f32>,
    /// The same as a matrix, which is stored column by column.
    all: DMatrix<f32>,
    /// |b|² of each row b, and the largest of them.
    squares: Vec<f32>,
    longest: f32,
    /// For each row −2b along the first axes and |b|² there: times a place and 1, the bound less the place's own part.
    first: DMatrix<f32>,
}

/// The nearest row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Nearest {
    /// Its number.
    pub(super) row: usize,
    /// How far it is.
    pub(super) distance: f32,
}

impl Bank {
    /// A bank of rows of `size` numbers, of which there is at least one.
    pub(super) fn new(bank: &[f32], size: usize) -> Self {
        let mean = mean(bank.chunks(size), size);
        let centred = |(index, &x): (usize, &f32)| f64::from(x) - mean[index % size];
        let centred = DMatrix::from_iterator(size, bank.len() / size, bank.iter().enumerate().map(centred));
        let eigen = (&centred * centred.transpose()).symmetric_eigen();
        let mut order: Vec<usize> = (0..size).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
        let variance = |axis: &usize| eigen.eigenvalues[*axis].max(0.0);
        let (all, mut beside) = (order.iter().map(variance).sum::<f64>(), 0.0);
        let last = order.iter().rev().take_while(|axis| {
            beside += variance(axis);
            beside <= (1.0 - SHARE) * all
        });
        let kept = (size - last.count()).max(1);
        let axes: Vec<_> = order.iter().map(|&axis| eigen.eigenvectors.column(axis)).collect();
        let axes = DMatrix::from_columns(&axes).transpose();
        let turned = (&axes * centred).map(|x| x as f32);
        let first = DMatrix::from_fn(turned.ncols(), kept + 1, |row, axis| match axis {
            axis if axis < kept => -2.0 * turned[(axis, row)],
            _ => turned.column(row).rows(0, kept).norm_squared(),
        });
        let centre = &axes * nalgebra::DVector::from(mean);
        let squares: Vec<f32> = turned.column_iter().map(|row| row.norm_squared()).collect();
        Self {
            size,
            axes: axes.map(|x| x as f32),
            centre: centre.iter().map(|&x| x as f32).collect(),
            longest: squares.iter().copied().fold(0.0, f32::max),
            squares,
            all: turned.transpose(),
            rows: turned.as_slice().to_vec(),
            first,
        }
    }

    /// The nearest row to each of some places.
    pub(super) fn nearest(&self, places: &[f32], threads: Threads) -> Vec<Nearest> {
        let (size, count) = (self.size, places.len() / self.size);
        let mut turned = &self.axes * DMatrixView::from_slice(places, size, count);
        for mut place in turned.column_iter_mut() {
            place.iter_mut().zip(&self.centre).for_each(|(x, centre)| *x -= centre);
        }
        let turned = turned.as_slice();
        let kept = self.first.ncols() - 1;
        let begun: Vec<f32> = turned
            .chunks(size)
            .flat_map(|place| place[..kept].iter().copied().chain([1.0]))
            .collect();
        let mut nearest = products(&self.first, &begun, threads, |number, begun, bounds| {
            let own = begun[..kept].iter().map(|x| x * x).sum::<f32>();
            self.search(&turned[number * size..][..size], own, bounds)
        });
        let open: Vec<usize> = (0..count).filter(|&place| nearest[place].is_none()).collect();
        let far: Vec<f32> = open
            .iter()
            .flat_map(|&place| &turned[place * size..][..size])
            .copied()
            .collect();
        let measured = products(&self.all, &far, threads, |_, place, products| {
            let beside = products.iter().zip(&self.squares);
            let beside: Vec<f32> = beside.map(|(product, square)| square - 2.0 * product).collect();
            let limit = least(&beside) + self.uncertain(place);
            let rows = (0..beside.len()).filter(|&row| beside[row] <= limit);
            let measured = rows.map(|row| Nearest {
                row,
                distance: self.square(place, row).sqrt(),
            });
            let nearest = measured.min_by(|a, b| a.distance.total_cmp(&b.distance));
            nearest.unwrap_or(Nearest {
                row: 0,
                distance: f32::NAN,
            })
        });
        for (place, own) in open.into_iter().zip(measured) {
            nearest[place] = Some(own);
        }
        nearest.into_iter().flatten().collect()
    }

    /// The squared distance of a place from a row.
    fn square(&self, place: &[f32], row: usize) -> f32 {
        squared_distance(place, &self.rows[row * self.size..][..self.size])
    }

    fn uncertain(&self, place: &[f32]) -> f32 {
        UNCERTAIN * (place.iter().map(|x| x * x).sum::<f32>() + self.longest)
    }

    /// The nearest row to a place, from the bounds of all rows less the place's `own` part of them; `None` if they
    /// leave too many.
    fn search(&self, place: &[f32], own: f32, bounds: &[f32]) -> Option<Nearest> {
        let leasts: Vec<f32> = bounds.chunks(BLOCK).map(least).collect();
        let own = own - self.uncertain(place);
        let first = position(&leasts, least(&leasts)) * BLOCK;
        let within = &bounds[first..(first + BLOCK).min(bounds.len())];
        let mut row = first + position(within, leasts[first / BLOCK]);
        let mut nearest = self.square(place, row);
        let mut left = (bounds.len() as f64 * ONE_BY_ONE) as usize + BLOCK;
        for (number, block) in bounds.chunks(BLOCK).enumerate() {
            if leasts[number] + own >= nearest {
                continue;
            }
            for (other, bound) in block.iter().enumerate() {
                if bound + own < nearest {
                    left = left.checked_sub(1)?;
                    let other = number * BLOCK + other;
                    let distance = self.square(place, other);
                    if distance < nearest {
                        (row, nearest) = (other, distance);
                    }
                }
            }
        }
        Some(Nearest {
            row,
            distance: nearest.sqrt(),
        })
    }
}

/// The least number, found without a branch.
fn least(numbers: &[f32]) -> f32 {
    numbers.iter().copied().fold(f32::INFINITY, f32::min)
}

/// Where a number is; 0 if nowhere.
fn position(numbers: &[f32], wanted: f32) -> usize {
    numbers.iter().position(|&own| own <= wanted).unwrap_or(0)
}

/// |a − b|². Summed in lanes: one sum, whose order counts, would be as slow as its additions one after the other.
pub(super) fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let (mut sums, mut rest) = ([0.0; LANES], 0.0);
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (a, b) in a.remainder().iter().zip(b.remainder()) {
        rest += (a - b) * (a - b);
    }
    for (a, b) in a.zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += (a - b) * (a - b);
        }
    }
    sums.iter().sum::<f32>() + rest
}
