//! Likelihoods on the page.

use std::f64::consts::LN_2;

use maud::{Markup, html};

use super::{chart, figure, picture, pictures, sentence, slices, table};
use crate::{
    detection::evaluation::{DensityReport, Measured},
    media::{self, MediaError},
};

/// The histogram of log p(x), and the images at its ends with where they are surprising.
pub(super) fn charts(
    report: &DensityReport,
    measured: &Measured,
    maps: &[Option<Vec<Vec<f32>>>; 2],
) -> Result<Markup, MediaError> {
    let bits = measured.bits_per_dim(report.dimensions);
    let Some(likelihoods) = report.likelihoods.as_ref().filter(|_| !bits.is_empty()) else {
        return Ok(html! {});
    };
    let nats = -(report.dimensions as f64) * LN_2;
    let histogram = chart::histogram(&bits, likelihoods.bits_per_dim.mean, nats);
    let ends = [
        (&measured.most_likely, "Most likely, the first at the top left"),
        (&measured.least_likely, "Least likely, the first at the top left"),
    ];
    let mut shown = Vec::new();
    for ((end, caption), maps) in ends.into_iter().zip(maps) {
        let images = end.images();
        shown.push(pictures(&images, caption)?);
        if let (Some(maps), Some(first)) = (maps, images.first()) {
            let png = media::heat_map_grid(&slices(maps), first.shape())?;
            shown.push(picture(&png, "Their surprise: dark is expected, bright is surprising"));
        }
    }
    Ok(html! {
        h2 { "Likelihood of the images" }
        div.charts {
            (figure(&histogram, "Images by likelihood; the dashed line is the mean."))
            div.pictures { @for picture in &shown { (picture) } }
        }
    })
}

/// Figures of log p(x), or of log p(x|y) of the label that each image has.
pub(super) fn table(report: &DensityReport, title: &str) -> Markup {
    html! {
        h2 { (title) }
        p.soft { (report.title()) }
        @if let Some(warning) = report.warning() { p.warning { (sentence(&warning)) } }
        @if let Some(own) = &report.likelihoods {
            (table::quantities(
                &[("log-likelihood, nats", &own.log_likelihood_nats, 1), ("bits/dim", &own.bits_per_dim, 4)],
                &[("perplexity", own.perplexity.value, own.perplexity.standard_error, 4)],
            ))
            (table::by_label("bits/dim", &own.bits_per_dim_by_label, 4))
        }
    }
}
