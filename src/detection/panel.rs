//! The members of a detector side by side: each runs once on a batch, and every statistic is taken from what they said.

use std::sync::Arc;

use super::{
    NetworkError,
    autoencoder::Autoencoder,
    autoregressive::{Autoregressive, Given, Head},
    classifier::Classifier,
    vae::{Posterior, Vae},
};
use crate::{
    domain::{
        detection::Measured,
        image::ImageShape,
        likelihood,
        random::{Random, Stream},
        statistics::{Evidence, Latent, Need, Statistic, transformations},
        surprise::Surprise,
    },
    runtime::Threads,
};

/// The members of a detector by role.
#[derive(Debug, Clone, Default)]
pub struct Members {
    /// The main density.
    pub density: Option<Arc<Autoregressive>>,
    /// A density that sees only the nearest pixels.
    pub local: Option<Arc<Autoregressive>>,
    /// A density of backgrounds.
    pub background: Option<Arc<Autoregressive>>,
    /// A variational autoencoder.
    pub latent: Option<Arc<Vae>>,
    /// An autoencoder.
    pub autoencoder: Option<Arc<Autoencoder>>,
    /// A classifier.
    pub classifier: Option<Arc<Classifier>>,
}

/// Members and the statistics that are taken from them.
#[derive(Debug)]
pub struct Panel {
    shape: ImageShape,
    members: Members,
    statistics: Vec<Statistic>,
    /// Where stirring takes each dimension from; empty if no statistic stirs.
    transformations: Vec<Vec<usize>>,
}

/// What a panel measured of one image.
#[derive(Debug, Clone)]
pub struct Measurement {
    /// The statistics, in the panel's order.
    pub values: Measured,
    /// For each statistic that is a map what it says of every dimension, in [`Statistic::map_unit`].
    pub maps: Vec<(Statistic, Vec<f32>)>,
}

impl Panel {
    /// Puts members and statistics together. Answers what is missing or does not fit.
    pub fn new(members: Members, statistics: Vec<Statistic>) -> Result<Self, String> {
        let shape = members.shape()?;
        for &statistic in &statistics {
            for &need in statistic.needs() {
                if !members.have(need) {
                    let need = need.name();
                    return Err(format!(
                        "the statistic {statistic} needs a member with the role {need:?}"
                    ));
                }
            }
        }
        let stirs = statistics
            .iter()
            .any(|s| s.needs().contains(&Need::Stirring));
        Ok(Self {
            shape,
            members,
            statistics,
            transformations: if stirs {
                transformations(shape)
            } else {
                Vec::new()
            },
        })
    }

    /// Size of the images.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// The statistics, in order.
    pub fn statistics(&self) -> &[Statistic] {
        &self.statistics
    }

    /// Numbers in a code of the latent member.
    pub fn latent_size(&self) -> usize {
        self.members
            .latent
            .as_ref()
            .map_or(0, |vae| vae.latent_size())
    }

