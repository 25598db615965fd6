//! Ranks among inliers, which go on beyond the last of them.

/// Values of inliers in ascending order. Single precision: they are written to files, and a value is rounded before it
/// is compared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tail(Vec<f32>);

/// The share of the rank images above which a tail is extended as an exponential.
const TAIL_SHARE: f64 = 0.05;

impl Tail {
    /// Takes values in any order.
    pub fn new(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f32> = values.map(|value| value as f32).collect();
        values.sort_by(f32::total_cmp);
        Self(values)
    }

    /// The values in ascending order.
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    /// (1 + #{vᵢ ≥ v}) / (n + 1).
    pub fn upper(&self, value: f64) -> f64 {
        let value = value as f32;
        let below = self.0.partition_point(|&v| v < value);
        (1 + self.0.len() - below) as f64 / (self.0.len() + 1) as f64
    }

    /// min(1, 2 min(upper, lower)).
    pub fn two_sided(&self, value: f64) -> f64 {
        let up_to = self.0.partition_point(|&v| v <= value as f32);
        let lower = (1 + up_to) as f64 / (self.0.len() + 1) as f64;
        (2.0 * lower.min(self.upper(value))).min(1.0)
    }

    /// −log of the upper tail, which beyond the outermost 5 % of the values goes on as an exponential with their mean
    /// excess: ranks alone end at 1/(n + 1) and could not tell strange from stranger.
    pub fn evidence(&self, value: f64) -> f64 {
        let count = self.0.len();
        let start = ((1.0 - TAIL_SHARE) * count as f64) as usize;
        let rank = -self.upper(value).ln();
        let Some(&threshold) = self.0.get(start) else {
            return rank;
        };
        let threshold = f64::from(threshold);
        if value <= threshold {
            return rank;
        }
        let beyond = self.0[start..].iter().map(|&v| f64::from(v) - threshold);
        let (sum, number) = beyond
            .filter(|&excess| excess > 0.0)
            .fold((0.0, 0usize), |(sum, n), excess| (sum + excess, n + 1));
        // Where all agree, any difference is strange.
        let mean = (sum / number.max(1) as f64).max(1e-9 * threshold.abs() + 1e-12);
        -TAIL_SHARE.ln() + (value - threshold) / mean
    }
}
