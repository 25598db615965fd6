//! What proofs found, kept between starts: a proof whose files, members, runtime, processor and server are the same
//! need not be done again.
//!
//! One small file a version. Whoever can write into the folder can say of a version that it has proved itself, as
//! whoever can write into the repository can; a damaged file is as good as none.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::UNIX_EPOCH,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::disk::{Disk, written};
use crate::families::{
    Findings,
    manifest::{hexadecimal, sha256},
};

/// Changes when the form of a record does.
const FORM: &str = "density-server record 2";

/// A folder of records, of proofs by one server on one runtime.
#[derive(Debug)]
pub(super) struct Records {
    folder: PathBuf,
    /// The server, the runtime and the processor.
    machine: String,
    /// Whether it was told that nothing can be written.
    has_failed: AtomicBool,
    disk: Disk,
}

/// The name of a version's record, and what it depends on.
#[derive(Debug)]
pub(super) struct Key {
    file: String,
    depends: String,
}

#[derive(Serialize, Deserialize)]
struct Record {
    /// Hash of all that the proofs depended on.
    depends: String,
    findings: Findings,
    /// Of the other two.
    sha256: String,
}

impl Records {
    /// Records in `folder`, or `None` if nothing tells this runtime from others.
    pub(super) fn new(folder: &Path, runtime: Option<String>) -> Option<Self> {
        Some(Self {
            folder: folder.to_owned(),
            machine: format!("{FORM}\n{}\n{}", server()?, runtime?),
            has_failed: AtomicBool::new(false),
            disk: Disk::default(),
        })
    }

    pub(super) fn key(&self, name: &str, number: u32, fingerprint: &[u8; 32]) -> Key {
        let mut hash = Sha256::new_with_prefix(fingerprint);
        hash.update(format!("{name}\n{number}\n{}", self.machine));
        Key {
            file: format!("{name}-{number}.json"),
            depends: hexadecimal(&hash.finalize()),
        }
    }

    /// What the proofs of the version found, if they depended on the same.
    pub(super) fn read(&self, key: &Key) -> Findings {
        self.read_record(key).unwrap_or_default()
    }

    fn read_record(&self, key: &Key) -> Option<Findings> {
        let file = self.folder.join(&key.file);
        let bytes = self.disk.ask(move || fs::read(file)).ok()?;
        let record: Record = serde_json::from_slice(&bytes).ok()?;
        let is_whole = record.sha256 == checksum(&record.depends, &record.findings)?;
        (is_whole && record.depends == key.depends).then_some(record.findings)
    }

    /// Keeps what they found. A server that cannot write works all the same, and proves again at its next start.
    pub(super) fn write(&self, key: Key, findings: Findings) {
        let folder = self.folder.clone();
        let write = move || write_record(&folder, key, findings);
        if let Err(error) = self.disk.ask(write)
            && !self.has_failed.swap(true, Ordering::Relaxed)
        {
            let folder = self.folder.display();
            tracing::warn!(%folder, %error, "proofs cannot be recorded: the next start does them again; \
                --proof-records names another folder, or `none`");
        }
    }
}

fn write_record(folder: &Path, Key { file, depends }: Key, findings: Findings) -> io::Result<()> {
    let record = Record {
        sha256: checksum(&depends, &findings).ok_or(io::ErrorKind::InvalidData)?,
        depends,
        findings,
    };
    // One that is lost with the machine's power is made anew.
    written(folder, &serde_json::to_vec(&record)?)?.persist(folder.join(file))?;
    Ok(())
}

/// This server: its version and its very file, so that a build with other proofs does them.
fn server() -> Option<String> {
    let metadata = std::env::current_exe().ok()?.metadata().ok()?;
    let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!(
        "{} of {} bytes and {}",
        env!("CARGO_PKG_VERSION"),
        metadata.len(),
        changed.as_nanos()
    ))
}

fn checksum(depends: &str, findings: &Findings) -> Option<String> {
    let findings = serde_json::to_string(findings).ok()?;
    Some(sha256(format!("{depends}\n{findings}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Findings {
        let text = r#"{"predictions":{"value":[1,2],"checks":[["golden scores","16 reproduced"]]}}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_record_is_read_only_where_everything_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let records = |runtime: &str| Records::new(folder.path(), Some(runtime.to_owned())).unwrap();
        let here = records("runtime 1 on processor 1");
        here.write(here.key("a", 1, &[1; 32]), findings());
        assert_eq!(here.read(&here.key("a", 1, &[1; 32])), findings());

        let nothing = Findings::default();
        assert_eq!(here.read(&here.key("a", 1, &[2; 32])), nothing, "other files");
        assert_eq!(here.read(&here.key("a", 2, &[1; 32])), nothing, "another version");
        let elsewhere = records("runtime 1 on processor 2");
        assert_eq!(elsewhere.read(&elsewhere.key("a", 1, &[1; 32])), nothing);
        assert!(Records::new(folder.path(), None).is_none());
    }

    #[test]
    fn a_damaged_record_is_as_good_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(folder.path(), Some("runtime".to_owned())).unwrap();
        records.write(records.key("a", 1, &[1; 32]), findings());
        let file = folder.path().join("a-1.json");
        let text = fs::read_to_string(&file).unwrap();
        for damaged in [text.replace("16 reproduced", "17 reproduced"), text[..20].to_owned()] {
            assert_ne!(damaged, text);
            fs::write(&file, damaged).unwrap();
            assert!(records.read(&records.key("a", 1, &[1; 32])).is_empty());
        }
    }
}
