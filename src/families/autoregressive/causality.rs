//! Causality by trial, for graphs that cannot be analysed: no prediction may change when only its own or later
//! dimensions change.
//!
//! For a cut c, an image is copied and every dimension from place c on (in autoregressive order) gets another level; of
//! an empty or a full image it is that of place c alone.
//! Every prediction up to and including place c must then stay what it was. A prediction of place t that sees dimension
//! s ≥ t shows at every cut from t to s; one that sees just itself shows at one cut only. So every channel needs cuts
//! of its own, and in a graph that strides or up-samples every phase of rows and columns, too; and only cuts at all
//! places find every leak that the images excite. Places are drawn from a seed, so that no place is safe.

use std::{collections::BTreeSet, time::Instant};

use crate::{
    domain::{
        image::ImageShape,
        random::{Random, Stream},
    },
    families::{
        NetworkError,
        gate::{Gate, GateError, batch_independence, failed},
    },
    graph::wavefront::Predictions,
};

/// Cuts that are tried if not all are.
const CUTS: usize = 1024;
/// Rows and columns are told apart by their rests modulo each of these: the strides of networks, and what strides make
/// together.
const STRIDES: [usize; 7] = [1, 2, 3, 4, 5, 8, 16];
/// The first so many strides are tried even when the time is short.
const ESSENTIAL_STRIDES: usize = 4;
/// Kinds of image that are changed, since a saturated unit can hide on one what it sees. Where there are few places,
/// each is tried on all of them.
const KINDS: usize = 6;
/// Levels by which a single dimension of an empty or a full image is changed, at most: such an image stays nearly so.
const STEPS: usize = 8;
/// Cuts under each label that no run of places has come to.
const CUTS_OF_LABEL: usize = 3;
/// Images in one run, at most: the unchanged one and its changed copies.
const ROWS: usize = 32;
/// Dimensions of all images of a run. A network keeps hundreds of numbers for each while it runs.
const DIMENSIONS: usize = 24_576;
/// Logits of one run, at most: 256 MiB.
const LOGITS: usize = 1 << 26;
/// Predictions may differ by this share of the largest ordinary logit, or of their own size: rounding, should a
/// runtime's kernels depend on what they multiply by zero.
const TOLERANCE: f32 = 1e-5;
/// Logits up to this size are ordinary. A larger one, such as that of a level that is ruled out, says nothing of how
/// the others are rounded.
const ORDINARY: f32 = 1e3;

/// A prediction that changed with what it must not see. Places are in autoregressive order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leak {
    /// The prediction.
    predicted: usize,
    /// The first dimension that was changed.
    changed: usize,
}

/// Tries causality as a step of the gate. Answers at how many places.
pub(super) fn is_causal(
    gate: &Gate<'_>,
    file: &str,
    (shape, predictions): (ImageShape, Predictions),
    images: &[(&[u8], u32)],
    logits: &mut Logits<'_, NetworkError>,
) -> Result<usize, GateError> {
    let settings = gate.settings();
    let trial = Trial {
        shape,
        predictions,
        images,
        seed: gate.seed(file),
        thorough: settings.thorough,
    };
    let (start, limit) = (Instant::now(), settings.trial_limit());
    let mut enough = || !settings.thorough && start.elapsed() > limit;
    match probe(&trial, logits, &mut enough).map_err(|cause| failed(file, cause))? {
        Ok(places) => Ok(places),
        Err(leak) => Err(GateError::Leak {
            file: file.to_owned(),
            predicted: describe(leak.predicted, shape),
            changed: describe(leak.changed, shape),
        }),
    }
}

/// What is tried.
struct Trial<'a> {
    shape: ImageShape,
    /// What the network gives at a pixel.
    predictions: Predictions,
    /// Images to change, each with its label. Others are made up.
    images: &'a [(&'a [u8], u32)],
    /// Decides on places and changes.
    seed: u64,
    /// Tries every place.
    thorough: bool,
}

/// What a network gives for images with one label: of each image the first logits of every dimension in storage order,
/// or the first parameters of every pixel, then the second, ….
pub(super) type Logits<'a, E> = dyn FnMut(&[&[u8]], u32) -> Result<Vec<Vec<f32>>, E> + 'a;

