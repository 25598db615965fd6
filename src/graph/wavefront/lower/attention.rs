//! Causal attention over places: a product of queries and keys, a mask, a softmax, and a product with values.
//!
//! Between its two products a graph holds numbers of pairs of places, which no stencil has. They are kept apart here,
//! as what has been done to them so far, and become one operator when the values come in. What a pixel attends to must
//! lie before it, with or without itself: all of it or some, and more or less of each place by a constant, such as one
//! that depends on the distance. Masks and whatever else is added to scores are read number by number.

mod lines;
mod operators;

use super::{
    Done, Entity, Lowering, View,
    axes::Axis,
    line::Line,
    linear::terms_of,
    operators::output_of,
    scores::{LATER, Scores},
};
use crate::graph::{
    layer,
    protobuf::Node,
    wavefront::{
        Unsupported,
        stencil::{Attend, Operand, Operator, StencilTensor, Stride},
    },
};

const OVER_PLACES: &str = "attention over places";

impl Lowering {
    /// The product of two tensors that both have places.
    pub(super) fn attention(&mut self, node: &Node, mut queries: View, mut keys: View) -> Done {
        let refused = || Unsupported::new(OVER_PLACES);
        let rank = queries.axes.len();
        // Heads of one feature each.
        singled(&mut queries.axes, 1);
        singled(&mut keys.axes, 2);
        let keys = self.of_all_heads(node, &queries, keys)?;
        let queries = self.of_all_heads(node, &keys, queries)?;
        let shapes = (
            &queries.axes[rank.saturating_sub(2)..],
            &keys.axes[keys.axes.len().saturating_sub(2)..],
        );
        let ([along, Axis::Feature(size)], [Axis::Feature(other), across]) = shapes else {
            return Err(refused());
        };
        let line = Line::along(*along).filter(|_| along == across).ok_or_else(refused)?;
        let is_usable =
            |view: &View| self.is_whole(view) && view.stride == Stride::ONE && self.tensors[view.tensor].is_real;
        let same_heads = queries.features() == keys.features() && queries.extent() == keys.extent();
        let alike = same_heads && lines::lie_alike(&queries, &keys);
        if size != other || !alike || !is_usable(&queries) || !is_usable(&keys) {
            return Err(refused());
        }
        let scores = Scores {
            line,
            queries,
            keys,
            factor: 1.0,
            added: None,
            blank: None,
            normalised: false,
            cleared: false,
            turned: false,
            is_closed: false,
        };
        self.keep_scores(node, scores)
    }

    /// The same by an equation such as `bhid,bhjd->bhij`, whose keys may be those of all heads.
    pub(super) fn attention_by_equation(&mut self, node: &Node, queries: &View, keys: &View) -> Done {
        let refused = || Unsupported::new(OVER_PLACES);
        let [first, second, result] = terms_of(node).ok_or_else(refused)?;
        let [ref outer @ .., i, j] = result[..] else {
            return Err(refused());
        };
        let is_summed = |letter: &&char| second.contains(letter) && !result.contains(letter);
        let mut summed = first.iter().filter(is_summed);
        let (Some(&d), None) = (summed.next(), summed.next()) else {
            return Err(refused());
        };
        let queries = turned(queries, &first, &[outer, &[i, d]].concat()).ok_or_else(refused)?;
        let keys = turned(keys, &second, &[outer, &[d, j]].concat()).ok_or_else(refused)?;
        self.attention(node, queries, keys)
    }

