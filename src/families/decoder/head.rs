//! Heads of decoders: what the outputs of a graph say of an image, as a manifest tells it.

use super::Observation;
use crate::{
    domain::{image::ImageShape, logistic_mixture},
    families::{
        gate::units::{self, Suspicion},
        manifest::{self, Declared, Likelihood, refuse},
    },
    graph::{GraphError, convert::Step, protobuf::Model, signature},
    import::output_range,
};

/// Names of a decoder's outputs in a manifest, of which a head reads some.
#[derive(Debug, Default)]
pub struct Outputs {
    /// The mean of each dimension, or its picture, in units of level / (levels − 1).
    pub mean: Option<String>,
    /// Logarithm of the scale of each dimension, in the same units.
    pub log_scale: Option<String>,
    /// Log-odds of each dimension.
    pub logits: Option<String>,
    /// Of each pixel, those of a mixture.
    pub parameters: Option<String>,
}

/// What a decoder gives of an image.
#[derive(Debug, Clone)]
pub struct Head {
    pub(super) shape: ImageShape,
    kind: Kind,
    /// Outputs, in the order in which the kind reads them.
    outputs: Vec<String>,
    /// Between which numbers the last operators of the graph keep the first output, once a graph has told.
    range: (f64, f64),
}

const ANY: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Mean and log-scale.
    Located(Density),
    /// Mean, and this log-scale everywhere.
    LocatedAlike(Density, f32),
    /// Log-odds. They are a likelihood of two levels only.
    LogOdds,
    /// So many parameters of each pixel, see [`logistic_mixture`]; 0 until a graph has told.
    Mixture(usize),
    /// An image.
    Picture,
}

/// A density of one dimension, which is integrated over the bin of each level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Density {
    /// Logistic, of a scale.
    Logistic,
    /// Normal, of a deviation.
    Gaussian,
}

/// Why there is no likelihood where a decoder gives an image.
const NO_LIKELIHOOD: &str = "its decoder gives an image of a code and no distribution over images, and a \
    reconstruction error is no likelihood; if it was trained on squared error, there is one as soon as its standard \
    deviation is declared: [likelihood] head = \"gaussian\" and sigma";

/// Why there is none where log-odds are of more than two levels.
const NOT_NORMALISED: &str = "its decoder gives log-odds, which are a likelihood of images of two levels; between \
    black and white the binary cross-entropy is none, because its probabilities do not sum to 1 over the levels";

impl Head {
    /// An image and no distribution.
    pub fn picture(shape: ImageShape, output: String) -> Self {
        Self {
            shape,
            kind: Kind::Picture,
            outputs: vec![output],
            range: ANY,
        }
    }

