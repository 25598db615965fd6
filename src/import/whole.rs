//! An encoder and a decoder in one graph, as `model(image)` of an autoencoder is exported: parted at the code.
//!
//! The code is a value that every way from the image, and from every random number, to the picture leads through. Of a
//! VAE it is mean + deviation · noise, which tells where mean and deviation are, whatever the graph gives of them.

use std::collections::{HashMap, HashSet};

use super::{
    Problem,
    export::{Element, Export, Port},
    interview::Interview,
    probe::{Found, Probe},
    reading::{Given, Reading, Taken, Takes, trial},
    tail::MOVING,
};
use crate::{
    graph::{
        chance,
        protobuf::{ElementType, Graph, Model, Node, Tensor, ValueInfo},
        surgery, weights,
    },
    runtime::Engine,
};

/// What an encoder calls the mean of its posterior, if the graph draws the code.
pub const MEAN: &str = "posterior_mean";
/// What it calls the deviation.
pub const DEVIATION: &str = "posterior_deviation";

/// Values that are looked at.
const LONGEST: usize = 4000;

/// A value that parts the graph.
struct Waist {
    value: String,
    sizes: Vec<usize>,
}

/// Parts a graph from images to pictures at its code, if it has one. `is_density` says whether it predicts, so that
/// what it gives is no picture of its image.
pub fn parted(
    engine: &dyn Engine,
    reading: &Reading,
    is_density: impl FnOnce(&Given) -> bool,
    interview: &mut Interview,
) -> Option<Result<[Reading; 2], Vec<Problem>>> {
    let (_, form) = reading.image()?;
    let numbers = form.channels * form.height * form.width;
    let graph = reading.graph();
    if graph.nodes.len() > LONGEST {
        return None;
    }
    let ways = Ways::of(graph, reading);
    if let Some(problem) = drawn_throughout(reading, &ways, numbers) {
        return Some(Err(vec![problem]));
    }
    let pictures: Vec<&Given> = reading
        .gives
        .iter()
        .filter(|given| given.numbers() == numbers && ways.is_computed(&given.port.name))
        .collect();
    let first = *pictures.first()?;
    let waists = waists(engine, reading, &ways, &pictures, numbers);
    if waists.is_empty() || is_density(first) {
        return None;
    }
    // A code book is looked up in; what is in its place is a code as well, but the encoder gives what comes before.
    let is_looked_up = pictures.iter().any(|given| ways.is_looked_up(&given.port.name));
    let before: Vec<Waist>;
    let waists = if is_looked_up {
        before = waists
            .into_iter()
            .filter(|waist| !ways.is_looked_up(&waist.value))
            .collect();
        if before.is_empty() {
            return None;
        }
        before
    } else {
        waists
    };
    let waist = chosen(reading, &ways, &waists)?;
    let posterior = ways.posterior(&waist.value);
    if posterior.is_none() && ways.is_drawn(&waist.value) {
        return Some(Err(vec![Problem::new(
            &reading.file,
            format!(
                "it holds an encoder and a decoder, and the code between them ({:?}) is drawn, but not as \
                 mean + deviation · noise",
                waist.value
            ),
            "export what makes the code without its draw, and what makes the picture of the code, as two graphs",
        )]));
    }
    interview.note(&format!(
        "{}: it holds an encoder and a decoder, and is parted at the code {:?} of {} numbers",
        reading.file,
        waist.value,
        waist.sizes.iter().product::<usize>()
    ));
    if is_looked_up {
        interview.note(&format!(
            "{}: it looks its code up in a code book, as a VQ-VAE does: the code served is what the encoder gives \
             before that, and decoding looks it up. A VQ-VAE has no density by itself; the network that was trained \
             on its codes, such as a PixelCNN, has one, and is imported by itself",
            reading.file
        ));
    }
    let encoder = encoder(reading, waist, posterior, is_looked_up);
    let decoder = decoder(engine, reading, &ways, waist, &pictures);
    let part = |name: &str, model: Model| {
        let ports = |values: &[ValueInfo]| values.iter().filter_map(Port::read).collect();
        let graph = model.graph.as_ref();
        Export {
            file: format!("{} ({name})", reading.file),
            inputs: graph.map_or_else(Vec::new, |graph| ports(&graph.inputs)),
            outputs: graph.map_or_else(Vec::new, |graph| ports(&graph.outputs)),
            batch: None,
            beside: Vec::new(),
            drawing: chance::nodes(&model),
            model,
        }
    };
    let read = |name: &str, model: Model| {
        let export = part(name, model);
        let taken = |port: &Port| {
            let own = reading.takes.iter().find(|taken| taken.port.name == port.name);
            own.cloned().unwrap_or_else(|| Taken {
                port: port.clone(),
                sizes: waist.sizes.clone(),
                takes: Takes::Code,
            })
        };
        let takes = export.inputs.iter().map(taken).collect();
        Reading::taking(engine, export, takes)
    };
    let both = read("encoding", encoder).and_then(|encoder| Ok([encoder, read("decoding", decoder)?]));
    let is_drawn = ways.is_drawn(&first.port.name);
    Some(both.and_then(|both| {
        if is_drawn || is_same(reading, first, &both).map_err(|problem| vec![problem])? {
            return Ok(both);
        }
        Err(vec![Problem::new(
            &reading.file,
            format!(
                "what it makes of an image is more than what it makes of the code {:?}",
                waist.value
            ),
            "export what makes the code of an image, and what makes the picture of a code, as two graphs",
        )])
    }))
}

