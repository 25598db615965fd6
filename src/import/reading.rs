//! What an exported graph takes and gives: found out from the file, and where that does not tell, by running it.

use super::{
    Problem,
    export::{Element, Export, Port, Size},
    interview::Interview,
    probe::{Found, Probe},
};
use crate::{
    domain::random::{Random, Stream},
    graph::{
        self, loosen,
        protobuf::{Graph, Model},
        surgery, upgrade,
    },
    runtime::Engine,
};

/// What is understood of the axes of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axes {
    /// [N, C, H, W].
    ChannelsFirst,
    /// [N, H, W, C].
    ChannelsLast,
    /// [N, H, W].
    NoChannels,
    /// [N, C·H·W].
    Flat,
}

/// Images that a graph takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageForm {
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Where they stand.
    pub axes: Axes,
}

/// What an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Images.
    Image(ImageForm),
    /// Codes.
    Code,
    /// Numbers of labels, of which there are so many as far as the graph tells.
    Label(Option<usize>),
    /// Labels as one of so many numbers that is 1.
    OneHot(usize),
}

/// An input and what it is.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The input of the graph that is written for the server.
    pub port: Port,
    /// Sizes of its axes, the batch left out.
    pub sizes: Vec<usize>,
    /// What it is.
    pub takes: Takes,
}

impl Taken {
    /// The images, if it is one of images.
    pub fn image(&self) -> Option<ImageForm> {
        match self.takes {
            Takes::Image(image) => Some(image),
            _ => None,
        }
    }

    /// Whether labels are given as one of many numbers.
    pub fn is_one_hot(&self) -> bool {
        matches!(self.takes, Takes::OneHot(_))
    }

    /// Whether it is given labels.
    pub fn is_label(&self) -> bool {
        matches!(self.takes, Takes::Label(_) | Takes::OneHot(_))
    }
}

/// An output and what it turned out to be.
#[derive(Debug, Clone)]
pub struct Given {
    /// The output of the graph that is written for the server.
    pub port: Port,
    /// Sizes of its axes, the batch left out; none if it is not of single items.
    pub sizes: Option<Vec<usize>>,
    /// Its place among the outputs of the file.
    pub place: usize,
}

impl Given {
    /// Numbers of an item; 0 if it is not of items.
    pub fn numbers(&self) -> usize {
        self.sizes.as_ref().map_or(0, |sizes| sizes.iter().product())
    }
}

/// A graph that was understood as far as that goes without knowing what it is for.
#[derive(Debug)]
pub struct Reading {
    /// Name of the file.
    pub file: String,
    /// The graph in operators that the server reads, 32-bit reals, its batch free.
    pub model: Model,
    /// Its inputs.
    pub takes: Vec<Taken>,
    /// Its outputs.
    pub gives: Vec<Given>,
    /// The graph as it was exported, to compare with.
    pub original: Probe,
    /// Whether it runs one item at a time only.
    pub one_at_a_time: bool,
    /// Whether numbers of the original are of 16 bits.
    pub is_half: bool,
    /// Nodes that draw random numbers.
    pub drawing: Vec<String>,
    /// What was done to it, in sentences.
    pub notes: Vec<String>,
}

impl Reading {
    /// Its graph.
    pub fn graph(&self) -> &Graph {
        static NONE: std::sync::LazyLock<Graph> = std::sync::LazyLock::new(Graph::default);
        self.model.graph.as_ref().unwrap_or(&NONE)
    }

    /// The input of images.
    pub fn image(&self) -> Option<(&Taken, ImageForm)> {
        self.takes.iter().find_map(|taken| Some((taken, taken.image()?)))
    }

    /// The input of codes, and the size of a code, if it takes no images.
    pub fn code(&self) -> Option<(&Taken, usize)> {
        let code = self.takes.iter().find(|taken| taken.takes == Takes::Code);
        let code = code.map(|taken| (taken, taken.sizes.iter().product()));
        code.filter(|_| self.image().is_none())
    }

    /// The input of labels.
    pub fn label(&self) -> Option<&Taken> {
        self.takes.iter().find(|taken| taken.is_label())
    }

