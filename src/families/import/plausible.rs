//! Likely answers that a trained density gives away itself: flat images are easy, and it expects them only where it is
//! read as it was trained.

use super::Golden;
use crate::{
    domain::image::{Image, ImageShape},
    families::{Registry, gate::units::SHARES},
    import::{
        interview::{Interview, Question},
        reading::Reading,
    },
};

/// Questions that are about how numbers are read, rather than about what they are.
const OF_READING: [&str; 3] = ["layout", "parameters", "input"];
/// Nats for each dimension by which an answer has to be better than the usual one.
const BETTER: f64 = 0.3;
/// The share of what knowing nothing costs that flat images cost at most, once they are expected.
const EXPECTED: f64 = 0.75;

/// Makes the answer likely under which flat images are, where the usual one makes them improbable.
pub(super) fn prefer(registry: &Registry, brought: &[Reading], interview: &Interview, questions: &mut [Question]) {
    for at in 0..questions.len() {
        if !OF_READING.contains(&&*questions[at].key) {
            continue;
        }
        let with = |value: &str| {
            let mut own = interview.again();
            for question in questions.iter() {
                own.answer(&question.key, &question.likely);
            }
            own.answer(&questions[at].key, value);
            expected(registry, brought, &mut own)
        };
        let Some((usual, most)) = with(&questions[at].likely) else {
            continue;
        };
        let others = questions[at].options.iter().map(|(value, _)| value);
        let others = others.filter_map(|value| Some((with(value)?.0, value.clone())));
        let best = others.max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((found, value)) = best
            && found > usual + BETTER
            && found > EXPECTED * most
        {
            let question = &mut questions[at];
            question.text += &format!(
                " Flat images are likely with {value:?} ({:.2} bits for each dimension), and not with {:?} ({:.2})",
                bits(found),
                question.likely,
                bits(usual)
            );
            question.likely = value;
        }
    }
}

/// Notes which of the answers that somebody stands by make flat images improbable, where others do not.
pub(super) fn doubt(registry: &Registry, brought: &[Reading], interview: &mut Interview) {
    for key in OF_READING {
        let Some(said) = interview
            .answers()
            .get(key)
            .cloned()
            .filter(|_| interview.is_insisted(key))
        else {
            continue;
        };
        let mut own = interview.without(key);
        if super::recognise(registry, brought, &mut own).is_err() {
            continue;
        }
        let asked = own.open().iter().filter(|question| question.key == key).cloned();
        let mut asked: Vec<Question> = asked
            .map(|own| Question {
                likely: said.clone(),
                ..own
            })
            .collect();
        prefer(registry, brought, &interview.without(key), &mut asked);
        for question in asked.iter().filter(|question| question.likely != said) {
            interview.note(&format!("{}: {said:?} is taken, as was said", question.text));
        }
    }
}

fn bits(nats: f64) -> f64 {
    -nats / std::f64::consts::LN_2
}

/// Nats of a dimension of flat images with these answers, and of one of which nothing is known; none if it is no
/// density.
fn expected(registry: &Registry, brought: &[Reading], interview: &mut Interview) -> Option<(f64, f64)> {
    let (_, plan) = super::recognise(registry, brought, interview).ok()?;
    let Golden::OfImages { labels, numbers, .. } = &plan.golden else {
        return None;
    };
    plan.statistic?;
    let images = flat(plan.shape);
    let scores = numbers(&images).ok()?;
    let count = images.len() * labels.unwrap_or(1) * plan.shape.dimensions();
    let mean = scores.iter().sum::<f64>() / count as f64;
    mean.is_finite().then(|| (mean, -(plan.shape.levels() as f64).ln()))
}

/// Images of one colour each, whose channels differ.
fn flat(shape: ImageShape) -> Vec<Image> {
    let most = (shape.levels() - 1) as f64;
    let image = |number: usize| {
        let level = |index: usize| {
            let share = SHARES[(number + 4 * (index / shape.pixels())) % SHARES.len()];
            (share * most).round() as u8
        };
        Image::new(shape, (0..shape.dimensions()).map(level).collect::<Vec<u8>>()).ok()
    };
    (0..SHARES.len()).filter_map(image).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_images_have_all_brightnesses_in_all_channels() {
        let shape = ImageShape::new(3, 2, 2, 256).unwrap();
        let images = flat(shape);
        for channel in 0..3 {
            let mut levels: Vec<u8> = images.iter().map(|image| image.levels()[4 * channel]).collect();
            levels.sort_unstable();
            assert_eq!(levels, [0, 32, 64, 96, 128, 159, 191, 223, 255]);
        }
        assert!(images.iter().all(|image| image.levels()[0] != image.levels()[4]));
    }
}
