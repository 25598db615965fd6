//! Running a graph as it was exported, and freeing its batch.

use super::{Batch, Taken, Takes};
use crate::{
    domain::random::{Random, Stream},
    graph::{self, dynamic_batch, protobuf::Model, surgery},
    import::{
        Problem,
        export::{Element, Export, Port},
        probe::{Found, Probe},
    },
    runtime::Engine,
};

/// Inputs and outputs as a graph declares them now.
pub(super) fn ports_of(model: &Model) -> (Vec<Port>, Vec<Port>) {
    let read = |values: &[crate::graph::protobuf::ValueInfo]| values.iter().filter_map(Port::read).collect();
    model
        .graph
        .as_ref()
        .map_or_else(Default::default, |graph| (read(&graph.inputs), read(&graph.outputs)))
}

/// Items that graphs are compared on: small numbers, so that integers are levels or labels of whatever has two.
pub(in crate::import) fn trial(takes: &[Taken], items: usize) -> Vec<Vec<f32>> {
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
pub(super) fn run(
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

/// A graph that runs, and what it gave.
type Ran = (Probe, Vec<Found>);

/// Makes the graph run as it is, and finds out what it gives.
pub(super) fn original(engine: &dyn Engine, export: &Export, takes: &[Taken]) -> Result<Ran, Problem> {
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
                if let Some(single) = graph::precision::in_single(&export.model)
                    && let Ok(found) = in_single(engine, export, &single, takes, batch)
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

/// The graph without one of its outputs, where that is what does not run: an exporter writes operators that it does not
/// know as they are, such as the draw of a code that nobody needs.
pub(super) fn without_one(engine: &dyn Engine, export: &Export, takes: &[Taken]) -> Option<(Export, String, Ran)> {
    let outputs = &export.model.graph.as_ref()?.outputs;
    if outputs.len() < 2 {
        return None;
    }
    export.outputs.iter().find_map(|left_out| {
        let mut rest = export.clone();
        rest.outputs.retain(|port| port.name != left_out.name);
        let kept = outputs.iter().filter(|value| value.name() != left_out.name);
        surgery::keep(&mut rest.model, kept.cloned().collect());
        rest.drawing = graph::random_nodes::nodes(&rest.model);
        let ran = original(engine, &rest, takes).ok()?;
        Some((rest, left_out.name.clone(), ran))
    })
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
pub(super) struct Freed {
    pub(super) model: Model,
    pub(super) batch: Batch,
    pub(super) note: Option<String>,
}

/// Items that are run together to see that the batch is free.
const TOGETHER: usize = 3;

/// Frees the batch and tries whether that kept what the graph computes.
pub(super) fn freed(
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
    dynamic_batch::batch(&mut loose, batch);
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
        if !is_random && !have_same_sizes(&expected, &found) {
            return Err("what it gives of several images has not a row for each".to_owned());
        }
        Ok(is_random || agree(&expected, &found))
    };
    let mut depends = false;
    for (number, candidate) in candidates.iter().enumerate() {
        match runs(candidate, TOGETHER) {
            Ok(true) => {
                // Whatever ran with several only, though nothing says how many they are.
                if export.batch.is_none()
                    && batch > 1
                    && let Err(error) = runs(candidate, 1)
                {
                    return Err(Problem::new(
                        &export.file,
                        format!("it runs on several images, but not on one: {error}"),
                        "an axis of one image goes with all others of size 1: name those that are meant, as in \
                         x.squeeze(2), and export it again",
                    ));
                }
                let is_changed = is_fixed || number > 0;
                return Ok(Freed {
                    model: (*candidate).clone(),
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
    // The graph of one image, run so often.
    for candidate in [&plain, &loosened] {
        if matches!(runs(candidate, 1), Ok(true)) {
            // The file takes any number of images and computes something over all of them. Where it takes one, the
            // numbers of an image alone are what it says.
            let is_mixed = depends && export.batch.is_none();
            return Ok(Freed {
                model: candidate.clone(),
                batch: if is_mixed { Batch::Mixed } else { Batch::One },
                note: (!is_mixed).then(|| {
                    format!(
                        "{}: its batch cannot be made free ({cause}), so it is run one image at a time, which is \
                         slower",
                        export.file
                    )
                }),
            });
        }
    }
    Err(Problem::new(
        &export.file,
        format!("it runs with {batch} images at a time only: {cause}"),
        "export it with a dynamic first axis (dynamic_axes={\"image\": {0: \"batch\"}, …}, or dynamic_shapes), and \
         with x.shape[0] or -1 instead of the size of the batch in its reshapes; where the batch is the second axis, \
         as transformers and recurrent layers have it by default, export a module whose forward does \
         net(x.T).transpose(0, 1)",
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
