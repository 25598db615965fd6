//! When a composite gives no label, and how much more often its labels are right for it.

use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::{detection::named, measure::Measured};
use crate::{
    cli::{CliError, gather, model::Loaded, pipeline},
    domain::{
        bayes::most_probable,
        coverage::{self, Point},
    },
    service::requests::{ClassifyOptions, Doubts},
};

/// Images classified in one call.
const CHUNK: usize = 64;

/// False-alarm rates of each reason at which the sets are reported.
const RATES: [f64; 4] = [0.001, 0.01, 0.05, 0.1];

/// Points of a curve that are reported.
const POINTS: usize = 200;

/// What a composite does with images of the labels' kind and with others.
#[derive(Debug, Serialize)]
pub(super) struct RejectionReport {
    /// The images themselves first, then the outliers.
    pub(super) sets: Vec<Set>,
    /// Accuracy against coverage; none without labels.
    pub(super) curves: Vec<Curve>,
}

/// A set of images at several false-alarm rates.
#[derive(Debug, Serialize)]
pub(super) struct Set {
    pub(super) name: String,
    pub(super) images: usize,
    pub(super) at: Vec<Shares>,
}

/// What becomes of a set when each reason may reject this share of ordinary images.
#[derive(Debug, Serialize)]
pub(super) struct Shares {
    pub(super) false_alarm_rate: f64,
    pub(super) labelled: f64,
    pub(super) ambiguous: f64,
    pub(super) none_of_these: f64,
    /// Of the images that got a label, where it is known which they have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) accuracy: Option<f64>,
}

/// Accuracy against coverage by one degree of sureness. An outlier has no right label: any that it gets is wrong.
#[derive(Debug, Serialize)]
pub(super) struct Curve {
    pub(super) name: &'static str,
    pub(super) points: Vec<(f64, f64)>,
    /// The accuracy if everything gets a label.
    pub(super) accuracy_of_all: f64,
    /// The accuracy at the coverages 50 %, 80 %, 90 % and 95 %.
    pub(super) accuracy_at: Vec<(f64, Option<f64>)>,
}

/// What was found of one image.
struct Found {
    doubts: Doubts,
    /// Whether the most probable label is the image's; unknown without labels.
    right: Option<bool>,
}

/// Asks about the outliers; what is said of the images is known already. `None` if the model was not asked for labels.
pub(super) fn measure(
    loaded: &Loaded,
    measured: &Measured,
    outliers: &[String],
    (resize, convert): (bool, bool),
) -> Result<Option<RejectionReport>, CliError> {
    if measured.doubts.is_empty() {
        return Ok(None);
    }
    let mut sets = vec![("the images".to_owned(), inliers(measured))];
    let named = named(outliers)?;
    let shape = loaded.model.shape();
    let runtime = pipeline::runtime()?;
    for (name, path) in named {
        let images = gather::images(&[path], shape, resize, convert)?;
        if images.is_empty() {
            return Err(CliError::Usage(format!("{name}: it holds no images")));
        }
        let bar = gather::progress(images.len());
        let found = runtime.block_on(async {
            let (options, model) = (ClassifyOptions::default(), &loaded.model);
            let service = &loaded.app.service;
            let answers = stream::iter(images.chunks(CHUNK)).map(|chunk| {
                service.classify(model, chunk.to_vec(), &options, pipeline::no_deadline())
            });
            let mut answers = Box::pin(answers.buffered(loaded.settings.work.workers + 1));
            let mut found = Vec::with_capacity(images.len());
            while let Some(answer) = answers.next().await {
                for result in answer?.results {
                    found.extend(result?.doubts.map(|doubts| Found {
                        doubts,
                        right: Some(false),
                    }));
                }
                bar.set_position(found.len() as u64);
            }
            Ok::<_, CliError>(found)
        })?;
        bar.finish_and_clear();
        sets.push((name, found));
    }
    Ok(Some(RejectionReport {
        curves: curves(&sets),
        sets: sets
            .into_iter()
            .map(|(name, found)| set(name, &found))
            .collect(),
    }))
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
        let share =
            |is: &dyn Fn(&Found) -> bool| found.iter().filter(|f| is(f)).count() as f64 / count;
        let right: Option<Vec<bool>> = labelled.iter().map(|found| found.right).collect();
        Shares {
            false_alarm_rate: rate,
            labelled: labelled.len() as f64 / count,
            ambiguous: share(&ambiguous),
            none_of_these: share(&novel),
            accuracy: right.filter(|right| !right.is_empty()).map(|right| {
                right.iter().filter(|right| **right).count() as f64 / right.len() as f64
            }),
        }
    };
    Set {
        images: found.len(),
        at: RATES.map(shares).into(),
        name,
    }
}

/// By the classifier's sureness alone, which every classifier has, and by the smaller of the two p-values; on the images alone, and with the
/// outliers among them.
fn curves(sets: &[(String, Vec<Found>)]) -> Vec<Curve> {
    let sure = |found: &Found| -found.doubts.ambiguity.value;
    let neither = |found: &Found| {
        let Doubts {
            ambiguity, novelty, ..
        } = &found.doubts;
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

impl RejectionReport {
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "\na label, or a reason to give none\n{:<21} {:>8} {:>11} {:>9} {:>10} {:>14} {:>9}\n",
            "", "images", "each at", "labelled", "ambiguous", "none of these", "accuracy"
        );
        for set in &self.sets {
            for shares in &set.at {
                let accuracy = shares
                    .accuracy
                    .map_or_else(|| "–".to_owned(), |accuracy| format!("{accuracy:.4}"));
                text += &format!(
                    "{:<21} {:>8} {:>9.1} % {:>9.4} {:>10.4} {:>14.4} {accuracy:>9}\n",
                    set.name,
                    set.images,
                    100.0 * shares.false_alarm_rate,
                    shares.labelled,
                    shares.ambiguous,
                    shares.none_of_these,
                );
            }
        }
        if !self.curves.is_empty() {
            text += &format!(
                "\n{:<40} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
                "accuracy at coverage", "50 %", "80 %", "90 %", "95 %", "100 %"
            );
        }
        for curve in &self.curves {
            let cells: String = curve
                .accuracy_at
                .iter()
                .map(|(_, accuracy)| match accuracy {
                    Some(accuracy) => format!(" {accuracy:>9.4}"),
                    None => format!(" {:>9}", "–"),
                })
                .collect();
            text += &format!("{:<40}{cells} {:>9.4}\n", curve.name, curve.accuracy_of_all);
        }
        text
    }
}
