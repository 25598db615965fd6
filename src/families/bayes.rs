//! Composites of Bayes' rule on disk: loading one over its members, and writing a new one.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Lookup, MANIFEST, Network, Timings, Version,
    detector::Detector,
    gate::{Gate, GateError, time_of},
    manifest::{Graphs, Labels, composite::Contract, members::Member},
    text::{self, Origin},
    write,
};
use crate::{
    domain::{
        bayes::{Prior, Role},
        conformal::Calibration,
        family::Family,
        image::Image,
        likelihood,
        statistics::Need,
    },
    media,
    network::{
        NetworkError,
        autoregressive::{Autoregressive, Given},
        classifier::Classifier,
    },
    runtime::Threads,
};

/// Names of the files.
const AMBIGUITY: &str = "ambiguity.npy";
const GOLDEN_IMAGES: &str = "golden_images.npy";
const GOLDEN_SCORES: &str = "golden_scores.npy";

/// Golden numbers of composites: log p(image | label) of every label.
const GOLDEN: (&str, &str) = ("golden scores", " nats");

/// A composite that is ready.
#[derive(Debug)]
pub struct Composite {
    /// p(label | image).
    pub classifier: Arc<Classifier>,
    /// p(image).
    pub density: Arc<Autoregressive>,
    /// What tells the novel from the familiar.
    pub novelty: Novelty,
    /// −log max p(label | image) of held-out inliers, in nats.
    pub ambiguity: Calibration,
    /// p(label).
    pub prior: Prior,
}

/// What tells the novel from the familiar.
#[derive(Debug, Clone)]
pub enum Novelty {
    /// How likely the image is, against held-out inliers: strange on both sides.
    Density(Calibration),
    /// A detector over the same density.
    Detector(Arc<Detector>),
}

impl Composite {
    /// The smallest false-alarm rate that both calibrations support.
    pub fn smallest_false_alarm_rate(&self) -> f64 {
        let novelty = match &self.novelty {
            Novelty::Density(calibration) => calibration.smallest_p_value(),
            Novelty::Detector(detector) => detector.calibration.smallest_upper_p_value(),
        };
        novelty.max(self.ambiguity.smallest_upper_p_value())
    }

    /// log p(image | label) = log p(label | image) + log p(image) − log p(label) of every label, in nats.
    pub fn log_likelihoods(&self, log_posterior: &[f64], log_density: f64) -> Vec<f64> {
        log_posterior
            .iter()
            .zip(self.prior.log())
            .map(|(posterior, prior)| posterior + log_density - prior)
            .collect()
    }
}

/// Loads the composite in `folder` over members that are loaded already, or says which check it failed.
pub fn load(
    folder: &Path,
    name: &str,
    number: u32,
    lookup: Lookup<'_>,
) -> Result<Version, GateError> {
    let mut gate = Gate::new(folder);
    let manifest = gate.manifest(name)?;
    let (Graphs::Composite(contract), Some(labels)) = (&manifest.graphs, &manifest.labels) else {
        let reason = "it is not the manifest of a composite";
        return Err(GateError::Manifest(reason.to_owned()));
    };
    let ambiguity =
        Calibration::new(gate.scores(&contract.ambiguity)?).map_err(|error| GateError::File {
            file: contract.ambiguity.clone(),
            cause: error.to_string(),
        })?;
    let members =
        members(contract, lookup).map_err(|e| GateError::Manifest(format!("members: {e}")))?;
    let composite = members
        .compose(ambiguity, labels)
        .map_err(|e| GateError::Manifest(format!("members: {e}")))?;
    let shape = members.classifier.manifest.shape;
    if shape != manifest.shape {
        return Err(GateError::Manifest(format!(
            "image: its members take {shape}, not {}",
            manifest.shape
        )));
    }
    let names: Vec<String> = contract
        .members
        .iter()
        .map(|member| format!("{} as {}", member.model, member.role))
        .collect();
    gate.passed("members", names.join(", "));
    gate.passed(
        "calibration",
        format!(
            "how ambiguous {} held-out inliers are",
            composite.ambiguity.size()
        ),
    );
    let (images, expected) = gate.golden_scores(&manifest, Some(labels.names.len()))?;
    let levels: Vec<&[u8]> = images.iter().map(Image::levels).collect();
    let failed = |cause| GateError::Network {
        file: MANIFEST.to_owned(),
        cause,
    };
    let actual = scores(&composite, &levels).map_err(failed)?;
    gate.golden(GOLDEN, manifest.golden.tolerance, &expected, &actual)?;
    let timings = timings(&composite, levels[0]).map_err(failed)?;
    let (checks, fingerprint) = gate.finish();
    Ok(Version {
        number,
        network: Network::Composite(Arc::new(composite)),
        fingerprint,
        calibration: None,
        trained_on: None,
        checks,
        timings,
        manifest,
    })
}

