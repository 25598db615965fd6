//! The use cases, free of transport: HTTP and the command line call these functions and nothing below them.
//!
//! Architecture invariant: nothing here knows of HTTP, of ONNX Runtime or of image files.

mod autoencoder;
mod autoregressive;
pub mod calibrate;
mod classifier;
mod classify;
pub mod compose;
mod composite;
mod compression;
mod detect;
mod drawing;
pub mod drift;
pub mod error;
mod generator;
pub mod info;
mod labels;
mod latent;
mod measure;
mod models;
pub mod progress;
pub mod requests;
mod score;
mod work;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;

pub use self::models::ServedModel;
use self::{
    drift::{DriftReport, Monitor},
    error::ServiceError,
    info::ModelInfo,
    models::{Lanes, Models},
    progress::Board,
    requests::*,
};
use crate::{
    domain::{
        family::Capability,
        image::{Image, ImageShape},
        likelihood,
    },
    metrics::Metrics,
    repository::Repository,
    scheduling::{AdmissionError, Ask, Class, JobError, Permit, Scheduler},
};

/// Sizes that requests may ask for.
#[derive(Debug, Clone)]
pub struct ServiceLimits {
    /// Images drawn by one request, completions included.
    pub max_samples: u32,
    /// Posterior samples of a bound.
    pub max_k: u32,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            max_samples: 64,
            max_k: 4096,
        }
    }
}

/// The use cases over the models of a repository.
#[derive(Debug)]
pub struct Service {
    metrics: Arc<Metrics>,
    repository: Repository,
    /// `None` until the first scan is over.
    models: ArcSwapOption<Models>,
    /// Held while models are loaded, so that two scans do not load the same version twice.
    scanning: Mutex<()>,
    draining: AtomicBool,
    limits: ServiceLimits,
    scheduler: Scheduler,
    /// Where the drift of detectors is kept; unset as long as nobody watches it.
    drift_folder: OnceLock<PathBuf>,
}

