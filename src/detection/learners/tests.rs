use super::*;
use crate::domain::random::{Random, Stream};

/// Points of a Gaussian around a mean, the first number of which varies ten times as much as the others.
fn points(seed: u64, count: usize, mean: &[f32]) -> Vec<f32> {
    (0..count)
        .flat_map(|index| {
            let random = Random::new(seed, Stream::Probe, index as u64);
            let number =
                move |(i, &m): (usize, &f32)| m + random.normal(i as u32) as f32 * if i == 0 { 10.0 } else { 1.0 };
            mean.iter().enumerate().map(number).collect::<Vec<_>>()
        })
        .collect()
}

fn sample(is_map: bool) -> Sample {
    let near = points(1, 200, &[50.0, 0.0, 0.0, 5.0]);
    let far = points(2, 200, &[0.0, 50.0, 0.0, 5.0]);
    Sample {
        size: 4,
        places: [near, far].concat(),
        labels: (0..400).map(|place| place / 200).collect(),
        images: (0..400).map(|place| place / 10).collect(),
        is_map,
        bank: BANK,
        begun: Vec::new(),
    }
}

fn distances(requirement: Requirement, sample: &Sample, places: &[f32]) -> Vec<f32> {
    let knowledge = Knowledge::fit(&[requirement], sample, 0).unwrap();
    knowledge.ready()[0].1.distances(places, Threads::One)
}

#[test]
fn everything_finds_what_is_far_from_inliers_farther() {
    let inliers = [
        points(3, 50, &[50.0, 0.0, 0.0, 5.0]),
        points(4, 50, &[0.0, 50.0, 0.0, 5.0]),
    ]
    .concat();
    let outliers = points(5, 50, &[0.0, 0.0, 50.0, 5.0]);
    for requirement in Requirement::LEARNT {
        for is_map in [false, true] {
            let own = sample(is_map);
            let (inside, outside) = (
                distances(requirement, &own, &inliers),
                distances(requirement, &own, &outliers),
            );
            let largest = inside.iter().copied().fold(0.0, f32::max);
            let caught = outside.iter().filter(|&&distance| distance > largest).count();
            assert!(caught >= 45, "{requirement} as map {is_map}: {caught} of 50");
        }
    }
}

#[test]
fn a_gaussian_measures_in_its_own_deviations() {
    // So many that the covariance is hardly shrunk.
    let own = Sample {
        places: points(1, 2000, &[50.0, 0.0, 0.0, 5.0]),
        labels: vec![0; 2000],
        images: (0..2000).collect(),
        ..sample(true)
    };
    let at = |first: f32, second: f32| distances(Requirement::Gaussians, &own, &[50.0 + first, second, 0.0, 5.0])[0];
    // Ten along the wide axis is as far as one along a narrow one.
    assert!((at(10.0, 0.0) / at(0.0, 1.0) - 1.0).abs() < 0.5);
    // The mean of squared distances of the sample is about the number of dimensions.
    let all = distances(Requirement::Gaussians, &own, &own.places);
    let mean = all.iter().sum::<f32>() / all.len() as f32;
    assert!((mean - 4.0).abs() < 0.2, "{mean}");
}

#[test]
fn fewer_inliers_than_features_are_enough() {
    let size = 64;
    let own = Sample {
        size,
        places: points(1, 40, &vec![1.0; size]),
        labels: vec![0; 40],
        images: (0..40).collect(),
        is_map: false,
        bank: BANK,
        begun: Vec::new(),
    };
    let knowledge = Knowledge::fit(&Requirement::LEARNT, &own, 0).unwrap();
    for (requirement, learnt) in knowledge.ready() {
        let all = learnt.distances(&points(2, 10, &vec![1.0; size]), Threads::One);
        assert!(
            all.iter().all(|distance| distance.is_finite()),
            "{requirement}: {all:?}"
        );
    }
}

#[test]
fn features_that_never_vary_are_refused_with_a_reason() {
    let own = Sample {
        places: vec![1.0; 4 * 400],
        ..sample(false)
    };
    let error = Knowledge::fit(&[Requirement::Gaussians], &own, 0).unwrap_err();
    assert!(error.contains("do not vary"), "{error}");
}

