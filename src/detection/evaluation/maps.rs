//! Where in an image the surprise lies, of the few images that a reader looks at.

use crate::{
    domain::image::Image,
    model::{
        Call, Model,
        detect::{JudgeAsk, Judges},
        score::{ScoreAsk, Scores},
    },
};

/// The log-probability of every dimension of each image; none if the model cannot tell.
pub async fn log_probabilities(model: &Model, images: &[Image], call: &Call) -> Option<Vec<Vec<f32>>> {
    let scores = model.can::<dyn Scores>().ok()?;
    let ask = ScoreAsk {
        bound: None,
        k: None,
        seed: 0,
        map: true,
        condition: model.condition(None).ok()?,
    };
    let scored = scores.score(images.to_vec(), &ask, call).await.ok()?;
    let map = |item: Result<_, _>| {
        let likelihood: crate::model::score::Likelihood = item.ok()?;
        Some(likelihood.log_probability_map?.values)
    };
    scored.items.into_iter().map(map).collect()
}

/// What speaks against every dimension of each image; none if the model cannot tell.
pub async fn evidence(model: &Model, images: &[Image], call: &Call) -> Option<Vec<Vec<f32>>> {
    let judges = model.can::<dyn Judges>().ok()?;
    if !judges.has_maps() {
        return None;
    }
    let ask = JudgeAsk {
        false_alarm_rate: 0.5,
        confidence: None,
        false_discovery_rate: None,
        map: true,
    };
    let judged = judges.judge(images.to_vec(), &ask, call).await.ok()?;
    let maps = judged.items.into_iter();
    maps.map(|verdict| Some(verdict.ok()?.map?.values.values)).collect()
}
