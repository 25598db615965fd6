//! Evidence for and against, in colours that diverge from white.

use super::{Canvas, by_pixel, check_numbers, colormap};
use crate::{domain::image::ImageShape, media::MediaError};

/// Evidence from which on a colour is as strong as can be: 1 nat makes something e times as probable, or 1/e times. The
/// scale is fixed, so that pictures can be compared, and a single pixel that decides everything does not make all
/// others pale.
const STRONGEST_NATS: f64 = 1.0;

/// Evidence in nats, in channel, row, column order, as one PNG file of `columns` pictures a row: red speaks for, blue
/// against, white says nothing, and from 1 nat on colours are as strong as can be. The channels of a pixel are added
/// up.
///
/// # Errors
/// [`MediaError::NotANumber`] where the sum is NaN: no colour stands for what is no number.
///
/// # Panics
/// If a map does not have the shape's dimensions.
pub fn evidence_grid(maps: &[&[f32]], columns: usize, shape: ImageShape) -> Result<Vec<u8>, MediaError> {
    let evidence: Vec<Vec<f64>> = maps.iter().map(|map| by_pixel(map, shape)).collect();
    check_numbers(&evidence, |_| true)?;
    let (height, width) = (shape.height(), shape.width());
    let mut canvas = Canvas::with_columns(maps.len(), columns, 3, height, width)?;
    for (cell, evidence) in evidence.iter().enumerate() {
        let bytes: Vec<u8> = evidence
            .iter()
            .flat_map(|value| colormap::diverging(value / STRONGEST_NATS))
            .collect();
        canvas.draw(cell, &bytes);
    }
    canvas.encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn red_speaks_for_blue_against_and_what_is_no_number_is_refused() {
        let shape = ImageShape::new(1, 2, 2, 256).unwrap();
        let first = [1.0, -1.0, 0.0, 0.0];
        let second = [0.5, 0.0, f32::INFINITY, f32::NEG_INFINITY];
        let file = evidence_grid(&[&first, &second, &first], 3, shape).unwrap();
        let picture = image::load_from_memory(&file).unwrap().to_rgb8();
        let (width, height) = picture.dimensions();
        let (cell, gap) = (height, height / 2);
        assert_eq!(width, 3 * cell + 2 * gap, "a row of three");
        let at = |x, y| picture.get_pixel(x, y).0;
        let [red, _, blue] = at(0, 0);
        assert!(red > blue);
        let [red, _, blue] = at(cell - 1, 0);
        assert!(red < blue);
        assert_eq!(at(0, height - 1), [255; 3]);
        // The second map is half as strong, and infinities end the scale.
        let left = cell + gap;
        let [_, half, _] = at(left, 0);
        assert!(half > at(0, 0)[1] && half < 255);
        assert_eq!(at(left, height - 1), at(0, 0));
        let error = evidence_grid(&[&first, &[0.0, f32::NAN, 0.0, 0.0]], 3, shape).unwrap_err();
        assert!(error.to_string().contains("map at index 1 has NaN at 1"), "{error}");
    }
}
