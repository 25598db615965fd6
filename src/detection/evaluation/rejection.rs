//! When a composite gives no label, and how much more often its labels are right for it.

use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::measured::Measured;
use crate::{
    domain::{
        bayes::most_probable,
        coverage::{self, Point},
        image::Image,
    },
    model::{
        Call, PerImage, Refusal,
        classify::{Classifies, ClassifyAsk, Doubts},
    },
};

/// Chunks that are asked about at once.
const IN_FLIGHT: usize = 4;

/// Images classified in one call.
const CHUNK: usize = 64;

/// False-alarm rates of each reason at which the sets are reported.
const RATES: [f64; 4] = [0.001, 0.01, 0.05, 0.1];

/// Points of a curve that are reported.
const POINTS: usize = 200;

/// What a composite does with images of the labels' kind and with others.
#[derive(Debug, Serialize)]
pub struct RejectionReport {
    /// The images themselves first, then the outliers.
    pub sets: Vec<Set>,
    /// Accuracy against coverage; none without labels.
    pub curves: Vec<Curve>,
}

/// A set of images at several false-alarm rates.
#[derive(Debug, Serialize)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Its images.
    pub images: usize,
    /// At several rates.
    pub at: Vec<Shares>,
}

/// What becomes of a set when each reason may reject this share of ordinary images.
#[derive(Debug, Serialize)]
pub struct Shares {
    /// The share.
    pub false_alarm_rate: f64,
    /// Got a label.
    pub labelled: f64,
    /// Lie between labels.
    pub ambiguous: f64,
    /// Are novel.
    pub none_of_these: f64,
    /// Of the images that got a label, where it is known which they have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
}

/// Accuracy against coverage by one degree of sureness. An outlier has no right label: any that it gets is wrong.
#[derive(Debug, Serialize)]
pub struct Curve {
    /// What it is of.
    pub name: &'static str,
    /// Coverage and accuracy.
    pub points: Vec<(f64, f64)>,
    /// The accuracy if everything gets a label.
    pub accuracy_of_all: f64,
    /// The accuracy at the coverages 50 %, 80 %, 90 % and 95 %.
    pub accuracy_at: Vec<(f64, Option<f64>)>,
}

/// What was found of one image.
struct Found {
    doubts: Doubts,
    /// Whether the most probable label is the image's; unknown without labels.
    right: Option<bool>,
}

/// A set of outliers and what was said of them.
#[derive(Debug)]
pub struct Doubted {
    /// Its name.
    pub name: String,
    /// What was said of each image that could be judged.
    pub doubts: Vec<Doubts>,
}

/// Asks about images, some chunks at a time. `progress` is told how many have been answered.
pub async fn ask(
    classifies: &dyn Classifies,
    images: &[Image],
    call: &Call,
    progress: impl Fn(usize),
) -> Result<PerImage<Option<Doubts>>, Refusal> {
    let ask = ClassifyAsk::default();
    let answers = images
        .chunks(CHUNK)
        .map(|chunk| classifies.classify(chunk.to_vec(), &ask, call));
    let mut answers = Box::pin(stream::iter(answers).buffered(IN_FLIGHT));
    let mut found = Vec::with_capacity(images.len());
    while let Some(answer) = answers.next().await {
        let own = answer?.into_iter();
        found.extend(own.map(|result| result.map(|classification| classification.doubts)));
        progress(found.len());
    }
    Ok(found)
}

impl RejectionReport {
    /// What is said of the images themselves and of outliers. `None` if the model gives no reasons to reject a label.
    pub fn of(measured: &Measured, outliers: Vec<Doubted>) -> Option<Self> {
        if measured.doubts.is_empty() {
            return None;
        }
        let mut sets = vec![("the images".to_owned(), inliers(measured))];
        for Doubted { name, doubts } in outliers {
            let wrong = |doubts| Found {
                doubts,
                right: Some(false),
            };
            sets.push((name, doubts.into_iter().map(wrong).collect()));
        }
        Some(Self {
            curves: curves(&sets),
            sets: sets.into_iter().map(|(name, found)| set(name, &found)).collect(),
        })
    }
}

fn inliers(measured: &Measured) -> Vec<Found> {
    let right = |place: usize| {
        let label = measured.labels.as_ref()?.get(place)?;
        Some(most_probable(&measured.log_posteriors[place]) == *label)
    };
    measured
        .doubts
        .iter()
        .enumerate()
        .map(|(place, doubts)| Found {
            doubts: doubts.clone(),
            right: right(place),
        })
        .collect()
}

fn set(name: String, found: &[Found]) -> Set {
    let shares = |rate: f64| {
        let novel = |found: &Found| found.doubts.novelty.p_value <= rate;
        let ambiguous = |found: &Found| !novel(found) && found.doubts.ambiguity.p_value <= rate;
        let labelled: Vec<&Found> = found
            .iter()
            .filter(|found| !novel(found) && !ambiguous(found))
            .collect();
        let count = found.len() as f64;
        let share = |is: &dyn Fn(&Found) -> bool| found.iter().filter(|f| is(f)).count() as f64 / count;
        let right: Option<Vec<bool>> = labelled.iter().map(|found| found.right).collect();
        Shares {
            false_alarm_rate: rate,
            labelled: labelled.len() as f64 / count,
            ambiguous: share(&ambiguous),
            none_of_these: share(&novel),
            accuracy: right
                .filter(|right| !right.is_empty())
                .map(|right| right.iter().filter(|right| **right).count() as f64 / right.len() as f64),
        }
    };
    Set {
        images: found.len(),
        at: RATES.map(shares).into(),
        name,
    }
}

/// By the classifier's sureness alone, which every classifier has, and by the smaller of the two p-values; on the
/// images alone, and with the outliers among them.
fn curves(sets: &[(String, Vec<Found>)]) -> Vec<Curve> {
    let sure = |found: &Found| -found.doubts.ambiguity.value;
    let neither = |found: &Found| {
        let Doubts { ambiguity, novelty, .. } = &found.doubts;
        ambiguity.p_value.min(novelty.p_value)
    };
    let curve = |name, sets: &[(String, Vec<Found>)], sureness: &dyn Fn(&Found) -> f64| {
        let images: Option<Vec<(f64, bool)>> = sets
            .iter()
            .flat_map(|(_, found)| found)
            .map(|found| Some((sureness(found), found.right?)))
            .collect();
        let points = coverage::curve(&images?);
        let step = points.len().div_ceil(POINTS);
        let last = points.last()?;
        let kept = |(place, _): &(usize, &Point)| (points.len() - 1 - place).is_multiple_of(step);
        Some(Curve {
            name,
            accuracy_of_all: last.accuracy,
            accuracy_at: [0.5, 0.8, 0.9, 0.95]
                .map(|share| (share, coverage::accuracy_at(&points, share)))
                .to_vec(),
            points: points
                .iter()
                .enumerate()
                .filter(kept)
                .map(|(_, point)| (point.coverage, point.accuracy))
                .collect(),
        })
    };
    let alone = &sets[..1];
    let mut curves = vec![
        curve("the images, by ambiguity alone", alone, &sure),
        curve("the images, by both", alone, &neither),
    ];
    if sets.len() > 1 {
        curves.push(curve("with the outliers, by ambiguity alone", sets, &sure));
        curves.push(curve("with the outliers, by both", sets, &neither));
    }
    curves.into_iter().flatten().collect()
}
