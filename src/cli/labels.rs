//! What images are called: labels from a file beside an array of images, or from the folders that image files lie in.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use flate2::bufread::MultiGzDecoder;

use super::{CliError, inputs, name::shown};
use crate::{
    domain::image::ImageShape,
    media::{self, IdxReader},
};

/// More than any file of labels has, however well it was compressed.
const MAX_BYTES: u64 = 256 << 20;

/// Where labels come from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Labels")]
pub(super) struct LabelArgs {
    /// Labels in the order of the images: an npy array of integers [N], an IDX file (…idx1-ubyte) or a text file with
    /// one label a line, by name or number, or CSV with a column `label`; each also as .gz. Where CSV has a column
    /// `input`, `file`, `filename` or `path`, it says which file a label is of, in any order
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,

    /// The label of an image is the name of the folder that its file lies in, as in data/<label>/<file>.png
    #[arg(long, conflicts_with = "labels")]
    labels_from_folders: bool,
}

/// What images are called.
#[derive(Debug, Clone)]
pub(super) enum Labels {
    /// Nobody said.
    None,
    /// One label an image, in order.
    Listed(Vec<String>),
    /// That of the folder.
    Folders,
}

impl LabelArgs {
    /// The labels of the images in `files`; their number must be that of the images.
    pub(super) fn read(&self, files: &[PathBuf], shape: ImageShape) -> Result<Labels, CliError> {
        if self.labels_from_folders {
            if let Some(file) = files.iter().find(|file| folder_of(file).is_none()) {
                return Err(CliError::Usage(format!(
                    "--labels-from-folders: {} lies in no folder with a name",
                    file.display()
                )));
            }
            return Ok(Labels::Folders);
        }
        let Some(path) = &self.labels else {
            return Ok(Labels::None);
        };
        let wrong = |reason| CliError::Usage(format!("--labels {}: {reason}", path.display()));
        let Listed { labels, names } = read(path).map_err(wrong)?;
        let images = inputs::count(files, shape)?;
        // Images of an array have no names of their own.
        if let Some(names) = names.filter(|_| images == files.len() as u64) {
            return by_name(files, &labels, &names).map(Labels::Listed).map_err(wrong);
        }
        if images != labels.len() as u64 {
            return Err(CliError::Usage(format!(
                "--labels {}: there are {} labels for {images} images; every image needs one, in the same order",
                path.display(),
                labels.len(),
            )));
        }
        Ok(Labels::Listed(labels))
    }
}

