//! Leaves out what the logits do not need, and moves every tensor so that what is needed of it lies on the pixels of
//! the image.

use super::{
    Unsupported,
    stencil::{Operand, Operator, Read, Stencil, Tap, Window},
};
use crate::graph::constant::Constant;

/// After this, every tensor with places has the image's rows and columns, and windows lie inside them.
pub(super) fn trim(mut stencil: Stencil) -> Result<Stencil, Unsupported> {
    silence(&mut stencil);
    let (rows, columns) = (stencil.shape.height() as i64, stencil.shape.width() as i64);
    let needed = needed(&stencil);
    let mut origins = vec![(0, 0); stencil.tensors.len()];
    for (at, needed) in needed.iter().enumerate() {
        let Some(needed) = needed.filter(|needed| !needed.is_empty()) else {
            continue;
        };
        if needed.bottom - needed.top > rows || needed.right - needed.left > columns {
            let tensor = &stencil.tensors[at];
            return Err(Unsupported::new(format!(
                "values outside the image are needed of {:?}",
                tensor.layer
            )));
        }
        let origin = |first: i64, end: i64, size: i64| {
            if first >= 0 && end <= size { 0 } else { first }
        };
        origins[at] = (
            origin(needed.top, needed.bottom, rows),
            origin(needed.left, needed.right, columns),
        );
    }
    shift(&mut stencil, &origins);
    compact(&mut stencil, &needed);
    Ok(stencil)
}

/// Moves every tensor so that its place at the origin given for it comes to lie on the first pixel, and has it cover
/// the image. The image stays where it is: its levels are not ours to move.
pub(super) fn shift(stencil: &mut Stencil, origins: &[(i64, i64)]) {
    let (rows, columns) = (stencil.shape.height() as i64, stencil.shape.width() as i64);
    let whole = stencil.window();
    for (tensor, &(oy, ox)) in stencil.tensors.iter_mut().zip(origins) {
        for operand in &mut tensor.operands {
            match operand {
                Operand::Tensor(read) => {
                    let (sy, sx) = origins[read.tensor];
                    if tensor.extent.is_some() {
                        read.dy += oy - sy;
                        read.dx += ox - sx;
                    }
                    read.window = read.window.shifted(-sy, -sx).intersect(whole);
                }
                Operand::Table(table) => {
                    *table = moved(table, (oy, ox), (rows as usize, columns as usize));
                }
                Operand::Constant(_) => {}
            }
        }
        if tensor.extent.is_some() {
            tensor.extent = Some((rows, columns));
        }
    }
}

/// Has what is without weights read the pixel before, of which nothing comes but its bias: what it was given need not
/// be computed, nor known.
fn silence(stencil: &mut Stencil) {
    let (channels, window) = (stencil.shape.channels(), stencil.window());
    for tensor in stencil.tensors.iter_mut().filter(|tensor| tensor.extent.is_some()) {
        let Operator::Linear(linear) = &mut tensor.operator else {
            continue;
        };
        let mut weights = linear.taps.iter().flat_map(|tap| &tap.weights);
        if weights.any(|&weight| weight != 0.0) {
            continue;
        }
        linear.inputs = channels;
        linear.taps = vec![Tap {
            dy: 0,
            dx: -1,
            weights: vec![0.0; channels * linear.outputs],
        }];
        tensor.operands = vec![Operand::Tensor(Read {
            tensor: 0,
            dy: 0,
            dx: 0,
            window,
            features: vec![channels],
        })];
    }
}

/// What is needed of every tensor, if it is.
fn needed(stencil: &Stencil) -> Vec<Option<Window>> {
    let (states, nothing) = (stencil.states(), Window::of_size(0, 0));
    let mut needed = vec![None; stencil.tensors.len()];
    needed[stencil.logits] = Some(stencil.window());
    loop {
        let before = needed.clone();
        for at in (0..stencil.tensors.len()).rev() {
            let Some(mut own) = needed[at] else { continue };
            // Each state is made of all those before it.
            if let Some((rows, columns)) = stencil.tensors[at].extent.filter(|_| states.contains(&at)) {
                own = Window::of_size(rows, columns);
                needed[at] = Some(own);
            }
            for (read, dy, dx) in stencil.tensors[at].reads() {
                let source = needed[read.tensor].get_or_insert(nothing);
                if stencil.tensors[read.tensor].extent.is_some() {
                    *source = source.union(own.shifted(dy, dx).intersect(read.window));
                }
            }
        }
        if states.is_empty() || needed == before {
            return needed;
        }
    }
}

/// A table over the pixels of the image; places that the old one does not have repeat its border and are never used.
fn moved(table: &Constant, origin: (i64, i64), size: (usize, usize)) -> Constant {
    let (old_rows, old_columns) = (table.dims[0], table.dims[1]);
    let width: usize = table.dims[2..].iter().product();
    let mut dims = vec![size.0, size.1];
    dims.extend(&table.dims[2..]);
    let clamp = |at: usize, origin: i64, old: usize| (at as i64 + origin).clamp(0, old as i64 - 1) as usize;
    let sources = (0..size.0).flat_map(|row| {
        (0..size.1).flat_map(move |column| {
            let place = clamp(row, origin.0, old_rows) * old_columns + clamp(column, origin.1, old_columns);
            (0..width).map(move |feature| place * width + feature)
        })
    });
    table.rearranged(dims, sources)
}

/// Drops tensors that nothing needs.
fn compact(stencil: &mut Stencil, needed: &[Option<Window>]) {
    let mut kept = 0;
    let places: Vec<usize> = needed
        .iter()
        .map(|needed| {
            kept += usize::from(needed.is_some());
            kept.saturating_sub(1)
        })
        .collect();
    let mut at = 0;
    stencil.tensors.retain(|_| {
        at += 1;
        needed[at - 1].is_some()
    });
    for operand in stencil.tensors.iter_mut().flat_map(|tensor| &mut tensor.operands) {
        if let Operand::Tensor(read) = operand {
            read.tensor = places[read.tensor];
        }
    }
    stencil.logits = places[stencil.logits];
}
