//! One pass over the images, in which the model is asked everything that it can answer.

use futures_util::future::try_join3;

use crate::{
    cli::{
        CliError,
        labels::Labels,
        model::Loaded,
        pipeline::{self, Images},
        table::ImageName,
    },
    domain::{
        family::Capability,
        image::Image,
        likelihood::{Bound, bits_per_dim},
    },
    service::{
        ServedModel,
        error::ServiceError,
        requests::{
            BoundChoice, Classification, ClassifyOptions, Doubts, PerImage, ReconstructOptions,
            ScoreOptions,
        },
    },
};

/// Images kept at either end of the likelihoods.
const ENDS: usize = 16;

/// What the model is to be asked.
#[derive(Debug)]
pub(super) struct Plan {
    score: bool,
    /// Which also gives log p(x) of a density that is conditioned on labels.
    classify: bool,
    reconstruct: bool,
    /// Labels that images may have: the model's, or else those that were given.
    label_names: Vec<String>,
}

/// What was found, image by image.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) names: Vec<ImageName>,
    pub(super) label_names: Vec<String>,
    /// The number of each image's label, where labels were given.
    pub(super) labels: Option<Vec<usize>>,
    pub(super) bound: Option<Bound>,
    pub(super) seed: Option<u64>,
    /// log p(x) in nats, if the model has a density.
    pub(super) log_likelihoods: Vec<f64>,
    /// log p(x|y) in nats of the label that each image has, if the model has it.
    pub(super) log_likelihoods_given_label: Vec<f64>,
    pub(super) effective_sample_sizes: Vec<f64>,
    /// log p(y|x) of every label, if the model classifies.
    pub(super) log_posteriors: Vec<Vec<f64>>,
    /// Reasons to give no label, if the model has any.
    pub(super) doubts: Vec<Doubts>,
    pub(super) squared_errors: Vec<f64>,
    pub(super) least_likely: Ends,
    pub(super) most_likely: Ends,
}

/// The images at one end, the outermost first.
#[derive(Debug, Default)]
pub(super) struct Ends(Vec<(f64, Image)>);

/// What was found of one image.
struct One {
    image: Image,
    score: Option<OneScore>,
    classification: Option<Classification>,
    squared_error: Option<f64>,
}

struct OneScore {
    bound: Bound,
    seed: Option<u64>,
    log_likelihood_nats: f64,
    effective_sample_size: Option<f64>,
}

impl Plan {
    /// What the model can answer about these images; an error if that is nothing and `detects` is not asked for either.
    pub(super) fn new(
        loaded: &Loaded,
        images: &Images,
        options: &ScoreOptions,
        detects: bool,
    ) -> Result<Self, CliError> {
        let model = &loaded.model;
        let can = |capability| model.require(capability).is_ok();
        let own = model.label_names().to_vec();
        let given = images.labels.distinct(&images.files);
        let (scores, classifies) = (can(Capability::Score), can(Capability::Classify));
        let is_conditional = scores && classifies && !own.is_empty();
        let plan = Self {
            score: scores && !is_conditional,
            classify: is_conditional || classifies && images.labels.are_given(),
            reconstruct: can(Capability::Reconstruct),
            label_names: if own.is_empty() { in_order(given) } else { own },
        };
        if plan.is_empty() && !detects {
            return Err(nothing_to_measure(model));
        }
        let asks_for_bound = matches!(options.bound, Some(BoundChoice::Elbo | BoundChoice::Iwae));
        if is_conditional && (asks_for_bound || options.k.is_some()) {
            return Err(CliError::Usage(
                "--bound and --k: the likelihood of this model is exact, and there are no posterior samples to count"
                    .to_owned(),
            ));
        }
        if !scores && (options.bound.is_some() || options.k.is_some()) {
            let reason = model.require(Capability::Score).err();
            let reason = reason.map_or_else(String::new, |error| error.to_string());
            return Err(CliError::Usage(format!(
                "--bound and --k belong to a likelihood: {reason}"
            )));
        }
        plan.check(&images.labels, images)?;
        Ok(plan)
    }

    /// Whether there is nothing to ask.
    pub(super) fn is_empty(&self) -> bool {
        !(self.score || self.classify || self.reconstruct)
    }

