//! Freeing the batch of a graph: what was exported for a fixed number of images takes any number of them.

use super::{
    Batch, Taken,
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
const TOGETHER: usize = 3;

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
    let (mut loose, mut behind) = (model.clone(), model.clone());
    dynamic_batch::batch(&mut loose, batch);
    let image = takes.iter().find_map(Taken::image);
    dynamic_batch::batch_behind(&mut behind, batch, image.map_or(0, |image| image.height * image.width));
    let (plain, loose, behind) = (opened(model), opened(&loose), opened(&behind));
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
    let candidates = [(&plain, false), (&loose, true)].into_iter();
    let candidates = candidates.chain((behind != loose).then_some((&behind, true)));
    for (candidate, is_changed) in candidates.skip(usize::from(is_fixed)) {
        match trials.agrees(candidate, TOGETHER) {
            Ok(true) => {
                if export.batch.is_none() && batch > 1 {
                    trials.runs_on_one(candidate)?;
                }
                return Ok(Freed {
                    model: candidate.clone(),
                    batch: Batch::Free,
                    note: is_changed.then(|| format!("{}: the batch, fixed at {batch}, is made free", export.file)),
                });
            }
            Ok(false) => {
                depends = true;
                "its numbers change with the images in a run".clone_into(&mut cause);
            }
            Err(error) => cause = error,
        }
    }
    let alone = [&plain, &loose]
        .into_iter()
        .find(|candidate| matches!(trials.agrees(candidate, 1), Ok(true)));
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
                "an axis of one image goes with all others of size 1: name those that are meant, as in x.squeeze(2), \
                 and export it again",
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
         net(x.T).transpose(0, 1)",
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
