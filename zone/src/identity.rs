//! Certificates for proxies, signed by the authority of their mesh.
//!
//! Authorities are read from the store and parsed once; a changed Mesh or Secret is noticed by its version.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tandem_auth::ca::{self, CaError, KeyType, Signer};
use tandem_model::mesh::{MeshExt as _, builtin_cert_secret, builtin_key_secret};
use tandem_model::{DecodeError, Kind, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_proto::plugins::ca::ProvidedCertificateAuthorityConfig;
use tandem_proto::system::v1alpha1::{DataSource, Secret, data_source};
use tandem_store::{SharedStore, StoreError};
use tandem_xds::{Identity, IdentityRequest};

use crate::issuing;

/// Why a proxy gets no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The Mesh or a Secret does not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The authority is unusable, or the identity cannot be certified.
    #[error("mesh {mesh:?}, mTLS backend {backend:?}: {source}")]
    Authority {
        /// Mesh.
        mesh: String,
        /// Backend of the mesh.
        backend: String,
        /// Reason.
        source: CaError,
    },
    /// What the backend refers to is not there.
    #[error("mesh {mesh:?}, mTLS backend {backend:?}: {reason}")]
    Missing {
        /// Mesh.
        mesh: String,
        /// Backend of the mesh.
        backend: String,
        /// What is missing.
        reason: String,
    },
    /// Making it failed in a way that nobody expected.
    #[error("making a certificate failed: {0}")]
    Lost(#[from] tokio::task::JoinError),
}

/// A certificate, and what it was made from.
#[derive(Debug, Clone)]
pub struct IssuedIdentity {
    /// The certificate as the configuration of the proxy carries it.
    pub identity: Arc<Identity>,
    /// When it ends.
    pub not_after: Timestamp,
    /// When it is to be replaced.
    pub renew_at: Timestamp,
    offer: IdentityOffer,
}

impl IssuedIdentity {
    /// Backend of the mesh that signed it.
    pub fn backend(&self) -> &str {
        &self.offer.request.backend
    }

    /// True when another certificate would say the same and be signed by the same authority.
    pub fn is(&self, offer: &IdentityOffer) -> bool {
        self.offer.is_like(offer)
    }
}

/// A certificate that could be issued.
#[derive(Debug, Clone)]
pub struct IdentityOffer {
    request: IdentityRequest,
    validity: Duration,
    key_type: KeyType,
    signer: Arc<Signer>,
}

impl IdentityOffer {
    /// True when both say the same about the proxy and are signed by the same authority.
    pub fn is_like(&self, other: &Self) -> bool {
        self.request == other.request && Arc::ptr_eq(&self.signer, &other.signer)
    }

    /// Issues the certificate. That takes a while; see [`Issuing`](crate::issuing::Issuing).
    ///
    /// # Errors
    /// When the proxy has a name that cannot be certified, or signing fails.
    pub fn issue(self) -> Result<IssuedIdentity, IdentityError> {
        let IdentityRequest { mesh, backend, tags, .. } = &self.request;
        let certificate = ca::issue(&self.signer, mesh, tags, self.validity, self.key_type)
            .map_err(|error| authority_error(mesh, backend, error))?;
        Ok(IssuedIdentity {
            renew_at: issuing::renew_at(&certificate),
            not_after: certificate.not_after,
            identity: Arc::new(Identity {
                certificate_chain: certificate.cert_pem.into_bytes(),
                private_key: certificate.key_pem.into_bytes(),
            }),
            offer: self,
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Source {
    backend: String,
    cert: Vec<u8>,
    key: Vec<u8>,
    /// Whether the certificates have to be those of an authority: what nobody would accept is not handed out.
    checked: bool,
}

impl Source {
    fn signer(&self) -> Result<Signer, CaError> {
        let signer = Signer::from_pem(&self.cert, &self.key)?;
        let faults = if self.checked { ca::authority_faults(&self.cert)? } else { Vec::new() };
        match faults.first() {
            Some(&(index, reason)) => Err(CaError::NotAnAuthority { index, reason }),
            None => Ok(signer),
        }
    }
}

/// Issues certificates; shared by all streams.
pub struct Identities {
    store: SharedStore,
    key_type: KeyType,
    signers: Mutex<HashMap<String, (Source, Arc<Signer>)>>,
}

impl Identities {
    /// An issuer that reads authorities from `store` and makes keys of this type.
    pub fn new(store: SharedStore, key_type: KeyType) -> Self {
        Self { store, key_type, signers: Mutex::default() }
    }

    /// What a certificate as requested would be.
    ///
    /// # Errors
    /// When the authority of the mesh cannot be used.
    pub async fn offer(&self, request: &IdentityRequest) -> Result<IdentityOffer, IdentityError> {
        let mesh = &request.mesh;
        let source = self.source(mesh, &request.backend).await?;
        let signer = self.signer(mesh, &source)?;
        let validity = match request.expiration.as_str() {
            "" => ca::DEFAULT_VALIDITY,
            text => ca::parse_duration(text).map_err(|error| authority_error(mesh, &request.backend, error))?,
        };
        Ok(IdentityOffer { request: request.clone(), validity, key_type: self.key_type, signer })
    }

    /// The parsed authority. The same `Arc` as long as nothing about it changed.
    fn signer(&self, mesh: &str, source: &Source) -> Result<Arc<Signer>, IdentityError> {
        let mut signers = self.signers.lock();
        if let Some((known, signer)) = signers.get(mesh)
            && known == source
        {
            return Ok(signer.clone());
        }
        let signer = source.signer().map_err(|error| authority_error(mesh, &source.backend, error))?;
        let signer = Arc::new(signer);
        signers.insert(mesh.to_owned(), (source.clone(), signer.clone()));
        Ok(signer)
    }

    async fn source(&self, name: &str, backend_name: &str) -> Result<Source, IdentityError> {
        let missing =
            |reason: String| IdentityError::Missing { mesh: name.to_owned(), backend: backend_name.to_owned(), reason };
        let mesh = self.store.get(&ResourceKey::global(Kind::Mesh, name)).await?;
        let mesh: pb::Mesh = mesh.ok_or_else(|| missing("the mesh does not exist".to_owned()))?.proto()?;
        let backend = mesh
            .enabled_backend()
            .filter(|backend| backend.name == backend_name)
            .ok_or_else(|| missing("the backend is not enabled".to_owned()))?;
        let (cert, key) = match backend.r#type.as_str() {
            "builtin" => (
                data_source::Type::Secret(builtin_cert_secret(name, backend_name)),
                data_source::Type::Secret(builtin_key_secret(name, backend_name)),
            ),
            "provided" => provided(backend).map_err(missing)?,
            other => return Err(missing(format!("unknown type {other:?}"))),
        };
        Ok(Source {
            backend: backend_name.to_owned(),
            // What the control plane made itself is one.
            checked: backend.r#type == "provided" && mesh.mtls.as_ref().is_some_and(|mtls| !mtls.skip_validation),
            cert: self.load(name, cert).await?.map_err(missing)?,
            key: self.load(name, key).await?.map_err(missing)?,
        })
    }

    /// Content of a data source; the inner error tells why there is none.
    async fn load(&self, mesh: &str, source: data_source::Type) -> Result<Result<Vec<u8>, String>, IdentityError> {
        Ok(match source {
            data_source::Type::Inline(bytes) => Ok(bytes),
            data_source::Type::InlineString(text) => Ok(text.into_bytes()),
            data_source::Type::File(path) => {
                tokio::fs::read(&path).await.map_err(|error| format!("cannot read file {path:?}: {error}"))
            }
            data_source::Type::Secret(name) => {
                match self.store.get(&ResourceKey::new(Kind::Secret, mesh, name.clone())).await? {
                    Some(secret) => Ok(secret.proto::<Secret>()?.data.unwrap_or_default()),
                    None => Err(format!("Secret {name:?} does not exist")),
                }
            }
        })
    }
}

fn authority_error(mesh: &str, backend: &str, source: CaError) -> IdentityError {
    IdentityError::Authority { mesh: mesh.to_owned(), backend: backend.to_owned(), source }
}

/// Where a provided authority is.
fn provided(backend: &pb::CertificateAuthorityBackend) -> Result<(data_source::Type, data_source::Type), String> {
    let config: ProvidedCertificateAuthorityConfig =
        tandem_proto::json::from_struct(backend.conf.as_ref()).map_err(|error| error.to_string())?;
    let source = |source: Option<DataSource>, name: &str| {
        source.and_then(|source| source.r#type).ok_or_else(|| format!("conf.{name} has to be defined"))
    };
    Ok((source(config.cert, "cert")?, source(config.key, "key")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provided_authority_is_where_the_mesh_says() {
        let source = |kind| Some(DataSource { r#type: Some(kind) });
        let cert = data_source::Type::Secret("root".to_owned());
        let key = data_source::Type::InlineString("key".to_owned());
        let config = ProvidedCertificateAuthorityConfig { cert: source(cert.clone()), key: source(key.clone()) };
        let conf = tandem_proto::json::to_struct(&config).expect("every message has a JSON form");
        let backend = |conf| pb::CertificateAuthorityBackend { conf, ..Default::default() };
        assert_eq!(provided(&backend(Some(conf))), Ok((cert, key)));
        assert_eq!(provided(&backend(None)), Err("conf.cert has to be defined".to_owned()));
    }

    #[tokio::test]
    async fn what_is_no_authority_signs_only_if_the_mesh_says_so() {
        let store: SharedStore = Arc::new(tandem_store::MemoryStore::new());
        let signer = ca::BuiltinAuthority::generate("m", ca::RsaBits::default(), None).expect("a mesh");
        let signer = Signer::from_pem(signer.cert_pem.as_bytes(), signer.key_pem.as_bytes()).expect("a pair");
        let leaf = ca::issue(&signer, "m", &[].into(), ca::DEFAULT_VALIDITY, KeyType::Ecdsa).expect("issued");
        let text = |text: &str| DataSource { r#type: Some(data_source::Type::InlineString(text.to_owned())) };
        let config =
            ProvidedCertificateAuthorityConfig { cert: Some(text(&leaf.cert_pem)), key: Some(text(&leaf.key_pem)) };
        let backend = pb::CertificateAuthorityBackend {
            name: "leaf".to_owned(),
            r#type: "provided".to_owned(),
            conf: Some(tandem_proto::json::to_struct(&config).expect("every message has a JSON form")),
            ..Default::default()
        };
        for (skip_validation, usable) in [(false, false), (true, true)] {
            let mtls =
                pb::mesh::Mtls { enabled_backend: "leaf".to_owned(), backends: vec![backend.clone()], skip_validation };
            let mesh = pb::Mesh { mtls: Some(mtls), ..Default::default() };
            let mesh = tandem_model::Resource::from_proto(ResourceKey::global(Kind::Mesh, "m"), &mesh);
            store.commit(vec![tandem_store::Write::Put(mesh)]).await.expect("valid");
            let issuer = Identities::new(store.clone(), KeyType::Ecdsa);
            let source = issuer.source("m", "leaf").await.expect("there");
            match issuer.signer("m", &source) {
                Ok(_) => assert!(usable),
                Err(error) => {
                    let text = error.to_string();
                    assert!(!usable && text.contains("certificate 0 is not one of a CA: basic constraint"), "{text}");
                }
            }
        }
    }
}
