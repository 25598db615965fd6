//! Constants that lie beside what a convolution reads, as coordinates of the pixel or a channel of ones do.
//!
//! What such a channel gives is known before any pixel is drawn, so a kernel may see all of it: also its values at
//! later pixels. Laid out with the picture it would seem to be read too early. Its share of the sum is a constant for
//! each pixel.

use super::{Lowering, View, broadcast::uniform};
use crate::graph::{
    constant::Constant,
    wavefront::stencil::{Linear, Operand, Operator, Read, StencilTensor, Stride, Tap, Window},
};

/// A convolution without the constants in what it reads, and their share of its result.
pub(super) struct Apart {
    pub(super) linear: Linear,
    pub(super) read: Read,
    pub(super) constant: Operand,
}

/// Some features that lie side by side.
struct Part {
    first: usize,
    count: usize,
    operand: Operand,
}

/// Takes the constants out of a convolution over `view` where they would otherwise be in the way: `None` where there
/// are none, or where all taps read what is computed as well.
pub(super) fn apart(lowering: &mut Lowering, view: &View, linear: &Linear, extent: (i64, i64)) -> Option<Apart> {
    let tensor = &lowering.tensors[view.tensor];
    let (Operator::Concat { axis: 0 }, [_]) = (&tensor.operator, &tensor.features[..]) else {
        return None;
    };
    let places = tensor
        .extent
        .filter(|_| tensor.stride == Stride::ONE && view.stride == Stride::ONE)?;
    let layer = tensor.layer.clone();
    let (computed, constants): (Vec<Part>, Vec<Part>) = parts(&tensor.operands)?
        .into_iter()
        .partition(|part| matches!(part.operand, Operand::Tensor(_)));
    let taps = taps(linear, &computed);
    let is_placed = constants.iter().any(|part| matches!(part.operand, Operand::Table(_)));
    if constants.is_empty() || taps.is_empty() || !(is_placed || taps.len() < linear.taps.len()) {
        return None;
    }
    let constant = share(view, linear, &constants, places, extent)?;
    let inputs = computed.iter().map(|part| part.count).sum();
    let read = match &computed[..] {
        [
            Part {
                operand: Operand::Tensor(inner),
                ..
            },
        ] if lowering.tensors[inner.tensor].extent.is_some() => Read {
            tensor: inner.tensor,
            dy: view.dy + inner.dy,
            dx: view.dx + inner.dx,
            window: view.window.shifted(inner.dy, inner.dx).intersect(inner.window),
            features: vec![inputs],
        },
        _ => {
            let together = lowering.placed(StencilTensor {
                layer,
                operator: Operator::Concat { axis: 0 },
                operands: computed.into_iter().map(|part| part.operand).collect(),
                features: vec![inputs],
                extent: Some(places),
                stride: Stride::ONE,
                is_real: true,
            });
            Read {
                tensor: together,
                ..view.read(vec![inputs])
            }
        }
    };
    let linear = Linear {
        inputs,
        outputs: linear.outputs,
        taps,
        bias: linear.bias.clone(),
    };
    Some(Apart { linear, read, constant })
}

/// What the operands of a concatenation take of its features.
fn parts(operands: &[Operand]) -> Option<Vec<Part>> {
    let mut first = 0;
    operands
        .iter()
        .map(|operand| {
            let count = match operand {
                Operand::Tensor(read) => *read.features.first()?,
                Operand::Constant(constant) => *constant.dims.first()?,
                Operand::Table(table) => *table.dims.get(2)?,
            };
            let part = Part {
                first,
                count,
                operand: operand.clone(),
            };
            first += count;
            Some(part)
        })
        .collect()
}

/// The taps that read any of the given features, with the weights of these alone.
fn taps(linear: &Linear, parts: &[Part]) -> Vec<Tap> {
    let own = |tap: &Tap| Tap {
        weights: parts
            .iter()
            .flat_map(|part| {
                let from = part.first * linear.outputs;
                &tap.weights[from..from + part.count * linear.outputs]
            })
            .copied()
            .collect(),
        ..*tap
    };
    linear
        .taps
        .iter()
        .map(own)
        .filter(|tap| tap.weights.iter().any(|&weight| weight != 0.0))
        .collect()
}

/// What the constants give at every pixel of the result.
fn share(
    view: &View,
    linear: &Linear,
    constants: &[Part],
    places: (i64, i64),
    (rows, columns): (i64, i64),
) -> Option<Operand> {
    let seen = view.window.intersect(Window::of_size(places.0, places.1));
    let outputs = linear.outputs;
    let mut sums = vec![0.0f64; (rows * columns).max(0) as usize * outputs];
    for part in constants {
        let (values, width) = match &part.operand {
            Operand::Constant(constant) => (constant.as_floats()?, 0),
            Operand::Table(table) => (table.as_floats()?, part.count),
            Operand::Tensor(_) => return None,
        };
        for tap in taps(linear, std::slice::from_ref(part)) {
            for at in 0..rows * columns {
                let row = at / columns + tap.dy + view.dy;
                let column = at % columns + tap.dx + view.dx;
                if !(seen.top..seen.bottom).contains(&row) || !(seen.left..seen.right).contains(&column) {
                    continue;
                }
                let own = &values[(row * places.1 + column) as usize * width..][..part.count];
                let sums = &mut sums[at as usize * outputs..][..outputs];
                for (value, weights) in own.iter().zip(tap.weights.chunks_exact(outputs)) {
                    for (sum, weight) in sums.iter_mut().zip(weights) {
                        *sum += f64::from(*value) * f64::from(*weight);
                    }
                }
            }
        }
    }
    let dims = vec![rows as usize, columns as usize, outputs];
    let table = Constant::floats(dims, sums.into_iter().map(|sum| sum as f32).collect());
    Some(match uniform(&table, outputs) {
        Some(values) => Operand::Constant(values),
        None => Operand::Table(table),
    })
}
