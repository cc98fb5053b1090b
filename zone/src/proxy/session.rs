//! One connected proxy: from its first request to the end of its stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use prost::Message as _;
use tandem_admission::Admission;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_store::SharedStore;
use tandem_xds::{
    AdminTls, Cache, DataplaneView, GenerateError, Generated, Identity, NodeId, ProxyInput, ProxyMetadata, ResourceSet,
    ResourceType, Snapshot, Warning,
};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{info, warn};

use super::authentication::Authentication;
use super::departure::Departure;
use super::insight::{Insights, IssuedCertificate, Subscription};
use super::problems::Problems;
use super::registry::{Connection, Registry};
use super::resource;
use super::workload::{Otherwise, Workload};
use crate::envoy_admin::EnvoyAdmin;
use crate::identity::{Identities, IdentityError, IssuedIdentity};
use crate::left_out::LeftOut;
use crate::mesh_state::CurrentSnapshot;
use crate::workload_identity::{WorkloadError, WorkloadIdentities};

/// What all sessions share.
pub struct ProxyContext {
    /// The store.
    pub store: SharedStore,
    /// Rules for resources that proxies bring.
    pub admission: Arc<Admission>,
    /// Rules for tokens.
    pub authentication: Authentication,
    /// Who is connected.
    pub registry: Arc<Registry>,
    /// Writer of insights.
    pub insights: Arc<Insights>,
    /// State of the meshes.
    pub snapshot: CurrentSnapshot,
    /// Parts of configurations that proxies share.
    pub cache: Cache,
    /// Who wants to know what is left out of configurations.
    pub left_out: LeftOut,
    /// Issuer of certificates.
    pub identities: Identities,
    /// Issuer of certificates from MeshIdentities.
    pub workload_identities: WorkloadIdentities,
    /// Issuer of the certificates of admin listeners.
    pub envoy_admin: EnvoyAdmin,
    /// Settings.
    pub settings: ProxySettings,
    /// Cancelled when this control plane stops.
    pub shutdown: CancellationToken,
}

/// Settings of sessions.
#[derive(Debug, Clone)]
pub struct ProxySettings {
    /// This instance.
    pub instance_id: String,
    /// How long the resource of a proxy stays after it disconnected.
    pub deregistration_delay: Duration,
}

/// A connected proxy. The order of the members is the order in which they are dropped: first the subscription is closed, then the
/// proxy is no longer connected, then the removal of its resource begins.
pub struct Session {
    subscription: Subscription,
    connection: Connection,
    _departure: Departure,
    context: Arc<ProxyContext>,
    metadata: ProxyMetadata,
    node_id: String,
    identities: BTreeMap<String, IssuedIdentity>,
    workload: Workload,
    /// Why the MeshIdentity gives no certificate, or no new one, although the proxy can go on without.
    workload_problem: Option<Warning>,
    identity_basis: Option<IdentityBasis>,
    admin_tls: Option<AdminTls>,
    generated: Option<Generated>,
    problems: Problems,
    /// The certificate the proxy has, or is about to have.
    certificate: Option<IssuedCertificate>,
    /// The insight does not tell it yet: Envoy has not confirmed it.
    certificate_unconfirmed: bool,
}

/// What a proxy was not sent matters no more when it is gone.
impl Drop for Session {
    fn drop(&mut self) {
        self.context.left_out.of_proxy(self.connection.key(), &[]);
    }
}

/// Why a proxy has no new configuration; it keeps the earlier one.
#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error(transparent)]
    Generate(#[from] GenerateError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Workload(#[from] WorkloadError),
}

