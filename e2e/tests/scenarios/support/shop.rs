//! The service `web` of [`super::web`] with services beside it that its clients have no outbounds to: what routes lead to.

use anyhow::{Context as _, Result, ensure};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use tandem_e2e::proxy::{Inbound, Proxy, ProxySpec};
use tandem_e2e::wait;

use super::PATIENCE;
use super::recorder::{Recorded, Recorder};
use super::web::{By, MESH, Web};
use super::workload;

/// A service, its proxy and its application, which answers with the name of the service.
pub struct Service {
    /// The application.
    pub recorder: Recorder,
    name: &'static str,
    port: u16,
    proxy: Proxy,
}

/// `web` and the others.
pub struct Shop {
    /// The service that requests are made to.
    pub web: Web,
    by: By,
}

/// An answer.
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Content.
    pub body: String,
}

impl Shop {
    /// Starts `web` with its client.
    pub async fn start(by: By) -> Result<Self> {
        Ok(Self { web: Web::start(by).await?, by })
    }

    /// Starts a service beside it.
    pub async fn service(&self, name: &'static str, protocol: &str, tags: &[(&str, &str)]) -> Result<Service> {
        let recorder = Recorder::tcp(name).await?;
        let tags = tags.iter().map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned())).collect();
        let inbound = Inbound { protocol: protocol.to_owned(), tags, ..Inbound::http(name, recorder.port)? };
        let spec = ProxySpec::sidecar(MESH, &format!("{name}-1"), &inbound, &[]);
        let proxy = self.web.stage.zone(0).start_sidecar(spec).await?;
        Ok(Service { recorder, name, port: inbound.port, proxy })
    }

    /// A `backendRef` to a service.
    pub fn backend(&self, service: &Service, weight: u32) -> Value {
        self.backend_to(service.name, service.port, weight)
    }

    /// A `backendRef` to `web` itself.
    pub fn own(&self, weight: u32) -> Value {
        self.backend_to("web", self.web.inbound, weight)
    }

    fn backend_to(&self, name: &str, port: u16, weight: u32) -> Value {
        match self.by {
            By::Tag => json!({"kind": "MeshService", "name": name, "weight": weight}),
            By::Resource => {
                let labels = json!({"kuma.io/display-name": name});
                json!({"kind": "MeshService", "labels": labels, "port": port, "weight": weight})
            }
        }
    }

    /// Creates or replaces the routes of requests to `web`.
    pub async fn routes(&self, rules: Value) -> Result<()> {
        let to = json!([{"targetRef": self.web.service(), "rules": rules}]);
        self.web.put("MeshHTTPRoute", "routes", json!({"to": to})).await
    }

    /// Creates or replaces where connections to `web` go.
    pub async fn split(&self, backends: Value) -> Result<()> {
        let rule = json!({"default": {"backendRefs": backends}});
        let to = json!([{"targetRef": self.web.service(), "rules": [rule]}]);
        self.web.put("MeshTCPRoute", "split", json!({"to": to})).await
    }

    /// The end of the scenario: nobody refused a configuration.
    pub async fn passed(self, services: &[&Service], others: &[&Proxy]) -> Result<()> {
        let proxies: Vec<_> = services.iter().map(|service| &service.proxy).chain(others.iter().copied()).collect();
        self.web.passed(&proxies).await
    }
}

impl Service {
    /// The requests for a path so far.
    pub fn requests(&self, path: &str) -> Vec<Recorded> {
        let of_path = |request: &Recorded| request.target.ends_with(path);
        self.recorder.requests().into_iter().filter(of_path).collect()
    }

    /// The header of a request as the application got it; empty when there is none.
    pub fn header(request: &Recorded, name: &str) -> String {
        request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    }
}

/// One request through an outbound; redirections are not followed.
pub async fn request(outbound: u16, path: &str, headers: &[(&'static str, &'static str)]) -> Result<Answer> {
    // A client of its own, so that no connection of an earlier request is used.
    let http = reqwest::Client::builder().timeout(PATIENCE).redirect(Policy::none()).build()?;
    let headers =
        headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
    let answer = http.get(format!("http://127.0.0.1:{outbound}{path}")).headers(headers).send().await;
    let answer = answer.context("no answer")?;
    Ok(Answer { status: answer.status(), headers: answer.headers().clone(), body: answer.text().await? })
}

/// Waits until the service with a name answers all requests for a path. The threads of an Envoy learn of a change one after the other, and
/// connections come to any of them.
pub async fn answered_by(outbound: u16, path: &str, name: &str) -> Result<()> {
    const IN_A_ROW: usize = 20;
    let all = || async {
        let answered = share(outbound, path, name, IN_A_ROW).await?;
        ensure!(answered == IN_A_ROW, "{answered} of {IN_A_ROW}");
        Ok(Some(()))
    };
    wait::until(&format!("{path} is answered by {name} only"), PATIENCE, all).await
}

/// How many of `total` requests the service with a name answers.
pub async fn share(outbound: u16, path: &str, name: &str, total: usize) -> Result<usize> {
    let mut answered = 0;
    for _ in 0..total {
        let (status, body) = workload::get(outbound, path).await?;
        ensure!(status == StatusCode::OK, "answered with {status}");
        answered += usize::from(body.contains(name));
    }
    Ok(answered)
}

/// Waits until a condition on the requests that a service got holds.
pub async fn until_requested(what: &str, condition: impl Fn() -> bool) -> Result<()> {
    wait::until(what, PATIENCE, || async { Ok(condition().then_some(())) }).await
}
