//! Pictures of a lower resolution, and the way back to that of the image.
//!
//! A tensor with every second row and column is computed at all of them, as if the convolutions after it were dilated:
//! what lies between has no meaning, and is never read for what has one. On the way back each pixel reads by its phase,
//! the rows and columns that it lies below and right of a place of the smaller picture.

mod transposed;

use super::{
    Done, Entity, Lowering, View,
    axes::{self, Axis},
    places::widen,
};
use crate::graph::{
    constant::Constant,
    layer,
    protobuf::Node,
    wavefront::{
        Unsupported,
        stencil::{Operand, Operator, StencilTensor, Stride},
    },
};

/// Rows or columns that become one, at most.
pub(super) const MOST_STRIDE: i64 = 64;
/// Sizes that a file may give, and places of which a table is made, at most.
const MOST_PLACES: i64 = 1 << 24;

impl Stride {
    /// The same, `down` rows and `right` columns of it at a time.
    pub(super) fn times(self, down: i64, right: i64) -> Result<Self, Unsupported> {
        let stride = Self {
            down: self.down * down,
            right: self.right * right,
        };
        let fits = |size: i64| (1..=MOST_STRIDE).contains(&size);
        if fits(stride.down) && fits(stride.right) && fits(down) && fits(right) {
            Ok(stride)
        } else {
            Err(Unsupported::new("a stride beyond all bounds"))
        }
    }

    pub(super) fn parted(self, down: i64, right: i64) -> Result<Self, Unsupported> {
        if down < 1 || right < 1 || self.down % down != 0 || self.right % right != 0 {
            return Err(Unsupported::new(
                "an enlargement of what has not been made smaller before by a stride",
            ));
        }
        Ok(Self {
            down: self.down / down,
            right: self.right / right,
        })
    }
}

/// Gives a table of places, the first two axes, a value for every pixel.
pub(super) fn stretch(table: &mut Constant, stride: Stride) {
    let [rows, columns, ref features @ ..] = table.dims[..] else {
        return;
    };
    if stride == Stride::ONE || rows * columns == 0 {
        return;
    }
    let width: usize = features.iter().product();
    let (tall, wide) = stride.spans((rows as i64, columns as i64));
    let dims = [&[tall as usize, wide as usize], features].concat();
    let sources = (0..tall * wide).flat_map(|at| {
        let (row, column) = (at / wide / stride.down, at % wide / stride.right);
        let first = (row as usize * columns + column as usize) * width;
        first..first + width
    });
    *table = table.rearranged(dims, sources);
}

/// What the pixels of one phase read.
pub(super) struct Phase {
    pub(super) down: i64,
    pub(super) right: i64,
    pub(super) value: Operand,
}

impl Lowering {
    /// Rows or columns that lie evenly apart.
    pub(super) fn every(
        &mut self,
        node: &Node,
        mut view: View,
        axis: usize,
        indices: &[i64],
    ) -> Result<View, Unsupported> {
        let uneven = || Unsupported::new("a selection of places that do not follow each other evenly");
        let &[first, second, ..] = indices else {
            return Err(uneven());
        };
        let (step, size) = (second - first, view.axes[axis].size() as i64);
        if step < 1 || indices.windows(2).any(|pair| pair[1] - pair[0] != step) {
            return Err(uneven());
        }
        widen(&mut view, axis, -first, indices[indices.len() - 1] + 1 - size)?;
        let count = indices.len() as i64;
        let (down, right, kept) = match view.axes[axis] {
            Axis::Row(_) => (step, 1, Axis::Row(count)),
            _ => (1, step, Axis::Column(count)),
        };
        let stride = view.stride.times(down, right)?;
        let mut axes = view.axes.clone();
        axes[axis] = kept;
        let features = view.features();
        let identity = Operator::Pointwise(Node::new("Identity", &[], ""));
        let read = Operand::Tensor(view.read(features));
        Ok(self.at_stride(node, identity, vec![read], axes, stride))
    }

    /// A tensor that has the places of its operands.
    pub(super) fn beside(
        &mut self,
        node: &Node,
        operator: Operator,
        operands: Vec<Operand>,
        axes: Vec<Axis>,
    ) -> Result<View, Unsupported> {
        let is_real = self.is_real(&operands);
        let tensor = self.tensor(of_node(node, operator, operands, &axes, is_real))?;
        Ok(self.view(tensor, axes))
    }

    /// A tensor whose places lie `stride` apart.
    pub(super) fn at_stride(
        &mut self,
        node: &Node,
        operator: Operator,
        operands: Vec<Operand>,
        axes: Vec<Axis>,
        stride: Stride,
    ) -> View {
        let is_real = self.is_real(&operands);
        let tensor = self.placed(StencilTensor {
            stride,
            ..of_node(node, operator, operands, &axes, is_real)
        });
        self.view(tensor, axes)
    }

    /// Gives each pixel what those of its phase read, and all a bias.
    pub(super) fn by_phase(
        &mut self,
        node: &Node,
        phases: Vec<Phase>,
        (tall, wide): (i64, i64),
        bias: Option<Constant>,
        axes: Vec<Axis>,
        stride: Stride,
    ) -> Done {
        let features = axes::features(&axes);
        let (rows, columns) = axes::extent(&axes).unwrap_or((1, 1));
        if !within_bounds(rows, columns) {
            return Err(Unsupported::new("an enlargement beyond all bounds"));
        }
        let mut sum = Vec::new();
        for Phase { down, right, value } in phases {
            if (tall, wide) == (1, 1) {
                sum.push(value);
                continue;
            }
            let is_of_phase = |at: i64| at / columns % tall == down && at % columns % wide == right;
            let ones = (0..rows * columns).map(|at| f32::from(u8::from(is_of_phase(at))));
            let mut dims = vec![rows as usize, columns as usize];
            dims.extend(features.iter().map(|_| 1));
            let mask = Operand::Table(Constant::floats(dims, ones.collect()));
            let times = Operator::Pointwise(Node::new("Mul", &[], ""));
            let own = self.at_stride(node, times, vec![value, mask], axes.clone(), stride);
            sum.push(Operand::Tensor(own.read(features.clone())));
        }
        sum.extend(bias.map(Operand::Constant));
        if !sum.iter().any(|operand| matches!(operand, Operand::Tensor(_))) {
            return Err(Unsupported::new("a transposed convolution whose weights are all zero"));
        }
        let plus = Operator::Pointwise(Node::new("Sum", &[], ""));
        let view = self.at_stride(node, plus, sum, axes, stride);
        self.define(node, Entity::View(view))
    }
}

/// What a node makes, at the resolution of the image.
pub(super) fn of_node(
    node: &Node,
    operator: Operator,
    operands: Vec<Operand>,
    axes: &[Axis],
    is_real: bool,
) -> StencilTensor {
    StencilTensor {
        layer: layer::describe(node),
        operator,
        operands,
        features: axes::features(axes),
        extent: axes::extent(axes),
        stride: Stride::ONE,
        is_real,
    }
}

fn within_bounds(rows: i64, columns: i64) -> bool {
    let is_size = |size: i64| (0..=MOST_PLACES).contains(&size);
    is_size(rows) && is_size(columns) && rows * columns <= MOST_PLACES
}

/// Sizes along rows and columns.
pub(super) fn pair(given: Option<&[i64]>, default: i64) -> Result<[i64; 2], Unsupported> {
    match given {
        None => Ok([default; 2]),
        Some(&[down, right]) if down.max(right) <= MOST_PLACES && down.min(right) >= 0 => Ok([down, right]),
        Some(_) => Err(Unsupported::new("a kernel over other axes than rows and columns")),
    }
}
