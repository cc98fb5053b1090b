//! Questions of global to the Envoys of a zone: what is asked and answered, and its three forms on the wire.
//!
//! Source of the format: Kuma `api/mesh/v1alpha1/kds.proto`, `pkg/kds/envoyadmin`, `pkg/kds/service`.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tandem_model::{AdminOperation, Kind, ResourceKey};
use tandem_proto::mesh::v1alpha1::{
    AdminOutputFormat, ClustersRequest, ClustersResponse, StatsRequest, StatsResponse, XdsConfigRequest,
    XdsConfigResponse, clusters_response, stats_response, xds_config_response,
};

use crate::insight::StreamKind;

/// Longest time that global waits for an answer.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The stream that carries questions of this kind.
pub(crate) fn stream_of(operation: AdminOperation) -> StreamKind {
    match operation {
        AdminOperation::ConfigDump { .. } => StreamKind::ConfigDump,
        AdminOperation::Stats { .. } => StreamKind::Stats,
        AdminOperation::Clusters { .. } => StreamKind::Clusters,
    }
}

/// A question to the Envoy of one proxy of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminRequest {
    /// The Dataplane, ZoneIngress or ZoneEgress, under the name it has in its zone.
    pub proxy: ResourceKey,
    /// What is asked.
    pub operation: AdminOperation,
}

/// Asks the Envoys of a zone. The zone control plane provides it.
#[async_trait]
pub trait AdminExecutor: Send + Sync + 'static {
    /// What the Envoy answered.
    ///
    /// # Errors
    /// Text for people: why there is no answer. It is passed on to whoever asked at global.
    async fn execute(&self, request: AdminRequest) -> Result<Bytes, String>;
}

/// One of the three pairs of messages.
pub(crate) trait AdminProtocol: Send + 'static {
    type Request: Send + 'static;
    type Response: prost::Message + 'static;
    const STREAM: StreamKind;

    fn ask(id: String, request: &AdminRequest) -> Self::Request;
    fn answered(response: Self::Response) -> (String, Result<Bytes, String>);
    fn asked(request: Self::Request) -> (String, Result<AdminRequest, String>);
    fn answer(id: String, result: Result<Bytes, String>) -> Self::Response;
}

fn proxy(kind: &str, name: String, mesh: String) -> Result<ResourceKey, String> {
    match kind.parse() {
        Ok(kind @ (Kind::Dataplane | Kind::ZoneIngress | Kind::ZoneEgress)) => Ok(ResourceKey::new(kind, mesh, name)),
        _ => Err(format!("resources of type {kind:?} have no Envoy")),
    }
}

fn format(json: bool) -> i32 {
    if json { AdminOutputFormat::Json.into() } else { AdminOutputFormat::Text.into() }
}

const NO_RESULT: &str = "the zone answered with neither result nor error";

/// Configuration dumps.
pub(crate) struct ConfigDumps;

impl AdminProtocol for ConfigDumps {
    type Request = XdsConfigRequest;
    type Response = XdsConfigResponse;
    const STREAM: StreamKind = StreamKind::ConfigDump;

    fn ask(id: String, request: &AdminRequest) -> XdsConfigRequest {
        XdsConfigRequest {
            request_id: id,
            resource_type: request.proxy.kind.name().to_owned(),
            resource_name: request.proxy.name.clone(),
            resource_mesh: request.proxy.mesh.clone(),
            include_eds: matches!(request.operation, AdminOperation::ConfigDump { include_eds: true }),
        }
    }

    fn answered(response: XdsConfigResponse) -> (String, Result<Bytes, String>) {
        let result = match response.result {
            Some(xds_config_response::Result::Config(body)) => Ok(body.into()),
            Some(xds_config_response::Result::Error(text)) => Err(text),
            None => Err(NO_RESULT.into()),
        };
        (response.request_id, result)
    }

    fn asked(request: XdsConfigRequest) -> (String, Result<AdminRequest, String>) {
        let operation = AdminOperation::ConfigDump { include_eds: request.include_eds };
        let proxy = proxy(&request.resource_type, request.resource_name, request.resource_mesh);
        (request.request_id, proxy.map(|proxy| AdminRequest { proxy, operation }))
    }

    fn answer(id: String, result: Result<Bytes, String>) -> XdsConfigResponse {
        let result = match result {
            Ok(body) => xds_config_response::Result::Config(body.into()),
            Err(text) => xds_config_response::Result::Error(text),
        };
        XdsConfigResponse { request_id: id, result: Some(result) }
    }
}

