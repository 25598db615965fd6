//! Who may ask for what: keys, what each key is good for, and who a client is.
//!
//! Transports know how a key arrives and how a refusal is written; which key is good for what is known here alone.
//! Nothing here knows a protocol.

mod file;
mod keys;
mod proxies;

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwapOption;

pub use self::{
    file::read as read_file,
    keys::{KeysError, NewKey},
    proxies::Network,
};
use self::{
    keys::{Keys, Known},
    proxies::Proxies,
};
use crate::model::{Kind, Refusal};

/// What a key is good for. Scopes do not contain one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Models and what they are; short work: scoring, judging, encoding.
    Read,
    /// Long work: sampling, completion, compression.
    Sample,
    /// What changes the server for everybody.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Read, Self::Sample, Self::Admin];

    /// The name that stands in files of keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Sample => "sample",
            Self::Admin => "admin",
        }
    }
}

/// Some scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Scopes([bool; Scope::ALL.len()]);

impl Scopes {
    const ALL: Self = Self([true; Scope::ALL.len()]);

    fn contain(self, scope: Scope) -> bool {
        self.0[scope as usize]
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        let mut all = Self::default();
        for scope in scopes {
            all.0[scope as usize] = true;
        }
        all
    }
}

/// Whoever a request comes from.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The key, where there are keys.
    key: Option<Arc<Known>>,
    scopes: Scopes,
    /// Requests of one client have one number. `None` where clients cannot be told apart.
    client: Option<u64>,
}

impl Caller {
    /// Whoever has the machine: the command line, and everybody where there are no keys.
    pub fn trusted() -> Self {
        Self {
            key: None,
            scopes: Scopes::ALL,
            client: None,
        }
    }

    /// Whoever asks for what is open to everybody.
    pub fn nobody() -> Self {
        Self::default()
    }

    /// The name of the caller's key.
    pub fn name(&self) -> Option<&str> {
        self.key.as_ref().map(|key| &*key.name)
    }

    /// The number that all requests of this client have.
    pub fn client(&self) -> Option<u64> {
        self.client
    }

    /// Refuses what the caller's key is not good for.
    pub fn may(&self, scope: Scope) -> Result<(), Refusal> {
        if self.scopes.contain(scope) {
            return Ok(());
        }
        let own: Vec<&str> = Scope::ALL
            .into_iter()
            .filter(|&scope| self.scopes.contain(scope))
            .map(Scope::name)
            .collect();
        let detail = format!(
            "this needs a key with the scope {:?}; the key {:?} has {}",
            scope.name(),
            self.name().unwrap_or_default(),
            own.join(", ")
        );
        Err(Refusal::new(Kind::Forbidden, detail))
    }
}

/// What tells clients without keys apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Identity {
    /// Nothing: each request is for itself.
    #[default]
    None,
    /// The address that it comes from. Behind a proxy that is not believed, that is the proxy's.
    Address,
}

/// The keys of this server, if it has any.
#[derive(Debug, Default)]
pub struct Access {
    file: Option<PathBuf>,
    keys: ArcSwapOption<Keys>,
    identity: Identity,
    proxies: Proxies,
    /// Numbers of clients cannot be foreseen, so nobody can choose one that is somebody else's.
    numbers: RandomState,
}

impl Access {
    /// Everybody may do everything.
    pub fn open() -> Self {
        Self::default()
    }

    /// Only those may who have a key that stands in `file`; everybody, if there is none.
    pub fn new(file: Option<PathBuf>, identity: Identity) -> Result<Self, KeysError> {
        let access = Self {
            file,
            identity,
            ..Self::default()
        };
        access.reload()?;
        Ok(access)
    }

    /// The same behind proxies that say whom they ask for, and are believed.
    #[must_use]
    pub fn behind(mut self, proxies: Vec<Network>) -> Self {
        self.proxies = Proxies(proxies);
        self
    }

    /// The address where a request began that came from `peer`, with what proxies on the way wrote down, the last one
    /// last.
    pub fn origin<'a>(&self, peer: IpAddr, forwarded: impl DoubleEndedIterator<Item = &'a str>) -> IpAddr {
        self.proxies.client(peer, forwarded)
    }

    /// Reads the file again if it has changed. If it cannot be read, the keys stay as they were. Answers how many keys
    /// there are now, if they are other ones.
    pub fn reload(&self) -> Result<Option<usize>, KeysError> {
        let Some(path) = &self.file else {
            return Ok(None);
        };
        let old = self.keys.load();
        let keys = Keys::read(path)?;
        if old.as_deref() == Some(&keys) {
            return Ok(None);
        }
        let count = keys.len();
        self.keys.store(Some(Arc::new(keys)));
        Ok(Some(count))
    }

    /// Whether there is a key of this name.
    pub fn knows(&self, name: &str) -> bool {
        let keys = self.keys.load();
        keys.as_ref().is_some_and(|keys| keys.names().any(|own| own == name))
    }

    /// The file of keys, if keys are wanted at all.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Whether keys are wanted, and there is none.
    pub fn is_closed(&self) -> bool {
        self.keys.load().as_ref().is_some_and(|keys| keys.len() == 0)
    }

    /// Whether keys are wanted at all.
    pub fn has_keys(&self) -> bool {
        self.file.is_some()
    }

    /// Who it is that shows this key and comes from this address.
    pub fn caller(&self, key: Option<&str>, address: Option<IpAddr>) -> Result<Caller, Refusal> {
        let keys = self.keys.load();
        let Some(keys) = &*keys else {
            let address = address.filter(|_| self.identity == Identity::Address);
            return Ok(Caller {
                client: address.map(|address| self.numbers.hash_one(network(address))),
                ..Caller::trusted()
            });
        };
        let Some(key) = key else {
            let detail = "this server wants a key, as in `Authorization: Bearer KEY`";
            return Err(Refusal::new(Kind::Unauthenticated, detail));
        };
        let known = keys.find(key).ok_or_else(|| {
            let detail = "the key is none of this server's";
            Refusal::new(Kind::Unauthenticated, detail)
        })?;
        Ok(self.owner(known))
    }

    /// The same caller, with what its key is good for by now; refused, if the key is good for nothing any more.
    pub fn again(&self, caller: &Caller) -> Result<Caller, Refusal> {
        let Some(shown) = &caller.key else {
            return Ok(caller.clone());
        };
        let keys = self.keys.load();
        let known = keys.as_ref().and_then(|keys| keys.again(shown));
        known.map(|known| self.owner(known)).ok_or_else(|| {
            let detail = format!("the key {:?} is none of this server's any more", shown.name);
            Refusal::new(Kind::Unauthenticated, detail)
        })
    }

    fn owner(&self, key: &Arc<Known>) -> Caller {
        Caller {
            client: Some(self.numbers.hash_one(&key.name)),
            scopes: key.scopes,
            key: Some(Arc::clone(key)),
        }
    }
}

/// What one client has for itself: an address of IPv4, or the 64 bits of a network of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests;
