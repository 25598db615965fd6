//! Operations with their types erased, for those who know none by name: what each declares, and how a request of it
//! runs.

use std::{any::Any, marker::PhantomData, sync::Arc};

use async_trait::async_trait;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{
    Answer, Context, Format, Input, Items, Operation, Rendering, Tensor, TensorSpec, Work,
    answer::{Failure, Json, Note},
    input::all,
};
use crate::{
    intake::{
        Given, Takes,
        options::{RawOptions, schema_of},
    },
    model::{Model, Reason, Refusal, info::Preprocessing},
};

/// What an operation declares.
#[derive(Debug, Clone)]
pub struct About {
    /// Its name.
    pub name: &'static str,
    /// A few words.
    pub summary: &'static str,
    /// Sentences.
    pub description: &'static str,
    /// Its class of work.
    pub work: Work,
    /// The formats that it can answer in, the default first.
    pub formats: &'static [Format],
    /// What it takes.
    pub takes: Takes,
    /// Where the items stand in its answer.
    pub items: Items,
    /// Its options as a JSON schema.
    pub options: Schema,
    /// The tensors of its answer.
    pub tensors: &'static [TensorSpec],
}

/// An operation of any kind.
#[async_trait]
pub trait AnyOperation: std::fmt::Debug + Send + Sync {
    /// What it declares.
    fn about(&self) -> &About;

    /// The JSON schema of its answer; what is used twice goes among the definitions of `generator`. `failure` is the
    /// schema of an item that failed.
    fn answer_schema(&self, generator: &mut SchemaGenerator, failure: Value) -> Value;

    /// Whether the model has the capability that it needs, or why not.
    fn available(&self, model: &Model) -> Result<(), Reason>;

    /// The formats that it can answer in for this model.
    fn formats(&self, model: &Model) -> &'static [Format];

    /// Numbers in a code of the model.
    fn code_size(&self, model: &Model) -> usize;

    /// Whether the model gives one of the tensors.
    fn gives(&self, model: &Model, tensor: &TensorSpec) -> bool;

    /// The query of a first request by hand, if the default answer is not for a person to read.
    fn first_query(&self, model: &Model) -> &'static str;

    /// Decides on answers of its own anew, as if they had been one.
    fn decide_together(&self, answers: &mut [Box<dyn AnyAnswer>]);

    /// Reads the options and refuses what cannot be; what is left runs when it is called with the data.
    fn prepare(&self, options: &mut RawOptions, format: Format) -> Result<Box<dyn Prepared>, Refusal>;
}

/// An operation whose options are understood.
#[async_trait]
pub trait Prepared: Send {
    /// Does it.
    async fn run(
        self: Box<Self>,
        model: &Arc<Model>,
        given: Given,
        context: &Context,
    ) -> Result<Box<dyn AnyAnswer>, Refusal>;
}

/// An answer of any operation.
pub trait AnyAnswer: Any + Send {
    /// Items, good and bad.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About how many bytes there are to write: what is little is not worth another thread.
    fn weight(&self) -> usize;

    /// As JSON, with `failure` for items that failed.
    fn json(&self, failure: Failure<'_>) -> Result<Vec<u8>, Refusal>;

    /// The members that stand once in the answer.
    fn head(&self) -> Map<String, Value>;

    /// Each item as JSON, or why there is none.
    fn items(&self) -> Vec<Result<Value, Refusal>>;

    /// An answer for each item, or why there is none.
    fn split(self: Box<Self>) -> Vec<Result<Box<dyn AnyAnswer>, Refusal>>;

    /// The causes of failures of the server among the items, for its log.
    fn causes(&self) -> Vec<(usize, String)>;

    /// What holds for the answer, for formats without a place for words.
    fn notes(&self) -> Vec<(&'static str, Value)>;

    /// All tensors. A bad item fails the whole.
    fn tensors(self: Box<Self>) -> Result<Vec<Tensor>, Refusal>;

    /// As a file of the format, which is not JSON and not a stream of events. A bad item fails the whole.
    fn file(self: Box<Self>, format: Format) -> Result<Vec<u8>, Refusal>;

    /// What there is to look at. A bad item fails the whole.
    fn rendering(self: Box<Self>) -> Result<Rendering, Refusal>;
}

struct Erased<O: Operation> {
    about: About,
    operation: PhantomData<fn() -> O>,
}

impl<O: Operation> std::fmt::Debug for Erased<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Operation({})", O::NAME)
    }
}

