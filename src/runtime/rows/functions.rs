//! Functions of single values, over many of them. Each value is computed by the same operations wherever it stands, so
//! that the same row gives the same bits whatever shares its batch.

use pulp::{Simd, WithSimd};

use crate::graph::rows::{Function, Operation};

/// A function of every value.
pub(super) struct Map<'a> {
    pub(super) function: Function,
    pub(super) from: &'a [f32],
    pub(super) into: &'a mut [f32],
}

/// An operation on pairs of values, in rows of `width`.
pub(super) struct Combine<'a> {
    pub(super) operation: Operation,
    pub(super) left: Side<'a>,
    pub(super) right: Side<'a>,
    pub(super) width: usize,
    pub(super) into: &'a mut [f32],
}

/// What stands on one side of an operation.
#[derive(Clone, Copy)]
pub(super) enum Side<'a> {
    /// Values of all rows.
    Rows(&'a [f32]),
    /// Values that are the same for every row.
    Row(&'a [f32]),
    /// One value.
    Value(f32),
}

impl WithSimd for Map<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { function, from, into } = self;
        match function {
            Function::Negate => map(from, into, |x| -x),
            Function::Absolute => map(from, into, f32::abs),
            Function::Relu => map(from, into, |x| if x < 0.0 { 0.0 } else { x }),
            Function::Sigmoid => map(from, into, |x| 1.0 / (1.0 + exponential(-x))),
            Function::Tanh => map(from, into, tangent),
            Function::Exponential => map(from, into, exponential),
            Function::Elu(alpha) => map(from, into, |x| if x < 0.0 { alpha * (exponential(x) - 1.0) } else { x }),
            Function::LeakyRelu(alpha) => map(from, into, |x| if x < 0.0 { alpha * x } else { x }),
        }
    }
}

impl WithSimd for Combine<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        match self.operation {
            Operation::Add => self.by(|a, b| a + b),
            Operation::Subtract => self.by(|a, b| a - b),
            Operation::Multiply => self.by(|a, b| a * b),
            Operation::Divide => self.by(|a, b| a / b),
        }
    }
}

impl Combine<'_> {
    #[inline(always)]
    fn by(self, of: impl Fn(f32, f32) -> f32 + Copy) {
        let (width, into) = (self.width, self.into);
        match (self.left, self.right) {
            (Side::Rows(left), Side::Rows(right)) => zip(left, right, into, of),
            (Side::Rows(left), Side::Row(right)) => {
                for (left, into) in left.chunks_exact(width).zip(into.chunks_exact_mut(width)) {
                    zip(left, right, into, of);
                }
            }
            (Side::Row(left), Side::Rows(right)) => {
                for (right, into) in right.chunks_exact(width).zip(into.chunks_exact_mut(width)) {
                    zip(left, right, into, of);
                }
            }
            (Side::Rows(left), Side::Value(right)) => map(left, into, |left| of(left, right)),
            (Side::Value(left), Side::Rows(right)) => map(right, into, |right| of(left, right)),
            // An operation of constants alone is no step of a plan.
            (Side::Row(_) | Side::Value(_), Side::Row(_) | Side::Value(_)) => into.fill(f32::NAN),
        }
    }
}

#[inline(always)]
fn map(from: &[f32], into: &mut [f32], of: impl Fn(f32) -> f32) {
    for (into, &from) in into.iter_mut().zip(from) {
        *into = of(from);
    }
}

#[inline(always)]
fn zip(left: &[f32], right: &[f32], into: &mut [f32], of: impl Fn(f32, f32) -> f32) {
    for ((into, &left), &right) in into.iter_mut().zip(left).zip(right) {
        *into = of(left, right);
    }
}

/// 1.5 · 2²³: the sum with a small number holds that number, rounded to an integer, in its last bits.
const ROUNDING: f32 = 12_582_912.0;
/// ln 2 in two parts, the first of which has zeros at its end.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// Beyond these, e^x is no normal number.
const LEAST: f32 = -86.6;
const MOST: f32 = 88.722_83;

