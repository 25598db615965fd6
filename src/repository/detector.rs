//! Detectors on disk: loading one over its members, and writing a new one.

mod file;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use self::file::CalibrationText;
pub use self::file::{Split, Splits};
use super::{
    Lookup, MANIFEST, Network, Timings, Version,
    gate::{Gate, GateError, time_of},
    manifest::{Graphs, detector::Contract, members::Member},
    write,
};
use crate::{
    domain::{
        conformal::Calibration, detection::Rule, family::Family, image::Image, statistics::Need,
    },
    media,
    network::panel::{Members, Panel},
    runtime::Threads,
};

/// Name of the calibration's file.
const CALIBRATION: &str = "calibration.json";

/// Names of the golden files.
const GOLDEN_IMAGES: &str = "golden_images.npy";
const GOLDEN_SCORES: &str = "golden_scores.npy";

/// A detector that is ready: members, rule and calibration.
#[derive(Debug)]
pub struct Detector {
    /// Its members and statistics.
    pub panel: Arc<Panel>,
    /// What it makes of the statistics.
    pub rule: Rule,
    /// Strangeness of inliers that took part in nothing else.
    pub calibration: Calibration,
    /// Which images were used for what.
    pub splits: Splits,
}

/// Loads the detector in `folder` over members that are loaded already, or says which check it failed.
pub fn load(
    folder: &Path,
    name: &str,
    number: u32,
    lookup: Lookup<'_>,
) -> Result<Version, GateError> {
    let mut gate = Gate::new(folder);
    let manifest = gate.manifest(name)?;
    let Graphs::Detector(contract) = &manifest.graphs else {
        return Err(GateError::Manifest(
            "it is not the manifest of a detector".to_owned(),
        ));
    };
    let members = members(contract, lookup).map_err(GateError::Manifest)?;
    let panel = Panel::new(members, contract.plan.statistics.clone())
        .map_err(|cause| GateError::Manifest(format!("members: {cause}")))?;
    if panel.shape() != manifest.shape {
        return Err(GateError::Manifest(format!(
            "image: its members take {}, not {}",
            panel.shape(),
            manifest.shape
        )));
    }
    gate.passed(
        "members",
        contract
            .members
            .iter()
            .map(|m| format!("{} as {}", m.model, m.role.name()))
            .collect::<Vec<_>>()
            .join(", "),
    );
    let wrong = |cause: String| GateError::File {
        file: CALIBRATION.to_owned(),
        cause,
    };
    let file = manifest
        .calibration
        .as_ref()
        .map_or(CALIBRATION, |c| &c.scores);
    let text = CalibrationText::read(gate.read(file)?).map_err(wrong)?;
    text.check(contract).map_err(wrong)?;
    let rule = text
        .rule(&contract.plan, panel.shape(), panel.latent_size())
        .map_err(wrong)?;
    let calibration = Calibration::new(text.scores.clone()).map_err(|e| wrong(e.to_string()))?;
    gate.passed(
        "calibration",
        format!(
            "{} inliers calibrate, {} ranked, {} fitted the densities",
            calibration.size(),
            text.splits.rank.images,
            text.splits.fit.images
        ),
    );
    let (images, golden) = gate.golden_scores(&manifest, None)?;
    let levels: Vec<&[u8]> = images.iter().map(Image::levels).collect();
    let failed = |cause| GateError::Network {
        file: MANIFEST.to_owned(),
        cause,
    };
    let measured = panel.measure(&levels, Threads::All).map_err(failed)?;
    let scores: Vec<f64> = measured
        .iter()
        .map(|m| rule.judge(&m.values).strangeness)
        .collect();
    let tolerance = manifest.golden.tolerance;
    gate.golden(("golden scores", ""), tolerance, &golden, &scores)?;
    let forward =
        time_of(|| panel.measure(&levels[..1], Threads::One).map(drop)).map_err(failed)?;
    let (checks, fingerprint) = gate.finish();
    Ok(Version {
        number,
        fingerprint,
        calibration: Some(calibration.clone()),
        network: Network::Detector(Arc::new(Detector {
            panel: Arc::new(panel),
            rule,
            calibration,
            splits: text.splits,
        })),
        trained_on: None,
        checks,
        timings: Timings {
            forward,
            backward: forward,
        },
        manifest,
    })
}