#[test]
fn neighbours_are_those_of_a_search() {
    let own = sample(false);
    let queries = points(9, 700, &[30.0, 30.0, 0.0, 5.0]);
    let unit = |place: &[f32]| -> Vec<f32> {
        let norm = place.iter().map(|x| x * x).sum::<f32>().sqrt();
        place.iter().map(|x| x / norm).collect()
    };
    let bank: Vec<Vec<f32>> = own.places.chunks(4).map(unit).collect();
    let search = |query: &[f32]| {
        let query = unit(query);
        let distance = |b: &Vec<f32>| b.iter().zip(&query).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
        let mut all: Vec<f32> = bank.iter().map(distance).collect();
        all.sort_by(f32::total_cmp);
        all[4]
    };
    let knowledge = Knowledge::fit(&[Requirement::Neighbours], &own, 0).unwrap();
    let learnt = &knowledge.ready()[0].1;
    let found = learnt.distances(&queries, Threads::One);
    for (query, distance) in queries.chunks(4).zip(&found) {
        assert!((search(query) - distance).abs() < 2e-3);
    }
    // Neither threads nor company change a distance.
    assert_eq!(learnt.distances(&queries, Threads::All), found);
    assert_eq!(learnt.distances(&queries[..4], Threads::One)[0], found[0]);
}

#[test]
fn the_nearest_of_a_bank_is_that_of_a_search_over_all_of_it() {
    // Numbers that vary less and less, as axes of features do, and one kind of place far from all others.
    let size = 24;
    let places = |seed: u64, count: usize, away: f32| -> Vec<f32> {
        let fading = |(index, x): (usize, f32)| (x + away) * 0.85_f32.powi((index % size) as i32);
        points(seed, count, &vec![0.0; size])
            .into_iter()
            .enumerate()
            .map(fading)
            .collect()
    };
    let mut own = Sample {
        size,
        places: places(1, 900, 0.0),
        labels: vec![0; 900],
        images: (0..900).map(|place| place / 10).collect(),
        ..sample(true)
    };
    own.places[..size].fill(40.0);
    let queries = [
        places(2, 300, 0.0),
        places(3, 50, 9.0),
        own.places[..60 * size].to_vec(),
    ]
    .concat();
    let knowledge = Knowledge::fit(&[Requirement::Neighbours], &own, 0).unwrap();
    let tensor = |name: &str| &knowledge.tensors[&format!("neighbours.{name}")].values;
    let (bank, scale, radius) = (tensor("bank"), tensor("scale")[0], tensor("radius"));
    let learnt = &knowledge.ready()[0].1;
    let (relative, plain) = learnt.with_plain(&queries, Threads::One);
    let plain = plain.unwrap();
    for (number, query) in queries.chunks(size).enumerate() {
        let square = |row: &[f32]| row.iter().zip(query).map(|(b, x)| (b - scale * x).powi(2)).sum::<f32>();
        let all = bank.chunks(size).map(|row| square(row).sqrt()).enumerate();
        let (row, least) = all.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        assert!(
            (plain[number] - least).abs() < 1e-5 * (1.0 + least),
            "{number}: {} {least}",
            plain[number]
        );
        assert!((relative[number] * radius[row] - least).abs() < 1e-5 * (1.0 + least));
    }
    // Neither threads nor company change a distance.
    assert_eq!(learnt.with_plain(&queries, Threads::All).0, relative);
    assert_eq!(
        learnt.distances(&queries[5 * size..6 * size], Threads::One),
        relative[5..6]
    );
    // A cover that is filled up asks for products of all places, on as many threads as there are.
    let rows = nalgebra::DMatrix::from_row_slice(bank.len() / size, size, bank);
    let all = |threads| matrix::products(&rows, &queries, threads, |_, _, products| products.to_vec());
    assert_eq!(all(Threads::All), all(Threads::One));
}

#[test]
fn a_bank_of_places_covers_them_and_keeps_no_more_than_it_may() {
    let mut own = sample(true);
    own.bank = 40;
    let knowledge = Knowledge::fit(&[Requirement::Neighbours], &own, 0).unwrap();
    assert_eq!(knowledge.tensors["neighbours.bank"].shape, [40, 4]);
    let all = knowledge.ready()[0].1.distances(&own.places, Threads::One);
    let farthest = all.iter().copied().fold(0.0, f32::max);
    // No place is much farther from the cover than places of other images are from each other.
    assert!(farthest < 5.0, "{farthest}");
}

