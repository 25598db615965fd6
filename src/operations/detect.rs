//! `detect`: is this image reasonable, at a stated rate of false alarms?

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Answer, Context, Format, Operation, Rendering, Tensor, TensorSpec,
    answer::NoHead,
    input::Images,
    render::not_acceptable,
    tensor::{Datatype, IMAGE},
};
use crate::{
    domain::{
        conformal,
        image::{Image, ImageShape, padded},
    },
    metrics::Metrics,
    model::{
        Model, Refusal,
        detect::{Calibrated, EvidenceMap, JudgeAsk, Judges, Measured, Verdict},
    },
};

/// Detection.
#[derive(Debug)]
pub struct Detect;

/// The share of ordinary images that may be rejected if nobody says another.
const FALSE_ALARM_RATE: f64 = 0.01;

/// Options of `detect`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct DetectOptions {
    /// The share of ordinary images that may be rejected; by default 0.01.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1), example = 0.01)]
    pub false_alarm_rate: Option<f64>,
    /// The probability with which the calibration at hand keeps the false-alarm rate; without it the rate holds on
    /// average over calibrations. Detectors only.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub confidence: Option<f64>,
    /// Instead of a false-alarm rate: the expected share of ordinary images among those that the request has rejected
    /// (Benjamini and Hochberg). Detectors only.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub fdr: Option<f64>,
    /// Whether to answer with what speaks against each pixel: in JSON beside the decision, as `image/png` laid over the
    /// image, as `application/x-npy` float32 of shape [N, C, H, W]. Detectors only.
    #[serde(default)]
    pub map: bool,
}

/// The decision on one image.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Detection {
    /// `reject` if the p-value is at most the threshold, else `accept`.
    #[schemars(example = &"accept")]
    pub decision: &'static str,
    /// Conformal p-value: how often an ordinary image is at least as strange.
    #[schemars(example = 0.41)]
    pub p_value: f64,
    /// One number of which only large values are strange, by which images can be put in order.
    pub strangeness: f64,
    /// As asked for; not there if a false discovery rate was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 0.01)]
    pub false_alarm_rate: Option<f64>,
    /// As asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// As asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fdr: Option<f64>,
    /// The largest p-value that is rejected, where it does not depend on the other images.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 0.01)]
    pub threshold: Option<f64>,
    /// What is promised.
    pub guarantee: String,
    /// What was measured, by name. A detector's densities begin with `density:`.
    pub statistics: BTreeMap<String, Measured>,
    /// What the p-value is measured against.
    pub calibration: Calibrated,
    /// What speaks against each dimension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map: Option<EvidenceMap>,
    #[serde(skip)]
    bits_per_dim: Option<f64>,
    /// The image, to lay the map over.
    #[serde(skip)]
    image: Option<Image>,
}