impl Service {
    /// A service without models; [`Self::scan`] loads them.
    pub fn new(
        repository: Repository,
        scheduler: Scheduler,
        limits: ServiceLimits,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            metrics,
            repository,
            models: ArcSwapOption::empty(),
            scanning: Mutex::default(),
            draining: AtomicBool::new(false),
            limits,
            scheduler,
            drift_folder: OnceLock::new(),
        }
    }

    /// From now on the streams that detectors judge are watched for drift, and kept in `folder`. A second folder is ignored.
    pub fn watch_drift(&self, folder: PathBuf) {
        // The first one stands.
        let _ = self.drift_folder.set(folder);
    }

    /// Reads the repository: loads what is new, drops what is gone. Requests go on meanwhile; those that hold a model keep it.
    /// Takes as long as the load gates of new versions, so call it on a thread that may block.
    pub fn scan(&self) -> io::Result<()> {
        let _one_at_a_time = self.scanning.lock().unwrap_or_else(PoisonError::into_inner);
        let catalog = self.repository.scan()?;
        let previous = self.models.load_full().unwrap_or_default();
        let models = Models::new(catalog, &previous, &self.scheduler, &self.metrics);
        if let Some(folder) = self.drift_folder.get() {
            for model in models.all_ready() {
                model.watched(folder, &self.metrics);
            }
        }
        self.models.store(Some(Arc::new(models)));
        Ok(())
    }

    /// The metrics of this server.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Whether the server takes new work: a model is ready and it is not draining.
    pub fn is_ready(&self) -> bool {
        let any_ready = self.loaded().is_ok_and(|models| models.any_ready());
        any_ready && !self.draining.load(Ordering::SeqCst)
    }

    /// From now on [`Self::is_ready`] is false, so that nothing new is sent here. Requests that came all the same, or whose body is
    /// still on its way, are served: it is the transport that stops taking them.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Every version of every model, ready or not, in order of name and version.
    pub fn models(&self) -> Vec<ModelInfo> {
        self.loaded()
            .map_or_else(|_| Vec::new(), |models| models.describe_all())
    }

    /// One version; by default the one that serves, else the newest.
    pub fn model_info(&self, name: &str, version: Option<u32>) -> Result<ModelInfo, ServiceError> {
        let models = self.loaded()?;
        let (number, slot) = models.find(name, version)?;
        Ok(models::describe(name, number, slot))
    }

    /// A model that is ready; by default its newest ready version.
    pub fn model(
        &self,
        name: &str,
        version: Option<u32>,
    ) -> Result<Arc<ServedModel>, ServiceError> {
        self.loaded()?.get(name, version)
    }

    /// The log-likelihood of images, or a bound on it.
    pub async fn score(
        &self,
        model: &Arc<ServedModel>,
        images: Vec<Image>,
        options: &ScoreOptions,
        deadline: Instant,
    ) -> Result<ScoreAnswer, ServiceError> {
        model.require(Capability::Score)?;
        check_shapes(model, &images)?;
        let condition = model.condition(options.label.as_deref())?;
        let answer = match &model.lanes {
            Lanes::Autoregressive { score, .. } => {
                let lane = (&**model, &**score);
                score::exact(self, lane, images, condition, options, deadline).await?
            }
            Lanes::Vae { encode, decode } => {
                let bound = score::bound(options, self.limits.max_k)?;
                let lanes = (&**encode, &**decode);
                score::lower_bound(self, lanes, images, bound, options, deadline).await?
            }
            Lanes::Composite(lanes) => {
                let request = (condition, options);
                composite::score(self, model, lanes, images, request, deadline).await?
            }
            _ => return Err(model.unsupported(Capability::Score)),
        };
        self.count(model, Capability::Score, &answer.results);
        let bits = self.metrics.bits_per_dim.with_label_values(&[model.name()]);
        for score in answer.results.iter().flatten() {
            bits.observe(score.bits_per_dim);
        }
        Ok(answer)
    }

    /// Labels of images, with their probabilities.
    pub async fn classify(
        &self,
        model: &Arc<ServedModel>,
        images: Vec<Image>,
        options: &ClassifyOptions,
        deadline: Instant,
    ) -> Result<ClassifyAnswer, ServiceError> {
        model.require(Capability::Classify)?;
        check_shapes(model, &images)?;
        let answer = match &model.lanes {
            Lanes::Autoregressive { score, .. } => {
                classify::by_bayes(self, model, score, images, options, deadline).await?
            }
            Lanes::Classifier { classify } => {
                classify::by_classifier(self, model, classify, images, options, deadline).await?
            }
            Lanes::Composite(lanes) => {
                composite::classify(self, model, lanes, images, options, deadline).await?
            }
            _ => return Err(model.unsupported(Capability::Classify)),
        };
        self.count(model, Capability::Classify, &answer.results);
        let bits = self.metrics.bits_per_dim.with_label_values(&[model.name()]);
        let dimensions = model.shape().dimensions();
        for classification in answer.results.iter().flatten() {
            if let Some(log_evidence) = classification.log_evidence {
                bits.observe(likelihood::bits_per_dim(log_evidence, dimensions));
            }
            if let Some(doubts) = &classification.doubts {
                let p_values = &self.metrics.p_value;
                p_values
                    .with_label_values(&[model.name()])
                    .observe(doubts.novelty.p_value);
                self.metrics
                    .decisions
                    .with_label_values(&[model.name(), doubts.verdict().name()])
                    .inc();
            }
        }
        Ok(answer)
    }

    /// Whether images are reasonable, at a stated false-alarm rate.
    pub async fn detect(
        &self,
        model: &Arc<ServedModel>,
        images: Vec<Image>,
        options: &DetectOptions,
        deadline: Instant,
    ) -> Result<DetectAnswer, ServiceError> {
        model.require(Capability::Detect)?;
        check_shapes(model, &images)?;
        let watched = self
            .drift_folder
            .get()
            .and_then(|folder| model.watched(folder, &self.metrics));
        let judged = if watched.is_some() {
            images.clone()
        } else {
            Vec::new()
        };
        let answer = detect::detect(self, model, images, options, deadline).await?;
        if let Some(monitor) = watched {
            let both = judged.iter().zip(&answer.results);
            monitor.take(both.filter_map(|(image, r)| Some((image, r.as_ref().ok()?.strangeness))));
        }
        self.count(model, Capability::Detect, &answer.results);
        let bits = self.metrics.bits_per_dim.with_label_values(&[model.name()]);
        let p_values = self.metrics.p_value.with_label_values(&[model.name()]);
        for detection in answer.results.iter().flatten() {
            if let Some(value) = detection.bits_per_dim {
                bits.observe(value);
            }
            p_values.observe(detection.p_value);
            let decision = if detection.reject { "reject" } else { "accept" };
            self.metrics
                .decisions
                .with_label_values(&[model.name(), decision])
                .inc();
        }
        Ok(answer)
    }

    /// New images. Where images are drawn pixel by pixel, `watch` shows how far they are.
    pub async fn sample(
        &self,
        model: &Arc<ServedModel>,
        options: &SampleOptions,
        watch: Option<&Arc<Board>>,
        deadline: Instant,
    ) -> Result<SampleAnswer, ServiceError> {
        model.require(Capability::Sample)?;
        let condition = model.condition(options.label.as_deref())?;
        self.check_draws("n", 1, options.n)?;
        check_temperature(options.temperature)?;
        let labels = condition.draw(options.n, options.seed);
        let mut answer = match &model.lanes {
            Lanes::Autoregressive { draw, .. } => {
                let request = (options, &*labels, watch);
                autoregressive::sample(self, model, draw, request, deadline).await?
            }
            Lanes::Vae { decode, .. } => {
                latent::sample(self, model, decode, options, deadline).await?
            }
            Lanes::Generator { generate } => {
                generator::sample(self, model, generate, (options, &labels), deadline).await?
            }
            _ => return Err(model.unsupported(Capability::Sample)),
        };
        answer.labels = model.names_of(&labels);
        self.count_images(model, Capability::Sample, answer.images.len());
        Ok(answer)
    }

    /// The missing pixels of partly given images. Levels of unknown pixels in `images` are ignored.
    pub async fn complete(
        &self,
        model: &Arc<ServedModel>,
        images: Vec<Image>,
        options: &CompleteOptions,
        deadline: Instant,
    ) -> Result<CompleteAnswer, ServiceError> {
        model.require(Capability::Complete)?;
        check_shapes(model, &images)?;
        self.check_draws("n", images.len(), options.n)?;
        check_temperature(options.temperature)?;
        let known = known_pixels(&options.known, model)?;
        let condition = model.condition(options.label.as_deref())?;
        let answer = match &model.lanes {
            Lanes::Autoregressive { score, draw } => {
                let lanes = (&**score, &**draw);
                let request = (options, condition);
                autoregressive::complete(self, model, lanes, &images, &known, request, deadline)
                    .await?
            }
            Lanes::Vae { encode, decode } => {
                let lanes = (&**encode, &**decode);
                latent::complete(self, model, lanes, &images, &known, options, deadline).await?
            }
            _ => return Err(model.unsupported(Capability::Complete)),
        };
        self.count(model, Capability::Complete, &answer.results);
        Ok(answer)
    }

    /// Images as streams that [`Self::decompress`] reads back exactly, of the length that their probabilities allow.
    pub async fn compress(
        &self,
        model: &Arc<ServedModel>,
        images: Vec<Image>,
        label: Option<&str>,
        deadline: Instant,
    ) -> Result<PerImage<Compressed>, ServiceError> {
        model.require(Capability::Compress)?;
        check_shapes(model, &images)?;
        let label = compression::label(model, label)?;
        let results = compression::compress(self, model, images, label, deadline).await?;
        self.count(model, Capability::Compress, &results);
        Ok(results)
    }

    /// The images of streams that [`Self::compress`] wrote with the same model, on the same runtime and kind of processor; anything
    /// else is an error, never another image.
    pub async fn decompress(
        &self,
        model: &Arc<ServedModel>,
        streams: Vec<Vec<u8>>,
        deadline: Instant,
    ) -> Result<PerImage<Image>, ServiceError> {
        model.require(Capability::Compress)?;
        compression::decompress(self, model, &streams, deadline).await
    }

    /// Latent codes of images; of a classifier its features.
    pub async fn encode(
        &self,
        model: &Arc<ServedModel>,
        images: Vec<Image>,
        deadline: Instant,
    ) -> Result<PerImage<Encoding>, ServiceError> {
        model.require(Capability::Encode)?;
        check_shapes(model, &images)?;
        let results = match &model.lanes {
            Lanes::Vae { encode, .. } => latent::encode(self, encode, images, deadline).await?,
            Lanes::Autoencoder { encode, .. } => {
                autoencoder::encode(self, encode, images, deadline).await?
            }
            Lanes::Classifier { classify } => {
                classifier::features(self, classify, images, deadline).await?
            }
            _ => return Err(model.unsupported(Capability::Encode)),
        };
        self.count(model, Capability::Encode, &results);
        Ok(results)
    }

    /// Images of latent codes, each of `model.latent_size()` finite numbers.
    pub async fn decode(
        &self,
        model: &Arc<ServedModel>,
        latents: Vec<Vec<f32>>,
        options: &DecodeOptions,
        deadline: Instant,
    ) -> Result<PerImage<Image>, ServiceError> {
        model.require(Capability::Decode)?;
        latent::check_codes(&latents, model.latent_size().unwrap_or_default())?;
        let results = match &model.lanes {
            Lanes::Vae { decode, .. } => {
                latent::decode(self, model, decode, latents, options, deadline).await?
            }
            Lanes::Autoencoder { decode, .. } => {
                only_means(options.observation)?;
                autoencoder::decode(self, model, decode, latents, deadline).await?
            }
            _ => return Err(model.unsupported(Capability::Decode)),
        };
        self.count(model, Capability::Decode, &results);
        Ok(results)
    }

    /// Images through encoder and decoder.
    pub async fn reconstruct(
        &self,
        model: &Arc<ServedModel>,
        images: Vec<Image>,
        options: &ReconstructOptions,
        deadline: Instant,
    ) -> Result<PerImage<Reconstruction>, ServiceError> {
        model.require(Capability::Reconstruct)?;
        check_shapes(model, &images)?;
        let results = match &model.lanes {
            Lanes::Vae { encode, decode } => {
                let lanes = (&**encode, &**decode);
                latent::reconstruct(self, model, lanes, images, options, deadline).await?
            }
            Lanes::Autoencoder { encode, decode } => {
                let lanes = (&**encode, &**decode);
                autoencoder::reconstruct(self, model, lanes, images, options, deadline).await?
            }
            _ => return Err(model.unsupported(Capability::Reconstruct)),
        };
        self.count(model, Capability::Reconstruct, &results);
        Ok(results)
    }

    /// `steps` images (2 to 64) on the straight line between the codes of two images, both ends included.
    pub async fn interpolate(
        &self,
        model: &Arc<ServedModel>,
        from: Image,
        to: Image,
        steps: u32,
        deadline: Instant,
    ) -> Result<Vec<Image>, ServiceError> {
        model.require(Capability::Interpolate)?;
        check_shapes(model, &[from.clone(), to.clone()])?;
        if !(2..=64).contains(&steps) {
            return Err(ServiceError::InvalidOption {
                option: "steps",
                reason: format!("{steps} is outside 2 to 64"),
            });
        }
        let images = match &model.lanes {
            Lanes::Vae { encode, decode } => {
                let lanes = (&**encode, &**decode);
                latent::interpolate(self, model, lanes, (from, to), steps, deadline).await?
            }
            Lanes::Autoencoder { encode, decode } => {
                let lanes = (&**encode, &**decode);
                autoencoder::interpolate(self, model, lanes, (from, to), steps, deadline).await?
            }
            _ => return Err(model.unsupported(Capability::Interpolate)),
        };
        self.count_images(model, Capability::Interpolate, images.len());
        Ok(images)
    }

    /// What is known of the drift of a detector's stream.
    pub fn drift(&self, model: &ServedModel) -> Result<DriftReport, ServiceError> {
        self.monitor(model).map(Monitor::report)
    }

    /// Forgets a detector's stream and begins anew.
    pub fn reset_drift(&self, model: &ServedModel) -> Result<DriftReport, ServiceError> {
        let monitor = self.monitor(model)?;
        monitor.reset();
        Ok(monitor.report())
    }

    fn monitor<'a>(&self, model: &'a ServedModel) -> Result<&'a Monitor, ServiceError> {
        let folder = self.drift_folder.get();
        folder
            .and_then(|folder| model.watched(folder, &self.metrics))
            .ok_or_else(|| ServiceError::Unsupported {
                model: model.name.clone(),
                capability: Capability::Detect,
                reason: "drift is watched on the streams of detectors only, by a server".to_owned(),
            })
    }

    fn loaded(&self) -> Result<Arc<Models>, ServiceError> {
        self.models.load_full().ok_or(ServiceError::Loading)
    }

    /// Leave to give the workers so much to do until a deadline.
    fn admit(
        &self,
        class: Class,
        cost: Duration,
        deadline: Instant,
    ) -> Result<Permit, ServiceError> {
        let ask = Ask {
            class,
            cost,
            deadline: Some(deadline),
            client: None,
        };
        self.scheduler.admit(ask).map_err(|error| match error {
            AdmissionError::Full { retry_after } => {
                self.metrics.reject("overloaded");
                ServiceError::Overloaded { retry_after }
            }
            AdmissionError::Draining => {
                self.metrics.reject("shutting_down");
                ServiceError::ShuttingDown
            }
        })
    }

    fn check_draws(&self, option: &'static str, images: usize, n: u32) -> Result<(), ServiceError> {
        let max = self.limits.max_samples;
        let total = (images as u64).saturating_mul(u64::from(n));
        if n == 0 {
            return Err(ServiceError::InvalidOption {
                option,
                reason: "at least 1 image must be drawn".to_owned(),
            });
        }
        if total > u64::from(max) {
            return Err(ServiceError::TooLarge(format!(
                "{total} images to draw in one request; at most {max} are allowed"
            )));
        }
        Ok(())
    }

    fn count<T>(&self, model: &ServedModel, capability: Capability, results: &PerImage<T>) {
        self.count_images(model, capability, results.iter().flatten().count());
    }

    fn count_images(&self, model: &ServedModel, capability: Capability, images: usize) {
        self.metrics
            .images
            .with_label_values(&[model.name(), capability.name()])
            .inc_by(images as u64);
    }
}

