//! Scenarios in a network of their own, where connections are redirected.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Stdio, exit};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tandem_e2e::echo::{Echo, EchoServer};
use tandem_e2e::namespace::{FORBIDDEN, NODE, Network, NetworkError, Pod, Redirection, workload};
use tandem_e2e::proxy::{Proxy, ProxySpec};
use tandem_e2e::wait;
use tandem_e2e::world::{Programs, Zone};
use tokio::process::Command;

use super::PATIENCE;
use super::stage::programs;

/// Variable with the paths of the programs for a process that runs one scenario in a network of its own.
const HANDED_OVER: &str = "TANDEM_E2E_PROGRAMS";

/// The programs, if this process was given them by the one that found them.
pub fn programs_handed_over() -> Result<Option<Programs>> {
    let Some(paths) = std::env::var_os(HANDED_OVER) else { return Ok(None) };
    let mut paths = std::env::split_paths(&paths);
    let mut next = || paths.next().with_context(|| format!("{HANDED_OVER} names too few programs"));
    Ok(Some(Programs { envoy: next()?, global: next()?, zone: next()? }))
}

/// Runs a scenario in a network of its own: this test program runs itself again in new namespaces, for the one test `name`
/// (as `--exact` takes it), which is the caller. Where the system forbids that, says so and counts the scenario as skipped.
pub async fn in_network<F>(name: &str, scenario: impl FnOnce(Network) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    if std::env::var_os(HANDED_OVER).is_some() {
        return scenario(allowed(Network::start().await)?).await;
    }
    let Programs { envoy, global, zone } = programs().await?;
    let output = Command::new(env!("CARGO_BIN_EXE_in-namespace"))
        .arg(std::env::current_exe()?)
        .args([name, "--exact", "--nocapture"])
        .env(HANDED_OVER, std::env::join_paths([envoy, global, zone])?)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(FORBIDDEN.into()) {
        println!("skipped: the system allows no networks of one's own: {}", stderr.trim());
        return Ok(());
    }
    ensure!(
        output.status.success(),
        "{name} in a network of its own ended with {}:\n{stdout}\n{stderr}",
        output.status
    );
    ensure!(stdout.contains("1 passed"), "there is no test {name}:\n{stdout}");
    Ok(())
}

/// Ends this process with [`FORBIDDEN`] when something is forbidden.
fn allowed<T>(result: Result<T, NetworkError>) -> Result<T> {
    if let Err(error) = &result
        && error.is_forbidden()
    {
        eprintln!("{error}");
        exit(FORBIDDEN.into());
    }
    Ok(result?)
}

/// A host with a workload, which echoes, and its proxy.
pub struct Host {
    /// The host.
    pub pod: Pod,
    proxy: Arc<Proxy>,
    _workload: EchoServer,
}

/// Port of every workload; it is that of the inbound as well, which redirection makes possible.
pub const PORT: u16 = 8080;

/// Adds a host to a network.
pub async fn pod(network: &mut Network, redirection: Redirection) -> Result<Pod> {
    allowed(network.pod(Some(redirection)).await)
}

/// The sidecar of a pod: one HTTP inbound of the service `name` at [`PORT`], with the usual redirection, and with names
/// resolved by Envoy.
pub fn sidecar(mesh: &str, name: &str, address: IpAddr) -> ProxySpec {
    let tags = json!({"kuma.io/service": name, "kuma.io/protocol": "http"});
    let resource = json!({
        "type": "Dataplane", "mesh": mesh, "name": name,
        "networking": {
            "address": address,
            "inbound": [{"port": PORT, "tags": tags}],
            "transparentProxying": {"redirectPortInbound": 15006, "redirectPortOutbound": 15001}
        }
    });
    ProxySpec { request: json!({"dnsPort": 15053}), ..ProxySpec::new("dataplane", mesh, name, resource) }
}

impl Host {
    /// Starts workload and proxy on a host.
    pub async fn start(pod: Pod, zone: &Zone, spec: ProxySpec) -> Result<Self> {
        let workload = serve(&pod, &spec.name, PORT).await?;
        let proxy = zone.start_sidecar_in(&pod, spec).await?;
        Ok(Self { pod, proxy: Arc::new(proxy), _workload: workload })
    }

