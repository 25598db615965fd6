//! Reading the files of a version, and nothing else that may stand under their names.
//!
//! A folder of a stranger may hold a link to any file of the machine, a pipe that nobody writes to, or a device without
//! an end.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    path::Path,
};

/// A graph goes to the runtime as one message, which is smaller than this; nothing else in a version is nearly as
/// large.
const LARGEST: u64 = i32::MAX as u64;

/// The bytes of the regular file `name` in `folder`. Links, pipes, devices and folders are refused, and so are names
/// with more than one part.
pub(super) fn read(folder: &Path, name: &str) -> io::Result<Vec<u8>> {
    let refused = |reason: String| io::Error::new(io::ErrorKind::InvalidInput, reason);
    if Path::new(name).file_name().and_then(|own| own.to_str()) != Some(name) {
        return Err(refused(
            "it is not the plain name of a file in the version's folder".to_owned(),
        ));
    }
    let path = folder.join(name);
    // Opening some devices does something, so they are looked at before; what was opened is looked at after.
    regular(&fs::symlink_metadata(&path)?).map_err(refused)?;
    let file = open(&path)?;
    let metadata = file.metadata()?;
    regular(&metadata).map_err(refused)?;
    if metadata.len() > LARGEST {
        return Err(refused(format!(
            "it has {} bytes; a file of a version has at most {LARGEST}",
            metadata.len()
        )));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // A file that grows meanwhile is read to where it ended.
    file.take(metadata.len()).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file that is not a link, without waiting for anybody at the other end of a pipe.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32,
    );
    options.open(path)
}

fn regular(metadata: &fs::Metadata) -> Result<(), String> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let what = if kind.is_symlink() {
        "a link"
    } else if kind.is_dir() {
        "a folder"
    } else {
        "a pipe, a socket or a device"
    };
    Err(format!(
        "it is {what}: only regular files in the version's own folder are read"
    ))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_the_folder_are_read() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), b"bytes").unwrap();
        assert_eq!(read(folder.path(), "file").unwrap(), b"bytes");

        let refused = |name: &str| read(folder.path(), name).unwrap_err().to_string();
        std::os::unix::fs::symlink("file", folder.path().join("link")).unwrap();
        assert!(refused("link").contains("a link"));
        fs::create_dir(folder.path().join("inside")).unwrap();
        fs::write(folder.path().join("inside/file"), b"bytes").unwrap();
        assert!(refused("inside").contains("a folder"));
        for name in ["inside/file", "../file", "/etc/passwd", ".", "..", ""] {
            assert!(refused(name).contains("plain name"), "{name}");
        }
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
        assert!(refused("socket").contains("a pipe, a socket or a device"));
        let large = File::create(folder.path().join("large")).unwrap();
        large.set_len(LARGEST + 1).unwrap();
        assert!(refused("large").contains("at most"));
    }
}
