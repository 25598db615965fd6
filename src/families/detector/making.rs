//! Making a detector: inliers in, a new version of a detector out.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    CALIBRATION, GOLDEN_IMAGES, GOLDEN_SCORES, LEARNT,
    file::{self, CalibrationText},
    learnt,
};
use crate::{
    detection::{
        calibrate::{self, Guarantee, Inliers, Splits},
        learners::Tensors,
        learning::Learning,
        panel::Members,
        rule::Rule,
        statistics::Need,
        trained_on::TrainedOn,
    },
    domain::{conformal::Calibration, image::Image},
    families::manifest::{members::Member, write},
    media::{self, DecodeOptions},
    model::{Model, Refusal, work::Workshop},
};

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
    pub members: Vec<(Need, Arc<Model>)>,
    /// Whether it looks at flipped and turned images too.
    pub stir: bool,
    /// Whether it decodes posterior samples of its latent member too.
    pub samples: bool,
    /// Features that a bank of neighbours may keep.
    pub bank: usize,
    /// Images by which a server checks that it judges as the calibration did; without any some of those that calibrate.
    pub golden: Vec<Image>,
    /// Seed of the permutation that parts the images, and of the densities' starts.
    pub seed: u64,
    /// Where the images come from.
    pub data: String,
    /// Their licence.
    pub licence: String,
    /// The command that made it.
    pub command: String,
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

/// Makes a detector and writes it as the next version of its name into `repository`. `progress` is told how many images
/// have been measured.
pub async fn calibrate(
    workshop: &Workshop,
    recipe: &Recipe,
    inliers: Inliers,
    repository: &Path,
    progress: impl Fn(usize),
) -> Result<Made, Refusal> {
    let started = Instant::now();
    let parts = calibrate::part(inliers, recipe.seed)?;
    for (role, member) in &recipe.members {
        calibrate::not_trained_on(role.name(), member, parts.all())?;
    }
    let wrong = |cause: String| Refusal::option("member", cause);
    let mut members = Members::default();
    for (role, model) in &recipe.members {
        members.add(*role, model).map_err(wrong)?;
    }
    let plan = calibrate::plan(&members, recipe.stir, recipe.samples);
    let learning = Learning {
        workshop,
        name: &recipe.name,
        members,
        statistics: plan.statistics.clone(),
        bank: recipe.bank,
        seed: recipe.seed,
    };
    let (panel, measured) = learning.measure(&parts, progress).await?;
    let (fit, rest) = measured.split_at(parts.fit.len());
    let (rank, calibration) = rest.split_at(parts.rank.len());
    let rule = Rule::fit(plan, fit, rank, recipe.seed).map_err(|error| Refusal::option("data", error))?;
    let scores: Vec<f64> = calibration.iter().map(|m| rule.judge(m).strangeness).collect();
    let calibration = Calibration::new(scores.clone()).map_err(|e| Refusal::option("data", e))?;
    let (golden, golden_scores) = if recipe.golden.is_empty() {
        let golden = parts.calibrate.len().min(GOLDEN);
        (parts.calibrate[..golden].to_vec(), scores[..golden].to_vec())
    } else {
        let call = calibrate::patience(workshop);
        let lane = panel.queue(workshop, (&recipe.name, "calibrate"), Duration::from_millis(5));
        let measured = calibrate::measure_all(&lane, &recipe.golden, &call, |_| ()).await?;
        let scores = measured.iter().map(|own| rule.judge(&own.values).strangeness);
        (recipe.golden.clone(), scores.collect())
    };
    let detector = NewDetector {
        name: recipe.name.clone(),
        description: recipe.description.clone(),
        preprocessing: recipe
            .members
            .first()
            .map_or_else(DecodeOptions::default, |(_, main)| main.preprocessing),
        members: recipe
            .members
            .iter()
            .map(|(role, model)| Member::new(*role, model))
            .collect(),
        golden,
        golden_scores,
        learnt: panel.knowledge().tensors.clone(),
        rule,
        scores,
        splits: parts.splits(recipe.seed),
        calibrated_on: TrainedOn::of(parts.calibrate.iter().map(calibrate::hash)),
        data: recipe.data.clone(),
        licence: recipe.licence.clone(),
        command: recipe.command.clone(),
        seconds: started.elapsed().as_secs_f64(),
    };
    let folder = write(repository, &detector)
        .map_err(|error| Refusal::option("output", format!("{}: {error}", repository.display())))?;
    Ok(Made {
        folder,
        fit: parts.fit.len(),
        rank: parts.rank.len(),
        calibrate: parts.calibrate.len(),
        duplicates: parts.duplicates,
        guarantees: [0.001, 0.01, 0.05, 0.1]
            .map(|rate| calibrate::guarantee(&calibration, rate))
            .to_vec(),
    })
}

/// Everything that a new detector is made of.
#[derive(Debug)]
pub(super) struct NewDetector {
    /// Its name.
    pub(super) name: String,
    /// One line.
    pub(super) description: String,
    /// What is done to image files so that they fit: what its main member declares.
    pub(super) preprocessing: DecodeOptions,
    /// Its members.
    pub(super) members: Vec<Member<Need>>,
    /// What was learnt of features of inliers.
    pub(super) learnt: Tensors,
    /// Its fitted rule.
    pub(super) rule: Rule,
    /// Strangeness of the calibration images.
    pub(super) scores: Vec<f64>,
    /// Which images were used for what.
    pub(super) splits: Splits,
    /// The images that calibrate.
    pub(super) calibrated_on: TrainedOn,
    /// Where the images came from.
    pub(super) data: String,
    /// Their licence.
    pub(super) licence: String,
    /// The command that made the detector.
    pub(super) command: String,
    /// How long that took.
    pub(super) seconds: f64,
    /// Some inliers, on which a server checks that it judges as the calibration did.
    pub(super) golden: Vec<Image>,
    /// What the rule says of them.
    pub(super) golden_scores: Vec<f64>,
}

/// Writes a detector as the next version of its name in `repository`, in one step, and answers its folder.
fn write(repository: &Path, detector: &NewDetector) -> io::Result<PathBuf> {
    let shape = detector
        .golden
        .first()
        .ok_or_else(|| io::Error::other("a detector needs golden images"))?
        .shape();
    let scores = detector.golden_scores.iter().copied();
    let mut files = vec![
        (CALIBRATION, CalibrationText::of(detector).write()?),
        (GOLDEN_IMAGES, media::write_images(&detector.golden, shape)),
        (GOLDEN_SCORES, media::write_f64(&[detector.golden.len()], scores)),
    ];
    if !detector.learnt.is_empty() {
        files.push((LEARNT, learnt::write(&detector.learnt)?));
    }
    write::version(repository, &detector.name, files, |hashes| {
        file::manifest(detector, shape, hashes)
    })
}
