//! Pooling, enlargement by copies, and channels that are traded for places: other ways to lower resolutions and back.

use super::{
    Done, Entity, Lowering, View,
    axes::{self, Axis},
    strides::{MOST_STRIDE, Phase, pair},
};
use crate::graph::{
    protobuf::Node,
    wavefront::{
        Unsupported,
        stencil::{Linear, Operand, Operator, Read, Tap},
    },
};

impl Lowering {
    /// The mean or the largest of neighbours.
    pub(super) fn pool(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?.with_channels();
        let (channels, rows, columns) = axes::pictures(&view.axes)
            .ok_or_else(|| Unsupported::new("pooling over other axes than rows and columns"))?;
        let kernel = pair(node.ints("kernel_shape"), 0)?;
        if kernel.iter().any(|&size| !(1..=MOST_STRIDE).contains(&size)) {
            return Err(Unsupported::new("a kernel that does not fit the tensor"));
        }
        let (strides, dilations) = (pair(node.ints("strides"), 1)?, pair(node.ints("dilations"), 1)?);
        let is_padded = node.ints("pads").is_some_and(|pads| pads.iter().any(|&pad| pad != 0));
        if is_padded || !matches!(node.text("auto_pad"), b"" | b"NOTSET" | b"VALID") || node.int("ceil_mode", 0) != 0 {
            return Err(Unsupported::new(
                "pooling that is padded inside: pad with zeros before it",
            ));
        }
        let sizes = [rows, columns];
        let [count, across] = [0, 1].map(|at| {
            let reach = (kernel[at] - 1) * dilations[at];
            (sizes[at] - reach - 1) / strides[at].max(1) + 1
        });
        if count < 1 || across < 1 {
            return Err(Unsupported::new("a kernel that does not fit the tensor"));
        }
        let stride = view.stride.times(strides[0], strides[1])?;
        let axes = axes::of_pictures(channels, count, across);
        let places = (0..kernel[0] * kernel[1]).map(|at| {
            let (down, right) = (at / kernel[1] * dilations[0], at % kernel[1] * dilations[1]);
            (down * view.stride.down, right * view.stride.right)
        });
        let made = if node.op_type() == "MaxPool" {
            let reads = places.map(|(dy, dx)| Operand::Tensor(beside(&view, dy, dx, vec![channels])));
            let largest = Operator::Pointwise(Node::new("Max", &[], ""));
            self.at_stride(node, largest, reads.collect(), axes, stride)
        } else {
            let share = 1.0 / (kernel[0] * kernel[1]) as f32;
            let identity = (0..channels * channels).map(|at| if at % (channels + 1) == 0 { share } else { 0.0 });
            let weights: Vec<f32> = identity.collect();
            let taps = places
                .map(|(dy, dx)| Tap {
                    dy,
                    dx,
                    weights: weights.clone(),
                })
                .collect();
            let mean = Operator::Linear(Linear {
                inputs: channels,
                outputs: channels,
                taps,
                bias: None,
            });
            self.at_stride(
                node,
                mean,
                vec![Operand::Tensor(view.read(vec![channels]))],
                axes,
                stride,
            )
        };
        self.define(node, Entity::View(made))
    }

