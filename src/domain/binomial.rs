//! Binomial and beta-binomial probabilities, summed term by term.

/// log Γ(x) for x > 0 (Lanczos' approximation with g = 7 and nine terms, good to about 1e-13).
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let t = x + 7.5;
    let sum: f64 = TERMS[1..]
        .iter()
        .enumerate()
        .map(|(i, term)| term / (x + i as f64 + 1.0))
        .sum();
    0.5 * std::f64::consts::TAU.ln() + (x + 0.5) * t.ln() - t + (TERMS[0] + sum).ln()
}

fn ln_choose(n: u64, k: u64) -> f64 {
    ln_gamma(n as f64 + 1.0) - ln_gamma(k as f64 + 1.0) - ln_gamma((n - k) as f64 + 1.0)
}

fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// P(Bin(n, p) ≤ k) for 0 < p < 1.
pub fn binomial_cdf(k: u64, n: u64, p: f64) -> f64 {
    if k >= n {
        return 1.0;
    }
    // Terms by their ratios from the first, which is exact where it is no underflow; else one by one.
    let ln_first = n as f64 * (-p).ln_1p();
    if ln_first > -700.0 {
        let (mut term, mut sum) = (ln_first.exp(), ln_first.exp());
        for j in 0..k {
            term *= (n - j) as f64 / (j + 1) as f64 * (p / (1.0 - p));
            sum += term;
        }
        return sum.min(1.0);
    }
    let term = |j: u64| (ln_choose(n, j) + j as f64 * p.ln() + (n - j) as f64 * (-p).ln_1p()).exp();
    (0..=k).map(term).sum::<f64>().min(1.0)
}

/// The smallest and the largest of the counts out of m that a beta-binomial(m, a, b) takes with probability at least
/// `confidence` when as much is cut from either end.
pub fn beta_binomial_interval(m: u64, a: f64, b: f64, confidence: f64) -> (u64, u64) {
    beta_binomial_sum_interval(&[(m, a, b)], confidence)
}

/// The same of the sum of independent counts, the parts being (m, a, b) of each.
pub fn beta_binomial_sum_interval(parts: &[(u64, f64, f64)], confidence: f64) -> (u64, u64) {
    let mut sums = vec![1.0];
    for &(m, a, b) in parts {
        let term = |k: u64| (ln_choose(m, k) + ln_beta(k as f64 + a, (m - k) as f64 + b) - ln_beta(a, b)).exp();
        let own: Vec<f64> = (0..=m).map(term).collect();
        let mut both = vec![0.0; sums.len() + own.len() - 1];
        for (place, sum) in sums.iter().enumerate() {
            for (both, term) in both[place..].iter_mut().zip(&own) {
                *both += sum * term;
            }
        }
        sums = both;
    }
    let cut = (1.0 - confidence) / 2.0;
    let (mut sum, mut low, mut high) = (0.0, None, sums.len() as u64 - 1);
    for (k, term) in (0..).zip(&sums) {
        sum += term;
        if low.is_none() && sum > cut {
            low = Some(k);
        }
        if sum >= 1.0 - cut {
            high = k;
            break;
        }
    }
    (low.unwrap_or(0), high)
}

/// Wilson's score interval for a share of `successes` among `count` at 95 %.
pub fn wilson_interval(successes: u64, count: u64) -> (f64, f64) {
    const Z: f64 = 1.959_963_984_540_054;
    if count == 0 {
        return (0.0, 1.0);
    }
    let n = count as f64;
    let p = successes as f64 / n;
    let centre = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_cases_by_hand() {
        assert!((binomial_cdf(0, 3, 0.5) - 0.125).abs() < 1e-15);
        assert!((binomial_cdf(1, 3, 0.5) - 0.5).abs() < 1e-15);
        assert_eq!(binomial_cdf(3, 3, 0.5), 1.0);
        assert!((ln_gamma(5.0) - 24f64.ln()).abs() < 1e-12);
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-12);
        // A beta-binomial with a = b = 1 is uniform on 0..=m.
        assert_eq!(beta_binomial_interval(99, 1.0, 1.0, 0.89), (5, 94));
        // Two dice: 2 to 12 with 36 outcomes, of which one is cut from either end.
        let die = (5, 1.0, 1.0);
        assert_eq!(beta_binomial_sum_interval(&[die, die], 1.0 - 2.2 / 36.0), (1, 9));
    }

    #[test]
    fn both_ways_of_summing_agree() {
        // 2000 · ln 0.65 is below −700, 1000 · ln 0.65 is not.
        let by_ratio = binomial_cdf(340, 1000, 0.35);
        let direct: f64 = (0..=340)
            .map(|j| (ln_choose(1000, j) + j as f64 * 0.35f64.ln() + (1000 - j) as f64 * 0.65f64.ln()).exp())
            .sum();
        assert!((by_ratio - direct).abs() < 1e-9);
        assert!((binomial_cdf(700, 2000, 0.35) - 0.5).abs() < 0.02);
    }

    #[test]
    fn wilson_holds_the_share_and_stays_inside() {
        let (low, high) = wilson_interval(0, 100);
        assert!(low < 1e-12 && (high - 0.037).abs() < 1e-3);
        let (low, high) = wilson_interval(50, 100);
        assert!(low < 0.5 && 0.5 < high && (low + high - 1.0).abs() < 1e-12);
    }
}
