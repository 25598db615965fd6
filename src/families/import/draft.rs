//! The files of a version that is being made: what becomes of them is decided by the load gate.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use super::{Golden, Host, ImportError, Numbers, Plan, Proved, Request, Tools, batch, golden::given, own_tolerance};
use crate::{
    detection::{calibrate, trained_on::TrainedOn},
    domain::{
        image::{Image, ImageShape},
        likelihood,
    },
    families::{
        Declared, Findings, GateError,
        manifest::{
            Tolerance, preprocessing,
            text::{head, quoted},
            write,
        },
    },
    graph::{self, weights},
    import::{Problem, interview::Interview, reading::Reading, trial_images},
    media,
};

const GOLDEN_IMAGES: &str = "golden_images.npy";
const GOLDEN_SCORES: &str = "golden_scores.npy";
const CALIBRATION: &str = "calibration_scores.npy";
const TRAINED_ON: &str = "trained_on.bin";

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
        let origin = &request.origin;
        let described = format!("{family} of {}, imported from {}", plan.shape, super::files(brought));
        let description = origin.description.as_deref().unwrap_or(&described);
        draft.manifest = head(&request.name, family, description, plan.shape) + &plan.tables;
        match plan.golden {
            Golden::OfCodes { files, lines } => {
                draft.files.extend(files);
                draft.manifest += &format!("\n[golden]\n{lines}{}", tolerances(own_tolerance(brought)));
            }
            Golden::OfImages {
                labels,
                numbers,
                log_prior,
            } => {
                draft.golden(request, brought, (plan.shape, labels), &numbers)?;
                if let Some(path) = &request.calibrate {
                    let statistic = plan.statistic.ok_or_else(|| {
                        let what = format!("a {family} has no statistic to calibrate");
                        Problem::new("--calibrate", what, "leave it out")
                    })?;
                    let images = images_of(host, "--calibrate", path, plan.shape)?;
                    host.begin(&format!("scoring {} images to calibrate with", images.len()));
                    let scores = over_labels(&numbers(&images)?, &log_prior);
                    draft.calibrate(statistic, path, &scores);
                }
            }
        }
        draft.manifest += &preprocessing::text(request.preprocessing);
        if !plan.declared.is_empty() {
            draft.manifest += &format!("\n[declared]\n{}\n", plan.declared.join("\n"));
        }
        if batch::is_one(brought, interview) {
            draft.manifest += "\n[serving]\nbatch = 1\n";
        }
        if batch::is_said(interview) {
            let said = "images are run one at a time, as was said: each has the numbers that it gets alone";
            draft.notes.push(said.to_owned());
        }
        let images = request.trained_on.as_ref();
        let images = images.map(|path| images_of(host, "--trained-on", path, plan.shape));
        draft.provenance(origin, parameters, images.transpose()?, interview);
        Ok(draft)
    }

    /// `[calibration]`, by these scores of the images at `path`.
    fn calibrate(&mut self, statistic: &str, path: &Path, scores: &[f64]) {
        let values = media::write_f64(&[scores.len()], scores.iter().copied());
        self.files.push((CALIBRATION, values));
        let description = format!("{} images of {}", scores.len(), name_of(path));
        self.manifest += &format!(
            "\n[calibration]\nscores = {CALIBRATION:?}\nstatistic = {statistic:?}\ndescription = {}\n",
            quoted(&description)
        );
    }

    /// `[provenance]`, with all that was recognised, and what was taken for granted.
    fn provenance(&mut self, origin: &Origin, parameters: u64, trained_on: Option<Vec<Image>>, interview: &Interview) {
        let mut line = "";
        if let Some(images) = trained_on {
            let hashes = TrainedOn::of(images.iter().map(calibrate::hash));
            self.files.push((TRAINED_ON, hashes.bytes()));
            line = "trained_on = \"trained_on.bin\"\n";
        }
        if !self.is_checked {
            self.notes.push(
                "golden numbers are those of the export before it was rewritten, and not checked by the training \
                 framework: --golden IMAGES SCORES gives its own"
                    .to_owned(),
            );
        }
        let assumed: String = interview
            .assumed()
            .iter()
            .map(|own| format!("    {},\n", quoted(own)))
            .collect();
        let assumed = if assumed.is_empty() {
            String::new()
        } else {
            format!("assumed = [\n{assumed}]\n")
        };
        let said = |text: &Option<String>| quoted(text.as_deref().unwrap_or("not stated"));
        self.manifest += &format!(
            "\n[provenance]\ndata = {}\nlicence = {}\ncommand = {}\nparameters = {parameters}\ntraining_seconds = \
             0\n{line}notes = {}\n{assumed}",
            said(&origin.data),
            said(&origin.licence),
            said(&origin.trained_with),
            quoted(&self.notes.join(". "))
        );
    }

    /// `[golden]`, with images and their numbers.
    fn golden(
        &mut self,
        request: &Request,
        brought: &[Reading],
        (shape, labels): (ImageShape, Option<usize>),
        numbers: &Numbers<'_>,
    ) -> Result<(), Problem> {
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
        self.manifest += &format!(
            "\n[golden]\nimages = {GOLDEN_IMAGES:?}\nscores = {GOLDEN_SCORES:?}\n{}",
            tolerances(tolerance)
        );
        Ok(())
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
            assumed: interview.assumed(),
            is_checked: self.is_checked,
        })
    }

    fn write_into(&self, repository: &Path) -> std::io::Result<PathBuf> {
        write::version(repository, &self.name, &self.files, |hashes| self.text(hashes))
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