#[test]
fn a_cover_of_more_is_filled_up_where_its_places_are_missing() {
    let mut all = sample(true);
    all.bank = 60;
    let cover = all.cover(0);
    assert_eq!(cover.len(), 60);
    // Without every fourth image.
    let seen: Vec<usize> = (0..all.count()).filter(|place| place / 10 % 4 != 0).collect();
    let mut some = Sample {
        places: seen
            .iter()
            .flat_map(|&place| &all.places[place * 4..][..4])
            .copied()
            .collect(),
        labels: seen.iter().map(|&place| all.labels[place]).collect(),
        images: seen.iter().map(|&place| all.images[place]).collect(),
        ..all.clone()
    };
    let anew = some.cover(0);
    some.begun = cover
        .iter()
        .filter_map(|place| seen.binary_search(place).ok())
        .collect();
    let filled = some.cover(0);
    assert!(some.begun.len() < 60 && filled.starts_with(&some.begun));
    let mut apart = filled.clone();
    apart.sort_unstable();
    apart.dedup();
    assert_eq!(apart.len(), 60);
    // It leaves no place much farther than a cover that was made of these alone.
    let farthest = |kept: &[usize]| {
        let place = |at: usize| &some.places[at * 4..][..4];
        let to = |at: usize| {
            kept.iter()
                .map(|&own| matrix::norm(&difference(place(at), place(own))))
                .fold(f32::MAX, f32::min)
        };
        (0..some.count()).map(to).fold(0.0, f32::max)
    };
    assert!(
        farthest(&filled) < 1.3 * farthest(&anew),
        "{} {}",
        farthest(&filled),
        farthest(&anew)
    );
    assert!(farthest(&some.begun) > farthest(&filled));
    // One that was begun and is full already is left as it is.
    some.begun = filled.clone();
    assert_eq!(some.cover(0), filled);
}

fn difference(one: &[f32], other: &[f32]) -> Vec<f32> {
    one.iter().zip(other).map(|(a, b)| a - b).collect()
}

#[test]
fn a_distance_of_a_place_is_in_units_of_how_far_inliers_are_from_each_other_there() {
    // Where inliers are ten times as far apart, so is what counts as far.
    let (dense, wide) = (points(1, 400, &[0.0; 4]), points(2, 400, &[0.0; 4]));
    let placed = |points: Vec<f32>, scale: f32, shift: f32| -> Vec<f32> {
        points.into_iter().map(|x| scale * x + shift).collect()
    };
    let own = Sample {
        places: [placed(dense, 1.0, 0.0), placed(wide, 10.0, 1e4)].concat(),
        labels: vec![0; 800],
        images: (0..800).map(|place| place / 10).collect(),
        ..sample(true)
    };
    let (near, far) = (points(3, 200, &[0.0; 4]), points(4, 200, &[0.0; 4]));
    let mean = |places: &[f32]| {
        let all = distances(Requirement::Neighbours, &own, places);
        all.iter().sum::<f32>() / all.len() as f32
    };
    let (dense, wide) = (mean(&placed(near, 1.0, 0.0)), mean(&placed(far, 10.0, 1e4)));
    assert!((wide / dense - 1.0).abs() < 0.3, "{dense} {wide}");
    // New inliers are about as far from the bank as inliers are from each other, and a place between the two is not.
    assert!((0.2..2.0).contains(&dense), "{dense}");
    assert!(mean(&[5e3; 4]) > 20.0);
    // Neighbours in the same image do not make a place dense.
    let alone = Sample {
        images: vec![0; 800],
        ..own.clone()
    };
    let knowledge = Knowledge::fit(&[Requirement::Neighbours], &alone, 0).unwrap();
    assert!(!knowledge.tensors.contains_key("neighbours.radius"));
}

#[test]
fn what_does_not_fit_is_told() {
    let own = sample(false);
    let good = Knowledge::fit(&Requirement::LEARNT, &own, 0).unwrap().tensors;
    let refused = |name: &str, tensor: Option<Tensor>| {
        let mut tensors = good.clone();
        match tensor {
            Some(tensor) => tensors.insert(name.to_owned(), tensor),
            None => tensors.remove(name),
        };
        Knowledge::read(&Requirement::LEARNT, tensors, 4).unwrap_err()
    };
    assert!(refused("gaussians.means", None).contains("gaussians: it has no means"));
    let nan = Tensor::new(&[1, 4], vec![f32::NAN; 4]);
    assert!(refused("neighbours.bank", Some(nan)).contains("not finite"));
    let narrow = Tensor::new(&[1, 3], vec![0.0; 3]);
    assert!(refused("subspace.axes", Some(narrow)).contains("must have 4 numbers"));
    let nth = Tensor::new(&[1, 1], vec![0.5]);
    assert!(refused("neighbours.nth", Some(nth)).contains("whole number"));
    let radius = Tensor::new(&[2, 1], vec![1.0; 2]);
    assert!(refused("neighbours.radius", Some(radius)).contains("one for each row"));
    assert!(Knowledge::read(&Requirement::LEARNT, good, 5).is_err());
}
