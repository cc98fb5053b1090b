//! MeshFaultInjection: faults that the proxy of a server makes up, for some of its clients.

use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::{ports, wait};
use tokio::time::Instant;

use crate::support::web::{By, Web, counts, outbound};
use crate::support::{PATIENCE, answered, call};

const POLICY: &str = "MeshFaultInjection";

/// How long requests are delayed: far longer than any of them takes otherwise.
const DELAY: Duration = Duration::from_secs(2);

/// Aborts all requests.
fn abort(status: StatusCode) -> Value {
    json!({"http": [{"abort": {"httpStatus": status.as_u16(), "percentage": 100}}]})
}

/// Waits until a request is answered after the delay.
async fn delayed(port: u16) -> Result<()> {
    let is_delayed = || async {
        let start = Instant::now();
        let (status, _) = call(port).await?;
        ensure!(status == StatusCode::OK, "answered with {status}");
        Ok((start.elapsed() >= DELAY).then_some(()))
    };
    wait::until(&format!("requests to port {port} are delayed"), PATIENCE, is_delayed).await
}

#[tokio::test]
async fn clients_known_by_their_identities_meet_faults() -> Result<()> {
    let web = Web::start(By::Resource).await?;
    let to_web = ports::free()?;
    let second = web.start_client("second", outbound(to_web, "web", web.inbound, By::Resource)).await?;
    answered(to_web, StatusCode::OK).await?;
    let about = |name: &str, conf: Value| {
        let matches = json!([{"spiffeID": {"type": "Exact", "value": format!("spiffe://default/{name}")}}]);
        json!({"matches": matches, "default": conf})
    };

    web.put(POLICY, "faults", json!({"rules": [about("second", abort(StatusCode::IM_A_TEAPOT))]})).await?;
    answered(to_web, StatusCode::IM_A_TEAPOT).await?;
    assert_eq!(call(web.outbound).await?.0, StatusCode::OK);

    // Rules are kept apart; one without matches is about everybody.
    let delay = json!({"http": [{"delay": {"value": format!("{}s", DELAY.as_secs()), "percentage": "100"}}]});
    web.put(POLICY, "faults", json!({"rules": [about("client", delay), {"default": {"http": []}}]})).await?;
    delayed(web.outbound).await?;
    answered(to_web, StatusCode::OK).await?;
    web.put(POLICY, "faults", json!({"rules": [{"default": abort(StatusCode::IM_A_TEAPOT)}]})).await?;
    answered(to_web, StatusCode::IM_A_TEAPOT).await?;
    answered(web.outbound, StatusCode::IM_A_TEAPOT).await?;
    counts(&web.server, "fault.aborts_injected").await?;
    web.delete(POLICY, "faults").await?;
    answered(web.outbound, StatusCode::OK).await?;
    web.passed(&[&second]).await
}

#[tokio::test]
async fn clients_known_by_their_tags_meet_the_faults_of_the_strongest_entry() -> Result<()> {
    let web = Web::start(By::Tag).await?;
    let (to_web, also_to_web) = (ports::free()?, ports::free()?);
    let second = web.start_client("second", outbound(to_web, "web", web.inbound, By::Tag)).await?;
    let third = web.start_client("third", outbound(also_to_web, "web", web.inbound, By::Tag)).await?;
    answered(to_web, StatusCode::OK).await?;
    answered(also_to_web, StatusCode::OK).await?;
    let caller = |name: &str| json!({"kind": "MeshSubset", "tags": {"kuma.io/service": name}});
    let from = |entries: &[(Value, Value)]| {
        let entry = |(caller, conf): &(Value, Value)| json!({"targetRef": caller, "default": conf});
        let from: Vec<Value> = entries.iter().map(entry).collect();
        json!({"targetRef": {"kind": "MeshService", "name": "web"}, "from": from})
    };
    let everyone = json!({"kind": "Mesh"});
    web.put(POLICY, "faults", from(&[(caller("second"), abort(StatusCode::IM_A_TEAPOT))])).await?;
    answered(to_web, StatusCode::IM_A_TEAPOT).await?;
    assert_eq!(call(web.outbound).await?.0, StatusCode::OK);

    // In Kuma the third would meet two faults, and the second the one of all as well.
    let three = [
        (everyone, abort(StatusCode::BAD_GATEWAY)),
        (caller("second"), abort(StatusCode::IM_A_TEAPOT)),
        (caller("client"), json!({"http": []})),
    ];
    web.put(POLICY, "faults", from(&three)).await?;
    answered(also_to_web, StatusCode::BAD_GATEWAY).await?;
    answered(to_web, StatusCode::IM_A_TEAPOT).await?;
    assert_eq!(call(web.outbound).await?.0, StatusCode::OK);
    web.passed(&[&second, &third]).await
}