    /// Measures images given as levels in channel, row, column order.
    pub fn measure(
        &self,
        images: &[&[u8]],
        threads: Threads,
    ) -> Result<Vec<Measurement>, NetworkError> {
        let mut evidence = vec![Evidence::default(); images.len()];
        if let Some(density) = &self.members.density {
            for (evidence, surprise) in evidence
                .iter_mut()
                .zip(surprises(density, images, threads)?)
            {
                evidence.density = Some(surprise);
            }
        }
        if let Some(local) = self
            .members
            .local
            .as_ref()
            .filter(|_| self.uses(Need::Local))
        {
            let maps = local.log_probabilities(&given(images), threads)?;
            for (evidence, map) in evidence.iter_mut().zip(maps) {
                evidence.local = Some(map);
            }
        }
        if let Some(background) = self
            .members
            .background
            .as_ref()
            .filter(|_| self.uses(Need::Background))
        {
            let maps = background.log_probabilities(&given(images), threads)?;
            for (evidence, map) in evidence.iter_mut().zip(maps) {
                evidence.background = Some(map);
            }
        }
        if let Some(vae) = self
            .members
            .latent
            .as_ref()
            .filter(|_| self.uses(Need::Latent))
        {
            let latents = latents(vae, images, self.uses(Need::Samples), threads)?;
            for (evidence, latent) in evidence.iter_mut().zip(latents) {
                evidence.latent = Some(latent);
            }
        }
        if let Some(autoencoder) = self
            .members
            .autoencoder
            .as_ref()
            .filter(|_| self.uses(Need::Autoencoder))
        {
            let errors = squared_errors(autoencoder, images, threads)?;
            for (evidence, errors) in evidence.iter_mut().zip(errors) {
                evidence.squared_errors = Some(errors);
            }
        }
        if let Some(classifier) = self
            .members
            .classifier
            .as_ref()
            .filter(|_| self.uses(Need::Classifier))
        {
            let predictions = classifier.classify(images, threads)?;
            for (evidence, prediction) in evidence.iter_mut().zip(predictions) {
                evidence.logits = Some(prediction.logits);
            }
        }
        if let Some(density) = self
            .members
            .density
            .as_ref()
            .filter(|_| !self.transformations.is_empty())
        {
            self.stir(density, images, &mut evidence, threads)?;
        }
        Ok(images
            .iter()
            .zip(&evidence)
            .map(|(levels, evidence)| self.measurement(levels, evidence))
            .collect())
    }

    fn uses(&self, need: Need) -> bool {
        self.statistics.iter().any(|s| s.needs().contains(&need))
    }

    fn stir(
        &self,
        density: &Autoregressive,
        images: &[&[u8]],
        evidence: &mut [Evidence],
        threads: Threads,
    ) -> Result<(), NetworkError> {
        for transformation in &self.transformations {
            let turned: Vec<Vec<u8>> = images
                .iter()
                .map(|levels| {
                    transformation
                        .iter()
                        .map(|&source| levels[source])
                        .collect()
                })
                .collect();
            let turned: Vec<&[u8]> = turned.iter().map(Vec::as_slice).collect();
            let maps = density.log_probabilities(&given(&turned), threads)?;
            for (evidence, map) in evidence.iter_mut().zip(maps) {
                let own = evidence
                    .density
                    .as_ref()
                    .map_or(f64::NAN, |d| likelihood::total(&d.log_probability));
                let stirred = evidence.stirred.get_or_insert_default();
                stirred.push(own - likelihood::total(&map));
            }
        }
        Ok(())
    }

    fn measurement(&self, levels: &[u8], evidence: &Evidence) -> Measurement {
        let values = self
            .statistics
            .iter()
            .map(|statistic| statistic.of(evidence, levels, self.shape))
            .collect();
        let maps = self
            .statistics
            .iter()
            .filter_map(|&statistic| Some((statistic, statistic.map(evidence)?)))
            .collect();
        Measurement { values, maps }
    }
}

impl Members {
    /// The one size of images that all members take.
    fn shape(&self) -> Result<ImageShape, String> {
        let densities = [&self.density, &self.local, &self.background];
        let mut shapes = densities
            .into_iter()
            .flatten()
            .map(|network| network.shape())
            .chain(self.latent.iter().map(|vae| vae.shape()))
            .chain(self.autoencoder.iter().map(|network| network.shape()))
            .chain(self.classifier.iter().map(|network| network.shape()));
        let first = shapes
            .next()
            .ok_or("a detector needs at least one member")?;
        match shapes.find(|&other| other != first) {
            None => Ok(first),
            Some(other) => Err(format!(
                "its members take images of different sizes: {first} and {other}"
            )),
        }
    }

