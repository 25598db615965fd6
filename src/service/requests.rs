//! What each use case takes and gives: plain data, no transport.

use crate::domain::{bayes, image::Image, likelihood::Bound};

use super::error::ServiceError;

/// Per image: its result, or why it has none.
pub type PerImage<T> = Vec<Result<T, ServiceError>>;

/// Which lower bound a latent-variable model is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundChoice {
    /// `exact`: refused by models that have only a bound.
    Exact,
    /// `elbo`.
    Elbo,
    /// `iwae`.
    Iwae,
}

/// Options of `score`.
#[derive(Debug, Clone, Default)]
pub struct ScoreOptions {
    /// The bound; by default the model's natural one: `exact` for autoregressive models, `elbo` for a VAE.
    pub bound: Option<BoundChoice>,
    /// Posterior samples of a bound (1 to 4,096); by default 16 for `elbo` and 64 for `iwae`.
    pub k: Option<u32>,
    /// Seed of the posterior samples.
    pub seed: u64,
    /// Whether to return the log-probability of every dimension.
    pub map: bool,
    /// The label that a conditional model is asked about: its name or its number. Without one the answer is p(x), over all labels.
    pub label: Option<String>,
}

/// Answer of `score`.
#[derive(Debug, Clone)]
pub struct ScoreAnswer {
    /// What the numbers are worth.
    pub bound: Bound,
    /// Of a conditional model, what they are likelihoods of.
    pub likelihood_of: Option<LikelihoodOf>,
    /// The seed of posterior samples, where any were drawn.
    pub seed: Option<u64>,
    /// One result an image.
    pub results: PerImage<Score>,
}

/// What a model that is conditioned on labels was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LikelihoodOf {
    /// p(x | y) of the label of this name.
    Given(String),
    /// The evidence p(x) = Σ p(x | y) p(y) over all labels.
    Evidence,
}

impl LikelihoodOf {
    /// The formula used in answers.
    pub fn formula(&self) -> &'static str {
        match self {
            Self::Given(_) => "p(x|y)",
            Self::Evidence => "p(x)",
        }
    }
}

/// The likelihood of one image.
#[derive(Debug, Clone)]
pub struct Score {
    /// Nats. May be −∞ where a model gives a level no probability at all; never NaN.
    pub log_likelihood_nats: f64,
    /// −log p / (D ln 2).
    pub bits_per_dim: f64,
    /// exp(−log p / D).
    pub perplexity: f64,
    /// 1 / Σ w̄² for `iwae`.
    pub effective_sample_size: Option<f64>,
    /// Log-probability of every dimension in nats, channel, row, column order: log p(xᵢ | x₍<ᵢ₎) for an autoregressive
    /// model, of which a conditional one is the mixture over labels if it was asked for the evidence; for a VAE the mean over posterior
    /// samples of log p(xᵢ | z), which does not contain the KL term.
    pub map: Option<Vec<f32>>,
}

/// Options of `sample`.
#[derive(Debug, Clone)]
pub struct SampleOptions {
    /// Images.
    pub n: u32,
    /// Seed: the same seed gives the same images.
    pub seed: u64,
    /// Above 0; 1 is the model's own distribution, lower is more typical.
    pub temperature: f64,
    /// Draw from the decoder's likelihood or take its mean (latent-variable models only).
    pub observation: Observation,
    /// The label that a conditional model is asked for: its name or its number. Without one, each image's is drawn from the prior.
    pub label: Option<String>,
}

/// What to show of a decoder's distribution over images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Observation {
    /// A draw from it: a true sample of the model, with its pixel noise.
    Sample,
    /// Its mean: smooth, easier on the eye, not a sample.
    #[default]
    Mean,
}

/// Images drawn.
#[derive(Debug, Clone)]
pub struct SampleAnswer {
    /// The images.
    pub images: Vec<Image>,
    /// Of a conditional model, the name of each image's label; else empty.
    pub labels: Vec<String>,
    /// How they were drawn.
    pub sampler: Sampler,
}

/// How images are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampler {
    /// Pixel after pixel along wavefronts of the compiled network: what the naive loop would draw, at about the price of a score.
    Wavefront {
        /// Steps that each image took.
        steps: u64,
    },
    /// Fixed-point iteration over full passes: what the naive loop would draw.
    FixedPoint {
        /// Full passes that the whole request took.
        passes: u64,
    },
    /// One pass through a decoder.
    Decoder,
}

impl Sampler {
    /// The name used in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wavefront { .. } => "wavefront",
            Self::FixedPoint { .. } => "fixed_point",
            Self::Decoder => "decoder",
        }
    }
}

/// Options of `complete`.
#[derive(Debug, Clone)]
pub struct CompleteOptions {
    /// Which pixels are given.
    pub known: Known,
    /// Completions of each image.
    pub n: u32,
    /// Seed.
    pub seed: u64,
    /// Above 0.
    pub temperature: f64,
    /// The label that a conditional model is asked about: its name or its number. Without one, each completion's is drawn from the
    /// posterior given the known pixels, which must come first in the model's order.
    pub label: Option<String>,
}

