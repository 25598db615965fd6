//! The commands of operations: one for each that the registry has, its flags from its options.
//!
//! An operation whose answer is numbers prints a table; one whose answer is images or streams writes files, and a table
//! beside them.

use std::{path::PathBuf, sync::Arc, time::Instant};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, builder::PossibleValuesParser, value_parser};
use serde_json::Value;

use super::{
    CliError, EXIT_CODES, OfflineSettings, Outcome,
    files::Form,
    gallery::Gallery,
    inputs::{self, InputArgs},
    labels::{LabelArgs, Labels},
    model::{self, Loaded},
    pipeline,
    table::{Format, ImageName, OutputArgs, Row, Table},
};
use crate::{
    access::Caller,
    app::Registries,
    domain::image::Image,
    intake::{Content, MaskSource, Source, Takes, options::RawOptions},
    model::Refusal,
    operations::{
        AnyAnswer, AnyOperation, Tensor,
        service::known_of,
        tensor::{Datatype, Values},
    },
};

/// Options that are no flags of a command: what decoding may do stands among the inputs, and one caller at a terminal
/// needs no deadline.
const ELSEWHERE: [&str; 5] = ["resize", "convert", "orient", "frames", "timeout"];

/// The flag that asks for a page of maps.
const GALLERY: &str = "gallery";

/// Whether an operation says something of every image that can be shown as a map of it.
fn shows_maps(operation: &dyn AnyOperation) -> bool {
    Gives::of(operation) == Gives::Numbers
        && operation.about().takes == Takes::Images
        && known_of(operation).properties().any(|(name, _)| name == "map")
}

/// What an operation's answer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gives {
    Numbers,
    Images,
    Streams,
}

impl Gives {
    fn of(operation: &dyn AnyOperation) -> Self {
        let tensors = operation.about().tensors;
        let has = |datatype| tensors.iter().any(|tensor| tensor.datatype == datatype);
        if has(Datatype::U8) {
            Self::Images
        } else if has(Datatype::Bytes) {
            Self::Streams
        } else {
            Self::Numbers
        }
    }
}

/// The command of an operation.
pub(super) fn command(operation: &dyn AnyOperation) -> Command {
    let about = operation.about();
    let mut command = Command::new(about.name)
        .about(about.summary)
        .long_about(format!("{}\n\n{}", about.summary, about.description))
        .after_help(EXIT_CODES)
        .arg(
            Arg::new("model")
                .required(true)
                .help("Name of a model in the repository, or path of a model's folder"),
        );
    command = match about.takes {
        Takes::Nothing => command,
        Takes::Images | Takes::TwoImages => InputArgs::augment_args(command),
        Takes::MaskedImages => InputArgs::augment_args(command).arg(path_arg(
            "mask",
            "Image file of the model's size whose light pixels are given",
        )),
        Takes::Codes => command.arg(inputs_arg("npy arrays of codes, float32 or float64 [N, L]")),
        Takes::Streams => command.arg(inputs_arg("Files that `compress` wrote, and folders of them")),
    };
    command = match Gives::of(operation) {
        Gives::Numbers if has_labels(operation) => OutputArgs::augment_args(LabelArgs::augment_args(command)),
        Gives::Numbers => OutputArgs::augment_args(command),
        Gives::Images => command.arg(output_arg(
            "A grid in one file (ends in .png), an animation of how they appear (ends in .gif), a uint8 array (ends in \
             .npy), or a folder, which gets a PNG file for every image; - is a grid to standard output",
        )),
        Gives::Streams => command.arg(output_arg("Folder that gets a file for every image")),
    };
    for (name, schema) in known_of(operation).properties() {
        if !ELSEWHERE.contains(&name) {
            command = command.arg(option_arg(name, schema));
        }
    }
    if shows_maps(operation) {
        command = command.arg(path_arg(
            GALLERY,
            "Folder for a page of HTML that shows every image with its map and what was said of it",
        ));
    }
    OfflineSettings::augment_args(command)
}

fn inputs_arg(help: &'static str) -> Arg {
    Arg::new("inputs")
        .required(true)
        .num_args(1..)
        .value_name("INPUT")
        .value_parser(value_parser!(PathBuf))
        .help(help)
}

fn output_arg(help: &'static str) -> Arg {
    path_arg("output", help).short('o').required(true)
}

