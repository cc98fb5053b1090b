//! Immutable views of everything that generation reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use tandem_model::mesh::{MembershipError, check_membership};
use tandem_model::virtual_outbound::VirtualOutbound;
use tandem_model::{Kind, Kri, Resource, ResourceKey};
use tandem_policy::destinations::Destinations;
use tandem_policy::legacy;
use tandem_policy::policy::Policy;
use tandem_policy::subject::Gateway;
use tandem_policy::{MeshPolicies, PolicySettings};

use super::dataplane::DataplaneView;
use super::destination::DestinationView;
use super::external::ExternalView;
use super::identity::MeshIdentityView;
use super::mesh::MeshView;
use super::outside_tls::OutsideTls;
use super::service::{Service, Viewpoint};
use super::trust::{TrustBundle, TrustView};
use super::vips::SharedVips;
use super::zone_proxy::{EgressView, IngressView, Topology};

/// Settings of the zone that generation depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneSettings {
    /// Name of the zone.
    pub zone: String,
    /// Address ranges that count as internal (`ipam.knownInternalCIDRs`); an entry that is no range is passed over.
    pub internal_cidrs: Vec<String>,
    /// Ending of the host names of services known by the tag `kuma.io/service` (`dnsServer.domain`).
    pub dns_domain: String,
    /// Port under which all of them are reached at their virtual addresses (`dnsServer.serviceVipPort`).
    pub service_vip_port: u32,
    /// Which policies have an effect, and how.
    pub policies: Arc<PolicySettings>,
}

impl ZoneSettings {
    /// Kuma's default of the internal address ranges.
    pub const DEFAULT_INTERNAL_CIDRS: [&'static str; 7] =
        ["10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12", "fc00::/7", "fd00::/8", "127.0.0.1/32", "::1/128"];

    /// The settings of a zone with defaults for everything else.
    pub fn new(zone: impl Into<String>) -> Self {
        let internal_cidrs = Self::DEFAULT_INTERNAL_CIDRS.map(str::to_owned).to_vec();
        Self {
            zone: zone.into(),
            internal_cidrs,
            dns_domain: "mesh".to_owned(),
            service_vip_port: 80,
            policies: Arc::default(),
        }
    }
}

/// State of one mesh. Nothing in it comes from another mesh.
#[derive(Debug, Clone)]
pub struct MeshState {
    /// The Mesh; `None` while only things of it are known.
    pub(crate) config: Option<Arc<MeshView>>,
    /// Root certificates of all backends.
    pub(crate) authority: Authority,
    /// Names of the backends whose root certificates these are.
    pub(crate) trusted_backends: Arc<[String]>,
    /// Changes with `config`, `authority`, `identities` and `trust`.
    pub(crate) config_revision: u64,
    pub(crate) dataplanes: RedBlackTreeMapSync<Arc<str>, Arc<DataplaneView>>,
    pub(crate) services: RedBlackTreeMapSync<Arc<str>, Service>,
    pub(crate) externals: RedBlackTreeMapSync<Arc<str>, Arc<ExternalView>>,
    /// Policies selected by `targetRef`.
    pub(crate) policies: RedBlackTreeMapSync<ResourceKey, Arc<Policy>>,
    /// What policies may refer to: MeshServices and their like.
    pub(crate) destinations: RedBlackTreeMapSync<ResourceKey, Arc<Resource>>,
    /// Those of `destinations` that traffic can be sent to.
    pub(crate) views: RedBlackTreeMapSync<Kri, Arc<DestinationView>>,
    /// Changes with `dataplanes`.
    pub(crate) dataplanes_revision: u64,
    /// What `policies` amount to.
    pub(crate) compiled: Arc<MeshPolicies>,
    /// Policies of the older generation, and what they amount to.
    pub(crate) legacy: Arc<legacy::Compiled>,
    /// MeshIdentities by name.
    pub(crate) identities: RedBlackTreeMapSync<Arc<str>, Arc<MeshIdentityView>>,
    /// MeshTrusts by name.
    pub(crate) trusts: RedBlackTreeMapSync<Arc<str>, Arc<TrustView>>,
    /// What `trusts` and `authority` amount to.
    pub(crate) trust: Arc<TrustBundle>,
    pub(crate) secrets: Secrets,
    /// How TLS is spoken to services outside of the mesh, by their resources; `Err` for those that cannot be reached because something
    /// of it is missing or wrong. What is spoken to in plain text is not in it.
    pub(crate) outside_tls: RedBlackTreeMapSync<ResourceKey, Result<Arc<OutsideTls>, Arc<str>>>,
    pub(crate) insights: RedBlackTreeMapSync<Arc<str>, Arc<Resource>>,
    /// Services at their virtual addresses.
    pub(crate) vips: SharedVips,
    /// MeshGateways, sorted by key.
    pub(crate) gateways: Arc<Vec<Gateway>>,
    /// VirtualOutbounds by name.
    pub(crate) virtual_outbounds: RedBlackTreeMapSync<Arc<str>, Arc<VirtualOutbound>>,
    /// Services whose every proxy has a certificate; only kept in meshes that accept plain text.
    pub(crate) tls_ready: Arc<BTreeMap<String, bool>>,
}

/// Secrets of a mesh by name.
pub(crate) type Secrets = RedBlackTreeMapSync<Arc<str>, Arc<Resource>>;

/// Root certificates of a mesh.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Authority {
    /// Mutual TLS is off.
    #[default]
    Off,
    /// There are none, with the reason.
    Missing(String),
    /// PEM.
    Root(Arc<[u8]>),
}

