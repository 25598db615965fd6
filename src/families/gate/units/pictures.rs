//! Pictures that look as if they were in other units: by their range, and by the last operators that made them.

use super::Suspicion;

/// Looks at pictures. `are_means`: whether they are means of a likelihood whose outermost levels take all beyond them,
/// which may lie outside.
pub(in crate::families) fn pictures(values: &[f32], are_means: bool) -> Option<Suspicion> {
    let share = |holds: &dyn Fn(f32) -> bool| {
        let count = values.iter().filter(|&&value| holds(value)).count();
        count as f64 / values.len().max(1) as f64
    };
    let within_one = values.iter().all(|value| value.abs() <= 1.0001);
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    // Means of an untrained network lie anywhere about 0.
    let lowest = if are_means { -0.5 } else { -0.4 };
    if within_one && least < lowest && share(&|value| value < -0.25) > 0.05 {
        return Some(Suspicion::Signed);
    }
    if share(&|value| value > 2.0) > 0.25 && share(&|value| value < -0.5) < 0.05 {
        return Some(Suspicion::Levels);
    }
    let outside = share(&|value| !(-0.1..=1.1).contains(&value));
    (!are_means && outside > 0.5).then_some(Suspicion::Outside)
}

/// Looks at the range in which the last operators of a graph keep pictures.
pub(in crate::families) fn bounds((least, most): (f64, f64)) -> Option<Suspicion> {
    if !least.is_finite() || !most.is_finite() {
        return None;
    }
    // Some are stretched a little, so that black and white are within reach.
    let within = |value: f64, from: f64, to: f64| (from..=to).contains(&value);
    match (least, most) {
        _ if within(least, -0.15, 0.02) && within(most, 0.98, 1.15) => None,
        _ if within(least, -1.1, -0.98) && within(most, 0.98, 1.1) => Some(Suspicion::Signed),
        _ if within(least, -1.0, 0.0) && most > 16.0 => Some(Suspicion::Levels),
        _ => Some(Suspicion::Bounds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_told_by_their_bounds() {
        assert_eq!(bounds((0.0, 1.0)), None);
        assert_eq!(bounds((-0.001, 1.001)), None);
        assert_eq!(bounds((f64::NEG_INFINITY, 1.0)), None);
        assert_eq!(bounds((-1.0, 1.0)), Some(Suspicion::Signed));
        assert_eq!(bounds((0.0, 255.0)), Some(Suspicion::Levels));
        // Standardised, and half of the range.
        assert_eq!(bounds((-0.42, 2.82)), Some(Suspicion::Bounds));
        assert_eq!(bounds((0.5, 1.0)), Some(Suspicion::Bounds));
    }

    #[test]
    fn ranges_of_pictures_are_told_apart() {
        let ramp =
            |from: f32, to: f32| -> Vec<f32> { (0..=100).map(|i| from + (to - from) * i as f32 / 100.0).collect() };
        for means in [false, true] {
            assert_eq!(pictures(&ramp(0.0, 1.0), means), None);
            assert_eq!(pictures(&ramp(-0.1, 1.1), means), None);
            assert_eq!(pictures(&ramp(-1.0, 1.0), means), Some(Suspicion::Signed));
            assert_eq!(pictures(&ramp(0.0, 255.0), means), Some(Suspicion::Levels));
        }
        let dark = [vec![-0.3; 60], ramp(0.0, 1.3)].concat();
        assert_eq!(pictures(&dark, true), None);
        assert_eq!(
            pictures(&[vec![-0.3; 120], ramp(0.0, 1.3)].concat(), false),
            Some(Suspicion::Outside)
        );
    }
}
