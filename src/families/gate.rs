//! The load gate: what a version must prove before it serves.
//!
//! In order: the manifest is valid, hashes are right, graphs keep their contract and run, an autoregressive graph is
//! causal and its scores are its own normalised predictions, and golden scores are reproduced.

pub(super) mod batch_independence;
mod device;
mod error;
mod files;
mod golden;
mod proof;
mod settings;
mod trials;
pub(super) mod units;

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};

use self::{device::Comparison, proof::Case, units::Suspicion};
pub use self::{
    error::{GateError, Undeclared},
    proof::{Found, Lookup, prove, prove_apart},
    settings::GateSettings,
};

use super::{
    NetworkError, Resources,
    findings::{Findings, Settled},
    manifest::{Declared, MANIFEST, Manifest, placement},
};
use crate::{
    detection::calibrated_on::CalibratedOn,
    model::{Model, info::Check},
    runtime::{Engine, Placement, RuntimeError, one_at_a_time::OneAtATime, one_thread::OneThread},
};

/// The name of checks that found what is no reason to refuse a version.
const WARNING: &str = "warning";

/// The name of what was taken for granted at import, which no check can tell.
pub const ASSUMED: &str = "assumed";

/// The name of the finding whether graphs keep to one thread.
const ONE_THREAD: &str = "one thread";

/// A load gate at work on one version.
pub struct Gate<'a> {
    case: Case<'a>,
    findings: &'a mut Findings,
    checks: Vec<Check>,
    /// Files that graphs name.
    beside: Vec<String>,
    /// Those of them that the manifest has no hashes of, with theirs.
    unlisted: BTreeMap<String, String>,
    /// What numbers look like, each with its file.
    suspicions: Vec<(String, Suspicion)>,
    /// Nodes of all graphs that draw, on the way to what is read.
    drawing: Vec<String>,
    /// Whether a graph can tell how many images share a run.
    knows_batch_size: bool,
    /// Whether graphs keep to one thread, for what several would make of company.
    one_thread: OneThread,
    /// Weights of all graphs.
    weights: u64,
    /// The images behind its calibration, as far as they are known.
    calibrated_on: Option<CalibratedOn>,
    /// Where its numbers are computed, as far as it has asked for engines and members.
    placement: Cell<Placement>,
    /// The golden numbers of the same version at the reference, where this is not the reference.
    comparison: Option<Comparison>,
    /// Whether this is that comparison: the version itself is proved after it.
    is_comparison: bool,
    /// The golden numbers that it gave.
    numbers: Vec<Vec<f64>>,
}

impl<'a> Gate<'a> {
    fn new(case: Case<'a>, findings: &'a mut Findings) -> Self {
        let one_thread = OneThread::default();
        one_thread.keep(findings.get(ONE_THREAD).is_some_and(|known| known.value));
        Self {
            case,
            findings,
            checks: Vec::new(),
            beside: Vec::new(),
            unlisted: BTreeMap::new(),
            suspicions: Vec::new(),
            drawing: Vec::new(),
            knows_batch_size: false,
            one_thread,
            weights: 0,
            calibrated_on: None,
            placement: Cell::new(Placement::REFERENCE),
            comparison: None,
            is_comparison: false,
            numbers: Vec::new(),
        }
    }

