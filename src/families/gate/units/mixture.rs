//! Parameters of mixtures of logistics that look like something else.

use super::{ENOUGH, Suspicion, log_scale, pictures};
use crate::domain::logistic_mixture;

/// Looks at mixtures of logistics of `pixels`: parameter by parameter, each of all pixels, in the contract's order.
pub(in crate::families) fn mixture(values: &[f32], pixels: usize, channels: usize) -> Vec<Suspicion> {
    let Some(each) = logistic_mixture::parameters_of_component(channels) else {
        return Vec::new();
    };
    let components = values.len() / pixels / each;
    let kinds = (each - 1) / channels;
    let of_kind = |kind: usize| -> Vec<f32> {
        let channel = |channel: usize| {
            let start = (components + (channel * kinds + kind) * components) * pixels;
            &values[start..start + components * pixels]
        };
        (0..channels).flat_map(channel).copied().collect()
    };
    let weights: Vec<f32> = (0..pixels)
        .flat_map(|pixel| (0..components).map(move |component| values[component * pixels + pixel]))
        .collect();
    let sum_to_one = |own: &[f32]| (own.iter().sum::<f32>() - 1.0).abs() < 1e-3;
    let are_weights = components > 1
        && weights.iter().all(|weight| (0.0..=1.0 + 1e-5).contains(weight))
        && weights.chunks(components).all(sum_to_one);
    let means: Vec<f32> = of_kind(0).into_iter().map(|mean| f32::midpoint(mean, 1.0)).collect();
    [
        are_weights.then_some(Suspicion::MixtureWeights),
        log_scale(&of_kind(1)).map(|_| Suspicion::MixtureScales),
        (pictures(&means, true) == Some(Suspicion::Levels)).then_some(Suspicion::MixtureMeans),
        (kinds > 2 && are_squashed(&of_kind(2))).then_some(Suspicion::MixtureCoefficients),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whether none of many numbers is beyond 1, and a tenth of them is next to it, as a hyperbolic tangent leaves them.
fn are_squashed(coefficients: &[f32]) -> bool {
    let beyond = |limit: f32| coefficients.iter().filter(|value| value.abs() > limit).count();
    coefficients.len() >= ENOUGH && beyond(1.0) == 0 && beyond(0.95) * 10 >= coefficients.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_mixtures_are_looked_at_by_kind() {
        // Two components at two pixels: logits, means, log-scales.
        let sound = [0.3, -0.2, 0.1, 0.9, -0.5, 0.8, 0.1, 0.2, -3.0, -2.0, -4.0, 0.5];
        assert_eq!(mixture(&sound, 2, 1), []);
        let with = |at: usize, values: &[f32]| {
            let mut all = sound;
            all[at..at + values.len()].copy_from_slice(values);
            mixture(&all, 2, 1)
        };
        assert_eq!(with(0, &[0.3, 0.2, 0.7, 0.8]), [Suspicion::MixtureWeights]);
        assert_eq!(with(4, &[127.0, 90.0, 200.0, 30.0]), [Suspicion::MixtureMeans]);
        assert_eq!(with(8, &[0.1, 0.2, 0.05, 0.5]), [Suspicion::MixtureScales]);
    }

    #[test]
    fn coefficients_that_were_squashed_are_told_by_their_limit() {
        let wide: Vec<f32> = (0..40).map(|i| (i as f32 - 20.0) / 5.0).collect();
        let squashed: Vec<f32> = wide.iter().map(|value| value.tanh()).collect();
        let narrow: Vec<f32> = wide.iter().map(|value| value / 4.2).collect();
        assert!(are_squashed(&squashed));
        assert!(!are_squashed(&wide) && !are_squashed(&narrow));
    }
}
