//! A proxy that arrives: what it says of itself, and whether it may be that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use prost::Message as _;
use tandem_model::{Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_store::SharedStore;
use tandem_xds::ProxyMetadata;
use tokio::time::timeout;
use tonic::Status;
use tracing::{info, warn};

use crate::proxy::arrivals::Admitted;
use crate::proxy::authentication::{AuthenticationError, Proof};
use crate::proxy::context::ProxyContext;
use crate::proxy::departure::Departure;
use crate::proxy::life::Sign;
use crate::proxy::node_key::node_key;
use crate::proxy::registry::{AlreadyConnected, Connection};
use crate::proxy::resource;
use crate::refusals::{Door, Reason};

/// How long a stream that is told to end may take to leave behind what its proxy can use again.
const HANDOVER: Duration = Duration::from_millis(500);

/// Waits until the proxy is one of those that are let in.
///
/// # Errors
/// When there are too many others.
pub(super) async fn admission(context: &ProxyContext) -> Result<Admitted, Status> {
    context
        .arrivals
        .admission()
        .await
        .map_err(|error| context.refusals.with(Door::Ads, Reason::Overloaded, Status::unavailable(error.to_string())))
}

/// Who a proxy says it is.
pub(super) struct Claimed {
    key: ResourceKey,
    metadata: ProxyMetadata,
}

/// A proxy that is who it says.
pub(super) struct Arrival {
    pub key: ResourceKey,
    pub metadata: ProxyMetadata,
    /// The resource it brought.
    pub brought: Option<Resource>,
    /// That one, or else the stored one.
    pub resource: Arc<Resource>,
}

impl Claimed {
    /// Reads who the proxy says it is.
    ///
    /// # Errors
    /// A status with Kuma's text when it says so in no way that can be read.
    pub fn read(context: &ProxyContext, node: &Node) -> Result<Self, Status> {
        let metadata = ProxyMetadata::from_node(node);
        let key = node_key(&node.id, metadata.proxy_type.kind())
            .map_err(|error| context.refusals.with(Door::Ads, Reason::NodeInvalid, error.into()))?;
        Ok(Self { key, metadata })
    }

    /// Checks the credential alone. May wait for Kubernetes.
    ///
    /// # Errors
    /// A status with Kuma's text when it is not valid for this proxy.
    pub async fn prove(&self, context: &ProxyContext, credential: &str) -> Result<Proof, Status> {
        let proved = context.authentication.prove(&self.key, credential).await;
        proved.map_err(|error| unauthenticated(context, &error))
    }

    /// Reads what the proxy brings, and holds it against what was proved.
    ///
    /// # Errors
    /// A status with Kuma's text when the proxy is refused.
    pub async fn check(self, context: &ProxyContext, node: &Node, proof: &Proof) -> Result<Arrival, Status> {
        let Self { key, metadata } = self;
        let brought = brought_resource(&metadata, &key)
            .map_err(|status| context.refusals.with(Door::Ads, Reason::ResourceMismatch, status))?;
        let resource = match &brought {
            Some(resource) => Arc::new(resource.clone()),
            None => stored_resource(&context.store, &key, &node.id)
                .await
                .map_err(|status| context.refusals.with(Door::Ads, Reason::ResourceNotFound, status))?,
        };
        context.authentication.admit(proof, &resource).map_err(|error| unauthenticated(context, &error))?;
        if let Some(brought) = &brought {
            context.authentication.check_workload(brought).map_err(|error| {
                context.refusals.with(Door::Ads, Reason::ResourceInvalid, Status::unknown(error.to_string()))
            })?;
        }
        Ok(Arrival { key, metadata, brought, resource })
    }
}

fn unauthenticated(context: &ProxyContext, error: &AuthenticationError) -> Status {
    let status = Status::unknown(format!("authentication failed: {error}"));
    context.refusals.with(Door::Ads, Reason::from(error), status)
}

/// Connects a proxy that seems to be connected already, if nobody is at the other end of the earlier stream.
///
/// # Errors
/// When somebody is.
pub(super) async fn replace(
    context: &ProxyContext,
    key: &ResourceKey,
    earlier: AlreadyConnected,
) -> Result<Connection, Status> {
    let refuse = |error: AlreadyConnected| {
        context.refusals.with(Door::Ads, Reason::AlreadyConnected, Status::unknown(error.to_string()))
    };
    match earlier.life.ask().await {
        Sign::Alive => return Err(refuse(earlier)),
        Sign::Ended => {}
        Sign::Silent => {
            info!(proxy = %key, "the earlier stream of a proxy gives no sign of life; a new one takes its place");
            context.registry.displace(key, earlier.number);
            // One that cannot end, because its connection takes nothing more, is not waited for.
            let _ = timeout(HANDOVER, earlier.life.ended()).await;
        }
    }
    context.registry.connect(key).map_err(refuse)
}

/// Lets a proxy in: stores the resource it brought, and makes the departure that takes it away again.
///
/// That is done to its end even when nobody waits for it any more, because the client hung up meanwhile: what was stored is then
/// removed as when any proxy leaves.
///
/// # Errors
/// When the resource is refused.
pub(super) async fn let_in(
    context: &Arc<ProxyContext>,
    connection: Connection,
    brought: Option<Resource>,
    proof: Proof,
) -> Result<(Connection, Departure), Status> {
    let departure = |context: &ProxyContext, connection: &Connection, registered| Departure {
        proxy: connection.key().clone(),
        connection: connection.number(),
        registered,
        delay: context.settings.deregistration_delay,
        instance_id: context.settings.instance_id.clone(),
        store: context.store.clone(),
        registry: context.registry.clone(),
        returning: context.returning.clone(),
        shutdown: context.shutdown.clone(),
    };
    let Some(resource) = brought else {
        connection.let_in();
        let departure = departure(context, &connection, false);
        return Ok((connection, departure));
    };
    let context = context.clone();
    let registration = tokio::spawn(async move {
        let may_replace = |stored: &Resource| context.authentication.may_replace(&proof, stored);
        // This waits for the disk, together with others.
        context.admission.register(resource, may_replace).await.map_err(|error| {
            let text = format!("could not register proxy passed in kuma-dp run: {error}");
            context.refusals.with(Door::Ads, Reason::from(&error), Status::unknown(text))
        })?;
        connection.let_in();
        let departure = departure(&context, &connection, true);
        Ok((connection, departure))
    });
    registration.await.unwrap_or_else(|error| Err(Status::internal(format!("the registration failed: {error}"))))
}

/// The resource in the metadata. One that cannot be read is ignored, as Kuma does: the stored one serves then.
fn brought_resource(metadata: &ProxyMetadata, key: &ResourceKey) -> Result<Option<Resource>, Status> {
    let Some(text) = &metadata.resource else { return Ok(None) };
    let resource = match resource::parse(text) {
        Ok(resource) => resource,
        Err(error) => {
            warn!(proxy = %key, %error, "ignoring the resource that a proxy brought");
            return Ok(None);
        }
    };
    if resource.key != *key {
        return Err(Status::unknown(format!("proxyId {key} does not match proxy resource {}", resource.key)));
    }
    Ok(Some(resource))
}

/// The resource of a proxy that brought none.
async fn stored_resource(store: &SharedStore, key: &ResourceKey, node_id: &str) -> Result<Arc<Resource>, Status> {
    let stored = store.get(key).await.map_err(|error| Status::unknown(error.to_string()))?;
    stored.ok_or_else(|| {
        Status::unknown(format!(
            "resource {node_id:?} not found; create a {} in Kuma CP first or pass it as an argument to kuma-dp",
            key.kind
        ))
    })
}

/// The versions of a proxy's programs.
pub(super) fn version(metadata: &ProxyMetadata) -> pb::Version {
    let versions = &metadata.versions;
    let text = |of: &BTreeMap<String, String>, name: &str| of.get(name).cloned().unwrap_or_default();
    pb::Version {
        kuma_dp: Some(pb::KumaDpVersion {
            version: text(&versions.kuma_dp, "version"),
            git_tag: text(&versions.kuma_dp, "gitTag"),
            git_commit: text(&versions.kuma_dp, "gitCommit"),
            build_date: text(&versions.kuma_dp, "buildDate"),
            kuma_cp_compatible: tandem_runtime::version::is_compatible(&text(&versions.kuma_dp, "version")),
        }),
        envoy: Some(pb::EnvoyVersion {
            version: text(&versions.envoy, "version"),
            build: text(&versions.envoy, "build"),
            kuma_dp_compatible: text(&versions.envoy, "kumaDpCompatible") == "true",
        }),
        dependencies: versions.dependencies.clone(),
    }
}

/// The metadata of a node in the type that insights hold; both are `google.protobuf.Struct` on the wire.
pub(super) fn node_metadata(node: &Node) -> Option<prost_types::Struct> {
    let metadata = node.metadata.as_ref()?;
    prost_types::Struct::decode(metadata.encode_to_vec().as_slice()).ok()
}
