//! The keys that issue and verify tokens, as they are in the store.
//!
//! The ring reads the change feed of the store when it is asked for a key: what was committed before is seen, nothing runs in
//! the background, and only secrets that changed are parsed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::system::v1alpha1::Secret;
use tandem_runtime::config::PublicKey;
use tandem_store::{ChangeBatch, ChangeFeed};

use super::{IssueError, KeyNotFound};
use crate::keys::{self, KeyError, Realm, SigningKey, VerifyingKey};

/// Public keys from the configuration.
#[derive(Debug, Clone, Default)]
pub struct PublicKeys {
    /// By id, then mesh; the empty mesh stands for all.
    keys: BTreeMap<(String, String), VerifyingKey>,
}

/// A public key in the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PublicKeyError {
    /// Its file cannot be read.
    #[error("public key with kid {kid:?}: cannot read file '{}': {reason}", file.display())]
    Unreadable {
        /// Id of the key.
        kid: String,
        /// The file.
        file: PathBuf,
        /// Reason.
        reason: std::io::Error,
    },
    /// It is no key.
    #[error("public key with kid {kid:?}: {reason}")]
    Malformed {
        /// Id of the key.
        kid: String,
        /// Reason.
        reason: Box<KeyError>,
    },
}

impl PublicKeys {
    /// Reads keys and the files they name.
    ///
    /// # Errors
    /// When a file cannot be read, or a key is none.
    pub fn read(list: &[PublicKey]) -> Result<Self, PublicKeyError> {
        let mut keys = BTreeMap::new();
        for key in list {
            let kid = &key.kid;
            let data = if key.key.is_empty() {
                std::fs::read(&key.key_file).map_err(|reason| PublicKeyError::Unreadable {
                    kid: kid.clone(),
                    file: key.key_file.clone(),
                    reason,
                })?
            } else {
                key.key.clone().into_bytes()
            };
            let read = VerifyingKey::read(&data);
            let read =
                read.map_err(|reason| PublicKeyError::Malformed { kid: kid.clone(), reason: Box::new(reason) })?;
            keys.insert((kid.clone(), key.mesh.clone()), read);
        }
        Ok(Self { keys })
    }

    pub(super) fn get(&self, kid: &str, mesh: &str) -> Option<&VerifyingKey> {
        let of = |mesh: &str| self.keys.get(&(kid.to_owned(), mesh.to_owned()));
        of(mesh).or_else(|| of(""))
    }
}

/// A secret that matters for tokens.
#[derive(Debug, Clone)]
enum Entry {
    Signing { key: Result<Arc<SigningKey>, Arc<KeyError>>, data: Arc<[u8]> },
    Verifying(Result<VerifyingKey, Arc<KeyError>>),
    Revoked(Arc<HashSet<String>>),
}

/// Entries by the secret that holds them, each with the version of that.
type Entries = HashMap<ResourceKey, (u64, Entry)>;

#[derive(Debug)]
struct State {
    feed: ChangeFeed,
    entries: Entries,
}

/// Keys and revoked tokens by the secret that holds them.
///
/// The lock is held to read what is new in the feed and to find entries, never to use a key.
#[derive(Debug)]
pub(super) struct KeyRing {
    state: Mutex<State>,
}

/// What the ring knows of a token.
pub(super) struct Known {
    /// The key that the token names. The inner error is that the secret holds no key.
    pub(super) verifying: Result<Result<VerifyingKey, Arc<KeyError>>, KeyNotFound>,
    /// Content of the secret from before keys had serials.
    pub(super) legacy: Option<Arc<[u8]>>,
    /// The token is on the list of its realm.
    pub(super) revoked: bool,
}

impl KeyRing {
    /// A ring that follows `feed` from its beginning.
    pub(super) fn new(feed: ChangeFeed) -> Self {
        Self { state: Mutex::new(State { feed, entries: HashMap::new() }) }
    }

    /// The key of a realm that new tokens are signed with: that of the highest serial.
    pub(super) fn latest(&self, realm: &Realm) -> Result<(u32, Arc<SigningKey>), IssueError> {
        self.with(|entries| {
            let signing = entries.iter().filter_map(|(key, (_, entry))| match entry {
                Entry::Signing { key: parsed, .. } if is_of(key, realm) => Some((realm.serial(&key.name)?, parsed)),
                _ => None,
            });
            let Some((serial, key)) = signing.max_by_key(|(serial, _)| *serial) else {
                return Err(not_found(&realm.key(keys::FIRST_SERIAL), "1").into());
            };
            let malformed = |error: &Arc<KeyError>| KeyError::Generate(format!("{}: {error}", realm.key(serial)));
            Ok((serial, key.clone().map_err(|error| malformed(&error))?))
        })
    }

