//! Detection on the page.

use maud::{Markup, html};

use super::{
    SHOWN, Shown, Strangest, chart, figure, picture, pictures, slices,
    table::{percent, table},
};
use crate::{
    detection::evaluation::{DetectionReport, detection::Judged},
    domain::image::Image,
    media::{self, MediaError},
};

/// ROC and strangeness of every set, and the images at the ends.
pub(super) fn charts(report: &DetectionReport, shown: &Shown) -> Result<Markup, MediaError> {
    let Some((inliers, outliers)) = shown.judged.split_first() else {
        return Ok(html! {});
    };
    let thresholds = thresholds(report, &shown.judged);
    let mut sets = Vec::new();
    for (place, set) in outliers.iter().enumerate() {
        let (inside, outside) = (inliers.strangeness(), set.strangeness());
        let roc = chart::roc(&inside, &outside);
        let compared = chart::comparison(&inside, Some((&set.name, &outside)), &thresholds);
        sets.push(html! {
            h3 { (set.name) }
            div.charts {
                (figure(&roc, "ROC: share of outliers rejected over share of inliers rejected"))
                (figure(&compared, "Strangeness; images to the right of a dashed line are rejected at that false-alarm \
                    rate"))
            }
            (ends(set, shown.strangest.get(place + 1))?)
        });
    }
    let alone = chart::comparison(&inliers.strangeness(), None, &thresholds);
    Ok(html! {
        h2 { "Detection" }
        @for set in &sets { (set) }
        h3 { "Inliers" }
        @if outliers.is_empty() {
            div.charts { (figure(&alone, "Strangeness; images to the right of a dashed line are rejected at that \
                false-alarm rate")) }
        }
        (ends(inliers, shown.strangest.first())?)
    })
}

/// Where between accepted and rejected images each rate's threshold lies on the scale of strangeness.
fn thresholds(report: &DetectionReport, judged: &[Judged]) -> Vec<(String, f64)> {
    let verdicts = || judged.iter().flat_map(|set| &set.verdicts);
    let alarms = report.false_alarms.iter().filter(|alarms| alarms.confidence.is_none());
    alarms
        .filter_map(|alarms| {
            // Where every label has scores of its own there is no one place between the two.
            let threshold = alarms.threshold.filter(|_| alarms.labels.is_empty())?;
            let accepted = verdicts().filter(|verdict| verdict.p_value > threshold);
            let rejected = verdicts().filter(|verdict| verdict.p_value <= threshold);
            let low = accepted
                .map(|verdict| verdict.strangeness)
                .fold(f64::NEG_INFINITY, f64::max);
            let high = rejected
                .map(|verdict| verdict.strangeness)
                .fold(f64::INFINITY, f64::min);
            let middle = (low + high) / 2.0;
            middle
                .is_finite()
                .then(|| (format!("{} %", 100.0 * alarms.rate), middle))
        })
        .collect()
}

/// The least strange images of a set, and the strangest with what speaks against them.
fn ends(set: &Judged, strangest: Option<&Strangest>) -> Result<Markup, MediaError> {
    let least: Vec<Image> = set.images_in_order().take(SHOWN).cloned().collect();
    let mut shown = vec![pictures(&least, "Least strange")?];
    if let Some((images, maps)) = strangest {
        shown.push(pictures(images, "Strangest")?);
        if let (Some(maps), Some(first)) = (maps, images.first()) {
            let png = media::overlay_grid(images, &slices(maps), first.shape())?;
            shown.push(picture(&png, "What speaks against them, in red"));
        }
    }
    Ok(html! { div.pictures { @for picture in &shown { (picture) } } })
}