fn path_arg(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("PATH")
        .value_parser(value_parser!(PathBuf))
        .help(help)
}

/// A flag for an option, from its schema.
fn option_arg(name: &str, schema: &Value) -> Arg {
    let text = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut help = text("description").replace('\n', " ");
    let declared = schema.get("default").filter(|value| !value.is_boolean());
    let declared = declared.map(|value| value.to_string().trim_matches('"').to_owned());
    if let Some(default) = declared.as_deref().or(own_default(name, schema)) {
        help.push_str(&format!(" [default: {default}]"));
    }
    let mut argument = Arg::new(name.to_owned()).long(name.replace('_', "-")).help(help);
    let mut letters = name.chars();
    if let (Some(letter), None) = (letters.next(), letters.next()) {
        argument = argument.short(letter);
    }
    if schema.get("type").and_then(Value::as_str) == Some("boolean") {
        return argument.action(ArgAction::SetTrue);
    }
    let choices = choices(schema);
    let argument = argument.value_name(name.to_uppercase());
    if choices.is_empty() {
        // Judged with the same words as everywhere, when the request is made.
        return argument.allow_negative_numbers(true);
    }
    argument.value_parser(PossibleValuesParser::new(choices))
}

/// What a command takes for an option that is not given and has no default: two runs of one command are to draw the
/// same, where a server chooses and tells.
fn own_default(name: &str, schema: &Value) -> Option<&'static str> {
    (name == "seed" && schema.get("default").is_none()).then_some("0")
}

/// The values of an option that has few.
fn choices(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for list in ["enum", "oneOf", "anyOf"] {
        for choice in schema.get(list).and_then(Value::as_array).into_iter().flatten() {
            let constant = choice.get("const").unwrap_or(choice);
            found.extend(constant.as_str().map(str::to_owned));
            if choice.is_object() {
                found.extend(choices(choice));
            }
        }
    }
    found.dedup();
    found
}

/// Runs the command of an operation.
pub(super) fn run(
    operation: &dyn AnyOperation,
    registries: &Registries,
    matches: &ArgMatches,
) -> Result<Outcome, CliError> {
    let about = operation.about();
    let settings = OfflineSettings::from_arg_matches(matches).map_err(usage)?;
    let name: &String = matches.get_one("model").ok_or_else(|| missing("model"))?;
    let gives = Gives::of(operation);
    let form = match gives {
        Gives::Images => Some(Form::of(output(matches)?)?),
        Gives::Streams if inputs::is_standard(output(matches)?) => {
            return Err(CliError::Usage(
                "--output -: every image gets a stream of its own, which needs a folder".to_owned(),
            ));
        }
        Gives::Streams => Some(Form::Folder),
        Gives::Numbers => None,
    };
    let table = match gives {
        Gives::Numbers => OutputArgs::from_arg_matches(matches).map_err(usage)?,
        Gives::Images | Gives::Streams => OutputArgs::default(),
    };
    let wants_map = known_of(operation).properties().any(|(name, _)| name == "map") && matches.get_flag("map");
    if wants_map && gives == Gives::Numbers && table.format == Format::Csv {
        return Err(CliError::Usage(
            "--map gives a number for every dimension, which CSV has no room for: add --format jsonl or --format npy"
                .to_owned(),
        ));
    }
    let loaded = model::load(name, about.name, settings, registries)?;
    let request = Request {
        loaded: &loaded,
        operation,
        matches,
    };
    // An option that cannot be is told before any file is read.
    let mut options = request.options()?;
    let format = crate::operations::Format::Json;
    operation.prepare(&mut options, format)?;
    match about.takes {
        Takes::Nothing => request.together(Content::default(), form),
        Takes::TwoImages => {
            let inputs = InputArgs::from_arg_matches(matches).map_err(usage)?;
            let images = inputs::read_all(&inputs, &loaded.model)?;
            let sources = images.into_iter().map(Source::Image).collect();
            let content = Content {
                sources,
                ..Content::default()
            };
            request.together(content, form)
        }
        Takes::Images | Takes::MaskedImages => {
            let inputs = InputArgs::from_arg_matches(matches).map_err(usage)?;
            request.each(&inputs, form, &table)
        }
        Takes::Codes => {
            let size = operation.code_size(&loaded.model);
            let codes = inputs::read_codes(&request.paths(), size)?;
            request.parts(codes, form, |codes| Content {
                codes,
                ..Content::default()
            })
        }
        Takes::Streams => {
            let streams = inputs::read_streams(&request.paths())?;
            request.parts(streams, form, |streams| Content {
                streams: streams.into_iter().map(Ok).collect(),
                ..Content::default()
            })
        }
    }
}

