//! Making a detector: inliers in, a new version of a detector out.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};

use super::{ServedModel, Service, detect, error::ServiceError, measure::Measuring};
use crate::{
    domain::{
        conformal::{Calibration, certified_rank},
        detection::{DensityPlan, LEAST_IMAGES, Measured, Plan, Rule},
        image::Image,
        random::{Random, Stream},
        statistics::{Need, Statistic},
    },
    metrics::OperationMetrics,
    network::panel::{Members, Panel},
    repository::detector::{self, NewDetector, Split, Splits},
    scheduling::{Class, Lane},
};

/// Images measured in one piece of work.
const CHUNK: usize = 64;

/// The fewest images that may calibrate: fewer could not support a false-alarm rate of 1 %.
pub(super) const LEAST_CALIBRATION: usize = 100;

/// Images kept with the detector to check that a server judges as the calibration did.
const GOLDEN: usize = 16;

/// What a detector is to be made of.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Its name.
    pub name: String,
    /// One line.
    pub description: String,
    /// The models it asks, each with a role of its own.
    pub members: Vec<(Need, Arc<ServedModel>)>,
    /// Whether it looks at flipped and turned images too.
    pub stir: bool,
    /// Whether it decodes posterior samples of its latent member too.
    pub samples: bool,
    /// Seed of the permutation that parts the images, and of the densities' starts.
    pub seed: u64,
    /// Where the images come from.
    pub data: String,
    /// Their licence.
    pub licence: String,
    /// The command that made it.
    pub command: String,
}

/// The images that a detector is made from.
#[derive(Debug, Clone, Default)]
pub struct Inliers {
    /// Images that calibrate, and where there are no others also those that fit and rank.
    pub data: Vec<Image>,
    /// Images that fit and rank.
    pub fit: Vec<Image>,
}

/// A detector that was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// The folder of its version.
    pub folder: PathBuf,
    /// Images that fitted the densities.
    pub fit: usize,
    /// Images among which surprises are ranked.
    pub rank: usize,
    /// Images that calibrate.
    pub calibrate: usize,
    /// Images that came more than once and were counted once.
    pub duplicates: usize,
    /// False-alarm rates and what can be promised of them.
    pub guarantees: Vec<Guarantee>,
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

impl Service {
    /// Makes a detector and writes it as the next version of its name into `repository`. `progress` is told how many images have been
    /// measured.
    pub async fn calibrate(
        &self,
        recipe: &Recipe,
        inliers: Inliers,
        repository: &Path,
        progress: impl Fn(usize),
    ) -> Result<Made, ServiceError> {
        let started = Instant::now();
        let parts = part(inliers, recipe.seed)?;
        for (role, member) in &recipe.members {
            not_trained_on(role.name(), member, parts.all())?;
        }
        let plan = plan(&recipe.members, recipe.stir, recipe.samples);
        let panel = panel(&recipe.members, &plan)?;
        let lane = self.scheduler.lane(
            Class::Interactive,
            Measuring(Arc::new(panel)),
            std::time::Duration::from_millis(5),
            OperationMetrics::new(&self.metrics, &recipe.name, "calibrate"),
        );
        let all: Vec<Image> = parts.all().cloned().collect();
        let measured = self.measure_all(&lane, &all, progress).await?;
        let (fit, rest) = measured.split_at(parts.fit.len());
        let (rank, calibrate) = rest.split_at(parts.rank.len());
        let rule = Rule::fit(plan, fit, rank, recipe.seed)
            .map_err(|error| invalid("data", error.to_string()))?;
        let scores: Vec<f64> = calibrate
            .iter()
            .map(|m| rule.judge(m).strangeness)
            .collect();
        let calibration =
            Calibration::new(scores.clone()).map_err(|e| invalid("data", e.to_string()))?;
        let golden = parts.calibrate.len().min(GOLDEN);
        let detector = NewDetector {
            name: recipe.name.clone(),
            description: recipe.description.clone(),
            members: recipe
                .members
                .iter()
                .map(|(role, model)| model.version.as_member(*role))
                .collect(),
            golden: parts.calibrate[..golden].to_vec(),
            golden_scores: scores[..golden].to_vec(),
            rule,
            scores,
            splits: Splits {
                seed: recipe.seed,
                fit: split(&parts.fit),
                rank: split(&parts.rank),
                calibrate: split(&parts.calibrate),
            },
            data: recipe.data.clone(),
            licence: recipe.licence.clone(),
            command: recipe.command.clone(),
            seconds: started.elapsed().as_secs_f64(),
        };
        let folder = detector::write(repository, &detector)
            .map_err(|error| invalid("output", format!("{}: {error}", repository.display())))?;
        Ok(Made {
            folder,
            fit: parts.fit.len(),
            rank: parts.rank.len(),
            calibrate: parts.calibrate.len(),
            duplicates: parts.duplicates,
            guarantees: [0.001, 0.01, 0.05, 0.1]
                .map(|rate| guarantee(&calibration, rate))
                .to_vec(),
        })
    }

