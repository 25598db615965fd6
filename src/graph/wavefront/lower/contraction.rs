//! Sums over features with constant weights, whatever their axes: products with matrices and `Einsum`.

use super::{
    Done, Entity, Lowering, View,
    axes::Axis,
    each::is_at_each,
    linear::{MOST_BESIDE, terms_of},
};
use crate::graph::{
    constant::Constant,
    protobuf::Node,
    wavefront::{
        Unsupported,
        stencil::{Linear, Operand, Operator, Tap},
    },
};

/// A letter for each axis of what is summed, of the weights, and of the result.
pub(super) struct Equation {
    pub(super) of_view: Vec<char>,
    pub(super) of_weights: Vec<char>,
    pub(super) result: Vec<char>,
}

impl Lowering {
    /// Sums of products with constant weights, or the two products of attention.
    pub(super) fn einsum(&mut self, node: &Node) -> Done {
        let [first, second, result] = terms_of(node).ok_or_else(unknown)?;
        let (view, weights, of_view, of_weights) = match &self.inputs(node)?[..] {
            [Entity::View(view), Entity::Constant(weights)] => (view.clone(), weights.clone(), first, second),
            [Entity::Constant(weights), Entity::View(view)] => (view.clone(), weights.clone(), second, first),
            [Entity::View(one), Entity::View(other)] => {
                let (own, of_other) = ((one, first), (other, second));
                return if is_at_each(&own, &of_other, &result) {
                    self.product_at_each(node, [own, of_other], &result)
                } else {
                    self.attention_by_equation(node, one, other)
                };
            }
            _ => return Err(unknown()),
        };
        let equation = Equation {
            of_view,
            of_weights,
            result,
        };
        self.contract(node, &view, &weights, &equation)
    }

    /// A product with a constant of which some axes before the last two stand beside those of the view: `axis` is the
    /// one that is summed, the last of the view or the last but one.
    pub(super) fn product_beside(&mut self, node: &Node, view: &View, matrix: &Constant, axis: usize) -> Done {
        let (rank, own) = (view.axes.len(), matrix.dims.len());
        let (Some(outer), Some(lead)) = (own.checked_sub(2), rank.checked_sub(2)) else {
            return Err(Unsupported::new("a product of tensors without rows and columns"));
        };
        let letter = |at: usize| char::from_u32(at as u32 + 1).unwrap_or_default();
        let new = letter(rank);
        let mut of_weights = Vec::new();
        let mut dims = Vec::new();
        for (at, &size) in matrix.dims[..outer].iter().enumerate().filter(|(_, size)| **size != 1) {
            let beside = (at + lead).checked_sub(outer).ok_or_else(unknown)?;
            of_weights.push(letter(beside));
            dims.push(size);
        }
        let summed = letter(axis);
        of_weights.extend(if axis + 1 == rank { [summed, new] } else { [new, summed] });
        dims.extend(&matrix.dims[outer..]);
        let of_view: Vec<char> = (0..rank).map(letter).collect();
        let replaced = |&own: &char| if own == summed { new } else { own };
        let equation = Equation {
            result: of_view.iter().map(replaced).collect(),
            of_view,
            of_weights,
        };
        self.contract(node, view, &matrix.clone().reshaped(dims), &equation)
    }

