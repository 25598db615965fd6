//! The standard normal distribution in logarithms, which stay exact where the numbers themselves underflow.

use std::f64::consts::{FRAC_1_SQRT_2, TAU};

/// log(Φ(upper) − Φ(lower)), the probability of an interval of the standard normal distribution; ends may be infinite.
///
/// There is no cancellation, however far out in a tail or however narrow the interval is.
pub(super) fn log_interval(lower: f64, upper: f64) -> f64 {
    if lower > 0.0 {
        // Q(l) − Q(u) = Q(l) (1 − e^(log Q(u) − log Q(l))).
        let (near, far) = (log_tail(lower), log_tail(upper));
        return near + (-(far - near).exp_m1()).ln();
    }
    if upper < 0.0 {
        return log_interval(-upper, -lower);
    }
    let width = upper - lower;
    if width < 1e-4 {
        // The density is flat about its mode: what is left out is below width² / 24 of it.
        return -0.5 * TAU.ln() + width.ln();
    }
    (-(log_tail(upper).exp() + log_tail(-lower).exp())).ln_1p()
}

/// log Q(x) = log P(Z > x) for x ≥ 0.
fn log_tail(x: f64) -> f64 {
    /// From here on the continued fraction has converged long before its end.
    const FAR: f64 = 5.0;
    const TERMS: u32 = 60;
    if x < FAR || x.is_nan() {
        return (0.5 * libm::erfc(x * FRAC_1_SQRT_2)).ln();
    }
    if x.is_infinite() {
        return f64::NEG_INFINITY;
    }
    // Q(x) = φ(x) / (x + 1 / (x + 2 / (x + 3 / …))) (Laplace).
    let fraction = (1..=TERMS).rev().fold(x, |below, n| x + f64::from(n) / below);
    -0.5 * (x * x + TAU.ln()) - fraction.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of `torch.special.log_ndtr`, of −x.
    #[test]
    fn tails_are_those_of_a_library() {
        for (x, expected) in [
            (0.0, -std::f64::consts::LN_2),
            (1.0, -1.841_021_645_009_264),
            (4.999, -15.059_812_373_671_578),
            (5.0, -15.064_998_393_988_727),
            (40.0, -804.608_442_013_753_9),
        ] {
            let actual = log_tail(x);
            assert!(
                (actual - expected).abs() <= 1e-11 * expected.abs(),
                "{x}: {actual} {expected}"
            );
        }
    }

    #[test]
    fn parts_of_the_line_sum_to_one() {
        for step in [0.003, 0.4, 7.0] {
            let ends = |i: i32| match i {
                -500 => f64::NEG_INFINITY,
                500 => f64::INFINITY,
                i => (f64::from(i) + 0.3) * step,
            };
            let total: f64 = (-500..500).map(|i| log_interval(ends(i), ends(i + 1)).exp()).sum();
            assert!((total - 1.0).abs() < 1e-9, "{step}: {total}");
        }
    }

    #[test]
    fn narrow_and_far_intervals_keep_their_digits() {
        let density = |x: f64| -0.5 * (x * x + TAU.ln());
        for (middle, width) in [(0.0, 1e-9), (3e-9, 1e-8), (0.5, 1e-7), (-30.0, 1e-6), (80.0, 1e-6)] {
            let actual = log_interval(middle - width / 2.0, middle + width / 2.0);
            let expected = density(middle) + f64::ln(width);
            assert!((actual - expected).abs() < 1e-5, "{middle}: {actual} {expected}");
        }
        assert!(log_interval(f64::NAN, 1.0).is_nan());
    }
}
