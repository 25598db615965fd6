use std::collections::BTreeSet;

use super::{
    arithmetic::regions, autoencoder::*, classifier::*, density::*, features::*, image::*, latent::*, stirring::*, *,
};
use crate::{detection::evidence::Latent, domain::surprise::Surprise};

fn shape() -> ImageShape {
    ImageShape::new(1, 8, 8, 256).unwrap()
}

fn seen<'a>(evidence: &'a Evidence, levels: &'a [u8]) -> Inputs<'a> {
    Inputs {
        evidence,
        levels,
        shape: shape(),
    }
}

fn evidence(dimensions: usize) -> Evidence {
    let values = |value: f32| vec![value; dimensions];
    Evidence {
        density: Some(Surprise {
            log_probability: values(-2.0),
            entropy: values(1.5),
            variance: values(0.25),
        }),
        local: Some(values(-3.0)),
        background: Some(values(-2.5)),
        latent: Some(Latent {
            attainable_gap: 5.0,
            gap: vec![0.5; dimensions],
            iwae_gap: Some(2.0),
            mean: vec![3.0, 4.0],
            log_variance: vec![-1.0, -2.0],
            kl: 7.0,
            reconstruction: 100.0,
        }),
        squared_errors: Some(vec![0.25; dimensions]),
        logits: Some(vec![0.0, 2.0, 0.0]),
        features: Some(vec![1.0; 8]),
        learnt: Requirement::LEARNT
            .into_iter()
            .map(|requirement| {
                let (grid, values) = ((2, 2), vec![1.0, 2.0, 3.0, 6.0]);
                let plain = None;
                (requirement, Distances { grid, values, plain })
            })
            .collect(),
        stirred: Some(vec![1.0; transformations(shape()).len()]),
        tiles: None,
    }
}

#[test]
fn numbers_are_those_of_the_formulas() {
    let image = vec![51u8; 64];
    let evidence = evidence(64);
    let one = |statistic: Statistic| statistic.of(&seen(&evidence, &image))[0];
    assert_eq!(one(NEGATIVE_LOG_LIKELIHOOD), 128.0);
    assert_eq!(one(ENTROPY), 96.0);
    assert!((one(TYPICALITY) - 32.0 / 17f64.sqrt()).abs() < 1e-12);
    assert_eq!(one(IMPROBABLE_3), 0.0);
    assert_eq!(one(LOCAL_RATIO), -64.0);
    assert_eq!(one(BACKGROUND_RATIO), -32.0);
    assert_eq!(one(LATENT_NORM), 5.0);
    assert_eq!(one(LATENT_LOG_VARIANCE), -3.0);
    assert_eq!(one(KL), 7.0);
    assert_eq!(one(RECONSTRUCTION), 100.0);
    assert_eq!(one(AUTOENCODER_ERROR), 16.0);
    let sum = 2.0 + 2f64.exp();
    assert!((one(CLASSIFIER_ENERGY) + sum.ln()).abs() < 1e-12);
    assert!((one(CLASSIFIER_AMBIGUITY) - (sum.ln() - 2.0)).abs() < 1e-12);
    assert_eq!(one(FEATURE_MAHALANOBIS), 3.0);
    assert_eq!(one(FEATURE_NEIGHBOUR_LARGEST), 6.0);
    // Rows [1, 2] and [3, 6] under a Gaussian of one place, of which so much lies beside the middle.
    let beside = (-0.5f64).exp() / (1.0 + (-0.5f64).exp());
    let row = |near: f64, far: f64| near + (far - near) * beside;
    let largest = row(row(6.0, 3.0), row(2.0, 1.0));
    assert!((one(FEATURE_NEIGHBOUR_SMOOTH_LARGEST) - largest).abs() < 1e-6);
    assert_eq!(
        one(FEATURE_NEIGHBOUR_SMOOTH_SHARE),
        one(FEATURE_NEIGHBOUR_SMOOTH_LARGEST)
    );
    assert_eq!(one(FEATURE_RESIDUAL_SHARE), 6.0);
    assert_eq!(one(STIRRING), 7.0);
    assert!((one(BRIGHTNESS) - 0.2).abs() < 1e-12);
    assert_eq!(one(TOTAL_VARIATION), 0.0);
    let bits = 128.0 / std::f64::consts::LN_2;
    assert_eq!(one(INPUT_COMPLEXITY), bits - one(CODE_LENGTH));
}

#[test]
fn every_statistic_has_its_length_and_its_name() {
    let image = vec![9u8; 64];
    let evidence = evidence(64);
    let mut names = BTreeSet::new();
    for &statistic in ALL {
        let values = statistic.of(&seen(&evidence, &image));
        assert_eq!(values.len(), statistic.length(shape(), 2), "{statistic}");
        assert_eq!(statistic.is_number(), values.len() == 1);
        assert_eq!(statistic.name.parse(), Ok(statistic));
        assert!(names.insert(statistic.name), "{statistic} comes twice");
        assert!(!statistic.unit.is_empty());
    }
    assert!("tpyicality".parse::<Statistic>().unwrap_err().contains("typicality"));
}

/// Energy and ambiguity of logits.
fn of_logits(logits: &[f32]) -> [f64; 2] {
    let evidence = Evidence {
        logits: Some(logits.to_vec()),
        ..Evidence::default()
    };
    [CLASSIFIER_ENERGY, CLASSIFIER_AMBIGUITY].map(|statistic| statistic.of(&seen(&evidence, &[0; 64]))[0])
}

