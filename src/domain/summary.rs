//! What a set of numbers comes to: mean, spread, quantiles, extremes.

/// A summary of the finite numbers of a set. The others are counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Finite numbers.
    pub count: usize,
    /// Numbers that are infinite or none, and are left out of everything else.
    pub left_out: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// With n − 1 in the denominator; NaN for a single number.
    pub standard_deviation: f64,
    /// Of the mean: standard deviation / √n.
    pub standard_error: f64,
    /// The place of the smallest number in the set and the number itself.
    pub minimum: (usize, f64),
    /// The place of the largest number in the set and the number itself.
    pub maximum: (usize, f64),
    sorted: Vec<f64>,
}

impl Summary {
    /// The summary of `values`; `None` if none of them is finite.
    pub fn of(values: &[f64]) -> Option<Self> {
        let finite = || {
            let indexed = values.iter().copied().enumerate();
            indexed.filter(|(_, value)| value.is_finite())
        };
        let minimum = finite().min_by(|a, b| a.1.total_cmp(&b.1))?;
        let maximum = finite().max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))?;
        let mut sorted: Vec<f64> = finite().map(|(_, value)| value).collect();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let n = count as f64;
        // The first pass leaves a rounding error, which the mean of the deviations takes away.
        let first = sorted.iter().sum::<f64>() / n;
        let mean = first + sorted.iter().map(|value| value - first).sum::<f64>() / n;
        let squares: f64 = sorted.iter().map(|value| (value - mean).powi(2)).sum();
        let standard_deviation = if count < 2 {
            f64::NAN
        } else {
            (squares / (n - 1.0)).sqrt()
        };
        Some(Self {
            count,
            left_out: values.len() - count,
            mean,
            standard_deviation,
            standard_error: standard_deviation / n.sqrt(),
            minimum,
            maximum,
            sorted,
        })
    }

    /// The number below which a share of the set lies, for shares from 0 to 1, with straight lines between neighbours
    /// (type 7 of Hyndman and Fan 1996).
    pub fn quantile(&self, share: f64) -> f64 {
        let place = share.clamp(0.0, 1.0) * (self.count - 1) as f64;
        let below = self.sorted[place.floor() as usize];
        let above = self.sorted[place.ceil() as usize];
        (below + (above - below) * place.fract()).min(above)
    }
}

/// exp of a mean, and its standard error to first order (the delta method): exp(m) and exp(m) · error.
pub fn exp_of_mean(mean: f64, standard_error: f64) -> (f64, f64) {
    (mean.exp(), mean.exp() * standard_error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_small_case_by_hand() {
        let summary = Summary::of(&[4.0, 1.0, f64::NEG_INFINITY, 3.0, 2.0]).unwrap();
        assert_eq!((summary.count, summary.left_out), (4, 1));
        assert_eq!(summary.mean, 2.5);
        assert!((summary.standard_deviation - (5.0_f64 / 3.0).sqrt()).abs() < 1e-15);
        assert!((summary.standard_error - (5.0_f64 / 12.0).sqrt()).abs() < 1e-15);
        assert_eq!(summary.minimum, (1, 1.0));
        assert_eq!(summary.maximum, (0, 4.0));
        assert_eq!(summary.quantile(0.5), 2.5);
        assert!((summary.quantile(0.9) - 3.7).abs() < 1e-12);
    }

    #[test]
    fn one_number_has_no_spread_and_none_no_summary() {
        let one = Summary::of(&[7.0]).unwrap();
        assert!(one.standard_error.is_nan() && one.quantile(0.3) == 7.0);
        assert_eq!(Summary::of(&[f64::NEG_INFINITY]), None);
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn the_first_of_equals_is_the_extreme() {
        let summary = Summary::of(&[1.0, 2.0, 1.0, 2.0]).unwrap();
        assert_eq!((summary.minimum.0, summary.maximum.0), (0, 1));
    }

    proptest! {
        #[test]
        fn shifting_and_scaling_do_as_they_should(
            values in prop::collection::vec(-1e3..1e3_f64, 2..60),
            shift in -1e3..1e3_f64,
            scale in 0.1..10.0_f64,
        ) {
            let moved: Vec<f64> = values.iter().map(|value| scale * value + shift).collect();
            let (one, other) = (Summary::of(&values).unwrap(), Summary::of(&moved).unwrap());
            prop_assert!((other.mean - (scale * one.mean + shift)).abs() < 1e-8);
            prop_assert!((other.standard_error - scale * one.standard_error).abs() < 1e-8);
            prop_assert!((other.quantile(0.3) - (scale * one.quantile(0.3) + shift)).abs() < 1e-8);
            prop_assert_eq!(other.minimum.0, one.minimum.0);
        }

        #[test]
        fn quantiles_rise_between_the_extremes(values in prop::collection::vec(-1e3..1e3_f64, 1..60)) {
            let summary = Summary::of(&values).unwrap();
            prop_assert_eq!(summary.quantile(0.0), summary.minimum.1);
            prop_assert_eq!(summary.quantile(1.0), summary.maximum.1);
            for percent in 0..100 {
                let at = |percent: i32| summary.quantile(f64::from(percent) / 100.0);
                prop_assert!(at(percent) <= at(percent + 1));
            }
        }
    }

    #[test]
    fn the_delta_method_is_the_derivative() {
        let (value, error) = exp_of_mean(1.5, 1e-6);
        assert!(((1.5_f64 + 1e-6).exp() - value - error).abs() < 1e-11);
    }
}
