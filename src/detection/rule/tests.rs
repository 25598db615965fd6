use super::*;
use crate::detection::statistics::{
    density::NEGATIVE_LOG_LIKELIHOOD,
    image::{BRIGHTNESS, CODE_LENGTH, CONTRAST, TOTAL_VARIATION},
    latent::LATENT_MEAN,
};
use crate::domain::random::{Random, Stream};

fn plan() -> Plan {
    let density = |name: &str, statistics: &[Statistic], axes| DensityPlan {
        name: name.to_owned(),
        statistics: statistics.to_vec(),
        axes,
        components: 2,
    };
    Plan {
        statistics: vec![NEGATIVE_LOG_LIKELIHOOD, CODE_LENGTH, LATENT_MEAN],
        densities: vec![
            density("numbers", &[NEGATIVE_LOG_LIKELIHOOD, CODE_LENGTH], 8),
            density("code", &[LATENT_MEAN], 2),
        ],
        excess: Vec::new(),
        guarded: Vec::new(),
    }
}

/// Two numbers that go together, and a code near a plane.
fn measured(seed: u64, count: u64) -> Vec<Measured> {
    (0..count)
        .map(|image| {
            let random = Random::new(seed, Stream::Probe, image);
            let size = 1000.0 + 300.0 * random.normal(0);
            let other = size + 20.0 * random.normal(1);
            let (a, b) = (random.normal(2), random.normal(3));
            vec![vec![size], vec![other], vec![a, b, a + b + 0.1 * random.normal(4)]]
        })
        .collect()
}

fn rule() -> Rule {
    Rule::fit(plan(), &measured(1, 400), &measured(2, 300), 0).unwrap()
}

#[test]
fn odd_combinations_of_ordinary_values_are_strange() {
    let rule = rule();
    let usual = rule.judge(&vec![vec![1000.0], vec![1000.0], vec![0.5, 0.5, 1.07]]);
    let apart = rule.judge(&vec![vec![700.0], vec![1300.0], vec![0.5, 0.5, 1.07]]);
    let off_plane = rule.judge(&vec![vec![1000.0], vec![1000.0], vec![0.5, 0.5, -1.0]]);
    assert!(usual.strangeness < 3.0, "{usual:?}");
    assert!(apart.strangeness > 15.0, "{apart:?}");
    assert!(off_plane.strangeness > 15.0, "{off_plane:?}");
    // Each number alone is ordinary.
    assert!(apart.statistics[0].unwrap() > 0.1 && apart.statistics[1].unwrap() > 0.1);
    assert!(apart.densities[0].p_value < 0.004 && apart.densities[1].p_value > 0.02);
    assert_eq!(apart.statistics[2], None);
}

#[test]
fn numbers_are_ranked_among_all_images_and_densities_among_those_they_were_not_fitted_to() {
    let rule = rule();
    assert_eq!(rule.ranks[0].as_ref().unwrap().values().len(), 400 + 300);
    assert!(rule.densities.iter().all(|density| density.tail.values().len() == 300));
}

#[test]
fn the_same_images_and_seed_give_the_same_rule() {
    assert_eq!(rule(), rule());
}

#[test]
fn too_few_images_are_refused() {
    let error = Rule::fit(plan(), &measured(1, 400), &measured(2, 99), 0).unwrap_err();
    assert!(error.to_string().contains("99 images to rank"), "{error}");
}

#[test]
fn tails_rank_and_go_on_beyond_the_last_value() {
    let tail = Tail::new((0..1000).map(f64::from));
    assert_eq!(tail.upper(-1.0), 1.0);
    assert_eq!(tail.upper(999.0), 2.0 / 1001.0);
    assert_eq!(tail.upper(5000.0), 1.0 / 1001.0);
    assert_eq!(tail.two_sided(-1.0), 2.0 / 1001.0);
    assert_eq!(tail.two_sided(500.0), 1.0);
    let mut previous = 0.0;
    for step in 0..2000 {
        let evidence = tail.evidence(f64::from(step));
        assert!(evidence >= previous - 1e-3, "{step}");
        previous = evidence;
    }
    assert!(tail.evidence(1e6) > 1000.0);
    let constant = Tail::new(std::iter::repeat_n(3.0, 200));
    assert!(constant.evidence(3.0) < 1e-9 && constant.evidence(3.1) > 100.0);
}

