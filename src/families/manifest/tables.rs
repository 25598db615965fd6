//! The tables of a manifest as they are written: each is taken once, by whoever has a use for it, and none may be left
//! over.

use std::fmt;

use serde::{Deserialize, de::DeserializeOwned};

use super::placement::CalibratedAt;
pub use crate::graph::rewrite::InputMap;
use crate::{domain::image::ImageShape, model::labels::Labels, runtime::Placement};

/// What is left of a manifest to be read.
pub struct Tables {
    family: &'static str,
    shape: Option<ImageShape>,
    rest: toml::Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageTable {
    channels: usize,
    height: usize,
    width: usize,
    levels: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputTable {
    scale: PerChannel,
    offset: PerChannel,
}

/// One number for all channels, or one for each.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a number, or a list of one for each channel")]
enum PerChannel {
    All(f64),
    Each(Vec<f64>),
}

impl PerChannel {
    /// One for each of so many channels, if they are finite.
    fn of(self, channels: usize, name: &str) -> Result<Vec<f64>, String> {
        let each = match self {
            Self::All(number) => vec![number; channels],
            Self::Each(numbers) => numbers,
        };
        refuse(each.len() != channels, || {
            format!(
                "input.{name}: {} numbers, and the images have {channels} channels",
                each.len()
            )
        })?;
        refuse(each.iter().any(|number| !number.is_finite()), || {
            format!("input.{name}: it must be finite")
        })?;
        Ok(each)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LatentTable {
    size: usize,
}

/// `[likelihood]`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Likelihood {
    /// The distribution over levels.
    pub head: Head,
    /// Of a Gaussian with one standard deviation for all dimensions, in units of level / (levels − 1).
    pub sigma: Option<f64>,
}

/// `[likelihood]` `head`: the distribution over levels.
#[derive(Debug, Deserialize, PartialEq, Eq, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// Softmax over the levels.
    Categorical,
    /// Sigmoid: two levels only.
    Bernoulli,
    /// A logistic distribution, binned.
    DiscretizedLogistic,
    /// Mixtures of them over the channels of a pixel, which they link.
    DiscretizedLogisticMixture,
    /// A normal distribution, binned.
    Gaussian,
}

impl fmt::Display for Likelihood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = match self.head {
            Head::Categorical => "categorical",
            Head::Bernoulli => "bernoulli",
            Head::DiscretizedLogistic => "discretized-logistic",
            Head::DiscretizedLogisticMixture => "discretized-logistic-mixture",
            Head::Gaussian => "gaussian",
        };
        write!(f, "head = {head:?}")?;
        self.sigma.map_or(Ok(()), |sigma| write!(f, " and sigma = {sigma}"))
    }
}

/// `[golden]` of families that say something of images: what the training framework computed, which the server has to
/// reproduce.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scored {
    /// npy file of images: uint8 of shape (n, H, W) or (n, H, W, C).
    pub images: String,
    /// npy file of numbers: float64 of shape (n), or of a model with labels (n, labels). What they are is the family's
    /// affair.
    pub scores: String,
    absolute_tolerance: f64,
    relative_tolerance: f64,
    bf16_tolerance: Option<f64>,
}

/// How far a number may be from the golden one, in the unit of that number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Allowed difference.
    pub absolute: f64,
    /// Allowed difference as a share of the golden number.
    pub relative: f64,
    /// How far a number may move when it is computed at bf16; nothing is said where that was not looked at.
    pub at_bf16: Option<f64>,
}

impl Tolerance {
    /// The difference allowed to a golden number.
    pub fn allows(self, expected: f64) -> f64 {
        self.absolute + self.relative * expected.abs()
    }
}

/// A tolerance, if it can be one.
pub fn tolerance(absolute: f64, relative: f64, at_bf16: Option<f64>) -> Result<Tolerance, String> {
    let is_valid = |value: f64| value.is_finite() && value >= 0.0;
    if is_valid(absolute) && is_valid(relative) && at_bf16.is_none_or(is_valid) {
        return Ok(Tolerance {
            absolute,
            relative,
            at_bf16,
        });
    }
    Err("golden: tolerances must be finite, and not negative".to_owned())
}

