//! The files that a command works on: those that are named, and those below folders that are.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{CliError, say, stdin::is_standard};

/// Which files are taken from a folder. A file that is named itself may be called anything.
pub(super) struct Wanted {
    /// What they hold, in the plural.
    pub(super) what: &'static str,
    /// How their names end, in small letters.
    pub(super) endings: &'static [&'static str],
}

impl Wanted {
    /// Every file that is named or lies in a folder that is. Only names are held.
    pub(super) fn files(&self, inputs: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
        let mut files = Vec::new();
        for input in inputs {
            let unreadable = |error| CliError::io(format!("{} cannot be read", input.display()), error);
            if is_standard(input) || !fs::metadata(input).map_err(unreadable)?.is_dir() {
                files.push(input.clone());
                continue;
            }
            let before = files.len();
            self.collect(input, &mut files).map_err(unreadable)?;
            if files.len() == before {
                return Err(CliError::Usage(format!(
                    "the folder {} holds no {}: wanted are files that end in {}",
                    input.display(),
                    self.what,
                    self.endings.join(", "),
                )));
            }
        }
        Ok(files)
    }

    /// Files below `folder` in order of name. Links to folders are not followed, because they can lead in circles. What
    /// is left out is told: files of other endings by their number, a folder that cannot be read by its name.
    fn collect(&self, folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
        let mut ignored = BTreeMap::new();
        self.walk(folder, files, &mut ignored)?;
        if !ignored.is_empty() {
            let kinds: Vec<String> = ignored
                .iter()
                .map(|(ending, count)| format!("{count} × {ending}"))
                .collect();
            say(&format!("{}: left out are {}", folder.display(), kinds.join(", ")));
        }
        Ok(())
    }

    fn walk(&self, folder: &Path, files: &mut Vec<PathBuf>, ignored: &mut BTreeMap<String, usize>) -> io::Result<()> {
        let mut entries = folder.read_dir()?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            // Hidden files are nobody's input; archives made on macOS are full of them (`._shoe.png`).
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if entry.file_type()?.is_dir() {
                if let Err(error) = self.walk(&path, files, ignored) {
                    say(&format!("{} cannot be read: {error}", path.display()));
                    *ignored.entry("unreadable folders".to_owned()).or_default() += 1;
                }
            } else if !ends_in(&path, self.endings) {
                let ending = path.extension().map_or("files without an ending".into(), |ending| {
                    format!(".{}", ending.to_string_lossy())
                });
                *ignored.entry(ending).or_default() += 1;
            } else if path.is_file() {
                files.push(path);
            } else {
                *ignored.entry("dangling links".to_owned()).or_default() += 1;
            }
        }
        Ok(())
    }
}

/// Whether the name of a file ends in one of these, in whatever case.
pub(super) fn ends_in(path: &Path, endings: &[&str]) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_ascii_lowercase();
    endings.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted = Wanted {
        what: "images",
        endings: &[".pgm"],
    };

    #[test]
    fn folders_are_searched_to_the_bottom_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("b")).unwrap();
        for name in [
            "c.PGM",
            "a.pgm",
            "b/z.pgm",
            "b/y.pgm",
            "notes.txt",
            ".hidden.pgm",
            "pgm",
        ] {
            fs::write(path(name), "").unwrap();
        }
        let found = WANTED.files(&[folder.path().to_owned()]).unwrap();
        let wanted = ["a.pgm", "b/y.pgm", "b/z.pgm", "c.PGM"].map(path);
        assert_eq!(found, wanted);
    }

    #[test]
    fn what_is_not_there_is_refused_before_any_work() {
        let empty = tempfile::tempdir().unwrap();
        let message = WANTED.files(&[empty.path().to_owned()]).unwrap_err().to_string();
        assert!(message.contains("holds no images"), "{message}");
        let absent = empty.path().join("absent.pgm");
        let message = WANTED.files(&[absent]).unwrap_err().to_string();
        assert!(message.contains("absent.pgm cannot be read"), "{message}");
    }
}
