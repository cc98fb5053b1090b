//! MeshServices, MeshMultiZoneServices and MeshExternalServices: destinations that are resources.
//!
//! Source of the rules: Kuma `pkg/core/resources/apis/{meshservice,meshmultizoneservice,meshexternalservice}`,
//! `pkg/xds/topology/outbound.go`.

use std::collections::BTreeSet;
use std::sync::Arc;

use tandem_model::core::mesh_external_service::{self, MeshExternalService};
use tandem_model::core::mesh_multi_zone_service::{MeshMultiZoneService, Status as MultiZoneStatus};
use tandem_model::core::mesh_service::{self, IdentityType, MeshService, State, TlsStatus};
use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::label::{self, SERVICE_TAG, ZONE};
use tandem_model::schema::IntOrString;
use tandem_model::tags::{Tags, selects};
use tandem_model::{DecodeError, Kind, Kri, Resource};
use tandem_policy::destinations::{DestinationPort, ports};

use super::dataplane::DataplaneView;
use super::outside_tls::TlsSettings;
use super::service::{Endpoint, Locality, Viewpoint};
use super::snapshot::MeshState;
use super::zone_proxy::ServiceKey;

/// A destination that is a resource, decoded.
#[derive(Debug)]
pub struct DestinationView {
    /// Identifier of the whole resource.
    pub kri: Kri,
    /// The resource it was decoded from.
    pub resource: Arc<Resource>,
    /// Ports it is reached on.
    pub ports: Vec<DestinationPort>,
    /// Virtual addresses.
    pub vips: Vec<String>,
    /// Host names, all of which lead to the first virtual address.
    pub hostnames: Vec<String>,
    form: Form,
    /// Changes whenever the destination does.
    pub(crate) revision: u64,
}

#[derive(Debug, PartialEq)]
enum Form {
    Service(ServiceForm),
    /// Identifiers of the MeshServices it stands for.
    MultiZone(Vec<Kri>),
    External(Box<ExternalForm>),
}

/// A MeshExternalService.
#[derive(Debug, PartialEq)]
struct ExternalForm {
    /// Labels of the resource: what its endpoints carry in place of tags.
    labels: Arc<Tags>,
    /// Host names or IP addresses, with ports.
    endpoints: Vec<(Arc<str>, u32)>,
    /// TLS that the ZoneEgress is to speak; `None` for plain text.
    tls: Option<TlsSettings>,
}

#[derive(Debug, PartialEq)]
struct ServiceForm {
    /// Owned by this zone.
    local: bool,
    selector: mesh_service::Selector,
    /// Per port.
    targets: Vec<Option<IntOrString>>,
    identities: Vec<mesh_service::Identity>,
    /// Always true in this zone, where endpoints tell more.
    available: bool,
    tls_ready: bool,
}

/// Stands, among the services a proxy uses, for all Dataplanes of a mesh: for selectors that name no service.
pub(crate) const ANY_SERVICE: &str = "*";

fn status<T: serde::de::DeserializeOwned + Default>(resource: &Resource) -> T {
    // The status is written by control planes; one that does not decode counts as not there yet.
    resource.status.clone().and_then(|status| serde_json::from_value(status).ok()).unwrap_or_default()
}

impl DestinationView {
    /// Decodes a destination; `None` for other kinds.
    pub(crate) fn decode(resource: &Arc<Resource>, revision: u64) -> Result<Option<Self>, DecodeError> {
        let Some(kri) = Kri::of(resource) else { return Ok(None) };
        let view = match resource.kind() {
            Kind::MeshService => Self::service(kri, resource, revision)?,
            Kind::MeshMultiZoneService => Self::multi_zone(kri, resource, revision)?,
            Kind::MeshExternalService => Self::external(kri, resource, revision)?,
            _ => return Ok(None),
        };
        Ok(Some(view))
    }

