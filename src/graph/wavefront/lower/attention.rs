//! Causal attention over places: a product of queries and keys, a mask, a softmax, and a product with values.
//!
//! Between its two products a graph holds numbers of pairs of places, which no stencil has. They are kept apart here,
//! as what has been done to them so far, and become one operator when the values come in. What a pixel attends to must
//! lie before it, with or without itself: all of it or some, and more or less of each place by a constant, such as one
//! that depends on the distance. Masks and whatever else is added to scores are read number by number.

use std::rc::Rc;

use super::{
    Done, Entity, Lowering, View,
    axes::{self, Axis},
    linear::terms_of,
    operators::output_of,
};
use crate::graph::{
    constant::Constant,
    layer,
    protobuf::{Node, Tensor},
    wavefront::{
        Unsupported,
        stencil::{Attend, Operand, Operator, StencilTensor},
    },
};

/// ONNX's number of the type of truth values.
const BOOL: i32 = 9;
/// What is added to the scores of masked places is no mask unless it is below this.
const MASKED: f32 = -1e3;
/// What is added to scores is kept with the program for every pair of places, in up to so many numbers: 64 MiB.
const MOST_ADDED: usize = 16 << 20;

const OVER_PLACES: &str = "attention over places";
const LATER: &str = "attention over places that are not all places before";

/// A constant of truth values.
#[derive(Debug, Clone)]
pub(super) struct Truths {
    dims: Vec<usize>,
    values: Vec<bool>,
}

impl Truths {
    pub(super) fn read(tensor: &Tensor) -> Option<Self> {
        let dims: Vec<usize> = tensor
            .dims
            .iter()
            .map(|&size| usize::try_from(size).ok())
            .collect::<Option<_>>()?;
        if tensor.data_type != Some(BOOL) || !tensor.external_data.is_empty() {
            return None;
        }
        let values: Vec<bool> = match &tensor.raw_data {
            Some(bytes) => bytes.iter().map(|&byte| byte != 0).collect(),
            None => tensor.int32_data.iter().map(|&value| value != 0).collect(),
        };
        (values.len() == dims.iter().product::<usize>()).then_some(Self { dims, values })
    }
}

/// Numbers of pairs of places: how much each pixel heeds every other.
#[derive(Debug, Clone)]
pub(super) struct Scores {
    queries: View,
    keys: View,
    factor: f32,
    added: Option<Rc<Added>>,
    /// Whether the softmax has been taken.
    normalised: bool,
    /// Whether what a pixel heeds is nothing where it has nothing to see.
    cleared: bool,
}

impl Scores {
    /// Places of the image.
    fn places(&self) -> usize {
        let (rows, columns) = self.queries.extent().unwrap_or((0, 0));
        Axis::Pixels(rows, columns).size()
    }

    fn rank(&self) -> usize {
        self.queries.axes.len()
    }

    /// Groups of features that attend each for itself.
    fn heads(&self) -> usize {
        let features = self.queries.features();
        features[..features.len() - 1].iter().product()
    }

    /// In how many heads a constant says something of every pair of places: in one that holds for all, or in each.
    fn heads_in(&self, dims: &[usize]) -> Option<usize> {
        let places = self.places();
        let [outer @ .., queries, keys] = dims else { return None };
        let heads = outer.iter().product();
        let fits = (*queries, *keys) == (places, places) && places > 0 && (heads == 1 || heads == self.heads());
        fits.then_some(heads)
    }

    /// Whether a constant is true for what is seen, and for nothing else.
    fn is_what_is_seen(&self, dims: &[usize], sees: impl Fn(usize) -> bool) -> bool {
        let (Some(heads), Some(added)) = (self.heads_in(dims), &self.added) else {
            return false;
        };
        let pairs = heads * self.places() * self.places();
        let mut seen = added.values.iter().enumerate();
        heads <= added.heads && seen.all(|(at, &value)| sees(at % pairs) == (value >= MASKED))
    }

    /// Adds to the score of every pair what `value` gives for it, by its place in a constant of this shape. Where that
    /// is −∞, the graph may have a `fill` that is merely low.
    fn add(&mut self, dims: &[usize], fill: Option<f32>, value: impl Fn(usize) -> f32) -> Result<(), Unsupported> {
        let heads = self.heads_in(dims).ok_or_else(|| Unsupported::new(LATER))?;
        let before = self.added.take().map_or_else(Added::default, Rc::unwrap_or_clone);
        self.added = Some(Rc::new(before.plus(heads, self.places(), fill, value)));
        Ok(())
    }
}