/// The time of the classifier, and that of the density or of the judge of novelty, whichever is longer.
fn timings(composite: &Composite, levels: &[u8]) -> Result<Timings, NetworkError> {
    let threads = Threads::One;
    let given = [Given::from(levels)];
    let density = time_of(|| {
        composite
            .density
            .log_probabilities(&given, threads)
            .map(drop)
    })?;
    let novelty = match &composite.novelty {
        Novelty::Density(_) => density,
        Novelty::Detector(detector) => {
            time_of(|| detector.panel.measure(&[levels], threads).map(drop))?
        }
    };
    Ok(Timings {
        forward: time_of(|| composite.classifier.classify(&[levels], threads).map(drop))?,
        backward: density.max(novelty),
    })
}

/// log p(image | label) of every label of every image.
pub fn scores(composite: &Composite, images: &[&[u8]]) -> Result<Vec<f64>, NetworkError> {
    let given: Vec<Given<'_>> = images.iter().map(|&levels| Given::from(levels)).collect();
    let predictions = composite.classifier.classify(images, Threads::All)?;
    let maps = composite.density.log_probabilities(&given, Threads::All)?;
    Ok(predictions
        .iter()
        .zip(&maps)
        .flat_map(|(prediction, map)| {
            composite.log_likelihoods(&prediction.log_posterior(), likelihood::total(map))
        })
        .collect())
}

/// The versions that a composite is made of.
#[derive(Debug, Clone)]
pub struct Members {
    /// p(label | image).
    pub classifier: Arc<Version>,
    /// p(image).
    pub density: Arc<Version>,
    /// A detector over the density, if novelty is not judged by the density alone.
    pub novelty: Option<Arc<Version>>,
}

impl Members {
    /// The composite, if the members fit together.
    pub fn compose(&self, ambiguity: Calibration, labels: &Labels) -> Result<Composite, String> {
        let Network::Classifier(classifier) = &self.classifier.network else {
            return Err(misfit(&self.classifier, Role::Classifier, "a classifier"));
        };
        let names = self.classifier.manifest.labels.as_ref().map(|l| &l.names);
        if names != Some(&labels.names) {
            let theirs = names.map_or_else(String::new, |names| names.join(", "));
            return Err(format!(
                "the classifier's labels are {theirs}, not {}",
                labels.names.join(", ")
            ));
        }
        let Network::Autoregressive(density) = &self.density.network else {
            return Err(misfit(&self.density, Role::Density, "an exact density"));
        };
        if self.density.manifest.labels.is_some() {
            return Err(misfit(
                &self.density,
                Role::Density,
                "a density that is not conditioned on labels",
            ));
        }
        let novelty = self.novelty()?;
        let shape = self.classifier.manifest.shape;
        if let Some(other) = self.all().find(|member| member.manifest.shape != shape) {
            return Err(format!(
                "{:?} takes images of {}, and the classifier {shape}",
                other.manifest.name, other.manifest.shape
            ));
        }
        Ok(Composite {
            classifier: Arc::clone(classifier),
            density: Arc::clone(density),
            novelty,
            ambiguity,
            prior: Prior::new(&labels.prior),
        })
    }

