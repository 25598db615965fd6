//! Calibration with inliers: which images serve which purpose, what is measured of them, and what can be promised then.

use std::{collections::HashSet, time::Instant};

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    panel::Members,
    rule::{DensityPlan, LEAST_IMAGES, Plan},
    statistics::{self, Part, Requirement, Statistic},
    trained_on::TrainedOn,
};
use crate::{
    domain::{
        conformal::{Calibration, certified_rank},
        image::Image,
        random::{Random, Stream},
    },
    model::{
        Call, Model, Refusal,
        work::{Batches, Resources},
    },
};

/// Images measured in one piece of work.
pub const CHUNK: usize = 64;

/// The circumstances of a calibration: it takes as long as it takes.
pub fn call_without_deadline(resources: &Resources) -> Call {
    resources.call(Instant::now() + std::time::Duration::from_secs(365 * 24 * 3600))
}

/// What is measured of many images, some chunks at a time.
pub async fn measure_all<T: Send + 'static>(
    lane: &Batches<Image, Result<T, Refusal>>,
    images: &[Image],
    call: &Call,
    progress: impl Fn(usize),
) -> Result<Vec<T>, Refusal> {
    let chunks = images.chunks(CHUNK).map(|chunk| call.run(lane, chunk.to_vec()));
    let mut chunks = stream::iter(chunks).buffered(4);
    let mut all = Vec::with_capacity(images.len());
    while let Some(chunk) = chunks.next().await {
        for measurement in chunk? {
            all.push(measurement??);
        }
        progress(all.len());
    }
    Ok(all)
}

/// Gaussians of a density, at most: what inliers do not show is not fitted, see
/// [`crate::domain::mixture::Mixture::choose`].
const MOST_COMPONENTS: usize = 8;

/// The fewest images that may calibrate: fewer could not support a false-alarm rate of 1 %.
pub const LEAST_CALIBRATION: usize = 100;

/// The images that a detector is made from.
#[derive(Debug, Clone, Default)]
pub struct Inliers {
    /// Images that calibrate, and where there are no others also those that fit and rank.
    pub data: Vec<Image>,
    /// Images that fit and rank.
    pub fit: Vec<Image>,
}

/// What a calibration can promise of one false-alarm rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guarantee {
    /// The rate.
    pub rate: f64,
    /// Whether it holds on average over calibrations.
    pub on_average: bool,
    /// The largest p-value to reject for it to hold with a probability of 95 %, if any.
    pub certified_threshold: Option<f64>,
}

/// What a detector goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum By {
    /// Everything that its members say.
    #[default]
    Everything,
    /// How far the places of maps of features are from their neighbours in the bank, and nothing else.
    Neighbours,
}

/// The rule of a detector that goes by neighbours alone: the excess of three distances, which are guarded one by one as
/// well. Moments of the image are reported. `None` where no member gives maps of features.
pub fn plan_by_neighbours(members: &Members) -> Option<Plan> {
    let excess = vec![
        statistics::features::FEATURE_NEIGHBOUR,
        statistics::features::FEATURE_NEIGHBOUR_SMOOTH_SHARE,
        statistics::features::FEATURE_NEIGHBOUR_SMOOTH_LARGEST,
    ];
    let is_measured = |own: &Statistic| {
        excess.contains(own) || own.part == Part::OfNeighbours || own.requirements.is_empty() && own.is_number()
    };
    let statistics = statistics::ALL.iter().copied().filter(is_measured).collect();
    members.have(Requirement::Places).then_some(Plan {
        statistics,
        densities: Vec::new(),
        guarded: excess.clone(),
        excess,
    })
}

