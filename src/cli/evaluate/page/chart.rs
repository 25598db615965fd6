//! Charts as SVG. Colours are classes of the page's style.

use std::fmt::Write;

use crate::domain::roc;

/// Points of a drawn curve.
const POINTS: usize = 300;

/// Bars of a histogram.
const BARS: usize = 60;

/// How many images have which value, with the mean marked. `axes` names the value below, a second value above, and tells how much of the
/// second one unit of the value is.
pub(super) fn histogram(values: &[f64], mean: f64, axes: (&str, &str, f64)) -> String {
    const LEFT: f64 = 50.0;
    const WIDTH: f64 = 640.0;
    const TOP: f64 = 45.0;
    const HEIGHT: f64 = 220.0;
    let (low, high) = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| {
            (low.min(value), high.max(value))
        });
    let spread = if high > low { high - low } else { 1.0 };
    let mut counts = [0_usize; BARS];
    for value in values {
        let bar = (value - low) / spread * BARS as f64;
        counts[(bar as usize).min(BARS - 1)] += 1;
    }
    let highest = counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let x = |value: f64| LEFT + (value - low) / spread * WIDTH;
    let bottom = TOP + HEIGHT;
    let mut svg = format!(
        "<svg width=\"720\" height=\"320\" viewBox=\"0 0 720 320\" role=\"img\" aria-label=\"histogram of {}\">",
        axes.0
    );
    for count in ticks(0.0, highest) {
        let y = bottom - count / highest * HEIGHT;
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{count}</text>",
            LEFT + WIDTH,
            LEFT - 6.0,
            y + 4.0
        );
    }
    let width = WIDTH / BARS as f64;
    for (bar, &count) in counts.iter().enumerate() {
        let height = HEIGHT * count as f64 / highest;
        let _ = write!(
            svg,
            "<rect class=\"bar\" x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{height:.2}\"/>",
            LEFT + width * bar as f64 + 0.5,
            bottom - height,
            width - 1.0
        );
    }
    for value in ticks(low, low + spread) {
        let _ = write!(
            svg,
            "<path class=\"axis\" d=\"M{0:.1} {bottom}v5\"/><text x=\"{0:.1}\" y=\"{1}\" text-anchor=\"middle\">{2}</text>",
            x(value),
            bottom + 18.0,
            plain(value)
        );
    }
    let (_, _, factor) = axes;
    let ends = [low * factor, (low + spread) * factor];
    for value in ticks(ends[0].min(ends[1]), ends[0].max(ends[1])) {
        let _ = write!(
            svg,
            "<path class=\"axis\" d=\"M{0:.1} {TOP}v-5\"/><text x=\"{0:.1}\" y=\"{1}\" text-anchor=\"middle\">{2}</text>",
            x(value / factor),
            TOP - 9.0,
            plain(value)
        );
    }
    let middle = LEFT + WIDTH / 2.0;
    let _ = write!(
        svg,
        "<path class=\"axis\" d=\"M{LEFT} {bottom}h{WIDTH}M{LEFT} {TOP}h{WIDTH}\"/><path class=\"mark\" d=\"M{0:.1} {TOP}V{bottom}\"/>\
         <text x=\"{middle}\" y=\"{1}\" text-anchor=\"middle\">{2}</text><text x=\"{middle}\" y=\"14\" text-anchor=\"middle\">{3}</text></svg>",
        x(mean),
        bottom + 40.0,
        axes.0,
        axes.1
    );
    svg
}

