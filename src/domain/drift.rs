//! Drift: has the stream of images stopped being like the calibration images?
//!
//! Each image bets against the hypothesis that it and all before it, the calibration images included, are exchangeable.
//! Under that hypothesis its rank among them, ties broken at random, is uniform and independent of the ranks before it
//! (Vovk, Gammerman and Shafer 2005, theorem 11.1), so that no betting wins: capital that starts at 1 ever reaches 1/α
//! with a probability of at most α (Ville 1939), however long one watches. The bets are those of the simple jumper
//! (Vovk et al. 2021, "Retrain or not retrain").

use std::collections::HashSet;

use super::random::{Random, Stream};

/// Stakes of the experts: against large p-values, for them, and not at all.
const EXPERTS: [f64; 5] = [-1.0, -0.5, 0.0, 0.5, 1.0];

/// The share of its capital that each expert hands out to all at every step.
const JUMP: f64 = 0.01;

/// Images after which a run ends and another begins: ranks need every score since the beginning.
pub const RUN: usize = 100_000;

/// The capital of the simple jumper.
#[derive(Debug, Clone, PartialEq)]
pub struct Martingale {
    /// Each expert's share of the capital.
    shares: [f64; EXPERTS.len()],
    log_capital: f64,
    highest: f64,
}

impl Default for Martingale {
    fn default() -> Self {
        Self {
            shares: [1.0 / EXPERTS.len() as f64; EXPERTS.len()],
            log_capital: 0.0,
            highest: 0.0,
        }
    }
}

impl Martingale {
    /// Bets on one p-value: C_ε ← ((1 − J) C_ε + (J / |E|) ΣC) · (1 + ε (p − ½)).
    pub fn bet(&mut self, p_value: f64) {
        for (share, expert) in self.shares.iter_mut().zip(EXPERTS) {
            let mixed = (1.0 - JUMP) * *share + JUMP / EXPERTS.len() as f64;
            *share = mixed * (1.0 + expert * (p_value - 0.5));
        }
        let growth: f64 = self.shares.iter().sum();
        for share in &mut self.shares {
            *share /= growth;
        }
        self.log_capital += growth.ln();
        self.highest = self.highest.max(self.log_capital);
    }

    /// log ΣC.
    pub fn log_capital(&self) -> f64 {
        self.log_capital
    }

    /// The largest log ΣC so far.
    pub fn highest(&self) -> f64 {
        self.highest
    }
}

/// The capital over a run, as a curve of a bounded number of points: whenever it has grown too long, every other point
/// goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Images from one point to the next.
    step: usize,
    /// log ΣC after 0, 1, 2, … steps.
    values: Vec<f64>,
}

impl Default for Curve {
    fn default() -> Self {
        Self {
            step: 1,
            values: vec![0.0],
        }
    }
}

impl Curve {
    /// Points that there can be.
    pub const POINTS: usize = 512;

    fn add(&mut self, images: usize, log_capital: f64) {
        if !images.is_multiple_of(self.step) {
            return;
        }
        if self.values.len() == Self::POINTS {
            let every_other = self.values.iter().copied().step_by(2);
            self.values = every_other.collect();
            self.step *= 2;
            if !images.is_multiple_of(self.step) {
                return;
            }
        }
        self.values.push(log_capital);
    }

    /// Images from one point to the next.
    pub fn step(&self) -> usize {
        self.step
    }

    /// log ΣC after 0, 1, 2, … steps.
    pub fn values(&self) -> &[f64] {
        &self.values
    }
}

/// A stream of scores and the bets on it.
#[derive(Debug, Clone)]
pub struct Drift {
    calibration: usize,
    /// Every score so far, those of the calibration included, in ascending order.
    scores: Vec<f64>,
    /// Digests of the images so far.
    seen: HashSet<u64>,
    martingale: Martingale,
    curve: Curve,
    repeated: u64,
    seed: u64,
}

/// What became of one image of the stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Counted {
    /// It was bet on.
    Bet {
        /// Its p-value.
        p_value: f64,
    },
    /// The very same image has been counted before, and so it is not counted again: a client that sends one picture
    /// over and over says nothing new about the world.
    Repeated,
    /// The run is full.
    Full,
}

impl Drift {
    /// A run over nothing but the calibration scores. `seed` breaks ties.
    pub fn new(calibration: &[f64], seed: u64) -> Self {
        let mut scores = calibration.to_vec();
        scores.sort_by(f64::total_cmp);
        Self {
            calibration: scores.len(),
            scores,
            seen: HashSet::new(),
            martingale: Martingale::default(),
            curve: Curve::default(),
            repeated: 0,
            seed,
        }
    }

    /// Takes the next image: its score, large if it is strange, and a digest of its pixels. With t − 1 scores before
    /// it, p = (#{sᵢ > s} + U · (1 + #{sᵢ = s})) / t, where the 1 is the image itself.
    pub fn take(&mut self, score: f64, digest: u64) -> Counted {
        if self.images() >= RUN {
            return Counted::Full;
        }
        if !self.seen.insert(digest) {
            self.repeated += 1;
            return Counted::Repeated;
        }
        let below = self.scores.partition_point(|&s| s.total_cmp(&score).is_lt());
        let up_to = self.scores.partition_point(|&s| s.total_cmp(&score).is_le());
        let random = Random::new(self.seed, Stream::Probe, self.scores.len() as u64);
        let above = (self.scores.len() - up_to) as f64;
        let ties = (1 + up_to - below) as f64;
        let p_value = (above + random.uniform(0) * ties) / (self.scores.len() + 1) as f64;
        self.scores.insert(up_to, score);
        self.martingale.bet(p_value);
        self.curve.add(self.images(), self.martingale.log_capital());
        Counted::Bet { p_value }
    }