/// Which pixels of an image are given.
#[derive(Debug, Clone)]
pub enum Known {
    /// The first rows.
    Rows(usize),
    /// One flag a pixel in row order, `true` where it is given.
    Mask(Vec<bool>),
}

/// Answer of `complete`.
#[derive(Debug, Clone)]
pub struct CompleteAnswer {
    /// How the missing pixels were drawn.
    pub method: CompletionMethod,
    /// For each image its completions.
    pub results: PerImage<Completions>,
}

/// Completions of one image.
#[derive(Debug, Clone)]
pub struct Completions {
    /// The images.
    pub images: Vec<Image>,
    /// Of a conditional model, the name of each completion's label; else empty.
    pub labels: Vec<String>,
}

/// How missing pixels are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompletionMethod {
    /// Exactly from p(missing | known): every given pixel comes before every missing one in the model's order.
    Exact,
    /// In the model's order, each missing pixel conditioned on the pixels before it only. Given pixels that come later
    /// are kept but do not inform the missing ones before them.
    Ancestral,
    /// By alternating encoder and decoder (Rezende, Mohamed and Wierstra 2014, appendix F): approximate.
    PseudoGibbs {
        /// Rounds.
        iterations: u32,
    },
}

impl CompletionMethod {
    /// The name used in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Ancestral => "ancestral",
            Self::PseudoGibbs { .. } => "pseudo_gibbs",
        }
    }
}

/// One image, compressed.
#[derive(Debug, Clone, PartialEq)]
pub struct Compressed {
    /// The whole stream: a header of [`Compressed::HEADER_BYTES`] and the code.
    pub bytes: Vec<u8>,
    /// −log₂ of the probability of the image: the length that no code beats on average.
    pub ideal_bits: f64,
}

/// The latent code of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoding {
    /// The code; of a VAE the mean of the posterior over codes, of a classifier its features.
    pub code: Vec<f32>,
    /// Logarithm of the variance of the posterior, of the same size, where there is a posterior.
    pub log_variance: Option<Vec<f32>>,
}

/// Options of `decode`.
#[derive(Debug, Clone, Default)]
pub struct DecodeOptions {
    /// Mean or draw.
    pub observation: Observation,
    /// Seed of the draw.
    pub seed: u64,
}

/// Options of `reconstruct`.
#[derive(Debug, Clone, Default)]
pub struct ReconstructOptions {
    /// Whether to return the squared error at each dimension.
    pub map: bool,
}

/// One image through encoder and decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Reconstruction {
    /// The decoder's image of the code, or its mean at the mean of the posterior.
    pub image: Image,
    /// Mean over dimensions of the squared difference, in units of level / (levels − 1).
    pub mean_squared_error: f64,
    /// log p(x | z) at the posterior mean, in nats, where the decoder gives a distribution.
    pub log_likelihood_given_code_nats: Option<f64>,
    /// The squared difference at each dimension, in channel, row, column order, where it was asked for.
    pub map: Option<Vec<f32>>,
}

impl Reconstruction {
    /// From the squared error at each dimension.
    pub(super) fn new(
        image: Image,
        errors: Vec<f64>,
        log_likelihood_given_code_nats: Option<f64>,
        options: &ReconstructOptions,
    ) -> Self {
        Self {
            image,
            mean_squared_error: errors.iter().sum::<f64>() / errors.len() as f64,
            log_likelihood_given_code_nats,
            map: options
                .map
                .then(|| errors.into_iter().map(|error| error as f32).collect()),
        }
    }
}

/// Options of `classify`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClassifyOptions {
    /// Whether to return what each dimension says about each label.
    pub map: bool,
    /// The share of ordinary images that each reason to give no label may reject: above 0, below 1. Composites only.
    pub false_alarm_rate: Option<f64>,
}

impl ClassifyOptions {
    /// 1 %.
    pub const DEFAULT_FALSE_ALARM_RATE: f64 = 0.01;
}

/// Answer of `classify`.
#[derive(Debug, Clone)]
pub struct ClassifyAnswer {
    /// Names of the labels, in the order of their numbers.
    pub labels: Vec<String>,
    /// One result an image.
    pub results: PerImage<Classification>,
}

/// What a model says about the label of one image; lists are in order of label.
#[derive(Debug, Clone)]
pub struct Classification {
    /// log p(y | x): of a distribution over labels.
    pub log_posterior: Vec<f64>,
    /// log p(x | y) in nats, of models that have it. May be −∞; never NaN.
    pub log_likelihoods: Option<Vec<f64>>,
    /// log p(x) in nats, of models that have it. May be −∞; never NaN.
    pub log_evidence: Option<f64>,
    /// For each label what each dimension says about it, if it was asked for and the model can tell: nats, positive for the label, in
    /// channel, row, column order. See [`crate::domain::bayes`].
    pub maps: Option<Vec<Vec<f32>>>,
    /// Reasons to give no label, of models that have them.
    pub doubts: Option<Doubts>,
}