/// The rule that is fitted: every number that decides in one joint density, those that tell of features or labels in
/// another where there are features, one density more for each vector or map that decides, and the excess of distances,
/// which are guarded one by one as well.
pub fn plan(members: &Members, stir: bool, samples: bool) -> Plan {
    let has = |requirement: Requirement| match requirement {
        Requirement::Stirring => stir,
        Requirement::Samples => samples,
        _ => members.have(requirement),
    };
    let suits = |statistic: &Statistic| statistic.suits(has);
    let statistics: Vec<Statistic> = statistics::ALL.iter().copied().filter(suits).collect();
    let deciding = statistics.iter().copied().filter(|own| own.part != Part::Reported);
    let (numbers, others): (Vec<Statistic>, Vec<Statistic>) = deciding.partition(|statistic| statistic.is_number());
    let density = |name: &str, statistics: Vec<Statistic>, axes| DensityPlan {
        name: name.to_owned(),
        statistics,
        axes,
        components: MOST_COMPONENTS,
    };
    let is_of_features = |own: &Statistic| {
        has(Requirement::Features)
            && (own.requirements.contains(&Requirement::Features)
                || own.requirements.contains(&Requirement::Classifier))
    };
    let (features, numbers): (Vec<Statistic>, Vec<Statistic>) = numbers.into_iter().partition(is_of_features);
    let mut densities = vec![density("numbers", numbers, 64)];
    if !features.is_empty() {
        densities.push(density("features", features, 64));
    }
    densities.extend(others.into_iter().map(|own| density(own.name, vec![own], 30)));
    let distances = statistics.iter().copied().filter(|own| own.part == Part::Exceeds);
    let excess: Vec<Statistic> = distances.collect();
    Plan {
        statistics,
        densities,
        guarded: excess.clone(),
        excess,
    }
}

/// What a calibration can promise of a false-alarm rate.
pub fn guarantee(calibration: &Calibration, rate: f64) -> Guarantee {
    let k = certified_rank(calibration.size(), rate, 0.95);
    Guarantee {
        rate,
        on_average: calibration.threshold(rate, None).is_ok(),
        certified_threshold: (k > 0).then(|| k as f64 / (calibration.size() + 1) as f64),
    }
}

/// Which images a detector was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Splits {
    /// The seed of the permutation that parts the images, and of the densities' starts.
    pub seed: u64,
    /// Images that the densities were fitted to.
    pub fit: Split,
    /// Images among which surprises are ranked.
    pub rank: Split,
    /// Images that calibrate.
    pub calibrate: Split,
}

/// Some images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// How many.
    pub images: usize,
    /// sha256 over the sha256 of the levels of each, in ascending order of these: the same for the same images in any
    /// order.
    pub sha256: String,
}

/// Images for each purpose; none is in two.
#[derive(Debug)]
pub struct Parts {
    /// Images that fit the densities.
    pub fit: Vec<Image>,
    /// Images among which surprises are ranked.
    pub rank: Vec<Image>,
    /// Images that calibrate.
    pub calibrate: Vec<Image>,
    /// Images that came more than once and were counted once.
    pub duplicates: usize,
}

impl Parts {
    /// All of them, in this order.
    pub fn all(&self) -> impl Iterator<Item = &Image> {
        self.fit.iter().chain(&self.rank).chain(&self.calibrate)
    }

    /// How many they are, and which.
    pub fn splits(&self, seed: u64) -> Splits {
        Splits {
            seed,
            fit: split(&self.fit),
            rank: split(&self.rank),
            calibrate: split(&self.calibrate),
        }
    }
}

