//! Writes the step graph and the graph of tables.

use std::{collections::BTreeMap, ops::Range};

use super::{
    Cache, Compiled, Gather, LABELS, LOGITS, Mask, Position, Run, Source, TABLE_LEVELS, Table,
    Tables, Unsupported,
    schedule::{Role, Schedule},
    stencil::{Linear, Operand, Operator, Read, Stencil, StencilTensor, Window},
};
use crate::graph::{
    constant::Constant,
    protobuf::{ElementType, Graph, Model, Node, ValueInfo},
};

/// ONNX's number of the type of truth values.
const BOOL: i64 = 9;

/// Writes the program of a stencil; `model` gives the version of the operators.
pub(super) fn emit(
    stencil: &Stencil,
    schedule: &Schedule,
    model: &Model,
) -> Result<Compiled, Unsupported> {
    let opset = model.opset();
    if opset < 13 {
        return Err(Unsupported::new(format!(
            "version {opset} of the ONNX operators; 13 or later is needed"
        )));
    }
    let mut emitter = Emitter {
        stencil,
        schedule,
        writer: Writer::default(),
        opset,
        gathers: BTreeMap::new(),
        cached: BTreeMap::new(),
        tabulated: BTreeMap::new(),
        positions: BTreeMap::new(),
        masks: BTreeMap::new(),
        takes_labels: false,
        multiply_adds: 0,
    };
    for (at, role) in schedule.roles.iter().enumerate() {
        if !matches!(role, Role::Table(_)) {
            emitter.tensor(at)?;
        }
    }
    emitter.finish(model)
}

/// Nodes and constants as they are written.
#[derive(Debug, Default)]
struct Writer {
    graph: Graph,
    count: usize,
}

impl Writer {
    fn fresh(&mut self, what: &str) -> String {
        self.count += 1;
        format!("density_server/{what}_{}", self.count)
    }

    fn constant(&mut self, constant: &Constant) -> String {
        let name = self.fresh("constant");
        self.graph.initializers.push(constant.tensor(&name));
        name
    }

    fn ints(&mut self, values: impl IntoIterator<Item = i64>) -> String {
        let values: Vec<i64> = values.into_iter().collect();
        self.constant(&Constant {
            dims: vec![values.len()],
            values: crate::graph::constant::Values::Ints(values),
        })
    }

    fn node(&mut self, node: Node) {
        self.graph.nodes.push(node);
    }

    /// The same values with these features at each row.
    fn reshaped(&mut self, name: &str, features: &[usize]) -> String {
        // Zero keeps the size of the first axis.
        let shape = self.ints(std::iter::once(0).chain(features.iter().map(|&size| size as i64)));
        let output = self.fresh("reshaped");
        self.node(Node::new("Reshape", &[name, &shape], &output));
        output
    }

    fn into_model(self, model: &Model, inputs: Vec<ValueInfo>, outputs: Vec<ValueInfo>) -> Model {
        Model {
            ir_version: model.ir_version,
            opset_imports: vec![crate::graph::protobuf::OperatorSet {
                domain: Some(String::new()),
                version: Some(model.opset()),
            }],
            producer_name: Some("density-server".to_owned()),
            graph: Some(Graph {
                name: Some("step".to_owned()),
                inputs,
                outputs,
                ..self.graph
            }),
            ..Model::default()
        }
    }
}

/// What identifies a lookup: source, delay of the reader, neighbours, window.
type GatherKey = (Source, i64, Vec<(i64, i64)>, Window);

struct Emitter<'a> {
    stencil: &'a Stencil,
    schedule: &'a Schedule,
    writer: Writer,
    opset: i64,
    gathers: BTreeMap<GatherKey, String>,
    /// Tensors that are kept: their place among the caches, and how long.
    cached: BTreeMap<usize, (usize, i64)>,
    /// Tensors that are looked up by level: their place among the tables.
    tabulated: BTreeMap<usize, usize>,
    positions: BTreeMap<i64, String>,
    /// By delay and window.
    masks: BTreeMap<(i64, Window), String>,
    takes_labels: bool,
    multiply_adds: u64,
}

