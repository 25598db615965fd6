//! Causality by perturbation, for graphs that cannot be analysed: no prediction may change when only its own or later
//! dimensions change.
//!
//! For a cut c, an image is copied and every dimension from place c on (in autoregressive order) gets another level. Every
//! prediction up to and including place c must then stay what it was. A dependency of prediction i on dimension j ≥ i shows
//! at every cut from i to j, so trying every cut finds every dependency that the probe images excite. Several kinds of
//! image are used, since saturated units can hide a dependency on one of them.

use super::network::{Given, Logits, Network};
use crate::{
    domain::{
        image::ImageShape,
        random::{Random, Stream},
    },
    families::gate::{GateError, failed},
    runtime::Threads,
};

/// Cuts that are tried at most; images with more dimensions are tried at evenly spread ones.
const MAX_CUTS: usize = 1024;
/// Images in one run: the unchanged one and its changed copies.
const ROWS: usize = 32;
/// Predictions may differ by this share of the largest logit: rounding, should a runtime's kernels depend on company.
const TOLERANCE: f32 = 1e-5;

/// Tries cuts through the order of dimensions; says how many, or where the graph leaks.
pub(super) fn probe(
    network: &Network,
    golden: &[Given<'_>],
    file: &str,
) -> Result<String, GateError> {
    let shape = network.shape();
    let cuts = cuts(shape.dimensions());
    for (round, cuts) in cuts.chunks(ROWS - 1).enumerate() {
        let random = Random::new(0, Stream::Probe, round as u64);
        let label = golden[round % golden.len()].label;
        let base = base(shape, golden, round, &random);
        let changed: Vec<Vec<u8>> = cuts
            .iter()
            .map(|&cut| change_from(cut, &base, shape, &random))
            .collect();
        let rows: Vec<Given<'_>> = std::iter::once(&base)
            .chain(&changed)
            .map(|levels| Given { levels, label })
            .collect();
        let logits = network
            .logits(&rows, Threads::All)
            .map_err(|cause| failed(file, cause))?;
        for (row, &cut) in cuts.iter().enumerate() {
            if let Some(place) = first_difference(&logits, row + 1, cut, shape) {
                return Err(GateError::Leak {
                    file: file.to_owned(),
                    predicted: describe(place, shape),
                    changed: describe(cut, shape),
                });
            }
        }
    }
    Ok(format!(
        "no prediction depends on its own or a later dimension: tried by perturbation at {} of {} places",
        cuts.len(),
        shape.dimensions()
    ))
}

fn cuts(dimensions: usize) -> Vec<usize> {
    let count = dimensions.min(MAX_CUTS);
    (0..count).map(|i| i * dimensions / count).collect()
}

/// Golden images in turn with noise.
fn base(shape: ImageShape, golden: &[Given<'_>], round: usize, random: &Random) -> Vec<u8> {
    if round.is_multiple_of(2) {
        return golden[round / 2 % golden.len()].levels.to_vec();
    }
    (0..shape.dimensions())
        .map(|index| (random.uniform(index as u32) * shape.levels() as f64) as u8)
        .collect()
}

/// The image with another level at every place from `cut` on.
fn change_from(cut: usize, base: &[u8], shape: ImageShape, random: &Random) -> Vec<u8> {
    let mut changed = base.to_vec();
    let levels = shape.levels();
    for place in cut..shape.dimensions() {
        let index = shape.index_of(place);
        let number = random.uniform((shape.dimensions() * (cut + 1) + place) as u32);
        let step = 1 + (number * (levels - 1) as f64) as usize;
        changed[index] = ((usize::from(base[index]) + step) % levels) as u8;
    }
    changed
}

/// The first place up to the cut whose prediction in `row` differs from that in row 0.
fn first_difference(logits: &Logits, row: usize, cut: usize, shape: ImageShape) -> Option<usize> {
    let (before, after) = (logits.row(0), logits.row(row));
    before
        .iter()
        .zip(after)
        .enumerate()
        .filter(|(_, (a, b))| a.to_bits() != b.to_bits())
        .map(|(at, (a, b))| (at % shape.dimensions(), a, b))
        .filter(|&(index, a, b)| {
            shape.order_of(index) <= cut && {
                let scale = logits.at(0, index).fold(1.0f32, |max, v| max.max(v.abs()));
                let close = (a - b).abs() <= TOLERANCE * scale;
                // NaN is close to nothing.
                !close
            }
        })
        .map(|(index, _, _)| shape.order_of(index))
        .min()
}

pub(super) fn describe(place: usize, shape: ImageShape) -> String {
    let (pixel, channel) = (place / shape.channels(), place % shape.channels());
    let (row, column) = (pixel / shape.width(), pixel % shape.width());
    if shape.channels() == 1 {
        format!("row {row}, column {column}")
    } else {
        format!("row {row}, column {column}, channel {channel}")
    }
}
