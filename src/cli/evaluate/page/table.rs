//! Tables whose rows become blocks on a narrow screen: every cell carries the name of its column.

use maud::{Markup, html};

use super::super::text::{error, number};
use crate::detection::evaluation::figures::{Figures, OfLabel};

/// Columns that a telephone has room for.
const NARROW: usize = 3;

/// A table of columns and rows, the first cell of which names the row.
pub(super) fn table(columns: &[String], rows: &[Vec<String>]) -> Markup {
    // What is narrow stays a table on every screen.
    let class = (columns.len() <= NARROW).then_some("narrow");
    html! {
        table class=[class] {
            thead { tr { @for column in columns { th scope="col" { (column) } } } }
            tbody {
                @for row in rows {
                    tr {
                        @for (place, (column, cell)) in columns.iter().zip(row).enumerate() {
                            @if place == 0 { th scope="row" { (cell) } } @else { td data-of=(column) { (cell) } }
                        }
                    }
                }
            }
        }
    }
}

/// Quantities with the decimals that they are shown with, and some that have a mean and an error only.
pub(super) fn quantities(rows: &[(&str, &Figures, usize)], short: &[(&str, f64, f64, usize)]) -> Markup {
    let shares = rows.first().map_or(&[][..], |(_, own, _)| &own.quantiles);
    let columns = ["quantity", "mean", "standard error", "minimum"]
        .map(str::to_owned)
        .into_iter()
        .chain(shares.iter().map(|own| format!("{:.0} %", 100.0 * own.share)))
        .chain(["maximum".to_owned()]);
    let long = rows.iter().map(|(name, own, decimals)| {
        let number = |value| number(value, *decimals);
        let quantiles = own.quantiles.iter().map(|quantile| number(quantile.value));
        [
            (*name).to_owned(),
            number(own.mean),
            error(own.standard_error, decimals + 1),
            number(own.minimum),
        ]
        .into_iter()
        .chain(quantiles)
        .chain([number(own.maximum)])
        .collect()
    });
    let short = short.iter().map(|(name, mean, own, decimals)| {
        vec![(*name).to_owned(), number(*mean, *decimals), error(*own, decimals + 1)]
    });
    table(
        &columns.collect::<Vec<_>>(),
        &long.chain(short).collect::<Vec<Vec<String>>>(),
    )
}

/// Means by label.
pub(super) fn by_label(quantity: &str, rows: &[OfLabel], decimals: usize) -> Markup {
    if rows.is_empty() {
        return html! {};
    }
    let columns = ["label", quantity, "standard error", "images"].map(str::to_owned);
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.label.clone(),
                number(row.mean, decimals),
                error(row.standard_error, decimals + 1),
                row.images.to_string(),
            ]
        })
        .collect();
    table(&columns, &rows)
}

/// A share in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}
