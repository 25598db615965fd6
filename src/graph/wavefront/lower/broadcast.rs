//! How operands of a pointwise operator align: tensors by the meaning of their axes, constants as values for all pixels
//! or for each.

use super::{
    Entity,
    axes::{self, Axis},
};
use crate::graph::{
    constant::{self, Constant, Values},
    protobuf::Tensor,
    wavefront::{Unsupported, stencil::Operand},
};

/// ONNX's number of the type of integers of 32 bits.
pub(super) const INT32: i32 = 6;

/// The meaning of the axis that lies `from_end` places before the end in the result of broadcasting.
pub(super) fn broadcast_axis(entities: &[Entity], from_end: usize) -> Result<Axis, Unsupported> {
    let mut result = Axis::Unit;
    for entity in entities {
        let axis = match entity {
            Entity::View(view) if from_end <= view.axes.len() => view.axes[view.axes.len() - from_end],
            Entity::Constant(constant) if from_end <= constant.dims.len() => {
                match constant.dims[constant.dims.len() - from_end] {
                    1 => Axis::Unit,
                    size => Axis::Feature(size),
                }
            }
            _ => Axis::Unit,
        };
        let is_constant = matches!(entity, Entity::Constant(_));
        result = match (result, axis) {
            (a, b) if a == b => a,
            (a, Axis::Unit | Axis::Feature(1)) if a != Axis::Unit => a,
            (Axis::Unit | Axis::Feature(1), b) => b,
            // Of a batch of one it does not show which of its axes of size 1 is the batch.
            (a, Axis::Batch) => a,
            (Axis::Batch, b) => b,
            (a, Axis::Feature(size)) if is_constant && a.is_spatial() && a.size() == size => a,
            (Axis::Feature(size), b) if b.is_spatial() && b.size() == size => b,
            _ => {
                return Err(Unsupported::new("operands whose axes mean different things"));
            }
        };
    }
    Ok(result)
}

/// The shape under which the features of a tensor with axes `own` align with those of the broadcast result.
pub(super) fn aligned(own: &[Axis], result: &[Axis]) -> Vec<usize> {
    let missing = result.len() - own.len();
    result
        .iter()
        .enumerate()
        .filter(|(_, axis)| axis.features().is_some())
        .map(|(at, _)| {
            let own = at.checked_sub(missing).and_then(|at| own[at].features());
            own.unwrap_or(1)
        })
        .collect()
}

/// A constant beside tensors with the given axes: the same at every pixel, or a table by pixel.
pub(super) fn spread(constant: &Constant, axes: &[Axis]) -> Result<Operand, Unsupported> {
    let missing = axes.len() - constant.dims.len().min(axes.len());
    let sizes: Vec<usize> = (0..axes.len())
        .map(|at| at.checked_sub(missing).map_or(1, |at| constant.dims[at]))
        .collect();
    for (&axis, &size) in axes.iter().zip(&sizes) {
        match axis {
            Axis::Batch | Axis::SoFar(..) | Axis::Unit if size != 1 => {
                return Err(Unsupported::new("a constant that differs within the batch"));
            }
            Axis::Flat(_) | Axis::Strip(_) if size != 1 => {
                return Err(Unsupported::new("a constant for every value of a flattened picture"));
            }
            _ => {}
        }
    }
    let features: Vec<usize> = (0..axes.len())
        .filter(|&at| axes[at].features().is_some())
        .map(|at| sizes[at])
        .collect();
    let sources = sources(axes, &sizes);
    let count: usize = features.iter().product();
    if count == 0 {
        return Err(Unsupported::new("a constant without numbers"));
    }
    let is_spatial = axes
        .iter()
        .zip(&sizes)
        .any(|(axis, &size)| axis.is_spatial() && size > 1);
    if !is_spatial {
        return Ok(Operand::Constant(
            constant.rearranged(features, sources.into_iter().take(count)),
        ));
    }
    let (rows, columns) = axes::extent(axes).unwrap_or((1, 1));
    let dims = [&[rows as usize, columns as usize], &features[..]].concat();
    let table = constant.rearranged(dims, sources.into_iter());
    Ok(uniform(&table, count).map_or(Operand::Table(table), |values| {
        Operand::Constant(values.reshaped(features))
    }))
}

/// For every pixel in row order, and of each for every feature, the place in a constant of these sizes.
fn sources(axes: &[Axis], sizes: &[usize]) -> Vec<usize> {
    let strides: Vec<usize> = (0..axes.len()).map(|at| sizes[at + 1..].iter().product()).collect();
    let is_feature = |at: &usize| axes[*at].features().is_some();
    let within = (0..axes.len()).filter(is_feature).fold(vec![0], |offsets, at| {
        let along = |offset: usize| (0..sizes[at]).map(move |index| (offset, index));
        let both = offsets.into_iter().flat_map(along);
        both.map(|(offset, index)| offset + index * strides[at]).collect()
    });
    let start = |row: i64, column: i64| -> usize {
        let along = |(at, &axis): (usize, &Axis)| {
            let index = match axis {
                _ if sizes[at] == 1 => 0,
                Axis::Row(_) => row,
                Axis::Column(_) => column,
                Axis::Pixels(_, columns) | Axis::Started(_, columns) => row * columns + column,
                Axis::ColumnByColumn(rows, _) => column * rows + row,
                Axis::Block(blocks) => (row * blocks.columns + column) / blocks.pixels,
                Axis::Within(blocks) => (row * blocks.columns + column) % blocks.pixels,
                _ => 0,
            };
            index as usize * strides[at]
        };
        axes.iter().enumerate().map(along).sum()
    };
    let (rows, columns) = axes::extent(axes).unwrap_or((1, 1));
    (0..rows)
        .flat_map(|row| (0..columns).map(move |column| (row, column)))
        .flat_map(|(row, column)| {
            let start = start(row, column);
            within.iter().map(move |offset| start + offset)
        })
        .collect()
}

/// Integers of 32 bits, such as sizes, axes and tokens.
pub(super) fn short_integers(tensor: &Tensor) -> Option<Constant> {
    let (dims, values) = constant::of_words(tensor, INT32, |word| i32::from_le_bytes(word).into(), i64::from)?;
    Some(Constant {
        dims,
        values: Values::Ints(values),
    })
}

/// The value at every pixel, if it is the same one.
pub(super) fn uniform(table: &Constant, count: usize) -> Option<Constant> {
    let first = table.rearranged(vec![count], 0..count);
    let same = match (&table.values, &first.values) {
        (Values::Floats(all), Values::Floats(first)) => all.chunks(count).all(|own| own == first),
        (Values::Ints(all), Values::Ints(first)) => all.chunks(count).all(|own| own == first),
        _ => false,
    };
    same.then_some(first)
}
