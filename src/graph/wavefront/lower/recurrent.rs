//! Running sums and recurrent layers along the pixels, along rows or along columns: each place has a state, which is
//! made of that of the place before.

use super::{
    Done, Entity, Lowering, View,
    axes::{self, Axis},
    raster::along,
    strides::of_node,
};
use crate::graph::{
    constant::Constant,
    protobuf::Node,
    wavefront::{
        Unsupported,
        stencil::{Linear, Operand, Operator, Stride, Tap},
    },
};

/// What becomes of numbers one by one.
pub(super) fn each(operator: &str) -> Operator {
    Operator::Pointwise(Node::new(operator, &[], ""))
}

/// The place before, along an axis: in one of these places, any other is outside the image.
fn before_along(axis: Axis) -> Option<Vec<(i64, i64)>> {
    match axis {
        Axis::Pixels(_, columns) | Axis::Started(_, columns) => Some(along(-1, columns)),
        Axis::Row(_) => Some(vec![(-1, 0)]),
        Axis::Column(_) => Some(vec![(0, -1)]),
        _ => None,
    }
}

/// A tensor's numbers at each of these places.
fn at_places(view: &View, places: &[(i64, i64)]) -> impl Iterator<Item = Operand> {
    places.iter().map(|&(dy, dx)| {
        let there = View { dy, dx, ..view.clone() };
        Operand::Tensor(there.read(view.features()))
    })
}

/// What a recurrent layer is, and its weights.
struct Layer {
    hidden: usize,
    /// [gates · hidden, inputs].
    inputs: Constant,
    /// [gates · hidden, hidden].
    states: Constant,
    /// What is added to the products with inputs and with states.
    biases: [Vec<f32>; 2],
}

impl Lowering {
    pub(super) fn running_sum(&mut self, node: &Node) -> Done {
        let refused = || Unsupported::new("a running sum");
        let view = self.first_view(node)?;
        let axis = self.constant_input(node, 1)?.and_then(|axis| axis.single());
        let axis = axes::resolve(axis.ok_or_else(refused)? as i64, view.axes.len())?;
        let places = before_along(view.axes[axis]).ok_or_else(refused)?;
        if node.int("reverse", 0) != 0 || !self.tensors[view.tensor].is_real {
            return Err(refused());
        }
        let sum = self.running(node, &view, &places, node.int("exclusive", 0) != 0)?;
        self.define(node, Entity::View(sum))
    }

    /// The running sum of a tensor, or of what was before each place.
    pub(super) fn running(
        &mut self,
        node: &Node,
        view: &View,
        places: &[(i64, i64)],
        is_exclusive: bool,
    ) -> Result<View, Unsupported> {
        let before = self.state_before(node, &view.axes);
        let sum = if is_exclusive {
            // The running sum of what was at the place before: a pixel is not read where it is not known yet.
            let own = self.of(node, "Sum", &[view])?;
            let operands = at_places(&own, places).chain([Operand::Tensor(before.read(before.features()))]);
            self.beside(node, each("Sum"), operands.collect(), view.axes.clone())?
        } else {
            self.of(node, "Sum", &[view, &before])?
        };
        self.remember(&before, &sum, places);
        Ok(sum)
    }

    /// What a state was at the place before, and zero at the first: the state itself is made of it, and told later.
    fn state_before(&mut self, node: &Node, axes: &[Axis]) -> View {
        let tensor = self.placed(of_node(node, each("Sum"), Vec::new(), axes, true));
        self.view(tensor, axes.to_vec())
    }

    fn remember(&mut self, before: &View, state: &View, places: &[(i64, i64)]) {
        self.tensors[before.tensor].operands = at_places(state, places).collect();
    }

    fn of(&mut self, node: &Node, operator: &str, views: &[&View]) -> Result<View, Unsupported> {
        let read = |view: &&View| Operand::Tensor(view.read(view.features()));
        let operands = views.iter().map(read).collect();
        self.beside(node, each(operator), operands, views[0].axes.clone())
    }

