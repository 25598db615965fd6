//! One quantity over many images.

use serde::Serialize;

use crate::domain::summary::Summary;

/// Shares below the quantiles that are reported.
const SHARES: [f64; 7] = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99];

/// What a quantity comes to over images.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// Its mean.
    pub mean: f64,
    /// Of the mean, over images.
    pub standard_error: f64,
    /// Over images.
    pub standard_deviation: f64,
    /// The value in the middle.
    pub median: f64,
    /// The least.
    pub minimum: f64,
    /// The greatest.
    pub maximum: f64,
    /// From low to high.
    pub quantiles: Vec<Quantile>,
}

/// The value below which a share of the images lies.
#[derive(Debug, Serialize)]
pub struct Quantile {
    /// The share, at most 1.
    pub share: f64,
    /// The value.
    pub value: f64,
}

/// The mean over the images of one label.
#[derive(Debug, Serialize)]
pub struct OfLabel {
    /// Its name.
    pub label: String,
    /// Images that have it.
    pub images: usize,
    /// Their mean.
    pub mean: f64,
    /// Of the mean.
    pub standard_error: f64,
}

impl Figures {
    /// From a summary.
    pub fn of(summary: &Summary) -> Self {
        Self {
            mean: summary.mean,
            standard_error: summary.standard_error,
            standard_deviation: summary.standard_deviation,
            median: summary.quantile(0.5),
            minimum: summary.minimum.1,
            maximum: summary.maximum.1,
            quantiles: SHARES
                .map(|share| Quantile {
                    share,
                    value: summary.quantile(share),
                })
                .into(),
        }
    }
}

/// The means of the finite `values` by label; labels without any are left out.
pub fn by_label(values: &[f64], labels: &[usize], names: &[String]) -> Vec<OfLabel> {
    let mut groups = vec![Vec::new(); names.len()];
    for (value, &label) in values.iter().zip(labels) {
        groups[label].push(*value);
    }
    groups
        .iter()
        .zip(names)
        .filter_map(|(values, name)| {
            let summary = Summary::of(values)?;
            Some(OfLabel {
                label: name.clone(),
                images: values.len(),
                mean: summary.mean,
                standard_error: summary.standard_error,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_those_of_the_labels() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let rows = by_label(&[1.0, 5.0, 3.0, f64::INFINITY], &[0, 1, 0, 2], &names);
        let found: Vec<_> = rows.iter().map(|row| (&*row.label, row.mean)).collect();
        assert_eq!(found, [("a", 2.0), ("b", 5.0)]);
    }
}