pub(super) fn erase<O: Operation>() -> Arc<dyn AnyOperation> {
    Arc::new(Erased::<O> {
        about: About {
            name: O::NAME,
            summary: O::SUMMARY,
            description: O::DESCRIPTION,
            work: O::WORK,
            formats: O::FORMATS,
            takes: O::Input::TAKES,
            items: O::ITEMS,
            options: schema_of::<O::Options>(),
            tensors: O::TENSORS,
        },
        operation: PhantomData,
    })
}

impl<O: Operation> AnyOperation for Erased<O> {
    fn about(&self) -> &About {
        &self.about
    }

    fn answer_schema(&self, generator: &mut SchemaGenerator, failure: Value) -> Value {
        let item = generator.subschema_for::<O::Item>();
        let item = match O::ITEMS {
            Items::Each => json!({"anyOf": [item, failure]}),
            Items::Together => json!(item),
        };
        let head = schema_of_head::<O>(generator);
        let mut properties = Map::new();
        let mut declare = |name: &str, schema: Value| properties.insert(name.to_owned(), schema);
        declare(
            "model",
            json!({"type": "string", "description": "The model that answered."}),
        );
        declare(
            "version",
            json!({"type": "integer", "minimum": 1, "description": "Its version."}),
        );
        for (name, own) in head.get("properties").and_then(Value::as_object).into_iter().flatten() {
            declare(name, own.clone());
        }
        let list = json!({"type": "array", "items": item, "description": "One for each image, in order."});
        declare(O::ITEMS.key(), list);
        if O::Input::TAKES.images() {
            let description =
                "The names of the files of a form, one for each image, in order; empty where one has none.";
            declare(
                "files",
                json!({"type": "array", "items": {"type": "string"}, "description": description}),
            );
            let note = generator.subschema_for::<Note>();
            let description = "What a user should know of images that were read.";
            declare(
                "notes",
                json!({"type": "array", "items": note, "description": description}),
            );
            let preprocessing = generator.subschema_for::<Preprocessing>();
            declare("preprocessing", json!(preprocessing));
        }
        let mut required = vec![json!("model"), json!("version"), json!(O::ITEMS.key())];
        required.extend(
            head.get("required")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .cloned(),
        );
        json!({"type": "object", "description": O::SUMMARY, "required": required, "properties": properties})
    }

    fn available(&self, model: &Model) -> Result<(), Reason> {
        model.can::<O::Capability>().map(drop)
    }

    fn formats(&self, model: &Model) -> &'static [Format] {
        O::formats(model)
    }

    fn code_size(&self, model: &Model) -> usize {
        O::code_size(model)
    }

    fn gives(&self, model: &Model, tensor: &TensorSpec) -> bool {
        O::gives(model, tensor)
    }

    fn first_query(&self, model: &Model) -> &'static str {
        O::first_query(model)
    }

    fn decide_together(&self, answers: &mut [Box<dyn AnyAnswer>]) {
        let answers = answers.iter_mut().filter_map(|answer| {
            let answer: &mut dyn Any = &mut **answer;
            answer.downcast_mut::<Answered<O>>()
        });
        let mut items: Vec<&mut O::Item> = answers.flat_map(|own| own.answer.items.iter_mut().flatten()).collect();
        O::decide_together(&mut items);
    }

    fn prepare(&self, options: &mut RawOptions, format: Format) -> Result<Box<dyn Prepared>, Refusal> {
        let options: O::Options = options.take(&self.about.options)?;
        O::check_format(format, &options)?;
        Ok(Box::new(Ready::<O> { options, format }))
    }
}

/// The head's own schema, in place.
fn schema_of_head<O: Operation>(generator: &mut SchemaGenerator) -> Value {
    use schemars::JsonSchema;
    json!(<O::Head as JsonSchema>::json_schema(generator))
}

struct Ready<O: Operation> {
    options: O::Options,
    format: Format,
}

#[async_trait]
impl<O: Operation> Prepared for Ready<O> {
    async fn run(
        self: Box<Self>,
        model: &Arc<Model>,
        mut given: Given,
        context: &Context,
    ) -> Result<Box<dyn AnyAnswer>, Refusal> {
        let capability = model.can::<O::Capability>();
        let capability = capability.map_err(|reason| Refusal::unsupported(&model.name, O::NAME, &reason))?;
        let notes = given.notes.iter().map(|(index, note)| Note {
            index: *index,
            note: note.clone(),
        });
        let notes = notes.collect();
        let preprocessing = given.preprocessing;
        let files = std::mem::take(&mut given.files);
        let (input, problems) = O::Input::part(given)?;
        O::check_count(self.format, problems.len())?;
        let answer = O::run(&capability, model, input, self.options, context).await?;
        let answer = answer.merge(problems)?;
        let good = answer.good();
        let metrics = context.call.metrics();
        metrics
            .images
            .with_label_values(&[model.name.as_str(), O::NAME])
            .inc_by(good.len() as u64);
        O::observe(model, &good, metrics);
        Ok(Box::new(Answered {
            model: Arc::clone(model),
            answer,
            files,
            notes,
            preprocessing,
        }))
    }
}

