//! One connected proxy: from its first request to the end of its stream.

mod arrival;
mod certificates;

use std::sync::{Arc, Weak};

use envoy_types::pb::envoy::config::core::v3::Node;
use tandem_model::{Resource, ResourceKey};
use tandem_xds::{AdminTls, GenerateError, Generated, ProxyInput, ProxyMetadata, ResourceSet, ResourceType, Snapshot};
use tonic::Status;
use tracing::{info, warn};

use super::context::ProxyContext;
use super::departure::Departure;
use super::insight::{IssuedCertificate, Subscription};
use super::life::Life;
use super::problems::Problems;
use super::registry::Connection;
use super::returning::Left;
use crate::envoy_admin;
use crate::identity::IdentityError;
use crate::refusals::{Door, Reason};
use crate::workload_identity::WorkloadError;
use arrival::{Arrival, Claimed, admission, let_in, node_metadata, replace, version};
use certificates::{Holder, Mark, Outcome};

pub use certificates::Certificates;

/// A connected proxy. The order of the members is the order in which they are dropped: first the subscription is closed, then the
/// proxy is no longer connected, then the removal of its resource begins.
pub struct Session {
    subscription: Subscription,
    connection: Connection,
    _departure: Departure,
    context: Arc<ProxyContext>,
    metadata: ProxyMetadata,
    node_id: String,
    certificates: Certificates,
    /// Certificates of the admin port, and the addresses they are for.
    admin: Option<(Vec<String>, AdminTls)>,
    made: Option<Made>,
    /// What an earlier stream of the proxy left, until the first configuration is there.
    kept: Option<Made>,
    problems: Problems,
    /// The certificate the proxy has, or is about to have.
    certificate: Option<IssuedCertificate>,
    /// The insight does not tell it yet: Envoy has not confirmed it.
    certificate_unconfirmed: bool,
}

/// A configuration, and what it was made from.
#[derive(Debug)]
pub struct Made {
    generated: Generated,
    snapshot: Weak<Snapshot>,
    mark: Mark,
}

impl Made {
    /// True when it would be made again just as it is.
    fn is_current(&self, snapshot: &Arc<Snapshot>, mark: &Mark) -> bool {
        std::ptr::eq(self.snapshot.as_ptr(), Arc::as_ptr(snapshot)) && self.mark == *mark
    }
}

