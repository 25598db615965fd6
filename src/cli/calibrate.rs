//! `calibrate`: a detector, or a composite of Bayes' rule, from models and inliers.

mod composite;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;

use super::{
    CliError, OfflineSettings, Outcome,
    image_set::{self, Handling, ImageSet},
    model, pipeline, print,
};
use crate::{
    app::{App, Registries},
    detection::{
        calibrate::{self, Guarantee, Inliers},
        detector::is_detector,
        evaluation::Failure,
        evidence::{GivesFeatures, Latents, Predicts, SquaredErrors, Surprises},
        learners::BANK,
        statistics::Requirement,
    },
    families::detector::{self, Made, Recipe, Tiles},
    media::DecodeOptions,
    model::Model,
};

/// Make a detector, or a composite of a classifier, from models and images that are as they should be
///
/// Measures every statistic that the model and its helpers offer, fits densities of them to one part of the images,
/// ranks their surprises among a second and calibrates with a third. No image of another kind is needed. The detector
/// is written as the next version of its name into the repository of the model, in one step; a running server takes it
/// up on SIGHUP.
///
/// From a classifier or an encoder it makes a detector of its features: Gaussians of labels, a bank of neighbours and
/// the principal subspace are learnt from the images that fit.
///
/// From a classifier, with --member novelty=DETECTOR, --member density=NAME or both, the detector then being one over
/// that density, it makes a composite instead: classify then answers with a label, "ambiguous" or "none of these", and
/// all of --data calibrates how ambiguous ordinary images are.
#[derive(Debug, Args)]
pub(super) struct CalibrateArgs {
    #[command(flatten)]
    request: Request,

    #[command(flatten)]
    settings: OfflineSettings,
}

/// What is to be made of what.
#[derive(Debug, Args)]
struct Request {
    /// Name of a model in the repository, or path of a model's folder: the density of the detector, its latent member
    /// if it is a vae, its autoencoder if it is one, its features if it is an encoder or a classifier, or the
    /// classifier of a composite
    model: String,

    /// Images that are as they should be and that no member was trained on: files, npy arrays and folders
    #[arg(long, required = true, num_args = 1.., value_name = "INPUT")]
    data: Vec<PathBuf>,

    /// Further such images, to fit and rank with; all of --data then calibrate. Without it half of --data fit, 15 %
    /// rank and the rest calibrate
    #[arg(long, num_args = 1.., value_name = "INPUT")]
    fit: Vec<PathBuf>,

    /// A helper of the same repository: local=NAME, background=NAME, latent=NAME, autoencoder=NAME, classifier=NAME
    /// or features=NAME; of a composite density=NAME or novelty=NAME
    #[arg(long = "member", value_name = "ROLE=NAME")]
    members: Vec<String>,

    /// Also look at the image's seven flips and turns, which costs seven passes more
    #[arg(long)]
    stir: bool,

    /// Also decode 16 posterior samples of the latent member, for the gap between its bounds
    #[arg(long)]
    samples: bool,

    /// Take images of any size: they are cut into windows of the members' size. Half a window apart, a map that is
    /// smoothed over a sixteenth of a window, and the largest percent of it, unless stride=, smoothing= or share= say
    /// otherwise
    #[arg(long, value_name = "KEY=VALUE,…", num_args = 0..=1, default_missing_value = "")]
    tiles: Option<String>,

    /// Compare an image with those that are given the same label, by a classifier as the model or a member: the
    /// false-alarm rate then holds for every label and not only for all together. 100 images must calibrate each label
    #[arg(long)]
    per_label: bool,

    /// Features, or places of feature maps, that the bank of nearest neighbours keeps at most
    #[arg(long, value_name = "N", default_value_t = BANK, value_parser = bank)]
    bank: usize,

    /// Images of one size that the version keeps to check itself by, instead of some of those that calibrate:
    /// for versions that are handed on without pictures of the data
    #[arg(long, num_args = 1.., value_name = "INPUT")]
    golden: Vec<PathBuf>,

