//! Recurrent networks: programs of step graphs against a naive evaluation, pixel by pixel.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use proptest::prelude::*;

use common::{engine, steps::StepSketch};
use density_server::{
    domain::{
        image::ImageShape,
        likelihood,
        random::{Random, Stream},
    },
    families::{
        NetworkError,
        autoregressive::{
            network::{Compilation, Given, Network, Scratch},
            wavefront::{Known, Wavefront},
        },
    },
    graph::{
        protobuf::{Model, ValueInfo},
        recurrence::{Offset, Recurrence, RecurrenceError},
    },
    runtime::{Engine, Threads},
};

fn offset(dy: i64, dx: i64) -> Offset {
    Offset { dy, dx }
}

/// Places before a pixel in raster order that some pixel of the image can see.
fn earlier(height: usize, width: usize) -> Vec<Offset> {
    let (height, width) = (height as i64, width as i64);
    (1 - height..=0)
        .flat_map(|dy| (1 - width..width).map(move |dx| offset(dy, dx)))
        .filter(|offset| offset.dy < 0 || offset.dx < 0)
        .collect()
}

fn sketches() -> impl Strategy<Value = StepSketch> {
    (any::<u64>(), 1usize..7, 2usize..7, 2usize..6, 1usize..6).prop_flat_map(
        |(seed, height, width, levels, state_size)| {
            let places = earlier(height, width);
            let some = 1..=places.len().min(6);
            let list = prop::sample::subsequence(places, some).prop_shuffle();
            (list.clone(), list).prop_map(move |(neighbours, window)| StepSketch {
                seed,
                height,
                width,
                levels,
                state_size,
                neighbours,
                window,
                mixes: false,
            })
        },
    )
}

/// The neighbours of an LSTM along diagonals and a window of two pixels.
fn sketch() -> StepSketch {
    StepSketch {
        seed: 1,
        height: 5,
        width: 6,
        levels: 4,
        state_size: 3,
        neighbours: vec![offset(0, -1), offset(-1, 0), offset(-1, 1)],
        window: vec![offset(0, -1), offset(-1, 0)],
        mixes: false,
    }
}

fn load(sketch: &StepSketch) -> Result<Network, NetworkError> {
    load_model(&sketch.model(), sketch)
}

fn load_model(model: &Model, sketch: &StepSketch) -> Result<Network, NetworkError> {
    let engine: Arc<dyn Engine> = engine();
    Network::load_step(&*engine, "random", model, &sketch.contract())
}

fn wavefront(network: &Network) -> &Wavefront {
    match network.compilation() {
        Compilation::Wavefront(wavefront) => wavefront,
        other => panic!("a recurrent network is drawn {other}"),
    }
}

fn random_images(shape: ImageShape, count: usize) -> Vec<Vec<u8>> {
    (0..count as u64)
        .map(|number| {
            let random = Random::new(number, Stream::Probe, 1);
            (0..shape.dimensions())
                .map(|index| (random.uniform(index as u32) * shape.levels() as f64) as u8)
                .collect()
        })
        .collect()
}

