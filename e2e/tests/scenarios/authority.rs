//! The certificate authorities of a mesh, and changes of mutual TLS while requests are on their way.

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType};
use serde_json::{Value, json};
use tandem_e2e::api::Api;
use tandem_e2e::echo::EchoServer;
use tandem_e2e::proxy::{Proxy, ProxySpec};
use tandem_e2e::{api, ports, wait};

use crate::support::requests::Requests;
use crate::support::{PATIENCE, Stage, apps, zone_proxies};

/// A mesh with mutual TLS through these backends, the first one enabled, and nothing that repeats a failed request.
fn mesh(backends: &[Value]) -> Value {
    json!({
        "type": "Mesh", "name": "m",
        "skipCreatingInitialPolicies": ["*"],
        "mtls": {"enabledBackend": backends[0]["name"], "backends": backends}
    })
}

fn builtin(name: &str) -> Value {
    json!({"name": name, "type": "builtin"})
}

fn with(mut backend: Value, member: &str, value: Value) -> Value {
    backend[member] = value;
    backend
}

/// A caller in the first zone and a server in the last one, with a connection and so a handshake for each request.
struct Pair {
    outbound: u16,
    client: Proxy,
    server: Proxy,
    _echo: EchoServer,
    _zone_proxies: Vec<Proxy>,
}

impl Pair {
    async fn settle(stage: &Stage) -> Result<Self> {
        let (path, permission) = api::traffic_permission("m", "everyone", "Allow");
        stage.global().put(&path, &permission).await?;
        let (first, last) = (stage.zone(0), stage.world.zones.last().context("no zone")?);
        let mut zone_proxies_started = Vec::new();
        if stage.world.zones.len() > 1 {
            let (ingress, egress) = zone_proxies(&stage.world, last, false).await?;
            zone_proxies_started.extend([ingress, egress]);
        }
        let echo = EchoServer::start("echo").await?;
        let server = last.start_sidecar(over_tcp(apps::sidecar("m", "server", "echo", echo.port(), &[])?)).await?;
        let outbound = ports::free()?;
        let client = first.start_sidecar(apps::caller("m", "client", &[(outbound, "echo")])?).await?;
        Ok(Self { outbound, client, server, _echo: echo, _zone_proxies: zone_proxies_started })
    }

    /// How many handshakes the server has seen.
    async fn handshakes(&self) -> Result<u64> {
        self.server.stat_sum(|name| name.starts_with("listener.") && name.ends_with(".ssl.handshake")).await
    }
}

fn over_tcp(mut spec: ProxySpec) -> ProxySpec {
    spec.resource["networking"]["inbound"][0]["tags"]["kuma.io/protocol"] = json!("tcp");
    spec
}

/// What global knows of the certificate of a proxy.
async fn certificate(stage: &Stage, proxy: &str) -> Result<Value> {
    let overviews = stage.global().get("/meshes/m/dataplanes/_overview").await?;
    let items = overviews["items"].as_array().cloned().unwrap_or_default();
    let named = items.into_iter().find(|item| item["labels"]["kuma.io/display-name"] == proxy);
    Ok(named.with_context(|| format!("{proxy} is not known"))?["dataplaneInsight"]["mTLS"].clone())
}

/// Waits until global knows this of the certificates of both proxies.
async fn known(stage: &Stage, issuer: &str, trusted: &[&str]) -> Result<()> {
    for proxy in ["client", "server"] {
        let known = || async {
            let certificate = certificate(stage, proxy).await?;
            let is_so = certificate["issuedBackend"] == issuer && certificate["supportedBackends"] == json!(trusted);
            anyhow::ensure!(is_so, "{certificate}");
            Ok(Some(()))
        };
        wait::until(&format!("{proxy} has a certificate of {issuer} and trusts {trusted:?}"), PATIENCE, known).await?;
    }
    Ok(())
}

/// Writes the mesh as soon as the proxies are ready for it.
async fn write(api: &Api, mesh: &Value) -> Result<()> {
    let written = || async { api.put("/meshes/m", mesh).await.map(Some) };
    wait::until("the change of the mesh is taken", PATIENCE, written).await?;
    Ok(())
}

