//! A new calibration of a version that has a statistic of its own: its next version, which differs in nothing else.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use toml_edit::{DocumentMut, Item, value};

use super::{
    Manifest, Registry, files,
    manifest::{MANIFEST, write},
};
use crate::{
    detection::{
        calibrate::{self, LEAST_CALIBRATION},
        trained_on::TrainedOn,
    },
    domain::{conformal::Calibration, image::Image},
    media,
    model::{Call, Model, Refusal, detect::Measures},
};

/// File of the new scores.
const SCORES: &str = "calibration.npy";
/// File of the hashes of the images that they are of.
const IMAGES: &str = "calibrated_on.bin";

/// What a version is to be calibrated with.
#[derive(Debug)]
pub struct Recipe<'a> {
    /// The version's folder.
    pub folder: &'a Path,
    /// What the images are.
    pub description: String,
}

/// A version that was calibrated.
#[derive(Debug)]
pub struct Made {
    /// The folder of the new version.
    pub folder: PathBuf,
    /// The scores.
    pub calibration: Calibration,
    /// The statistic that they are of.
    pub statistic: &'static str,
    /// Images that came more than once and were counted once.
    pub duplicates: usize,
}

/// Measures inliers by the statistic that `model` judges by, and writes its next version with these as calibration, in
/// one step. `progress` is told how many images have been measured.
pub async fn recalibrate(
    model: &Model,
    recipe: &Recipe<'_>,
    inliers: Vec<Image>,
    registry: &Registry,
    call: &Call,
    progress: impl Fn(usize),
) -> Result<Made, Refusal> {
    let data = |reason: String| Refusal::option("data", reason);
    let measures = model
        .can::<dyn Measures>()
        .map_err(|reason| Refusal::unsupported(&model.name, "new-calibration", &reason))?;
    let given = inliers.len();
    let images = calibrate::unique(inliers);
    if images.len() < LEAST_CALIBRATION {
        return Err(data(format!(
            "{} different images: a calibration takes at least {LEAST_CALIBRATION}, since fewer could not support a \
             false-alarm rate of 1 %",
            images.len()
        )));
    }
    calibrate::not_trained_on(model.card.family, model, &images)?;
    let mut scores = Vec::with_capacity(images.len());
    for chunk in images.chunks(calibrate::CHUNK) {
        for score in measures.measure(chunk.to_vec(), call).await? {
            scores.push(score?);
        }
        progress(scores.len());
    }
    let calibration = Calibration::new(scores.clone()).map_err(|error| data(error.to_string()))?;
    let statistic = measures.statistic();
    let count = scores.len();
    let own = [
        (SCORES, media::write_f64(&[count], scores.into_iter())),
        (IMAGES, TrainedOn::of(images.iter().map(calibrate::hash)).bytes()),
    ];
    let folder = write(model, recipe, statistic, registry, own.to_vec())
        .map_err(|error| Refusal::option("model", format!("{}: {error}", recipe.folder.display())))?;
    Ok(Made {
        folder,
        calibration,
        statistic,
        duplicates: given - count,
    })
}

/// Writes the version with the files of the old one and these.
fn write(
    model: &Model,
    recipe: &Recipe<'_>,
    statistic: &str,
    registry: &Registry,
    own: Vec<(&str, Vec<u8>)>,
) -> io::Result<PathBuf> {
    let text = String::from_utf8(files::read(recipe.folder, MANIFEST)?).map_err(io::Error::other)?;
    let mut manifest: DocumentMut = text.parse().map_err(io::Error::other)?;
    let old = [key(&manifest, "scores"), key(&manifest, "images")];
    let is_kept = |name: &str| {
        name != MANIFEST
            && !name.starts_with('.')
            && own.iter().all(|(new, _)| *new != name)
            && old.iter().all(|old| old.as_deref() != Some(name))
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(recipe.folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().unwrap_or_default();
        if entry.file_type()?.is_file() && is_kept(&name) {
            names.push(name);
        }
    }
    let hashes = |manifest: &mut DocumentMut, hashes: &[(&str, String)]| {
        for (name, hash) in hashes.iter().filter(|(name, _)| [SCORES, IMAGES].contains(name)) {
            manifest["sha256"][name] = value(hash);
        }
    };
    if let Some(listed) = manifest.get_mut("sha256").and_then(Item::as_table_like_mut) {
        for name in old.iter().flatten() {
            listed.remove(name);
        }
    }
    let mut table: toml_edit::Table = [
        ("scores", SCORES),
        ("images", IMAGES),
        ("statistic", statistic),
        ("description", &recipe.description),
    ]
    .into_iter()
    .collect();
    if !model.placement.is_reference() {
        table["device"] = value(model.placement.device.name());
        table["precision"] = value(model.placement.precision.name());
    }
    manifest["calibration"] = Item::Table(table);
    let own_hashes: Vec<(&str, String)> = own
        .iter()
        .map(|(name, bytes)| (*name, super::manifest::sha256(bytes)))
        .collect();
    hashes(&mut manifest, &own_hashes);
    // What is written must be what is read.
    Manifest::parse(&manifest.to_string(), &model.name, registry).map_err(io::Error::other)?;
    let mut all = own;
    for name in &names {
        all.push((name, files::read(recipe.folder, name)?));
    }
    let repository = recipe.folder.parent().and_then(Path::parent);
    let repository = repository.ok_or_else(|| io::Error::other("it is not in a repository"))?;
    write::version(repository, &model.name, &all, |_| manifest.to_string())
}

/// A file that `[calibration]` names.
fn key(manifest: &DocumentMut, name: &str) -> Option<String> {
    Some(manifest.get("calibration")?.get(name)?.as_str()?.to_owned())
}
