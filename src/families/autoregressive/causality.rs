//! Causality by trial, for graphs that cannot be analysed: no prediction may change when only its own or later
//! dimensions change.
//!
//! For a cut c, an image is copied and every dimension from place c on (in autoregressive order) gets another level; of
//! an empty or a full image it is that of place c alone.
//! Every prediction up to and including place c must then stay what it was. A prediction of place t that sees dimension
//! s ≥ t shows at every cut from t to s; one that sees just itself shows at one cut only. So every channel needs cuts
//! of its own, and in a graph that strides or up-samples every phase of rows and columns, too; and only cuts at all
//! places find every leak that the images excite. Places are drawn from a seed, so that no place is safe.

mod apart;
mod bases;
mod places;

use std::{collections::BTreeSet, time::Instant};

use self::bases::{Base, KINDS, NOISE};
use crate::{
    domain::{
        image::ImageShape,
        random::{Random, Stream},
    },
    families::{
        NetworkError,
        gate::{Gate, GateError, failed},
    },
    graph::wavefront::Predictions,
};

/// Kinds of image that each place is tried on, at most, where all places are tried and there are many.
const SWEEPS: usize = 6;
/// From sweep to sweep kinds move on by so many: a number that leaves none out.
const STRIDE_OF_KINDS: usize = 7;
/// Cuts under each label that no run of places has come to.
const CUTS_OF_LABEL: usize = 3;
/// Images in one run, at most: the unchanged one and its changed copies.
const ROWS: usize = 32;
/// Dimensions of all images of a run. A network keeps hundreds of numbers for each while it runs.
const DIMENSIONS: usize = 24_576;
/// Logits of one run, at most: 256 MiB.
const LOGITS: usize = 1 << 26;
/// Predictions may differ by so much: over all dimensions of an image it is less than a score is good for.
const TOLERANCE: f32 = 1e-5;
/// They may differ by this share of the largest ordinary logit, or of their own size, which is rounding: what cancels
/// in a network leaves some.
const ROUNDING: f32 = 2e-6;
/// The same where a runtime's kernels depend on the row of an image in its run.
const ROUNDING_BY_ROW: f32 = 1e-5;
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

impl Trial<'_> {
    /// Numbers of one round.
    fn random(&self, round: usize) -> Random {
        Random::new(self.seed, Stream::Probe, round as u64)
    }

    /// Dimensions that are predicted by themselves; a pixel as a whole is predicted before its first channel.
    fn predicted(&self) -> usize {
        match self.predictions {
            Predictions::OfChannels(_) => self.shape.dimensions(),
            Predictions::OfPixels(_) => self.shape.pixels(),
        }
    }
}

/// A network that is asked.
struct Asked<'a, 'b, E> {
    logits: &'a mut Logits<'b, E>,
    predicted: usize,
    /// The share of a logit that is rounding.
    rounding: f32,
}

/// What it gives for an image and for changed copies of it.
struct Answers {
    before: Vec<f32>,
    /// What may be rounding, of each prediction.
    tolerances: Vec<f32>,
    rounding: f32,
    changed: Vec<Vec<f32>>,
}

impl<E> Asked<'_, '_, E> {
    fn of(&mut self, (base, label): (&Base, u32), changed: &[Vec<u8>]) -> Result<Answers, E> {
        let images: Vec<&[u8]> = std::iter::once(&*base.levels)
            .chain(changed.iter().map(Vec::as_slice))
            .collect();
        let mut changed = (self.logits)(&images, label)?;
        let before = changed.remove(0);
        let mut tolerances = vec![TOLERANCE; self.predicted];
        for plane in before.chunks(self.predicted) {
            for (tolerance, size) in tolerances.iter_mut().zip(plane.iter().map(|value| value.abs())) {
                if size <= ORDINARY {
                    *tolerance = tolerance.max(self.rounding * size);
                }
            }
        }
        Ok(Answers {
            before,
            tolerances,
            rounding: self.rounding,
            changed,
        })
    }
}

impl Answers {
    /// Places up to the `last` whose predictions `after` a change differ.
    fn differences(&self, after: &[f32], last: usize, shape: ImageShape) -> BTreeSet<usize> {
        let predicted = self.tolerances.len();
        self.before
            .iter()
            .zip(after)
            .enumerate()
            .filter(|(_, (a, b))| a.to_bits() != b.to_bits())
            .filter_map(|(at, (a, b))| {
                let place = shape.order_of(at % predicted);
                let tolerance = self.tolerances[at % predicted].max(self.rounding * a.abs().min(b.abs()));
                // NaN is close to nothing.
                let is_close = (a - b).abs() <= tolerance;
                (place <= last && !is_close).then_some(place)
            })
            .collect()
    }
}

