//! Which statistics there are, what each needs and what it is called.

use std::{fmt, str::FromStr};

/// A statistic. In formulas sums run over dimensions i, logarithms are natural and Hᵢ is the entropy of the distribution that the main
/// density predicts for dimension i. Costs are in passes of the main density, which all its statistics share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Statistic {
    /// −Σ log pᵢ. One pass. Small for pictures simpler than the inliers, whatever they show (Nalisnick et al. 2019).
    NegativeLogLikelihood,
    /// Σ Hᵢ: the surprise that the density expects on its way through the image. Nothing beyond the same pass.
    Entropy,
    /// Σ(−log pᵢ − Hᵢ) / √(1 + Σ Vᵢ), Vᵢ the predicted variance of −log pᵢ: how far the surprise is from what was expected of this
    /// very image, in standard deviations. The typical set of Nalisnick et al. 2019b, taken step by step: under the model the
    /// sum is a martingale. The same pass.
    Typicality,
    /// How many dimensions have −log pᵢ > 3 nats. The same pass.
    Improbable3,
    /// The same above 6 nats.
    Improbable6,
    /// The same above 9 nats: levels of less than one in 8,000.
    Improbable9,
    /// Standard deviation over dimensions of log pᵢ. The same pass.
    SurpriseSpread,
    /// log p_local − log p (Zhang et al. 2021): p_local sees only the nearest pixels. A small pass of the local member.
    LocalRatio,
    /// log p_background − log p (Ren et al. 2019): p_background was trained on images whose pixels were replaced at random. A
    /// pass of the background member.
    BackgroundRatio,
    /// Bits of the image under a small lossless code, see [`crate::domain::complexity`]. Microseconds.
    CodeLength,
    /// −log₂ p − code length, both in bits (Serrà et al. 2020).
    InputComplexity,
    /// Σ over flips and rotations T of log p(x) − log p(Tx); low for pictures that stand as well on their heads. Seven passes for
    /// square images, three for others.
    Stirring,
    /// −log p(x | z = μ) of the latent member. One encoding and one decoding.
    Reconstruction,
    /// KL(q(z | x) ‖ p(z)) of the latent member. The same encoding.
    Kl,
    /// |μ| of the latent member.
    LatentNorm,
    /// Σ log σ² of the latent member.
    LatentLogVariance,
    /// Σ(bᵢ − log p(xᵢ | z = μ)) of the latent member, bᵢ the best log-likelihood that its level could have had under the scale that the decoder
    /// gave: what the likelihood owes to the level alone is taken out (after Chauhan et al. 2022). The same decoding.
    AttainableGap,
    /// IWAE₁₆ − ELBO₁₆ of the latent member: how badly its posterior fits. 16 decodings more.
    IwaeGap,
    /// Σ (x̂ᵢ − xᵢ)², x̂ what the autoencoder makes of x, both in units of level / (levels − 1). The sum and not the mean, because joint
    /// densities see log(1 + Σ), which is nearly linear in a mean, far below 1. One encoding and one decoding.
    AutoencoderError,
    /// −log Σₗ exp(fₗ) over the classifier's logits f (Liu et al. 2020): high where no label is claimed. Its zero is the network's own, because
    /// adding a number to all logits changes no probability. A pass of the classifier.
    ClassifierEnergy,
    /// −log maxₗ p(l | x) under the classifier, which composites call by this name, too. It puts images in the order of 1 − maxₗ p(l | x)
    /// (Hendrycks and Gimpel 2017), but is exact where that is lost beside 1. The same pass.
    ClassifierAmbiguity,
    /// The share of dimensions at level 0. Microseconds.
    DarkShare,
    /// Mean of level / (levels − 1).
    Brightness,
    /// Standard deviation of level / (levels − 1).
    Contrast,
    /// Mean absolute difference between neighbours, along rows plus along columns.
    TotalVariation,
    /// Σ(−log pᵢ − Hᵢ) over each region of a 7×7 grid: where the image surprises more than expected. The same pass.
    SurpriseMap,
    /// r = Σ(log p_local,ᵢ − log pᵢ) over each region of a 7×7 grid, as sign(r) log(1 + |r|): where the wider view helps or misleads.
    LocalRatioMap,
    /// √Σ (x̂ᵢ − xᵢ)² over each region of a 7×7 grid: where the autoencoder fails. A length, because the spread of the square grows with it.
    AutoencoderErrorMap,
    /// μ of the latent member: which inlier it would be.
    LatentMean,
    /// log p(x) − log p(Tx) for each flip and rotation T. Costs as stirring does.
    StirringVector,
}

/// What a detector must have for a statistic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Need {
    /// The main density.
    Density,
    /// A local density beside it.
    Local,
    /// A background density beside it.
    Background,
    /// A variational autoencoder.
    Latent,
    /// An autoencoder.
    Autoencoder,
    /// A classifier.
    Classifier,
    /// Passes of the main density over flipped and turned images.
    Stirring,
    /// Decodings of posterior samples of the latent member.
    Samples,
}

impl Statistic {
    /// Every statistic.
    pub const ALL: [Self; 30] = [
        Self::NegativeLogLikelihood,
        Self::Entropy,
        Self::Typicality,
        Self::Improbable3,
        Self::Improbable6,
        Self::Improbable9,
        Self::SurpriseSpread,
        Self::LocalRatio,
        Self::BackgroundRatio,
        Self::CodeLength,
        Self::InputComplexity,
        Self::Stirring,
        Self::Reconstruction,
        Self::Kl,
        Self::LatentNorm,
        Self::LatentLogVariance,
        Self::AttainableGap,
        Self::IwaeGap,
        Self::AutoencoderError,
        Self::ClassifierEnergy,
        Self::ClassifierAmbiguity,
        Self::DarkShare,
        Self::Brightness,
        Self::Contrast,
        Self::TotalVariation,
        Self::SurpriseMap,
        Self::LocalRatioMap,
        Self::AutoencoderErrorMap,
        Self::LatentMean,
        Self::StirringVector,
    ];

