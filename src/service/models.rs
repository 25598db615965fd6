//! Loaded models with their queues, and the set of them that is served now.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use super::{
    drawing::Drawing,
    drift::Monitor,
    error::ServiceError,
    info::{
        CalibrationInfo, CheckInfo, ModelInfo, ModelState, ProvenanceInfo, ReadyInfo, SamplerInfo,
    },
    measure::Measuring,
    work::{Classifying, Coding, Decoder, Depicting, Encoder, Generating, Scoring},
};
use crate::{
    domain::{
        family::{Capability, Density, Family},
        image::ImageShape,
    },
    metrics::{DriftMetrics, Metrics, OperationMetrics},
    network::autoregressive::Compilation,
    repository::{
        Catalog, Network, Outcome, Timings, Version,
        composite::{Composite, Novelty},
        detector::Detector,
        manifest::Graphs,
    },
    scheduling::{Class, Lane, Scheduler, Work},
};

/// A model that is ready.
#[derive(Debug)]
pub struct ServedModel {
    pub(super) name: String,
    pub(super) version: Arc<Version>,
    pub(super) lanes: Lanes,
    /// The stream that a detector judges, once someone watches it.
    pub(super) drift: OnceLock<Monitor>,
}

/// The queues of a model, by family.
#[derive(Debug)]
pub(super) enum Lanes {
    Autoregressive {
        score: Arc<Lane<Scoring>>,
        draw: Arc<Lane<Drawing>>,
    },
    Vae {
        encode: Arc<Lane<Encoder>>,
        decode: Arc<Lane<Decoder>>,
    },
    Autoencoder {
        encode: Arc<Lane<Coding>>,
        decode: Arc<Lane<Depicting>>,
    },
    Generator {
        generate: Arc<Lane<Generating>>,
    },
    Classifier {
        classify: Arc<Lane<Classifying>>,
    },
    Composite(CompositeLanes),
    Detector {
        measure: Arc<Lane<Measuring>>,
        detector: Arc<Detector>,
    },
}

/// The queues of a composite.
#[derive(Debug)]
pub(super) struct CompositeLanes {
    pub(super) classify: Arc<Lane<Classifying>>,
    pub(super) score: Arc<Lane<Scoring>>,
    /// That of the detector that judges novelty, if one does.
    pub(super) measure: Option<Arc<Lane<Measuring>>>,
    pub(super) composite: Arc<Composite>,
}

/// Makes the queues of a model.
struct Queues<'a> {
    scheduler: &'a Scheduler,
    metrics: &'a Metrics,
    name: &'a str,
}

impl Queues<'_> {
    /// For work of some milliseconds, of which a row takes about `time`.
    fn interactive<W: Work>(
        &self,
        operation: &'static str,
        work: W,
        time: Duration,
    ) -> Arc<Lane<W>> {
        self.lane(Class::Interactive, operation, work, time)
    }

    /// For work that goes in many turns.
    fn bulk<W: Work>(&self, operation: &'static str, work: W, time: Duration) -> Arc<Lane<W>> {
        self.lane(Class::Bulk, operation, work, time)
    }

    fn measuring(&self, detector: &Detector, time: Duration) -> Arc<Lane<Measuring>> {
        self.interactive("detect", Measuring(Arc::clone(&detector.panel)), time)
    }

    fn lane<W: Work>(
        &self,
        class: Class,
        operation: &'static str,
        work: W,
        time: Duration,
    ) -> Arc<Lane<W>> {
        let metrics = OperationMetrics::new(self.metrics, self.name, operation);
        self.scheduler.lane(class, work, time, metrics)
    }
}

