//! Golden numbers of the training framework: reading them, and the answers under which graphs give them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{Golden, Request, batch};
use crate::{
    domain::image::{Image, ImageShape},
    families::Registry,
    import::{
        Problem,
        interview::{Interview, Question},
        reading::Reading,
    },
    media,
};

/// Numbers of the training framework.
#[derive(Debug, Clone)]
pub struct GoldenFiles {
    /// npy file of levels, uint8 [G, H, W] or [G, H, W, C].
    pub images: PathBuf,
    /// npy file of numbers.
    pub scores: PathBuf,
}

/// Golden images and numbers out of files.
pub(super) fn given(
    golden: &GoldenFiles,
    shape: ImageShape,
    labels: Option<usize>,
) -> Result<(Vec<Image>, Vec<f64>), Problem> {
    let wrong = |path: &Path, error: String| Problem::new("--golden", format!("{}: {error}", path.display()), "");
    let read = |path: &Path| std::fs::read(path).map_err(|error| wrong(path, error.to_string()));
    let images = media::read_images(&read(&golden.images)?, shape, usize::MAX)
        .map_err(|error| wrong(&golden.images, error.to_string()))?;
    let columns: Vec<usize> = labels.into_iter().collect();
    let scores = media::read_numbers(&read(&golden.scores)?, &columns)
        .map_err(|error| wrong(&golden.scores, error.to_string()))?;
    if images.is_empty() || scores.len() != images.len() * labels.unwrap_or(1) {
        let what = format!("{} scores for {} images", scores.len(), images.len());
        let cure = "give one for each image (and label, if there are labels)";
        return Err(Problem::new("--golden", what, cure));
    }
    Ok((images, scores))
}

/// Combinations of answers that are tried for golden numbers.
const COMBINATIONS: usize = 256;
/// Images that they are tried on.
const TRIED: usize = 2;

/// Answers to all these questions with which the graphs give the golden numbers, if some do.
pub(super) fn reproduced(
    registry: &Registry,
    brought: &[Reading],
    request: &Request,
    (interview, asked): (&Interview, &[Question]),
) -> Option<BTreeMap<String, String>> {
    let golden = request.golden.as_ref()?;
    // Numbers of images alone say nothing of what they are in company.
    let questions: Vec<&Question> = asked.iter().filter(|own| own.key != batch::KEY).collect();
    let count: usize = questions.iter().map(|question| question.options.len()).product();
    if questions.is_empty() || count == 0 || count > COMBINATIONS {
        return None;
    }
    let mut best: Option<(f64, BTreeMap<String, String>)> = None;
    for combination in 0..count {
        let (mut rest, mut answers, mut own) = (combination, BTreeMap::new(), interview.again());
        for question in &questions {
            let (value, _) = &question.options[rest % question.options.len()];
            rest /= question.options.len();
            own.answer(&question.key, value);
            answers.insert(question.key.clone(), value.clone());
        }
        let off = difference(registry, brought, golden, &mut own).unwrap_or(f64::INFINITY);
        // What is off by more than this is another answer's number.
        if off < 1e-3 && best.as_ref().is_none_or(|(least, _)| off < *least) {
            best = Some((off, answers));
        }
    }
    best.map(|(_, answers)| answers)
}

/// The largest relative difference to golden numbers with these answers; none if they fit no family.
fn difference(
    registry: &Registry,
    brought: &[Reading],
    golden: &GoldenFiles,
    interview: &mut Interview,
) -> Option<f64> {
    let (_, plan) = super::recognise(registry, brought, interview).ok()?;
    let Golden::OfImages { labels, numbers, .. } = &plan.golden else {
        return None;
    };
    let (images, scores) = given(golden, plan.shape, *labels).ok()?;
    let actual = numbers(&images[..images.len().min(TRIED)]).ok()?;
    let off = |(actual, expected): (&f64, &f64)| (actual - expected).abs() / (1.0 + expected.abs());
    // What is no number is as far off as can be.
    let worse = |largest: f64, own: f64| if own.is_nan() { f64::INFINITY } else { largest.max(own) };
    let largest = actual.iter().zip(&scores).map(off).fold(0.0, worse);
    Some(largest)
}
