//! Attention: of the pixel of this step to all that came before it, whose keys and values the caller keeps.

use std::collections::BTreeMap;

use super::{Emitter, name_of};
use crate::graph::{
    constant::{Constant, Values},
    protobuf::{ElementType, Node},
    wavefront::{
        Past, Unsupported,
        schedule::Role,
        stencil::{Attend, Operand, Read, StencilTensor},
    },
};

/// What is kept of tensors for attention: by tensor, heads, and whether places come last.
pub(super) type Pasts = BTreeMap<(usize, usize, bool), Past>;

/// Which places rows see: truth values [rows, 1, 1, …].
struct Seen {
    /// Of all places, those of which what is kept is read.
    before: String,
    /// Whether there is a last place beside those; always, if this is none.
    last: Option<String>,
}

impl Emitter<'_> {
    /// softmax(factor · query · keys) · values over the places before, and the pixel itself if it sees itself.
    pub(super) fn attend(&mut self, at: usize, tensor: &StencilTensor, attend: &Attend) -> Result<(), Unsupported> {
        let [Operand::Tensor(queries), Operand::Tensor(keys), Operand::Tensor(values)] = &tensor.operands[..] else {
            return Err(Unsupported::new("attention to a constant"));
        };
        let places = self.stencil.shape.pixels();
        let heads = attend.heads;
        let (size, width) = (keys.features.iter().product::<usize>() / heads, tensor.width() / heads);
        self.multiply_adds += (heads * (size + width) * places * places / 2) as u64;

        let query = self.read(at, queries, queries.dy, queries.dx)?;
        let query = self.draft.writer.reshaped(&query, &[heads, 1, size]);
        let factor = self.real(attend.factor);
        let query = self.node("Mul", &[&query, &factor]);

        let (past_keys, past_values) = (self.past(keys, heads, true)?, self.past(values, heads, false)?);
        let last = self.last(at, attend, [keys, values]);
        let seen = self.seen(at, last);
        let nothing = self.real(f32::NEG_INFINITY);
        let mut scores = self.node("MatMul", &[&query, &past_keys]);
        if let Some(bias) = &attend.bias {
            let own = self.of_place(at, bias);
            scores = self.node("Add", &[&scores, &own]);
        }
        let scores = self.node("Where", &[&seen.before, &scores, &nothing]);
        let mut visible = seen.before;
        let mut all = scores;
        if let Some(dx) = last {
            let key = self.read(at, keys, 0, dx)?;
            let key = self.draft.writer.reshaped(&key, &[heads, size, 1]);
            let mut own = self.node("MatMul", &[&query, &key]);
            if let Some(bias) = &attend.bias {
                let bias = self.of_place(at, &beside(bias, dx));
                own = self.node("Add", &[&own, &bias]);
            }
            if let Some(is_there) = &seen.last {
                own = self.node("Where", &[is_there, &own, &nothing]);
                visible = self.along("Concat", &[&visible, is_there], 3);
            }
            all = self.along("Concat", &[&all, &own], 3);
        }
        let mut weights = self.along("Softmax", &[&all], 3);
        if !attend.sees_itself {
            // The first pixel has nothing to see; its weights are no numbers.
            let zero = self.real(0.0);
            weights = self.node("Where", &[&visible, &weights, &zero]);
        }
        let mut before = weights.clone();
        if last.is_some() {
            before = self.columns(&weights, 0, places as i64);
        }
        let mut sum = self.node("MatMul", &[&before, &past_values]);
        if let Some(dx) = last {
            let own = self.columns(&weights, places as i64, places as i64 + 1);
            let value = self.read(at, values, 0, dx)?;
            let value = self.draft.writer.reshaped(&value, &[heads, 1, width]);
            let own = self.node("Mul", &[&own, &value]);
            sum = self.node("Add", &[&sum, &own]);
        }
        let sum = self.draft.writer.reshaped(&sum, &tensor.features);
        self.draft.writer.node(Node::new("Identity", &[&sum], &name_of(at)));
        Ok(())
    }

    /// The input that holds what a tensor was at all places: of every head features by places, or places by features.
    fn past(&mut self, read: &Read, heads: usize, places_last: bool) -> Result<String, Unsupported> {
        let Role::Step(delay) = self.schedule.roles[read.tensor] else {
            return Err(Unsupported::new("attention to what is the same in every image"));
        };
        if (read.dy, read.dx) != (0, 0) || read.window != self.stencil.window() {
            return Err(Unsupported::new("attention to a part of the image"));
        }
        let width = read.features.iter().product::<usize>() / heads;
        if let Some(past) = self.draft.pasts.get(&(read.tensor, heads, places_last)) {
            return Ok(past.input.clone());
        }
        let input = self.draft.writer.fresh("past");
        let output = self.draft.writer.reshaped(&name_of(read.tensor), &[heads * width]);
        let past = Past {
            input: input.clone(),
            output,
            heads,
            width,
            places_last,
            delay,
        };
        self.draft.pasts.insert((read.tensor, heads, places_last), past);
        Ok(input)
    }

    /// What a constant, [places, heads, n], is for the place of each row: [rows, heads, 1, n].
    fn of_place(&mut self, at: usize, constant: &Constant) -> String {
        let position = self.position(at);
        let (heads, count) = (constant.dims[1], constant.dims[2]);
        let table = self.draft.writer.constant(constant);
        let row = self.along("Gather", &[&table, &position], 0);
        self.draft.writer.reshaped(&row, &[heads, 1, count])
    }

    /// The last place of the row that is seen, if it may be computed in the step that sees it: the pixel itself, or the
    /// one before.
    fn last(&self, at: usize, attend: &Attend, reads: [&Read; 2]) -> Option<i64> {
        if attend.sees_itself {
            return Some(0);
        }
        let is_new = |read: &&Read| self.schedule.age(at, read.tensor, 0, -1) < 1;
        reads.iter().any(is_new).then_some(-1)
    }

    /// Which places each row sees.
    fn seen(&mut self, at: usize, last: Option<i64>) -> Seen {
        let position = self.position(at);
        let (places, width) = (self.stencil.shape.pixels() as i64, self.stencil.shape.width() as i64);
        let numbers = self.draft.writer.constant(&Constant {
            dims: vec![1, 1, 1, places as usize],
            values: Values::Ints((0..places).collect()),
        });
        let mut end = self.draft.writer.reshaped(&position, &[1, 1, 1]);
        let mut is_there = None;
        if last == Some(-1) {
            // The first pixel of a row has none before it; the last of the row above is among those that are kept.
            let (width, zero) = (self.draft.writer.ints([width]), self.draft.writer.ints([0]));
            let column = self.node("Mod", &[&end, &width]);
            let inside = self.node("Greater", &[&column, &zero]);
            let one = self.draft.writer.fresh("attention");
            self.draft
                .writer
                .node(Node::new("Cast", &[&inside], &one).with_int("to", ElementType::Int64 as i64));
            end = self.node("Sub", &[&end, &one]);
            is_there = Some(inside);
        }
        Seen {
            before: self.node("Less", &[&numbers, &end]),
            last: is_there,
        }
    }

    fn real(&mut self, value: f32) -> String {
        self.draft.writer.constant(&Constant::floats(Vec::new(), vec![value]))
    }

    /// Columns of the last of four axes.
    fn columns(&mut self, name: &str, first: i64, end: i64) -> String {
        let [first, end, axis] = [first, end, 3].map(|number| self.draft.writer.ints([number]));
        self.node("Slice", &[name, &first, &end, &axis])
    }

    fn node(&mut self, operator: &str, inputs: &[&str]) -> String {
        let output = self.draft.writer.fresh("attention");
        self.draft.writer.node(Node::new(operator, inputs, &output));
        output
    }

    fn along(&mut self, operator: &str, inputs: &[&str], axis: i64) -> String {
        let output = self.draft.writer.fresh("attention");
        self.draft
            .writer
            .node(Node::new(operator, inputs, &output).with_int("axis", axis));
        output
    }
}

/// Of what is added to scores, that of the place so many columns to the right: [places, heads, 1].
fn beside(bias: &Constant, dx: i64) -> Constant {
    let (places, heads) = (bias.dims[0], bias.dims[1]);
    let rows = (0..places).flat_map(|query| (0..heads).map(move |head| (query, head)));
    let index = rows.map(|(query, head)| {
        // Before the first place there is none, and it is not seen.
        let key = (query as i64 + dx).max(0) as usize;
        (query * heads + head) * places + key
    });
    bias.rearranged(vec![places, heads, 1], index)
}