impl ServedModel {
    pub(super) fn new(
        name: &str,
        version: Arc<Version>,
        scheduler: &Scheduler,
        metrics: &Metrics,
    ) -> Self {
        let queues = Queues {
            scheduler,
            metrics,
            name,
        };
        let Timings { forward, backward } = version.timings;
        let lanes = match &version.network {
            Network::Autoregressive(network) => Lanes::Autoregressive {
                score: queues.interactive("score", Scoring(Arc::clone(network)), forward),
                draw: queues.bulk("sample", Drawing::new(Arc::clone(network)), backward),
            },
            Network::Vae(vae) => Lanes::Vae {
                encode: queues.interactive("encode", Encoder(Arc::clone(vae)), forward),
                decode: queues.interactive("decode", Decoder(Arc::clone(vae)), backward),
            },
            Network::Autoencoder(network) => Lanes::Autoencoder {
                encode: queues.interactive("encode", Coding(Arc::clone(network)), forward),
                decode: queues.interactive("decode", Depicting(Arc::clone(network)), backward),
            },
            Network::Generator(network) => Lanes::Generator {
                generate: queues.interactive("sample", Generating(Arc::clone(network)), backward),
            },
            Network::Classifier(network) => Lanes::Classifier {
                classify: queues.interactive("classify", Classifying(Arc::clone(network)), forward),
            },
            Network::Composite(composite) => Lanes::Composite(CompositeLanes {
                classify: queues.interactive(
                    "classify",
                    Classifying(Arc::clone(&composite.classifier)),
                    forward,
                ),
                score: queues.interactive(
                    "score",
                    Scoring(Arc::clone(&composite.density)),
                    backward,
                ),
                measure: match &composite.novelty {
                    Novelty::Density(_) => None,
                    Novelty::Detector(detector) => Some(queues.measuring(detector, backward)),
                },
                composite: Arc::clone(composite),
            }),
            Network::Detector(detector) => Lanes::Detector {
                measure: queues.measuring(detector, forward),
                detector: Arc::clone(detector),
            },
        };
        Self {
            name: name.to_owned(),
            version,
            lanes,
            drift: OnceLock::new(),
        }
    }

    /// The stream that the detector judges, kept in `folder`; `None` for other models.
    pub(super) fn watched(&self, folder: &Path, metrics: &Metrics) -> Option<&Monitor> {
        let Lanes::Detector { detector, .. } = &self.lanes else {
            return None;
        };
        Some(self.drift.get_or_init(|| {
            let version = &self.version;
            Monitor::open(
                folder,
                (&self.name, version.number, &version.fingerprint),
                detector.calibration.scores(),
                DriftMetrics::new(metrics, &self.name),
            )
        }))
    }

    /// Name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Version.
    pub fn version(&self) -> u32 {
        self.version.number
    }

    /// Family.
    pub fn family(&self) -> Family {
        self.version.manifest.family
    }

    /// Size of its images.
    pub fn shape(&self) -> ImageShape {
        self.version.manifest.shape
    }

    /// Size of its latent code, or of a classifier's features, if it has any.
    pub fn latent_size(&self) -> Option<usize> {
        latent_size(&self.version)
    }

    /// `Ok` if the model has the capability, else the error that says why not.
    pub fn require(&self, capability: Capability) -> Result<(), ServiceError> {
        match why_not(&self.version, capability) {
            None => Ok(()),
            Some(reason) => Err(ServiceError::Unsupported {
                model: self.name.clone(),
                capability,
                reason,
            }),
        }
    }

    /// The error for a capability that the code has no way to serve for this model.
    pub(super) fn unsupported(&self, capability: Capability) -> ServiceError {
        ServiceError::Unsupported {
            model: self.name.clone(),
            capability,
            reason: why_not(&self.version, capability)
                .unwrap_or_else(|| "it has no graph for it".to_owned()),
        }
    }
}

fn latent_size(version: &Version) -> Option<usize> {
    match &version.network {
        Network::Vae(vae) => Some(vae.latent_size()),
        Network::Autoencoder(network) => Some(network.latent_size()),
        Network::Generator(network) => Some(network.latent_size()),
        Network::Classifier(network) => network.feature_size(),
        Network::Autoregressive(_) | Network::Detector(_) | Network::Composite(_) => None,
    }
}