/// The networks of members, each the very one that the detector was calibrated with.
fn members(contract: &Contract, lookup: Lookup<'_>) -> Result<Members, String> {
    let mut members = Members::default();
    for member in &contract.members {
        let found = member
            .find(lookup, "the detector was calibrated with: its graphs have")
            .map_err(|cause| format!("members: {cause}"))?;
        add(&mut members, member.role, &found).map_err(|cause| format!("members: {cause}"))?;
    }
    Ok(members)
}

/// Gives a model a role in a detector, if it can fill it.
pub fn add(members: &mut Members, role: Need, version: &Version) -> Result<(), String> {
    let name = &version.manifest.name;
    let family = version.manifest.family;
    // The labels of a classifier are what it answers with; those of a density are what it has to be told.
    if version.manifest.labels.is_some() && family != Family::Classifier {
        return Err(format!(
            "{name:?} is conditioned on labels: a detector takes one pass of each member, and an image without a label would take one \
             for every label"
        ));
    }
    match (role, &version.network) {
        (Need::Density, Network::Autoregressive(network)) => {
            members.density = Some(Arc::clone(network))
        }
        (Need::Local, Network::Autoregressive(network)) => {
            members.local = Some(Arc::clone(network))
        }
        (Need::Background, Network::Autoregressive(network)) => {
            members.background = Some(Arc::clone(network));
        }
        (Need::Latent, Network::Vae(vae)) => members.latent = Some(Arc::clone(vae)),
        (Need::Autoencoder, Network::Autoencoder(network)) => {
            members.autoencoder = Some(Arc::clone(network));
        }
        (Need::Classifier, Network::Classifier(network)) => {
            members.classifier = Some(Arc::clone(network));
        }
        _ => {
            return Err(format!(
                "{name:?}, of the family {family}, cannot have the role {:?}: it takes {}",
                role.name(),
                wanted(role)
            ));
        }
    }
    Ok(())
}

/// What can fill a role.
fn wanted(role: Need) -> &'static str {
    match role {
        Need::Density | Need::Local | Need::Background | Need::Stirring => {
            "a pixelcnn or a pixelrnn"
        }
        Need::Latent | Need::Samples => "a vae",
        Need::Autoencoder => "an autoencoder",
        Need::Classifier => "a classifier",
    }
}

/// Everything that a new detector is made of.
#[derive(Debug)]
pub struct NewDetector {
    /// Its name.
    pub name: String,
    /// One line.
    pub description: String,
    /// Its members.
    pub members: Vec<Member<Need>>,
    /// Its fitted rule.
    pub rule: Rule,
    /// Strangeness of the calibration images.
    pub scores: Vec<f64>,
    /// Which images were used for what.
    pub splits: Splits,
    /// Where the images came from.
    pub data: String,
    /// Their licence.
    pub licence: String,
    /// The command that made the detector.
    pub command: String,
    /// How long that took.
    pub seconds: f64,
    /// Some inliers, on which a server checks that it judges as the calibration did.
    pub golden: Vec<Image>,
    /// What the rule says of them.
    pub golden_scores: Vec<f64>,
}

/// Writes a detector as the next version of its name in `repository`, in one step, and answers its folder.
pub fn write(repository: &Path, detector: &NewDetector) -> io::Result<PathBuf> {
    let shape = detector
        .golden
        .first()
        .ok_or_else(|| io::Error::other("a detector needs golden images"))?
        .shape();
    let scores = detector.golden_scores.iter().copied();
    let files = vec![
        (CALIBRATION, CalibrationText::of(detector).write()?),
        (GOLDEN_IMAGES, media::write_images(&detector.golden, shape)),
        (
            GOLDEN_SCORES,
            media::write_f64(&[detector.golden.len()], scores),
        ),
    ];
    write::version(repository, &detector.name, files, |hashes| {
        file::manifest(detector, shape, hashes)
    })
}