impl Session {
    /// Admits a proxy: checks its token, registers the resource it brings, and makes its first configuration.
    ///
    /// # Errors
    /// A status with Kuma's text when the proxy is refused; nothing is stored then.
    pub async fn open(context: Arc<ProxyContext>, node: Node, credential: String) -> Result<Self, Status> {
        let id = NodeId::parse(&node.id).map_err(|error| Status::unknown(error.to_string()))?;
        let metadata = ProxyMetadata::from_node(&node);
        let kind = metadata.proxy_type.kind();
        let key = ResourceKey::new(kind, id.mesh.clone(), id.name.clone());
        let brought = brought_resource(&metadata, &key)?;
        let resource = match &brought {
            Some(resource) => Arc::new(resource.clone()),
            None => stored_resource(&context.store, &key, &node.id).await?,
        };
        context
            .authentication
            .check(&resource, &credential)
            .map_err(|error| Status::unknown(format!("authentication failed: {error}")))?;
        let connection = context.registry.connect(&key).map_err(|error| Status::unknown(error.to_string()))?;
        let registered = brought.is_some();
        if let Some(resource) = brought {
            context
                .admission
                .register(resource)
                .await
                .map_err(|error| Status::unknown(format!("could not register proxy passed in kuma-dp run: {error}")))?;
        }
        let departure = Departure {
            proxy: key.clone(),
            connection: connection.number(),
            registered,
            delay: context.settings.deregistration_delay,
            instance_id: context.settings.instance_id.clone(),
            store: context.store.clone(),
            registry: context.registry.clone(),
            shutdown: context.shutdown.clone(),
        };
        let subscription = context.insights.open(&key, Some(version(&metadata)), node_metadata(&node));
        let admin_tls = context.envoy_admin.server_tls(&metadata, &resource).await;
        info!(proxy = %key, registered, "proxy connected");
        let mut session = Self {
            subscription,
            connection,
            _departure: departure,
            context,
            metadata,
            node_id: node.id,
            identities: BTreeMap::new(),
            workload: Workload::default(),
            workload_problem: None,
            identity_basis: None,
            admin_tls,
            generated: None,
            problems: Problems::default(),
            certificate: None,
            certificate_unconfirmed: false,
        };
        session.refresh().await;
        Ok(session)
    }

    /// Key of the proxy's resource.
    pub fn key(&self) -> &ResourceKey {
        self.connection.key()
    }

    /// The proxy's entry in its insight.
    pub fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// The newest configuration; `None` until there is one.
    pub fn resources(&self) -> Option<&ResourceSet> {
        self.generated.as_ref().map(|generated| &generated.resources)
    }

    /// Checks that a later request comes from the same node, or does not say.
    ///
    /// # Errors
    /// When it comes from another one.
    pub fn check_node(&self, id: &str) -> Result<(), Status> {
        if id.is_empty() || id == self.node_id {
            return Ok(());
        }
        Err(Status::unknown(format!(
            "stream was authenticated for ID {}. Received request is for node with ID {}. Node ID cannot be changed after \
             stream is initialized",
            self.node_id, id
        )))
    }

