//! PixelRNNs (van den Oord et al. 2016): one graph gives the logits and the state of one pixel from the states and
//! levels around it.

use serde::Deserialize;

use super::{
    Contract, Family, Gate, GateError, Proved, Tables,
    autoregressive::{Common, network, proof::Candidate},
    manifest::refuse,
};
use crate::graph::recurrence::{Names, Offset, Recurrence};

/// Autoregressive over pixels by recurrence: exact density.
#[derive(Debug)]
pub struct PixelRnn;

/// `[graphs]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Graphs {
    step: Step,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    file: String,
    states: String,
    levels: String,
    inside: String,
    row: String,
    column: String,
    state: String,
    output: String,
}

/// `[recurrence]`. Places are [dy, dx]: rows down, columns to the right.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecurrenceTable {
    state_size: usize,
    neighbours: Vec<Vec<i64>>,
    window: Vec<Vec<i64>>,
}

#[derive(Debug)]
struct Own {
    file: String,
    contract: network::StepContract,
    common: Common,
}

impl Family for PixelRnn {
    fn name(&self) -> &'static str {
        "pixelrnn"
    }

    fn read(&self, tables: &mut Tables) -> Result<Box<dyn Contract>, String> {
        let step = tables.needed::<Graphs>("graphs")?.step;
        let map = tables.input_map()?;
        let common = Common::read(tables, None)?;
        let contract = network::StepContract {
            shape: tables.shape(),
            head: common.head,
            map,
            names: Names {
                states: step.states,
                levels: step.levels,
                inside: step.inside,
                row: step.row,
                column: step.column,
                state: step.state,
                logits: step.output,
            },
            recurrence: recurrence(tables)?,
        };
        Ok(Box::new(Own {
            file: step.file,
            contract,
            common,
        }))
    }
}

fn recurrence(tables: &mut Tables) -> Result<Recurrence, String> {
    let shape = tables.shape();
    refuse(shape.channels() != 1, || {
        format!(
            "image.channels: a pixelrnn has images of 1 channel, not of {}",
            shape.channels()
        )
    })?;
    let table: RecurrenceTable = tables.needed("recurrence")?;
    let neighbours = offsets("neighbours", &table.neighbours)?;
    let window = offsets("window", &table.window)?;
    Recurrence::new(shape, table.state_size, neighbours, window).map_err(|error| format!("recurrence.{error}"))
}

fn offsets(list: &str, places: &[Vec<i64>]) -> Result<Vec<Offset>, String> {
    places
        .iter()
        .map(|place| match place[..] {
            [dy, dx] => Ok(Offset { dy, dx }),
            _ => Err(format!("recurrence.{list}: {place:?} is not [dy, dx]")),
        })
        .collect()
}

impl Contract for Own {
    fn graphs(&self) -> Vec<&str> {
        vec![&self.file]
    }

    fn files(&self) -> Vec<&str> {
        self.common.files()
    }

    fn declarable(&self) -> &'static [&'static str] {
        if self.common.head == network::Head::LogisticMixture {
            // Parameters are not a form of probabilities.
            return &["mixture"];
        }
        &["logits"]
    }

    fn prove(&self, gate: &mut Gate<'_>) -> Result<Proved, GateError> {
        let recurrence = &self.contract.recurrence;
        let causal = format!(
            "no prediction can see its own or a later dimension: the {} states and {} levels that a step reads all \
             come before its pixel, and a golden image gets the same predictions alone and in company",
            recurrence.neighbours().len(),
            recurrence.window().len()
        );
        let candidate = Candidate {
            file: &self.file,
            output: &self.contract.names.logits,
            input: None,
            contract: format!("{:?}", self.contract),
            common: &self.common,
        };
        // Its scores, too, are many small runs.
        let (engine, name) = (gate.reference_engine(), gate.label());
        let load = |graph| network::Network::load_step(&*engine, &name, &graph, &self.contract);
        candidate.prove(gate, load, Some(&causal))
    }
}