impl Operation for Detect {
    const NAME: &'static str = "detect";
    const SUMMARY: &'static str = "Judge images";
    const DESCRIPTION: &'static str = "Whether each image is one that the model would expect, at a stated rate of \
        false alarms. Rejecting an image is an answer, not an error.";
    const FORMATS: &'static [Format] = &[Format::Json, Format::Png, Format::Npy];
    const TENSORS: &'static [TensorSpec] = &[
        TensorSpec {
            name: "reject",
            datatype: Datatype::Bool,
            axes: &[],
            when: None,
            description: "whether the image is rejected",
        },
        TensorSpec {
            name: "strangeness",
            datatype: Datatype::F64,
            axes: &[],
            when: None,
            description: "one number of which only large values are strange",
        },
        TensorSpec {
            name: "p_value",
            datatype: Datatype::F64,
            axes: &[],
            when: None,
            description: "conformal p-value",
        },
        TensorSpec {
            name: "evidence_map",
            datatype: Datatype::F32,
            axes: IMAGE,
            when: Some("map"),
            description: "what speaks against each dimension",
        },
    ];

    type Capability = dyn Judges;
    type Input = Images;
    type Options = DetectOptions;
    type Head = NoHead;
    type Item = Detection;

    fn formats(model: &Model) -> &'static [Format] {
        match model.can::<dyn Judges>() {
            Ok(judge) if !judge.has_maps() => &[Format::Json],
            _ => Self::FORMATS,
        }
    }

    async fn run(
        judge: &Self::Capability,
        model: &Model,
        Images(images): Images,
        options: DetectOptions,
        context: &Context,
    ) -> Result<Answer<Self>, Refusal> {
        if options.fdr.is_some() && options.false_alarm_rate.is_some() {
            let reason = "it replaces false_alarm_rate: give one of the two";
            return Err(Refusal::option("fdr", reason));
        }
        let ask = JudgeAsk {
            false_alarm_rate: options.false_alarm_rate.unwrap_or(FALSE_ALARM_RATE),
            confidence: options.confidence,
            false_discovery_rate: options.fdr,
            map: options.map,
        };
        let shown: Vec<Option<Image>> = if options.map {
            images.iter().cloned().map(Some).collect()
        } else {
            vec![None; images.len()]
        };
        let again = context.shadow.clone().map(|shadow| (shadow, images.clone()));
        let judged = judge.judge(images, &ask, &context.call).await?;
        if let Some((shadow, images)) = again {
            let ask = JudgeAsk {
                map: false,
                ..ask.clone()
            };
            shadow.compare(model.version, images, ask, &judged, &context.call);
        }
        let detection = |(verdict, image): (Result<Verdict, Refusal>, Option<Image>)| {
            let verdict = verdict?;
            Ok(Detection {
                decision: decision(verdict.reject),
                p_value: verdict.p_value,
                strangeness: verdict.strangeness,
                false_alarm_rate: options.fdr.is_none().then_some(ask.false_alarm_rate),
                confidence: options.confidence,
                fdr: options.fdr,
                threshold: verdict.threshold,
                guarantee: guarantee(&ask, &verdict),
                statistics: verdict.statistics,
                calibration: verdict.calibration,
                map: verdict.map,
                bits_per_dim: verdict.bits_per_dim,
                image,
            })
        };
        Ok(Answer {
            head: NoHead {},
            items: judged.into_iter().zip(shown).map(detection).collect(),
        })
    }

    fn decide_together(items: &mut [&mut Detection]) {
        let Some(rate) = items.first().and_then(|item| item.fdr) else {
            return;
        };
        let p_values: Vec<f64> = items.iter().map(|item| item.p_value).collect();
        let rejections = conformal::false_discovery_rejections(&p_values, rate);
        for (item, reject) in items.iter_mut().zip(rejections) {
            item.decision = decision(reject);
        }
    }

    fn check_format(format: Format, options: &DetectOptions) -> Result<(), Refusal> {
        if format != Format::Json && !options.map {
            return Err(not_acceptable(&[Format::Json])
                .with_detail("decisions come as JSON; a picture or an array needs map=true"));
        }
        Ok(())
    }

    fn tensors(_: &NoHead, items: &[Detection]) -> Vec<Tensor> {
        let rejected = |item: &Detection| item.decision == decision(true);
        let mut tensors = vec![
            Tensor::flags("reject", items.iter().map(rejected)),
            Tensor::numbers("strangeness", items.iter().map(|item| item.strangeness)),
            Tensor::numbers("p_value", items.iter().map(|item| item.p_value)),
        ];
        let maps: Vec<_> = items
            .iter()
            .filter_map(|item| Some(&item.map.as_ref()?.values))
            .collect();
        // Images may be of several sizes; there is no evidence beyond one.
        if let Some(common) = ImageShape::covering(maps.iter().map(|map| map.shape)) {
            let values = maps.iter().map(|map| padded(&map.values, map.shape, common, f32::NAN));
            let values: Vec<Vec<f32>> = values.collect();
            let values = values.iter().map(Vec::as_slice);
            tensors.push(Tensor::maps("evidence_map", common, values));
        }
        tensors
    }

    fn rendering(_: NoHead, items: Vec<Detection>) -> Rendering {
        let (images, maps) = items
            .into_iter()
            .filter_map(|item| Some((item.image?, item.map?.values.values)))
            .unzip();
        Rendering::Overlays { images, maps }
    }

    fn observe(model: &Model, items: &[&Detection], metrics: &Metrics) {
        let bits = metrics.bits_per_dim.with_label_values(&[&model.name]);
        let p_values = metrics.p_value.with_label_values(&[&model.name]);
        for item in items {
            if let Some(value) = item.bits_per_dim {
                bits.observe(value);
            }
            p_values.observe(item.p_value);
            let decision = &[model.name.as_str(), item.decision];
            metrics.decisions.with_label_values(decision).inc();
        }
    }
}

fn decision(reject: bool) -> &'static str {
    if reject { "reject" } else { "accept" }
}

/// What is promised, in a sentence.
fn guarantee(ask: &JudgeAsk, verdict: &Verdict) -> String {
    let rate = ask.false_alarm_rate;
    let ordinary = match &verdict.calibration.label {
        None => "ordinary images".to_owned(),
        Some(label) => format!("the ordinary images that it takes for {label:?}"),
    };
    match (ask.false_discovery_rate, ask.confidence, verdict.threshold) {
        (Some(rate), ..) => {
            format!("of the images rejected in this request, an expected share of at most {rate} is ordinary")
        }
        (None, Some(confidence), Some(threshold)) => format!(
            "with probability {confidence} over calibrations, this calibration rejects at most a share of {rate} of \
             {ordinary}: those with a p-value of at most {threshold:.6}"
        ),
        _ => format!("on average over calibrations, at most a share of {rate} of {ordinary} is rejected"),
    }
}
