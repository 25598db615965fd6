//! What a detector must have so that a statistic can be measured: members by their roles, and more work for some of
//! them.

use std::{fmt, str::FromStr};

/// What a detector must have for a statistic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Requirement {
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
    /// A network that sees images as features.
    Features,
    /// Features that are maps.
    Places,
    /// Gaussians of features of inliers.
    Gaussians,
    /// A bank of features of inliers.
    Neighbours,
    /// The principal subspace of features of inliers.
    Subspace,
    /// Passes of the main density over flipped and turned images.
    Stirring,
    /// Decodings of posterior samples of the latent member.
    Samples,
    /// Windows of a larger image.
    Tiles,
}

impl Requirement {
    /// Every need.
    pub const ALL: [Self; 14] = [
        Self::Density,
        Self::Local,
        Self::Background,
        Self::Latent,
        Self::Autoencoder,
        Self::Classifier,
        Self::Features,
        Self::Places,
        Self::Gaussians,
        Self::Neighbours,
        Self::Subspace,
        Self::Stirring,
        Self::Samples,
        Self::Tiles,
    ];

    /// What is learnt from features of inliers, in the order in which it is told.
    pub const LEARNT: [Self; 3] = [Self::Gaussians, Self::Neighbours, Self::Subspace];

    /// The name used in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Density => "density",
            Self::Local => "local",
            Self::Background => "background",
            Self::Latent => "latent",
            Self::Autoencoder => "autoencoder",
            Self::Classifier => "classifier",
            Self::Features => "features",
            Self::Places => "places",
            Self::Gaussians => "gaussians",
            Self::Neighbours => "neighbours",
            Self::Subspace => "subspace",
            Self::Stirring => "stirring",
            Self::Samples => "samples",
            Self::Tiles => "tiles",
        }
    }

    /// What can fill the role.
    pub fn wanted(self) -> &'static str {
        match self {
            Self::Density | Self::Local | Self::Background | Self::Stirring => {
                "a model with the exact probability of every pixel given those before it, conditioned on nothing else"
            }
            Self::Latent | Self::Samples => "a model with a posterior over codes",
            Self::Autoencoder => "a model that puts images through a bottleneck without a distribution",
            Self::Classifier => "a model with a distribution over labels",
            Self::Features | Self::Gaussians | Self::Neighbours | Self::Subspace => "a model that gives features",
            Self::Places => "a model whose features are maps",
            Self::Tiles => "windows of a larger image",
        }
    }

    /// Whether it is more work for another member, or more of what that gives, and not a member of its own.
    pub fn is_derived(self) -> bool {
        matches!(self, Self::Stirring | Self::Samples | Self::Places | Self::Tiles) || Self::LEARNT.contains(&self)
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Requirement {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|requirement| requirement.name() == name);
        found.ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|requirement| requirement.name()).collect();
            format!("unknown role {name:?}: one of {}", known.join(", "))
        })
    }
}
