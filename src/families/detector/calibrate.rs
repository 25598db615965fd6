//! Calibrating a detector: inliers in, a new version of a detector out.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{new::NewDetector, version};
use crate::{
    detection::{
        calibrate::{self, By, Guarantee, Inliers, LEAST_CALIBRATION, Parts},
        learning::Learning,
        panel::{Members, Panel},
        rule::{Measured, Plan, Rule},
        statistics::Requirement,
        tiles::{self, Looking, TilePlan},
        trained_on::TrainedOn,
    },
    domain::{
        conformal::Calibration,
        image::{Image, ImageShape},
        mondrian::Mondrian,
    },
    families::manifest::members::Member,
    media::DecodeOptions,
    model::{Model, Refusal, work::Resources},
    runtime::{Placement, Threads},
};

/// Windows that fit, and that rank, at most.
const WINDOWS: usize = 8_000;

/// Images kept with the detector to check that a server judges as the calibration did. Every start judges them.
const GOLDEN: usize = 16;

/// The same where one judgement looks at an image many times.
const GOLDEN_STIRRED: usize = 4;

/// What a detector is to be made of.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Its name.
    pub name: String,
    /// One line.
    pub description: String,
    /// The models it asks, each with a role of its own.
    pub members: Vec<(Requirement, Arc<Model>)>,
    /// Whether it looks at flipped and turned images too.
    pub stir: bool,
    /// Whether it decodes posterior samples of its latent member too.
    pub samples: bool,
    /// What it goes by.
    pub by: By,
    /// Features that a bank of neighbours may keep.
    pub bank: usize,
    /// How larger images are cut into windows of what the members take, if they are.
    pub tiles: Option<Tiles>,
    /// Whether images are compared with those to which a member gives the same label, so that each label keeps the
    /// false-alarm rate.
    pub per_label: bool,
    /// Images of one size that are kept with the detector to check it, instead of some of those that calibrate.
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

/// How images are to be cut into windows. What is not said follows from the size of a window.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tiles {
    /// Rows and columns from one window to the next; by default half of a window's shorter side.
    pub stride: Option<usize>,
    /// Deviation in pixels of the Gaussian under which the map becomes numbers; by default a sixteenth of that side.
    pub smoothing: Option<f64>,
    /// The largest share of places, and of windows, whose mean is a number; by default one percent.
    pub share: Option<f64>,
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
    /// False-alarm rates and what can be promised of them, of each label if labels calibrate one by one.
    pub guarantees: Vec<Guarantee>,
    /// The fewest images that calibrate a label, if labels calibrate one by one.
    pub least_of_a_label: Option<usize>,
}

/// Makes a detector and writes it as the next version of its name into `repository`. `progress` is told how many images
/// have been measured.
pub async fn calibrate(
    resources: &Resources,
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
    let names = members.labels().to_vec();
    if recipe.per_label {
        can_go_by_label(recipe, &names)?;
    }
    let plan = match recipe.by {
        By::Everything => calibrate::plan(&members, recipe.stir, recipe.samples),
        By::Neighbours => calibrate::plan_by_neighbours(&members)
            .ok_or_else(|| wrong("neighbours are of places, and no member gives maps of features".to_owned()))?,
    };
    let fitting = Fitting {
        learning: Learning {
            resources,
            name: &recipe.name,
            members,
            statistics: plan.statistics.clone(),
            bank: recipe.bank,
            seed: recipe.seed,
        },
        parts: &parts,
    };
    let fitted = match recipe.tiles {
        None => fitting.whole(plan, progress).await?,
        Some(tiles) => fitting.tiled(plan, tiles, progress).await?,
    };
    let labels = if recipe.per_label { Some(fitted.labels()?) } else { None };
    let calibration = compared(&fitted.scores, labels.as_deref(), &names)?;
    let golden = golden(recipe, &parts.calibrate);
    let golden_scores = fitted.judge_here(&golden).map_err(Refusal::internal)?;
    let detector = NewDetector {
        golden,
        golden_scores,
        labels,
        seconds: started.elapsed().as_secs_f64(),
        ..fitted.detector(recipe, &parts)
    };
    let folder = version::write(repository, &detector)
        .map_err(|error| Refusal::option("repository", format!("{}: {error}", repository.display())))?;
    Ok(Made {
        folder,
        fit: parts.fit.len(),
        rank: parts.rank.len(),
        calibrate: parts.calibrate.len(),
        duplicates: parts.duplicates,
        guarantees: [0.001, 0.01, 0.05, 0.1]
            .map(|rate| calibrate::guarantee(calibration.least().1, rate))
            .to_vec(),
        least_of_a_label: recipe.per_label.then(|| calibration.least().1.size()),
    })
}