struct Answered<O: Operation> {
    model: Arc<Model>,
    answer: Answer<O>,
    files: Vec<String>,
    notes: Vec<Note>,
    preprocessing: Option<Preprocessing>,
}

impl<O: Operation> Answered<O> {
    fn whole(self) -> Result<(O::Head, Vec<O::Item>), Refusal> {
        Ok((self.answer.head, all(self.answer.items)?))
    }
}

impl<O: Operation> AnyAnswer for Answered<O> {
    fn len(&self) -> usize {
        self.answer.items.len()
    }

    fn weight(&self) -> usize {
        16 * self.len() * self.model.shape.dimensions()
    }

    fn json(&self, failure: Failure<'_>) -> Result<Vec<u8>, Refusal> {
        let json = Json {
            model: (&self.model.name, self.model.version),
            answer: &self.answer,
            files: &self.files,
            notes: &self.notes,
            preprocessing: self.preprocessing,
            failure,
        };
        serde_json::to_vec(&json).map_err(Refusal::internal)
    }

    fn head(&self) -> Map<String, Value> {
        match serde_json::to_value(&self.answer.head) {
            Ok(Value::Object(head)) => head,
            _ => Map::new(),
        }
    }

    fn items(&self) -> Vec<Result<Value, Refusal>> {
        let item = |item: &Result<O::Item, Refusal>| match item {
            Ok(item) => serde_json::to_value(item).map_err(Refusal::internal),
            Err(refusal) => Err(refusal.clone()),
        };
        self.answer.items.iter().map(item).collect()
    }

    fn split(self: Box<Self>) -> Vec<Result<Box<dyn AnyAnswer>, Refusal>> {
        let Self {
            model,
            answer,
            files,
            notes,
            preprocessing,
        } = *self;
        let single = |(index, item): (usize, Result<O::Item, Refusal>)| {
            let own = notes.iter().filter(|note| note.index == index);
            let notes = own.cloned().collect();
            let files = files.get(index).cloned().into_iter().collect();
            let answer = Answer::<O> {
                head: answer.head.clone(),
                items: vec![Ok(item?)],
            };
            let model = Arc::clone(&model);
            Ok(Box::new(Answered {
                model,
                answer,
                files,
                notes,
                preprocessing,
            }) as Box<dyn AnyAnswer>)
        };
        answer.items.into_iter().enumerate().map(single).collect()
    }

    fn causes(&self) -> Vec<(usize, String)> {
        let cause = |(index, item): (usize, &Result<O::Item, Refusal>)| {
            let cause = item.as_ref().err()?.cause()?;
            Some((index, cause.to_owned()))
        };
        self.answer.items.iter().enumerate().filter_map(cause).collect()
    }

    fn notes(&self) -> Vec<(&'static str, Value)> {
        let mut notes = O::notes(&self.answer.head, &self.answer.good());
        if let Some(preprocessing) = self.preprocessing {
            notes.push(("preprocessing", json!(preprocessing)));
        }
        if !self.notes.is_empty() {
            notes.push(("notes", json!(self.notes)));
        }
        notes
    }

    fn tensors(self: Box<Self>) -> Result<Vec<Tensor>, Refusal> {
        let (head, items) = self.whole()?;
        Ok(O::tensors(&head, &items))
    }

    fn file(self: Box<Self>, format: Format) -> Result<Vec<u8>, Refusal> {
        let (head, items) = self.whole()?;
        match format {
            Format::Npy => Ok(O::array(&head, &items).npy()),
            Format::Gif => O::rendering(head, items).gif(),
            Format::Stream => match O::rendering(head, items) {
                Rendering::File(bytes) => Ok(bytes),
                _ => Err(Refusal::internal("an answer that is no file was asked for as one")),
            },
            Format::Png | Format::Json | Format::Events => O::rendering(head, items).png(),
        }
    }

    fn rendering(self: Box<Self>) -> Result<Rendering, Refusal> {
        let (head, items) = self.whole()?;
        Ok(O::rendering(head, items))
    }
}
