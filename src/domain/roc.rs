//! How well a number tells outliers, which should have large values, from inliers.

use super::random::{Random, Stream};

/// Figures of one number on inliers and outliers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// P(an outlier's number is larger than an inlier's), ties counted half: the area under the ROC curve.
    pub auroc: f64,
    /// Average precision with the outliers as what is looked for.
    pub aupr_out: f64,
    /// Average precision with the inliers as what is looked for.
    pub aupr_in: f64,
    /// The share of inliers rejected when 95 % of the outliers are.
    pub fpr_at_95: f64,
    /// The share of inliers rejected when 80 % of the outliers are.
    pub fpr_at_80: f64,
}

/// Figures of numbers of inliers and outliers, of which there must be at least one each.
pub fn figures(inliers: &[f64], outliers: &[f64]) -> Figures {
    let groups = groups(inliers, outliers);
    Figures {
        auroc: auroc(&groups),
        aupr_out: average_precision(groups.iter().rev().map(|g| (g.outliers, g.inliers))),
        aupr_in: average_precision(groups.iter().map(|g| (g.inliers, g.outliers))),
        fpr_at_95: false_positives(&groups, 0.95),
        fpr_at_80: false_positives(&groups, 0.8),
    }
}

/// Between which values 95 % of the figures lie when inliers and outliers are drawn again from themselves (Efron's
/// percentile bootstrap). The same numbers give the same intervals.
pub fn bootstrap(inliers: &[f64], outliers: &[f64], rounds: usize) -> [Figures; 2] {
    let draw = |values: &[f64], round: usize, side: u64| -> Vec<f64> {
        let random = Random::new(side, Stream::Probe, round as u64);
        (0..values.len())
            .map(|i| values[((random.uniform(i as u32) * values.len() as f64) as usize).min(values.len() - 1)])
            .collect()
    };
    let drawn: Vec<Figures> = (0..rounds)
        .map(|round| figures(&draw(inliers, round, 1), &draw(outliers, round, 2)))
        .collect();
    [0.025, 0.975].map(|share| {
        let quantile = |of: fn(&Figures) -> f64| {
            let mut values: Vec<f64> = drawn.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            let place = (share * (values.len() - 1) as f64).round() as usize;
            values[place]
        };
        Figures {
            auroc: quantile(|f| f.auroc),
            aupr_out: quantile(|f| f.aupr_out),
            aupr_in: quantile(|f| f.aupr_in),
            fpr_at_95: quantile(|f| f.fpr_at_95),
            fpr_at_80: quantile(|f| f.fpr_at_80),
        }
    })
}

/// The area under the ROC curve and its standard error by placements (DeLong, DeLong and Clarke-Pearson 1988).
pub fn auroc_with_error(inliers: &[f64], outliers: &[f64]) -> (f64, f64) {
    let sorted = |values: &[f64]| {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        values
    };
    let placements = |values: &[f64], among: &[f64]| -> Vec<f64> {
        values
            .iter()
            .map(|&v| {
                let below = among.partition_point(|&x| x < v);
                let up_to = among.partition_point(|&x| x <= v);
                (below + up_to) as f64 / (2 * among.len()) as f64
            })
            .collect()
    };
    let moments = |values: &[f64]| {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
        (mean, square / (n - 1.0).max(1.0) / n)
    };
    let (area, first) = moments(&placements(outliers, &sorted(inliers)));
    let (_, second) = moments(&placements(inliers, &sorted(outliers)));
    (area, (first + second).sqrt())
}

/// The ROC curve as (share of inliers rejected, share of outliers rejected), from (0, 0) to (1, 1).
pub fn curve(inliers: &[f64], outliers: &[f64]) -> Vec<(f64, f64)> {
    let (n, m) = (inliers.len() as f64, outliers.len() as f64);
    let (mut x, mut y) = (0.0, 0.0);
    let mut points = vec![(0.0, 0.0)];
    for group in groups(inliers, outliers).iter().rev() {
        x += group.inliers / n;
        y += group.outliers / m;
        points.push((x, y));
    }
    points
}