/// Whether images can be compared label by label.
fn can_go_by_label(recipe: &Recipe, labels: &[String]) -> Result<(), Refusal> {
    if labels.is_empty() {
        return Err(Refusal::option(
            "per_label",
            "no member gives labels: it takes a classifier, as the model itself or as a member",
        ));
    }
    if recipe.tiles.is_some() {
        return Err(Refusal::option(
            "per_label",
            "windows of one image may have several labels: leave it or tiles out",
        ));
    }
    Ok(())
}

/// What strangeness is compared with: that of all images, or of those with the same label. Every label must be able to
/// promise something.
fn compared(scores: &[f64], labels: Option<&[usize]>, names: &[String]) -> Result<Mondrian, Refusal> {
    let Some(labels) = labels else {
        let all = Calibration::new(scores.to_vec()).map_err(|error| Refusal::option("data", error))?;
        return Ok(all.into());
    };
    for (number, name) in names.iter().enumerate() {
        let images = labels.iter().filter(|&&label| label == number).count();
        if images < LEAST_CALIBRATION {
            return Err(Refusal::option(
                "per_label",
                format!(
                    "of the {} images that calibrate {images} are given the label {name:?}, and at least \
                     {LEAST_CALIBRATION} are needed of each",
                    labels.len()
                ),
            ));
        }
    }
    let scored: Vec<(f64, usize)> = scores.iter().copied().zip(labels.iter().copied()).collect();
    Mondrian::new(&scored, names.len()).map_err(|error| Refusal::option("data", error))
}

/// What a detector is fitted with.
struct Fitting<'a> {
    learning: Learning<'a>,
    parts: &'a Parts,
}

/// What was fitted, and how strange that finds the images that calibrate.
struct Fitted {
    panel: Arc<Panel>,
    rule: Rule,
    tiles: Option<(TilePlan, Rule)>,
    scores: Vec<f64>,
    /// The label that a member gives each image that calibrates, if one gives labels.
    labels: Vec<Option<usize>>,
}

impl Fitting<'_> {
    /// A rule for whole images.
    async fn whole(&self, plan: Plan, progress: impl Fn(usize)) -> Result<Fitted, Refusal> {
        let (panel, measurements) = self.learning.measure(self.parts, progress).await?;
        let calibrate = &measurements[measurements.len() - self.parts.calibrate.len()..];
        let labels = calibrate.iter().map(|own| own.label).collect();
        let measured: Vec<Measured> = measurements.into_iter().map(|own| own.values).collect();
        let (rule, scores) = self.rule(plan, &measured)?;
        Ok(Fitted {
            panel,
            rule,
            tiles: None,
            scores,
            labels,
        })
    }

    /// A rule for windows, fitted to some of each image, and one for the numbers that all windows of an image make.
    async fn tiled(&self, plan: Plan, tiles: Tiles, progress: impl Fn(usize)) -> Result<Fitted, Refusal> {
        let (parts, learning) = (self.parts, &self.learning);
        let wrong = |cause: String| Refusal::option("tiles", cause);
        let window = learning
            .members
            .shape()
            .ok_or_else(|| wrong("there is no member".to_owned()))?;
        let side = window.height().min(window.width());
        let map = tiles::map_of(&plan).ok_or_else(|| wrong("no statistic of these members can be shown".to_owned()))?;
        let tiles = TilePlan::new(
            window,
            map,
            tiles.stride.unwrap_or(side.div_ceil(2)),
            tiles.smoothing.unwrap_or(side as f64 / 16.0),
            tiles.share.unwrap_or(0.01),
        )
        .map_err(wrong)?;
        let windows = |images: &[Image]| tiles::some_windows(&tiles, window, images, WINDOWS);
        let of_windows = Parts {
            fit: windows(&parts.fit),
            rank: windows(&parts.rank),
            calibrate: Vec::new(),
            duplicates: 0,
        };
        let (panel, measurements) = learning.measure(&of_windows, |_| ()).await?;
        let measured: Vec<Measured> = measurements.into_iter().map(|own| own.values).collect();
        let (fit, rank) = measured.split_at(of_windows.fit.len());
        let fitted = Rule::fit(plan, fit, rank, learning.seed);
        let rule = fitted.map_err(|error| Refusal::option("data", error))?;
        let looking = Looking {
            window,
            plan: &tiles,
            rule: &rule,
        };
        let call = calibrate::call_without_deadline(learning.resources);
        let lane = panel.queue(
            learning.resources,
            (learning.name, "calibrate"),
            Duration::from_millis(5),
        );
        let mut values = Vec::new();
        for image in parts.all() {
            let permit = looking.admit(&lane, std::slice::from_ref(image), &call)?;
            values.push(looking.measure(&lane, image, &permit, &call).await?.values);
            progress(values.len());
        }
        let (images, scores) = self.rule(tiles::image_plan(), &values)?;
        Ok(Fitted {
            panel,
            rule,
            tiles: Some((tiles, images)),
            scores,
            labels: Vec::new(),
        })
    }

    /// Fits a rule to what was measured of all parts, and answers the strangeness of those that calibrate.
    fn rule(&self, plan: Plan, measured: &[Measured]) -> Result<(Rule, Vec<f64>), Refusal> {
        let (fit, rest) = measured.split_at(self.parts.fit.len());
        let (rank, calibration) = rest.split_at(self.parts.rank.len());
        let rule = Rule::fit(plan, fit, rank, self.learning.seed).map_err(|error| Refusal::option("data", error))?;
        let scores = calibration.iter().map(|m| rule.judge(m).strangeness).collect();
        Ok((rule, scores))
    }
}