/// Accuracy over confidence, from bins of equal width given as count, mean confidence and accuracy.
pub(super) fn reliability(bins: &[(usize, f64, f64)]) -> String {
    const LEFT: f64 = 45.0;
    const TOP: f64 = 10.0;
    const SIDE: f64 = 300.0;
    const BELOW: f64 = 60.0;
    let bottom = TOP + SIDE;
    let base = bottom + 10.0 + BELOW;
    let width = SIDE / bins.len() as f64;
    let images = bins.iter().map(|(count, ..)| count).sum::<usize>().max(1) as f64;
    let mut svg = String::from(
        "<svg width=\"380\" height=\"430\" viewBox=\"0 0 380 430\" role=\"img\" aria-label=\"reliability diagram\">",
    );
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let (x, y) = (LEFT + SIDE * share, bottom - SIDE * share);
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {y}h{SIDE}M{x} {TOP}v{SIDE}\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{share}</text>\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{share}</text>",
            LEFT - 6.0,
            y + 4.0,
            base + 16.0
        );
    }
    for (bin, &(count, confidence, accuracy)) in bins.iter().enumerate() {
        if count == 0 {
            continue;
        }
        let x = LEFT + width * bin as f64 + 1.0;
        let (accurate, confident) = (SIDE * accuracy, SIDE * confidence);
        let many = BELOW * count as f64 / images;
        let _ = write!(
            svg,
            "<rect class=\"bar\" x=\"{x:.2}\" y=\"{:.2}\" width=\"{w:.2}\" height=\"{accurate:.2}\"/>\
             <rect class=\"gap\" x=\"{x:.2}\" y=\"{:.2}\" width=\"{w:.2}\" height=\"{:.2}\"/>\
             <rect class=\"bar\" x=\"{x:.2}\" y=\"{:.2}\" width=\"{w:.2}\" height=\"{many:.2}\"/>",
            bottom - accurate,
            bottom - accurate.max(confident),
            (accurate - confident).abs(),
            base - many,
            w = width - 2.0
        );
    }
    let _ = write!(
        svg,
        "<path class=\"axis\" d=\"M{LEFT} {bottom}L{} {TOP}\"/><path class=\"axis\" d=\"M{LEFT} {base}h{SIDE}\"/>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">confidence</text>\
         <text transform=\"translate(11 {}) rotate(-90)\" text-anchor=\"middle\">accuracy</text></svg>",
        LEFT + SIDE,
        LEFT + SIDE / 2.0,
        base + 36.0,
        TOP + SIDE / 2.0
    );
    svg
}

/// Accuracy against coverage, a named curve for each way of being sure.
pub(super) fn coverage(curves: &[(&str, &[(f64, f64)])]) -> String {
    const LEFT: f64 = 50.0;
    const TOP: f64 = 10.0;
    const WIDTH: f64 = 480.0;
    const HEIGHT: f64 = 300.0;
    const COLOURS: [&str; 4] = ["var(--blue)", "var(--blue)", "var(--red)", "var(--red)"];
    let all = || curves.iter().flat_map(|(_, points)| points.iter());
    // The first images alone say little: what they happen to be must not set the scale.
    let settled = all().filter(|(coverage, _)| *coverage >= 0.05);
    let lowest = settled.map(|(_, accuracy)| *accuracy).fold(1.0, f64::min);
    let floor = ((lowest - 0.01) * 20.0).floor().max(0.0) / 20.0;
    let x = |coverage: f64| LEFT + WIDTH * coverage;
    let y = |accuracy: f64| TOP + HEIGHT * (1.0 - (accuracy.max(floor) - floor) / (1.0 - floor));
    let height = TOP + HEIGHT + 50.0 + 18.0 * curves.len() as f64;
    let mut svg = format!(
        "<svg width=\"560\" height=\"{height}\" viewBox=\"0 0 560 {height}\" role=\"img\" aria-label=\"accuracy against coverage\">"
    );
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{} {TOP}v{HEIGHT}\"/><text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{share}</text>",
            x(share),
            x(share),
            TOP + HEIGHT + 16.0
        );
    }
    for tick in ticks(floor, 1.0) {
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {:.2}h{WIDTH}\"/><text x=\"{}\" y=\"{:.2}\" text-anchor=\"end\">{}</text>",
            y(tick),
            LEFT - 6.0,
            y(tick) + 4.0,
            plain(tick)
        );
    }
    for (place, (name, points)) in curves.iter().enumerate() {
        let path: String = points
            .iter()
            .map(|&(coverage, accuracy)| format!("{:.2},{:.2} ", x(coverage), y(accuracy)))
            .collect();
        let dashes = if place % 2 == 0 { "5 4" } else { "none" };
        let style = format!(
            "fill:none;stroke-width:2;stroke:{};stroke-dasharray:{dashes}",
            COLOURS[place % COLOURS.len()]
        );
        let below = TOP + HEIGHT + 50.0 + 18.0 * place as f64;
        let _ = write!(
            svg,
            "<polyline points=\"{}\" style=\"{style}\"/><path d=\"M{LEFT} {below}h30\" style=\"{style}\"/>\
             <text x=\"{}\" y=\"{}\">{name}</text>",
            path.trim_end(),
            LEFT + 38.0,
            below + 4.0
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">coverage</text>\
         <text transform=\"translate(11 {}) rotate(-90)\" text-anchor=\"middle\">accuracy</text></svg>",
        LEFT + WIDTH / 2.0,
        TOP + HEIGHT + 34.0,
        TOP + HEIGHT / 2.0
    );
    svg
}

