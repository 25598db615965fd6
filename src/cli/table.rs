//! Results as rows of CSV, JSON lines or an npy array, to a file or to standard output.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    CliError,
    name::ImageName,
    partial_file::PartialFile,
    resume::{self, Done, Rows},
    stdin::is_standard,
};
use crate::operations::Tensor;

mod array;
mod csv;

use self::{
    array::NpyRows,
    csv::{CsvRows, name_columns},
};

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

/// Rows on their way out.
pub(super) struct Table {
    path: Option<PathBuf>,
    /// The file that the output becomes at its end.
    growing: Option<PartialFile>,
    sink: Sink,
    /// Rows that were there before.
    done: Done,
}

enum Sink {
    Csv(Box<CsvRows>),
    Jsonl(Box<dyn Write>),
    Npy(Box<NpyRows>),
    /// Something else goes to standard output.
    Nothing,
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
                let (growing, file) = PartialFile::create(path).map_err(failed)?;
                (Some(growing), Some(file))
            }
            None => (None, None),
        };
        let sink = match (arguments.format, file) {
            (Format::Npy, file) => Sink::Npy(Box::new(NpyRows::new(file).map_err(failed)?)),
            (Format::Csv, file) => Sink::Csv(Box::new(CsvRows::new(text_writer(file), is_labelled, None))),
            (Format::Jsonl, file) => Sink::Jsonl(text_writer(file)),
        };
        Ok(Self {
            path,
            growing,
            sink,
            done: Done::default(),
        })
    }

    /// A table of which only the failures are told, for commands whose output is something else.
    pub(super) fn untold() -> Self {
        Self {
            path: None,
            growing: None,
            sink: Sink::Nothing,
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
        let (growing, file, rows) = PartialFile::resume(path, |bytes| read(bytes, names))
            .map_err(failed)?
            .map_err(|reason| CliError::Usage(format!("--resume {}.part: {reason}", path.display())))?;
        let writer = text_writer(Some(file));
        Ok(Self {
            path: Some(path.to_owned()),
            growing: Some(growing),
            sink: match format {
                Format::Jsonl => Sink::Jsonl(writer),
                _ => Sink::Csv(Box::new(CsvRows::new(writer, is_labelled, rows.columns))),
            },
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
            Sink::Csv(_) | Sink::Jsonl(_) => ": the column `error` says why",
            Sink::Npy(_) => ": their rows are NaN",
            Sink::Nothing => "",
        }
    }

    /// Whether rows are of cells.
    pub(super) fn is_csv(&self) -> bool {
        matches!(self.sink, Sink::Csv(_))
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
        match &mut self.sink {
            Sink::Csv(rows) => rows.push(name, row),
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
            Sink::Csv(rows) => rows.flush(),
            Sink::Jsonl(writer) => writer.flush(),
            Sink::Npy(_) | Sink::Nothing => Ok(()),
        };
        flushed.map_err(|error| CliError::writing(self.path.as_deref(), error))
    }

    /// Ends the output.
    pub(super) fn finish(mut self) -> Result<(), CliError> {
        let finished = match &mut self.sink {
            Sink::Csv(rows) => rows.finish(),
            Sink::Npy(array) => array.finish(),
            Sink::Jsonl(_) | Sink::Nothing => Ok(()),
        };
        finished.map_err(|error| CliError::writing(self.path.as_deref(), error))?;
        self.flush()?;
        match self.growing.take().map(PartialFile::finish) {
            Some(Err(error)) => Err(CliError::writing(self.path.as_deref(), error)),
            _ => Ok(()),
        }
    }
}

fn text_writer(file: Option<File>) -> Box<dyn Write> {
    match file {
        Some(file) => Box::new(BufWriter::new(file)),
        None => Box::new(BufWriter::new(io::stdout())),
    }
}
