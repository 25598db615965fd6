//! What a graph does to scores between its two products, operator by operator.

use std::rc::Rc;

use super::{OVER_PLACES, turned};
use crate::graph::{
    constant::Constant,
    protobuf::Node,
    wavefront::{
        MASKED, Unsupported,
        lower::{Done, Entity, Lowering, View, axes, linear::terms_of, operators::output_of, scores::Scores},
    },
};

fn refused() -> Unsupported {
    Unsupported::new(OVER_PLACES)
}

impl Lowering {
    /// An operator of which input `at` is scores.
    pub(in crate::graph::wavefront::lower) fn on_scores(&mut self, node: &Node, at: usize, mut scores: Scores) -> Done {
        let operands = if node.op_type() == "Where" { 3 } else { 2 };
        if at >= operands {
            return Err(refused());
        }
        match (node.op_type(), scores.normalised) {
            ("Identity" | "Dropout", _) => {}
            ("Mul" | "Div", false) if scores.added.is_none() => self.scale_scores(node, at, &mut scores)?,
            ("Mul", true) => self.mask_weights(node, at, &mut scores)?,
            ("Add", false) => self.shift_scores(node, at, 1.0, &mut scores)?,
            ("Sub", false) if at == 0 => self.shift_scores(node, at, -1.0, &mut scores)?,
            ("Where", _) if at > 0 => self.choose_scores(node, at, &mut scores)?,
            ("Softmax", false) => {
                if axes::resolve(node.int("axis", -1), scores.rank())? + 1 != scores.rank() {
                    return Err(refused());
                }
                scores.normalised = true;
            }
            ("Transpose", _) => {
                let rank = scores.rank() as i64;
                let swapped: Vec<i64> = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
                if !scores.normalised || node.ints("perm") != Some(&swapped[..]) {
                    return Err(refused());
                }
                scores.turned = !scores.turned;
            }
            ("IsNaN", true) => {
                self.undefined.insert(output_of(node)?);
                return Ok(());
            }
            ("MatMul", true) if (at == 1) == scores.turned => return self.weighted_sum(node, at, &scores),
            ("Einsum", true) if at == 0 => return self.weighted_sum_by_equation(node, &scores),
            _ => return Err(refused()),
        }
        self.keep_scores(node, scores)
    }

    fn other_constant(&self, node: &Node, at: usize) -> Result<Constant, Unsupported> {
        self.constant_input(node, 1 - at)?.ok_or_else(refused)
    }

    /// Scores times a number, or times zero where nothing is seen.
    fn scale_scores(&self, node: &Node, at: usize, scores: &mut Scores) -> Done {
        let is_divisor = node.op_type() == "Div";
        if is_divisor && at != 0 {
            return Err(refused());
        }
        let constant = self.other_constant(node, at)?;
        let factors = constant.as_floats().ok_or_else(refused)?;
        if scores.heads_in(&constant.dims) == Some(1) && scores.places() > 1 {
            if is_divisor || scores.blank.is_some() || factors.iter().any(|&f| f != 0.0 && f != 1.0) {
                return Err(refused());
            }
            let (pair, pairs) = (scores.pair(), scores.places() * scores.places());
            scores.blank = Some(Rc::new((0..pairs).map(|at| factors[pair(at)] == 0.0).collect()));
            return Ok(());
        }
        let other = constant.single().ok_or_else(refused)? as f32;
        scores.factor *= if is_divisor { 1.0 / other } else { other };
        Ok(())
    }

    /// Weights times zero where nothing is seen, or at the first pixel.
    fn mask_weights(&self, node: &Node, at: usize, scores: &mut Scores) -> Done {
        let constant = self.other_constant(node, at)?;
        let factors = constant.as_floats().unwrap_or_default();
        let is_mask = factors.iter().all(|&factor| factor == 0.0 || factor == 1.0);
        let sees = |pair: usize| factors.get(pair) == Some(&1.0);
        scores.cleared |= is_mask && scores.is_what_is_seen(&constant.dims, sees) || clears(scores, &constant)?;
        Ok(())
    }

    /// Scores and a constant, such as a mask or a bias by distance.
    fn shift_scores(&self, node: &Node, at: usize, sign: f32, scores: &mut Scores) -> Done {
        let constant = self.other_constant(node, at)?;
        let values = constant.as_floats().ok_or_else(refused)?;
        scores.add(&constant.dims, None, |pair| sign * values[pair])
    }

    /// Scores where something is true or false, and a constant elsewhere.
    fn choose_scores(&self, node: &Node, at: usize, scores: &mut Scores) -> Done {
        // Of nothing to see a softmax is no number.
        if at == 2 && self.undefined.contains(&node.inputs[0]) {
            let fill = self.constant_input(node, 1)?.ok_or_else(refused)?;
            if !scores.normalised || !fill.is_zero() {
                return Err(refused());
            }
            scores.cleared = true;
            return Ok(());
        }
        let fill = self.constant_input(node, 3 - at)?;
        let fill = fill.and_then(|constant| constant.single()).ok_or_else(refused)? as f32;
        let truths = self.truths.get(&node.inputs[0]).ok_or_else(refused)?;
        // The scores are taken where it is true, if they come first.
        let sees = |pair: usize| truths.values[pair] == (at == 1);
        if !scores.normalised && fill < MASKED {
            let nothing = |pair: usize| if sees(pair) { 0.0 } else { f32::NEG_INFINITY };
            return scores.add(&truths.dims, Some(fill), nothing);
        }
        if !scores.normalised || fill != 0.0 || !scores.is_what_is_seen(&truths.dims, sees) {
            return Err(refused());
        }
        scores.cleared = true;
        Ok(())
    }

    /// The product of weights and values, or of values and weights that were turned.
    fn weighted_sum(&mut self, node: &Node, at: usize, scores: &Scores) -> Done {
        let values = self.values(node, 1 - at)?;
        let rank = values.axes.len();
        let swapped = |mut view: View| {
            if scores.turned && rank > 1 {
                view.axes.swap(rank - 2, rank - 1);
            }
            view
        };
        let made = self.attend(node, scores, swapped(values))?;
        self.define(node, Entity::View(swapped(made)))
    }

    /// The same by an equation such as `bhij,bhjd->bhid`.
    fn weighted_sum_by_equation(&mut self, node: &Node, scores: &Scores) -> Done {
        let [weights, values, result] = terms_of(node).ok_or_else(refused)?;
        let [ref outer @ .., i, j] = weights[..] else {
            return Err(refused());
        };
        let of_result = result.iter().find(|&letter| *letter != i && !outer.contains(letter));
        let (&d, view) = (of_result.ok_or_else(refused)?, self.values(node, 1)?);
        let view = turned(&view, &values, &[outer, &[j, d]].concat()).ok_or_else(refused)?;
        let made = self.attend(node, scores, view)?;
        let made = turned(&made, &[outer, &[i, d]].concat(), &result).ok_or_else(refused)?;
        self.define(node, Entity::View(made))
    }
}

/// Whether a factor of the weights leaves them as they are but for those of the first pixel, which it takes away.
fn clears(scores: &Scores, factor: &Constant) -> Result<bool, Unsupported> {
    let refused = || Unsupported::new(OVER_PLACES);
    let values = factor.as_floats().ok_or_else(refused)?;
    let is_of_queries = match factor.dims[..] {
        [] | [1] => return if values == [1.0] { Ok(false) } else { Err(refused()) },
        [ref outer @ .., queries, 1] => queries == scores.side() && outer.iter().all(|&size| size == 1),
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
