//! Graphs that compute every row of a batch by itself, read as a plan: products with constant weights, functions of
//! single values, and moving values about. Kernels can follow it without a runtime around each operator.

mod reading;

use super::{
    constant::Constant,
    protobuf::{ElementType, Model, Tensor},
};

/// What such a graph computes. A value is `width` 32-bit reals for every row of the batch.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The inputs of the graph, in its order.
    pub inputs: Vec<Source>,
    /// Widths of what the steps compute, one after the other.
    pub widths: Vec<usize>,
    /// A step for each of `widths`.
    pub steps: Vec<Step>,
    /// What the products multiply with.
    pub factors: Vec<Factors<'a>>,
    /// The outputs of the graph, in its order.
    pub outputs: Vec<Output>,
}

/// An input.
#[derive(Debug)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Values for each row.
    pub width: usize,
    /// Their type: reals, or numbers and bytes of which each row has one.
    pub element: ElementType,
}

/// What a product multiplies with, and adds.
#[derive(Debug)]
pub struct Factors<'a> {
    /// Rows of the weights: values that are multiplied.
    pub inputs: usize,
    /// The weights, [inputs, outputs]: see [`reals`].
    pub weights: &'a Tensor,
    /// What is added: one for each output.
    pub bias: Vec<f32>,
}

/// An output.
#[derive(Debug)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Sizes of the axes after the batch.
    pub features: Vec<usize>,
    /// The step that computes it.
    pub step: usize,
}

/// Values that each row has for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Those of an input.
    Input(usize),
    /// What a step computed.
    Step(usize),
}

/// Values side by side, each with its width.
pub type Parts = Vec<(Rows, usize)>;

/// What an operation of two operands reads.
#[derive(Debug, Clone)]
pub enum Operand {
    /// Values that each row has for itself.
    Rows(Rows),
    /// The same values for every row: as many as a row has, or one.
    Constant(Vec<f32>),
}

/// A step.
#[derive(Debug)]
pub enum Step {
    /// Rows side by side, multiplied with weights; then the bias is added.
    Product {
        /// What stands side by side, with widths.
        parts: Parts,
        /// With what: a place among [`Plan::factors`].
        factors: usize,
    },
    /// A function of single values.
    Map(Function, Rows),
    /// An operation on pairs of values.
    Combine(Operation, Operand, Operand),
    /// Values side by side, with widths.
    Join(Parts),
    /// Some of the values: ranges by first and length.
    Select(Rows, Vec<(usize, usize)>),
    /// The rows of a table, by the number that an input has for each row.
    LookUp {
        /// The table, row-major.
        table: Vec<f32>,
        /// The input.
        index: usize,
    },
    /// The values where an input is not zero, elsewhere others.
    Where {
        /// The input, a byte for each row.
        mask: usize,
        /// The values.
        inside: Rows,
        /// The value elsewhere.
        outside: f32,
    },
}

/// A function of one value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
    /// −x
    Negate,
    /// |x|
    Absolute,
    /// max(x, 0)
    Relu,
    /// 1 / (1 + e^−x)
    Sigmoid,
    /// tanh x
    Tanh,
    /// e^x
    Exponential,
    /// x, or α·(e^x − 1) for negative x
    Elu(f32),
    /// x, or α·x for negative x
    LeakyRelu(f32),
}

/// An operation on two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// a + b
    Add,
    /// a − b
    Subtract,
    /// a · b
    Multiply,
    /// a / b
    Divide,
}

/// The plan of a graph, or `None` where it does anything else. Its first axis is the batch, for every input and output.
pub fn plan(model: &Model) -> Option<Plan<'_>> {
    reading::plan(model)
}

/// The values of weights.
pub fn reals(tensor: &Tensor) -> Option<Vec<f32>> {
    Constant::read(tensor)?.as_floats().map(<[f32]>::to_vec)
}