/// The ROC of outliers among inliers.
pub(super) fn curve(inliers: &[f64], outliers: &[f64]) -> String {
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
        "<svg width=\"300\" height=\"300\" viewBox=\"0 0 300 300\" role=\"img\" aria-label=\"ROC\">\
         <rect x=\"10\" y=\"10\" width=\"280\" height=\"280\" class=\"axis\"/><path d=\"M10 290L290 10\" class=\"grid\"/>\
         <polyline points=\"{}\" class=\"curve\"/></svg>",
        path.trim_end()
    )
}

/// Two sets on one logarithmic scale.
pub(super) fn comparison(inliers: &[f64], outliers: &[f64]) -> String {
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
        "<svg width=\"420\" height=\"300\" viewBox=\"0 0 420 300\" role=\"img\" aria-label=\"histograms of strangeness\">{bars}\
         <path d=\"M10 280H410\" class=\"axis\"/></svg>"
    )
}

/// Round numbers between two, some three to nine of them.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 8.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * power);
    if !(step.is_finite() && step > 0.0) {
        return Vec::new();
    }
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    // A range that is tiny beside its numbers has no round ones in it that differ.
    (first..=last.min(first.saturating_add(20)))
        .map(|place| place as f64 * step)
        .collect()
}

/// A tick without the noise of binary fractions.
fn plain(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    let text = if text == "-0" { "0" } else { text };
    text.replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.7, 7.3), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        for (low, high) in [(0.0, 1.0), (-4600.0, -900.0), (1e-9, 2e-9), (0.0, 3.0)] {
            let found = ticks(low, high);
            assert!((3..=9).contains(&found.len()), "{found:?}");
            assert!(found.iter().all(|tick| (low..=high).contains(tick)));
        }
        assert!(ticks(1.0, 1.0).is_empty());
        assert_eq!(plain(0.1 + 0.2), "0.3");
        assert_eq!(plain(-1500.0), "−1500");
    }

    #[test]
    fn charts_survive_numbers_of_every_size() {
        for values in [
            vec![2.0],
            vec![0.0, 1e12],
            vec![-1e-300, 1e-300],
            vec![3.0; 5],
        ] {
            let svg = histogram(&values, values[0], ("a", "b", -543.4));
            assert!(svg.contains("<rect") && !svg.contains("NaN") && !svg.contains("inf"));
        }
        let svg = comparison(&[0.0, 1e12], &[f64::MAX, -3.0]);
        assert!(svg.contains("<rect") && !svg.contains("NaN"));
        assert!(curve(&[1.0; 2000], &[0.0, 2.0]).contains("290.00,10.00"));
        let svg = reliability(&[(0, 0.0, 0.0), (3, 0.9, 1.0)]);
        assert_eq!(
            svg.matches("<rect").count(),
            3,
            "a bin without images has no bars"
        );
    }
}
