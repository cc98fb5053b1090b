//! What the handlers work with.

use std::sync::Arc;

use tandem_admission::Admission;
use tandem_auth::access::AccessRules;
use tandem_auth::token::Tokens;
use tandem_kds::status::SyncReports;
use tandem_policy::PolicySettings;
use tandem_runtime::instance::InstanceId;
use tandem_runtime::measure::HttpMetrics;
use tandem_store::SharedStore;

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
    /// Tells how far synchronization is.
    pub sync: SyncReports,
    /// What is told of this control plane.
    pub identity: Identity,
    /// Settings of the server.
    pub settings: ApiSettings,
    /// Measures of requests.
    pub metrics: HttpMetrics,
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
    /// Which kinds of policies have an effect.
    pub policies: PolicySettings,
    /// The web page.
    pub gui: GuiSettings,
}

/// Settings of the web page.
#[derive(Debug, Clone)]
pub struct GuiSettings {
    /// `gui.enabled`.
    pub enabled: bool,
    /// `gui.basePath`: where it is, starts with `/`.
    pub base_path: String,
    /// `gui.rootUrl`: its URL for browsers; empty when that is `base_path` on this server.
    pub root_url: String,
    /// `rootUrl`: URL of the API for browsers; empty when that is [`ApiSettings::base_path`] on this server.
    pub api_url: String,
    /// `multizone.zone.globalAddress`: the global control plane of a federated zone, which has the page; else empty.
    pub global_address: String,
}

impl Default for GuiSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            base_path: "/gui".to_owned(),
            root_url: String::new(),
            api_url: String::new(),
            global_address: String::new(),
        }
    }
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
            policies: PolicySettings::default(),
            gui: GuiSettings::default(),
        }
    }
}

impl ApiSettings {
    /// The base path without a slash at the end: empty, or `/prefix`.
    pub(crate) fn base_path(&self) -> String {
        prefix(&self.base_path)
    }

    /// Where the workloads of a mesh reach a service by host name.
    pub(crate) fn service_address(&self, service: &str) -> String {
        format!("{service}.{}:{}", self.dns_domain, self.service_vip_port)
    }
}

/// A path without a slash at the end: empty, or `/prefix`.
pub(crate) fn prefix(path: &str) -> String {
    let inner = path.trim_matches('/');
    if inner.is_empty() { String::new() } else { format!("/{inner}") }
}

/// What this control plane tells of itself.
#[derive(Debug, Clone)]
pub struct Identity {
    /// This process.
    pub instance: InstanceId,
    /// The effective configuration as compact JSON, secrets masked.
    pub config: Arc<str>,
}
