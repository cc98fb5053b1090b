//! What a control plane creates when it starts, unless it is there already.
//!
//! Names, specifications and conditions: Kuma `pkg/defaults`, `pkg/clusterid`, `pkg/plugins/authn/api-server/tokens`.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tandem_auth::envoy_admin;
use tandem_auth::keys::{self, Realm};
use tandem_auth::token::{self, Tokens};
use tandem_model::label::{ORIGIN, ORIGIN_ZONE};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1::Mesh;
use tandem_proto::system::v1alpha1::{Config, Zone};
use tandem_store::{StoreError, Write};
use tracing::info;

use crate::admission::{Admission, over};
use crate::error::{AdmissionError, Reason, Stage};
use crate::{blocking, mesh, ownership, rename, secrets};

const DEFAULT_MESH: &str = "default";
const CLUSTER_ID: &str = "kuma-cluster-id";
const ADMIN_TOKEN: &str = "admin-user-token";
const ADMIN_TOKEN_VALIDITY: Duration = Duration::from_secs(87_600 * 60 * 60);

impl Admission {
    /// Creates what a control plane of this role needs and does not find in its store. May be called at every start,
    /// and again after an error.
    ///
    /// # Errors
    /// When the store or the generation of a key fails; what was created before stays.
    pub async fn ensure_defaults(&self) -> Result<(), AdmissionError> {
        self.ensure_all().await.map_err(|reason| reason.at(Stage::Create))
    }

    async fn ensure_all(&self) -> Result<(), Reason> {
        let settings = &self.settings;
        if !settings.mode.is_federated_zone() {
            self.ensure_cluster_id().await?;
        }
        if !settings.skip_tenant_resources {
            if !settings.mode.is_global() {
                self.ensure_envoy_admin_authority().await?;
                self.ensure_zone().await?;
            }
            if !settings.mode.is_federated_zone() {
                if !settings.skip_mesh_creation {
                    self.ensure_mesh().await?;
                }
                self.create_all(keys::missing(&self.store, &Realm::Zone).await?).await?;
            }
            if !settings.skip_hostname_generators {
                self.create_all(hostname_generators(settings.mode.is_global())).await?;
            }
        }
        if settings.user_tokens {
            self.create_all(keys::missing(&self.store, &Realm::User).await?).await?;
            if settings.bootstrap_admin_token {
                self.ensure_admin_token().await?;
            }
        }
        Ok(())
    }

    /// The identifier that distinguishes this deployment from others; zones get it from global.
    async fn ensure_cluster_id(&self) -> Result<(), Reason> {
        let key = ResourceKey::global(Kind::Config, CLUSTER_ID);
        let config = Config { config: uuid::Uuid::new_v4().to_string() };
        self.create(Resource::from_proto(key, &config)).await
    }

    async fn ensure_envoy_admin_authority(&self) -> Result<(), Reason> {
        let key = ResourceKey::global(Kind::GlobalSecret, envoy_admin::SECRET_NAME);
        if self.store.get(&key).await?.is_some() {
            return Ok(());
        }
        let pem = blocking::run(envoy_admin::generate).await?;
        self.create(secrets::resource(key, pem.into_bytes())).await
    }

    /// The token with which the first administrator logs in from elsewhere.
    async fn ensure_admin_token(&self) -> Result<(), Reason> {
        let key = ResourceKey::global(Kind::GlobalSecret, ADMIN_TOKEN);
        if self.store.get(&key).await?.is_some() {
            return Ok(());
        }
        let tokens = Tokens::new(&self.store, token::Settings::default());
        let token = tokens.issue_admin(ADMIN_TOKEN_VALIDITY).map_err(|error| Reason::Internal(error.to_string()))?;
        self.create(secrets::resource(key, token.into_bytes())).await
    }

