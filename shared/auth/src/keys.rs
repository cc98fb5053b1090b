//! Keys that sign tokens: how they are called, made, and read.
//!
//! Source of names and formats: Kuma `pkg/core/tokens` and `pkg/core/resources/apis/system/constants.go`.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::system::v1alpha1::Secret;
use tandem_store::{Reader, StoreError};

use crate::pkcs1;

/// Serial of the first key.
pub const FIRST_SERIAL: u32 = 1;

/// Whose tokens a key signs. Each realm has its own keys and its own list of revoked tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Realm {
    /// Data plane proxies of a mesh.
    Dataplane {
        /// The mesh.
        mesh: String,
    },
    /// Zone control planes, ingresses and egresses.
    Zone,
    /// Users of the HTTP API.
    User,
}

impl Realm {
    /// What names of the keys begin with.
    pub fn prefix(&self) -> String {
        match self {
            Self::Dataplane { mesh } => format!("dataplane-token-signing-key-{mesh}"),
            Self::Zone => "zone-token-signing-key".to_owned(),
            Self::User => "user-token-signing-key".to_owned(),
        }
    }

    /// The key with a serial; serial 0 stands for a key without one, from before serials.
    pub fn key(&self, serial: u32) -> ResourceKey {
        self.key_of(&serial.to_string())
    }

    /// The key with an id as tokens name it: the serial, or whatever its secret is called by. `0` is as in [`Realm::key`].
    pub fn key_of(&self, kid: &str) -> ResourceKey {
        self.resource(key_name(&self.prefix(), kid))
    }

    /// The mesh whose proxies have these tokens; empty for zones and users.
    pub fn mesh(&self) -> &str {
        match self {
            Self::Dataplane { mesh } => mesh,
            Self::Zone | Self::User => "",
        }
    }

    fn resource(&self, name: String) -> ResourceKey {
        match self {
            Self::Dataplane { mesh } => ResourceKey::new(Kind::Secret, mesh, name),
            Self::Zone | Self::User => ResourceKey::global(Kind::GlobalSecret, name),
        }
    }

    /// Serial of the key with a name; `None` when the name is not one of this realm.
    pub fn serial(&self, name: &str) -> Option<u32> {
        match name.strip_prefix(&self.prefix())? {
            "" => Some(0),
            rest => rest.strip_prefix('-')?.parse().ok().filter(|serial| *serial > 0),
        }
    }

    /// True when a resource is one of the keys of this realm, or lists its revoked tokens.
    pub fn has(&self, key: &ResourceKey) -> bool {
        let first = self.key(FIRST_SERIAL);
        let is_key = key.kind == first.kind && key.mesh == first.mesh && self.serial(&key.name).is_some();
        is_key || self.revocations().contains(key)
    }

    /// Secrets that list revoked tokens. Kuma documents a Secret of the mesh for dataplane tokens and reads a
    /// GlobalSecret; both count here.
    pub fn revocations(&self) -> Vec<ResourceKey> {
        match self {
            Self::Dataplane { mesh } => {
                let name = format!("dataplane-token-revocations-{mesh}");
                vec![ResourceKey::new(Kind::Secret, mesh, name.as_str()), ResourceKey::global(Kind::GlobalSecret, name)]
            }
            Self::Zone => vec![ResourceKey::global(Kind::GlobalSecret, "zone-token-revocations")],
            Self::User => vec![ResourceKey::global(Kind::GlobalSecret, "user-token-revocations")],
        }
    }
}

/// The public half of the zone token key with an id, as global sends it to zones.
pub fn zone_public_key(kid: &str) -> ResourceKey {
    ResourceKey::global(Kind::GlobalSecret, key_name("zone-token-signing-public-key", kid))
}

fn key_name(prefix: &str, kid: &str) -> String {
    if kid == "0" { prefix.to_owned() } else { format!("{prefix}-{kid}") }
}

/// The first key of a realm, to be created; `None` when the realm has keys. Makes the key on a thread for blocking work.
///
/// # Errors
/// When the store cannot be read, or the system has no randomness.
pub async fn missing(store: &dyn Reader, realm: &Realm) -> Result<Option<Resource>, KeyError> {
    let first = realm.key(FIRST_SERIAL);
    let mesh = (first.kind == Kind::Secret).then_some(first.mesh.as_str());
    let secrets = store.list(first.kind, mesh).await?;
    if secrets.iter().any(|secret| realm.serial(&secret.key.name).is_some()) {
        return Ok(None);
    }
    let pem =
        tokio::task::spawn_blocking(generate_pem).await.map_err(|error| KeyError::Generate(error.to_string()))??;
    Ok(Some(Resource::from_proto(first, &Secret { data: Some(pem.into_bytes()) })))
}