    /// The name used in manifests and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::NegativeLogLikelihood => "negative_log_likelihood",
            Self::Entropy => "entropy",
            Self::Typicality => "typicality",
            Self::Improbable3 => "improbable_3",
            Self::Improbable6 => "improbable_6",
            Self::Improbable9 => "improbable_9",
            Self::SurpriseSpread => "surprise_spread",
            Self::LocalRatio => "local_ratio",
            Self::BackgroundRatio => "background_ratio",
            Self::CodeLength => "code_length",
            Self::InputComplexity => "input_complexity",
            Self::Stirring => "stirring",
            Self::Reconstruction => "reconstruction",
            Self::Kl => "kl",
            Self::LatentNorm => "latent_norm",
            Self::LatentLogVariance => "latent_log_variance",
            Self::AttainableGap => "attainable_gap",
            Self::IwaeGap => "iwae_gap",
            Self::AutoencoderError => "autoencoder_error",
            Self::ClassifierEnergy => "classifier_energy",
            Self::ClassifierAmbiguity => "classifier_ambiguity",
            Self::DarkShare => "dark_share",
            Self::Brightness => "brightness",
            Self::Contrast => "contrast",
            Self::TotalVariation => "total_variation",
            Self::SurpriseMap => "surprise_map",
            Self::LocalRatioMap => "local_ratio_map",
            Self::AutoencoderErrorMap => "autoencoder_error_map",
            Self::LatentMean => "latent_mean",
            Self::StirringVector => "stirring_vector",
        }
    }

    /// What it needs; nothing where the image itself is enough.
    pub fn needs(self) -> &'static [Need] {
        match self {
            Self::NegativeLogLikelihood
            | Self::Entropy
            | Self::Typicality
            | Self::Improbable3
            | Self::Improbable6
            | Self::Improbable9
            | Self::SurpriseSpread
            | Self::InputComplexity
            | Self::SurpriseMap => &[Need::Density],
            Self::LocalRatio | Self::LocalRatioMap => &[Need::Density, Need::Local],
            Self::BackgroundRatio => &[Need::Density, Need::Background],
            Self::Stirring | Self::StirringVector => &[Need::Density, Need::Stirring],
            Self::Reconstruction
            | Self::Kl
            | Self::LatentNorm
            | Self::LatentLogVariance
            | Self::AttainableGap
            | Self::LatentMean => &[Need::Latent],
            Self::IwaeGap => &[Need::Latent, Need::Samples],
            Self::AutoencoderError | Self::AutoencoderErrorMap => &[Need::Autoencoder],
            Self::ClassifierEnergy | Self::ClassifierAmbiguity => &[Need::Classifier],
            Self::CodeLength
            | Self::DarkShare
            | Self::Brightness
            | Self::Contrast
            | Self::TotalVariation => &[],
        }
    }

    /// Whether it is one number, which has a tail rank of its own, and not a vector, which has a meaning only in a joint density.
    pub fn is_scalar(self) -> bool {
        !matches!(
            self,
            Self::SurpriseMap
                | Self::LocalRatioMap
                | Self::AutoencoderErrorMap
                | Self::LatentMean
                | Self::StirringVector
        )
    }

    /// Whether it says something of every dimension.
    pub fn is_map(self) -> bool {
        matches!(
            self,
            Self::SurpriseMap | Self::LocalRatioMap | Self::AutoencoderErrorMap
        )
    }

    /// What the values of [`Self::map`] are in: `nats`, or `squared error` in units of level / (levels − 1).
    pub fn map_unit(self) -> &'static str {
        match self {
            Self::AutoencoderErrorMap => "squared error",
            _ => "nats",
        }
    }
}

impl Need {
    /// Every need.
    pub const ALL: [Self; 8] = [
        Self::Density,
        Self::Local,
        Self::Background,
        Self::Latent,
        Self::Autoencoder,
        Self::Classifier,
        Self::Stirring,
        Self::Samples,
    ];

    /// The name used in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Density => "density",
            Self::Local => "local",
            Self::Background => "background",
            Self::Latent => "latent",
            Self::Autoencoder => "autoencoder",
            Self::Classifier => "classifier",
            Self::Stirring => "stirring",
            Self::Samples => "samples",
        }
    }

    /// What can fill the role.
    pub fn wanted(self) -> &'static str {
        match self {
            Self::Density | Self::Local | Self::Background | Self::Stirring => {
                "a model with the exact probability of every pixel given those before it, conditioned on nothing else"
            }
            Self::Latent | Self::Samples => "a model with a posterior over codes",
            Self::Autoencoder => {
                "a model that puts images through a bottleneck without a distribution"
            }
            Self::Classifier => "a model with a distribution over labels",
        }
    }

    /// Whether it is more work for another member, and not a member of its own.
    pub fn is_derived(self) -> bool {
        matches!(self, Self::Stirring | Self::Samples)
    }
}

impl FromStr for Statistic {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|s| s.name() == name);
        found.ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|s| s.name()).collect();
            format!("unknown statistic {name:?}: one of {}", known.join(", "))
        })
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Need {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|need| need.name() == name);
        found.ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|need| need.name()).collect();
            format!("unknown role {name:?}: one of {}", known.join(", "))
        })
    }
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