/// Parts the images by a random permutation: without images to fit half of them fit, 15 % rank and the rest calibrate;
/// with them three quarters of these fit and the rest rank. An image that comes more than once is taken once, where it
/// comes first.
pub fn part(inliers: Inliers, seed: u64) -> Result<Parts, Refusal> {
    let mut seen = HashSet::new();
    let before = inliers.data.len() + inliers.fit.len();
    let mut unique = |images| not_seen(images, &mut seen);
    let (fit, data) = (unique(inliers.fit), unique(inliers.data));
    let duplicates = before - fit.len() - data.len();
    let (fit, rank, calibrate) = if fit.is_empty() {
        let mut fit = shuffled(data, seed);
        let count = fit.len();
        let calibrate = fit.split_off(count * 65 / 100);
        let rank = fit.split_off(count / 2);
        (fit, rank, calibrate)
    } else {
        let mut fit = shuffled(fit, seed);
        // A quarter ranks, and of few images as many as are needed, if that is not more than half.
        let rank = (fit.len() / 4).max(LEAST_IMAGES.min(fit.len() / 2));
        let rank = fit.split_off(fit.len() - rank);
        (fit, rank, shuffled(data, seed))
    };
    let parts = Parts {
        fit,
        rank,
        calibrate,
        duplicates,
    };
    let twice = match duplicates {
        0 => String::new(),
        _ => format!(", of which {duplicates} came twice,"),
    };
    let least = [
        ("fit the densities", parts.fit.len(), LEAST_IMAGES),
        ("rank among", parts.rank.len(), LEAST_IMAGES),
        ("calibrate with", parts.calibrate.len(), LEAST_CALIBRATION),
    ];
    for (purpose, images, needed) in least {
        if images < needed {
            return Err(Refusal::option(
                "data",
                format!(
                    "{before} images{twice} are too few: {images} are left to {purpose}, and at least {needed} are \
                     needed. 1,000 images in all give rates from 1 % on average, 5,000 give 1 % with confidence."
                ),
            ));
        }
    }
    Ok(parts)
}

/// Images, each taken once, where it comes first.
pub fn unique(images: Vec<Image>) -> Vec<Image> {
    not_seen(images, &mut HashSet::new())
}

/// Images that are not among those seen, which they join.
fn not_seen(images: Vec<Image>, seen: &mut HashSet<[u8; 32]>) -> Vec<Image> {
    let is_new = |image: &Image| seen.insert(hash(image));
    images.into_iter().filter(is_new).collect()
}

/// sha256 of the levels of an image.
pub fn hash(image: &Image) -> [u8; 32] {
    Sha256::digest(image.levels()).into()
}

fn split(images: &[Image]) -> Split {
    use std::fmt::Write;
    let mut hashes: Vec<[u8; 32]> = images.iter().map(hash).collect();
    hashes.sort_unstable();
    let mut text = String::new();
    for byte in Sha256::digest(hashes.concat()) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Split {
        images: images.len(),
        sha256: text,
    }
}

/// The images in an order that only their number and the seed decide.
fn shuffled(images: Vec<Image>, seed: u64) -> Vec<Image> {
    let mut keyed: Vec<(f64, Image)> = images
        .into_iter()
        .enumerate()
        .map(|(place, image)| (Random::new(seed, Stream::Probe, place as u64).uniform(0), image))
        .collect();
    keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
    keyed.into_iter().map(|(_, image)| image).collect()
}

/// Refuses images that a member was trained on, if its manifest tells which these were: on them the model is surer than
/// it will be on new images, so that nothing that is calibrated with them holds.
pub fn not_trained_on<'a>(
    role: &str,
    model: &Model,
    images: impl IntoIterator<Item = &'a Image>,
) -> Result<(), Refusal> {
    let Ok(trained_on) = model.can::<TrainedOn>() else {
        return Ok(());
    };
    let found = images
        .into_iter()
        .filter(|image| trained_on.contains(&hash(image)))
        .count();
    if found == 0 {
        return Ok(());
    }
    Err(Refusal::option(
        "data",
        format!(
            "{found} of the images are among those that {} ({role}) was trained on: calibrate with images that no \
             member has seen",
            model.name,
        ),
    ))
}

/// What has to be said if nobody can tell whether a model was trained on the images that calibrate: its manifest does
/// not say which it was trained on.
pub fn unknown_training(model: &Model) -> Option<String> {
    model.can::<TrainedOn>().is_err().then(|| {
        format!(
            "nothing says which images {} was trained on (its manifest has no provenance.trained_on), so that nobody \
             can tell whether some of these are among them: what is promised holds only if none is",
            model.name
        )
    })
}
