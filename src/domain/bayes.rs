//! Bayes' rule: what the densities p(x | y) of every label y and a prior p(y) together say of an image x.
//!
//! An autoregressive model of labels gives log p(xᵢ | x₍<ᵢ₎, y) for every dimension i in the model's order (rows,
//! columns, channels). Summed over labels it is a mixture, and autoregressive itself: with the posterior p(y | x₍<ᵢ₎),
//! which each dimension updates, p(xᵢ | x₍<ᵢ₎) = Σ_y p(y | x₍<ᵢ₎) p(xᵢ | x₍<ᵢ₎, y), and the product over i is the
//! evidence p(x) = Σ_y p(x | y) p(y), exactly. What a dimension says about a label is eᵧ(i) = log p(xᵢ | x₍<ᵢ₎, y) −
//! log p(xᵢ | x₍<ᵢ₎), by which it moves log p(y | x so far); these sum to log p(y | x) − log p(y).
//!
//! A level that is impossible under every label cannot tell labels apart: it leaves the posterior as it was, and its
//! own evidence is 0. So an impossible image too has a posterior that sums to 1, and no answer is "not a number". All
//! logarithms are natural, all sums run in double precision.

use std::{fmt, str::FromStr};

use super::{
    image::ImageShape,
    likelihood::{log_sum_exp, total},
};

/// p(y) of every label, as logarithms.
#[derive(Debug, Clone, PartialEq)]
pub struct Prior(Vec<f64>);

impl Prior {
    /// From positive numbers that sum to 1 but for rounding, which is taken out.
    pub fn new(probabilities: &[f64]) -> Self {
        let total: f64 = probabilities.iter().sum();
        Self(probabilities.iter().map(|p| (p / total).ln()).collect())
    }

    /// log p(y) in order of label.
    pub fn log(&self) -> &[f64] {
        &self.0
    }
}

/// What the densities of every label say of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Beliefs {
    /// log p(x | y) in nats, in order of label.
    pub log_likelihoods: Vec<f64>,
    /// log p(x) in nats.
    pub log_evidence: f64,
    /// log p(y | x), in order of label.
    pub log_posterior: Vec<f64>,
    /// log p(xᵢ | x₍<ᵢ₎) of the mixture in nats, in channel, row, column order.
    pub mixture: Vec<f64>,
}

impl Beliefs {
    /// From log p(xᵢ | x₍<ᵢ₎, y): a map a label, each in channel, row, column order.
    ///
    /// # Panics
    /// If there are not as many maps as labels, or a map does not have the shape's dimensions.
    pub fn new(shape: ImageShape, maps: &[Vec<f32>], prior: &Prior) -> Self {
        let mut mixture = vec![0.0; shape.dimensions()];
        let running = follow(shape, maps, prior, shape.dimensions(), |index, value| {
            mixture[index] = value;
        });
        let log_likelihoods: Vec<f64> = maps.iter().map(|map| total(map)).collect();
        let joint: Vec<f64> = log_likelihoods
            .iter()
            .zip(prior.log())
            .map(|(likelihood, prior)| likelihood + prior)
            .collect();
        let log_evidence = log_sum_exp(&joint);
        let log_posterior = if log_evidence == f64::NEG_INFINITY {
            running
        } else {
            joint.iter().map(|value| value - log_evidence).collect()
        };
        Self {
            log_likelihoods,
            log_evidence,
            log_posterior,
            mixture,
        }
    }

    /// What each dimension says about the label whose map of log p(xᵢ | x₍<ᵢ₎, y) is given: eᵧ in nats, positive for
    /// the label, negative against it.
    pub fn pixel_evidence(&self, map: &[f32]) -> Vec<f64> {
        map.iter()
            .zip(&self.mixture)
            .map(|(&own, &mixture)| match mixture {
                f64::NEG_INFINITY => 0.0,
                mixture => f64::from(own) - mixture,
            })
            .collect()
    }
}

/// log p(y | the first `places` dimensions in the model's order), in order of label; what the maps say of later
/// dimensions does not matter.
///
/// # Panics
/// As [`Beliefs::new`], and if there are not so many dimensions.
pub fn posterior_of_prefix(shape: ImageShape, maps: &[Vec<f32>], prior: &Prior, places: usize) -> Vec<f64> {
    follow(shape, maps, prior, places, |_, _| {})
}

/// The label that a uniform number between 0 and 1 draws from p(y), given by its logarithms. A label without
/// probability is never drawn.
pub fn draw(log_probabilities: &[f64], uniform: f64) -> usize {
    let (mut below, mut last) = (0.0, 0);
    for (label, log_probability) in log_probabilities.iter().enumerate() {
        let probability = log_probability.exp();
        if probability > 0.0 {
            below += probability;
            last = label;
            if uniform < below {
                break;
            }
        }
    }
    // Rounding may leave a hair above the last label: it belongs to that.
    last
}