/// What is added to scores, of which nothing is left where it is below [`MASKED`].
#[derive(Debug, Clone, Default)]
struct Added {
    /// 1 where all heads have the same.
    heads: usize,
    /// [heads, places, places]: of the pixel that looks, then of that which it looks at.
    values: Vec<f32>,
    /// The largest number that stood for nothing.
    fill: Option<f32>,
}

impl Added {
    fn plus(self, heads: usize, places: usize, fill: Option<f32>, value: impl Fn(usize) -> f32) -> Self {
        let pairs = places * places;
        let all = self.heads.max(heads);
        let before = |at: usize| match self.values.len() {
            0 => 0.0,
            len => self.values[at % len],
        };
        Self {
            heads: all,
            values: (0..all * pairs)
                .map(|at| before(at) + value(at % (heads * pairs)))
                .collect(),
            fill: self.fill.into_iter().chain(fill).reduce(f32::max),
        }
    }

    /// Reads what a pixel sees, if that is nothing behind it.
    fn sight(&self, places: usize) -> Result<Sight, Unsupported> {
        let (mut fill, mut sees_itself, mut is_plain) = (self.fill.unwrap_or(f32::NEG_INFINITY), false, true);
        for plane in self.values.chunks_exact(places * places) {
            for (query, row) in plane.chunks_exact(places).enumerate() {
                if row[query + 1..].iter().any(|&value| value >= MASKED) {
                    return Err(Unsupported::new(LATER));
                }
                fill = row[query + 1..].iter().copied().fold(fill, f32::max);
                sees_itself |= row[query] >= MASKED;
            }
        }
        for plane in self.values.chunks_exact(places * places) {
            for (query, row) in plane.chunks_exact(places).enumerate() {
                let seen = &row[..query + usize::from(sees_itself)];
                is_plain &= seen.iter().all(|&value| value == 0.0);
                if !seen.is_empty() && seen.iter().all(|&value| value < MASKED) {
                    return Err(Unsupported::new(
                        "attention in which a pixel other than the first sees nothing",
                    ));
                }
                if !sees_itself {
                    fill = fill.max(row[query]);
                }
            }
        }
        if !is_plain && self.values.len() > MOST_ADDED {
            return Err(Unsupported::new(
                "attention that adds to the scores of very many pairs of places",
            ));
        }
        Ok(Sight {
            sees_itself,
            fill,
            bias: (!is_plain).then(|| self.table(places, sees_itself)),
        })
    }

    /// What is added to the scores of what is seen, [places, heads, places].
    fn table(&self, places: usize, sees_itself: bool) -> Constant {
        let (heads, values) = (self.heads, &self.values);
        let rows = (0..places).flat_map(|query| (0..heads).map(move |head| (query, head)));
        let values = rows.flat_map(|(query, head)| {
            let row = &values[(head * places + query) * places..][..places];
            let is_seen = move |key: usize| key < query || sees_itself && key == query;
            row.iter()
                .enumerate()
                .map(move |(key, &value)| if is_seen(key) { value } else { 0.0 })
        });
        Constant::floats(vec![places, heads, places], values.collect())
    }
}

/// What a pixel sees of those before it.
struct Sight {
    sees_itself: bool,
    /// What the scores of others are, or are lowered by, at most.
    fill: f32,
    /// What is added to its scores, unless that is nothing.
    bias: Option<Constant>,
}

impl Lowering {
    /// The product of two tensors that both have places.
    pub(super) fn attention(&mut self, node: &Node, queries: View, keys: View) -> Done {
        let refused = || Unsupported::new(OVER_PLACES);
        let rank = queries.axes.len();
        let shapes = (
            &queries.axes[rank.saturating_sub(2)..],
            &keys.axes[keys.axes.len().saturating_sub(2)..],
        );
        let ([Axis::Pixels(..), Axis::Feature(size)], [Axis::Feature(other), Axis::Pixels(..)]) = shapes else {
            return Err(refused());
        };
        let is_usable = |view: &View| self.is_whole(view) && self.tensors[view.tensor].is_real;
        let same_heads = queries.features() == keys.features() && queries.extent() == keys.extent();
        if size != other || keys.axes.len() != rank || !same_heads || !is_usable(&queries) || !is_usable(&keys) {
            return Err(refused());
        }
        let scores = Scores {
            queries,
            keys,
            factor: 1.0,
            added: None,
            normalised: false,
            cleared: false,
        };
        self.keep_scores(node, scores)
    }

