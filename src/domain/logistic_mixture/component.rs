//! One component of a mixture: a logistic distribution, binned into levels.

use std::ops::Range;

/// A component, with the mean and the scale of the channel that is asked about.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Component {
    pub(super) log_weight: f64,
    pub(super) weight: f64,
    /// In levels.
    pub(super) mean: f64,
    /// Inverse scale, for each level.
    pub(super) steepness: f64,
}

impl Component {
    /// log P(level): with a and b the lower and the upper edge in scales, σ(b) − σ(a) = σ(b) σ(−a) (1 − e^(a−b)), of
    /// which no factor cancels, however far out in a tail the level lies.
    pub(super) fn log_probability(&self, level: f64, top: f64) -> f64 {
        let lower = (level - 0.5 - self.mean) * self.steepness;
        let upper = (level + 0.5 - self.mean) * self.steepness;
        let (is_lowest, is_highest) = (level <= 0.0, level >= top);
        // −log σ(x) = max(−x, 0) + log(1 + e^−|x|); the logarithms are taken together.
        let mut odds = 1.0;
        let mut linear = 0.0;
        if !is_highest {
            odds *= 1.0 + libm::exp(-upper.abs());
            linear += (-upper).max(0.0);
        }
        if !is_lowest {
            odds *= 1.0 + libm::exp(-lower.abs());
            linear += lower.max(0.0);
        }
        let width = if is_lowest || is_highest {
            1.0
        } else {
            -libm::expm1(-self.steepness)
        };
        libm::log(width / odds) - linear
    }

    /// Adds its share of the probability of every level to `sums`. `odds` has a place for every edge between levels.
    ///
    /// Edges are equally far from each other, so e^−|edge| is a geometric sequence on either side of the mean, falling
    /// outwards: three exponentials are enough.
    pub(super) fn add_probabilities(&self, odds: &mut [f64], sums: &mut [f64]) {
        let edges = odds.len();
        let distance = |edge: usize| ((edge as f64 + 0.5 - self.mean) * self.steepness).abs();
        let ratio = libm::exp(-self.steepness);
        // The first edge that is not below the mean.
        let middle = (self.mean - 0.5).ceil().clamp(0.0, edges as f64) as usize;
        let (below, above) = odds.split_at_mut(middle);
        fill_falling(below.iter_mut().rev(), || libm::exp(-distance(middle - 1)), ratio);
        fill_falling(above.iter_mut(), || libm::exp(-distance(middle)), ratio);
        // Of a level, the part inside the component is a product of three factors, as in `log_probability`; the share
        // that falls outwards is that of the edge nearer to the mean.
        let width = self.weight * -libm::expm1(-self.steepness);
        add_inner(1..middle, (odds, sums), width, |_, upper| upper);
        add_inner(middle..middle + 1, (odds, sums), width, |_, _| 1.0);
        add_inner(middle + 1..edges, (odds, sums), width, |lower, _| lower);
        let (first, last) = (odds[0], odds[edges - 1]);
        let first_share = if middle > 0 { first } else { 1.0 };
        let last_share = if middle < edges { last } else { 1.0 };
        sums[0] += self.weight * first_share / (1.0 + first);
        sums[edges] += self.weight * last_share / (1.0 + last);
    }
}

/// Adds a component's share of levels between the edges to `sums`: of the odds of a level's two edges, `falling` says
/// which share falls outwards. Without a branch, so that the processor takes several levels at once.
fn add_inner(levels: Range<usize>, (odds, sums): (&[f64], &mut [f64]), width: f64, falling: impl Fn(f64, f64) -> f64) {
    let levels = levels.start.max(1)..levels.end.min(odds.len());
    if levels.is_empty() {
        return;
    }
    let edges = odds[levels.start - 1..].iter().zip(&odds[levels.clone()]);
    for (sum, (&lower, &upper)) in sums[levels].iter_mut().zip(edges) {
        *sum += width * falling(lower, upper) / ((1.0 + lower) * (1.0 + upper));
    }
}

/// `first`, first · ratio, first · ratio², ….
fn fill_falling<'a>(places: impl Iterator<Item = &'a mut f64>, first: impl Fn() -> f64, ratio: f64) {
    let mut value = None;
    for place in places {
        let own: f64 = value.map_or_else(&first, |value: f64| value * ratio);
        *place = own;
        value = Some(own);
    }
}
