//! Rows of comma-separated cells, whose columns are those that the first good row has.

use std::io::{self, Write};

use serde_json::{Map, Value};

use super::Row;
use crate::cli::name::ImageName;

/// Rows on their way out.
pub(super) struct CsvRows {
    rows: csv::Writer<Box<dyn Write>>,
    is_labelled: bool,
    /// Names of the columns beside those of an image's name; none before the first good row.
    columns: Option<Vec<String>>,
    /// Failures before the first good row.
    waiting: Vec<(ImageName, String)>,
}

impl CsvRows {
    /// Rows after others whose columns are known, or from the header on.
    pub(super) fn new(writer: Box<dyn Write>, is_labelled: bool, columns: Option<Vec<String>>) -> Self {
        Self {
            rows: csv::Writer::from_writer(writer),
            is_labelled,
            columns,
            waiting: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, name: &ImageName, row: Result<Row<'_>, &str>) -> io::Result<()> {
        let cells = match row {
            Ok(row) => Ok(cells(row.head, row.item)),
            Err(error) if self.columns.is_none() => {
                self.waiting.push((name.clone(), error.to_owned()));
                return Ok(());
            }
            Err(error) => Err(error),
        };
        if let (None, Ok(cells)) = (&self.columns, &cells) {
            self.begin(cells.iter().map(|(name, _)| name.clone()).collect())?;
        }
        self.write(name, cells.as_deref().map_err(|error| *error))
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.rows.flush()
    }

    /// Ends the rows, which have a header even if none was good.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self.columns {
            Some(_) => Ok(()),
            None => self.begin(Vec::new()),
        }
    }

    /// Writes the header, and the failures that waited for it.
    fn begin(&mut self, columns: Vec<String>) -> io::Result<()> {
        let names = name_columns(self.is_labelled).iter().copied();
        let own = columns.iter().map(String::as_str);
        self.rows
            .write_record(names.chain(own).chain(["error"]))
            .map_err(io_error)?;
        self.columns = Some(columns);
        for (name, error) in std::mem::take(&mut self.waiting) {
            self.write(&name, Err(&error))?;
        }
        Ok(())
    }

    fn write(&mut self, name: &ImageName, cells: Result<&[(String, String)], &str>) -> io::Result<()> {
        let index = name.index.map(|index| index.to_string());
        let mut row = vec![name.input.clone(), index.unwrap_or_default()];
        if self.is_labelled {
            row.push(name.label.clone().unwrap_or_default());
        }
        let own = cells.unwrap_or_default();
        row.extend(self.columns.iter().flatten().map(|column| {
            let cell = own.iter().find(|(name, _)| name == column);
            cell.map(|(_, text)| text.clone()).unwrap_or_default()
        }));
        row.push(cells.err().unwrap_or_default().to_owned());
        self.rows.write_record(row).map_err(io_error)
    }
}

/// The columns that name an image.
pub(super) fn name_columns(is_labelled: bool) -> &'static [&'static str] {
    let all = &["input", "index", "label"];
    if is_labelled { all } else { &all[..2] }
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

/// The system's own error inside one of `csv`, whose conversion would hide that a pipe was closed.
fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}
