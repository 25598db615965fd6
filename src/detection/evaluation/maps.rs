//! Where in an image the surprise lies, of the few images that a reader looks at.

use super::pixels::Pixels;
use crate::{
    domain::image::Image,
    model::{
        Call, Model, Refusal,
        detect::{JudgeAsk, Judges},
        score::{ScoreAsk, Scores},
    },
};

/// Images whose maps are held at once.
const CHUNK: usize = 8;

/// Maps are what counts; the rate only has to be one that every calibration supports.
const ASK_MAP: JudgeAsk = JudgeAsk {
    false_alarm_rate: 0.5,
    confidence: None,
    false_discovery_rate: None,
    map: true,
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

/// Counts the pixels of images by their maps, a few images at a time; `mask` gives that of an image by its place, if it
/// has one. `progress` is told how many images are counted.
pub async fn count_pixels(
    judges: &dyn Judges,
    images: &[Image],
    call: &Call,
    pixels: &mut Pixels,
    mask: impl Fn(usize) -> Result<Option<Vec<bool>>, Refusal>,
    progress: impl Fn(usize),
) -> Result<(), Refusal> {
    for (number, chunk) in images.chunks(CHUNK).enumerate() {
        let judged = judges.judge(chunk.to_vec(), &ASK_MAP, call).await?;
        for (place, (image, verdict)) in chunk.iter().zip(judged).enumerate() {
            let place = number * CHUNK + place;
            if let Some(map) = verdict?.map {
                pixels.add(image, &map.values.values, mask(place)?.as_deref());
            }
            progress(place + 1);
        }
    }
    Ok(())
}

/// What speaks against every dimension of each image; none if the model cannot tell.
pub async fn evidence(model: &Model, images: &[Image], call: &Call) -> Option<Vec<Vec<f32>>> {
    let judges = model.can::<dyn Judges>().ok()?;
    if !judges.has_maps() {
        return None;
    }
    let judged = judges.judge(images.to_vec(), &ASK_MAP, call).await.ok()?;
    let maps = judged.into_iter();
    maps.map(|verdict| Some(verdict.ok()?.map?.values.values)).collect()
}