    /// Statistics of many images, some chunks at a time.
    async fn measure_all(
        &self,
        lane: &Lane<Measuring>,
        images: &[Image],
        progress: impl Fn(usize),
    ) -> Result<Vec<Measured>, ServiceError> {
        let deadline = Instant::now() + std::time::Duration::from_secs(365 * 24 * 3600);
        let chunks = images
            .chunks(CHUNK)
            .map(|chunk| detect::measure(self, lane, chunk.to_vec(), deadline));
        let mut chunks = stream::iter(chunks).buffered(4);
        let mut all = Vec::with_capacity(images.len());
        while let Some(chunk) = chunks.next().await {
            for measurement in chunk? {
                all.push(measurement?.values);
            }
            progress(all.len());
        }
        Ok(all)
    }
}

pub(super) fn invalid(option: &'static str, reason: String) -> ServiceError {
    ServiceError::InvalidOption { option, reason }
}

/// The rule that is fitted: every number that the members give in one joint density, and one density more for each map of where in
/// the image they are surprised or fail. A code alone is no map, but without a map it tells most of where things are.
pub fn plan(members: &[(Need, Arc<ServedModel>)], stir: bool, samples: bool) -> Plan {
    use Statistic::*;
    let has = |need: Need| match need {
        Need::Stirring => stir,
        Need::Samples => samples,
        _ => members.iter().any(|(role, _)| *role == need),
    };
    let possible = |statistic: &Statistic| statistic.needs().iter().all(|&need| has(need));
    let mut numbers = vec![
        NegativeLogLikelihood,
        Entropy,
        Typicality,
        Improbable3,
        Improbable6,
        Improbable9,
        SurpriseSpread,
        LocalRatio,
        BackgroundRatio,
        Reconstruction,
        Kl,
        LatentNorm,
        LatentLogVariance,
        IwaeGap,
        AutoencoderError,
        ClassifierEnergy,
        ClassifierAmbiguity,
        CodeLength,
        DarkShare,
        Brightness,
        Contrast,
        TotalVariation,
    ];
    numbers.retain(possible);
    let mut vectors = vec![
        SurpriseMap,
        LocalRatioMap,
        AutoencoderErrorMap,
        StirringVector,
    ];
    vectors.retain(possible);
    if !has(Need::Density) && has(Need::Latent) {
        vectors.push(LatentMean);
    }
    let density = |name: &str, statistics: Vec<Statistic>, axes| DensityPlan {
        name: name.to_owned(),
        statistics,
        axes,
        components: 8,
    };
    let mut densities = vec![density("numbers", numbers.clone(), 64)];
    densities.extend(
        vectors
            .iter()
            .map(|&vector| density(vector.name(), vec![vector], 30)),
    );
    let mut reported = vec![InputComplexity, AttainableGap, Stirring];
    reported.retain(possible);
    Plan {
        statistics: numbers.into_iter().chain(reported).chain(vectors).collect(),
        densities,
    }
}

