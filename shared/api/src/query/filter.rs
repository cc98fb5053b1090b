//! Filters of lists: name, labels, and for proxies and external services tags and gateway.

use std::collections::BTreeMap;

use tandem_model::{DecodeError, Kind, Resource, Violations};
use tandem_proto::mesh::v1alpha1::dataplane::networking::gateway::GatewayType;
use tandem_proto::mesh::v1alpha1::{Dataplane, ExternalService};

use super::paging::LIST_TITLE;
use super::{first, parameters};
use crate::problem::Problem;

type Tags = BTreeMap<String, String>;

/// Which gateways a list of Dataplanes shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gateway {
    Any,
    None,
    Builtin,
    Delegated,
}

/// What an item of a list must satisfy; all conditions together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    name: Option<String>,
    labels: BTreeMap<String, String>,
    tags: Tags,
    gateway: Option<Gateway>,
}

impl Filter {
    /// Reads the filters that lists of `kind` know. `route` is the template of the route, which violations name.
    ///
    /// # Errors
    /// 400 with Kuma's texts.
    pub fn read(kind: Kind, route: &str, query: Option<&str>) -> Result<Filter, Problem> {
        let parameters = parameters(query);
        let mut filter = Filter { name: first(&parameters, "name").map(str::to_owned), ..Filter::default() };
        let mut violations = Vec::new();
        for (key, value) in &parameters {
            let Some(rest) = key.strip_prefix("filter[") else { continue };
            let at = format!("{route}.{key}");
            match rest.split_once(']') {
                None => violations.push((at, "the closing bracket is missing")),
                Some((_, after)) if !after.is_empty() => violations.push((at, "advanced filters are not supported")),
                Some((path, _)) => match path.strip_prefix("labels.") {
                    None => violations.push((at, "filters are only supported on labels")),
                    Some(label) => drop(filter.labels.insert(label.to_owned(), value.clone())),
                },
            }
        }
        if let Some((field, reason)) = violations.into_iter().next() {
            return Err(Problem::invalid(LIST_TITLE, &Violations::none()).with_parameter(field, reason));
        }
        if matches!(kind, Kind::Dataplane | Kind::ExternalService) {
            let tags = parameters.iter().filter(|(key, _)| key == "tag").filter_map(|(_, value)| value.split_once(':'));
            filter.tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        }
        if kind == Kind::Dataplane {
            filter.gateway = gateway(route, first(&parameters, "gateway"))?;
        }
        Ok(filter)
    }

    /// Whether there is no condition.
    pub fn is_empty(&self) -> bool {
        self.name.is_none() && self.labels.is_empty() && self.tags.is_empty() && self.gateway.is_none()
    }

    /// The same conditions on name and labels alone, as they apply to insights that go with a list.
    pub fn of_insights(&self) -> Filter {
        Filter { name: self.name.clone(), labels: self.labels.clone(), ..Filter::default() }
    }

    /// Whether a resource satisfies all conditions.
    ///
    /// # Errors
    /// When a stored resource does not decode.
    pub fn matches(&self, resource: &Resource) -> Result<bool, DecodeError> {
        if self.name.as_ref().is_some_and(|part| !resource.key.name.contains(part.as_str())) {
            return Ok(false);
        }
        if !self.labels.iter().all(|(key, value)| resource.label(key) == Some(value)) {
            return Ok(false);
        }
        if self.tags.is_empty() && self.gateway.is_none() {
            return Ok(true);
        }
        match resource.kind() {
            Kind::Dataplane => Ok(self.matches_dataplane(&resource.proto()?)),
            Kind::ExternalService => Ok(contains(&self.tags, &resource.proto::<ExternalService>()?.tags)),
            _ => Ok(true),
        }
    }

