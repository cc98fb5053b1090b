//! What the handlers work with.

use std::sync::Arc;

use tandem_admission::Admission;
use tandem_auth::access::AccessRules;
use tandem_auth::token::Tokens;
use tandem_runtime::instance::InstanceId;
use tandem_store::SharedStore;

use crate::measure::ApiMetrics;
use crate::proxies::Proxies;

/// All that the API works with.
pub struct ApiContext {
    /// What is read.
    pub store: SharedStore,
    /// The gate for what is written.
    pub admission: Arc<Admission>,
    /// Issues tokens and checks those of users.
    pub tokens: Arc<Tokens>,
    /// Who may do what.
    pub access: AccessRules,
    /// Answers about proxies.
    pub proxies: Proxies,
    /// What is told of this control plane.
    pub identity: Identity,
    /// Settings of the server.
    pub settings: ApiSettings,
    /// Measures of requests.
    pub metrics: ApiMetrics,
}

/// The context, shared by all requests.
pub type SharedContext = Arc<ApiContext>;

/// Largest request body by default: 4 MiB, well below the 10 MiB that a message between control planes may have.
pub const DEFAULT_BODY_LIMIT: usize = 4 << 20;

/// Settings of the API server. Configuration keys are those of Kuma, under `apiServer`.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// `basePath`: prefix of all routes; `/` for none.
    pub base_path: String,
    /// `readOnly`: reported by the catalogue of types; admission refuses the writes.
    pub read_only: bool,
    /// `corsAllowedDomains`.
    pub cors_allowed_domains: Vec<String>,
    /// Largest request body in bytes.
    pub body_limit: usize,
    /// `dnsServer.domain`: ending of the host names of services.
    pub dns_domain: String,
    /// `dnsServer.serviceVipPort`: port under which services are reached by host name.
    pub service_vip_port: u16,
    /// `authn.localhostIsAdmin`.
    pub localhost_is_admin: bool,
    /// `authn.type`.
    pub authentication: Authentication,
}

/// How clients that are not on this host prove who they are (`apiServer.authn.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// `tokens`: a user token in the header `Authorization: Bearer`.
    Tokens,
    /// `adminClientCerts`: whoever presents a valid client certificate is the administrator.
    AdminClientCerts,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            base_path: "/".to_owned(),
            read_only: false,
            cors_allowed_domains: Vec::new(),
            body_limit: DEFAULT_BODY_LIMIT,
            dns_domain: "mesh".to_owned(),
            service_vip_port: 80,
            localhost_is_admin: true,
            authentication: Authentication::Tokens,
        }
    }
}

impl ApiSettings {
    /// The base path without a slash at the end: empty, or `/prefix`.
    pub(crate) fn base_path(&self) -> String {
        let inner = self.base_path.trim_matches('/');
        if inner.is_empty() { String::new() } else { format!("/{inner}") }
    }

    /// Where the workloads of a mesh reach a service by host name.
    pub(crate) fn service_address(&self, service: &str) -> String {
        format!("{service}.{}:{}", self.dns_domain, self.service_vip_port)
    }
}

/// What this control plane tells of itself.
#[derive(Debug, Clone)]
pub struct Identity {
    /// This process.
    pub instance: InstanceId,
    /// The effective configuration as compact JSON, secrets masked.
    pub config: Arc<str>,
}