    /// A zone knows exactly one zone: itself. Others are left over from a former name, whatever their insights say: nobody
    /// is connected under it any more.
    async fn ensure_zone(&self) -> Result<(), Reason> {
        let name = &self.settings.zone;
        let mut former: BTreeSet<_> =
            self.store.list(Kind::Zone, None).await?.iter().map(|z| z.key.name.clone()).collect();
        former.remove(name);
        if !former.is_empty() {
            let mut writes = rename::writes(&self.store, &former, name).await?;
            info!(
                ?former,
                name,
                resources = writes.len(),
                "this zone was renamed; what was created in it is renamed too"
            );
            let deleted = former.into_iter().map(|zone| ResourceKey::global(Kind::Zone, zone));
            writes.extend(deleted.map(|key| Write::Delete { key, expected: None }));
            self.store.commit(writes).await?;
        }
        let key = ResourceKey::global(Kind::Zone, self.settings.zone.as_str());
        self.create(Resource::from_proto(key, &Zone::default())).await
    }

    async fn ensure_mesh(&self) -> Result<(), Reason> {
        let key = ResourceKey::global(Kind::Mesh, DEFAULT_MESH);
        if self.store.get(&key).await?.is_some() {
            return Ok(());
        }
        let mesh = Resource::from_proto(key, &Mesh::default());
        let prepared = mesh::prepare(&self.store, &self.settings, mesh, None).await?;
        let mut writes = vec![over(prepared.mesh, None)];
        writes.extend(prepared.brings.into_iter().map(Write::Create));
        match self.store.commit(writes).await {
            Ok(_) | Err(StoreError::AlreadyExists(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn create_all(&self, resources: impl IntoIterator<Item = Resource>) -> Result<(), Reason> {
        for resource in resources {
            self.create(resource).await?;
        }
        Ok(())
    }

    /// Creates a resource unless its key is taken.
    async fn create(&self, mut resource: Resource) -> Result<(), Reason> {
        if self.store.get(&resource.key).await?.is_some() {
            return Ok(());
        }
        resource.owner = ownership::owner(&resource.key);
        match self.store.commit(vec![Write::Create(resource)]).await {
            Ok(_) | Err(StoreError::AlreadyExists(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The HostnameGenerators that a global control plane, or a zone outside Kubernetes, starts with.
pub fn hostname_generators(global: bool) -> Vec<Resource> {
    let generator = |name: &str, selector: Value, template: &str| {
        let key = ResourceKey::global(Kind::HostnameGenerator, name);
        Resource::from_json(key, json!({ "selector": selector, "template": template }))
    };
    if !global {
        let of_zone = || json!({ "matchLabels": { "kuma.io/origin": "zone" } });
        return vec![
            generator(
                "local-mesh-external-service",
                json!({ "meshExternalService": of_zone() }),
                "{{ .DisplayName }}.extsvc.mesh.local",
            )
            .with_labels([(ORIGIN, ORIGIN_ZONE)]),
            generator(
                "local-universal-mesh-service",
                json!({ "meshService": of_zone() }),
                "{{ .DisplayName }}.svc.mesh.local",
            )
            .with_labels([(ORIGIN, ORIGIN_ZONE)]),
        ];
    }
    let kubernetes = |headless: &str| {
        json!({ "meshService": { "matchLabels": {
            "kuma.io/origin": "global",
            "k8s.kuma.io/is-headless-service": headless,
            "kuma.io/env": "kubernetes",
        } } })
    };
    vec![
        generator(
            "synced-mesh-multi-zone-service",
            json!({ "meshMultiZoneService": { "matchLabels": { "kuma.io/origin": "global" } } }),
            "{{ .DisplayName }}.mzsvc.mesh.local",
        ),
        generator(
            "synced-kube-mesh-service",
            kubernetes("false"),
            "{{ .DisplayName }}.{{ .Namespace }}.svc.{{ .Zone }}.mesh.local",
        ),
        generator(
            "synced-headless-kube-mesh-service",
            kubernetes("true"),
            "{{ label \"statefulset.kubernetes.io/pod-name\" }}.{{ label \"k8s.kuma.io/service-name\" }}.\
             {{ .Namespace }}.svc.{{ .Zone }}.mesh.local",
        ),
        generator(
            "synced-universal-mesh-service",
            json!({ "meshService": { "matchLabels": { "kuma.io/origin": "global", "kuma.io/env": "universal" } } }),
            "{{ .DisplayName }}.svc.{{ .Zone }}.mesh.local",
        ),
        generator(
            "synced-mesh-external-service",
            json!({ "meshExternalService": { "matchLabels": { "kuma.io/origin": "global" } } }),
            "{{ .DisplayName }}.extsvc.mesh.local",
        ),
    ]
}