/// Two reasons to give an image no label, each with its own calibration.
#[derive(Debug, Clone, PartialEq)]
pub struct Doubts {
    /// The share of ordinary images that each may reject.
    pub false_alarm_rate: f64,
    /// The image lies between labels: the value is −log max p(y | x), in nats.
    pub ambiguity: Doubt,
    /// The image is like nothing that the labels mean: the value is what the judge of novelty goes by, a detector's strangeness or the
    /// density's log p(x).
    pub novelty: Doubt,
}

/// One reason to give no label.
#[derive(Debug, Clone, PartialEq)]
pub struct Doubt {
    /// What it is judged by.
    pub value: f64,
    /// How often an ordinary image is as far out.
    pub p_value: f64,
    /// Whether it rejects.
    pub reject: bool,
}

/// What a model with doubts makes of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has its most probable label.
    Accept,
    /// It is none of these. That weighs more than ambiguity: between which labels it lies means nothing then.
    NoneOfThese,
    /// It lies between labels.
    Ambiguous,
}

impl Doubts {
    /// What they come to.
    pub fn verdict(&self) -> Verdict {
        match (self.novelty.reject, self.ambiguity.reject) {
            (true, _) => Verdict::NoneOfThese,
            (false, true) => Verdict::Ambiguous,
            (false, false) => Verdict::Accept,
        }
    }
}

impl Verdict {
    /// The name used in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::NoneOfThese => "none_of_these",
            Self::Ambiguous => "ambiguous",
        }
    }
}

impl Classification {
    /// The number of the most probable label; of equally probable ones the first.
    pub fn label(&self) -> usize {
        bayes::most_probable(&self.log_posterior)
    }

    /// p(y | x) in order of label.
    pub fn probabilities(&self) -> Vec<f64> {
        self.log_posterior.iter().map(|log| log.exp()).collect()
    }
}

/// Options of `detect`.
#[derive(Debug, Clone)]
pub struct DetectOptions {
    /// The share of inliers that may be rejected: above 0, below 1.
    pub false_alarm_rate: f64,
    /// With which probability over calibrations this very calibration is to keep the rate, instead of calibrations on average:
    /// above 0, below 1. Detectors only.
    pub confidence: Option<f64>,
    /// The expected share of inliers among the rejected images of the request, which replaces the false-alarm rate: above 0, below 1.
    /// Detectors only.
    pub false_discovery_rate: Option<f64>,
    /// Whether to return what speaks against each dimension. Detectors only.
    pub map: bool,
}

impl DetectOptions {
    /// 1 %.
    pub const DEFAULT_FALSE_ALARM_RATE: f64 = 0.01;
}

impl Default for DetectOptions {
    fn default() -> Self {
        Self {
            false_alarm_rate: Self::DEFAULT_FALSE_ALARM_RATE,
            confidence: None,
            false_discovery_rate: None,
            map: false,
        }
    }
}

/// Answer of `detect`.
#[derive(Debug, Clone)]
pub struct DetectAnswer {
    /// The largest p-value that is rejected; with a false discovery rate it depends on the other images of the request.
    pub threshold: Option<f64>,
    /// Calibration scores behind the p-values.
    pub calibration_size: usize,
    /// Where they came from.
    pub calibration_description: String,
    /// One result an image.
    pub results: PerImage<Detection>,
}

/// The verdict on one image.
#[derive(Debug, Clone)]
pub struct Detection {
    /// Whether the image is rejected.
    pub reject: bool,
    /// Conformal p-value.
    pub p_value: f64,
    /// One number of which only large values are strange, and by which images can be put in order: what a detector makes of its
    /// statistics, else −log p-value.
    pub strangeness: f64,
    /// What was measured.
    pub statistics: Vec<MeasuredStatistic>,
    /// −log p / (D ln 2), where a density was asked.
    pub bits_per_dim: Option<f64>,
    /// What speaks against each dimension, where it was asked for.
    pub map: Option<EvidenceMap>,
}

/// One number measured of an image.
#[derive(Debug, Clone)]
pub struct MeasuredStatistic {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// How often an inlier's is as far out.
    pub p_value: f64,
    /// The value in bits per dimension, where it is a log-likelihood.
    pub bits_per_dim: Option<f64>,
}

/// What speaks against each dimension of an image.
#[derive(Debug, Clone)]
pub struct EvidenceMap {
    /// The statistic that is shown: of those that are maps, the one with the strangest density.
    pub statistic: &'static str,
    /// What the values are in, see [`crate::domain::statistics::Statistic::map_unit`].
    pub unit: &'static str,
    /// In channel, row, column order; positive speaks against the image.
    pub values: Vec<f32>,
}