#[test]
fn what_is_added_to_all_logits_moves_the_energy_and_not_the_probability() {
    let logits = [0.5f32, -1.25, 3.0, 2.75];
    let [energy, surprise] = of_logits(&logits);
    for constant in [-64.0f32, 1.0, 1024.0] {
        let [moved, same] = of_logits(&logits.map(|logit| logit + constant));
        assert!((energy - moved - f64::from(constant)).abs() < 1e-9);
        assert_eq!(same, surprise);
    }
    let mut turned = logits;
    turned.reverse();
    assert!((of_logits(&turned)[1] - surprise).abs() < 1e-15);
    // Nothing is less sure than equal logits.
    assert!((of_logits(&[7.0; 4])[1] - 4f64.ln()).abs() < 1e-15);
    assert!(surprise < 4f64.ln());
}

#[test]
fn the_surest_labels_are_told_apart_where_their_probability_is_one() {
    let unsure = |gap: f32| of_logits(&[0.0, gap, 0.0])[1];
    assert_eq!(1.0 - (-unsure(60.0)).exp(), 0.0);
    assert!(unsure(80.0) > 0.0 && unsure(80.0) < unsure(60.0));
    assert!((unsure(60.0) / (2.0 * (-60f64).exp()) - 1.0).abs() < 1e-12);
}

#[test]
fn logits_that_are_no_numbers_are_extreme() {
    for broken in [f32::NAN, -f32::NAN] {
        assert_eq!(of_logits(&[0.0, broken, 1.0]), [1e12; 2]);
    }
    assert_eq!(of_logits(&[0.0, f32::INFINITY]), [-1e12, 1e12]);
    assert_eq!(of_logits(&[f32::NEG_INFINITY; 3]), [1e12; 2]);
    // A label that is ruled out leaves the others as they are.
    assert_eq!(of_logits(&[0.0, f32::NEG_INFINITY, 1.0]), of_logits(&[0.0, 1.0]));
}

#[test]
fn regions_part_the_squared_error_and_the_map_holds_all_of_it() {
    let errors: Vec<f64> = (0..64).map(|i| f64::from(i * i) / 4096.0).collect();
    let evidence = Evidence {
        squared_errors: Some(errors.clone()),
        ..Evidence::default()
    };
    let of = |statistic: Statistic| statistic.of(&seen(&evidence, &[0; 64]));
    let total: f64 = errors.iter().sum();
    assert_eq!(of(AUTOENCODER_ERROR), [total]);
    let lengths = of(AUTOENCODER_ERROR_MAP);
    let squares: f64 = lengths.iter().map(|length| length * length).sum();
    assert!((squares - total).abs() < 1e-9);
    assert!(lengths[0] < lengths[48]);
    let map = AUTOENCODER_ERROR_MAP.map(&seen(&evidence, &[0; 64])).unwrap();
    assert!(map.iter().zip(&errors).all(|(&m, &e)| m == e as f32));
    assert_eq!(AUTOENCODER_ERROR_MAP.unit, "squared error");
    // No density is needed for it, and without one the other maps have nothing to say.
    assert!(SURPRISE_MAP.map(&seen(&evidence, &[0; 64])).is_none());
}

#[test]
fn an_impossible_image_is_extreme_and_finite() {
    let mut evidence = evidence(64);
    let density = evidence.density.as_mut().unwrap();
    density.log_probability[5] = f32::NEG_INFINITY;
    density.log_probability[6] = f32::NAN;
    evidence.squared_errors.as_mut().unwrap()[7] = f64::NAN;
    evidence.logits.as_mut().unwrap()[1] = f32::NAN;
    let image = vec![9u8; 64];
    for &statistic in ALL {
        let values = statistic.of(&seen(&evidence, &image));
        assert!(values.iter().all(|value| value.is_finite()), "{statistic}");
    }
    let nll = NEGATIVE_LOG_LIKELIHOOD.of(&seen(&evidence, &image));
    assert_eq!(nll, [1e12]);
    assert_eq!(IMPROBABLE_9.of(&seen(&evidence, &image)), [2.0]);
}

#[test]
fn regions_cover_the_image_once() {
    for (channels, height, width) in [(1, 28, 28), (3, 5, 11), (1, 1, 1), (1, 9, 30)] {
        let shape = ImageShape::new(channels, height, width, 256).unwrap();
        let sums = regions(&vec![1.0; shape.dimensions()], shape);
        assert_eq!(sums.len(), height.min(7) * width.min(7));
        assert_eq!(sums.iter().sum::<f64>(), shape.dimensions() as f64);
        assert!(sums.iter().all(|&sum| sum >= 1.0));
    }
}

#[test]
fn transformations_are_the_other_symmetries() {
    let square = ImageShape::new(1, 3, 3, 256).unwrap();
    let wide = ImageShape::new(2, 2, 3, 256).unwrap();
    assert_eq!(transformations(square).len(), 7);
    assert_eq!(transformations(wide).len(), 3);
    for shape in [square, wide] {
        let identity: Vec<usize> = (0..shape.dimensions()).collect();
        let mut all = transformations(shape);
        all.push(identity.clone());
        for map in &all {
            let mut sorted = map.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, identity);
        }
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
