//! Specifications of the JSON kinds that are no policies: destinations, host names, identities and workloads.
//!
//! Each type is both schema and value: its members are written in the order of Kuma, absent ones get the defaults of
//! Kuma's API when a user's body is read. Source of the schemas: Kuma
//! `pkg/core/resources/apis/<kind>/api/v1alpha1/{<kind>.go,rest.yaml,validator.go}`.

pub mod common;
pub mod hostname_generator;
pub mod mesh_external_service;
pub mod mesh_identity;
pub mod mesh_multi_zone_service;
pub mod mesh_service;
pub mod mesh_trust;
pub mod workload;

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tandem_proto::json::Unknown;

use crate::json_schema::{self, TypeSchema};
use crate::kind::Kind;
use crate::resource::{Resource, Spec};
use crate::schema::{self, Checker, SpecError};
use crate::violation::Violations;

pub use hostname_generator::HostnameGenerator;
pub use mesh_external_service::MeshExternalService;
pub use mesh_identity::MeshIdentity;
pub use mesh_multi_zone_service::MeshMultiZoneService;
pub use mesh_service::MeshService;
pub use mesh_trust::MeshTrust;
pub use workload::Workload;

/// The specification of a kind of this module with defaults filled in and members in order; others come back as
/// they are.
///
/// # Errors
/// See [`SpecError`]. With [`Unknown::Ignore`] only the first thing that keeps the specification from being decoded.
pub fn normalise(kind: Kind, spec: Value, unknown: Unknown) -> Result<Value, SpecError> {
    match kind {
        Kind::MeshService => typed::<MeshService>(kind, &spec, unknown),
        Kind::MeshMultiZoneService => typed::<MeshMultiZoneService>(kind, &spec, unknown),
        Kind::MeshExternalService => typed::<MeshExternalService>(kind, &spec, unknown),
        Kind::HostnameGenerator => typed::<HostnameGenerator>(kind, &spec, unknown),
        Kind::MeshIdentity => typed::<MeshIdentity>(kind, &spec, unknown),
        Kind::MeshTrust => typed::<MeshTrust>(kind, &spec, unknown),
        Kind::Workload => typed::<Workload>(kind, &spec, unknown),
        _ => Ok(spec),
    }
}

fn typed<T: DeserializeOwned + Serialize>(kind: Kind, spec: &Value, unknown: Unknown) -> Result<Value, SpecError> {
    let decoded: T = match CHECKERS.get(&kind).filter(|_| unknown == Unknown::Refuse) {
        Some(checker) => schema::read(checker, "spec", spec)?,
        None => schema::decode("spec", spec).map_err(SpecError::Shape)?,
    };
    Ok(serde_json::to_value(decoded).expect("the types of this module have string keys and finite numbers"))
}

/// Checkers of the specifications of this module.
static CHECKERS: LazyLock<HashMap<Kind, Checker>> = LazyLock::new(|| {
    let schemas = Kind::all().filter_map(|kind| Some((kind, spec_schema(kind)?)));
    schemas.map(|(kind, schema)| (kind, Checker::new(&schema))).collect()
});

/// Schema of the specification of a kind of this module; `None` for others.
pub fn spec_schema(kind: Kind) -> Option<TypeSchema> {
    match kind {
        Kind::MeshService => Some(json_schema::of::<MeshService>()),
        Kind::MeshMultiZoneService => Some(json_schema::of::<MeshMultiZoneService>()),
        Kind::MeshExternalService => Some(json_schema::of::<MeshExternalService>()),
        Kind::HostnameGenerator => Some(json_schema::of::<HostnameGenerator>()),
        Kind::MeshIdentity => Some(json_schema::of::<MeshIdentity>()),
        Kind::MeshTrust => Some(json_schema::of::<MeshTrust>()),
        Kind::Workload => Some(json_schema::of::<Workload>()),
        _ => None,
    }
}

/// Schema of the status of a kind; `None` for kinds whose status has no members.
pub fn status_schema(kind: Kind) -> Option<TypeSchema> {
    match kind {
        Kind::MeshService => Some(json_schema::of::<mesh_service::Status>()),
        Kind::MeshMultiZoneService => Some(json_schema::of::<mesh_multi_zone_service::Status>()),
        Kind::MeshExternalService => Some(json_schema::of::<mesh_external_service::Status>()),
        Kind::MeshIdentity => Some(json_schema::of::<mesh_identity::Status>()),
        Kind::MeshTrust => Some(json_schema::of::<mesh_trust::Status>()),
        Kind::Workload => Some(json_schema::of::<workload::Status>()),
        _ => None,
    }
}

/// Validates a resource of a kind of this module; others are valid.
pub(crate) fn validate(resource: &Resource) -> Violations {
    let Spec::Json(spec) = &resource.spec else { return Violations::none() };
    match resource.kind() {
        Kind::MeshMultiZoneService => checked(spec, MeshMultiZoneService::validate),
        Kind::MeshExternalService => checked(spec, MeshExternalService::validate),
        Kind::HostnameGenerator => checked(spec, HostnameGenerator::validate),
        Kind::MeshIdentity => checked(spec, MeshIdentity::validate),
        Kind::MeshTrust => checked(spec, MeshTrust::validate),
        Kind::MeshService => checked(spec, |_: &MeshService| Violations::none()),
        Kind::Workload => checked(spec, |_: &Workload| Violations::none()),
        _ => Violations::none(),
    }
}

fn checked<T: DeserializeOwned>(spec: &Value, validate: impl Fn(&T) -> Violations) -> Violations {
    match schema::decode("spec", spec) {
        Ok(decoded) => validate(&decoded),
        Err(violations) => violations,
    }
}

#[cfg(test)]
mod tests;
