//! The files of a version that is being made: what becomes of them is decided by the load gate.

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use super::{Golden, Host, ImportError, Numbers, Plan, Proved, Request, Tools, batch, own_tolerance};
use crate::{
    detection::{calibrate, trained_on::TrainedOn},
    domain::{
        image::{Image, ImageShape},
        likelihood,
    },
    families::{
        Declared, Findings, GateError, Registry,
        manifest::{
            Tolerance, preprocessing,
            text::{head, quoted},
            write,
        },
    },
    graph::{self, weights},
    import::{
        Problem,
        interview::{Interview, Question},
        reading::Reading,
        trial_images,
    },
    media,
};

const GOLDEN_IMAGES: &str = "golden_images.npy";
const GOLDEN_SCORES: &str = "golden_scores.npy";
const CALIBRATION: &str = "calibration_scores.npy";
const TRAINED_ON: &str = "trained_on.bin";

/// Numbers of the training framework.
#[derive(Debug, Clone)]
pub struct GoldenFiles {
    /// npy file of levels, uint8 [G, H, W] or [G, H, W, C].
    pub images: PathBuf,
    /// npy file of numbers.
    pub scores: PathBuf,
}

/// Where a model came from, as far as somebody says.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// One line about the model.
    pub description: Option<String>,
    /// Training data.
    pub data: Option<String>,
    /// Licence.
    pub licence: Option<String>,
    /// How it was trained.
    pub trained_with: Option<String>,
}

/// What came of an import.
#[derive(Debug)]
pub struct Imported {
    /// The folder of the version.
    pub folder: PathBuf,
    /// The model, as the gate proved it.
    pub model: Proved,
    /// What was recognised and rewritten.
    pub notes: Vec<String>,
    /// What was taken for granted.
    pub assumed: Vec<String>,
    /// Whether golden numbers are those of the training framework.
    pub is_checked: bool,
}

/// A version in memory.
pub(super) struct Draft {
    name: String,
    files: Vec<(&'static str, Vec<u8>)>,
    manifest: String,
    notes: Vec<String>,
    is_checked: bool,
}

impl Draft {
    pub(super) fn new(
        (family, plan): (&'static str, Plan<'_>),
        brought: &[Reading],
        request: &Request,
        interview: &Interview,
        host: &mut dyn Host,
    ) -> Result<Self, Problem> {
        let mut notes: Vec<String> = brought.iter().flat_map(|reading| reading.notes.clone()).collect();
        notes.extend(plan.notes);
        let parameters: u64 = plan.graphs.iter().map(|(_, model)| weights::count(model)).sum();
        let graphs = plan.graphs.iter().map(|(name, model)| (*name, graph::serialize(model)));
        let mut draft = Self {
            name: request.name.clone(),
            files: graphs.collect(),
            manifest: String::new(),
            notes,
            is_checked: false,
        };
        let mut tables = plan.tables;
        match plan.golden {
            Golden::OfCodes { files, lines } => {
                draft.files.extend(files);
                tables += &format!("\n[golden]\n{lines}{}", tolerances(own_tolerance(brought)));
            }
            Golden::OfImages {
                labels,
                numbers,
                log_prior,
            } => {
                tables += &draft.golden(request, brought, (plan.shape, labels), &numbers)?;
                if let Some(path) = &request.calibrate {
                    let statistic = plan.statistic.ok_or_else(|| {
                        let what = format!("a {family} has no statistic to calibrate");
                        Problem::new("--calibrate", what, "leave it out")
                    })?;
                    let images = images_of(host, "--calibrate", path, plan.shape)?;
                    host.begin(&format!("scoring {} images to calibrate with", images.len()));
                    let scores = over_labels(&numbers(&images)?, &log_prior);
                    draft
                        .files
                        .push((CALIBRATION, media::write_f64(&[scores.len()], scores.iter().copied())));
                    let description = format!("{} images of {}", images.len(), name_of(path));
                    tables += &format!(
                        "\n[calibration]\nscores = {CALIBRATION:?}\nstatistic = {statistic:?}\ndescription = {}\n",
                        quoted(&description)
                    );
                }
            }
        }
        tables += &preprocessing::text(request.preprocessing);
        if !plan.declared.is_empty() {
            tables += &format!("\n[declared]\n{}\n", plan.declared.join("\n"));
        }
        if batch::is_one(brought, interview) {
            tables += "\n[serving]\nbatch = 1\n";
        }
        if batch::is_said(interview) {
            let said = "images are run one at a time, as was said: each has the numbers that it gets alone";
            draft.notes.push(said.to_owned());
        }
        let mut trained_on = "";
        if let Some(path) = &request.trained_on {
            let images = images_of(host, "--trained-on", path, plan.shape)?;
            let hashes = TrainedOn::of(images.iter().map(calibrate::hash));
            draft.files.push((TRAINED_ON, hashes.bytes()));
            trained_on = "trained_on = \"trained_on.bin\"\n";
        }
        if !draft.is_checked {
            draft.notes.push(
                "golden numbers are those of the export before it was rewritten, and not checked by the training \
                 framework: --golden IMAGES SCORES gives its own"
                    .to_owned(),
            );
        }
        let origin = &request.origin;
        let described = format!("{family} of {}, imported from {}", plan.shape, super::files(brought));
        let said = |text: &Option<String>| quoted(text.as_deref().unwrap_or("not stated"));
        let all: Vec<&str> = draft
            .notes
            .iter()
            .chain(interview.assumed())
            .map(String::as_str)
            .collect();
        draft.manifest = format!(
            "{}{tables}\n[provenance]\ndata = {}\nlicence = {}\ncommand = {}\nparameters = \
             {parameters}\ntraining_seconds = 0\n{trained_on}notes = {}\n",
            head(
                &request.name,
                family,
                origin.description.as_deref().unwrap_or(&described),
                plan.shape
            ),
            said(&origin.data),
            said(&origin.licence),
            said(&origin.trained_with),
            quoted(&all.join(". "))
        );
        Ok(draft)
    }

