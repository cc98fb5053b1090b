//! Zones prove who they are before they are told anything: by tokens, and by certificates.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tandem_e2e::api::{Api, mesh};
use tandem_e2e::process::ControlPlane;
use tandem_e2e::wait;
use tandem_e2e::world::Zone;

use crate::support::{PATIENCE, Stage};

const AUTH_TYPE: &str = "KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE";
const TOKEN_PATH: &str = "KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH";

/// A token for the control plane of a zone.
async fn token(global: &Api, zone: &str) -> Result<String> {
    let request = json!({"zone": zone, "scope": ["cp"], "validFor": "1h"});
    let answer = global.send(Method::POST, "/tokens/zone", Some(&request)).await?;
    ensure!(answer.status.is_success(), "{}", answer.body);
    Ok(answer.body.as_str().context("a token is text")?.to_owned())
}

/// Waits until a control plane has logged all of these.
async fn logged(control_plane: &ControlPlane, parts: &[&str]) -> Result<()> {
    let said = || async {
        let log = std::fs::read_to_string(control_plane.log_path())?;
        let line = log.lines().find(|line| parts.iter().all(|part| line.contains(part)));
        Ok(line.map(drop))
    };
    wait::until(&format!("{} says {parts:?}", control_plane.name()), PATIENCE, said).await
}

/// Waits until what global has is in the zone.
async fn joined(global: &Api, zone: &Zone, name: &str) -> Result<()> {
    global.put(&format!("/meshes/{name}"), &mesh(name)).await?;
    let arrived = || async { zone.api.get(&format!("/meshes/{name}")).await.map(Some) };
    wait::until(&format!("{} has mesh {name}", zone.name), PATIENCE, arrived).await.map(drop)
}

/// Waits until the last connection of a zone is open, or not; gives it.
async fn connection(global: &Api, zone: &str, open: bool) -> Result<Value> {
    let found = || async {
        let overview = global.get(&format!("/zones/{zone}/_overview")).await?;
        let subscriptions = overview["zoneInsight"]["subscriptions"].as_array().cloned().unwrap_or_default();
        let last = subscriptions.last().context("never connected")?;
        Ok((last["disconnectTime"].is_null() == open).then(|| last.clone()))
    };
    wait::until(&format!("zone {zone} is {}", if open { "online" } else { "offline" }), PATIENCE, found).await
}

async fn is_unknown(global: &Api, zone: &str) -> Result<bool> {
    Ok(global.send(Method::GET, &format!("/zones/{zone}"), None).await?.status == StatusCode::NOT_FOUND)
}

async fn metrics(control_plane: &ControlPlane) -> Result<String> {
    Ok(reqwest::get(format!("{}/metrics", control_plane.diagnostics_url())).await?.text().await?)
}

#[tokio::test]
async fn a_zone_joins_with_its_token_and_is_parted_from_when_it_is_revoked() -> Result<()> {
    let mut stage = Stage::with_global(&[(AUTH_TYPE, "cpToken")]).await?;
    let global = stage.global().clone();
    let file = stage.folder().join("token of east");
    let (wrong, right) = (token(&global, "west").await?, token(&global, "east").await?);
    std::fs::write(&file, &wrong)?;
    stage.world.add_zone("north").await?;
    stage.world.add_zone_with("east", &[(TOKEN_PATH, &file.display().to_string())]).await?;

    logged(&stage.zone(0).control_plane, &["north", "has no token", "multizone.global.kds.auth.type", "cpTokenPath"])
        .await?;
    logged(&stage.zone(1).control_plane, &["the token is for zone", "west", "multizone.zone.name"]).await?;
    logged(&stage.world.global, &["refused a zone control plane", "the token is for zone"]).await?;
    ensure!(is_unknown(&global, "north").await? && is_unknown(&global, "east").await?, "nobody has joined");

    // With the right one, in the same file, the zone joins without a restart.
    std::fs::write(&file, format!("{right}\n"))?;
    joined(&global, stage.zone(1), "demo").await?;
    let online = connection(&global, "east", true).await?;
    assert_eq!(online["authTokenProvided"], true, "{online}");

    let claims = right.split('.').nth(1).context("a token has claims")?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
    let list = STANDARD.encode(claims["jti"].as_str().context("a token has an id")?);
    let list = json!({"type": "GlobalSecret", "name": "zone-token-revocations", "data": list});
    global.put("/globalsecrets/zone-token-revocations", &list).await?;
    logged(&stage.zone(1).control_plane, &["token is revoked"]).await?;
    connection(&global, "east", false).await?;
    // The zone goes on with what it has.
    stage.zone(1).api.get("/meshes/demo").await?;
    let metrics = metrics(&stage.world.global).await?;
    for reason in ["missing", "zone", "revoked"] {
        let labelled = format!("reason=\"{reason}\"");
        let mut counted = metrics.lines().filter(|line| line.starts_with("kds_authentication_failures_total"));
        assert!(counted.any(|line| line.contains(&labelled)), "{reason} is not counted");
    }
    for control_plane in [&stage.world.global, &stage.zone(1).control_plane] {
        let log = std::fs::read_to_string(control_plane.log_path())?;
        ensure!(!log.contains(&right) && !log.contains(&wrong), "a token is in the log of {}", control_plane.name());
    }

    std::fs::write(&file, token(&global, "east").await?)?;
    connection(&global, "east", true).await?;
    joined(&global, stage.zone(1), "later").await?;
    stage.passed();
    Ok(())
}