fn panel(members: &[(Need, Arc<ServedModel>)], plan: &Plan) -> Result<Panel, ServiceError> {
    let mut networks = Members::default();
    for (role, model) in members {
        detector::add(&mut networks, *role, &model.version)
            .map_err(|cause| invalid("member", cause))?;
    }
    Panel::new(networks, plan.statistics.clone()).map_err(|cause| invalid("member", cause))
}

fn guarantee(calibration: &Calibration, rate: f64) -> Guarantee {
    let k = certified_rank(calibration.size(), rate, 0.95);
    Guarantee {
        rate,
        on_average: calibration.threshold(rate, None).is_ok(),
        certified_threshold: (k > 0).then(|| k as f64 / (calibration.size() + 1) as f64),
    }
}

/// Images for each purpose; none is in two.
struct Parts {
    fit: Vec<Image>,
    rank: Vec<Image>,
    calibrate: Vec<Image>,
    duplicates: usize,
}

impl Parts {
    fn all(&self) -> impl Iterator<Item = &Image> {
        self.fit.iter().chain(&self.rank).chain(&self.calibrate)
    }
}

/// Parts the images by a random permutation: without images to fit half of them fit, 15 % rank and the rest calibrate; with them three
/// quarters of these fit and the rest rank. An image that comes more than once is taken once, where it comes first.
fn part(inliers: Inliers, seed: u64) -> Result<Parts, ServiceError> {
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
        let rank = fit.split_off(fit.len() * 3 / 4);
        (fit, rank, shuffled(data, seed))
    };
    let parts = Parts {
        fit,
        rank,
        calibrate,
        duplicates,
    };
    let least = [
        ("fit the densities", parts.fit.len(), LEAST_IMAGES),
        ("rank among", parts.rank.len(), LEAST_IMAGES),
        ("calibrate with", parts.calibrate.len(), LEAST_CALIBRATION),
    ];
    for (purpose, images, needed) in least {
        if images < needed {
            return Err(invalid(
                "data",
                format!(
                    "{before} images, of which {duplicates} came twice, are too few: {images} are left to {purpose}, and at least \
                     {needed} are needed. 1,000 images in all give rates from 1 % on average, 5,000 give 1 % with confidence."
                ),
            ));
        }
    }
    Ok(parts)
}

/// Images, each taken once, where it comes first.
pub(super) fn unique(images: Vec<Image>) -> Vec<Image> {
    not_seen(images, &mut HashSet::new())
}

/// Images that are not among those seen, which they join.
fn not_seen(images: Vec<Image>, seen: &mut HashSet<[u8; 32]>) -> Vec<Image> {
    let is_new = |image: &Image| seen.insert(hash(image));
    images.into_iter().filter(is_new).collect()
}

/// sha256 of the levels of an image.
fn hash(image: &Image) -> [u8; 32] {
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
        .map(|(place, image)| {
            (
                Random::new(seed, Stream::Probe, place as u64).uniform(0),
                image,
            )
        })
        .collect();
    keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
    keyed.into_iter().map(|(_, image)| image).collect()
}

/// Refuses images that a member was trained on, if its manifest tells which these were: on them the model is surer than it will be on
/// new images, so that nothing that is calibrated with them holds.
pub(super) fn not_trained_on<'a>(
    role: &str,
    model: &ServedModel,
    images: impl IntoIterator<Item = &'a Image>,
) -> Result<(), ServiceError> {
    let Some(trained_on) = &model.version.trained_on else {
        return Ok(());
    };
    let found = images
        .into_iter()
        .filter(|image| trained_on.contains(&hash(image)))
        .count();
    if found == 0 {
        return Ok(());
    }
    Err(invalid(
        "data",
        format!(
            "{found} of the images are among those that {} ({role}) was trained on: calibrate with images that no member has seen",
            model.name(),
        ),
    ))
}
