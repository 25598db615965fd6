//! Labels that were not given, on the page.

use std::fmt::Write;

use super::{chart, escape, figure};
use crate::cli::evaluate::rejection::RejectionReport;

/// What each reason rejects, and accuracy against coverage.
pub(super) fn section(html: &mut String, report: &RejectionReport) {
    *html += "<h2>A label, or a reason to give none</h2><p>Each of the two reasons may reject the stated share of ordinary images. An \
              outlier has no right label.</p><div class=\"wide\"><table><tr><th></th><th>images</th><th>each at</th><th>labelled</th>\
              <th>ambiguous</th><th>none of these</th><th>accuracy of labels</th></tr>";
    for set in &report.sets {
        for shares in &set.at {
            let accuracy = shares.accuracy.map_or_else(
                || "–".to_owned(),
                |accuracy| format!("{:.2} %", 100.0 * accuracy),
            );
            let _ = write!(
                html,
                "<tr><td>{}</td><td>{}</td><td>{:.1} %</td><td>{:.2} %</td><td>{:.2} %</td><td>{:.2} %</td><td>{accuracy}</td></tr>",
                escape(&set.name),
                set.images,
                100.0 * shares.false_alarm_rate,
                100.0 * shares.labelled,
                100.0 * shares.ambiguous,
                100.0 * shares.none_of_these
            );
        }
    }
    *html += "</table></div>";
    if report.curves.is_empty() {
        return;
    }
    let curves: Vec<(&str, &[(f64, f64)])> = report
        .curves
        .iter()
        .map(|curve| (curve.name, curve.points.as_slice()))
        .collect();
    *html += &figure(
        &chart::coverage(&curves),
        "Accuracy of the labels given against the share of images that get one, the surest first. Outliers count as wrong wherever they get a label.",
    );
}