    /// An LSTM, a GRU or a plain recurrent layer.
    pub(super) fn recurrent(&mut self, node: &Node) -> Done {
        let mut view = self.first_view(node)?;
        if let Some(axis @ (Axis::Unit | Axis::Batch)) = view.axes.get_mut(2) {
            // A single number at each pixel.
            *axis = Axis::Feature(1);
        }
        let [line, beside, Axis::Feature(inputs)] = view.axes[..] else {
            return Err(Unsupported::new("a recurrent layer over another axis than places"));
        };
        let places = before_along(line).filter(|_| view.stride == Stride::ONE);
        let places = places.ok_or_else(|| Unsupported::new("a recurrent layer over another axis than places"))?;
        let layer = self.layer(node, inputs)?;
        let axes = [line, beside, Axis::Feature(layer.hidden)];
        let before = self.state_before(node, &axes);
        let state = match node.op_type() {
            "LSTM" => self.lstm(node, &layer, &view, (&before, &places))?,
            "GRU" => self.gru(node, &layer, &view, &before)?,
            _ => {
                let sum = self.gates(node, &layer, &view, &before)?;
                let is_relu = activations(node).as_deref() == Some(&["Relu".to_owned()]);
                self.of(node, if is_relu { "Relu" } else { "Tanh" }, &[&sum])?
            }
        };
        self.remember(&before, &state, &places);
        let axes = vec![line, Axis::Unit, beside, Axis::Feature(layer.hidden)];
        self.define(node, Entity::View(View { axes, ..state }))
    }

    fn layer(&self, node: &Node, inputs: usize) -> Result<Layer, Unsupported> {
        let unknown = || Unsupported::new("a recurrent layer of another kind than LSTM, GRU and RNN have by default");
        let (gates, usual): (usize, &[&str]) = match node.op_type() {
            "LSTM" => (4, &["Sigmoid", "Tanh", "Tanh"]),
            "GRU" => (3, &["Sigmoid", "Tanh"]),
            _ => (1, &["Tanh"]),
        };
        let is_usual = |names: Vec<String>| names == usual || (gates == 1 && names == ["Relu"]);
        let has_default = !["clip", "input_forget", "layout"]
            .iter()
            .any(|name| node.attribute(name).is_some_and(|_| node.int(name, 1) != 0));
        if !has_default || !activations(node).is_none_or(is_usual) {
            return Err(unknown());
        }
        if !matches!(node.text("direction"), b"" | b"forward") {
            return Err(Unsupported::new("a recurrent layer that goes backwards"));
        }
        for at in [4, 5, 6, 7] {
            if self.constant_input(node, at)?.is_some_and(|given| !given.is_zero()) {
                return Err(Unsupported::new("a recurrent layer that does not begin with zeros"));
            }
        }
        let hidden = usize::try_from(node.int("hidden_size", 0)).unwrap_or(0);
        let outputs = gates.saturating_mul(hidden);
        let matrix = |at: usize, size: usize| {
            let weights = self.constant_input(node, at)?.ok_or_else(unknown)?;
            let fits = weights.dims == [1, outputs, size] && weights.as_floats().is_some() && hidden > 0;
            if fits { Ok(weights) } else { Err(unknown()) }
        };
        let both = match node.inputs.get(3).map(String::as_str) {
            None | Some("") => vec![0.0; 2 * outputs],
            Some(_) => self.floats_input(node, 3)?,
        };
        if both.len() != 2 * outputs {
            return Err(unknown());
        }
        let (of_inputs, of_states) = both.split_at(outputs);
        Ok(Layer {
            hidden,
            inputs: matrix(1, inputs)?,
            states: matrix(2, hidden)?,
            biases: [of_inputs.to_vec(), of_states.to_vec()],
        })
    }

    /// The product of what is seen at each place and some rows of a matrix [1, rows, inputs], and a bias.
    fn times(
        &mut self,
        node: &Node,
        view: &View,
        matrix: &Constant,
        bias: &[f32],
        rows: std::ops::Range<usize>,
    ) -> Result<View, Unsupported> {
        let (inputs, outputs) = (matrix.dims[2], rows.len());
        let values = matrix.as_floats().unwrap_or_default();
        let turned = (0..inputs).flat_map(|input| rows.clone().map(move |row| values[row * inputs + input]));
        let weights: Vec<f32> = turned.collect();
        let linear = Linear {
            inputs,
            outputs,
            taps: vec![Tap { dy: 0, dx: 0, weights }],
            bias: Some(bias[rows].to_vec()),
        };
        let mut axes = view.axes.clone();
        axes[2] = Axis::Feature(outputs);
        let operand = Operand::Tensor(view.read(vec![inputs]));
        self.beside(node, Operator::Linear(linear), vec![operand], axes)
    }

