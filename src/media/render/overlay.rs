//! Evidence laid over the image that it is about.

use super::{Canvas, by_pixel, check_numbers, framed, stretch};
use crate::{
    domain::image::{Image, ImageShape, padded},
    media::{MediaError, convert},
};

/// Evidence in nats, in channel, row, column order, over each image, as one PNG file. The image is shown in greys at
/// half its brightness; where the evidence speaks against it, red is laid over it, where it speaks for it, blue. The
/// channels of a pixel are added up, images of several sizes get black to the right and below, and the colours run to
/// the largest finite evidence among all the images; what is not finite is as strong as can be.
///
/// # Errors
/// [`MediaError::NotANumber`] where the sum is NaN: no colour stands for what is no number.
///
/// # Panics
/// If a map does not have the shape's dimensions, or there are not as many maps as images.
pub fn overlay_grid(images: &[Image], maps: &[&[f32]], shape: ImageShape) -> Result<Vec<u8>, MediaError> {
    assert_eq!(images.len(), maps.len(), "one map an image");
    let sizes = images.iter().map(Image::shape);
    let (framed, common) = framed(images, shape);
    let maps = maps.iter().zip(sizes).map(|(map, own)| padded(map, own, common, 0.0));
    let (images, maps, shape): (_, Vec<Vec<f32>>, _) = (framed, maps.collect(), common);
    let evidence: Vec<Vec<f64>> = maps.iter().map(|map| by_pixel(map, shape)).collect();
    check_numbers(&evidence, |_| true)?;
    let finite = evidence.iter().flatten().filter(|value| value.is_finite());
    let strongest = finite.fold(f64::MIN_POSITIVE, |max, value| max.max(value.abs()));
    let mut canvas = Canvas::new(images.len(), 3, shape.height(), shape.width())?;
    for (cell, (image, evidence)) in images.iter().zip(&evidence).enumerate() {
        let mut levels = convert::to_interleaved(image.levels(), shape.channels());
        stretch(&mut levels, shape.levels());
        let pixels = levels.chunks_exact(shape.channels()).zip(evidence);
        let bytes: Vec<u8> = pixels
            .flat_map(|(channels, &value)| {
                let sum: u32 = channels.iter().map(|&level| u32::from(level)).sum();
                let grey = f64::from(sum) / channels.len() as f64 / 2.0;
                blend(grey, value / strongest)
            })
            .collect();
        canvas.draw(cell, &bytes);
    }
    canvas.encode()
}

/// Grey with red for positive and blue for negative evidence between −1 and 1.
fn blend(grey: f64, evidence: f64) -> [u8; 3] {
    let strength = evidence.abs().min(1.0);
    let colour = if evidence > 0.0 {
        [255.0, 48.0, 32.0]
    } else {
        [32.0, 96.0, 255.0]
    };
    colour.map(|colour| (grey + (colour - grey) * strength).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn red_speaks_against_blue_for_and_what_is_no_number_is_refused() {
        let shape = ImageShape::new(1, 2, 2, 256).unwrap();
        let image = Image::new(shape, vec![0, 0, 200, 200]).unwrap();
        let map = [4.0, -4.0, f32::INFINITY, 0.0];
        let file = overlay_grid(std::slice::from_ref(&image), &[&map], shape).unwrap();
        assert!(overlay_grid(&[image], &[&[f32::NAN; 4]], shape).is_err());
        let picture = image::load_from_memory(&file).unwrap().to_rgb8();
        let (width, height) = picture.dimensions();
        let at = |x, y| picture.get_pixel(x, y).0;
        assert_eq!(at(0, 0), [255, 48, 32]);
        assert_eq!(at(width - 1, 0), [32, 96, 255]);
        assert_eq!(at(0, height - 1), [255, 48, 32]);
        assert_eq!(at(width - 1, height - 1), [100; 3]);
    }
}
