//! MeshTrust: authorities whose certificates a mesh trusts, for one trust domain.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::violation::{Path, Violations};

const MAX_TRUST_DOMAIN_LENGTH: usize = 253;

/// Specification of a MeshTrust.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeshTrust {
    /// Deprecated place of [`Status::origin`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Trust domain the authorities issue for.
    #[schemars(length(max = 253))]
    pub trust_domain: String,
    /// The authorities.
    #[schemars(length(min = 1))]
    pub ca_bundles: Vec<CaBundle>,
}

/// Where a MeshTrust came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// Identifier of the MeshIdentity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kri: Option<String>,
}

/// Certificates of authorities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaBundle {
    /// Form of the certificates.
    #[serde(rename = "type")]
    pub kind: CaBundleType,
    /// The certificates, if in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pem: Option<Pem>,
}

/// Form of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CaBundleType {
    /// PEM text.
    Pem,
}

/// Certificates as PEM text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pem {
    /// One or more certificates.
    pub value: String,
}

/// Status of a MeshTrust.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Where it came from; absent when a user wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl MeshTrust {
    /// Rules beyond the schema.
    pub(super) fn validate(&self) -> Violations {
        let mut violations = Violations::none();
        let spec = Path::new("spec");
        let bundles = spec.field("caBundles");
        if self.ca_bundles.is_empty() {
            violations.add(&bundles, "must not be empty");
        }
        for (index, bundle) in self.ca_bundles.iter().enumerate() {
            let path = bundles.index(index).field("pem");
            match &bundle.pem {
                None => violations.add(&path, "must be defined"),
                Some(pem) if !is_certificate(&pem.value) => {
                    violations.add(&path.field("value"), "provided certificate has incorrect format");
                }
                Some(_) => {}
            }
        }
        let trust_domain = spec.field("trustDomain");
        if self.trust_domain.is_empty() {
            violations.add(&trust_domain, "trustDomain needs to be defined");
        }
        if self.trust_domain.len() > MAX_TRUST_DOMAIN_LENGTH {
            violations.add(&trust_domain, "must not be longer than 253 characters");
        }
        violations
    }
}

/// True when the first PEM block is there and holds no private key.
fn is_certificate(text: &str) -> bool {
    pem::parse(text).is_ok_and(|block| !block.tag().ends_with("PRIVATE KEY"))
}
