//! MeshTrafficPermission: calls that are allowed, that are denied, and that would be.

use anyhow::Result;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::ports;

use crate::support::web::{By, Web, counts, outbound};
use crate::support::{answered, call};

const POLICY: &str = "MeshTrafficPermission";

/// The policy that exists from the beginning.
const EVERYONE: &str = "everyone";

#[tokio::test]
async fn callers_known_by_their_tags_are_allowed_or_denied() -> Result<()> {
    let web = Web::start(By::Tag).await?;
    let to_web = ports::free()?;
    let second = web.start_client("second", outbound(to_web, "web", web.inbound, By::Tag)).await?;
    answered(to_web, StatusCode::OK).await?;
    let from = |entries: &[(Value, &str)]| {
        let entry = |(caller, action): &(Value, &str)| json!({"targetRef": caller, "default": {"action": action}});
        let from: Vec<Value> = entries.iter().map(entry).collect();
        json!({"targetRef": {"kind": "MeshService", "name": "web"}, "from": from})
    };
    let everyone = json!({"kind": "Mesh"});
    let caller = json!({"kind": "MeshSubset", "tags": {"kuma.io/service": "second"}});

    web.put(POLICY, "of-web", from(&[(caller.clone(), "Deny")])).await?;
    answered(to_web, StatusCode::FORBIDDEN).await?;
    assert_eq!(call(web.outbound).await?.0, StatusCode::OK);

    // Whom the whole mesh denies, one proxy may allow.
    web.put(POLICY, EVERYONE, json!({"from": [{"targetRef": everyone, "default": {"action": "Deny"}}]})).await?;
    web.put(POLICY, "of-web", from(&[(caller.clone(), "Allow")])).await?;
    answered(to_web, StatusCode::OK).await?;
    answered(web.outbound, StatusCode::FORBIDDEN).await?;

    // On trial: nobody is denied, and it is told who would be.
    web.put(POLICY, "of-web", from(&[(everyone.clone(), "AllowWithShadowDeny")])).await?;
    answered(web.outbound, StatusCode::OK).await?;
    answered(to_web, StatusCode::OK).await?;
    counts(&web.server, "rbac.shadow_denied").await?;
    web.put(POLICY, "of-web", from(&[(everyone, "Deny")])).await?;
    answered(web.outbound, StatusCode::FORBIDDEN).await?;
    web.passed(&[&second]).await
}

#[tokio::test]
async fn callers_known_by_their_identities_are_allowed_or_denied() -> Result<()> {
    let web = Web::start(By::Resource).await?;
    let to_web = ports::free()?;
    let second = web.start_client("second", outbound(to_web, "web", web.inbound, By::Resource)).await?;
    answered(to_web, StatusCode::OK).await?;
    let exact = |name: &str| json!([{"spiffeID": {"type": "Exact", "value": format!("spiffe://default/{name}")}}]);
    let all = json!([{"spiffeID": {"type": "Prefix", "value": "spiffe://default"}}]);
    let rules = |lists: Value| json!({"targetRef": {"kind": "Dataplane"}, "rules": [{"default": lists}]});

    // Whoever is not listed is denied, as soon as there are lists.
    web.put(POLICY, EVERYONE, rules(json!({"allow": exact("client")}))).await?;
    answered(to_web, StatusCode::FORBIDDEN).await?;
    assert_eq!(call(web.outbound).await?.0, StatusCode::OK);

    // One is denied of all that are allowed, by the same policy and by another one.
    web.put(POLICY, EVERYONE, rules(json!({"allow": all, "deny": exact("client")}))).await?;
    answered(to_web, StatusCode::OK).await?;
    answered(web.outbound, StatusCode::FORBIDDEN).await?;
    web.put(POLICY, EVERYONE, rules(json!({"allow": all}))).await?;
    answered(web.outbound, StatusCode::OK).await?;
    web.put(POLICY, "deny", rules(json!({"deny": exact("second")}))).await?;
    answered(to_web, StatusCode::FORBIDDEN).await?;
    assert_eq!(call(web.outbound).await?.0, StatusCode::OK);

    // On trial: nobody is denied, and it is told who would be.
    web.put(POLICY, "deny", rules(json!({"allowWithShadowDeny": exact("second")}))).await?;
    answered(to_web, StatusCode::OK).await?;
    counts(&web.server, "rbac.shadow_denied").await?;
    web.passed(&[&second]).await
}
