//! Scores and logits of a recurrent network: given images are followed along wavefronts.
//!
//! They are followed on the calling thread. A run is one step, too little work to be shared out among threads each
//! time.

use super::{Given, Head, Logits, Scratch, prediction};
use crate::{
    domain::image::ImageShape,
    families::{
        NetworkError,
        autoregressive::wavefront::{Known, Wavefront},
    },
    graph::wavefront::Predictions,
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
    let mut scratch = Scratch::default();
    follow(wavefront, images, &mut |image, known| {
        let log_probability = prediction(shape, head, known).log_probability(known.level, &mut scratch);
        maps[image][known.index] = log_probability as f32;
    })?;
    Ok(maps)
}

/// The logits of every dimension.
pub(super) fn logits(
    wavefront: &Wavefront,
    (shape, head, predictions): (ImageShape, Head, Predictions),
    images: &[Given<'_>],
) -> Result<Logits, NetworkError> {
    // Of one channel, so that a dimension is a pixel.
    let (outcomes, dimensions) = (predictions.width(shape.channels()), shape.dimensions());
    let mut values = vec![0.0; images.len() * outcomes * dimensions];
    follow(wavefront, images, &mut |image, known| {
        let start = image * outcomes * dimensions + known.index;
        let own = values[start..].iter_mut().step_by(dimensions);
        for (into, &logit) in own.zip(known.values) {
            *into = logit;
        }
    })?;
    Ok(Logits {
        shape,
        head,
        predictions,
        rows: images.len(),
        output: Output {
            shape: vec![images.len(), outcomes, shape.height(), shape.width()],
            values,
        },
    })
}

/// Shows `see` what becomes known of every dimension of every image.
fn follow(
    wavefront: &Wavefront,
    images: &[Given<'_>],
    see: &mut dyn FnMut(usize, &Known<'_>),
) -> Result<(), NetworkError> {
    for (round, company) in images.chunks(COMPANY).enumerate() {
        let mut walks: Vec<_> = company
            .iter()
            .map(|given| wavefront.start(given.levels.to_vec(), given.label))
            .collect();
        let mut moving: Vec<_> = walks.iter_mut().collect();
        wavefront.advance(&mut moving, wavefront.steps(), &mut |known| {
            see(round * COMPANY + known.walk, known);
            known.level
        })?;
        for walk in walks {
            wavefront.finish(walk);
        }
    }
    Ok(())
}
