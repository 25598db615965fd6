//! Products of two tensors at each pixel, such as those of linear attention: numbers of one by one with those of the
//! other, and sums of some of them.

use super::{Done, Entity, Lowering, View, axes::Axis, operators::output_of};
use crate::graph::{
    protobuf::Node,
    wavefront::{
        Unsupported,
        stencil::{Operand, Operator},
    },
};

/// A tensor, and a letter for each of its axes.
pub(super) type Lettered<'a> = (&'a View, Vec<char>);

/// Whether two tensors have the same places, of which the result has all.
pub(super) fn is_at_each(one: &Lettered<'_>, other: &Lettered<'_>, result: &[char]) -> bool {
    let places = |(view, letters): &Lettered<'_>| -> Vec<(char, Axis)> {
        let both = letters.iter().copied().zip(view.axes.iter().copied());
        let mut places: Vec<(char, Axis)> = both.filter(|(_, axis)| axis.is_spatial()).collect();
        places.sort_by_key(|&(letter, _)| letter);
        places
    };
    let is_named = |(view, letters): &Lettered<'_>| {
        let is_twice = |(at, letter): (usize, &char)| letters[..at].contains(letter);
        letters.len() == view.axes.len() && !letters.iter().enumerate().any(is_twice)
    };
    let own = places(one);
    let is_plain = |&(letter, axis): &(char, Axis)| result.contains(&letter) && axis.features().is_none();
    !own.is_empty() && own.iter().all(is_plain) && own == places(other) && is_named(one) && is_named(other)
}

/// The letters of a product of matrices that lie beside each other.
pub(super) fn letters_of_matrices(one: &View, other: &View) -> Option<(Vec<char>, Vec<char>, Vec<char>)> {
    let (rank, letter) = (one.axes.len(), |at: usize| char::from_u32(at as u32 + 1));
    if rank < 2 || other.axes.len() != rank {
        return None;
    }
    let outer: Vec<char> = (0..rank - 2).map(letter).collect::<Option<_>>()?;
    let [row, summed, column] = [letter(rank), letter(rank + 1), letter(rank + 2)];
    let with = |first: Option<char>, second: Option<char>| -> Option<Vec<char>> {
        Some([&outer[..], &[first?, second?]].concat())
    };
    Some((with(row, summed)?, with(summed, column)?, with(row, column)?))
}

impl Lowering {
    /// The product, at each pixel, of two tensors that are both computed from the image.
    pub(super) fn product_at_each(&mut self, node: &Node, factors: [Lettered<'_>; 2], result: &[char]) -> Done {
        let mut letters = result.to_vec();
        for letter in factors.iter().flat_map(|(_, letters)| letters) {
            if !letters.contains(letter) {
                letters.push(*letter);
            }
        }
        let axis_of = |letter: &char| -> Option<Axis> {
            let own = factors.iter().filter_map(|(view, letters)| {
                let at = letters.iter().position(|own| own == letter)?;
                Some(view.axes[at])
            });
            own.max_by_key(|axis| (axis.size(), axis.features().is_some() || axis.is_spatial()))
        };
        let axes: Option<Vec<Axis>> = letters.iter().map(axis_of).collect();
        let axes = axes.ok_or_else(|| Unsupported::new("an equation with a letter of its own"))?;
        let operands = factors
            .iter()
            .map(|factor| self.factor(node, factor, &letters, &axes))
            .collect::<Result<Vec<_>, _>>()?;
        let product = Operator::Pointwise(Node::new("Mul", &[], ""));
        let product = self.beside(node, product, operands, axes)?;
        if letters.len() == result.len() {
            return self.define(node, Entity::View(product));
        }
        let name = format!("{}/density_server/product", output_of(node)?);
        self.entities.insert(name.clone(), Entity::View(product));
        let summed: Vec<i64> = (result.len()..letters.len()).map(|at| at as i64).collect();
        let sum = Node {
            name: node.name.clone(),
            ..Node::new("ReduceSum", &[&name], &output_of(node)?)
        };
        self.reduce(&sum.with_int("keepdims", 0).with_ints("axes", &summed))
    }

    /// A factor with its features in the order of the product.
    fn factor(
        &mut self,
        node: &Node,
        (view, own): &Lettered<'_>,
        letters: &[char],
        axes: &[Axis],
    ) -> Result<Operand, Unsupported> {
        let mut view = (*view).clone();
        let of_features = |at: &usize| view.axes[*at].features().is_some();
        let places: Vec<usize> = letters
            .iter()
            .filter_map(|letter| own.iter().position(|own| own == letter))
            .collect();
        let before: Vec<usize> = (0..own.len()).filter(of_features).collect();
        let after: Vec<usize> = places.iter().copied().filter(of_features).collect();
        if !after.is_sorted() {
            let order = after.iter().filter_map(|at| before.iter().position(|own| own == at));
            let operator = Operator::Permute(order.collect());
            let operand = Operand::Tensor(view.read(view.features()));
            let turned = places.iter().map(|&at| view.axes[at]).collect();
            view = self.beside(node, operator, vec![operand], turned)?;
        } else {
            view.axes = places.iter().map(|&at| view.axes[at]).collect();
        }
        let held: Vec<char> = places.iter().map(|&at| own[at]).collect();
        let size = |(letter, axis): (&char, &Axis)| {
            let at = held.iter().position(|own| own == letter);
            axis.features()
                .map(|_| at.and_then(|at| view.axes[at].features()).unwrap_or(1))
        };
        let features = letters.iter().zip(axes).filter_map(size).collect();
        Ok(Operand::Tensor(view.read(features)))
    }
}
