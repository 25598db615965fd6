//! `score`: the log-likelihood of images, or a bound on it, as a table.

use clap::{ArgMatches, Args, ValueEnum};
use serde::Serialize;

use super::{
    CliError, OfflineSettings, Outcome,
    inputs::InputArgs,
    model::{self, Loaded},
    npy, pipeline,
    table::{Answer, Format, Layout, OutputArgs},
};
use crate::{
    domain::{family::Capability, likelihood::Bound},
    service::requests::{BoundChoice, LikelihoodOf, Score, ScoreOptions},
};

/// Print the log-likelihood of images
///
/// Columns: log_likelihood in nats, bits_per_dim, perplexity, and effective_sample_size for `iwae`; for a model that is conditioned on
/// labels also likelihood_of, p(x|y) or p(x). An image of probability
/// zero has the log-likelihood -inf, in JSON null. With --format npy the array holds the log-likelihood of every image, or
/// with --map its log-probability at every dimension.
#[derive(Debug, Args)]
pub(super) struct ScoreArgs {
    /// Name of a model in the repository, or path of a model's folder
    model: String,

    #[command(flatten)]
    inputs: InputArgs,

    /// What to compute [default: exact if the model can, else elbo]
    #[arg(long, value_enum)]
    bound: Option<BoundName>,

    /// Posterior samples of a bound [default: 16 for elbo, 64 for iwae]
    #[arg(long, value_name = "SAMPLES")]
    k: Option<u32>,

    /// Seed of the posterior samples
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// The label to condition on, by name or number; only for models that are conditioned on labels [default: none, for p(x) over all
    /// labels]
    #[arg(long)]
    label: Option<String>,

    /// Also tell the log-probability of every dimension (jsonl or npy)
    #[arg(long)]
    map: bool,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    settings: OfflineSettings,
}

/// The names of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum BoundName {
    /// The log-likelihood itself.
    Exact,
    /// The evidence lower bound.
    Elbo,
    /// The importance-weighted bound, which is tighter.
    Iwae,
}

/// The row of one image.
#[derive(Debug, Serialize)]
struct Row {
    bound: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    likelihood_of: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    k: Option<u32>,
    log_likelihood: f64,
    bits_per_dim: f64,
    perplexity: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_sample_size: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    map: Option<Vec<f32>>,
}

pub(super) fn run(arguments: ScoreArgs, matches: &ArgMatches) -> Result<Outcome, CliError> {
    if arguments.map && arguments.output.format == Format::Csv {
        return Err(CliError::Usage(
            "--map gives a number for every dimension, which CSV has no room for: add --format jsonl or --format npy"
                .to_owned(),
        ));
    }
    let loaded = model::load(
        &arguments.model,
        Capability::Score,
        arguments.settings,
        matches,
    )?;
    let options = ScoreOptions {
        bound: arguments.bound.map(BoundName::choice),
        k: arguments.k,
        seed: arguments.seed,
        map: arguments.map,
        label: arguments.label,
    };
    let layout = layout(&loaded, arguments.map);
    let (service, model) = (&loaded.app.service, &loaded.model);
    let score = async |images| {
        let answer = service
            .score(model, images, &options, pipeline::no_deadline())
            .await?;
        let row = |score| Row::new(answer.bound, answer.likelihood_of.as_ref(), score);
        Ok(answer
            .results
            .into_iter()
            .map(|result| result.map(row))
            .collect())
    };
    pipeline::run(&loaded, &arguments.inputs, &arguments.output, layout, score)
}

fn layout(loaded: &Loaded, map: bool) -> Layout {
    let shape = loaded.model.shape();
    let mut columns = vec![
        "bound",
        "k",
        "log_likelihood",
        "bits_per_dim",
        "perplexity",
        "effective_sample_size",
    ];
    if loaded.model.is_conditional() {
        columns.insert(1, "likelihood_of");
    }
    let (element, row_shape) = if map {
        let sides = vec![shape.channels(), shape.height(), shape.width()];
        (npy::Element::F32, sides)
    } else {
        (npy::Element::F64, Vec::new())
    };
    Layout {
        columns: columns.into_iter().map(str::to_owned).collect(),
        element,
        row_shape,
    }
}

impl BoundName {
    pub(super) fn choice(self) -> BoundChoice {
        match self {
            Self::Exact => BoundChoice::Exact,
            Self::Elbo => BoundChoice::Elbo,
            Self::Iwae => BoundChoice::Iwae,
        }
    }
}

impl Row {
    fn new(bound: Bound, likelihood_of: Option<&LikelihoodOf>, score: Score) -> Self {
        Self {
            bound: bound.name(),
            likelihood_of: likelihood_of.map(LikelihoodOf::formula),
            label: match likelihood_of {
                Some(LikelihoodOf::Given(label)) => Some(label.clone()),
                Some(LikelihoodOf::Evidence) | None => None,
            },
            k: bound.samples(),
            log_likelihood: score.log_likelihood_nats,
            bits_per_dim: score.bits_per_dim,
            perplexity: score.perplexity,
            effective_sample_size: score.effective_sample_size,
            map: score.map,
        }
    }
}

impl Answer for Row {
    fn cells(&self) -> Vec<String> {
        let optional = |value: Option<String>| value.unwrap_or_default();
        let mut cells = vec![
            self.bound.to_owned(),
            optional(self.k.map(|k| k.to_string())),
            self.log_likelihood.to_string(),
            self.bits_per_dim.to_string(),
            self.perplexity.to_string(),
            optional(self.effective_sample_size.map(|size| size.to_string())),
        ];
        if let Some(formula) = self.likelihood_of {
            cells.insert(1, formula.to_owned());
        }
        cells
    }

    fn numbers(&self) -> Vec<f64> {
        match &self.map {
            Some(map) => map.iter().copied().map(f64::from).collect(),
            None => vec![self.log_likelihood],
        }
    }
}
