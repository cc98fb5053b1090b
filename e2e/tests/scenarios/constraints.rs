//! Which proxies a mesh takes.

use anyhow::{Context as _, Result};
use serde_json::json;
use tandem_e2e::proxy::ProxySpec;
use tandem_e2e::wait;
use tandem_e2e::world::Zone;
use tonic::Code;

use crate::support::{Ads, DeltaAds, PATIENCE, Stage, apps};

#[tokio::test]
async fn proxies_that_a_mesh_does_not_take_are_told_why() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1", "zone-2"]).await?;
    let constraints = json!({
        "requirements": [
            {"tags": {"kuma.io/zone": "zone-1", "kuma.io/service": "*"}},
            {"tags": {"kuma.io/service": "anywhere"}}
        ],
        "restrictions": [{"tags": {"kuma.io/service": "forbidden"}}]
    });
    stage.mesh(&json!({"type": "Mesh", "name": "club", "constraints": {"dataplaneProxy": constraints}})).await?;
    let (one, two) = (stage.zone(0), stage.zone(1));

    // The tag that decides here is the one that the zone itself adds.
    let elsewhere = member(two, "web-2", "web").await?;
    let mut envoy = two.launch_proxy(elsewhere.clone()).await?;
    let reason = "could not register proxy passed in kuma-dp run: dataplane cannot be a member of mesh \"club\" because its tags \
                  \"kuma.io/protocol=http kuma.io/service=web kuma.io/zone=zone-2\" does not fulfill any requirements defined on \
                  the Mesh";
    let told = || async { Ok(envoy.log().contains(reason).then_some(())) };
    wait::until("Envoy logs the reason", PATIENCE, told).await.with_context(|| envoy.log_tail())?;
    assert!(envoy.ready(std::time::Duration::ZERO).await.is_err(), "a refused proxy serves");
    envoy.kill().await?;
    for refusal in [
        Ads::open(&two.dp_server, &elsewhere).await?.refusal().await,
        DeltaAds::open(&two.dp_server, &elsewhere).await?.refusal().await,
    ] {
        assert_eq!((refusal.code(), refusal.message()), (Code::Unknown, reason));
    }

    // A restriction outweighs a requirement that is met.
    let refusal = Ads::open(&one.dp_server, &member(one, "bad-1", "forbidden").await?).await?.refusal().await;
    assert_eq!(refusal.code(), Code::Unknown);
    assert_eq!(
        refusal.message(),
        "could not register proxy passed in kuma-dp run: dataplane cannot be a member of mesh \"club\" because its tags \
         \"kuma.io/protocol=http kuma.io/service=forbidden kuma.io/zone=zone-1\" matches restricted tags \
         \"kuma.io/service=forbidden\" defined on the Mesh"
    );

    // Over HTTP the same rules hold.
    let path = "/meshes/club/dataplanes/web-2";
    let answer = two.api.send(reqwest::Method::PUT, path, Some(&elsewhere.resource)).await?;
    assert!(!answer.status.is_success(), "{} {}", answer.status, answer.body);

    // Those that fit are members, and nobody else is.
    let _web = one.start_sidecar(member(one, "web-1", "web").await?).await?;
    let _anywhere = two.start_sidecar(member(two, "anywhere-2", "anywhere").await?).await?;
    for (zone, members) in [(one, "web-1"), (two, "anywhere-2")] {
        let list = zone.api.get("/meshes/club/dataplanes").await?;
        let names: Vec<_> = list["items"].as_array().into_iter().flatten().map(|item| item["name"].clone()).collect();
        assert_eq!(names, [members], "members in {}", zone.name);
    }

    // When the mesh changes its mind, it takes whom it refused.
    stage.mesh(&json!({"type": "Mesh", "name": "club"})).await?;
    let _web = two.start_sidecar(elsewhere).await?;
    stage.passed();
    Ok(())
}

async fn member(zone: &Zone, name: &str, service: &str) -> Result<ProxySpec> {
    let spec = apps::sidecar("club", name, service, 8080, &[])?;
    Ok(spec.with_token(zone.dataplane_token("club", name).await?))
}
