//! Nearest neighbours in a bank: of vectors as long as one the distance to the fifth (Sun et al. 2022), of places that
//! to the first in a bank that covers them (Roth et al. 2022).
//!
//! All distances of some places are one matrix product. On one core a well-kept library's took as long as the runtime's
//! with its maximum (784 places of 152 numbers, 4,096 in the bank: 5.3 and 0.9 ms to find the nearest against 5.9 ms),
//! and needs no graph.

use std::sync::Arc;

use nalgebra::DMatrix;

use super::{
    Learner, Learnt, Sample, Tensor, Tensors,
    matrix::{mean, normalised, products},
    rows_of,
};
use crate::{
    domain::random::{Random, Stream},
    runtime::Threads,
};

/// Distances to the n-th neighbour.
#[derive(Debug)]
pub(super) struct Neighbours;

/// What inliers look like, a row each, in units of the scale.
const BANK: &str = "bank";
/// What numbers are multiplied with first, one row; places are made as long as one where there is none.
const SCALE: &str = "scale";
/// Which neighbour counts: a single number from 1.
const NTH: &str = "nth";

/// Which neighbour counts of vectors.
const NTH_OF_VECTORS: usize = 5;

/// Numbers that places are projected to before a cover of them is sought (Johnson and Lindenstrauss 1984).
const PROJECTED: usize = 32;

#[derive(Debug)]
struct Fitted {
    bank: DMatrix<f32>,
    squares: Vec<f32>,
    scale: Option<Vec<f32>>,
    nth: usize,
}

impl Learner for Neighbours {
    fn fit(&self, sample: &Sample, seed: u64) -> Result<Tensors, String> {
        let size = sample.size;
        let mut tensors = Tensors::new();
        let (places, nth) = if sample.is_map {
            let scale = scale(sample);
            let places = scaled(&sample.places, &scale);
            tensors.insert(SCALE.to_owned(), Tensor::new(&[1, size], scale));
            (places, 1)
        } else {
            (normalised(&sample.places, size), NTH_OF_VECTORS.min(sample.count()))
        };
        let kept = match (sample.count() > sample.bank, sample.is_map) {
            (false, _) => (0..sample.count()).collect(),
            (true, true) => cover(&places, size, sample.bank, seed),
            // A cover would leave out that vectors are denser in some places than in others.
            (true, false) => chosen(sample.count(), sample.bank, seed),
        };
        let bank: Vec<f32> = kept
            .iter()
            .flat_map(|&place| &places[place * size..(place + 1) * size])
            .copied()
            .collect();
        tensors.insert(BANK.to_owned(), Tensor::new(&[kept.len(), size], bank));
        tensors.insert(NTH.to_owned(), Tensor::new(&[1, 1], vec![nth as f32]));
        Ok(tensors)
    }

    fn ready(&self, tensors: &Tensors, size: usize) -> Result<Arc<dyn Learnt>, String> {
        let bank = rows_of(tensors, BANK, size)?;
        let count = bank.len() / size;
        let nth = rows_of(tensors, NTH, 1)?[0];
        if !(1.0..=count as f32).contains(&nth) || nth.fract() != 0.0 {
            return Err(format!(
                "{NTH} is {nth}, and must be a whole number from 1 to {count}, the rows of {BANK}"
            ));
        }
        let scale = match tensors.contains_key(SCALE) {
            true => Some(rows_of(tensors, SCALE, size)?.to_vec()),
            false => None,
        };
        Ok(Arc::new(Fitted {
            squares: bank.chunks(size).map(square).collect(),
            bank: DMatrix::from_row_slice(count, size, bank),
            scale,
            nth: nth as usize,
        }))
    }
}

impl Learnt for Fitted {
    fn distances(&self, places: &[f32], threads: Threads) -> Vec<f32> {
        let size = self.bank.ncols();
        let places = match &self.scale {
            Some(scale) => scaled(places, scale),
            None => normalised(places, size),
        };
        // |x − b|² = |x|² + |b|² − 2 x·b.
        products(&self.bank, &places, threads, |place, products| {
            let beside = products
                .iter()
                .zip(&self.squares)
                .map(|(product, square)| square - 2.0 * product);
            let nearest = match self.nth {
                1 => beside.fold(f32::INFINITY, f32::min),
                nth => smallest(beside, nth),
            };
            (square(place) + nearest).max(0.0).sqrt()
        })
    }
}

fn square(place: &[f32]) -> f32 {
    place.iter().map(|x| x * x).sum()
}

/// The `nth` smallest of some numbers, of which there are as many.
fn smallest(numbers: impl Iterator<Item = f32>, nth: usize) -> f32 {
    let mut least = vec![f32::INFINITY; nth];
    for number in numbers {
        if number < least[nth - 1] {
            let place = least.partition_point(|&other| other <= number);
            least[place..].rotate_right(1);
            least[place] = number;
        }
    }
    least[nth - 1]
}

/// One factor for all numbers, so that a place as far from the mean as places are on average is one away from it.
/// Layers keep the sizes that the network gives them: of defects that were made of good photographs (Li et al. 2021,
/// Zavrtanik et al. 2021) more were told from these than with layers that vary alike.
fn scale(sample: &Sample) -> Vec<f32> {
    let size = sample.size;
    let mean = mean(sample.places.chunks(size), size);
    let square = |place: &[f32]| -> f64 {
        let away = place.iter().zip(&mean).map(|(&x, m)| (f64::from(x) - m).powi(2));
        away.sum()
    };
    let variance = sample.places.chunks(size).map(square).sum::<f64>() / sample.count() as f64;
    vec![variance.max(1e-12).sqrt().recip() as f32; size]
}

fn scaled(places: &[f32], scale: &[f32]) -> Vec<f32> {
    places.iter().zip(scale.iter().cycle()).map(|(x, s)| x * s).collect()
}

/// `kept` of `count`, at random, in ascending order.
fn chosen(count: usize, kept: usize, seed: u64) -> Vec<usize> {
    let random = Random::new(seed, Stream::Probe, 0);
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| random.uniform(a as u32).total_cmp(&random.uniform(b as u32)));
    order.truncate(kept);
    order.sort_unstable();
    order
}

/// `kept` places that leave none far from all of them: the farthest from those that are kept is kept next (Gonzalez
/// 1985), in a random projection.
fn cover(places: &[f32], size: usize, kept: usize, seed: u64) -> Vec<usize> {
    let projected = PROJECTED.min(size);
    let random = Random::new(seed, Stream::Probe, 0);
    let projection = DMatrix::from_fn(projected, size, |row, column| {
        random.normal((row * size + column) as u32) as f32
    });
    let points: Vec<f32> = (projection * nalgebra::DMatrixView::from_slice(places, size, places.len() / size))
        .iter()
        .copied()
        .collect();
    let mut far = vec![f32::INFINITY; points.len() / projected];
    let mut cover = Vec::with_capacity(kept);
    let mut next = 0;
    while cover.len() < kept {
        cover.push(next);
        let centre = &points[next * projected..(next + 1) * projected];
        let mut farthest = (0, f32::NEG_INFINITY);
        for (place, (point, far)) in points.chunks(projected).zip(&mut far).enumerate() {
            let distance: f32 = point.iter().zip(centre).map(|(a, b)| (a - b) * (a - b)).sum();
            *far = far.min(distance);
            if *far > farthest.1 {
                farthest = (place, *far);
            }
        }
        // Where all that is left has been seen, more of it says nothing.
        if farthest.1 <= 0.0 {
            break;
        }
        next = farthest.0;
    }
    cover
}