    /// Adds golden images and their numbers, and answers `[golden]`.
    fn golden(
        &mut self,
        request: &Request,
        brought: &[Reading],
        (shape, labels): (ImageShape, Option<usize>),
        numbers: &Numbers<'_>,
    ) -> Result<String, Problem> {
        let own = own_tolerance(brought);
        let (images, scores, tolerance) = match &request.golden {
            Some(golden) => {
                self.is_checked = true;
                let (images, scores) = given(golden, shape, labels)?;
                // Another framework sums in another order.
                let tolerance = Tolerance {
                    absolute: own.absolute.max(1e-2),
                    ..own
                };
                (images, scores, tolerance)
            }
            None => {
                let images = trial_images::made_up(shape);
                let scores = numbers(&images)?;
                (images, scores, own)
            }
        };
        let sizes: Vec<usize> = std::iter::once(images.len()).chain(labels).collect();
        self.files.push((GOLDEN_IMAGES, media::write_images(&images, shape)));
        self.files
            .push((GOLDEN_SCORES, media::write_f64(&sizes, scores.into_iter())));
        Ok(format!(
            "\n[golden]\nimages = {GOLDEN_IMAGES:?}\nscores = {GOLDEN_SCORES:?}\n{}",
            tolerances(tolerance)
        ))
    }

    fn text(&self, hashes: &[(&str, String)]) -> String {
        let mut text = format!("{}\n[sha256]\n", self.manifest);
        for (name, hash) in hashes {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:?} = {hash:?}");
        }
        text
    }

    /// Has the version prove itself in a folder of its own.
    pub(super) fn prove(&self, tools: &Tools<'_>) -> Result<Proved, GateError> {
        let system = |error: std::io::Error| GateError::file("the draft of the version", error);
        let scratch = Scratch::new().map_err(system)?;
        let folder = self.write_into(&scratch.0).map_err(system)?;
        let snapshot = Declared::read(&folder, &self.name, tools.registry)?.verify(&folder)?;
        let none = |name: &str, _: u32| Err(format!("{name} is no part of it"));
        let mut findings = Findings::default();
        crate::families::prove(&snapshot, 1, &none, tools.resources, tools.gate, &mut findings)
    }

    /// Puts it into the repository.
    pub(super) fn write(
        self,
        request: &Request,
        model: Proved,
        interview: &Interview,
    ) -> Result<Imported, ImportError> {
        let folder = self
            .write_into(&request.repository)
            .map_err(|error| ImportError::Write(request.repository.clone(), error))?;
        Ok(Imported {
            folder,
            model,
            notes: self.notes,
            assumed: interview.assumed().to_vec(),
            is_checked: self.is_checked,
        })
    }

    fn write_into(&self, repository: &Path) -> std::io::Result<PathBuf> {
        write::version(repository, &self.name, self.files.clone(), |hashes| self.text(hashes))
    }
}

/// A folder that goes away with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("density-server-import-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left of it is in nobody's way.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn tolerances(tolerance: Tolerance) -> String {
    format!(
        "absolute_tolerance = {:?}\nrelative_tolerance = {:?}\n",
        tolerance.absolute, tolerance.relative
    )
}

