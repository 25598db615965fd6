//! Tests of what trials find, and of what they let pass.

use std::{convert::Infallible, ops::Sub};

use super::*;

/// A trial of networks with two logits a dimension, at some places.
fn trial<'a>(shape: ImageShape, images: &'a [(&'a [u8], u32)]) -> Trial<'a> {
    Trial {
        shape,
        predictions: Predictions::OfChannels(2),
        images,
        seed: 0,
        thorough: false,
    }
}

/// Two logits a dimension, by a rule that sees the image in autoregressive order.
fn tried(shape: ImageShape, seed: u64, thorough: bool, see: &dyn Fn(&[u8], usize) -> f32) -> Result<usize, Leak> {
    let image = vec![1; shape.dimensions()];
    let mut logits = |images: &[&[u8]], _: u32| {
        assert!(images.len() <= ROWS);
        let of_image = |levels: &&[u8]| -> Vec<f32> {
            let ordered: Vec<u8> = (0..shape.dimensions())
                .map(|place| levels[shape.index_of(place)])
                .collect();
            let first: Vec<f32> = (0..shape.dimensions())
                .map(|index| see(&ordered, shape.order_of(index)))
                .collect();
            [first.clone(), first].concat()
        };
        Ok::<_, Infallible>(images.iter().map(of_image).collect())
    };
    let images = [(&image[..], 0)];
    let trial = Trial {
        seed,
        thorough,
        ..trial(shape, &images)
    };
    probe(&trial, &mut logits, &mut || false).unwrap()
}

#[test]
fn a_channel_or_a_phase_that_sees_itself_is_found_whatever_the_seed() {
    let shape = ImageShape::new(3, 32, 32, 4).unwrap();
    let (width, channels) = (shape.width(), shape.channels());
    for seed in 0..2 {
        for channel in 0..channels {
            let see =
                |image: &[u8], place: usize| f32::from(image[place]) * f32::from(u8::from(place % channels == channel));
            let leak = tried(shape, seed, false, &see).unwrap_err();
            assert_eq!(leak.predicted, leak.changed);
            assert_eq!(leak.predicted % channels, channel);
        }
        // One channel of one pixel in each block.
        for (stride, row, column) in [(2, 1, 1), (3, 2, 0), (5, 4, 3), (8, 5, 7), (16, 15, 3)] {
            let see = |image: &[u8], place: usize| {
                let pixel = place / channels;
                let hit = pixel / width % stride == row && pixel % width % stride == column;
                f32::from(image[place]) * f32::from(u8::from(hit && place % channels == 1))
            };
            assert!(tried(shape, seed, false, &see).is_err(), "stride {stride}");
        }
    }
}

#[test]
fn a_single_place_is_found_by_trying_all() {
    let shape = ImageShape::new(3, 24, 24, 4).unwrap();
    let leaking = |at: usize| move |image: &[u8], place: usize| f32::from(image[at]) * f32::from(u8::from(place == at));
    for at in [0, 1001, 1727] {
        let leak = tried(shape, 0, true, &leaking(at)).unwrap_err();
        assert_eq!((leak.predicted, leak.changed), (at, at));
    }
    assert_eq!(tried(shape, 0, true, &|_, _| 1.0), Ok(1728));
}

/// A network that sees all that comes before is tried at some of many places, other ones for each graph.
#[test]
fn where_all_that_is_earlier_is_seen_places_are_drawn() {
    let shape = ImageShape::new(3, 20, 20, 4).unwrap();
    let sum = |image: &[u8], place: usize| image[..place].iter().step_by(3).map(|&v| f32::from(v)).sum();
    assert_eq!(tried(shape, 0, false, &sum), Ok(places::PLACES));
    let of_seed = |seed| places::places(shape, &Random::new(seed, Stream::Probe, 0)).0;
    assert_ne!(of_seed(0), of_seed(1));
}

/// One that sees no farther than so far is tried everywhere at once.
#[test]
fn a_single_place_of_a_network_that_sees_near_things_is_found_among_many() {
    let shape = ImageShape::new(3, 24, 24, 4).unwrap();
    let (channels, width) = (shape.channels(), shape.width());
    let above_and_left = |image: &[u8], place: usize| {
        let column = place / channels % width;
        let above = place.checked_sub(width * channels).map_or(0, |above| image[above]);
        let left = if column > 1 { image[place - 2 * channels] } else { 0 };
        let own = if place.is_multiple_of(channels) {
            0
        } else {
            image[place - 1]
        };
        f32::from(above) + 4.0 * f32::from(left) + 16.0 * f32::from(own)
    };
    for seed in 0..2 {
        assert_eq!(tried(shape, seed, false, &above_and_left), Ok(1728));
        for at in [0, 2, 117, 1001, 1727] {
            let leaking = |image: &[u8], place: usize| {
                above_and_left(image, place) + 0.01 * f32::from(image[at]) * f32::from(u8::from(place == at))
            };
            let leak = tried(shape, seed, false, &leaking).unwrap_err();
            assert_eq!((leak.predicted, leak.changed), (at, at), "{seed}");
            // A neighbour to the right.
            let leaking = |image: &[u8], place: usize| {
                above_and_left(image, place)
                    + f32::from(image[at]) * f32::from(u8::from(place + channels == at && at > 2))
            };
            assert!(at <= 2 || tried(shape, seed, false, &leaking).is_err(), "{seed} {at}");
        }
    }
}

/// A network may treat images of a kind in a way of its own.
#[test]
fn a_leak_in_images_of_one_kind_alone_is_found() {
    let shape = ImageShape::new(3, 8, 8, 256).unwrap();
    let all = shape.dimensions();
    let mean = |levels: &mut dyn Iterator<Item = u8>| {
        let levels: Vec<f32> = levels.map(f32::from).collect();
        levels.iter().sum::<f32>() / levels.len() as f32
    };
    let of_channel = |image: &[u8], channel: usize| mean(&mut image.iter().copied().skip(channel).step_by(3));
    let spread = |image: &[u8]| {
        let centre = mean(&mut image.iter().copied());
        mean(&mut image.iter().map(|&level| f32::from(level).sub(centre).abs() as u8))
    };
    type IsKind<'a> = &'a dyn Fn(&[u8]) -> bool;
    let kinds: [(&str, IsKind<'_>); 5] = [
        ("flat", &|image| spread(image) < 12.0),
        ("of high contrast", &|image| spread(image) > 110.0),
        ("without colour", &|image| {
            image.chunks(3).all(|pixel| pixel[0].abs_diff(pixel[2]) < 12)
        }),
        ("red", &|image| {
            of_channel(image, 0) > 200.0 && of_channel(image, 1) < 50.0
        }),
        ("smooth", &|image| {
            (3..all).all(|at| at % 24 < 3 || image[at].abs_diff(image[at - 3]) < 50)
        }),
    ];
    for seed in 0..5 {
        for (name, is_kind) in kinds {
            let see = |image: &[u8], place: usize| f32::from(image[place]) * f32::from(u8::from(is_kind(image)));
            assert!(tried(shape, seed, false, &see).is_err(), "{name}, seed {seed}");
        }
    }
}

/// What a logit is rounded to grows with it, but much less than a leak may be.
#[test]
fn a_weak_leak_beside_large_logits_is_found() {
    let shape = ImageShape::new(1, 8, 8, 4).unwrap();
    let weak = |image: &[u8], place: usize| 900.0 + 5e-3 * f32::from(image[place]);
    assert!(tried(shape, 0, false, &weak).is_err());
    let rounded = |image: &[u8], place: usize| 900.0 + 1e-4 * f32::from(image[place]);
    assert!(tried(shape, 0, false, &rounded).is_ok());
}

#[test]
fn a_causal_rule_passes_and_an_image_of_few_places_is_tried_everywhere() {
    let shape = ImageShape::new(1, 6, 5, 4).unwrap();
    let sum = |image: &[u8], place: usize| image[..place].iter().map(|&v| f32::from(v)).sum();
    assert_eq!(tried(shape, 7, false, &sum), Ok(30));
    let next = |image: &[u8], place: usize| f32::from(*image.get(place + 4).unwrap_or(&0));
    assert!(tried(shape, 7, false, &next).is_err());
}

#[test]
fn a_leak_under_one_label_or_in_bright_images_is_found() {
    let shape = ImageShape::new(1, 8, 8, 256).unwrap();
    let image = vec![1; shape.dimensions()];
    let labelled: Vec<(&[u8], u32)> = (0..100).map(|label| (&image[..], label)).collect();
    let trial = Trial {
        predictions: Predictions::OfChannels(1),
        ..trial(shape, &labelled)
    };
    let try_all = |leaks: &dyn Fn(&[u8], u32) -> bool| {
        let mut logits = |images: &[&[u8]], label: u32| {
            let of = |levels: &&[u8]| -> Vec<f32> {
                let seen = |&level: &u8| f32::from(level) * f32::from(u8::from(leaks(levels, label)));
                levels.iter().map(seen).collect()
            };
            Ok::<_, Infallible>(images.iter().map(of).collect())
        };
        probe(&trial, &mut logits, &mut || false).unwrap()
    };
    for own in [0, 57, 99] {
        assert!(try_all(&|_, label| label == own).is_err(), "label {own}");
    }
    assert!(try_all(&|levels, _| levels[..6].iter().all(|&level| level > 200)).is_err());
    assert_eq!(try_all(&|_, _| false), Ok(64));
}

/// What a network does to nearly empty images alone shows on these only, if what is changed leaves them so.
#[test]
fn a_leak_in_nearly_empty_or_full_images_alone_is_found() {
    let shape = ImageShape::new(1, 6, 6, 256).unwrap();
    let sum = |levels: &[u8]| levels.iter().map(|&level| u32::from(level)).sum::<u32>();
    let all = 36 * 255;
    for seed in 0..20 {
        let empty = tried(shape, seed, false, &|levels, place| match sum(levels) {
            ..10 => f32::from(levels[place]),
            _ => 0.0,
        });
        let full = tried(shape, seed, false, &|levels, place| match sum(levels) {
            sum if sum > all - 10 => 255.0 - f32::from(levels[place]),
            _ => 0.0,
        });
        assert!(empty.is_err() && full.is_err(), "{seed}");
    }
}

#[test]
fn a_logit_that_rules_a_level_out_hides_no_leak() {
    let shape = ImageShape::new(1, 4, 4, 4).unwrap();
    let image = vec![1; shape.dimensions()];
    for ruled_out in [-1e9, f32::NEG_INFINITY] {
        let images = [(&image[..], 0)];
        let trial = trial(shape, &images);
        let mut logits = |images: &[&[u8]], _: u32| {
            let of = |levels: &&[u8]| [levels.iter().map(|&v| f32::from(v)).collect(), vec![ruled_out; 16]].concat();
            Ok::<_, Infallible>(images.iter().map(of).collect())
        };
        assert!(probe(&trial, &mut logits, &mut || false).unwrap().is_err());
    }
}

#[test]
fn short_of_time_the_essential_places_are_still_tried() {
    let shape = ImageShape::new(3, 32, 32, 4).unwrap();
    let image = vec![0; shape.dimensions()];
    let images = [(&image[..], 0)];
    let trial = trial(shape, &images);
    let mut logits = |images: &[&[u8]], _: u32| Ok::<_, Infallible>(vec![vec![0.0; 3072]; images.len()]);
    let tried = probe(&trial, &mut logits, &mut || true).unwrap().unwrap();
    assert!((48..200).contains(&tried), "{tried}");
}
