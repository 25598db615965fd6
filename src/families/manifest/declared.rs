//! What no file can tell, and what may be told of numbers that look like something else.

use serde::Deserialize;

use super::refuse;
use crate::graph::convert::Step;

/// `[serving]`: how the graphs may be run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serving {
    batch: Option<u32>,
}

/// `[declared]`: the units of what graphs give. What is declared is not asked about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Declared {
    /// Of a density's or a classifier's predictions.
    pub logits: Option<Logits>,
    /// Of what a generator or a decoder gives.
    pub pictures: Option<Pictures>,
    /// Of a `vae`'s decoder.
    pub log_scale: Option<Scale>,
    /// Of a `vae`'s encoder.
    pub log_variance: Option<Spread>,
    /// Of mixtures of logistics.
    pub mixture: Option<Mixture>,
    /// What the graph does to its input beyond `[input]`.
    pub input: Option<Input>,
    /// Graphs draw random numbers themselves.
    pub random: bool,
}

/// What predictions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Logits {
    /// Log-odds, or logarithms of probabilities but for a term common to all.
    Logits,
    /// Probabilities.
    Probabilities,
}

/// The range of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Pictures {
    /// Units of level / (levels − 1).
    #[serde(rename = "0..1")]
    Unit,
    /// From −1 to 1, such as a hyperbolic tangent gives.
    #[serde(rename = "-1..1")]
    Signed,
    /// Levels.
    #[serde(rename = "levels")]
    Levels,
}

/// What stands for the scale of a decoder's distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Its logarithm.
    LogScale,
    /// Itself.
    Scale,
    /// Of a Gaussian, log σ².
    LogVariance,
    /// Of a Gaussian, σ².
    Variance,
}

/// What stands for the variance of an encoder's distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spread {
    /// log σ².
    LogVariance,
    /// σ².
    Variance,
    /// log σ.
    LogDeviation,
    /// σ.
    Deviation,
}

/// What stands for a mixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mixture {
    /// Logits of components, means and log-scales of levels from −1 to 1, and coefficients before their tangent.
    Parameters,
}

/// What a graph does to its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// It scales what `[input]` has scaled, and was trained like that.
    ScaledTwice,
}

impl Serving {
    /// Whether a run takes one image only.
    pub fn is_one_at_a_time(self) -> bool {
        self.batch.is_some()
    }

    /// `declarable`: what the family lets be said, see [`crate::families::Contract::declarable`].
    pub(super) fn checked(self, family: &str, declarable: &[&str]) -> Result<Self, String> {
        refuse(self.batch.is_some_and(|batch| batch != 1), || {
            "serving.batch: a graph runs on any number of images, or on 1".to_owned()
        })?;
        refuse(self.is_one_at_a_time() && !declarable.contains(&"batch"), || {
            format!("serving.batch: a {family} has no graph that takes whole images or codes")
        })?;
        Ok(self)
    }
}

impl Declared {
    /// What the family lets nobody say is an error.
    pub(super) fn checked(self, family: &str, declarable: &[&str]) -> Result<Self, String> {
        let said = [
            ("logits", self.logits.is_some()),
            ("pictures", self.pictures.is_some()),
            ("log_scale", self.log_scale.is_some()),
            ("log_variance", self.log_variance.is_some()),
            ("mixture", self.mixture.is_some()),
            ("input", self.input.is_some()),
        ];
        for (key, is_said) in said {
            refuse(is_said && !declarable.contains(&key), || {
                format!("declared.{key}: a {family} gives no such numbers")
            })?;
        }
        refuse(self.random && !declarable.contains(&"random"), || {
            format!(
                "declared.random: a {family} gives numbers of images, and these must not be drawn: export the graph in \
                 evaluation mode"
            )
        })?;
        Ok(self)
    }

