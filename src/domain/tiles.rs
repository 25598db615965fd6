//! Large images as windows of one size: where the windows lie, how what is said of them becomes a map of the image, and
//! what of such a map becomes a number.

/// Windows of one size at a regular distance. The last of a row and of a column lie flush with the border, so that
/// every pixel is in at least one window and none is made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiling {
    /// Rows and columns of a window.
    window: (usize, usize),
    /// Rows and columns from one window to the next.
    stride: usize,
}

impl Tiling {
    /// Windows of `window` rows and columns, `stride` apart; `None` if there would be gaps between them.
    pub fn new(window: (usize, usize), stride: usize) -> Option<Self> {
        (1..=window.0.min(window.1))
            .contains(&stride)
            .then_some(Self { window, stride })
    }

    /// Rows and columns from one window to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Whether an image of so many rows and columns has at least one window.
    pub fn fits(&self, image: (usize, usize)) -> bool {
        self.window.0 <= image.0 && self.window.1 <= image.1
    }

    /// The first row and column of every window of an image, row by row.
    ///
    /// # Panics
    /// If the image is smaller than a window.
    pub fn places(&self, image: (usize, usize)) -> Vec<(usize, usize)> {
        let columns = self.along(image.1, self.window.1);
        let rows = self.along(image.0, self.window.0);
        rows.iter()
            .flat_map(|&row| columns.iter().map(move |&column| (row, column)))
            .collect()
    }

    fn along(&self, length: usize, window: usize) -> Vec<usize> {
        assert!(length >= window, "an image that is smaller than a window");
        let last = length - window;
        let mut places: Vec<usize> = (0..last).step_by(self.stride).collect();
        places.push(last);
        places
    }
}

/// Maps of windows that become a map of the image. Where windows overlap, what each says counts the more the farther
/// the pixel lies from the window's border.
#[derive(Debug, Clone)]
pub struct Blend {
    tiling: Tiling,
    channels: usize,
    image: (usize, usize),
    /// Weighted sums in channel, row, column order.
    sums: Vec<f64>,
    /// Weights in row, column order.
    weights: Vec<f64>,
}

impl Blend {
    /// Nothing yet, of an image of so many channels, rows and columns.
    pub fn new(tiling: Tiling, channels: usize, image: (usize, usize)) -> Self {
        let pixels = image.0 * image.1;
        Self {
            tiling,
            channels,
            image,
            sums: vec![0.0; channels * pixels],
            weights: vec![0.0; pixels],
        }
    }

    /// Adds the map of the window at a place, in channel, row, column order.
    pub fn add(&mut self, (row, column): (usize, usize), map: &[f32]) {
        let (height, width) = self.tiling.window;
        let pixels = self.image.0 * self.image.1;
        // A whole number, so that a pixel in one window keeps its value to the bit.
        let weight = |y: usize, x: usize| ((y + 1).min(height - y) * (x + 1).min(width - x)) as f64;
        for y in 0..height {
            let at = (row + y) * self.image.1 + column;
            for x in 0..width {
                let weight = weight(y, x);
                self.weights[at + x] += weight;
                for channel in 0..self.channels {
                    let value = f64::from(map[(channel * height + y) * width + x]);
                    self.sums[channel * pixels + at + x] += weight * value;
                }
            }
        }
    }

    /// The map of the image in channel, row, column order.
    pub fn finish(self) -> Vec<f32> {
        let weights = self.weights.iter().cycle();
        self.sums
            .iter()
            .zip(weights)
            .map(|(sum, weight)| (sum / weight) as f32)
            .collect()
    }
}

