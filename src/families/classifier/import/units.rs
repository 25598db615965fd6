//! What the numbers of labels are, and how posteriors are made of them.

use super::outputs::{choice_of_labels, no_flow};
use crate::{
    detection::evidence::log_posterior,
    families::import::{Levels, of_images, picture_of_image},
    graph::convert::Step,
    import::{
        Problem,
        canonical::Op,
        interview::Interview,
        output_activation::{self, OutputActivation},
        reading::{Given, Reading},
        trial_images,
    },
};

/// Log-odds beyond this for whatever image are none.
const CERTAIN: f32 = 40.0;

/// Parts of names that one number for each image has where it is no log-odds.
const OF_DENSITIES: [&str; 10] = [
    "bpd",
    "bits",
    "nll",
    "loss",
    "energy",
    "likelihood",
    "log_p",
    "logp",
    "elbo",
    "distance",
];

/// What the numbers of labels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Units {
    Logits,
    Probabilities,
    /// The log-odds of the second of two labels.
    LogOdds,
    /// The probability of the second of two labels.
    Probability,
}

/// How the output of labels is read, and written as logits.
pub(super) struct Conversion {
    pub(super) units: Units,
    /// The last operator behind the output.
    pub(super) activation: OutputActivation,
    /// Makes logits of it, one for each label.
    pub(super) ops: Vec<Op>,
    /// Labels: two where there is one number.
    pub(super) labels: usize,
    /// What was recognised, in sentences.
    pub(super) notes: Vec<String>,
    /// Lines of `[declared]`.
    pub(super) declared: Vec<String>,
}

impl Conversion {
    /// Finds out what the numbers of `given` are, or why they are nothing that posteriors can be made of.
    pub(super) fn of(reading: &Reading, given: &Given, interview: &mut Interview) -> Result<Self, Problem> {
        let file = &reading.file;
        let count = given.numbers().max(1);
        let (activation, value) = output_activation::last(reading.graph(), &given.port.name);
        if activation == OutputActivation::Sigmoid && count > 1 {
            return Err(Problem::new(
                file,
                format!(
                    "{:?} is {count} numbers behind a sigmoid each: labels that do not compete are not classified \
                     between, and neither are boxes nor points",
                    given.port.name
                ),
                "export one label at a time, or the network with a softmax; --family encoder takes the numbers for \
                 features",
            ));
        }
        if activation == OutputActivation::Place {
            return Err(choice_of_labels(reading, given));
        }
        let logits = || "logits = \"logits\"".to_owned();
        let (mut notes, mut declared, mut ops) = (Vec::new(), Vec::new(), Vec::new());
        let mut taken_off = |what: &str| {
            notes.push(format!("{file}: its {what}"));
            // Whatever they look like.
            declared.push(logits());
            ops.push(Op::Without(value.clone()));
        };
        let units = match (activation, interview.given("logits").as_deref(), count) {
            (OutputActivation::Sigmoid, _, 1) => {
                taken_off("sigmoid is taken off; one number becomes logits of two labels");
                Units::Probability
            }
            (_, said, 1) => one_number(reading, given, said, interview),
            (OutputActivation::Softmax, _, _) => {
                taken_off("softmax is taken off, since posteriors are made of logits");
                Units::Probabilities
            }
            (_, Some("probabilities"), _) => Units::Probabilities,
            (_, Some(_), _) => {
                declared.push(logits());
                Units::Logits
            }
            _ => Units::Logits,
        };
        let is_flat = given.sizes.as_ref().is_some_and(|sizes| sizes.len() == 1);
        if !is_flat {
            // A number for each image without an axis of its own gets one as well.
            ops.push(Op::Flatten);
        }
        if count == 1 {
            if units == Units::Probability && activation != OutputActivation::Sigmoid {
                ops.push(Op::Convert(vec![Step::LogOdds]));
            }
            ops.push(Op::TwoLogits);
        } else if units == Units::Probabilities && activation != OutputActivation::Softmax {
            ops.push(Op::Convert(vec![Step::Log]));
        }
        if count == 1 && picture_of_image(reading).is_some() {
            return Err(no_flow(file, given));
        }
        Ok(Self {
            units,
            activation,
            ops,
            labels: count.max(2),
            notes,
            declared,
        })
    }
}

/// What one number of each image is, where no sigmoid tells: nothing tells log-odds from an age, a price or the
/// judgement of a critic but their name, or somebody who says so.
fn one_number(reading: &Reading, given: &Given, said: Option<&str>, interview: &mut Interview) -> Units {
    let name = given.port.name.to_lowercase();
    let is_called = ["logit", "odds"].iter().any(|part| name.contains(part));
    let is_meant = interview.given("family").as_deref() == Some("classifier");
    match said {
        Some("probabilities") => return Units::Probability,
        None if !is_called && !is_meant => {
            let text = format!(
                "{}: what is the one number that it gives of each image ({:?})? An age, a price or anything else that \
                 is no choice between two labels is not served",
                reading.file, given.port.name
            );
            let options = [
                (
                    "logits",
                    "the log-odds of the second of two labels, which a sigmoid makes a probability of",
                ),
                ("probabilities", "the probability of the second of two labels"),
            ];
            interview.ask("logits", text, &options, "");
        }
        _ => interview.note(&format!(
            "{}: the one number that it gives of each image is the log-odds of the second of two labels; a \
             log-likelihood, an energy or the judgement of a critic would be none",
            reading.file
        )),
    }
    Units::LogOdds
}

impl Units {
    /// Refuses one number that is far from zero on one side whatever the image is: a log-likelihood, not a log-odds. So
    /// is what is called like one, unless somebody stands by it.
    pub(super) fn try_out(
        self,
        (reading, given): (&Reading, &Given),
        levels: &Levels,
        interview: &mut Interview,
    ) -> Result<(), Problem> {
        if self != Self::LogOdds {
            return Ok(());
        }
        let rows = of_images(reading, levels, &trial_images::made_up(levels.shape), &[], given.place)?;
        let numbers: Vec<f32> = rows.iter().flatten().copied().collect();
        let is_sure = |sign: f32| numbers.iter().all(|&number| sign * number > CERTAIN);
        let name = given.port.name.to_lowercase();
        let is_called = OF_DENSITIES.iter().any(|part| name.contains(part));
        let is_said = interview.given("family").as_deref() == Some("classifier");
        if !is_sure(1.0) && !is_sure(-1.0) && (is_said || !is_called) {
            return Ok(());
        }
        Err(Problem::new(
            &reading.file,
            format!(
                "the one number that it gives of each image ({:?}, such as {:.1}) is no log-odds of two labels, and a \
                 log-likelihood, an energy or the judgement of a critic is not served",
                given.port.name, numbers[0]
            ),
            "export what the number is made of: predictions of every pixel, or encoder and decoder; where it is a \
             log-odds whatever it is called, say --family classifier",
        ))
    }

    /// log p(label | image) of every label, out of the numbers of one image.
    pub(super) fn log_posterior(self, row: &[f32]) -> Vec<f64> {
        match self {
            Self::Logits => log_posterior(row),
            Self::LogOdds => log_posterior(&[0.0, row[0]]),
            Self::Probability => {
                let p = f64::from(row[0]);
                vec![(1.0 - p).max(1e-7).ln(), p.max(1e-7).ln()]
            }
            Self::Probabilities => {
                let total: f64 = row.iter().map(|&p| f64::from(p)).sum();
                row.iter().map(|&p| (f64::from(p) / total).ln()).collect()
            }
        }
    }
}
