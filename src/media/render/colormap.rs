//! Colour maps in which lightness changes evenly, so that twice as bright, or twice as far from white, reads as twice
//! as much.

/// Control points of the inferno map of van der Walt and Smith (2015), at equal steps from dark to bright.
const INFERNO: [[f64; 3]; 9] = [
    [0.0, 0.0, 4.0],
    [31.0, 12.0, 72.0],
    [85.0, 15.0, 109.0],
    [136.0, 34.0, 106.0],
    [186.0, 54.0, 85.0],
    [227.0, 89.0, 51.0],
    [249.0, 140.0, 10.0],
    [249.0, 201.0, 50.0],
    [252.0, 255.0, 164.0],
];

/// The colour of a value from 0 (dark) to 1 (bright); values outside are cut.
pub(super) fn inferno(value: f64) -> [u8; 3] {
    let place = value.clamp(0.0, 1.0) * (INFERNO.len() - 1) as f64;
    let below = (place as usize).min(INFERNO.len() - 2);
    let share = place - below as f64;
    std::array::from_fn(|channel| {
        let (low, high) = (INFERNO[below][channel], INFERNO[below + 1][channel]);
        (low + (high - low) * share).round() as u8
    })
}

/// The ends of the diverging map, about equally light.
const AGAINST: [f64; 3] = [24.0, 92.0, 200.0];
const FOR: [f64; 3] = [200.0, 48.0, 32.0];

/// The colour of a value from −1 (blue) over 0 (white) to 1 (red); values outside are cut. Callers have refused what is
/// no number.
pub(super) fn diverging(value: f64) -> [u8; 3] {
    let strength = value.abs().min(1.0);
    let end = if value > 0.0 { FOR } else { AGAINST };
    end.map(|channel| (255.0 + (channel - 255.0) * strength).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::{diverging, inferno};

    #[test]
    fn both_sides_of_white_are_equally_light() {
        let lightness = |value: f64| {
            let [red, green, blue] = diverging(value).map(f64::from);
            0.2126 * red + 0.7152 * green + 0.0722 * blue
        };
        for step in 0..=32 {
            let value = f64::from(step) / 32.0;
            assert!((lightness(value) - lightness(-value)).abs() < 12.0, "{value}");
        }
        assert_eq!(diverging(0.0), [255; 3]);
        assert_eq!(diverging(-3.0), diverging(-1.0));
    }

    #[test]
    fn lightness_rises_from_end_to_end() {
        let lightness = |value| {
            let [red, green, blue] = inferno(value).map(f64::from);
            0.2126 * red + 0.7152 * green + 0.0722 * blue
        };
        let steps: Vec<f64> = (0..=64).map(|i| lightness(f64::from(i) / 64.0)).collect();
        assert!(steps.windows(2).all(|pair| pair[0] < pair[1]), "{steps:?}");
        assert_eq!(inferno(-1.0), [0, 0, 4]);
        assert_eq!(inferno(7.0), [252, 255, 164]);
    }
}
