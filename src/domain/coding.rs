//! Lossless coding of levels by their predicted probabilities (range coding; Martin 1979).
//!
//! The length of the code is the negative binary logarithm of the probability that the model gives to the image, up to
//! the rounding of probabilities to whole numbers and a few bytes at the end. Coder and decoder must see the very same
//! predictions: a prediction that differs in its last bit may decode to another image.

use constriction::stream::{
    Decode, Encode,
    model::{DecoderModel, EncoderModel, EntropyModel},
    queue::{DefaultRangeDecoder, DefaultRangeEncoder},
};

use super::sampling;

/// Bits of a probability: 2²⁴ parts.
const PRECISION: usize = 24;

/// A distribution over levels in whole parts, at least one for each level, so that every image has a code.
#[derive(Debug, Default)]
pub struct Frequencies {
    /// Parts of the levels below each level, and of all.
    cumulative: Vec<u32>,
    weights: Vec<f32>,
}

impl Frequencies {
    /// The distribution softmax(logits).
    pub fn set_categorical(&mut self, logits: impl ExactSizeIterator<Item = f32>) {
        sampling::softmax_weights(logits, 1.0, &mut self.weights);
        self.accumulate();
    }

    /// Level 1 with probability σ(logit), else level 0.
    pub fn set_bernoulli(&mut self, logit: f32) {
        self.set_categorical([0.0, logit].into_iter());
    }

    /// A distribution by weights, which `fill` puts in place of what it is given: one for each level, none negative.
    pub fn set_weights(&mut self, fill: impl FnOnce(&mut Vec<f32>)) {
        fill(&mut self.weights);
        self.accumulate();
    }

    fn accumulate(&mut self) {
        let parts = 1u32 << PRECISION;
        let levels = self.weights.len() as u32;
        let total: f64 = self.weights.iter().map(|&weight| f64::from(weight)).sum();
        let scale = f64::from(parts - levels) / total;
        self.cumulative.clear();
        self.cumulative.push(0);
        let mut sum = 0u32;
        for &weight in &self.weights {
            // A model that gives no numbers still has a code, only not a short one.
            let own = (f64::from(weight) * scale) as u32;
            sum = sum.saturating_add(1 + own).min(parts);
            self.cumulative.push(sum);
        }
        // What rounding down left over goes to the last level; it is less than a millionth.
        if let Some(last) = self.cumulative.last_mut() {
            *last = parts;
        }
    }

    /// −log₂ of the probability that the prediction itself gives to a level, before rounding to parts.
    fn ideal_bits(&self, level: u8) -> f64 {
        let total: f64 = self.weights.iter().map(|&weight| f64::from(weight)).sum();
        let own = self.weights.get(usize::from(level)).copied().unwrap_or(0.0);
        -(f64::from(own) / total).log2()
    }
}

impl EntropyModel<PRECISION> for &Frequencies {
    type Symbol = u8;
    type Probability = u32;
}

impl EncoderModel<PRECISION> for &Frequencies {
    fn left_cumulative_and_probability(
        &self,
        symbol: impl std::borrow::Borrow<u8>,
    ) -> Option<(u32, std::num::NonZeroU32)> {
        let level = usize::from(*symbol.borrow());
        let (&below, &upto) = (self.cumulative.get(level)?, self.cumulative.get(level + 1)?);
        Some((below, std::num::NonZeroU32::new(upto - below)?))
    }
}

impl DecoderModel<PRECISION> for &Frequencies {
    fn quantile_function(&self, quantile: u32) -> (u8, u32, std::num::NonZeroU32) {
        let level = self.cumulative.partition_point(|&below| below <= quantile) - 1;
        let (below, upto) = (self.cumulative[level], self.cumulative[level + 1]);
        let parts = std::num::NonZeroU32::new(upto - below).unwrap_or(std::num::NonZeroU32::MIN);
        (level as u8, below, parts)
    }
}

/// Codes levels one after the other.
#[derive(Debug, Default)]
pub struct Encoder {
    coder: DefaultRangeEncoder,
    frequencies: Frequencies,
    ideal_bits: f64,
    failed: bool,
}

impl Encoder {
    /// Where to put the next prediction.
    pub fn frequencies(&mut self) -> &mut Frequencies {
        &mut self.frequencies
    }

    /// Codes the level that was predicted.
    pub fn encode(&mut self, level: u8) {
        self.encode_of(level, self.frequencies.ideal_bits(level));
    }

    /// Codes the level that was predicted, where −log₂ of its probability is known better than by its weight, which may
    /// be too small for a number of single precision.
    pub fn encode_of(&mut self, level: u8, bits: f64) {
        self.ideal_bits += bits;
        self.failed |= self.coder.encode_symbol(level, &self.frequencies).is_err();
    }

    /// The code, and the negative binary logarithm of the probability of all levels; `None` if a level was outside its
    /// prediction.
    pub fn finish(self) -> Option<(Vec<u8>, f64)> {
        if self.failed {
            return None;
        }
        Some((bytes_of(self.coder), self.ideal_bits))
    }
}

fn bytes_of(coder: DefaultRangeEncoder) -> Vec<u8> {
    let Ok(words) = coder.into_compressed();
    let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
    // Beyond its end a code reads as zeros.
    let length = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(length);
    bytes
}

