//! Convolutions over other axes than rows and columns of pictures, as those over them: along each row or column by
//! itself, over columns and rows in turn, or over a depth of one.

use super::super::{
    View,
    axes::{self, Axis},
};
use crate::graph::{constant::Constant, protobuf::Node, wavefront::Unsupported};

/// A convolution over the rows and columns of pictures.
pub(super) struct OverPictures {
    pub(super) view: View,
    /// [out, in, rows, columns].
    pub(super) kernel: Constant,
    /// The node with its sizes along rows and columns.
    pub(super) node: Node,
    /// Axes as they were.
    own: Vec<Axis>,
}

/// One axis of the kernel: what it reads along.
struct Along {
    size: usize,
    stride: i64,
    dilation: i64,
    pads: [i64; 2],
}

impl OverPictures {
    /// What the node does, if it is one picture that it works on.
    pub(super) fn read(node: &Node, view: View, kernel: Constant) -> Result<Self, Unsupported> {
        let own = view.axes.clone();
        if axes::pictures(&own).is_some() {
            let node = node.clone();
            return Ok(Self {
                view,
                kernel,
                node,
                own,
            });
        }
        let refused = || Unsupported::new("a convolution over other axes than rows and columns");
        let ([first, Axis::Feature(channels), over @ ..], Some((rows, columns))) = (&own[..], view.extent()) else {
            return Err(refused());
        };
        let is_plain = matches!(node.text("auto_pad"), b"" | b"NOTSET" | b"VALID");
        if first.features().is_some() || !is_plain || kernel.dims.len() != own.len() || over.len() > 3 {
            return Err(refused());
        }
        let (mut down, mut right) = (None, None);
        let (mut order, mut first_place) = (Vec::new(), 0);
        let strides: Vec<usize> = (0..kernel.dims.len())
            .map(|at| kernel.dims[at + 1..].iter().product())
            .collect();
        for (at, axis) in over.iter().enumerate() {
            let along = Along::read(node, at, over.len(), kernel.dims[at + 2]).ok_or_else(refused)?;
            match axis {
                Axis::Row(_) => down = Some((along, strides[at + 2])),
                Axis::Column(_) => right = Some((along, strides[at + 2])),
                // Of a single place only one weight counts.
                Axis::Unit | Axis::Batch => first_place += along.only().ok_or_else(refused)? * strides[at + 2],
                _ => return Err(refused()),
            }
        }
        let alone = || {
            let (size, stride, dilation, pads) = (1, 1, 1, [0, 0]);
            (
                Along {
                    size,
                    stride,
                    dilation,
                    pads,
                },
                0,
            )
        };
        let ([outputs, inputs], both) = ([kernel.dims[0], kernel.dims[1]], [down, right]);
        let [(down, step_down), (right, step_right)] = both.map(|along| along.unwrap_or_else(alone));
        for out in 0..outputs * inputs {
            let start = out / inputs * strides[0] + out % inputs * strides[1] + first_place;
            let place = |y: usize, x: usize| start + y * step_down + x * step_right;
            order.extend((0..down.size).flat_map(|y| (0..right.size).map(move |x| place(y, x))));
        }
        let kernel = kernel.rearranged(vec![outputs, inputs, down.size, right.size], order.into_iter());
        let mut plain = Node {
            attributes: Vec::new(),
            ..node.clone()
        };
        plain = plain
            .with_ints("strides", &[down.stride, right.stride])
            .with_ints("dilations", &[down.dilation, right.dilation])
            .with_ints("pads", &[down.pads[0], right.pads[0], down.pads[1], right.pads[1]])
            .with_int("group", node.int("group", 1));
        let view = View {
            axes: axes::of_pictures(*channels, rows, columns),
            ..view
        };
        Ok(Self {
            view,
            kernel,
            node: plain,
            own,
        })
    }

    /// Axes of the result as those of what was read.
    pub(super) fn arranged(&self, outputs: usize, (rows, columns): (i64, i64)) -> Vec<Axis> {
        let after = |(at, axis): (usize, &Axis)| match axis {
            _ if at == 1 => Axis::Feature(outputs),
            Axis::Row(_) => Axis::Row(rows),
            Axis::Column(_) => Axis::Column(columns),
            other => *other,
        };
        self.own.iter().enumerate().map(after).collect()
    }
}

impl Along {
    fn read(node: &Node, at: usize, count: usize, size: usize) -> Option<Self> {
        let of = |name: &str, default: i64, place: usize, count: usize| match node.ints(name) {
            None => Some(default),
            Some(sizes) if sizes.len() == count => Some(sizes[place]),
            Some(_) => None,
        };
        Some(Self {
            size,
            stride: of("strides", 1, at, count)?,
            dilation: of("dilations", 1, at, count)?,
            pads: [of("pads", 0, at, 2 * count)?, of("pads", 0, at + count, 2 * count)?],
        })
    }

    /// Where there is a single place before and after, the one weight that does not fall on zeros.
    fn only(&self) -> Option<usize> {
        let reach = (self.size as i64 - 1).checked_mul(self.dilation)?;
        let [before, after] = self.pads;
        let is_single = (0..=reach).contains(&before) && before.checked_add(after)? == reach && self.dilation > 0;
        (is_single && before % self.dilation == 0).then(|| (before / self.dilation) as usize)
    }
}
