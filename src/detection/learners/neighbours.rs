//! Nearest neighbours in a bank: of vectors as long as one the distance to the fifth (Sun et al. 2022), of places that
//! to the first in a bank that covers them (Roth et al. 2022).
//!
//! How far is far differs from place to place: bright grain has fewer neighbours than a dark plane. So the distance of
//! a place is measured in units of how far its neighbour in the bank is from places of other inliers (after the local
//! outlier factor of Breunig et al. 2000): 1 is as far as inliers are from each other there.
//!
//! Distances of some places are matrix products: of the nearest one over its first axes (see [`super::nearest`]), of
//! others one over all numbers. A well-kept library's product took as long as the runtime's, and needs no graph.

use std::sync::Arc;

use nalgebra::DMatrix;

use super::{
    Learner, Learnt, Sample, Tensor, Tensors,
    matrix::{mean, normalised, products},
    nearest::{Bank, squared_distance},
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
/// How far each row of the bank is from places of other images; without it distances are absolute.
const RADIUS: &str = "radius";
/// Which neighbour counts: a single number from 1.
const NTH: &str = "nth";

/// Which neighbour counts of vectors.
const NTH_OF_VECTORS: usize = 5;

/// Which of the neighbours in other images makes the radius of a place, and among how many places it is looked for.
const NTH_OF_OTHERS: usize = 5;
const OTHERS: usize = 1 << 14;

/// Numbers that places are projected to before a cover of them is sought (Johnson and Lindenstrauss 1984).
const PROJECTED: usize = 32;

#[derive(Debug)]
struct Fitted {
    bank: Search,
    size: usize,
    scale: Option<Vec<f32>>,
}

/// How neighbours are looked for.
#[derive(Debug)]
enum Search {
    /// The nearest, and what its row's unit is, if rows have units.
    Nearest { bank: Bank, radius: Option<Vec<f32>> },
    /// One that is farther than others.
    Nth {
        bank: DMatrix<f32>,
        squares: Vec<f32>,
        nth: usize,
    },
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
            (true, true) => cover(&places, size, sample.bank, &sample.begun, seed),
            // A cover would leave out that vectors are denser in some places than in others.
            (true, false) => chosen(sample.count(), sample.bank, seed),
        };
        let bank: Vec<f32> = kept
            .iter()
            .flat_map(|&place| &places[place * size..(place + 1) * size])
            .copied()
            .collect();
        if let Some(radius) = sample.is_map.then(|| radius(sample, &places, &kept, seed)).flatten() {
            tensors.insert(RADIUS.to_owned(), Tensor::new(&[kept.len(), 1], radius));
        }
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
        let radius = match tensors.contains_key(RADIUS) {
            true => Some(rows_of(tensors, RADIUS, 1)?.to_vec()),
            false => None,
        };
        if let Some(radius) = &radius
            && (radius.len() != count || radius.iter().any(|&own| own <= 0.0))
        {
            return Err(format!(
                "{RADIUS} must have {count} numbers above 0, one for each row of {BANK}"
            ));
        }
        let search = match nth as usize {
            1 => Search::Nearest {
                bank: Bank::new(bank, size),
                radius,
            },
            nth => Search::Nth {
                squares: bank.chunks(size).map(square).collect(),
                bank: DMatrix::from_row_slice(count, size, bank),
                nth,
            },
        };
        Ok(Arc::new(Fitted {
            bank: search,
            size,
            scale,
        }))
    }
}

impl Learnt for Fitted {
    fn distances(&self, places: &[f32], threads: Threads) -> Vec<f32> {
        self.with_plain(places, threads).0
    }

    fn with_plain(&self, places: &[f32], threads: Threads) -> (Vec<f32>, Option<Vec<f32>>) {
        let places = match &self.scale {
            Some(scale) => scaled(places, scale),
            None => normalised(places, self.size),
        };
        match &self.bank {
            Search::Nth { bank, squares, nth } => {
                // |x − b|² = |x|² + |b|² − 2 x·b.
                let distances = products(bank, &places, threads, |_, place, products| {
                    let beside = smallest(beside(products, squares), *nth);
                    (square(place) + beside).max(0.0).sqrt()
                });
                (distances, None)
            }
            Search::Nearest { bank, radius } => {
                let nearest = bank.nearest(&places, threads);
                let plain: Vec<f32> = nearest.iter().map(|own| own.distance).collect();
                match radius {
                    None => (plain, None),
                    Some(radius) => {
                        let relative = nearest.iter().map(|own| own.distance / radius[own.row]);
                        (relative.collect(), Some(plain))
                    }
                }
            }
        }
    }
}

fn square(place: &[f32]) -> f32 {
    place.iter().map(|x| x * x).sum()
}

/// |b|² − 2 x·b of every row b.
fn beside(products: &[f32], squares: &[f32]) -> impl Iterator<Item = f32> {
    products
        .iter()
        .zip(squares)
        .map(|(product, square)| square - 2.0 * product)
}