    fn service(kri: Kri, resource: &Arc<Resource>, revision: u64) -> Result<Self, DecodeError> {
        let spec: MeshService = resource.json()?;
        let status: mesh_service::Status = status(resource);
        let local = resource.label(label::ORIGIN).is_none_or(|origin| origin == label::ORIGIN_ZONE);
        let mut identities = spec.identities.unwrap_or_default();
        identities.sort();
        Ok(Self {
            kri,
            resource: resource.clone(),
            ports: ports(resource).unwrap_or_default(),
            vips: status.vips.into_iter().map(|vip| vip.ip).filter(|ip| !ip.is_empty()).collect(),
            hostnames: status.addresses.into_iter().map(|address| address.hostname).collect(),
            form: Form::Service(ServiceForm {
                local,
                selector: spec.selector,
                targets: spec.ports.into_iter().map(|port| port.target_port).collect(),
                identities,
                available: local || spec.state == State::Available,
                tls_ready: status.tls.status == Some(TlsStatus::Ready),
            }),
            revision,
        })
    }

    fn multi_zone(kri: Kri, resource: &Arc<Resource>, revision: u64) -> Result<Self, DecodeError> {
        // Nothing of the specification is kept but its ports; one that does not decode is no destination.
        let _: MeshMultiZoneService = resource.json()?;
        let status: MultiZoneStatus = status(resource);
        let matched = status.mesh_services.into_iter().map(|service| Kri {
            kind: Kind::MeshService,
            mesh: service.mesh,
            zone: service.zone,
            namespace: service.namespace,
            name: service.name,
            section: String::new(),
        });
        Ok(Self {
            kri,
            resource: resource.clone(),
            ports: ports(resource).unwrap_or_default(),
            vips: status.vips.into_iter().map(|vip| vip.ip).filter(|ip| !ip.is_empty()).collect(),
            hostnames: status.addresses.into_iter().map(|address| address.hostname).collect(),
            form: Form::MultiZone(matched.collect()),
            revision,
        })
    }

    fn external(kri: Kri, resource: &Arc<Resource>, revision: u64) -> Result<Self, DecodeError> {
        let spec: MeshExternalService = resource.json()?;
        let status: mesh_external_service::Status = status(resource);
        let endpoints = spec.endpoints.unwrap_or_default().into_iter();
        Ok(Self {
            kri,
            resource: resource.clone(),
            ports: ports(resource).unwrap_or_default(),
            vips: Some(status.vip.ip).filter(|ip| !ip.is_empty()).into_iter().collect(),
            hostnames: status.addresses.into_iter().map(|address| address.hostname).collect(),
            form: Form::External(Box::new(ExternalForm {
                labels: Arc::new(resource.labels.clone()),
                endpoints: endpoints.map(|endpoint| (endpoint.address.into(), endpoint.port.0.into())).collect(),
                tls: TlsSettings::of_resource(spec.tls.as_ref()),
            })),
            revision,
        })
    }

