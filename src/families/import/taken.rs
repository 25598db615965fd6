//! What a graph takes for levels, as it tells itself or as is likely.

use crate::{
    graph::weights,
    import::reading::{Axes, ImageForm, Reading, Taken},
};

/// Means beyond this are of levels rather than of numbers from 0 to 1 or from −1 to 1.
const MEAN_OF_LEVELS: f64 = 8.0;

/// What a graph most likely takes for levels, where it does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Likely {
    /// 0 to 1.
    Unit,
    /// −1 to 1.
    Signed,
    /// Less the mean of ImageNet, in its deviations.
    ImageNet,
}

impl Likely {
    /// Of a graph whose pictures, or those of its other half, go from −1 to 1, or do not.
    pub(crate) fn by_pictures(are_signed: bool) -> Self {
        if are_signed { Self::Signed } else { Self::Unit }
    }

    /// Of a network that was trained on photographs such as those of ImageNet: their mean and deviation are taken off
    /// outside of it, unless it begins with a shift or a scale of its own. Frameworks that put channels last have other
    /// customs.
    pub(crate) fn of_photographs(reading: &Reading, (taken, form): (&Taken, ImageForm)) -> Self {
        let sides = 128..=640;
        let is_photograph = form.channels == 3 && sides.contains(&form.height) && sides.contains(&form.width);
        let is_custom = is_photograph && form.axes == Axes::ChannelsFirst;
        if is_custom && !weights::begins_affine(&reading.model, &taken.port.name) {
            Self::ImageNet
        } else {
            Self::Unit
        }
    }

    /// The word of `--input`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Unit => "0..1",
            Self::Signed => "-1..1",
            Self::ImageNet => "imagenet",
        }
    }
}

/// What a graph does to its input first that is done to levels only, in words.
pub(super) fn takes_levels(reading: &Reading, input: &str, levels: usize) -> Option<String> {
    let most = (levels - 1) as f64;
    let (factor, term) = weights::input_map(&reading.model, input);
    // Of two levels, 0 and 1 are shares as well.
    let ends = (term, factor * most + term);
    let is = |(least, greatest): (f64, f64)| (ends.0 - least).abs() < 1e-4 && (ends.1 - greatest).abs() < 1e-4;
    if levels > 2
        && let Some((least, greatest)) = [(0.0, 1.0), (-1.0, 1.0), (-0.5, 0.5)]
            .into_iter()
            .find(|&range| is(range))
    {
        return Some(format!("it brings 0 to {most} to {least} to {greatest} itself"));
    }
    if levels <= 16 {
        return None;
    }
    // A graph that divides first by about as many as there are levels takes levels.
    if (1.0 / (2.0 * most)..=3.0 / most).contains(&factor.abs()) {
        return Some(format!("it multiplies its input by {factor:.3e} itself"));
    }
    // So does one that takes a mean from its input that no share of a level reaches.
    let term = weights::input_term(&reading.model, input);
    (term > MEAN_OF_LEVELS).then(|| format!("it shifts its input by {term:.4} itself"))
}
