//! `calibrate`: a detector, or a composite of Bayes' rule, from models and inliers.

mod composite;
mod detector;

use std::path::{Path, PathBuf};

use clap::Args;

use super::{CliError, OfflineSettings, Outcome, image_set::Handling, model, print};
use crate::{
    app::{App, Registries},
    detection::{evaluation::Failure, evidence::Predicts, learners::BANK},
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

    /// What the detector goes by: everything that its members say, or, where these give maps of features, how far
    /// places are from their nearest neighbours and nothing else
    #[arg(long, value_name = "WHAT", default_value = "everything", value_parser = ["everything", "neighbours"])]
    by: String,

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
    let (repository, name) = place(&folder)?;
    settings.models.repository = repository.clone();
    let app = App::beside_a_server(&settings, registries)?;
    app.loader().load()?;
    let main = app.service.catalogue().model(&name, None)?;
    if main.can::<dyn Predicts>().is_ok() && composite::is_meant(&request.members) {
        composite::run(request, &app, main, &repository)
    } else {
        detector::run(request, &app, main, &repository)
    }
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

/// A number of features that can have a nearest one among them.
fn bank(text: &str) -> Result<usize, String> {
    let number = text.parse().map_err(|error| format!("{error}"))?;
    match number {
        16..=1_000_000 => Ok(number),
        _ => Err("it must be 16 to 1000000".to_owned()),
    }
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
    fn a_name_is_that_of_a_folder() {
        assert!(is_name("fashion-mnist-gate_2.1"));
        for wrong in ["", ".hidden", "a/b", "a b", ".."] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
