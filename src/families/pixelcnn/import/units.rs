//! In which units predictions are, and what log-likelihood an image has by the numbers that an export gives.

use super::kind::{Kind, Predictions};
use crate::{
    domain::{image::Image, likelihood, logistic_mixture::LogisticMixture},
    families::import::Parameters,
    import::{
        Problem,
        canonical::Op,
        interview::Interview,
        layout::Arrangement,
        output_activation::{self, OutputActivation},
        reading::Reading,
    },
};

/// What predictions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Units {
    Logits,
    Probabilities,
}

/// The units of predictions, and what follows from them.
#[derive(Debug)]
pub(super) struct Recognised {
    pub(super) units: Units,
    /// Takes off what makes probabilities of logits, if the graph ends in it.
    pub(super) ops: Vec<Op>,
    /// What was recognised, in sentences.
    pub(super) notes: Vec<String>,
    /// Lines of `[declared]`.
    pub(super) declared: Vec<String>,
}

impl Recognised {
    /// Finds out the units of predictions by what the graph ends in, and by what is said of it.
    pub(super) fn of(
        reading: &Reading,
        predictions: &Predictions<'_>,
        interview: &mut Interview,
    ) -> Result<Self, Problem> {
        let name = &predictions.given.port.name;
        let (activation, value) = output_activation::last(reading.graph(), name);
        let taken_off = |what: &str| Self {
            units: Units::Probabilities,
            ops: vec![Op::Without(value.clone())],
            notes: vec![format!(
                "{}: its {what} is taken off, since scores are made of logits",
                reading.file
            )],
            // Whatever they look like.
            declared: vec![LOGITS.to_owned()],
        };
        let plain = |units, declared: Option<&str>| Self {
            units,
            ops: Vec::new(),
            notes: Vec::new(),
            declared: declared.into_iter().map(str::to_owned).collect(),
        };
        let is_bernoulli = predictions.kind == Kind::Bernoulli;
        Ok(match (activation, interview.given("logits").as_deref()) {
            _ if matches!(predictions.kind, Kind::Mixture(_)) => {
                let is_said = interview.given("mixture").is_some();
                plain(Units::Logits, is_said.then_some(PARAMETERS))
            }
            (_, Some("logits")) => plain(Units::Logits, Some(LOGITS)),
            (OutputActivation::Softmax, _) if !is_bernoulli => taken_off("softmax"),
            (OutputActivation::Sigmoid, _) if is_bernoulli => taken_off("sigmoid"),
            (_, Some(_)) => plain(Units::Probabilities, None),
            (OutputActivation::Tanh, None) if is_bernoulli => return Err(no_distribution(&reading.file, name)),
            // Nothing keeps them between 0 and 1, though those of an untrained network may all lie there.
            (OutputActivation::Linear, None) if is_bernoulli => plain(Units::Logits, Some(LOGITS)),
            _ => plain(Units::Logits, None),
        })
    }
}

const LOGITS: &str = "logits = \"logits\"";
const PARAMETERS: &str = "mixture = \"parameters\"";

fn no_distribution(file: &str, name: &str) -> Problem {
    Problem::new(
        file,
        format!(
            "{name:?} predicts a number from -1 to 1 for each dimension, which is neither a probability nor a \
             log-odds; a mean by itself gives no distribution"
        ),
        "export what is before its hyperbolic tangent, if that is the log-odds of the upper of two levels; say \
         --declare logits=logits if it was trained like that",
    )
}

/// How numbers of the export become log-probabilities.
pub(super) struct Reader {
    pub(super) place: usize,
    pub(super) arrangement: Arrangement,
    pub(super) kind: Kind,
    /// Of mixtures.
    pub(super) parameters: Option<Parameters>,
    pub(super) units: Units,
}

impl Reader {
    /// The log-likelihood of an image in nats.
    pub(super) fn score(&self, item: &[f32], image: &Image) -> f64 {
        let values = self.arrangement.read(item);
        let dimensions = image.levels().len();
        if let (Kind::Mixture(count), Some(parameters)) = (self.kind, &self.parameters) {
            return of_mixtures(&parameters.read(values), count, image);
        }
        let log_probability = |(at, &level): (usize, &u8)| {
            let own = |outcome: usize| f64::from(values[outcome * dimensions + at]);
            match (self.units, self.kind) {
                (Units::Logits, Kind::Categorical(levels)) => {
                    let all: Vec<f64> = (0..levels).map(own).collect();
                    own(usize::from(level)) - likelihood::log_sum_exp(&all)
                }
                (Units::Probabilities, Kind::Categorical(levels)) => {
                    let total: f64 = (0..levels).map(own).sum();
                    (own(usize::from(level)) / total).ln()
                }
                (Units::Logits, _) => {
                    let sign = if level == 0 { 1.0 } else { -1.0 };
                    -likelihood::softplus(sign * own(0))
                }
                (Units::Probabilities, _) if level == 0 => (1.0 - own(0)).max(1e-7).ln(),
                (Units::Probabilities, _) => own(0).max(1e-7).ln(),
            }
        };
        image.levels().iter().enumerate().map(log_probability).sum()
    }
}

/// The log-likelihood in nats of an image whose pixels have mixtures with these parameters, [parameters, H, W].
fn of_mixtures(values: &[f32], parameters: usize, image: &Image) -> f64 {
    let shape = image.shape();
    let mut mixture = LogisticMixture::default();
    let mut log_probabilities = vec![0.0; shape.channels()];
    let pixels = shape.pixels();
    let of_pixel = |pixel: usize| {
        let own: Vec<f32> = (0..parameters).map(|at| values[at * pixels + pixel]).collect();
        let levels: Vec<u8> = (0..shape.channels())
            .map(|c| image.levels()[c * pixels + pixel])
            .collect();
        mixture.log_probabilities_of_pixel(&own, shape.levels(), &levels, &mut log_probabilities);
        log_probabilities.iter().sum::<f64>()
    };
    (0..pixels).map(of_pixel).sum()
}
