//! Detection on the page.

use std::fmt::Write;

use super::{chart, escape, figure, pictures};
use crate::{
    cli::evaluate::detection::{DetectionReport, Judged, Set},
    domain::image::Image,
    media::MediaError,
};

/// Images shown at either end.
const SHOWN: usize = 16;

/// False alarms, figures of every set and the images at their ends.
pub(super) fn section(
    html: &mut String,
    report: &DetectionReport,
    judged: &[Judged],
) -> Result<(), MediaError> {
    let _ = write!(
        html,
        "<h2>Detection</h2><p>{} inliers that took part in nothing else; calibrated with {} ({}). Larger is stranger. \
         Intervals cover 95 %.</p>",
        report.inliers,
        report.calibration_size,
        escape(&report.calibration),
    );
    false_alarms(html, report);
    if !report.sets.is_empty() {
        overview(html, report);
        statistics(html, report);
    }
    for (set, outliers) in report.sets.iter().zip(&judged[1..]) {
        of_set(html, set, &judged[0], outliers)?;
    }
    *html += "<h3>Inliers</h3>";
    ends(html, &judged[0])
}

fn false_alarms(html: &mut String, report: &DetectionReport) {
    *html += "<h3>False alarms</h3><table><tr><th>promised</th><th>reject p up to</th><th>inliers rejected</th><th>share</th>\
              <th>predicted</th></tr>";
    for alarms in &report.false_alarms {
        let _ = write!(
            html,
            "<tr><td>{} % {}</td><td>{:.5}</td><td>{}</td><td>{:.2} %</td><td>{}</td></tr>",
            100.0 * alarms.rate,
            alarms
                .confidence
                .map_or("on average".to_owned(), |c| format!(
                    "with {} % confidence",
                    100.0 * c
                )),
            alarms.threshold,
            alarms.rejected,
            100.0 * alarms.measured_rate,
            alarms.predicted.map_or("–".to_owned(), |[low, high]| {
                format!("{:.2} to {:.2} %", 100.0 * low, 100.0 * high)
            }),
        );
    }
    *html += "</table>";
}

fn overview(html: &mut String, report: &DetectionReport) {
    *html += "<h3>The decision</h3><div class=\"wide\"><table><tr><th>outliers</th><th>images</th><th>AUROC</th><th>AUPR-in</th><th>AUPR-out</th>\
              <th>FPR at 95 %</th><th>FPR at 80 %</th>";
    for alarms in &report.false_alarms {
        let star = if alarms.confidence.is_some() {
            ", certified"
        } else {
            ""
        };
        let _ = write!(html, "<th>detected at {} %{star}</th>", 100.0 * alarms.rate);
    }
    *html += "</tr>";
    let with = |value: f64, [low, high]: [f64; 2]| {
        format!("<td title=\"{low:.4} to {high:.4}\">{value:.4}</td>")
    };
    for set in &report.sets {
        let c = &set.combined;
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td>",
            escape(&set.name),
            set.images
        );
        *html += &with(c.auroc, c.auroc_interval);
        *html += &with(c.aupr_in, c.aupr_in_interval);
        *html += &with(c.aupr_out, c.aupr_out_interval);
        *html += &with(c.fpr_at_95, c.fpr_at_95_interval);
        *html += &with(c.fpr_at_80, c.fpr_at_80_interval);
        for detected in &set.detection {
            *html += &with(detected.detected, detected.interval);
        }
        *html += "</tr>";
    }
    *html += "</table></div><p>Point at a number for its interval.</p>";
}

fn statistics(html: &mut String, report: &DetectionReport) {
    *html += "<h3>Every statistic</h3><p>AUROC of the value, large values counting as strange, and in brackets of its p-value, which \
              looks at both sides.</p><div class=\"wide\"><table><tr><th>statistic</th>";
    for set in &report.sets {
        let _ = write!(html, "<th>{}</th>", escape(&set.name));
    }
    *html += "</tr>";
    let names = report.sets.first().map_or(&[][..], |set| &set.statistics);
    for (place, statistic) in names.iter().enumerate() {
        let _ = write!(html, "<tr><td>{}</td>", escape(&statistic.name));
        for set in &report.sets {
            let own = &set.statistics[place];
            let _ = write!(
                html,
                "<td title=\"standard error {:.4}\">{:.3} ({:.3})</td>",
                own.auroc_error, own.auroc, own.auroc_of_p_value
            );
        }
        *html += "</tr>";
    }
    *html += "<tr><td><b>the decision</b></td>";
    for set in &report.sets {
        let _ = write!(html, "<td><b>{:.3}</b></td>", set.combined.auroc);
    }
    *html += "</tr></table></div>";
}

fn of_set(
    html: &mut String,
    set: &Set,
    inliers: &Judged,
    outliers: &Judged,
) -> Result<(), MediaError> {
    let (inside, outside) = (inliers.strangeness(), outliers.strangeness());
    let _ = write!(html, "<h3>{}</h3><div class=\"row\">", escape(&set.name));
    *html += &figure(
        &chart::curve(&inside, &outside),
        "ROC: share of outliers rejected over share of inliers rejected",
    );
    *html += &figure(
        &chart::comparison(&inside, &outside),
        "Strangeness, on a logarithmic scale: inliers blue, outliers red",
    );
    *html += "</div>";
    ends(html, outliers)
}

/// The least and the most strange images of a set.
fn ends(html: &mut String, set: &Judged) -> Result<(), MediaError> {
    let mut order: Vec<usize> = (0..set.images.len()).collect();
    order.sort_by(|&a, &b| {
        set.detections[a]
            .strangeness
            .total_cmp(&set.detections[b].strangeness)
    });
    let pick = |places: Vec<usize>, caption: &str| {
        let images: Vec<Image> = places
            .into_iter()
            .map(|place| set.images[place].clone())
            .collect();
        pictures(&images, caption)
    };
    *html += "<div class=\"row\">";
    *html += &pick(order.iter().copied().take(SHOWN).collect(), "Least strange")?;
    *html += &pick(
        order.iter().rev().copied().take(SHOWN).collect(),
        "Strangest",
    )?;
    *html += "</div>";
    Ok(())
}
