//! Labels on the page.

use std::fmt::Write;

use super::{chart, escape, figure, quantities, warning};
use crate::cli::evaluate::classification::ClassificationReport;

/// Accuracy, calibration and confusion.
pub(super) fn section(html: &mut String, report: &ClassificationReport) {
    let [low, high] = report.accuracy_interval;
    let _ = write!(
        html,
        "<h2>Classification</h2><p>Accuracy <b>{:.2} %</b>, 95 % interval {:.2} to {:.2} %. Expected calibration error <b>{:.4}</b>.</p>",
        100.0 * report.accuracy,
        100.0 * low,
        100.0 * high,
        report.expected_calibration_error
    );
    warning(html, report.warning());
    if let Some(figures) = &report.log_posterior_nats {
        quantities(html, &[("log p(y|x), nats", figures, 4)], &[]);
    }
    let bins: Vec<(usize, f64, f64)> = report
        .reliability
        .iter()
        .map(|bin| (bin.images, bin.mean_confidence, bin.accuracy))
        .collect();
    *html += &figure(
        &chart::reliability(&bins),
        "Accuracy over confidence; the red part is the gap to the diagonal. Below, the share of images in each bin.",
    );
    confusion(html, report);
}

fn confusion(html: &mut String, report: &ClassificationReport) {
    *html += "<h3>Confusion</h3><p class=\"soft\">Rows are the labels of the images, columns the answers; shades are shares of a row.</p>\
              <div class=\"wide\"><table class=\"confusion\"><tr><th></th>";
    for name in &report.labels {
        let _ = write!(html, "<th>{}</th>", escape(name));
    }
    *html += "<th>right</th></tr>";
    for (place, (name, row)) in report.labels.iter().zip(&report.confusion).enumerate() {
        let images = row.iter().sum::<usize>().max(1) as f64;
        let _ = write!(html, "<tr><th>{}</th>", escape(name));
        for (answer, &count) in row.iter().enumerate() {
            let colour = if answer == place { "blue" } else { "red" };
            let _ = write!(
                html,
                "<td style=\"--share:{:.3};--shade:var(--{colour})\">{count}</td>",
                count as f64 / images
            );
        }
        let _ = write!(
            html,
            "<td style=\"--share:0;--shade:var(--blue)\">{:.1} %</td></tr>",
            100.0 * row[place] as f64 / images
        );
    }
    *html += "</table></div>";
}
