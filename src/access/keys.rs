//! The file of keys. It holds hashes and no keys.
//!
//! A key is 256 random bits, so that one round of SHA-256 is as good as many: there is nothing to guess.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::{Scope, Scopes, file};

/// What every key begins with, so that scanners for secrets know one when they see it.
const PREFIX: &str = "density_";

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file is not there or not text.
    #[error("the file of keys {} cannot be read: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The file does not hold keys.
    #[error("the file of keys {} is not valid: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
}

/// The file, as it is written.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    key: Vec<Written>,
}

/// One key in the file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Arc<str>,
    sha256: String,
    scopes: Vec<Scope>,
}

/// A key that is known.
#[derive(Debug, PartialEq)]
pub(super) struct Known {
    pub(super) name: Arc<str>,
    pub(super) scopes: Scopes,
    hash: [u8; 32],
}

/// All of them.
#[derive(Debug, PartialEq)]
pub(super) struct Keys(Vec<Arc<Known>>);

impl Keys {
    pub(super) fn read(path: &Path) -> Result<Self, KeysError> {
        let text = file::read(path).and_then(|bytes| {
            let text = String::from_utf8(bytes);
            text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text"))
        });
        let text = text.map_err(|cause| KeysError::Unreadable {
            path: path.to_owned(),
            cause,
        })?;
        Self::parse(&text).map_err(|reason| KeysError::Malformed {
            path: path.to_owned(),
            reason,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        let mut keys: Vec<Arc<Known>> = Vec::with_capacity(file.key.len());
        for Written { name, sha256, scopes } in file.key {
            if keys.iter().any(|key| key.name == name) {
                return Err(format!("there are two keys {name:?}"));
            }
            if scopes.is_empty() {
                return Err(format!("the key {name:?} has no scopes"));
            }
            let hash = unhex(&sha256).ok_or_else(|| format!("the sha256 of the key {name:?} is not 64 hex digits"))?;
            let scopes = scopes.into_iter().collect();
            keys.push(Arc::new(Known { name, scopes, hash }));
        }
        Ok(Self(keys))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|key| &*key.name)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The key with this text. The time that it takes says nothing of the keys there are.
    pub(super) fn find(&self, text: &str) -> Option<&Arc<Known>> {
        let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let mut found = u64::MAX;
        for (index, key) in self.0.iter().enumerate() {
            found.conditional_assign(&(index as u64), hash.ct_eq(&key.hash));
        }
        usize::try_from(found).ok().and_then(|index| self.0.get(index))
    }

    /// What is known now of a key that was known before.
    pub(super) fn again(&self, known: &Known) -> Option<&Arc<Known>> {
        self.0.iter().find(|own| own.hash == known.hash)
    }
}

/// A key that has just been made.
#[derive(Debug)]
pub struct NewKey {
    /// The key, for its owner alone.
    pub key: String,
    /// What the file of keys is to say of it.
    pub entry: String,
}

impl NewKey {
    /// A random key of this name for these scopes.
    pub fn new(name: &str, scopes: &[Scope]) -> io::Result<Self> {
        let mut random = [0; 32];
        getrandom::fill(&mut random)?;
        let key = format!("{PREFIX}{}", hex(&random));
        let file = File {
            key: vec![Written {
                name: name.into(),
                sha256: hex(&Sha256::digest(key.as_bytes())),
                scopes: scopes.to_owned(),
            }],
        };
        let entry = toml::to_string(&file).map_err(io::Error::other)?;
        Ok(Self { key, entry })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(hash)
}
