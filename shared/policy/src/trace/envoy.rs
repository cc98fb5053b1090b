//! Effect of MeshTrace.
//!
//! Source: Kuma `pkg/plugins/policies/meshtrace/plugin`.

use std::sync::Arc;

use custom::custom_tag::{Header, Literal, Type};
use envoy_types::pb::envoy::r#type::tracing::v3 as custom;
use tandem_model::resource::ResourceKey;

use super::schema::{Backend, BackendType, Conf, Tag, Zipkin, ZipkinApi};
use super::tracing::{Provider, Shares, Tracing};
use crate::endpoint::Endpoint;
use crate::policy::Policy;
use crate::schema::IntOrString;
use crate::validation::list;

/// What MeshTraces say of a proxy.
#[derive(Debug, PartialEq)]
pub struct Rules {
    /// All of them together.
    pub conf: Conf,
    /// The policies.
    pub policies: Vec<ResourceKey>,
}

impl Rules {
    pub(crate) fn new(conf: Conf, policies: &[Arc<Policy>]) -> Self {
        Self { conf, policies: policies.iter().map(|policy| policy.resource.key.clone()).collect() }
    }
}

impl Tracing {
    /// What a policy asks for; `None` when it names no backend, so that it traces nothing. `name` makes the name of the cluster from
    /// the type of the backend and how the policy writes where it is.
    ///
    /// # Errors
    /// When the backend makes no sense; then requests are not traced.
    pub fn of_policy(conf: &Conf, name: impl FnOnce(&str, &str) -> String) -> Result<Option<Self>, String> {
        let Some(backend) = list(&conf.backends).first() else { return Ok(None) };
        let (collector, provider, kind, written) = provider(backend)?;
        let share = |share: Option<&IntOrString>| Some(share?.decimal()?.to_f64());
        let sampling = conf.sampling.as_ref();
        let shares = Shares {
            overall: share(sampling.and_then(|sampling| sampling.overall.as_ref())),
            client: share(sampling.and_then(|sampling| sampling.client.as_ref())),
            random: share(sampling.and_then(|sampling| sampling.random.as_ref())),
        };
        let tags = list(&conf.tags).iter().map(tag).collect();
        Ok(Some(Self { cluster: name(kind, written), collector, provider, shares, tags }))
    }
}

/// Where the backend is, what is particular to it, its type, and how the policy writes where it is.
fn provider(backend: &Backend) -> Result<(Endpoint, Provider, &'static str, &str), String> {
    let Backend { kind, zipkin, datadog, open_telemetry } = backend;
    let missing = |name: &str| format!("the backend has no {name}");
    match kind {
        BackendType::Zipkin => {
            let zipkin = zipkin.as_ref().ok_or_else(|| missing("zipkin"))?;
            let (endpoint, url) = Endpoint::of_url(&zipkin.url)?;
            let Zipkin { trace_id_128bit, api_version, shared_span_context, .. } = zipkin;
            let is_protobuf = *api_version == ZipkinApi::HttpProto;
            let provider = Provider::zipkin(&url, *trace_id_128bit, Some(*shared_span_context), is_protobuf);
            Ok((endpoint, provider, "zipkin", &zipkin.url))
        }
        BackendType::Datadog => {
            let datadog = datadog.as_ref().ok_or_else(|| missing("datadog"))?;
            let (endpoint, _) = Endpoint::of_url(&datadog.url)?;
            let provider = Provider::Datadog { split_service: datadog.split_service };
            Ok((endpoint, provider, "datadog", &datadog.url))
        }
        BackendType::OpenTelemetry => {
            let endpoint = &open_telemetry.as_ref().ok_or_else(|| missing("openTelemetry"))?.endpoint;
            Ok((Endpoint::open_telemetry(endpoint)?, Provider::OpenTelemetry, "opentelemetry", endpoint))
        }
    }
}

fn tag(Tag { name, literal, header }: &Tag) -> custom::CustomTag {
    let value = match header {
        Some(header) => Type::RequestHeader(Header {
            name: header.name.clone(),
            default_value: header.default.clone().unwrap_or_default(),
        }),
        None => Type::Literal(Literal { value: literal.clone().unwrap_or_default() }),
    };
    custom::CustomTag { tag: name.clone(), r#type: Some(value) }
}
