//! Composing a classifier and a density: a classifier, a density and inliers in, a new version of a composite out.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Members, judge::ambiguity};
use crate::{
    detection::calibrate,
    domain::{bayes::Role, conformal::Calibration, image::Image},
    families::manifest::{
        members::Member,
        placement, preprocessing,
        text::{self, Origin},
        write,
    },
    media,
    model::{
        Model, Refusal,
        classify::{Classifies, ClassifyAsk},
        labels::Labels,
        work::Resources,
    },
    runtime::Placement,
};

/// Images kept with the composite to check that a server finds what was found here.
const GOLDEN: usize = 8;

/// Names of the files.
const AMBIGUITY: &str = "ambiguity.npy";
const GOLDEN_IMAGES: &str = "golden_images.npy";
const GOLDEN_SCORES: &str = "golden_scores.npy";

/// What a composite is to be made of.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Its name.
    pub name: String,
    /// p(label | image).
    pub classifier: Arc<Model>,
    /// p(image), if there is such a model.
    pub density: Option<Arc<Model>>,
    /// A detector, over the density if there is one; without it the density's own calibration judges novelty.
    pub novelty: Option<Arc<Model>>,
    /// Images by which a server checks that it finds what was found here; without any some of those that calibrate.
    pub golden: Vec<Image>,
    /// Where the images come from.
    pub data: String,
    /// Their licence.
    pub licence: String,
    /// The command that made it.
    pub command: String,
}

/// A composite that was made.
#[derive(Debug, Clone)]
pub struct Composed {
    /// The folder of its version.
    pub folder: PathBuf,
    /// Images that calibrate ambiguity.
    pub calibrate: usize,
    /// Images that came more than once and were counted once.
    pub duplicates: usize,
}

/// Makes a composite and writes it as the next version of its name into `repository`. `progress` is told how many
/// images have been classified.
pub async fn compose(
    resources: &Resources,
    recipe: &Recipe,
    inliers: Vec<Image>,
    repository: &Path,
    progress: impl Fn(usize),
) -> Result<Composed, Refusal> {
    let before = inliers.len();
    let images = calibrate::unique(inliers);
    if images.len() < calibrate::LEAST_CALIBRATION {
        return Err(Refusal::option(
            "data",
            format!(
                "{} different images are too few: at least {} are needed, and thousands for small false-alarm rates",
                images.len(),
                calibrate::LEAST_CALIBRATION
            ),
        ));
    }
    let classifier = (Role::Classifier, &recipe.classifier);
    let density = recipe.density.as_ref().map(|model| (Role::Density, model));
    for (role, model) in [classifier].into_iter().chain(density) {
        calibrate::not_trained_on(role.name(), model, &images)?;
    }
    let ambiguity = ambiguities(resources, &recipe.classifier, &images, progress).await?;
    let members = Members {
        classifier: Arc::clone(&recipe.classifier),
        density: recipe.density.clone(),
        novelty: recipe.novelty.clone(),
    };
    let wrong = |cause: String| Refusal::option("member", cause);
    let labels = recipe.classifier.labels.clone();
    let labels = labels.ok_or_else(|| wrong(format!("{:?} has no labels", recipe.classifier.name)))?;
    let calibration = Calibration::new(ambiguity.clone()).map_err(|error| Refusal::option("data", error))?;
    let parts = members.compose(calibration, &labels).map_err(wrong)?;
    let golden = if recipe.golden.is_empty() {
        images[..GOLDEN].to_vec()
    } else {
        recipe.golden.clone()
    };
    let levels: Vec<&[u8]> = golden.iter().map(Image::levels).collect();
    let composite = NewComposite {
        name: recipe.name.clone(),
        description: match &recipe.density {
            Some(density) => format!(
                "{} and {} by Bayes' rule: a label, or one of two reasons to give none",
                recipe.classifier.name, density.name
            ),
            None => format!(
                "{} behind a detector: a label, or one of two reasons to give none",
                recipe.classifier.name
            ),
        },
        members: &members,
        labels,
        ambiguity,
        golden_scores: parts.scores(&levels).map_err(Refusal::internal)?,
        golden,
        data: recipe.data.clone(),
        licence: recipe.licence.clone(),
        command: recipe.command.clone(),
    };
    let folder = write(repository, &composite)
        .map_err(|error| Refusal::option("repository", format!("{}: {error}", repository.display())))?;
    Ok(Composed {
        folder,
        calibrate: images.len(),
        duplicates: before - images.len(),
    })
}

