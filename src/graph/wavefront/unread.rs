//! Leaves unread what nothing comes of: neighbours laid side by side of which a mask lets only those before through.
//!
//! A mask may be a factor of zero, a choice, or a score of −∞, of which a softmax leaves no weight. What is masked at
//! every place need not be known, though a concatenation has it; it becomes zero there. Other neighbours are read where
//! they come from, each by itself, and not out of rows or columns laid side by side before.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    MASKED,
    neighbours::{self, Origin},
    stencil::{Operand, Operator, Read, Stencil, StencilTensor, THE_ONE_BEFORE, Window, broadcast},
};
use crate::graph::constant::Constant;

/// What a feature is known to be, at every place.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Number {
    Any,
    Zero,
    /// −∞.
    Lowest,
    /// So low that a softmax leaves nothing of it, as far as anybody can tell.
    Low(f32),
    /// As low, or lower, at some places.
    SometimesLow,
}

impl Number {
    fn of(value: f32) -> Self {
        match value {
            0.0 => Self::Zero,
            f32::NEG_INFINITY => Self::Lowest,
            low if low < MASKED => Self::Low(low),
            _ => Self::Any,
        }
    }

    /// Of what is one or the other, by the place.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (one, other) if one == other => one,
            (Self::Any | Self::Zero, Self::Any | Self::Zero) => Self::Any,
            (Self::Low(one), Self::Low(other)) => Self::Low(one.max(other)),
            (Self::Low(low), Self::Lowest) | (Self::Lowest, Self::Low(low)) => Self::Low(low),
            _ => Self::SometimesLow,
        }
    }

    fn is_low(self) -> bool {
        matches!(self, Self::Lowest | Self::Low(_))
    }
}

/// Whether neighbours lie side by side in it.
pub(super) fn may_be_forgotten(stencil: &Stencil) -> bool {
    let is_beside = |tensor: &StencilTensor| {
        let mut reads = tensor.reads();
        matches!(tensor.operator, Operator::Concat { .. }) && reads.any(|(_, dy, dx)| (dy, dx) != (0, 0))
    };
    stencil.tensors.iter().any(is_beside)
}

/// The same without what it need not read, if there is any.
pub(super) fn forgotten(stencil: &Stencil) -> Option<Stencil> {
    let mut known = Known::default();
    for tensor in &stencil.tensors {
        let numbers = known.numbers(tensor);
        known.all.push(numbers);
    }
    let live = known.live(stencil);
    let mut stencil = stencil.clone();
    let (mut all, mut made) = (Vec::with_capacity(live.len()), BTreeMap::new());
    for (at, live) in live.iter().enumerate() {
        all.push(neighbours::moved(&stencil.tensors[at], &all));
        let origins = all[at].as_deref();
        if let Some((parts, choice)) = origins.and_then(|origins| by_origin(&stencil, at, live, origins)) {
            made.insert(at, parts);
            stencil.tensors[at] = choice;
        }
    }
    let is_changed = !made.is_empty();
    stencil.assumptions.extend(known.assumptions);
    stencil.insert(made);
    stencil.forget_unused();
    is_changed.then_some(stencil)
}

/// What is known of features of tensors.
#[derive(Debug, Default)]
struct Known {
    all: Vec<Vec<Number>>,
    assumptions: BTreeSet<String>,
}

impl Known {
    /// What is known of each feature of a tensor.
    fn numbers(&mut self, tensor: &StencilTensor) -> Vec<Number> {
        let nothing = || vec![Number::Any; tensor.width()];
        match &tensor.operator {
            Operator::Pointwise(node) => {
                let operands: Vec<Vec<Number>> = tensor.operands.iter().map(|o| self.operand(tensor, o)).collect();
                let of = |feature: usize| operands.iter().map(move |numbers| numbers[feature]);
                let each = |number: &dyn Fn(usize) -> Number| (0..tensor.width()).map(number).collect();
                match (node.op_type(), tensor.condition()) {
                    ("Where", Some(_)) => {
                        let taken = tensor.taken();
                        each(&|feature| choice(taken[feature], of(feature).skip(1)))
                    }
                    ("Mul", _) => each(&|feature| product(of(feature))),
                    ("Add" | "Sum", _) => each(&|feature| sum(of(feature))),
                    ("Identity" | "Cast", _) => operands.into_iter().next().unwrap_or_else(nothing),
                    _ => nothing(),
                }
            }
            Operator::Mix { node, axes } if node.op_type() == "Softmax" => self.softmax(tensor, axes),
            // Of one feature each, which is moved.
            Operator::Concat { .. } | Operator::Select { .. } | Operator::Permute(_) => {
                let mut numbers = nothing();
                tensor.dependencies(|found| {
                    let is_zero = self
                        .all
                        .get(found.tensor)
                        .is_some_and(|of| of[found.source] == Number::Zero);
                    numbers[found.feature] = if is_zero { Number::Zero } else { Number::Any };
                });
                numbers
            }
            _ => nothing(),
        }
    }

