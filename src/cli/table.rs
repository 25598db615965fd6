//! Results as rows of CSV, JSON lines or an npy array, to a file or to standard output.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Seek, Write},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    CliError,
    growing::Growing,
    inputs::is_standard,
    npy::{Element, NpyWriter},
    resume::{self, Done, Rows},
};
use crate::operations::{Tensor, tensor::Values};

/// Where results go and in which form.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputArgs {
    /// Form of the results; an image that failed is a row with an error (in npy: NaN)
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    pub(super) format: Format,

    /// File to write instead of standard output, which is `-`; until it is whole it is called FILE.part
    #[arg(long, short, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,

    /// Go on where the same command was interrupted: the rows of FILE.part are kept and their images skipped (csv and
    /// jsonl)
    #[arg(long, requires = "output")]
    pub(super) resume: bool,
}

/// The form of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Format {
    /// Comma-separated values with a header.
    #[default]
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// One NumPy array.
    Npy,
}

/// Which image a row is about.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ImageName {
    /// The file.
    pub(super) input: String,
    /// Its path below the input that was named.
    #[serde(skip)]
    pub(super) below: PathBuf,
    /// Place in an array of images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<u64>,
    /// What it is called, where labels were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<String>,
}

/// Rows on their way out.
pub(super) struct Table {
    path: Option<PathBuf>,
    /// The file that the output becomes at its end.
    growing: Option<Growing>,
    sink: Sink,
    is_labelled: bool,
    /// Rows that were there before.
    done: Done,
}

enum Sink {
    Csv {
        rows: Box<csv::Writer<Box<dyn Write>>>,
        /// Names of the columns, as the first good row has them.
        columns: Option<Vec<String>>,
        /// Failures before the first good row.
        waiting: Vec<(ImageName, String)>,
    },
    Jsonl(Box<dyn Write>),
    Npy(Box<NpyRows>),
    /// Something else goes to standard output.
    Nothing,
}

/// An array that begins with its first good row.
struct NpyRows {
    file: Option<BufWriter<File>>,
    writer: Option<NpyWriter<BufWriter<File>>>,
    /// Failures before the first good row.
    waiting: usize,
    /// The same file, if it goes to standard output once its header is known.
    copied: Option<File>,
}

/// What became of one image.
pub(super) struct Row<'a> {
    /// What its answer says once.
    pub(super) head: &'a Map<String, Value>,
    /// What it says of the image.
    pub(super) item: &'a Value,
    /// Its row of an array, where one is written.
    pub(super) tensor: Option<&'a Tensor>,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    name: &'a ImageName,
    #[serde(flatten)]
    head: Option<&'a Map<String, Value>>,
    #[serde(flatten)]
    item: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl OutputArgs {
    /// Whether rows appear on a terminal, where a progress bar would only get in their way.
    pub(super) fn is_terminal(&self) -> bool {
        self.path().is_none() && io::stdout().is_terminal()
    }

    /// The file, if it is not standard output.
    fn path(&self) -> Option<&Path> {
        self.output.as_deref().filter(|path| !is_standard(path))
    }
}

impl Table {
    /// Opens the output, with a column `label` after the name of an image if images have labels. An array has no room
    /// for it.
    pub(super) fn open(arguments: &OutputArgs, is_labelled: bool) -> Result<Self, CliError> {
        let path = arguments.path().map(Path::to_owned);
        let failed = |error| CliError::writing(path.as_deref(), error);
        if arguments.resume {
            let path = path
                .as_deref()
                .ok_or_else(|| CliError::Usage("--resume goes on with a file: add --output FILE".to_owned()))?;
            return Self::resume(path, arguments.format, is_labelled);
        }
        if arguments.format == Format::Npy && path.is_none() && io::stdout().is_terminal() {
            return Err(CliError::Usage(
                "an npy array is nothing to read on a terminal: add --output FILE".to_owned(),
            ));
        }
        let (growing, file) = match &path {
            Some(path) => {
                let (growing, file) = Growing::create(path).map_err(failed)?;
                (Some(growing), Some(file))
            }
            None => (None, None),
        };
        let sink = match (arguments.format, file) {
            (Format::Npy, file) => Sink::Npy(Box::new(NpyRows::new(file).map_err(failed)?)),
            (Format::Csv, file) => Sink::Csv {
                rows: Box::new(csv::Writer::from_writer(text_writer(file))),
                columns: None,
                waiting: Vec::new(),
            },
            (Format::Jsonl, file) => Sink::Jsonl(text_writer(file)),
        };
        Ok(Self {
            path,
            growing,
            sink,
            is_labelled,
            done: Done::default(),
        })
    }

