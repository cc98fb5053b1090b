//! MeshIdentity: where the identities and certificates of proxies come from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Condition, LabelSelector};
use crate::schema::Duration;
use crate::template::Template;
use crate::violation::{Path, Violations};

/// Name of the Secret with the certificate of a generated authority, by the display name of its MeshIdentity.
pub fn generated_certificate_secret(display_name: &str) -> String {
    format!("{display_name}-root-ca")
}

/// Name of the Secret with the key of a generated authority, by the display name of its MeshIdentity.
pub fn generated_key_secret(display_name: &str) -> String {
    format!("{display_name}-private-key")
}

/// Specification of a MeshIdentity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeshIdentity {
    /// The proxies it applies to; absent selects none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// Form of the identities.
    #[serde(rename = "spiffeID", default, skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<SpiffeId>,
    /// Source of the certificates; absent when another product issues them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
}

/// Selection of proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Selector {
    /// Labels of the Dataplanes; absent selects none, empty all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataplane: Option<LabelSelector>,
}

/// Form of identities; see [`Template`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpiffeId {
    /// Trust domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_domain: Option<String>,
    /// Path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Source of certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Provider {
    /// Which of the members applies.
    #[serde(rename = "type")]
    pub kind: ProviderType,
    /// The control plane issues them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundled: Option<Bundled>,
    /// SPIRE issues them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spire: Option<Spire>,
}

/// Who issues certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProviderType {
    /// The control plane.
    Bundled,
    /// SPIRE.
    Spire,
}

/// Settings of the control plane's authority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bundled {
    /// Whether a MeshTrust is created for it; absent means it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh_trust_creation: Option<MeshTrustCreation>,
    /// Whether a self-signed certificate is accepted as the authority's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insecure_allow_self_signed: Option<bool>,
    /// Generation of the authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autogenerate: Option<Autogenerate>,
    /// The authority, if not generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<Ca>,
    /// Form of issued certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_parameters: Option<CertificateParameters>,
}

/// Whether a MeshTrust is created for a MeshIdentity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MeshTrustCreation {
    /// It is.
    Enabled,
    /// It is not.
    Disabled,
}

/// Generation of an authority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Autogenerate {
    /// Whether it is generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// A given authority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ca {
    /// Its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<SecureDataSource>,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<SecureDataSource>,
}

/// Form of issued certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateParameters {
    /// Life of a certificate; absent means a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<Duration>,
}

/// Settings of SPIRE.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Spire {
    /// Settings of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<SpireAgent>,
}

/// Settings of the SPIRE agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SpireAgent {
    /// How long to wait for its socket; absent means a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

/// Where a secret value is to be found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecureDataSource {
    /// Which of the members applies.
    #[serde(rename = "type")]
    pub kind: SecureDataSourceType,
    /// A file of the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileSource>,
    /// A variable in the control plane's environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_var: Option<EnvVarSource>,
    /// A value in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insecure_inline: Option<InlineSource>,
    /// A Secret of the same mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
}

/// Kind of place of a secret value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SecureDataSourceType {
    /// A file of the control plane.
    File,
    /// A Secret of the same mesh.
    Secret,
    /// A variable in the control plane's environment.
    EnvVar,
    /// A value in place.
    InsecureInline,
}

/// A file of the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileSource {
    /// Absolute path.
    pub path: String,
}

/// A variable in the control plane's environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvVarSource {
    /// Name of the variable.
    pub name: String,
}

/// A value in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InlineSource {
    /// The value.
    pub value: String,
}

/// Reference to a Secret of the same mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretRef {
    /// Kind of the resource.
    pub kind: SecretRefKind,
    /// Name of the Secret.
    pub name: String,
}

/// Kind of resource that holds a secret value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SecretRefKind {
    /// A Secret.
    Secret,
}

