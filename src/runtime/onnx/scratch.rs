//! A file that the runtime can write a graph into: it writes into files only, and a server's disk may be read-only.
//!
//! On Linux it lies in memory and its name under `/proc`; elsewhere, or where a sandbox forbids that, in the folder for
//! temporary files.

use std::{
    fs, io,
    io::{Read, Seek},
    path::{Path, PathBuf},
};

/// An empty file with a name, gone when dropped.
pub(super) struct File {
    file: fs::File,
    path: PathBuf,
    /// Removes the file where it has a place on disk.
    _guard: Option<tempfile::TempPath>,
}

impl File {
    pub(super) fn new() -> io::Result<Self> {
        Self::in_memory().or_else(|_| Self::on_disk())
    }

    #[cfg(target_os = "linux")]
    fn in_memory() -> io::Result<Self> {
        use std::os::fd::AsRawFd;

        use rustix::fs::{MemfdFlags, memfd_create};

        let file = fs::File::from(memfd_create("graph", MemfdFlags::CLOEXEC)?);
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        // Opened as the runtime will do it: there may be no /proc.
        fs::OpenOptions::new().write(true).open(&path)?;
        Ok(Self {
            file,
            path,
            _guard: None,
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn in_memory() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn on_disk() -> io::Result<Self> {
        let (file, guard) = tempfile::NamedTempFile::new()?.into_parts();
        Ok(Self {
            file,
            path: guard.to_path_buf(),
            _guard: Some(guard),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Everything that was written.
    pub(super) fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.rewind()?;
        self.file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::File;

    fn takes_what_is_written(mut file: File) {
        std::fs::write(file.path(), b"first, longer").unwrap();
        std::fs::write(file.path(), b"second").unwrap();
        assert_eq!(file.read().unwrap(), b"second");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_in_memory_needs_no_disk() {
        let file = File::in_memory().unwrap();
        assert!(file.path().starts_with("/proc/self/fd"));
        takes_what_is_written(file);
    }

    #[test]
    fn a_file_on_disk_goes_when_dropped() {
        let file = File::on_disk().unwrap();
        let path = file.path().to_owned();
        takes_what_is_written(file);
        assert!(!path.exists());
    }
}
