//! Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011).
//!
//! A number is a pure function of seed, stream, image and dimension, so neither batch nor order nor thread can change
//! a sample.

use std::{
    f64::consts::TAU,
    hash::{BuildHasher, Hasher, RandomState},
};

/// What a random number is used for. Each use has a stream of its own, so that no two share a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Levels drawn from a predictive distribution.
    Level = 1,
    /// Latent codes drawn from the prior.
    Prior = 2,
    /// Noise of posterior samples.
    Posterior = 3,
    /// Images made up to probe a graph.
    Probe = 4,
    /// Labels drawn from their distribution.
    Label = 5,
}

/// The numbers of one (seed, stream, image).
#[derive(Debug, Clone, Copy)]
pub struct Random {
    key: [u32; 2],
    stream: u32,
    image: u64,
}

impl Random {
    /// Numbers for the image at place `image` of a request with `seed`.
    pub fn new(seed: u64, stream: Stream, image: u64) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            stream: stream as u32,
            image,
        }
    }

    /// A uniform number in the open interval (0, 1).
    pub fn uniform(&self, dimension: u32) -> f64 {
        self.pair(dimension).0
    }

    /// A standard normal number (Box and Muller).
    pub fn normal(&self, dimension: u32) -> f64 {
        let (u, v) = self.pair(dimension);
        (-2.0 * u.ln()).sqrt() * (TAU * v).cos()
    }

    fn pair(&self, dimension: u32) -> (f64, f64) {
        let counter = [dimension, self.stream, self.image as u32, (self.image >> 32) as u32];
        let [a, b, c, d] = philox4x32_10(counter, self.key);
        (unit_interval(a, b), unit_interval(c, d))
    }
}

/// 52 of the 64 bits, centred in their cell so that neither 0 nor 1 can come out.
fn unit_interval(high: u32, low: u32) -> f64 {
    let bits = (u64::from(high) << 32 | u64::from(low)) >> 12;
    (bits as f64 + 0.5) / (1u64 << 52) as f64
}

fn philox4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let first = u64::from(counter[0]) * 0xD251_1F53;
        let second = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// A number that nobody can foresee, from the random keys of the standard library's hash maps: good for ids and for
/// seeds that nobody chose, not for secrets.
pub fn random_u64() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A seed for a request that brings none. 53 bits, so that every JSON reader repeats it exactly.
pub fn random_seed() -> u64 {
    random_u64() >> 11
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        assert_eq!(
            philox4x32_10([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox4x32_10([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
    }

    #[test]
    fn moments_and_independence_of_streams() {
        let random = Random::new(7, Stream::Prior, 3);
        let n = 40_000;
        let (mut sum, mut square, mut uniform) = (0.0, 0.0, 0.0);
        for i in 0..n {
            let z = random.normal(i);
            sum += z;
            square += z * z;
            uniform += random.uniform(i);
        }
        let n = f64::from(n);
        assert!((sum / n).abs() < 0.02);
        assert!((square / n - 1.0).abs() < 0.03);
        assert!((uniform / n - 0.5).abs() < 0.01);
        let other = Random::new(7, Stream::Level, 3);
        assert_ne!(random.uniform(0), other.uniform(0));
    }
}
