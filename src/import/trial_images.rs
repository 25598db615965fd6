//! Trial images: made up to compare graphs with, where nobody gives any.

use crate::domain::{
    image::{Image, ImageShape},
    random::{Random, Stream},
};

/// So many are made.
pub const COUNT: usize = 4;

/// Noise, a ramp, rings and a nearly empty image: between them they use all levels, edges and quiet places.
pub fn made_up(shape: ImageShape) -> Vec<Image> {
    let (rows, columns) = (shape.height(), shape.width());
    let most = (shape.levels() - 1) as f64;
    let image = |value: &dyn Fn(usize, usize, usize) -> f64| {
        let levels = (0..shape.dimensions()).map(|index| {
            let (channel, pixel) = (index / shape.pixels(), index % shape.pixels());
            let share = value(channel, pixel / columns, pixel % columns).clamp(0.0, 1.0);
            (share * most).round() as u8
        });
        Image::new(shape, levels.collect::<Vec<u8>>())
    };
    let random = Random::new(0, Stream::Probe, 0);
    let noise = |c: usize, y: usize, x: usize| random.uniform(((c * rows + y) * columns + x) as u32);
    let ramp = |c: usize, y: usize, x: usize| {
        let along = if c.is_multiple_of(2) {
            x as f64 / columns as f64
        } else {
            y as f64 / rows as f64
        };
        along + 0.1 * (noise(c, y, x) - 0.5)
    };
    let rings = |c: usize, y: usize, x: usize| {
        let (dy, dx) = (y as f64 / rows as f64 - 0.5, x as f64 / columns as f64 - 0.5);
        0.5 + 0.5 * ((dy * dy + dx * dx).sqrt() * 20.0 + c as f64).cos()
    };
    let empty = |c: usize, y: usize, x: usize| if noise(c, y, x) > 0.95 { 1.0 } else { 0.0 };
    [image(&noise), image(&ramp), image(&rings), image(&empty)]
        .into_iter()
        .filter_map(Result::ok)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_differ_and_have_all_levels() {
        let images = made_up(ImageShape::new(3, 5, 4, 8).unwrap());
        assert_eq!(images.len(), COUNT);
        let mut levels: Vec<u8> = images.iter().flat_map(|image| image.levels().to_vec()).collect();
        levels.sort_unstable();
        levels.dedup();
        assert_eq!(levels, (0..8).collect::<Vec<u8>>());
        assert!(images.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
