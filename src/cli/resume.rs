//! What the rows of an interrupted command say: which images they are about, and where the last whole row ends.

use std::collections::HashSet;

use serde::Deserialize;

use super::partial_file::Length;

/// Images whose rows are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Done {
    images: HashSet<(String, Option<u64>)>,
    /// How many of these have an error for a row.
    pub(super) failed: u64,
}

/// Rows that are kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) done: Done,
    /// The columns after those that name an image, where there is a header.
    pub(super) columns: Option<Vec<String>>,
    length: u64,
}

impl Length for Rows {
    fn length(&self) -> u64 {
        self.length
    }
}

impl Done {
    /// Images.
    pub(super) fn len(&self) -> u64 {
        self.images.len() as u64
    }

    /// Whether the image of that name has its row.
    pub(super) fn has(&self, input: &str, index: Option<u64>) -> bool {
        // The name is only copied where anything was done before.
        !self.images.is_empty() && self.images.contains(&(input.to_owned(), index))
    }

    fn add(&mut self, input: String, index: Option<u64>, has_failed: bool) {
        self.images.insert((input, index));
        self.failed += u64::from(has_failed);
    }
}

/// Rows of CSV under a header that begins with `names`.
pub(super) fn csv_rows(bytes: &[u8], names: &[&str]) -> Result<Rows, String> {
    let mut rows = Rows::default();
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(bytes);
    let mut record = csv::StringRecord::new();
    while let Ok(true) = reader.read_record(&mut record) {
        let end = reader.position().byte();
        let is_whole = usize::try_from(end).is_ok_and(|end| bytes[..end].ends_with(b"\n"));
        let cells: Vec<&str> = record.iter().collect();
        match &rows.columns {
            _ if !is_whole => break,
            None => {
                let own = cells.strip_prefix(names).and_then(|rest| rest.split_last());
                let Some((&"error", columns)) = own else {
                    return Err(format!(
                        "its header is not the one of this command, which begins with {}",
                        names.join(",")
                    ));
                };
                rows.columns = Some(columns.iter().map(|name| (*name).to_owned()).collect());
            }
            Some(columns) if cells.len() == names.len() + columns.len() + 1 => {
                let index = cells[1].parse().ok();
                let has_failed = cells.last().is_some_and(|error| !error.is_empty());
                rows.done.add(cells[0].to_owned(), index, has_failed);
            }
            Some(_) => break,
        }
        rows.length = end;
    }
    Ok(rows)
}

#[derive(Deserialize)]
struct Line {
    input: String,
    index: Option<u64>,
    error: Option<String>,
}

/// JSON objects, one a line.
pub(super) fn json_lines(bytes: &[u8], _names: &[&str]) -> Result<Rows, String> {
    let mut rows = Rows::default();
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        if !line.ends_with(b"\n") {
            break;
        }
        let Line { input, index, error } =
            serde_json::from_slice(line).map_err(|error| format!("at byte {} is no row: {error}", rows.length))?;
        rows.done.add(input, index, error.is_some());
        rows.length += line.len() as u64;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_either_form_are_known_again_up_to_the_last_whole_one() {
        let csv = "input,index,bits_per_dim,error\na.png,,1.5,\n\"b, c.npy\",0,,\"no\nimage\"\nd.png,,2";
        let rows = csv_rows(csv.as_bytes(), &["input", "index"]).unwrap();
        assert_eq!(rows.columns, Some(vec!["bits_per_dim".to_owned()]));
        let json =
            "{\"input\":\"a.png\",\"bits_per_dim\":1.5}\n{\"input\":\"b, c.npy\",\"index\":0,\"error\":\"no\"}\n{\"inp";
        let lines = json_lines(json.as_bytes(), &[]).unwrap();
        for (rows, text) in [(&rows, csv), (&lines, json)] {
            assert!(rows.done.has("a.png", None) && rows.done.has("b, c.npy", Some(0)));
            assert!(!rows.done.has("d.png", None));
            assert_eq!((rows.done.len(), rows.done.failed), (2, 1));
            assert!(text[..rows.length as usize].ends_with('\n'));
            assert!(!text[rows.length as usize..].contains('\n'));
        }
    }

    #[test]
    fn what_this_command_has_not_written_is_refused_and_nothing_is_nothing() {
        assert!(csv_rows(b"input,index,label,x,error\n", &["input", "label"]).is_err());
        assert!(csv_rows(b"a,b\n", &["input", "index"]).is_err());
        assert!(json_lines(b"nonsense\n", &[]).is_err());
        assert_eq!(csv_rows(b"", &["input", "index"]).unwrap(), Rows::default());
    }
}
