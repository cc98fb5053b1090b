//! What a MeshTrafficPermission denies stays denied; and the way back to Kuma's order of precedence.

use anyhow::Result;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::echo::EchoServer;
use tandem_e2e::proxy::Proxy;
use tandem_e2e::{api, ports};

use crate::support::{Stage, answered, apps, call};

const ALLOWED: StatusCode = StatusCode::OK;
const DENIED: StatusCode = StatusCode::FORBIDDEN;

/// A server in a zone and two clients.
struct Place {
    first: u16,
    second: u16,
    _proxies: Vec<Proxy>,
}

impl Place {
    async fn start(stage: &Stage, zone: usize, server: &EchoServer) -> Result<Self> {
        let (first, second) = (ports::free()?, ports::free()?);
        let zone = stage.zone(zone);
        let mut echo = apps::sidecar("default", "echo", "echo", server.port(), &[])?;
        echo.resource["labels"] = json!({"app": "echo"});
        let mut proxies = vec![zone.start_sidecar(echo).await?];
        for (name, port) in [("first", first), ("second", second)] {
            proxies.push(zone.start_sidecar(apps::caller("default", name, &[(port, "echo")])?).await?);
        }
        Ok(Self { first, second, _proxies: proxies })
    }

    /// Waits until both clients are treated like this.
    async fn becomes(&self, first: StatusCode, second: StatusCode) -> Result<()> {
        answered(self.first, first).await?;
        answered(self.second, second).await?;
        // Neither was on the way to the other.
        assert_eq!(call(self.first).await?.0, first);
        Ok(())
    }
}

fn permission(name: &str, target: &Value, list: &str, items: Value) -> (String, Value) {
    let spec = json!({"targetRef": target, list: items});
    let path = format!("/meshes/default/meshtrafficpermissions/{name}");
    (path, json!({"type": "MeshTrafficPermission", "mesh": "default", "name": name, "spec": spec}))
}

fn from(entries: &[(&str, &str)]) -> Value {
    let entry = |(client, action): &(&str, &str)| {
        let client = match *client {
            "everyone" => json!({"kind": "Mesh"}),
            service => json!({"kind": "MeshSubset", "tags": {"kuma.io/service": service}}),
        };
        json!({"targetRef": client, "default": {"action": action}})
    };
    entries.iter().map(entry).collect()
}

#[tokio::test]
async fn what_is_denied_stays_denied_unless_somebody_makes_an_exception() -> Result<()> {
    let mut stage = Stage::with_zones(&["zone-1"]).await?;
    stage.world.add_zone_with("like-kuma", &[("KUMA_POLICIES_DENY_OVERRIDES_ALLOW", "false")]).await?;
    stage.mesh(&api::mesh("default")).await?;
    let server = EchoServer::start("echo").await?;
    let here = Place::start(&stage, 0, &server).await?;
    let like_kuma = Place::start(&stage, 1, &server).await?;
    let put = async |(path, policy): &(String, Value)| stage.global().put(path, policy).await.map(drop);
    let delete = async |(path, _): &(String, Value)| stage.global().delete(path).await.map(drop);
    let (all, echo) = (json!({"kind": "Dataplane"}), json!({"kind": "Dataplane", "labels": {"app": "echo"}}));

    // The owner of the server denies the first client. Somebody allows everything to everyone in a policy whose name sorts first,
    // which is what decides between two policies for Dataplanes.
    let of_echo = permission("of-echo", &echo, "from", from(&[("first", "Deny")]));
    let everything = permission("everything", &all, "from", from(&[("everyone", "Allow")]));
    put(&of_echo).await?;
    put(&everything).await?;
    here.becomes(DENIED, ALLOWED).await?;
    like_kuma.becomes(ALLOWED, ALLOWED).await?;

    // The owner denies everyone, and makes an exception.
    put(&permission("of-echo", &echo, "from", from(&[("everyone", "Deny"), ("first", "Allow")]))).await?;
    here.becomes(ALLOWED, DENIED).await?;
    like_kuma.becomes(ALLOWED, ALLOWED).await?;
    delete(&everything).await?;
    like_kuma.becomes(ALLOWED, DENIED).await?;
    here.becomes(ALLOWED, DENIED).await?;

    // Who is denied is not in a set that is allowed because somebody else is not in it.
    let overlapping = from(&[("everyone", "AllowWithShadowDeny"), ("first", "Deny"), ("second", "Deny")]);
    put(&permission("of-echo", &echo, "from", overlapping)).await?;
    here.becomes(DENIED, DENIED).await?;
    like_kuma.becomes(ALLOWED, ALLOWED).await?;

    // Rules about identities do not open what is denied by tags.
    put(&permission("of-echo", &echo, "from", from(&[("first", "Deny")]))).await?;
    like_kuma.becomes(DENIED, DENIED).await?;
    let everyone = json!([{"spiffeID": {"type": "Prefix", "value": "spiffe://default"}}]);
    put(&permission("identities", &all, "rules", json!([{"default": {"allow": everyone}}]))).await?;
    here.becomes(DENIED, ALLOWED).await?;
    like_kuma.becomes(ALLOWED, ALLOWED).await?;
    stage.passed();
    Ok(())
}
