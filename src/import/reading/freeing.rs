//! Freeing the batch of a graph: what was exported for a fixed number of images takes any number of them.

use std::collections::BTreeSet;

use super::{
    Batch, Taken, branches,
    running::{ports_of, trial},
};
use crate::{
    graph::{dynamic_batch, protobuf::Model, surgery},
    import::{
        Problem,
        export::{Export, Port},
        probe::{Found, Probe},
    },
    runtime::Engine,
};

/// A graph whose batch is free, as far as that was possible.
pub(super) struct Freed {
    pub(super) model: Model,
    pub(super) batch: Batch,
    pub(super) note: Option<String>,
}

/// Items that are run together to see that the batch is free.
pub(super) const TOGETHER: usize = 3;

/// Frees the batch of `model`, the export's graph in the operators and types of today, and tries whether that kept what
/// the graph computes. `batch` is the number of images that the original ran with.
pub(super) fn freed(
    engine: &dyn Engine,
    export: &Export,
    model: &Model,
    (original, batch): (&Probe, usize),
    takes: &[Taken],
) -> Result<Freed, Problem> {
    let expected = original.run(TOGETHER, &trial(takes, TOGETHER));
    let expected = expected.map_err(|error| Problem::new(&export.file, format!("it does not run: {error}"), ""))?;
    // A file that takes one image only says nothing of several.
    let several = export
        .batch
        .map_or(Some(batch.max(TOGETHER)), |batch| (batch > 1).then_some(batch));
    let several = several.and_then(|items| branches::decided(engine, model, takes, items));
    let image = takes.iter().find_map(Taken::image);
    let pixels = image.map_or(0, |image| image.height * image.width);
    let candidates = candidates(model, several, batch, pixels);
    let trials = Trials {
        engine,
        export,
        takes,
        ports: ports_of(model),
        expected,
    };
    let is_fixed = export.batch.is_some() || batch > 1;
    let mut cause = String::new();
    let mut depends = false;
    // What is free already is let alone.
    for (way, candidate) in candidates.iter().skip(usize::from(is_fixed)) {
        match trials.agrees(candidate, TOGETHER) {
            Ok(true) => {
                if batch > 1 {
                    trials.runs_on_one(candidate)?;
                }
                return Ok(Freed {
                    model: candidate.clone(),
                    batch: Batch::Free,
                    note: way.told(batch).map(|told| format!("{}: {told}", export.file)),
                });
            }
            Ok(false) => {
                depends = true;
                "its numbers change with the images in a run".clone_into(&mut cause);
            }
            Err(error) => cause = error,
        }
    }
    let as_it_is = candidates
        .iter()
        .filter(|(way, _)| matches!(way, Way::Plain | Way::Loose));
    let mut as_it_is = as_it_is.map(|(_, candidate)| candidate);
    let alone = as_it_is.find(|candidate| matches!(trials.agrees(candidate, 1), Ok(true)));
    let Some(alone) = alone else {
        return Err(never_alone(export, batch, &cause));
    };
    // The file takes any number of images and computes something over all of them. Where it takes one, the numbers of
    // an image alone are what it says.
    let is_mixed = depends && export.batch.is_none();
    let slower = || {
        format!(
            "{}: its batch cannot be made free ({cause}), so it is run one image at a time, which is slower",
            export.file
        )
    };
    Ok(Freed {
        model: alone.clone(),
        batch: if is_mixed { Batch::Mixed } else { Batch::One },
        note: (!is_mixed).then(slower),
    })
}

/// How the batch of a graph is freed.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// It is free already.
    Plain,
    /// What holds the size of the example follows the batch, and branches do what they do for several images.
    Several,
    /// What holds the size of the example follows the batch.
    Loose,
    /// The same where a sequence stands before the batch.
    Behind,
}

impl Way {
    /// What is told of it.
    fn told(self, batch: usize) -> Option<String> {
        match self {
            Self::Plain => None,
            Self::Several => Some("where it asks how many images it is given, it does what it does for several".into()),
            Self::Loose | Self::Behind => Some(format!("the batch, fixed at {batch}, is made free")),
        }
    }
}