/// How far places that are `kept` are from places of other images; `None` if there is one image only.
fn radius(sample: &Sample, places: &[f32], kept: &[usize], seed: u64) -> Option<Vec<f32>> {
    let size = sample.size;
    let others = match sample.count() > OTHERS {
        true => chosen(sample.count(), OTHERS, seed),
        false => (0..sample.count()).collect(),
    };
    let of = |chosen: &[usize]| -> Vec<f32> {
        let places = chosen.iter().flat_map(|&place| &places[place * size..][..size]);
        places.copied().collect()
    };
    let (bank, rows) = (of(kept), of(&others));
    let squares: Vec<f32> = rows.chunks(size).map(square).collect();
    let rows = DMatrix::from_row_slice(others.len(), size, &rows);
    let image = |place: usize| sample.images[place];
    let mut radius = products(&rows, &bank, Threads::All, |number, place, products| {
        let own = image(kept[number]);
        let both = beside(products, &squares).zip(&others);
        let elsewhere = both.filter_map(|(beside, &other)| (image(other) != own).then_some(beside));
        (square(place) + smallest(elsewhere, NTH_OF_OTHERS)).max(0.0).sqrt()
    });
    let known: Vec<f32> = radius.iter().copied().filter(|own| own.is_finite()).collect();
    let mean = known.iter().sum::<f32>() / known.len() as f32;
    if known.is_empty() || mean <= 0.0 {
        return None;
    }
    // Where inliers repeat each other exactly, a little more than nothing is not far.
    for own in &mut radius {
        *own = if own.is_finite() { own.max(0.01 * mean) } else { mean };
    }
    Some(radius)
}

/// The `nth` smallest of some numbers; infinite if they are fewer.
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

/// The first of the smallest of some numbers, of which there is one at least: its place and what it is.
fn least(numbers: impl Iterator<Item = f32>) -> (usize, f32) {
    let smaller = |least: (usize, f32), own: (usize, f32)| if own.1 < least.1 { own } else { least };
    numbers.enumerate().fold((0, f32::INFINITY), smaller)
}

/// One factor for all numbers, so that a place as far from the mean as places are on average is one away from it.
/// Layers keep the sizes that the network gives them: of defects that were made of good photographs (Li et al. 2021,
/// Zavrtanik et al. 2021) more were told from these than with layers that vary alike.
pub(super) fn scale(sample: &Sample) -> Vec<f32> {
    let size = sample.size;
    let mean = mean(sample.places.chunks(size), size);
    let square = |place: &[f32]| -> f64 {
        let away = place.iter().zip(&mean).map(|(&x, m)| (f64::from(x) - m).powi(2));
        away.sum()
    };
    let variance = sample.places.chunks(size).map(square).sum::<f64>() / sample.count() as f64;
    vec![variance.max(1e-12).sqrt().recip() as f32; size]
}

pub(super) fn scaled(places: &[f32], scale: &[f32]) -> Vec<f32> {
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

/// `kept` places that leave none far from all of them, those that are `begun` first: the farthest from those that are
/// kept is kept next (Gonzalez 1985), in a random projection. Most distances need not be computed, by the triangle
/// inequality (Elkan 2003).
pub(super) fn cover(places: &[f32], size: usize, kept: usize, begun: &[usize], seed: u64) -> Vec<usize> {
    let projected = PROJECTED.min(size);
    let random = Random::new(seed, Stream::Probe, 0);
    let projection = DMatrix::from_fn(projected, size, |row, column| {
        random.normal((row * size + column) as u32) as f32
    });
    let points: Vec<f32> = (projection * nalgebra::DMatrixView::from_slice(places, size, places.len() / size))
        .iter()
        .copied()
        .collect();
    let point = |place: usize| &points[place * projected..(place + 1) * projected];
    let mut far = vec![f32::INFINITY; points.len() / projected];
    // Which of those that are kept each place is nearest to.
    let mut owner = vec![0; far.len()];
    let mut cover: Vec<usize> = Vec::with_capacity(kept);
    let mut next = 0;
    if !begun.is_empty() {
        cover.extend(begun.iter().take(kept));
        let rows: Vec<f32> = cover.iter().flat_map(|&own| point(own)).copied().collect();
        let squares: Vec<f32> = rows.chunks(projected).map(square).collect();
        let rows = DMatrix::from_row_slice(cover.len(), projected, &rows);
        let nearest = products(&rows, &points, Threads::All, |_, own, products| {
            let (row, beside) = least(beside(products, &squares));
            ((square(own) + beside).max(0.0), row)
        });
        (far, owner) = nearest.into_iter().unzip();
        for &own in &cover {
            far[own] = 0.0;
        }
        let (place, farthest) = least(far.iter().map(|far| -far));
        if farthest >= 0.0 {
            return cover;
        }
        next = place;
    }
    while cover.len() < kept {
        let centre = point(next);
        cover.push(next);
        let between: Vec<f32> = cover.iter().map(|&own| squared_distance(point(own), centre)).collect();
        let mut farthest = (0, f32::NEG_INFINITY);
        for (place, (far, owner)) in far.iter_mut().zip(&mut owner).enumerate() {
            // A place is no nearer to the new one if this lies twice as far from its own as the place does.
            if between[*owner] < 4.001 * *far {
                let distance = squared_distance(point(place), centre);
                if distance < *far {
                    (*far, *owner) = (distance, cover.len() - 1);
                }
            }
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