    /// What is known of an operand, as it is broadcast to each feature.
    fn operand(&self, tensor: &StencilTensor, operand: &Operand) -> Vec<Number> {
        let (dims, numbers) = match operand {
            Operand::Tensor(read) => {
                let mut numbers = self.all.get(read.tensor).cloned().unwrap_or_default();
                // Outside the window, all is zero.
                let is_seen = |(rows, columns)| {
                    let own = Window::of_size(rows, columns).shifted(read.dy, read.dx);
                    own.intersect(read.window) == own
                };
                if !tensor.extent.is_none_or(is_seen) {
                    numbers.iter_mut().for_each(|number| *number = number.or(Number::Zero));
                }
                (&read.features[..], numbers)
            }
            Operand::Constant(constant) => (&constant.dims[..], of_constant(constant, constant.size())),
            Operand::Table(table) => (&table.dims[2..], of_constant(table, table.dims[2..].iter().product())),
        };
        let number = |place: usize| numbers.get(place).copied().unwrap_or(Number::Any);
        broadcast(&tensor.features, dims).map(number).collect()
    }

    /// Of scores that are masked at every place there is no weight, if others of the same softmax are never masked.
    fn softmax(&mut self, tensor: &StencilTensor, axes: &[usize]) -> Vec<Number> {
        let mut numbers = vec![Number::Any; tensor.width()];
        let (&[axis], [operand @ Operand::Tensor(read)]) = (axes, &tensor.operands[..]) else {
            return numbers;
        };
        if read.features != tensor.features {
            return numbers;
        }
        let scores = self.operand(tensor, operand);
        let (size, inner) = (
            tensor.features[axis],
            tensor.features[axis + 1..].iter().product::<usize>(),
        );
        let group = |feature: usize| feature / (size * inner) * inner + feature % inner;
        let free: BTreeSet<usize> = (0..tensor.width())
            .filter(|&feature| matches!(scores[feature], Number::Any | Number::Zero))
            .map(group)
            .collect();
        for (feature, number) in numbers.iter_mut().enumerate() {
            match scores[feature] {
                Number::Lowest => *number = Number::Zero,
                Number::Low(fill) if free.contains(&group(feature)) => {
                    let layer = &tensor.layer;
                    let assumption = format!("neighbours that are masked by {fill:e} have no weight: layer {layer}");
                    self.assumptions.insert(assumption);
                    *number = Number::Zero;
                }
                _ => {}
            }
        }
        numbers
    }

    /// The features that something comes of, of each tensor.
    fn live(&self, stencil: &Stencil) -> Vec<Vec<bool>> {
        let unread = |tensor: &StencilTensor| vec![false; tensor.width()];
        let mut live: Vec<Vec<bool>> = stencil.tensors.iter().map(unread).collect();
        live[stencil.logits].fill(true);
        let has_states = !stencil.states().is_empty();
        loop {
            let before = live.clone();
            for (at, tensor) in stencil.tensors.iter().enumerate().rev() {
                let own = live[at].clone();
                if !own.contains(&true) {
                    continue;
                }
                let decided = self.decided(at, tensor);
                tensor.dependencies(|found| {
                    let decider = decided.get(found.feature).copied().flatten();
                    let is_decided = decider.is_some_and(|own| own != Some((found.tensor, found.source)));
                    live[found.tensor][found.source] |= own[found.feature] && !is_decided;
                });
            }
            if !has_states || live == before {
                return live;
            }
        }
    }

    /// For every feature that one operand decides whatever the others are, which that is: a tensor's feature, or else a
    /// constant.
    fn decided(&self, at: usize, tensor: &StencilTensor) -> Vec<Option<Option<(usize, usize)>>> {
        let Operator::Pointwise(node) = &tensor.operator else {
            return Vec::new();
        };
        let decides: fn(Number) -> bool = match node.op_type() {
            "Mul" => |number| number == Number::Zero,
            "Add" | "Sum" => Number::is_low,
            _ => return Vec::new(),
        };
        let mut decided = vec![None; self.all[at].len()];
        for operand in &tensor.operands {
            let numbers = self.operand(tensor, operand);
            let sources: Vec<Option<(usize, usize)>> = match operand {
                Operand::Tensor(read) => broadcast(&tensor.features, &read.features)
                    .map(|source| Some((read.tensor, source)))
                    .collect(),
                Operand::Constant(_) | Operand::Table(_) => vec![None; decided.len()],
            };
            for ((decided, number), source) in decided.iter_mut().zip(numbers).zip(sources) {
                if decided.is_none() && decides(number) {
                    *decided = Some(source);
                }
            }
        }
        decided
    }
}

