//! Mixtures of Gaussians: the density of a vector of statistics on inliers.

use super::{
    algebra::{cholesky, invert_lower, mirror, moments},
    random::{Random, Stream},
};

/// Rounds of expectation and maximisation.
const ROUNDS: usize = 40;

/// Starts that are tried, because a start can leave two components in one place.
const STARTS: u64 = 4;

/// Rounds after which the most likely start is chosen.
const TRIAL_ROUNDS: usize = 6;

/// The share of the overall variance that is added to every component's, so that none can collapse onto few points.
const FLOOR: f64 = 0.01;

/// Σ wⱼ N(mⱼ, Sⱼ).
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture {
    /// Its components.
    pub components: Vec<Component>,
}

/// One Gaussian of a mixture. Parameters have single precision: they are written to files.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// log w − ½ log det S − (d/2) log 2π.
    pub log_weight: f32,
    /// m, of d numbers.
    pub mean: Vec<f32>,
    /// The inverse W of the lower Cholesky factor of S: its rows one after the other, up to the diagonal, d(d+1)/2
    /// numbers. The Mahalanobis distance is |W(x − m)|.
    pub whitening: Vec<f32>,
}

impl Mixture {
    /// Fits `components` Gaussians with full covariances by expectation and maximisation (Dempster, Laird and Rubin
    /// 1977) from the best of four starts by k-means++ (Arthur and Vassilvitskii 2007). Each covariance is drawn
    /// towards the overall one, narrowed by components^(−2/d), as if d points more had been seen of it, and widened by
    /// 1 % of the overall variances.
    ///
    /// `points` are vectors of equal length d ≥ 1; there must be more than d of them. The same points and seed give the
    /// same mixture.
    pub fn fit(points: &[Vec<f64>], components: usize, seed: u64) -> Option<Self> {
        let (count, size) = (points.len(), points.first()?.len());
        if count <= size || size == 0 {
            return None;
        }
        let components = components.clamp(1, count / (size + 1));
        let (_, mut overall) = moments(points);
        for i in 0..size {
            overall[i * size + i] += 1e-9;
        }
        let narrowing = (components as f64).powf(-2.0 / size as f64);
        let prior: Vec<f64> = overall.iter().map(|v| v * narrowing).collect();
        let deviations: Vec<f64> = (0..size).map(|i| overall[i * size + i].sqrt()).collect();
        let mut best: Option<(f64, Vec<State>)> = None;
        for attempt in 0..STARTS {
            let mut states: Vec<State> = start(points, &deviations, components, seed, attempt)
                .into_iter()
                .map(|place| State {
                    weight: 1.0 / components as f64,
                    mean: points[place].clone(),
                    covariance: prior.clone(),
                })
                .collect();
            let mut likelihood = f64::NEG_INFINITY;
            for _ in 0..TRIAL_ROUNDS {
                likelihood = improve(points, &mut states, &overall, &prior)?;
            }
            if best.as_ref().is_none_or(|(other, _)| likelihood > *other) {
                best = Some((likelihood, states));
            }
        }
        let (_, mut states) = best?;
        for _ in 0..ROUNDS {
            improve(points, &mut states, &overall, &prior)?;
        }
        Self::of(&states, size)
    }

    /// The mixture of at most `most` Gaussians that explains best what it was not fitted to: of one, two, four and so
    /// on, that number which gives each half of the points the largest log-likelihood when it is fitted to the other
    /// half. Few points in many dimensions get one, and many points as many as they show. Every other point is in a
    /// half: their order must say nothing, as that of a permutation does not.
    pub fn choose(points: &[Vec<f64>], most: usize, seed: u64) -> Option<Self> {
        let half = |parity: usize| points.iter().skip(parity).step_by(2).cloned().collect::<Vec<_>>();
        let halves = [half(0), half(1)];
        let explained = |components: usize| -> Option<f64> {
            let both = [(&halves[0], &halves[1]), (&halves[1], &halves[0])].into_iter();
            both.map(|(seen, other)| {
                let mixture = Self::fit(seen, components, seed)?;
                Some(-other.iter().map(|point| mixture.surprise(point)).sum::<f64>())
            })
            .sum()
        };
        let mut best = (1, f64::NEG_INFINITY);
        for components in std::iter::successors(Some(1), |k| Some(2 * k)).take_while(|&k| k <= most.max(1)) {
            // Halves that are too small for a Gaussian leave one.
            match explained(components) {
                Some(likelihood) if likelihood > best.1 => best = (components, likelihood),
                _ => {}
            }
        }
        Self::fit(points, best.0, seed)
    }