    /// From `[likelihood]`, if there is one, and the names of the outputs, which come from `table`.
    pub fn read(
        shape: ImageShape,
        likelihood: Option<&Likelihood>,
        outputs: Outputs,
        table: &str,
    ) -> Result<Self, String> {
        let sigma = likelihood.and_then(|likelihood| likelihood.sigma);
        let head = likelihood.map(|likelihood| likelihood.head);
        refuse(sigma.is_some() && head != Some(manifest::Head::Gaussian), || {
            "likelihood.sigma: only a \"gaussian\" head has one".to_owned()
        })?;
        let (kind, reads): (_, &[&str]) = match (head, sigma) {
            (None, _) => (Kind::Picture, &["mean"]),
            (Some(manifest::Head::DiscretizedLogistic), _) => {
                (Kind::Located(Density::Logistic), &["mean", "log_scale"])
            }
            (Some(manifest::Head::Gaussian), None) => (Kind::Located(Density::Gaussian), &["mean", "log_scale"]),
            (Some(manifest::Head::Gaussian), Some(sigma)) => {
                refuse(!sigma.is_finite() || sigma <= 0.0, || {
                    "likelihood.sigma: a standard deviation is finite and above 0".to_owned()
                })?;
                (Kind::LocatedAlike(Density::Gaussian, sigma.ln() as f32), &["mean"])
            }
            (Some(manifest::Head::Bernoulli), _) => (Kind::LogOdds, &["logits"]),
            (Some(manifest::Head::DiscretizedLogisticMixture), _) => {
                let channels = shape.channels();
                refuse(logistic_mixture::parameters_of_component(channels).is_none(), || {
                    format!(
                        "likelihood.head: \"discretized-logistic-mixture\" is a likelihood of pixels of 1 channel or \
                         3, not of {channels}"
                    )
                })?;
                (Kind::Mixture(0), &["parameters"])
            }
            (Some(manifest::Head::Categorical), _) => {
                return Err(
                    "likelihood.head: a decoder has a \"discretized-logistic\", \"discretized-logistic-mixture\", \
                     \"gaussian\" or \"bernoulli\" head, or no [likelihood] if it gives an image only"
                        .to_owned(),
                );
            }
        };
        let named = outputs.named();
        let outputs: Option<Vec<String>> = reads.iter().map(|&key| take(&named, key)).collect();
        match outputs.filter(|outputs| outputs.len() == named.len()) {
            Some(outputs) => Ok(Self {
                shape,
                kind,
                outputs,
                range: ANY,
            }),
            None => {
                let keys: Vec<&str> = named.iter().map(|(key, _)| *key).collect();
                let what = match likelihood {
                    Some(likelihood) => format!("with {likelihood} it"),
                    None => "without [likelihood] it".to_owned(),
                };
                Err(format!(
                    "{table}: {what} names {}, and not {}",
                    reads.join(" and "),
                    if keys.is_empty() {
                        "nothing".to_owned()
                    } else {
                        keys.join(" and ")
                    }
                ))
            }
        }
    }