fn why_not(version: &Version, capability: Capability) -> Option<String> {
    let family = version.manifest.family;
    if let Some(reason) = family.why_not(capability) {
        return Some(reason.to_owned());
    }
    if capability == Capability::Compress
        && let Network::Autoregressive(network) = &version.network
        && let Compilation::Causal(reason) | Compilation::Unknown(reason) = network.compilation()
    {
        return Some(format!(
            "its graph could not be compiled, and full passes are too slow: {reason}"
        ));
    }
    if capability == Capability::Classify
        && matches!(version.network, Network::Autoregressive(_))
        && version.manifest.labels.is_none()
    {
        return Some(
            "it is not conditioned on labels: p(y|x) needs p(x|y) for every label".to_owned(),
        );
    }
    if capability == Capability::Encode
        && let Network::Classifier(network) = &version.network
        && network.feature_size().is_none()
    {
        return Some("its graph gives no features, only logits of labels".to_owned());
    }
    (capability == Capability::Detect && version.calibration.is_none()).then(|| {
        "this version has no calibration: without scores of held-out inliers no false-alarm rate can be promised".to_owned()
    })
}

/// One version, served or refused.
#[derive(Debug, Clone)]
pub(super) enum Slot {
    Ready(Arc<ServedModel>),
    Failed(String),
}

/// Every version of every model.
#[derive(Debug, Default)]
pub(super) struct Models(BTreeMap<String, BTreeMap<u32, Slot>>);

impl Models {
    /// The models of a catalog; those that `previous` has already are taken over with their queues.
    pub(super) fn new(
        catalog: Catalog,
        previous: &Self,
        scheduler: &Scheduler,
        metrics: &Metrics,
    ) -> Self {
        metrics.model_ready.reset();
        let mut models = BTreeMap::new();
        for (name, versions) in catalog {
            let mut slots = BTreeMap::new();
            for (number, outcome) in versions {
                let slot = match outcome {
                    Outcome::Failed(reason) => Slot::Failed(reason),
                    Outcome::Ready(version) => {
                        let served = previous
                            .ready(&name, number)
                            .filter(|model| Arc::ptr_eq(&model.version, &version));
                        Slot::Ready(served.unwrap_or_else(|| {
                            Arc::new(ServedModel::new(&name, version, scheduler, metrics))
                        }))
                    }
                };
                metrics
                    .model_ready
                    .with_label_values(&[name.as_str(), &number.to_string()])
                    .set(i64::from(matches!(slot, Slot::Ready(_))));
                slots.insert(number, slot);
            }
            models.insert(name, slots);
        }
        Self(models)
    }

    fn ready(&self, name: &str, number: u32) -> Option<Arc<ServedModel>> {
        match self.0.get(name)?.get(&number)? {
            Slot::Ready(model) => Some(Arc::clone(model)),
            Slot::Failed(_) => None,
        }
    }

    /// Whether any model serves.
    pub(super) fn any_ready(&self) -> bool {
        self.0
            .values()
            .flat_map(BTreeMap::values)
            .any(|slot| matches!(slot, Slot::Ready(_)))
    }

    /// One version; by default the newest that is ready, else the newest.
    pub(super) fn find(
        &self,
        name: &str,
        version: Option<u32>,
    ) -> Result<(u32, &Slot), ServiceError> {
        let versions = self
            .0
            .get(name)
            .filter(|versions| !versions.is_empty())
            .ok_or_else(|| ServiceError::ModelNotFound {
                name: name.to_owned(),
                known: self.0.keys().cloned().collect(),
            })?;
        let found = match version {
            Some(number) => versions.get_key_value(&number),
            None => versions
                .iter()
                .rfind(|(_, slot)| matches!(slot, Slot::Ready(_)))
                .or_else(|| versions.last_key_value()),
        };
        found
            .map(|(&number, slot)| (number, slot))
            .ok_or_else(|| ServiceError::VersionNotFound {
                name: name.to_owned(),
                version: version.unwrap_or_default(),
                known: versions.keys().map(u32::to_string).collect(),
            })
    }

    /// A model that is ready.
    pub(super) fn get(
        &self,
        name: &str,
        version: Option<u32>,
    ) -> Result<Arc<ServedModel>, ServiceError> {
        match self.find(name, version)? {
            (_, Slot::Ready(model)) => Ok(Arc::clone(model)),
            (version, Slot::Failed(reason)) => Err(ServiceError::ModelNotReady {
                name: name.to_owned(),
                version,
                reason: reason.clone(),
            }),
        }
    }