fn scores(network: &Network, images: &[Vec<u8>]) -> Vec<Vec<f32>> {
    let given: Vec<Given<'_>> = images.iter().map(|levels| levels[..].into()).collect();
    network.log_probabilities(&given, Threads::All).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn scores_and_logits_are_those_of_the_naive_evaluation(sketch in sketches()) {
        let mut network = load(&sketch).unwrap();
        let images = random_images(sketch.shape(), 19);
        let given: Vec<Given<'_>> = images.iter().map(|levels| levels[..].into()).collect();
        let verdict = network.verify_program(&given).unwrap();
        network.accept(&verdict);
        let logits = network.logits(&given, Threads::One).unwrap();
        for (row, (levels, map)) in images.iter().zip(scores(&network, &images)).enumerate() {
            let expected = sketch.naive_log_probabilities(levels);
            for (pixel, (&actual, expected)) in map.iter().zip(&expected).enumerate() {
                prop_assert!((f64::from(actual) - expected).abs() < 1e-4, "{actual} and {expected} at {pixel}");
            }
            for (pixel, expected) in sketch.naive(levels).iter().enumerate() {
                for (actual, expected) in logits.at(row, pixel).zip(expected) {
                    prop_assert!((f64::from(actual) - expected).abs() < 1e-4, "{actual} and {expected} at {pixel}");
                }
            }
        }
    }

    #[test]
    fn a_score_is_the_same_in_every_company(sketch in sketches()) {
        let network = load(&sketch).unwrap();
        let images = random_images(sketch.shape(), 37);
        let together = scores(&network, &images);
        for (levels, together) in images.into_iter().zip(together) {
            let alone = &scores(&network, &[levels])[0];
            prop_assert!(alone.iter().zip(&together).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }

    #[test]
    fn drawing_along_wavefronts_is_drawing_pixel_by_pixel(sketch in sketches()) {
        let network = load(&sketch).unwrap();
        let (shape, wavefront) = (sketch.shape(), wavefront(&network));
        let mut scratch = Scratch::default();
        let random: Vec<Random> = (0..3).map(|n| Random::new(sketch.seed, Stream::Level, n)).collect();
        let mut walks: Vec<_> = random
            .iter()
            .map(|_| wavefront.start(vec![0; shape.dimensions()], 0))
            .collect();
        // One image joins late, so that images at different steps share runs.
        let (last, first) = walks.split_last_mut().unwrap();
        let mut draw = |known: &Known<'_>| {
            let uniform = random[known.walk].uniform(known.index as u32);
            network.prediction(known).draw(1.0, uniform, &mut scratch)
        };
        let mut moving: Vec<_> = first.iter_mut().collect();
        wavefront.advance(&mut moving, 2, &mut draw).unwrap();
        moving.push(last);
        wavefront.advance(&mut moving, wavefront.steps(), &mut draw).unwrap();
        for (walk, random) in walks.into_iter().zip(&random) {
            prop_assert!(wavefront.is_finished(&walk));
            let (mut levels, mut scratch) = (vec![0; shape.dimensions()], Scratch::default());
            for index in 0..shape.dimensions() {
                let logits = network.logits(&[levels[..].into()], Threads::One).unwrap();
                levels[index] = logits.predict(0, index, &levels, |prediction| {
                    prediction.draw(1.0, random.uniform(index as u32), &mut scratch)
                });
            }
            prop_assert_eq!(wavefront.finish(walk), levels);
        }
    }

    #[test]
    fn a_later_pixel_changes_no_earlier_prediction(sketch in sketches(), at in any::<prop::sample::Index>()) {
        let network = load(&sketch).unwrap();
        let before = random_images(sketch.shape(), 1).remove(0);
        let mut after = before.clone();
        let changed = at.index(after.len());
        after[changed] = (after[changed] + 1) % sketch.levels as u8;
        let maps = scores(&network, &[before, after]);
        prop_assert_eq!(&maps[0][..changed], &maps[1][..changed]);
    }
}

#[test]
fn probabilities_of_all_images_sum_to_one() {
    for levels in [2, 3] {
        let sketch = StepSketch {
            height: 2,
            width: 3,
            levels,
            ..sketch()
        };
        let shape = sketch.shape();
        let images: Vec<Vec<u8>> = (0..levels.pow(6))
            .map(|number| {
                let digit = |place: u32| (number / levels.pow(place) % levels) as u8;
                (0..shape.dimensions() as u32).map(digit).collect()
            })
            .collect();
        let scores = scores(&load(&sketch).unwrap(), &images);
        let totals: Vec<f64> = scores.iter().map(|map| likelihood::total(map)).collect();
        let sum: f64 = totals.iter().map(|total| total.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{levels} levels: {sum}");
        assert_ne!(totals.first(), totals.last());
    }
}

#[test]
fn what_a_program_costs_follows_from_its_offsets() {
    let costs = |neighbours: &[(i64, i64)], window: &[(i64, i64)]| {
        let list = |places: &[(i64, i64)]| places.iter().map(|&(dy, dx)| offset(dy, dx)).collect();
        let sketch = StepSketch {
            neighbours: list(neighbours),
            window: list(window),
            ..sketch()
        };
        let network = load(&sketch).unwrap();
        let cost = wavefront(&network).cost();
        (cost.lag, cost.steps, cost.multiply_adds, cost.bytes)
    };
    // 5 rows of 6 columns; a state of 3 numbers from 3 · neighbours + 2 · window + 2, and 4 logits from those.
    assert_eq!(costs(&[(0, -1)], &[(0, -1)]), (1, 10, 30 * (7 * 3 + 12), 5 * 12));
    assert_eq!(
        costs(&[(0, -1), (-1, 0), (-1, 1)], &[(0, -1)]),
        (2, 14, 30 * (13 * 3 + 12), 4 * 2 * 12)
    );
    // Two rows above and four columns to the right: the row above must be three columns ahead.
    assert_eq!(costs(&[(0, -1)], &[(-2, 4)]).0, 3);
    // As far as one can see to the right.
    assert_eq!(costs(&[(0, -1)], &[(-1, 5)]), (6, 30, 30 * 33, 12));
}

#[test]
fn offsets_that_are_not_before_the_pixel_are_refused_and_named() {
    let shape = ImageShape::new(1, 5, 6, 4).unwrap();
    let good = || vec![offset(0, -1)];
    let refused = |neighbours, window| match Recurrence::new(shape, 3, neighbours, window) {
        Err(error) => error,
        Ok(recurrence) => panic!("{recurrence:?} was not refused"),
    };
    for (dy, dx, place) in [
        (0, 0, "the pixel itself"),
        (0, 1, "a later pixel of the same row"),
        (1, -5, "in a row below"),
        (0, i64::MAX, "a later pixel of the same row"),
    ] {
        let bad = || vec![offset(0, -1), offset(dy, dx)];
        let leak = |list| RecurrenceError::Leak { list, dy, dx, place };
        assert_eq!(refused(bad(), good()), leak("neighbours"));
        assert_eq!(refused(good(), bad()), leak("window"));
        let text = refused(good(), bad()).to_string();
        assert!(text.contains(&format!("window: [{dy}, {dx}] leaks")), "{text}");
    }
}

#[test]
fn other_mistakes_in_a_recurrence_are_refused() {
    let shape = ImageShape::new(1, 5, 6, 4).unwrap();
    let message = |shape, size, neighbours: &[(i64, i64)], window: &[(i64, i64)]| {
        let list = |places: &[(i64, i64)]| places.iter().map(|&(dy, dx)| offset(dy, dx)).collect();
        Recurrence::new(shape, size, list(neighbours), list(window))
            .unwrap_err()
            .to_string()
    };
    let good = &[(0, -1)];
    let colour = ImageShape::new(3, 5, 6, 4).unwrap();
    assert!(message(colour, 3, good, good).contains("images of 3 channels"));
    assert!(message(shape, 0, good, good).contains("state_size: 0"));
    assert!(message(shape, usize::MAX, good, good).contains("state_size"));
    assert!(message(shape, 3, &[], good).contains("neighbours: at least one"));
    assert!(message(shape, 3, good, &[]).contains("window: at least one"));
    assert!(message(shape, 3, &[(0, -1), (0, -1)], good).contains("neighbours: [0, -1] is there twice"));
    for (dy, dx) in [(-5, 0), (0, -6), (-1, 6), (i64::MIN, 0), (-1, i64::MIN)] {
        let text = message(shape, 3, good, &[(dy, dx)]);
        assert!(text.contains("outside an image of 5×6"), "{text}");
    }
}

#[test]
fn a_step_that_does_not_keep_pixels_apart_is_refused() {
    let sketch = StepSketch {
        mixes: true,
        ..sketch()
    };
    let network = load(&sketch).unwrap();
    let image = vec![0; sketch.shape().dimensions()];
    match network.verify_program(&[image[..].into()]) {
        Err(NetworkError::Company(difference)) => assert!(difference > 0.01),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_graph_that_does_not_keep_the_contract_is_refused() {
    let sketch = sketch();
    let message = |change: &dyn Fn(&mut Vec<ValueInfo>)| {
        let mut model = sketch.model();
        change(&mut model.graph.as_mut().unwrap().inputs);
        load_model(&model, &sketch).unwrap_err().to_string()
    };
    let without = message(&|inputs| inputs.retain(|input| input.name() != "inside"));
    assert!(without.contains("the graph has no input \"inside\""), "{without}");
    let narrow = message(&|inputs| {
        inputs[0] = ValueInfo::batched("states", density_server::graph::protobuf::ElementType::Float, &[2, 3])
    });
    assert!(narrow.contains("\"states\" must have shape [batch, 3, 3]"), "{narrow}");

    let mut contract = sketch.contract();
    contract.names.inside = "levels".to_owned();
    let engine: Arc<dyn Engine> = engine();
    let twice = Network::load_step(&*engine, "random", &sketch.model(), &contract);
    let twice = twice.unwrap_err().to_string();
    assert!(twice.contains("\"levels\" is named as two inputs"), "{twice}");
}
