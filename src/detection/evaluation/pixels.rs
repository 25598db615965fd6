//! How well maps tell defective pixels from others, where masks say which these are.
//!
//! Values are counted in 65,536 bins that keep their order, finer than one percent of a value: figures of any number of
//! pixels take the same memory.

use serde::Serialize;

use crate::domain::image::Image;

/// The false-positive rate up to which the overlap of regions counts.
const RATE: f64 = 0.3;

/// The number of bins: the upper half of the bits of a value.
const BINS: usize = 1 << 16;

/// Figures of pixels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PixelReport {
    /// Images with a mask.
    pub masked_images: usize,
    /// Defective regions: pixels of a mask that touch, also at corners.
    pub regions: usize,
    /// Defective pixels.
    pub defective: u64,
    /// Other pixels, those of images without a defect included.
    pub normal: u64,
    /// Area under the ROC of pixels.
    pub auroc: f64,
    /// The mean share of a region that is found, over false-positive rates of pixels up to 30 %, as a share of what can
    /// be had (Bergmann et al. 2020).
    pub region_overlap: f64,
}

/// Pixels counted so far.
#[derive(Debug, Clone)]
pub struct Pixels {
    normal: Vec<u64>,
    defective: Vec<u64>,
    /// The share of a region that lies in a bin, summed over regions.
    regions: Vec<f64>,
    region_count: usize,
    masked_images: usize,
}

impl Default for Pixels {
    fn default() -> Self {
        Self {
            normal: vec![0; BINS],
            defective: vec![0; BINS],
            regions: vec![0.0; BINS],
            region_count: 0,
            masked_images: 0,
        }
    }
}

/// The bin of a value; larger values have larger bins.
fn bin(value: f32) -> usize {
    let bits = value.to_bits();
    let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    (ordered >> 16) as usize
}

impl Pixels {
    /// Counts the pixels of an image with its map in channel, row, column order, whose channels are added up; those of
    /// the mask are defective, one flag a pixel in row order.
    pub fn add(&mut self, image: &Image, map: &[f32], mask: Option<&[bool]>) {
        let (pixels, width) = (image.shape().pixels(), image.shape().width());
        let value = |pixel: usize| map.iter().skip(pixel).step_by(pixels).sum::<f32>();
        let nothing = vec![false; pixels];
        let flags = mask.unwrap_or(&nothing);
        for (pixel, &is_defective) in flags.iter().enumerate() {
            let counts = if is_defective {
                &mut self.defective
            } else {
                &mut self.normal
            };
            counts[bin(value(pixel))] += 1;
        }
        let regions = regions(flags, width);
        self.masked_images += usize::from(!regions.is_empty());
        self.region_count += regions.len();
        for region in regions {
            let share = 1.0 / region.len() as f64;
            for pixel in region {
                self.regions[bin(value(pixel))] += share;
            }
        }
    }

    /// The figures, if there are pixels of both kinds.
    pub fn report(&self) -> Option<PixelReport> {
        let (normal, defective): (u64, u64) = (self.normal.iter().sum(), self.defective.iter().sum());
        if normal == 0 || defective == 0 {
            return None;
        }
        Some(PixelReport {
            masked_images: self.masked_images,
            regions: self.region_count,
            defective,
            normal,
            auroc: self.auroc(normal as f64, defective as f64),
            region_overlap: self.region_overlap(normal as f64),
        })
    }

    fn auroc(&self, normal: f64, defective: f64) -> f64 {
        let (mut below, mut area) = (0.0, 0.0);
        for (&inside, &outside) in self.normal.iter().zip(&self.defective) {
            // Values of one bin count as equal.
            area += outside as f64 * (below + inside as f64 / 2.0);
            below += inside as f64;
        }
        area / (normal * defective)
    }

    fn region_overlap(&self, normal: f64) -> f64 {
        let (mut rate, mut overlap, mut area) = (0.0, 0.0, 0.0);
        for (&inside, &share) in self.normal.iter().zip(&self.regions).rev() {
            let next_rate = rate + inside as f64 / normal;
            let next = overlap + share / self.region_count as f64;
            let width = next_rate.min(RATE) - rate;
            if next_rate > rate {
                let end = overlap + (next - overlap) * width / (next_rate - rate);
                area += width * (overlap + end) / 2.0;
            }
            (rate, overlap) = (next_rate, next);
            if rate >= RATE {
                break;
            }
        }
        area / RATE
    }
}

/// The pixels of each region of flags that touch, also at corners.
fn regions(flags: &[bool], width: usize) -> Vec<Vec<usize>> {
    let height = flags.len() / width;
    let mut left = flags.to_vec();
    let mut found = Vec::new();
    for start in 0..flags.len() {
        if !std::mem::take(&mut left[start]) {
            continue;
        }
        let mut region = vec![start];
        let mut next = 0;
        while let Some(&pixel) = region.get(next) {
            next += 1;
            let (y, x) = (pixel / width, pixel % width);
            for y in y.saturating_sub(1)..(y + 2).min(height) {
                for x in x.saturating_sub(1)..(x + 2).min(width) {
                    let place = y * width + x;
                    if std::mem::take(&mut left[place]) {
                        region.push(place);
                    }
                }
            }
        }
        found.push(region);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::ImageShape;

    #[test]
    fn figures_are_those_that_are_counted_by_hand() {
        // Two regions, one of a pixel with 8, one of two with 4 and 1; five pixels beside them.
        let image = Image::new(ImageShape::new(1, 1, 8, 256).unwrap(), vec![0; 8]).unwrap();
        let map = [8.0, 16.0, 2.0, 2.0, 4.0, 1.0, 2.0, 0.5];
        let mask = [true, false, false, false, true, true, false, false];
        let mut pixels = Pixels::default();
        assert_eq!(pixels.report(), None);
        pixels.add(&image, &map, Some(&mask));
        let report = pixels.report().unwrap();
        assert_eq!((report.regions, report.defective, report.normal), (2, 3, 5));
        // 8 and 4 are above four of the five others each, 1 is above one.
        assert!((report.auroc - 9.0 / 15.0).abs() < 1e-12);
        // Nothing is found up to a rate of 1/5, then (1 + 1/2) / 2 up to 4/5.
        assert!((report.region_overlap - 0.75 * 0.1 / 0.3).abs() < 1e-12);
    }

    #[test]
    fn regions_touch_at_corners_and_not_around_borders() {
        let flags = [true, false, false, false, true, false, false, false, true];
        assert_eq!(regions(&flags, 3).len(), 1);
        assert_eq!(regions(&[true, false, true, false, false, false], 3).len(), 2);
        assert_eq!(regions(&[false, false, true, true, false, false], 3).len(), 2);
    }

    #[test]
    fn bins_keep_the_order_of_values() {
        let values = [
            f32::NEG_INFINITY,
            -2.0,
            -0.5,
            0.0,
            1e-3,
            1.0,
            1.01,
            300.0,
            f32::INFINITY,
        ];
        assert!(values.windows(2).all(|pair| bin(pair[0]) < bin(pair[1])));
    }
}
