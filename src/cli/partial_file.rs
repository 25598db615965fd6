//! Files that appear under their name only when they are whole: they are written beside it and renamed.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Seek, Write},
    path::{Path, PathBuf},
};

/// A file on its way.
#[derive(Debug)]
pub(super) struct PartialFile {
    /// Where it grows and what it is called then; none for what cannot be renamed, such as a pipe.
    names: Option<(PathBuf, PathBuf)>,
}

impl PartialFile {
    /// Starts a file.
    pub(super) fn create(path: &Path) -> io::Result<(Self, File)> {
        let (part, path) = names(path);
        let is_special = fs::metadata(&path).is_ok_and(|found| !found.is_file());
        if is_special {
            return Ok((Self { names: None }, File::options().write(true).open(&path)?));
        }
        let file = File::create(&part)?;
        let names = Some((part, path));
        Ok((Self { names }, file))
    }

    /// Goes on with what an interrupted command has left, or starts anew if there is nothing. `read` tells how many
    /// bytes of it are good and what they say; what follows them is cut off.
    pub(super) fn resume<T, E>(
        path: &Path,
        read: impl Fn(&[u8]) -> Result<T, E>,
    ) -> io::Result<Result<(Self, File, T), E>>
    where
        T: Length,
    {
        let (part, path) = names(path);
        let bytes = match fs::read(&part) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let found = match read(&bytes) {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let mut file = File::options().create(true).truncate(false).write(true).open(&part)?;
        file.set_len(found.length())?;
        file.seek(io::SeekFrom::End(0))?;
        let names = Some((part, path));
        Ok(Ok((Self { names }, file, found)))
    }

    /// Gives the file its name.
    pub(super) fn finish(self) -> io::Result<()> {
        match self.names {
            Some((part, path)) => fs::rename(part, path),
            None => Ok(()),
        }
    }
}

/// What says how long it is.
pub(super) trait Length {
    /// Bytes.
    fn length(&self) -> u64;
}

/// Where a file grows, and its place behind links.
fn names(path: &Path) -> (PathBuf, PathBuf) {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name = OsString::from(path.file_name().unwrap_or_default());
    name.push(".part");
    (path.with_file_name(name), path)
}

/// Writes beside the file and renames. What fails, as on a full disk, leaves nothing.
pub(super) fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (growing, mut file) = PartialFile::create(path)?;
    let part = growing.names.as_ref().map(|(part, _)| part.clone());
    let written = file.write_all(bytes).and_then(|()| growing.finish());
    if let (Err(_), Some(part)) = (&written, part) {
        // The first error is the one to be told.
        let _ = fs::remove_file(part);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Whole(u64);
    impl Length for Whole {
        fn length(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn a_file_keeps_its_old_content_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        fs::write(&path, "old").unwrap();
        let (growing, mut file) = PartialFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        growing.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_leaves_the_old_content_and_no_part_of_the_new() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grid.png");
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.path().join("grid.png.part")).unwrap();
        let failed = write_beside(&path, b"new").unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn what_was_interrupted_goes_on_behind_its_last_good_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        fs::write(folder.path().join("rows.part"), "a\nb\nhal").unwrap();
        let read = |_: &[u8]| Ok::<_, ()>(Whole(4));
        let (growing, mut file, _) = PartialFile::resume(&path, read).unwrap().unwrap();
        file.write_all(b"c\n").unwrap();
        growing.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"a\nb\nc\n");
    }
}
