//! Host names of services: what HostnameGenerators make of MeshServices, MeshExternalServices and MeshMultiZoneServices.
//!
//! Source of the rules and texts: Kuma `pkg/core/resources/apis/hostnamegenerator/hostname/generator.go`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::core::common::{
    Address, Condition, ConditionStatus, HostnameGeneratorRef, HostnameGeneratorStatus, LabelSelector,
};
use crate::core::hostname_generator::{HostnameGenerator, Selector};
use crate::kind::Kind;
use crate::label::{self, K8S_NAMESPACE, ORIGIN, ORIGIN_ZONE};
use crate::resource::{DecodeError, Resource};
use crate::template::{RenderError, Template};

/// Origin of an [`Address`] that a HostnameGenerator made.
pub const ORIGIN_GENERATOR: &str = "HostnameGenerator";

/// Kinds of services that get host names.
pub const KINDS: [Kind; 3] = [Kind::MeshService, Kind::MeshExternalService, Kind::MeshMultiZoneService];

/// A HostnameGenerator, ready to be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Generator {
    /// Name as stored.
    pub name: String,
    /// Created in this zone; those come first.
    of_zone: bool,
    created: Timestamp,
    selector: Selector,
    /// What is wrong with it, if it is no template.
    template: Result<Template, String>,
}

/// What generators made of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hostnames {
    /// The host names, by name of the generator.
    pub addresses: Vec<Address>,
    /// The outcome of every generator that selects the service, by name.
    pub generators: Vec<HostnameGeneratorStatus>,
}

impl Generator {
    /// Reads a HostnameGenerator. One whose template is wrong is fine: the services it selects are told.
    ///
    /// # Errors
    /// When the specification has another shape.
    pub fn decode(resource: &Resource) -> Result<Self, DecodeError> {
        let spec: HostnameGenerator = resource.json()?;
        let template = Template::parse(&spec.template);
        Ok(Self {
            name: resource.key.name.clone(),
            of_zone: resource.label(ORIGIN) == Some(ORIGIN_ZONE),
            created: resource.created,
            selector: spec.selector,
            template: template.map_err(|error| format!("failed compiling gotemplate error={:?}", error.to_string())),
        })
    }

    /// True when it selects services of this kind.
    pub fn is_for(&self, kind: Kind) -> bool {
        self.selector(kind).is_some()
    }

    fn selector(&self, kind: Kind) -> Option<&LabelSelector> {
        match kind {
            Kind::MeshService => self.selector.mesh_service.as_ref(),
            Kind::MeshExternalService => self.selector.mesh_external_service.as_ref(),
            Kind::MeshMultiZoneService => self.selector.mesh_multi_zone_service.as_ref(),
            _ => None,
        }
    }

    /// The host name of a service; `None` when the service is not selected or the name is empty. `zone` stands in for
    /// the zone of a service that has no such label.
    ///
    /// # Errors
    /// When the template is wrong or asks for something that the service does not have; the text is for people.
    pub fn hostname(&self, service: &Resource, zone: &str) -> Option<Result<String, String>> {
        if !self.selector(service.kind())?.matches(&service.labels) {
            return None;
        }
        match self.render(service, zone) {
            Ok(name) if name.is_empty() => None,
            outcome => Some(outcome),
        }
    }

    fn render(&self, service: &Resource, zone: &str) -> Result<String, String> {
        let template = self.template.as_ref().map_err(Clone::clone)?;
        let label = |name: &str| service.label(name);
        let field = |name: &str| match name {
            "Name" => Some(service.key.name.as_str()),
            "DisplayName" => Some(service.display_name()),
            "Namespace" => Some(label(K8S_NAMESPACE).unwrap_or_default()),
            "Mesh" => Some(service.key.mesh.as_str()),
            "Zone" => Some(label(label::ZONE).filter(|zone| !zone.is_empty()).unwrap_or(zone)),
            _ => None,
        };
        template.render(field, label).map_err(|error| {
            let text = match error {
                RenderError::Field(..) => format!("{error} in type hostname.meshedName"),
                RenderError::Label(..) => error.to_string(),
            };
            format!("pre evaluation of template with parameters failed with error={text:?}")
        })
    }

    fn rank(&self) -> (bool, Timestamp, &str) {
        (!self.of_zone, self.created, &self.name)
    }
}

/// Gives host names to all services of one kind in one mesh, by name of the service.
///
/// A host name belongs to the service that claims it first: generators of the zone come before others, then generators and
/// services in the order of their creation. Who comes later is told of the collision.
pub fn assign<'a>(
    generators: impl IntoIterator<Item = &'a Generator>,
    services: impl IntoIterator<Item = &'a Resource>,
    zone: &str,
) -> BTreeMap<&'a str, Hostnames> {
    let mut generators: Vec<_> = generators.into_iter().collect();
    generators.sort_by(|a, b| a.rank().cmp(&b.rank()));
    let mut services: Vec<_> = services.into_iter().collect();
    services.sort_by(|a, b| (a.created, &a.key.name).cmp(&(b.created, &b.key.name)));

    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    let mut outcomes: BTreeMap<&str, BTreeMap<&str, Result<String, Failure>>> = BTreeMap::new();
    for generator in generators {
        for service in &services {
            let Some(rendered) = generator.hostname(service, zone) else { continue };
            let name = service.key.name.as_str();
            let outcome = rendered.map_err(Failure::Template).and_then(|hostname| {
                match *owners.entry(hostname.clone()).or_insert(name) {
                    owner if owner == name => Ok(hostname),
                    _ => Err(Failure::Collision(format!("Hostname collision with {}: {name}", service.kind()))),
                }
            });
            outcomes.entry(name).or_default().insert(&generator.name, outcome);
        }
    }
    services
        .iter()
        .map(|service| {
            let name = service.key.name.as_str();
            (name, Hostnames::of(outcomes.remove(name).unwrap_or_default()))
        })
        .collect()
}

/// Why a service got no host name from a generator.
enum Failure {
    Template(String),
    /// Another service has it.
    Collision(String),
}

impl Hostnames {
    fn of(outcomes: BTreeMap<&str, Result<String, Failure>>) -> Self {
        let mut hostnames = Self::default();
        for (generator, outcome) in outcomes {
            let generator = HostnameGeneratorRef { core_name: generator.to_owned() };
            let (status, reason, message) = match outcome {
                Ok(hostname) => {
                    let origin = ORIGIN_GENERATOR.to_owned();
                    hostnames.addresses.push(Address { hostname, origin, hostname_generator_ref: generator.clone() });
                    (ConditionStatus::True, "Generated", String::new())
                }
                Err(Failure::Template(message)) => (ConditionStatus::False, "TemplateError", message),
                Err(Failure::Collision(message)) => (ConditionStatus::False, "Collision", message),
            };
            let condition = Condition { kind: "Generated".to_owned(), status, reason: reason.to_owned(), message };
            hostnames
                .generators
                .push(HostnameGeneratorStatus { hostname_generator_ref: generator, conditions: vec![condition] });
        }
        hostnames
    }
}

#[cfg(test)]
mod tests;