    /// What the original gives, output by output, of items with these numbers; labels are 0 unless given.
    pub fn run(&self, numbers: &[Vec<f32>], labels: &[usize]) -> Result<Vec<Found>, Problem> {
        run(&self.original, &self.takes, numbers, labels).map_err(|error| {
            Problem::new(
                &self.file,
                format!("it does not run: {error}"),
                "export the network again",
            )
        })
    }

    /// What it is, in words.
    pub fn shown(&self) -> String {
        let input = |taken: &Taken| format!("{} {}", taken.port.name, sizes(&taken.sizes));
        let output = |given: &Given| match &given.sizes {
            Some(own) => format!("{} {}", given.port.name, sizes(own)),
            None => format!("{} (not of single items)", given.port.name),
        };
        format!(
            "{} takes {} and gives {}",
            self.file,
            self.takes.iter().map(input).collect::<Vec<_>>().join(", "),
            self.gives.iter().map(output).collect::<Vec<_>>().join(", ")
        )
    }

    /// Finds out what a file takes and gives. All problems of the file are told together.
    pub fn new(engine: &dyn Engine, export: Export, interview: &mut Interview) -> Result<Self, Vec<Problem>> {
        let file = export.file.clone();
        let takes = inputs(&export, interview)?;
        let mut notes = Vec::new();
        let one = |problem: Problem| vec![problem];
        if !export.beside.is_empty() {
            notes.push(format!(
                "{file}: weights out of {} are put into the graph",
                export.beside.join(", ")
            ));
        }
        let (original, found) = original(engine, &export, &takes).map_err(one)?;
        let mut model = export.model.clone();
        let opset = model.opset();
        let upgraded = upgrade::to_current(&mut model);
        if upgraded.map_err(|error| vec![Problem::new(&file, error.to_string(), "")])? {
            notes.push(format!(
                "{file}: operators of version {opset} are written as version {}",
                upgrade::VERSION
            ));
        }
        let is_half = export
            .inputs
            .iter()
            .chain(&export.outputs)
            .any(|port| is_short(port.onnx_type))
            || has_short_weights(&model);
        let single = graph::precision::in_single(&model).into_owned();
        if single != model {
            notes.push(format!("{file}: weights are turned into 32-bit reals"));
            model = single;
        }
        let tried = freed(engine, &export, model, (&original, original.batch()), &takes).map_err(one)?;
        notes.extend(tried.note);
        let ports = |values: Vec<Port>, name: &str| values.into_iter().find(|port| port.name == name);
        let (ins, outs) = ports_of(&tried.model);
        let takes = takes
            .into_iter()
            .filter_map(|taken| {
                Some(Taken {
                    port: ports(ins.clone(), &taken.port.name)?,
                    ..taken
                })
            })
            .collect();
        let gives = export.outputs.iter().enumerate().zip(found);
        let gives = gives
            .filter_map(|((place, port), found)| {
                Some(Given {
                    port: ports(outs.clone(), &port.name)?,
                    sizes: found.sizes,
                    place,
                })
            })
            .collect();
        Ok(Self {
            file,
            model: tried.model,
            takes,
            gives,
            original,
            one_at_a_time: tried.one_at_a_time,
            is_half,
            drawing: export.drawing,
            notes,
        })
    }
}

/// Inputs and outputs as a graph declares them now.
fn ports_of(model: &Model) -> (Vec<Port>, Vec<Port>) {
    let read = |values: &[crate::graph::protobuf::ValueInfo]| values.iter().filter_map(Port::read).collect();
    model
        .graph
        .as_ref()
        .map_or_else(Default::default, |graph| (read(&graph.inputs), read(&graph.outputs)))
}

fn is_short(onnx_type: i32) -> bool {
    matches!(onnx_type, 10 | 16)
}

fn has_short_weights(model: &Model) -> bool {
    let tensors = model.graph.iter().flat_map(|graph| &graph.initializers);
    tensors.filter_map(|tensor| tensor.data_type).any(is_short)
}

fn sizes(sizes: &[usize]) -> String {
    let sizes: String = sizes.iter().map(|size| format!(", {size}")).collect();
    format!("[N{sizes}]")
}