    fn matches_dataplane(&self, dataplane: &Dataplane) -> bool {
        let networking = dataplane.networking.clone().unwrap_or_default();
        let gateway = networking.gateway.as_ref();
        let shown = match (self.gateway, gateway.map(|gateway| gateway.r#type())) {
            (None, _) | (Some(Gateway::None), None) | (Some(Gateway::Any), Some(_)) => true,
            (Some(Gateway::Builtin), Some(kind)) => kind == GatewayType::Builtin,
            (Some(Gateway::Delegated), Some(kind)) => kind == GatewayType::Delegated,
            _ => false,
        };
        let mut sets = networking.inbound.iter().map(|i| &i.tags).chain(gateway.map(|gateway| &gateway.tags));
        shown && (self.tags.is_empty() || sets.any(|tags| contains(&self.tags, tags)))
    }
}

/// Every wanted tag is there and its value contains the wanted text.
fn contains(wanted: &Tags, tags: &Tags) -> bool {
    wanted.iter().all(|(key, part)| tags.get(key).is_some_and(|value| part == "*" || value.contains(part.as_str())))
}

fn gateway(route: &str, value: Option<&str>) -> Result<Option<Gateway>, Problem> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(Some(Gateway::Any)),
        "false" => Ok(Some(Gateway::None)),
        "builtin" => Ok(Some(Gateway::Builtin)),
        "delegated" => Ok(Some(Gateway::Delegated)),
        // The spelling is that of Kuma.
        _ => Err(Problem::invalid(LIST_TITLE, &Violations::none()).with_parameter(
            format!("{route}.gateway"),
            format!("shoud use `true`, `false`, 'builtin' or 'delegated' instead of {value}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_model::ResourceKey;
    use tandem_proto::mesh::v1alpha1::dataplane::Networking;
    use tandem_proto::mesh::v1alpha1::dataplane::networking::{self, Inbound};

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn sidecar(inbounds: &[&[(&str, &str)]]) -> Resource {
        let inbound = inbounds.iter().map(|pairs| Inbound { tags: tags(pairs), ..Inbound::default() }).collect();
        resource(Networking { inbound, ..Networking::default() })
    }

    fn gateway(kind: GatewayType) -> Resource {
        let gateway = networking::Gateway { tags: tags(&[("kuma.io/service", "gw")]), r#type: kind.into() };
        resource(Networking { gateway: Some(gateway), ..Networking::default() })
    }

    fn resource(networking: Networking) -> Resource {
        let spec = Dataplane { networking: Some(networking), ..Dataplane::default() };
        Resource::from_proto(ResourceKey::new(Kind::Dataplane, "m", "dp-1"), &spec)
            .with_labels([("team", "a"), ("k8s.kuma.io/namespace", "ns")])
    }

    fn matches(query: &str, resource: &Resource) -> bool {
        let filter = Filter::read(Kind::Dataplane, "/dataplanes", Some(query)).expect(query);
        filter.matches(resource).expect("decodes")
    }

    #[test]
    fn names_and_labels() {
        let dp = sidecar(&[]);
        for (query, expected) in [
            ("", true),
            ("name=p-", true),
            ("name=P", false),
            ("filter[labels.team]=a", true),
            ("filter[labels.team]=b&filter[labels.team]=a", true),
            ("filter[labels.team]=a&filter[labels.k8s.kuma.io/namespace]=x", false),
            ("filter%5Blabels.team%5D=a", true),
        ] {
            assert_eq!(matches(query, &dp), expected, "{query}");
        }
    }

    #[test]
    fn tags_of_one_inbound() {
        let dp = sidecar(&[&[("kuma.io/service", "web"), ("v", "1")], &[("kuma.io/service", "db"), ("v", "2")]]);
        for (query, expected) in [
            ("tag=kuma.io/service:we", true),
            ("tag=kuma.io/service:web&tag=v:1", true),
            ("tag=kuma.io/service:web&tag=v:2", false),
            ("tag=v:*", true),
            ("tag=nocolon", true),
            ("tag=other:*", false),
        ] {
            assert_eq!(matches(query, &dp), expected, "{query}");
        }
        assert!(matches("tag=kuma.io/service:gw", &gateway(GatewayType::Builtin)));
    }

    #[test]
    fn gateways() {
        let (dp, builtin, delegated) =
            (sidecar(&[&[]]), gateway(GatewayType::Builtin), gateway(GatewayType::Delegated));
        for (query, expected) in [
            ("gateway=true", [false, true, true]),
            ("gateway=FALSE", [true, false, false]),
            ("gateway=builtin", [false, true, false]),
            ("gateway=delegated", [false, false, true]),
            ("gateway=", [true, true, true]),
        ] {
            assert_eq!([&dp, &builtin, &delegated].map(|dp| matches(query, dp)), expected, "{query}");
        }
    }

    #[test]
    fn refusals_name_route_and_parameter() {
        for (query, field, reason) in [
            ("filter[x]=1", "/dataplanes.filter[x]", "filters are only supported on labels"),
            ("filter[labels.a][eq]=1", "/dataplanes.filter[labels.a][eq]", "advanced filters are not supported"),
            ("filter[labels.a=1", "/dataplanes.filter[labels.a", "the closing bracket is missing"),
            (
                "gateway=foo",
                "/dataplanes.gateway",
                "shoud use `true`, `false`, 'builtin' or 'delegated' instead of foo",
            ),
        ] {
            let problem = Filter::read(Kind::Dataplane, "/dataplanes", Some(query)).expect_err(query);
            assert_eq!((problem.parameters[0].field.as_str(), problem.parameters[0].reason.as_str()), (field, reason));
            assert_eq!(problem.title, "Could not retrieve resources");
        }
    }
}
