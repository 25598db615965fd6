//! A graph, node by node, as steps of a plan.

use std::collections::HashMap;

use super::{Factors, Function, Operand, Operation, Output, Parts, Plan, Rows, Source, Step, reals};
use crate::graph::{
    constant::Constant,
    protobuf::{BOOL, ElementType, Graph, Model, Node, Tensor, ValueInfo},
};

pub(super) fn plan(model: &Model) -> Option<Plan<'_>> {
    let graph = model.graph.as_ref()?;
    let mut reader = Reader::new(graph)?;
    for node in &graph.nodes {
        reader.node(node)?;
    }
    let mut outputs = Vec::new();
    for output in &graph.outputs {
        let name = output.name().to_owned();
        let (parts, features) = reader.rows(&name)?;
        let step = match parts[..] {
            [(Rows::Step(step), _)] => step,
            _ => reader.join(parts),
        };
        outputs.push(Output { name, features, step });
    }
    Some(Plan {
        inputs: reader.inputs,
        widths: reader.widths,
        steps: reader.steps,
        factors: reader.factors,
        outputs,
    })
}

/// What a name of the graph stands for.
#[derive(Clone)]
enum Value<'a> {
    /// Values side by side, with widths, and the sizes of the axes that they have together.
    Rows(Parts, Vec<usize>),
    /// A number for each row: an input.
    Number(usize),
    /// A byte for each row: an input.
    Byte(usize),
    /// Whether that byte is not zero.
    Truth(usize),
    /// The same for all rows.
    Constant(&'a Tensor),
}

struct Reader<'a> {
    values: HashMap<&'a str, Value<'a>>,
    inputs: Vec<Source>,
    widths: Vec<usize>,
    steps: Vec<Step>,
    factors: Vec<Factors<'a>>,
}

impl<'a> Reader<'a> {
    fn new(graph: &'a Graph) -> Option<Self> {
        let mut reader = Self {
            values: HashMap::new(),
            inputs: Vec::new(),
            widths: Vec::new(),
            steps: Vec::new(),
            factors: Vec::new(),
        };
        for tensor in &graph.initializers {
            reader.values.insert(tensor.name(), Value::Constant(tensor));
        }
        for (at, input) in graph.inputs.iter().enumerate() {
            let (element, features) = features(input)?;
            let width = features.iter().product();
            let value = match element {
                ElementType::Float if width > 0 => Value::Rows(vec![(Rows::Input(at), width)], features),
                ElementType::Int64 if width == 1 => Value::Number(at),
                ElementType::Uint8 if width == 1 => Value::Byte(at),
                _ => return None,
            };
            reader.values.insert(input.name(), value);
            let name = input.name().to_owned();
            reader.inputs.push(Source { name, width, element });
        }
        Some(reader)
    }

    fn node(&mut self, node: &'a Node) -> Option<()> {
        let [output] = &node.outputs[..] else {
            return None;
        };
        let inputs: Vec<&str> = node.inputs.iter().map(String::as_str).collect();
        let value = match (node.op_type(), &inputs[..]) {
            ("Gemm", &[input, weights, bias]) if node.attributes.is_empty() => {
                let bias = reals(self.constant(bias)?)?;
                self.product(input, weights, Some(bias))?
            }
            ("MatMul", &[input, weights]) => self.product(input, weights, None)?,
            ("Concat", parts) if node.int("axis", 0) == 1 => self.concatenation(parts)?,
            ("Slice", &[input, starts, ends, axes]) => self.slice(input, [starts, ends, axes])?,
            ("Gather", &[data, indices]) => self.gather(data, indices, node.int("axis", 0))?,
            ("Reshape", &[input, shape]) => {
                let (parts, _) = self.rows(input)?;
                let features = self.own_sizes(shape, &parts)?;
                Value::Rows(parts, features)
            }
            ("Identity", &[input]) => self.values.get(input)?.clone(),
            ("Cast", &[input]) if node.int("to", 0) == i64::from(BOOL) => match self.values.get(input)? {
                &Value::Byte(at) => Value::Truth(at),
                _ => return None,
            },
            ("Where", &[mask, inside, outside]) => self.choice(mask, inside, outside)?,
            (name, &[input]) => self.map(function(name, node)?, input)?,
            (name, &[left, right]) => self.combine(operation(name)?, left, right)?,
            _ => return None,
        };
        self.values.insert(output, value);
        Some(())
    }