/// A command that is under way.
struct Request<'a> {
    loaded: &'a Loaded,
    operation: &'a dyn AnyOperation,
    matches: &'a ArgMatches,
}

impl Request<'_> {
    fn name(&self) -> &'static str {
        self.operation.about().name
    }

    fn paths(&self) -> Vec<PathBuf> {
        let paths = self.matches.get_many::<PathBuf>("inputs");
        paths.into_iter().flatten().cloned().collect()
    }

    /// The options as flags gave them.
    fn options(&self) -> Result<RawOptions, CliError> {
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
        let opened = service.open(
            &Caller::trusted(),
            self.name(),
            (&model.name, Some(model.version)),
            None,
            now,
        )?;
        let options = self.options().map_err(|error| Refusal::option("options", error))?;
        opened.answer(content, options, now).await
    }

    /// Images that come together, from one request.
    fn together(&self, content: Content, form: Option<Form>) -> Result<Outcome, CliError> {
        let answer = pipeline::runtime()?.block_on(self.answer(content))?;
        for (name, value) in answer.notes() {
            if let ("labels", Some(labels)) = (name, value.as_array()) {
                let labels: Vec<&str> = labels.iter().filter_map(Value::as_str).collect();
                super::say(&format!("{name}: {}", labels.join(", ")));
            }
        }
        let form = form.ok_or_else(|| missing("output"))?;
        form.write(output(self.matches)?, answer.rendering()?)?;
        Ok(Outcome::Done)
    }

    /// A row, and perhaps a file, for every image of the inputs.
    fn each(&self, inputs: &InputArgs, form: Option<Form>, table_args: &OutputArgs) -> Result<Outcome, CliError> {
        let mask = self.mask()?;
        let files = inputs.files()?;
        let labels = match self.labels()? {
            Some(labels) => labels.read(&files, self.loaded.model.shape)?,
            None => Labels::None,
        };
        let (mut table, mut sink) = match form {
            Some(form) => {
                let output = output(self.matches)?;
                let table = if inputs::is_standard(output) {
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
            roots: inputs.roots(),
            options: self.loaded.model.preprocessing.or(inputs.decode_options()),
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
                    gallery.push(name, &row.item, answer.rendering().map_err(|e| super::told(&e))?)?;
                    if let (Some(members), false) = (row.item.as_object_mut(), self.matches.get_flag("map")) {
                        members.remove("map");
                    }
                } else if let Some(sink) = &mut sink {
                    let file = sink.push(name, answer)?;
                    self.name_file(&mut row.item, file);
                } else if is_array {
                    row.tensor = answer.tensors().map_err(|e| super::told(&e))?.pop();
                } else if is_csv {
                    name_infinities(&mut row.item, &answer.tensors().map_err(|e| super::told(&e))?);
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
            super::say(&format!("written: {}", page.display()));
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
            members.insert(tensor.name.to_owned(), Value::String(inputs::shown(file)));
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
    fn parts<T>(
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
            super::say(&format!("{}: {error}", name.input));
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
                    .map_err(|refusal| super::told(&refusal))
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
        super::say(&format!("{failed} of {count} inputs failed"));
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
    item.map_err(|refusal| super::told(&refusal))
}

/// Whether the table of an operation has a column for what images are called: not if a label is what is asked for or
/// answered.
fn has_labels(operation: &dyn AnyOperation) -> bool {
    let takes_label = known_of(operation).properties().any(|(name, _)| name == "label");
    Gives::of(operation) == Gives::Numbers && operation.about().takes == Takes::Images && !takes_label
}

fn output(matches: &ArgMatches) -> Result<&PathBuf, CliError> {
    matches.get_one::<PathBuf>("output").ok_or_else(|| missing("output"))
}

fn missing(argument: &str) -> CliError {
    CliError::Usage(format!("the argument {argument} is missing"))
}

fn usage(error: clap::Error) -> CliError {
    CliError::Usage(error.to_string())
}
