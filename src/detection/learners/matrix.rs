//! Linear algebra of learners: products over many places, moments, and a covariance that can be inverted.

use std::{num::NonZero, thread};

use nalgebra::{DMatrix, DMatrixView};

use crate::runtime::Threads;

/// Places that are multiplied at a time, so that what comes of them stays in the processor's caches.
const CHUNK: usize = 256;

/// Multiplies places, [n × size], with the rows of a matrix and gives `each` the number of a place, the place and its
/// products to make something of them. The products of a place do not depend on the places beside it.
pub(super) fn products<T: Send>(
    matrix: &DMatrix<f32>,
    places: &[f32],
    threads: Threads,
    each: impl Fn(usize, &[f32], &[f32]) -> T + Sync,
) -> Vec<T> {
    let size = matrix.ncols();
    let part = |first: usize, places: &[f32]| {
        let mut numbers = Vec::with_capacity(places.len() / size);
        let mut products = DMatrix::zeros(matrix.nrows(), CHUNK.min(places.len() / size));
        for (number, chunk) in places.chunks(CHUNK * size).enumerate() {
            let (count, first) = (chunk.len() / size, first + number * CHUNK);
            let mut products = products.columns_mut(0, count);
            // nalgebra's matrices are column-major: a place is a column.
            products.gemm(1.0, matrix, &DMatrixView::from_slice(chunk, size, count), 0.0);
            let columns = products.column_iter();
            let both = chunk.chunks(size).zip(columns).enumerate();
            numbers.extend(both.map(|(place, (numbers, own))| each(first + place, numbers, own.as_slice())));
        }
        numbers
    };
    let count = places.len() / size;
    let workers = match threads {
        Threads::One => 1,
        Threads::All => thread::available_parallelism()
            .map_or(1, NonZero::get)
            .min(count.div_ceil(CHUNK)),
    };
    if workers < 2 {
        return part(0, places);
    }
    thread::scope(|scope| {
        let (each, part) = (count.div_ceil(workers), &part);
        let parts = places.chunks(each * size).enumerate();
        let running: Vec<_> = parts
            .map(|(number, places)| {
                let work = move || part(number * each, places);
                // Where the system has no more threads, this one does it.
                thread::Builder::new().spawn_scoped(scope, work).map_err(|_| work())
            })
            .collect();
        let join = |own: Result<thread::ScopedJoinHandle<'_, Vec<T>>, Vec<T>>| match own.map(|own| own.join()) {
            Ok(Ok(numbers)) | Err(numbers) => numbers,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
        };
        running.into_iter().flat_map(join).collect()
    })
}

/// The mean of places.
pub(super) fn mean<'a>(places: impl Iterator<Item = &'a [f32]>, size: usize) -> Vec<f64> {
    let (mut sum, mut count) = (vec![0.0; size], 0.0);
    for place in places {
        count += 1.0;
        for (sum, &value) in sum.iter_mut().zip(place) {
            *sum += f64::from(value);
        }
    }
    sum.iter().map(|sum| sum / f64::max(count, 1.0)).collect()
}

/// The covariance of centred places, a column each, drawn towards a multiple of the identity as far as its uncertainty
/// asks for (Ledoit and Wolf 2004), so that it can be inverted even if there are fewer places than numbers. `None` if
/// they do not vary at all.
pub(super) fn shrunk_covariance(centred: &DMatrix<f64>) -> Option<DMatrix<f64>> {
    let (size, count) = (centred.nrows(), centred.ncols() as f64);
    let covariance = centred * centred.transpose() / count;
    let scale = covariance.trace() / size as f64;
    let target = DMatrix::identity(size, size) * scale;
    let away = (&covariance - &target).norm_squared();
    let fourth: f64 = centred.column_iter().map(|place| place.norm_squared().powi(2)).sum();
    let uncertainty = ((fourth / count - covariance.norm_squared()) / count).max(0.0);
    let share = if away > 0.0 { (uncertainty / away).min(1.0) } else { 1.0 };
    // A little of the target is always added: rounding may have made an eigenvalue negative.
    let share = share.max(1e-6);
    (scale > 0.0 && scale.is_finite()).then(|| covariance * (1.0 - share) + target * share)
}

/// A matrix as rows of single precision.
pub(super) fn rows(matrix: &DMatrix<f64>) -> Vec<f32> {
    matrix.transpose().iter().map(|&value| value as f32).collect()
}

/// |place|.
pub(super) fn norm(place: &[f32]) -> f32 {
    place.iter().map(|x| x * x).sum::<f32>().sqrt()
}

/// Places of length one, unless they are zero.
pub(super) fn normalised(places: &[f32], size: usize) -> Vec<f32> {
    let mut own = places.to_vec();
    for place in own.chunks_mut(size) {
        let norm = norm(place).max(f32::MIN_POSITIVE);
        place.iter_mut().for_each(|x| *x /= norm);
    }
    own
}
