//! PixelCNNs (van den Oord et al. 2016): one graph, masked convolutions, gives the logits of all pixels of an image at
//! once.

mod import;

use serde::Deserialize;

use super::{
    Contract, Family, Gate, GateError, Proved, Tables,
    autoregressive::{Common, network, proof::Candidate},
    import::{Mismatch, Plan},
    manifest::label_input,
};
use crate::import::{interview::Interview, reading::Reading};

/// Autoregressive over pixels by masked convolutions: exact density.
#[derive(Debug)]
pub struct PixelCnn;

/// `[graphs]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Graphs {
    logits: Logits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Logits {
    file: String,
    input: String,
    output: String,
    label: Option<String>,
}

#[derive(Debug)]
struct Own {
    file: String,
    contract: network::Contract,
    common: Common,
}

impl Family for PixelCnn {
    fn name(&self) -> &'static str {
        "pixelcnn"
    }

    fn read(&self, tables: &mut Tables) -> Result<Box<dyn Contract>, String> {
        let Logits {
            file,
            input,
            output,
            label,
        } = tables.needed::<Graphs>("graphs")?.logits;
        let labels = tables.labels()?;
        let label = label_input(label, labels.as_ref(), "graphs.logits")?;
        let map = tables.input_map()?;
        let common = Common::read(tables, labels)?;
        let contract = network::Contract {
            shape: tables.shape(),
            head: common.head,
            map,
            input,
            output,
            label,
        };
        Ok(Box::new(Own { file, contract, common }))
    }

    fn gives(&self) -> &'static str {
        "each pixel is predicted by those before it"
    }

    fn import<'a>(&self, brought: &'a [Reading], interview: &mut Interview) -> Result<Plan<'a>, Mismatch> {
        import::import(brought, interview)
    }
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
            return &["mixture", "input", "batch"];
        }
        &["logits", "input", "batch"]
    }

    fn prove(&self, gate: &mut Gate<'_>) -> Result<Proved, GateError> {
        let candidate = Candidate {
            file: &self.file,
            output: &self.contract.output,
            input: Some((&self.contract.input, self.contract.map.largest_scale())),
            contract: format!("{:?}", self.contract),
            common: &self.common,
        };
        let (engine, name) = (gate.engine(), gate.label());
        let load = |graph| network::Network::load(&*engine, &name, graph, self.contract.clone());
        candidate.prove(gate, load, None)
    }
}
