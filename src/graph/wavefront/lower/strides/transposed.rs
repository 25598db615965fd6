//! Transposed convolutions: each place of the result, by its phase, as a convolution of the smaller picture.

use super::{MOST_PLACES, Phase, pair};
use crate::graph::{
    constant::Constant,
    protobuf::Node,
    wavefront::{
        Unsupported,
        lower::{Done, Lowering, axes},
        stencil::{Linear, Operand, Operator, Stride, Tap},
    },
};

/// A kernel [in, out of a group, rows, columns] and how it is moved; pairs are of rows and of columns.
struct Kernel<'a> {
    weights: &'a [f32],
    inputs: usize,
    per_group: usize,
    groups: usize,
    size: [usize; 2],
    strides: [i64; 2],
    dilations: [i64; 2],
    /// Rows and columns that the result has more at its end.
    more: [i64; 2],
    /// Top, left, bottom, right.
    pads: [i64; 4],
}

impl<'a> Kernel<'a> {
    fn read(node: &Node, weights: &'a Constant, channels: usize) -> Result<Self, Unsupported> {
        let (&[inputs, per_group, height, width], Some(values)) = (&weights.dims[..], weights.as_floats()) else {
            return Err(Unsupported::new("weights that are not real [in, out, rows, columns]"));
        };
        let groups = node.int("group", 1).max(1) as usize;
        let [strides, dilations, more] = [("strides", 1), ("dilations", 1), ("output_padding", 0)]
            .map(|(name, default)| pair(node.ints(name), default));
        let (strides, dilations, more) = (strides?, dilations?, more?);
        let pads = match node.ints("pads") {
            None => [0; 4],
            Some(&[top, left, bottom, right])
                if [top, left, bottom, right].iter().all(|pad| pad.abs() <= MOST_PLACES) =>
            {
                [top, left, bottom, right]
            }
            Some(_) => return Err(Unsupported::new("paddings that do not fit the tensor")),
        };
        let is_plain =
            matches!(node.text("auto_pad"), b"" | b"NOTSET" | b"VALID") && node.ints("output_shape").is_none();
        if !is_plain || inputs != channels || !inputs.is_multiple_of(groups) {
            return Err(Unsupported::new(
                "a transposed convolution whose size is said in another way than by paddings",
            ));
        }
        Ok(Self {
            weights: values,
            inputs,
            per_group,
            groups,
            size: [height, width],
            strides,
            dilations,
            more,
            pads,
        })
    }

    fn outputs(&self) -> usize {
        self.per_group * self.groups
    }

    /// Rows and columns of the result of so many.
    fn extent(&self, rows: i64, columns: i64) -> Result<(i64, i64), Unsupported> {
        let size = |axis: usize, count: i64| {
            let reach = (self.size[axis] as i64 - 1) * self.dilations[axis];
            let pads = self.pads[axis] + self.pads[axis + 2];
            (count - 1) * self.strides[axis] + reach + 1 + self.more[axis] - pads
        };
        let extent = (size(0, rows), size(1, columns));
        if extent.0 < 1 || extent.1 < 1 {
            return Err(Unsupported::new("nothing is left of the tensor"));
        }
        Ok(extent)
    }

    /// The weights [in, out] of one place of the kernel, those between groups being zero.
    fn matrix(&self, y: usize, x: usize) -> Vec<f32> {
        let [height, width] = self.size;
        let mut matrix = vec![0.0; self.inputs * self.outputs()];
        for input in 0..self.inputs {
            let first = input / (self.inputs / self.groups) * self.per_group;
            for own in 0..self.per_group {
                matrix[input * self.outputs() + first + own] =
                    self.weights[((input * self.per_group + own) * height + y) * width + x];
            }
        }
        matrix
    }

    /// What places `down` rows and `right` columns beside one of the smaller picture read of that, whose places lie
    /// `stride` apart.
    fn taps(&self, (down, right): (i64, i64), stride: Stride) -> Vec<Tap> {
        let mut taps = Vec::new();
        for y in 0..self.size[0] {
            for x in 0..self.size[1] {
                let below = self.pads[0] - y as i64 * self.dilations[0];
                let beside = self.pads[1] - x as i64 * self.dilations[1];
                let falls = (down + below) % self.strides[0] == 0 && (right + beside) % self.strides[1] == 0;
                let weights = if falls { self.matrix(y, x) } else { Vec::new() };
                if weights.iter().any(|&weight| weight != 0.0) {
                    taps.push(Tap {
                        dy: below * stride.down,
                        dx: beside * stride.right,
                        weights,
                    });
                }
            }
        }
        taps
    }
}

impl Lowering {
    pub(in crate::graph::wavefront::lower) fn transposed_convolution(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?.with_channels();
        let (channels, rows, columns) = axes::pictures(&view.axes)
            .ok_or_else(|| Unsupported::new("a transposed convolution over other axes than rows and columns"))?;
        let weights = self.weights(node)?;
        let kernel = Kernel::read(node, &weights, channels)?;
        let (tall, wide) = (kernel.strides[0], kernel.strides[1]);
        let stride = view.stride.parted(tall, wide)?;
        let (extent, outputs) = (kernel.extent(rows, columns)?, kernel.outputs());
        let axes = axes::of_pictures(outputs, extent.0, extent.1);
        let mut phases = Vec::new();
        for (down, right) in (0..tall).flat_map(|down| (0..wide).map(move |right| (down, right))) {
            let taps = kernel.taps((down, right), stride);
            if taps.is_empty() {
                continue;
            }
            let linear = Linear {
                inputs: channels,
                outputs,
                taps,
                bias: None,
            };
            let read = Operand::Tensor(view.read(vec![channels]));
            let made = self.at_stride(node, Operator::Linear(linear), vec![read], axes.clone(), stride);
            let value = Operand::Tensor(made.read(vec![outputs]));
            phases.push(Phase { down, right, value });
        }
        let bias = match node.inputs.get(2).map(String::as_str) {
            None | Some("") => None,
            Some(_) => Some(Constant::floats(vec![outputs], self.floats_input(node, 2)?)),
        };
        self.by_phase(node, phases, (tall, wide), bias, axes, stride)
    }
}