    /// What the workload is told when it asks an address: status, and echo's answer if it was echo that answered.
    pub async fn get(&self, to: SocketAddr) -> Result<(StatusCode, Option<Echo>)> {
        self.pod.run(async move { workload::get(to, "/hello").await }).await
    }

    /// Waits until the workload is answered by the echo server `name`.
    pub async fn answered(&self, to: SocketAddr, name: &str) -> Result<Echo> {
        let answered = || async {
            let (status, echo) = self.get(to).await?;
            let echo = echo.with_context(|| format!("answered with {status}"))?;
            ensure!(echo.server == name, "{} answered", echo.server);
            Ok(Some(echo))
        };
        wait::until(&format!("{} is answered by {name} at {to}", self.proxy.spec.name), PATIENCE, answered).await
    }

    /// Waits until the workload gets no answer.
    pub async fn unanswered(&self, to: SocketAddr) -> Result<()> {
        let unanswered = || async { Ok(self.get(to).await.is_err().then_some(())) };
        wait::until(&format!("{} is not answered at {to}", self.proxy.spec.name), PATIENCE, unanswered).await
    }

    /// The addresses of a name, as the workload finds them, once there are any.
    pub async fn resolved(&self, name: &str) -> Result<Vec<IpAddr>> {
        let resolved = || async {
            let name = name.to_owned();
            let server = (NODE, 53).into();
            let found = self.pod.run(async move { workload::resolve(server, &name).await }).await?;
            Ok((!found.is_empty()).then_some(found))
        };
        wait::until(&format!("{} resolves {name}", self.proxy.spec.name), PATIENCE, resolved).await
    }

    /// Value of one of Envoy's counters or gauges.
    pub async fn stat(&self, name: &str) -> Result<u64> {
        let (proxy, name) = (self.proxy.clone(), name.to_owned());
        self.pod.run(async move { proxy.stat(&name).await }).await
    }

    /// How many configurations Envoy has refused.
    pub async fn rejected(&self) -> Result<u64> {
        let proxy = self.proxy.clone();
        self.pod.run(async move { proxy.stat_sum(|name| name.ends_with(".update_rejected")).await }).await
    }

    /// The socket on which a listener of Envoy listens, once it does.
    pub async fn socket(&self, listener: &str) -> Result<PathBuf> {
        let listens = || async {
            let (proxy, listener) = (self.proxy.clone(), listener.to_owned());
            let all = self.pod.run(async move { proxy.admin("listeners?format=json").await }).await?;
            let all: Value = serde_json::from_str(&all)?;
            let mut all = all["listener_statuses"].as_array().into_iter().flatten();
            let found = all.find(|status| status["name"] == *listener);
            let path = found.and_then(|status| status["local_address"]["pipe"]["path"].as_str());
            Ok(path.map(PathBuf::from))
        };
        wait::until(&format!("Envoy listens for {listener}"), PATIENCE, listens).await
    }
}

/// Starts an echo server on all addresses of a host.
pub async fn serve(pod: &Pod, name: &str, port: u16) -> Result<EchoServer> {
    let name = name.to_owned();
    let any = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
    pod.run(async move { EchoServer::start_at(&name, any).await }).await
}

/// Asks for a path over a Unix socket, with a header if any: status, the header `etag`, body.
pub async fn get_over_socket(
    socket: PathBuf,
    path: &str,
    header: Option<(&str, &str)>,
) -> Result<(StatusCode, Option<String>, String)> {
    use http_body_util::{BodyExt as _, Empty};
    let stream = tokio::net::UnixStream::connect(&socket).await.with_context(|| socket.display().to_string())?;
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    let connection = tokio::spawn(connection);
    let mut request = hyper::Request::get(path).header("host", "localhost");
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let response = sender.send_request(request.body(Empty::<hyper::body::Bytes>::new())?).await?;
    let status = response.status();
    let etag = response.headers().get("etag").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = response.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok((status, etag, String::from_utf8_lossy(&body).into_owned()))
}