    /// True when nobody can tell two versions of a destination apart, although the resources differ: numbers of proxies and
    /// conditions concern nobody.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let Self { kri, resource, ports, vips, hostnames, form, revision: _ } = self;
        *kri == other.kri
            && resource.labels == other.resource.labels
            && resource.created == other.resource.created
            && *ports == other.ports
            && *vips == other.vips
            && *hostnames == other.hostnames
            && *form == other.form
    }

    /// True when ingresses of this zone let other zones reach it: a MeshService of this zone, or a MeshMultiZoneService.
    pub fn is_offered(&self) -> bool {
        match &self.form {
            Form::Service(service) => service.local,
            Form::MultiZone(_) => true,
            Form::External(_) => false,
        }
    }

    /// True for a MeshExternalService.
    pub fn is_external(&self) -> bool {
        matches!(self.form, Form::External(_))
    }

    /// What it says about TLS to its endpoints, if it is a MeshExternalService and wants TLS.
    pub(crate) fn outside_tls(&self) -> Option<&TlsSettings> {
        match &self.form {
            Form::External(external) => external.tls.as_ref(),
            _ => None,
        }
    }

    /// The port that identifiers name `section`.
    pub fn port(&self, section: &str) -> Option<&DestinationPort> {
        self.ports.iter().find(|port| port.section == section)
    }

    /// The port with a name or, as text, a number. A MeshExternalService has only one, which is meant by all.
    pub fn port_of(&self, name_or_number: &str) -> Option<&DestinationPort> {
        let is_meant =
            |port: &&DestinationPort| port.section == name_or_number || port.number.to_string() == name_or_number;
        match self.is_external() {
            true => self.ports.first(),
            false => self.ports.iter().find(is_meant),
        }
    }

    /// The name of a port in clusters and statistics: `{mesh}_{name}_{namespace}_{zone}_{kind}_{port}`.
    pub fn port_name(&self, port: &DestinationPort) -> String {
        let Kri { kind, mesh, zone, namespace, name, .. } = &self.kri;
        let short = kind.descriptor().short_name.unwrap_or_default();
        format!("{mesh}_{name}_{namespace}_{zone}_{short}_{}", port.number)
    }

    /// The name that stands for it in the server name of TLS connections: the same in the zone that owns it and in those that use it.
    pub fn sni_name(&self) -> String {
        let resource = &self.resource;
        if resource.kind() != Kind::MeshService {
            return resource.display_name().to_owned();
        }
        let synced = resource.label(label::ORIGIN) == Some(label::ORIGIN_GLOBAL);
        let name = if synced { resource.display_name() } else { &resource.key.name };
        match resource.label(label::K8S_NAMESPACE).filter(|namespace| !namespace.is_empty()) {
            Some(namespace) if synced || resource.label(label::ORIGIN) == Some(label::ORIGIN_ZONE) => {
                format!("{name}.{namespace}")
            }
            _ => name.to_owned(),
        }
    }

    fn parts<'a>(&'a self, state: &'a MeshState) -> Vec<&'a DestinationView> {
        match &self.form {
            Form::Service(_) | Form::External(_) => vec![self],
            Form::MultiZone(matched) => matched.iter().filter_map(|kri| Some(&**state.views.get(kri)?)).collect(),
        }
    }

    /// True when connections to it are to be secured in a mesh that also accepts plain text.
    pub fn is_tls_ready(&self) -> bool {
        match &self.form {
            Form::Service(service) => !service.local || service.tls_ready,
            Form::MultiZone(_) | Form::External(_) => true,
        }
    }

    /// Identities of its proxies: URIs, sorted; empty when it tells none.
    pub fn identities(&self, state: &MeshState) -> BTreeSet<String> {
        let of = |identity: &mesh_service::Identity| match identity.kind {
            IdentityType::ServiceTag => format!("spiffe://{}/{}", self.kri.mesh, identity.value),
            IdentityType::SpiffeID => identity.value.clone(),
        };
        let services = self.parts(state).into_iter().filter_map(|view| match &view.form {
            Form::Service(service) => Some(service),
            Form::MultiZone(_) | Form::External(_) => None,
        });
        services.flat_map(|service| &service.identities).map(of).collect()
    }

    /// What its endpoints follow from besides mesh and topology: the services a proxy has to be told to use, and revisions that
    /// change whenever the endpoints may.
    pub fn sources(&self, state: &MeshState) -> (BTreeSet<ServiceKey>, Vec<u64>) {
        let mut services = BTreeSet::new();
        let mut revisions = vec![self.revision];
        for part in self.parts(state) {
            revisions.push(part.revision);
            let Form::Service(service) = &part.form else { continue };
            if !service.local {
                continue;
            }
            let name = service.selected_service();
            let revision = match name {
                Some(name) => state.services.get(name).map_or(0, |service| service.revision),
                None => state.dataplanes_revision,
            };
            revisions.push(revision);
            services.insert((self.kri.mesh.clone(), name.unwrap_or(ANY_SERVICE).to_owned()));
        }
        (services, revisions)
    }

    /// Endpoints of a port. With `local_only` those in this zone alone.
    pub(crate) fn endpoints(
        &self,
        port: &DestinationPort,
        state: &MeshState,
        view: Viewpoint<'_>,
        local_only: bool,
    ) -> Vec<Endpoint> {
        if let Form::External(external) = &self.form {
            return view.through_egresses(&external.labels, true).collect();
        }
        let mut endpoints = Vec::new();
        let is_multi_zone = matches!(self.form, Form::MultiZone(_));
        for part in self.parts(state) {
            let Form::Service(service) = &part.form else { continue };
            let number = |index: &usize| part.ports[*index].number == port.number;
            let Some(index) = (0..part.ports.len()).find(number) else { continue };
            if service.local {
                endpoints.extend(service.in_this_zone(index, state, view));
            } else if !local_only && (!is_multi_zone || service.available) {
                endpoints.extend(part.in_other_zone(&part.ports[index], view));
            }
        }
        endpoints
    }

    /// Where a MeshExternalService that can be reached from this zone is; empty for other destinations.
    pub(crate) fn outside(&self, view: Viewpoint<'_>) -> Vec<Endpoint> {
        let Form::External(external) = &self.form else { return Vec::new() };
        let zone = external.labels.get(ZONE).filter(|zone| !zone.is_empty());
        if zone.is_some_and(|zone| zone != view.zone) {
            return Vec::new();
        }
        let mut tags = (*external.labels).clone();
        tags.insert("mesh".to_owned(), view.mesh.name.to_string());
        let tags = Arc::new(tags);
        let endpoint = |(address, port): &(Arc<str>, u32)| Endpoint {
            address: address.clone(),
            port: *port,
            tags: tags.clone(),
            weight: 1,
            locality: view.locality(tags.get(ZONE).map(String::as_str)),
            external: true,
        };
        external.endpoints.iter().map(endpoint).collect()
    }

    /// The public ingresses of its zone, none of which is preferred over endpoints of this zone.
    fn in_other_zone<'a>(
        &self,
        port: &DestinationPort,
        view: Viewpoint<'a>,
    ) -> impl Iterator<Item = Endpoint> + use<'a> {
        let zone = self.kri.zone.clone();
        let tags = [(SERVICE_TAG.to_owned(), self.port_name(port)), (ZONE.to_owned(), zone.clone())];
        let tags = Arc::new(Tags::from(tags));
        let ingresses =
            (view.mesh.mtls.is_some() || view.identities).then(|| view.topology.public.get(zone.as_str())).flatten();
        ingresses.into_iter().flatten().map(move |(address, port)| Endpoint {
            address: address.clone(),
            port: *port,
            tags: tags.clone(),
            weight: 1,
            locality: Some(Locality { zone: zone.clone(), priority: 1 }),
            external: false,
        })
    }
}

