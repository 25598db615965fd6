//! Accuracy against coverage: what is gained by answering only where one is sure (El-Yaniv and Wiener 2010).

/// A share of images that are answered, and the share of these answers that are right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Answered images among all.
    pub coverage: f64,
    /// Right answers among those given.
    pub accuracy: f64,
}

/// The curve of images given as how sure one is of the answer and whether it is right: for every degree of sureness the
/// images that have at least that, the surest first. Images that one is equally sure of are answered together. A
/// sureness that is not a number is the least.
pub fn curve(images: &[(f64, bool)]) -> Vec<Point> {
    let mut ordered: Vec<(f64, bool)> = images
        .iter()
        .map(|&(sureness, right)| {
            let sureness = if sureness.is_nan() { f64::NEG_INFINITY } else { sureness };
            (sureness, right)
        })
        .collect();
    ordered.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut points = Vec::new();
    let (mut answered, mut right) = (0usize, 0usize);
    for group in ordered.chunk_by(|a, b| a.0 == b.0) {
        answered += group.len();
        right += group.iter().filter(|(_, right)| *right).count();
        points.push(Point {
            coverage: answered as f64 / images.len() as f64,
            accuracy: right as f64 / answered as f64,
        });
    }
    points
}

/// The accuracy at the largest coverage of at most `coverage`; `None` if even the surest images are more than that.
pub fn accuracy_at(curve: &[Point], coverage: f64) -> Option<f64> {
    let place = curve.partition_point(|point| point.coverage <= coverage);
    place.checked_sub(1).map(|last| curve[last].accuracy)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn a_small_case_by_hand() {
        let images = [(0.9, true), (0.5, false), (0.7, true), (0.5, true)];
        let points = curve(&images);
        let pairs: Vec<(f64, f64)> = points.iter().map(|p| (p.coverage, p.accuracy)).collect();
        assert_eq!(pairs, [(0.25, 1.0), (0.5, 1.0), (1.0, 0.75)]);
        assert_eq!(accuracy_at(&points, 0.99), Some(1.0));
        assert_eq!(accuracy_at(&points, 0.1), None);
        assert!(curve(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn it_grows_to_everything(images in vec((0u8..20, any::<bool>()), 1..200)) {
            let images: Vec<(f64, bool)> = images.into_iter().map(|(s, r)| (f64::from(s), r)).collect();
            let points = curve(&images);
            prop_assert!(points.windows(2).all(|pair| pair[0].coverage < pair[1].coverage));
            let last = points.last().unwrap();
            let right = images.iter().filter(|(_, right)| *right).count();
            prop_assert_eq!(last.coverage, 1.0);
            prop_assert_eq!(last.accuracy, right as f64 / images.len() as f64);
        }

        #[test]
        fn only_the_order_of_sureness_counts(images in vec((-5.0f64..5.0, any::<bool>()), 1..50)) {
            let squeezed: Vec<(f64, bool)> = images.iter().map(|&(s, r)| (s.exp(), r)).collect();
            prop_assert_eq!(curve(&images), curve(&squeezed));
        }
    }
}
