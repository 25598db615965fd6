//! A command that is under way: what it asks of a model, and where the answers go.

use std::{path::PathBuf, sync::Arc, time::Instant};

use clap::{ArgMatches, FromArgMatches};
use serde_json::Value;

use super::{
    flags::{ELSEWHERE, GALLERY, own_default},
    has_labels, missing, output, shows_maps, usage,
};
use crate::{
    access::Caller,
    cli::{
        self, CliError, Outcome,
        files::Form,
        gallery::Gallery,
        inputs::{self, InputArgs},
        labels::{LabelArgs, Labels},
        model::Loaded,
        name::{ImageName, shown},
        pipeline,
        stdin::is_standard,
        table::{OutputArgs, Row, Table},
    },
    domain::image::Image,
    intake::{Content, MaskSource, Source, Takes, options::RawOptions},
    model::Refusal,
    operations::{
        AnyAnswer, AnyOperation, Tensor, known_of,
        tensor::{Datatype, Values},
    },
};

/// A command that is under way.
pub(super) struct Request<'a> {
    pub(super) loaded: &'a Loaded,
    pub(super) operation: &'a dyn AnyOperation,
    pub(super) matches: &'a ArgMatches,
}

impl Request<'_> {
    fn name(&self) -> &'static str {
        self.operation.about().name
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let paths = self.matches.get_many::<PathBuf>("inputs");
        paths.into_iter().flatten().cloned().collect()
    }

    /// The options as flags gave them.
    pub(super) fn options(&self) -> Result<RawOptions, CliError> {
        let known = known_of(self.operation);
        let mut options = RawOptions::new(Arc::clone(&known));
        for (name, schema) in known.properties() {
            if ELSEWHERE.contains(&name) {
                continue;
            }
            if schema.get("type").and_then(Value::as_str) == Some("boolean") {
                if self.matches.get_flag(name) || name == "map" && self.gallery().is_some() {
                    options.add_json(name, Value::Bool(true))?;
                }
            } else {
                let given = self.matches.get_one::<String>(name).map(String::as_str);
                if let Some(value) = given.or(own_default(name, schema)) {
                    options.add_text(name, value.to_owned())?;
                }
            }
        }
        Ok(options)
    }

    /// The folder of a gallery, if one is wanted.
    fn gallery(&self) -> Option<&PathBuf> {
        if shows_maps(self.operation) {
            self.matches.get_one(GALLERY)
        } else {
            None
        }
    }

    fn mask(&self) -> Result<Option<MaskSource>, CliError> {
        if self.operation.about().takes != Takes::MaskedImages {
            return Ok(None);
        }
        let Some(path) = self.matches.get_one::<PathBuf>("mask") else {
            return Ok(None);
        };
        let bytes =
            std::fs::read(path).map_err(|error| CliError::io(format!("{} cannot be read", path.display()), error))?;
        Ok(Some(MaskSource::File(bytes.into())))
    }

    /// Has the operation done.
    async fn answer(&self, content: Content) -> Result<Box<dyn AnyAnswer>, Refusal> {
        let now = Instant::now();
        let model = &self.loaded.model;
        let service = &self.loaded.app.service;
        let pending = service.open(
            &Caller::trusted(),
            self.name(),
            (&model.name, Some(model.version)),
            None,
            now,
        )?;
        let options = self.options().map_err(|error| Refusal::option("options", error))?;
        pending.answer(content, options, now).await
    }

    /// Images that come together, from one request.
    pub(super) fn together(&self, content: Content, form: Option<Form>) -> Result<Outcome, CliError> {
        let answer = pipeline::runtime()?.block_on(self.answer(content))?;
        for (name, value) in answer.notes() {
            if let ("labels", Some(labels)) = (name, value.as_array()) {
                let labels: Vec<&str> = labels.iter().filter_map(Value::as_str).collect();
                cli::say(&format!("{name}: {}", labels.join(", ")));
            }
        }
        let form = form.ok_or_else(|| missing("output"))?;
        form.write(output(self.matches)?, answer.rendering()?)?;
        Ok(Outcome::Done)
    }

    /// A row, and perhaps a file, for every image of the inputs.
    pub(super) fn each(
        &self,
        inputs: &InputArgs,
        form: Option<Form>,
        table_args: &OutputArgs,
    ) -> Result<Outcome, CliError> {
        let mask = self.mask()?;
        let files = inputs::files(&inputs.inputs)?;
        let labels = match self.labels()? {
            Some(labels) => labels.read(&files, self.loaded.model.shape)?,
            None => Labels::None,
        };
        let (mut table, mut sink) = match form {
            Some(form) => {
                let output = output(self.matches)?;
                let table = if is_standard(output) {
                    Table::untold()
                } else {
                    Table::open(table_args, labels.are_given())?
                };
                (table, Some(form.open(output)?))
            }
            None => (Table::open(table_args, labels.are_given())?, None),
        };
        let title = format!("{} by {}", self.name(), self.loaded.model.name);
        let mut gallery = self.gallery().map(|folder| Gallery::open(folder, title)).transpose()?;
        let mut guarantee = None;
        let operation = async |images: Vec<Image>| {
            let content = Content {
                sources: images.into_iter().map(Source::Image).collect(),
                mask: mask.clone(),
                ..Content::default()
            };
            Ok(self.answer(content).await?.split())
        };
        let images = pipeline::Images {
            files,
            roots: inputs.inputs.clone(),
            options: self.loaded.model.preprocessing.or(inputs.decoding.options()),
            labels,
            done: table.done().clone(),
        };
        let (is_array, is_csv) = (table.is_array(), table.is_csv());
        let write = |name: &ImageName, answer: Result<Box<dyn AnyAnswer>, Arc<str>>| {
            let row = answer.map_err(|error| error.to_string()).and_then(|answer| {
                let mut row = OwnRow {
                    head: answer.head(),
                    item: one(answer.items())?,
                    tensor: None,
                };
                if let Some(gallery) = &mut gallery {
                    guarantee = row.item.get("guarantee").and_then(Value::as_str).map(str::to_owned);
                    gallery.push(name, &row.item, answer.rendering().map_err(|e| cli::told(&e))?)?;
                    if let (Some(members), false) = (row.item.as_object_mut(), self.matches.get_flag("map")) {
                        members.remove("map");
                    }
                } else if let Some(sink) = &mut sink {
                    let file = sink.push(name, answer)?;
                    self.name_file(&mut row.item, file);
                } else if is_array {
                    row.tensor = answer.tensors().map_err(|e| cli::told(&e))?.pop();
                } else if is_csv {
                    name_infinities(&mut row.item, &answer.tensors().map_err(|e| cli::told(&e))?);
                }
                Ok(row)
            });
            table.push(name, row.as_ref().map(OwnRow::borrow).map_err(String::as_str))?;
            table.flush()?;
            Ok(row.is_ok())
        };
        let counts = pipeline::each(self.loaded, images, table_args.is_terminal(), operation, write)?;
        if let Some(sink) = sink {
            sink.finish()?;
        }
        if let Some(gallery) = gallery {
            let page = gallery.finish(guarantee.as_deref())?;
            cli::say(&format!("written: {}", page.display()));
        }
        let where_told = table.where_told();
        table.finish()?;
        Ok(counts.outcome(where_told))
    }

    /// Puts the file of an image or a stream in the place that its bytes have in an answer.
    fn name_file(&self, item: &mut Value, file: Option<PathBuf>) {
        let files = [Datatype::Bytes, Datatype::U8];
        let tensors = self.operation.about().tensors.iter();
        let mut held = tensors.filter(|tensor| files.contains(&tensor.datatype));
        if let (Some(tensor), Some(members), Some(file)) = (held.next(), item.as_object_mut(), file) {
            members.insert(tensor.name.to_owned(), Value::String(shown(file)));
        }
    }

    /// The labels that images have, where the operation leaves room for such a column.
    fn labels(&self) -> Result<Option<LabelArgs>, CliError> {
        if !has_labels(self.operation) {
            return Ok(None);
        }
        LabelArgs::from_arg_matches(self.matches).map(Some).map_err(usage)
    }

    /// Parts that are read already, so many at once.
    pub(super) fn parts<T>(
        &self,
        parts: Vec<(ImageName, Result<T, String>)>,
        form: Option<Form>,
        content: impl Fn(Vec<T>) -> Content,
    ) -> Result<Outcome, CliError> {
        let mut sink = form.ok_or_else(|| missing("output"))?.open(output(self.matches)?)?;
        let runtime = pipeline::runtime()?;
        let (mut failed, count) = (0, parts.len());
        let mut report = |name: &ImageName, error: &str| {
            failed += 1;
            cli::say(&format!("{}: {error}", name.input));
        };
        let mut parts = parts.into_iter().peekable();
        while parts.peek().is_some() {
            let chunk = self.loaded.settings.work.max_batch_rows.max(1);
            let (mut names, mut good) = (Vec::new(), Vec::new());
            for (name, part) in parts.by_ref().take(chunk) {
                match part {
                    Ok(part) => {
                        names.push(name);
                        good.push(part);
                    }
                    Err(error) => report(&name, &error),
                }
            }
            if good.is_empty() {
                continue;
            }
            let answers = match runtime.block_on(self.answer(content(good))) {
                Ok(answer) => answer.split(),
                Err(refusal) if pipeline::is_everyones(&refusal) => return Err(refusal.into()),
                Err(refusal) => names.iter().map(|_| Err(refusal.clone())).collect(),
            };
            for (name, answer) in names.iter().zip(answers) {
                let written = answer
                    .map_err(|refusal| cli::told(&refusal))
                    .and_then(|answer| sink.push(name, answer));
                if let Err(error) = written {
                    report(name, &error);
                }
            }
        }
        sink.finish()?;
        if failed == 0 {
            return Ok(Outcome::Done);
        }
        cli::say(&format!("{failed} of {count} inputs failed"));
        Ok(Outcome::Refused)
    }
}

/// What became of one image.
struct OwnRow {
    head: serde_json::Map<String, Value>,
    item: Value,
    tensor: Option<Tensor>,
}

impl OwnRow {
    fn borrow(&self) -> Row<'_> {
        Row {
            head: &self.head,
            item: &self.item,
            tensor: self.tensor.as_ref(),
        }
    }
}

/// Numbers that JSON has no word for, as a cell has them: a null beside a tensor of one such number.
fn name_infinities(item: &mut Value, tensors: &[Tensor]) {
    for tensor in tensors {
        if let (Values::F64(values), Some(place)) = (&tensor.values, item.get_mut(tensor.name))
            && let ([value], true) = (values.as_slice(), place.is_null())
        {
            *place = Value::String(value.to_string());
        }
    }
}

/// The one item of an answer about one image.
fn one(items: Vec<Result<Value, Refusal>>) -> Result<Value, String> {
    let item = items.into_iter().next().ok_or("no answer came back")?;
    item.map_err(|refusal| cli::told(&refusal))
}