/// What each input is, by its type and its axes.
fn inputs(export: &Export, interview: &mut Interview) -> Result<Vec<Taken>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut takes: Vec<Taken> = Vec::new();
    let has_picture = export
        .inputs
        .iter()
        .any(|port| port.sizes.as_ref().is_some_and(|own| own.len() >= 3));
    for port in &export.inputs {
        let has_code = takes.iter().any(|taken| taken.takes == Takes::Code);
        match input(export, port, (has_picture, has_code), interview) {
            Ok((sizes, takes_it)) => takes.push(Taken {
                port: port.clone(),
                sizes,
                takes: takes_it,
            }),
            Err(problem) => problems.push(problem),
        }
    }
    if export.inputs.is_empty() {
        problems.push(Problem::new(
            &export.file,
            "it takes nothing",
            "export the network with its image or code as an input",
        ));
    }
    if problems.is_empty() { Ok(takes) } else { Err(problems) }
}

fn input(
    export: &Export,
    port: &Port,
    (has_picture, has_code): (bool, bool),
    interview: &mut Interview,
) -> Result<(Vec<usize>, Takes), Problem> {
    let problem = |what: String, cure: &str| Problem::new(&export.file, what, cure);
    let name = &port.name;
    let Some(axes) = &port.sizes else {
        return Err(problem(
            format!("its input {name:?} declares no axes"),
            "export it with an example of the shape [N, C, H, W]",
        ));
    };
    let of_labels = |sizes: Vec<usize>| (sizes, Takes::Label(labels_read(&export.model, name)));
    match (&axes[..], port.element) {
        ([], _) => Err(problem(
            format!("its input {name:?} is one number for the whole batch"),
            "export the network with that number inside, as a constant",
        )),
        ([_], Element::Integer) => Ok(of_labels(vec![])),
        ([_, Size::Fixed(1)], Element::Integer) => Ok(of_labels(vec![1])),
        ([_], _) => Err(problem(
            format!("its input {name:?} is one real number for each item, which no family has"),
            "export the network with that number inside, as a constant",
        )),
        ([_, Size::Fixed(size)], element) => {
            let looks_like_labels = ["label", "class", "cond", "onehot", "one_hot", "y", "c"]
                .iter()
                .any(|word| name.eq_ignore_ascii_case(word) || (word.len() > 3 && name.to_lowercase().contains(word)));
            if has_picture || (has_code && element == Element::Real) || (looks_like_labels && export.inputs.len() > 1) {
                return Ok((vec![*size], Takes::OneHot(*size)));
            }
            flat(export, name, *size, element, interview)
        }
        ([_, Size::Open(_)], _) => Err(problem(
            format!("its input {name:?} has a second axis of no fixed size"),
            "export it with only the first axis dynamic",
        )),
        ([_, sides @ ..], element) if sides.len() <= 3 => {
            let is_code = sides.len() == 3 && element == Element::Real && {
                let fixed: Vec<Option<usize>> = sides.iter().map(Size::fixed).collect();
                let is_picture = |size: Option<usize>| matches!(size, None | Some(1 | 3));
                fixed[1..] == [Some(1), Some(1)] || !(is_picture(fixed[0]) || is_picture(fixed[2]))
            };
            if is_code {
                let sizes: Vec<usize> = sides.iter().filter_map(Size::fixed).collect();
                if sizes.len() == 3 {
                    return Ok((sizes, Takes::Code));
                }
            }
            picture(export, port, sides, interview).map(|image| (sizes_of(image), Takes::Image(image)))
        }
        _ => Err(problem(
            format!("its input {name:?} has the shape {}", port.shown()),
            "images are [N, C, H, W], [N, H, W, C] or [N, H, W], codes [N, L] or [N, L, 1, 1]",
        )),
    }
}