    /// Every label that was given must be one that the model knows.
    fn check(&self, labels: &Labels, images: &Images) -> Result<(), CliError> {
        for label in labels.distinct(&images.files) {
            self.number(&label)?;
        }
        Ok(())
    }

    /// The number of a label that is given by name or by number.
    fn number(&self, label: &str) -> Result<usize, CliError> {
        let names = &self.label_names;
        let by_name = names.iter().position(|name| name == label);
        let by_number = || label.parse().ok().filter(|&number| number < names.len());
        by_name.or_else(by_number).ok_or_else(|| {
            CliError::Usage(format!(
                "the label {label:?} is none of the model's, which are the numbers below {} or: {}",
                names.len(),
                names.join(", ")
            ))
        })
    }
}

/// Labels by number if all are numbers, else by name.
fn in_order(mut labels: Vec<String>) -> Vec<String> {
    if labels.iter().all(|label| label.parse::<i64>().is_ok()) {
        labels.sort_by_key(|label| label.parse::<i64>().unwrap_or_default());
    }
    labels
}

fn nothing_to_measure(model: &ServedModel) -> CliError {
    let reasons: Vec<String> = [
        Capability::Score,
        Capability::Classify,
        Capability::Reconstruct,
        Capability::Detect,
    ]
    .into_iter()
    .filter_map(|capability| match model.require(capability) {
        Err(ServiceError::Unsupported { reason, .. }) => {
            Some(format!("it cannot {capability}: {reason}"))
        }
        Ok(()) if capability == Capability::Classify => Some(
            "it can classify, but there is nothing to hold its answers against: add --labels or --labels-from-folders"
                .to_owned(),
        ),
        _ => None,
    })
    .collect();
    CliError::Usage(format!(
        "there is nothing to measure of {:?} on images: {}",
        model.name(),
        reasons.join("; ")
    ))
}

/// Asks the model what the plan says of every image. The first image that fails ends the command: a set with holes is another set.
pub(super) fn measure(
    loaded: &Loaded,
    plan: &Plan,
    images: Images,
    options: &ScoreOptions,
) -> Result<Measured, CliError> {
    let mut measured = Measured {
        label_names: plan.label_names.clone(),
        labels: images.labels.are_given().then(Vec::new),
        ..Measured::default()
    };
    let ask = |images| ask(loaded, plan, images, options);
    pipeline::each(loaded, images, false, ask, |name, found| {
        let found: &One =
            found.map_err(|reason| CliError::Usage(format!("{}: {reason}", place(name))))?;
        let label = match &name.label {
            Some(label) => Some(plan.number(label)?),
            None => None,
        };
        measured.add(name, label, found);
        Ok(true)
    })?;
    if measured.names.is_empty() {
        return Err(CliError::Usage(
            "--data holds no images: its arrays are empty".to_owned(),
        ));
    }
    Ok(measured)
}

fn place(name: &ImageName) -> String {
    match name.index {
        Some(index) => format!("{}, image {index}", name.input),
        None => name.input.clone(),
    }
}

async fn ask(
    loaded: &Loaded,
    plan: &Plan,
    images: Vec<Image>,
    options: &ScoreOptions,
) -> Result<PerImage<One>, ServiceError> {
    let (service, model) = (&loaded.app.service, &loaded.model);
    let deadline = pipeline::no_deadline();
    let score = async {
        if !plan.score {
            return Ok(None);
        }
        let answer = service
            .score(model, images.clone(), options, deadline)
            .await;
        answer.map(Some)
    };
    let classify = async {
        if !plan.classify {
            return Ok(None);
        }
        let options = ClassifyOptions::default();
        let answer = service
            .classify(model, images.clone(), &options, deadline)
            .await;
        answer.map(Some)
    };
    let reconstruct = async {
        if !plan.reconstruct {
            return Ok(None);
        }
        let answer = service
            .reconstruct(
                model,
                images.clone(),
                &ReconstructOptions::default(),
                deadline,
            )
            .await;
        answer.map(Some)
    };
    let (scores, classifications, reconstructions) =
        try_join3(score, classify, reconstruct).await?;
    let (bound, seed) = scores
        .as_ref()
        .map_or((Bound::Exact, None), |answer| (answer.bound, answer.seed));
    let mut scores = scores.map(|answer| answer.results.into_iter());
    let mut classifications = classifications.map(|answer| answer.results.into_iter());
    let mut reconstructions = reconstructions.map(Vec::into_iter);
    Ok(images
        .into_iter()
        .map(|image| {
            let score = next(&mut scores)?.map(|score| OneScore {
                bound,
                seed,
                log_likelihood_nats: score.log_likelihood_nats,
                effective_sample_size: score.effective_sample_size,
            });
            let classification = next(&mut classifications)?;
            let reconstruction = next(&mut reconstructions)?;
            Ok(One {
                image,
                score,
                classification,
                squared_error: reconstruction.map(|found| found.mean_squared_error),
            })
        })
        .collect())
}