    fn of(states: &[State], size: usize) -> Option<Self> {
        let component = |state: &State| {
            let factor = cholesky(&state.covariance, size)?;
            let inverse = invert_lower(&factor, size);
            let log_det: f64 = (0..size).map(|i| factor[i * size + i].ln()).sum();
            let constant = 0.5 * size as f64 * std::f64::consts::TAU.ln();
            Some(Component {
                log_weight: (state.weight.ln() - log_det - constant) as f32,
                mean: state.mean.iter().map(|&m| m as f32).collect(),
                whitening: (0..size)
                    .flat_map(|row| inverse[row * size..=row * size + row].iter())
                    .map(|&w| w as f32)
                    .collect(),
            })
        };
        let components = states.iter().map(component).collect::<Option<_>>()?;
        Some(Self { components })
    }

    /// −log density of a point, in nats.
    pub fn surprise(&self, point: &[f64]) -> f64 {
        let mut logs = vec![0.0; self.components.len()];
        self.log_densities(point, &mut logs);
        -super::likelihood::log_sum_exp(&logs)
    }

    fn log_densities(&self, point: &[f64], logs: &mut [f64]) {
        let mut difference = vec![0.0; point.len()];
        for (log, component) in logs.iter_mut().zip(&self.components) {
            for ((d, x), &m) in difference.iter_mut().zip(point).zip(&component.mean) {
                *d = x - f64::from(m);
            }
            let mut rest = &component.whitening[..];
            let mut distance = 0.0;
            for row in 1..=point.len() {
                let (own, others) = rest.split_at(row);
                rest = others;
                let dot: f64 = own.iter().zip(&difference).map(|(&w, d)| f64::from(w) * d).sum();
                distance += dot * dot;
            }
            *log = f64::from(component.log_weight) - 0.5 * distance;
        }
    }
}

/// One round of expectation and maximisation; answers the log-likelihood before it.
fn improve(points: &[Vec<f64>], states: &mut [State], overall: &[f64], prior: &[f64]) -> Option<f64> {
    let size = points[0].len();
    let mixture = Mixture::of(states, size)?;
    let mut sums: Vec<Sums> = states.iter().map(|_| Sums::new(size)).collect();
    let mut shares = vec![0.0; states.len()];
    let mut likelihood = 0.0;
    for point in points {
        mixture.log_densities(point, &mut shares);
        let total = super::likelihood::log_sum_exp(&shares);
        likelihood += total;
        for (sum, share) in sums.iter_mut().zip(&shares) {
            sum.add(point, (share - total).exp());
        }
    }
    for (state, sum) in states.iter_mut().zip(&mut sums) {
        sum.update(state, overall, prior, points.len());
    }
    Some(likelihood)
}

struct State {
    weight: f64,
    mean: Vec<f64>,
    covariance: Vec<f64>,
}

/// Weighted sums of points.
struct Sums {
    weight: f64,
    first: Vec<f64>,
    second: Vec<f64>,
}

impl Sums {
    fn new(size: usize) -> Self {
        Self {
            weight: 1e-6,
            first: vec![0.0; size],
            second: vec![0.0; size * size],
        }
    }

    fn add(&mut self, point: &[f64], share: f64) {
        if share < 1e-12 {
            return;
        }
        let size = point.len();
        self.weight += share;
        for i in 0..size {
            let weighted = share * point[i];
            self.first[i] += weighted;
            let row = &mut self.second[i * size..=i * size + i];
            for (sum, value) in row.iter_mut().zip(point) {
                *sum += weighted * value;
            }
        }
    }

    fn update(&mut self, state: &mut State, overall: &[f64], prior: &[f64], count: usize) {
        let size = self.first.len();
        state.weight = self.weight / count as f64;
        state.mean = self.first.iter().map(|sum| sum / self.weight).collect();
        let own = self.weight / (self.weight + size as f64);
        for i in 0..size {
            for j in 0..=i {
                let place = i * size + j;
                let covariance = self.second[place] / self.weight - state.mean[i] * state.mean[j];
                let floor = if i == j { FLOOR * overall[place] } else { 0.0 };
                state.covariance[place] = own * covariance + (1.0 - own) * prior[place] + floor;
            }
        }
        mirror(&mut state.covariance, size);
    }
}

