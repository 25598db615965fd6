//! Proving a version: within a time limit, on a thread of its own, and what becomes of what was found.

use std::{sync::Arc, time::Duration};

use super::{
    super::{Resources, findings::Findings, snapshot::Snapshot},
    Gate, GateError, GateSettings, WARNING, device,
};
use crate::{
    media::DecodeOptions,
    model::{
        Model,
        info::{Card, Density, ProvenanceInfo},
    },
    runtime::time_limit,
};

/// Finds a version of a model that serves already, or says why there is none.
pub type Lookup<'a> = &'a dyn Fn(&str, u32) -> Result<Arc<Model>, String>;

/// Loads a version and has it prove itself, or says which check it failed. What `findings` hold is not proved again;
/// what is proved is added to them.
pub fn prove(
    snapshot: &Snapshot,
    version: u32,
    members: Lookup<'_>,
    resources: &Resources,
    settings: GateSettings,
    findings: &mut Findings,
) -> Result<Model, GateError> {
    let case = Case {
        snapshot,
        version,
        members,
        resources,
        settings,
    };
    time_limit::within(settings.time_limit, || prove_at_leisure(case, findings))
}

/// Time that work which is asked to stop has to do so, before it is left to itself.
const GRACE: Duration = Duration::from_secs(5);

/// The same on a thread of its own, which is left to itself if nothing stops it in time. Answers the findings, too.
pub fn prove_apart(
    snapshot: Snapshot,
    version: u32,
    members: Vec<Found>,
    resources: &Resources,
    settings: GateSettings,
    mut findings: Findings,
) -> (Result<Model, GateError>, Findings) {
    let limit = settings.time_limit.saturating_add(GRACE);
    let resources = resources.clone();
    let work = move || {
        let lookup = |name: &str, number: u32| {
            let found = members.iter().find(|one| one.name == name && one.version == number);
            found.map_or_else(
                || Err("it is not named as a member".to_owned()),
                |one| one.model.clone(),
            )
        };
        let model = prove(&snapshot, version, &lookup, &resources, settings, &mut findings);
        (model, findings)
    };
    match time_limit::left_after(limit, work) {
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
pub(super) struct Case<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) version: u32,
    pub(super) members: Lookup<'a>,
    pub(super) resources: &'a Resources,
    pub(super) settings: GateSettings,
}

fn prove_at_leisure(case: Case<'_>, findings: &mut Findings) -> Result<Model, GateError> {
    let manifest = &case.snapshot.manifest;
    let comparison = device::compared(case, findings)?;
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
        .chain(device::weakness(&computed));
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