/// The label of the largest of some log-probabilities; of equal ones the first.
pub fn most_probable(log_probabilities: &[f64]) -> usize {
    let mut best = 0;
    for (label, value) in log_probabilities.iter().enumerate() {
        if *value > log_probabilities[best] {
            best = label;
        }
    }
    best
}

/// Runs over the first `places` dimensions, tells `mixed` the index of each and its log-probability under the mixture,
/// and answers the posterior that they come to.
fn follow(
    shape: ImageShape,
    maps: &[Vec<f32>],
    prior: &Prior,
    places: usize,
    mut mixed: impl FnMut(usize, f64),
) -> Vec<f64> {
    assert_eq!(maps.len(), prior.log().len(), "one map a label");
    let mut posterior = prior.log().to_vec();
    let mut joint = vec![0.0; maps.len()];
    for place in 0..places {
        let index = shape.index_of(place);
        for ((joint, before), map) in joint.iter_mut().zip(&posterior).zip(maps) {
            *joint = before + f64::from(map[index]);
        }
        let mixture = log_sum_exp(&joint);
        mixed(index, mixture);
        if mixture > f64::NEG_INFINITY {
            for (posterior, joint) in posterior.iter_mut().zip(&joint) {
                *posterior = joint - mixture;
            }
        }
    }
    posterior
}

