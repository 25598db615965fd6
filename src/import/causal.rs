//! Which of several readings of a graph's predictions is causal: a quick trial that tells a density from what is none,
//! and channels from levels. It is not the proof, which the load gate asks for.

use std::fmt;

use super::{
    Problem,
    layout::Arrangement,
    reading::{Axes, Given, ImageForm, Reading},
};
use crate::{
    domain::random::{Random, Stream},
    graph::{layer, protobuf::Graph},
};

/// Places from which on an image is changed.
const CUTS: usize = 24;
/// Changes of a prediction that are rounding, of the largest prediction.
const TOLERANCE: f32 = 1e-4;
/// Changes that are rounding whatever else changes.
const LEAST: f32 = 1e-6;
/// Predictions up to this size are ordinary.
const ORDINARY: f32 = 1e4;
/// Changes that are rounding beside the largest change: a network with small weights sees as far as any other.
const BESIDE: f32 = 0.01;

/// A dimension of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    channel: usize,
    row: usize,
    column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channel, row, column } = self;
        write!(f, "channel {channel} at row {row}, column {column}")
    }
}

/// A prediction that sees something of its own or of later places.
#[derive(Debug, Clone, Copy)]
pub struct Leak {
    /// The first one.
    pub place: Place,
    /// Whether all that predictions see too early is their own pixel.
    pub is_of_own_pixel: bool,
}

/// Numbers of an image for each of the places of a trial: the first one is not changed.
pub struct Trial {
    /// In the order of axes that the graph takes.
    items: Vec<Vec<f32>>,
    /// Places in autoregressive order.
    cuts: Vec<usize>,
    form: ImageForm,
}

impl Trial {
    /// Images of a form; `value` makes of a number from 0 to 1 what the graph takes.
    pub fn new(form: ImageForm, value: &dyn Fn(f64) -> f32) -> Self {
        Self::changed(form, value, |order, cut| order >= cut)
    }

    /// Images in which one dimension alone is another.
    fn with_single_changes(form: ImageForm) -> Self {
        Self::changed(form, &|share| share as f32, |order, cut| order == cut)
    }

    fn changed(form: ImageForm, value: &dyn Fn(f64) -> f32, is_changed: impl Fn(usize, usize) -> bool) -> Self {
        let ImageForm {
            channels,
            height,
            width,
            ..
        } = form;
        let dimensions = channels * height * width;
        let random = Random::new(1, Stream::Probe, 0);
        let other = Random::new(2, Stream::Probe, 0);
        let cuts: Vec<usize> = if dimensions <= CUTS {
            (0..dimensions).collect()
        } else {
            // Each channel gets as many, and places of one row as well as of all.
            let pixels = height * width;
            let pixel = |cut: usize| {
                // What comes first depends on nothing, which a network with few codes may break nowhere else.
                if cut < channels {
                    0
                } else if cut < CUTS / 3 {
                    (height / 2) * width + cut % width
                } else {
                    (random.uniform(cut as u32) * pixels as f64) as usize
                }
            };
            (0..CUTS)
                .map(|cut| pixel(cut).min(pixels - 1) * channels + cut % channels)
                .collect()
        };
        let place = |cut: Option<usize>| -> Vec<f32> {
            let own = |channel: usize, pixel: usize| {
                let order = pixel * channels + channel;
                let source = if cut.is_some_and(|cut| is_changed(order, cut)) {
                    &other
                } else {
                    &random
                };
                value(source.uniform((1 << 20) + order as u32))
            };
            laid(form, &own)
        };
        let items = std::iter::once(None)
            .chain(cuts.iter().map(|&cut| Some(cut)))
            .map(place)
            .collect();
        Self { items, cuts, form }
    }

    /// Predictions of every image: what the output at `place` gives.
    pub fn run(&self, reading: &Reading, place: usize) -> Result<Vec<Vec<f32>>, Problem> {
        Ok(reading.run(&self.items, &[])?.swap_remove(place).rows)
    }

