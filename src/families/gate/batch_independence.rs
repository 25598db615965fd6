//! What an image gives must not depend on the images that it shares a run with.
//!
//! Requests of different clients share runs. A graph that computes anything over the batch (batch normalisation in
//! training mode, scaling by the extremes of all images, quantisation by a range found on the way) gives other numbers
//! in other company. One item is run alone and again amid others that are as different from it as can be.

use std::fmt;

use crate::domain::{image::ImageShape, random::Random};

/// Numbers may differ by this share of the largest ordinary one of the item, or of their own size: some kernels of a
/// runtime round otherwise when there are more rows.
const ROUNDING: f32 = 1e-5;
/// Numbers up to this size, or up to so many times the median, are ordinary. What is larger, such as the logit of a
/// level that is ruled out, says nothing of how the others are rounded.
const ORDINARY: f32 = 1e3;
/// See [`ORDINARY`].
const MEDIANS: f32 = 100.0;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::families) enum Kept {
    /// The same bits.
    Exactly,
    /// The same but for rounding, up to this difference.
    Rounded(f32),
}

impl Kept {
    /// What two trials found.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Exactly, kept) | (kept, Self::Exactly) => kept,
            (Self::Rounded(one), Self::Rounded(other)) => Self::Rounded(one.max(other)),
        }
    }
}

/// What was found instead.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::families) enum Broken {
    /// Two runs of the same item alone differ.
    Random,
    /// Company changes the numbers by up to this.
    Company(f32),
}

/// What a run gives of one item, in parts such as logits and features that each have a scale of their own: large
/// numbers of one would hide what becomes of another.
pub(in crate::families) type Parts = Vec<Vec<f32>>;

/// Runs the items of these indices together and answers what it gives of each.
pub(in crate::families) type Run<'a, E> = dyn FnMut(&[usize]) -> Result<Vec<Parts>, E> + 'a;

/// Items 1 and 2 are others than item 0.
const DIFFERENT: usize = 2;

/// Tries item 0 alone and amid so many others, which are items 1 and 2 in turn: what only comes before it, or only
/// after it, is company as well. Answers what it gives of these two.
pub(in crate::families) fn probe<E>(
    others: usize,
    run: &mut Run<'_, E>,
) -> Result<Result<(Kept, Vec<Parts>), Broken>, E> {
    let alone = run(&[0])?.swap_remove(0);
    let mut order: Vec<usize> = (1..=DIFFERENT).cycle().take(others).collect();
    let place = others / 2;
    order.insert(place, 0);
    let mut together = run(&order)?;
    let amid = together.remove(place);
    together.truncate(DIFFERENT);
    let is_same = |one: &Parts, other: &Parts| one.len() == other.len() && all(one, other, same_bits);
    if is_same(&alone, &amid) {
        return Ok(Ok((Kept::Exactly, together)));
    }
    let again = run(&[0])?.swap_remove(0);
    if !is_same(&alone, &again) {
        return Ok(Err(Broken::Random));
    }
    let differences = alone.iter().zip(&amid).map(|(one, other)| difference(one, other));
    let difference = differences.fold(0.0, f32::max);
    Ok(if difference.is_finite() && all(&alone, &amid, are_rounded) {
        Ok((Kept::Rounded(difference), together))
    } else {
        Err(Broken::Company(difference))
    })
}

fn all(one: &Parts, other: &Parts, are: impl Fn(&[f32], &[f32]) -> bool) -> bool {
    one.iter().zip(other).all(|(one, other)| are(one, other))
}

/// Whether two runs give these numbers of one part but for rounding.
fn are_rounded(alone: &[f32], amid: &[f32]) -> bool {
    let scale = ordinary(alone);
    // NaN is close to nothing.
    let is_rounded = |(&a, &b): (&f32, &f32)| {
        a.to_bits() == b.to_bits() || (a - b).abs() <= ROUNDING * scale.max(a.abs().min(b.abs()))
    };
    alone.iter().zip(amid).all(is_rounded)
}

/// The largest of the ordinary numbers.
fn ordinary(values: &[f32]) -> f32 {
    let mut sizes: Vec<f32> = values.iter().map(|value| value.abs()).collect();
    sizes.retain(|&size| size > 0.0 && size.is_finite());
    sizes.sort_unstable_by(f32::total_cmp);
    let most = ORDINARY.max(MEDIANS * sizes.get(sizes.len() / 2).copied().unwrap_or_default());
    sizes.into_iter().rev().find(|&size| size <= most).unwrap_or_default()
}

fn same_bits(one: &[f32], other: &[f32]) -> bool {
    let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|value| value.to_bits()).collect() };
    bits(one) == bits(other)
}

/// The largest difference; infinite where only one is a number.
fn difference(one: &[f32], other: &[f32]) -> f32 {
    if one.len() != other.len() {
        return f32::INFINITY;
    }
    one.iter().zip(other).fold(0.0, |largest, (&a, &b)| {
        let own = (a - b).abs();
        if a.to_bits() == b.to_bits() || own <= largest {
            largest
        } else if own.is_nan() {
            f32::INFINITY
        } else {
            own
        }
    })
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly => f.write_str("an item alone and amid others gives the same bits"),
            Self::Rounded(difference) => write!(
                f,
                "an item alone and amid others gives the same but for rounding, up to {difference:.1e}"
            ),
        }
    }
}