/// A new key as it is stored: RSA 2048, PEM `RSA PRIVATE KEY`. Takes long; not for async code.
///
/// # Errors
/// When the system has no randomness.
pub fn generate_pem() -> Result<String, KeyError> {
    let failed = |error: &dyn std::fmt::Display| KeyError::Generate(error.to_string());
    let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|error| failed(&error))?;
    let pkcs8 = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).map_err(|error| failed(&error))?;
    let pkcs1 = pkcs1::from_pkcs8(pkcs8.as_ref()).map_err(|error| failed(&error))?;
    Ok(pkcs1::encode("RSA PRIVATE KEY", pkcs1))
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The secret does not hold a key of the expected form.
    #[error("not an RSA {expected} key: {reason}")]
    Malformed {
        /// `private` or `public`.
        expected: &'static str,
        /// Reason.
        reason: String,
    },
    /// A new key could not be made.
    #[error("cannot make a signing key: {0}")]
    Generate(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A key that signs tokens and verifies them.
pub struct SigningKey {
    pair: KeyPair,
    public: VerifyingKey,
}

impl SigningKey {
    /// Reads a PEM `RSA PRIVATE KEY`, or the DER inside of one.
    ///
    /// # Errors
    /// When it is neither.
    pub fn read(data: &[u8]) -> Result<Self, KeyError> {
        let malformed = |reason: String| KeyError::Malformed { expected: "private", reason };
        let pair = match pem::parse(data) {
            Ok(block) if block.tag() == "RSA PRIVATE KEY" => KeyPair::from_der(block.contents()),
            Ok(block) => return Err(malformed(format!("PEM block {:?} instead of \"RSA PRIVATE KEY\"", block.tag()))),
            Err(_) => KeyPair::from_der(data),
        };
        let pair = pair.map_err(|error| malformed(error.to_string()))?;
        let public = VerifyingKey::from_der(pair.public_key().as_ref())?;
        Ok(Self { pair, public })
    }

    /// The key that verifies what this one signs.
    pub fn public(&self) -> &VerifyingKey {
        &self.public
    }

    /// Signature of a message with RSASSA-PKCS1-v1_5 and SHA-256.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let signed = self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature);
        signed.map_err(|error| KeyError::Generate(error.to_string()))?;
        Ok(signature)
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").finish_non_exhaustive()
    }
}

/// A key that verifies tokens.
#[derive(Debug, Clone)]
pub struct VerifyingKey(ParsedPublicKey);

impl VerifyingKey {
    /// Reads a PEM `RSA PUBLIC KEY` or `PUBLIC KEY`, or the DER inside of the former.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn read(data: &[u8]) -> Result<Self, KeyError> {
        match pem::parse(data) {
            Ok(block) if matches!(block.tag(), "RSA PUBLIC KEY" | "PUBLIC KEY") => Self::from_der(block.contents()),
            Ok(block) => {
                let reason = format!("PEM block {:?} instead of \"RSA PUBLIC KEY\" or \"PUBLIC KEY\"", block.tag());
                Err(KeyError::Malformed { expected: "public", reason })
            }
            Err(_) => Self::from_der(data),
        }
    }

    fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let key = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der);
        key.map(Self).map_err(|error| KeyError::Malformed { expected: "public", reason: error.to_string() })
    }

    /// True when `signature` of `message` was made with the other half of this key.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use tandem_store::{MemoryStore, Store, Write};

    use super::*;

    #[test]
    fn names_carry_serials() {
        let realm = Realm::Dataplane { mesh: "default".into() };
        assert_eq!(realm.key(1), ResourceKey::new(Kind::Secret, "default", "dataplane-token-signing-key-default-1"));
        assert_eq!(Realm::Zone.key(0).name, "zone-token-signing-key");
        assert_eq!(zone_public_key("3").name, "zone-token-signing-public-key-3");
        for (name, serial) in [
            ("dataplane-token-signing-key-default-12", Some(12)),
            ("dataplane-token-signing-key-default", Some(0)),
            ("dataplane-token-signing-key-default-x", None),
            ("dataplane-token-signing-key-default2-1", None),
            ("zone-token-signing-key-1", None),
        ] {
            assert_eq!(realm.serial(name), serial, "{name}");
        }
        for name in ["zone-token-signing-key", "zone-token-signing-key-2", "zone-token-revocations"] {
            assert!(Realm::Zone.has(&ResourceKey::global(Kind::GlobalSecret, name)), "{name}");
            assert!(!Realm::User.has(&ResourceKey::global(Kind::GlobalSecret, name)), "{name}");
            assert!(!Realm::Zone.has(&ResourceKey::new(Kind::Secret, "default", name)), "{name}");
        }
    }

    #[test]
    fn keys_are_read_in_all_forms_and_verify_each_other() {
        let stored = generate_pem().expect("a key");
        assert!(stored.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
        let der = pem::parse(&stored).expect("PEM").into_contents();
        let (from_pem, from_der) =
            (SigningKey::read(stored.as_bytes()).expect("PEM"), SigningKey::read(&der).expect("DER"));
        let signature = from_pem.sign(b"message").expect("signed");
        assert!(from_der.public().verifies(b"message", &signature));
        assert!(!from_der.public().verifies(b"other", &signature));
        let public = from_pem.pair.public_key().as_ref();
        for data in [pkcs1::encode("RSA PUBLIC KEY", public.to_vec()).into_bytes(), public.to_vec()] {
            assert!(VerifyingKey::read(&data).expect("public").verifies(b"message", &signature));
        }
        let spki =
            AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(from_pem.pair.public_key()).expect("SPKI");
        let spki = pkcs1::encode("PUBLIC KEY", spki.as_ref().to_vec());
        assert!(VerifyingKey::read(spki.as_bytes()).expect("SPKI").verifies(b"message", &signature));
        assert!(SigningKey::read(spki.as_bytes()).expect_err("public").to_string().contains("\"PUBLIC KEY\""));
        assert!(SigningKey::read(b"garbage").is_err() && VerifyingKey::read(stored.as_bytes()).is_err());
    }

    #[tokio::test]
    async fn a_realm_gets_one_key() {
        let store = MemoryStore::new();
        let key = missing(&store, &Realm::Zone).await.expect("made").expect("none is there");
        assert_eq!(key.key, Realm::Zone.key(1));
        let mut rotated = key.clone();
        rotated.key = Realm::Zone.key(7);
        store.commit(vec![Write::Create(rotated)]).await.expect("created");
        assert!(missing(&store, &Realm::Zone).await.expect("read").is_none());
        assert!(missing(&store, &Realm::User).await.expect("made").is_some());
    }
}
