//! Layers over all pixels, as masked autoencoders have them: what they are of the pixels so far.
//!
//! Where masks make a network causal, a prediction sees no pixel from its own on, so it may be made as if those were
//! zero. Each place then has all numbers of a layer, as they are of the pixels before it. Those of the first layer are
//! running sums of what each pixel adds; what follows is made of them at each place, and of the last layer only the
//! numbers that predict the place. That the masks do make it causal is for a proof number by number.

use super::{Done, Entity, Lowering, View, axes::Axis, raster::along, recurrent::each};
use crate::graph::{
    constant::Constant,
    protobuf::Node,
    wavefront::{
        Unsupported,
        stencil::{Linear, Operand, Operator, Read, Stride, broadcast, permuted},
    },
};

/// Numbers of a table of places, at most.
const MOST_NUMBERS: usize = 1 << 26;
/// Operators between the last layer and the predictions, at most.
const DEEPEST: usize = 64;

/// Numbers of what is made at each place: the same count of each pixel, by their place among all.
type Numbers = Vec<usize>;

fn refused() -> Unsupported {
    Unsupported::new("a fully connected layer over places")
}

impl Lowering {
    /// A product of the last axis, a flattened picture, with weights [inputs, outputs].
    pub(super) fn over_all(
        &mut self,
        node: &Node,
        view: &View,
        (outputs, bias): (usize, Option<Vec<f32>>),
        weight: impl Fn(usize, usize) -> f32,
    ) -> Done {
        let (features, rows, columns, features_first) = match view.axes.last() {
            Some(&Axis::Pixels(rows, columns)) => (1, rows, columns, true),
            Some(&Axis::Flat(flat)) => (flat.features, flat.rows, flat.columns, flat.features_first),
            _ => return Err(refused()),
        };
        let (width, pixels) = (view.features().iter().product::<usize>(), (rows * columns) as usize);
        let is_one_picture = width == features && self.is_whole(view) && view.stride == Stride::ONE;
        if !is_one_picture || !self.tensors[view.tensor].is_real || self.has_ordered_channels || outputs == 0 {
            return Err(refused());
        }
        if pixels.saturating_mul(features).saturating_mul(outputs) > MOST_NUMBERS {
            return Err(refused());
        }
        let mut weights = Vec::with_capacity(pixels * features * outputs);
        for pixel in 0..pixels {
            for feature in 0..features {
                let input = if features_first {
                    feature * pixels + pixel
                } else {
                    pixel * features + feature
                };
                weights.extend((0..outputs).map(|output| weight(input, output)));
            }
        }
        let dims = vec![rows as usize, columns as usize, features, outputs];
        let table = Operand::Table(Constant::floats(dims, weights));
        let own = Operand::Tensor(view.read(vec![features, 1]));
        let place = Axis::Pixels(rows, columns);
        let axes = vec![place, Axis::Feature(features), Axis::Feature(outputs)];
        let product = self.beside(node, each("Mul"), vec![own, table], axes)?;
        self.summed.push(product.tensor);
        let added = self.sum_along(node, &product, vec![place, Axis::Feature(1), Axis::Feature(outputs)], 0)?;
        let mut axes = view.axes.clone();
        let last = axes.len() - 1;
        axes[last] = Axis::Feature(outputs);
        let first = axes[..last].iter().position(|&axis| axis == Axis::Batch).unwrap_or(0);
        if last == 0 {
            return Err(refused());
        }
        axes[first] = Axis::SoFar(rows, columns);
        let added = View {
            axes: axes.clone(),
            ..added
        };
        let sum = self.running(node, &added, &along(-1, columns), true)?;
        self.so_far.insert(sum.tensor);
        let Some(bias) = bias else {
            return self.define(node, Entity::View(sum));
        };
        let bias = Operand::Constant(Constant::floats(vec![outputs], bias));
        let operands = vec![Operand::Tensor(sum.read(sum.features())), bias];
        let sum = self.beside(node, each("Add"), operands, axes)?;
        self.define(node, Entity::View(sum))
    }

    /// Whether a tensor of these operands is one of the pixels so far; others cannot be beside such.
    pub(super) fn is_so_far(&self, operands: &[Operand]) -> Result<bool, Unsupported> {
        let mut placed = operands.iter().filter_map(|operand| match operand {
            Operand::Tensor(read) => {
                let extent = self.tensors[read.tensor].extent;
                extent.map(|_| self.so_far.contains(&read.tensor))
            }
            Operand::Constant(_) => None,
            Operand::Table(_) => Some(false),
        });
        let first = placed.next().unwrap_or(false);
        if placed.all(|other| other == first) {
            Ok(first)
        } else {
            Err(refused())
        }
    }

    /// A picture of what is known so far, each place of which has the numbers that are for it.
    pub(super) fn own_of(&mut self, node: &Node, view: &View) -> Result<View, Unsupported> {
        let [Axis::SoFar(rows, columns), ..] = view.axes[..] else {
            return Ok(view.clone());
        };
        let features = view.features();
        let (pixels, width) = ((rows * columns) as usize, features.iter().product::<usize>());
        let ends_in_places = view
            .axes
            .ends_with(&[Axis::Feature(rows as usize), Axis::Feature(columns as usize)]);
        if !ends_in_places || !self.is_whole(view) {
            return Err(refused());
        }
        let count = width / pixels;
        let numbers = (0..pixels).flat_map(|pixel| (0..count).map(move |own| own * pixels + pixel));
        let own = self.own(node, view.tensor, &numbers.collect(), 0)?;
        let mut axes = view.axes.clone();
        let last = axes.len();
        (axes[0], axes[last - 2], axes[last - 1]) = (Axis::Batch, Axis::Row(rows), Axis::Column(columns));
        Ok(View { axes, ..own })
    }