    /// Images that were bet on.
    pub fn images(&self) -> usize {
        self.scores.len() - self.calibration
    }

    /// Images that were not, because they had come before.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// The capital over the run.
    pub fn curve(&self) -> &Curve {
        &self.curve
    }

    /// The capital.
    pub fn martingale(&self) -> &Martingale {
        &self.martingale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(seed: u64, count: u64, shift: f64) -> Vec<f64> {
        (0..count)
            .map(|i| shift + Random::new(seed, Stream::Prior, i).normal(0))
            .collect()
    }

    fn run(calibration: &[f64], stream: &[f64], seed: u64) -> Drift {
        let mut drift = Drift::new(calibration, seed);
        for (digest, &score) in stream.iter().enumerate() {
            drift.take(score, digest as u64);
        }
        drift
    }

    #[test]
    fn capital_is_that_of_the_definition() {
        let mut capital = EXPERTS.map(|_| 0.2f64);
        let mut martingale = Martingale::default();
        for i in 0..500 {
            let p = Random::new(3, Stream::Probe, i).uniform(0).powi(2);
            let total: f64 = capital.iter().sum();
            for (c, e) in capital.iter_mut().zip(EXPERTS) {
                *c = ((1.0 - JUMP) * *c + JUMP / 5.0 * total) * (1.0 + e * (p - 0.5));
            }
            martingale.bet(p);
            let expected = capital.iter().sum::<f64>().ln();
            assert!((martingale.log_capital() - expected).abs() < 1e-9);
        }
        assert!(martingale.log_capital() > 10.0);
    }

    #[test]
    fn ranks_are_those_of_the_definition_and_ties_lie_between_their_neighbours() {
        let mut drift = Drift::new(&[3.0, 1.0, 2.0, 2.0], 0);
        let Counted::Bet { p_value } = drift.take(2.0, 1) else {
            panic!("not counted");
        };
        // One is larger; three tie, with itself.
        assert!(p_value > 1.0 / 5.0 && p_value < 4.0 / 5.0);
        let Counted::Bet { p_value } = drift.take(9.0, 2) else {
            panic!("not counted");
        };
        assert!(p_value < 1.0 / 6.0);
    }

    #[test]
    fn exchangeable_streams_raise_few_alarms_and_a_shift_raises_one() {
        // At most 5 % of streams may ever reach a capital of 20; 400 streams stay below 33 with a probability above
        // 99.9 %.
        let alarms = (0..400)
            .filter(|&seed| {
                let all = scores(seed, 500, 0.0);
                run(&all[..100], &all[100..], seed).martingale().highest() >= 20f64.ln()
            })
            .count();
        assert!(alarms <= 33, "{alarms}");
        for shift in [-1.5, 1.5] {
            let shifted = run(&scores(1, 300, 0.0), &scores(2, 300, shift), 0);
            assert!(shifted.martingale().highest() > 100f64.ln(), "{shift}");
        }
    }

    #[test]
    fn ties_are_exchangeable_too() {
        let alarms = (0..200)
            .filter(|&seed| {
                let all: Vec<f64> = scores(seed, 400, 0.0).iter().map(|s| s.round()).collect();
                run(&all[..50], &all[50..], seed).martingale().highest() >= 20f64.ln()
            })
            .count();
        assert!(alarms <= 20, "{alarms}");
    }

    #[test]
    fn the_curve_is_the_capital_at_every_so_many_images() {
        let stream = scores(2, 3000, 0.5);
        for count in [0, 1, 100, 511, 512, 513, 1023, 1024, 3000] {
            let drift = run(&scores(1, 300, 0.0), &stream[..count], 0);
            let (step, values) = (drift.curve().step(), drift.curve().values());
            assert!(
                values.len() <= Curve::POINTS && values.len() == count / step + 1,
                "{count}"
            );
            for (place, &value) in values.iter().enumerate().step_by(100) {
                let before = run(&scores(1, 300, 0.0), &stream[..place * step], 0);
                assert_eq!(value, before.martingale().log_capital(), "{count}, {place}");
            }
        }
    }

    #[test]
    fn a_flood_of_one_image_counts_once() {
        let mut drift = run(&scores(1, 300, 0.0), &scores(2, 50, 0.0), 0);
        let before = drift.martingale().log_capital();
        drift.take(4.0, 12_345);
        let after_one = drift.martingale().clone();
        for _ in 0..10_000 {
            assert_eq!(drift.take(4.0, 12_345), Counted::Repeated);
        }
        assert_eq!(drift.martingale(), &after_one);
        assert_eq!((drift.images(), drift.repeated()), (51, 10_000));
        assert!((after_one.log_capital() - before).abs() < 0.5);
    }
}
