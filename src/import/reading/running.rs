//! Running a graph as it was exported.

use std::collections::BTreeSet;

use super::{Taken, Takes};
use crate::{
    domain::random::{Random, Stream},
    graph::{
        self,
        protobuf::{Model, Node},
        surgery,
    },
    import::{
        Problem,
        export::{Element, Export, Port, Size},
        pixel_rows,
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
    let attempt = |batch: usize| {
        let probe = Probe::new(engine, &export.file, &export.model, (&ports, &outputs), batch)?;
        let found = probe.run(batch, &trial(takes, batch))?;
        Ok::<_, crate::runtime::RuntimeError>((probe, found))
    };
    // A processor may have no kernels for short reals; the same in 32 bits computes more exactly.
    let ran = |batch: usize| {
        attempt(batch).or_else(|error| {
            let single = graph::precision::in_single(&export.model);
            let ran = single.and_then(|single| in_single(engine, export, &single, takes, batch).ok());
            ran.ok_or(error)
        })
    };
    let batches = match export.batch {
        Some(batch) => vec![batch],
        None => BATCHES.to_vec(),
    };
    let mut first = None;
    for batch in batches {
        match ran(batch) {
            Ok(found) => return Ok(of_its_batch(export, found, |batch| ran(batch).ok())),
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    let error = first.map(|error| error.to_string()).unwrap_or_default();
    Err(missing(export, &error).unwrap_or_else(|| {
        let cure = if error.contains(MISTYPED) {
            "PyTorch's older exporter writes numbers of another type than the network makes: give torch.full or \
             torch.zeros the type that they are to have (dtype=torch.long), or export with dynamo=True"
        } else {
            "export the network again, in evaluation mode, with an example that it takes"
        };
        Problem::new(&export.file, format!("it does not run: {error}"), cure)
    }))
}

/// What ran with one image, or the same with the number of images that it was exported for: what it holds for each of
/// these, such as noise, goes with a single row, too, and makes as many rows of it.
fn of_its_batch(export: &Export, ran: Ran, attempt: impl Fn(usize) -> Option<Ran>) -> Ran {
    let (probe, found) = &ran;
    if export.batch.is_some() || probe.batch() != 1 {
        return ran;
    }
    let varying = export.model.graph.as_ref().map(surgery::varying).unwrap_or_default();
    let of_items = |found: &[Found]| found.iter().filter(|found| found.sizes.is_some()).count();
    let counts: BTreeSet<usize> = export
        .outputs
        .iter()
        .zip(found)
        .filter(|(port, found)| found.sizes.is_none() && varying.contains(&port.name))
        .filter_map(|(_, found)| found.first)
        .filter(|count| BATCHES.contains(count))
        .collect();
    let several = |count| attempt(count).filter(|(_, more)| of_items(more) > of_items(found));
    counts.into_iter().find_map(several).unwrap_or(ran)
}

/// What the runtime says where an operator is given numbers of a type that it does not take.
const MISTYPED: &str = "Type Error: Type '";

/// What the runtime says where it does not have an operator, or not for such numbers.
const MISSING: [&str; 5] = [
    "No Op registered for",
    "is not a registered function/op",
    "No opset import for domain",
    "No schema registered for",
    "Could not find an implementation for",
];

/// What is said of a graph with an operator that the runtime does not have, if that is why it does not run: exporters
/// write what they do not know as it is.
fn missing(export: &Export, error: &str) -> Option<Problem> {
    MISSING.iter().find(|words| error.contains(**words))?;
    let nodes = &export.model.graph.as_ref()?.nodes;
    let is_told = |word: &str| !word.is_empty() && error.split(['"', '\'', ' ', '(', ',', ':']).any(|own| own == word);
    let of_kind = |node: &&Node| is_told(node.op_type());
    let of_name = |node: &&Node| node.name.as_deref().is_some_and(is_told);
    let mut named = nodes.iter().filter(of_kind).filter(of_name);
    let node = named.next().or_else(|| nodes.iter().find(of_kind))?;
    let layer = node.name.as_deref().filter(|name| !name.is_empty());
    let layer = layer.or(node.outputs.first().map(String::as_str)).unwrap_or_default();
    let domain = match node.domain.as_deref() {
        None | Some("" | "ai.onnx") => "",
        Some(domain) => &format!(" of {domain:?}"),
    };
    Some(Problem::new(
        &export.file,
        format!(
            "it does not run: its layer {layer:?} is the operator {}{domain}, which the runtime does not have, or not \
             for such numbers",
            node.op_type()
        ),
        "exporters leave what they cannot write in operators of ONNX as it is: leave the layer out of the export if it \
         prepares images or reads labels out, else write it with other operations, of 32-bit reals",
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

/// The same with rows parted by images, if the graph gave a row for each pixel of all of them: where the batch varies,
/// a file does not tell how many rows there are.
pub(super) fn by_pixel(
    engine: &dyn Engine,
    export: &mut Export,
    takes: &[Taken],
    (probe, found): (&Probe, &[Found]),
) -> Option<Ran> {
    let image = takes.iter().find_map(Taken::image)?;
    let pixels = image.height * image.width;
    let rows = |(port, found): (&Port, &Found)| {
        let own = found.first.filter(|_| found.sizes.is_none())?;
        let own = own
            .checked_div(probe.batch())
            .filter(|rows| rows * probe.batch() == own)?;
        let &[numbers] = &found.behind[..] else {
            return None;
        };
        let is_of_pixels = pixels > 1 && (own == pixels || own == pixels * image.channels);
        is_of_pixels.then(|| (port.name.clone(), [own, numbers]))
    };
    let parted: Vec<(String, [usize; 2])> = export.outputs.iter().zip(found).filter_map(rows).collect();
    if parted.is_empty() {
        return None;
    }
    let mut own = export.clone();
    for (name, sizes) in parted {
        pixel_rows::part_named(&mut own.model, &name, sizes);
        let port = own.outputs.iter_mut().find(|port| port.name == name)?;
        let fixed = sizes.map(Size::Fixed);
        port.sizes = Some([Size::Open(String::new())].into_iter().chain(fixed).collect());
    }
    let ran = original(engine, &own, takes).ok()?;
    *export = own;
    Some(ran)
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
