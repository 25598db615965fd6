//! Laws of mixtures of logistics.

use proptest::prelude::*;

use super::*;
use crate::domain::likelihood;

fn parameters(channels: usize) -> impl Strategy<Value = Vec<f32>> {
    let each = parameters_of_component(channels).unwrap();
    (1usize..5).prop_flat_map(move |count| prop::collection::vec(-3.0f32..3.0, count * each))
}

fn next(parameters: &[f32], channels: usize, levels: usize, earlier: &[u8]) -> LogisticMixture {
    let mut mixture = LogisticMixture::default();
    mixture.become_next(parameters, channels, levels, earlier);
    mixture
}

proptest! {
    #[test]
    fn every_channel_is_a_distribution_of_which_each_way_to_ask_says_the_same(
        parameters in parameters(3),
        sharpness in -8.0f32..0.0,
        (levels, earlier) in (2usize..=256).prop_flat_map(|levels| {
            let level = 0u8..=(levels - 1) as u8;
            (Just(levels), prop::collection::vec(level, 0..3))
        }),
    ) {
        // Also very narrow components.
        let count = parameters.len() / 10;
        let mut parameters = parameters;
        for channel in 0..3 {
            let start = count * (2 + 3 * channel);
            parameters[start..start + count].iter_mut().for_each(|scale| *scale += sharpness);
        }
        let mut mixture = next(&parameters, 3, levels, &earlier);
        let mut probabilities = Vec::new();
        mixture.probabilities(&mut probabilities);
        prop_assert_eq!(probabilities.len(), levels);
        let total: f64 = probabilities.iter().map(|&p| f64::from(p)).sum();
        prop_assert!((total - 1.0).abs() < 1e-5, "{total}");
        let mut below = 0.0;
        for (level, &probability) in probabilities.iter().enumerate() {
            let probability = f64::from(probability);
            let exact = mixture.log_probability(level as u8).exp();
            prop_assert!((probability - exact).abs() <= 1e-5 * exact + 1e-30, "{level}: {probability} {exact}");
            below += exact;
            if level + 1 < levels {
                prop_assert!((mixture.cumulative(level) - below).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn the_probability_of_a_pixel_is_the_product_over_its_channels_and_sums_to_one(parameters in parameters(3)) {
        let levels = 5u8;
        let mut total = 0.0;
        for pixel in (0..levels).flat_map(|r| (0..levels).flat_map(move |g| (0..levels).map(move |b| [r, g, b]))) {
            let mut logs = [0.0; 3];
            LogisticMixture::default().log_probabilities_of_pixel(&parameters, 5, &pixel, &mut logs);
            for (channel, log) in logs.iter().enumerate() {
                let own = next(&parameters, 3, 5, &pixel[..channel]).log_probability(pixel[channel]);
                prop_assert!((own - log).abs() < 1e-9);
            }
            total += logs.iter().sum::<f64>().exp();
        }
        prop_assert!((total - 1.0).abs() < 1e-9, "{total}");
    }
}

#[test]
fn one_component_of_one_channel_is_a_discretised_logistic() {
    for (mean, log_scale) in [(0.2f32, -2.0f32), (-1.4, -0.5), (1.9, -6.0)] {
        let mixture = next(&[0.3, mean, log_scale], 1, 16, &[]);
        for level in 0..16 {
            // There, levels lie between 0 and 1.
            let (mean, log_scale) = ((mean + 1.0) / 2.0, log_scale - std::f32::consts::LN_2);
            let expected = likelihood::discretized_logistic(level, 16, mean, log_scale);
            assert!((mixture.log_probability(level) - expected).abs() < 1e-4 * expected.abs().max(1.0));
        }
    }
}

#[test]
fn draws_follow_the_distribution() {
    let parameters = [0.3, -0.2, 0.1, 0.9, -0.4, 0.4, -2.0, -1.0, 0.5, 0.5].repeat(2);
    let mut mixture = next(&parameters, 3, 9, &[2, 7]);
    let mut probabilities = Vec::new();
    mixture.probabilities(&mut probabilities);
    let n = 100_000;
    let mut counts = [0usize; 9];
    for i in 0..n {
        counts[usize::from(mixture.draw((f64::from(i) + 0.5) / f64::from(n)))] += 1;
    }
    for (count, probability) in counts.iter().zip(probabilities) {
        assert!((*count as f64 / f64::from(n) - f64::from(probability)).abs() < 1e-4);
    }
    assert_eq!(mixture.draw(1.0 - f64::EPSILON), 8);
}

#[test]
fn channels_are_linked_by_weights_and_by_means() {
    // Two components, far apart in red and in green: red tells which.
    let mut parameters = vec![0.0f32; 20];
    parameters[2..4].copy_from_slice(&[-0.8, 0.8]);
    parameters[8..10].copy_from_slice(&[0.8, -0.8]);
    for channel in 0..3 {
        parameters[4 + 6 * channel..6 + 6 * channel].fill(-4.0);
    }
    let likely = |parameters: &[f32], earlier: &[u8]| usize::from(next(parameters, 3, 256, earlier).draw(0.5));
    assert!(likely(&parameters, &[25]) > 200);
    assert!(likely(&parameters, &[230]) < 55);
    // The mean of green moves with red by the coefficient that stands with red.
    parameters[8..10].fill(0.0);
    parameters[6..8].fill(9.0);
    assert!(likely(&parameters, &[25]).abs_diff(25) < 8);
    // That of blue by those that stand with green and with blue.
    parameters[18..20].fill(-9.0);
    assert!(likely(&parameters, &[25, 25]).abs_diff(230) < 8);
}

#[test]
fn what_was_asked_before_changes_nothing() {
    let first = [0.3, -0.2, 0.1, 0.9, -0.4, 0.4, -2.0, -1.0, 0.5, 0.5].repeat(2);
    let second: Vec<f32> = first.iter().map(|value| value * 0.5).collect();
    let mut mixture = LogisticMixture::default();
    for (parameters, earlier) in [
        (&first, &[][..]),
        (&first, &[3]),
        (&first, &[3, 5]),
        (&second, &[3, 5]),
        (&second, &[4, 5]),
        (&second, &[4]),
        (&second, &[4]),
        (&first, &[]),
    ] {
        mixture.become_next(parameters, 3, 9, earlier);
        let fresh = next(parameters, 3, 9, earlier);
        for level in 0..9 {
            let (own, expected) = (mixture.log_probability(level), fresh.log_probability(level));
            assert_eq!(own.to_bits(), expected.to_bits(), "{earlier:?}");
        }
    }
}

#[test]
fn the_tails_stay_finite() {
    let mixture = next(&[0.0, -1.0, -7.0], 1, 256, &[]);
    let far = mixture.log_probability(255);
    assert!(far.is_finite() && far < -2000.0, "{far}");
    let broad = next(&[0.0, -1.0, 3.0e38], 1, 256, &[]);
    assert!((broad.log_probability(255).exp() - 0.5).abs() < 1e-9);
    assert!(broad.log_probability(128).is_finite());
    assert!(describe(&[0.0, 1.0, 2.0]));
    assert!(!describe(&[0.0, f32::NAN, 2.0]));
}