#[tokio::test]
async fn the_authority_of_a_mesh_changes_without_a_failed_request() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1", "zone-2"]).await?;
    let (old, new) = (builtin("old"), builtin("new"));
    stage.mesh(&mesh(std::slice::from_ref(&old))).await?;
    let pair = Pair::settle(&stage).await?;
    let requests = Requests::start(pair.outbound).await?;
    known(&stage, "old", &["old"]).await?;

    // At once it would be too early: nobody trusts the new one.
    let swapped = mesh(&[new.clone(), old.clone()]);
    let refused = stage.global().put("/meshes/m", &swapped).await.err().context("an unknown authority is enabled")?;
    assert!(refused.to_string().contains("Changing CA when mTLS is enabled is forbidden"), "{refused}");

    write(stage.global(), &mesh(&[old.clone(), new.clone()])).await?;
    write(stage.global(), &swapped).await?;
    let before = pair.handshakes().await?;
    known(&stage, "new", &["new", "old"]).await?;
    requests.go_on().await?;
    assert!(pair.handshakes().await? > before, "requests have handshakes with the new certificates");
    write(stage.global(), &mesh(std::slice::from_ref(&new))).await?;
    known(&stage, "new", &["new"]).await?;
    requests.all_answered().await?;
    assert_eq!(rejected(&pair).await?, 0);
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn mutual_tls_is_introduced_and_changes_its_mode_without_a_failed_request() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    let plain = json!({"type": "Mesh", "name": "m", "skipCreatingInitialPolicies": ["*"]});
    stage.mesh(&plain).await?;
    let pair = Pair::settle(&stage).await?;
    let requests = Requests::start(pair.outbound).await?;
    assert_eq!(pair.handshakes().await?, 0);

    let strict = mesh(&[builtin("ca")]);
    let permissive = mesh(&[with(builtin("ca"), "mode", json!("PERMISSIVE"))]);
    // Number of ways in: with TLS of the mesh, with other TLS, and without; or the first one only.
    for (mode, what, ways) in [
        (&permissive, "introduced", 3),
        (&strict, "strict", 1),
        (&permissive, "permissive again", 3),
        (&strict, "strict again", 1),
    ] {
        write(stage.global(), mode).await?;
        known(&stage, "ca", &["ca"]).await?;
        let before = pair.handshakes().await?;
        let secured = || async { Ok((pair.handshakes().await? > before).then_some(())) };
        wait::until(&format!("connections are secured when mutual TLS is {what}"), PATIENCE, secured).await?;
        let applied = || async { Ok((chains(&pair.server).await? == ways).then_some(())) };
        wait::until(&format!("the server is {what}"), PATIENCE, applied).await?;
        requests.go_on().await?;
    }
    requests.all_answered().await?;
    assert_eq!(rejected(&pair).await?, 0);
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn an_authority_with_an_intermediate_signs_and_certificates_are_renewed_in_time() -> Result<()> {
    let mut stage = Stage::empty().await?;
    stage.world.add_zone_with("zone-1", &[("KUMA_DP_SERVER_CERTIFICATES_KEY_TYPE", "rsa")]).await?;
    let root = authority("root", "m")?;
    let intermediate_key = KeyPair::generate()?;
    let intermediate = authority_params("intermediate", "m")?.signed_by(&intermediate_key, &root)?;
    let chain = format!("{}{}", intermediate.pem(), root.pem());
    stage.mesh(&json!({"type": "Mesh", "name": "m", "skipCreatingInitialPolicies": ["*"]})).await?;
    for (name, text) in [("ca-cert", chain), ("ca-key", intermediate_key.serialize_pem())] {
        let data = base64(text.as_bytes());
        let secret = json!({"type": "Secret", "mesh": "m", "name": name, "data": data});
        stage.global().put(&format!("/meshes/m/secrets/{name}"), &secret).await?;
    }
    let provided = json!({
        "name": "provided", "type": "provided",
        "dpCert": {"rotation": {"expiration": "5s"}},
        "conf": {"cert": {"secret": "ca-cert"}, "key": {"secret": "ca-key"}}
    });
    write(stage.global(), &mesh(&[provided])).await?;
    let pair = Pair::settle(&stage).await?;
    let requests = Requests::start(pair.outbound).await?;
    known(&stage, "provided", &["provided"]).await?;
    assert!(
        has_rsa_key(&pair.server).await? && has_rsa_key(&pair.client).await?,
        "keys are of the type in the settings"
    );

    // Each certificate serves four fifths of its life.
    let renewed = || async {
        let number = certificate(&stage, "server").await?["certificateRegenerations"].as_u64().unwrap_or_default();
        Ok((number >= 3).then_some(()))
    };
    wait::until("the certificate of the server is replaced", PATIENCE, renewed).await?;
    requests.all_answered().await?;
    assert_eq!(rejected(&pair).await?, 0);
    stage.passed();
    Ok(())
}