    fn step(&mut self, step: Step, width: usize) -> usize {
        self.steps.push(step);
        self.widths.push(width);
        self.steps.len() - 1
    }

    /// What a step computes, if that is anything.
    fn computed(&mut self, step: Step, features: Vec<usize>) -> Option<Value<'a>> {
        let width = features.iter().product();
        (width > 0).then(|| {
            let step = self.step(step, width);
            Value::Rows(vec![(Rows::Step(step), width)], features)
        })
    }

    fn rows(&self, name: &str) -> Option<(Parts, Vec<usize>)> {
        match self.values.get(name)? {
            Value::Rows(parts, features) => Some((parts.clone(), features.clone())),
            _ => None,
        }
    }

    /// Joins parts, once.
    fn join(&mut self, parts: Parts) -> usize {
        let joined = |step: &Step| matches!(step, Step::Join(joined) if *joined == parts);
        if let Some(step) = self.steps.iter().position(joined) {
            return step;
        }
        let width = parts.iter().map(|(_, width)| width).sum();
        self.step(Step::Join(parts), width)
    }

    /// The same, as one value.
    fn whole(&mut self, name: &str) -> Option<(Rows, Vec<usize>)> {
        let (parts, features) = self.rows(name)?;
        let rows = match parts[..] {
            [(rows, _)] => rows,
            _ => Rows::Step(self.join(parts)),
        };
        Some((rows, features))
    }

    fn constant(&self, name: &str) -> Option<&'a Tensor> {
        match self.values.get(name)? {
            Value::Constant(tensor) => Some(tensor),
            _ => None,
        }
    }

    fn ints(&self, name: &str) -> Option<Vec<i64>> {
        Constant::read(self.constant(name)?)?.as_ints().map(<[i64]>::to_vec)
    }

    fn product(&mut self, input: &str, weights: &str, bias: Option<Vec<f32>>) -> Option<Value<'a>> {
        let (parts, features) = self.rows(input)?;
        let weights = self.constant(weights)?;
        let ([inputs], &[rows, outputs]) = (&features[..], &weights.dims[..]) else {
            return None;
        };
        let (rows, outputs) = (usize::try_from(rows).ok()?, usize::try_from(outputs).ok()?);
        let bias = bias.unwrap_or_else(|| vec![0.0; outputs]);
        let fits = *inputs == rows && bias.len() == outputs && weights.data_type == Some(ElementType::Float as i32);
        let (inputs, factors) = (rows, self.factors.len());
        self.factors.push(Factors { inputs, weights, bias });
        self.computed(Step::Product { parts, factors }, vec![outputs])
            .filter(|_| fits)
    }

    fn concatenation(&mut self, names: &[&str]) -> Option<Value<'a>> {
        let (mut all, mut together): (Vec<_>, Option<Vec<usize>>) = (Vec::new(), None);
        for name in names {
            let (parts, features) = self.rows(name)?;
            all.extend(parts);
            match &mut together {
                None => together = Some(features),
                Some(before) if before[1..] == features[1..] => before[0] += features[0],
                Some(_) => return None,
            }
        }
        Some(Value::Rows(all, together?))
    }

    fn slice(&mut self, input: &str, range: [&str; 3]) -> Option<Value<'a>> {
        let [starts, ends, axes] = range.map(|name| self.ints(name));
        let (&[start], &[end], &[1]) = (&starts?[..], &ends?[..], &axes?[..]) else {
            return None;
        };
        let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
        let indices: Vec<usize> = (start..end).collect();
        self.select(input, &indices)
    }

    fn gather(&mut self, data: &str, indices: &str, axis: i64) -> Option<Value<'a>> {
        if let (&Value::Number(index), 0) = (self.values.get(indices)?, axis) {
            let table = Constant::read(self.constant(data)?)?;
            let features = table.dims.get(1..)?.to_vec();
            let table = table.as_floats()?.to_vec();
            return self.computed(Step::LookUp { table, index }, features);
        }
        let indices: Option<Vec<usize>> = self.ints(indices)?.iter().map(|&i| usize::try_from(i).ok()).collect();
        self.select(data, &indices?).filter(|_| axis == 1)
    }

    /// Some of the first features.
    fn select(&mut self, input: &str, indices: &[usize]) -> Option<Value<'a>> {
        let (rows, mut features) = self.whole(input)?;
        let (first, inner) = features.split_first_mut()?;
        let inner: usize = inner.iter().product();
        if indices.is_empty() || indices.iter().any(|index| index >= first) {
            return None;
        }
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for index in indices {
            match ranges.last_mut() {
                Some((start, length)) if *start + *length == index * inner => *length += inner,
                _ => ranges.push((index * inner, inner)),
            }
        }
        *first = indices.len();
        self.computed(Step::Select(rows, ranges), features)
    }

    /// The sizes of a new shape that keeps the batch, and what each row has.
    fn own_sizes(&self, shape: &str, parts: &[(Rows, usize)]) -> Option<Vec<usize>> {
        let shape = self.ints(shape)?;
        let (batch, sizes) = shape.split_first()?;
        let sizes: Vec<usize> = sizes
            .iter()
            .map(|&size| usize::try_from(size).ok())
            .collect::<Option<_>>()?;
        let width: usize = parts.iter().map(|(_, width)| width).sum();
        let keeps = matches!(batch, 0 | -1) && sizes.iter().product::<usize>() == width && !sizes.is_empty();
        keeps.then_some(sizes)
    }

    fn choice(&mut self, mask: &str, inside: &str, outside: &str) -> Option<Value<'a>> {
        let &Value::Truth(mask) = self.values.get(mask)? else {
            return None;
        };
        let outside = Constant::read(self.constant(outside)?)?.single()? as f32;
        let (inside, features) = self.whole(inside)?;
        self.computed(Step::Where { mask, inside, outside }, features)
    }

    fn map(&mut self, function: Function, input: &str) -> Option<Value<'a>> {
        let (rows, features) = self.whole(input)?;
        self.computed(Step::Map(function, rows), features)
    }

    fn combine(&mut self, operation: Operation, left: &str, right: &str) -> Option<Value<'a>> {
        let sides = [left, right].map(|name| self.constant(name).is_none().then(|| self.whole(name)));
        let features = match &sides {
            [Some(Some((_, left))), Some(Some((_, right)))] if left == right => left.clone(),
            [Some(Some((_, features))), None] | [None, Some(Some((_, features)))] => features.clone(),
            _ => return None,
        };
        let [left, right] = [(left, &sides[0]), (right, &sides[1])].map(|(name, side)| match side {
            Some(side) => side.as_ref().map(|&(rows, _)| Operand::Rows(rows)),
            None => self.for_every_row(name, &features).map(Operand::Constant),
        });
        self.computed(Step::Combine(operation, left?, right?), features)
    }

    /// A constant that is the same for every row: of its sizes, or a single value.
    fn for_every_row(&self, name: &str, features: &[usize]) -> Option<Vec<f32>> {
        let constant = Constant::read(self.constant(name)?)?;
        let dims = &constant.dims[..];
        let fits = constant.size() == 1 || dims == features || dims.split_first() == Some((&1, features));
        constant.as_floats().filter(|_| fits).map(<[f32]>::to_vec)
    }
}

fn function(name: &str, node: &Node) -> Option<Function> {
    Some(match name {
        "Neg" => Function::Negate,
        "Abs" => Function::Absolute,
        "Relu" => Function::Relu,
        "Sigmoid" => Function::Sigmoid,
        "Tanh" => Function::Tanh,
        "Exp" => Function::Exponential,
        "Elu" => Function::Elu(node.float("alpha", 1.0)),
        "LeakyRelu" => Function::LeakyRelu(node.float("alpha", 0.01)),
        _ => return None,
    })
}

fn operation(name: &str) -> Option<Operation> {
    Some(match name {
        "Add" => Operation::Add,
        "Sub" => Operation::Subtract,
        "Mul" => Operation::Multiply,
        "Div" => Operation::Divide,
        _ => return None,
    })
}

/// The type of a value, and the sizes of its axes after the batch.
fn features(value: &ValueInfo) -> Option<(ElementType, Vec<usize>)> {
    let element = value.type_info.as_ref()?.tensor.as_ref()?.element_type?;
    let sizes = value.sizes()?;
    let features = sizes.iter().skip(1).map(|size| usize::try_from((*size)?).ok());
    Some((ElementType::of(element)?, features.collect::<Option<_>>()?))
}
