//! A Gaussian for every label with one covariance for all (Lee et al. 2018), of vectors as long as one (arXiv
//! 2505.18032), or of places as they are (after Defard et al. 2021, without a Gaussian of its own for each place of the
//! grid, because surfaces are not aligned).
//!
//! The label of an inlier is the one that the network gives it: nobody else has labelled the images.

use std::sync::Arc;

use nalgebra::DMatrix;

use super::{
    Learner, Learnt, Sample, Tensor, Tensors,
    matrix::{mean, normalised, products, rows, shrunk_covariance},
    rows_of,
};
use crate::runtime::Threads;

/// Squared Mahalanobis distances to the nearest mean.
#[derive(Debug)]
pub(super) struct Gaussians;

/// W with WᵀW the inverse of the covariance.
const WHITENING: &str = "whitening";
/// W times the means, a row each.
const MEANS: &str = "means";
/// Whether places are made as long as one before: a single 1 or 0.
const UNIT: &str = "unit";

#[derive(Debug)]
struct Fitted {
    whitening: DMatrix<f32>,
    means: Vec<f32>,
    is_unit: bool,
}

impl Learner for Gaussians {
    fn fit(&self, sample: &Sample, _seed: u64) -> Result<Tensors, String> {
        let size = sample.size;
        let own;
        let places = if sample.is_map {
            &sample.places
        } else {
            own = normalised(&sample.places, size);
            &own
        };
        let mut labels = sample.labels.clone();
        labels.sort_unstable();
        labels.dedup();
        let of_label = |label: usize| {
            let both = places.chunks(size).zip(&sample.labels);
            both.filter_map(move |(place, &own)| (own == label).then_some(place))
        };
        let means: Vec<Vec<f64>> = labels.iter().map(|&label| mean(of_label(label), size)).collect();
        let mut centred = DMatrix::<f64>::zeros(size, sample.count());
        for (index, (place, label)) in places.chunks(size).zip(&sample.labels).enumerate() {
            let mean = &means[labels.partition_point(|other| other < label)];
            for (number, (&x, m)) in place.iter().zip(mean).enumerate() {
                centred[(number, index)] = f64::from(x) - m;
            }
        }
        let no_spread = "the features do not vary from image to image";
        let covariance = shrunk_covariance(&centred).ok_or(no_spread)?;
        let factor = covariance.cholesky().ok_or(no_spread)?.unpack();
        let identity = DMatrix::identity(size, size);
        let whitening = factor.solve_lower_triangular(&identity).ok_or(no_spread)?;
        let means = DMatrix::from_columns(&means.iter().map(|m| m.clone().into()).collect::<Vec<_>>());
        let means = (&whitening * means).transpose();
        Ok(Tensors::from([
            (WHITENING.to_owned(), Tensor::new(&[size, size], rows(&whitening))),
            (MEANS.to_owned(), Tensor::new(&[means.nrows(), size], rows(&means))),
            (
                UNIT.to_owned(),
                Tensor::new(&[1, 1], vec![f32::from(u8::from(!sample.is_map))]),
            ),
        ]))
    }

    fn ready(&self, tensors: &Tensors, size: usize) -> Result<Arc<dyn Learnt>, String> {
        let whitening = rows_of(tensors, WHITENING, size)?;
        if whitening.len() != size * size {
            return Err(format!("{WHITENING} is not square"));
        }
        Ok(Arc::new(Fitted {
            whitening: DMatrix::from_row_slice(size, size, whitening),
            means: rows_of(tensors, MEANS, size)?.to_vec(),
            is_unit: rows_of(tensors, UNIT, 1)? != [0.0],
        }))
    }
}

impl Learnt for Fitted {
    fn distances(&self, places: &[f32], threads: Threads) -> Vec<f32> {
        let size = self.whitening.ncols();
        let own;
        let places = if self.is_unit {
            own = normalised(places, size);
            &own
        } else {
            places
        };
        products(&self.whitening, places, threads, |_, _, whitened| {
            let to = |mean: &[f32]| -> f32 { mean.iter().zip(whitened).map(|(m, x)| (x - m) * (x - m)).sum() };
            self.means.chunks(size).map(to).fold(f32::INFINITY, f32::min)
        })
    }
}