/// Statistics.
pub(crate) struct Statistics;

impl AdminProtocol for Statistics {
    type Request = StatsRequest;
    type Response = StatsResponse;
    const STREAM: StreamKind = StreamKind::Stats;

    fn ask(id: String, request: &AdminRequest) -> StatsRequest {
        let (json, used_only) = match request.operation {
            AdminOperation::Stats { json, used_only } => (json, used_only),
            _ => (false, false),
        };
        StatsRequest {
            request_id: id,
            resource_type: request.proxy.kind.name().to_owned(),
            resource_name: request.proxy.name.clone(),
            resource_mesh: request.proxy.mesh.clone(),
            format: format(json),
            used_only,
        }
    }

    fn answered(response: StatsResponse) -> (String, Result<Bytes, String>) {
        let result = match response.result {
            Some(stats_response::Result::Stats(body)) => Ok(body.into()),
            Some(stats_response::Result::Error(text)) => Err(text),
            None => Err(NO_RESULT.into()),
        };
        (response.request_id, result)
    }

    fn asked(request: StatsRequest) -> (String, Result<AdminRequest, String>) {
        let operation =
            AdminOperation::Stats { json: request.format() == AdminOutputFormat::Json, used_only: request.used_only };
        let proxy = proxy(&request.resource_type, request.resource_name, request.resource_mesh);
        (request.request_id, proxy.map(|proxy| AdminRequest { proxy, operation }))
    }

    fn answer(id: String, result: Result<Bytes, String>) -> StatsResponse {
        let result = match result {
            Ok(body) => stats_response::Result::Stats(body.into()),
            Err(text) => stats_response::Result::Error(text),
        };
        StatsResponse { request_id: id, result: Some(result) }
    }
}

/// Clusters.
pub(crate) struct Clusters;

impl AdminProtocol for Clusters {
    type Request = ClustersRequest;
    type Response = ClustersResponse;
    const STREAM: StreamKind = StreamKind::Clusters;

    fn ask(id: String, request: &AdminRequest) -> ClustersRequest {
        ClustersRequest {
            request_id: id,
            resource_type: request.proxy.kind.name().to_owned(),
            resource_name: request.proxy.name.clone(),
            resource_mesh: request.proxy.mesh.clone(),
            format: format(matches!(request.operation, AdminOperation::Clusters { json: true })),
        }
    }

    fn answered(response: ClustersResponse) -> (String, Result<Bytes, String>) {
        let result = match response.result {
            Some(clusters_response::Result::Clusters(body)) => Ok(body.into()),
            Some(clusters_response::Result::Error(text)) => Err(text),
            None => Err(NO_RESULT.into()),
        };
        (response.request_id, result)
    }

    fn asked(request: ClustersRequest) -> (String, Result<AdminRequest, String>) {
        let operation = AdminOperation::Clusters { json: request.format() == AdminOutputFormat::Json };
        let proxy = proxy(&request.resource_type, request.resource_name, request.resource_mesh);
        (request.request_id, proxy.map(|proxy| AdminRequest { proxy, operation }))
    }

    fn answer(id: String, result: Result<Bytes, String>) -> ClustersResponse {
        let result = match result {
            Ok(body) => clusters_response::Result::Clusters(body.into()),
            Err(text) => clusters_response::Result::Error(text),
        };
        ClustersResponse { request_id: id, result: Some(result) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<P: AdminProtocol>(operation: AdminOperation) {
        let request = AdminRequest { proxy: ResourceKey::new(Kind::Dataplane, "m", "d"), operation };
        let (id, asked) = P::asked(P::ask("7".into(), &request));
        assert_eq!((id.as_str(), asked), ("7", Ok(request)));
        for result in [Ok(Bytes::from_static(b"body")), Err("no".to_owned())] {
            assert_eq!(P::answered(P::answer("7".into(), result.clone())), ("7".into(), result));
        }
        assert_eq!(stream_of(operation), P::STREAM);
    }

    #[test]
    fn questions_and_answers_survive_the_wire() {
        round_trip::<ConfigDumps>(AdminOperation::ConfigDump { include_eds: true });
        round_trip::<Statistics>(AdminOperation::Stats { json: true, used_only: true });
        round_trip::<Clusters>(AdminOperation::Clusters { json: true });
    }

    #[test]
    fn only_proxies_have_an_envoy() {
        let request = ClustersRequest { resource_type: "Mesh".into(), ..ClustersRequest::default() };
        assert_eq!(Clusters::asked(request).1, Err("resources of type \"Mesh\" have no Envoy".into()));
    }
}