/// Levels of images that are as different as can be: noise of the lower half of levels, the extremes in turn, and noise
/// of all levels. The range of the first one is such that a quantisation by it and one by the range of all round
/// differently.
pub(in crate::families) fn images(shape: ImageShape, random: &Random) -> [Vec<u8>; 3] {
    let (dimensions, levels) = (shape.dimensions(), shape.levels());
    let noise = |count: usize| {
        (0..dimensions)
            .map(|i| (random.uniform(i as u32) * count as f64) as u8)
            .collect()
    };
    [
        noise(levels.div_ceil(2)),
        alternating(dimensions, (levels - 1) as u8),
        noise(levels),
    ]
}

/// 0 and `level` in turn; with level 1 as quiet as an image can be that is not the same everywhere.
pub(in crate::families) fn alternating(dimensions: usize, level: u8) -> Vec<u8> {
    (0..dimensions).map(|i| level * u8::from(i % 2 == 1)).collect()
}

/// Codes that are as different as can be: near the mode of the prior, far out, and a draw.
pub(in crate::families) fn codes(size: usize, random: &Random) -> [Vec<f32>; 3] {
    let alternate = |value: f32| (0..size).map(|i| if i % 2 == 0 { value } else { -value }).collect();
    let draw = (0..size).map(|i| random.normal(i as u32) as f32);
    [alternate(0.1), alternate(3.0), draw.collect()]
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::domain::random::Stream;

    type Numbers = Vec<Vec<f32>>;

    fn probed(of: &dyn Fn(&[Vec<u8>]) -> Numbers) -> Result<Kept, Broken> {
        let images = images(ImageShape::new(1, 4, 4, 4).unwrap(), &Random::new(0, Stream::Probe, 0));
        let mut run = |indices: &[usize]| {
            let images: Vec<Vec<u8>> = indices.iter().map(|&i| images[i].clone()).collect();
            let of_each: Vec<Parts> = of(&images).into_iter().map(|numbers| vec![numbers]).collect();
            Ok::<_, Infallible>(of_each)
        };
        probe(2, &mut run).unwrap().map(|(kept, others)| {
            assert_eq!(others.len(), 2);
            kept
        })
    }

    fn floats(image: &[u8]) -> Vec<f32> {
        image.iter().map(|&level| f32::from(level)).collect()
    }

    #[test]
    fn what_is_computed_over_the_batch_is_found() {
        let each = |images: &[Vec<u8>]| images.iter().map(|image| floats(image)).collect();
        assert_eq!(probed(&each), Ok(Kept::Exactly));
        let scaled = |images: &[Vec<u8>]| {
            let largest = f32::from(*images.iter().flatten().max().unwrap());
            let of = |image: &Vec<u8>| floats(image).iter().map(|v| v / largest).collect();
            images.iter().map(of).collect()
        };
        assert!(matches!(probed(&scaled), Err(Broken::Company(_))));
        let first = |images: &[Vec<u8>]| {
            let first = floats(&images[0]);
            let of = |image: &Vec<u8>| floats(image).iter().zip(&first).map(|(a, b)| a - b).collect();
            images.iter().map(of).collect()
        };
        assert!(matches!(probed(&first), Err(Broken::Company(_))));
        let last = |images: &[Vec<u8>]| {
            let last = floats(&images[images.len() - 1]);
            let of = |image: &Vec<u8>| floats(image).iter().zip(&last).map(|(a, b)| a - b).collect();
            images.iter().map(of).collect()
        };
        assert!(matches!(probed(&last), Err(Broken::Company(_))));
        // What is ruled out by a huge number, or by an infinite one, hides nothing.
        for ruled_out in [-1e9, f32::NEG_INFINITY] {
            let masked = |images: &[Vec<u8>]| vec![vec![ruled_out, 1.0, images.len() as f32]; images.len()];
            assert_eq!(probed(&masked), Err(Broken::Company(2.0)));
        }
        let count = |images: &[Vec<u8>]| vec![vec![images.len() as f32]; images.len()];
        assert_eq!(probed(&count), Err(Broken::Company(2.0)));
        let nothing = |images: &[Vec<u8>]| vec![vec![if images.len() == 1 { 1.0 } else { f32::NAN }]; images.len()];
        assert_eq!(probed(&nothing), Err(Broken::Company(f32::INFINITY)));
    }

    #[test]
    fn large_numbers_of_one_part_hide_nothing_of_another() {
        let probed = |parts: fn(f32) -> Parts| {
            let mut run = |items: &[usize]| Ok::<_, Infallible>(vec![parts(items.len() as f32); items.len()]);
            probe(2, &mut run).unwrap().map(|(kept, _)| kept)
        };
        assert!(matches!(
            probed(|company| vec![vec![500.0, 1.0 + company * 1e-4]]),
            Ok(Kept::Rounded(_))
        ));
        assert!(matches!(
            probed(|company| vec![vec![500.0], vec![1.0 + company * 1e-4]]),
            Err(Broken::Company(_))
        ));
        assert_eq!(probed(|_| vec![vec![500.0], vec![1.0]]), Ok(Kept::Exactly));
    }

    #[test]
    fn rounding_is_told_and_chance_is_found_however_small() {
        let rounded =
            |images: &[Vec<u8>]| vec![vec![1.0, if images.len() == 1 { 0.5 } else { 0.500_001 }]; images.len()];
        assert!(matches!(probed(&rounded), Ok(Kept::Rounded(_))));
        let runs = std::cell::Cell::new(0u32);
        let random = |images: &[Vec<u8>]| {
            runs.set(runs.get() + 1);
            vec![vec![1.0 + runs.get() as f32 * f32::EPSILON]; images.len()]
        };
        assert_eq!(probed(&random), Err(Broken::Random));
    }
}
