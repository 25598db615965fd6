//! Scores and logits of a recurrent network: given images are followed along wavefronts.
//!
//! They are followed on the calling thread. A run is one step, too little work to be shared out among threads each
//! time.

use super::{Given, Head, Logits};
use crate::{
    domain::image::ImageShape,
    families::{
        NetworkError,
        autoregressive::wavefront::{Settle, Wavefront},
    },
    runtime::Output,
};

/// Images that are followed at once: enough for the kernels, few enough for the processor's caches.
pub(super) const COMPANY: usize = 16;

/// log p of every dimension. Logarithms in double precision: the same in every company.
pub(super) fn log_probabilities(
    wavefront: &Wavefront,
    shape: ImageShape,
    head: Head,
    images: &[Given<'_>],
) -> Result<Vec<Vec<f32>>, NetworkError> {
    let mut maps = vec![vec![0.0; shape.dimensions()]; images.len()];
    follow(wavefront, images, &mut |image, index, level, logits: &[f32]| {
        maps[image][index] = head.log_probability(logits, level) as f32;
        level
    })?;
    Ok(maps)
}

/// The logits of every dimension.
pub(super) fn logits(
    wavefront: &Wavefront,
    shape: ImageShape,
    head: Head,
    images: &[Given<'_>],
) -> Result<Logits, NetworkError> {
    let (outcomes, dimensions) = (head.outcomes(shape), shape.dimensions());
    let mut values = vec![0.0; images.len() * outcomes * dimensions];
    follow(wavefront, images, &mut |image, index, level, logits: &[f32]| {
        let start = image * outcomes * dimensions + index;
        let own = values[start..].iter_mut().step_by(dimensions);
        for (into, &logit) in own.zip(logits) {
            *into = logit;
        }
        level
    })?;
    Ok(Logits {
        shape,
        head,
        rows: images.len(),
        output: Output {
            shape: vec![images.len(), outcomes, shape.height(), shape.width()],
            values,
        },
    })
}

/// Shows `see` the logits of every dimension of every image; it answers the level that stands there.
fn follow(wavefront: &Wavefront, images: &[Given<'_>], see: &mut Settle<'_>) -> Result<(), NetworkError> {
    for (round, company) in images.chunks(COMPANY).enumerate() {
        let mut walks: Vec<_> = company
            .iter()
            .map(|given| wavefront.start(given.levels.to_vec(), given.label))
            .collect();
        let mut moving: Vec<_> = walks.iter_mut().collect();
        wavefront.advance(&mut moving, wavefront.steps(), &mut |walk, index, level, logits| {
            see(round * COMPANY + walk, index, level, logits)
        })?;
        for walk in walks {
            wavefront.finish(walk);
        }
    }
    Ok(())
}
