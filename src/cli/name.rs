//! What an image is called in a row, a file and a message: where it came from.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::stdin::is_standard;

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

/// The path of a file below the input that was named: its name alone, if it was named itself.
pub(super) fn below(path: &Path, roots: &[PathBuf]) -> PathBuf {
    if is_standard(path) {
        return PathBuf::from("stdin");
    }
    roots
        .iter()
        .filter_map(|root| path.strip_prefix(root).ok())
        .find(|rest| !rest.as_os_str().is_empty())
        .or_else(|| path.file_name().map(Path::new))
        .unwrap_or(path)
        .to_owned()
}

/// A path as text. What is not UTF-8 is written as `\\xff`, so that files whose names differ only there keep apart.
pub(super) fn shown(path: impl AsRef<Path>) -> String {
    let mut text = String::new();
    for chunk in path.as_ref().as_os_str().as_encoded_bytes().utf8_chunks() {
        text += chunk.valid();
        for byte in chunk.invalid() {
            text += &format!("\\x{byte:02x}");
        }
    }
    text
}
