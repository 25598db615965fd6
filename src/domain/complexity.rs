//! How many bits an image takes without any model: the code length of a small lossless compressor.

use super::image::ImageShape;

/// Weight of a residual that has not been seen yet.
const UNSEEN: f64 = 1.0 / 16.0;

/// Steps of the local gradient, in 256ths of the range, at which the context changes.
const GRADIENTS: [i32; 3] = [1, 25, 97];

/// The length in bits of an ideal adaptive code of the image, with no header: each level is predicted from its left,
/// upper and upper left neighbours by the median edge detector of LOCO-I (Weinberger, Seroussi and Sapiro 2000), and
/// the residual is coded with the frequencies of the residuals before it in one of four contexts by the local gradient,
/// unseen ones weighing 1/16. As a statistic for detection an idea of Serrà et al. 2020, who use general compressors.
/// Microseconds an image; whole numbers and logarithms only, so that no version of a library can change it.
///
/// `levels` are in channel, row, column order; channels are coded one after the other.
pub fn code_length(levels: &[u8], shape: ImageShape) -> f64 {
    let (width, count) = (shape.width(), shape.levels());
    let mut seen = vec![0u32; 4 * count];
    let mut totals = [0u32; 4];
    let mut bits = 0.0;
    for plane in levels.chunks(shape.pixels()) {
        // Outside the image is dark.
        let at = |row: isize, column: isize| {
            let inside = row >= 0 && column >= 0 && (column as usize) < width;
            if inside {
                i32::from(plane[row as usize * width + column as usize])
            } else {
                0
            }
        };
        for (index, &level) in plane.iter().enumerate() {
            let (row, column) = ((index / width) as isize, (index % width) as isize);
            let (left, above) = (at(row, column - 1), at(row - 1, column));
            let (corner, beyond) = (at(row - 1, column - 1), at(row - 1, column + 1));
            let prediction = if corner >= left.max(above) {
                left.min(above)
            } else if corner <= left.min(above) {
                left.max(above)
            } else {
                left + above - corner
            };
            let gradient = (beyond - above).abs() + (above - corner).abs() + (corner - left).abs();
            let gradient = gradient * 256 / count as i32;
            let context = GRADIENTS.iter().filter(|&&step| gradient >= step).count();
            let residual = (i32::from(level) - prediction).rem_euclid(count as i32) as usize;
            let place = context * count + residual;
            let share = (f64::from(seen[place]) + UNSEEN) / (f64::from(totals[context]) + UNSEEN * count as f64);
            bits -= share.log2();
            seen[place] += 1;
            totals[context] += 1;
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_cheap_and_noise_is_not() {
        let shape = ImageShape::new(1, 28, 28, 256).unwrap();
        let random = crate::domain::random::Random::new(1, crate::domain::random::Stream::Probe, 0);
        let noise: Vec<u8> = (0..784).map(|i| (random.uniform(i) * 256.0) as u8).collect();
        let ramp: Vec<u8> = (0..784).map(|i| (i / 28 * 9) as u8).collect();
        let constant = code_length(&[7; 784], shape);
        let ramp = code_length(&ramp, shape);
        let noise = code_length(&noise, shape);
        assert!(constant < 200.0, "{constant}");
        assert!(constant < ramp && ramp < 800.0, "{ramp}");
        assert!(noise > 6000.0, "{noise}");
    }

    #[test]
    fn channels_add_up_at_most() {
        let grey = ImageShape::new(1, 2, 3, 256).unwrap();
        let colour = ImageShape::new(3, 2, 3, 256).unwrap();
        let plane = [0u8, 9, 3, 250, 8, 8];
        let one = code_length(&plane, grey);
        assert!(code_length(&plane.repeat(3), colour) <= 3.0 * one);
    }
}
