//! Making a composite: a classifier, a density and inliers in, a new version of a composite out.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    ServedModel, Service, calibrate, classify::posterior, composite::ambiguity,
    error::ServiceError, models::Lanes,
};
use crate::{
    domain::{conformal::Calibration, family::Capability, image::Image},
    repository::composite::{self, Members, NewComposite},
    scheduling::Class,
};

/// Images classified in one piece of work.
const CHUNK: usize = 64;

/// Images kept with the composite to check that a server finds what was found here.
const GOLDEN: usize = 8;

/// What a composite is to be made of.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Its name.
    pub name: String,
    /// p(label | image).
    pub classifier: Arc<ServedModel>,
    /// p(image).
    pub density: Arc<ServedModel>,
    /// A detector over the density; without it the density's own calibration judges novelty.
    pub novelty: Option<Arc<ServedModel>>,
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

impl Service {
    /// Makes a composite and writes it as the next version of its name into `repository`. `progress` is told how many images have been
    /// classified.
    pub async fn compose(
        &self,
        recipe: &Recipe,
        inliers: Vec<Image>,
        repository: &Path,
        progress: impl Fn(usize),
    ) -> Result<Composed, ServiceError> {
        let before = inliers.len();
        let images = calibrate::unique(inliers);
        if images.len() < calibrate::LEAST_CALIBRATION {
            return Err(calibrate::invalid(
                "data",
                format!(
                    "{} different images are too few: at least {} are needed, and thousands for small false-alarm rates",
                    images.len(),
                    calibrate::LEAST_CALIBRATION
                ),
            ));
        }
        for (role, model) in [
            ("classifier", &recipe.classifier),
            ("density", &recipe.density),
        ] {
            calibrate::not_trained_on(role, model, &images)?;
        }
        let ambiguity = self
            .ambiguities(&recipe.classifier, &images, progress)
            .await?;
        let members = Members {
            classifier: Arc::clone(&recipe.classifier.version),
            density: Arc::clone(&recipe.density.version),
            novelty: recipe
                .novelty
                .as_ref()
                .map(|model| Arc::clone(&model.version)),
        };
        let wrong = |cause: String| calibrate::invalid("member", cause);
        let labels = members
            .classifier
            .manifest
            .labels
            .clone()
            .ok_or_else(|| wrong(format!("{:?} has no labels", recipe.classifier.name())))?;
        let calibration = Calibration::new(ambiguity.clone())
            .map_err(|error| calibrate::invalid("data", error.to_string()))?;
        let parts = members.compose(calibration, &labels).map_err(wrong)?;
        let golden = images[..GOLDEN].to_vec();
        let levels: Vec<&[u8]> = golden.iter().map(Image::levels).collect();
        let golden_scores = composite::scores(&parts, &levels)
            .map_err(|error| ServiceError::Inference(error.to_string()))?;
        let composite = NewComposite {
            name: recipe.name.clone(),
            description: format!(
                "{} and {} by Bayes' rule: a label, or one of two reasons to give none",
                recipe.classifier.name(),
                recipe.density.name()
            ),
            members: &members,
            labels,
            ambiguity,
            golden,
            golden_scores,
            data: recipe.data.clone(),
            licence: recipe.licence.clone(),
            command: recipe.command.clone(),
        };
        let folder = composite::write(repository, &composite).map_err(|error| {
            calibrate::invalid("output", format!("{}: {error}", repository.display()))
        })?;
        Ok(Composed {
            folder,
            calibrate: images.len(),
            duplicates: before - images.len(),
        })
    }

    /// −log max p(label | image) of every image.
    async fn ambiguities(
        &self,
        classifier: &ServedModel,
        images: &[Image],
        progress: impl Fn(usize),
    ) -> Result<Vec<f64>, ServiceError> {
        let Lanes::Classifier { classify } = &classifier.lanes else {
            return Err(classifier.unsupported(Capability::Classify));
        };
        let deadline = Instant::now() + Duration::from_secs(365 * 24 * 3600);
        let mut all = Vec::with_capacity(images.len());
        for chunk in images.chunks(CHUNK) {
            let permit = self.admit(
                Class::Interactive,
                classify.estimate(chunk.len() as u64),
                deadline,
            )?;
            for prediction in classify.run(&permit, chunk.to_vec(), deadline).await {
                all.push(ambiguity(&posterior(&prediction?)?));
            }
            progress(all.len());
        }
        Ok(all)
    }
}
