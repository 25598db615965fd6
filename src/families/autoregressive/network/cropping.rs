//! Running a graph of whole images without the zeros of its masks, and the proof that this says the same.

use std::{fmt, sync::Arc};

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
    runtime::{Engine, Input, Program, Threads, Values},
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

/// What is to be run in place of a graph.
pub(super) struct Run {
    pub(super) model: Model,
    /// Gives its logits of levels.
    pub(super) program: Option<Arc<dyn Program>>,
    /// What was done to it, if there was anything to crop.
    pub(super) cropping: Option<Cropping>,
}

/// The graph to be run. A cropped graph whose logits are not those of the given one is not taken; only values that are
/// not finite could make such a difference. Neither is one that cannot be tried: what is wrong with it will be said
/// where it is run in earnest.
pub(super) fn cropped(engine: &dyn Engine, name: &str, model: Model, contract: &Contract) -> Run {
    let as_given = |model, cropping| Run {
        model,
        program: None,
        cropping,
    };
    let Some((cropped, counts)) = crop(engine, name, &model) else {
        return as_given(model, None);
    };
    let tried = |model: &Model| {
        let program = program(engine, name, model.clone(), contract)?;
        Some((logits_of_probes(&*program, contract)?, program))
    };
    // One after the other: each holds its weights.
    let Some((expected, _)) = tried(&model) else {
        return as_given(model, None);
    };
    let Some((actual, program)) = tried(&cropped) else {
        return as_given(model, None);
    };
    let mut agreement = Agreement::default();
    for (&actual, &expected) in actual.iter().zip(&expected) {
        agreement.see(actual, expected);
    }
    let cropping = Some(Cropping { counts, agreement });
    if !agreement.holds() {
        return as_given(model, cropping);
    }
    Run {
        model: cropped,
        program: Some(program),
        cropping,
    }
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

/// Gives the logits of levels.
fn program(engine: &dyn Engine, name: &str, model: Model, contract: &Contract) -> Option<Arc<dyn Program>> {
    let graph = rewrite::take_levels(model, &contract.input, contract.shape, contract.map).ok()?;
    engine.load_model(name, graph).ok()
}

fn logits_of_probes(program: &dyn Program, contract: &Contract) -> Option<Vec<f32>> {
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
    let outputs = program.run(&inputs, &[&contract.output], Threads::One);
    Some(outputs.ok()?.swap_remove(0).values)
}