impl Scored {
    /// How far off the server may be.
    pub fn tolerance(&self) -> Tolerance {
        Tolerance {
            absolute: self.absolute_tolerance,
            relative: self.relative_tolerance,
            at_bf16: self.bf16_tolerance,
        }
    }

    /// Its files.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        [self.images.as_str(), &self.scores].into_iter()
    }
}

/// `[calibration]`: scores of held-out inliers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationFile {
    /// npy file, float64 of shape (n), nats; of a conditional model log p(image), over all labels.
    pub scores: String,
    /// The statistic they are of: `log_likelihood`, or `elbo_at_mean`, log p(x | z = μ(x)) − KL(q(z | x) ‖ p(z)), the
    /// evidence lower bound with its expectation taken at the posterior mean. That is not itself a bound, but
    /// deterministic and cheap, which is what a statistic has to be.
    statistic: String,
    /// Where they came from.
    pub description: String,
    /// File of short hashes of the images that they are of, see [`crate::detection::trained_on`].
    pub images: Option<String>,
    /// Where they were computed, and how exactly.
    device: Option<String>,
    precision: Option<String>,
}

impl CalibrationFile {
    /// Where the scores were computed, and how exactly.
    pub fn placement(&self) -> Result<Placement, String> {
        CalibratedAt::new(self.device.clone(), self.precision.clone()).placement()
    }

    /// Its files.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.scores.as_str()).chain(self.images.as_deref())
    }
}

impl Tables {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let rest = toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
        Ok(Self {
            family: "model",
            shape: None,
            rest,
        })
    }

    pub(super) fn set_family(&mut self, family: &'static str) {
        self.family = family;
    }

    pub(super) fn read_shape(&mut self) -> Result<ImageShape, String> {
        let image: ImageTable = self.needed("image")?;
        let shape = ImageShape::new(image.channels, image.height, image.width, image.levels)
            .map_err(|error| format!("image: {error}"))?;
        self.shape = Some(shape);
        Ok(shape)
    }

    /// Nothing may be left.
    pub(super) fn finish(self) -> Result<(), String> {
        match self.rest.iter().next() {
            None => Ok(()),
            Some((name, toml::Value::Table(_))) => Err(self.has_no(&format!("[{name}]"))),
            Some((name, _)) => Err(self.has_no(name)),
        }
    }

    /// A table, or another value, that must be there.
    pub fn needed<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, String> {
        self.optional(name)?.ok_or_else(|| self.needs(&format!("[{name}]")))
    }

    /// A table that may be there.
    pub fn optional<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, String> {
        let value = self.rest.remove(name);
        value
            .map(|value| {
                value
                    .try_into()
                    .map_err(|error: toml::de::Error| format!("{name}: {}", error.to_string().trim()))
            })
            .transpose()
    }

    /// Refuses a table that the family has no use for, with the reason.
    pub fn none(&self, name: &str, why: &str) -> Result<(), String> {
        refuse(self.rest.contains_key(name), || {
            format!("{}: {why}", self.has_no(&format!("[{name}]")))
        })
    }

    /// Refuses what only a density has: `[likelihood]` and `[calibration]`.
    pub fn no_density(&self) -> Result<(), String> {
        self.none("likelihood", "it has no explicit density over images")?;
        self.none("calibration", "it has no statistic to calibrate")
    }

    /// Size of the images.
    ///
    /// # Panics
    /// Before `[image]` was read, which comes before the family's tables.
    pub fn shape(&self) -> ImageShape {
        self.shape.expect("[image] is read first")
    }

    /// `[input]`: the map from levels to what the graph takes.
    pub fn input_map(&mut self) -> Result<InputMap, String> {
        let InputTable { scale, offset } = self.needed("input")?;
        let channels = self.shape().channels();
        let (scale, offset) = (scale.of(channels, "scale")?, offset.of(channels, "offset")?);
        refuse(scale.contains(&0.0), || "input.scale: it must not be 0".to_owned())?;
        Ok(InputMap::of_channels(scale.into_iter().zip(offset)))
    }

    /// `[latent]` `size`: the size of a code.
    pub fn latent_size(&mut self) -> Result<usize, String> {
        let size = self.optional::<LatentTable>("latent")?.map(|latent| latent.size);
        size.filter(|size| (1..=65_536).contains(size))
            .ok_or_else(|| self.needs("[latent] with a size from 1 to 65536"))
    }

    /// `[likelihood]` of a family whose heads are said by their names alone.
    pub fn head(&mut self) -> Result<Head, String> {
        let Likelihood { head, sigma } = self.needed("likelihood")?;
        refuse(sigma.is_some(), || {
            "likelihood.sigma: only a decoder has one".to_owned()
        })?;
        Ok(head)
    }

    /// `[likelihood]`, if there is one.
    pub fn likelihood(&mut self) -> Result<Option<Likelihood>, String> {
        self.optional("likelihood")
    }

    /// `[labels]`: names that differ, and a prior that is a distribution over them.
    pub fn labels(&mut self) -> Result<Option<Labels>, String> {
        let labels: Option<Labels> = self.optional("labels")?;
        if let Some(labels) = &labels {
            check_labels(labels)?;
        }
        Ok(labels)
    }

    /// `[golden]` of numbers of images.
    pub fn scored(&mut self) -> Result<Scored, String> {
        let scored: Scored = self.needed("golden")?;
        tolerance(
            scored.absolute_tolerance,
            scored.relative_tolerance,
            scored.bf16_tolerance,
        )?;
        Ok(scored)
    }

    /// `[calibration]` on `statistic`.
    pub fn calibration(&mut self, statistic: &str) -> Result<Option<CalibrationFile>, String> {
        let file: Option<CalibrationFile> = self.optional("calibration")?;
        refuse(file.as_ref().is_some_and(|file| file.statistic != statistic), || {
            format!(
                "calibration.statistic: a {} is calibrated on {statistic:?}",
                self.family
            )
        })?;
        file.as_ref().map(CalibrationFile::placement).transpose()?;
        Ok(file)
    }

    /// The refusal of a manifest in which something is missing.
    pub fn needs(&self, what: &str) -> String {
        format!("a {} needs {what}", self.family)
    }

    /// The refusal of a manifest in which something is too much.
    pub fn has_no(&self, what: &str) -> String {
        format!("a {} has no {what}", self.family)
    }
}

