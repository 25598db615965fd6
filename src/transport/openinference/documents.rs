//! What the protocol says of the server and its models: metadata, configuration, statistics and the index of the
//! repository.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    OpenInference,
    counters::{Counts, Key},
    signature::Declared,
    target::{Target, name_of},
};
use crate::{
    model::{Refusal, info::State},
    operations::tensor::Datatype,
};

/// What runs the models.
const PLATFORM: &str = "onnx";

/// The parts of the protocol that are spoken beside its core.
const EXTENSIONS: &[&str] = &[
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "parameters",
    "statistics",
];

/// The server.
#[derive(Debug, Serialize)]
pub(super) struct ServerMetadata {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    pub(super) extensions: &'static [&'static str],
}

/// A model: its name, its versions, its tensors.
#[derive(Debug, Serialize)]
pub(super) struct ModelMetadata {
    pub(super) name: String,
    pub(super) versions: Vec<String>,
    pub(super) platform: &'static str,
    pub(super) inputs: Vec<TensorMetadata>,
    pub(super) outputs: Vec<TensorMetadata>,
}

/// A tensor with its batch axis.
#[derive(Debug, Serialize)]
pub(super) struct TensorMetadata {
    pub(super) name: &'static str,
    pub(super) datatype: &'static str,
    pub(super) shape: Vec<i64>,
}

/// How a model is served.
#[derive(Debug, Serialize)]
pub(super) struct ModelConfig {
    pub(super) name: String,
    pub(super) platform: &'static str,
    pub(super) backend: &'static str,
    /// Most images in a request; 0 where the first axis is no batch.
    pub(super) max_batch_size: usize,
    pub(super) input: Vec<ConfigInput>,
    pub(super) output: Vec<ConfigOutput>,
    /// What computes the model's numbers, and how exactly.
    pub(super) parameters: BTreeMap<&'static str, ConfigParameter>,
}

/// Something that holds for a model, in words.
#[derive(Debug, Serialize)]
pub(super) struct ConfigParameter {
    pub(super) string_value: &'static str,
}

/// An input without its batch axis.
#[derive(Debug, Serialize)]
pub(super) struct ConfigInput {
    pub(super) name: &'static str,
    pub(super) data_type: &'static str,
    pub(super) dims: Vec<i64>,
    pub(super) optional: bool,
}

/// An output without its batch axis.
#[derive(Debug, Serialize)]
pub(super) struct ConfigOutput {
    pub(super) name: &'static str,
    pub(super) data_type: &'static str,
    pub(super) dims: Vec<i64>,
}

/// What has been asked of a model.
#[derive(Debug, Serialize)]
pub(super) struct ModelStatistics {
    pub(super) name: String,
    pub(super) version: String,
    #[serde(flatten)]
    pub(super) counts: Counts,
}

/// A version in the repository.
#[derive(Debug, Serialize)]
pub(super) struct Indexed {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) state: &'static str,
    pub(super) reason: String,
}

impl OpenInference {
    pub(super) fn server_metadata() -> ServerMetadata {
        ServerMetadata {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            extensions: EXTENSIONS,
        }
    }

    pub(super) fn model_metadata(&self, name: &str, version: Option<u32>) -> Result<ModelMetadata, Refusal> {
        let target = self.target(name, version, None)?;
        let listings = self.service.catalogue().listings().into_iter();
        let own = listings.filter(|own| own.model.is_some() && own.name == target.model.name);
        Ok(ModelMetadata {
            name: name.to_owned(),
            versions: own.map(|own| own.version.to_string()).collect(),
            platform: PLATFORM,
            inputs: target.inputs().into_iter().map(metadata).collect(),
            outputs: target.outputs().into_iter().map(metadata).collect(),
        })
    }

    pub(super) fn model_config(&self, name: &str, version: Option<u32>) -> Result<ModelConfig, Refusal> {
        let target = self.target(name, version, None)?;
        let batched = target.is_batched();
        let computed = &target.model.card.computed;
        let words = [("device", computed.device), ("precision", computed.precision)];
        // The batch axis is implied by the size of batches.
        let dims = |mut shape: Vec<i64>| {
            if batched {
                shape.remove(0);
            }
            // An axis there must be: a number is a vector of one.
            if shape.is_empty() {
                shape.push(1);
            }
            shape
        };
        let input = |tensor: Declared| ConfigInput {
            name: tensor.name,
            data_type: config_type(tensor.datatype),
            dims: dims(tensor.shape),
            optional: tensor.optional,
        };
        let output = |tensor: Declared| ConfigOutput {
            name: tensor.name,
            data_type: config_type(tensor.datatype),
            dims: dims(tensor.shape),
        };
        Ok(ModelConfig {
            name: name.to_owned(),
            platform: PLATFORM,
            backend: PLATFORM,
            max_batch_size: if batched { self.service.limits().max_images } else { 0 },
            input: target.inputs().into_iter().map(input).collect(),
            output: target.outputs().into_iter().map(output).collect(),
            parameters: words
                .into_iter()
                .map(|(name, string_value)| (name, ConfigParameter { string_value }))
                .collect(),
        })
    }

    /// Of one model, or of all that are ready: each under its own name for what it does by default, and as
    /// `name:operation` for the rest.
    pub(super) fn statistics(&self, name: Option<(&str, Option<u32>)>) -> Result<Vec<ModelStatistics>, Refusal> {
        if let Some((name, version)) = name {
            let target = self.target(name, version, None)?;
            return Ok(vec![self.statistics_of(name.to_owned(), &target)]);
        }
        let mut all = Vec::new();
        for model in self.service.catalogue().listings() {
            let Some(model) = model.model else { continue };
            let operations = self.service.operations();
            let can = operations.filter(|operation| operation.available(&model).is_ok());
            for (index, operation) in can.enumerate() {
                let name = match index {
                    0 => model.name.clone(),
                    _ => name_of(&model.name, operation.about().name),
                };
                let target = Target {
                    model: std::sync::Arc::clone(&model),
                    operation: std::sync::Arc::clone(operation),
                };
                all.push(self.statistics_of(name, &target));
            }
        }
        Ok(all)
    }

    fn statistics_of(&self, name: String, target: &Target) -> ModelStatistics {
        ModelStatistics {
            name,
            version: target.model.version.to_string(),
            counts: self.counters.get(&Key::of(target)),
        }
    }

    /// Every version of every model.
    pub(super) fn index(&self, only_ready: bool) -> Vec<Indexed> {
        let listings = self.service.catalogue().listings().into_iter();
        listings
            .map(|own| Indexed {
                name: own.name,
                version: own.version.to_string(),
                state: match own.state {
                    State::Ready => "READY",
                    State::Discovered | State::Verified | State::Proved => "LOADING",
                    State::Failed | State::Unloaded => "UNAVAILABLE",
                },
                reason: own.reason.unwrap_or_default(),
            })
            .filter(|own| !only_ready || own.state == "READY")
            .collect()
    }
}

fn metadata(tensor: Declared) -> TensorMetadata {
    TensorMetadata {
        name: tensor.name,
        datatype: tensor.datatype.name(),
        shape: tensor.shape,
    }
}

/// A type as configurations name it.
fn config_type(datatype: Datatype) -> &'static str {
    match datatype {
        Datatype::F64 => "TYPE_FP64",
        Datatype::F32 => "TYPE_FP32",
        Datatype::U8 => "TYPE_UINT8",
        Datatype::Bool => "TYPE_BOOL",
        Datatype::Bytes => "TYPE_STRING",
    }
}
