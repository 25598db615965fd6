//! Charts as SVG. Colours are classes of the page's style.

use maud::{Markup, html};

use super::axes::{Plot, WIDTH};
use crate::domain::roc::curve;

/// Points of a drawn curve.
const POINTS: usize = 300;

/// Bars of a histogram.
const BARS: usize = 40;

/// How many images have which bits/dim, with the mean marked; above it nats, of which one bit/dim is `nats`.
pub(super) fn histogram(values: &[f64], mean: f64, nats: f64) -> Markup {
    let range = range(values.iter().copied());
    let counts = bars(values.iter().copied(), range);
    let plot = Plot {
        x: range,
        y: (0.0, highest(&counts)),
        top: 44.0,
        height: 200.0,
    };
    let content = html! {
        (plot.left_axis("images"))
        (areas(&plot, &counts, "blue"))
        (plot.lower_axis("bits/dim"))
        (plot.upper_axis("log-likelihood, nats", nats))
        path class="mark red" d=(format!("M{:.1} {}V{}", plot.across(mean), plot.top, plot.bottom())) {}
    };
    svg(&plot, 40.0, "histogram of bits/dim", &content)
}

/// How strange inliers and outliers are, on one logarithmic scale, with named thresholds.
pub(super) fn comparison(inliers: &[f64], outliers: Option<(&str, &[f64])>, thresholds: &[(String, f64)]) -> Markup {
    let scale = |value: &f64| value.max(0.0).ln_1p();
    let inside = || inliers.iter().map(scale);
    let outside = || outliers.iter().flat_map(|(_, values)| values.iter().map(scale));
    let range = range(inside().chain(outside()));
    let share = |counts: Vec<f64>| {
        let all = counts.iter().sum::<f64>().max(1.0);
        counts.into_iter().map(|count| count / all).collect::<Vec<f64>>()
    };
    let (inside, outside) = (share(bars(inside(), range)), share(bars(outside(), range)));
    let plot = Plot {
        x: range,
        y: (0.0, highest(&inside).max(highest(&outside))),
        top: 44.0,
        height: 200.0,
    };
    let marks: Vec<(f64, String)> = decades(range)
        .map(|value| (value.ln_1p(), super::axes::plain(value)))
        .collect();
    let content = html! {
        (plot.left_axis("share of images"))
        (areas(&plot, &inside, "blue"))
        (areas(&plot, &outside, "red"))
        (plot.marked_axis("strangeness", &marks))
        @for (place, (name, value)) in thresholds.iter().enumerate() {
            @let x = plot.across(scale(value));
            path class="mark blue" d=(format!("M{x:.1} {}V{}", plot.top - 4.0, plot.bottom())) {}
            text x=(format!("{x:.1}")) y=(plot.top - 8.0 - 14.0 * (place % 2) as f64) text-anchor="middle" { (name) }
        }
        (legend(0, "blue", "inliers"))
        @if let Some((name, _)) = outliers { (legend(1, "red", name)) }
    };
    svg(&plot, 40.0, "histograms of strangeness", &content)
}

/// The ROC of outliers among inliers.
pub(super) fn roc(inliers: &[f64], outliers: &[f64]) -> Markup {
    let points = curve(inliers, outliers);
    let plot = Plot::of_shares(10.0, 280.0);
    let content = html! {
        (plot.left_axis("outliers rejected"))
        (plot.lower_axis("inliers rejected"))
        path class="grid" d=(diagonal(&plot)) {}
        polyline class="line red" points=(plot.points(&thinned(&points))) {}
    };
    svg(&plot, 40.0, "ROC", &content)
}

/// Accuracy against coverage, a named curve for each way of being sure.
pub(super) fn coverage(curves: &[(&str, &[(f64, f64)])]) -> Markup {
    let all = || curves.iter().flat_map(|(_, points)| points.iter());
    // The first images alone say little: what they happen to be must not set the scale.
    let settled = all().filter(|(coverage, _)| *coverage >= 0.05);
    let lowest = settled.map(|(_, accuracy)| *accuracy).fold(1.0, f64::min);
    let floor = ((lowest - 0.01) * 20.0).floor().max(0.0) / 20.0;
    let plot = Plot {
        x: (0.0, 1.0),
        y: (floor, 1.0),
        top: 10.0,
        height: 240.0,
    };
    let content = html! {
        (plot.left_axis("accuracy"))
        (plot.lower_axis("coverage"))
        @for (place, (name, points)) in curves.iter().enumerate() {
            @let colour = if place < 2 { "blue" } else { "red" };
            @let class = format!("line {colour}{}", if place % 2 == 0 { " dashed" } else { "" });
            @let below = plot.bottom() + 54.0 + 18.0 * place as f64;
            polyline class=(class) points=(plot.points(&thinned(points))) {}
            path class=(class) d=(format!("M{:.1} {below}h30", plot.across(0.0))) {}
            text x=(plot.across(0.0) + 38.0) y=(below + 4.0) { (name) }
        }
    };
    svg(
        &plot,
        48.0 + 18.0 * curves.len() as f64,
        "accuracy against coverage",
        &content,
    )
}