/// The label input of a conditional graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelInput {
    /// Name in the graph: int64 `[batch]`.
    pub input: String,
    /// Labels are 0 to `classes` − 1.
    pub classes: u32,
}

/// The label input of a graph, which must be there exactly if there are labels.
pub fn label_input(input: Option<String>, labels: Option<&Labels>, table: &str) -> Result<Option<LabelInput>, String> {
    match (input, labels) {
        (None, None) => Ok(None),
        (Some(input), Some(labels)) => Ok(Some(LabelInput {
            input,
            classes: u32::try_from(labels.names.len()).unwrap_or(u32::MAX),
        })),
        (Some(_), None) => Err(format!("{table}.label: a conditional model needs [labels]")),
        (None, Some(_)) => Err(format!("labels: [{table}] has no label input to give them to")),
    }
}

/// An error, if something is wrong.
pub fn refuse(wrong: bool, reason: impl FnOnce() -> String) -> Result<(), String> {
    if wrong { Err(reason()) } else { Ok(()) }
}

fn check_labels(labels: &Labels) -> Result<(), String> {
    let Labels { names, prior } = labels;
    if names.len() < 2 || names.iter().any(String::is_empty) {
        return Err("labels.names: at least two names, none of them empty, are needed".to_owned());
    }
    if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        return Err(format!("labels.names: {:?} is there twice", twice.1));
    }
    let sum: f64 = prior.iter().sum();
    if prior.len() != names.len() || prior.iter().any(|&p| p.is_nan() || p <= 0.0) || (sum - 1.0).abs() > 1e-6 {
        return Err(format!(
            "labels.prior: {} numbers with sum {sum}; wanted are {} positive ones with sum 1",
            prior.len(),
            names.len()
        ));
    }
    Ok(())
}