    /// From predictions to logits; `is_binary` if there is one log-odds for each.
    pub fn to_logits(self, is_binary: bool) -> &'static [Step] {
        match self.logits {
            Some(Logits::Probabilities) if is_binary => &[Step::LogOdds],
            Some(Logits::Probabilities) => &[Step::Log],
            _ => &[],
        }
    }

    /// From pictures to units of level / (levels − 1).
    pub fn to_pictures(self, levels: usize) -> Vec<Step> {
        match self.pictures {
            Some(Pictures::Signed) => vec![Step::Times(0.5), Step::Plus(0.5)],
            Some(Pictures::Levels) => vec![Step::Times(1.0 / (levels - 1) as f32)],
            _ => Vec::new(),
        }
    }

    /// To the logarithm of a scale in units of level / (levels − 1).
    pub fn to_log_scale(self, levels: usize) -> Vec<Step> {
        let to_log: &[Step] = match self.log_scale {
            Some(Scale::Scale) => &[Step::Log],
            Some(Scale::LogVariance) => &[Step::Times(0.5)],
            Some(Scale::Variance) => &[Step::Log, Step::Times(0.5)],
            _ => &[],
        };
        let unit = match self.pictures {
            Some(Pictures::Signed) => Some(Step::Plus(-std::f32::consts::LN_2)),
            Some(Pictures::Levels) => Some(Step::Plus(-((levels - 1) as f32).ln())),
            _ => None,
        };
        to_log.iter().copied().chain(unit).collect()
    }

    /// To log σ².
    pub fn to_log_variance(self) -> &'static [Step] {
        match self.log_variance {
            Some(Spread::Variance) => &[Step::Log],
            Some(Spread::LogDeviation) => &[Step::Times(2.0)],
            Some(Spread::Deviation) => &[Step::Log, Step::Times(2.0)],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(steps: &[Step], value: f32) -> f32 {
        steps.iter().fold(value, |value, step| match *step {
            Step::Log => value.ln(),
            Step::LogOdds => (value / (1.0 - value)).ln(),
            Step::Times(factor) => value * factor,
            Step::Plus(term) => value + term,
        })
    }

    #[test]
    fn conversions_end_in_the_units_of_the_server() {
        let declared = |text: &str| toml::from_str::<Declared>(text).unwrap();
        let close = |steps: &[Step], value: f32, wanted: f32| {
            let actual = applied(steps, value);
            assert!((actual - wanted).abs() < 1e-5, "{actual} {wanted}");
        };
        let as_it_is = declared("");
        assert!(as_it_is.to_logits(true).is_empty() && as_it_is.to_pictures(256).is_empty());
        assert!(as_it_is.to_log_scale(256).is_empty() && as_it_is.to_log_variance().is_empty());

        let signed = declared("pictures = \"-1..1\"\nlog_scale = \"scale\"");
        close(&signed.to_pictures(256), -1.0, 0.0);
        close(&signed.to_pictures(256), 1.0, 1.0);
        // Half as wide in units that go half as far.
        close(&signed.to_log_scale(256), 0.5, 0.25f32.ln());
        let levels = declared("pictures = \"levels\"");
        close(&levels.to_pictures(256), 51.0, 0.2);
        close(&levels.to_log_scale(256), 51f32.ln(), 0.2f32.ln());

        let scale = |word: &str| declared(&format!("log_scale = {word:?}")).to_log_scale(256);
        for (word, value) in [
            ("log-scale", 0.5f32.ln()),
            ("scale", 0.5),
            ("log-variance", 0.25f32.ln()),
            ("variance", 0.25),
        ] {
            close(&scale(word), value, 0.5f32.ln());
        }

        let spread = |word: &str| declared(&format!("log_variance = {word:?}"));
        for (word, value) in [
            ("log-variance", 0.25f32.ln()),
            ("variance", 0.25),
            ("log-deviation", 0.5f32.ln()),
            ("deviation", 0.5),
        ] {
            close(spread(word).to_log_variance(), value, 0.25f32.ln());
        }
        let probabilities = declared("logits = \"probabilities\"");
        close(probabilities.to_logits(true), 0.8, 4f32.ln());
        close(probabilities.to_logits(false), 0.8, 0.8f32.ln());
    }
}
