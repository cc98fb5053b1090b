//! What generation takes and gives.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use tandem_model::ResourceKey;
use tandem_model::tags::TagMultimap;

use crate::encoded::{Encoded, Joined, ResourceSet, ResourceType};
use crate::index::{MeshIdentityView, ServiceKey};
use crate::metadata::ProxyMetadata;

/// Certificate with which a proxy shows who it is in a mesh.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Certificate, PEM; followed by intermediate ones if there are any.
    pub certificate_chain: Vec<u8>,
    /// Private key, PEM.
    pub private_key: Vec<u8>,
}

/// Shows nothing of the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// A certificate that a proxy needs.
///
/// Two requests are equal when one certificate serves both; a certificate has to be issued again when its request changes or
/// most of its lifetime has passed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdentityRequest {
    /// Mesh whose certificate authority is to sign.
    pub mesh: String,
    /// Name of the backend of the mesh that is to sign.
    pub backend: String,
    /// Tags of the proxy: the certificate names each of them, and each value of `kuma.io/service` as a SPIFFE identity.
    pub tags: TagMultimap,
    /// Lifetime as the mesh configures it, such as `24h`; empty for the default.
    pub expiration: String,
    /// Digest of the `mtls` section of the mesh: a change makes a new certificate necessary.
    pub mtls_digest: [u8; 16],
}

/// A certificate that a Dataplane needs from the MeshIdentity that selects it.
#[derive(Debug, Clone)]
pub struct WorkloadRequest {
    /// The MeshIdentity.
    pub identity: Arc<MeshIdentityView>,
    /// What the certificate is to say; the error tells why nothing can be said.
    pub spiffe_id: Result<SpiffeId, String>,
}

/// The identity of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeId {
    /// Trust domain.
    pub trust_domain: String,
    /// The whole: `spiffe://{trust domain}{path}`.
    pub uri: String,
}

/// A certificate that a MeshIdentity gave a Dataplane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadIdentity {
    /// Identifier of the MeshIdentity, which is the name of the secret.
    pub name: Arc<str>,
    /// The certificate.
    pub certificate: Arc<Identity>,
}

/// Key material of the port through which the control plane reaches Envoy's administration interface.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct AdminTls {
    /// Authority that the control plane's client certificate must be signed by, PEM.
    pub ca: Vec<u8>,
    /// Server certificate, PEM.
    pub certificate: Vec<u8>,
    /// Its private key, PEM.
    pub private_key: Vec<u8>,
}

/// Shows nothing of the key.
impl fmt::Debug for AdminTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminTls(..)")
    }
}

/// One proxy to generate for.
#[derive(Debug, Clone, Copy)]
pub struct ProxyInput<'a> {
    /// Key of its Dataplane, ZoneIngress or ZoneEgress.
    pub key: &'a ResourceKey,
    /// What it told of itself.
    pub metadata: &'a ProxyMetadata,
    /// Its certificates by mesh; one for each of [`identity_requests`](crate::identity_requests).
    pub identities: &'a BTreeMap<String, Arc<Identity>>,
    /// The certificate from its MeshIdentity, if it has one, see [`workload_request`](crate::workload_request): it takes the place
    /// of that of the mesh on connections to the workload and to services that are resources.
    pub workload: Option<&'a Arc<WorkloadIdentity>>,
    /// Key material for its administration port. Needed when the proxy has one that is reachable from outside its host.
    pub admin_tls: Option<&'a AdminTls>,
    /// The last result for this proxy: what did not change is taken over from it instead of being built again.
    pub previous: Option<&'a Generated>,
}

/// Configuration of one proxy.
#[derive(Debug)]
pub struct Generated {
    /// The resources.
    pub resources: ResourceSet,
    /// The services whose endpoints it uses: it has to be generated again when one of them changes.
    pub services: Arc<BTreeSet<ServiceKey>>,
    /// What was left out of the resources, each once, in order of appearance.
    pub warnings: Vec<Warning>,
    /// What the resources were put together from.
    pub(crate) joined: Joined,
    /// Resources that belong to this proxy alone, each with a fingerprint of what it was built from.
    pub(crate) own: Vec<(u64, ResourceType, Arc<Encoded>)>,
    /// Keeps what was computed for many proxies alive in the cache.
    pub(crate) _shared: Vec<Arc<dyn std::any::Any + Send + Sync>>,
}

/// Something that could not be turned into configuration and was left out; everything else of the proxy is there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Warning {
    /// The resource that is left out; `None` when it is a part of the proxy's own resource or a policy that the reason names.
    pub resource: Option<ResourceKey>,
    /// What is left out and why, for a person.
    pub reason: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.resource {
            Some(resource) => write!(f, "{resource}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

/// Why a proxy has no configuration. Its earlier one stays valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// The proxy's resource does not exist.
    #[error("{0} not found")]
    ProxyNotFound(ResourceKey),
    /// The mesh of the proxy does not exist.
    #[error("mesh {0:?} not found")]
    MeshNotFound(String),
    /// The key is of another kind.
    #[error("{0} is no proxy: expected a Dataplane, a ZoneIngress or a ZoneEgress")]
    NotAProxy(ResourceKey),
    /// The root certificates of a mesh are not known.
    #[error("mesh {mesh:?} has no certificate authority: {reason}")]
    AuthorityMissing {
        /// The mesh.
        mesh: String,
        /// What is missing.
        reason: String,
    },
    /// The input has no certificate for a mesh that needs one.
    #[error("no certificate was issued for the proxy in mesh {0:?}")]
    IdentityMissing(String),
    /// The input has no key material for the administration port.
    #[error("no certificate was issued for the administration port of the proxy")]
    AdminTlsMissing,
    /// The proxy has an administration port but tells no usable port for readiness.
    #[error("ReadinessPort has to be in (0, 65353] range")]
    ReadinessPort,
    /// The administration interface listens on an address that is not allowed.
    #[error(
        "envoy admin cluster is not allowed to have addresses other than \"\", \"0.0.0.0\", \"127.0.0.1\", \"::\", \"::1\"; \
         got {0:?}"
    )]
    AdminAddress(String),
}
