//! The taxonomy of generative models: what each family can say about an image, and why it cannot say the rest.

use std::{fmt, str::FromStr};

/// A family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Autoregressive over pixels by masked convolutions (van den Oord et al. 2016): exact density.
    PixelCnn,
    /// Autoregressive over pixels by recurrence: exact density.
    PixelRnn,
    /// Variational autoencoder (Kingma and Welling 2014): a lower bound on the density and a latent code.
    Vae,
    /// Deterministic bottleneck: features, no density.
    Autoencoder,
    /// Generative adversarial network: samples from an implicit density that cannot be evaluated.
    Gan,
    /// p(label | image): labels compete, images do not.
    Classifier,
    /// A classifier, a density and a prior put together by Bayes' rule: p(image | label) = p(label | image) p(image) / p(label).
    Bayes,
    /// A decision made from what other models say: no density of its own.
    Detector,
}

/// What a model says about p(image).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Density {
    /// The exact value.
    Exact,
    /// A lower bound.
    LowerBound,
    /// Samples only.
    Implicit,
    /// Nothing.
    None,
}

/// Something that a client can ask of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// The log-likelihood of an image, or a bound on it.
    Score,
    /// Is this image reasonable? Needs a calibration.
    Detect,
    /// New images.
    Sample,
    /// The missing pixels of a partly given image.
    Complete,
    /// The latent code of an image.
    Encode,
    /// The image of a latent code.
    Decode,
    /// Encode, then decode.
    Reconstruct,
    /// Images on the way between two images.
    Interpolate,
    /// Labels of an image.
    Classify,
    /// Lossless coding of an image by its predicted probabilities.
    Compress,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 8] = [
        Self::PixelCnn,
        Self::PixelRnn,
        Self::Vae,
        Self::Autoencoder,
        Self::Gan,
        Self::Classifier,
        Self::Bayes,
        Self::Detector,
    ];

    /// The name used in manifests and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::PixelCnn => "pixelcnn",
            Self::PixelRnn => "pixelrnn",
            Self::Vae => "vae",
            Self::Autoencoder => "autoencoder",
            Self::Gan => "gan",
            Self::Classifier => "classifier",
            Self::Bayes => "bayes",
            Self::Detector => "detector",
        }
    }

    /// What the family says about p(image).
    pub fn density(self) -> Density {
        match self {
            Self::PixelCnn | Self::PixelRnn | Self::Bayes => Density::Exact,
            Self::Vae => Density::LowerBound,
            Self::Gan => Density::Implicit,
            Self::Autoencoder | Self::Classifier | Self::Detector => Density::None,
        }
    }

    /// What models of the family can do. [`Capability::Detect`] further needs a calibration, [`Capability::Classify`] of a density that it
    /// is conditioned on labels.
    pub fn capabilities(self) -> &'static [Capability] {
        use Capability::*;
        match self {
            Self::PixelCnn | Self::PixelRnn => {
                &[Score, Detect, Sample, Complete, Classify, Compress]
            }
            Self::Vae => &[
                Score,
                Detect,
                Sample,
                Complete,
                Encode,
                Decode,
                Reconstruct,
                Interpolate,
            ],
            Self::Autoencoder => &[Encode, Decode, Reconstruct, Interpolate],
            Self::Gan => &[Sample],
            Self::Classifier => &[Encode, Classify],
            Self::Bayes => &[Score, Classify],
            Self::Detector => &[Detect],
        }
    }

    /// Why models of this family lack a capability, as a sentence for the client; `None` if they have it.
    pub fn why_not(self, capability: Capability) -> Option<&'static str> {
        use Capability::*;
        if self.capabilities().contains(&capability) {
            return None;
        }
        Some(match (self, capability) {
            (Self::Detector, _) => {
                "a detector judges images by what other models say of them: ask one of its members"
            }
            (Self::Bayes, Detect) => {
                "classify says it, with a p-value for novelty beside that for ambiguity"
            }
            (Self::Bayes, _) => {
                "it puts the answers of a classifier and a density together and has no graph of its own: ask its members"
            }
            (_, Compress) => {
                "lossless coding needs the exact probability of each pixel given those before it, which only an autoregressive \
                 model has"
            }
            (_, Classify) => {
                "only a classifier, or a density conditioned on labels, can name a label"
            }
            (Self::PixelCnn | Self::PixelRnn, Encode | Decode | Reconstruct | Interpolate) => {
                "an autoregressive model factorises p(x) over pixels and has no latent code"
            }
            (Self::Autoencoder, Score | Detect) => {
                "an autoencoder has no density: its reconstruction error is not a likelihood"
            }
            (Self::Autoencoder, Sample | Complete) => {
                "an autoencoder has no density and no prior over its codes to draw from"
            }
            (Self::Gan, Score | Detect) => {
                "the density of a GAN is implicit: it can be drawn from but not evaluated"
            }
            (Self::Gan, Complete) => {
                "the density of a GAN is implicit and cannot be conditioned on known pixels"
            }
            (Self::Gan, Decode) => {
                "the codes of a GAN come from its prior alone, because nothing makes a code of an image: sample draws them"
            }
            (Self::Gan, _) => {
                "a GAN has a generator only: there is no encoder from images to codes"
            }
            (Self::Classifier, Decode | Reconstruct | Interpolate) => {
                "a classifier has features and nothing that makes an image of them"
            }
            (Self::Classifier, _) => {
                "a classifier models p(label | image): labels compete, images do not, so it has no density over images"
            }
            _ => "this family does not offer it",
        })
    }
}

impl Density {
    /// The name used in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::LowerBound => "lower_bound",
            Self::Implicit => "implicit",
            Self::None => "none",
        }
    }
}

impl Capability {
    /// Every capability.
    pub const ALL: [Self; 10] = [
        Self::Score,
        Self::Detect,
        Self::Sample,
        Self::Complete,
        Self::Encode,
        Self::Decode,
        Self::Reconstruct,
        Self::Interpolate,
        Self::Classify,
        Self::Compress,
    ];

    /// The name used in answers, paths and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Score => "score",
            Self::Detect => "detect",
            Self::Sample => "sample",
            Self::Complete => "complete",
            Self::Encode => "encode",
            Self::Decode => "decode",
            Self::Reconstruct => "reconstruct",
            Self::Interpolate => "interpolate",
            Self::Classify => "classify",
            Self::Compress => "compress",
        }
    }
}

impl FromStr for Family {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|family| family.name() == name)
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|family| family.name()).collect();
                format!("unknown family {name:?}: one of {}", known.join(", "))
            })
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_capability_has_a_reason_of_its_own() {
        for family in Family::ALL {
            for capability in Capability::ALL {
                let reason = family.why_not(capability);
                assert_eq!(
                    reason.is_none(),
                    family.capabilities().contains(&capability)
                );
                assert_ne!(reason, Some("this family does not offer it"));
            }
        }
    }

    #[test]
    fn only_a_density_can_score() {
        for family in Family::ALL {
            let has_density = matches!(family.density(), Density::Exact | Density::LowerBound);
            assert_eq!(
                has_density,
                family.capabilities().contains(&Capability::Score)
            );
        }
    }
}
