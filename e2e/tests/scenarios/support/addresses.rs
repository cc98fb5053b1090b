//! Virtual addresses on loopback, so that proxies can listen on them without redirected traffic.

use anyhow::{Context as _, Result};
use reqwest::StatusCode;
use serde_json::Value;
use tandem_e2e::api::Api;
use tandem_e2e::ports;
use tandem_e2e::proxy::{Proxy, ProxySpec};
use tandem_e2e::wait;

use super::PATIENCE;

/// Feature of a proxy that listens on the virtual addresses of all it may reach.
const BIND_OUTBOUNDS: &str = "feature-bind-outbounds";

/// Feature of a proxy that takes the names which resources have in meshes with MeshServices only.
pub const UNIFIED_NAMING: &str = "feature-unified-resource-naming";

/// Settings of a zone whose virtual addresses are on loopback, and the port of services known by their tags.
pub fn settings() -> Result<(Vec<(&'static str, String)>, u16)> {
    let port = ports::free()?;
    let settings = vec![
        ("KUMA_DNS_SERVER_CIDR", "127.100.0.0/16".to_owned()),
        ("KUMA_DNS_SERVER_SERVICE_VIP_PORT", port.to_string()),
        ("KUMA_IPAM_MESH_SERVICE_CIDR", "127.101.0.0/16".to_owned()),
        ("KUMA_IPAM_MESH_EXTERNAL_SERVICE_CIDR", "127.102.0.0/16".to_owned()),
        ("KUMA_IPAM_MESH_MULTI_ZONE_SERVICE_CIDR", "127.103.0.0/16".to_owned()),
    ];
    Ok((settings, port))
}

/// The same proxy, listening on virtual addresses.
pub fn at_virtual_addresses(mut spec: ProxySpec) -> ProxySpec {
    spec.features.push(BIND_OUTBOUNDS);
    spec
}

/// Address at which a proxy listens for the service `service` known by its tags.
pub async fn of_service(proxy: &Proxy, service: &str, port: u16) -> Result<String> {
    let listens = || async {
        let dump = proxy.admin("config_dump?resource=dynamic_listeners").await?;
        let dump: Value = serde_json::from_str(&dump)?;
        let listeners = dump["configs"].as_array().cloned().unwrap_or_default();
        let cluster = format!("\"cluster\":\"{service}\"");
        let leads = |listener: &&Value| {
            listener["name"].as_str().is_some_and(|name| name.ends_with(&format!(":{port}")))
                && listener["active_state"].to_string().contains(&cluster)
        };
        let listener = listeners.iter().find(leads).map(|listener| listener["name"].to_string());
        Ok(listener.and_then(|name| name.trim_matches('"').strip_prefix("outbound:").map(str::to_owned)))
    };
    wait::until(&format!("{} listens for {service}", proxy.spec.name), PATIENCE, listens).await
}

/// Virtual address of a resource, once it has one.
pub async fn of_resource(api: &Api, path: &str) -> Result<String> {
    let complete = || async {
        let resource = api.get(path).await?;
        let vip = resource["status"]["vips"][0]["ip"].as_str().map(str::to_owned);
        Ok(Some(vip.with_context(|| format!("no address: {resource}"))?))
    };
    wait::until(&format!("{path} has an address"), PATIENCE, complete).await
}

/// One request to `address:port`, over a connection of its own; `None` when nobody listens there.
pub async fn ask(address: &str) -> Result<Option<StatusCode>> {
    let http = reqwest::Client::builder().timeout(std::time::Duration::from_secs(10)).build()?;
    match http.get(format!("http://{address}/")).send().await {
        Ok(response) => Ok(Some(response.status())),
        Err(error) if error.is_connect() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Waits until requests to `address:port` are answered, or until nobody listens there.
pub async fn reaches(address: &str, expected: bool) -> Result<()> {
    let condition = || async {
        let found = ask(address).await?;
        let as_expected = if expected { found == Some(StatusCode::OK) } else { found.is_none() };
        anyhow::ensure!(as_expected, "{found:?}");
        Ok(Some(()))
    };
    let what = if expected { "answers" } else { "answers nobody" };
    wait::until(&format!("{address} {what}"), PATIENCE, condition).await
}