/// Tries cuts until all that should be are tried, or until `enough` says so after the essential ones; between these and
/// the others, all places of networks that see no farther than so far. Answers the number of places that were tried,
/// or the first leak.
fn probe<E>(
    trial: &Trial<'_>,
    logits: &mut Logits<'_, E>,
    enough: &mut dyn FnMut() -> bool,
) -> Result<Result<usize, Leak>, E> {
    let shape = trial.shape;
    let (places, essential) = if trial.thorough {
        ((0..shape.dimensions()).collect(), 0)
    } else {
        places::places(shape, &trial.random(0))
    };
    let one = trial.predictions.width(shape.channels()) * shape.pixels();
    let rows = (LOGITS / one).min(DIMENSIONS / shape.dimensions()).clamp(2, ROWS);
    let sweeps = if trial.thorough && places.len() > places::PLACES {
        SWEEPS
    } else if trial.thorough {
        KINDS
    } else {
        (places::PLACES / places.len()).clamp(1, KINDS)
    };
    let labels = labels(trial.images);
    let mut asked = Asked {
        rounding: rounding(trial, (labels[0], rows), logits)?,
        logits,
        predicted: trial.predicted(),
    };
    let mut tried = vec![false; shape.dimensions()];
    let mut seen = BTreeSet::new();
    let chunks = |sweep: usize| places.chunks(rows - 1).enumerate().map(move |chunk| (sweep, chunk));
    let mut is_apart_tried = false;
    for (runs, (sweep, (chunk, cuts))) in (0..sweeps).flat_map(chunks).enumerate() {
        if sweep > 0 || chunk * (rows - 1) >= essential {
            if !std::mem::replace(&mut is_apart_tried, true)
                && let Some(leak) = apart::probe(trial, (labels[0], rows), &mut asked, enough, &mut tried)?
            {
                return Ok(Err(leak));
            }
            if enough() {
                break;
            }
        }
        let random = trial.random(1 + sweep * places.len() + chunk);
        // From sweep to sweep each chunk gets another kind of image, and from turn to turn of these another label.
        let kind = (sweep * STRIDE_OF_KINDS + chunk) % KINDS;
        let base = Base::new(trial, kind, chunk, &random);
        let label = labels[(kind + runs / KINDS) % labels.len()];
        seen.insert(label);
        if let Some(leak) = leak(trial, (&base, label), cuts, (&random, &mut asked))? {
            return Ok(Err(leak));
        }
        for &cut in cuts {
            tried[cut] = true;
        }
    }
    let unseen = labels.iter().enumerate().filter(|(_, label)| !seen.contains(label));
    for (number, &label) in unseen {
        if enough() {
            break;
        }
        let random = trial.random(1 + KINDS * places.len() + number);
        let cuts: Vec<usize> = (0..CUTS_OF_LABEL)
            .map(|at| places[(number * CUTS_OF_LABEL + at) % places.len()])
            .collect();
        let base = Base::new(trial, number % KINDS, number, &random);
        if let Some(leak) = leak(trial, (&base, label), &cuts, (&random, &mut asked))? {
            return Ok(Err(leak));
        }
    }
    Ok(Ok(tried.into_iter().filter(|&tried| tried).count()))
}

/// The share of a logit that is rounding: more where a run of the same image gives other bits from row to row.
fn rounding<E>(trial: &Trial<'_>, (label, rows): (u32, usize), logits: &mut Logits<'_, E>) -> Result<f32, E> {
    let base = Base::new(trial, NOISE, 0, &trial.random(0));
    let answers = logits(&vec![&*base.levels; rows], label)?;
    let bits = |row: &Vec<f32>| -> Vec<u32> { row.iter().map(|value| value.to_bits()).collect() };
    let is_same = answers.windows(2).all(|pair| bits(&pair[0]) == bits(&pair[1]));
    Ok(if is_same { ROUNDING } else { ROUNDING_BY_ROW })
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
    (random, asked): (&Random, &mut Asked<'_, '_, E>),
) -> Result<Option<Leak>, E> {
    let shape = trial.shape;
    let changed: Vec<Vec<u8>> = cuts.iter().map(|&cut| base.changed_from(cut, shape, random)).collect();
    let answers = asked.of((base, label), &changed)?;
    Ok(cuts.iter().zip(&answers.changed).find_map(|(&changed, after)| {
        let predicted = answers.differences(after, changed, shape).first().copied()?;
        Some(Leak { predicted, changed })
    }))
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
