//! The report as plain text, for a terminal.

use crate::detection::evaluation::{
    ClassificationReport, DensityReport, DetectionReport, ReconstructionReport, RejectionReport, Report,
    false_alarms::FalseAlarms,
    figures::{Figures, OfLabel},
};

/// Images that failed and are named; the report in JSON names all.
const NAMED: usize = 5;

/// Everything.
pub(super) fn report(own: &Report) -> String {
    let mut text = format!(
        "{} version {} ({}), {} images\n",
        own.model, own.version, own.family, own.images
    );
    for warning in &own.warnings {
        text += &format!("warning: {warning}\n");
    }
    text += &failures(own);
    for own in [&own.density, &own.density_given_label].into_iter().flatten() {
        text += &density(own);
    }
    text += &own.classification.as_ref().map_or_else(String::new, classification);
    text += &own.reconstruction.as_ref().map_or_else(String::new, reconstruction);
    text += &own.rejection.as_ref().map_or_else(String::new, rejection);
    text += &own.detection.as_ref().map_or_else(String::new, detection);
    text
}

fn failures(own: &Report) -> String {
    if own.failed.is_empty() {
        return String::new();
    }
    let mut text = format!("{} images could not be measured and are left out:\n", own.failed.len());
    for failure in own.failed.iter().take(NAMED) {
        text += &format!("  {failure}\n");
    }
    if own.failed.len() > NAMED {
        text += &format!("  and {} more\n", own.failed.len() - NAMED);
    }
    text
}

fn density(own: &DensityReport) -> String {
    let mut text = format!("\n{}\n", own.title());
    if let Some(warning) = own.warning() {
        text += &format!("{warning}\n");
    }
    let Some(likelihoods) = &own.likelihoods else {
        return text;
    };
    let (nats, bits) = (&likelihoods.log_likelihood_nats, &likelihoods.bits_per_dim);
    text += &header(nats);
    text += &row(nats, "log-likelihood, nats", 1);
    text += &row(bits, "bits/dim", 4);
    text += &format!(
        "{:<21} {:>10.4} {:>9}\n",
        "perplexity",
        likelihoods.perplexity.value,
        error(likelihoods.perplexity.standard_error, 5)
    );
    for (name, extreme) in [
        ("least likely", &likelihoods.least_likely),
        ("most likely", &likelihoods.most_likely),
    ] {
        text += &format!(
            "{name:<21} image {} ({}): {:.1} nats\n",
            extreme.index, extreme.input, extreme.log_likelihood_nats
        );
    }
    if let Some(size) = likelihoods.mean_effective_sample_size {
        text += &format!("{:<21} {size:>10.2}\n", "effective samples");
    }
    text + &by_label("bits/dim by label", &likelihoods.bits_per_dim_by_label, 4)
}

fn classification(own: &ClassificationReport) -> String {
    let [low, high] = own.accuracy_interval;
    let mut text = format!(
        "\np(y|x)\n{:<21} {:>10.4}  95 % interval {low:.4} to {high:.4}, {} of {} right\n",
        "accuracy", own.accuracy, own.right, own.images
    );
    text += &format!(
        "{:<21} {:>10.4}  {} bins\n",
        "calibration error",
        own.expected_calibration_error,
        own.reliability.len()
    );
    if let Some(warning) = own.warning() {
        text += &format!("{warning}\n");
    }
    if let Some(figures) = &own.log_posterior_nats {
        text += &header(figures);
        text += &row(figures, "log p(y|x), nats", 4);
    }
    text + &confusion(own)
}

fn confusion(own: &ClassificationReport) -> String {
    if !own.has_few_labels() {
        let pairs = own.most_confused().into_iter();
        let rows = pairs.map(|[label, answer, images]| format!("{label:<32} {answer:<32} {images:>6}\n"));
        let header = format!("\n{:<32} {:<32} {:>6}\n", "label", "most often taken for", "images");
        return header + &rows.collect::<String>();
    }
    let numbers =
        |cells: &mut dyn Iterator<Item = String>| -> String { cells.map(|cell| format!(" {cell:>6}")).collect() };
    let count = own.labels.len();
    let header = numbers(&mut (0..count).map(|label| label.to_string()));
    let mut text = format!("\n{:<21}{header}\n", "label \\ answer");
    for (place, (name, row)) in own.labels.iter().zip(&own.confusion).enumerate() {
        let name = format!("{place} {name}");
        let cells = numbers(&mut row.iter().map(usize::to_string));
        text += &format!("{name:<21}{cells}\n");
    }
    text
}

fn reconstruction(own: &ReconstructionReport) -> String {
    let title = "\nreconstruction, in units of level / (levels − 1)\n";
    let errors = &own.mean_squared_error;
    let labels = by_label("squared error by label", &own.mean_squared_error_by_label, 5);
    [title, &header(errors), &row(errors, "mean squared error", 5), &labels].concat()
}

fn rejection(own: &RejectionReport) -> String {
    let mut text = format!(
        "\na label, or a reason to give none\n{:<21} {:>8} {:>11} {:>9} {:>10} {:>14} {:>9}\n",
        "", "images", "each at", "labelled", "ambiguous", "none of these", "accuracy"
    );
    for set in &own.sets {
        for shares in &set.at {
            let accuracy = shares
                .accuracy
                .map_or_else(|| "–".to_owned(), |accuracy| format!("{accuracy:.4}"));
            text += &format!(
                "{:<21} {:>8} {:>9.1} % {:>9.4} {:>10.4} {:>14.4} {accuracy:>9}\n",
                set.name,
                set.images,
                100.0 * shares.false_alarm_rate,
                shares.labelled,
                shares.ambiguous,
                shares.none_of_these,
            );
        }
    }
    if !own.curves.is_empty() {
        text += &format!(
            "\n{:<40} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
            "accuracy at coverage", "50 %", "80 %", "90 %", "95 %", "100 %"
        );
    }
    for curve in &own.curves {
        let cells: String = curve
            .accuracy_at
            .iter()
            .map(|(_, accuracy)| match accuracy {
                Some(accuracy) => format!(" {accuracy:>9.4}"),
                None => format!(" {:>9}", "–"),
            })
            .collect();
        text += &format!("{:<40}{cells} {:>9.4}\n", curve.name, curve.accuracy_of_all);
    }
    text
}