    /// Its name in answers; `none` without a likelihood.
    pub fn name(&self) -> &'static str {
        match self.kind {
            _ if self.no_likelihood().is_some() => "none",
            Kind::Located(Density::Logistic) | Kind::LocatedAlike(Density::Logistic, _) => "discretized-logistic",
            Kind::Located(Density::Gaussian) | Kind::LocatedAlike(Density::Gaussian, _) => "gaussian",
            Kind::LogOdds => "bernoulli",
            Kind::Mixture(_) => "discretized-logistic-mixture",
            Kind::Picture => "none",
        }
    }

    /// Why there is no likelihood of an image given a code; `None` if there is one.
    pub fn no_likelihood(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Located(_) | Kind::LocatedAlike(..) | Kind::Mixture(_) => None,
            Kind::LogOdds => (self.shape.levels() != 2).then_some(NOT_NORMALISED),
            Kind::Picture => Some(NO_LIKELIHOOD),
        }
    }

    /// Why probabilities sum to 1 over the levels; of a head without a likelihood why there is none.
    pub fn normalisation(&self) -> &'static str {
        match self.kind {
            Kind::Located(Density::Logistic) | Kind::LocatedAlike(Density::Logistic, _) => {
                "the discretised logistic likelihood sums to 1 by construction"
            }
            Kind::Located(Density::Gaussian) | Kind::LocatedAlike(Density::Gaussian, _) => {
                "the Gaussian likelihood, integrated over the bin of each level with open tails, sums to 1 by \
                 construction; it is no less than what uniformly dequantised levels tell"
            }
            Kind::Mixture(_) => {
                "the discretised mixture of logistics sums to 1 over the levels of every channel given those before \
                 it, by construction"
            }
            Kind::LogOdds | Kind::Picture => self
                .no_likelihood()
                .unwrap_or("the Bernoulli likelihood of two levels sums to 1 by construction"),
        }
    }

    /// The same head of this graph, which decides how many parameters a pixel has and which pictures there can be.
    pub(super) fn of_graph(mut self, model: &Model) -> Result<Self, GraphError> {
        if self.kind == Kind::Mixture(0) {
            let (features, channels) = (signature::features(model, &self.outputs[0])?, self.shape.channels());
            let each = logistic_mixture::parameters_of_component(channels).unwrap_or(usize::MAX);
            if features % each != 0 {
                return Err(GraphError::Signature(format!(
                    "output {:?} has {features} features, but a discretised mixture of logistics has {each} for each \
                     component",
                    self.outputs[0]
                )));
            }
            self.kind = Kind::Mixture(features);
        }
        let made = output_range::made(model, &self.outputs[0]);
        self.range = (made.least, made.most);
        Ok(self)
    }

    /// Its outputs, and their forms behind the batch.
    pub(super) fn outputs(&self) -> impl Iterator<Item = (&str, Vec<usize>)> {
        let features = match self.kind {
            Kind::Mixture(features) => features,
            _ => self.shape.channels(),
        };
        let image = vec![features, self.shape.height(), self.shape.width()];
        self.outputs.iter().map(move |name| (name.as_str(), image.clone()))
    }

    /// What converts the outputs to the units of the server.
    pub fn conversions(&self, declared: Declared) -> Vec<(&str, Vec<Step>)> {
        let levels = self.shape.levels();
        let steps = match self.kind {
            Kind::Located(_) => vec![declared.to_pictures(levels), declared.to_log_scale(levels)],
            Kind::LocatedAlike(..) | Kind::Picture => vec![declared.to_pictures(levels)],
            Kind::LogOdds => vec![declared.to_logits(true).to_vec()],
            Kind::Mixture(_) => vec![Vec::new()],
        };
        self.outputs.iter().map(String::as_str).zip(steps).collect()
    }

    /// What the outputs of one code say of an image.
    pub(super) fn observe(&self, outputs: &[&[f32]]) -> Observation {
        let own = |index: usize| outputs[index].to_vec();
        match self.kind {
            Kind::Located(density) => Observation::located(self.shape, density, own(0), own(1)),
            Kind::LocatedAlike(density, log_scale) => {
                let mean = own(0);
                let log_scale = vec![log_scale; mean.len()];
                Observation::located(self.shape, density, mean, log_scale)
            }
            Kind::LogOdds => Observation::log_odds(self.shape, own(0)),
            Kind::Mixture(_) => Observation::mixture(self.shape, own(0)),
            Kind::Picture => Observation::picture(self.shape, own(0)),
        }
    }

    /// What the numbers of some images look like.
    pub(in crate::families) fn suspicions(&self, observations: &[Observation]) -> Vec<Suspicion> {
        let located: Vec<f32> = observations.iter().flat_map(|o| o.located_at()).copied().collect();
        let scales: Vec<f32> = observations.iter().flat_map(|o| o.log_scale()).copied().collect();
        let pictures = |are_means| units::bounds(self.range).or_else(|| units::pictures(&located, are_means));
        let found = match self.kind {
            Kind::Located(_) => [pictures(true), units::log_scale(&scales)],
            Kind::LocatedAlike(..) => [pictures(true), None],
            Kind::LogOdds => [units::logits(&located, 1), None],
            Kind::Mixture(_) => {
                let (pixels, channels) = (self.shape.pixels(), self.shape.channels());
                let each = observations.iter().map(Observation::located_at);
                return each.flat_map(|own| units::mixture(own, pixels, channels)).collect();
            }
            Kind::Picture => [pictures(false), None],
        };
        found.into_iter().flatten().collect()
    }
}

impl Outputs {
    fn named(self) -> Vec<(&'static str, String)> {
        let all = [
            ("mean", self.mean),
            ("log_scale", self.log_scale),
            ("logits", self.logits),
            ("parameters", self.parameters),
        ];
        all.into_iter().filter_map(|(key, name)| Some((key, name?))).collect()
    }
}

fn take(named: &[(&'static str, String)], key: &str) -> Option<String> {
    let found = named.iter().find(|(name, _)| *name == key);
    found.map(|(_, output)| output.clone())
}