impl Labels {
    /// Whether images have any.
    pub(super) fn are_given(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// The label of an image in `file` that is at `position` among all.
    pub(super) fn of(&self, file: &Path, position: u64) -> Option<String> {
        match self {
            Self::None => None,
            Self::Listed(labels) => labels.get(usize::try_from(position).ok()?).cloned(),
            Self::Folders => folder_of(file),
        }
    }

    /// Every label that an image in `files` has, for checks before the work begins.
    pub(super) fn distinct(&self, files: &[PathBuf]) -> Vec<String> {
        let mut all: Vec<String> = match self {
            Self::None => Vec::new(),
            Self::Listed(labels) => labels.clone(),
            Self::Folders => files.iter().filter_map(|file| folder_of(file)).collect(),
        };
        all.sort();
        all.dedup();
        all
    }
}

/// Labels as a file lists them, and the files that it says they are of.
#[derive(Debug, Default)]
struct Listed {
    labels: Vec<String>,
    names: Option<Vec<String>>,
}

impl From<Vec<String>> for Listed {
    fn from(labels: Vec<String>) -> Self {
        Self { labels, names: None }
    }
}

/// Columns of CSV that say which file a row is about.
const NAMES: [&str; 4] = ["input", "file", "filename", "path"];

/// The label of each file, from the one row that names it: by its path, or as much of the end of that as either tells.
fn by_name(files: &[PathBuf], labels: &[String], names: &[String]) -> Result<Vec<String>, String> {
    let last = |path: &Path| path.file_name().map(ToOwned::to_owned);
    let mut rows: BTreeMap<_, Vec<(&Path, &String)>> = BTreeMap::new();
    for (name, label) in names.iter().zip(labels) {
        let path = Path::new(name);
        rows.entry(last(path)).or_default().push((path, label));
    }
    let label = |file: &PathBuf| {
        let rows = rows.get(&last(file)).map_or(&[][..], Vec::as_slice);
        let mut own = rows
            .iter()
            .filter(|(path, _)| file.ends_with(path) || path.ends_with(file));
        match (own.next(), own.next()) {
            (Some((_, label)), None) => Ok((*label).clone()),
            (None, _) => Err(format!("no row names {}", file.display())),
            (Some(_), Some(_)) => Err(format!("several rows name {}: give more of its path", file.display())),
        }
    };
    files.iter().map(label).collect()
}

/// The name of the folder that a file lies in.
fn folder_of(file: &Path) -> Option<String> {
    let name = |path: &Path| Some(shown(path.parent()?.file_name()?));
    name(file).or_else(|| name(&file.canonicalize().ok()?))
}

fn read(path: &Path) -> Result<Listed, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let is_compressed = file.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
    let reader: Box<dyn Read> = if is_compressed {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut bytes = Vec::new();
    let mut limited = reader.take(MAX_BYTES + 1);
    limited.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it holds more than {MAX_BYTES} bytes"));
    }
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Result<Listed, String> {
    if bytes.starts_with(media::NPY_MAGIC) {
        let numbers = media::read_integers(bytes).map_err(|error| error.to_string())?;
        return Ok(numbers.iter().map(i64::to_string).collect::<Vec<_>>().into());
    }
    if media::is_idx(bytes) {
        let array = IdxReader::new(bytes).map_err(|error| error.to_string())?;
        if array.shape().len() != 1 {
            return Err(format!(
                "the IDX array is of shape {:?}; labels are of shape [N]",
                array.shape()
            ));
        }
        let numbers = array.into_values().map_err(|error| error.to_string())?;
        return Ok(numbers.iter().map(u8::to_string).collect::<Vec<_>>().into());
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| "it is neither an npy array of integers, nor an IDX file, nor text".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = text.lines().next().unwrap_or_default();
    if first.contains(',') || first.trim() == "label" {
        columns(text)
    } else {
        lines(text).map(Listed::from)
    }
}

/// One label a line.
fn lines(text: &str) -> Result<Vec<String>, String> {
    let label = |(place, line): (usize, &str)| match line.trim() {
        "" => Err(format!("line {} is empty", place + 1)),
        label => Ok(label.to_owned()),
    };
    text.trim_end().lines().enumerate().map(label).collect()
}

/// The column `label` of CSV with a header, and that of names, if there is one.
fn columns(text: &str) -> Result<Listed, String> {
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let header = rows.headers().map_err(|error| error.to_string())?;
    let place = header.iter().position(|name| name.trim() == "label").ok_or_else(|| {
        format!(
            "its first line has commas, so it is taken as the header of a CSV file, but there is no column `label` \
                 among: {}",
            header.iter().collect::<Vec<_>>().join(", ")
        )
    })?;
    let named = header.iter().position(|name| NAMES.contains(&name.trim()));
    let mut listed = Listed {
        names: named.map(|_| Vec::new()),
        ..Listed::default()
    };
    for (row, record) in rows.records().enumerate() {
        let record = record.map_err(|error| error.to_string())?;
        match record.get(place).map_or("", str::trim) {
            "" => return Err(format!("row {} has no label", row + 1)),
            label => listed.labels.push(label.to_owned()),
        }
        if let (Some(names), Some(place)) = (&mut listed.names, named) {
            names.push(record.get(place).unwrap_or_default().to_owned());
        }
    }
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_gives_the_same_labels() {
        let npy = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        let header = "{'descr': '<i2', 'fortran_order': False, 'shape': (3,), }";
        let npy = [npy, format!("{header:<117}\n").into_bytes(), vec![9, 0, 0, 0, 4, 0]].concat();
        let idx = [0, 0, 8, 1, 0, 0, 0, 3, 9, 0, 4];
        for bytes in [
            &npy[..],
            &idx,
            b"9\n0\n4\n",
            b"9\r\n 0\r\n4",
            b"label\n9\n0\n4\n",
            b"input,label,error\na,9,\nb,0,\n\"c,d\",4,\n",
        ] {
            let labels = parse(bytes).unwrap().labels;
            assert_eq!(labels, ["9", "0", "4"], "{}", bytes.escape_ascii());
        }
        assert_eq!(parse(b"Ankle boot\nT-shirt/top").unwrap().labels[0], "Ankle boot");
    }

    #[test]
    fn what_holds_no_labels_says_why() {
        for (bytes, reason) in [
            (&b"a\n\nb\n"[..], "line 2 is empty"),
            (b"name,class\n1,2\n", "no column `label` among: name, class"),
            (b"a,label\n1,2\n3,\n", "row 2 has no label"),
            (b"\xff\xfe\x00", "neither an npy array"),
            (&[0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 1, 7], "labels are of shape [N]"),
            (&[0, 0, 8, 1, 0, 0, 0, 2, 7], "after 1 of the 2 values"),
            (&[0, 0, 13, 1, 0, 0, 0, 2, 7], "float32"),
        ] {
            let error = parse(bytes).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_folder_names_what_lies_in_it() {
        let labels = Labels::Folders;
        assert_eq!(labels.of(Path::new("data/coat/1.png"), 7).unwrap(), "coat");
        assert_eq!(Labels::None.of(Path::new("data/coat/1.png"), 7), None);
    }
}
