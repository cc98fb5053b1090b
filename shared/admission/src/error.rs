//! Why a write was refused.

use std::fmt;

use tandem_model::{Kind, ResourceKey, Violations};
use tandem_store::StoreError;

/// The step of a write that failed; clients see a title made from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The resource itself was looked at.
    Check,
    /// The labels were compared with those stored.
    Labels,
    /// The resource was about to be created.
    Create,
    /// The resource was about to be replaced.
    Update,
    /// The resource was about to be deleted.
    Delete,
}

/// What is wrong.
#[derive(Debug, Clone)]
pub enum Reason {
    /// This control plane may not write the kind; the text is the one clients know.
    ReadOnly(String),
    /// Rules are broken.
    Invalid(Violations),
    /// The body has the right shape, but a value in it cannot be read; the violation names it.
    Unreadable {
        /// Kind of the resource.
        kind: Kind,
        /// The value and what is wrong with it.
        violations: Violations,
    },
    /// A request that no rule about a field describes.
    BadRequest(String),
    /// The mesh the resource belongs to does not exist.
    MeshNotFound(String),
    /// The constraints of the mesh keep the proxy out; the text names mesh and tags.
    NotAMember(String),
    /// The proxy may not take the place of the one that is stored under its name; the text says why.
    TakenOver(String),
    /// The store refused: the resource is missing, exists already, or was changed at the same time.
    Store(StoreError),
    /// The writer's condition about what is stored does not hold.
    Precondition {
        /// Version of what is stored; `None` when nothing is.
        current: Option<u64>,
    },
    /// A fault of this control plane, e.g. a key that could not be generated.
    Internal(String),
}

/// A refused write. Nothing was stored.
#[derive(Debug, Clone)]
pub struct AdmissionError {
    /// When it was refused.
    pub stage: Stage,
    /// Why.
    pub reason: Reason,
}

impl Reason {
    /// The error of this reason at `stage`.
    pub(crate) fn at(self, stage: Stage) -> AdmissionError {
        AdmissionError { stage, reason: self }
    }
}

impl From<StoreError> for Reason {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Violations> for Reason {
    fn from(violations: Violations) -> Self {
        Self::Invalid(violations)
    }
}

impl From<tandem_model::DecodeError> for Reason {
    fn from(error: tandem_model::DecodeError) -> Self {
        Self::BadRequest(error.to_string())
    }
}

impl From<tandem_auth::keys::KeyError> for Reason {
    fn from(error: tandem_auth::keys::KeyError) -> Self {
        match error {
            tandem_auth::keys::KeyError::Store(error) => Self::Store(error),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl Reason {
    /// The reason for something that must exist and does not.
    pub(crate) fn not_found(key: &ResourceKey) -> Self {
        Self::Store(StoreError::NotFound(key.clone()))
    }
}

/// Prints as kuma-dp and logs show it: the text of the refusal alone.
impl fmt::Display for AdmissionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::ReadOnly(text)
            | Reason::BadRequest(text)
            | Reason::NotAMember(text)
            | Reason::TakenOver(text)
            | Reason::Internal(text) => f.write_str(text.trim_end()),
            Reason::Invalid(violations) | Reason::Unreadable { violations, .. } => violations.fmt(f),
            Reason::MeshNotFound(mesh) => write!(f, "mesh of name {mesh} is not found"),
            Reason::Precondition { current: Some(version) } => {
                write!(f, "the condition of the request does not hold: version {version} is stored")
            }
            Reason::Precondition { current: None } => {
                f.write_str("the condition of the request does not hold: the resource does not exist")
            }
            Reason::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AdmissionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            Reason::Store(error) => Some(error),
            Reason::Invalid(violations) | Reason::Unreadable { violations, .. } => Some(violations),
            _ => None,
        }
    }
}