    /// Every model that is ready.
    pub(super) fn all_ready(&self) -> impl Iterator<Item = &Arc<ServedModel>> {
        self.0
            .values()
            .flat_map(BTreeMap::values)
            .filter_map(|slot| match slot {
                Slot::Ready(model) => Some(model),
                Slot::Failed(_) => None,
            })
    }

    /// Descriptions of all.
    pub(super) fn describe_all(&self) -> Vec<ModelInfo> {
        self.0
            .iter()
            .flat_map(|(name, versions)| {
                versions
                    .iter()
                    .map(|(&number, slot)| describe(name, number, slot))
            })
            .collect()
    }
}

/// The description of a version.
pub(super) fn describe(name: &str, version: u32, slot: &Slot) -> ModelInfo {
    ModelInfo {
        name: name.to_owned(),
        version,
        state: match slot {
            Slot::Failed(reason) => ModelState::Failed {
                reason: reason.clone(),
            },
            Slot::Ready(model) => ModelState::Ready(Box::new(ready_info(&model.version))),
        },
    }
}

/// What a version is calibrated on; of a composite the ambiguity of labels, because novelty is calibrated by the member that judges it.
fn calibration_info(version: &Version) -> Option<CalibrationInfo> {
    let manifest = &version.manifest;
    if let (Network::Composite(composite), Graphs::Composite(contract)) =
        (&version.network, &manifest.graphs)
    {
        return Some(CalibrationInfo {
            size: composite.ambiguity.size(),
            statistic: "ambiguity",
            smallest_false_alarm_rate: composite.smallest_false_alarm_rate(),
            description: contract.ambiguity_description.clone(),
        });
    }
    let (scores, file) = version
        .calibration
        .as_ref()
        .zip(manifest.calibration.as_ref())?;
    Some(CalibrationInfo {
        size: scores.size(),
        statistic: file.statistic.name(),
        smallest_false_alarm_rate: match &version.network {
            Network::Detector(_) => scores.smallest_upper_p_value(),
            _ => scores.smallest_p_value(),
        },
        description: file.description.clone(),
    })
}

/// What a loaded version says of itself.
fn ready_info(version: &Version) -> ReadyInfo {
    let manifest = &version.manifest;
    let provenance = &manifest.provenance;
    let density = manifest.family.density();
    ReadyInfo {
        description: manifest.description.clone(),
        family: manifest.family,
        density,
        conditional: density != Density::None && manifest.labels.is_some(),
        capabilities: Capability::ALL
            .map(|capability| (capability, why_not(version, capability)))
            .to_vec(),
        shape: manifest.shape,
        likelihood: match &version.network {
            Network::Composite(composite) => composite.density.head().name(),
            _ => manifest.likelihood(),
        },
        labels: manifest
            .labels
            .as_ref()
            .map_or_else(Vec::new, |labels| labels.names.clone()),
        prior: manifest
            .labels
            .as_ref()
            .map_or_else(Vec::new, |labels| labels.prior.clone()),
        sampler: match &version.network {
            Network::Autoregressive(network) => Some(match network.compilation() {
                Compilation::Wavefront(wavefront) => SamplerInfo::Wavefront(wavefront.cost()),
                Compilation::Causal(reason) | Compilation::Unknown(reason) => {
                    SamplerInfo::FixedPoint {
                        reason: reason.clone(),
                    }
                }
            }),
            _ => None,
        },
        latent_size: latent_size(version),
        calibration: calibration_info(version),
        provenance: ProvenanceInfo {
            data: provenance.data.clone(),
            licence: provenance.licence.clone(),
            command: provenance.command.clone(),
            parameters: provenance.parameters,
            test_bits_per_dim: provenance.test_bits_per_dim,
        },
        checks: version
            .checks
            .iter()
            .map(|check| CheckInfo {
                name: check.name,
                finding: check.finding.clone(),
            })
            .collect(),
    }
}
