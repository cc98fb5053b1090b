//! The HTTP handler of `/bootstrap`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, StatusCode, header};
use serde_json::json;
use tandem_model::name::{validate_mesh_name, validate_name};
use tandem_model::{Kind, Path, Resource, ResourceKey, Violations};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_runtime::http::is_stream;
use tandem_store::SharedStore;
use tandem_xds::ProxyType;
use tracing::{debug, error};

use super::envoy::{BootstrapInput, proxy_type_name};
use super::limits::{BootstrapLimits, NotRead, ReadBody};
use super::request::BootstrapRequest;
use super::server_certificate::{ServerCertificate, check_is_ca};
use crate::dp_server;
use crate::proxy::resource;
use crate::refusals::{Door, Reason, Refusals};

/// Settings of the endpoint.
#[derive(Debug, Clone)]
pub struct BootstrapSettings {
    /// Dataplanes need a token.
    pub dataplane_token_required: bool,
    /// Zone proxies need a token.
    pub zone_token_required: bool,
    /// Give Envoy the path of the token file.
    pub reloadable_tokens: bool,
    /// Host proxies are told to reach the control plane at; empty: the one they used for this request.
    pub xds_host: String,
    /// Port proxies are told to reach the control plane at.
    pub xds_port: u16,
    /// Time to connect, as protobuf JSON.
    pub xds_connect_timeout: String,
    /// Envoy's admin address.
    pub admin_address: String,
    /// Envoy's admin port where the proxy's resource names none.
    pub admin_port: u16,
    /// File that Envoy's admin interface logs to.
    pub admin_access_log_path: String,
    /// Collect the results of probes.
    pub hds: bool,
    /// Limit of downstream connections of builtin gateways.
    pub gateway_max_connections: u32,
    /// Template of a Corefile handed to the proxies, if configured.
    pub corefile_template: Option<Vec<u8>>,
}

/// What the endpoint works with.
#[derive(Clone)]
pub struct BootstrapContext {
    /// Proxies that are registered already, and meshes.
    pub store: SharedStore,
    /// Settings.
    pub settings: Arc<BootstrapSettings>,
    /// Certificate of the dataplane server.
    pub certificate: Arc<ServerCertificate>,
    /// How much is done at a time.
    pub limits: Arc<BootstrapLimits>,
    /// Counters of who is turned away.
    pub refusals: Refusals,
}

/// Seconds after which kuma-dp tries again by itself.
const RETRY_AFTER: &str = "3";

/// Why there is no bootstrap configuration.
#[derive(Debug, thiserror::Error)]
enum BootstrapError {
    /// The request is not looked at.
    #[error(transparent)]
    NotRead(#[from] NotRead),
    /// The body is not JSON of the expected shape.
    #[error("request is not valid JSON: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The proxy type is unknown.
    #[error("unknown proxy type {0:?}")]
    UnknownProxyType(String),
    /// A token is needed.
    #[error(
        "Dataplane Token is required. Generate token using 'kumactl generate dataplane-token > /path/file' and provide it via \
         --dataplane-token-file=/path/file argument to Kuma DP"
    )]
    TokenRequired,
    /// The proxy's resource is not valid.
    #[error("{0}")]
    Invalid(Violations),
    /// The host the proxy used is not in the certificate.
    #[error(
        "A data plane proxy is trying to connect to the control plane using \"{host}\" address, but the certificate in the \
         control plane has the following SANs {}. Either change the --cp-address in kuma-dp to one of those or execute \
         the following steps:\n1) Generate a new certificate with the address you are trying to use. It is recommended to use \
         trusted Certificate Authority, but you can also generate self-signed certificates using 'kumactl generate \
         tls-certificate --type=server --hostname={host}'\n2) Set KUMA_GENERAL_TLS_CERT_FILE and KUMA_GENERAL_TLS_KEY_FILE or \
         the equivalent in Kuma CP config file to the new certificate.\n3) Restart the control plane to read the new \
         certificate and start kuma-dp.",
        list(names)
    )]
    HostNotInCertificate {
        /// Host of the request.
        host: String,
        /// Names of the certificate.
        names: Vec<String>,
    },
    /// The trust anchor is none.
    #[error("{0}")]
    Ca(#[from] super::CaError),
    /// The proxy is not known.
    #[error("{0} not found")]
    NotFound(ResourceKey),
    /// The resource is not of the type of the proxy.
    #[error("{0}")]
    WrongResource(String),
    /// The store failed.
    #[error("{0}")]
    Internal(String),
}