    /// All gates before their activations: products with inputs and with the state before.
    fn gates(&mut self, node: &Node, layer: &Layer, view: &View, before: &View) -> Result<View, Unsupported> {
        let rows = 0..layer.inputs.dims[1];
        let inputs = self.times(node, view, &layer.inputs, &layer.biases[0], rows.clone())?;
        let states = self.times(node, before, &layer.states, &layer.biases[1], rows)?;
        self.of(node, "Sum", &[&inputs, &states])
    }

    /// One of several gates that lie side by side.
    fn gate(&mut self, node: &Node, layer: &Layer, all: &View, at: usize) -> Result<View, Unsupported> {
        let mut axes = all.axes.clone();
        axes[2] = Axis::Feature(layer.hidden);
        let indices = (at * layer.hidden..(at + 1) * layer.hidden).collect();
        let operand = Operand::Tensor(all.read(all.features()));
        self.beside(node, Operator::Select { axis: 0, indices }, vec![operand], axes)
    }

    fn lstm(
        &mut self,
        node: &Node,
        layer: &Layer,
        view: &View,
        (before, places): (&View, &[(i64, i64)]),
    ) -> Result<View, Unsupported> {
        let cell_before = self.state_before(node, &before.axes);
        let all = self.gates(node, layer, view, before)?;
        let mut gates = Vec::new();
        for (at, activation) in ["Sigmoid", "Sigmoid", "Sigmoid", "Tanh"].into_iter().enumerate() {
            let gate = self.gate(node, layer, &all, at)?;
            gates.push(self.of(node, activation, &[&gate])?);
        }
        let kept = self.of(node, "Mul", &[&gates[2], &cell_before])?;
        let new = self.of(node, "Mul", &[&gates[0], &gates[3]])?;
        let cell = self.of(node, "Sum", &[&kept, &new])?;
        self.remember(&cell_before, &cell, places);
        let shown = self.of(node, "Tanh", &[&cell])?;
        self.of(node, "Mul", &[&gates[1], &shown])
    }

    fn gru(&mut self, node: &Node, layer: &Layer, view: &View, before: &View) -> Result<View, Unsupported> {
        let (size, all) = (layer.hidden, 3 * layer.hidden);
        let [of_inputs, of_states] = &layer.biases;
        let inputs = self.times(node, view, &layer.inputs, of_inputs, 0..all)?;
        let states = self.times(node, before, &layer.states, of_states, 0..2 * size)?;
        let mut gates = Vec::new();
        for at in 0..2 {
            let parts = [
                self.gate(node, layer, &inputs, at)?,
                self.gate(node, layer, &states, at)?,
            ];
            let sum = self.of(node, "Sum", &[&parts[0], &parts[1]])?;
            gates.push(self.of(node, "Sigmoid", &[&sum])?);
        }
        let seen = if node.int("linear_before_reset", 0) == 0 {
            let reset = self.of(node, "Mul", &[&gates[1], before])?;
            self.times(node, &reset, &layer.states, of_states, 2 * size..all)?
        } else {
            let states = self.times(node, before, &layer.states, of_states, 2 * size..all)?;
            self.of(node, "Mul", &[&gates[1], &states])?
        };
        let new = self.gate(node, layer, &inputs, 2)?;
        let new = self.of(node, "Sum", &[&new, &seen])?;
        let new = self.of(node, "Tanh", &[&new])?;
        // z · before + (1 − z) · new.
        let change = self.of(node, "Sub", &[before, &new])?;
        let kept = self.of(node, "Mul", &[&gates[0], &change])?;
        self.of(node, "Sum", &[&new, &kept])
    }
}

/// The functions that a layer names, if it names any.
fn activations(node: &Node) -> Option<Vec<String>> {
    let names = &node.attribute("activations")?.strings;
    let text = |name: &Vec<u8>| String::from_utf8_lossy(name).into_owned();
    Some(names.iter().map(text).collect()).filter(|names: &Vec<String>| !names.is_empty())
}