/// −log max p(label | image) of every image.
async fn ambiguities(
    resources: &Resources,
    classifier: &Model,
    images: &[Image],
    progress: impl Fn(usize),
) -> Result<Vec<f64>, Refusal> {
    let classifies = classifier
        .can::<dyn Classifies>()
        .map_err(|reason| Refusal::unsupported(&classifier.name, "classify", &reason))?;
    let call = calibrate::call_without_deadline(resources);
    let mut all = Vec::with_capacity(images.len());
    for chunk in images.chunks(calibrate::CHUNK) {
        for classification in classifies
            .classify(chunk.to_vec(), &ClassifyAsk::default(), &call)
            .await?
        {
            all.push(ambiguity(&classification?.log_posterior));
        }
        progress(all.len());
    }
    Ok(all)
}

/// Everything that a new composite is made of.
#[derive(Debug)]
struct NewComposite<'a> {
    /// Its name.
    name: String,
    /// One line.
    description: String,
    /// Its members.
    members: &'a Members,
    /// Labels and their prior.
    labels: Labels,
    /// −log max p(label | image) of held-out inliers.
    ambiguity: Vec<f64>,
    /// Some inliers, on which a server checks that it finds what was found here.
    golden: Vec<Image>,
    /// log p(image | label) of every label of these, or log p(label | image) without a density.
    golden_scores: Vec<f64>,
    /// Where the images came from.
    data: String,
    /// Their licence.
    licence: String,
    /// The command that made the composite.
    command: String,
}

/// Writes a composite as the next version of its name in `repository`, in one step, and answers its folder.
fn write(repository: &Path, composite: &NewComposite<'_>) -> io::Result<PathBuf> {
    let shape = composite.members.classifier.shape;
    let labels = composite.labels.names.len();
    let golden = composite.golden_scores.iter().copied();
    let files = vec![
        (
            AMBIGUITY,
            media::write_f64(&[composite.ambiguity.len()], composite.ambiguity.iter().copied()),
        ),
        (GOLDEN_IMAGES, media::write_images(&composite.golden, shape)),
        (
            GOLDEN_SCORES,
            media::write_f64(&[composite.golden.len(), labels], golden),
        ),
    ];
    write::version(repository, &composite.name, &files, |hashes| {
        manifest(composite, hashes)
    })
}

/// Where the members are computed, and how exactly.
fn members_placement(members: &Members) -> Placement {
    let others = members.density.iter().chain(&members.novelty);
    Placement::of_all(
        [&members.classifier]
            .into_iter()
            .chain(others)
            .map(|model| model.placement),
    )
}

/// The text of a composite's manifest.
fn manifest(composite: &NewComposite<'_>, hashes: &[(&str, String)]) -> String {
    let members = composite.members;
    let roles = [
        (Role::Classifier, Some(&members.classifier)),
        (Role::Density, members.density.as_ref()),
        (Role::Novelty, members.novelty.as_ref()),
    ];
    let members: Vec<Member<Role>> = roles
        .into_iter()
        .filter_map(|(role, version)| version.map(|model| Member::new(role, model)))
        .collect();
    let labels = &composite.labels;
    let names: Vec<String> = labels.names.iter().map(|name| text::quoted(name)).collect();
    let shape = composite.members.classifier.shape;
    let count = composite.ambiguity.len();
    let origin = Origin {
        data: &composite.data,
        licence: &composite.licence,
        command: &composite.command,
        parameters: 0,
        seconds: 0.0,
    };
    [
        text::head(&composite.name, super::NAME, &composite.description, shape),
        preprocessing::text(composite.members.classifier.preprocessing),
        format!(
            "\n[labels]\nnames = [{}]\nprior = {:?}\n",
            names.join(", "),
            labels.prior
        ),
        text::members(&members),
        format!(
            "\n[ambiguity]\nscores = {AMBIGUITY:?}\ndescription = {}\n{}\n[golden]\nimages = {GOLDEN_IMAGES:?}\n\
             scores = {GOLDEN_SCORES:?}\nabsolute_tolerance = 0.001\nrelative_tolerance = 0.000001\n",
            text::quoted(&format!("{}: {count} images", composite.data)),
            placement::lines(members_placement(composite.members))
        ),
        text::tail(&origin, hashes),
    ]
    .concat()
}