    /// The same by an equation such as `bhid,bhjd->bhij`.
    pub(super) fn attention_by_equation(&mut self, node: &Node, queries: View, mut keys: View) -> Done {
        let is_scores = |outer: &[char], query: &[char], key: &[char], result: &[char]| {
            let ([i, d], [j, e], [to, from]) = (query, key, result) else {
                return false;
            };
            d == e && (to, from) == (i, j) && i != j && !outer.contains(i) && !outer.contains(j)
        };
        let rank = keys.axes.len();
        if rank < 2 || !equation(node, is_scores) {
            return Err(Unsupported::new(OVER_PLACES));
        }
        // One axis of features changes places with one of pixels: their order stays.
        keys.axes.swap(rank - 2, rank - 1);
        self.attention(node, queries, keys)
    }

    fn keep_scores(&mut self, node: &Node, scores: Scores) -> Done {
        self.scores.insert(output_of(node)?, scores);
        Ok(())
    }

    /// The scores among a node's inputs, if there are any.
    pub(super) fn scores_of(&self, node: &Node) -> Option<(usize, Scores)> {
        let mut inputs = node.inputs.iter().enumerate();
        inputs.find_map(|(at, name)| self.scores.get(name).map(|scores| (at, scores.clone())))
    }

    /// An operator on scores.
    pub(super) fn on_scores(&mut self, node: &Node, at: usize, mut scores: Scores) -> Done {
        let refused = || Unsupported::new(OVER_PLACES);
        match node.op_type() {
            "Identity" | "Dropout" => {}
            "Mul" | "Div" if !scores.normalised && scores.added.is_none() => {
                let is_divisor = node.op_type() == "Div";
                if is_divisor && at != 0 {
                    return Err(refused());
                }
                let other = self
                    .constant_input(node, 1 - at)?
                    .and_then(|constant| constant.single());
                let other = other.ok_or_else(refused)? as f32;
                scores.factor *= if is_divisor { 1.0 / other } else { other };
            }
            "Mul" if scores.normalised => {
                let constant = self.constant_input(node, 1 - at)?.ok_or_else(refused)?;
                scores.cleared |= clears(&scores, &constant)?;
            }
            "Add" if !scores.normalised => {
                let constant = self.constant_input(node, 1 - at)?.ok_or_else(refused)?;
                let values = constant.as_floats().ok_or_else(refused)?;
                scores.add(&constant.dims, None, |pair| values[pair])?;
            }
            "Where" if at > 0 => {
                let fill = self
                    .constant_input(node, 3 - at)?
                    .and_then(|constant| constant.single());
                let fill = fill.ok_or_else(refused)? as f32;
                let truths = self.truths.get(&node.inputs[0]).ok_or_else(refused)?;
                // The scores are taken where it is true, if they come first.
                let sees = |pair: usize| truths.values[pair] == (at == 1);
                if !scores.normalised && fill < MASKED {
                    let nothing = |pair: usize| if sees(pair) { 0.0 } else { f32::NEG_INFINITY };
                    scores.add(&truths.dims, Some(fill), nothing)?;
                } else if scores.normalised && fill == 0.0 && scores.is_what_is_seen(&truths.dims, sees) {
                    scores.cleared = true;
                } else {
                    return Err(refused());
                }
            }
            "Softmax" if !scores.normalised => {
                if axes::resolve(node.int("axis", -1), scores.rank())? + 1 != scores.rank() {
                    return Err(refused());
                }
                scores.normalised = true;
            }
            "MatMul" if at == 0 && scores.normalised => return self.attend(node, &scores),
            "Einsum" if at == 0 && scores.normalised => {
                let is_sum = |outer: &[char], weights: &[char], values: &[char], result: &[char]| {
                    let ([i, j], [from, d], [to, e]) = (weights, values, result) else {
                        return false;
                    };
                    (from, to) == (j, i) && d == e && i != j && !outer.contains(d)
                };
                if !equation(node, is_sum) {
                    return Err(refused());
                }
                return self.attend(node, &scores);
            }
            _ => return Err(refused()),
        }
        self.keep_scores(node, scores)
    }

