//! Convolutions along the pixels of a picture that was flattened.

use super::{
    super::{Done, Lowering, View, axes::Axis},
    MOST_PADDING, Sequence, along,
};
use crate::graph::{
    protobuf::Node,
    wavefront::{
        Unsupported,
        stencil::{Linear, Operand, Operator, Tap},
    },
};

impl Lowering {
    /// A convolution over a picture that was flattened.
    pub(in super::super) fn convolution_over_pixels(&mut self, node: &Node, view: &View) -> Done {
        let sequence = self.sequence(view, view.axes.len() - 1)?;
        self.convolution_along(node, sequence)
    }

    pub(super) fn convolution_along(&mut self, node: &Node, sequence: Sequence) -> Done {
        let refused = || Unsupported::new("a convolution along the pixels that is not one over channels and pixels");
        let view = sequence.view.clone().with_channels();
        // Keras convolves pictures of one row.
        let (channels, rows, columns, is_row) = match view.axes[..] {
            [Axis::Batch, Axis::Feature(channels), Axis::Pixels(rows, columns)] => (channels, rows, columns, false),
            [
                Axis::Batch,
                Axis::Feature(channels),
                Axis::Unit,
                Axis::Pixels(rows, columns),
            ] => (channels, rows, columns, true),
            _ => return Err(refused()),
        };
        let (node, mut kernel) = (
            &if is_row { of_one_row(node) } else { node.clone() },
            self.weights(node)?,
        );
        if is_row && kernel.dims.get(2) == Some(&1) {
            kernel.dims.remove(2);
        }
        let (&[outputs, per_group, size], Some(weights)) = (&kernel.dims[..], kernel.as_floats()) else {
            return Err(refused());
        };
        let groups = node.int("group", 1).max(1) as usize;
        let (dilation, pads) = match (node.ints("dilations"), node.ints("pads")) {
            (None | Some([_]), None) => (node.ints("dilations").map_or(1, |sizes| sizes[0]), [0, 0]),
            (dilations @ (None | Some([_])), Some(&[before, after])) => {
                (dilations.map_or(1, |sizes| sizes[0]), [before, after])
            }
            _ => return Err(refused()),
        };
        let plain = matches!(node.text("auto_pad"), b"" | b"NOTSET" | b"VALID")
            && node.ints("strides").is_none_or(|strides| strides == [1])
            && [dilation, pads[0], pads[1]]
                .iter()
                .all(|size| size.unsigned_abs() <= MOST_PADDING);
        if !plain || per_group * groups != channels || !outputs.is_multiple_of(groups) {
            return Err(refused());
        }
        let reach = (size as i64 - 1) * dilation;
        let (mut taps, len) = (Vec::new(), sequence.len + pads[0] + pads[1] - reach);
        for tap in 0..size {
            let mut matrix = vec![0.0; channels * outputs];
            for out in 0..outputs {
                let first = out / (outputs / groups) * per_group;
                for input in 0..per_group {
                    matrix[(first + input) * outputs + out] = weights[(out * per_group + input) * size + tap];
                }
            }
            if matrix.iter().all(|&weight| weight == 0.0) {
                continue;
            }
            let offset = sequence.from - pads[0] + tap as i64 * dilation;
            if !sequence.known || !sequence.ends(offset) {
                return Err(Unsupported::new(
                    "a convolution along pixels of which some were cut off",
                ));
            }
            let places = along(offset, columns).into_iter().filter(|(dy, _)| dy.abs() < rows);
            taps.extend(places.map(|(dy, dx)| Tap {
                dy,
                dx,
                weights: matrix.clone(),
            }));
        }
        if len < 1 {
            return Err(Unsupported::new("nothing is left of the tensor"));
        }
        let bias = match node.inputs.get(2).map(String::as_str) {
            None | Some("") => None,
            Some(_) => Some(self.floats_input(node, 2)?),
        };
        let linear = Operator::Linear(Linear {
            inputs: channels,
            outputs,
            taps,
            bias,
        });
        self.rounds_rows = true;
        let mut axes = view.axes.clone();
        axes[1] = Axis::Feature(outputs);
        let axis = axes.len() - 1;
        let view = self.beside(node, linear, vec![Operand::Tensor(view.read(vec![channels]))], axes)?;
        let known = len <= rows * columns;
        self.keep(
            node,
            Sequence {
                view,
                axis,
                from: 0,
                len,
                known,
            },
        )
    }
}

/// A convolution over pictures of one row as one along that row.
fn of_one_row(node: &Node) -> Node {
    let mut own = node.clone();
    for attribute in &mut own.attributes {
        attribute.ints = match (attribute.name.as_deref(), &attribute.ints[..]) {
            (Some("pads"), &[0, left, 0, right]) => vec![left, right],
            (Some("dilations" | "strides" | "kernel_shape"), &[_, along]) => vec![along],
            (_, ints) => ints.to_vec(),
        };
    }
    own
}
