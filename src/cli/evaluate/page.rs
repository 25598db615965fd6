//! The report as one page of HTML that needs nothing else: figures as SVG, images as PNG in base64.

use std::fmt::Write;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{Judged, Report, Set};
use crate::{
    domain::{image::Image, roc},
    media::{self, MediaError},
};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}\
table{border-collapse:collapse;margin:1rem 0}th,td{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #ddd}\
th:first-child,td:first-child{text-align:left}.row{display:flex;gap:2rem;flex-wrap:wrap}figure{margin:0}\
figcaption{font-size:.85rem;color:#555}img{image-rendering:pixelated;max-width:20rem}.in{fill:#2b6cb0;opacity:.6}\
.out{fill:#c53030;opacity:.6}";

/// Images shown at either end.
const SHOWN: usize = 16;

/// Points of a drawn curve.
const POINTS: usize = 300;

/// The page.
pub(super) fn page(report: &Report, judged: &[Judged]) -> Result<String, MediaError> {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}</title><style>{STYLE}</style></head><body>\
         <h1>{name}, version {version}</h1><p>{inliers} inliers that took part in nothing else; calibrated with {size} \
         ({calibration}). Larger is stranger. Intervals cover 95 %.</p>",
        name = escape(&report.model),
        version = report.version,
        inliers = report.inliers,
        size = report.calibration_size,
        calibration = escape(&report.calibration),
    );
    false_alarms(&mut html, report);
    overview(&mut html, report);
    statistics(&mut html, report);
    for (set, outliers) in report.sets.iter().zip(&judged[1..]) {
        section(&mut html, set, &judged[0], outliers)?;
    }
    html += "<h2>Inliers</h2>";
    ends(&mut html, &judged[0])?;
    html += "</body></html>\n";
    Ok(html)
}

// Writing to a string cannot fail, so the results of `write!` are let go throughout.

fn false_alarms(html: &mut String, report: &Report) {
    *html += "<h2>False alarms</h2><table><tr><th>promised</th><th>reject p up to</th><th>inliers rejected</th><th>share</th>\
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

fn overview(html: &mut String, report: &Report) {
    *html += "<h2>The decision</h2><table><tr><th>outliers</th><th>images</th><th>AUROC</th><th>AUPR-in</th><th>AUPR-out</th>\
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
    *html += "</table><p>Point at a number for its interval.</p>";
}

fn statistics(html: &mut String, report: &Report) {
    *html += "<h2>Every statistic</h2><p>AUROC of the value, large values counting as strange, and in brackets of its p-value, which \
              looks at both sides.</p><table><tr><th>statistic</th>";
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
    *html += "</tr></table>";
}

fn section(
    html: &mut String,
    set: &Set,
    inliers: &Judged,
    outliers: &Judged,
) -> Result<(), MediaError> {
    let (inside, outside) = (inliers.strangeness(), outliers.strangeness());
    let _ = write!(html, "<h2>{}</h2><div class=\"row\">", escape(&set.name));
    *html += &figure(
        &curve(&inside, &outside),
        "ROC: share of outliers rejected over share of inliers rejected",
    );
    *html += &figure(
        &histogram(&inside, &outside),
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
    let pick = |places: Vec<usize>| -> Result<String, MediaError> {
        let images: Vec<Image> = places
            .into_iter()
            .map(|place| set.images[place].clone())
            .collect();
        let file = media::png_grid(&images, images[0].shape())?;
        Ok(format!(
            "<img alt=\"\" src=\"data:image/png;base64,{}\">",
            BASE64_STANDARD.encode(file)
        ))
    };
    *html += "<div class=\"row\">";
    *html += &figure(
        &pick(order.iter().copied().take(SHOWN).collect())?,
        "Least strange",
    );
    *html += &figure(
        &pick(order.iter().rev().copied().take(SHOWN).collect())?,
        "Strangest",
    );
    *html += "</div>";
    Ok(())
}

fn figure(content: &str, caption: &str) -> String {
    format!(
        "<figure>{content}<figcaption>{}</figcaption></figure>",
        escape(caption)
    )
}

fn curve(inliers: &[f64], outliers: &[f64]) -> String {
    let points = roc::curve(inliers, outliers);
    let step = points.len().div_ceil(POINTS);
    let mut path = String::new();
    let last = points.len() - 1;
    for (place, (x, y)) in points.iter().enumerate() {
        if place % step == 0 || place == last {
            let _ = write!(path, "{:.2},{:.2} ", 10.0 + 280.0 * x, 290.0 - 280.0 * y);
        }
    }
    format!(
        "<svg width=\"300\" height=\"300\" role=\"img\"><rect x=\"10\" y=\"10\" width=\"280\" height=\"280\" fill=\"none\" \
         stroke=\"#999\"/><path d=\"M10 290L290 10\" stroke=\"#ccc\"/><polyline points=\"{}\" fill=\"none\" stroke=\"#c53030\" \
         stroke-width=\"2\"/></svg>",
        path.trim_end()
    )
}

fn histogram(inliers: &[f64], outliers: &[f64]) -> String {
    const BINS: usize = 40;
    let scale = |value: &f64| value.max(0.0).ln_1p();
    let all = || inliers.iter().chain(outliers).map(scale);
    let max = all().fold(f64::MIN_POSITIVE, f64::max);
    let shares = |values: &[f64]| {
        let mut counts = [0.0; BINS];
        for value in values.iter().map(scale) {
            counts[((value / max * BINS as f64) as usize).min(BINS - 1)] +=
                1.0 / values.len() as f64;
        }
        counts
    };
    let (inside, outside) = (shares(inliers), shares(outliers));
    let highest = inside.iter().chain(&outside).copied().fold(0.0, f64::max);
    let mut bars = String::new();
    for (class, counts) in [("in", inside), ("out", outside)] {
        for (bin, share) in counts.iter().enumerate() {
            let height = 270.0 * share / highest;
            let _ = write!(
                bars,
                "<rect class=\"{class}\" x=\"{}\" y=\"{:.1}\" width=\"10\" height=\"{height:.1}\"/>",
                10 + 10 * bin,
                280.0 - height
            );
        }
    }
    format!(
        "<svg width=\"420\" height=\"300\" role=\"img\">{bars}<path d=\"M10 280H410\" stroke=\"#999\"/></svg>"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_the_page() {
        assert_eq!(
            escape("<a href=\"x\">&"),
            "&lt;a href=&quot;x&quot;&gt;&amp;"
        );
    }

    #[test]
    fn figures_survive_numbers_of_every_size() {
        let svg = histogram(&[0.0, 1e12], &[f64::MAX, -3.0]);
        assert!(svg.contains("<rect") && !svg.contains("NaN"));
        assert!(curve(&[1.0; 2000], &[0.0, 2.0]).contains("290.00,10.00"));
    }
}
