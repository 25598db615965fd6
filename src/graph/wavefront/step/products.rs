//! Products with constant weights: one for what is remembered and what this step has just computed, side by side.

use std::ops::Range;

use super::{Emitter, name_of};
use crate::graph::{
    constant::Constant,
    protobuf::Node,
    wavefront::{
        Unsupported,
        stencil::{Linear, Operand, Operator, Read, StencilTensor, Tap},
    },
};

impl Emitter<'_> {
    /// One matrix product for what is remembered, one for what this step has just computed.
    pub(super) fn linear(&mut self, at: usize, tensor: &StencilTensor, linear: &Linear) -> Result<(), Unsupported> {
        let [Operand::Tensor(read)] = &tensor.operands[..] else {
            return Err(Unsupported::new("a product of constants"));
        };
        let is_new = |dy, dx| self.is_new(at, read.tensor, dy, dx);
        let mut taps: Vec<_> = linear.taps.iter().collect();
        taps.sort_by_key(|tap| (tap.dy, tap.dx));
        let (new, old): (Vec<_>, Vec<_>) = taps
            .into_iter()
            .partition(|tap| is_new(read.dy + tap.dy, read.dx + tap.dx));
        if tensor.extent.is_some() {
            let weights = linear.inputs * linear.outputs * (new.len() + old.len());
            self.multiply_adds += weights as u64 * self.stencil.shape.pixels() as u64;
        }
        let mut inputs = Vec::new();
        if !old.is_empty() {
            let places = old.iter().map(|tap| (read.dy + tap.dy, read.dx + tap.dx)).collect();
            inputs.push(self.gather(at, read, places)?);
        }
        for tap in &new {
            let name = self.computed_now(read, read.dx + tap.dx);
            let flat = if self.stencil.tensors[read.tensor].features.len() == 1 {
                name
            } else {
                self.draft.writer.reshaped(&name, &[linear.inputs])
            };
            inputs.push(flat);
        }
        if inputs.is_empty() {
            return Err(Unsupported::new(format!("all weights of {:?} are zero", tensor.layer)));
        }
        let input = if let [input] = &inputs[..] {
            input.clone()
        } else {
            let (parts, joined) = (inputs, self.draft.writer.fresh("joined"));
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            self.draft
                .writer
                .node(Node::new("Concat", &parts, &joined).with_int("axis", 1));
            joined
        };
        let taps: Vec<_> = old.into_iter().chain(new).collect();
        let whole = stacked(&taps, linear);
        // Parts that are only ever used one by one are made one by one: nothing has to be copied apart, and the runtime
        // applies their activations on the way.
        let parts = self.parts(at);
        if parts.is_empty() {
            let columns = 0..linear.outputs;
            let flat = tensor.features.len() == 1;
            let output = if flat {
                name_of(at)
            } else {
                self.draft.writer.fresh("sum")
            };
            self.product(&input, &whole, linear, columns, &output);
            if !flat {
                let shaped = self.draft.writer.reshaped(&output, &tensor.features);
                self.draft.writer.node(Node::new("Identity", &[&shaped], &name_of(at)));
            }
        }
        for (part, columns) in parts {
            self.product(&input, &whole, linear, columns, &name_of(part));
        }
        Ok(())
    }

    /// input · weights + bias for some columns of the weights.
    fn product(&mut self, input: &str, whole: &Constant, linear: &Linear, columns: Range<usize>, output: &str) {
        let rows = whole.dims[0];
        let index = (0..rows).flat_map(|row| columns.clone().map(move |column| row * linear.outputs + column));
        let weights = whole.rearranged(vec![rows, columns.len()], index);
        let bias = match &linear.bias {
            Some(bias) => bias[columns.clone()].to_vec(),
            None => vec![0.0; columns.len()],
        };
        let weights = self.draft.writer.constant(&weights);
        let bias = self.draft.writer.constant(&Constant::floats(vec![columns.len()], bias));
        self.draft
            .writer
            .node(Node::new("Gemm", &[input, &weights, &bias], output));
    }

    /// If a tensor is read only by selections of consecutive features at the same place and step: these, and their
    /// features.
    fn parts(&self, at: usize) -> Vec<(usize, Range<usize>)> {
        let mut parts = Vec::new();
        if at == self.stencil.logits || self.stencil.tensors[at].features.len() != 1 {
            return parts;
        }
        for (reader, tensor) in self.stencil.tensors.iter().enumerate() {
            for (read, dy, dx) in tensor.reads().filter(|(read, ..)| read.tensor == at) {
                match self.part(reader, read, (dy, dx)) {
                    Some(columns) => parts.push((reader, columns)),
                    None => return Vec::new(),
                }
            }
        }
        parts
    }

    /// Whether the tensor has been made as a part of the product that it selects from.
    pub(super) fn is_part(&self, tensor: &StencilTensor) -> bool {
        tensor.reads().all(|(read, ..)| {
            let source = &self.stencil.tensors[read.tensor];
            matches!(source.operator, Operator::Linear(_)) && !self.parts(read.tensor).is_empty()
        })
    }

    /// The features that a tensor selects out of what it reads, if it does nothing else.
    fn part(&self, reader: usize, read: &Read, place: (i64, i64)) -> Option<Range<usize>> {
        let Operator::Select { axis: 0, indices } = &self.stencil.tensors[reader].operator else {
            return None;
        };
        let whole = self.stencil.window();
        let consecutive = indices.windows(2).all(|pair| pair[1] == pair[0] + 1);
        let same_roles = self.schedule.roles[reader] == self.schedule.roles[read.tensor];
        let in_place = place == (0, 0) && (read.window == whole || self.stencil.tensors[reader].extent.is_none());
        (consecutive && same_roles && in_place && read.features.len() == 1)
            .then(|| indices[0]..indices[indices.len() - 1] + 1)
    }
}

/// [taps · inputs, outputs].
pub(super) fn stacked(taps: &[&Tap], linear: &Linear) -> Constant {
    let weights = taps.iter().flat_map(|tap| tap.weights.iter().copied());
    Constant::floats(vec![taps.len() * linear.inputs, linear.outputs], weights.collect())
}
