//! A request for tensors on its way: names and parameters become an opened request, tensors its content, the answer
//! tensors again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    OpenInference,
    counters::{Key, Recording},
    data::InputTensor,
    inputs::Wanted,
    signature::Declared,
    target::{self, Target},
};
use crate::{
    access::Caller,
    intake::options::{RawOptions, Value as OptionValue},
    model::{Kind, Model, Refusal, progress::Board, refusal::clip},
    operations::{Pending, Tensor, TensorSpec},
};

/// The parameter that names the operation.
pub(super) const OPERATION: &str = "operation";
/// The parameter that sets a deadline, in microseconds; options of operations say it in seconds.
const TIMEOUT: &str = "timeout";
/// Parameters of scheduling, sequences and decoupled models, which client libraries send with every request and which
/// ask for nothing of a model whose requests stand for themselves and have one answer each.
const WITHOUT_MEANING: [&str; 5] = [
    "priority",
    "sequence_id",
    "sequence_start",
    "sequence_end",
    "triton_enable_empty_final_response",
];

/// A request whose head is understood: what may come with it is known, its tensors have not been read.
pub(super) struct Head {
    pending: Pending,
    options: RawOptions,
    declared: Vec<Declared>,
    tensors: &'static [TensorSpec],
    requested: Vec<String>,
    recording: Recording,
    started: Instant,
}

/// What a request says beside its tensors.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) caller: Caller,
    pub(super) model: String,
    pub(super) version: Option<u32>,
    pub(super) parameters: Vec<(String, Value)>,
    /// Names of the outputs that are wanted; all that there are if none is named.
    pub(super) outputs: Vec<String>,
}

/// An answer.
pub(super) struct Inferred {
    pub(super) model: Arc<Model>,
    pub(super) images: usize,
    pub(super) tensors: Vec<Tensor>,
    /// What holds for the answer: names and values.
    pub(super) notes: Vec<(&'static str, Value)>,
    /// To be told when the answer has been written.
    pub(super) recording: Recording,
}

impl OpenInference {
    /// Understands everything but the tensors. `timeout` is a deadline that came beside the request.
    pub(super) fn open(&self, asked: Asked, timeout: Option<Duration>, started: Instant) -> Result<Head, Refusal> {
        let Asked {
            caller,
            model,
            version,
            mut parameters,
            outputs,
        } = asked;
        let operation = match take(&mut parameters, OPERATION)? {
            None => None,
            Some(Value::String(name)) => Some(name),
            Some(_) => return Err(Refusal::option(OPERATION, "must be text")),
        };
        for name in WITHOUT_MEANING {
            take(&mut parameters, name)?;
        }
        let named = take(&mut parameters, TIMEOUT)?.map(|value| microseconds(&value));
        let named = named.transpose()?.flatten();
        let timeout = match (named, timeout) {
            // Of two deadlines, the nearer one counts.
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let target = self.target(&model, version, operation.as_deref())?;
        let about = target.operation.about();
        let recording = Recording::new(&self.counters, Key::of(&target), started);
        let own = (target.model.name.as_str(), Some(target.model.version));
        let pending = self.service.open(&caller, about.name, own, timeout, started)?;
        let mut options = pending.options();
        for (name, value) in parameters {
            let value = match value {
                // Client libraries have text only, so a number in it is a number.
                Value::String(text) => OptionValue::Text(text),
                value => OptionValue::Json(value),
            };
            options.add(&name, value)?;
        }
        for (place, name) in outputs.iter().enumerate() {
            if outputs[..place].contains(name) {
                return Err(asked_twice(name));
            }
            let spec = about.tensors.iter().find(|tensor| tensor.name == name);
            let spec = spec.ok_or_else(|| no_such_output(name, about.tensors))?;
            if let Some(option) = spec.when {
                options.add_json(option, Value::Bool(true))?;
            }
        }
        pending.foresee()?;
        Ok(Head {
            declared: target.inputs(),
            tensors: about.tensors,
            requested: outputs,
            pending,
            options,
            recording,
            started,
        })
    }

    /// Refuses what can be refused before the tensors have been read: a model that is not there, and, if the name or
    /// the parameter says which operation is meant, what there is no room for within the longest time it can have.
    pub(super) fn foresee(
        &self,
        caller: &Caller,
        (name, version): (&str, Option<u32>),
        operation: Option<&str>,
        longest: Duration,
        started: Instant,
    ) -> Result<(), Refusal> {
        let target = self.target(name, version, operation)?;
        if operation.is_none() && target::parts(name).1.is_none() {
            return Ok(());
        }
        let own = (target.model.name.as_str(), Some(target.model.version));
        let pending = self
            .service
            .open(caller, target.operation.about().name, own, Some(longest), started);
        pending.and_then(|pending| pending.foresee()).inspect_err(|_| {
            // Dropped, it counts as failed.
            drop(Recording::new(&self.counters, Key::of(&target), started));
        })
    }

    /// The tensor that comes without a description: the first that the operation takes, for one image.
    pub(super) fn only_input(&self, asked: &Asked) -> Result<Declared, Refusal> {
        let Target { model, operation } = self.target(&asked.model, asked.version, None)?;
        let target = Target { model, operation };
        let mut first = target.inputs().into_iter();
        let mut declared = first.next().ok_or_else(|| {
            let name = target.operation.about().name;
            Refusal::new(Kind::Malformed, format!("{name} takes no tensor"))
        })?;
        if let Some(batch) = declared.shape.first_mut() {
            *batch = 1;
        }
        Ok(declared)
    }
}

impl Head {
    /// The model.
    pub(super) fn model(&self) -> &Arc<Model> {
        &self.pending.model
    }

