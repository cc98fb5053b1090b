//! Whether a proxy is who its token is for.
//!
//! Source of rules and texts: Kuma `pkg/xds/auth/universal/authenticator.go`.

use std::fmt;

use tandem_model::label;
use tandem_model::tags::TagMultimap;

use crate::token::{DataplaneClaims, ZoneClaims};

/// The token is not for this proxy; the text says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Mismatch(String);

/// What a data plane proxy says of itself.
#[derive(Debug, Clone, Copy)]
pub struct DataplaneIdentity<'a> {
    /// Name of its Dataplane.
    pub name: &'a str,
    /// Mesh.
    pub mesh: &'a str,
    /// All tags, as the proxy sent them: without the zone that the control plane adds.
    pub tags: &'a TagMultimap,
    /// Value of the label `kuma.io/workload`.
    pub workload: Option<&'a str>,
    /// The SPIFFE identity that the proxy would get contains its workload.
    pub identity_has_workload: bool,
}

/// Compares the claims of a dataplane token with a proxy.
///
/// # Errors
/// The first claim that does not hold.
pub fn check_dataplane(claims: &DataplaneClaims, proxy: &DataplaneIdentity<'_>) -> Result<(), Mismatch> {
    check_subject(claims, proxy.name, proxy.mesh)?;
    for (tag, allowed) in &claims.tags {
        let Some(values) = proxy.tags.get(tag) else {
            return Err(Mismatch(format!("dataplane has no tag {tag:?} required by the token")));
        };
        if let Some(value) = values.iter().find(|value| !allowed.contains(value)) {
            let allowed: Vec<String> = allowed.iter().map(|value| format!("{value:?}")).collect();
            return Err(Mismatch(format!(
                "dataplane contains tag {tag:?} with value {value:?} which is not allowed with this token. Allowed values \
                 in token are [{}]",
                allowed.join(" ")
            )));
        }
    }
    check_workload(&claims.workload, proxy)
}

