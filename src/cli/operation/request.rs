//! A command that is under way: what it asks of a model, and where the answers go.

use std::{future::Future, path::PathBuf, sync::Arc, time::Instant};

use clap::{ArgMatches, FromArgMatches};
use serde_json::Value;

use super::{
    decides_together,
    destination::Destination,
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
        name::ImageName,
        pipeline,
        stdin::is_standard,
        table::{OutputArgs, Table},
    },
    domain::image::Image,
    intake::{Content, MaskSource, Source, Takes, options::RawOptions},
    model::{PerImage, Refusal},
    operations::{AnyAnswer, AnyOperation, known_of},
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
        let mut destination = self.destination(form, table_args, labels.are_given())?;
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
            limits: inputs.decoding.limits(),
            labels,
            done: destination.table.done().clone(),
        };
        let is_terminal = table_args.is_terminal();
        let counts = if decides_together(self.operation, self.matches) {
            self.decided_together(images, operation, &mut destination)?
        } else {
            let write = |name: &ImageName, answer: Result<_, Arc<str>>| destination.push(name, answer);
            pipeline::each(self.loaded, images, is_terminal, operation, write)?
        };
        Ok(counts.outcome(destination.finish()?))
    }

    /// Rows that wait for the last image, without which nothing can be said of the first.
    fn decided_together<Work>(
        &self,
        images: pipeline::Images,
        operation: impl Fn(Vec<Image>) -> Work,
        destination: &mut Destination,
    ) -> Result<pipeline::Counts, CliError>
    where
        Work: Future<Output = Result<PerImage<Box<dyn AnyAnswer>>, Refusal>>,
    {
        let mut names = Vec::new();
        let mut good = Vec::new();
        let hold = |name: &ImageName, answer: Result<Box<dyn AnyAnswer>, Arc<str>>| {
            names.push((name.clone(), answer.as_ref().err().cloned()));
            let is_good = answer.is_ok();
            good.extend(answer);
            Ok(is_good)
        };
        let mut counts = pipeline::each(self.loaded, images, false, operation, hold)?;
        self.operation.decide_together(&mut good);
        let mut good = good.into_iter();
        for (name, error) in names {
            let was_good = error.is_none();
            let answer = error.map_or_else(|| good.next().ok_or_else(|| Arc::from("no answer came back")), Err);
            if !destination.push(&name, answer)? && was_good {
                counts.fail_one();
            }
        }
        Ok(counts)
    }

    /// Where the answers about images go.
    fn destination(
        &self,
        form: Option<Form>,
        table_args: &OutputArgs,
        is_labelled: bool,
    ) -> Result<Destination, CliError> {
        let (table, files) = match form {
            Some(form) => {
                let output = output(self.matches)?;
                let table = if is_standard(output) {
                    Table::untold()
                } else {
                    Table::open(table_args, is_labelled)?
                };
                (table, Some(form.open(output)?))
            }
            None => (Table::open(table_args, is_labelled)?, None),
        };
        let title = format!("{} by {}", self.name(), self.loaded.model.name);
        let gallery = self.gallery().map(|folder| Gallery::open(folder, title)).transpose()?;
        Ok(Destination {
            table,
            files,
            gallery,
            tensors: self.operation.about().tensors,
            has_maps: self.gallery().is_some() && self.matches.get_flag("map"),
            guarantee: None,
        })
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