    /// Lets somebody see how far the images are.
    pub(super) fn watch(&mut self, board: Arc<Board>) {
        self.pending.watch(board);
    }

    /// Reads the tensors and does what is asked. Lines of the log about images that fail have the id of the request, if
    /// it has one.
    pub(super) async fn infer(mut self, inputs: &[InputTensor], request_id: Option<&str>) -> Result<Inferred, Refusal> {
        let wanted = Wanted {
            declared: &self.declared,
            shape: self.pending.shape(),
            budget: self.pending.budget(),
        };
        let content = wanted.read(inputs)?;
        self.recording.read();
        let model = Arc::clone(&self.pending.model);
        let trace = self.pending.trace().clone();
        let answer = self.pending.answer(content, self.options, self.started).await?;
        for (index, cause) in answer.causes() {
            tracing::error!(request_id, index, cause, "an image failed");
        }
        let (images, notes) = (answer.len(), answer.notes());
        let encode = trace.span("encode");
        let mut tensors = answer.tensors()?;
        self.recording.answered(images, encode);
        if !self.requested.is_empty() {
            tensors = select(tensors, &self.requested, self.tensors)?;
        }
        Ok(Inferred {
            model,
            images,
            tensors,
            notes,
            recording: self.recording,
        })
    }
}

/// Takes a parameter out, which may be given once.
pub(super) fn take(parameters: &mut Vec<(String, Value)>, name: &'static str) -> Result<Option<Value>, Refusal> {
    let Some(place) = parameters.iter().position(|(own, _)| own == name) else {
        return Ok(None);
    };
    let (_, value) = parameters.swap_remove(place);
    if parameters.iter().any(|(own, _)| own == name) {
        return Err(Refusal::option(name, "given twice; give it once"));
    }
    Ok(Some(value))
}

/// A number of microseconds; 0 asks for nothing.
fn microseconds(value: &Value) -> Result<Option<Duration>, Refusal> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_u64(),
    };
    let refusal = || Refusal::option(TIMEOUT, "must be a whole number of microseconds");
    let number: u64 = number.ok_or_else(refusal)?;
    Ok((number > 0).then(|| Duration::from_micros(number)))
}

/// The outputs that were asked for, in the order asked.
fn select(mut tensors: Vec<Tensor>, requested: &[String], declared: &[TensorSpec]) -> Result<Vec<Tensor>, Refusal> {
    let take = |name: &String| {
        let place = tensors.iter().position(|tensor| tensor.name == name);
        let place = place.ok_or_else(|| match declared.iter().find(|own| own.name == name) {
            Some(own) => Refusal::new(
                Kind::Unsupported,
                format!("this model has no output {name:?}: {}", own.description),
            ),
            None => no_such_output(name, declared),
        })?;
        Ok(tensors.swap_remove(place))
    };
    requested.iter().map(take).collect()
}

fn asked_twice(name: &str) -> Refusal {
    let detail = format!("the output {:?} is asked for twice; name it once", clip(name));
    Refusal::new(Kind::Malformed, detail)
}

fn no_such_output(name: &str, declared: &[TensorSpec]) -> Refusal {
    let names: Vec<&str> = declared.iter().map(|own| own.name).collect();
    Refusal::new(
        Kind::Malformed,
        format!("there is no output {:?}; there are: {}", clip(name), names.join(", ")),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn deadlines_are_whole_microseconds() {
        assert_eq!(microseconds(&json!(0)).unwrap(), None);
        for good in [json!(1500), json!("1500")] {
            assert_eq!(microseconds(&good).unwrap(), Some(Duration::from_micros(1500)));
        }
        for bad in [json!(-1), json!(0.5), json!("soon"), json!(null)] {
            assert!(microseconds(&bad).is_err());
        }
    }

    #[test]
    fn outputs_come_in_the_order_asked_and_once() {
        let tensors = || vec![Tensor::numbers("a", [1.0]), Tensor::numbers("b", [2.0])];
        let select = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            select(tensors(), &names, &[])
        };
        let names: Vec<_> = select(&["b", "a"]).unwrap().iter().map(|own| own.name).collect();
        assert_eq!(names, ["b", "a"]);
        assert!(select(&["a", "a"]).is_err());
        assert!(select(&["c"]).is_err());
    }
}