/// Rows that an embedding of labels has.
fn labels_read(model: &Model, input: &str) -> Option<usize> {
    let graph = model.graph.as_ref()?;
    let mut at = vec![input.to_owned()];
    for node in &graph.nodes {
        let reads = |place: usize| node.inputs.get(place).is_some_and(|name| at.contains(name));
        match node.op_type() {
            "Cast" | "Identity" | "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" if reads(0) => {
                at.extend(node.outputs.iter().cloned());
            }
            "Gather" | "GatherND" if reads(1) => {
                let table = graph
                    .initializers
                    .iter()
                    .find(|tensor| tensor.name() == node.inputs[0])?;
                return usize::try_from(*table.dims.first()?).ok();
            }
            "OneHot" if reads(0) => {
                let depth = graph::weights::scalar(graph, node.inputs.get(1)?)?;
                return Some(depth as usize);
            }
            _ => {}
        }
    }
    None
}

/// A picture's number of channels and sides, if a flat image has so many numbers.
fn square(size: usize) -> Option<(usize, usize)> {
    [1, 3].into_iter().find_map(|channels| {
        let side = ((size / channels) as f64).sqrt().round() as usize;
        (side >= 2 && size == channels * side * side).then_some((channels, side))
    })
}

/// A row of numbers is a code, or an image without its axes.
fn flat(
    export: &Export,
    name: &str,
    size: usize,
    element: Element,
    interview: &mut Interview,
) -> Result<(Vec<usize>, Takes), Problem> {
    let problem = |what: String, cure: &str| Problem::new(&export.file, what, cure);
    let given = interview.given("size").map(|text| read_size(&text)).transpose();
    let given = given.map_err(|text| problem(format!("--size {text:?} is no size"), "write HxW or CxHxW"))?;
    let fits = given.and_then(|(channels, height, width)| {
        let channels = channels.or_else(|| Some(size / (height * width)).filter(|c| [1, 3].contains(c)));
        channels.map(|channels| (channels, height, width))
    });
    let fits = fits.filter(|(channels, height, width)| channels * height * width == size);
    let guess = fits.or_else(|| square(size).map(|(channels, side)| (channels, side, side)));
    let largest = export
        .outputs
        .iter()
        .filter_map(|port| {
            let sizes: Vec<usize> = port
                .sizes
                .as_ref()?
                .get(1..)?
                .iter()
                .map(Size::fixed)
                .collect::<Option<_>>()?;
            Some(sizes.iter().product::<usize>())
        })
        .max();
    let gives_pictures = export
        .outputs
        .iter()
        .any(|port| port.sizes.as_ref().is_some_and(|sizes| sizes.len() >= 4));
    let as_image = |(channels, height, width)| {
        let axes = Axes::Flat;
        (
            vec![size],
            Takes::Image(ImageForm {
                channels,
                height,
                width,
                axes,
            }),
        )
    };
    let Some(guess) = guess else {
        return Ok((vec![size], Takes::Code));
    };
    let shrinks = largest.is_some_and(|largest| largest < size || largest % size == 0 && largest > 0);
    let is_surely = element == Element::Integer || fits.is_some() || largest.is_some_and(|largest| largest == size);
    if gives_pictures && !is_surely {
        return Ok((vec![size], Takes::Code));
    }
    if is_surely {
        return Ok(as_image(guess));
    }
    let (channels, height, width) = guess;
    let key = format!("takes.{}", export.file);
    let likely = if shrinks { "image" } else { "code" };
    let answer = interview.ask(
        &key,
        format!(
            "{} takes {size} numbers as {name:?}: are they an image of {channels}×{height}×{width}, or a code?",
            export.file
        ),
        &[("image", "an image without its axes"), ("code", "a code")],
        likely,
    );
    Ok(if answer == "image" {
        as_image(guess)
    } else {
        (vec![size], Takes::Code)
    })
}

/// `28x28` or `3x32x32`.
pub fn read_size(text: &str) -> Result<(Option<usize>, usize, usize), String> {
    let parts: Result<Vec<usize>, _> = text.split(['x', '×']).map(|part| part.trim().parse()).collect();
    match parts.as_deref() {
        Ok([height, width]) if height * width > 0 => Ok((None, *height, *width)),
        Ok([channels, height, width]) if channels * height * width > 0 => Ok((Some(*channels), *height, *width)),
        _ => Err(text.to_owned()),
    }
}