/// Ways to free the batch, in the order in which they are tried, and the graphs that come of them.
fn candidates(model: &Model, several: Option<Model>, batch: usize, pixels: usize) -> Vec<(Way, Model)> {
    let mut loose = model.clone();
    let mut candidates = vec![(Way::Plain, opened(model))];
    if let Some(mut several) = several {
        dynamic_batch::batch(&mut several, batch);
        candidates.push((Way::Several, opened(&several)));
    }
    dynamic_batch::batch(&mut loose, batch);
    candidates.push((Way::Loose, opened(&loose)));
    // A sequence is one of pixels, or of what the graph makes of them, such as patches.
    let of_graph = if batch > 1 {
        dynamic_batch::lengths(model, batch)
    } else {
        Vec::new()
    };
    let lengths = [pixels].into_iter().chain(of_graph);
    for length in lengths.collect::<BTreeSet<_>>() {
        let mut behind = model.clone();
        dynamic_batch::batch_behind(&mut behind, batch, length);
        if behind != loose {
            candidates.push((Way::Behind, opened(&behind)));
        }
    }
    let mut parts = model.clone();
    dynamic_batch::batch_of_parts(&mut parts, batch);
    if batch > 1 && parts != loose {
        candidates.push((Way::Loose, opened(&parts)));
    }
    candidates
}

/// What candidates are compared with.
struct Trials<'a> {
    engine: &'a dyn Engine,
    export: &'a Export,
    takes: &'a [Taken],
    ports: (Vec<Port>, Vec<Port>),
    expected: Vec<Found>,
}

impl Trials<'_> {
    /// Whether a graph that is given so many images in a run computes what the original does. Of what draws random
    /// numbers it is enough that it runs.
    fn agrees(&self, model: &Model, together: usize) -> Result<bool, String> {
        let (ins, outs) = &self.ports;
        let sizes = |port: &Port| {
            let taken = self.takes.iter().find(|taken| taken.port.name == port.name);
            taken.map(|taken| taken.sizes.clone())
        };
        let inputs: Vec<(&Port, Vec<usize>)> = ins.iter().filter_map(|port| Some((port, sizes(port)?))).collect();
        let outputs: Vec<&Port> = outs.iter().collect();
        let found = Probe::new(self.engine, &self.export.file, model, (&inputs, &outputs), together)
            .and_then(|probe| probe.run(TOGETHER, &trial(self.takes, TOGETHER)))
            .map_err(|error| error.to_string())?;
        if !self.export.drawing.is_empty() {
            return Ok(true);
        }
        if !have_same_sizes(&self.expected, &found) {
            return Err("what it gives of several images has not a row for each".to_owned());
        }
        Ok(agree(&self.expected, &found))
    }

    /// Refuses what ran with several images only, though nothing in the file says how many they are.
    fn runs_on_one(&self, model: &Model) -> Result<(), Problem> {
        self.agrees(model, 1).map(drop).map_err(|error| {
            Problem::new(
                &self.export.file,
                format!("it runs on several images, but not on one: {error}"),
                "it does other things with a batch of one: name the axes that are meant, as in x.squeeze(2), keep the \
                 batch out of squeeze(0) and of conditions, and export it again",
            )
        })
    }
}

fn never_alone(export: &Export, batch: usize, cause: &str) -> Problem {
    Problem::new(
        &export.file,
        format!("it runs with {batch} images at a time only: {cause}"),
        "export it with a dynamic first axis (dynamic_axes={\"image\": {0: \"batch\"}, …}, or dynamic_shapes), and \
         with x.shape[0] or -1 instead of the size of the batch in its reshapes; where the batch is the second axis, \
         as transformers and recurrent layers have it by default, export a module whose forward does \
         net(x.T).transpose(0, 1). What was exported with an example of one image can be served one image at a time",
    )
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

/// Outputs in two runs. What is not of items is needed by nobody.
fn of_items<'a>(expected: &'a [Found], found: &'a [Found]) -> impl Iterator<Item = (&'a Found, &'a Found)> {
    expected
        .iter()
        .zip(found)
        .filter(|(expected, _)| expected.sizes.is_some())
}

fn have_same_sizes(expected: &[Found], found: &[Found]) -> bool {
    of_items(expected, found).all(|(expected, found)| expected.sizes == found.sizes)
}

/// Whether numbers agree but for rounding, of which there is more in 16 bits.
fn agree(expected: &[Found], found: &[Found]) -> bool {
    of_items(expected, found).all(|(expected, found)| {
        expected.rows.iter().zip(&found.rows).all(|(expected, found)| {
            let scale = expected.iter().fold(0.0f32, |max, value| max.max(value.abs()));
            let close = |(a, b): (&f32, &f32)| a == b || (a - b).abs() <= 2e-2 * scale || (a.is_nan() && b.is_nan());
            expected.iter().zip(found).all(close)
        })
    })
}
