//! The report as one page of HTML that needs nothing else: figures as SVG, images as PNG in base64, light and dark.

use std::fmt::Write;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    Report, Shown,
    figures::{Figures, OfLabel, error, number},
};
use crate::{
    domain::image::Image,
    media::{self, MediaError},
};

mod chart;
mod classification;
mod density;
mod detection;
mod rejection;

const STYLE: &str = ":root{color-scheme:light dark;--text:#1f2328;--soft:#59636e;--line:#d5dae0;--paper:#fff;--blue:#2b6cb0;--red:#c53030}\
@media(prefers-color-scheme:dark){:root{--text:#e6e8eb;--soft:#9aa4af;--line:#3a424b;--paper:#15191e;--blue:#63a4e8;--red:#f08080}}\
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:var(--text);background:var(--paper)}\
h1{margin-bottom:0}h2{margin-top:2.5rem;border-bottom:1px solid var(--line)}.wide{overflow-x:auto}\
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}\
th,td{padding:.2rem .6rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}th{font-weight:600}\
th:first-child,td:first-child{text-align:left}.row{display:flex;gap:2rem;flex-wrap:wrap}figure{margin:0 0 1rem}\
figcaption,.soft{font-size:.85rem;color:var(--soft)}img{image-rendering:pixelated;max-width:20rem;border:1px solid var(--line)}\
svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:var(--soft)}.in,.bar{fill:var(--blue);opacity:.65}\
.out{fill:var(--red);opacity:.65}.axis{stroke:var(--soft);fill:none}.grid{stroke:var(--line);fill:none}\
.curve{stroke:var(--red);stroke-width:2;fill:none}.mark{stroke:var(--red);stroke-width:1.5;stroke-dasharray:4 3}\
.gap{fill:var(--red);opacity:.25}.warning{border-left:4px solid var(--red);padding-left:.8rem}\
.confusion td,.confusion th{padding:.25rem .5rem;text-align:right}.confusion td{border:1px solid var(--line);\
background:color-mix(in srgb,var(--shade) calc(var(--share)*70%),transparent)}.confusion th:first-child{text-align:left}";

/// The page.
pub(super) fn page(report: &Report, shown: &Shown) -> Result<String, MediaError> {
    let name = escape(&report.model);
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{name}</title><style>{STYLE}</style></head><body>\
         <h1>{name}</h1><p class=\"soft\">version {}, {}; {} images from {}</p>",
        report.version,
        report.family,
        report.images,
        escape(&report.data.join(", ")),
    );
    if let (Some(density), Some(measured)) = (&report.density, &shown.measured) {
        density::section(&mut html, density, measured)?;
    }
    if let Some(density) = &report.density_given_label {
        density::given_label(&mut html, density);
    }
    if let Some(classification) = &report.classification {
        classification::section(&mut html, classification);
    }
    if let Some(reconstruction) = &report.reconstruction {
        html += "<h2>Reconstruction</h2><p>Squared error, its mean over the dimensions of an image, in units of level / (levels − 1).</p>";
        let rows = [("mean squared error", &reconstruction.mean_squared_error, 5)];
        quantities(&mut html, &rows, &[]);
        let labels = &reconstruction.mean_squared_error_by_label;
        by_label(&mut html, "squared error", labels, 5);
    }
    if let Some(rejection) = &report.rejection {
        rejection::section(&mut html, rejection);
    }
    if let Some(detection) = &report.detection {
        detection::section(&mut html, detection, &shown.judged)?;
    }
    html += "</body></html>\n";
    Ok(html)
}

// Writing to a string cannot fail, so the results of `write!` are let go throughout.

/// A table of quantities with the decimals that they are shown with, and of rows that have a mean and an error only.
fn quantities(
    html: &mut String,
    rows: &[(&str, &Figures, usize)],
    short: &[(&str, f64, f64, usize)],
) {
    *html += "<div class=\"wide\"><table><tr><th></th><th>mean</th><th title=\"standard error over images\">error</th><th>minimum</th>";
    let shares = rows.first().map_or(&[][..], |(_, f, _)| &f.quantiles);
    for quantile in shares {
        let _ = write!(html, "<th>{:.0} %</th>", 100.0 * quantile.share);
    }
    *html += "<th>maximum</th></tr>";
    for (name, figures, decimals) in rows {
        let _ = write!(
            html,
            "<tr><td>{name}</td><td><b>{}</b></td><td>{}</td><td>{}</td>",
            number(figures.mean, *decimals),
            error(figures.standard_error, decimals + 1),
            number(figures.minimum, *decimals)
        );
        for quantile in &figures.quantiles {
            let _ = write!(html, "<td>{}</td>", number(quantile.value, *decimals));
        }
        let _ = write!(html, "<td>{}</td></tr>", number(figures.maximum, *decimals));
    }
    for (name, mean, own_error, decimals) in short {
        let _ = write!(
            html,
            "<tr><td>{name}</td><td><b>{mean:.decimals$}</b></td><td>{}</td></tr>",
            error(*own_error, decimals + 1)
        );
    }
    *html += "</table></div>";
}

/// A table of means by label.
fn by_label(html: &mut String, quantity: &str, rows: &[OfLabel], decimals: usize) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(
        html,
        "<table><tr><th>label</th><th>{quantity}</th><th>standard error</th><th>images</th></tr>"
    );
    for row in rows {
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{:.decimals$}</td><td>{}</td><td>{}</td></tr>",
            escape(&row.label),
            row.mean,
            error(row.standard_error, decimals + 1),
            row.images
        );
    }
    *html += "</table>";
}

fn warning(html: &mut String, text: Option<String>) {
    if let Some(text) = text {
        let _ = write!(html, "<p class=\"warning\">{}.</p>", escape(&text));
    }
}

fn figure(content: &str, caption: &str) -> String {
    format!(
        "<figure>{content}<figcaption>{}</figcaption></figure>",
        escape(caption)
    )
}

/// Images in one picture.
fn pictures(images: &[Image], caption: &str) -> Result<String, MediaError> {
    let Some(first) = images.first() else {
        return Ok(String::new());
    };
    let file = media::png_grid(images, first.shape())?;
    let picture = format!(
        "<img alt=\"\" src=\"data:image/png;base64,{}\">",
        BASE64_STANDARD.encode(file)
    );
    Ok(figure(&picture, caption))
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
}