/// The axes of images.
fn picture(export: &Export, port: &Port, sides: &[Size], interview: &mut Interview) -> Result<ImageForm, Problem> {
    let problem = |what: String, cure: &str| Problem::new(&export.file, what, cure);
    let name = &port.name;
    let asked = match interview.given("size") {
        Some(text) => Some(
            read_size(&text).map_err(|text| problem(format!("--size {text:?} is no size"), "write HxW or CxHxW"))?,
        ),
        None => None,
    };
    let fixed: Vec<Option<usize>> = sides.iter().map(Size::fixed).collect();
    let form = |channels, height, width, axes| ImageForm {
        channels,
        height,
        width,
        axes,
    };
    let open = || {
        problem(
            format!(
                "its input {name:?} of the shape {} leaves the size of images open",
                port.shown()
            ),
            "say which images it is for: --size HEIGHTxWIDTH",
        )
    };
    let image = match fixed[..] {
        [height, width] => {
            let (_, own_height, own_width) = asked.unwrap_or((None, 0, 0));
            let side = |fixed: Option<usize>, own: usize| fixed.or(Some(own).filter(|&own| own > 0)).ok_or_else(open);
            form(1, side(height, own_height)?, side(width, own_width)?, Axes::NoChannels)
        }
        [a, b, c] => {
            let (channels, own_height, own_width) = asked.unwrap_or((None, 0, 0));
            let is_channels = |size: Option<usize>| matches!(size, Some(1..=4));
            let last = match (is_channels(a), is_channels(c)) {
                (true, false) => false,
                (false, true) => true,
                (true, true) => {
                    interview.ask(
                        "axes",
                        format!(
                            "{} takes {} as {name:?}: which axis counts channels?",
                            export.file,
                            port.shown()
                        ),
                        &[("first", "[N, C, H, W]"), ("last", "[N, H, W, C]")],
                        "first",
                    ) == "last"
                }
                (false, false) => a.is_some() && c.is_none(),
            };
            let side = |fixed: Option<usize>, own: usize| fixed.or(Some(own).filter(|&own| own > 0)).ok_or_else(open);
            let count = |fixed: Option<usize>| {
                fixed.or(channels).ok_or_else(|| {
                    problem(
                        format!(
                            "its input {name:?} of the shape {} leaves the number of channels open",
                            port.shown()
                        ),
                        "say which images it is for: --size CHANNELSxHEIGHTxWIDTH",
                    )
                })
            };
            if last {
                form(count(c)?, side(a, own_height)?, side(b, own_width)?, Axes::ChannelsLast)
            } else {
                form(
                    count(a)?,
                    side(b, own_height)?,
                    side(c, own_width)?,
                    Axes::ChannelsFirst,
                )
            }
        }
        _ => return Err(open()),
    };
    if image.channels > 4 {
        return Err(problem(
            format!(
                "its input {name:?} of the shape {} has {} channels",
                port.shown(),
                image.channels
            ),
            "images have 1 to 4; if it is a code, export it as [N, L]",
        ));
    }
    Ok(image)
}

fn sizes_of(image: ImageForm) -> Vec<usize> {
    let ImageForm {
        channels,
        height,
        width,
        axes,
    } = image;
    match axes {
        Axes::ChannelsFirst => vec![channels, height, width],
        Axes::ChannelsLast => vec![height, width, channels],
        Axes::NoChannels => vec![height, width],
        Axes::Flat => vec![channels * height * width],
    }
}

/// Items that graphs are compared on: small numbers, so that integers are levels or labels of whatever has two.
fn trial(takes: &[Taken], items: usize) -> Vec<Vec<f32>> {
    takes
        .iter()
        .enumerate()
        .map(|(place, taken)| {
            let random = Random::new(place as u64, Stream::Probe, 1);
            let size: usize = taken.sizes.iter().product();
            let number = |index: usize| {
                let uniform = random.uniform(index as u32) as f32;
                match (taken.takes, taken.port.element) {
                    (Takes::Label(_), _) => 0.0,
                    (Takes::OneHot(classes), _) => f32::from(u8::from(index.is_multiple_of(classes))),
                    (Takes::Code, _) => 2.0 * uniform - 1.0,
                    (_, Element::Real) => uniform,
                    _ => (uniform * 2.0).floor(),
                }
            };
            (0..items * size).map(number).collect()
        })
        .collect()
}

