//! Axes: from values to places in a chart, with round numbers along the way.

use maud::{Markup, html};

/// The size of every chart. Small, so that its letters can be read on a telephone.
pub(super) const WIDTH: f64 = 420.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 14.0;

/// The rectangle that values are drawn in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plot {
    /// Least and greatest value across.
    pub(super) x: (f64, f64),
    /// Least and greatest value upwards.
    pub(super) y: (f64, f64),
    /// Its upper edge.
    pub(super) top: f64,
    /// Its height.
    pub(super) height: f64,
}

impl Plot {
    /// A plot of shares, 0 to 1 both ways.
    pub(super) fn of_shares(top: f64, height: f64) -> Self {
        Self {
            x: (0.0, 1.0),
            y: (0.0, 1.0),
            top,
            height,
        }
    }

    /// Where a value lies across.
    pub(super) fn across(&self, value: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * share(value, self.x)
    }

    /// Where a value lies downwards.
    pub(super) fn down(&self, value: f64) -> f64 {
        self.top + self.height * (1.0 - share(value, self.y))
    }

    /// The lower edge.
    pub(super) fn bottom(&self) -> f64 {
        self.top + self.height
    }

    /// Points of a polyline.
    pub(super) fn points(&self, points: &[(f64, f64)]) -> String {
        let point = |&(x, y): &(f64, f64)| format!("{:.1},{:.1} ", self.across(x), self.down(y));
        points.iter().map(point).collect::<String>().trim_end().to_owned()
    }

    /// Lines across with numbers at their left, and the name of the axis.
    pub(super) fn left_axis(&self, name: &str) -> Markup {
        let middle = self.top + self.height / 2.0;
        html! {
            @for value in ticks(self.y.0, self.y.1) {
                path class="grid" d=(format!("M{LEFT} {:.1}H{}", self.down(value), WIDTH - RIGHT)) {}
                text x=(LEFT - 6.0) y=(format!("{:.1}", self.down(value) + 4.0)) text-anchor="end" { (plain(value)) }
            }
            text transform=(format!("translate(12 {middle}) rotate(-90)")) text-anchor="middle" { (name) }
        }
    }

    /// Numbers along the lower edge, and the name of the axis.
    pub(super) fn lower_axis(&self, name: &str) -> Markup {
        let marks = ticks(self.x.0, self.x.1);
        let marks: Vec<(f64, String)> = marks.into_iter().map(|at| (at, plain(at))).collect();
        self.marked_axis(name, &marks)
    }

    /// The same with other marks than round numbers.
    pub(super) fn marked_axis(&self, name: &str, marks: &[(f64, String)]) -> Markup {
        let bottom = self.bottom();
        html! {
            path class="axis" d=(format!("M{LEFT} {bottom}H{}", WIDTH - RIGHT)) {}
            @for (value, text) in marks {
                path class="axis" d=(format!("M{:.1} {bottom}v4", self.across(*value))) {}
                text x=(format!("{:.1}", self.across(*value))) y=(bottom + 17.0) text-anchor="middle" { (text) }
            }
            text x=((LEFT + WIDTH - RIGHT) / 2.0) y=(bottom + 34.0) text-anchor="middle" { (name) }
        }
    }

    /// Numbers of a second quantity along the upper edge, one unit of the value being `factor` of it.
    pub(super) fn upper_axis(&self, name: &str, factor: f64) -> Markup {
        let (low, high) = (self.x.0 * factor, self.x.1 * factor);
        let top = self.top;
        html! {
            path class="axis" d=(format!("M{LEFT} {top}H{}", WIDTH - RIGHT)) {}
            @for value in ticks(low.min(high), low.max(high)) {
                path class="axis" d=(format!("M{:.1} {top}v-4", self.across(value / factor))) {}
                text x=(format!("{:.1}", self.across(value / factor))) y=(top - 8.0) text-anchor="middle" {
                    (plain(value))
                }
            }
            text x=((LEFT + WIDTH - RIGHT) / 2.0) y=(top - 25.0) text-anchor="middle" { (name) }
        }
    }
}

/// How far a value lies between two.
fn share(value: f64, (low, high): (f64, f64)) -> f64 {
    let spread = if high > low { high - low } else { 1.0 };
    ((value - low) / spread).clamp(0.0, 1.0)
}

/// Round numbers between two, some three to seven of them.
pub(super) fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 6.0;
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
pub(super) fn plain(value: f64) -> String {
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
        assert_eq!(ticks(0.7, 6.3), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        for (low, high) in [(0.0, 1.0), (-4600.0, -900.0), (1e-9, 2e-9), (0.0, 3.0)] {
            let found = ticks(low, high);
            assert!((3..=7).contains(&found.len()), "{found:?}");
            assert!(found.iter().all(|tick| (low..=high).contains(tick)));
        }
        assert!(ticks(1.0, 1.0).is_empty());
        assert_eq!(plain(0.1 + 0.2), "0.3");
        assert_eq!(plain(-1500.0), "−1500");
    }
}