fn detection(own: &DetectionReport) -> String {
    let mut text = format!(
        "\ndetection: {} inliers, calibrated with {}\n\nfalse alarms\n",
        own.inliers, own.calibration_size
    );
    for alarms in &own.false_alarms {
        let kind = alarms
            .confidence
            .map_or("on average".to_owned(), |c| format!("with {} % confidence", 100.0 * c));
        text += &format!(
            "  {} % {kind}: {} of {} rejected, {:.2} %{}\n",
            100.0 * alarms.rate,
            alarms.rejected,
            own.inliers,
            100.0 * alarms.measured_rate,
            alarms.predicted.map_or(String::new(), |[low, high]| {
                let outside = if alarms.is_outside() { ": OUTSIDE" } else { "" };
                format!(", predicted {:.2} to {:.2} %{outside}", 100.0 * low, 100.0 * high)
            })
        );
        text += &of_labels(alarms);
    }
    if own.sets.is_empty() {
        return text;
    }
    let columns: Vec<String> = own
        .false_alarms
        .iter()
        .map(|alarms| {
            format!(
                "at {} %{}",
                100.0 * alarms.rate,
                if alarms.confidence.is_some() { "*" } else { "" }
            )
        })
        .collect();
    text += &format!(
        "\n{:<20} {:>6} {:>7} {:>15} {:>7} {:>8} {:>7} {:>7}  {}\n",
        "outliers",
        "images",
        "AUROC",
        "95 % interval",
        "AUPR-in",
        "AUPR-out",
        "FPR@95",
        "FPR@80",
        columns.iter().map(|c| format!("{c:>7}")).collect::<Vec<_>>().join(" ")
    );
    for set in &own.sets {
        let c = &set.combined;
        let detected: Vec<String> = set.detection.iter().map(|d| format!("{:>7.4}", d.detected)).collect();
        text += &format!(
            "{:<20} {:>6} {:>7.4} {:>15} {:>7.4} {:>8.4} {:>7.4} {:>7.4}  {}\n",
            set.name,
            set.images,
            c.auroc,
            format!("{:.4}–{:.4}", c.auroc_interval[0], c.auroc_interval[1]),
            c.aupr_in,
            c.aupr_out,
            c.fpr_at_95,
            c.fpr_at_80,
            detected.join(" ")
        );
    }
    if let Some(pixels) = &own.pixels {
        text += &format!(
            "\npixels of {} masks ({} regions): AUROC {:.4}, overlap of regions up to a false-positive rate of 30 % \
             {:.4}\n",
            pixels.masked_images, pixels.regions, pixels.auroc, pixels.region_overlap
        );
    }
    text += "\nThe last columns are the shares of outliers rejected at each false-alarm rate, * with confidence.\n";
    text
}

/// What became of the inliers of every label, where labels calibrate one by one.
fn of_labels(alarms: &FalseAlarms) -> String {
    let rates = || alarms.labels.iter().map(|own| 100.0 * own.measured_rate);
    if alarms.labels.is_empty() {
        return String::new();
    }
    format!(
        "    label by label: {:.2} to {:.2} %, of {} labels {} outside what was predicted\n",
        rates().fold(f64::INFINITY, f64::min),
        rates().fold(0.0, f64::max),
        alarms.labels.len(),
        alarms.labels_outside()
    )
}

/// The row above [`row`]s.
fn header(own: &Figures) -> String {
    let shares: String = own
        .quantiles
        .iter()
        .map(|quantile| format!(" {:>9}", format!("{:.0} %", 100.0 * quantile.share)))
        .collect();
    format!(
        "{:<21} {:>10} {:>9} {:>10}{shares} {:>10}\n",
        "", "mean", "error", "minimum", "maximum"
    )
}

/// A row of the table.
fn row(own: &Figures, name: &str, decimals: usize) -> String {
    let quantiles: String = own
        .quantiles
        .iter()
        .map(|quantile| format!(" {:>9}", number(quantile.value, decimals)))
        .collect();
    format!(
        "{name:<21} {:>10} {:>9} {:>10}{quantiles} {:>10}\n",
        number(own.mean, decimals),
        error(own.standard_error, decimals + 1),
        number(own.minimum, decimals),
        number(own.maximum, decimals)
    )
}

/// The table of means by label.
fn by_label(title: &str, rows: &[OfLabel], decimals: usize) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{title:<21} {:>10} {:>9} {:>10}\n", "mean", "error", "images");
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

/// A number without the sign of a zero that was rounded to.
pub(super) fn number(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(zero) if zero.bytes().all(|byte| matches!(byte, b'0' | b'.')) => zero.to_owned(),
        _ => text,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_has_no_sign_and_one_image_no_error() {
        assert_eq!(number(-0.000_01, 3), "0.000");
        assert_eq!(number(-0.01, 3), "-0.010");
        assert_eq!(number(f64::NEG_INFINITY, 3), "-inf");
        assert_eq!(error(f64::NAN, 2), "–");
    }
}