/// What is known of what is chosen, of what is known of two values of which either may be taken.
fn choice(taken: (bool, bool), mut values: impl Iterator<Item = Number>) -> Number {
    let mut next = || values.next().unwrap_or(Number::Any);
    let (first, second) = (next(), next());
    match taken {
        (true, false) => first,
        (false, true) => second,
        _ => first.or(second),
    }
}

fn product(mut factors: impl Iterator<Item = Number>) -> Number {
    if factors.any(|factor| factor == Number::Zero) {
        Number::Zero
    } else {
        Number::Any
    }
}

fn sum(summands: impl Iterator<Item = Number>) -> Number {
    let mut all = Number::Zero;
    for summand in summands {
        all = match (all, summand) {
            (Number::Lowest, _) | (_, Number::Lowest) => Number::Lowest,
            (Number::Low(one), Number::Low(other)) => Number::Low(one.max(other)),
            (Number::Low(low), _) | (_, Number::Low(low)) => Number::Low(low),
            (Number::SometimesLow, _) | (_, Number::SometimesLow) => Number::SometimesLow,
            (Number::Zero, other) => other,
            _ => Number::Any,
        };
    }
    all
}

/// What the numbers of a constant are at every place, of so many features.
fn of_constant(constant: &Constant, width: usize) -> Vec<Number> {
    let Some(values) = constant.as_floats().filter(|_| width > 0) else {
        return Vec::new();
    };
    let numbers = |feature: usize| values.iter().skip(feature).step_by(width).copied().map(Number::of);
    (0..width)
        .map(|feature| numbers(feature).reduce(Number::or).unwrap_or(Number::Any))
        .collect()
}

/// A tensor that arranges what others have, as a choice out of what is live, read where it comes from, and a zero: that
/// and the choice. Where all is read, and read at its own place, it stays as it is.
fn by_origin(
    stencil: &Stencil,
    at: usize,
    live: &[bool],
    origins: &[Option<Origin>],
) -> Option<(StencilTensor, StencilTensor)> {
    let tensor = &stencil.tensors[at];
    let read = || live.iter().zip(origins).filter(|&(&live, _)| live);
    let is_moved = |origin: &Origin| (origin.dy, origin.dx) != (0, 0);
    let is_worth_it = live.contains(&false) || read().any(|(_, origin)| origin.as_ref().is_some_and(is_moved));
    if !is_worth_it || !tensor.is_real {
        return None;
    }
    let read: Vec<Origin> = read().map(|(_, origin)| *origin).collect::<Option<_>>()?;
    let place = |origin: &Origin| (origin.tensor, origin.dy, origin.dx, origin.window);
    let mut places: BTreeMap<(usize, i64, i64, Window), usize> = read.iter().map(|origin| (place(origin), 0)).collect();
    if places.is_empty() || places.keys().any(|(source, ..)| !stencil.tensors[*source].is_real) {
        return None;
    }
    let mut size = 0;
    let mut operands = Vec::new();
    for (&(source, dy, dx, window), first) in &mut places {
        let features = vec![stencil.tensors[source].width()];
        *first = size;
        size += features[0];
        operands.push(Operand::Tensor(Read {
            tensor: source,
            dy,
            dx,
            window,
            features,
        }));
    }
    let zero = size;
    if live.contains(&false) {
        operands.push(Operand::Constant(Constant::floats(vec![1], vec![0.0])));
        size += 1;
    }
    let index = |(live, origin): (&bool, &Option<Origin>)| match origin {
        Some(origin) if *live => places[&place(origin)] + origin.feature,
        _ => zero,
    };
    let choice = StencilTensor {
        operator: Operator::Select {
            axis: 0,
            indices: live.iter().zip(origins).map(index).collect(),
        },
        operands: vec![Operand::Tensor(Read {
            tensor: THE_ONE_BEFORE,
            dy: 0,
            dx: 0,
            window: tensor_window(tensor)?,
            features: vec![size],
        })],
        features: vec![tensor.width()],
        ..tensor.clone()
    };
    let parts = StencilTensor {
        operator: Operator::Concat { axis: 0 },
        operands,
        features: vec![size],
        ..tensor.clone()
    };
    Some((parts, choice))
}

/// All places that a tensor has.
fn tensor_window(tensor: &StencilTensor) -> Option<Window> {
    tensor.extent.map(|(rows, columns)| Window::of_size(rows, columns))
}