/// The next answer, if the question was asked.
fn next<T>(
    answers: &mut Option<impl Iterator<Item = Result<T, ServiceError>>>,
) -> Result<Option<T>, ServiceError> {
    answers.as_mut().and_then(Iterator::next).transpose()
}

impl Measured {
    fn add(&mut self, name: &ImageName, label: Option<usize>, found: &One) {
        self.names.push(name.clone());
        if let (Some(labels), Some(label)) = (&mut self.labels, label) {
            labels.push(label);
        }
        if let Some(score) = &found.score {
            self.bound = Some(score.bound);
            self.seed = score.seed;
            self.add_likelihood(score.log_likelihood_nats, &found.image);
            self.effective_sample_sizes
                .extend(score.effective_sample_size);
        }
        if let Some(classification) = &found.classification {
            self.log_posteriors
                .push(classification.log_posterior.clone());
            self.doubts.extend(classification.doubts.clone());
            if let Some(log_evidence) = classification.log_evidence {
                self.add_likelihood(log_evidence, &found.image);
            }
            let given = classification.log_likelihoods.as_ref().zip(label);
            self.log_likelihoods_given_label
                .extend(given.map(|(of_labels, label)| of_labels[label]));
        }
        self.squared_errors.extend(found.squared_error);
    }

    fn add_likelihood(&mut self, log_likelihood_nats: f64, image: &Image) {
        self.log_likelihoods.push(log_likelihood_nats);
        self.least_likely.add(log_likelihood_nats, image);
        self.most_likely.add(-log_likelihood_nats, image);
    }

    /// Bits/dim of the images of positive probability.
    pub(super) fn bits_per_dim(&self, dimensions: usize) -> Vec<f64> {
        let finite = self.log_likelihoods.iter().filter(|nats| nats.is_finite());
        finite.map(|&nats| bits_per_dim(nats, dimensions)).collect()
    }
}

impl Ends {
    fn add(&mut self, value: f64, image: &Image) {
        let place = self.0.partition_point(|(other, _)| *other <= value);
        if place < ENDS {
            self.0.insert(place, (value, image.clone()));
            self.0.truncate(ENDS);
        }
    }

    pub(super) fn images(&self) -> Vec<Image> {
        self.0.iter().map(|(_, image)| image.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::ImageShape;

    #[test]
    fn the_ends_are_the_smallest_in_order() {
        let shape = ImageShape::new(1, 1, 1, 256).unwrap();
        let mut ends = Ends::default();
        for value in (0..40_u32).map(|i| (7 * i % 40) as u8) {
            let image = Image::new(shape, vec![value]).unwrap();
            ends.add(f64::from(value), &image);
        }
        let levels: Vec<u8> = ends
            .images()
            .iter()
            .map(|image| image.levels()[0])
            .collect();
        assert_eq!(levels, (0..16).collect::<Vec<u8>>());
    }

    #[test]
    fn labels_are_found_by_name_then_by_number() {
        let plan = Plan {
            score: true,
            classify: false,
            reconstruct: false,
            label_names: ["shoe", "0", "coat"].map(str::to_owned).to_vec(),
        };
        assert_eq!(plan.number("coat").unwrap(), 2);
        assert_eq!(plan.number("0").unwrap(), 1);
        assert_eq!(plan.number("2").unwrap(), 2);
        let message = plan.number("3").unwrap_err().to_string();
        assert!(message.contains("below 3 or: shoe, 0, coat"), "{message}");
    }

    #[test]
    fn numbers_are_put_in_order_of_number() {
        let labels = |all: &[&str]| in_order(all.iter().map(|&l| l.to_owned()).collect());
        assert_eq!(labels(&["10", "2"]), ["2", "10"]);
        assert_eq!(labels(&["10", "2", "a"]), ["10", "2", "a"]);
    }
}
