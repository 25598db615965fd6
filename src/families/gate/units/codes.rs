//! Posteriors over codes beside codes that are known: those of images that a model draws itself.

use super::Suspicion;

/// Draws of a code's number that tell how far it lies from the means of posteriors.
const DRAWS: usize = 32;
/// The share of its variance that the squared distance to the mean of a posterior is on average, and more, unless the
/// posterior is far too wide. Of one that is exact it is 1.
const TOO_WIDE: f64 = 0.4;
/// A posterior narrower than that knows something of the code, whose variance is 1 without an image.
const KNOWN: f64 = 0.5;

/// Looks at posteriors of images that a decoder drew of `codes`. Whatever the images, a posterior that is exact has its
/// code at a squared distance of its variance on average, and one that is not errs by more.
pub(in crate::families) fn width<'a>(
    codes: &[Vec<f32>],
    posteriors: impl Iterator<Item = (&'a [f32], &'a [f32])>,
) -> Option<Suspicion> {
    let (mut squares, mut count) = (0.0, 0);
    let posteriors: Vec<_> = posteriors.collect();
    let variance = |log: f32| f64::from(log).exp();
    for unit in 0..codes.first().map_or(0, Vec::len) {
        let all: f64 = posteriors.iter().map(|(_, logs)| variance(logs[unit])).sum();
        if all / posteriors.len() as f64 > KNOWN {
            continue;
        }
        for (code, (means, logs)) in codes.iter().zip(&posteriors) {
            squares += f64::from(code[unit] - means[unit]).powi(2) / variance(logs[unit]);
            count += 1;
        }
    }
    (count >= DRAWS && squares / (count as f64) < TOO_WIDE).then_some(Suspicion::Wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn posteriors_are_too_wide_where_codes_lie_nearer() {
        let codes: Vec<Vec<f32>> = (0..DRAWS).map(|i| vec![i as f32 / 16.0 - 1.0, 0.3]).collect();
        // One unit is known to within 0.1, of the other nothing is known.
        let mean: Vec<Vec<f32>> = (0..DRAWS)
            .map(|i| vec![codes[i][0] + if i % 2 == 0 { 0.1 } else { -0.1 }, 0.0])
            .collect();
        let of = |log_variance: f32| {
            let spread = [log_variance, 0.0];
            width(&codes, mean.iter().map(|mean| (&mean[..], &spread[..])))
        };
        assert_eq!(of(0.01f32.ln()), None);
        assert_eq!(of(0.1f32.ln()), Some(Suspicion::Wide));
        assert_eq!(of(0.001f32.ln()), None);
        assert_eq!(of(0.6f32.ln()), None, "it knows nothing of the code");
    }
}