    /// Name of what is made [default: that of the model with -gate, or -bayes if it is a classifier]
    #[arg(long)]
    name: Option<String>,

    /// What the images are, for the manifest [default: the paths]
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// Licence of the images, for the manifest
    #[arg(long, value_name = "TEXT", default_value = "not stated")]
    licence: String,

    /// Seed of the permutation that parts the images
    #[arg(long, default_value_t = 0)]
    seed: u64,

    #[command(flatten)]
    handling: Handling,
}

pub(super) fn run(arguments: CalibrateArgs, registries: &Registries) -> Result<Outcome, CliError> {
    let CalibrateArgs { request, settings } = arguments;
    let mut settings = settings.start()?;
    let folder = model::folder(&request.model, &settings.models.repository)?;
    let (repository, model_name) = place(&folder)?;
    settings.models.repository = repository.clone();
    let app = App::beside_a_server(&settings, registries)?;
    app.loader().load()?;
    let find = |name: &str| app.service.catalogue().model(name, None);
    let main = find(&model_name)?;
    if main.can::<dyn Predicts>().is_ok() && composite::is_meant(&request.members) {
        return composite::run(request, &app, main, &repository);
    }
    let role = own_role(&main)?;
    let mut members = vec![(role, main)];
    for text in &request.members {
        let (role, name) = member(text)?;
        if members.iter().any(|(other, _)| *other == role) {
            return Err(CliError::Usage(format!(
                "--member {text}: there is a {} already",
                role.name()
            )));
        }
        members.push((role, find(&name)?));
    }
    if request.stir && role != Requirement::Density {
        return Err(CliError::Usage(
            "--stir compares exact likelihoods, which this model does not have".to_owned(),
        ));
    }
    if request.samples && members.iter().all(|(role, _)| *role != Requirement::Latent) {
        return Err(CliError::Usage(
            "--samples decodes codes of a member with the role latent: add --member latent=NAME".to_owned(),
        ));
    }
    let tiles = request.tiles.as_deref().map(tiles).transpose()?;
    let main = Arc::clone(&members[0].1);
    let sizes = DecodeOptions {
        any_size: tiles.is_some(),
        ..main.preprocessing
    };
    let options = sizes.or(request.handling.decoding.options());
    let read = |inputs: &[PathBuf]| ImageSet::read_as(inputs, (main.shape, options), request.handling);
    let (data, fit) = (read(&request.data)?, read(&request.fit)?);
    let failures = [data.failures, fit.failures].concat();
    let inliers = Inliers {
        data: data.images,
        fit: fit.images,
    };
    let images = inliers.data.len() + inliers.fit.len();
    let name = name_of(request.name, &format!("{model_name}-gate"), &app, |other| {
        is_detector(other)
    })?;
    let names: Vec<String> = members.iter().map(|(_, m)| m.name.clone()).collect();
    let recipe = Recipe {
        description: format!(
            "Detector of images unlike those it was calibrated with, over {}",
            names.join(", ")
        ),
        data: request.description.unwrap_or_else(|| paths(&request.data)),
        licence: request.licence,
        command: command(
            &model_name,
            &request.members,
            (request.stir, request.samples, request.per_label),
            (request.tiles.as_deref(), request.bank),
            &name,
            request.seed,
        ),
        name,
        members,
        stir: request.stir,
        samples: request.samples,
        bank: request.bank,
        tiles,
        per_label: request.per_label,
        golden: read(&request.golden)?.images,
        seed: request.seed,
    };
    let bar = image_set::progress(images);
    let made = pipeline::runtime()?.block_on(detector::calibrate(
        app.repository.resources(),
        &recipe,
        inliers,
        &repository,
        |images| bar.set_position(images as u64),
    ));
    bar.finish_and_clear();
    let made = made?;
    let notes = recipe
        .members
        .iter()
        .filter_map(|(_, model)| calibrate::unknown_training(model));
    print(&[report(&made), notes_of(notes, &failures)].concat())?;
    Ok(image_set::outcome(failures.len(), images))
}