/// Numbers that are all the same one, or that have nothing to do with one another.
fn numbers(seed: u64, count: u64, correlated: bool) -> Vec<Measured> {
    (0..count)
        .map(|image| {
            let random = Random::new(seed, Stream::Prior, image);
            let number = |place: u32| random.normal(if correlated { 0 } else { place });
            vec![vec![number(0)], vec![number(1)], vec![number(2), number(3), number(4)]]
        })
        .collect()
}

#[test]
fn the_promise_holds_for_statistics_that_are_one_and_for_independent_ones() {
    use crate::domain::{
        binomial::beta_binomial_interval,
        conformal::{Calibration, certified_rank},
    };
    for correlated in [true, false] {
        let part = |seed, count| numbers(seed, count, correlated);
        let rule = Rule::fit(plan(), &part(1, 300), &part(2, 200), 0).unwrap();
        let strangeness = |m: &Measured| rule.judge(m).strangeness;
        let calibration = Calibration::new(part(3, 1000).iter().map(strangeness).collect()).unwrap();
        for (rate, confidence) in [(0.05, Some(0.95)), (0.05, None), (0.2, None)] {
            let threshold = calibration.threshold(rate, confidence).unwrap();
            let fresh = part(4, 4000);
            let p_values = fresh.iter().map(|m| calibration.upper_p_value(strangeness(m)));
            let rejected = p_values.filter(|&p| p <= threshold).count() as u64;
            let k = confidence.map_or((rate * 1001.0) as usize, |c| certified_rank(1000, rate, c));
            let (low, high) = beta_binomial_interval(4000, k as f64, (1001 - k) as f64, 0.9999);
            assert!(
                (low..=high).contains(&rejected),
                "{correlated} {rate} {confidence:?}: {rejected} not in {low}..={high}"
            );
        }
    }
}

#[test]
fn an_excess_sees_only_what_is_too_large() {
    let own = Plan {
        excess: vec![NEGATIVE_LOG_LIKELIHOOD, CODE_LENGTH],
        ..plan()
    };
    let rule = Rule::fit(own, &measured(1, 400), &measured(2, 300), 0).unwrap();
    assert_eq!(rule.plan.deciding().last(), Some("excess"));
    let excess = |size: f64, other: f64| {
        let judgement = rule.judge(&vec![vec![size], vec![other], vec![0.5, 0.5, 1.07]]);
        *judgement.densities.last().unwrap()
    };
    let (small, usual, large) = (excess(-2000.0, -2000.0), excess(1000.0, 1000.0), excess(4000.0, 4000.0));
    assert!(small.value < usual.value && usual.value < large.value);
    assert!(small.p_value > 0.9 && usual.p_value > 0.2 && large.p_value < 0.004);
    // Beyond all inliers it still tells strange from stranger.
    assert!(excess(5000.0, 5000.0).evidence > large.evidence);
}

#[test]
fn a_guarded_number_is_seen_alone_and_only_where_it_is_large() {
    // Five numbers that have nothing to do with one another: one that is a little too large for all inliers is spread
    // thin by their density.
    let statistics = [
        NEGATIVE_LOG_LIKELIHOOD,
        CODE_LENGTH,
        BRIGHTNESS,
        CONTRAST,
        TOTAL_VARIATION,
    ];
    let own = |guarded: &[Statistic]| Plan {
        statistics: statistics.to_vec(),
        densities: vec![DensityPlan {
            name: "numbers".to_owned(),
            statistics: statistics.to_vec(),
            axes: 8,
            components: 8,
        }],
        excess: Vec::new(),
        guarded: guarded.to_vec(),
    };
    let part = |seed, count| -> Vec<Measured> {
        let image = |image| {
            let random = Random::new(seed, Stream::Probe, image);
            (0..5).map(|place| vec![random.normal(place)]).collect()
        };
        (0..count).map(image).collect()
    };
    let rule = |guarded: &[Statistic]| Rule::fit(own(guarded), &part(1, 400), &part(2, 400), 0).unwrap();
    let strangeness = |rule: &Rule, size: f64| {
        let image = vec![vec![size], vec![0.0], vec![0.0], vec![0.0], vec![0.0]];
        rule.judge(&image).strangeness
    };
    let (plain, guarding) = (rule(&[]), rule(&[NEGATIVE_LOG_LIKELIHOOD]));
    assert!(strangeness(&guarding, 2.8) > strangeness(&plain, 2.8) + 1.0);
    assert!(strangeness(&guarding, -2.8) < strangeness(&guarding, 2.8) - 1.0);
    // Inliers of one cloud are explained by one Gaussian, however many may be.
    assert_eq!(guarding.plan.densities[0].components, 1);
}
