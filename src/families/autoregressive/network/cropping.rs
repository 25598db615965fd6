//! Running a graph of whole images without the zeros of its masks, and the proof that this says the same.

use std::fmt;

use super::{Contract, agreement::Agreement};
use crate::{
    domain::random::{Random, Stream},
    families::network::{batch_shape, levels_input},
    graph::{
        self,
        crop::{self, Cropped},
        protobuf::Model,
        rewrite,
    },
    runtime::{Engine, Input, Threads, Values},
};

/// Images of random levels on which a cropped graph is compared with the one that was given.
const PROBES: usize = 2;

/// What cropping made of a graph.
#[derive(Debug, Clone, Copy)]
pub struct Cropping {
    counts: Cropped,
    agreement: Agreement,
}

impl fmt::Display for Cropping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let difference = self.agreement.difference();
        if self.agreement.holds() {
            let counts = &self.counts;
            write!(
                f,
                "{counts}; the logits of random images move by {difference:.1e} at most"
            )
        } else {
            write!(
                f,
                "zeros of kernels are computed: without them the logits of random images would move by {difference:.1e}"
            )
        }
    }
}

/// The graph to be run, and what was done to it if there was anything to crop. A cropped graph whose logits are not
/// those of the given one is not taken; only values that are not finite could make such a difference. Neither is one
/// that cannot be tried: what is wrong with it will be said where it is run in earnest.
pub(super) fn cropped(engine: &dyn Engine, name: &str, model: Model, contract: &Contract) -> (Model, Option<Cropping>) {
    let Some((cropped, counts)) = crop(engine, name, &model) else {
        return (model, None);
    };
    let logits = |model: &Model| logits_of_probes(engine, name, model.clone(), contract);
    let (Some(expected), Some(actual)) = (logits(&model), logits(&cropped)) else {
        return (model, None);
    };
    let mut agreement = Agreement::default();
    for (&actual, &expected) in actual.iter().zip(&expected) {
        agreement.see(actual, expected);
    }
    let model = if agreement.holds() { cropped } else { model };
    (model, Some(Cropping { counts, agreement }))
}

/// The cropped graph; `None` if there is nothing to crop. Masks that are multiplied in when the graph runs are folded
/// first.
fn crop(engine: &dyn Engine, name: &str, model: &Model) -> Option<(Model, Cropped)> {
    let mut model = if crop::computes_kernels(model) {
        let folded = engine.simplify(name, &graph::serialize(model)).ok()?;
        graph::parse(&folded).ok()?
    } else {
        model.clone()
    };
    let counts = crop::crop(&mut model);
    (counts.cropped > 0).then_some((model, counts))
}

fn logits_of_probes(engine: &dyn Engine, name: &str, model: Model, contract: &Contract) -> Option<Vec<f32>> {
    let shape = contract.shape;
    let levels: Vec<u8> = (0..PROBES)
        .flat_map(|image| {
            let random = Random::new(0, Stream::Probe, image as u64);
            let level = move |index| (random.uniform(index) * shape.levels() as f64) as u8;
            (0..shape.dimensions() as u32).map(level)
        })
        .collect();
    let sizes = batch_shape(shape, PROBES);
    let mut inputs = vec![levels_input(&levels, &sizes)];
    inputs.extend(contract.label.as_ref().map(|label| Input {
        name: &label.input,
        shape: &[PROBES],
        values: Values::Ints(&[0; PROBES]),
    }));
    let graph = rewrite::take_levels(model, &contract.input, shape, contract.map).ok()?;
    let program = engine.load_model(name, graph).ok()?;
    let outputs = program.run(&inputs, &[&contract.output], Threads::One);
    Some(outputs.ok()?.swap_remove(0).values)
}
