//! The report as one page of HTML that needs nothing else: charts as SVG, images as PNG in base64, light and dark. What
//! can be seen comes first, tables after; nothing is wider than a telephone.

use base64::{Engine, prelude::BASE64_STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::text::number;
use crate::{
    detection::evaluation::{Measured, Report, detection::Judged},
    domain::image::Image,
    media::{self, MediaError},
};

mod axes;
mod chart;
mod density;
mod detection;
mod labels;
mod table;

/// Images shown at either end of a judged set.
pub(super) const SHOWN: usize = 16;

const STYLE: &str = include_str!("page/style.css");

/// Images that failed and are named; the report in JSON names all.
const NAMED: usize = 20;

/// What the page shows beside the report.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// What was found of each image.
    pub(super) measured: Option<Measured>,
    /// What was said of inliers and of each set of outliers.
    pub(super) judged: Vec<Judged>,
    /// Log-probabilities of the dimensions of the most and of the least likely images.
    pub(super) maps: [Option<Vec<Vec<f32>>>; 2],
    /// The strangest images of each judged set, and what speaks against their dimensions, if the model can tell.
    pub(super) strangest: Vec<Strangest>,
}

/// Images, and what speaks against each of their dimensions, if the model can tell.
pub(super) type Strangest = (Vec<Image>, Option<Vec<Vec<f32>>>);

/// The page.
pub(super) fn page(report: &Report, shown: &Shown) -> Result<String, MediaError> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (report.model) }
                style { (PreEscaped(STYLE)) }
            }
            body { main {
                h1 { (report.model) }
                p.soft {
                    "version " (report.version) ", " (report.family) "; "
                    (report.images) " images from " (report.data.join(", "))
                }
                @for warning in &report.warnings { p.warning { (sentence(warning)) } }
                (failures(report))
                (cards(report))
                @if let (Some(density), Some(measured)) = (&report.density, &shown.measured) {
                    (density::charts(density, measured, &shown.maps)?)
                }
                @if let Some(detection) = &report.detection { (detection::charts(detection, shown)?) }
                @if let Some(classification) = &report.classification { (labels::charts(classification)) }
                @if let Some(rejection) = &report.rejection { (labels::coverage(rejection)) }
                @if let Some(density) = &report.density { (density::table(density, "Density")) }
                @if let Some(density) = &report.density_given_label {
                    (density::table(density, "Density given the label"))
                }
                @if let Some(classification) = &report.classification { (labels::table(classification)) }
                @if let Some(reconstruction) = &report.reconstruction {
                    h2 { "Reconstruction" }
                    p.soft { "Squared error, its mean over the dimensions of an image, in units of level / (levels − \
                        1)." }
                    (table::quantities(&[("mean squared error", &reconstruction.mean_squared_error, 5)], &[]))
                    (table::by_label("squared error", &reconstruction.mean_squared_error_by_label, 5))
                }
                @if let Some(rejection) = &report.rejection { (labels::rejection(rejection)) }
                @if let Some(detection) = &report.detection { (detection::tables(detection)) }
            } }
        }
    };
    Ok(page.into_string())
}

/// Images that could not be measured.
fn failures(report: &Report) -> Markup {
    let failed = report.failed.len();
    html! {
        @if failed > 0 {
            p.warning { (failed) " images could not be measured and are left out." }
            details {
                summary { "Which, and why" }
                ul {
                    @for failure in report.failed.iter().take(NAMED) { li { (failure) } }
                    @if failed > NAMED { li { "and " (failed - NAMED) " more, which report.json names" } }
                }
            }
        }
    }
}

/// The few numbers that a reader came for.
fn cards(report: &Report) -> Markup {
    let mut cards: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: String| cards.push((name.to_owned(), value));
    if let Some(likelihoods) = report.density.as_ref().and_then(|own| own.likelihoods.as_ref()) {
        add("bits/dim", number(likelihoods.bits_per_dim.mean, 3));
    }
    if let Some(own) = &report.classification {
        add("accuracy", format!("{:.2} %", 100.0 * own.accuracy));
        add("calibration error", number(own.expected_calibration_error, 4));
    }
    if let Some(own) = &report.reconstruction {
        add("mean squared error", number(own.mean_squared_error.mean, 5));
    }
    for set in report.detection.iter().flat_map(|own| &own.sets) {
        add(&format!("AUROC, {}", set.name), number(set.combined.auroc, 3));
    }
    html! {
        div.cards {
            @for (name, value) in &cards { div.card { b { (value) } span.soft { (name) } } }
        }
    }
}

/// What is said in a few words, as a sentence.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).chain(['.']).collect()
}

/// A chart or a picture with what it shows.
fn figure(content: &Markup, caption: &str) -> Markup {
    html! { figure { (content) figcaption { (caption) } } }
}

/// Images in one picture.
fn pictures(images: &[Image], caption: &str) -> Result<Markup, MediaError> {
    match images.first() {
        Some(first) => Ok(picture(&media::png_grid(images, first.shape())?, caption)),
        None => Ok(html! {}),
    }
}

/// A PNG file.
fn picture(png: &[u8], caption: &str) -> Markup {
    let data = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png));
    figure(&html! { img alt=(caption) src=(data); }, caption)
}

fn slices(maps: &[Vec<f32>]) -> Vec<&[f32]> {
    maps.iter().map(Vec::as_slice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_the_page() {
        let page = figure(&html! {}, "<a href=\"x\">&").into_string();
        assert!(page.contains("&lt;a href=&quot;x&quot;&gt;&amp;"), "{page}");
    }
}
