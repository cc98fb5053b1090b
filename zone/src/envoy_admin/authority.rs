//! Certificates of the zone's own authority for Envoy's admin interface.

use std::sync::Arc;

use parking_lot::Mutex;
use tandem_auth::ca::Signer;
use tandem_auth::envoy_admin;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_proto::system::v1alpha1::Secret;
use tandem_store::SharedStore;
use tandem_xds::{AdminTls, ProxyMetadata};
use tracing::warn;

/// Issues certificates for the admin listeners of proxies.
pub struct EnvoyAdmin {
    store: SharedStore,
    authority: Mutex<Option<(u64, Arc<Signer>)>>,
}

impl EnvoyAdmin {
    /// An issuer that reads the authority from `store`.
    pub fn new(store: SharedStore) -> Self {
        Self { store, authority: Mutex::new(None) }
    }

    /// Certificates for the admin listener of a proxy; `None` when it has no admin port.
    pub async fn server_tls(&self, metadata: &ProxyMetadata, resource: &Resource) -> Option<AdminTls> {
        let addresses = addresses(resource);
        if metadata.admin_port == 0 || addresses.is_empty() {
            return None;
        }
        match self.issue(&addresses).await {
            Ok(tls) => Some(tls),
            Err(problem) => {
                warn!(proxy = %resource.key, problem, "no certificate for the admin listener of a proxy");
                None
            }
        }
    }

    async fn issue(&self, addresses: &[String]) -> Result<AdminTls, String> {
        let authority = self.authority().await?;
        let names: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let pair = envoy_admin::server_certificate(&authority, &names).map_err(|error| error.to_string())?;
        Ok(AdminTls {
            ca: authority.root_pem().as_bytes().to_vec(),
            certificate: pair.cert_pem.into_bytes(),
            private_key: pair.key_pem.into_bytes(),
        })
    }

    /// True when certificates are signed by the present authority.
    pub async fn is_current(&self, tls: &AdminTls) -> bool {
        self.authority().await.is_ok_and(|authority| authority.root_pem().as_bytes() == tls.ca)
    }

    /// The authority of the zone.
    ///
    /// # Errors
    /// When its secret is missing or unreadable.
    pub async fn authority(&self) -> Result<Arc<Signer>, String> {
        let key = ResourceKey::global(Kind::GlobalSecret, envoy_admin::SECRET_NAME);
        let secret = self.store.get(&key).await.map_err(|error| error.to_string())?;
        let secret = secret.ok_or_else(|| format!("{key} not found"))?;
        if let Some((version, authority)) = &*self.authority.lock()
            && *version == secret.version
        {
            return Ok(authority.clone());
        }
        let data = secret.proto::<Secret>().map_err(|error| error.to_string())?.data.unwrap_or_default();
        let authority = Arc::new(envoy_admin::load(&data).map_err(|error| error.to_string())?);
        *self.authority.lock() = Some((secret.version, authority.clone()));
        Ok(authority)
    }
}

/// Addresses at which the control plane reaches a proxy, the one it listens on first.
pub fn addresses(resource: &Resource) -> Vec<String> {
    let (address, advertised) = match resource.kind() {
        Kind::Dataplane => {
            let networking = resource.proto::<pb::Dataplane>().ok().and_then(|dataplane| dataplane.networking);
            networking.map(|n| (n.address, n.advertised_address)).unwrap_or_default()
        }
        Kind::ZoneIngress => {
            let networking = resource.proto::<pb::ZoneIngress>().ok().and_then(|ingress| ingress.networking);
            networking.map(|n| (n.address, n.advertised_address)).unwrap_or_default()
        }
        _ => {
            let networking = resource.proto::<pb::ZoneEgress>().ok().and_then(|egress| egress.networking);
            networking.map(|n| (n.address, String::new())).unwrap_or_default()
        }
    };
    let mut addresses = vec![address];
    if !advertised.is_empty() && advertised != addresses[0] {
        addresses.push(advertised);
    }
    addresses.retain(|address| !address.is_empty());
    addresses
}
