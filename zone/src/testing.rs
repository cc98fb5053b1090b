//! What tests of tasks share.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tandem_admission::{Admission, AdmissionSettings};
use tandem_auth::ca::KeyType;
use tandem_auth::token::{Settings as TokenSettings, Tokens};
use tandem_model::{Mode, Resource};
use tandem_runtime::config::ProxyAuthn;
use tandem_store::{Encryption, KeySource, SharedStore, SledStore, Write};
use tandem_xds::{Cache, MeshIndex, ZoneSettings};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::envoy_admin::EnvoyAdmin;
use crate::identity::Identities;
use crate::issuing::{Issuing, IssuingMetrics};
use crate::left_out::LeftOut;
use crate::proxy::arrivals::{ArrivalMetrics, ArrivalSettings, Arrivals};
use crate::proxy::authentication::Authentication;
use crate::proxy::context::{ProxyContext, ProxySettings, StreamLimits};
use crate::proxy::insight::{InsightSettings, Insights};
use crate::proxy::registry::Registry;
use crate::proxy::returning::Returning;
use crate::refusals::Refusals;
use crate::workload_identity::WorkloadIdentities;

/// What the proxies of an instance of zone `zone` are served with. Nobody needs a token, and nobody is configured, because no task follows
/// the state of the meshes.
pub(crate) fn proxy_context(
    store: SharedStore,
    instance_id: &str,
    deregistration_delay: Duration,
    shutdown: CancellationToken,
) -> Arc<ProxyContext> {
    let settings = AdmissionSettings::new(Mode::Zone { federated: false }, "zone");
    let admission = Arc::new(Admission::new(store.clone(), settings));
    let snapshot = Arc::new(ArcSwap::new(MeshIndex::new(ZoneSettings::new("zone")).snapshot()));
    let arrivals = ArrivalSettings::for_cores(1, 100, Duration::from_secs(10));
    Arc::new(ProxyContext {
        authentication: Authentication {
            dataplanes: ProxyAuthn::None,
            zone_proxies: ProxyAuthn::None,
            zone: "zone".to_owned(),
            tokens: Arc::new(Tokens::new(&store, TokenSettings::default())),
            service_accounts: None,
            snapshot: snapshot.clone(),
            labels: admission.settings().label_context(),
            takeover_protection: true,
        },
        admission,
        arrivals: Arc::new(Arrivals::new(arrivals, ArrivalMetrics::default())),
        registry: Arc::new(Registry::default()),
        returning: Arc::new(Returning::default()),
        insights: Insights::new(InsightSettings {
            instance_id: instance_id.to_owned(),
            flush_interval: Duration::from_secs(10),
            subscription_limit: 2,
        }),
        snapshot,
        cache: Cache::default(),
        left_out: LeftOut::default(),
        identities: Identities::new(store.clone(), KeyType::default()),
        workload_identities: WorkloadIdentities::new(store.clone(), KeyType::default()),
        issuing: Issuing::new(1, IssuingMetrics::default()),
        envoy_admin: EnvoyAdmin::new(store.clone()),
        refusals: Refusals::default(),
        settings: ProxySettings {
            instance_id: instance_id.to_owned(),
            deregistration_delay,
            limits: StreamLimits::default(),
        },
        shutdown,
        store,
    })
}

/// A task over a store.
pub(crate) struct Running {
    /// The store.
    pub store: SharedStore,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Opens the store in a folder and starts a task over it.
    pub async fn open<F>(folder: &Path, task: impl FnOnce(SharedStore, CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let encryption = Encryption { enabled: true, keys: KeySource::FileOrNew(folder.join("store.key")) };
        Self::over(Arc::new(SledStore::open(folder, &encryption).await.expect("a store")), task)
    }

    /// Starts a task over a store.
    pub fn over<F>(store: SharedStore, task: impl FnOnce(SharedStore, CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let cancel = CancellationToken::new();
        let task = tokio::spawn(task(store.clone(), cancel.clone()));
        Self { store, cancel, task }
    }

    /// Writes a resource.
    pub async fn put(&self, resource: Resource) {
        self.store.commit(vec![Write::Put(resource)]).await.expect("valid");
    }

    /// Ends the task; the store closes with the last who knows it.
    pub async fn close(self) {
        self.cancel.cancel();
        self.task.await.expect("the task ends");
    }
}