/// Status of a MeshIdentity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Observations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl MeshIdentity {
    /// Rules beyond the schema.
    pub(super) fn validate(&self) -> Violations {
        let mut violations = Violations::none();
        let spec = Path::new("spec");
        if let Some(SpiffeId { trust_domain, path }) = &self.spiffe_id {
            let root = spec.field("spiffeID");
            for (name, template) in [("trustDomain", trust_domain), ("path", path)] {
                if let Some(Err(error)) = template.as_deref().map(Template::parse) {
                    violations.add(&root.field(name), format!("couldn't parse template: {error}"));
                }
            }
        }
        if let Some(provider) = &self.provider {
            violations.extend(provider.validate(&spec.field("provider")));
        }
        violations
    }
}

impl Provider {
    fn validate(&self, path: &Path) -> Violations {
        let undefined = |name| Violations::one(&path.field(name), "configuration needs to be defined");
        match self.kind {
            ProviderType::Bundled => match &self.bundled {
                Some(bundled) => bundled.validate(&path.field("bundled")),
                None => undefined("bundled"),
            },
            ProviderType::Spire => match &self.spire {
                Some(spire) => {
                    let timeout = spire.agent.as_ref().and_then(|agent| agent.timeout);
                    // Kuma reports this field at a path with its middle doubled, which clients may look for.
                    not_negative(
                        &path.field("spire").field("agent").field("spire").field("agent").field("timeout"),
                        timeout,
                    )
                }
                None => undefined("spire"),
            },
        }
    }
}

impl Bundled {
    /// True when the authority is generated.
    pub fn is_generated(&self) -> bool {
        self.autogenerate.as_ref().and_then(|autogenerate| autogenerate.enabled).unwrap_or(false)
    }

    fn validate(&self, path: &Path) -> Violations {
        let mut violations = Violations::none();
        let ca_path = path.field("ca");
        let generated = self.is_generated();
        match &self.ca {
            Some(_) if generated => violations.add(&ca_path, "shouldn't be defined once using autogenerated"),
            None if !generated => violations.add(&ca_path, "must be defined"),
            Some(Ca { certificate, private_key }) => {
                for (name, source) in [("certificate", certificate), ("privateKey", private_key)] {
                    let path = ca_path.field(name);
                    match source {
                        Some(source) => violations.extend(source.validate(&path)),
                        None => violations.add(&path, "must be defined"),
                    }
                }
            }
            None => {}
        }
        let expiry = self.certificate_parameters.as_ref().and_then(|parameters| parameters.expiry);
        violations.extend(not_negative(&path.field("certificateParameters").field("expiry"), expiry));
        violations
    }
}

impl SecureDataSource {
    fn validate(&self, path: &Path) -> Violations {
        let (name, member, value) = match self.kind {
            SecureDataSourceType::File => ("file", "path", self.file.as_ref().map(|source| &source.path)),
            SecureDataSourceType::Secret => ("secretRef", "name", self.secret_ref.as_ref().map(|source| &source.name)),
            SecureDataSourceType::EnvVar => ("envVar", "name", self.env_var.as_ref().map(|source| &source.name)),
            SecureDataSourceType::InsecureInline => {
                ("insecureInline", "value", self.insecure_inline.as_ref().map(|source| &source.value))
            }
        };
        let path = path.field(name);
        let Some(value) = value else { return Violations::one(&path, "must be defined") };
        let path = path.field(member);
        if value.is_empty() {
            Violations::one(&path, "must be defined")
        } else if self.kind != SecureDataSourceType::File {
            Violations::none()
        } else if value.contains("..") {
            Violations::one(&path, format!("file path contains directory traversal sequence: {value}"))
        } else if !value.starts_with('/') {
            Violations::one(&path, format!("file path must be absolute: {value}"))
        } else {
            Violations::none()
        }
    }
}

fn not_negative(path: &Path, duration: Option<Duration>) -> Violations {
    match duration {
        Some(Duration(..0)) => Violations::one(path, "must not be negative when defined"),
        _ => Violations::none(),
    }
}
