//! Reachability in a graph: what leads to which value, and which values are bottlenecks that part it.

use std::collections::{HashMap, HashSet};

use crate::{
    graph::{
        protobuf::{ElementType, Graph, Node},
        weights,
    },
    import::{
        export::{Element, Port},
        output_activation::{LOOKING_UP, MOVING},
        probe::Probe,
        reading::{Batch, Reading, trial},
    },
    runtime::Engine,
};

/// A value that parts the graph.
pub(super) struct Bottleneck {
    pub(super) value: String,
    pub(super) sizes: Vec<usize>,
}

/// What leads to which value.
pub(super) struct Reachability<'a> {
    graph: &'a Graph,
    writers: HashMap<&'a str, &'a Node>,
    /// Values that a code must come after: images and random numbers.
    pub(super) sources: HashSet<&'a str>,
    drawn: HashSet<&'a str>,
    /// Random numbers.
    noise: Vec<&'a str>,
    /// Values that are computed of places in a code book.
    looked_up: HashSet<&'a str>,
}

impl<'a> Reachability<'a> {
    pub(super) fn of(graph: &'a Graph, reading: &'a Reading) -> Self {
        let mut writers = HashMap::new();
        let (mut drawn, mut looked_up, mut noise) = (HashSet::new(), HashSet::new(), Vec::new());
        for node in &graph.nodes {
            for output in &node.outputs {
                writers.insert(output.as_str(), node);
            }
            let is_noise = node.op_type().starts_with("Random");
            if is_noise {
                noise.extend(node.outputs.iter().map(String::as_str));
            }
            if is_noise || node.inputs.iter().any(|input| drawn.contains(input.as_str())) {
                drawn.extend(node.outputs.iter().map(String::as_str));
            }
            let is_place = LOOKING_UP.contains(&node.op_type());
            if is_place || node.inputs.iter().any(|input| looked_up.contains(input.as_str())) {
                looked_up.extend(node.outputs.iter().map(String::as_str));
            }
        }
        let images = reading.image().map(|(taken, _)| taken.port.name.as_str());
        Self {
            graph,
            writers,
            sources: images.into_iter().chain(noise.iter().copied()).collect(),
            drawn,
            noise,
            looked_up,
        }
    }

    pub(super) fn is_looked_up(&self, value: &str) -> bool {
        self.looked_up.contains(value)
    }

    pub(super) fn is_drawn(&self, value: &str) -> bool {
        self.drawn.contains(value)
    }

    /// Whether a value is more than what came in, handed on.
    pub(super) fn is_computed(&self, value: &str) -> bool {
        self.writers.contains_key(self.before_moving(value))
    }

