//! Tokens of data plane proxies, zone proxies and users: issuing and checking.
//!
//! Format: JWT signed with RS256, claims with capitalised names. Source: Kuma `pkg/core/tokens`, `pkg/tokens/builtin`.

mod claims;
mod jwt;
mod ring;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tandem_runtime::config::{Config, StoreType, TokenAuthn, Validator};
use tandem_store::SharedStore;

use claims::Claims;
pub use claims::{DataplaneClaims, UserClaims, ZoneClaims};
use jwt::{Algorithm, Flaw};
use ring::KeyRing;
pub use ring::{PublicKeyError, PublicKeys};

use crate::keys::{KeyError, Realm};

/// How long tokens are valid before they are made, for peers whose clocks are behind.
const CLOCK_SKEW: Duration = Duration::from_secs(5);

/// How tokens of one kind are issued and checked.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// Whether they are issued.
    pub issue: bool,
    /// Whether the signing keys in the store verify them.
    pub use_secrets: bool,
    /// Further keys that verify them.
    pub public_keys: PublicKeys,
}

impl TokenSettings {
    fn new(issue: bool, validator: &Validator) -> Result<Self, PublicKeyError> {
        let public_keys = PublicKeys::read(&validator.public_keys)?;
        Ok(Self { issue, use_secrets: validator.use_secrets, public_keys })
    }

    fn of(settings: &TokenAuthn) -> Result<Self, PublicKeyError> {
        Self::new(settings.enable_issuer, &settings.validator)
    }
}

/// Issued, and checked with the keys in the store: what Kuma does by default.
impl Default for TokenSettings {
    fn default() -> Self {
        Self { issue: true, use_secrets: true, public_keys: PublicKeys::default() }
    }
}

/// How tokens are issued and checked.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Dataplane tokens.
    pub dataplane: TokenSettings,
    /// Zone tokens.
    pub zone: TokenSettings,
    /// User tokens.
    pub user: TokenSettings,
    /// A zone that got only the public halves of zone token keys from global.
    pub is_federated_zone: bool,
    /// The store is lost at a restart, which explains many refusals; messages then say so.
    pub is_memory_store: bool,
}

impl Settings {
    /// The settings in a configuration. Reads the files it names.
    ///
    /// # Errors
    /// When a public key cannot be read.
    pub fn of(config: &Config) -> Result<Self, PublicKeyError> {
        let users = &config.api_server.authn.tokens;
        Ok(Self {
            dataplane: TokenSettings::of(&config.dp_server.authn.dp_proxy.dp_token)?,
            zone: TokenSettings::of(&config.dp_server.authn.zone_proxy.zone_token)?,
            user: TokenSettings::new(users.enable_issuer, &users.validator)?,
            is_federated_zone: config.is_federated_zone(),
            is_memory_store: config.store.r#type == StoreType::Memory,
        })
    }
}

/// Why a token is refused. The texts are those of Kuma.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The key that signed it is not known.
    #[error(transparent)]
    UnknownKey(#[from] KeyNotFound),
    /// It is malformed, or cannot be verified.
    #[error("could not parse token{}: {reason}", if *memory { MEMORY_HINT } else { "" })]
    Invalid {
        /// What is wrong with it, in short.
        fault: Fault,
        /// What is wrong with it.
        reason: String,
        /// The store is lost at a restart.
        memory: bool,
    },
    /// It is too late, or too early, for it.
    #[error("could not parse token{}: {reason}", if *memory { MEMORY_HINT } else { "" })]
    OutOfTime {
        /// What is wrong with it.
        reason: String,
        /// The store is lost at a restart.
        memory: bool,
    },
    /// It was revoked.
    #[error("token is revoked")]
    Revoked,
}

/// What is wrong with a token that was not found valid, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// There is no token.
    Missing,
    /// It does not have the form of one.
    Malformed,
    /// Its algorithm is not accepted.
    Algorithm,
    /// The key it names is there, but cannot verify it.
    Key,
    /// The key it names did not sign it.
    Signature,
}

