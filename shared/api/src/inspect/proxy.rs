//! One proxy as inspection sees it.

use std::sync::Arc;

use tandem_model::vips::{VipOutbound, expand, reachable};
use tandem_model::{Resource, ResourceKey};
use tandem_policy::subject::Subject;
use tandem_proto::mesh::v1alpha1::Dataplane;
use tandem_proto::mesh::v1alpha1::dataplane::networking::Outbound;
use tandem_store::Store;

use super::MeshView;
use crate::problem::Problem;

/// A Dataplane, decoded.
#[derive(Debug)]
pub struct Proxy {
    /// The resource.
    pub resource: Arc<Resource>,
    /// Its specification.
    pub spec: Dataplane,
}

impl Proxy {
    /// Decodes a stored Dataplane.
    ///
    /// # Errors
    /// 500 under `title` when it does not decode.
    pub fn decode(resource: Arc<Resource>, title: &str) -> Result<Self, Problem> {
        let spec = resource.proto().map_err(|error| Problem::internal(title, &error))?;
        Ok(Self { resource, spec })
    }

    /// Reads a Dataplane.
    ///
    /// # Errors
    /// Under `title`: 404 when there is none, 500 when it cannot be read.
    pub async fn load(store: &dyn Store, key: &ResourceKey, title: &str) -> Result<Self, Problem> {
        let found = store.get(key).await.map_err(|error| Problem::store(title, &error))?;
        Self::decode(found.ok_or_else(|| Problem::not_found(title))?, title)
    }

    /// Puts the services that a proxy reaches at virtual addresses in the place of the outbounds it lists, if its connections are
    /// redirected: then it does not use these. `port` is the one under which all services are reached.
    #[must_use]
    pub fn at_virtual_addresses(mut self, mesh: &MeshView, port: u16) -> Self {
        let section = self.spec.networking.as_ref().and_then(|networking| networking.transparent_proxying.as_ref());
        let redirected =
            section.is_some_and(|section| section.redirect_port_inbound > 0 || section.redirect_port_outbound > 0);
        if !redirected {
            return self;
        }
        // Only names, which nobody asks for here, follow from the ending of host names.
        let outbounds = if mesh.exclusive() { Vec::new() } else { expand(&mesh.vips, "", port.into()).outbounds };
        let outbound = |outbound: &VipOutbound| Outbound {
            address: outbound.address.clone(),
            port: outbound.port,
            tags: outbound.tags.clone(),
            ..Outbound::default()
        };
        let reached = reachable(&outbounds, &self.spec).map(outbound).collect();
        if let Some(networking) = &mut self.spec.networking {
            networking.outbound = reached;
        }
        self
    }

    /// The proxy as policies of its mesh see it.
    pub fn subject<'a>(&'a self, mesh: &'a MeshView) -> Subject<'a> {
        Subject::new(&self.resource, &self.spec, &mesh.gateways)
    }
}