impl From<&BootstrapError> for Reason {
    fn from(error: &BootstrapError) -> Self {
        match error {
            BootstrapError::NotRead(NotRead::TooLarge(_)) => Self::MessageTooLarge,
            BootstrapError::NotRead(NotRead::TooSlow) => Self::MessageTimeout,
            BootstrapError::NotRead(NotRead::Broken(_)) | BootstrapError::Malformed(_) => Self::MessageMalformed,
            BootstrapError::NotRead(NotRead::Overloaded) => Self::Overloaded,
            BootstrapError::UnknownProxyType(_) => Self::NodeInvalid,
            BootstrapError::TokenRequired => Self::TokenMissing,
            BootstrapError::Invalid(_) => Self::ResourceInvalid,
            BootstrapError::WrongResource(_) => Self::ResourceMismatch,
            BootstrapError::HostNotInCertificate { .. } => Self::HostMismatch,
            BootstrapError::Ca(_) => Self::AuthorityInvalid,
            BootstrapError::NotFound(_) => Self::ResourceNotFound,
            BootstrapError::Internal(_) => Self::Internal,
        }
    }
}

impl IntoResponse for BootstrapError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::NotRead(NotRead::TooLarge(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotRead(NotRead::TooSlow) => StatusCode::REQUEST_TIMEOUT,
            Self::NotRead(NotRead::Broken(_)) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotRead(NotRead::Overloaded) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Malformed(_) | Self::HostNotInCertificate { .. } | Self::Ca(_) => StatusCode::BAD_REQUEST,
            Self::TokenRequired | Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::UnknownProxyType(_) | Self::WrongResource(_) | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            error!(error = %self, "cannot answer a bootstrap request");
        } else {
            debug!(error = %self, "bootstrap request refused");
        }
        match self {
            // kuma-dp retries a 404 only if its body is empty.
            Self::NotRead(NotRead::Broken(_))
            | Self::Malformed(_)
            | Self::NotFound(_)
            | Self::UnknownProxyType(_)
            | Self::WrongResource(_)
            | Self::Internal(_) => status.into_response(),
            Self::NotRead(NotRead::Overloaded) => {
                (status, [(header::RETRY_AFTER, RETRY_AFTER)], self.to_string()).into_response()
            }
            told => (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], told.to_string()).into_response(),
        }
    }
}

/// A response that keeps the share of its request in the memory until it is sent.
struct Accounted {
    text: String,
    _request: ReadBody,
}

impl AsRef<[u8]> for Accounted {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// Texts in the form that Kuma's messages list them in.
fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

/// The route of the endpoint.
pub fn router(context: BootstrapContext) -> Router {
    Router::new().route("/bootstrap", any(bootstrap)).with_state(context)
}

async fn bootstrap(State(context): State<BootstrapContext>, request: Request) -> Response {
    // What says that it is a call of gRPC is one to a method that does not exist.
    if is_stream(request.headers()) {
        return dp_server::unknown_path(&request, &context.refusals);
    }
    let (head, body) = request.into_parts();
    respond(&context, &head.headers, &head.uri, body).await.unwrap_or_else(|error| {
        context.refusals.count(Door::Bootstrap, Reason::from(&error));
        error.into_response()
    })
}

async fn respond(
    context: &BootstrapContext,
    headers: &HeaderMap,
    uri: &http::Uri,
    body: Body,
) -> Result<Response, BootstrapError> {
    let body = context.limits.read(body).await?;
    let turn = context.limits.turn().await?;
    let request: BootstrapRequest = serde_json::from_slice(&body.bytes)?;
    let authority =
        headers.get(header::HOST).and_then(|host| host.to_str().ok()).or(uri.authority().map(|a| a.as_str()));
    let answer = answer(context, &request, &host_of(authority.unwrap_or_default())).await?;
    let yaml =
        serde_norway::to_string(&sorted(answer.bootstrap)).map_err(|e| BootstrapError::Internal(e.to_string()))?;
    if headers.get(header::ACCEPT).is_none_or(|accept| accept != "application/json") {
        let yaml = Bytes::from_owner(Accounted { text: yaml, _request: body });
        return Ok(([(header::CONTENT_TYPE, "text/x-yaml")], yaml).into_response());
    }
    let corefile = context.settings.corefile_template.as_ref().map(|template| BASE64.encode(template));
    let text = json!({
        "bootstrap": BASE64.encode(yaml),
        "kumaSidecarConfiguration": {
            "networking": {"corefileTemplate": corefile, "address": answer.address},
            "metrics": {"aggregate": answer.aggregates}
        }
    });
    drop(turn);
    let answered = Bytes::from_owner(Accounted { text: text.to_string(), _request: body });
    Ok(([(header::CONTENT_TYPE, "application/json")], answered).into_response())
}

/// The host of an authority: without port, and without brackets if there is a port.
fn host_of(authority: &str) -> String {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !port.is_empty() => {
            host.trim_start_matches('[').trim_end_matches(']').to_owned()
        }
        _ => authority.to_owned(),
    }
}

