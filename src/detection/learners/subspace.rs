//! The principal subspace of features, of half their dimension, and what lies outside it (the residual of ViM, Wang et
//! al. 2022, whose other half, the energy, is a statistic of its own).

use std::sync::Arc;

use nalgebra::{DMatrix, DVector};

use super::{
    Learner, Learnt, Sample, Tensor, Tensors,
    matrix::{mean, products, rows},
    rows_of,
};
use crate::runtime::Threads;

/// Lengths of what lies outside.
#[derive(Debug)]
pub(super) struct Subspace;

/// Orthonormal axes of what lies outside, a row each.
const AXES: &str = "axes";
/// The axes times the mean.
const MEAN: &str = "mean";

#[derive(Debug)]
struct Fitted {
    axes: DMatrix<f32>,
    mean: Vec<f32>,
}

impl Learner for Subspace {
    fn fit(&self, sample: &Sample, _seed: u64) -> Result<Tensors, String> {
        let size = sample.size;
        let mean = DVector::from(mean(sample.places.chunks(size), size));
        let mut centred =
            DMatrix::<f64>::from_iterator(size, sample.count(), sample.places.iter().map(|&x| f64::from(x)));
        for mut place in centred.column_iter_mut() {
            place -= &mean;
        }
        let covariance = &centred * centred.transpose() / sample.count() as f64;
        if covariance.iter().any(|value| !value.is_finite()) {
            return Err("the features are too large".to_owned());
        }
        let eigen = covariance.symmetric_eigen();
        let mut order: Vec<usize> = (0..size).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[a].total_cmp(&eigen.eigenvalues[b]));
        let outside: Vec<_> = order[..size.div_ceil(2)]
            .iter()
            .map(|&axis| eigen.eigenvectors.column(axis))
            .collect();
        let axes = DMatrix::from_columns(&outside).transpose();
        let mean = &axes * mean;
        Ok(Tensors::from([
            (AXES.to_owned(), Tensor::new(&[axes.nrows(), size], rows(&axes))),
            (
                MEAN.to_owned(),
                Tensor::new(&[1, axes.nrows()], mean.iter().map(|&x| x as f32).collect()),
            ),
        ]))
    }

    fn ready(&self, tensors: &Tensors, size: usize) -> Result<Arc<dyn Learnt>, String> {
        let axes = rows_of(tensors, AXES, size)?;
        let count = axes.len() / size;
        let mean = rows_of(tensors, MEAN, count)?;
        if mean.len() != count {
            return Err(format!("{MEAN} must have one row"));
        }
        Ok(Arc::new(Fitted {
            axes: DMatrix::from_row_slice(count, size, axes),
            mean: mean.to_vec(),
        }))
    }
}

impl Learnt for Fitted {
    fn distances(&self, places: &[f32], threads: Threads) -> Vec<f32> {
        products(&self.axes, places, threads, |_, _, along| {
            let squares = along.iter().zip(&self.mean).map(|(x, m)| (x - m) * (x - m));
            squares.sum::<f32>().sqrt()
        })
    }
}