/// How many inliers and outliers share one value.
struct Group {
    inliers: f64,
    outliers: f64,
}

/// Counts by value, in ascending order.
fn groups(inliers: &[f64], outliers: &[f64]) -> Vec<Group> {
    let mut all: Vec<(f64, bool)> = inliers
        .iter()
        .map(|&value| (value, false))
        .chain(outliers.iter().map(|&value| (value, true)))
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all.chunk_by(|a, b| a.0 == b.0)
        .map(|same| {
            let outliers = same.iter().filter(|(_, outlier)| *outlier).count();
            Group {
                inliers: (same.len() - outliers) as f64,
                outliers: outliers as f64,
            }
        })
        .collect()
}

fn auroc(groups: &[Group]) -> f64 {
    let (mut below, mut wins, mut outliers) = (0.0, 0.0, 0.0);
    for group in groups {
        wins += group.outliers * (below + group.inliers / 2.0);
        below += group.inliers;
        outliers += group.outliers;
    }
    wins / (below * outliers)
}

/// Σ precision · step of recall, over (wanted, unwanted) from the surest down.
fn average_precision(groups: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let total: f64 = groups.clone().map(|(wanted, _)| wanted).sum();
    let (mut found, mut all, mut sum) = (0.0, 0.0, 0.0);
    for (wanted, unwanted) in groups {
        found += wanted;
        all += wanted + unwanted;
        sum += wanted / total * found / all;
    }
    sum
}

fn false_positives(groups: &[Group], detected: f64) -> f64 {
    let inliers: f64 = groups.iter().map(|g| g.inliers).sum();
    let outliers: f64 = groups.iter().map(|g| g.outliers).sum();
    let (mut x, mut y) = (0.0, 0.0);
    for group in groups.iter().rev() {
        x += group.inliers;
        y += group.outliers;
        // Shares are compared as counts, so that rounding cannot ask for one outlier more.
        if y + 1e-9 >= detected * outliers {
            break;
        }
    }
    x / inliers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_by_hand() {
        let f = figures(&[1.0, 2.0, 3.0, 4.0], &[3.0, 5.0]);
        // Of 8 pairs: 5 beats 4; 3 beats 2, ties 1 and loses 1.
        assert!((f.auroc - 6.5 / 8.0).abs() < 1e-12);
        // 5 first, precision 1; then 4; then 3 with 3: 2 of 4.
        assert!((f.aupr_out - (0.5 + 0.5 * 0.5)).abs() < 1e-12);
        assert_eq!((f.fpr_at_95, f.fpr_at_80), (0.5, 0.5));
        let (area, error) = auroc_with_error(&[1.0, 2.0, 3.0, 4.0], &[3.0, 5.0]);
        assert!((area - f.auroc).abs() < 1e-12 && error > 0.0);
    }

    #[test]
    fn perfect_and_useless_numbers() {
        let low: Vec<f64> = (0..100).map(f64::from).collect();
        let high: Vec<f64> = (100..200).map(f64::from).collect();
        let perfect = figures(&low, &high);
        assert_eq!((perfect.auroc, perfect.fpr_at_95), (1.0, 0.0));
        assert!((perfect.aupr_in - 1.0).abs() < 1e-12 && (perfect.aupr_out - 1.0).abs() < 1e-12);
        assert_eq!(figures(&high, &low).auroc, 0.0);
        let constant = figures(&[1.0; 10], &[1.0; 5]);
        assert_eq!((constant.auroc, constant.fpr_at_95), (0.5, 1.0));
        let [from, to] = bootstrap(&low, &high, 20);
        assert_eq!((from.auroc, to.auroc), (1.0, 1.0));
        assert_eq!(curve(&low, &high).last().map(|p| p.1.round()), Some(1.0));
    }
}
