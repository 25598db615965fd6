//! Convolutions: their kernels as taps, without those that are zero.

mod over;

use self::over::OverPictures;
use super::{
    Done, Entity, Lowering,
    axes::{self, Axis},
    coordinates,
};
use crate::graph::{
    layer,
    protobuf::Node,
    wavefront::{
        Unsupported,
        stencil::{Linear, Operand, Operator, StencilTensor, Stride, Tap},
    },
};

impl Lowering {
    pub(super) fn convolution(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?.with_channels();
        if let [Axis::Batch, Axis::Feature(_), Axis::Pixels(..)]
        | [Axis::Batch, Axis::Feature(_), Axis::Unit, Axis::Pixels(..)] = view.axes[..]
        {
            return self.convolution_over_pixels(node, &view);
        }
        let over = OverPictures::read(node, view, self.weights(node)?)?;
        let (node, view, kernel) = (&over.node, &over.view, &over.kernel);
        let (channels, rows, columns) = axes::pictures(&view.axes)
            .ok_or_else(|| Unsupported::new("a convolution over other axes than rows and columns"))?;
        let ([outputs, per_group, height, width], Some(weights)) = (&kernel.dims[..], kernel.as_floats()) else {
            return Err(Unsupported::new("weights that are not real [out, in, rows, columns]"));
        };
        let (outputs, per_group, height, width) = (*outputs, *per_group, *height, *width);
        let &[down, right] = node.ints("strides").unwrap_or(&[1, 1]) else {
            return Err(Unsupported::new("weights that do not fit the input"));
        };
        let stride = view.stride.times(down, right)?;
        let dilations = node.ints("dilations").unwrap_or(&[1, 1]).to_vec();
        let groups = node.int("group", 1).max(1) as usize;
        if per_group * groups != channels || !outputs.is_multiple_of(groups) || dilations.len() != 2 {
            return Err(Unsupported::new("weights that do not fit the input"));
        }
        let reach = [(height as i64 - 1) * dilations[0], (width as i64 - 1) * dilations[1]];
        let sizes = [(rows, down, reach[0]), (columns, right, reach[1])];
        let pads = paddings(node, sizes)?;
        let extent = (
            (rows + pads[0] + pads[2] - reach[0] - 1).div_euclid(down) + 1,
            (columns + pads[1] + pads[3] - reach[1] - 1).div_euclid(right) + 1,
        );
        if extent.0 < 1 || extent.1 < 1 {
            return Err(Unsupported::new("nothing is left of the tensor"));
        }
        let mut taps = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let mut matrix = vec![0.0; channels * outputs];
                for out in 0..outputs {
                    let group = out / (outputs / groups);
                    for input in 0..per_group {
                        matrix[(group * per_group + input) * outputs + out] =
                            weights[((out * per_group + input) * height + y) * width + x];
                    }
                }
                if matrix.iter().any(|&weight| weight != 0.0) {
                    taps.push(Tap {
                        dy: (y as i64 * dilations[0] - pads[0]) * view.stride.down,
                        dx: (x as i64 * dilations[1] - pads[1]) * view.stride.right,
                        weights: matrix,
                    });
                }
            }
        }
        let bias = match node.inputs.get(2).map(String::as_str) {
            None | Some("") => None,
            Some(_) => Some(self.floats_input(node, 2)?),
        };
        let linear = Linear {
            inputs: channels,
            outputs,
            taps,
            bias,
        };
        let axes = over.arranged(outputs, extent);
        let apart = (stride == Stride::ONE).then(|| coordinates::apart(self, view, &linear, extent));
        if let Some(apart) = apart.flatten() {
            return self.sum(node, apart, axes);
        }
        let read = Operand::Tensor(view.read(vec![channels]));
        let made = self.at_stride(node, Operator::Linear(linear), vec![read], axes, stride);
        self.define(node, Entity::View(made))
    }

    /// A convolution of what is computed, and what that of the constants beside it has come to.
    fn sum(&mut self, node: &Node, apart: coordinates::Apart, axes: Vec<Axis>) -> Done {
        let outputs = apart.linear.outputs;
        let product = self.placed(StencilTensor {
            layer: layer::describe(node),
            operator: Operator::Linear(apart.linear),
            operands: vec![Operand::Tensor(apart.read)],
            features: vec![outputs],
            extent: axes::extent(&axes),
            stride: Stride::ONE,
            is_real: true,
        });
        let product = self.view(product, axes.clone()).read(vec![outputs]);
        let add = Operator::Pointwise(Node::new("Add", &[], ""));
        self.make(node, add, vec![Operand::Tensor(product), apart.constant], axes)
    }
}

/// Paddings as top, left, bottom, right, for the size, the stride and the reach along each axis.
fn paddings(node: &Node, sizes: [(i64, i64, i64); 2]) -> Result<[i64; 4], Unsupported> {
    match node.text("auto_pad") {
        b"" | b"NOTSET" => match node.ints("pads") {
            None => Ok([0; 4]),
            Some(&[top, left, bottom, right]) => Ok([top, left, bottom, right]),
            Some(_) => Err(Unsupported::new("paddings that do not fit the tensor")),
        },
        b"VALID" => Ok([0; 4]),
        auto => {
            let total = sizes.map(|(size, stride, reach)| ((size - 1) / stride * stride + reach + 1 - size).max(0));
            let [before, after] = [0, 1].map(|extra| total.map(|total| (total + extra) / 2));
            let ([top, left], [bottom, right]) = if auto == b"SAME_UPPER" {
                (before, after)
            } else {
                (after, before)
            };
            Ok([top, left, bottom, right])
        }
    }
}