    /// The first prediction, read like this, that sees something of its own or of later places, if there is one.
    pub fn leak(&self, predictions: &[Vec<f32>], arrangement: Arrangement) -> Option<Leak> {
        let [outcomes, channels, _, width] = arrangement.sizes();
        // Numbers of a whole pixel come before all its channels.
        let first = |channel: usize, pixel: usize| pixel * self.form.channels + channel;
        let pixels = self.form.height * width;
        let (base, changed) = predictions.split_first()?;
        let base = arrangement.read(base);
        // What is ruled out by a huge number is no scale of others.
        let ordinary = base.iter().map(|value| value.abs()).filter(|&size| size <= ORDINARY);
        let scale = ordinary.fold(1e-6f32, f32::max);
        let (flat, mut largest) = (&predictions[0], 0.0f32);
        for own in changed {
            let differences = flat.iter().zip(own).map(|(a, b)| (a - b).abs());
            largest = differences.fold(largest, f32::max);
        }
        let tolerance = (BESIDE * largest).max(LEAST * scale).min(TOLERANCE * scale);
        let leaking = |(&cut, changed): (&usize, &Vec<f32>)| {
            let changed = arrangement.read(changed);
            let sees = |at: &usize| {
                let (channel, pixel) = (at / pixels % channels, at % pixels);
                // What is not a number differs from everything.
                let (own, other) = (base[*at], changed[*at]);
                let is_same = own.to_bits() == other.to_bits()
                    || (own - other).abs() <= tolerance.max(TOLERANCE * (own.abs().min(other.abs()) - ORDINARY));
                first(channel, pixel) <= cut && !is_same
            };
            let all: Vec<usize> = (0..outcomes * channels * pixels).filter(sees).collect();
            let is_of_own_pixel = all.iter().all(|at| at % pixels == cut / self.form.channels);
            all.first().map(|&at| (at, is_of_own_pixel))
        };
        let leaks: Vec<(usize, bool)> = self.cuts.iter().zip(changed).filter_map(leaking).collect();
        let &(at, _) = leaks.first()?;
        Some(Leak {
            place: Place {
                channel: at / pixels % channels,
                row: at % pixels / width,
                column: at % width,
            },
            is_of_own_pixel: leaks.iter().all(|&(_, is_own)| is_own),
        })
    }

    /// Whether predictions depend on the image at all, beyond what is rounded.
    pub fn is_varied(predictions: &[Vec<f32>]) -> bool {
        let sizes = predictions.iter().flatten().map(|value| value.abs());
        let scale = sizes.filter(|&size| size <= ORDINARY).fold(0.0, f32::max);
        let differ = |(a, b): (&f32, &f32)| {
            let is_close = a.to_bits() == b.to_bits() || (a - b).abs() <= LEAST * scale.max(a.abs().min(b.abs()));
            !is_close
        };
        predictions
            .windows(2)
            .any(|pair| pair[0].iter().zip(&pair[1]).any(differ))
    }
}

/// The form of the images, and how an output with a number for each dimension is read, if it is one in one way only.
fn of_each_dimension(reading: &Reading, given: &Given) -> Option<(ImageForm, Arrangement)> {
    let (_, form) = reading.image()?;
    let all = Arrangement::candidates(given.sizes.as_ref()?, [1, form.channels, form.height, form.width]);
    match all[..] {
        [arrangement] => Some((form, arrangement)),
        _ => None,
    }
}

/// Whether an output with a number for each dimension predicts it in another order than that of rows and columns: no
/// number depends on its own dimension, as that of a picture would, though on those of others.
pub fn predicts_in_another_order(reading: &Reading, given: &Given) -> bool {
    let Some((form, arrangement)) = of_each_dimension(reading, given) else {
        return false;
    };
    let trial = Trial::with_single_changes(form);
    let Ok(rows) = trial.run(reading, given.place) else {
        return false;
    };
    let Some((base, changed)) = rows.split_first() else {
        return false;
    };
    let base = arrangement.read(base);
    let pixels = form.height * form.width;
    let is_blind = |(&cut, changed): (&usize, &Vec<f32>)| {
        let own = cut % form.channels * pixels + cut / form.channels;
        let (before, after) = (base[own], arrangement.read(changed)[own]);
        (before - after).abs() <= LEAST * before.abs().max(1e-3)
    };
    Trial::is_varied(&rows) && trial.cuts.iter().zip(changed).all(is_blind)
}

/// Whether an output with a number for each dimension depends on that dimension and on those before it, and on none
/// after it, as a density does whose mask lets each pixel see itself.
pub fn sees_up_to_itself(reading: &Reading, given: &Given) -> bool {
    let Some((form, arrangement)) = of_each_dimension(reading, given) else {
        return false;
    };
    let later = Trial::new(form, &|share| share as f32);
    let Ok(rows) = later.run(reading, given.place) else {
        return false;
    };
    let leak = later.leak(&rows, arrangement);
    if form.height * form.width < CUTS || !leak.is_some_and(|leak| leak.is_of_own_pixel) {
        return false;
    }
    // What is computed of each pixel by itself predicts nothing.
    let single = Trial::with_single_changes(form);
    let Ok(rows) = single.run(reading, given.place) else {
        return false;
    };
    let Some((base, changed)) = rows.split_first() else {
        return false;
    };
    let pixels = form.height * form.width;
    let base = arrangement.read(base);
    let changes = |(&cut, changed): (&usize, &Vec<f32>)| {
        let changed = arrangement.read(changed);
        (0..base.len()).any(|at| at % pixels != cut / form.channels && (base[at] - changed[at]).abs() > TOLERANCE)
    };
    single.cuts.iter().zip(changed).any(changes)
}

