//! `score`: how likely is this image?

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Answer, Context, Format, Label, Operation, Rendering, Tensor, TensorSpec,
    input::Images,
    render::not_acceptable,
    tensor::{Datatype, IMAGE},
};
use crate::{
    metrics::Metrics,
    model::{
        Model, Refusal,
        score::{BoundChoice, Likelihood, Qualifiers, ScoreAsk, Scores},
    },
};

/// Scoring.
#[derive(Debug)]
pub struct Score;

/// Options of `score`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ScoreOptions {
    /// Which bound; by default `exact` for autoregressive models and `elbo` for a VAE.
    pub bound: Option<BoundChoice>,
    /// Posterior samples of a bound; by default 16 for `elbo` and 64 for `iwae`.
    #[schemars(range(min = 1, max = 4096))]
    pub k: Option<u32>,
    /// Seed of the posterior samples.
    #[serde(default)]
    pub seed: u64,
    /// Whether to answer with the log-probability of every dimension too: as `image/png` a heat map (dark is expected,
    /// bright surprising), as `application/x-npy` float32 of shape [N, C, H, W].
    #[serde(default)]
    pub map: bool,
    /// For a model that is conditioned on labels: which one, by name or number, for log p(x|y). Without it the answer
    /// is the evidence, log p(x) = log Σ p(x|y) p(y) over all labels, exactly; it takes as many scores as there are
    /// labels.
    pub label: Option<Label>,
}

/// What holds for all images of a request.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ScoreHead {
    #[serde(flatten)]
    qualifiers: Qualifiers,
    /// The numbers that the network multiplied: `f32`, or `bf16`, where an exact likelihood is that of the network with
    /// factors of 16 bits.
    #[schemars(example = &"f32")]
    precision: &'static str,
}

impl Operation for Score {
    const NAME: &'static str = "score";
    const SUMMARY: &'static str = "Score images";
    const DESCRIPTION: &'static str =
        "The log-likelihood of each image, or a lower bound on it. As `application/x-npy` float64 of shape [N].";
    const FORMATS: &'static [Format] = &[Format::Json, Format::Png, Format::Npy];
    const TENSORS: &'static [TensorSpec] = &[
        TensorSpec {
            name: "bits_per_dim",
            datatype: Datatype::F64,
            axes: &[],
            when: None,
            description: "−log-likelihood / (dimensions · ln 2)",
        },
        TensorSpec {
            name: "log_likelihood",
            datatype: Datatype::F64,
            axes: &[],
            when: None,
            description: "log p(image), or a bound on it, in nats",
        },
        TensorSpec {
            name: "log_probability_map",
            datatype: Datatype::F32,
            axes: IMAGE,
            when: Some("map"),
            description: "log-probability of every dimension in nats",
        },
    ];

    type Capability = dyn Scores;
    type Input = Images;
    type Options = ScoreOptions;
    type Head = ScoreHead;
    type Item = Likelihood;

    async fn run(
        scores: &Self::Capability,
        model: &Model,
        Images(images): Images,
        options: ScoreOptions,
        context: &Context,
    ) -> Result<Answer<Self>, Refusal> {
        let ask = ScoreAsk {
            bound: options.bound,
            k: options.k,
            seed: options.seed,
            map: options.map,
            condition: model.condition(options.label.as_ref().map(|label| label.0.as_str()))?,
        };
        let scored = scores.score(images, &ask, &context.call).await?;
        Ok(Answer {
            head: ScoreHead {
                qualifiers: scored.qualifiers,
                precision: model.card.computed.precision,
            },
            items: scored.items,
        })
    }

    fn check_format(format: Format, options: &ScoreOptions) -> Result<(), Refusal> {
        if format == Format::Png && !options.map {
            return Err(
                not_acceptable(&[Format::Json, Format::Npy]).with_detail("a picture (image/png) needs map=true")
            );
        }
        Ok(())
    }

    fn tensors(_: &ScoreHead, items: &[Likelihood]) -> Vec<Tensor> {
        let numbers = |name, of: fn(&Likelihood) -> f64| Tensor::numbers(name, items.iter().map(of));
        let mut tensors = vec![
            numbers("bits_per_dim", |item| item.bits_per_dim.0),
            numbers("log_likelihood", |item| item.log_likelihood.0),
        ];
        let maps: Vec<_> = items
            .iter()
            .filter_map(|item| item.log_probability_map.as_ref())
            .collect();
        if let Some(first) = maps.first() {
            let values = maps.iter().map(|map| map.values.as_slice());
            tensors.push(Tensor::maps("log_probability_map", first.shape, values));
        }
        tensors
    }

    fn rendering(_: ScoreHead, items: Vec<Likelihood>) -> Rendering {
        let maps: Vec<_> = items.into_iter().filter_map(|item| item.log_probability_map).collect();
        match maps.first() {
            None => Rendering::Nothing,
            Some(first) => Rendering::HeatMaps {
                shape: first.shape,
                maps: maps.into_iter().map(|map| map.values).collect(),
            },
        }
    }

    fn observe(model: &Model, items: &[&Likelihood], metrics: &Metrics) {
        let bits = metrics.bits_per_dim.with_label_values(&[&model.name]);
        for item in items {
            bits.observe(item.bits_per_dim.0);
        }
    }
}