    /// Resolves when the configuration has to be made anew: something changed, or a certificate grows old.
    pub async fn changed(&self) {
        let renewal = self.identities.values().map(|identity| identity.renew_at).chain(self.workload.due()).min();
        let wait =
            renewal.map(|at| Duration::try_from(at.duration_since(jiff::Timestamp::now())).unwrap_or(Duration::ZERO));
        let grown_old = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.connection.dirty().notified() => {}
            () = grown_old => {}
        }
    }

    /// Makes the configuration anew from the newest state, and returns the earlier one if there was one. When that fails, the earlier
    /// one stays.
    pub async fn refresh(&mut self) -> Option<ResourceSet> {
        let snapshot = self.context.snapshot.load_full();
        let excluded = snapshot.check_membership(self.key()).err().map(|error| error.to_string());
        if self.problems.permitted(excluded.clone()) {
            if let Some(reason) = excluded {
                warn!(proxy = %self.key(), reason, "the mesh would not take this proxy now; it stays until it connects again");
            }
            self.subscription.problems(self.problems.all());
        }
        match self.generate(&snapshot).await {
            Ok(generated) => {
                self.connection.use_services(&generated.services);
                if let Some(new) = self.problems.configured(&generated.warnings) {
                    for problem in new {
                        let about = problem.subject.map(|subject| format!("{} {:?}", subject.r#type, subject.name));
                        warn!(proxy = %self.key(), about, "left out of the configuration of a proxy: {}", problem.message);
                    }
                    self.subscription.problems(self.problems.all());
                    self.context.left_out.of_proxy(self.connection.key(), &generated.warnings);
                }
                // A proxy that secures no connection is not sent its certificate.
                if self.certificate.is_none() || generated.resources.of(ResourceType::Secret).is_empty() {
                    self.confirm_certificate();
                }
                return self.generated.replace(generated).map(|earlier| earlier.resources);
            }
            Err(RefreshError::Generate(GenerateError::ProxyNotFound(_))) => {
                // The index has not seen the proxy yet, or left it out; it wakes this session in both cases.
                let reasons = snapshot.problems_of(self.key()).to_vec();
                self.fail(&reasons);
            }
            Err(error) => self.fail(&[error.to_string()]),
        }
        None
    }

    /// Notes why there is no new configuration.
    fn fail(&mut self, reasons: &[String]) {
        let Some(new) = self.problems.not_configured(reasons) else { return };
        for problem in new {
            let reason = problem.message;
            warn!(proxy = %self.key(), reason, "cannot make the configuration of a proxy; it keeps the earlier one");
        }
        self.subscription.problems(self.problems.all());
    }

    /// Envoy refuses nothing of a type any more.
    pub fn accepted(&mut self, resource_type: ResourceType) {
        if self.problems.accepted(resource_type) {
            info!(proxy = %self.key(), ?resource_type, "proxy takes its configuration again");
            self.subscription.problems(self.problems.all());
        }
    }

    /// Envoy refused a response of a type and keeps what it had.
    pub fn rejected(&mut self, resource_type: ResourceType, reason: &str) {
        self.subscription.rejected(resource_type);
        let resources = self.generated.as_ref().map(|generated| &generated.resources);
        if self.problems.rejected(resource_type, reason, resources) {
            warn!(proxy = %self.key(), ?resource_type, reason, "proxy refused its configuration and keeps the earlier one");
            self.subscription.problems(self.problems.all());
        }
    }

    /// Envoy has the secrets as they are now: from here on others may rely on the certificate.
    pub fn confirm_certificate(&mut self) {
        if std::mem::take(&mut self.certificate_unconfirmed) {
            self.subscription.certificate(self.certificate.clone());
        }
    }

    async fn generate(&mut self, snapshot: &Snapshot) -> Result<Generated, RefreshError> {
        self.renew_identities(snapshot).await?;
        let identities: BTreeMap<String, Arc<Identity>> =
            self.identities.iter().map(|(mesh, issued)| (mesh.clone(), issued.identity.clone())).collect();
        let input = ProxyInput {
            key: self.connection.key(),
            metadata: &self.metadata,
            identities: &identities,
            workload: self.workload.identity(),
            admin_tls: self.admin_tls.as_ref(),
            previous: self.generated.as_ref(),
        };
        let mut generated = tandem_xds::generate(snapshot, &input, &self.context.cache)?;
        generated.warnings.extend(self.workload_problem.clone());
        Ok(generated)
    }

    /// Brings the certificates in line with what the state asks for.
    async fn renew_identities(&mut self, snapshot: &Snapshot) -> Result<(), RefreshError> {
        let basis = IdentityBasis::of(snapshot, self.key());
        let now = jiff::Timestamp::now();
        let due = self.identities.values().map(|identity| identity.renew_at).chain(self.workload.due());
        let is_fresh = due.min().is_none_or(|due| now < due);
        if is_fresh && basis.is_some() && basis == self.identity_basis {
            return Ok(());
        }
        let requests = tandem_xds::identity_requests(snapshot, self.connection.key());
        let mut identities = BTreeMap::new();
        for request in &requests {
            let current = self.identities.get(&request.mesh);
            let issued = match self.context.identities.issue(request, current).await {
                Ok(issued) => issued,
                // A zone proxy goes on with the other meshes; generation tells what this one lacks.
                Err(error) if self.key().kind != Kind::Dataplane => {
                    warn!(proxy = %self.key(), %error, "no certificate for a zone proxy in a mesh");
                    match current {
                        Some(current) => current.clone(),
                        None => continue,
                    }
                }
                Err(error) => return Err(error.into()),
            };
            identities.insert(request.mesh.clone(), issued);
        }
        self.renew_workload(snapshot, !identities.is_empty()).await?;
        if self.key().kind == Kind::Dataplane {
            let mesh = &self.connection.key().mesh;
            let of_mesh = || {
                identities.get(mesh).map(|issued| IssuedCertificate {
                    not_after: issued.not_after,
                    backend: issued.request.backend.clone(),
                    supported_backends: snapshot.trusted_backends(mesh),
                })
            };
            let of_workload = self.workload.issued().map(|issued| IssuedCertificate {
                not_after: issued.not_after,
                backend: issued.identity.name.to_string(),
                // The authority of the mesh is trusted beside them.
                supported_backends: [snapshot.trust_identifiers(mesh), snapshot.trusted_backends(mesh)].concat(),
            });
            let certificate = of_workload.or_else(of_mesh);
            if certificate != self.certificate {
                self.certificate = certificate;
                self.certificate_unconfirmed = true;
            }
        }
        self.identities = identities;
        self.identity_basis = basis;
        Ok(())
    }

    /// Brings the certificate from the MeshIdentity in line with what the state asks for. A proxy that has another one goes on with
    /// it when that fails.
    async fn renew_workload(&mut self, snapshot: &Snapshot, has_certificate: bool) -> Result<(), WorkloadError> {
        let otherwise = match (&self.generated, has_certificate) {
            (None, _) => Otherwise::New,
            (Some(_), true) => Otherwise::Secured,
            (Some(_), false) => Otherwise::Plain,
        };
        let issuer = &self.context.workload_identities;
        let renewed = self.workload.refresh(issuer, snapshot, self.connection.key(), otherwise).await;
        self.workload_problem = match renewed {
            Ok(()) => None,
            Err(error) if has_certificate || self.workload.issued().is_some() => {
                Some(Warning { resource: error.identity().cloned(), reason: error.to_string() })
            }
            Err(error) => return Err(error),
        };
        Ok(())
    }
}

/// All that the certificate of a Dataplane depends on, so that most changes need no second look at it.
#[derive(Debug)]
struct IdentityBasis {
    mesh_revision: u64,
    dataplane: Arc<DataplaneView>,
}

impl IdentityBasis {
    /// `None` for zone proxies, which have certificates of several meshes.
    fn of(snapshot: &Snapshot, proxy: &ResourceKey) -> Option<Self> {
        if proxy.kind != Kind::Dataplane {
            return None;
        }
        Some(Self {
            mesh_revision: snapshot.mesh_revision(&proxy.mesh)?,
            dataplane: snapshot.dataplane(&proxy.mesh, &proxy.name)?.clone(),
        })
    }
}

impl PartialEq for IdentityBasis {
    fn eq(&self, other: &Self) -> bool {
        self.mesh_revision == other.mesh_revision && Arc::ptr_eq(&self.dataplane, &other.dataplane)
    }
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

async fn stored_resource(store: &SharedStore, key: &ResourceKey, node_id: &str) -> Result<Arc<Resource>, Status> {
    let stored = store.get(key).await.map_err(|error| Status::unknown(error.to_string()))?;
    stored.ok_or_else(|| {
        Status::unknown(format!(
            "resource {node_id:?} not found; create a {} in Kuma CP first or pass it as an argument to kuma-dp",
            key.kind
        ))
    })
}

fn version(metadata: &ProxyMetadata) -> pb::Version {
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
fn node_metadata(node: &Node) -> Option<prost_types::Struct> {
    let metadata = node.metadata.as_ref()?;
    prost_types::Struct::decode(metadata.encode_to_vec().as_slice()).ok()
}
