//! ExternalServices as generation needs them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_model::label::{PROTOCOL_TAG, SERVICE_TAG, ZONE};
use tandem_model::{DecodeError, Protocol, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;

use super::outside_tls::TlsSettings;

/// An ExternalService, decoded.
#[derive(Debug, PartialEq)]
pub struct ExternalView {
    /// Key of the resource.
    pub key: ResourceKey,
    /// Value of its tag `kuma.io/service`.
    pub service: Arc<str>,
    /// Host name or IP address.
    pub host: Arc<str>,
    /// Port.
    pub port: u32,
    /// Tags.
    pub tags: Arc<BTreeMap<String, String>>,
    /// Protocol its tag tells.
    pub protocol: Protocol,
    /// TLS that is to be spoken to it; `None` when off.
    pub(crate) tls: Option<TlsSettings>,
}

/// Why an ExternalService is left out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExternalError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("networking.address: {0:?} is not of the form host:port")]
    Address(String),
}

impl ExternalView {
    pub(crate) fn decode(resource: &Arc<Resource>) -> Result<Self, ExternalError> {
        let external: pb::ExternalService = resource.proto()?;
        let networking = external.networking.unwrap_or_default();
        let address = || ExternalError::Address(networking.address.clone());
        let (host, port) = networking.address.rsplit_once(':').ok_or_else(address)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port: u16 = port.parse().map_err(|_| address())?;
        if host.is_empty() || port == 0 {
            return Err(address());
        }
        let tag = |name: &str| external.tags.get(name).map_or("", String::as_str);
        Ok(Self {
            key: resource.key.clone(),
            service: tag(SERVICE_TAG).into(),
            host: host.into(),
            port: u32::from(port),
            protocol: Protocol::parse(tag(PROTOCOL_TAG)),
            tls: TlsSettings::of_external(networking.tls.clone()),
            tags: Arc::new(external.tags),
        })
    }

    /// True when it can be reached from a zone: it names none, or that one.
    pub fn is_reachable_from(&self, zone: &str) -> bool {
        self.tags.get(ZONE).is_none_or(|of| of.is_empty() || of == zone)
    }
}