/// The repository and the name of the model in `folder`.
pub(super) fn place(folder: &Path) -> Result<(PathBuf, String), CliError> {
    let folder = folder
        .canonicalize()
        .map_err(|error| CliError::io(folder.display().to_string(), error))?;
    let model = if folder.join("model.toml").is_file() {
        folder.parent()
    } else {
        Some(&*folder)
    };
    let parts = model.and_then(|model| Some((model.parent()?, model.file_name()?.to_str()?)));
    parts
        .map(|(repository, name)| (repository.to_owned(), name.to_owned()))
        .ok_or_else(|| CliError::Usage(format!("{} is not a model in a repository", folder.display())))
}

/// What the model itself is to the detector, by what it has for one.
fn own_role(model: &Model) -> Result<Requirement, CliError> {
    if model.can::<dyn Surprises>().is_ok() {
        return Ok(Requirement::Density);
    }
    if model.can::<dyn Latents>().is_ok() {
        return Ok(Requirement::Latent);
    }
    if model.can::<dyn SquaredErrors>().is_ok() {
        return Ok(Requirement::Autoencoder);
    }
    if model.can::<dyn GivesFeatures>().is_ok() {
        return Ok(Requirement::Features);
    }
    match model.can::<dyn Predicts>() {
        Ok(_) => Ok(Requirement::Classifier),
        Err(_) => Err(CliError::Usage(format!(
            "{:?} is of the family {}: a detector is made from a model with an exact density that is conditioned on \
             nothing, with a code and a way back from it, with features, or with labels",
            model.name, model.card.family
        ))),
    }
}

/// How images are cut, from `stride=16,smoothing=4,share=0.01` or a part of that.
fn tiles(text: &str) -> Result<Tiles, CliError> {
    let wrong = |part: &str| {
        CliError::Usage(format!(
            "--tiles {part}: it must be stride=PIXELS, smoothing=PIXELS or share=SHARE, with commas between them"
        ))
    };
    let mut tiles = Tiles::default();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let is_known = match part.split_once('=') {
            Some(("stride", value)) => value.parse().map(|value| tiles.stride = Some(value)).is_ok(),
            Some(("smoothing", value)) => value.parse().map(|value| tiles.smoothing = Some(value)).is_ok(),
            Some(("share", value)) => value.parse().map(|value| tiles.share = Some(value)).is_ok(),
            _ => false,
        };
        if !is_known {
            return Err(wrong(part));
        }
    }
    Ok(tiles)
}

fn member(text: &str) -> Result<(Requirement, String), CliError> {
    let wrong = |reason: String| CliError::Usage(format!("--member {text}: {reason}"));
    let (role, name) = text
        .split_once('=')
        .ok_or_else(|| wrong("it must be ROLE=NAME".to_owned()))?;
    let role: Requirement = role.parse().map_err(wrong)?;
    if role.is_derived() {
        return Err(wrong(
            "it asks another member and has none of its own: give --stir or --samples".to_owned(),
        ));
    }
    Ok((role, name.to_owned()))
}

/// The name that was asked for, or the default. It may be that of a model of the same kind, of which a new version is
/// made, and not that of another, whose clients would get something else from then on.
fn name_of(
    name: Option<String>,
    default: &str,
    app: &App,
    is_of_the_kind: impl Fn(&Model) -> bool,
) -> Result<String, CliError> {
    let name = name.unwrap_or_else(|| default.to_owned());
    if !is_name(&name) {
        return Err(CliError::Usage(format!(
            "--name {name:?}: letters, digits, dots, hyphens and underscores make a name, and it does not begin with a \
             dot"
        )));
    }
    match app.service.catalogue().model(&name, None) {
        Ok(other) if !is_of_the_kind(&other) => Err(CliError::Usage(format!(
            "--name {name:?}: there is such a model already, of the family {}, and something else would take its \
             place: choose another name",
            other.card.family
        ))),
        _ => Ok(name),
    }
}