    /// The numbers of each place out of all that a tensor has there.
    fn own(&mut self, node: &Node, tensor: usize, numbers: &Numbers, depth: usize) -> Result<View, Unsupported> {
        let source = self.tensors[tensor].clone();
        let image = self.tensors[0].extent.unwrap_or((1, 1));
        let pixels = (image.0 * image.1) as usize;
        let count = numbers.len() / pixels;
        let places = [image.0 as usize, image.1 as usize];
        let axes = vec![Axis::Pixels(image.0, image.1), Axis::Feature(count)];
        let is_here = |operand: &Operand| match operand {
            Operand::Tensor(read) => self.is_plain(read),
            Operand::Constant(_) => true,
            Operand::Table(_) => false,
        };
        let is_local = depth < DEEPEST && !source.looks_back(tensor) && source.operands.iter().all(is_here);
        match (&source.operator, &source.operands[..]) {
            (Operator::Linear(linear), [Operand::Tensor(read)]) if is_local => {
                self.own_products(node, linear, read, (&places, numbers, count))
            }
            (Operator::Permute(order), [Operand::Tensor(read)]) if is_local => {
                let from: Vec<usize> = permuted(&read.features, order).collect();
                let inner = numbers.iter().map(|&at| from[at]).collect();
                self.own(node, read.tensor, &inner, depth + 1)
            }
            (Operator::Pointwise(_), operands) if is_local => {
                let mut own = Vec::new();
                for operand in operands {
                    let dims = match operand {
                        Operand::Tensor(read) => &read.features,
                        Operand::Constant(constant) | Operand::Table(constant) => &constant.dims,
                    };
                    let from: Vec<usize> = broadcast(&source.features, dims).collect();
                    let inner: Numbers = numbers.iter().map(|&at| from[at]).collect();
                    own.push(match operand {
                        Operand::Tensor(read) => {
                            let own = self.own(node, read.tensor, &inner, depth + 1)?;
                            Operand::Tensor(own.read(vec![count]))
                        }
                        Operand::Constant(constant) if constant.size() > 1 => {
                            let dims = [&places[..], &[count]].concat();
                            Operand::Table(constant.rearranged(dims, inner.into_iter()))
                        }
                        other => other.clone(),
                    });
                }
                Ok(self.at_stride(node, source.operator.clone(), own, axes, Stride::ONE))
            }
            _ => {
                let whole = self.view(tensor, Vec::new()).read(vec![numbers.len()]);
                let turned = Operator::Select {
                    axis: 0,
                    indices: numbers.clone(),
                };
                let all = vec![Axis::SoFar(image.0, image.1), Axis::Feature(numbers.len())];
                let turned = self.beside(node, turned, vec![Operand::Tensor(whole)], all)?;
                let read = Operand::Tensor(turned.read(vec![pixels, count]));
                Ok(self.at_stride(node, Operator::OfPlace, vec![read], axes, Stride::ONE))
            }
        }
    }

    /// The products of a layer that are for each place.
    fn own_products(
        &mut self,
        node: &Node,
        linear: &Linear,
        read: &Read,
        (places, numbers, count): (&[usize], &Numbers, usize),
    ) -> Result<View, Unsupported> {
        let [tap] = &linear.taps[..] else { return Err(refused()) };
        let inputs = linear.inputs;
        if (tap.dy, tap.dx) != (0, 0) || numbers.len().saturating_mul(inputs) > MOST_NUMBERS {
            return Err(refused());
        }
        let column = |&output: &usize| (0..inputs).map(move |input| tap.weights[input * linear.outputs + output]);
        let weights = numbers.iter().flat_map(column).collect();
        let [rows, columns] = [0, 1].map(|at| places[at] as i64);
        let place = Axis::Pixels(rows, columns);
        let table = Operand::Table(Constant::floats([places, &[count, inputs]].concat(), weights));
        let seen = Operand::Tensor(Read {
            features: vec![1, inputs],
            ..read.clone()
        });
        let all = vec![place, Axis::Feature(count), Axis::Feature(inputs)];
        let product = self.at_stride(node, each("Mul"), vec![seen, table], all, Stride::ONE);
        let product = self.sum_along(node, &product, vec![place, Axis::Feature(count), Axis::Feature(1)], 1)?;
        let axes = vec![place, Axis::Feature(count)];
        let Some(bias) = &linear.bias else {
            return Ok(View { axes, ..product });
        };
        let bias = numbers.iter().map(|&output| bias[output]).collect();
        let bias = Operand::Table(Constant::floats([places, &[count]].concat(), bias));
        let operands = vec![Operand::Tensor(product.read(vec![count])), bias];
        Ok(self.at_stride(node, each("Add"), operands, axes, Stride::ONE))
    }

    /// Sums along an axis of the features.
    fn sum_along(&mut self, node: &Node, view: &View, axes: Vec<Axis>, axis: usize) -> Result<View, Unsupported> {
        let sum = Operator::Mix {
            node: Node::new("ReduceSum", &[], ""),
            axes: vec![axis],
        };
        self.beside(node, sum, vec![Operand::Tensor(view.read(view.features()))], axes)
    }
}