    /// Copies what all heads have in common for each of them.
    fn of_all_heads(&mut self, node: &Node, heads: &View, mut view: View) -> Result<View, Unsupported> {
        let (rank, mut axes) = (view.axes.len(), view.axes.clone());
        if heads.axes.len() != rank {
            return Err(Unsupported::new(OVER_PLACES));
        }
        for (at, axis) in axes.iter_mut().enumerate().take(rank.saturating_sub(2)) {
            if let (Axis::Feature(_), Axis::Unit | Axis::Feature(1)) = (heads.axes[at], *axis) {
                view.axes[at] = Axis::Feature(1);
                *axis = heads.axes[at];
            }
        }
        self.repeated(node, view, &axes)
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

    /// What the scores weigh.
    fn values(&self, node: &Node, at: usize) -> Result<View, Unsupported> {
        let name = node.inputs.get(at).map(String::as_str).unwrap_or_default();
        match self.entity(name)? {
            Entity::View(values) => Ok(values.clone()),
            Entity::Constant(_) => Err(Unsupported::new(OVER_PLACES)),
        }
    }

    /// The sum of values that the scores weigh.
    fn attend(&mut self, node: &Node, scores: &Scores, mut values: View) -> Result<View, Unsupported> {
        singled(&mut values.axes, 1);
        let values = self.of_all_heads(node, &scores.queries, values)?;
        let added = scores.added.as_ref().ok_or_else(|| Unsupported::new(LATER))?;
        let sight = added.sight(scores.places())?;
        let has_one_more = scores.side() > scores.places();
        if !scores.blanks_are_masked() || (has_one_more && !scores.is_closed) {
            return Err(Unsupported::new(LATER));
        }
        // Without anything to see, a softmax is of no use: it heeds all places alike, or is no number.
        if !sight.sees_itself && !scores.cleared {
            return Err(Unsupported::new("attention in which the first pixel sees all others"));
        }
        let rank = scores.rank();
        let [along, Axis::Feature(size)] = values.axes[values.axes.len().saturating_sub(2)..] else {
            return Err(Unsupported::new(OVER_PLACES));
        };
        let (queries, own) = (scores.queries.features(), values.features());
        let same_heads = !own.is_empty() && queries[..queries.len() - 1] == own[..own.len() - 1];
        let same_places = along == scores.queries.axes[rank - 2]
            && lines::lie_alike(&values, &scores.queries)
            && values.extent() == scores.queries.extent();
        if !self.is_whole(&values) || !same_heads || !same_places || !self.tensors[values.tensor].is_real {
            return Err(Unsupported::new(OVER_PLACES));
        }
        let sight = scores.over_the_image(sight)?;
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
        self.beside(node, Operator::Attend(attend), operands.into(), result)
    }

    /// A tensor that can be remembered: the image itself is only looked up.
    fn computed(&mut self, node: &Node, view: &View) -> Operand {
        let features = view.features();
        if !matches!(self.tensors[view.tensor].operator, Operator::Image) {
            return Operand::Tensor(view.read(features));
        }
        let copy = self.placed(StencilTensor {
            layer: layer::describe(node),
            operator: Operator::Pointwise(Node::new("Identity", &[], "")),
            operands: vec![Operand::Tensor(view.read(features.clone()))],
            features: features.clone(),
            extent: view.extent(),
            stride: Stride::ONE,
            is_real: true,
        });
        Operand::Tensor(self.view(copy, view.axes.clone()).read(features))
    }
}

/// Calls an axis of size 1, so many from the end, one of features.
fn singled(axes: &mut [Axis], from_end: usize) {
    let at = axes.len().wrapping_sub(from_end);
    if let Some(axis @ (Axis::Unit | Axis::Batch)) = axes.get_mut(at) {
        *axis = Axis::Feature(1);
    }
}

/// The view with its axes in another order, if its features keep theirs; what `to` has besides is of size 1.
fn turned(view: &View, from: &[char], to: &[char]) -> Option<View> {
    let place = |letter: &char| from.iter().position(|own| own == letter);
    let is_whole = from.len() == view.axes.len() && from.iter().all(|letter| to.contains(letter));
    let places: Vec<usize> = to.iter().filter_map(place).collect();
    let of_features = |at: &&usize| view.axes[**at].features().is_some();
    if !is_whole || places.len() != from.len() || !places.iter().filter(of_features).is_sorted() {
        return None;
    }
    let axes = to
        .iter()
        .map(|letter| place(letter).map_or(Axis::Unit, |at| view.axes[at]));
    Some(View {
        axes: axes.collect(),
        ..view.clone()
    })
}