fn name_of(tensor: usize) -> String {
    format!("density_server/tensor_{tensor}")
}

impl Emitter<'_> {
    fn tensor(&mut self, at: usize) -> Result<(), Unsupported> {
        let tensor = &self.stencil.tensors[at];
        let output = name_of(at);
        match &tensor.operator {
            Operator::Image => {}
            Operator::Label => {
                self.takes_labels = true;
                self.writer.node(Node::new("Identity", &[LABELS], &output));
            }
            Operator::Linear(linear) => self.linear(at, tensor, linear)?,
            Operator::Select { .. } if self.is_part(tensor) => {}
            _ => {
                let operands = self.operands(at, tensor)?;
                write(&mut self.writer, tensor, &operands, &output, self.opset);
            }
        }
        Ok(())
    }

    /// The names under which the operands can be read in this step.
    fn operands(&mut self, at: usize, tensor: &StencilTensor) -> Result<Vec<String>, Unsupported> {
        tensor
            .operands
            .iter()
            .map(|operand| match operand {
                Operand::Tensor(read) => {
                    let name = self.read(at, read, read.dy, read.dx)?;
                    let source = &self.stencil.tensors[read.tensor];
                    let looked_up = name != name_of(read.tensor) && read.features.len() != 1;
                    Ok(if looked_up || read.features != source.features {
                        self.writer.reshaped(&name, &read.features)
                    } else {
                        name
                    })
                }
                Operand::Constant(constant) => Ok(own_constant(&mut self.writer, tensor, constant)),
                Operand::Table(table) => {
                    let delay = self.schedule.delay(at);
                    let position = self
                        .positions
                        .entry(delay)
                        .or_insert_with(|| format!("density_server/position_{}", -delay))
                        .clone();
                    let mut dims = vec![table.dims[0] * table.dims[1]];
                    dims.extend(&table.dims[2..]);
                    let table = self.writer.constant(&table.clone().reshaped(dims));
                    let output = self.writer.fresh("placed");
                    self.writer
                        .node(Node::new("Gather", &[&table, &position], &output));
                    Ok(output)
                }
            })
            .collect()
    }

    /// The name of one neighbour of a tensor.
    fn read(&mut self, at: usize, read: &Read, dy: i64, dx: i64) -> Result<String, Unsupported> {
        if let Role::Step(_) = self.schedule.roles[read.tensor]
            && self.schedule.age(at, read.tensor, dy, dx) == 0
        {
            return Ok(self.computed_now(read, dx));
        }
        if self.schedule.roles[read.tensor] == Role::Everywhere {
            return Ok(name_of(read.tensor));
        }
        self.gather(at, read, vec![(dy, dx)])
    }

    /// The name of a tensor of this step, zero where the reader's neighbour lies outside the window.
    fn computed_now(&mut self, read: &Read, dx: i64) -> String {
        let name = name_of(read.tensor);
        let shape = self.stencil.shape;
        let whole = Window::of_size(shape.height() as i64, shape.width() as i64).shifted(0, dx);
        if whole.intersect(read.window) == whole {
            return name;
        }
        let count = self.masks.len();
        let mask = self
            .masks
            .entry((self.schedule.delay(read.tensor), read.window))
            .or_insert_with(|| format!("density_server/inside_{count}"))
            .clone();
        let features = &self.stencil.tensors[read.tensor].features;
        let zero = self
            .writer
            .constant(&Constant::floats(Vec::new(), vec![0.0]));
        let [truth, inside, output] =
            ["truth", "inside", "masked"].map(|what| self.writer.fresh(what));
        self.writer
            .node(Node::new("Cast", &[&mask], &truth).with_int("to", BOOL));
        // One axis for each of the features.
        let shape = self
            .writer
            .ints(std::iter::once(-1).chain(features.iter().map(|_| 1)));
        self.writer
            .node(Node::new("Reshape", &[&truth, &shape], &inside));
        self.writer
            .node(Node::new("Where", &[&inside, &name, &zero], &output));
        output
    }

    /// The input that holds neighbours computed in earlier steps.
    fn gather(
        &mut self,
        at: usize,
        read: &Read,
        places: Vec<(i64, i64)>,
    ) -> Result<String, Unsupported> {
        let tensor = &self.stencil.tensors[read.tensor];
        if !tensor.is_real {
            return Err(Unsupported::new(format!(
                "values of {:?} are remembered, but are not real numbers",
                tensor.layer
            )));
        }
        let source = if let Role::Table(_) = self.schedule.roles[read.tensor] {
            let count = self.tabulated.len();
            Source::Table(*self.tabulated.entry(read.tensor).or_insert(count))
        } else {
            let age = places
                .iter()
                .map(|&(dy, dx)| self.schedule.age(at, read.tensor, dy, dx))
                .max()
                .unwrap_or(0);
            let count = self.cached.len();
            let cached = self.cached.entry(read.tensor).or_insert((count, 0));
            cached.1 = cached.1.max(age);
            Source::Cache(cached.0)
        };
        let key = (source, self.schedule.delay(at), places, read.window);
        let count = self.gathers.len();
        Ok(self
            .gathers
            .entry(key)
            .or_insert_with(|| format!("density_server/gather_{count}"))
            .clone())
    }

    /// One matrix product for what is remembered, one for what this step has just computed.
    fn linear(
        &mut self,
        at: usize,
        tensor: &StencilTensor,
        linear: &Linear,
    ) -> Result<(), Unsupported> {
        let [Operand::Tensor(read)] = &tensor.operands[..] else {
            return Err(Unsupported::new("a product of constants"));
        };
        let is_new = |dy, dx| match self.schedule.roles[read.tensor] {
            Role::Everywhere => true,
            Role::Table(_) => false,
            Role::Step(_) => self.schedule.age(at, read.tensor, dy, dx) == 0,
        };
        let mut taps: Vec<_> = linear.taps.iter().collect();
        taps.sort_by_key(|tap| (tap.dy, tap.dx));
        let (new, old): (Vec<_>, Vec<_>) = taps
            .into_iter()
            .partition(|tap| is_new(read.dy + tap.dy, read.dx + tap.dx));
        if tensor.extent.is_some() {
            let weights = linear.inputs * linear.outputs * (new.len() + old.len());
            self.multiply_adds += weights as u64 * self.stencil.shape.pixels() as u64;
        }
        let mut inputs = Vec::new();
        if !old.is_empty() {
            let places = old
                .iter()
                .map(|tap| (read.dy + tap.dy, read.dx + tap.dx))
                .collect();
            inputs.push(self.gather(at, read, places)?);
        }
        for tap in &new {
            let name = match self.schedule.roles[read.tensor] {
                Role::Step(_) => self.computed_now(read, read.dx + tap.dx),
                Role::Everywhere | Role::Table(_) => name_of(read.tensor),
            };
            let flat = if self.stencil.tensors[read.tensor].features.len() == 1 {
                name
            } else {
                self.writer.reshaped(&name, &[linear.inputs])
            };
            inputs.push(flat);
        }
        if inputs.is_empty() {
            return Err(Unsupported::new(format!(
                "all weights of {:?} are zero",
                tensor.layer
            )));
        }
        let input = if let [input] = &inputs[..] {
            input.clone()
        } else {
            let (parts, joined) = (inputs, self.writer.fresh("joined"));
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            self.writer
                .node(Node::new("Concat", &parts, &joined).with_int("axis", 1));
            joined
        };
        let taps: Vec<_> = old.into_iter().chain(new).collect();
        let whole = stacked(&taps, linear);
        // Parts that are only ever used one by one are made one by one: nothing has to be copied apart, and the runtime applies
        // their activations on the way.
        let parts = self.parts(at);
        if parts.is_empty() {
            let columns = 0..linear.outputs;
            let flat = tensor.features.len() == 1;
            let output = if flat {
                name_of(at)
            } else {
                self.writer.fresh("sum")
            };
            self.product(&input, &whole, linear, columns, &output);
            if !flat {
                let shaped = self.writer.reshaped(&output, &tensor.features);
                self.writer
                    .node(Node::new("Identity", &[&shaped], &name_of(at)));
            }
        }
        for (part, columns) in parts {
            self.product(&input, &whole, linear, columns, &name_of(part));
        }
        Ok(())
    }

    /// input · weights + bias for some columns of the weights.
    fn product(
        &mut self,
        input: &str,
        whole: &Constant,
        linear: &Linear,
        columns: Range<usize>,
        output: &str,
    ) {
        let rows = whole.dims[0];
        let index = (0..rows).flat_map(|row| {
            columns
                .clone()
                .map(move |column| row * linear.outputs + column)
        });
        let weights = whole.rearranged(vec![rows, columns.len()], index);
        let bias = match &linear.bias {
            Some(bias) => bias[columns.clone()].to_vec(),
            None => vec![0.0; columns.len()],
        };
        let weights = self.writer.constant(&weights);
        let bias = self
            .writer
            .constant(&Constant::floats(vec![columns.len()], bias));
        self.writer
            .node(Node::new("Gemm", &[input, &weights, &bias], output));
    }

    /// If a tensor is read only by selections of consecutive features at the same place and step: these, and their features.
    fn parts(&self, at: usize) -> Vec<(usize, Range<usize>)> {
        let mut parts = Vec::new();
        if at == self.stencil.logits || self.stencil.tensors[at].features.len() != 1 {
            return parts;
        }
        for (reader, tensor) in self.stencil.tensors.iter().enumerate() {
            for (read, dy, dx) in tensor.reads().filter(|(read, ..)| read.tensor == at) {
                match self.part(reader, read, (dy, dx)) {
                    Some(columns) => parts.push((reader, columns)),
                    None => return Vec::new(),
                }
            }
        }
        parts
    }

    /// Whether the tensor has been made as a part of the product that it selects from.
    fn is_part(&self, tensor: &StencilTensor) -> bool {
        tensor.reads().all(|(read, ..)| {
            let source = &self.stencil.tensors[read.tensor];
            matches!(source.operator, Operator::Linear(_)) && !self.parts(read.tensor).is_empty()
        })
    }

    /// The features that a tensor selects out of what it reads, if it does nothing else.
    fn part(&self, reader: usize, read: &Read, place: (i64, i64)) -> Option<Range<usize>> {
        let Operator::Select { axis: 0, indices } = &self.stencil.tensors[reader].operator else {
            return None;
        };
        let shape = self.stencil.shape;
        let whole = Window::of_size(shape.height() as i64, shape.width() as i64);
        let consecutive = indices.windows(2).all(|pair| pair[1] == pair[0] + 1);
        let same_roles = self.schedule.roles[reader] == self.schedule.roles[read.tensor];
        let in_place = place == (0, 0)
            && (read.window == whole || self.stencil.tensors[reader].extent.is_none());
        (consecutive && same_roles && in_place && read.features.len() == 1)
            .then(|| indices[0]..indices[indices.len() - 1] + 1)
    }

    fn finish(mut self, model: &Model) -> Result<Compiled, Unsupported> {
        let logits = &self.stencil.tensors[self.stencil.logits];
        let width = logits.width();
        let shape = self.writer.ints([0, width as i64]);
        self.writer.node(Node::new(
            "Reshape",
            &[&name_of(self.stencil.logits), &shape],
            LOGITS,
        ));
        let (tables, tabulated) = (self.tables(model)?, &self.tabulated);
        let mut caches = vec![None; self.cached.len()];
        for (&tensor, &(place, lifetime)) in &self.cached {
            caches[place] = Some(Cache {
                output: name_of(tensor),
                width: self.stencil.tensors[tensor].width(),
                delay: self.schedule.delay(tensor),
                lifetime,
            });
        }
        let caches: Vec<Cache> = caches.into_iter().flatten().collect();
        let mut gathers: Vec<Gather> = self
            .gathers
            .iter()
            .map(|((source, delay, places, window), input)| Gather {
                input: input.clone(),
                source: *source,
                width: match source {
                    Source::Cache(place) => caches[*place].width,
                    Source::Table(place) => tables.tables[*place].channels.len(),
                },
                delay: *delay,
                runs: runs(places),
                rows: (window.top, window.bottom),
                columns: (window.left, window.right),
            })
            .collect();
        gathers.sort_by(|a, b| {
            a.input
                .len()
                .cmp(&b.input.len())
                .then(a.input.cmp(&b.input))
        });
        debug_assert_eq!(tabulated.len(), tables.tables.len());
        let positions: Vec<Position> = self
            .positions
            .iter()
            .map(|(&delay, input)| Position {
                input: input.clone(),
                delay,
            })
            .collect();
        let mut inputs: Vec<ValueInfo> = gathers
            .iter()
            .map(|gather| ValueInfo::batched(&gather.input, ElementType::Float, &[gather.size()]))
            .collect();
        let indices = positions.iter().map(|position| position.input.as_str());
        let masks: Vec<Mask> = self
            .masks
            .iter()
            .map(|((delay, window), input)| Mask {
                input: input.clone(),
                delay: *delay,
                rows: (window.top, window.bottom),
                columns: (window.left, window.right),
            })
            .collect();
        inputs.extend(
            masks
                .iter()
                .map(|mask| ValueInfo::batched(&mask.input, ElementType::Uint8, &[1])),
        );
        let labels = self.takes_labels.then_some(LABELS);
        inputs.extend(
            indices
                .chain(labels)
                .map(|name| ValueInfo::batched(name, ElementType::Int64, &[])),
        );
        let mut outputs = vec![ValueInfo::batched(LOGITS, ElementType::Float, &[width])];
        outputs.extend(self.cached.keys().map(|&tensor| {
            let features = &self.stencil.tensors[tensor].features;
            ValueInfo::batched(&name_of(tensor), ElementType::Float, features)
        }));
        let delays = || {
            self.schedule.roles.iter().filter_map(|role| match role {
                Role::Step(delay) => Some(*delay),
                _ => None,
            })
        };
        Ok(Compiled {
            tables,
            gathers,
            positions,
            masks,
            caches,
            takes_labels: self.takes_labels,
            lag: self.schedule.lag,
            first_delay: delays().min().unwrap_or(0).min(0),
            last_delay: delays().max().unwrap_or(0).max(0),
            multiply_adds: self.multiply_adds,
            step: self.writer.into_model(model, inputs, outputs),
        })
    }

    /// The graph of all tensors that are functions of their own pixel.
    fn tables(&self, model: &Model) -> Result<Tables, Unsupported> {
        let mut writer = Writer::default();
        for (at, tensor) in self.stencil.tensors.iter().enumerate() {
            let Role::Table(_) = self.schedule.roles[at] else {
                continue;
            };
            let output = name_of(at);
            if let Operator::Image = tensor.operator {
                writer.node(Node::new("Identity", &[TABLE_LEVELS], &output));
                continue;
            }
            let operands: Vec<String> = tensor
                .operands
                .iter()
                .map(|operand| match operand {
                    Operand::Tensor(read) => {
                        let source = &self.stencil.tensors[read.tensor];
                        let name = name_of(read.tensor);
                        if read.features == source.features {
                            name
                        } else {
                            writer.reshaped(&name, &read.features)
                        }
                    }
                    Operand::Constant(constant) | Operand::Table(constant) => {
                        own_constant(&mut writer, tensor, constant)
                    }
                })
                .collect();
            if let Operator::Linear(linear) = &tensor.operator {
                let taps: Vec<_> = linear.taps.iter().collect();
                let weights = writer.constant(&stacked(&taps, linear));
                let bias = linear
                    .bias
                    .clone()
                    .unwrap_or_else(|| vec![0.0; linear.outputs]);
                let bias = writer.constant(&Constant::floats(vec![linear.outputs], bias));
                let flat = writer.reshaped(&operands[0], &[linear.inputs]);
                let product = writer.fresh("product");
                writer.node(Node::new("Gemm", &[&flat, &weights, &bias], &product));
                let shaped = writer.reshaped(&product, &tensor.features);
                writer.node(Node::new("Identity", &[&shaped], &output));
            } else {
                write(&mut writer, tensor, &operands, &output, self.opset);
            }
        }
        let mut wanted: Vec<(usize, usize)> = self
            .tabulated
            .iter()
            .map(|(&tensor, &place)| (place, tensor))
            .collect();
        wanted.sort_unstable();
        let tables = wanted
            .iter()
            .map(|&(_, tensor)| Table {
                output: name_of(tensor),
                channels: match &self.schedule.roles[tensor] {
                    Role::Table(channels) => channels.clone(),
                    Role::Everywhere | Role::Step(_) => Vec::new(),
                },
            })
            .collect();
        let outputs = wanted
            .iter()
            .map(|&(_, tensor)| {
                let features = &self.stencil.tensors[tensor].features;
                ValueInfo::batched(&name_of(tensor), ElementType::Float, features)
            })
            .collect();
        let channels = self.stencil.shape.channels();
        let input = ValueInfo::batched(TABLE_LEVELS, ElementType::Float, &[channels]);
        Ok(Tables {
            graph: writer.into_model(model, vec![input], outputs),
            tables,
        })
    }
}