/// Tries cuts until all that should be are tried, or until `enough` says so after the essential ones. Answers the
/// number of places that were tried, or the first leak.
fn probe<E>(
    trial: &Trial<'_>,
    logits: &mut Logits<'_, E>,
    enough: &mut dyn FnMut() -> bool,
) -> Result<Result<usize, Leak>, E> {
    let shape = trial.shape;
    let random = |round: usize| Random::new(trial.seed, Stream::Probe, round as u64);
    let (places, essential) = if trial.thorough {
        let all: Vec<usize> = (0..shape.dimensions()).collect();
        let count = all.len();
        (all, count)
    } else {
        places(shape, &random(0))
    };
    let one = trial.predictions.width(shape.channels()) * shape.pixels();
    let rows = (LOGITS / one).min(DIMENSIONS / shape.dimensions()).clamp(2, ROWS);
    let sweeps = if trial.thorough {
        KINDS
    } else {
        (CUTS / places.len()).clamp(1, KINDS)
    };
    let labels = labels(trial.images);
    let mut tried = 0;
    let mut runs = 0;
    let mut seen = BTreeSet::new();
    for sweep in 0..sweeps {
        for (chunk, cuts) in places.chunks(rows - 1).enumerate() {
            if tried >= essential && enough() {
                return Ok(Ok(tried));
            }
            let random = random(1 + sweep * places.len() + chunk);
            // From sweep to sweep each chunk gets another kind of image, and from turn to turn of these another label.
            let kind = (sweep + chunk) % KINDS;
            let base = Base::new(trial, kind, chunk, &random);
            let label = labels[(kind + runs / KINDS) % labels.len()];
            runs += 1;
            seen.insert(label);
            if let Some(leak) = leak(trial, (&base, label), cuts, (&random, &mut *logits))? {
                return Ok(Err(leak));
            }
            if sweep == 0 {
                tried += cuts.len();
            }
        }
    }
    let unseen = labels.iter().enumerate().filter(|(_, label)| !seen.contains(label));
    for (number, &label) in unseen {
        if enough() {
            break;
        }
        let random = random(1 + KINDS * places.len() + number);
        let cuts: Vec<usize> = (0..CUTS_OF_LABEL)
            .map(|at| places[(number * CUTS_OF_LABEL + at) % places.len()])
            .collect();
        let base = Base::new(trial, number % KINDS, number, &random);
        if let Some(leak) = leak(trial, (&base, label), &cuts, (&random, &mut *logits))? {
            return Ok(Err(leak));
        }
    }
    Ok(Ok(tried))
}

/// The labels that images are given, each once.
fn labels(images: &[(&[u8], u32)]) -> Vec<u32> {
    let labels: BTreeSet<u32> = images.iter().map(|(_, label)| *label).collect();
    labels.into_iter().collect()
}