/// Accuracy over confidence, from bins of equal width given as count, mean confidence and accuracy.
pub(super) fn reliability(bins: &[(usize, f64, f64)]) -> Markup {
    const BELOW: f64 = 50.0;
    let plot = Plot::of_shares(10.0, 260.0);
    let base = plot.bottom() + 8.0 + BELOW;
    let images = bins.iter().map(|(count, ..)| count).sum::<usize>().max(1) as f64;
    let width = (plot.across(1.0) - plot.across(0.0)) / bins.len().max(1) as f64;
    let rectangle = |class: &str, bin: usize, y: f64, height: f64| {
        let x = plot.across(0.0) + width * bin as f64 + 1.0;
        html! {
            rect class=(class) x=(format!("{x:.1}")) y=(format!("{y:.1}")) width=(format!("{:.1}", width - 2.0))
                height=(format!("{height:.1}")) {}
        }
    };
    let below = Plot {
        top: plot.bottom() + 8.0,
        height: BELOW,
        ..plot
    };
    let content = html! {
        (plot.left_axis("accuracy"))
        @for (bin, &(count, confidence, accuracy)) in bins.iter().enumerate() {
            @if count > 0 {
                @let (accurate, confident) = (plot.down(accuracy), plot.down(confidence));
                (rectangle("blue area", bin, accurate, plot.bottom() - accurate))
                (rectangle("red faint", bin, accurate.min(confident), (accurate - confident).abs()))
                @let many = BELOW * count as f64 / images;
                (rectangle("blue area", bin, base - many, many))
            }
        }
        path class="axis" d=(diagonal(&plot)) {}
        (below.lower_axis("confidence"))
    };
    svg(&below, 40.0, "reliability diagram", &content)
}

/// Images by the label that they have (row) and the label that they got (column).
pub(super) fn confusion(labels: &[String], counts: &[Vec<usize>]) -> Markup {
    const NAMES: f64 = 96.0;
    let side = (WIDTH - NAMES) / labels.len().max(1) as f64;
    let height = side.min(28.0);
    let plot = Plot::of_shares(20.0, height * labels.len() as f64);
    // Letters that have no room would only cover the shades.
    let has_room = side >= 26.0;
    let content = html! {
        @for (row, (name, own)) in labels.iter().zip(counts).enumerate() {
            @let y = plot.top + height * row as f64;
            @let images = own.iter().sum::<usize>().max(1) as f64;
            @let baseline = format!("{:.1}", y + height / 2.0 + 4.0);
            text x=(NAMES - 6.0) y=(baseline) text-anchor="end" { (row) " " (clipped(name)) }
            text x=(format!("{:.1}", NAMES + side * (row as f64 + 0.5))) y="14" text-anchor="middle" { (row) }
            @for (column, &count) in own.iter().enumerate() {
                @let x = NAMES + side * column as f64;
                rect class=(if row == column { "blue" } else { "red" })
                    x=(format!("{:.1}", x + 0.5)) y=(format!("{:.1}", y + 0.5))
                    width=(format!("{:.1}", side - 1.0)) height=(format!("{:.1}", height - 1.0))
                    opacity=(format!("{:.3}", 0.05 + 0.65 * (count as f64 / images).sqrt())) {
                    title { (name) " taken for " (labels[column]) ": " (count) }
                }
                @if has_room && count > 0 {
                    text.strong x=(format!("{:.1}", x + side / 2.0)) y=(baseline) text-anchor="middle" {
                        (count)
                    }
                }
            }
        }
    };
    svg(&plot, 6.0, "confusion of labels", &content)
}

/// The path from the corner of no share to that of the whole.
fn diagonal(plot: &Plot) -> String {
    let [left, right] = [0.0, 1.0].map(|share| plot.across(share));
    let [lower, upper] = [0.0, 1.0].map(|share| plot.down(share));
    format!("M{left:.1} {lower:.1}L{right:.1} {upper:.1}")
}

