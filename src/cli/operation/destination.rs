//! Where the answers about images go: a row of a table for each, and perhaps a file or a place in a gallery.

use std::{path::PathBuf, sync::Arc};

use serde_json::{Map, Value};

use crate::{
    cli::{
        self, CliError,
        files::Sink,
        gallery::Gallery,
        name::{ImageName, shown},
        table::{Row, Table},
    },
    model::Refusal,
    operations::{
        AnyAnswer, Tensor, TensorSpec,
        tensor::{Datatype, Values},
    },
};

/// A table, and what is written beside it.
pub(super) struct Destination {
    pub(super) table: Table,
    pub(super) files: Option<Sink>,
    pub(super) gallery: Option<Gallery>,
    /// The tensors that the operation declares.
    pub(super) tensors: &'static [TensorSpec],
    /// Whether maps were asked for, and not only shown in the gallery.
    pub(super) has_maps: bool,
    /// What a detector promises, which the gallery says once.
    pub(super) guarantee: Option<String>,
}

/// What became of one image.
struct OwnRow {
    head: Map<String, Value>,
    item: Value,
    tensor: Option<Tensor>,
}

impl Destination {
    /// Writes what became of an image; answers whether that is good.
    pub(super) fn push(
        &mut self,
        name: &ImageName,
        answer: Result<Box<dyn AnyAnswer>, Arc<str>>,
    ) -> Result<bool, CliError> {
        let answer = answer.map_err(|error| error.to_string());
        let row = answer.and_then(|answer| self.row(name, answer));
        let shown = row.as_ref().map(|row| Row {
            head: &row.head,
            item: &row.item,
            tensor: row.tensor.as_ref(),
        });
        self.table.push(name, shown.map_err(String::as_str))?;
        self.table.flush()?;
        Ok(row.is_ok())
    }

    /// The row of an image, once its file or its place in the gallery is written.
    fn row(&mut self, name: &ImageName, answer: Box<dyn AnyAnswer>) -> Result<OwnRow, String> {
        let mut row = OwnRow {
            head: answer.head(),
            item: one(answer.items())?,
            tensor: None,
        };
        if let Some(gallery) = &mut self.gallery {
            let guarantee = row.item.get("guarantee").and_then(Value::as_str);
            self.guarantee = guarantee.map(str::to_owned);
            gallery.push(name, &row.item, answer.rendering().map_err(|e| cli::told(&e))?)?;
            if let (Some(members), false) = (row.item.as_object_mut(), self.has_maps) {
                members.remove("map");
            }
        } else if let Some(files) = &mut self.files {
            let file = files.push(name, answer)?;
            self.name_file(&mut row.item, file);
        } else if self.table.is_array() {
            row.tensor = answer.tensors().map_err(|e| cli::told(&e))?.pop();
        } else if self.table.is_csv() {
            name_infinities(&mut row.item, &answer.tensors().map_err(|e| cli::told(&e))?);
        }
        Ok(row)
    }

    /// Puts the file of an image or a stream in the place that its bytes have in an answer.
    fn name_file(&self, item: &mut Value, file: Option<PathBuf>) {
        let files = [Datatype::Bytes, Datatype::U8];
        let mut held = self.tensors.iter().filter(|tensor| files.contains(&tensor.datatype));
        if let (Some(tensor), Some(members), Some(file)) = (held.next(), item.as_object_mut(), file) {
            members.insert(tensor.name.to_owned(), Value::String(shown(file)));
        }
    }

    /// Ends all files; answers where it is told what failed.
    pub(super) fn finish(self) -> Result<&'static str, CliError> {
        if let Some(files) = self.files {
            files.finish()?;
        }
        if let Some(gallery) = self.gallery {
            let page = gallery.finish(self.guarantee.as_deref())?;
            cli::say(&format!("written: {}", page.display()));
        }
        let where_told = self.table.where_told();
        self.table.finish()?;
        Ok(where_told)
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
