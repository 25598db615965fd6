//! What is asked of a model about the images and about every set of outliers.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    Request,
    page::{self, Shown},
};
use crate::{
    cli::{
        CliError,
        image_set::{self, ImageSet},
        inputs,
        model::Loaded,
        name::shown,
        pipeline::{self, Images},
        resume::Done,
    },
    detection::{
        detector::is_detector,
        evaluation::{
            DetectionReport, Failure, Measured, Plan, Questions, RejectionReport, Report,
            detection::{self, Judged},
            maps,
            pixels::{PixelReport, Pixels},
            rejection::{self, Doubted},
        },
    },
    domain::image::Image,
    media,
    model::{Call, Refusal, classify::Classifies, detect::Judges, score::BoundChoice},
};

/// A command that is under way.
pub(super) struct Evaluation<'a> {
    pub(super) loaded: &'a Loaded,
    pub(super) request: &'a Request,
    /// Sets by name.
    pub(super) outliers: Vec<(String, PathBuf)>,
    pub(super) call: Call,
}

impl Evaluation<'_> {
    pub(super) fn carry_out(&self) -> Result<(Report, Shown), CliError> {
        let model = &self.loaded.model;
        let doubting = model.can::<dyn Classifies>();
        let doubting = doubting.ok().filter(|classifies| classifies.has_doubts());
        let detects = doubting.is_none() && !self.outliers.is_empty() || is_detector(model);
        let judges = if detects {
            let judges = model.can::<dyn Judges>();
            Some(judges.map_err(|reason| Refusal::unsupported(&model.name, "detect", &reason))?)
        } else {
            None
        };
        let (measured, mut failures) = self.measure(detects)?;
        let (detection, judged) = match &judges {
            Some(judges) => {
                let (mut report, judged) = self.judge(&**judges, &mut failures)?;
                if let Some(masks) = &self.request.masks {
                    report.pixels = self.locate(&**judges, masks)?;
                }
                (Some(report), judged)
            }
            None => (None, Vec::new()),
        };
        let rejection = match (&measured, &doubting) {
            (Some(measured), Some(classifies)) => {
                let doubted = self.doubt(&**classifies, &mut failures)?;
                RejectionReport::of(measured, doubted)
            }
            _ => None,
        };
        let data = self.request.data.iter().map(shown);
        let mut report = Report::new(model, data.collect(), measured.as_ref());
        report.rejection = rejection;
        if let Some(detection) = detection {
            report = report.with_detection(detection);
        }
        report.fail(failures);
        let shown = match self.request.output {
            Some(_) => self.look(measured, judged)?,
            None => Shown::default(),
        };
        Ok((report, shown))
    }

    /// One pass over the images, if there is anything to ask about each alone.
    fn measure(&self, judged: bool) -> Result<(Option<Measured>, Vec<Failure>), CliError> {
        let (request, model) = (self.request, &self.loaded.model);
        let handling = request.handling;
        let files = inputs::files(&request.data)?;
        let labels = request.labels.read(&files, model.shape)?;
        let plan = Plan::new(
            model,
            &Questions {
                bound: request.bound.map(BoundChoice::from),
                k: request.k,
                seed: request.seed,
                labelled: labels.are_given(),
                labels: labels.distinct(&files),
                judged,
            },
        )?;
        let mut failures = Vec::new();
        if plan.is_empty() {
            return Ok((None, failures));
        }
        let mut measured = Measured::new(plan.label_names.clone(), labels.are_given());
        let images = Images {
            files,
            roots: request.data.clone(),
            options: model.preprocessing.or(handling.decoding.options()),
            limits: handling.decoding.limits(),
            labels,
            done: Done::default(),
        };
        let ask = |images| plan.ask(images, &self.call);
        pipeline::each(self.loaded, images, false, ask, |name, found| {
            match found {
                Ok(found) => {
                    let label = name.label.as_ref().map(|label| plan.number(label));
                    measured.add(model, &name.input, label.transpose()?, &found);
                }
                Err(error) => {
                    let place = (name.input.clone(), name.index);
                    failures.push(handling.failure(place, error.to_string())?);
                }
            }
            Ok(true)
        })?;
        if measured.is_empty() {
            return Err(nothing("--data", &failures));
        }
        Ok((Some(measured), failures))
    }

    /// Judges the images as inliers, and every set of outliers.
    fn judge(
        &self,
        judges: &dyn Judges,
        failures: &mut Vec<Failure>,
    ) -> Result<(DetectionReport, Vec<Judged>), CliError> {
        let handling = self.request.handling;
        let model = &self.loaded.model;
        let mut sets = vec![(
            "inliers".to_owned(),
            ImageSet::read(&self.request.data, model, handling)?,
        )];
        for (name, path) in &self.outliers {
            let images = ImageSet::read(std::slice::from_ref(path), model, handling)?;
            sets.push((name.clone(), images));
        }
        let bar = image_set::progress(sets.iter().map(|(_, set)| set.images.len()).sum());
        let runtime = pipeline::runtime()?;
        let mut all = Vec::new();
        let mut done = 0;
        for (name, set) in sets {
            let progress = |count: usize| bar.set_position((done + count) as u64);
            let judging = detection::judge(judges, &set.images, &self.call, progress);
            let verdicts = runtime.block_on(judging)?;
            done += set.images.len();
            let (images, verdicts, failed) = set.answered(verdicts, handling)?;
            if images.len() < 2 {
                let first = failed.first().map_or(String::new(), |first| format!(" ({first})"));
                return Err(CliError::Usage(format!(
                    "{name}: at least two images are needed, and {} can be used{first}",
                    images.len()
                )));
            }
            failures.extend(failed);
            all.push(Judged { name, images, verdicts });
        }
        bar.finish_and_clear();
        let Some((inliers, outliers)) = all.split_first() else {
            return Err(nothing("--data", failures));
        };
        let report = DetectionReport::of(&self.loaded.model, &judges.calibration(), inliers, outliers);
        Ok((report, all))
    }

    /// How well maps tell the pixels of masks from all others.
    fn locate(&self, judges: &dyn Judges, masks: &Path) -> Result<Option<PixelReport>, CliError> {
        if !judges.has_maps() {
            return Err(CliError::Usage(
                "--masks: this model does not say where in an image it is strange".to_owned(),
            ));
        }
        let (model, handling) = (&self.loaded.model, self.request.handling);
        let runtime = pipeline::runtime()?;
        let mut pixels = Pixels::default();
        let resize = model.preprocessing.or(handling.decoding.options()).resize;
        let inliers = (None, self.request.data.as_slice());
        let outliers = self.outliers.iter();
        let outliers = outliers.map(|(name, path)| (Some(name), std::slice::from_ref(path)));
        for (name, inputs) in std::iter::once(inliers).chain(outliers) {
            let set = ImageSet::read(inputs, model, handling)?;
            let files: Vec<Option<PathBuf>> = match name {
                None => vec![None; set.images.len()],
                Some(name) => set.files().map(|file| Some(mask_of(masks, name, file))).collect(),
            };
            let mask = |place: usize| {
                let Some(file) = &files[place] else {
                    return Ok(None);
                };
                let wrong = |cause: String| Refusal::option("masks", format!("{}: {cause}", file.display()));
                let bytes = fs::read(file).map_err(|error| wrong(error.to_string()))?;
                media::decode_mask(&bytes, set.images[place].shape(), resize, handling.decoding.limits())
                    .map(Some)
                    .map_err(|error| wrong(error.to_string()))
            };
            let bar = image_set::progress(set.images.len());
            let progress = |count: usize| bar.set_position(count as u64);
            let counting = maps::count_pixels(judges, &set.images, &self.call, &mut pixels, mask, progress);
            runtime.block_on(counting)?;
            bar.finish_and_clear();
        }
        Ok(pixels.report())
    }

    /// What a model that can give no label says of every set of outliers.
    fn doubt(&self, classifies: &dyn Classifies, failures: &mut Vec<Failure>) -> Result<Vec<Doubted>, CliError> {
        let (model, handling) = (&self.loaded.model, self.request.handling);
        let runtime = pipeline::runtime()?;
        let mut all = Vec::new();
        for (name, path) in &self.outliers {
            let set = ImageSet::read(std::slice::from_ref(path), model, handling)?;
            let bar = image_set::progress(set.images.len());
            let progress = |count: usize| bar.set_position(count as u64);
            let asking = rejection::ask(classifies, &set.images, &self.call, progress);
            let answers = runtime.block_on(asking)?;
            bar.finish_and_clear();
            let (images, doubts, failed) = set.answered(answers, handling)?;
            if images.is_empty() {
                return Err(nothing(name, &failed));
            }
            failures.extend(failed);
            all.push(Doubted {
                name: name.clone(),
                doubts: doubts.into_iter().flatten().collect(),
            });
        }
        Ok(all)
    }

    /// Where in the images at the ends the surprise lies.
    fn look(&self, measured: Option<Measured>, judged: Vec<Judged>) -> Result<Shown, CliError> {
        let (model, call) = (&self.loaded.model, &self.call);
        let runtime = pipeline::runtime()?;
        let maps = match &measured {
            Some(measured) => [&measured.most_likely, &measured.least_likely]
                .map(|end| runtime.block_on(maps::log_probabilities(model, &end.images(), call))),
            None => [None, None],
        };
        let strangest = judged
            .iter()
            .map(|set| {
                let images: Vec<Image> = set.images_in_order().rev().take(page::SHOWN).cloned().collect();
                let maps = runtime.block_on(maps::evidence(model, &images, call));
                (images, maps)
            })
            .collect();
        Ok(Shown {
            measured,
            judged,
            maps,
            strangest,
        })
    }
}

/// The mask of a file of a set.
fn mask_of(masks: &Path, set: &str, file: &Path) -> PathBuf {
    let own = masks.join(set);
    let folder = if own.is_dir() { own } else { masks.to_owned() };
    let mut name = file.file_stem().unwrap_or_default().to_owned();
    name.push(".png");
    folder.join(name)
}

/// What is said if nothing of a set could be measured.
fn nothing(set: &str, failures: &[Failure]) -> CliError {
    CliError::Usage(match failures.first() {
        None => format!("{set} holds no images: its arrays are empty"),
        Some(first) => format!(
            "nothing of {set} could be measured: {} images failed, the first of them {first}",
            failures.len()
        ),
    })
}