    /// A table of which only the failures are told, for commands whose output is something else.
    pub(super) fn untold() -> Self {
        Self {
            path: None,
            growing: None,
            sink: Sink::Nothing,
            is_labelled: false,
            done: Done::default(),
        }
    }

    fn resume(path: &Path, format: Format, is_labelled: bool) -> Result<Self, CliError> {
        let failed = |error| CliError::writing(Some(path), error);
        let names = name_columns(is_labelled);
        let read: fn(&[u8], &[&str]) -> Result<Rows, String> = match format {
            Format::Csv => resume::csv_rows,
            Format::Jsonl => resume::json_lines,
            Format::Npy => {
                return Err(CliError::Usage(
                    "--resume goes on with csv and jsonl; an array does not name its images".to_owned(),
                ));
            }
        };
        let (growing, file, rows) = Growing::resume(path, |bytes| read(bytes, names))
            .map_err(failed)?
            .map_err(|reason| CliError::Usage(format!("--resume {}.part: {reason}", path.display())))?;
        let writer = text_writer(Some(file));
        Ok(Self {
            path: Some(path.to_owned()),
            growing: Some(growing),
            sink: match format {
                Format::Jsonl => Sink::Jsonl(writer),
                _ => Sink::Csv {
                    rows: Box::new(csv::Writer::from_writer(writer)),
                    columns: rows.columns,
                    waiting: Vec::new(),
                },
            },
            is_labelled,
            done: rows.done,
        })
    }

    /// Images whose rows are there already.
    pub(super) fn done(&self) -> &Done {
        &self.done
    }