/// A drawing that leaves room below its plot.
fn svg(plot: &Plot, below: f64, label: &str, content: &Markup) -> Markup {
    let size = format!("0 0 {WIDTH} {:.0}", plot.bottom() + below);
    html! { svg viewBox=(size) role="img" aria-label=(label) { (content) } }
}

/// Bars that touch.
fn areas(plot: &Plot, counts: &[f64], colour: &str) -> Markup {
    let (low, high) = plot.x;
    let step = (high - low) / counts.len().max(1) as f64;
    let width = plot.across(low + step) - plot.across(low);
    html! {
        @for (bar, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            @let (x, y) = (plot.across(low + step * bar as f64), plot.down(count));
            rect class=(format!("{colour} area")) x=(format!("{x:.1}")) y=(format!("{y:.1}"))
                width=(format!("{width:.1}")) height=(format!("{:.1}", plot.bottom() - y)) {}
        }
    }
}

fn legend(place: usize, colour: &str, name: &str) -> Markup {
    let x = 52.0 + 110.0 * place as f64;
    html! {
        rect class=(format!("{colour} area")) x=(x) y="4" width="10" height="10" {}
        text x=(x + 15.0) y="13" { (clipped(name)) }
    }
}

fn clipped(name: &str) -> String {
    const ROOM: usize = 12;
    if name.chars().count() <= ROOM {
        return name.to_owned();
    }
    let start: String = name.chars().take(ROOM - 1).collect();
    start + "…"
}

/// The least and the greatest, not the same.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let ends = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), ends);
    if low < high {
        (low, high)
    } else if low.is_finite() {
        (low - 0.5, low + 0.5)
    } else {
        (0.0, 1.0)
    }
}

/// Values by bar.
fn bars(values: impl Iterator<Item = f64>, (low, high): (f64, f64)) -> Vec<f64> {
    let mut counts = vec![0.0; BARS];
    for value in values {
        let bar = (value - low) / (high - low) * BARS as f64;
        counts[(bar as usize).min(BARS - 1)] += 1.0;
    }
    counts
}

fn highest(counts: &[f64]) -> f64 {
    counts.iter().copied().fold(f64::MIN_POSITIVE, f64::max)
}

/// 0, 1, 3, 10, 30, … as far as they lie in a range of ln(1 + value).
fn decades((low, high): (f64, f64)) -> impl Iterator<Item = f64> {
    let steps = (0..309).flat_map(|power| [1.0, 3.0].map(|digit| digit * 10_f64.powi(power)));
    let inside = move |value: &f64| (low..=high).contains(&value.ln_1p());
    let all: Vec<f64> = std::iter::once(0.0).chain(steps).filter(inside).collect();
    let every = all.len().div_ceil(7).max(1);
    all.into_iter().step_by(every)
}

/// So many points as can be told apart, the last among them.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let step = points.len().div_ceil(POINTS).max(1);
    let last = points.len().saturating_sub(1);
    let kept = |place: usize| place.is_multiple_of(step) || place == last;
    let points = points.iter().enumerate().filter(|(place, _)| kept(*place));
    points.map(|(_, point)| *point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_survive_numbers_of_every_size() {
        for values in [vec![2.0], vec![0.0, 1e12], vec![-1e-300, 1e-300], vec![3.0; 5]] {
            let svg = histogram(&values, values[0], -543.4).into_string();
            assert!(
                svg.contains("<rect") && !svg.contains("NaN") && !svg.contains("inf"),
                "{svg}"
            );
        }
        let thresholds = [("1 %".to_owned(), 1e11)];
        let svg = comparison(&[0.0, 1e12], Some(("<far>", &[f64::MAX, -3.0])), &thresholds);
        let svg = svg.into_string();
        assert!(svg.contains("<rect") && !svg.contains("NaN") && svg.contains("&lt;far&gt;"));
    }

    #[test]
    fn a_curve_ends_where_everything_is_rejected() {
        let svg = roc(&[1.0; 2000], &[0.0, 2.0]).into_string();
        assert!(svg.contains("406.0,10.0\""), "{svg}");
    }

    #[test]
    fn a_bin_without_images_has_no_bars() {
        let svg = reliability(&[(0, 0.0, 0.0), (3, 0.9, 1.0)]).into_string();
        assert_eq!(svg.matches("<rect").count(), 3);
    }

    #[test]
    fn every_pair_of_labels_has_a_cell() {
        let labels = ["a", "b"].map(str::to_owned);
        let svg = confusion(&labels, &[vec![3, 1], vec![0, 0]]).into_string();
        assert_eq!(svg.matches("<rect").count(), 4);
        assert!(svg.contains("a taken for b: 1"));
    }
}