#[tokio::test]
async fn an_authority_that_cannot_sign_is_told_at_the_proxies_and_harms_no_other_mesh() -> Result<()> {
    let stage = Stage::with_zones(&["zone-1"]).await?;
    stage.mesh(&mesh(&[builtin("ca")])).await?;
    let pair = Pair::settle(&stage).await?;
    let bad = json!({
        "name": "bad", "type": "provided",
        "conf": {"cert": {"inlineString": "no certificate"}, "key": {"inlineString": "no key"}}
    });
    let other = json!({"type": "Mesh", "name": "other", "mtls": {"enabledBackend": "bad", "backends": [bad]}});
    let refused =
        stage.global().put("/meshes/other", &other).await.err().context("garbage is taken for an authority")?;
    assert!(refused.to_string().contains("not a valid TLS key pair"), "{refused}");
    let mut unchecked = other.clone();
    unchecked["mtls"]["skipValidation"] = json!(true);
    stage.mesh(&unchecked).await?;
    let proxy = stage.zone(0).dataplane_token("other", "lost").await?;
    let _lost = stage.zone(0).launch_proxy(apps::caller("other", "lost", &[])?.with_token(proxy)).await?;
    for api in [&stage.zone(0).api, stage.global()] {
        let told = || async {
            let items = api.get("/_problems").await?["proxies"].as_array().cloned().unwrap_or_default();
            let of_proxy = items.iter().find(|item| item["proxy"]["mesh"] == "other");
            let problem = &of_proxy.context("nothing is told")?["problems"][0];
            let message = problem["message"].as_str().unwrap_or_default();
            anyhow::ensure!(problem["type"] == "NotConfigured" && message.contains("\"bad\""), "{problem}");
            Ok(Some(()))
        };
        wait::until(&format!("{} tells why the proxy has no configuration", api.url()), PATIENCE, told).await?;
    }
    Requests::start(pair.outbound).await?.all_answered().await?;
    stage.passed();
    Ok(())
}

/// How often the proxies refused a configuration.
async fn rejected(pair: &Pair) -> Result<u64> {
    let is_refusal = |name: &str| name.ends_with(".update_rejected");
    Ok(pair.client.stat_sum(is_refusal).await? + pair.server.stat_sum(is_refusal).await?)
}

/// Whether the certificate that a proxy has is one for an RSA key. Those who sign it here have keys of another kind.
async fn has_rsa_key(proxy: &Proxy) -> Result<bool> {
    const RSA_ENCRYPTION: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    let dump = proxy.config_dump().await?;
    let parts = dump["configs"].as_array().into_iter().flatten();
    let mut secrets = parts.filter_map(|part| part["dynamic_active_secrets"].as_array()).flatten();
    let chain =
        secrets.find_map(|secret| secret["secret"]["tls_certificate"]["certificate_chain"]["inline_bytes"].as_str());
    let pem = String::from_utf8(decoded(chain.context("the proxy has no certificate")?)?)?;
    let leaf: String = pem.lines().skip(1).take_while(|line| !line.starts_with('-')).collect();
    Ok(decoded(&leaf)?.windows(RSA_ENCRYPTION.len()).any(|window| window == RSA_ENCRYPTION))
}

/// Number of ways into the first inbound of a proxy.
async fn chains(proxy: &Proxy) -> Result<usize> {
    let dump = proxy.config_dump().await?;
    let listeners = dump["configs"].as_array().into_iter().flatten();
    let listeners = listeners.flat_map(|config| config["dynamic_listeners"].as_array().cloned().unwrap_or_default());
    let listener = listeners
        .map(|listener| listener["active_state"]["listener"].clone())
        .find(|listener| listener["name"].as_str().is_some_and(|name| name.starts_with("inbound:")));
    Ok(listener.context("no inbound")?["filter_chains"].as_array().map_or(0, Vec::len))
}

fn authority(name: &str, mesh: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
    Ok(CertifiedIssuer::self_signed(authority_params(name, mesh)?, KeyPair::generate()?)?)
}

fn authority_params(name: &str, mesh: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://{mesh}").try_into()?)];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn decoded(text: &str) -> Result<Vec<u8>> {
    use ::base64::Engine as _;
    Ok(::base64::engine::general_purpose::STANDARD.decode(text)?)
}
