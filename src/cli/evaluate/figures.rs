//! One quantity over many images, as JSON and as a row of a table.

use serde::Serialize;

use crate::domain::summary::Summary;

/// Shares below the quantiles that are reported.
const SHARES: [f64; 7] = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99];

/// What a quantity comes to over images.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) mean: f64,
    /// Of the mean, over images.
    pub(super) standard_error: f64,
    pub(super) standard_deviation: f64,
    pub(super) median: f64,
    pub(super) minimum: f64,
    pub(super) maximum: f64,
    pub(super) quantiles: Vec<Quantile>,
}

/// The value below which a share of the images lies.
#[derive(Debug, Serialize)]
pub(super) struct Quantile {
    pub(super) share: f64,
    pub(super) value: f64,
}

/// The mean over the images of one label.
#[derive(Debug, Serialize)]
pub(super) struct OfLabel {
    pub(super) label: String,
    pub(super) images: usize,
    pub(super) mean: f64,
    pub(super) standard_error: f64,
}

impl Figures {
    pub(super) fn of(summary: &Summary) -> Self {
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

    /// The row above [`Self::row`]s.
    pub(super) fn header() -> String {
        let shares: String = SHARES
            .iter()
            .map(|share| format!(" {:>9}", format!("{:.0} %", 100.0 * share)))
            .collect();
        format!(
            "{:<21} {:>10} {:>9} {:>10}{shares} {:>10}\n",
            "", "mean", "error", "minimum", "maximum"
        )
    }

    /// A row of the table.
    pub(super) fn row(&self, name: &str, decimals: usize) -> String {
        let quantiles: String = self
            .quantiles
            .iter()
            .map(|quantile| format!(" {:>9.decimals$}", quantile.value))
            .collect();
        format!(
            "{name:<21} {:>10.decimals$} {:>9} {:>10.decimals$}{quantiles} {:>10.decimals$}\n",
            self.mean,
            error(self.standard_error, decimals + 1),
            self.minimum,
            self.maximum
        )
    }
}

/// A standard error, which one image alone does not have.
pub(super) fn error(value: f64, decimals: usize) -> String {
    if value.is_nan() {
        "–".to_owned()
    } else {
        format!("{value:.decimals$}")
    }
}

/// The means of the finite `values` by label; labels without any are left out.
pub(super) fn by_label(values: &[f64], labels: &[usize], names: &[String]) -> Vec<OfLabel> {
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

/// The table of means by label.
pub(super) fn by_label_text(title: &str, rows: &[OfLabel], decimals: usize) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\n{title:<21} {:>10} {:>9} {:>10}\n",
        "mean", "error", "images"
    );
    for row in rows {
        text += &format!(
            "  {:<19} {:>10.decimals$} {:>9} {:>10}\n",
            row.label,
            row.mean,
            error(row.standard_error, decimals + 1),
            row.images
        );
    }
    text
}