fn images_of(host: &mut dyn Host, flag: &str, path: &Path, shape: ImageShape) -> Result<Vec<Image>, Problem> {
    let images = host
        .images(path, shape)
        .map_err(|error| Problem::new(flag, error, ""))?;
    if images.is_empty() {
        return Err(Problem::new(
            flag,
            "there are no images",
            "name a folder or a file of images",
        ));
    }
    Ok(images)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Scores of images as they are, or over labels: log Σ p(image given label) p(label).
fn over_labels(scores: &[f64], log_prior: &[f64]) -> Vec<f64> {
    if log_prior.is_empty() {
        return scores.to_vec();
    }
    let joint = |row: &[f64]| {
        let terms: Vec<f64> = row.iter().zip(log_prior).map(|(score, prior)| score + prior).collect();
        likelihood::log_sum_exp(&terms)
    };
    scores.chunks(log_prior.len()).map(joint).collect()
}

/// Golden images and numbers out of files.
fn given(golden: &GoldenFiles, shape: ImageShape, labels: Option<usize>) -> Result<(Vec<Image>, Vec<f64>), Problem> {
    let wrong = |path: &Path, error: String| Problem::new("--golden", format!("{}: {error}", path.display()), "");
    let read = |path: &Path| std::fs::read(path).map_err(|error| wrong(path, error.to_string()));
    let images = media::read_images(&read(&golden.images)?, shape, usize::MAX)
        .map_err(|error| wrong(&golden.images, error.to_string()))?;
    let columns: Vec<usize> = labels.into_iter().collect();
    let scores = media::read_numbers(&read(&golden.scores)?, &columns)
        .map_err(|error| wrong(&golden.scores, error.to_string()))?;
    if images.is_empty() || scores.len() != images.len() * labels.unwrap_or(1) {
        let what = format!("{} scores for {} images", scores.len(), images.len());
        let cure = "give one for each image (and label, if there are labels)";
        return Err(Problem::new("--golden", what, cure));
    }
    Ok((images, scores))
}

/// Combinations of answers that are tried for golden numbers.
const COMBINATIONS: usize = 256;
/// Images that they are tried on.
const TRIED: usize = 2;

/// Answers to all these questions with which the graphs give the golden numbers, if some do.
pub(super) fn reproduced(
    registry: &Registry,
    brought: &[Reading],
    request: &Request,
    (interview, asked): (&Interview, &[Question]),
) -> Option<BTreeMap<String, String>> {
    let golden = request.golden.as_ref()?;
    // Numbers of images alone say nothing of what they are in company.
    let questions: Vec<&Question> = asked.iter().filter(|own| own.key != batch::KEY).collect();
    let count: usize = questions.iter().map(|question| question.options.len()).product();
    if questions.is_empty() || count == 0 || count > COMBINATIONS {
        return None;
    }
    let mut best: Option<(f64, BTreeMap<String, String>)> = None;
    for combination in 0..count {
        let (mut rest, mut answers, mut own) = (combination, BTreeMap::new(), interview.again());
        for question in &questions {
            let (value, _) = &question.options[rest % question.options.len()];
            rest /= question.options.len();
            own.answer(&question.key, value);
            answers.insert(question.key.clone(), value.clone());
        }
        let off = difference(registry, brought, golden, &mut own).unwrap_or(f64::INFINITY);
        // What is off by more than this is another answer's number.
        if off < 1e-3 && best.as_ref().is_none_or(|(least, _)| off < *least) {
            best = Some((off, answers));
        }
    }
    best.map(|(_, answers)| answers)
}

/// The largest relative difference to golden numbers with these answers; none if they fit no family.
fn difference(
    registry: &Registry,
    brought: &[Reading],
    golden: &GoldenFiles,
    interview: &mut Interview,
) -> Option<f64> {
    let (_, plan) = super::recognise(registry, brought, interview).ok()?;
    let Golden::OfImages { labels, numbers, .. } = &plan.golden else {
        return None;
    };
    let (images, scores) = given(golden, plan.shape, *labels).ok()?;
    let actual = numbers(&images[..images.len().min(TRIED)]).ok()?;
    let off = |(actual, expected): (&f64, &f64)| (actual - expected).abs() / (1.0 + expected.abs());
    // What is no number is as far off as can be.
    let worse = |largest: f64, own: f64| if own.is_nan() { f64::INFINITY } else { largest.max(own) };
    let largest = actual.iter().zip(&scores).map(off).fold(0.0, worse);
    Some(largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_added_up_over_labels() {
        assert_eq!(over_labels(&[-1.0, -2.0], &[]), [-1.0, -2.0]);
        let half = 0.5f64.ln();
        let joint = over_labels(&[-1.0, -1.0, -3.0, -3.0], &[half, half]);
        assert!((joint[0] + 1.0).abs() < 1e-12 && (joint[1] + 3.0).abs() < 1e-12);
    }
}