    fn novelty(&self) -> Result<Novelty, String> {
        let density = &self.density.manifest;
        let Some(version) = &self.novelty else {
            return match &self.density.calibration {
                Some(calibration) => Ok(Novelty::Density(calibration.clone())),
                None => Err(format!(
                    "{:?} has no calibration and there is no member with the role \"novelty\": nothing can tell the novel from the familiar",
                    density.name
                )),
            };
        };
        let (Network::Detector(detector), Graphs::Detector(contract)) =
            (&version.network, &version.manifest.graphs)
        else {
            return Err(misfit(version, Role::Novelty, "a detector"));
        };
        let is_density = |member: &Member<Need>| {
            member.role == Need::Density
                && member.sha256.eq_ignore_ascii_case(&self.density.identity())
        };
        if !contract.members.iter().any(is_density) {
            return Err(format!(
                "the main density of the detector {:?} is not {:?}",
                version.manifest.name, density.name
            ));
        }
        Ok(Novelty::Detector(Arc::clone(detector)))
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Version>> {
        [&self.classifier, &self.density]
            .into_iter()
            .chain(&self.novelty)
    }
}

fn misfit(version: &Version, role: Role, wanted: &str) -> String {
    let manifest = &version.manifest;
    format!(
        "{:?}, a {}, cannot have the role {:?}: it takes {wanted}",
        manifest.name,
        manifest.family,
        role.name()
    )
}

/// The versions that the contract names, each the very one that the composite was made of.
fn members(contract: &Contract, lookup: Lookup<'_>) -> Result<Members, String> {
    let find = |role: Role| {
        let member = contract.members.iter().find(|member| member.role == role);
        member
            .map(|member| member.find(lookup, "the composite was made of: it has"))
            .transpose()
    };
    let needed = |role: Role| {
        find(role)?.ok_or_else(|| format!("one with the role {:?} is needed", role.name()))
    };
    Ok(Members {
        classifier: needed(Role::Classifier)?,
        density: needed(Role::Density)?,
        novelty: find(Role::Novelty)?,
    })
}

/// Everything that a new composite is made of.
#[derive(Debug)]
pub struct NewComposite<'a> {
    /// Its name.
    pub name: String,
    /// One line.
    pub description: String,
    /// Its members.
    pub members: &'a Members,
    /// Labels and their prior.
    pub labels: Labels,
    /// −log max p(label | image) of held-out inliers.
    pub ambiguity: Vec<f64>,
    /// Some inliers, on which a server checks that it finds what was found here.
    pub golden: Vec<Image>,
    /// log p(image | label) of every label of these.
    pub golden_scores: Vec<f64>,
    /// Where the images came from.
    pub data: String,
    /// Their licence.
    pub licence: String,
    /// The command that made the composite.
    pub command: String,
}

/// Writes a composite as the next version of its name in `repository`, in one step, and answers its folder.
pub fn write(repository: &Path, composite: &NewComposite<'_>) -> io::Result<PathBuf> {
    let shape = composite.members.density.manifest.shape;
    let labels = composite.labels.names.len();
    let golden = composite.golden_scores.iter().copied();
    let files = vec![
        (
            AMBIGUITY,
            media::write_f64(
                &[composite.ambiguity.len()],
                composite.ambiguity.iter().copied(),
            ),
        ),
        (GOLDEN_IMAGES, media::write_images(&composite.golden, shape)),
        (
            GOLDEN_SCORES,
            media::write_f64(&[composite.golden.len(), labels], golden),
        ),
    ];
    write::version(repository, &composite.name, files, |hashes| {
        manifest(composite, hashes)
    })
}

/// The text of a composite's manifest.
fn manifest(composite: &NewComposite<'_>, hashes: &[(&str, String)]) -> String {
    let members = composite.members;
    let roles = [
        (Role::Classifier, Some(&members.classifier)),
        (Role::Density, Some(&members.density)),
        (Role::Novelty, members.novelty.as_ref()),
    ];
    let members: Vec<Member<Role>> = roles
        .into_iter()
        .filter_map(|(role, version)| version.map(|version| version.as_member(role)))
        .collect();
    let labels = &composite.labels;
    let names: Vec<String> = labels.names.iter().map(|name| text::quoted(name)).collect();
    let shape = composite.members.density.manifest.shape;
    let count = composite.ambiguity.len();
    let origin = Origin {
        data: &composite.data,
        licence: &composite.licence,
        command: &composite.command,
        parameters: 0,
        seconds: 0.0,
    };
    [
        text::head(
            &composite.name,
            Family::Bayes,
            &composite.description,
            shape,
        ),
        format!(
            "\n[labels]\nnames = [{}]\nprior = {:?}\n",
            names.join(", "),
            labels.prior
        ),
        text::members(&members),
        format!(
            "\n[ambiguity]\nscores = {AMBIGUITY:?}\ndescription = {}\n\n[golden]\nimages = {GOLDEN_IMAGES:?}\n\
             scores = {GOLDEN_SCORES:?}\nabsolute_tolerance = 0.001\nrelative_tolerance = 0.000001\n",
            text::quoted(&format!("{}: {count} images", composite.data))
        ),
        text::tail(&origin, hashes),
    ]
    .concat()
}
