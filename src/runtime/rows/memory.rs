//! Where the values of steps lie: in buffers that later steps use again, but what is handed out in buffers of its own.

use std::ops::Range;

use crate::graph::rows::{Operand, Plan, Rows, Step};

/// Which buffer each step writes.
#[derive(Debug)]
pub(super) struct Memory {
    places: Vec<Place>,
    /// For each buffer its values a row, and whether it holds all rows of a run.
    buffers: Vec<(usize, bool)>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    buffer: usize,
    width: usize,
    holds_all: bool,
}

impl Memory {
    pub(super) fn of(plan: &Plan<'_>) -> Self {
        // What nobody reads is over at once.
        let mut last_read: Vec<usize> = (0..plan.steps.len()).collect();
        for (at, step) in plan.steps.iter().enumerate() {
            for rows in reads(step) {
                if let Rows::Step(read) = rows {
                    last_read[read] = at;
                }
            }
        }
        let is_output = |step| plan.outputs.iter().any(|output| output.step == step);
        let mut memory = Self {
            places: Vec::new(),
            buffers: Vec::new(),
        };
        let mut free: Vec<usize> = Vec::new();
        for (at, &width) in plan.widths.iter().enumerate() {
            let holds_all = is_output(at);
            let used_before = if holds_all { None } else { free.pop() };
            let buffer = used_before.unwrap_or(memory.buffers.len());
            if used_before.is_none() {
                memory.buffers.push((0, holds_all));
            }
            let size = &mut memory.buffers[buffer].0;
            *size = width.max(*size);
            memory.places.push(Place {
                buffer,
                width,
                holds_all,
            });
            let is_over = |&read: &usize| last_read[read] == at && !memory.places[read].holds_all;
            let over: Vec<usize> = (0..=at).filter(is_over).collect();
            free.extend(over.into_iter().map(|read| memory.places[read].buffer));
        }
        memory
    }

    /// Values that a step has for each row.
    pub(super) fn width(&self, step: usize) -> usize {
        self.places[step].width
    }

    /// Of a step's buffer, what belongs to so many rows from `start`.
    pub(super) fn range_mut<'a>(
        &self,
        step: usize,
        buffer: &'a mut [f32],
        (start, rows): (usize, usize),
    ) -> &'a mut [f32] {
        &mut buffer[self.span(step, start, rows)]
    }

    fn span(&self, step: usize, start: usize, rows: usize) -> Range<usize> {
        let Place { width, holds_all, .. } = self.places[step];
        let first = if holds_all { start * width } else { 0 };
        first..first + rows * width
    }
}

/// The buffers of a run.
#[derive(Debug, Default)]
pub(super) struct Buffers(Vec<Vec<f32>>);

impl Buffers {
    /// Makes them large enough for so many rows, of which `at_once` go through the steps together.
    pub(super) fn make_room(&mut self, memory: &Memory, rows: usize, at_once: usize) {
        self.0.resize_with(memory.buffers.len(), Vec::new);
        for (buffer, &(width, holds_all)) in self.0.iter_mut().zip(&memory.buffers) {
            let rows = if holds_all { rows } else { rows.min(at_once) };
            if buffer.len() < rows * width {
                buffer.resize(rows * width, 0.0);
            }
        }
    }

    /// The buffer that a step writes, while it does.
    pub(super) fn take(&mut self, memory: &Memory, step: usize) -> Vec<f32> {
        std::mem::take(&mut self.0[memory.places[step].buffer])
    }

    /// The end of that.
    pub(super) fn give_back(&mut self, memory: &Memory, step: usize, buffer: Vec<f32>) {
        self.0[memory.places[step].buffer] = buffer;
    }

    /// What a step computed of so many rows from `start`.
    pub(super) fn range(&self, memory: &Memory, step: usize, (start, rows): (usize, usize)) -> &[f32] {
        &self.0[memory.places[step].buffer][memory.span(step, start, rows)]
    }
}

fn reads(step: &Step) -> Vec<Rows> {
    let of = |operand: &Operand| match operand {
        Operand::Rows(rows) => Some(*rows),
        Operand::Constant(_) => None,
    };
    match step {
        Step::Product { parts, .. } | Step::Join(parts) => parts.iter().map(|&(rows, _)| rows).collect(),
        Step::Map(_, rows) | Step::Select(rows, _) => vec![*rows],
        Step::Combine(_, left, right) => [left, right].into_iter().filter_map(of).collect(),
        Step::LookUp { .. } => Vec::new(),
        Step::Where { inside, .. } => vec![*inside],
    }
}