    /// What a value is, before it was only reshaped and handed on.
    pub(super) fn before_moving<'v>(&self, value: &'v str) -> &'v str
    where
        'a: 'v,
    {
        let mut at = value;
        while let Some(node) = self.writers.get(at).filter(|node| MOVING.contains(&node.op_type())) {
            match node.inputs.first() {
                Some(input) => at = input,
                None => break,
            }
        }
        at
    }

    /// Values without which no image and no random number reaches any of `ends`, in the order of the graph.
    pub(super) fn parting(&self, ends: &[&'a str]) -> Vec<&'a str> {
        let reached = self.before(ends, None);
        let values = self.graph.nodes.iter().flat_map(|node| &node.outputs);
        values
            .map(String::as_str)
            .filter(|value| reached.contains(value) && !ends.contains(value))
            .filter(|value| self.is_computed(value))
            .filter(|value| {
                let without = self.before(ends, Some(value));
                !self.sources.iter().any(|source| without.contains(source))
            })
            .filter(|value| self.before(&[value], None).iter().any(|own| self.sources.contains(own)))
            .filter(|value| {
                let operator = self.writers.get(value).map_or("", |node| node.op_type());
                !COUNTING.contains(&operator)
            })
            .collect()
    }

    /// Everything that `ends` are computed of, but for what only `without` is.
    pub(super) fn before(&self, ends: &[&'a str], without: Option<&str>) -> HashSet<&'a str> {
        let (mut seen, mut open) = (HashSet::new(), ends.to_vec());
        while let Some(value) = open.pop() {
            if Some(value) == without || !seen.insert(value) {
                continue;
            }
            let Some(node) = self.writers.get(value) else { continue };
            // The size of a value is not the value.
            if node.op_type() == "Shape" || node.op_type() == "RandomNormalLike" {
                continue;
            }
            open.extend(node.inputs.iter().map(String::as_str).filter(|input| !input.is_empty()));
        }
        seen
    }

    /// Whether something random that `code` is not computed of reaches any of `ends`.
    pub(super) fn draws_more(&self, ends: &[&'a str], code: &'a str) -> bool {
        let of_code = self.before(&[code], None);
        let reached = self.before(ends, None);
        self.noise
            .iter()
            .any(|noise| reached.contains(noise) && !of_code.contains(noise))
    }

    /// How many draws a code is computed of.
    pub(super) fn draws(&self, code: &'a str) -> usize {
        let of_code = self.before(&[code], None);
        self.noise.iter().filter(|noise| of_code.contains(*noise)).count()
    }

    /// Mean and deviation of a code that is mean + deviation · noise.
    pub(super) fn posterior(&self, code: &str) -> Option<(String, String)> {
        let sum = self.writers.get(code).filter(|node| node.op_type() == "Add")?;
        let (drawn, mean) = self.parts(sum)?;
        let drawn = self.without_neutral(drawn);
        let product = self.writers.get(drawn).filter(|node| node.op_type() == "Mul")?;
        let (noise, deviation) = self.parts(product)?;
        let is_noise = self.is_standard_noise(noise);
        is_noise.then(|| (mean.to_owned(), deviation.to_owned()))
    }

    /// Whether a value is drawn from a standard normal distribution, as exporters write that: any other would be
    /// another deviation, and another mean.
    fn is_standard_noise(&self, value: &'a str) -> bool {
        let Some(node) = self.writers.get(value) else {
            return false;
        };
        match (node.op_type(), &node.inputs[..]) {
            ("RandomNormal" | "RandomNormalLike", _) => {
                node.float("mean", 0.0) == 0.0 && node.float("scale", 1.0) == 1.0
            }
            // `rsample` of a distribution scales and shifts it, by one and by nothing.
            ("Mul" | "Add", _) => {
                let own = self.without_neutral(value);
                own != value && self.is_standard_noise(own)
            }
            (moving, [first, ..]) => MOVING.contains(&moving) && self.is_standard_noise(first),
            _ => false,
        }
    }

    /// What a value is before one is multiplied to it or nothing is added, as `addcmul` and `rsample` do.
    fn without_neutral(&self, value: &'a str) -> &'a str {
        let Some(node) = self.writers.get(value) else {
            return value;
        };
        let neutral = match node.op_type() {
            "Mul" => 1.0,
            "Add" => 0.0,
            _ => return value,
        };
        let [first, second] = &node.inputs[..] else {
            return value;
        };
        let is_neutral = |own: &'a String| self.constant(own) == Some(neutral);
        if is_neutral(second) {
            self.without_neutral(first)
        } else if is_neutral(first) {
            self.without_neutral(second)
        } else {
            value
        }
    }

    /// The number that a value holds everywhere, if no input changes it.
    fn constant(&self, value: &str) -> Option<f64> {
        if let Some(number) = weights::uniform(self.graph, value) {
            return Some(number);
        }
        let node = self.writers.get(value)?;
        match node.op_type() {
            "ConstantOfShape" => match node.attribute("value").and_then(|value| value.t.as_ref()) {
                Some(held) => weights::single(held),
                None => Some(0.0),
            },
            "Expand" | "Cast" | "Identity" => self.constant(node.inputs.first()?),
            _ => None,
        }
    }

    /// What is drawn of two operands, and what is not.
    fn parts(&self, node: &'a Node) -> Option<(&'a str, &'a str)> {
        let [first, second] = &node.inputs[..] else { return None };
        match (
            self.drawn.contains(first.as_str()),
            self.drawn.contains(second.as_str()),
        ) {
            (true, false) => Some((first, second)),
            (false, true) => Some((second, first)),
            _ => None,
        }
    }
}

/// Operators that give no reals.
const COUNTING: [&str; 6] = ["ArgMax", "ArgMin", "Equal", "Shape", "Size", "TopK"];

/// Sizes of inner values for one item, by running the graph; none of what is not of items.
pub(super) fn sizes(engine: &dyn Engine, reading: &Reading, values: &[&str]) -> Option<Vec<Option<Vec<usize>>>> {
    const BATCH: usize = 2;
    let port = |value: &&str| Port {
        name: (*value).to_owned(),
        element: Element::Real,
        // Whatever it is, it is turned into a real on its way out.
        onnx_type: ElementType::Double as i32,
        sizes: None,
    };
    let ports: Vec<Port> = values.iter().map(port).collect();
    let batch = if reading.batch == Batch::Free { BATCH } else { 1 };
    let inputs: Vec<(&Port, Vec<usize>)> = reading.takes.iter().map(|own| (&own.port, own.sizes.clone())).collect();
    let outputs: Vec<&Port> = ports.iter().collect();
    let probe = Probe::new(engine, &reading.file, &reading.model, (&inputs, &outputs), batch).ok()?;
    let found = probe.run(batch, &trial(&reading.takes, batch)).ok()?;
    Some(found.into_iter().map(|found| found.sizes).collect())
}