/// A map of rows and columns under a Gaussian of deviation `sigma` in pixels, cut off at three deviations; at borders
/// the weights of the pixels that are there count for all. With a deviation of 0 it stays as it is.
pub fn smooth(map: &[f32], (rows, columns): (usize, usize), sigma: f64) -> Vec<f32> {
    let reach = (3.0 * sigma).ceil() as usize;
    if reach == 0 {
        return map.to_vec();
    }
    let kernel: Vec<f64> = (0..=reach)
        .map(|distance| (-0.5 * (distance as f64 / sigma).powi(2)).exp())
        .collect();
    let along = |length: usize, at: &dyn Fn(usize) -> f64, place: usize| {
        let (mut sum, mut weights) = (0.0, 0.0);
        for other in place.saturating_sub(reach)..(place + reach + 1).min(length) {
            let weight = kernel[other.abs_diff(place)];
            sum += weight * at(other);
            weights += weight;
        }
        sum / weights
    };
    let mut across = vec![0.0; map.len()];
    for row in 0..rows {
        for column in 0..columns {
            let at = |x: usize| f64::from(map[row * columns + x]);
            across[row * columns + column] = along(columns, &at, column);
        }
    }
    let mut out = vec![0.0; map.len()];
    for column in 0..columns {
        for row in 0..rows {
            let at = |y: usize| across[y * columns + column];
            out[row * columns + column] = along(rows, &at, row) as f32;
        }
    }
    out
}

/// The mean of the largest share of some values, at least of one; 0 of none.
pub fn largest_share(values: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    let count = ((share * values.len() as f64).round() as usize).clamp(1, values.len().max(1));
    if values.is_empty() {
        return 0.0;
    }
    values.sort_unstable_by(|a, b| b.total_cmp(a));
    values[..count].iter().sum::<f64>() / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_every_pixel_and_end_flush() {
        let tiling = Tiling::new((4, 3), 2).unwrap();
        assert_eq!(tiling.places((4, 3)), [(0, 0)]);
        assert_eq!(tiling.places((7, 5)), [(0, 0), (0, 2), (2, 0), (2, 2), (3, 0), (3, 2)]);
        assert!(!tiling.fits((3, 9)) && tiling.fits((4, 3)));
        assert_eq!(Tiling::new((4, 3), 0), None);
        assert_eq!(Tiling::new((4, 3), 4), None);
    }

    #[test]
    fn one_window_is_the_image_and_agreeing_windows_agree() {
        let tiling = Tiling::new((3, 3), 2).unwrap();
        let map: Vec<f32> = (0..18).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut blend = Blend::new(tiling, 2, (3, 3));
        blend.add((0, 0), &map);
        assert_eq!(blend.finish(), map);
        let whole: Vec<f32> = (0..35).map(|i| (i * i % 13) as f32).collect();
        let mut blend = Blend::new(tiling, 1, (5, 7));
        for (row, column) in tiling.places((5, 7)) {
            let cut = |i: usize| whole[(row + i / 3) * 7 + column + i % 3];
            blend.add((row, column), &(0..9).map(cut).collect::<Vec<_>>());
        }
        assert_eq!(blend.finish(), whole);
    }

    #[test]
    fn smoothing_keeps_what_is_flat_and_spreads_a_point_evenly() {
        let flat = smooth(&[2.0; 30], (5, 6), 1.5);
        assert!(flat.iter().all(|value| (value - 2.0).abs() < 1e-6));
        // Far enough from the borders, where less is averaged, that nothing is lost.
        let mut point = vec![0.0; 21 * 21];
        point[220] = 1.0;
        let spread = smooth(&point, (21, 21), 1.0);
        assert!((spread.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert_eq!(spread[219], spread[221]);
        assert_eq!(spread[199], spread[241]);
        assert_eq!(smooth(&point, (21, 21), 0.0), point);
    }

    #[test]
    fn the_largest_share_is_at_least_one_value() {
        let values = || (1..=10).map(f64::from);
        assert_eq!(largest_share(values(), 0.2), 9.5);
        assert_eq!(largest_share(values(), 0.001), 10.0);
        assert_eq!(largest_share(values(), 1.0), 5.5);
        assert_eq!(largest_share(std::iter::empty(), 0.5), 0.0);
    }
}