impl From<JobError> for ServiceError {
    fn from(error: JobError) -> Self {
        match error {
            JobError::DeadlineExceeded => Self::DeadlineExceeded,
            JobError::Failed(cause) => Self::Inference(cause),
        }
    }
}

/// The image that a model made. Levels come from the model's own shape, so this fails only if the code is wrong.
fn image_of(shape: ImageShape, levels: Vec<u8>) -> Result<Image, ServiceError> {
    Image::new(shape, levels).map_err(|error| ServiceError::Inference(error.to_string()))
}

/// Images are decoded for the model that they go to, so this fails only if a caller mixes models up.
fn check_shapes(model: &ServedModel, images: &[Image]) -> Result<(), ServiceError> {
    match images.iter().find(|image| image.shape() != model.shape()) {
        None => Ok(()),
        Some(image) => Err(ServiceError::InvalidImage(format!(
            "the image is {}, but model {:?} takes {}",
            image.shape(),
            model.name(),
            model.shape()
        ))),
    }
}

fn check_temperature(temperature: f64) -> Result<(), ServiceError> {
    if temperature > 0.0 && temperature <= 100.0 {
        return Ok(());
    }
    Err(ServiceError::InvalidOption {
        option: "temperature",
        reason: format!("{temperature} is not above 0 and at most 100"),
    })
}