    /// The sum of values that the scores weigh.
    fn attend(&mut self, node: &Node, scores: &Scores) -> Done {
        let name = node.inputs.get(1).map(String::as_str).unwrap_or_default();
        let Entity::View(values) = self.entity(name)?.clone() else {
            return Err(Unsupported::new(OVER_PLACES));
        };
        let added = scores.added.as_ref().ok_or_else(|| Unsupported::new(LATER))?;
        let sight = added.sight(scores.places())?;
        // Without anything to see, a softmax is of no use: it heeds all places alike, or is no number.
        if !sight.sees_itself && !scores.cleared {
            return Err(Unsupported::new("attention in which the first pixel sees all others"));
        }
        let rank = scores.rank();
        let [Axis::Pixels(..), Axis::Feature(size)] = values.axes[values.axes.len().saturating_sub(2)..] else {
            return Err(Unsupported::new(OVER_PLACES));
        };
        let (queries, own) = (scores.queries.features(), values.features());
        let same_heads = queries[..queries.len() - 1] == own[..own.len() - 1];
        let same_places = values.axes.len() == rank && values.extent() == scores.queries.extent();
        if !self.is_whole(&values) || !same_heads || !same_places || !self.tensors[values.tensor].is_real {
            return Err(Unsupported::new(OVER_PLACES));
        }
        if sight.fill > f32::MIN {
            self.assumptions.push(format!(
                "pixels that are masked by {:e} have no weight: layer {}",
                sight.fill,
                layer::describe(node)
            ));
        }
        let (_, columns) = values.extent().unwrap_or((1, 1));
        let attend = Attend {
            heads: scores.heads(),
            factor: scores.factor,
            sees_itself: sight.sees_itself,
            columns,
            bias: sight.bias,
        };
        let mut result = scores.queries.axes.clone();
        result[rank - 1] = Axis::Feature(size);
        let operands = [&scores.queries, &scores.keys, &values].map(|view| self.computed(node, view));
        self.make(node, Operator::Attend(attend), operands.into(), result)
    }

    /// A tensor that can be remembered: the image itself is only looked up.
    fn computed(&mut self, node: &Node, view: &View) -> Operand {
        let features = view.features();
        if !matches!(self.tensors[view.tensor].operator, Operator::Image) {
            return Operand::Tensor(view.read(features));
        }
        let copy = self.tensor(StencilTensor {
            layer: layer::describe(node),
            operator: Operator::Pointwise(Node::new("Identity", &[], "")),
            operands: vec![Operand::Tensor(view.read(features.clone()))],
            features: features.clone(),
            extent: view.extent(),
            is_real: true,
        });
        Operand::Tensor(self.view(copy, view.axes.clone()).read(features))
    }
}

/// Whether the three terms of an equation begin with the same axes, and `fits` their last two.
fn equation(node: &Node, fits: impl Fn(&[char], &[char], &[char], &[char]) -> bool) -> bool {
    let Some([first, second, result]) = terms_of(node) else {
        return false;
    };
    let Some(outer) = first.len().checked_sub(2) else {
        return false;
    };
    let same = |term: &[char]| term.len() == outer + 2 && term[..outer] == first[..outer];
    same(&second) && same(&result) && fits(&first[..outer], &first[outer..], &second[outer..], &result[outer..])
}

/// Whether a factor of the weights leaves them as they are but for those of the first pixel, which it takes away.
fn clears(scores: &Scores, factor: &Constant) -> Result<bool, Unsupported> {
    let refused = || Unsupported::new(OVER_PLACES);
    let values = factor.as_floats().ok_or_else(refused)?;
    let is_of_queries = match factor.dims[..] {
        [] | [1] => return if values == [1.0] { Ok(false) } else { Err(refused()) },
        [ref outer @ .., queries, 1] => queries == scores.places() && outer.iter().all(|&size| size == 1),
        _ => false,
    };
    if !is_of_queries || values[1..].iter().any(|&value| value != 1.0) {
        return Err(refused());
    }
    match values[0] {
        0.0 => Ok(true),
        1.0 => Ok(false),
        _ => Err(refused()),
    }
}