/// Changes an image from each of these places on, and answers a prediction that it must not have changed.
fn leak<E>(
    trial: &Trial<'_>,
    (base, label): (&Base, u32),
    cuts: &[usize],
    (random, logits): (&Random, &mut Logits<'_, E>),
) -> Result<Option<Leak>, E> {
    let changed: Vec<Vec<u8>> = cuts.iter().map(|&cut| base.changed(cut, trial.shape, random)).collect();
    let images: Vec<&[u8]> = std::iter::once(&*base.levels)
        .chain(changed.iter().map(Vec::as_slice))
        .collect();
    let answers = logits(&images, label)?;
    Ok(cuts.iter().zip(&answers[1..]).find_map(|(&changed, after)| {
        let predicted = first_difference(&answers[0], after, changed, trial)?;
        Some(Leak { predicted, changed })
    }))
}

/// Places to cut at, the essential ones first, and how many these are.
fn places(shape: ImageShape, random: &Random) -> (Vec<usize>, usize) {
    let (all, channels) = (shape.dimensions(), shape.channels());
    let count = all.min(CUTS);
    if count == all {
        return ((0..all).collect(), all);
    }
    let mut drawn = 0;
    let mut below = |limit: usize| {
        drawn += 1;
        ((random.uniform(drawn) * limit as f64) as usize).min(limit - 1)
    };
    let mut chosen = Vec::with_capacity(count);
    let mut is_chosen = vec![false; all];
    let mut choose = |place: usize, chosen: &mut Vec<usize>| {
        if chosen.len() < count && !std::mem::replace(&mut is_chosen[place], true) {
            chosen.push(place);
        }
    };
    // The first pixel can see nothing, the last one is seen by nothing.
    for channel in 0..channels {
        choose(channel, &mut chosen);
    }
    for channel in 0..channels {
        choose(all - channels + channel, &mut chosen);
    }
    let mut essential = 0;
    for (number, &stride) in STRIDES.iter().enumerate() {
        let (rows, columns) = (stride.min(shape.height()), stride.min(shape.width()));
        let kind = |place: usize| {
            let (pixel, channel) = (place / channels, place % channels);
            let (row, column) = (pixel / shape.width(), pixel % shape.width());
            ((row % rows) * columns + column % columns) * channels + channel
        };
        let mut has_one = vec![false; rows * columns * channels];
        for &place in &chosen {
            has_one[kind(place)] = true;
        }
        for (kind, _) in has_one.iter().enumerate().filter(|(_, has)| !**has) {
            let (phase, channel) = (kind / channels, kind % channels);
            let (row, column) = (phase / columns, phase % columns);
            let row = row + rows * below((shape.height() - row).div_ceil(rows));
            let column = column + columns * below((shape.width() - column).div_ceil(columns));
            choose((row * shape.width() + column) * channels + channel, &mut chosen);
        }
        if number < ESSENTIAL_STRIDES {
            essential = chosen.len();
        }
    }
    while chosen.len() < count {
        choose(below(all), &mut chosen);
    }
    (chosen, essential)
}

/// An image that is changed.
struct Base {
    levels: Vec<u8>,
    /// Whether it is empty or full, and to stay nearly so: what a network does to such images alone does not show where
    /// all that follows is changed.
    is_uniform: bool,
}

impl Base {
    /// The given images in turn with noise, with a quiet one, beside which every change is large, with a bright one, an
    /// empty one and a full one.
    fn new(trial: &Trial<'_>, kind: usize, chunk: usize, random: &Random) -> Self {
        let (levels, _) = trial.images[chunk / KINDS % trial.images.len()];
        let (dimensions, count) = (trial.shape.dimensions(), trial.shape.levels());
        let noise = |index| (random.uniform(index as u32) * count as f64) as u8;
        let quiet = batch_independence::alternating(dimensions, 1);
        let most = (count - 1) as u8;
        Self {
            levels: match kind {
                0 => levels.to_vec(),
                1 => (0..dimensions).map(noise).collect(),
                2 => quiet,
                3 => quiet.into_iter().map(|level| most - level).collect(),
                4 => vec![0; dimensions],
                _ => vec![most; dimensions],
            },
            is_uniform: kind >= 4,
        }
    }

    /// The image with another level at every place from `cut` on, or at that place alone.
    fn changed(&self, cut: usize, shape: ImageShape, random: &Random) -> Vec<u8> {
        let mut changed = self.levels.clone();
        let levels = shape.levels();
        let number = |place: usize| random.uniform((shape.dimensions() * (cut + 1) + place) as u32);
        if self.is_uniform {
            let index = shape.index_of(cut);
            let step = 1 + (number(cut) * STEPS.min(levels - 1) as f64) as u8;
            changed[index] = changed[index].abs_diff(step);
            return changed;
        }
        for place in cut..shape.dimensions() {
            let index = shape.index_of(place);
            let step = 1 + (number(place) * (levels - 1) as f64) as usize;
            changed[index] = ((usize::from(self.levels[index]) + step) % levels) as u8;
        }
        changed
    }
}

/// The first place up to the cut whose prediction differs.
fn first_difference(before: &[f32], after: &[f32], cut: usize, trial: &Trial<'_>) -> Option<usize> {
    let shape = trial.shape;
    // A pixel as a whole is predicted before its first channel.
    let predicted = match trial.predictions {
        Predictions::OfChannels(_) => shape.dimensions(),
        Predictions::OfPixels(_) => shape.pixels(),
    };
    let of_index = |index: usize| before[index..].iter().step_by(predicted);
    before
        .iter()
        .zip(after)
        .enumerate()
        .filter(|(_, (a, b))| a.to_bits() != b.to_bits())
        .map(|(at, (a, b))| (at % predicted, a, b))
        .filter(|&(index, a, b)| {
            shape.order_of(index) <= cut && {
                let ordinary = of_index(index).map(|v| v.abs()).filter(|&size| size <= ORDINARY);
                let scale = ordinary.fold(1.0, f32::max).max(a.abs().min(b.abs()));
                let close = (a - b).abs() <= TOLERANCE * scale;
                // NaN is close to nothing.
                !close
            }
        })
        .map(|(index, _, _)| shape.order_of(index))
        .min()
}

/// A place in words.
pub(super) fn describe(place: usize, shape: ImageShape) -> String {
    let (pixel, channel) = (place / shape.channels(), place % shape.channels());
    let (row, column) = (pixel / shape.width(), pixel % shape.width());
    if shape.channels() == 1 {
        format!("row {row}, column {column}")
    } else {
        format!("row {row}, column {column}, channel {channel}")
    }
}

#[cfg(test)]
mod tests;
