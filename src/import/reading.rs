//! What an exported graph takes and gives: found out from the file, and where that does not tell, by running it.

mod branches;
mod freeing;
mod inputs;
mod remembered;
mod running;

pub use self::inputs::{SaidSize, inputs, said_size};
pub(super) use self::running::trial;
use self::{
    freeing::freed,
    remembered::Remembered,
    running::{by_pixel, original, ports_of, run, without_one},
};
use super::{
    Problem,
    export::{Export, Port},
    probe::{Found, Probe},
};
use crate::{
    graph::{
        self,
        protobuf::{Graph, Model},
        upgrade,
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

/// How many items a graph runs on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// Any number, each of which has the numbers that it has alone.
    Free,
    /// One: the file says so, or fails on several.
    One,
    /// Any number, but items have other numbers in other company.
    Mixed,
}

/// An input and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone)]
pub struct Reading {
    /// Name of the file.
    pub file: String,
    /// The graph in operators that the server reads, 32-bit reals, its batch free if it can be.
    pub model: Model,
    /// Its inputs.
    pub takes: Vec<Taken>,
    /// Its outputs.
    pub gives: Vec<Given>,
    /// The graph as it was exported, to compare with.
    pub original: Probe,
    /// How many items it runs on at once.
    pub batch: Batch,
    /// Whether numbers of the original are of 16 bits.
    pub is_half: bool,
    /// Nodes that draw random numbers.
    pub drawing: Vec<String>,
    /// What was done to it, in sentences.
    pub notes: Vec<String>,
    remembered: Remembered,
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
        let anew = || {
            run(&self.original, &self.takes, numbers, labels).map_err(|error| {
                Problem::new(
                    &self.file,
                    format!("it does not run: {error}"),
                    "export the network again",
                )
            })
        };
        // What draws gives others each time.
        if self.drawing.is_empty() {
            self.remembered.once(numbers, labels, anew)
        } else {
            anew()
        }
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

    /// Finds out what a graph gives that takes these [`inputs`]. All problems of the file are told together.
    pub fn taking(engine: &dyn Engine, export: Export, takes: Vec<Taken>) -> Result<Self, Vec<Problem>> {
        let file = export.file.clone();
        let mut notes = done_at_reading(&export);
        let one = |problem: Problem| vec![problem];
        let mut export = export;
        let items = export.batch.unwrap_or(freeing::TOGETHER);
        if let Some(named) = branches::named(engine, &export.model, &takes, items) {
            export.model = named;
            notes.push(format!(
                "{file}: where it leaves out axes of size 1 without naming them, the batch is none of them"
            ));
        }
        let (original, found) = match original(engine, &export, &takes) {
            Ok(both) => both,
            Err(problem) => {
                let (rest, left_out, both) = without_one(engine, &export, &takes).ok_or_else(|| one(problem))?;
                notes.push(format!(
                    "{file}: its output {left_out:?} cannot be run here and is left out"
                ));
                export = rest;
                both
            }
        };
        let (original, found) = match by_pixel(engine, &mut export, &takes, (&original, &found)) {
            Some(both) => {
                notes.push(by_pixel_note(&file));
                both
            }
            None => (original, found),
        };
        let is_half = export
            .inputs
            .iter()
            .chain(&export.outputs)
            .any(|port| is_short(port.onnx_type))
            || has_short_weights(&export.model);
        let model = current(&export, &mut notes).map_err(one)?;
        let tried = freed(engine, &export, &model, (&original, original.batch()), &takes).map_err(one)?;
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
        let gives: Vec<Given> = gives
            .filter_map(|((place, port), found)| {
                Some(Given {
                    port: ports(outs.clone(), &port.name)?,
                    sizes: found.sizes,
                    place,
                })
            })
            .collect();
        if gives.iter().all(|given| given.sizes.is_none()) {
            return Err(one(no_rows(&file, &gives)));
        }
        Ok(Self {
            file,
            model: tried.model,
            takes,
            gives,
            original,
            batch: tried.batch,
            is_half,
            drawing: export.drawing,
            notes,
            remembered: Remembered::default(),
        })
    }
}

/// What was done to a file as it was read, in sentences.
fn done_at_reading(export: &Export) -> Vec<String> {
    let file = &export.file;
    let mut notes = Vec::new();
    if !export.beside.is_empty() {
        notes.push(format!(
            "{file}: weights out of {} are put into the graph",
            export.beside.join(", ")
        ));
    }
    if export.was_second {
        notes.push(format!("{file}: the batch, its second axis, is put first"));
    }
    if export.was_by_pixel {
        notes.push(by_pixel_note(file));
    }
    notes
}

fn by_pixel_note(file: &str) -> String {
    format!("{file}: its rows for each pixel of all images are parted by images")
}

/// The graph in the operators of today and in 32-bit reals, and notes of what that changed.
fn current(export: &Export, notes: &mut Vec<String>) -> Result<Model, Problem> {
    let file = &export.file;
    let mut model = export.model.clone();
    let opset = model.opset();
    if upgrade::to_current(&mut model).map_err(|error| Problem::new(file, error.to_string(), ""))? {
        notes.push(format!(
            "{file}: operators of version {opset} are written as version {}",
            upgrade::VERSION
        ));
    }
    if let Some(single) = graph::precision::in_single(&model) {
        notes.push(format!("{file}: weights are turned into 32-bit reals"));
        model = single;
    }
    Ok(model)
}

/// What is said of a graph that gives nothing of single images.
fn no_rows(file: &str, gives: &[Given]) -> Problem {
    let names: Vec<String> = gives.iter().map(|given| format!("{:?}", given.port.name)).collect();
    Problem::new(
        file,
        format!(
            "nothing that it gives ({}) has a row for each image of a batch: a loss over the batch has not, nor have \
             rows for each pixel",
            names.join(", ")
        ),
        "export what the network predicts rather than its loss, with the batch as the first axis: \
         out.view(x.shape[0], …)",
    )
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