/// False alarms, figures of the decision and of every statistic.
pub(super) fn tables(report: &DetectionReport) -> Markup {
    html! {
        h2 { "Detection in figures" }
        p.soft {
            (report.inliers) " inliers that took part in nothing else; calibrated with " (report.calibration_size) " ("
            (report.calibration) "). Larger is stranger. Intervals cover 95 %."
        }
        h3 { "False alarms" }
        (false_alarms(report))
        @if !report.sets.is_empty() {
            h3 { "The decision" }
            (decision(report))
            @if let Some(pixels) = &report.pixels {
                h3 { "Pixels" }
                p {
                    "By " (pixels.masked_images) " masks with " (pixels.regions) " regions: AUROC "
                    (format!("{:.4}", pixels.auroc)) ", overlap of regions up to a false-positive rate of 30 % "
                    (format!("{:.4}", pixels.region_overlap)) "."
                }
            }
            h3 { "Every statistic" }
            p.soft {
                "AUROC of the value ± its standard error, large values counting as strange, and in brackets of its \
                 p-value, which looks at both sides."
            }
            (statistics(report))
        }
    }
}

fn false_alarms(report: &DetectionReport) -> Markup {
    let columns = [
        "promised",
        "reject p up to",
        "inliers rejected",
        "share",
        "predicted",
        "verdict",
    ];
    let rows: Vec<Vec<String>> = report
        .false_alarms
        .iter()
        .map(|alarms| {
            let kind = alarms.confidence.map_or("on average".to_owned(), |confidence| {
                format!("with {} % confidence", 100.0 * confidence)
            });
            let predicted = alarms.predicted.map_or("–".to_owned(), |[low, high]| {
                format!("{} to {}", percent(low), percent(high))
            });
            let verdict = match alarms.predicted {
                Some(_) if alarms.is_outside() => "outside",
                Some(_) => "as predicted",
                None => "–",
            };
            vec![
                format!("{} % {kind}", 100.0 * alarms.rate),
                alarms
                    .threshold
                    .map_or("by label".to_owned(), |threshold| format!("{threshold:.5}")),
                alarms.rejected.to_string(),
                percent(alarms.measured_rate),
                predicted,
                verdict.to_owned(),
            ]
        })
        .collect();
    table(&columns.map(str::to_owned), &rows)
}

fn decision(report: &DetectionReport) -> Markup {
    let names = [
        "outliers",
        "images",
        "AUROC",
        "AUPR-in",
        "AUPR-out",
        "FPR at 95 %",
        "FPR at 80 %",
    ];
    let mut columns: Vec<String> = names.map(str::to_owned).into();
    columns.extend(report.false_alarms.iter().map(|alarms| {
        let certified = alarms.confidence.map_or("", |_| ", certified");
        format!("detected at {} %{certified}", 100.0 * alarms.rate)
    }));
    let with = |value: f64, [low, high]: [f64; 2]| format!("{value:.4} ({low:.4} to {high:.4})");
    let rows: Vec<Vec<String>> = report
        .sets
        .iter()
        .map(|set| {
            let own = &set.combined;
            let mut row = vec![
                set.name.clone(),
                set.images.to_string(),
                with(own.auroc, own.auroc_interval),
                with(own.aupr_in, own.aupr_in_interval),
                with(own.aupr_out, own.aupr_out_interval),
                with(own.fpr_at_95, own.fpr_at_95_interval),
                with(own.fpr_at_80, own.fpr_at_80_interval),
            ];
            row.extend(set.detection.iter().map(|own| with(own.detected, own.interval)));
            row
        })
        .collect();
    table(&columns, &rows)
}

fn statistics(report: &DetectionReport) -> Markup {
    let mut columns = vec!["statistic".to_owned()];
    columns.extend(report.sets.iter().map(|set| set.name.clone()));
    let names = report.sets.first().map_or(&[][..], |set| &set.statistics);
    let mut rows: Vec<Vec<String>> = names
        .iter()
        .enumerate()
        .map(|(place, statistic)| {
            let cells = report.sets.iter().map(|set| {
                let own = &set.statistics[place];
                format!(
                    "{:.3} ± {:.3} ({:.3})",
                    own.auroc, own.auroc_error, own.auroc_of_p_value
                )
            });
            std::iter::once(statistic.name.replace('_', " ").replace(':', " of "))
                .chain(cells)
                .collect()
        })
        .collect();
    let decision = report.sets.iter().map(|set| format!("{:.3}", set.combined.auroc));
    rows.push(std::iter::once("the decision".to_owned()).chain(decision).collect());
    table(&columns, &rows)
}
