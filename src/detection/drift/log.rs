//! The file of a run: a header, then a record for each image that was bet on. Each carries a checksum of itself and all
//! before it: what a crash or a full disk leaves half written is cut off, and so is everything that is no record.
//!
//! What drift is, this file does not know.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use sha2::{Digest, Sha256};

/// First bytes of a file, with the version of its format.
const MAGIC: &[u8; 8] = b"drift\0\0\x02";

/// Bytes of a checksum.
const CHECKSUM: usize = 8;

/// Magic, seed, the time at which the run began, and a checksum.
pub(super) const HEADER: usize = 24 + CHECKSUM;

/// Score and digest of one image, and a checksum.
pub(super) const RECORD: usize = 16 + CHECKSUM;

/// A run, as it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// It breaks ties.
    pub(super) seed: u64,
    /// When it began, in seconds since 1970.
    pub(super) since: u64,
}

/// One image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Record {
    pub(super) score: f64,
    pub(super) digest: u64,
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) header: Header,
    pub(super) records: Vec<Record>,
}

/// The file of one run, which belongs to this server as long as it is open.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    /// Bytes that are whole.
    length: u64,
    /// That of the last record, or of the header.
    checksum: [u8; CHECKSUM],
    /// Whether there may be more bytes than that.
    is_torn: bool,
}

impl Log {
    /// Opens a file, or makes it, and says which run it holds, if it holds one.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Option<Run>)> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other(
                "another server, or this version before it was read again, is at this file; servers that share a \
                 repository want a folder .drift each, such as a volume of its own",
            ),
            TryLockError::Error(error) => error,
        })?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut log = Self {
            file,
            length: 0,
            checksum: [0; CHECKSUM],
            is_torn: !bytes.is_empty(),
        };
        let path = path.display();
        let header = bytes.split_at_checked(HEADER);
        let Some((header, records)) = header.filter(|(header, _)| header.starts_with(MAGIC) && log.follows(header))
        else {
            if !bytes.is_empty() {
                tracing::warn!(%path, "this is no record of drift; a new one is begun");
            }
            return Ok((log, None));
        };
        let records = records.chunks_exact(RECORD).map_while(|record| {
            log.follows(record).then(|| Record {
                score: f64::from_bits(number(record)),
                digest: number(&record[8..]),
            })
        });
        let records = records.collect();
        let header = Header {
            seed: number(&header[8..]),
            since: number(&header[16..]),
        };
        let beyond = bytes.len() as u64 - log.length;
        if beyond > 0 {
            tracing::warn!(%path, bytes = beyond, "the end of this record of drift is damaged and cut off");
        }
        log.cut()?;
        Ok((log, Some(Run { header, records })))
    }

    /// Whether `path` still leads to the file, and nobody else has written to it. Locks keep servers apart, but not on
    /// every file system, and nothing keeps people from deleting what a server has open.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let (Ok(found), Ok(own)) = (fs::metadata(path), self.file.metadata()) else {
            return false;
        };
        #[cfg(unix)]
        let is_same = {
            use std::os::unix::fs::MetadataExt;
            (found.dev(), found.ino()) == (own.dev(), own.ino())
        };
        #[cfg(not(unix))]
        let is_same = true;
        is_same && found.len() == own.len() && (self.is_torn || own.len() == self.length)
    }

    /// Begins a run where there may have been another.
    pub(super) fn begin(&mut self, header: Header) -> io::Result<()> {
        (self.length, self.checksum, self.is_torn) = (0, [0; CHECKSUM], true);
        let mut content = MAGIC.to_vec();
        content.extend(header.seed.to_le_bytes());
        content.extend(header.since.to_le_bytes());
        self.add(content)
    }

    /// Adds an image. What fails leaves no trace, and can be tried again.
    pub(super) fn append(&mut self, record: Record) -> io::Result<()> {
        let mut content = record.score.to_bits().to_le_bytes().to_vec();
        content.extend(record.digest.to_le_bytes());
        self.add(content)
    }

    fn add(&mut self, mut content: Vec<u8>) -> io::Result<()> {
        if self.is_torn {
            self.cut()?;
        }
        let checksum = checksum(self.checksum, &content);
        content.extend(checksum);
        self.is_torn = true;
        if let Err(error) = self.file.write_all(&content) {
            // If that fails, too, it is done before the next one.
            let _ = self.cut();
            return Err(error);
        }
        self.is_torn = false;
        self.length += content.len() as u64;
        self.checksum = checksum;
        Ok(())
    }

    /// Cuts off what is not whole.
    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        self.is_torn = false;
        Ok(())
    }

    /// Whether bytes with a checksum at their end go on with what has been read. If so, they have been read, too.
    fn follows(&mut self, bytes: &[u8]) -> bool {
        let Some((content, stated)) = bytes.split_last_chunk::<CHECKSUM>() else {
            return false;
        };
        let actual = checksum(self.checksum, content);
        let is_next = actual == *stated;
        if is_next {
            self.checksum = actual;
            self.length += bytes.len() as u64;
        }
        is_next
    }
}

fn checksum(before: [u8; CHECKSUM], content: &[u8]) -> [u8; CHECKSUM] {
    let hash = Sha256::new().chain_update(before).chain_update(content).finalize();
    let mut first = [0; CHECKSUM];
    first.copy_from_slice(&hash[..CHECKSUM]);
    first
}

/// The first eight bytes.
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}