impl ServiceForm {
    /// The service that the selector names, which narrows the search.
    fn selected_service(&self) -> Option<&str> {
        self.selector.dataplane_tags.as_ref()?.get(SERVICE_TAG).map(String::as_str)
    }

    /// The Dataplanes it selects.
    fn dataplanes<'a>(&'a self, state: &'a MeshState) -> Vec<&'a Arc<DataplaneView>> {
        if let Some(name) = self.selector.dataplane_ref.as_ref().and_then(|reference| reference.name.as_deref()) {
            return state.dataplanes.get(name).into_iter().collect();
        }
        let Some(tags) = &self.selector.dataplane_tags else { return Vec::new() };
        let selected = |view: &&Arc<DataplaneView>| {
            let inbounds = view.endpoints.iter().any(|endpoint| selects(tags, &endpoint.tags));
            inbounds || view.spec.gateway().is_some_and(|gateway| selects(tags, &gateway.tags))
        };
        let Some(service) = self.selected_service().and_then(|name| state.services.get(name)) else {
            return match self.selected_service() {
                Some(_) => Vec::new(),
                None => state.dataplanes.values().filter(selected).collect(),
            };
        };
        let names: BTreeSet<&Arc<str>> = service.local.keys().map(|(name, _)| name).collect();
        names.into_iter().filter_map(|name| state.dataplanes.get(name)).filter(selected).collect()
    }

    fn in_this_zone(&self, port: usize, state: &MeshState, view: Viewpoint<'_>) -> Vec<Endpoint> {
        let Some(target) = &self.targets[port] else { return Vec::new() };
        let mut endpoints = Vec::new();
        for dataplane in self.dataplanes(state) {
            for endpoint in &dataplane.endpoints {
                let name = &dataplane.spec.inbounds()[endpoint.index as usize].name;
                let matches = match target {
                    IntOrString::Int(number) => i64::from(endpoint.port) == *number,
                    IntOrString::String(wanted) => name == wanted,
                };
                if matches {
                    endpoints.push(Endpoint {
                        address: endpoint.address.clone(),
                        port: endpoint.port,
                        tags: endpoint.tags.clone(),
                        weight: 1,
                        locality: view.locality(endpoint.zone()),
                        external: false,
                    });
                }
            }
        }
        endpoints
    }
}
