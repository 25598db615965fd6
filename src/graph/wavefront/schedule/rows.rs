//! Which tensors the rows above tell all of: the vertical stack of a gated network, and what is made of it.
//!
//! A tensor that is read in the rows below only, as where a convolution is followed by a shift, need not be computed
//! before its own row, but before the first of those: `down` rows below. At row i it is then made of the image's rows
//! before i + down. Readers say how large `down` may be, from the logits backwards.

use super::super::stencil::{Operator, Stencil, StencilTensor};

/// For each tensor that the rows above tell all of, before which row below its own it is computed at last. None, if
/// none of them has weights: they are not worth a run of their own.
pub(super) fn rows(stencil: &Stencil, tables: &[Option<Vec<usize>>]) -> Vec<Option<i64>> {
    let attended = stencil.attended();
    let states = stencil.states();
    // Attention is to places one by one, and what is picked by its place is not to be moved.
    let is_placed = |tensor: &StencilTensor| matches!(tensor.operator, Operator::Attend(_) | Operator::OfPlace);
    let mut may: Vec<bool> = (stencil.tensors.iter().enumerate())
        .map(|(at, tensor)| {
            let is_computed = tensor.extent.is_some() && tables[at].is_none() && !is_placed(tensor);
            is_computed && at != stencil.logits && !attended.contains(&at) && !states.contains(&at)
        })
        .collect();
    loop {
        let down = down(stencil, &may);
        let mut found = vec![None; may.len()];
        for (at, tensor) in stencil.tensors.iter().enumerate().filter(|&(at, _)| may[at]) {
            let is_above = tensor.reads().all(|(read, dy, _)| {
                let is_made_before = read.tensor < at && found[read.tensor].is_some();
                stencil.tensors[read.tensor].extent.is_none() || is_made_before || dy < down[at]
            });
            found[at] = (is_above && down[at] >= 0).then_some(down[at]);
        }
        if found.iter().zip(&may).all(|(found, may)| found.is_some() == *may) {
            let has_weights = |(found, tensor): (&Option<i64>, &StencilTensor)| {
                found.is_some() && matches!(tensor.operator, Operator::Linear(_))
            };
            if !found.iter().zip(&stencil.tensors).any(has_weights) {
                found.fill(None);
            }
            return found;
        }
        may = found.iter().map(Option::is_some).collect();
    }
}

/// The first row below its own for which each tensor is read; those that may not be moved stay where they are.
fn down(stencil: &Stencil, may: &[bool]) -> Vec<i64> {
    let mut down = vec![i64::MAX; may.len()];
    for (at, tensor) in stencil.tensors.iter().enumerate().rev() {
        if !may[at] {
            down[at] = 0;
        }
        for (read, dy, _) in tensor.reads() {
            down[read.tensor] = down[read.tensor].min(down[at].saturating_sub(dy));
        }
    }
    down
}
