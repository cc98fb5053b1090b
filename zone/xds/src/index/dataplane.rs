//! Dataplanes as generation needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tandem_model::dataplane::{DataplaneExt as _, InboundExt as _};
use tandem_model::label::ZONE;
use tandem_model::{Protocol, Resource, prometheus};
use tandem_policy::Marks;
use tandem_policy::subject::Subject;
use tandem_proto::mesh::v1alpha1 as pb;

use super::hostnames::{AddressError, Hostnames};

/// A Dataplane, decoded.
#[derive(Debug)]
pub struct DataplaneView {
    /// Name.
    pub name: Arc<str>,
    /// The resource it was decoded from.
    pub resource: Arc<Resource>,
    /// Its specification, with addresses in place of host names.
    pub spec: pb::Dataplane,
    /// Endpoints it offers to others: its healthy inbounds.
    pub(crate) endpoints: Vec<Arc<LocalEndpoint>>,
    /// By what policies find it.
    pub(crate) marks: Marks,
}

/// A healthy inbound of a Dataplane of this zone, seen as an endpoint.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LocalEndpoint {
    /// Index of the inbound in its Dataplane.
    pub index: u32,
    /// Service the inbound belongs to; may be empty.
    pub service: Arc<str>,
    /// Address under which other proxies reach it.
    pub address: Arc<str>,
    /// Port.
    pub port: u32,
    /// Tags of the inbound.
    pub tags: Arc<BTreeMap<String, String>>,
    /// Protocol its tag tells.
    pub protocol: Protocol,
}

impl LocalEndpoint {
    /// Zone its tag tells.
    pub fn zone(&self) -> Option<&str> {
        self.tags.get(ZONE).map(String::as_str)
    }
}

/// Stands, among the services a proxy uses, for where the Dataplanes of a service listen, ready or not; `*` for those of all
/// services.
pub(crate) fn direct_access_to(service: &str) -> String {
    format!("direct access to {service}")
}

impl DataplaneView {
    pub(crate) fn decode(resource: &Arc<Resource>, hostnames: &mut Hostnames) -> Result<Self, AddressError> {
        let mut spec: pb::Dataplane = resource.proto()?;
        if let Some(networking) = &mut spec.networking {
            hostnames.replace(&mut networking.address, resource)?;
            hostnames.replace(&mut networking.advertised_address, resource)?;
        }
        let healthy = (0u32..).zip(spec.inbounds()).filter(|(_, inbound)| inbound.is_healthy());
        let endpoints = healthy.map(|(index, inbound)| {
            let interface = spec.inbound_interface(inbound);
            Arc::new(LocalEndpoint {
                index,
                service: inbound.service().into(),
                address: interface.advertised_address.into(),
                port: interface.port,
                tags: Arc::new(inbound.tags.clone()),
                protocol: inbound.protocol(),
            })
        });
        Ok(Self {
            name: resource.key.name.as_str().into(),
            resource: resource.clone(),
            endpoints: endpoints.collect(),
            marks: Marks::of(&Subject::new(resource, &spec, &[])),
            spec,
        })
    }

    /// The proxy as policies see it.
    pub fn subject(&self) -> Subject<'_> {
        Subject::new(&self.resource, &self.spec, &[])
    }

    /// Where it listens for others: service, address and port of every inbound, ready or not, and of its metrics.
    pub(crate) fn listens(&self, mesh: &pb::Mesh) -> BTreeSet<(String, String, u32)> {
        // What is wrong with settings for metrics is told where they are used.
        let metrics = prometheus::settings(mesh, &self.spec).ok().flatten();
        let metrics = metrics.map(|settings| prometheus::inbound(&settings, &self.spec));
        let all = self.spec.inbounds().iter().chain(&metrics);
        all.map(|inbound| {
            let interface = self.spec.inbound_interface(inbound);
            (inbound.service().to_owned(), interface.address, interface.port)
        })
        .collect()
    }

    /// Address of the proxy; empty when the specification has none.
    pub fn address(&self) -> &str {
        self.spec.networking.as_ref().map_or("", |networking| &networking.address)
    }

    /// Address of the proxy under which others know it.
    pub(crate) fn advertised_address(&self) -> &str {
        let advertised = self.spec.networking.as_ref().map_or("", |networking| &networking.advertised_address);
        if advertised.is_empty() { self.address() } else { advertised }
    }

    /// Its tags as labels of metrics: by the name of the tag its first value, by the plural of the name all values between commas.
    /// A tag that is named as the plural of another one has the label.
    ///
    /// Source: Kuma `pkg/mads/util.go`.
    pub(crate) fn tag_labels(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for (tag, values) in self.spec.all_tags() {
            let listed: Vec<&str> = values.iter().map(String::as_str).collect();
            labels.insert(label_name(&tag), listed.first().copied().unwrap_or_default().to_owned());
            labels.insert(label_name(&format!("{tag}s")), format!(",{},", listed.join(",")));
        }
        labels
    }
}

/// The text as the name of a label of Prometheus.
fn label_name(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}
