//! A client of the HTTP API, for commands.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use reqwest::{Method, StatusCode, header};
use tandem_runtime::cli::Configuration;
use tandem_runtime::config::{Config, Role};

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where the HTTP API is, and how to be let in.
#[derive(Debug, Args)]
pub struct ApiAccess {
    /// URL of the HTTP API [default: that of the control plane on this machine, by its configuration].
    #[arg(long)]
    pub url: Option<String>,
    /// File with the token of a user; the HTTP API needs none from its own machine, unless it is configured to.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// File with the certificate of the authority that signed that of the HTTP API.
    #[arg(long, value_name = "FILE")]
    pub ca_cert: Option<PathBuf>,
    /// The configuration, for the URL.
    #[command(flatten)]
    pub configuration: Configuration,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Body.
    pub text: String,
}

impl Answer {
    /// What is wrong, if the body is a problem; else the body.
    pub fn detail(&self) -> String {
        let problem: serde_json::Value = serde_json::from_str(&self.text).unwrap_or_default();
        let Some(detail) = problem["detail"].as_str() else { return self.text.clone() };
        let parameters = problem["invalid_parameters"].as_array().into_iter().flatten();
        let violations = parameters.map(|parameter| {
            let text = |member: &str| parameter[member].as_str().unwrap_or_default();
            format!("\n  {}: {}", text("field"), text("reason"))
        });
        format!("{detail}{}", violations.collect::<String>())
    }

    /// Whether the control plane itself says what is wrong.
    pub fn is_problem(&self) -> bool {
        serde_json::from_str::<serde_json::Value>(&self.text).is_ok_and(|problem| problem.is_object())
    }
}

impl ApiAccess {
    /// URL of the API of a control plane, without slash at its end.
    ///
    /// # Errors
    /// When the configuration is not valid, or enables no API.
    pub fn base(&self, role: Role) -> Result<String> {
        match &self.url {
            Some(url) => Ok(url.trim_end_matches('/').to_owned()),
            None => local_url(&self.configuration.load(role)?.config),
        }
    }

    /// Sends a request; the body is YAML.
    ///
    /// # Errors
    /// When nobody answers, or a file cannot be read. An answer of any status is none.
    pub async fn send(&self, method: Method, url: &str, body: Option<Vec<u8>>) -> Result<Answer> {
        // Fails only when a provider is installed already, which then is used.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut client = reqwest::Client::builder().timeout(TIMEOUT);
        if let Some(file) = &self.ca_cert {
            let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            let certificate = reqwest::Certificate::from_pem(&pem);
            client = client
                .add_root_certificate(certificate.with_context(|| format!("{} is no certificate", file.display()))?);
        }
        let mut request = client.build()?.request(method, url);
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/yaml").body(body);
        }
        if let Some(file) = &self.token_file {
            let token = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            request = request.bearer_auth(token.trim());
        }
        let answer = request.send().await.with_context(|| {
            format!("no control plane answers at {url}; start it, or name another address with --url")
        })?;
        let status = answer.status();
        let text = answer.text().await.with_context(|| format!("{url} broke off its answer"))?;
        Ok(Answer { status, text })
    }
}

/// Where the HTTP API of a control plane with this configuration is, seen from its own machine.
fn local_url(config: &Config) -> Result<String> {
    let api = &config.api_server;
    let (scheme, interface, port) = match (api.http.enabled, api.https.enabled) {
        (true, _) => ("http", api.http.interface, api.http.port),
        (false, true) => ("https", api.https.interface, api.https.port),
        (false, false) => {
            bail!("the configuration enables no HTTP API (apiServer.http.enabled, apiServer.https.enabled)")
        }
    };
    let host = if interface.is_unspecified() { "localhost".to_owned() } else { interface.to_string() };
    let host = if interface.is_ipv6() && !interface.is_unspecified() { format!("[{host}]") } else { host };
    Ok(format!("{scheme}://{host}:{port}{}", api.base_path.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_follows_from_the_configuration() {
        let url = |variables: &[(&str, &str)]| {
            let environment = [("HOME", "/h")].iter().chain(variables);
            let environment = environment.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let loaded = tandem_runtime::config::load(Role::Global, None, environment, &[]).expect("valid");
            local_url(&loaded.config).expect("an address")
        };
        assert_eq!(url(&[]), "http://localhost:5681");
        let elsewhere = [
            ("KUMA_API_SERVER_HTTP_PORT", "1"),
            ("KUMA_API_SERVER_HTTP_INTERFACE", "127.0.0.2"),
            ("KUMA_API_SERVER_BASE_PATH", "/mesh"),
        ];
        assert_eq!(url(&elsewhere), "http://127.0.0.2:1/mesh");
        assert_eq!(url(&[("KUMA_API_SERVER_HTTP_ENABLED", "false")]), "https://localhost:5682");
    }

    #[test]
    fn a_problem_is_told_with_its_violations() {
        let answer = |text: &str| Answer { status: StatusCode::BAD_REQUEST, text: text.to_owned() };
        let problem =
            r#"{"detail": "Resource is not valid", "invalid_parameters": [{"field": "spec.to", "reason": "no"}]}"#;
        assert_eq!(answer(problem).detail(), "Resource is not valid\n  spec.to: no");
        assert_eq!(answer("404: Page Not Found").detail(), "404: Page Not Found");
    }
}