/// e^x to two units in the last place: 2^n · e^r with |r| ≤ ln 2 / 2, and the polynomial of S. Moshier's Cephes for
/// e^r. Below 2·10⁻³⁸ it is 0.
#[inline(always)]
fn exponential(x: f32) -> f32 {
    const OF_R: [f32; 6] = [
        1.987_569_1e-4,
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        5e-1,
    ];
    let inside = x.clamp(LEAST, MOST);
    let rounded = inside.mul_add(std::f32::consts::LOG2_E, ROUNDING);
    let n = rounded - ROUNDING;
    let r = n.mul_add(-LN_2[1], n.mul_add(-LN_2[0], inside));
    let [first, rest @ ..] = OF_R;
    let sum = rest.iter().fold(first, |sum, &factor| sum.mul_add(r, factor));
    let of_r = sum.mul_add(r * r, r) + 1.0;
    // 2^(n−1), so that the largest n is still one of a number.
    let half = f32::from_bits((rounded.to_bits() << 23).wrapping_add(126 << 23));
    let inside = of_r * half * 2.0;
    if x > MOST {
        f32::INFINITY
    } else if x < LEAST {
        0.0
    } else {
        inside
    }
}

/// tanh x, by the polynomial of Cephes near 0.
#[inline(always)]
fn tangent(x: f32) -> f32 {
    const NEAR: [f32; 5] = [
        -5.704_988_7e-3,
        2.063_908_8e-2,
        -5.373_971_6e-2,
        1.333_144_2e-1,
        -3.333_328e-1,
    ];
    let square = x * x;
    let [first, rest @ ..] = NEAR;
    let near = (rest.iter().fold(first, |sum, &factor| sum.mul_add(square, factor)) * square).mul_add(x, x);
    let far = (1.0 - 2.0 / (exponential(2.0 * x.abs()) + 1.0)).copysign(x);
    if x.abs() < 0.625 { near } else { far }
}

#[cfg(test)]
mod tests {
    use pulp::Arch;

    use super::*;

    fn mapped(function: Function, from: &[f32]) -> Vec<f32> {
        let mut into = vec![0.0; from.len()];
        Arch::new().dispatch(Map {
            function,
            from,
            into: &mut into,
        });
        into
    }

    fn numbers() -> Vec<f32> {
        (-200_000..197_000).map(|i| i as f32 * 4.5e-4).collect()
    }

    #[test]
    fn functions_are_those_of_the_standard_library_to_a_few_units_in_the_last_place() {
        type Exact = fn(f64) -> f64;
        let exact: [(Function, Exact); 5] = [
            (Function::Exponential, f64::exp),
            (Function::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
            (Function::Tanh, f64::tanh),
            (Function::Elu(1.5), |x| if x < 0.0 { 1.5 * x.exp_m1() } else { x }),
            (Function::LeakyRelu(0.1), |x| {
                if x < 0.0 { f64::from(0.1f32) * x } else { x }
            }),
        ];
        let numbers = numbers();
        for (function, exact) in exact {
            for (&x, value) in numbers.iter().zip(mapped(function, &numbers)) {
                let exact = exact(f64::from(x));
                let error = (f64::from(value) - exact).abs();
                // A difference from 1 has the last place of 1.
                let unit = if matches!(function, Function::Elu(_)) {
                    exact.abs().max(1.0)
                } else {
                    exact.abs()
                };
                assert!(
                    error <= 4.0 * f64::from(f32::EPSILON) * unit + 1e-37,
                    "{function:?} of {x}: {value} for {exact}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_so_and_infinities_have_limits() {
        let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0];
        for (function, limits) in [
            (Function::Exponential, [f32::INFINITY, 0.0, 1.0]),
            (Function::Sigmoid, [1.0, 0.0, 0.5]),
            (Function::Tanh, [1.0, -1.0, 0.0]),
            (Function::Elu(1.0), [f32::INFINITY, -1.0, 0.0]),
            (Function::Relu, [f32::INFINITY, 0.0, 0.0]),
        ] {
            let values = mapped(function, &odd);
            assert!(values[0].is_nan(), "{function:?}");
            assert_eq!(values[1..], limits, "{function:?}");
        }
    }

    #[test]
    fn a_value_has_the_same_bits_wherever_it_stands() {
        let numbers = &numbers()[199_000..201_000];
        for function in [Function::Sigmoid, Function::Tanh, Function::Elu(1.0)] {
            let together = mapped(function, numbers);
            for (at, value) in together.iter().enumerate() {
                let alone = mapped(function, &numbers[at..=at]);
                assert_eq!(alone[0].to_bits(), value.to_bits(), "{function:?} of {}", numbers[at]);
            }
        }
    }
}