    /// Copies of each place, by whole numbers.
    pub(super) fn enlarge(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?.with_channels();
        let refused = || Unsupported::new("resizing other than by copies of each place");
        let (channels, rows, columns) = axes::pictures(&view.axes).ok_or_else(refused)?;
        let copies = match (node.text("coordinate_transformation_mode"), node.text("nearest_mode")) {
            (b"asymmetric", b"floor") | (b"" | b"half_pixel", b"" | b"round_prefer_floor") => true,
            _ => node.op_type() == "Upsample",
        };
        // Before the sizes stand the scales, before those a region.
        let of_scales = if node.op_type() == "Upsample" { 1 } else { 2 };
        let scales = match node.inputs.get(of_scales).map(String::as_str) {
            None | Some("") => None,
            Some(_) => Some(self.floats_input(node, of_scales)?),
        };
        let sizes = match scales {
            Some(scales) if scales.len() == 4 && scales[..2] == [1.0; 2] => {
                let sizes =
                    [(rows, scales[2]), (columns, scales[3])].map(|(size, scale)| size as f64 * f64::from(scale));
                if sizes.iter().any(|size| size.fract() != 0.0) {
                    return Err(refused());
                }
                sizes.map(|size| size as i64)
            }
            Some(_) => return Err(refused()),
            None => match self.ints_input(node, 3)?.as_deref() {
                Some(&[_, _, tall, wide]) => [tall, wide],
                _ => return Err(refused()),
            },
        };
        let (tall, wide) = (sizes[0] / rows.max(1), sizes[1] / columns.max(1));
        let is_nearest = matches!(node.text("mode"), b"" | b"nearest");
        if !copies || !is_nearest || (tall * rows, wide * columns) != (sizes[0], sizes[1]) {
            return Err(refused());
        }
        let stride = view.stride.parted(tall, wide)?;
        let mut axes = view.axes.clone();
        (axes[2], axes[3]) = (Axis::Row(sizes[0]), Axis::Column(sizes[1]));
        let phases = phases(tall, wide).map(|(down, right)| {
            let read = beside(&view, -down * stride.down, -right * stride.right, vec![channels]);
            Phase {
                down,
                right,
                value: Operand::Tensor(read),
            }
        });
        self.by_phase(node, phases.collect(), (tall, wide), None, axes, stride)
    }

    /// Channels that become the pixels of a block.
    pub(super) fn depth_to_space(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let size = node.int("blocksize", 0);
        let (channels, rows, columns) = axes::pictures(&view.axes)
            .ok_or_else(|| Unsupported::new("channels traded for other axes than rows and columns"))?;
        let stride = view.stride.parted(size, size)?;
        let block = (size * size) as usize;
        let outputs = channels / block;
        if outputs * block != channels {
            return Err(Unsupported::new("channels that do not make up blocks"));
        }
        let axes = axes::of_pictures(outputs, rows * size, columns * size);
        let mut parts = Vec::new();
        for (down, right) in phases(size, size) {
            let own = (down * size + right) as usize;
            let indices = (0..outputs).map(|output| match node.text("mode") {
                b"CRD" => output * block + own,
                _ => own * outputs + output,
            });
            let select = Operator::Select {
                axis: 0,
                indices: indices.collect(),
            };
            let of_phase = axes::of_pictures(outputs, rows, columns);
            let read = Operand::Tensor(view.read(vec![channels]));
            let picked = self.at_stride(node, select, vec![read], of_phase, view.stride);
            let read = beside(&picked, -down * stride.down, -right * stride.right, vec![outputs]);
            parts.push(Phase {
                down,
                right,
                value: Operand::Tensor(read),
            });
        }
        self.by_phase(node, parts, (size, size), None, axes, stride)
    }

    /// The pixels of a block that become channels.
    pub(super) fn space_to_depth(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let size = node.int("blocksize", 0);
        let (channels, rows, columns) = axes::pictures(&view.axes)
            .ok_or_else(|| Unsupported::new("other axes than rows and columns traded for channels"))?;
        let stride = view.stride.times(size, size)?;
        if rows % size != 0 || columns % size != 0 {
            return Err(Unsupported::new("places that do not make up blocks"));
        }
        let outputs = channels * (size * size) as usize;
        let axes = axes::of_pictures(outputs, rows / size, columns / size);
        let reads = phases(size, size).map(|(down, right)| {
            let read = beside(
                &view,
                down * view.stride.down,
                right * view.stride.right,
                vec![channels],
            );
            Operand::Tensor(read)
        });
        let made = self.at_stride(node, Operator::Concat { axis: 0 }, reads.collect(), axes, stride);
        self.define(node, Entity::View(made))
    }
}

/// Rows and columns that a pixel may lie below and right of the first of its block.
fn phases(tall: i64, wide: i64) -> impl Iterator<Item = (i64, i64)> {
    (0..tall).flat_map(move |down| (0..wide).map(move |right| (down, right)))
}

/// What lies so many rows below and columns to the right.
fn beside(view: &View, dy: i64, dx: i64, features: Vec<usize>) -> Read {
    let read = view.read(features);
    Read {
        dy: read.dy + dy,
        dx: read.dx + dx,
        ..read
    }
}