/// What a member of a composite is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// p(label | image).
    Classifier,
    /// p(image), exactly.
    Density,
    /// Whether the image is like those of the calibration; without it the density says.
    Novelty,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Classifier, Self::Density, Self::Novelty];

    /// The name used in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classifier => "classifier",
            Self::Density => "density",
            Self::Novelty => "novelty",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|role| role.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("unknown role {name:?}: one of {known}")
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Log-probabilities of two to four labels, now and then impossible ones, with a prior.
    #[derive(Debug, Clone)]
    struct Case {
        shape: ImageShape,
        maps: Vec<Vec<f32>>,
        prior: Prior,
    }

    impl Case {
        fn beliefs(&self) -> Beliefs {
            Beliefs::new(self.shape, &self.maps, &self.prior)
        }
    }

    fn log_probability() -> impl Strategy<Value = f32> {
        prop_oneof![30 => -12f32..0.0, 2 => Just(-0.5), 1 => Just(f32::NEG_INFINITY)]
    }

    fn case() -> impl Strategy<Value = Case> {
        (2usize..=4, 1usize..=3, 1usize..=4, 1usize..=4).prop_flat_map(|(labels, c, h, w)| {
            let maps = vec(vec(log_probability(), c * h * w), labels);
            (maps, vec(0.01..1.0f64, labels)).prop_map(move |(maps, weights)| {
                let total: f64 = weights.iter().sum();
                let prior: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
                Case {
                    shape: ImageShape::new(c, h, w, 256).unwrap(),
                    maps,
                    prior: Prior::new(&prior),
                }
            })
        })
    }

    fn near(a: f64, b: f64) -> bool {
        a == b || (a - b).abs() < 1e-9 * (1.0 + a.abs())
    }

    proptest! {
        #[test]
        fn a_posterior_is_a_distribution(case in case(), places in 0usize..=48) {
            let places = places.min(case.shape.dimensions());
            let prefix = posterior_of_prefix(case.shape, &case.maps, &case.prior, places);
            for posterior in [case.beliefs().log_posterior, prefix] {
                prop_assert!(near(posterior.iter().map(|log| log.exp()).sum(), 1.0), "{posterior:?}");
            }
        }

        #[test]
        fn the_mixtures_map_sums_to_the_evidence(case in case()) {
            let beliefs = case.beliefs();
            let sum: f64 = beliefs.mixture.iter().sum();
            prop_assert!(near(beliefs.log_evidence, sum), "{} {sum}", beliefs.log_evidence);
        }

        #[test]
        fn pixel_evidence_sums_to_what_was_learnt_of_the_label(case in case()) {
            let beliefs = case.beliefs();
            for (label, map) in case.maps.iter().enumerate() {
                let sum: f64 = beliefs.pixel_evidence(map).iter().sum();
                let learnt = beliefs.log_posterior[label] - case.prior.log()[label];
                prop_assert!(near(learnt, sum), "{learnt} {sum}");
            }
        }

        #[test]
        fn the_mixture_is_that_of_the_posterior_so_far(case in case(), place in 0usize..48) {
            let place = place % case.shape.dimensions();
            let index = case.shape.index_of(place);
            let before = posterior_of_prefix(case.shape, &case.maps, &case.prior, place);
            let probability: f64 = before
                .iter()
                .zip(&case.maps)
                .map(|(log, map)| log.exp() * f64::from(map[index]).exp())
                .sum();
            let mixture = case.beliefs().mixture[index].exp();
            prop_assert!((probability - mixture).abs() <= 1e-9 * probability, "{probability} {mixture}");
        }

        #[test]
        fn labels_have_no_order(case in case(), turn in 1usize..4) {
            let turned = |label: usize| (label + turn) % case.maps.len();
            let all = 0..case.maps.len();
            let other = Case {
                shape: case.shape,
                maps: all.clone().map(|label| case.maps[turned(label)].clone()).collect(),
                prior: Prior(all.clone().map(|label| case.prior.log()[turned(label)]).collect()),
            };
            let (one, two) = (case.beliefs(), other.beliefs());
            prop_assert!(near(one.log_evidence, two.log_evidence));
            for label in all {
                prop_assert!(one.log_likelihoods[turned(label)] == two.log_likelihoods[label]);
                prop_assert!(near(one.log_posterior[turned(label)], two.log_posterior[label]));
            }
        }

        #[test]
        fn only_what_is_there_decides_on_a_prefix(case in case(), places in 0usize..=48) {
            let places = places.min(case.shape.dimensions());
            let mut other = case.clone();
            for place in places..case.shape.dimensions() {
                other.maps[0][case.shape.index_of(place)] = -3.0;
            }
            let of = |case: &Case| posterior_of_prefix(case.shape, &case.maps, &case.prior, places);
            prop_assert_eq!(of(&case), of(&other));
        }
    }

    /// Every image of two pixels of two levels, under two labels whose predictions differ.
    #[test]
    fn the_evidence_of_all_images_is_one() {
        let shape = ImageShape::new(1, 1, 2, 2).unwrap();
        let prior = Prior::new(&[0.3, 0.7]);
        let first = [0.9, 0.2];
        let second = [[0.6, 0.1], [0.25, 0.8]];
        let pick = |one: f64, level: usize| if level == 1 { one } else { 1.0 - one };
        let mut sum = 0.0;
        for image in [[0, 0], [0, 1], [1, 0], [1, 1]] {
            let map = |label: usize| {
                let p = pick(first[label], image[0]);
                let q = pick(second[label][image[0]], image[1]);
                vec![p.ln() as f32, q.ln() as f32]
            };
            let beliefs = Beliefs::new(shape, &[map(0), map(1)], &prior);
            let direct = |label: usize| {
                let p = pick(first[label], image[0]);
                [0.3, 0.7][label] * p * pick(second[label][image[0]], image[1])
            };
            let evidence = direct(0) + direct(1);
            assert!((beliefs.log_evidence.exp() - evidence).abs() < 1e-7);
            assert!((beliefs.log_posterior[0].exp() - direct(0) / evidence).abs() < 1e-7);
            sum += beliefs.log_evidence.exp();
        }
        assert!((sum - 1.0).abs() < 1e-7, "{sum}");
    }

    #[test]
    fn labels_that_agree_learn_nothing() {
        let shape = ImageShape::new(1, 2, 1, 4).unwrap();
        let prior = Prior::new(&[0.25, 0.25, 0.5]);
        let map = vec![-1.0f32, -2.0];
        let beliefs = Beliefs::new(shape, &[map.clone(), map.clone(), map.clone()], &prior);
        assert!(near(beliefs.log_evidence, -3.0));
        for (posterior, prior) in beliefs.log_posterior.iter().zip(prior.log()) {
            assert!(near(*posterior, *prior));
        }
        let evidence = beliefs.pixel_evidence(&map);
        assert!(evidence.iter().all(|value| value.abs() < 1e-12), "{evidence:?}");
        assert_eq!(most_probable(&beliefs.log_posterior), 2);
        assert_eq!(most_probable(&[-1.0, -1.0]), 0);
    }

    #[test]
    fn an_impossible_image_keeps_the_posterior_of_its_possible_part() {
        const NEVER: f32 = f32::NEG_INFINITY;
        let shape = ImageShape::new(1, 1, 3, 4).unwrap();
        let prior = Prior::new(&[0.5, 0.5]);
        let maps = [vec![-1.0, NEVER, -1.0], vec![-2.0, NEVER, -1.0]];
        let beliefs = Beliefs::new(shape, &maps, &prior);
        assert_eq!(beliefs.log_evidence, f64::NEG_INFINITY);
        assert!(near(beliefs.log_posterior[0] - beliefs.log_posterior[1], 1.0));
        assert_eq!(beliefs.mixture[1], f64::NEG_INFINITY);
        assert_eq!(beliefs.pixel_evidence(&maps[0])[1], 0.0);
        // A label that one pixel rules out is out for good.
        let maps = [vec![NEVER, -1.0, -1.0], vec![-9.0, -9.0, NEVER]];
        let beliefs = Beliefs::new(shape, &maps, &prior);
        assert_eq!(beliefs.log_posterior, [f64::NEG_INFINITY, 0.0]);
    }

    #[test]
    fn labels_are_drawn_as_often_as_they_are_probable() {
        let logs = [0.25f64, 0.0, 0.75].map(f64::ln);
        let uniforms = (0..1000).map(|i| (f64::from(i) + 0.5) / 1000.0);
        let mut counts = [0; 3];
        uniforms.for_each(|uniform| counts[draw(&logs, uniform)] += 1);
        assert_eq!(counts, [250, 0, 750]);
        assert_eq!(draw(&[-1e-17, f64::NEG_INFINITY], 1.0 - 1e-17), 0);
    }
}
