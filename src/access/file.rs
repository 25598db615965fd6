//! Reading files of keys and certificates.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    path::Path,
};

/// Lists of revoked certificates, which are the largest of these files, have some megabytes.
const LARGEST: u64 = 64 << 20;

/// The bytes of a file that is read again and again. What is no file would be empty the second time, or wait for ever
/// for somebody who writes to it.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    options.read(true);
    // A pipe is not waited for.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NONBLOCK.bits() as i32);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    let refused = |reason: String| Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    if metadata.is_dir() {
        return refused("it is a folder".to_owned());
    }
    if !metadata.is_file() {
        let reason = "it is a pipe or a device; it is read again while the server runs, so it must be a file";
        return refused(reason.to_owned());
    }
    if metadata.len() > LARGEST {
        return refused(format!(
            "it has {} bytes, and at most {LARGEST} are read",
            metadata.len()
        ));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn files_and_links_to_them_are_read_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("file"), b"bytes").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        assert_eq!(read(&path("link")).unwrap(), b"bytes");
        let made = std::process::Command::new("mkfifo").arg(path("pipe")).status();
        assert!(made.unwrap().success());
        let large = std::fs::File::create(path("large")).unwrap();
        large.set_len(LARGEST + 1).unwrap();
        for (name, reason) in [("pipe", "a pipe"), ("large", "67108865 bytes"), (".", "a folder")] {
            let error = read(&path(name)).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