/// Runs a probe on items; labels are 0 where there are fewer of them.
fn run(
    probe: &Probe,
    takes: &[Taken],
    numbers: &[Vec<f32>],
    labels: &[usize],
) -> Result<Vec<Found>, crate::runtime::RuntimeError> {
    let items = numbers.len();
    let label = |item: usize| labels.get(item).copied().unwrap_or_default();
    let inputs: Vec<Vec<f32>> = takes
        .iter()
        .map(|taken| match taken.takes {
            Takes::Image(_) | Takes::Code => numbers.concat(),
            Takes::Label(_) => (0..items).map(|item| label(item) as f32).collect(),
            Takes::OneHot(classes) => (0..items * classes)
                .map(|at| f32::from(u8::from(at % classes == label(at / classes))))
                .collect(),
        })
        .collect();
    probe.run(items, &inputs)
}

/// Sizes of a batch that a graph without a fixed one may have been exported with.
const BATCHES: [usize; 12] = [1, 2, 4, 8, 16, 32, 64, 3, 5, 10, 100, 128];

/// Makes the graph run as it is, and finds out what it gives.
fn original(engine: &dyn Engine, export: &Export, takes: &[Taken]) -> Result<(Probe, Vec<Found>), Problem> {
    let ports: Vec<(&Port, Vec<usize>)> = takes.iter().map(|taken| (&taken.port, taken.sizes.clone())).collect();
    let outputs: Vec<&Port> = export.outputs.iter().collect();
    let attempt = |model: &Model, batch: usize| {
        let probe = Probe::new(engine, &export.file, model, (&ports, &outputs), batch)?;
        let found = probe.run(batch, &trial(takes, batch))?;
        Ok::<_, crate::runtime::RuntimeError>((probe, found))
    };
    let batches = match export.batch {
        Some(batch) => vec![batch],
        None => BATCHES.to_vec(),
    };
    let mut first = None;
    for batch in batches {
        match attempt(&export.model, batch) {
            Ok(found) => return Ok(found),
            Err(error) => {
                // A processor may have no kernels for short reals; the same in 32 bits computes more exactly.
                let single = graph::precision::in_single(&export.model);
                if let std::borrow::Cow::Owned(single) = &single
                    && let Ok(found) = in_single(engine, export, single, takes, batch)
                {
                    return Ok(found);
                }
                first.get_or_insert(error);
            }
        }
    }
    let error = first.map(|error| error.to_string()).unwrap_or_default();
    Err(Problem::new(
        &export.file,
        format!("it does not run: {error}"),
        "export the network again, in evaluation mode, with an example that it takes",
    ))
}

fn in_single(
    engine: &dyn Engine,
    export: &Export,
    single: &Model,
    takes: &[Taken],
    batch: usize,
) -> Result<(Probe, Vec<Found>), crate::runtime::RuntimeError> {
    let (ins, outs) = ports_of(single);
    let inputs: Vec<(&Port, Vec<usize>)> = ins
        .iter()
        .zip(takes)
        .map(|(port, taken)| (port, taken.sizes.clone()))
        .collect();
    let outputs: Vec<&Port> = outs.iter().collect();
    let probe = Probe::new(engine, &export.file, single, (&inputs, &outputs), batch)?;
    let found = probe.run(batch, &trial(takes, batch))?;
    Ok((probe, found))
}

/// A graph whose batch is free, as far as that was possible.
struct Freed {
    model: Model,
    one_at_a_time: bool,
    note: Option<String>,
}

/// Items that are run together to see that the batch is free.
const TOGETHER: usize = 3;