pub(super) fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && !name.starts_with('.') && name.chars().all(allowed)
}

pub(super) fn paths(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths
        .iter()
        .filter_map(|path| path.file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.join(", ")
}

/// The command for the manifest, without paths: these are of one machine.
fn command(
    model: &str,
    members: &[String],
    (stir, samples, per_label): (bool, bool, bool),
    (tiles, bank): (Option<&str>, usize),
    name: &str,
    seed: u64,
) -> String {
    let members: String = members.iter().map(|m| format!(" --member {m}")).collect();
    let stir = if stir { " --stir" } else { "" };
    let samples = if samples { " --samples" } else { "" };
    let per_label = if per_label { " --per-label" } else { "" };
    let bank = if bank == BANK {
        String::new()
    } else {
        format!(" --bank {bank}")
    };
    let tiles = match tiles {
        None => String::new(),
        Some("") => " --tiles".to_owned(),
        Some(text) => format!(" --tiles {text}"),
    };
    format!(
        "density-server calibrate {model}{members}{stir}{samples}{per_label}{bank}{tiles} --name {name} --seed {seed}"
    )
}

/// A number of features that can have a nearest one among them.
fn bank(text: &str) -> Result<usize, String> {
    let number = text.parse().map_err(|error| format!("{error}"))?;
    match number {
        16..=1_000_000 => Ok(number),
        _ => Err("it must be 16 to 1000000".to_owned()),
    }
}

fn report(made: &Made) -> String {
    let mut text = format!(
        "{}\n\nimages\n  {} fit the densities, {} rank, {} calibrate",
        made.folder.display(),
        made.fit,
        made.rank,
        made.calibrate
    );
    if made.duplicates > 0 {
        text += &format!("; {} came more than once and were taken once", made.duplicates);
    }
    if let Some(least) = made.least_of_a_label {
        text += &format!("; label by label, with at least {least} each, and each keeps what is promised");
    }
    text += "\n\nfalse-alarm rate  on average  with 95 % confidence\n";
    for guarantee in &made.guarantees {
        let Guarantee {
            rate,
            on_average,
            certified_threshold,
        } = guarantee;
        text += &format!(
            "  {:<14}  {:<10}  {}\n",
            format!("{} %", rate * 100.0),
            if *on_average { "p ≤ rate" } else { "too few" },
            certified_threshold.map_or("too few".to_owned(), |threshold| format!("p ≤ {threshold:.5}")),
        );
    }
    text
}

/// What has to be known of the images.
pub(super) fn notes_of(notes: impl Iterator<Item = String>, failures: &[Failure]) -> String {
    let mut text = String::new();
    for note in notes {
        text += &format!("\nnote: {note}\n");
    }
    for failure in failures {
        text += &format!("\nleft out: {failure}");
    }
    if !failures.is_empty() {
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_roles_and_names() {
        assert_eq!(member("local=m").unwrap(), (Requirement::Local, "m".to_owned()));
        for wrong in ["local", "lokal=m", "stirring=m"] {
            assert!(member(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn tiles_are_keys_and_values() {
        let parsed = tiles("stride=16,share=0.05").unwrap();
        assert_eq!(
            (parsed.stride, parsed.smoothing, parsed.share),
            (Some(16), None, Some(0.05))
        );
        assert_eq!(tiles("").unwrap(), Tiles::default());
        for wrong in ["stride", "stride=x", "step=3"] {
            assert!(tiles(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_is_that_of_a_folder() {
        assert!(is_name("fashion-mnist-gate_2.1"));
        for wrong in ["", ".hidden", "a/b", "a b", ".."] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