/// Signs certificates of zones.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    fn new(folder: &Path) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("ca.pem"), params.self_signed(&key)?.pem())?;
        Ok(Self { issuer: Issuer::new(params, key), folder: folder.to_owned() })
    }

    fn ca(&self) -> String {
        self.folder.join("ca.pem").display().to_string()
    }

    /// Files with a certificate for a name and with its key, as settings of a zone.
    fn issue(&self, name: &str) -> Result<[(&'static str, String); 2]> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([name.to_owned()])?.signed_by(&key, &self.issuer)?;
        let at = |kind: &str| self.folder.join(format!("{name}.{kind}"));
        std::fs::write(at("crt"), certificate.pem())?;
        std::fs::write(at("key"), key.serialize_pem())?;
        Ok([
            ("KUMA_MULTIZONE_ZONE_KDS_AUTH_CLIENT_CERT_FILE", at("crt").display().to_string()),
            ("KUMA_MULTIZONE_ZONE_KDS_AUTH_CLIENT_KEY_FILE", at("key").display().to_string()),
        ])
    }
}

async fn add_zone(stage: &mut Stage, name: &str, files: &[(&'static str, String)]) -> Result<()> {
    let settings: Vec<_> = files.iter().map(|(key, value)| (*key, value.as_str())).collect();
    stage.world.add_zone_with(name, &settings).await.map(drop)
}

#[tokio::test]
async fn a_zone_joins_with_its_certificate() -> Result<()> {
    let files = tempfile::tempdir()?;
    let zones = Authority::new(&files.path().join("zones"))?;
    let strangers = Authority::new(&files.path().join("strangers"))?;
    let ca = zones.ca();
    let settings = [(AUTH_TYPE, "clientCertificate"), ("KUMA_MULTIZONE_GLOBAL_KDS_AUTH_CLIENT_CA_FILE", ca.as_str())];
    let mut stage = Stage::with_global(&settings).await?;
    let global = stage.global().clone();
    add_zone(&mut stage, "bare", &[]).await?;
    add_zone(&mut stage, "stranger", &strangers.issue("stranger")?).await?;
    add_zone(&mut stage, "impostor", &zones.issue("another")?).await?;
    add_zone(&mut stage, "honest", &zones.issue("honest")?).await?;
    for (index, parts) in [
        (0, ["bare", "has no certificate", "clientCertFile"]),
        (1, ["the certificate of zone", "is refused", "multizone.global.kds.auth.clientCaFile"]),
        (2, ["the certificate is for", "another", "multizone.zone.name"]),
    ] {
        logged(&stage.zone(index).control_plane, &parts).await?;
        ensure!(is_unknown(&global, &stage.zone(index).name).await?, "zone {} has joined", stage.zone(index).name);
    }
    joined(&global, stage.zone(3), "demo").await?;
    connection(&global, "honest", true).await?;
    // A moment later the others are still outside.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for zone in ["bare", "stranger", "impostor"] {
        ensure!(is_unknown(&global, zone).await?, "zone {zone} has joined");
    }
    stage.passed();
    Ok(())
}