/// A token that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Valid<C> {
    /// What it says.
    pub claims: C,
    /// When it ends; `None` for never.
    pub expires: Option<Timestamp>,
}

const MEMORY_HINT: &str = ". kuma-cp runs with an in-memory database and its state isn't preserved between restarts. \
    Keep in mind that an in-memory database cannot be used with multiple instances of the control plane";

/// There is no key with this id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no signing key with KID {kid}. {place} is not found. If signing key was rotated, regenerate the token"
)]
pub struct KeyNotFound {
    /// Id in the header of the token.
    pub kid: String,
    place: String,
}

impl KeyNotFound {
    fn in_configuration(kid: &str) -> Self {
        Self { kid: kid.to_owned(), place: "Public key in the configuration".to_owned() }
    }
}

/// Why no token was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The configuration forbids it.
    #[error("issuing tokens using the control plane is disabled.")]
    Disabled,
    /// There is no key to sign with, e.g. because the mesh does not exist.
    #[error(transparent)]
    NoKey(#[from] KeyNotFound),
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Issues and checks tokens, with the keys that are in the store at that moment.
///
/// Keys are parsed when they change, not for every token. Shared by all connections.
#[derive(Debug)]
pub struct Tokens {
    ring: KeyRing,
    settings: Settings,
}

impl Tokens {
    /// Tokens signed with the keys in `store`.
    pub fn new(store: &SharedStore, settings: Settings) -> Self {
        Self { ring: KeyRing::new(store.changes(0)), settings }
    }

    /// Issues a dataplane token.
    ///
    /// # Errors
    /// When issuing is off, or the mesh has no key.
    pub fn issue_dataplane(&self, claims: &DataplaneClaims, valid_for: Duration) -> Result<String, IssueError> {
        let realm = Realm::Dataplane { mesh: claims.mesh.clone() };
        self.issue(&self.settings.dataplane, &realm, claims, valid_for)
    }

    /// Issues a zone token.
    ///
    /// # Errors
    /// When issuing is off, or there is no key: federated zones have none.
    pub fn issue_zone(&self, claims: &ZoneClaims, valid_for: Duration) -> Result<String, IssueError> {
        self.issue(&self.settings.zone, &Realm::Zone, claims, valid_for)
    }

    /// Issues a user token.
    ///
    /// # Errors
    /// When issuing is off, or there is no key.
    pub fn issue_user(&self, claims: &UserClaims, valid_for: Duration) -> Result<String, IssueError> {
        self.issue(&self.settings.user, &Realm::User, claims, valid_for)
    }

    /// Issues the token of the administrator that Kuma keeps in the GlobalSecret `admin-user-token`, also when issuing on
    /// request is off.
    ///
    /// # Errors
    /// When there is no key.
    pub fn issue_admin(&self, valid_for: Duration) -> Result<String, IssueError> {
        let admin = crate::access::User::admin();
        self.sign(&Realm::User, &UserClaims { name: admin.name, groups: admin.groups }, valid_for)
    }

    /// Checks the token of a data plane proxy of `mesh`; [`crate::proxy::check_dataplane`] then compares the claims.
    ///
    /// # Errors
    /// When the token is refused.
    pub fn check_dataplane(&self, token: &str, mesh: &str) -> Result<DataplaneClaims, TokenError> {
        let realm = Realm::Dataplane { mesh: mesh.to_owned() };
        Ok(self.check(&self.settings.dataplane, &realm, token)?.claims)
    }

    /// Checks the token of a zone proxy; [`crate::proxy::check_zone_proxy`] then compares the claims.
    ///
    /// # Errors
    /// When the token is refused.
    pub fn check_zone(&self, token: &str) -> Result<ZoneClaims, TokenError> {
        Ok(self.check_zone_until(token)?.claims)
    }

    /// Checks a zone token that is to hold for longer than a moment: tells when it ends as well.
    ///
    /// # Errors
    /// When the token is refused.
    pub fn check_zone_until(&self, token: &str) -> Result<Valid<ZoneClaims>, TokenError> {
        self.check(&self.settings.zone, &Realm::Zone, token)
    }

    /// Checks the token of a user.
    ///
    /// # Errors
    /// When the token is refused.
    pub fn check_user(&self, token: &str) -> Result<UserClaims, TokenError> {
        Ok(self.check(&self.settings.user, &Realm::User, token)?.claims)
    }

    fn issue(
        &self,
        settings: &TokenSettings,
        realm: &Realm,
        claims: &impl Claims,
        valid_for: Duration,
    ) -> Result<String, IssueError> {
        if !settings.issue {
            return Err(IssueError::Disabled);
        }
        self.sign(realm, claims, valid_for)
    }

    fn sign(&self, realm: &Realm, claims: &impl Claims, valid_for: Duration) -> Result<String, IssueError> {
        let (serial, key) = self.ring.latest(realm)?;
        let now = Timestamp::now();
        let begin = now.saturating_sub(CLOCK_SKEW).unwrap_or(Timestamp::MIN).as_second();
        let end = now.saturating_add(valid_for).unwrap_or(Timestamp::MAX).as_second();
        let mut members = claims.members();
        for (name, value) in [("exp", end), ("nbf", begin), ("iat", begin)] {
            members.insert(name.to_owned(), value.into());
        }
        members.insert("jti".to_owned(), uuid::Uuid::new_v4().to_string().into());
        Ok(jwt::sign(&key, &serial.to_string(), &members)?)
    }

    fn check<C: Claims>(&self, settings: &TokenSettings, realm: &Realm, token: &str) -> Result<Valid<C>, TokenError> {
        let memory = self.settings.is_memory_store;
        let invalid = |Flaw { fault, reason }: Flaw| TokenError::Invalid { fault, reason, memory };
        let parsed = jwt::parse(token).map_err(invalid)?;
        let claims = C::from_members(&parsed.claims)
            .map_err(|reason| invalid(Flaw::malformed(format!("could not JSON decode claim: {reason}"))))?;
        let from_global = self.settings.is_federated_zone && *realm == Realm::Zone;
        // The keys are looked up once, and used when nobody waits for them any more.
        let known = self.ring.look_up(realm, from_global, &parsed.kid, &parsed.id);
        let is_signed = match parsed.algorithm {
            Algorithm::Hs256 => {
                // Anybody can sign with an empty secret.
                let usable = |secret: &Arc<[u8]>| settings.use_secrets && !from_global && !secret.is_empty();
                let secret = known.legacy.filter(usable);
                let secret = secret
                    .ok_or_else(|| invalid(Flaw::without_key(Fault::Algorithm, "legacy key are not supported")))?;
                jwt::is_hmac(&secret, &parsed.signed, &parsed.signature)
            }
            Algorithm::Rs256 => {
                let configured = settings.public_keys.get(&parsed.kid, realm.mesh());
                let key = match configured {
                    Some(key) => key.clone(),
                    None if settings.use_secrets => {
                        known.verifying?.map_err(|error| invalid(Flaw::without_key(Fault::Key, error)))?
                    }
                    None => return Err(KeyNotFound::in_configuration(&parsed.kid).into()),
                };
                key.verifies(parsed.signed.as_bytes(), &parsed.signature)
            }
        };
        if !is_signed {
            let reason = match parsed.algorithm {
                Algorithm::Rs256 => "token signature is invalid: crypto/rsa: verification error",
                Algorithm::Hs256 => "token signature is invalid: signature is invalid",
            };
            return Err(invalid(Flaw { fault: Fault::Signature, reason: reason.to_owned() }));
        }
        parsed.check_time(Timestamp::now()).map_err(|reason| TokenError::OutOfTime { reason, memory })?;
        if known.revoked {
            return Err(TokenError::Revoked);
        }
        Ok(Valid { claims, expires: parsed.expires() })
    }
}
