//! One connected proxy: from its first request to the end of its stream.

mod arrival;
mod certificates;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use tandem_model::ResourceKey;
use tandem_xds::{
    AdminTls, GenerateError, Generated, Identity, NodeId, ProxyInput, ProxyMetadata, ResourceSet, ResourceType,
    Snapshot, Warning,
};
use tonic::Status;
use tracing::{info, warn};

use super::context::ProxyContext;
use super::departure::Departure;
use super::insight::{IssuedCertificate, Subscription};
use super::problems::Problems;
use super::registry::Connection;
use super::workload::Workload;
use crate::identity::{IdentityError, IssuedIdentity};
use crate::workload_identity::WorkloadError;
use arrival::{brought_resource, node_metadata, stored_resource, version};
use certificates::IdentityBasis;

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
}