impl Fitted {
    /// The detector of a recipe, without golden images and labels.
    fn detector(self, recipe: &Recipe, parts: &Parts) -> NewDetector {
        let members = recipe.members.iter();
        let main = recipe.members.first();
        NewDetector {
            name: recipe.name.clone(),
            description: recipe.description.clone(),
            preprocessing: main.map_or_else(DecodeOptions::default, |(_, main)| main.preprocessing),
            shape: self.panel.shape(),
            members: members.clone().map(|(role, model)| Member::new(*role, model)).collect(),
            learnt: self.panel.knowledge().tensors.clone(),
            rule: self.rule,
            tiles: self.tiles,
            scores: self.scores,
            labels: None,
            splits: parts.splits(recipe.seed),
            calibrated_on: TrainedOn::of(parts.calibrate.iter().map(calibrate::hash)),
            calibrated_at: Placement::of_all(members.map(|(_, model)| model.placement)),
            data: recipe.data.clone(),
            licence: recipe.licence.clone(),
            command: recipe.command.clone(),
            seconds: 0.0,
            golden: Vec::new(),
            golden_scores: Vec::new(),
        }
    }

    /// The label of every image that calibrates.
    fn labels(&self) -> Result<Vec<usize>, Refusal> {
        let labels: Option<Vec<usize>> = self.labels.iter().copied().collect();
        labels.ok_or_else(|| Refusal::internal("an image was given no label"))
    }

    /// The strangeness of images, on the calling thread.
    fn judge_here(&self, images: &[Image]) -> Result<Vec<f64>, String> {
        let panel = &self.panel;
        let Some((plan, rule)) = &self.tiles else {
            let levels = Image::levels_of(images);
            let measured = panel.measure(&levels, Threads::All)?.into_iter();
            return measured
                .map(|own| {
                    let own = own.map_err(|refusal| refusal.to_string())?;
                    Ok(self.rule.judge(&own.values).strangeness)
                })
                .collect();
        };
        let looking = Looking {
            window: panel.shape(),
            plan,
            rule: &self.rule,
        };
        let judge = |image| {
            let gathered = looking.measure_here(panel, image, Threads::All)?;
            Ok(rule.judge(&gathered.values).strangeness)
        };
        images.iter().map(judge).collect()
    }
}

/// The images that are kept: those of the recipe, or some that calibrate, cut to the size that all of them have.
fn golden(recipe: &Recipe, calibrate: &[Image]) -> Vec<Image> {
    if !recipe.golden.is_empty() {
        return recipe.golden.clone();
    }
    let most = if recipe.stir { GOLDEN_STIRRED } else { GOLDEN };
    let some = &calibrate[..calibrate.len().min(most)];
    let least = |side: fn(&ImageShape) -> usize| some.iter().map(|image| side(&image.shape())).min();
    let (Some(height), Some(width), Some(first)) = (least(ImageShape::height), least(ImageShape::width), some.first())
    else {
        return Vec::new();
    };
    let shape = first.shape();
    ImageShape::new(shape.channels(), height, width, shape.levels()).map_or_else(
        |_| Vec::new(),
        |common| some.iter().map(|image| tiles::cut(image, (0, 0), common)).collect(),
    )
}