    /// Where the reader finds why an image failed.
    pub(super) fn where_told(&self) -> &'static str {
        match self.sink {
            Sink::Csv { .. } | Sink::Jsonl(_) => ": the column `error` says why",
            Sink::Npy(_) => ": their rows are NaN",
            Sink::Nothing => "",
        }
    }

    /// Whether rows are of cells.
    pub(super) fn is_csv(&self) -> bool {
        matches!(self.sink, Sink::Csv { .. })
    }

    /// Whether rows are those of an array.
    pub(super) fn is_array(&self) -> bool {
        matches!(self.sink, Sink::Npy(_))
    }

    /// Writes one row.
    pub(super) fn push(&mut self, name: &ImageName, row: Result<Row<'_>, &str>) -> Result<(), CliError> {
        self.write(name, row)
            .map_err(|error| CliError::writing(self.path.as_deref(), error))
    }

    fn write(&mut self, name: &ImageName, row: Result<Row<'_>, &str>) -> io::Result<()> {
        let is_labelled = self.is_labelled;
        match &mut self.sink {
            Sink::Csv { rows, columns, waiting } => {
                let cells = row.map(|row| cells(row.head, row.item));
                if columns.is_none() {
                    match &cells {
                        Ok(cells) => {
                            let names: Vec<String> = cells.iter().map(|(name, _)| name.clone()).collect();
                            write_header(rows, &names, is_labelled)?;
                            for (name, error) in std::mem::take(waiting) {
                                write_cells(rows, &name, is_labelled, &names, Err(&error))?;
                            }
                            *columns = Some(names);
                        }
                        Err(error) => {
                            waiting.push((name.clone(), (*error).to_owned()));
                            return Ok(());
                        }
                    }
                }
                let columns = columns.as_deref().unwrap_or_default();
                let cells = match &cells {
                    Ok(cells) => Ok(&cells[..]),
                    Err(error) => Err(*error),
                };
                write_cells(rows, name, is_labelled, columns, cells)
            }
            Sink::Jsonl(writer) => {
                let line = Line {
                    name,
                    head: row.as_ref().ok().map(|row| row.head),
                    item: row.as_ref().ok().map(|row| row.item),
                    error: row.as_ref().err().copied(),
                };
                serde_json::to_writer(&mut *writer, &line)?;
                writer.write_all(b"\n")
            }
            Sink::Npy(array) => array.push(row.ok().and_then(|row| row.tensor)),
            Sink::Nothing => {
                if let Err(error) = row {
                    super::say(&format!("{}: {error}", name.input));
                }
                Ok(())
            }
        }
    }

    /// Lets a reader at the other end of a pipe see the rows so far.
    pub(super) fn flush(&mut self) -> Result<(), CliError> {
        let flushed = match &mut self.sink {
            Sink::Csv { rows, .. } => rows.flush(),
            Sink::Jsonl(writer) => writer.flush(),
            Sink::Npy(_) | Sink::Nothing => Ok(()),
        };
        flushed.map_err(|error| CliError::writing(self.path.as_deref(), error))
    }

    /// Ends the output.
    pub(super) fn finish(mut self) -> Result<(), CliError> {
        let is_labelled = self.is_labelled;
        let finished = match &mut self.sink {
            Sink::Csv {
                rows,
                columns: None,
                waiting,
            } => {
                let mut end = |rows: &mut csv::Writer<Box<dyn Write>>| {
                    write_header(rows, &[], is_labelled)?;
                    for (name, error) in std::mem::take(waiting) {
                        write_cells(rows, &name, is_labelled, &[], Err(&error))?;
                    }
                    Ok(())
                };
                end(rows)
            }
            Sink::Npy(array) => array.finish(),
            Sink::Csv { .. } | Sink::Jsonl(_) | Sink::Nothing => Ok(()),
        };
        finished.map_err(|error| CliError::writing(self.path.as_deref(), error))?;
        self.flush()?;
        match self.growing.take().map(Growing::finish) {
            Some(Err(error)) => Err(CliError::writing(self.path.as_deref(), error)),
            _ => Ok(()),
        }
    }
}

impl NpyRows {
    /// An array in a file; without one in a file of no name, until it is copied to standard output.
    fn new(file: Option<File>) -> io::Result<Self> {
        let (file, copied) = match file {
            Some(file) => (file, None),
            None => {
                let file = tempfile::tempfile()?;
                (file.try_clone()?, Some(file))
            }
        };
        Ok(Self {
            file: Some(BufWriter::new(file)),
            writer: None,
            waiting: 0,
            copied,
        })
    }

