//! Results as rows of CSV, JSON lines or an npy array, to a file or to standard output.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{
    CliError,
    npy::{Element, NpyWriter},
};

/// Where results go and in which form.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputArgs {
    /// Form of the results; an image that failed is a row with an error (in npy: NaN)
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    pub(super) format: Format,

    /// File to write instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

/// The form of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// One NumPy array; needs --output.
    Npy,
}

/// What a command found out about one image.
pub(super) trait Answer: Serialize {
    /// Cells under the table's columns.
    fn cells(&self) -> Vec<String>;
    /// The row of an array.
    fn numbers(&self) -> Vec<f64>;
}

/// Which image a row is about.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ImageName {
    /// The file.
    pub(super) input: String,
    /// Place in an array of images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<u64>,
    /// What it is called, where labels were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<String>,
}

/// The columns and the array's shape, which a command knows before its first image.
pub(super) struct Layout {
    pub(super) columns: Vec<String>,
    pub(super) element: Element,
    pub(super) row_shape: Vec<usize>,
}

/// Rows on their way out.
pub(super) struct Table {
    path: Option<PathBuf>,
    sink: Sink,
    columns: usize,
    is_labelled: bool,
}

enum Sink {
    Csv(Box<csv::Writer<Box<dyn Write>>>),
    Jsonl(Box<dyn Write>),
    Npy(NpyWriter<BufWriter<File>>),
}

#[derive(Serialize)]
struct Line<'a, A> {
    #[serde(flatten)]
    name: &'a ImageName,
    #[serde(flatten)]
    answer: Option<&'a A>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl OutputArgs {
    /// Whether rows appear on a terminal, where a progress bar would only get in their way.
    pub(super) fn is_terminal(&self) -> bool {
        self.output.is_none() && io::stdout().is_terminal()
    }
}

impl Table {
    /// Opens the output and writes what comes before the first row.
    pub(super) fn open(arguments: &OutputArgs, layout: Layout) -> Result<Self, CliError> {
        Self::open_with(arguments, layout, false)
    }

    /// The same with a column `label` after the name of an image, if images have labels. An array has no room for it.
    pub(super) fn open_with(
        arguments: &OutputArgs,
        layout: Layout,
        is_labelled: bool,
    ) -> Result<Self, CliError> {
        let path = arguments.output.clone();
        let failed = |error| CliError::writing(path.as_deref(), error);
        let sink = match (arguments.format, &path) {
            (Format::Npy, Some(path)) => {
                let file = BufWriter::new(File::create(path).map_err(failed)?);
                let array = NpyWriter::new(file, layout.element, layout.row_shape);
                Sink::Npy(array.map_err(failed)?)
            }
            (Format::Npy, None) => {
                return Err(CliError::Usage(
                    "an npy array cannot go to standard output, because its header tells the number of rows: add --output FILE"
                        .to_owned(),
                ));
            }
            (Format::Csv, path) => {
                let mut rows = csv::Writer::from_writer(open(path.as_deref()).map_err(failed)?);
                let name = ["input", "index", "label"];
                let name = &name[..if is_labelled { 3 } else { 2 }];
                let columns = layout.columns.iter().map(String::as_str);
                rows.write_record(name.iter().copied().chain(columns).chain(["error"]))
                    .map_err(|error| failed(io_error(error)))?;
                Sink::Csv(Box::new(rows))
            }
            (Format::Jsonl, path) => Sink::Jsonl(open(path.as_deref()).map_err(failed)?),
        };
        Ok(Self {
            path,
            sink,
            columns: layout.columns.len(),
            is_labelled,
        })
    }

    /// Writes one row.
    pub(super) fn push<A: Answer>(
        &mut self,
        name: &ImageName,
        answer: Result<&A, &str>,
    ) -> Result<(), CliError> {
        self.write(name, answer)
            .map_err(|error| CliError::writing(self.path.as_deref(), error))
    }

    fn write<A: Answer>(&mut self, name: &ImageName, answer: Result<&A, &str>) -> io::Result<()> {
        match &mut self.sink {
            Sink::Csv(rows) => {
                let index = name.index.map(|index| index.to_string());
                let mut row = vec![name.input.clone(), index.unwrap_or_default()];
                if self.is_labelled {
                    row.push(name.label.clone().unwrap_or_default());
                }
                row.extend(answer.map_or_else(|_| vec![String::new(); self.columns], A::cells));
                row.push(answer.err().unwrap_or_default().to_owned());
                rows.write_record(row).map_err(io_error)?;
            }
            Sink::Jsonl(writer) => {
                let line = Line {
                    name,
                    answer: answer.ok(),
                    error: answer.err(),
                };
                serde_json::to_writer(&mut *writer, &line)?;
                writer.write_all(b"\n")?;
            }
            Sink::Npy(array) => {
                let numbers = answer.ok().map(A::numbers);
                array.push(numbers.as_deref())?;
            }
        }
        Ok(())
    }

    /// Lets a reader at the other end of a pipe see the rows so far.
    pub(super) fn flush(&mut self) -> Result<(), CliError> {
        let flushed = match &mut self.sink {
            Sink::Csv(rows) => rows.flush(),
            Sink::Jsonl(writer) => writer.flush(),
            Sink::Npy(_) => Ok(()),
        };
        flushed.map_err(|error| CliError::writing(self.path.as_deref(), error))
    }

    /// Ends the output.
    pub(super) fn finish(mut self) -> Result<(), CliError> {
        self.flush()?;
        match self.sink {
            Sink::Npy(array) => array
                .finish()
                .map_err(|error| CliError::writing(self.path.as_deref(), error)),
            Sink::Csv(_) | Sink::Jsonl(_) => Ok(()),
        }
    }
}

fn open(path: Option<&Path>) -> io::Result<Box<dyn Write>> {
    Ok(match path {
        Some(path) => Box::new(BufWriter::new(File::create(path)?)),
        None => Box::new(BufWriter::new(io::stdout())),
    })
}

/// The system's own error inside one of `csv`, whose conversion would hide that a pipe was closed.
fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}