/// Everything generation reads, as of one moment. Cheap to keep: versions share what did not change.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(crate) settings: Arc<ZoneSettings>,
    pub(crate) meshes: RedBlackTreeMapSync<Arc<str>, Arc<MeshState>>,
    pub(crate) ingresses: RedBlackTreeMapSync<Arc<str>, Arc<IngressView>>,
    pub(crate) egresses: RedBlackTreeMapSync<Arc<str>, Arc<EgressView>>,
    pub(crate) topology: Arc<Topology>,
    /// Changes with `topology`.
    pub(crate) topology_revision: u64,
    /// What is wrong with resources that are left out, wholly or in part.
    pub(crate) problems: RedBlackTreeMapSync<ResourceKey, Arc<[String]>>,
    /// Changes with `problems`.
    pub(crate) problems_revision: u64,
}

impl Snapshot {
    pub(crate) fn empty(settings: ZoneSettings) -> Self {
        Self {
            settings: Arc::new(settings),
            meshes: RedBlackTreeMapSync::default(),
            ingresses: RedBlackTreeMapSync::default(),
            egresses: RedBlackTreeMapSync::default(),
            topology: Arc::default(),
            topology_revision: 0,
            problems: RedBlackTreeMapSync::default(),
            problems_revision: 0,
        }
    }

    /// The resources that are left out, wholly or in part, with the reasons.
    pub fn problems(&self) -> impl Iterator<Item = (&ResourceKey, &Arc<[String]>)> {
        self.problems.iter()
    }

    /// A number that changes with [`Snapshot::problems`].
    pub fn problems_revision(&self) -> u64 {
        self.problems_revision
    }

    /// Why a resource is left out; empty when it is not.
    pub fn problems_of(&self, key: &ResourceKey) -> &[String] {
        self.problems.get(key).map_or(&[], |reasons| reasons)
    }

    /// Settings of the zone.
    pub fn settings(&self) -> &ZoneSettings {
        &self.settings
    }

    /// A Mesh by name.
    pub fn mesh(&self, name: &str) -> Option<&Arc<MeshView>> {
        self.meshes.get(name)?.config.as_ref()
    }

    /// A number that changes with a Mesh, its certificate authority, its MeshIdentities and MeshTrusts; `None` for a mesh that is
    /// not known.
    pub fn mesh_revision(&self, name: &str) -> Option<u64> {
        Some(self.meshes.get(name)?.config_revision)
    }

    /// Whom the proxies of a mesh trust by trust domain; `None` for a mesh that is not known.
    pub fn trust(&self, mesh: &str) -> Option<&Arc<TrustBundle>> {
        Some(&self.meshes.get(mesh)?.trust)
    }

    /// Checks whether the constraints of its mesh, as they are now, permit a Dataplane. What is not known is permitted.
    ///
    /// # Errors
    /// When they do not, with the reason.
    pub fn check_membership(&self, dataplane: &ResourceKey) -> Result<(), MembershipError> {
        match self.mesh(&dataplane.mesh).zip(self.dataplane(&dataplane.mesh, &dataplane.name)) {
            Some((mesh, view)) => check_membership(&dataplane.mesh, &mesh.spec, &view.spec),
            None => Ok(()),
        }
    }

    /// The backends whose certificates proxies of a mesh accept from each other, the enabled one first; none without mutual TLS.
    pub fn trusted_backends(&self, mesh: &str) -> Vec<String> {
        self.meshes.get(mesh).map(|state| state.trusted_backends.to_vec()).unwrap_or_default()
    }

    /// Identifiers of the MeshTrusts of a mesh, sorted.
    pub fn trust_identifiers(&self, mesh: &str) -> Vec<String> {
        let trusts = self.meshes.get(mesh).into_iter().flat_map(|mesh| mesh.trusts.values());
        let mut identifiers: Vec<String> = trusts.map(|trust| trust.identifier.clone()).collect();
        identifiers.sort();
        identifiers
    }