    /// What the manifest says.
    pub fn manifest(&self) -> &'a Manifest {
        &self.case.snapshot.manifest
    }

    /// The version's number.
    pub fn version(&self) -> u32 {
        self.case.version
    }

    /// Name and number of the version, for messages.
    pub fn label(&self) -> String {
        format!("{} version {}", self.manifest().name, self.case.version)
    }

    /// sha256 of the manifest in hexadecimal digits.
    pub fn fingerprint(&self) -> &'a str {
        &self.case.snapshot.fingerprint
    }

    /// What identifies the numbers that the version computes, see [`Model::identity`].
    pub fn identity(&self) -> String {
        let unlisted = self.unlisted.values().map(String::as_str);
        let graphs = self.manifest().graphs_sha256(unlisted);
        graphs.unwrap_or_else(|| self.fingerprint().to_owned())
    }

    /// sha256 of a graph and of the files that weights of graphs lie in, in hexadecimal digits one after the other.
    pub fn graph_sha256(&self, file: &str) -> String {
        let manifest = self.manifest();
        std::iter::once(file)
            .chain(manifest.companions())
            .filter_map(|file| manifest.sha256.get(file))
            .chain(self.unlisted.values())
            .map(String::as_str)
            .collect()
    }

    /// The runtime, the workers and the metrics.
    pub fn resources(&self) -> &'a Resources {
        self.case.resources
    }

    /// What runs its graphs: one image at a time, if the manifest says so.
    pub fn engine(&self) -> Arc<dyn Engine> {
        let engine = Arc::clone(&self.case.resources.engine);
        self.placement.set(engine.placement());
        self.as_declared(engine)
    }

    /// The same for graphs that stay at the reference wherever others run.
    pub fn reference_engine(&self) -> Arc<dyn Engine> {
        self.as_declared(self.case.resources.at_reference().engine)
    }

    fn as_declared(&self, engine: Arc<dyn Engine>) -> Arc<dyn Engine> {
        let engine = self.one_thread.of(engine);
        if self.manifest().serving.is_one_at_a_time() {
            Arc::new(OneAtATime(engine))
        } else {
            engine
        }
    }

    /// How long the gate may take, and how much it tries.
    pub fn settings(&self) -> GateSettings {
        self.case.settings
    }

    /// What its manifest says that its numbers are.
    pub fn declared(&self) -> Declared {
        self.manifest().declared
    }

    /// A version of a model that the version is made of.
    pub fn member(&self, name: &str, version: u32) -> Result<Arc<Model>, String> {
        let found = (self.case.members)(name, version)?;
        self.placement
            .set(Placement::of_all([self.placement.get(), found.placement]));
        Ok(found)
    }

    /// Where its numbers are computed.
    pub fn placement(&self) -> Placement {
        self.placement.get()
    }

    /// Notes a check that passed, and what it found.
    pub fn passed(&mut self, name: &'static str, finding: String) {
        let name = name.into();
        self.checks.push(Check { name, finding });
    }

    /// Tells what is no reason to refuse a version, but should be known.
    pub(super) fn warn(&mut self, finding: String) {
        if !self.is_comparison {
            tracing::warn!(model = self.manifest().name, version = self.case.version, "{finding}");
        }
        self.passed(WARNING, finding);
    }

    /// What `proof`, which is costly and depends on nothing but the files, the members, the runtime and the processor,
    /// comes to: from the findings of an earlier start if they have it, with the checks that it passed, else by doing
    /// it.
    pub fn settle<T: Serialize + DeserializeOwned>(
        &mut self,
        what: &'static str,
        proof: impl FnOnce(&mut Self) -> Result<T, GateError>,
    ) -> Result<T, GateError> {
        // What the manifest does not name it does not stand for.
        let is_known = self.unlisted.is_empty();
        if let Some(Settled { value, checks }) = self.findings.get(what).filter(|_| is_known) {
            self.checks.extend(checks);
            // What numbers look like was asked then, too.
            self.suspicions.clear();
            self.passed(
                "record",
                format!("{what}: proved at an earlier start with the same files, runtime, device and processor"),
            );
            return Ok(value);
        }
        let before = self.checks.len();
        let value = proof(self)?;
        self.answered()?;
        if is_known {
            self.findings.add(what, &value, &self.checks[before..]);
            self.findings.add(ONE_THREAD, &self.one_thread.is_kept(), &[]);
        }
        Ok(value)
    }

    /// Says that graphs have the inputs and outputs that they should have.
    pub fn contract_kept(&mut self) {
        self.passed("graphs", "inputs and outputs keep the contract".to_owned());
    }

    /// Keeps what numbers look like, to be asked about together.
    pub(super) fn suspect(&mut self, file: &str, suspicion: Option<Suspicion>) {
        let new = suspicion.map(|suspicion| (file.to_owned(), suspicion));
        self.suspicions.extend(new.filter(|new| !self.suspicions.contains(new)));
    }

    /// Whether the manifest says what all numbers are that look like something else.
    fn answered(&mut self) -> Result<(), GateError> {
        let (answered, open): (Vec<_>, Vec<_>) = std::mem::take(&mut self.suspicions)
            .into_iter()
            .partition(|(_, suspicion)| suspicion.is_answered(self.declared()));
        if !open.is_empty() {
            let undeclared = open
                .into_iter()
                .map(|(file, suspicion)| Undeclared::new(file, suspicion));
            return Err(GateError::Undeclared(undeclared.collect()));
        }
        for (file, suspicion) in answered {
            self.warn(format!("{file}: as declared, although {suspicion}"));
        }
        Ok(())
    }

    /// Tells what a manifest leaves out or does not say as it is.
    fn told(&mut self) -> Result<(), GateError> {
        let manifest = self.manifest();
        manifest
            .without_companions_but(&self.beside)
            .map_err(GateError::Manifest)?;
        for (file, hash) in self.unlisted.clone() {
            self.warn(format!(
                "weights are read from {file}, which {MANIFEST} has no hash of; add {file:?} = \"{hash}\" to [sha256]"
            ));
        }
        for sentence in &manifest.provenance.assumed {
            self.passed(ASSUMED, sentence.clone());
        }
        let (stated, found) = (manifest.provenance.parameters, self.weights);
        let has_graphs = !manifest.contract.graphs().is_empty();
        if has_graphs && !units::is_plausible_count(stated, found) {
            self.warn(format!(
                "provenance.parameters is {stated}, but the graphs hold {found} weights and constants"
            ));
        }
        Ok(())
    }

    /// Refuses a version all of whose judgements hold only where it was calibrated. `command` would calibrate it here.
    pub fn calibrated_here(&self, calibrated: Placement, command: &str) -> Result<(), GateError> {
        placement::holds(calibrated, self.placement(), command).map_err(GateError::Calibrated)
    }
}

/// Golden scores of densities.
pub const GOLDEN_SCORES: (&str, &str) = ("golden scores", " nats");

/// A graph that cannot be used.
pub fn failed(file: &str, cause: NetworkError) -> GateError {
    let file = file.to_owned();
    match cause {
        NetworkError::Runtime(cause @ RuntimeError::Run { .. }) => GateError::Run { file, cause },
        cause => GateError::Network { file, cause },
    }
}

/// The second of two runs: the first one pays for allocations.
pub fn time_of<E>(mut run: impl FnMut() -> Result<(), E>) -> Result<Duration, E> {
    run()?;
    time_of_one(run)
}

/// The time of a run where others like it came before.
pub fn time_of_one<E>(run: impl FnOnce() -> Result<(), E>) -> Result<Duration, E> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed())
}