/// Whether the parts, one after the other, make the same pictures as the whole.
fn is_same(reading: &Reading, picture: &Given, [encoder, decoder]: &[Reading; 2]) -> Result<bool, Problem> {
    const ITEMS: usize = 3;
    let Some(place) = reading.takes.iter().position(|taken| taken.image().is_some()) else {
        return Ok(true);
    };
    let all = trial(&reading.takes, ITEMS).swap_remove(place);
    let images: Vec<Vec<f32>> = all.chunks(all.len() / ITEMS).map(<[f32]>::to_vec).collect();
    let rows = |mut found: Vec<Found>, place: usize| found.swap_remove(place).rows;
    let expected = rows(reading.run(&images, &[])?, picture.place);
    let range = expected
        .iter()
        .flatten()
        .fold(0.0f32, |most, value| most.max(value.abs()));
    // Of mean and spread, one is decoded.
    for codes in encoder.run(&images, &[])? {
        let found = rows(decoder.run(&codes.rows, &[])?, 0);
        let mut pairs = expected.iter().flatten().zip(found.iter().flatten());
        if pairs.all(|(own, other)| (own - other).abs() <= 1e-3 * range) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What is wrong with several pictures of each image, all of them drawn: nothing that they lead through is one code.
fn drawn_throughout(reading: &Reading, ways: &Ways<'_>, numbers: usize) -> Option<Problem> {
    let mut of_pictures = reading
        .gives
        .iter()
        .filter(|given| given.numbers() > 0 && given.numbers().is_multiple_of(numbers))
        .filter(|given| ways.is_computed(&given.port.name))
        .peekable();
    of_pictures.peek()?;
    let is_several = |given: &Given| given.numbers() > numbers && ways.is_drawn(&given.port.name);
    of_pictures.all(is_several).then(|| {
        Problem::new(
            &reading.file,
            "it draws several pictures of each image, and what is drawn between is not one code",
            "export what makes mean and log-variance of an image, and what makes a picture of one code, as two graphs",
        )
    })
}

/// Of the values that part a graph, the one that is the code.
fn chosen<'a>(reading: &Reading, ways: &Ways<'_>, waists: &'a [Waist]) -> Option<&'a Waist> {
    let size = |waist: &Waist| waist.sizes.iter().product::<usize>();
    // What is drawn as mean + deviation · noise is the code.
    if let Some(drawn) = waists.iter().find(|waist| ways.posterior(&waist.value).is_some()) {
        return Some(drawn);
    }
    // Mean and spread that the graph gives have the size of the code.
    let rows: Vec<usize> = reading.gives.iter().map(Given::numbers).collect();
    let given = |waist: &&Waist| rows.iter().filter(|&&row| row == size(waist)).count() >= 2;
    let is_given = waists.iter().find(given);
    is_given.or_else(|| {
        let least = waists.iter().map(size).min()?;
        waists.iter().find(|waist| size(waist) == least)
    })
}

/// Values that part the graph, from the image on, which have fewer numbers than the image.
fn waists(engine: &dyn Engine, reading: &Reading, ways: &Ways<'_>, pictures: &[&Given], numbers: usize) -> Vec<Waist> {
    let names: Vec<&str> = pictures.iter().map(|given| given.port.name.as_str()).collect();
    let parting: Vec<&str> = ways.parting(&names);
    if parting.is_empty() {
        return Vec::new();
    }
    let Some(sizes) = sizes(engine, reading, &parting) else {
        return Vec::new();
    };
    let waist = |(value, sizes): (&&str, Option<Vec<usize>>)| {
        let sizes = sizes?;
        let size: usize = sizes.iter().product();
        (size > 0 && size < numbers).then(|| Waist {
            value: (*value).to_owned(),
            sizes,
        })
    };
    parting.iter().zip(sizes).filter_map(waist).collect()
}

/// Sizes of inner values for one item, by running the graph; none of what is not of items.
fn sizes(engine: &dyn Engine, reading: &Reading, values: &[&str]) -> Option<Vec<Option<Vec<usize>>>> {
    const BATCH: usize = 2;
    let port = |value: &&str| Port {
        name: (*value).to_owned(),
        element: Element::Real,
        // Whatever it is, it is turned into a real on its way out.
        onnx_type: ElementType::Double as i32,
        sizes: None,
    };
    let ports: Vec<Port> = values.iter().map(port).collect();
    let batch = if reading.one_at_a_time { 1 } else { BATCH };
    let inputs: Vec<(&Port, Vec<usize>)> = reading.takes.iter().map(|own| (&own.port, own.sizes.clone())).collect();
    let outputs: Vec<&Port> = ports.iter().collect();
    let probe = Probe::new(engine, &reading.file, &reading.model, (&inputs, &outputs), batch).ok()?;
    let found = probe.run(batch, &trial(&reading.takes, batch)).ok()?;
    Some(found.into_iter().map(|found| found.sizes).collect())
}

/// The graph up to the code.
fn encoder(reading: &Reading, waist: &Waist, posterior: Option<(String, String)>, is_looked_up: bool) -> Model {
    let mut model = reading.model.clone();
    let outputs = match posterior {
        Some((mean, deviation)) => {
            if let Some(graph) = &mut model.graph {
                graph.nodes.push(Node::new("Identity", &[&mean], MEAN));
                graph.nodes.push(Node::new("Identity", &[&deviation], DEVIATION));
            }
            [MEAN, DEVIATION]
                .map(|name| ValueInfo::batched(name, ElementType::Float, &waist.sizes))
                .to_vec()
        }
        None => {
            let size: usize = waist.sizes.iter().product();
            let rows: Vec<&Given> = reading.gives.iter().filter(|given| given.numbers() == size).collect();
            // Beside a code that is looked up, what has its size is that before and after.
            if rows.len() >= 2 && !is_looked_up {
                let value = |given: &&Given| {
                    let sizes = given.sizes.clone().unwrap_or_default();
                    ValueInfo::batched(&given.port.name, ElementType::Float, &sizes)
                };
                rows.iter().map(value).collect()
            } else {
                vec![ValueInfo::batched(&waist.value, ElementType::Float, &waist.sizes)]
            }
        }
    };
    surgery::keep(&mut model, outputs);
    needed(model)
}

/// The graph from the code on.
fn decoder(engine: &dyn Engine, reading: &Reading, ways: &Ways<'_>, waist: &Waist, pictures: &[&Given]) -> Model {
    let mut model = reading.model.clone();
    if let Some(graph) = &mut model.graph {
        resized(graph, engine, reading, ways, waist);
        surgery::cut(
            graph,
            ValueInfo::batched(&waist.value, ElementType::Float, &waist.sizes),
        );
    }
    let picture = |given: &&Given| {
        let sizes = given.sizes.clone().unwrap_or_default();
        ValueInfo::batched(&given.port.name, ElementType::Float, &sizes)
    };
    surgery::keep(&mut model, pictures.iter().map(picture).collect());
    needed(model)
}

/// Has shapes of values that come before the code made of the code and of what is known of them: the batch is the
/// same, and the rest does not change.
fn resized(graph: &mut Graph, engine: &dyn Engine, reading: &Reading, ways: &Ways<'_>, waist: &Waist) {
    let measured: Vec<String> = graph
        .nodes
        .iter()
        .filter(|node| node.op_type() == "Shape")
        .filter_map(|node| node.inputs.first().cloned())
        .filter(|value| {
            let own = ways.before(&[value.as_str()], None);
            !own.contains(waist.value.as_str()) && own.iter().any(|value| ways.sources.contains(value))
        })
        .collect();
    let values: Vec<&str> = measured.iter().map(String::as_str).collect();
    let Some(sizes) = sizes(engine, reading, &values) else {
        return;
    };
    let known: HashMap<&str, Vec<usize>> = values
        .into_iter()
        .zip(sizes)
        .filter_map(|(v, s)| Some((v, s?)))
        .collect();
    let mut nodes = Vec::new();
    for node in std::mem::take(&mut graph.nodes) {
        let own = node.inputs.first().filter(|_| node.op_type() == "Shape");
        let Some(sizes) = own.and_then(|value| known.get(value.as_str())) else {
            nodes.push(node);
            continue;
        };
        let output = node.outputs[0].clone();
        let name = |part: &str| format!("density_server/{part}/{output}");
        let rank = sizes.len() as i64 + 1;
        let at = |place: i64| (if place < 0 { place + rank } else { place }).clamp(0, rank) as usize;
        let (start, end) = (at(node.int("start", 0)), at(node.int("end", rank)));
        let rest: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
        let rest = &rest[start.max(1) - 1..end.max(1) - 1];
        graph.initializers.push(Tensor::of_ints(&name("rest"), rest));
        let has_batch = start == 0 && end > 0;
        let mut parts = Vec::new();
        if has_batch {
            graph.initializers.push(Tensor::of_ints(&name("first"), &[0]));
            nodes.push(Node::new("Shape", &[&waist.value], &name("shape")));
            nodes.push(Node::new("Gather", &[&name("shape"), &name("first")], &name("batch")).with_int("axis", 0));
            parts.push(name("batch"));
        }
        parts.push(name("rest"));
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        nodes.push(Node::new("Concat", &parts, &output).with_int("axis", 0));
    }
    graph.nodes = nodes;
}

/// Without inputs that nothing reads.
fn needed(mut model: Model) -> Model {
    if let Some(graph) = &mut model.graph {
        let read: HashSet<String> = graph.nodes.iter().flat_map(|node| node.inputs.clone()).collect();
        graph.inputs.retain(|input| read.contains(input.name()));
    }
    model
}

/// What leads to which value.
struct Ways<'a> {
    graph: &'a Graph,
    writers: HashMap<&'a str, &'a Node>,
    /// Values that a code must come after: images and random numbers.
    sources: HashSet<&'a str>,
    drawn: HashSet<&'a str>,
    /// Values that are computed of places in a code book.
    looked_up: HashSet<&'a str>,
}

impl<'a> Ways<'a> {
    fn of(graph: &'a Graph, reading: &'a Reading) -> Self {
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
            let is_place = matches!(node.op_type(), "ArgMin" | "ArgMax" | "TopK");
            if is_place || node.inputs.iter().any(|input| looked_up.contains(input.as_str())) {
                looked_up.extend(node.outputs.iter().map(String::as_str));
            }
        }
        let images = reading.image().map(|(taken, _)| taken.port.name.as_str());
        Self {
            graph,
            writers,
            sources: images.into_iter().chain(noise).collect(),
            drawn,
            looked_up,
        }
    }

    fn is_looked_up(&self, value: &str) -> bool {
        self.looked_up.contains(value)
    }

    fn is_drawn(&self, value: &str) -> bool {
        self.drawn.contains(value)
    }

    /// Whether a value is more than what came in, handed on.
    fn is_computed(&self, value: &str) -> bool {
        let mut at = value;
        while let Some(node) = self.writers.get(at) {
            if !MOVING.contains(&node.op_type()) {
                return true;
            }
            match node.inputs.first() {
                Some(input) => at = input,
                None => return true,
            }
        }
        false
    }

    /// Values without which no image and no random number reaches any of `ends`, in the order of the graph.
    fn parting(&self, ends: &[&'a str]) -> Vec<&'a str> {
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
    fn before(&self, ends: &[&'a str], without: Option<&str>) -> HashSet<&'a str> {
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

    /// Mean and deviation of a code that is mean + deviation · noise.
    fn posterior(&self, code: &str) -> Option<(String, String)> {
        let sum = self.writers.get(code).filter(|node| node.op_type() == "Add")?;
        let (drawn, mean) = self.parts(sum)?;
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
            (operator @ ("Mul" | "Add"), [first, second]) => {
                let neutral = if operator == "Mul" { 1.0 } else { 0.0 };
                let is_neutral = |value: &'a String| self.constant(value) == Some(neutral);
                (is_neutral(first) && self.is_standard_noise(second))
                    || (is_neutral(second) && self.is_standard_noise(first))
            }
            (moving, [first, ..]) => MOVING.contains(&moving) && self.is_standard_noise(first),
            _ => false,
        }
    }

    /// The number that a value holds everywhere, if no input changes it.
    fn constant(&self, value: &str) -> Option<f64> {
        if let Some(number) = weights::scalar(self.graph, value) {
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