/// Decoders and generators without a distribution over images have nothing to draw.
fn only_means(observation: Observation) -> Result<(), ServiceError> {
    match observation {
        Observation::Mean => Ok(()),
        Observation::Sample => Err(ServiceError::InvalidOption {
            option: "observation",
            reason: "this model makes an image of a code and no distribution over images, so there is nothing to draw: leave it out or ask \
                     for \"mean\""
                .to_owned(),
        }),
    }
}

/// One flag a pixel, in row order.
fn known_pixels(known: &Known, model: &ServedModel) -> Result<Vec<bool>, ServiceError> {
    let shape = model.shape();
    let (height, width) = (shape.height(), shape.width());
    match known {
        Known::Rows(rows) if *rows <= height => Ok((0..shape.pixels())
            .map(|pixel| pixel < rows * width)
            .collect()),
        Known::Rows(rows) => Err(ServiceError::InvalidOption {
            option: "rows",
            reason: format!("{rows} rows cannot be known of an image of {height}"),
        }),
        Known::Mask(mask) if mask.len() == shape.pixels() => Ok(mask.clone()),
        Known::Mask(mask) => Err(ServiceError::InvalidOption {
            option: "mask",
            reason: format!(
                "it has {} flags, but the image has {height}×{width} = {} pixels",
                mask.len(),
                shape.pixels()
            ),
        }),
    }
}