/// What a proxy was not sent matters no more when it is gone; what it had is kept for a while.
impl Drop for Session {
    fn drop(&mut self) {
        // The place of a stream whose client is gone may have been taken.
        if !self.connection.is_only() {
            return;
        }
        let context = &self.context;
        context.left_out.of_proxy(self.connection.key(), &[]);
        if context.settings.deregistration_delay.is_zero() || context.shutdown.is_cancelled() {
            return;
        }
        self.certificates.settle();
        let left = Left {
            metadata: std::mem::take(&mut self.metadata),
            certificates: std::mem::take(&mut self.certificates),
            admin: self.admin.take(),
            made: self.made.take().or(self.kept.take()),
        };
        context.returning.keep(self.connection.key(), self.connection.number(), left);
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
    /// Admits a proxy when it is its turn: checks its token, registers the resource it brings, and makes its first configuration.
    ///
    /// # Errors
    /// A status with Kuma's text when the proxy is refused; nothing is stored then.
    pub async fn open(context: Arc<ProxyContext>, node: Node, credential: String) -> Result<Self, Status> {
        let mut admitted = admission(&context).await?;
        let claimed = context.arrivals.turn(async { Claimed::read(&context, &node) }).await?;
        let proof = claimed.prove(&context, &credential).await?;
        let checked = context.arrivals.turn(claimed.check(&context, &node, &proof)).await?;
        let Arrival { key, metadata, brought, resource } = checked;
        let connection = match context.registry.connect(&key) {
            Ok(connection) => connection,
            Err(earlier) => {
                // While the earlier stream is asked for a sign of life, others have their turn.
                drop(admitted);
                let connection = replace(&context, &key, earlier).await?;
                admitted = admission(&context).await?;
                connection
            }
        };
        let registered = brought.is_some();
        let (connection, departure) = let_in(&context, connection, brought, proof).await?;
        let subscription = context.insights.open(&key, Some(version(&metadata)), node_metadata(&node));
        let left = context.returning.take(&key).filter(|left| left.metadata == metadata);
        info!(proxy = %key, registered, returning = left.is_some(), "proxy connected");
        let (certificates, admin, kept) = match left {
            Some(Left { certificates, admin, made, .. }) => (certificates, admin, made),
            None => (Certificates::default(), None, None),
        };
        let mut session = Self {
            subscription,
            connection,
            _departure: departure,
            context: context.clone(),
            metadata,
            node_id: node.id,
            certificates,
            admin,
            made: None,
            kept,
            problems: Problems::default(),
            certificate: None,
            certificate_unconfirmed: false,
        };
        let begin = async {
            session.certify_admin(&resource).await;
            session.refresh_now().await;
        };
        context.arrivals.turn(begin).await;
        drop(admitted);
        session.connection.life().serve();
        Ok(session)
    }

    /// Makes the certificates of the admin port, unless there are such from an earlier stream.
    async fn certify_admin(&mut self, resource: &Resource) {
        let addresses = envoy_admin::addresses(resource);
        let issuer = &self.context.envoy_admin;
        if let Some((of, tls)) = &self.admin
            && *of == addresses
            && issuer.is_current(tls).await
        {
            return;
        }
        let made = issuer.server_tls(&self.metadata, resource).await;
        let earlier = std::mem::replace(&mut self.admin, made.map(|tls| (addresses, tls)));
        // What was made with other certificates is not current; it serves as what to begin with.
        if let Some(kept) = &mut self.kept
            && (earlier.is_some() || self.admin.is_some())
        {
            kept.snapshot = Weak::new();
        }
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
        self.made.as_ref().map(|made| &made.generated.resources)
    }

    /// Checks that a later request comes from the same node, or does not say.
    ///
    /// # Errors
    /// When it comes from another one.
    pub fn check_node(&self, id: &str) -> Result<(), Status> {
        if id.is_empty() || id == self.node_id {
            return Ok(());
        }
        let status = Status::unknown(format!(
            "stream was authenticated for ID {}. Received request is for node with ID {}. Node ID cannot be changed after \
             stream is initialized",
            self.node_id, id
        ));
        Err(self.context.refusals.with(Door::Ads, Reason::NodeChanged, status))
    }

    /// Whether somebody is at the other end of the stream.
    pub fn life(&self) -> &Life {
        self.connection.life()
    }

    /// Resolves when the configuration has to be made anew: something changed, a certificate was made, or one grows old.
    pub async fn changed(&self) {
        tokio::select! {
            () = self.connection.dirty().notified() => {}
            () = self.certificates.grown_old() => {}
        }
    }

    /// Makes the configuration anew from the newest state, and returns the earlier one if there was one. When that fails, the earlier
    /// one stays.
    pub async fn refresh(&mut self) -> Option<ResourceSet> {
        if self.made.is_some() {
            return self.refresh_now().await;
        }
        // A proxy that is not served yet takes turns with others that arrive.
        let arrivals = self.context.arrivals.clone();
        arrivals.turn(self.refresh_now()).await
    }

    async fn refresh_now(&mut self) -> Option<ResourceSet> {
        let snapshot = self.context.snapshot.load_full();
        let excluded = snapshot.check_membership(self.key()).err().map(|error| error.to_string());
        if self.problems.permitted(excluded.clone()) {
            if let Some(reason) = excluded {
                warn!(proxy = %self.key(), reason, "the mesh would not take this proxy now; it stays until it connects again");
            }
            self.subscription.problems(self.problems.all());
        }
        match self.generate(&snapshot).await {
            Ok(Some(made)) => return self.serve(made),
            // Nothing changed, or a certificate is awaited, which wakes this session.
            Ok(None) => {}
            Err(RefreshError::Generate(GenerateError::ProxyNotFound(_))) => {
                // The index has not seen the proxy yet, or left it out; it wakes this session in both cases.
                let reasons = snapshot.problems_of(self.key()).to_vec();
                self.fail(&reasons);
            }
            Err(error) => self.fail(&[error.to_string()]),
        }
        None
    }

    /// Serves a new configuration, and returns the earlier one if there was one.
    fn serve(&mut self, made: Made) -> Option<ResourceSet> {
        let generated = &made.generated;
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
        self.made.replace(made).map(|earlier| earlier.generated.resources)
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
        let resources = self.made.as_ref().map(|made| &made.generated.resources);
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

    /// A configuration that is not the present one; `None` when that is as it should be, or a certificate is awaited.
    async fn generate(&mut self, snapshot: &Arc<Snapshot>) -> Result<Option<Made>, RefreshError> {
        let holder = Holder {
            context: &self.context,
            proxy: self.connection.key(),
            done: self.connection.dirty(),
            is_new: self.made.is_none() && self.kept.is_none(),
        };
        let outcome = self.certificates.refresh(snapshot, holder).await?;
        let certificate = self.certificates.shown(snapshot, self.connection.key());
        if certificate != self.certificate {
            self.certificate = certificate;
            self.certificate_unconfirmed = true;
        }
        let mark = self.certificates.mark();
        let is_current = |made: &Made| made.is_current(snapshot, &mark);
        if outcome == Outcome::Awaited || self.made.as_ref().is_some_and(is_current) {
            return Ok(None);
        }
        if let Some(kept) = self.kept.take_if(|kept| is_current(kept)) {
            return Ok(Some(kept));
        }
        let identities = self.certificates.identities();
        let input = ProxyInput {
            key: self.connection.key(),
            metadata: &self.metadata,
            identities: &identities,
            workload: self.certificates.workload(),
            admin_tls: self.admin.as_ref().map(|(_, tls)| tls),
            previous: self.made.as_ref().or(self.kept.as_ref()).map(|made| &made.generated),
        };
        let mut generated = tandem_xds::generate(snapshot, &input, &self.context.cache)?;
        generated.warnings.extend_from_slice(self.certificates.problems());
        self.kept = None;
        Ok(Some(Made { generated, snapshot: Arc::downgrade(snapshot), mark }))
    }
}