    /// Sums what the equation says.
    fn contract(&mut self, node: &Node, view: &View, weights: &Constant, equation: &Equation) -> Done {
        let Equation {
            of_view,
            of_weights,
            result,
        } = equation;
        let is_new = |letter: &char| of_weights.contains(letter) && !of_view.contains(letter);
        let is_lost = |letter: &char| !of_view.contains(letter) && !result.contains(letter);
        let fits = view.axes.len() == of_view.len() && weights.dims.len() == of_weights.len();
        let known = result.iter().all(|letter| of_view.contains(letter) || is_new(letter));
        if !fits
            || !known
            || of_weights.iter().any(is_lost)
            || [of_view, of_weights, result]
                .into_iter()
                .any(|letters| repeats(letters))
        {
            return Err(unknown());
        }
        let weight_size = |letter: &char| {
            of_weights
                .iter()
                .position(|own| own == letter)
                .map(|at| weights.dims[at])
        };
        for (axis, letter) in view.axes.iter().zip(of_view) {
            match (axis, weight_size(letter)) {
                (axis, Some(size)) if axis.is_spatial() && size > 1 => {
                    return Err(Unsupported::new("a fully connected layer over places"));
                }
                (axis, Some(size)) if axis.size() != size => {
                    return Err(Unsupported::new("weights that do not fit the input"));
                }
                (Axis::Flat(_) | Axis::Strip(_), _) => return Err(unknown()),
                (axis, _) if axis.is_spatial() && !result.contains(letter) => {
                    return Err(Unsupported::new("a reduction over places"));
                }
                _ => {}
            }
        }
        let axes: Vec<Axis> = result
            .iter()
            .map(|letter| match of_view.iter().position(|own| own == letter) {
                Some(at) => view.axes[at],
                None => Axis::Feature(weight_size(letter).unwrap_or(1)),
            })
            .collect();
        let of_features = |axes: &[Axis], letters: &[char]| -> Vec<(char, usize)> {
            let both = axes.iter().zip(letters);
            both.filter_map(|(axis, &letter)| Some((letter, axis.features()?)))
                .collect()
        };
        let inputs = of_features(&view.axes, of_view);
        let outputs = of_features(&axes, result);
        let linear = matrix(weights, of_weights, &inputs, &outputs)?;
        let read = view.read(vec![linear.inputs]);
        self.make(node, Operator::Linear(linear), vec![Operand::Tensor(read)], axes)
    }
}

fn unknown() -> Unsupported {
    Unsupported::new("a sum of products other than of features with constant weights")
}

fn repeats(letters: &[char]) -> bool {
    letters
        .iter()
        .enumerate()
        .any(|(at, letter)| letters[..at].contains(letter))
}

/// The weights of every feature for every other, axes of both by their letters.
fn matrix(
    weights: &Constant,
    of_weights: &[char],
    inputs: &[(char, usize)],
    outputs: &[(char, usize)],
) -> Result<Linear, Unsupported> {
    let values = weights
        .as_floats()
        .ok_or_else(|| Unsupported::new("weights that are not a matrix of real numbers"))?;
    let stride = |letter: char| {
        let at = of_weights.iter().position(|&own| own == letter)?;
        Some(weights.dims[at + 1..].iter().product::<usize>())
    };
    let is_shared =
        |letter: char| inputs.iter().any(|own| own.0 == letter) && outputs.iter().any(|own| own.0 == letter);
    // Of each feature: its share of the place of a weight, and which of those it is that inputs and outputs have both.
    let places = |letters: &[(char, usize)], are_inputs: bool| -> Vec<(usize, Vec<usize>)> {
        let mut all = vec![(0, Vec::new())];
        for &(letter, size) in letters {
            let own = if are_inputs || !is_shared(letter) {
                stride(letter).unwrap_or(0)
            } else {
                0
            };
            let along = |(place, shared): (usize, Vec<usize>)| {
                (0..size).map(move |index| {
                    let mut shared = shared.clone();
                    if is_shared(letter) {
                        shared.push(index);
                    }
                    (place + index * own, shared)
                })
            };
            all = all.into_iter().flat_map(along).collect();
        }
        all
    };
    let shared_order = |letters: &[(char, usize)]| -> Vec<char> {
        letters
            .iter()
            .map(|own| own.0)
            .filter(|&letter| is_shared(letter))
            .collect()
    };
    let (from, to) = (places(inputs, true), places(outputs, false));
    let size = from.len().saturating_mul(to.len());
    if size == 0 || (size > MOST_BESIDE && size > weights.size()) {
        return Err(Unsupported::new("a product over some of several axes of channels"));
    }
    // In the order of the outputs.
    let (own, other) = (shared_order(inputs), shared_order(outputs));
    let order: Vec<usize> = other
        .iter()
        .filter_map(|letter| own.iter().position(|own| own == letter))
        .collect();
    let mut all = Vec::with_capacity(size);
    for (place, shared) in &from {
        let shared: Vec<usize> = order.iter().map(|&at| shared[at]).collect();
        let of_pair =
            |(other, wanted): &(usize, Vec<usize>)| if *wanted == shared { values[place + other] } else { 0.0 };
        all.extend(to.iter().map(of_pair));
    }
    Ok(Linear {
        inputs: from.len(),
        outputs: to.len(),
        taps: vec![Tap {
            dy: 0,
            dx: 0,
            weights: all,
        }],
        bias: None,
    })
}