/// Whether an output with a number for each dimension predicts it: it depends on images, and on nothing that comes
/// later.
pub fn predicts(reading: &Reading, given: &Given) -> bool {
    let (Some((_, form)), Some(sizes)) = (reading.image(), &given.sizes) else {
        return false;
    };
    let all = Arrangement::candidates(sizes, [1, form.channels, form.height, form.width]);
    is_prediction(reading, given, &all)
}

/// Whether an output, in one of these arrangements, predicts images: it depends on them, and on nothing that comes
/// later.
pub fn is_prediction(reading: &Reading, given: &Given, arrangements: &[Arrangement]) -> bool {
    let Some((_, form)) = reading.image() else { return false };
    let trial = Trial::new(form, &|share| share as f32);
    let Ok(rows) = trial.run(reading, given.place) else {
        return false;
    };
    let sees_nothing_later = |&arrangement: &Arrangement| trial.leak(&rows, arrangement).is_none();
    Trial::is_varied(&rows) && arrangements.iter().any(sees_nothing_later)
}

/// A layer that computes something over all places of an image.
#[derive(Debug)]
pub struct OverAllPlaces {
    /// What its author called it.
    pub name: String,
    /// Whether it does so to find the scale of integers.
    pub is_quantising: bool,
}

/// The first layer whose every number depends on all places, whatever its weights are.
pub fn over_all_places(graph: &Graph) -> Option<OverAllPlaces> {
    let operators = [
        "InstanceNormalization",
        "GroupNormalization",
        "DynamicQuantizeLinear",
        "GlobalAveragePool",
    ];
    let node = graph.nodes.iter().find(|node| operators.contains(&node.op_type()))?;
    Some(OverAllPlaces {
        name: layer::describe(node),
        is_quantising: node.op_type() == "DynamicQuantizeLinear",
    })
}

/// Whether an output hands the image on, as a sampler does with the pixels that it is given.
pub fn is_the_image(reading: &Reading, given: &Given) -> bool {
    let Some((_, form)) = reading.image() else { return false };
    let trial = Trial::new(form, &|share| share as f32);
    trial.run(reading, given.place).is_ok_and(|rows| rows == trial.items)
}

/// Numbers of channels and pixels in the order of axes that a graph takes.
fn laid(form: ImageForm, value: &dyn Fn(usize, usize) -> f32) -> Vec<f32> {
    let pixels = form.height * form.width;
    if form.axes == Axes::ChannelsLast {
        (0..pixels * form.channels)
            .map(|at| value(at % form.channels, at / form.channels))
            .collect()
    } else {
        (0..pixels * form.channels)
            .map(|at| value(at / pixels, at % pixels))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_that_sees_itself_is_found() {
        let form = ImageForm {
            channels: 1,
            height: 3,
            width: 3,
            axes: Axes::ChannelsFirst,
        };
        let trial = Trial::new(form, &|share| share as f32);
        let arrangement = Arrangement::candidates(&[3, 3], [1, 1, 3, 3])[0];
        let leak = trial.leak(&trial.items, arrangement).unwrap();
        assert_eq!(leak.place.to_string(), "channel 0 at row 0, column 0");
        assert!(leak.is_of_own_pixel);
        let all: Vec<Vec<f32>> = trial.items.iter().map(|item| vec![item.iter().sum(); 9]).collect();
        assert!(!trial.leak(&all, arrangement).unwrap().is_of_own_pixel);
        let before = |item: &Vec<f32>| -> Vec<f32> { (0..9).map(|i| item[..i].iter().sum()).collect() };
        let sums: Vec<Vec<f32>> = trial.items.iter().map(before).collect();
        assert!(trial.leak(&sums, arrangement).is_none());
        assert!(Trial::is_varied(&sums));
        // What differs by rounding sees nothing.
        assert!(!Trial::is_varied(&[vec![0.1, 0.0], vec![0.1 + 2e-8, 0.0]]));
        assert!(Trial::is_varied(&[vec![0.1, -1e9], vec![0.2, -1e9]]));
    }
}