    fn push(&mut self, row: Option<&Tensor>) -> io::Result<()> {
        let Some(row) = row else {
            match &mut self.writer {
                Some(writer) => writer.push(None)?,
                None => self.waiting += 1,
            }
            return Ok(());
        };
        if self.writer.is_none()
            && let Some(file) = self.file.take()
        {
            let element = match row.values {
                Values::F32(_) => Element::F32,
                _ => Element::F64,
            };
            let shape = row.shape.get(1..).unwrap_or_default().to_vec();
            let mut writer = NpyWriter::new(file, element, shape)?;
            for _ in 0..self.waiting {
                writer.push(None)?;
            }
            self.writer = Some(writer);
        }
        let numbers: Vec<f64> = match &row.values {
            Values::F64(values) => values.clone(),
            Values::F32(values) => values.iter().copied().map(f64::from).collect(),
            Values::U8(values) => values.iter().copied().map(f64::from).collect(),
            Values::Bool(flags) => flags.iter().map(|&flag| f64::from(u8::from(flag))).collect(),
            Values::Bytes(_) => Vec::new(),
        };
        match &mut self.writer {
            Some(writer) => writer.push(Some(&numbers)),
            None => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        if let Some(file) = self.file.take() {
            // No image was good, so nobody knows the shape of a row.
            let mut writer = NpyWriter::new(file, Element::F64, Vec::new())?;
            for _ in 0..self.waiting {
                writer.push(None)?;
            }
            self.writer = Some(writer);
        }
        self.writer.take().map_or(Ok(()), NpyWriter::finish)?;
        if let Some(mut file) = self.copied.take() {
            file.seek(io::SeekFrom::Start(0))?;
            let mut output = io::stdout().lock();
            io::copy(&mut file, &mut output)?;
            output.flush()?;
        }
        Ok(())
    }
}

/// The cells of a row: members of head and item, those of objects within them under `outer.inner`, numbers of a list
/// under `name_0`, `name_1` and so on. What has no room in a cell is left out.
fn cells(head: &Map<String, Value>, item: &Value) -> Vec<(String, String)> {
    let mut cells = Vec::new();
    for (name, value) in head {
        add_cells(name.clone(), value, &mut cells);
    }
    for (name, value) in item.as_object().into_iter().flatten() {
        add_cells(name.clone(), value, &mut cells);
    }
    cells
}

fn add_cells(name: String, value: &Value, cells: &mut Vec<(String, String)>) {
    match value {
        Value::Null => cells.push((name, String::new())),
        Value::Bool(_) | Value::Number(_) => cells.push((name, value.to_string())),
        Value::String(text) => cells.push((name, text.clone())),
        // A file has no room in a cell.
        Value::Object(members) if members.contains_key("base64") => {}
        Value::Object(members) => {
            for (inner, value) in members {
                add_cells(format!("{name}.{inner}"), value, cells);
            }
        }
        Value::Array(entries) => {
            let is_flat = entries.iter().all(Value::is_number);
            for (index, value) in entries.iter().enumerate().take_while(|_| is_flat) {
                cells.push((format!("{name}_{index}"), shortest(value)));
            }
        }
    }
}

/// A number of a list, most of which are of single precision: then with no more digits than tell it apart.
fn shortest(value: &Value) -> String {
    let single = value.as_f64().filter(|_| value.is_f64());
    match single.map(|number| (number, number as f32)) {
        Some((number, single)) if f64::from(single) == number => single.to_string(),
        _ => value.to_string(),
    }
}

/// The columns that name an image.
fn name_columns(is_labelled: bool) -> &'static [&'static str] {
    let all = &["input", "index", "label"];
    if is_labelled { all } else { &all[..2] }
}

fn write_header(rows: &mut csv::Writer<Box<dyn Write>>, columns: &[String], is_labelled: bool) -> io::Result<()> {
    let name = name_columns(is_labelled);
    let columns = columns.iter().map(String::as_str);
    rows.write_record(name.iter().copied().chain(columns).chain(["error"]))
        .map_err(io_error)
}

fn write_cells(
    rows: &mut csv::Writer<Box<dyn Write>>,
    name: &ImageName,
    is_labelled: bool,
    columns: &[String],
    cells: Result<&[(String, String)], &str>,
) -> io::Result<()> {
    let index = name.index.map(|index| index.to_string());
    let mut row = vec![name.input.clone(), index.unwrap_or_default()];
    if is_labelled {
        row.push(name.label.clone().unwrap_or_default());
    }
    let own = cells.unwrap_or_default();
    row.extend(columns.iter().map(|column| {
        let cell = own.iter().find(|(name, _)| name == column);
        cell.map(|(_, text)| text.clone()).unwrap_or_default()
    }));
    row.push(cells.err().unwrap_or_default().to_owned());
    rows.write_record(row).map_err(io_error)
}

fn text_writer(file: Option<File>) -> Box<dyn Write> {
    match file {
        Some(file) => Box::new(BufWriter::new(file)),
        None => Box::new(BufWriter::new(io::stdout())),
    }
}

/// The system's own error inside one of `csv`, whose conversion would hide that a pipe was closed.
fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}
