//! Services as they are and as they are to be.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tandem_model::core::common::{Condition, Vip};
use tandem_model::core::{
    MeshMultiZoneService, MeshService, mesh_external_service, mesh_multi_zone_service, mesh_service,
};
use tandem_model::hostname::Hostnames;
use tandem_model::{DecodeError, Kind, Labels, Resource, Spec as Encoded};
use tandem_store::Write;

/// Type of the condition that tells why a service is not served as it says; there only while it is not. Peers of Kuma pass over it.
pub(super) const CONFIGURED: &str = "Configured";

/// What matters of the specification of a service.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Spec {
    Service(MeshService),
    /// Labels of the MeshServices it consists of.
    MultiZone(Labels),
    External,
}

/// The status of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Status {
    Service(mesh_service::Status),
    MultiZone(mesh_multi_zone_service::Status),
    External(mesh_external_service::Status),
}

/// A service as it is stored.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) resource: Arc<Resource>,
    pub(super) spec: Spec,
    pub(super) status: Status,
}

/// A service as it is to be.
#[derive(Debug)]
pub(super) struct Draft {
    /// All but specification and status are as they are to be.
    pub(super) resource: Resource,
    pub(super) spec: Spec,
    pub(super) status: Status,
}

impl Spec {
    pub(super) fn of(resource: &Resource) -> Result<Self, DecodeError> {
        Ok(match resource.kind() {
            Kind::MeshService => Self::Service(resource.json()?),
            Kind::MeshMultiZoneService => {
                let spec: MeshMultiZoneService = resource.json()?;
                Self::MultiZone(spec.selector.mesh_service.match_labels.unwrap_or_default())
            }
            _ => Self::External,
        })
    }

    pub(super) fn service(&self) -> Option<&MeshService> {
        match self {
            Self::Service(service) => Some(service),
            Self::MultiZone(_) | Self::External => None,
        }
    }
}

impl Status {
    /// One that cannot be read is replaced: only control planes write it.
    pub(super) fn of(resource: &Resource) -> Self {
        match resource.kind() {
            Kind::MeshService => Self::Service(decoded(resource)),
            Kind::MeshMultiZoneService => Self::MultiZone(decoded(resource)),
            _ => Self::External(decoded(resource)),
        }
    }

    /// Virtual addresses.
    pub(super) fn vips(&self) -> impl Iterator<Item = &str> {
        let vips = match self {
            Self::Service(status) => status.vips.as_slice(),
            Self::MultiZone(status) => status.vips.as_slice(),
            Self::External(status) => std::slice::from_ref(&status.vip),
        };
        vips.iter().map(|vip| vip.ip.as_str()).filter(|ip| !ip.is_empty())
    }

    pub(super) fn set_vip(&mut self, ip: String) {
        match self {
            Self::Service(status) => status.vips = vec![Vip { ip }],
            Self::MultiZone(status) => status.vips = vec![Vip { ip }],
            Self::External(status) => status.vip = Vip { ip },
        }
    }

    pub(super) fn has_hostnames(&self, hostnames: &Hostnames) -> bool {
        let (addresses, generators) = match self {
            Self::Service(status) => (&status.addresses, &status.hostname_generators),
            Self::MultiZone(status) => (&status.addresses, &status.hostname_generators),
            Self::External(status) => (&status.addresses, &status.hostname_generators),
        };
        *addresses == hostnames.addresses && *generators == hostnames.generators
    }

    pub(super) fn set_hostnames(&mut self, hostnames: Hostnames) {
        let (addresses, generators) = match self {
            Self::Service(status) => (&mut status.addresses, &mut status.hostname_generators),
            Self::MultiZone(status) => (&mut status.addresses, &mut status.hostname_generators),
            Self::External(status) => (&mut status.addresses, &mut status.hostname_generators),
        };
        *addresses = hostnames.addresses;
        *generators = hostnames.generators;
    }

    /// True when both have the same host names.
    pub(super) fn shares_hostnames(&self, other: &Self) -> bool {
        let of = |status: &Self| match status {
            Self::Service(status) => (status.addresses.clone(), status.hostname_generators.clone()),
            Self::MultiZone(status) => (status.addresses.clone(), status.hostname_generators.clone()),
            Self::External(status) => (status.addresses.clone(), status.hostname_generators.clone()),
        };
        of(self) == of(other)
    }

    /// Tells why the service is not served as it says, or that it is. True when that is new.
    pub(super) fn set_problem(&mut self, problem: Option<Condition>) -> bool {
        let conditions = match self {
            Self::Service(status) => &mut status.conditions,
            Self::MultiZone(status) => &mut status.conditions,
            Self::External(status) => &mut status.conditions,
        };
        let known = conditions.iter().position(|condition| condition.kind == CONFIGURED);
        match (known, problem) {
            (None, None) => return false,
            (Some(at), Some(problem)) if conditions[at] == problem => return false,
            (Some(at), Some(problem)) => conditions[at] = problem,
            (Some(at), None) => {
                conditions.remove(at);
            }
            (None, Some(problem)) => conditions.push(problem),
        }
        true
    }

    fn to_json(&self) -> Value {
        let encoded = match self {
            Self::Service(status) => serde_json::to_value(status),
            Self::MultiZone(status) => serde_json::to_value(status),
            Self::External(status) => serde_json::to_value(status),
        };
        encoded.expect("a status has text for keys and no floating numbers")
    }
}

fn decoded<T: DeserializeOwned + Default>(resource: &Resource) -> T {
    let Some(status) = &resource.status else { return T::default() };
    T::deserialize(status).unwrap_or_else(|error| {
        tracing::warn!(resource = %resource.key, %error, "status cannot be read and is made anew");
        T::default()
    })
}

impl Stored {
    pub(super) fn of(resource: &Arc<Resource>) -> Result<Self, DecodeError> {
        Ok(Self { resource: resource.clone(), spec: Spec::of(resource)?, status: Status::of(resource) })
    }

    pub(super) fn draft(&self) -> Draft {
        Draft { resource: (*self.resource).clone(), spec: self.spec.clone(), status: self.status.clone() }
    }
}

impl Draft {
    /// A service that does not exist yet.
    pub(super) fn new(resource: Resource, spec: Spec) -> Self {
        Self { status: Status::of(&resource), resource, spec }
    }

    /// The write that makes it so; `None` when it is.
    pub(super) fn into_write(mut self, stored: Option<&Stored>) -> Option<Write> {
        let same_spec = stored.is_some_and(|stored| stored.spec == self.spec);
        let same_status = stored.is_some_and(|stored| stored.status == self.status);
        if let Some(stored) = stored
            && same_spec
            && same_status
            && stored.resource.labels == self.resource.labels
        {
            return None;
        }
        if let Some(spec) = self.spec.service().filter(|_| !same_spec) {
            write_spec(&mut self.resource.spec, spec);
        }
        if !same_status {
            self.resource.status = Some(self.status.to_json());
        }
        Some(match stored {
            None => Write::Create(self.resource),
            Some(stored) => Write::Update { resource: self.resource, expected: Some(stored.resource.version) },
        })
    }
}

/// Sets the members of a specification that are known here, and leaves others alone.
fn write_spec(encoded: &mut Encoded, spec: &MeshService) {
    let Ok(Value::Object(members)) = serde_json::to_value(spec) else { return };
    let Encoded::Json(Value::Object(object)) = encoded else { return };
    if spec.identities.is_none() {
        object.shift_remove("identities");
    }
    object.extend(members);
}