    fn have(&self, need: Need) -> bool {
        match need {
            Need::Density | Need::Stirring => self.density.is_some(),
            Need::Local => self.local.is_some(),
            Need::Background => self.background.is_some(),
            Need::Latent | Need::Samples => self.latent.is_some(),
            Need::Autoencoder => self.autoencoder.is_some(),
            Need::Classifier => self.classifier.is_some(),
        }
    }
}

/// Images for networks without labels.
fn given<'a>(images: &[&'a [u8]]) -> Vec<Given<'a>> {
    images.iter().map(|&levels| levels.into()).collect()
}

fn surprises(
    density: &Autoregressive,
    images: &[&[u8]],
    threads: Threads,
) -> Result<Vec<Surprise>, NetworkError> {
    let logits = density.logits(&given(images), threads)?;
    let surprise = |(row, levels): (usize, &&[u8])| match density.head() {
        Head::Categorical => Surprise::of_categorical(logits.row(row), levels),
        Head::Bernoulli => Surprise::of_bernoulli(logits.row(row), levels),
    };
    Ok(images.iter().enumerate().map(surprise).collect())
}

/// What an autoencoder's reconstructions differ by, at every dimension.
fn squared_errors(
    autoencoder: &Autoencoder,
    images: &[&[u8]],
    threads: Threads,
) -> Result<Vec<Vec<f64>>, NetworkError> {
    let codes = autoencoder.encode(images, threads)?.concat();
    let pictures = autoencoder.decode(&codes, threads)?;
    Ok(pictures
        .iter()
        .zip(images)
        .map(|(picture, levels)| picture.squared_errors(levels).collect())
        .collect())
}

/// Posterior samples behind the gap between bounds. Their noise is the same for every image.
const SAMPLES: usize = 16;

fn latents(
    vae: &Vae,
    images: &[&[u8]],
    samples: bool,
    threads: Threads,
) -> Result<Vec<Latent>, NetworkError> {
    let posteriors = vae.encode(images, threads)?;
    let gaps = posteriors
        .iter()
        .zip(images)
        .map(|(posterior, levels)| {
            let gap = || iwae_gap(vae, posterior, levels, threads);
            samples.then(gap).transpose()
        })
        .collect::<Result<Vec<_>, _>>()?;
    let codes: Vec<f32> = posteriors
        .iter()
        .flat_map(|p| p.mean.iter().copied())
        .collect();
    let observations = vae.decode(&codes, threads)?;
    Ok(posteriors
        .into_iter()
        .zip(observations)
        .zip(images)
        .zip(gaps)
        .map(|(((posterior, observation), levels), iwae_gap)| {
            let reconstruction = -observation.log_probabilities(levels).sum::<f64>();
            Latent {
                kl: posterior.kl(),
                reconstruction,
                attainable_gap: observation.attainable(levels).sum::<f64>() + reconstruction,
                iwae_gap,
                mean: posterior.mean,
                log_variance: posterior.log_variance,
            }
        })
        .collect())
}

/// log mean exp(w) − mean(w) in nats over log-weights w = log p(x | z) + log p(z) − log q(z | x) of posterior samples; never negative.
fn iwae_gap(
    vae: &Vae,
    posterior: &Posterior,
    levels: &[u8],
    threads: Threads,
) -> Result<f64, NetworkError> {
    let random = Random::new(0, Stream::Posterior, 0);
    let draws: Vec<(Vec<f32>, f64)> = (0..SAMPLES)
        .map(|sample| posterior.draw(sample, &random))
        .collect();
    let codes: Vec<f32> = draws.iter().flat_map(|(code, _)| code).copied().collect();
    let weights: Vec<f64> = vae
        .decode(&codes, threads)?
        .iter()
        .zip(&draws)
        .map(|(observation, (_, log_ratio))| {
            observation.log_probabilities(levels).sum::<f64>() + log_ratio
        })
        .collect();
    let mean = weights.iter().sum::<f64>() / SAMPLES as f64;
    Ok(likelihood::log_mean_exp(&weights) - mean)
}
