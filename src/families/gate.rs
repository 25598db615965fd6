//! The load gate: what a version must prove before it serves.
//!
//! In order: the manifest is valid, hashes are right, graphs keep their contract and run, an autoregressive graph is
//! causal and its scores are its own normalised predictions, and golden scores are reproduced.

pub(super) mod company;
mod elsewhere;
mod error;
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

use self::{
    elsewhere::Comparison,
    units::{Suspicion, Tolerated},
};
pub use self::{
    error::{GateError, Undeclared},
    settings::GateSettings,
};

use super::{
    NetworkError, Workshop,
    findings::{Findings, Settled},
    manifest::{CalibrationFile, Declared, MANIFEST, Manifest, Scored, Tolerance, placement},
    snapshot::Snapshot,
    two_sided::no_calibration,
};
use crate::{
    detection::{calibrated_on::CalibratedOn, trained_on::TrainedOn},
    domain::{conformal::Calibration, image::Image},
    graph::{self, convert::Step},
    media::{self, DecodeOptions},
    model::{
        Model, Reason,
        info::{CalibrationInfo, Card, Check, Density, ProvenanceInfo},
    },
    runtime::{Engine, Placement, RuntimeError, patience, single::OneAtATime},
};

/// Finds a version of a model that serves already, or says why there is none.
pub type Lookup<'a> = &'a dyn Fn(&str, u32) -> Result<Arc<Model>, String>;

/// Loads a version and has it prove itself, or says which check it failed. What `findings` hold is not proved again;
/// what is proved is added to them.
pub fn prove(
    snapshot: &Snapshot,
    version: u32,
    members: Lookup<'_>,
    workshop: &Workshop,
    settings: GateSettings,
    findings: &mut Findings,
) -> Result<Model, GateError> {
    let case = Case {
        snapshot,
        version,
        members,
        workshop,
        settings,
    };
    patience::within(settings.time_limit, || prove_at_leisure(case, findings))
}

/// Time that work which is asked to stop has to do so, before it is left to itself.
const GRACE: Duration = Duration::from_secs(5);

/// The same on a thread of its own, which is left to itself if nothing stops it in time. Answers the findings, too.
pub fn prove_apart(
    snapshot: Snapshot,
    version: u32,
    members: Vec<Found>,
    workshop: &Workshop,
    settings: GateSettings,
    mut findings: Findings,
) -> (Result<Model, GateError>, Findings) {
    let limit = settings.time_limit.saturating_add(GRACE);
    let workshop = workshop.clone();
    let work = move || {
        let lookup = |name: &str, number: u32| {
            let found = members.iter().find(|one| one.name == name && one.version == number);
            found.map_or_else(
                || Err("it is not named as a member".to_owned()),
                |one| one.model.clone(),
            )
        };
        let model = prove(&snapshot, version, &lookup, &workshop, settings, &mut findings);
        (model, findings)
    };
    match patience::left_after(limit, work) {
        Ok(Some(answer)) => answer,
        Ok(None) => (Err(GateError::Unstoppable(settings.time_limit)), Findings::default()),
        Err(error) => (Err(GateError::Thread(error.to_string())), Findings::default()),
    }
}

/// A member of a version that is to be proved, or why there is none.
#[derive(Debug)]
pub struct Found {
    /// The model's name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// The model.
    pub model: Result<Arc<Model>, String>,
}

/// A version that is to be proved, and what it is proved with.
#[derive(Clone, Copy)]
struct Case<'a> {
    snapshot: &'a Snapshot,
    version: u32,
    members: Lookup<'a>,
    workshop: &'a Workshop,
    settings: GateSettings,
}

fn prove_at_leisure(case: Case<'_>, findings: &mut Findings) -> Result<Model, GateError> {
    let manifest = &case.snapshot.manifest;
    let comparison = elsewhere::compared(case, findings)?;
    let gate = Gate::new(case, findings);
    let mut gate = Gate { comparison, ..gate };
    gate.passed(
        "manifest",
        format!(
            "{} of {}, {} files with the stated sha256",
            manifest.family,
            manifest.shape,
            manifest.sha256.len()
        ),
    );
    let proved = manifest.contract.prove(&mut gate);
    let proved = proved.map_err(|error| gate.elsewhere(error))?;
    gate.answered()?;
    gate.told()?;
    let computed = gate.computed();
    let capabilities = match gate.trained_on()? {
        None => proved.capabilities,
        Some(hashes) => proved.capabilities.offer(Arc::new(hashes)),
    };
    let capabilities = match gate.calibrated_on.take() {
        None => capabilities,
        Some(hashes) => capabilities.offer(Arc::new(hashes)),
    };
    let provenance = &manifest.provenance;
    let warnings = gate.checks.iter().filter(|check| check.name == WARNING);
    let weaknesses = proved
        .weaknesses
        .into_iter()
        .chain(warnings.map(|warning| warning.finding.clone()))
        .chain(elsewhere::weakness(&computed));
    let weaknesses = weaknesses.collect();
    Ok(Model {
        name: manifest.name.clone(),
        version: case.version,
        identity: gate.identity(),
        shape: manifest.shape,
        preprocessing: DecodeOptions {
            any_size: manifest.contract.any_size(),
            ..manifest.preprocessing
        },
        placement: gate.placement(),
        card: Card {
            description: manifest.description.clone(),
            family: manifest.family,
            density: proved.density,
            conditional: proved.density != Density::None && proved.labels.is_some(),
            likelihood: proved.likelihood,
            sampler: proved.sampler,
            latent_size: proved.latent_size,
            calibration: proved.calibration,
            tiles: proved.tiles,
            computed,
            provenance: ProvenanceInfo {
                data: provenance.data.clone(),
                licence: provenance.licence.clone(),
                command: provenance.command.clone(),
                parameters: provenance.parameters,
                test_bits_per_dim: provenance.test_bits_per_dim,
            },
            checks: gate.checks,
            weaknesses,
        },
        labels: proved.labels,
        capabilities,
    })
}

