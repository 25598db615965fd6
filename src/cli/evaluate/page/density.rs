//! Likelihoods on the page.

use std::f64::consts::LN_2;
use std::fmt::Write;

use super::{by_label, chart, escape, figure, pictures, quantities, warning};
use crate::{
    cli::evaluate::{density::DensityReport, measure::Measured},
    media::MediaError,
};

/// log p(x), its histogram and the images at its ends.
pub(super) fn section(
    html: &mut String,
    report: &DensityReport,
    measured: &Measured,
) -> Result<(), MediaError> {
    *html += "<h2>Density</h2>";
    table(html, report);
    let bits = measured.bits_per_dim(report.dimensions);
    if let (Some(likelihoods), false) = (&report.likelihoods, bits.is_empty()) {
        let nats_per_bit = report.dimensions as f64 * LN_2;
        let histogram = chart::histogram(
            &bits,
            likelihoods.bits_per_dim.mean,
            ("bits/dim", "log-likelihood, nats", -nats_per_bit),
        );
        *html += &figure(
            &histogram,
            "Images by likelihood; the dashed line is the mean.",
        );
        *html += "<div class=\"row\">";
        *html += &pictures(
            &measured.most_likely.images(),
            "Most likely, the first at the top left",
        )?;
        *html += &pictures(
            &measured.least_likely.images(),
            "Least likely, the first at the top left",
        )?;
        *html += "</div>";
        by_label(html, "bits/dim", &likelihoods.bits_per_dim_by_label, 4);
    }
    Ok(())
}

/// log p(x|y) of the label that each image has.
pub(super) fn given_label(html: &mut String, report: &DensityReport) {
    *html += "<h2>Density given the label</h2>";
    table(html, report);
    if let Some(likelihoods) = &report.likelihoods {
        by_label(html, "bits/dim", &likelihoods.bits_per_dim_by_label, 4);
    }
}

fn table(html: &mut String, report: &DensityReport) {
    let _ = write!(html, "<p>{}</p>", escape(&report.title()));
    warning(html, report.warning());
    let Some(likelihoods) = &report.likelihoods else {
        return;
    };
    let perplexity = &likelihoods.perplexity;
    quantities(
        html,
        &[
            ("log-likelihood, nats", &likelihoods.log_likelihood_nats, 1),
            ("bits/dim", &likelihoods.bits_per_dim, 4),
        ],
        &[("perplexity", perplexity.value, perplexity.standard_error, 4)],
    );
}
