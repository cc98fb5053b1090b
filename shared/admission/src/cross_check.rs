//! Rules between RateLimits and ExternalServices of a mesh.
//!
//! A RateLimit that reaches an ExternalService may name it by `kuma.io/service` alone. Rules and texts: Kuma
//! `pkg/core/managers/apis/{ratelimit,external_service}`.

use std::collections::BTreeMap;

use tandem_model::label::SERVICE_TAG;
use tandem_model::{Kind, Path, Resource, Violations};
use tandem_proto::mesh::v1alpha1::{ExternalService, RateLimit};
use tandem_store::Reader;

use crate::error::Reason;

/// Checks a RateLimit against the ExternalServices of its mesh, or the reverse; other kinds always pass.
pub(crate) async fn check(store: &dyn Reader, resource: &Resource) -> Result<(), Reason> {
    let mesh = Some(resource.key.mesh.as_str());
    let violations = match resource.kind() {
        Kind::RateLimit => {
            let services = store.list(Kind::ExternalService, mesh).await?;
            rate_limit(&resource.proto()?, &external_services(&services)?)
        }
        Kind::ExternalService => {
            let service: ExternalService = resource.proto()?;
            let limits = store.list(Kind::RateLimit, mesh).await?;
            let mut violations = Violations::none();
            for limit in &limits {
                violations.extend(external_service(&service, &limit.key.name, &limit.proto()?));
            }
            violations
        }
        _ => return Ok(()),
    };
    Ok(violations.into_result()?)
}

fn external_services(services: &[std::sync::Arc<Resource>]) -> Result<Vec<String>, Reason> {
    let mut names = Vec::new();
    for service in services {
        let mut spec: ExternalService = service.proto()?;
        names.extend(spec.tags.remove(SERVICE_TAG));
    }
    Ok(names)
}

/// Whether a selector names one of the services, and something other than a service too.
fn mixes(selector: &BTreeMap<String, String>, mut is_named: impl FnMut(&str) -> bool) -> bool {
    let service = selector.get(SERVICE_TAG).is_some_and(|service| service == "*" || is_named(service));
    service && selector.len() > 1
}

fn rate_limit(limit: &RateLimit, services: &[String]) -> Violations {
    let mut violations = Violations::none();
    if services.is_empty() {
        return violations;
    }
    for destination in &limit.destinations {
        if mixes(&destination.r#match, |service| services.iter().any(|name| name == service)) {
            violations.add(
                &Path::new("ratelimit"),
                "RateLimit applied to external service only supports kuma.io/service as destination match",
            );
        }
    }
    violations
}

fn external_service(service: &ExternalService, name: &str, limit: &RateLimit) -> Violations {
    let own = service.tags.get(SERVICE_TAG);
    let mut violations = Violations::none();
    for destination in &limit.destinations {
        if mixes(&destination.r#match, |service| own.is_some_and(|own| own == service)) {
            violations.add(
                &Path::new("externalservice"),
                format!(
                    "ExternalService would match RateLimit '{name}' which includes incompatible destination matches"
                ),
            );
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_proto::mesh::v1alpha1::Selector;

    fn limit(pairs: &[(&str, &str)]) -> RateLimit {
        let selector = Selector { r#match: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect() };
        RateLimit { destinations: vec![selector], ..RateLimit::default() }
    }

    #[test]
    fn only_the_service_tag_reaches_external_services() {
        let services = ["ext".to_owned()];
        assert!(rate_limit(&limit(&[(SERVICE_TAG, "ext")]), &services).is_empty());
        assert!(rate_limit(&limit(&[(SERVICE_TAG, "other"), ("v", "1")]), &services).is_empty());
        assert!(rate_limit(&limit(&[(SERVICE_TAG, "*"), ("v", "1")]), &[]).is_empty());
        for service in ["ext", "*"] {
            let violations = rate_limit(&limit(&[(SERVICE_TAG, service), ("v", "1")]), &services);
            assert_eq!(
                violations.to_string(),
                "ratelimit: RateLimit applied to external service only supports kuma.io/service as destination match"
            );
        }
        let service =
            ExternalService { tags: [(SERVICE_TAG.to_owned(), "ext".to_owned())].into(), ..ExternalService::default() };
        let violations = external_service(&service, "rl", &limit(&[(SERVICE_TAG, "ext"), ("v", "1")]));
        assert!(violations.to_string().contains("RateLimit 'rl'"), "{violations}");
        assert!(external_service(&service, "rl", &limit(&[(SERVICE_TAG, "ext")])).is_empty());
    }
}