/// [taps · inputs, outputs].
fn stacked(taps: &[&super::stencil::Tap], linear: &Linear) -> Constant {
    let weights = taps.iter().flat_map(|tap| tap.weights.iter().copied());
    Constant::floats(
        vec![taps.len() * linear.inputs, linear.outputs],
        weights.collect(),
    )
}

/// Neighbours side by side are copied together.
fn runs(places: &[(i64, i64)]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for &(dy, dx) in places {
        match runs.last_mut() {
            Some(run) if run.dy == dy && run.dx + run.count as i64 == dx => run.count += 1,
            _ => runs.push(Run { dy, dx, count: 1 }),
        }
    }
    runs
}

/// A constant as the operator wants it: with an axis for the batch, but where it is a parameter.
fn own_constant(writer: &mut Writer, tensor: &StencilTensor, constant: &Constant) -> String {
    let is_parameter = match &tensor.operator {
        Operator::Pointwise(node) => node.op_type() == "Clip",
        Operator::Mix { .. } => true,
        _ => false,
    };
    if is_parameter {
        return writer.constant(constant);
    }
    let mut dims = vec![1];
    dims.extend(&constant.dims);
    writer.constant(&constant.clone().reshaped(dims))
}

/// Writes an operator other than a linear one.
fn write(
    writer: &mut Writer,
    tensor: &StencilTensor,
    operands: &[String],
    output: &str,
    opset: i64,
) {
    let names: Vec<&str> = operands.iter().map(String::as_str).collect();
    let like = |node: &Node, inputs: &[&str]| Node {
        attributes: node.attributes.clone(),
        ..Node::new(node.op_type(), inputs, output)
    };
    let without = |node: &Node, name: &str| {
        let mut node = node.clone();
        node.attributes.retain(|a| a.name.as_deref() != Some(name));
        node
    };
    match &tensor.operator {
        Operator::Image | Operator::Label | Operator::Linear(_) => {}
        Operator::Pointwise(node) => writer.node(like(node, &names)),
        Operator::Mix { node, axes } => match node.op_type() {
            "LayerNormalization" => {
                let node = like(&without(node, "axis"), &names);
                writer.node(node.with_int("axis", -(axes.len() as i64)));
            }
            "Softmax" | "LogSoftmax" => {
                let node = like(&without(node, "axis"), &names);
                writer.node(node.with_int("axis", axes[0] as i64 + 1));
            }
            name => {
                let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64 + 1).collect();
                let node = without(&without(node, "axes"), "keepdims");
                // Axes became an input with version 13 for sums, with version 18 for the others.
                let as_input = opset >= if name == "ReduceSum" { 13 } else { 18 };
                let node = if as_input {
                    let axes = writer.ints(axes);
                    like(&node, &[names[0], &axes])
                } else {
                    like(&node, &[names[0]]).with_ints("axes", &axes)
                };
                writer.node(node.with_int("keepdims", 1));
            }
        },
        Operator::Concat { axis } => {
            let parts = rows_like(writer, tensor, operands);
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            writer.node(Node::new("Concat", &parts, output).with_int("axis", *axis as i64 + 1));
        }
        Operator::Select { axis, indices } => {
            let axis = *axis as i64 + 1;
            let (first, last) = (indices[0] as i64, indices[indices.len() - 1] as i64);
            let consecutive = indices.windows(2).all(|pair| pair[1] == pair[0] + 1);
            if consecutive {
                let (starts, ends) = (writer.ints([first]), writer.ints([last + 1]));
                let axes = writer.ints([axis]);
                writer.node(Node::new(
                    "Slice",
                    &[names[0], &starts, &ends, &axes],
                    output,
                ));
            } else {
                let indices = writer.ints(indices.iter().map(|&index| index as i64));
                writer.node(
                    Node::new("Gather", &[names[0], &indices], output).with_int("axis", axis),
                );
            }
        }
        Operator::Permute(order) => {
            let order: Vec<i64> = std::iter::once(0)
                .chain(order.iter().map(|&axis| axis as i64 + 1))
                .collect();
            writer.node(Node::new("Transpose", &[names[0]], output).with_ints("perm", &order));
        }
        Operator::Embed(table) => {
            let table = writer.constant(table);
            writer.node(Node::new("Gather", &[&table, names[0]], output));
        }
        Operator::EmbedPlaced => {
            let last = writer.ints([1]);
            let index = writer.fresh("index");
            writer.node(Node::new("Unsqueeze", &[names[1], &last], &index));
            let row = Node::new("GatherND", &[names[0], &index], output);
            writer.node(row.with_int("batch_dims", 1));
        }
        Operator::OneHot {
            node,
            depth,
            values,
        } => {
            let (depth, values) = (writer.constant(depth), writer.constant(values));
            writer.node(like(node, &[names[0], &depth, &values]));
        }
    }
}

/// The operands of a concatenation, constants repeated for every row of the batch.
fn rows_like(writer: &mut Writer, tensor: &StencilTensor, operands: &[String]) -> Vec<String> {
    let model = tensor
        .operands
        .iter()
        .zip(operands)
        .find(|(operand, _)| !matches!(operand, Operand::Constant(_)))
        .map(|(_, name)| name.clone())
        .unwrap_or_default();
    tensor
        .operands
        .iter()
        .zip(operands)
        .map(|(operand, name)| {
            let Operand::Constant(constant) = operand else {
                return name.clone();
            };
            let [shape, rows, target, output] =
                ["shape", "rows", "target", "repeated"].map(|what| writer.fresh(what));
            let sizes = writer.ints(constant.dims.iter().map(|&size| size as i64));
            let (first, end) = (writer.ints([0]), writer.ints([1]));
            writer.node(Node::new("Shape", &[&model], &shape));
            writer.node(Node::new("Slice", &[&shape, &first, &end], &rows));
            writer.node(Node::new("Concat", &[&rows, &sizes], &target).with_int("axis", 0));
            writer.node(Node::new("Expand", &[name, &target], &output));
            output
        })
        .collect()
}
