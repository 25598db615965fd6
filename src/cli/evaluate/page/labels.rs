//! Labels on the page, and labels that were not given.

use maud::{Markup, html};

use super::{
    chart, figure,
    table::{self, percent},
};
use crate::detection::evaluation::{ClassificationReport, RejectionReport};

/// Whether confidence is deserved, and which labels are confused.
pub(super) fn charts(report: &ClassificationReport) -> Markup {
    let bins: Vec<(usize, f64, f64)> = report
        .reliability
        .iter()
        .map(|bin| (bin.images, bin.mean_confidence, bin.accuracy))
        .collect();
    html! {
        h2 { "Labels" }
        div.charts {
            (figure(
                &chart::reliability(&bins),
                "Accuracy over confidence; the red part is the gap to the diagonal. Below, the share of images in each \
                 bin.",
            ))
            @if report.has_few_labels() {
                (figure(
                    &chart::confusion(&report.labels, &report.confusion),
                    "Labels of the images (rows) and answers (columns); shades grow with the share of a row.",
                ))
            }
        }
        @if !report.has_few_labels() {
            p { "The pairs of labels that are confused most often." }
            (table::table(
                &["label", "taken for", "images"].map(str::to_owned),
                &report.most_confused().into_iter().map(Vec::from).collect::<Vec<_>>(),
            ))
        }
    }
}

/// Accuracy in figures.
pub(super) fn table(report: &ClassificationReport) -> Markup {
    let [low, high] = report.accuracy_interval;
    html! {
        h2 { "Classification" }
        p {
            "Accuracy " b { (percent(report.accuracy)) } ", 95 % interval " (percent(low)) " to " (percent(high)) ". "
            "Expected calibration error " b { (format!("{:.4}", report.expected_calibration_error)) } "."
        }
        @if let Some(warning) = report.warning() { p.warning { (warning) "." } }
        @if let Some(figures) = &report.log_posterior_nats {
            (table::quantities(&[("log p(y|x), nats", figures, 4)], &[]))
        }
    }
}

/// Accuracy against coverage.
pub(super) fn coverage(report: &RejectionReport) -> Markup {
    if report.curves.is_empty() {
        return html! {};
    }
    let curves: Vec<(&str, &[(f64, f64)])> = report
        .curves
        .iter()
        .map(|curve| (curve.name, curve.points.as_slice()))
        .collect();
    html! {
        h2 { "Labels that are not given" }
        div.charts {
            (figure(
                &chart::coverage(&curves),
                "Accuracy of the labels given against the share of images that get one, the surest first. Outliers \
                 count as wrong wherever they get a label.",
            ))
        }
    }
}

/// What each reason rejects.
pub(super) fn rejection(report: &RejectionReport) -> Markup {
    let columns = [
        "",
        "images",
        "each at",
        "labelled",
        "ambiguous",
        "none of these",
        "accuracy of labels",
    ];
    let mut rows = Vec::new();
    for set in &report.sets {
        for shares in &set.at {
            rows.push(vec![
                set.name.clone(),
                set.images.to_string(),
                format!("{:.1} %", 100.0 * shares.false_alarm_rate),
                percent(shares.labelled),
                percent(shares.ambiguous),
                percent(shares.none_of_these),
                shares.accuracy.map_or_else(|| "–".to_owned(), percent),
            ]);
        }
    }
    html! {
        h2 { "A label, or a reason to give none" }
        p.soft { "Each of the two reasons may reject the stated share of ordinary images. An outlier has no right \
            label." }
        (table::table(&columns.map(str::to_owned), &rows))
    }
}