/// The same value with the members of all objects in alphabetical order.
fn sorted(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(members) => {
            let ordered: BTreeMap<_, _> = members.into_iter().map(|(name, member)| (name, sorted(member))).collect();
            ordered.into_iter().collect()
        }
        serde_json::Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

/// A successful answer.
struct Answer {
    bootstrap: serde_json::Value,
    /// Address of the Dataplane; empty for zone proxies.
    address: String,
    /// Application metrics that kuma-dp merges into Envoy's.
    aggregates: Vec<serde_json::Value>,
}

/// What the resource of a proxy contributes.
struct ProxyFacts {
    cluster: String,
    admin_port: u32,
    address: String,
    unified_naming: bool,
    is_builtin_gateway: bool,
    aggregates: Vec<serde_json::Value>,
}

async fn answer(context: &BootstrapContext, request: &BootstrapRequest, host: &str) -> Result<Answer, BootstrapError> {
    let settings = &context.settings;
    let proxy_type = match request.proxy_type.as_str() {
        "" => ProxyType::Dataplane,
        name => ProxyType::parse(name).ok_or_else(|| BootstrapError::UnknownProxyType(name.to_owned()))?,
    };
    let token_required = match proxy_type {
        ProxyType::Dataplane => settings.dataplane_token_required,
        ProxyType::Ingress | ProxyType::Egress => settings.zone_token_required,
    };
    if token_required && !request.names_token() {
        return Err(BootstrapError::TokenRequired);
    }
    if settings.xds_host.is_empty() && !context.certificate.is_for(host) {
        let names = context.certificate.names.clone();
        return Err(BootstrapError::HostNotInCertificate { host: host.to_owned(), names });
    }
    // kuma-dp checks this as well, before it asks.
    let mut violations = validate_name(&request.name);
    if proxy_type == ProxyType::Dataplane {
        violations.extend(validate_mesh_name(&request.mesh));
    }
    violations.into_result().map_err(BootstrapError::Invalid)?;
    let facts = facts(context, request, proxy_type).await?;
    let ca_pem =
        if request.ca_cert.is_empty() { context.certificate.pem.clone() } else { request.ca_cert.clone().into_bytes() };
    check_is_ca(&ca_pem)?;
    let xds_host = if settings.xds_host.is_empty() { host.to_owned() } else { settings.xds_host.clone() };
    let input = BootstrapInput {
        request,
        proxy_type,
        cluster: facts.cluster,
        ipv4_only: context.limits.has_only_ipv4(&xds_host).await,
        xds_host,
        xds_port: settings.xds_port,
        admin_address: settings.admin_address.clone(),
        admin_port: u16::try_from(facts.admin_port).ok().filter(|port| *port != 0).unwrap_or(settings.admin_port),
        admin_access_log_path: settings.admin_access_log_path.clone(),
        xds_connect_timeout: settings.xds_connect_timeout.clone(),
        ca_pem,
        unified_naming: facts.unified_naming,
        reloadable_token: settings.reloadable_tokens,
        hds: settings.hds,
        gateway_max_connections: facts.is_builtin_gateway.then_some(settings.gateway_max_connections),
    };
    Ok(Answer { bootstrap: input.build(), address: facts.address, aggregates: facts.aggregates })
}

async fn facts(
    context: &BootstrapContext,
    request: &BootstrapRequest,
    proxy_type: ProxyType,
) -> Result<ProxyFacts, BootstrapError> {
    let resource = proxy_resource(context, request, proxy_type).await?;
    let decode_error = |error: tandem_model::DecodeError| BootstrapError::Internal(error.to_string());
    let zone_proxy = |cluster: &str, admin_port| ProxyFacts {
        cluster: cluster.to_owned(),
        admin_port,
        address: String::new(),
        unified_naming: false,
        is_builtin_gateway: false,
        aggregates: Vec::new(),
    };
    match proxy_type {
        ProxyType::Ingress => {
            let ingress: pb::ZoneIngress = resource.proto().map_err(decode_error)?;
            let admin = ingress.networking.and_then(|n| n.admin).map_or(0, |admin| admin.port);
            Ok(zone_proxy("ingress", admin))
        }
        ProxyType::Egress => {
            let egress: pb::ZoneEgress = resource.proto().map_err(decode_error)?;
            let admin = egress.networking.and_then(|n| n.admin).map_or(0, |admin| admin.port);
            Ok(zone_proxy("egress", admin))
        }
        ProxyType::Dataplane => {
            let dataplane: pb::Dataplane = resource.proto().map_err(decode_error)?;
            let mesh_key = ResourceKey::global(Kind::Mesh, resource.key.mesh.clone());
            let mesh = context.store.get(&mesh_key).await.map_err(|e| BootstrapError::Internal(e.to_string()))?;
            let mesh: pb::Mesh = match mesh {
                Some(mesh) => mesh.proto().map_err(decode_error)?,
                None => return Err(BootstrapError::NotFound(mesh_key)),
            };
            Ok(dataplane_facts(request, &dataplane, &mesh))
        }
    }
}

fn dataplane_facts(request: &BootstrapRequest, dataplane: &pb::Dataplane, mesh: &pb::Mesh) -> ProxyFacts {
    use pb::dataplane::networking::gateway::GatewayType;
    use pb::mesh::mesh_services::Mode;
    let networking = dataplane.networking.clone().unwrap_or_default();
    let inbound_tags = networking.inbound.iter().map(|inbound| &inbound.tags);
    let gateway_tags = networking.gateway.iter().map(|gateway| &gateway.tags);
    let service = inbound_tags.chain(gateway_tags).filter_map(|tags| tags.get(tandem_model::label::SERVICE_TAG)).min();
    let exclusive = mesh.mesh_services.as_ref().is_some_and(|services| services.mode() == Mode::Exclusive);
    ProxyFacts {
        cluster: service.cloned().unwrap_or_else(|| "unknown".to_owned()),
        admin_port: networking.admin.map_or(0, |admin| admin.port),
        unified_naming: exclusive && request.has_feature("feature-unified-resource-naming"),
        is_builtin_gateway: networking.gateway.as_ref().is_some_and(|gateway| gateway.r#type() == GatewayType::Builtin),
        aggregates: resource::metrics_aggregates(mesh, dataplane, &networking.address),
        address: networking.address,
    }
}

/// The resource the proxy brings, else the stored one.
async fn proxy_resource(
    context: &BootstrapContext,
    request: &BootstrapRequest,
    proxy_type: ProxyType,
) -> Result<Arc<Resource>, BootstrapError> {
    let kind = proxy_type.kind();
    if request.dataplane_resource.is_empty() {
        let mesh = if kind.is_mesh_scoped() { request.mesh.clone() } else { String::new() };
        let key = ResourceKey::new(kind, mesh, request.name.clone());
        let stored = context.store.get(&key).await.map_err(|e| BootstrapError::Internal(e.to_string()))?;
        return stored.ok_or(BootstrapError::NotFound(key));
    }
    let resource = resource::parse(&request.dataplane_resource)
        .map_err(|error| BootstrapError::Invalid(Violations::one(&Path::root(), error.to_string())))?;
    if resource.kind() != kind {
        return Err(BootstrapError::WrongResource(format!(
            "a proxy of type {} brought a resource of type {}",
            proxy_type_name(proxy_type),
            resource.kind()
        )));
    }
    let mut violations = tandem_model::validate(&resource);
    if kind == Kind::Dataplane {
        check_dataplane(context, request, &resource, &mut violations).await?;
    }
    violations.into_result().map_err(BootstrapError::Invalid)?;
    Ok(Arc::new(resource))
}

async fn check_dataplane(
    context: &BootstrapContext,
    request: &BootstrapRequest,
    resource: &Resource,
    violations: &mut Violations,
) -> Result<(), BootstrapError> {
    let redirects = request.dataplane_config.as_ref().is_some_and(|config| {
        ["inbound", "outbound"].iter().any(|way| config["redirect"][*way]["enabled"] == json!(true))
    });
    if redirects {
        let dataplane: pb::Dataplane = resource.proto().map_err(|e| BootstrapError::Internal(e.to_string()))?;
        if dataplane.networking.is_some_and(|networking| !networking.outbound.is_empty()) {
            violations.add(&Path::new("outbound"), "should be empty since dataplane is in Transparent Proxying mode");
        }
    }
    let mesh = ResourceKey::global(Kind::Mesh, resource.key.mesh.clone());
    let exists = context.store.get(&mesh).await.map_err(|e| BootstrapError::Internal(e.to_string()))?.is_some();
    if !exists {
        violations.add(&Path::new("mesh"), format!("mesh \"{}\" does not exist", mesh.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_stands_before_the_port() {
        assert_eq!(host_of("localhost:5678"), "localhost");
        assert_eq!(host_of("[::1]:5678"), "::1");
        assert_eq!(host_of("[::1]"), "[::1]");
        assert_eq!(host_of("cp.example"), "cp.example");
        assert_eq!(host_of(""), "");
    }
}