/// Frees the batch and tries whether that kept what the graph computes.
fn freed(
    engine: &dyn Engine,
    export: &Export,
    model: Model,
    (original, batch): (&Probe, usize),
    takes: &[Taken],
) -> Result<Freed, Problem> {
    let is_fixed = export.batch.is_some() || batch > 1;
    let inputs = trial(takes, TOGETHER);
    let expected = original.run(TOGETHER, &inputs);
    let expected = expected.map_err(|error| Problem::new(&export.file, format!("it does not run: {error}"), ""))?;
    let mut loose = model.clone();
    loosen::batch(&mut loose, batch);
    let (plain, loosened) = (opened(&model), opened(&loose));
    // What is free already is let alone.
    let candidates = if is_fixed {
        vec![&loosened]
    } else {
        vec![&plain, &loosened]
    };
    let is_random = !export.drawing.is_empty();
    let (ins, outs) = ports_of(&model);
    let mut cause = String::new();
    let runs = |model: &Model, together: usize| -> Result<bool, String> {
        let inputs: Vec<(&Port, Vec<usize>)> = ins
            .iter()
            .filter_map(|port| {
                Some((
                    port,
                    takes.iter().find(|taken| taken.port.name == port.name)?.sizes.clone(),
                ))
            })
            .collect();
        let outputs: Vec<&Port> = outs.iter().collect();
        let probe =
            Probe::new(engine, &export.file, model, (&inputs, &outputs), together).map_err(|e| e.to_string())?;
        let found = probe
            .run(TOGETHER, &trial(takes, TOGETHER))
            .map_err(|e| e.to_string())?;
        Ok(is_random || agree(&expected, &found))
    };
    for (number, candidate) in candidates.iter().enumerate() {
        match runs(candidate, TOGETHER) {
            Ok(true) => {
                let is_changed = is_fixed || number > 0;
                return Ok(Freed {
                    model: (*candidate).clone(),
                    one_at_a_time: false,
                    note: is_changed.then(|| format!("{}: the batch, fixed at {batch}, is made free", export.file)),
                });
            }
            Ok(false) => "its numbers change with the number of images in a run".clone_into(&mut cause),
            Err(error) => cause = error,
        }
    }
    // The graph of one image, run so often.
    for candidate in [&plain, &loosened] {
        if matches!(runs(candidate, 1), Ok(true)) {
            return Ok(Freed {
                model: candidate.clone(),
                one_at_a_time: true,
                note: Some(format!(
                    "{}: its batch cannot be made free ({cause}), so it is run one image at a time, which is slower",
                    export.file
                )),
            });
        }
    }
    Err(Problem::new(
        &export.file,
        format!("it runs with {batch} images at a time only: {cause}"),
        "export it with a dynamic first axis (dynamic_axes={\"image\": {0: \"batch\"}, …}, or dynamic_shapes), and \
         with x.shape[0] or -1 instead of the size of the batch in its reshapes",
    ))
}

/// The graph with a first axis that may vary, as far as it declares one.
fn opened(model: &Model) -> Model {
    let mut model = model.clone();
    if let Some(graph) = &mut model.graph {
        graph.value_infos.clear();
        surgery::open_batch(graph);
    }
    model
}

/// Whether numbers agree but for rounding, of which there is more in 16 bits.
fn agree(expected: &[Found], found: &[Found]) -> bool {
    expected.iter().zip(found).all(|(expected, found)| {
        // What is not of items is needed by nobody.
        if expected.sizes.is_none() {
            return true;
        }
        expected.sizes == found.sizes
            && expected.rows.iter().zip(&found.rows).all(|(expected, found)| {
                let scale = expected.iter().fold(0.0f32, |max, value| max.max(value.abs()));
                let close =
                    |(a, b): (&f32, &f32)| a == b || (a - b).abs() <= 2e-2 * scale || (a.is_nan() && b.is_nan());
                expected.iter().zip(found).all(close)
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(read_size("28x28"), Ok((None, 28, 28)));
        assert_eq!(read_size("3×32x16"), Ok((Some(3), 32, 16)));
        assert!(read_size("28").is_err() && read_size("0x3").is_err());
        assert_eq!(square(784), Some((1, 28)));
        assert_eq!(square(3072), Some((3, 32)));
        assert_eq!(square(100), Some((1, 10)));
        assert_eq!(square(7), None);
    }
}