/// The part of [`check_dataplane`] that needs no more than the name of the proxy and its mesh, and that it is a data plane proxy.
///
/// Kuma does not look at the type. Nobody needs a dataplane token for a zone proxy, so one that was asked for by mistake admits
/// nothing here, rather than a data plane proxy.
///
/// # Errors
/// The first claim that does not hold.
pub fn check_subject(claims: &DataplaneClaims, name: &str, mesh: &str) -> Result<(), Mismatch> {
    let actual = [("name", name, &claims.name), ("mesh", mesh, &claims.mesh), ("type", "dataplane", &claims.r#type)];
    match actual.into_iter().find(|(_, actual, claim)| !claim.is_empty() && claim.as_str() != *actual) {
        None => Ok(()),
        Some((what, actual, claim)) => {
            Err(Mismatch(format!("proxy {what} from requestor: {actual} is different than in token: {claim}")))
        }
    }
}

fn check_workload(claim: &str, proxy: &DataplaneIdentity<'_>) -> Result<(), Mismatch> {
    let text = match proxy.workload {
        Some(workload) if claim.is_empty() && proxy.identity_has_workload => format!(
            "dataplane with {:?} label {workload:?} derives its identity from the workload, so it requires a workload-bound \
             token",
            label::WORKLOAD
        ),
        _ if claim.is_empty() => return Ok(()),
        Some(workload) if workload == claim => return Ok(()),
        Some(workload) => format!(
            "dataplane workload {workload:?} is not allowed with this token. Allowed workload in token is {claim:?}"
        ),
        None => "dataplane has no workload label required by the token".to_owned(),
    };
    Err(Mismatch(text))
}

/// Kind of a zone proxy, as scopes of zone tokens name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Zone ingress.
    Ingress,
    /// Zone egress.
    Egress,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// Compares the claims of a zone token with a proxy of `zone`, which is the zone of this control plane.
///
/// # Errors
/// The first claim that does not hold.
pub fn check_zone_proxy(claims: &ZoneClaims, scope: Scope, zone: &str) -> Result<(), Mismatch> {
    if !claims.scope.contains(&scope.to_string()) {
        let scopes = claims.scope.join(" ");
        let text =
            format!("token cannot be used to authenticate zone entity ({scope} is out of token's scope: [{scopes}])");
        return Err(Mismatch(text));
    }
    if !claims.zone.is_empty() && claims.zone != zone {
        return Err(Mismatch(format!("zone from requestor: {zone} is different than in token: {}", claims.zone)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn tags(list: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        list.iter().map(|(tag, values)| ((*tag).into(), values.iter().map(|v| (*v).into()).collect())).collect()
    }

    fn check(claims: &DataplaneClaims, workload: Option<&str>, identity_has_workload: bool) -> Result<(), String> {
        let tags: TagMultimap = tags(&[("kuma.io/service", &["web", "web-api"])])
            .into_iter()
            .map(|(t, v)| (t, v.into_iter().collect()))
            .collect();
        let proxy = DataplaneIdentity { name: "dp-1", mesh: "default", tags: &tags, workload, identity_has_workload };
        check_dataplane(claims, &proxy).map_err(|error| error.to_string())
    }

    #[test]
    fn empty_claims_hold_for_every_proxy() {
        assert_eq!(check(&DataplaneClaims::default(), None, true), Ok(()));
        assert_eq!(check(&DataplaneClaims::default(), Some("w"), false), Ok(()));
    }

    #[test]
    fn tokens_may_allow_more_than_the_proxy_has() {
        let claims = DataplaneClaims {
            name: "dp-1".into(),
            mesh: "default".into(),
            tags: tags(&[("kuma.io/service", &["web", "web-api", "x"])]),
            workload: "w".into(),
            ..DataplaneClaims::default()
        };
        assert_eq!(check(&claims, Some("w"), true), Ok(()));
    }

    #[test]
    fn every_mismatch_has_its_text() {
        let none = DataplaneClaims::default;
        for (claims, workload, text) in [
            (
                DataplaneClaims { name: "dp-2".into(), ..none() },
                None,
                "proxy name from requestor: dp-1 is different than in token: dp-2",
            ),
            (
                DataplaneClaims { mesh: "demo".into(), ..none() },
                None,
                "proxy mesh from requestor: default is different than in token: demo",
            ),
            (
                DataplaneClaims { tags: tags(&[("version", &["1"])]), ..none() },
                None,
                r#"dataplane has no tag "version" required by the token"#,
            ),
            (
                DataplaneClaims { tags: tags(&[("kuma.io/service", &["web", "other"])]), ..none() },
                None,
                "dataplane contains tag \"kuma.io/service\" with value \"web-api\" which is not allowed with this token. \
                 Allowed values in token are [\"web\" \"other\"]",
            ),
            (
                DataplaneClaims { r#type: "ingress".into(), ..none() },
                None,
                "proxy type from requestor: dataplane is different than in token: ingress",
            ),
            (
                DataplaneClaims { workload: "a".into(), ..none() },
                None,
                "dataplane has no workload label required by the token",
            ),
            (
                DataplaneClaims { workload: "a".into(), ..none() },
                Some("b"),
                r#"dataplane workload "b" is not allowed with this token. Allowed workload in token is "a""#,
            ),
            (
                none(),
                Some("b"),
                "dataplane with \"kuma.io/workload\" label \"b\" derives its identity from the workload, so it requires a \
                 workload-bound token",
            ),
        ] {
            assert_eq!(check(&claims, workload, true), Err(text.to_owned()));
        }
    }

    #[test]
    fn zone_proxies_need_scope_and_zone() {
        let claims = |zone: &str, scope: &[&str]| ZoneClaims {
            zone: zone.into(),
            scope: scope.iter().map(|s| (*s).into()).collect(),
        };
        assert_eq!(check_zone_proxy(&claims("", &["ingress", "egress"]), Scope::Egress, "east"), Ok(()));
        assert_eq!(check_zone_proxy(&claims("east", &["ingress"]), Scope::Ingress, "east"), Ok(()));
        let error = check_zone_proxy(&claims("", &["egress"]), Scope::Ingress, "east").expect_err("scope");
        assert_eq!(
            error.to_string(),
            "token cannot be used to authenticate zone entity (ingress is out of token's scope: [egress])"
        );
        let error = check_zone_proxy(&claims("west", &["egress"]), Scope::Egress, "east").expect_err("zone");
        assert_eq!(error.to_string(), "zone from requestor: east is different than in token: west");
    }
}