/// Reads levels one after the other.
#[derive(Debug)]
pub struct Decoder {
    coder: DefaultRangeDecoder,
    code: Vec<u8>,
    /// Codes again what was read: only so does it show where a code ends.
    echo: DefaultRangeEncoder,
    frequencies: Frequencies,
    failed: bool,
}

impl Decoder {
    /// Reads what [`Encoder::finish`] gave.
    pub fn new(code: &[u8]) -> Self {
        let words: Vec<u32> = code
            .chunks(4)
            .map(|bytes| {
                let mut word = [0; 4];
                word[..bytes.len()].copy_from_slice(bytes);
                u32::from_be_bytes(word)
            })
            .collect();
        let Ok(coder) = DefaultRangeDecoder::from_compressed(words);
        Self {
            coder,
            code: code.to_vec(),
            echo: DefaultRangeEncoder::default(),
            frequencies: Frequencies::default(),
            failed: false,
        }
    }

    /// Where to put the next prediction.
    pub fn frequencies(&mut self) -> &mut Frequencies {
        &mut self.frequencies
    }

    /// The level whose prediction was put; 0 once the code has proved damaged.
    pub fn decode(&mut self) -> u8 {
        if !self.failed
            && let Ok(level) = self.coder.decode_symbol(&self.frequencies)
            && self.echo.encode_symbol(level, &self.frequencies).is_ok()
        {
            return level;
        }
        self.failed = true;
        0
    }

    /// Whether the code is the very one of the levels that were read, with nothing behind it.
    pub fn finish(self) -> Result<(), BadCode> {
        let own = bytes_of(self.echo);
        match self.code.strip_prefix(&own[..]) {
            _ if self.failed => Err(BadCode::Damaged),
            None => Err(BadCode::Damaged),
            Some([]) => Ok(()),
            Some(rest) => Err(BadCode::Followed(rest.len())),
        }
    }
}

/// What is wrong with a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadCode {
    /// It is not what a coder gives for what is read from it.
    Damaged,
    /// So many bytes follow it.
    Followed(usize),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_coded_is_read_back_at_about_the_ideal_length(
            predictions in prop::collection::vec(prop::collection::vec(-30.0f32..30.0, 5), 0..300),
            levels in prop::collection::vec(0u8..5, 300),
        ) {
            let mut encoder = Encoder::default();
            for (logits, &level) in predictions.iter().zip(&levels) {
                encoder.frequencies().set_categorical(logits.iter().copied());
                encoder.encode(level);
            }
            let (code, _) = encoder.finish().unwrap();
            let mut decoder = Decoder::new(&code);
            let mut parts = 0.0;
            for (logits, &level) in predictions.iter().zip(&levels) {
                decoder.frequencies().set_categorical(logits.iter().copied());
                let cumulative = &decoder.frequencies.cumulative;
                let own = cumulative[usize::from(level) + 1] - cumulative[usize::from(level)];
                parts += f64::from(PRECISION as u32) - f64::from(own).log2();
                prop_assert_eq!(decoder.decode(), level);
            }
            prop_assert_eq!(decoder.finish(), Ok(()));
            prop_assert!(code.len() as f64 <= parts / 8.0 * 1.0001 + 8.0, "{} bytes for {parts} bits", code.len());
        }

        #[test]
        fn any_bytes_read_as_something(code in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut decoder = Decoder::new(&code);
            for _ in 0..200 {
                decoder.frequencies().set_bernoulli(0.3);
                prop_assert!(decoder.decode() < 2);
            }
        }
    }

    /// Codes 50 levels, and reads so many from what `change` makes of the code.
    fn read_changed(change: impl FnOnce(&mut Vec<u8>)) -> Result<(), BadCode> {
        let mut encoder = Encoder::default();
        for number in 0..50 {
            encoder.frequencies().set_bernoulli(0.3);
            encoder.encode(number % 2);
        }
        let (mut code, _) = encoder.finish().unwrap();
        change(&mut code);
        let mut decoder = Decoder::new(&code);
        for _ in 0..50 {
            decoder.frequencies().set_bernoulli(0.3);
            decoder.decode();
        }
        decoder.finish()
    }

    #[test]
    fn what_follows_a_code_is_found() {
        assert_eq!(read_changed(|_| ()), Ok(()));
        for rest in [&[0][..], &[7], &[0, 0, 0, 0], &[255; 9]] {
            let found = read_changed(|code| code.extend(rest));
            assert!(found.is_err(), "{rest:?}");
        }
        assert_eq!(read_changed(|code| code.extend([0; 5])), Err(BadCode::Followed(5)));
        assert!(read_changed(|code| code.truncate(2)).is_err());
    }

    #[test]
    fn every_level_has_a_code_whatever_the_prediction() {
        for logits in [[f32::NEG_INFINITY, 0.0], [f32::NAN, 1.0], [f32::MIN, f32::MAX]] {
            for level in [0, 1] {
                let mut encoder = Encoder::default();
                encoder.frequencies().set_categorical(logits.into_iter());
                encoder.encode(level);
                let (code, _) = encoder.finish().unwrap();
                let mut decoder = Decoder::new(&code);
                decoder.frequencies().set_categorical(logits.into_iter());
                assert_eq!(decoder.decode(), level);
            }
        }
    }
}
