//! Golden numbers of graphs that make images of codes.

use super::{Golden, Labelled};
use crate::{
    domain::{
        image::ImageShape,
        random::{Random, Stream},
    },
    import::Problem,
    media,
};

/// Codes that images are kept of.
const GOLDEN: usize = 4;

/// Draws codes of `size` numbers and keeps what `images` makes of them and their labels: dimensions in channel, row,
/// column order and in units of level / (levels − 1), image after image.
pub(in crate::families) fn golden_of_codes<'a>(
    size: usize,
    labelled: Option<&Labelled>,
    shape: ImageShape,
    images: impl FnOnce(&[Vec<f32>], &[usize]) -> Result<Vec<f32>, Problem>,
) -> Result<Golden<'a>, Problem> {
    let random = Random::new(0, Stream::Prior, 0);
    let code = |item: usize| {
        (0..size)
            .map(|i| random.normal((item * size + i) as u32) as f32)
            .collect()
    };
    let codes: Vec<Vec<f32>> = (0..GOLDEN).map(code).collect();
    let label = |item: usize| labelled.map_or(0, |labelled| item % labelled.count);
    let labels: Vec<usize> = (0..GOLDEN).map(label).collect();
    let images = images(&codes, &labels)?;
    let dimensions = [GOLDEN, shape.channels(), shape.height(), shape.width()];
    let mut files = vec![
        (
            "golden_latents.npy",
            media::write_f32(&[GOLDEN, size], codes.concat().into_iter()),
        ),
        ("golden_images.npy", media::write_f32(&dimensions, images.into_iter())),
    ];
    let mut lines = "latents = \"golden_latents.npy\"\nimages = \"golden_images.npy\"\n".to_owned();
    if labelled.is_some() {
        let numbers = labels.iter().map(|&label| label as f64);
        files.push(("golden_labels.npy", media::write_f64(&[GOLDEN], numbers)));
        lines += "labels = \"golden_labels.npy\"\n";
    }
    Ok(Golden::OfCodes { files, lines })
}