    /// What there is to check a token with that names the key `kid` and itself `id`. `from_global` looks for the public half of
    /// the key only.
    pub(super) fn look_up(&self, realm: &Realm, from_global: bool, kid: &str, id: &str) -> Known {
        let key = if from_global { keys::zone_public_key(kid) } else { realm.key_of(kid) };
        let (legacy, lists) = (realm.key(0), realm.revocations());
        self.with(|entries| {
            let entry = |key: &ResourceKey| entries.get(key).map(|(_, entry)| entry);
            Known {
                verifying: match entry(&key) {
                    Some(Entry::Signing { key: Ok(key), .. }) => Ok(Ok(key.public().clone())),
                    Some(Entry::Signing { key: Err(error), .. } | Entry::Verifying(Err(error))) => {
                        Ok(Err(error.clone()))
                    }
                    Some(Entry::Verifying(Ok(key))) => Ok(Ok(key.clone())),
                    Some(Entry::Revoked(_)) | None => Err(not_found(&key, kid)),
                },
                legacy: match entry(&legacy) {
                    Some(Entry::Signing { data, .. }) => Some(data.clone()),
                    _ => None,
                },
                revoked: lists.iter().any(|key| matches!(entry(key), Some(Entry::Revoked(ids)) if ids.contains(id))),
            }
        })
    }

    /// Runs `read` on the keys as of now.
    fn with<T>(&self, read: impl FnOnce(&Entries) -> T) -> T {
        let mut state = self.state.lock();
        let State { feed, entries } = &mut *state;
        match feed.pending() {
            None => {}
            // Everything anew, which is no reason to parse again what is the same.
            Some(ChangeBatch::Reset { resources, .. }) => {
                let earlier = std::mem::take(entries);
                let again = |resource: &Arc<Resource>| {
                    let same = earlier.get(&resource.key).filter(|(version, _)| *version == resource.version);
                    let entry = same.map(|(_, entry)| entry.clone()).or_else(|| entry(resource))?;
                    Some((resource.key.clone(), (resource.version, entry)))
                };
                *entries = resources.iter().filter_map(again).collect();
            }
            Some(ChangeBatch::Changes { changes, .. }) => {
                for change in changes.iter().filter(|change| is_secret(change.key.kind)) {
                    let new = change.new.as_deref().and_then(|new| Some((new.version, entry(new)?)));
                    match new {
                        Some(entry) => entries.insert(change.key.clone(), entry),
                        None => entries.remove(&change.key),
                    };
                }
            }
        }
        read(entries)
    }
}

fn is_secret(kind: Kind) -> bool {
    matches!(kind, Kind::Secret | Kind::GlobalSecret)
}

fn is_of(key: &ResourceKey, realm: &Realm) -> bool {
    let first = realm.key(keys::FIRST_SERIAL);
    key.kind == first.kind && key.mesh == first.mesh
}

/// What a resource means for tokens; `None` for nothing.
fn entry(resource: &Resource) -> Option<Entry> {
    if !is_secret(resource.key.kind) {
        return None;
    }
    let name = resource.key.name.as_str();
    let is_of_tokens =
        ["dataplane-token-", "zone-token-", "user-token-"].into_iter().find_map(|prefix| name.strip_prefix(prefix));
    let rest = is_of_tokens?;
    // A secret that does not decode is as good as an empty one: no key, no revocation.
    let data = resource.proto::<Secret>().ok().and_then(|secret| secret.data).unwrap_or_default();
    if rest.starts_with("signing-key") {
        let key = SigningKey::read(&data).map(Arc::new).map_err(Arc::new);
        Some(Entry::Signing { key, data: data.into() })
    } else if rest.starts_with("signing-public-key") {
        Some(Entry::Verifying(VerifyingKey::read(&data).map_err(Arc::new)))
    } else if rest.starts_with("revocations") {
        Some(Entry::Revoked(Arc::new(revoked(&String::from_utf8_lossy(&data)))))
    } else {
        None
    }
}

/// Ids in a list of revoked tokens: separated by commas, and by the line ends and spaces that editors and people add.
fn revoked(list: &str) -> HashSet<String> {
    // An id that has such characters itself is found as it stands.
    let as_it_stands = list.strip_suffix('\n').unwrap_or(list).split(',');
    let trimmed = list.split([',', '\n']).map(str::trim);
    as_it_stands.chain(trimmed).filter(|id| !id.is_empty()).map(str::to_owned).collect()
}

fn not_found(key: &ResourceKey, kid: &str) -> KeyNotFound {
    let place = if key.mesh.is_empty() {
        format!("GlobalSecret of name {:?}", key.name)
    } else {
        format!("Secret of name {:?} in mesh {:?}", key.name, key.mesh)
    };
    KeyNotFound { kid: kid.to_owned(), place }
}