    /// Names of all meshes, sorted.
    pub fn meshes(&self) -> impl Iterator<Item = &Arc<MeshView>> {
        self.meshes.values().filter_map(|mesh| mesh.config.as_ref())
    }

    /// A Dataplane by mesh and name.
    pub fn dataplane(&self, mesh: &str, name: &str) -> Option<&Arc<DataplaneView>> {
        self.meshes.get(mesh)?.dataplanes.get(name)
    }

    /// The Dataplanes of a mesh, sorted by name.
    pub fn dataplanes(&self, mesh: &str) -> impl Iterator<Item = &Arc<DataplaneView>> {
        self.meshes.get(mesh).into_iter().flat_map(|mesh| mesh.dataplanes.values())
    }

    /// A ZoneIngress by name, of this zone or another one.
    pub fn ingress(&self, name: &str) -> Option<&Arc<IngressView>> {
        self.ingresses.get(name)
    }

    /// A ZoneEgress by name.
    pub fn egress(&self, name: &str) -> Option<&Arc<EgressView>> {
        self.egresses.get(name)
    }

    /// All ZoneEgresses, sorted by name.
    pub fn egresses(&self) -> impl Iterator<Item = &Arc<EgressView>> {
        self.egresses.values()
    }

    /// The same state for showing the configurations of proxies of a mesh: with `authority` in place of the root certificates, which may
    /// be missing, and with the policies on trial in effect if `with_shadow`.
    #[must_use]
    pub fn preview(&self, mesh: &str, authority: &[u8], with_shadow: bool) -> Self {
        let mut preview = self.clone();
        if let Some(state) = preview.meshes.get_mut(mesh) {
            let state = Arc::make_mut(state);
            if state.config.as_ref().is_some_and(|config| config.mtls.is_some()) {
                state.authority = Authority::Root(authority.into());
            }
            if with_shadow {
                let on_trial = state.policies.values().filter(|policy| policy.is_shadow()).cloned();
                let compiled = Arc::make_mut(&mut state.compiled);
                on_trial.for_each(|policy| compiled.insert(policy));
            }
        }
        preview
    }

    pub(crate) fn viewpoint<'a>(&'a self, mesh: &'a MeshView) -> Viewpoint<'a> {
        let identities = self.meshes.get(&mesh.name).is_some_and(|state| !state.identities.is_empty());
        Viewpoint { zone: &self.settings.zone, mesh, identities, topology: &self.topology }
    }
}

impl MeshState {
    pub(crate) fn new(name: &str, settings: &ZoneSettings) -> Self {
        Self {
            config: None,
            authority: Authority::Off,
            trusted_backends: Arc::default(),
            config_revision: 0,
            dataplanes: RedBlackTreeMapSync::default(),
            services: RedBlackTreeMapSync::default(),
            externals: RedBlackTreeMapSync::default(),
            policies: RedBlackTreeMapSync::default(),
            destinations: RedBlackTreeMapSync::default(),
            views: RedBlackTreeMapSync::default(),
            dataplanes_revision: 0,
            compiled: Arc::new(MeshPolicies::empty(name, settings.policies.clone())),
            legacy: Arc::default(),
            identities: RedBlackTreeMapSync::default(),
            trusts: RedBlackTreeMapSync::default(),
            trust: Arc::default(),
            secrets: RedBlackTreeMapSync::default(),
            outside_tls: RedBlackTreeMapSync::default(),
            insights: RedBlackTreeMapSync::default(),
            vips: Arc::default(),
            gateways: Arc::default(),
            virtual_outbounds: RedBlackTreeMapSync::default(),
            tls_ready: Arc::default(),
        }
    }

    /// What policies may refer to, gathered.
    pub(crate) fn destinations(&self) -> Destinations {
        let routes = self.policies.values().filter(|policy| policy.kind() == Kind::MeshHTTPRoute);
        let routes = routes.map(|policy| policy.resource.clone());
        let config = self.config.as_ref().map(|config| config.resource.clone());
        Destinations::new(self.destinations.values().cloned().chain(routes).chain(config))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.config.is_none()
            && self.dataplanes.is_empty()
            && self.services.is_empty()
            && self.externals.is_empty()
            && self.policies.is_empty()
            && self.legacy.policies().is_empty()
            && self.destinations.is_empty()
            && self.identities.is_empty()
            && self.trusts.is_empty()
            && self.secrets.is_empty()
            && self.insights.is_empty()
            && self.vips.is_empty()
            && self.gateways.is_empty()
            && self.virtual_outbounds.is_empty()
    }
}
