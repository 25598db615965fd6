//! Places to try causality at: of every channel, corner, border and phase of strides, the rest drawn.

use crate::domain::{image::ImageShape, random::Random};

/// Places that are tried if not all are.
pub(super) const PLACES: usize = 1024;
/// Rows and columns are told apart by their rests modulo each of these: the strides of networks, and what strides make
/// together.
const STRIDES: [usize; 7] = [1, 2, 3, 4, 5, 8, 16];
/// The first so many strides are tried even when the time is short.
const ESSENTIAL_STRIDES: usize = 4;

/// Places to cut at, the essential ones first, and how many these are.
pub(super) fn places(shape: ImageShape, random: &Random) -> (Vec<usize>, usize) {
    let (all, channels) = (shape.dimensions(), shape.channels());
    let count = all.min(PLACES);
    if count == all {
        return ((0..all).collect(), all);
    }
    let mut drawn = 0;
    let mut below = |limit: usize| {
        drawn += 1;
        ((random.uniform(drawn) * limit as f64) as usize).min(limit - 1)
    };
    let mut chosen = Vec::with_capacity(count);
    let mut is_chosen = vec![false; all];
    let mut choose = |place: usize, chosen: &mut Vec<usize>| {
        if chosen.len() < count && !std::mem::replace(&mut is_chosen[place], true) {
            chosen.push(place);
        }
    };
    // The first pixel can see nothing, the last one is seen by nothing, and what pads an image changes its borders.
    let (height, width) = (shape.height(), shape.width());
    let corners = [0, width - 1, (height - 1) * width, height * width - 1];
    let borders = [
        below(width),
        (height - 1) * width + below(width),
        below(height) * width,
        below(height) * width + width - 1,
    ];
    for pixel in corners.into_iter().chain(borders) {
        for channel in 0..channels {
            choose(pixel * channels + channel, &mut chosen);
        }
    }
    let mut essential = 0;
    for (number, &stride) in STRIDES.iter().enumerate() {
        let (rows, columns) = (stride.min(shape.height()), stride.min(shape.width()));
        let kind = |place: usize| {
            let (pixel, channel) = (place / channels, place % channels);
            let (row, column) = (pixel / shape.width(), pixel % shape.width());
            ((row % rows) * columns + column % columns) * channels + channel
        };
        let mut has_one = vec![false; rows * columns * channels];
        for &place in &chosen {
            has_one[kind(place)] = true;
        }
        for (kind, _) in has_one.iter().enumerate().filter(|(_, has)| !**has) {
            let (phase, channel) = (kind / channels, kind % channels);
            let (row, column) = (phase / columns, phase % columns);
            let row = row + rows * below((shape.height() - row).div_ceil(rows));
            let column = column + columns * below((shape.width() - column).div_ceil(columns));
            choose((row * shape.width() + column) * channels + channel, &mut chosen);
        }
        if number < ESSENTIAL_STRIDES {
            essential = chosen.len();
        }
    }
    while chosen.len() < count {
        choose(below(all), &mut chosen);
    }
    (chosen, essential)
}