/// The name of checks that found what is no reason to refuse a version.
const WARNING: &str = "warning";

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
    /// Nodes of all graphs that draw.
    drawing: Vec<String>,
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
        Self {
            case,
            findings,
            checks: Vec::new(),
            beside: Vec::new(),
            unlisted: BTreeMap::new(),
            suspicions: Vec::new(),
            drawing: Vec::new(),
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
    pub fn workshop(&self) -> &'a Workshop {
        self.case.workshop
    }

    /// What runs its graphs: one image at a time, if the manifest says so.
    pub fn engine(&self) -> Arc<dyn Engine> {
        let engine = Arc::clone(&self.case.workshop.engine);
        self.placement.set(engine.placement());
        self.as_declared(engine)
    }

    /// The same for graphs that stay at the reference wherever others run.
    pub fn reference_engine(&self) -> Arc<dyn Engine> {
        self.as_declared(self.case.workshop.at_reference().engine)
    }

    fn as_declared(&self, engine: Arc<dyn Engine>) -> Arc<dyn Engine> {
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
    fn warn(&mut self, finding: String) {
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
        }
        Ok(value)
    }

    /// Says that graphs have the inputs and outputs that they should have.
    pub fn contract_kept(&mut self) {
        self.passed("graphs", "inputs and outputs keep the contract".to_owned());
    }

    /// The bytes of a file that the manifest names.
    pub fn read(&self, file: &str) -> Result<&'a [u8], GateError> {
        let bytes = self.case.snapshot.file(file).map(|bytes| &bytes[..]);
        bytes.ok_or_else(|| GateError::Read {
            file: file.to_owned(),
            cause: "the manifest has no hash of it".to_owned(),
        })
    }

    /// Numbers of an npy file.
    pub fn scores(&self, file: &str) -> Result<Vec<f64>, GateError> {
        media::read_f64(self.read(file)?).map_err(|error| GateError::file(file, error))
    }

    /// Golden images and their scores: one each, or one for each of `labels`.
    pub fn golden_scores(&self, golden: &Scored, labels: Option<usize>) -> Result<(Vec<Image>, Vec<f64>), GateError> {
        let Scored {
            images: image_file,
            scores: score_file,
            ..
        } = golden;
        let read = if self.manifest().contract.any_size() {
            media::read_images_of_any_size
        } else {
            media::read_images
        };
        let images = read(self.read(image_file)?, self.manifest().shape, usize::MAX)
            .map_err(|error| GateError::file(image_file, error))?;
        let columns: Vec<usize> = labels.into_iter().collect();
        let scores = media::read_f64_table(self.read(score_file)?, &columns)
            .map_err(|error| GateError::file(score_file, error))?;
        if images.is_empty() || images.len() * labels.unwrap_or(1) != scores.len() {
            let cause = format!(
                "it has {} scores for {} golden images; there must be one each (one for each label, if there are \
                 labels), and at least one image",
                scores.len(),
                images.len()
            );
            return Err(GateError::file(score_file, cause));
        }
        Ok((images, scores))
    }

    /// Reads a graph, with all its weights, and converts outputs to the server's units. Only this goes to the runtime:
    /// it names no other file.
    pub fn graph(&mut self, file: &str, conversions: &[(&str, &[Step])]) -> Result<graph::protobuf::Model, GateError> {
        let refused = |cause: graph::GraphError| failed(file, cause.into());
        let bytes = if self.is_comparison {
            self.case.snapshot.graph(file)
        } else {
            self.case.snapshot.take_graph(file)
        };
        let bytes = bytes.ok_or_else(|| GateError::Read {
            file: file.to_owned(),
            cause: "the manifest has no hash of it".to_owned(),
        })?;
        let mut model = graph::parse_shared(bytes).map_err(refused)?;
        let (snapshot, unlisted) = (self.case.snapshot, &mut self.unlisted);
        let beside = graph::external::inline(&mut model, |name| match snapshot.file(name) {
            Some(bytes) => Ok(bytes.clone()),
            None => {
                let (bytes, hash) = snapshot.unlisted(name).map_err(|e| format!("{name}: {e}"))?;
                unlisted.insert(name.to_owned(), hash);
                Ok(bytes.into())
            }
        })
        .map_err(refused)?;
        graph::bounds::check(&model).map_err(refused)?;
        self.beside.extend(beside);
        self.drawing.extend(graph::chance::nodes(&model));
        self.weights += graph::weights::count(&model);
        for (output, steps) in conversions {
            graph::convert::output(&mut model, output, steps).map_err(refused)?;
        }
        Ok(model)
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
        let (stated, found) = (manifest.provenance.parameters, self.weights);
        let has_graphs = !manifest.contract.graphs().is_empty();
        if has_graphs && !units::is_plausible_count(stated, found) {
            self.warn(format!(
                "provenance.parameters is {stated}, but the graphs hold {found} weights and constants"
            ));
        }
        Ok(())
    }

    /// Compares numbers with the golden ones.
    pub fn golden(
        &mut self,
        (what, unit): (&'static str, &'static str),
        tolerance: Tolerance,
        expected: &[f64],
        actual: &[f64],
    ) -> Result<(), GateError> {
        let tolerance = self.compare((what, unit), tolerance, actual)?;
        let size = expected
            .iter()
            .map(|value| value.abs())
            .filter(|value| value.is_finite());
        let span = (size.sum::<f64>() / expected.len().max(1) as f64).max(1.0);
        let allowed = expected.iter().map(|&value| tolerance.allows(value));
        match units::tolerated(allowed.filter(|allowed| !allowed.is_infinite()), span) {
            Tolerated::Little => {}
            Tolerated::Much(allowed) => {
                self.warn(format!(
                    "{what}: the tolerance allows {allowed:.1e}, which proves little"
                ));
            }
            Tolerated::Anything(allowed) => return Err(GateError::Tolerance { what, allowed }),
        }
        let mut largest = 0.0f64;
        for (index, (&expected, &actual)) in expected.iter().zip(actual).enumerate() {
            let allowed = tolerance.allows(expected);
            let difference = (actual - expected).abs();
            // Written so that NaN fails.
            let reproduced = actual == expected || difference <= allowed;
            if !reproduced {
                return Err(GateError::Golden {
                    what,
                    unit,
                    index,
                    expected,
                    actual,
                    allowed,
                });
            }
            if difference.is_finite() {
                largest = largest.max(difference);
            }
        }
        self.passed(
            what,
            format!("{} reproduced to within {largest:.1e}{unit}", expected.len()),
        );
        Ok(())
    }

    /// Scores of held-out inliers, which are strange on both sides, and what the model says of them; or why it has none
    /// that hold here.
    pub fn calibration(
        &mut self,
        file: Option<&CalibrationFile>,
        statistic: &'static str,
    ) -> Result<Result<(Calibration, CalibrationInfo), Reason>, GateError> {
        let Some(file) = file else {
            return Ok(Err(no_calibration()));
        };
        let calibrated = file.placement().map_err(GateError::Manifest)?;
        let command = format!("new-calibration {}", self.manifest().name);
        if let Err(reason) = placement::holds(calibrated, self.placement(), &command) {
            self.passed("calibration", format!("not used: {reason}"));
            return Ok(Err(reason));
        }
        let calibration = self.calibration_of(&file.scores)?;
        if let Some(images) = &file.images {
            let hashes = TrainedOn::read(self.read(images)?).map_err(|cause| GateError::file(images, cause))?;
            let of = calibration.size();
            self.calibrated_on = Some(CalibratedOn { hashes, of });
        }
        self.passed(
            "calibration",
            format!("{} scores of held-out inliers", calibration.size()),
        );
        let info = CalibrationInfo {
            size: calibration.size(),
            statistic,
            smallest_false_alarm_rate: calibration.smallest_p_value(),
            description: file.description.clone(),
        };
        Ok(Ok((calibration, info)))
    }

    /// Refuses a version all of whose judgements hold only where it was calibrated. `command` would calibrate it here.
    pub fn calibrated_here(&self, calibrated: Placement, command: &str) -> Result<(), GateError> {
        placement::holds(calibrated, self.placement(), command).map_err(GateError::Calibrated)
    }

    /// The calibration of a file of scores.
    pub fn calibration_of(&self, file: &str) -> Result<Calibration, GateError> {
        Calibration::new(self.scores(file)?).map_err(|error| GateError::file(file, error))
    }

    fn trained_on(&self) -> Result<Option<TrainedOn>, GateError> {
        let Some(file) = &self.manifest().provenance.trained_on else {
            return Ok(None);
        };
        let hashes = TrainedOn::read(self.read(file)?).map_err(|cause| GateError::file(file, cause))?;
        Ok(Some(hashes))
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
    let start = Instant::now();
    run()?;
    Ok(start.elapsed())
}