/// Places of points far from one another, by k-means++ in units of the deviations.
fn start(points: &[Vec<f64>], deviations: &[f64], components: usize, seed: u64, attempt: u64) -> Vec<usize> {
    let random = Random::new(seed, Stream::Probe, attempt);
    let distance = |a: &[f64], b: &[f64]| -> f64 {
        a.iter()
            .zip(b)
            .zip(deviations)
            .map(|((x, y), s)| ((x - y) / s).powi(2))
            .sum()
    };
    let mut chosen = vec![(random.uniform(0) * points.len() as f64) as usize];
    let mut nearest = vec![f64::INFINITY; points.len()];
    while chosen.len() < components {
        let last = &points[chosen[chosen.len() - 1]];
        for (near, point) in nearest.iter_mut().zip(points) {
            *near = near.min(distance(point, last));
        }
        let mut left = random.uniform(chosen.len() as u32) * nearest.iter().sum::<f64>();
        let place = nearest.iter().position(|near| {
            left -= near;
            left < 0.0
        });
        chosen.push(place.unwrap_or(points.len() - 1));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_clouds(count: u64) -> Vec<Vec<f64>> {
        (0..count)
            .map(|i| {
                let random = Random::new(5, Stream::Probe, i);
                let centre = if i % 2 == 0 { -4.0 } else { 4.0 };
                vec![centre + random.normal(0), 0.5 * random.normal(1)]
            })
            .collect()
    }

    #[test]
    fn two_clouds_are_told_apart_and_between_them_is_strange() {
        let mixture = Mixture::fit(&two_clouds(600), 2, 0).unwrap();
        let mut centres: Vec<f32> = mixture.components.iter().map(|c| c.mean[0]).collect();
        centres.sort_by(f32::total_cmp);
        assert!(
            (centres[0] + 4.0).abs() < 0.3 && (centres[1] - 4.0).abs() < 0.3,
            "{centres:?}"
        );
        let inside = mixture.surprise(&[4.0, 0.0]);
        assert!(mixture.surprise(&[0.0, 0.0]) > inside + 3.0);
        assert!(mixture.surprise(&[1e6, 0.0]) > 1e6);
        // The density of two unit Gaussians half a unit wide in the second coordinate.
        let exact = -(0.5 / (std::f64::consts::TAU * 0.5)).ln();
        assert!((inside - exact).abs() < 0.2, "{inside} {exact}");
    }

    #[test]
    fn as_many_components_are_chosen_as_there_is_to_see() {
        let chosen = |points: &[Vec<f64>]| Mixture::choose(points, 8, 0).unwrap().components.len();
        // Both clouds are in both halves.
        let mut clouds = two_clouds(600);
        clouds.sort_by(|a, b| a[1].total_cmp(&b[1]));
        assert!(chosen(&clouds) >= 2);
        // One cloud in eight dimensions, of which there are few points: more than one would be fitted to chance.
        let one = (0..150).map(|i| {
            let random = Random::new(5, Stream::Probe, i);
            (0..8).map(|place| random.normal(place)).collect()
        });
        assert_eq!(chosen(&one.collect::<Vec<_>>()), 1);
        // A limit is kept, and too few points for halves are still enough for one.
        assert_eq!(Mixture::choose(&clouds, 1, 0).unwrap().components.len(), 1);
        assert_eq!(chosen(&two_clouds(4)), 1);
    }

    #[test]
    fn the_same_points_and_seed_give_the_same_mixture() {
        let points = two_clouds(100);
        assert_eq!(Mixture::fit(&points, 3, 7), Mixture::fit(&points, 3, 7));
        assert_eq!(Mixture::fit(&points[..2], 1, 0), None);
    }

    #[test]
    fn a_coordinate_that_never_varies_is_no_obstacle() {
        let points: Vec<_> = two_clouds(50).into_iter().map(|p| vec![p[0], 3.0]).collect();
        let mixture = Mixture::fit(&points, 2, 0).unwrap();
        assert!(mixture.surprise(&[4.0, 3.0]).is_finite());
        assert!(mixture.surprise(&[4.0, 3.1]) > mixture.surprise(&[4.0, 3.0]) + 100.0);
    }
}
