//! The certificate that a connected proxy has from its MeshIdentity.
//!
//! A certificate that is good is replaced by another one only when others can be expected to accept that: its authority is
//! trusted in the mesh, and for a while, so that all proxies, also those of other zones, have heard of it. So neither the move
//! from mutual TLS of the mesh to a MeshIdentity nor a new authority breaks a connection. While another one is made, the earlier one
//! serves.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tandem_model::{Kind, ResourceKey};
use tandem_xds::{Snapshot, TrustBundle, WorkloadIdentity};
use tokio::sync::Notify;

use crate::issuing::{Issue, Issuing};
use crate::workload_identity::{IssuedWorkload, Offer, WorkloadError, WorkloadIdentities};

/// How long others may take to hear whom to trust: across zones some seconds at most.
const SPREAD: Duration = Duration::from_secs(5);

/// The certificate that a proxy has, and the one it is to get.
#[derive(Debug, Default)]
pub struct Workload {
    issued: Option<IssuedWorkload>,
    next: Option<(Offer, Timestamp)>,
    coming: Option<Coming>,
}

/// A certificate that is being made.
#[derive(Debug)]
struct Coming {
    offer: Offer,
    issue: Issue<Result<IssuedWorkload, WorkloadError>>,
}

/// Who makes certificates from MeshIdentities, and who is to be told.
#[derive(Clone, Copy)]
pub struct Issuer<'a> {
    /// What certificates would be.
    pub identities: &'a WorkloadIdentities,
    /// Makes them.
    pub issuing: &'a Issuing,
    /// Notified when one is made.
    pub done: &'a Arc<Notify>,
}

/// What a proxy is without a certificate from its MeshIdentity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// It has no configuration yet, so nothing breaks.
    New,
    /// It has a certificate of its mesh.
    Secured,
    /// It has none.
    Plain,
}

impl Workload {
    /// The certificate.
    pub fn issued(&self) -> Option<&IssuedWorkload> {
        self.issued.as_ref()
    }

    /// The certificate as the configuration carries it.
    pub fn identity(&self) -> Option<&Arc<WorkloadIdentity>> {
        self.issued.as_ref().map(|issued| &issued.identity)
    }

    /// When it has to be looked at again although nothing changes.
    pub fn due(&self) -> Option<Timestamp> {
        // What is being made tells when it is there.
        let renewal = self.issued.as_ref().filter(|_| self.coming.is_none()).map(|issued| issued.renew_at);
        let next = self.next.as_ref().map(|(_, at)| *at);
        renewal.into_iter().chain(next).min()
    }

    /// True while a certificate is being made.
    pub fn is_coming(&self) -> bool {
        self.coming.is_some()
    }

    /// True while a certificate is being made or is to be made later.
    pub fn is_underway(&self) -> bool {
        self.coming.is_some() || self.next.is_some()
    }

    /// Keeps only the certificate itself.
    pub fn settle(&mut self) {
        self.next = None;
        self.coming = None;
    }

    /// Brings the certificate in line with what the state asks for. A new one is only begun; when it is made, `issuer.done` is notified and
    /// the next call takes it over.
    ///
    /// # Errors
    /// When there is to be one but none can be issued. The earlier one stays as long as it is valid.
    pub async fn refresh(
        &mut self,
        issuer: Issuer<'_>,
        snapshot: &Snapshot,
        proxy: &ResourceKey,
        otherwise: Otherwise,
    ) -> Result<(), WorkloadError> {
        let now = Timestamp::now();
        self.issued.take_if(|issued| issued.not_after <= now);
        let request = (proxy.kind == Kind::Dataplane).then(|| tandem_xds::workload_request(snapshot, proxy)).flatten();
        let Some(request) = request else {
            *self = Self::default();
            return Ok(());
        };
        if !request.identity.ready {
            // What is wrong with it is told by its status, and takes no certificate away.
            self.settle();
            return Ok(());
        }
        let offer = issuer.identities.offer(&request).await?;
        self.coming.take_if(|coming| !coming.offer.is_same(&offer));
        if let Some(coming) = &self.coming {
            let Some(made) = coming.issue.take() else { return Ok(()) };
            self.coming = None;
            self.issued = Some(made??);
            return Ok(());
        }
        let none = TrustBundle::default();
        let trust = snapshot.trust(&proxy.mesh).map_or(&none, |trust| trust);
        if self.is_time_for(&offer, trust, otherwise, now) {
            let wanted = offer.clone();
            self.coming = Some(Coming { offer, issue: issuer.issuing.begin(issuer.done, move || wanted.issue()) });
            self.next = None;
        }
        Ok(())
    }

    /// True when a certificate is to be issued as offered; when it is to be issued later, that is noted.
    fn is_time_for(&mut self, offer: &Offer, trust: &TrustBundle, otherwise: Otherwise, now: Timestamp) -> bool {
        if let Some(issued) = &self.issued {
            if issued.is(offer) && now < issued.renew_at {
                self.next = None;
                return false;
            }
            if issued.offer().is_like(offer) {
                return true;
            }
        } else if otherwise != Otherwise::Secured {
            return true;
        }
        if !offer.is_trusted(trust) {
            self.next = None;
            return false;
        }
        match &self.next {
            Some((next, at)) if next.is_like(offer) => *at <= now,
            _ => {
                self.next = Some((offer.clone(), now.saturating_add(SPREAD).unwrap_or(now)));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tandem_auth::ca::{BuiltinAuthority, KeyType};
    use tandem_model::Resource;
    use tandem_proto::mesh::v1alpha1 as pb;
    use tandem_proto::system::v1alpha1::Secret;
    use tandem_store::{MemoryStore, SharedStore, Write};
    use tandem_xds::{MeshIndex, ZoneSettings};

    use super::*;
    use crate::issuing::IssuingMetrics;

    /// A Dataplane with a MeshIdentity, and what a session has of both.
    struct Stage {
        store: SharedStore,
        index: MeshIndex,
        identities: WorkloadIdentities,
        issuing: Issuing,
        done: Arc<Notify>,
        workload: Workload,
    }

    fn key(kind: Kind, name: &str) -> ResourceKey {
        ResourceKey::new(kind, "demo", name)
    }

    fn authority() -> BuiltinAuthority {
        BuiltinAuthority::for_trust_domain("demo.east.mesh.local").expect("a trust domain")
    }

    impl Stage {
        async fn new() -> Self {
            let store: SharedStore = Arc::new(MemoryStore::new());
            let index = MeshIndex::new(ZoneSettings::new("east"));
            let identities = WorkloadIdentities::new(store.clone(), KeyType::default());
            let issuing = Issuing::new(1, IssuingMetrics::default());
            let (done, workload) = (Arc::default(), Workload::default());
            let mut stage = Self { store, index, identities, issuing, done, workload };
            stage.put(Resource::from_proto(ResourceKey::global(Kind::Mesh, "demo"), &pb::Mesh::default())).await;
            let web = Resource::from_proto(key(Kind::Dataplane, "web"), &pb::Dataplane::default());
            stage.put(web.with_labels([("kuma.io/workload", "web")])).await;
            stage.identity("True").await;
            stage
        }

        async fn put(&mut self, resource: Resource) {
            let resource = Arc::new(resource);
            self.index.apply([(&resource.key, Some(&resource))]);
            self.store.commit(vec![Write::Put((*resource).clone())]).await.expect("valid");
        }

        async fn identity(&mut self, ready: &str) {
            let bundled = json!({"autogenerate": {"enabled": true}, "insecureAllowSelfSigned": true});
            let spec = json!({
                "selector": {"dataplane": {}}, "provider": {"type": "Bundled", "bundled": bundled}
            });
            let mut identity = Resource::from_json(key(Kind::MeshIdentity, "id"), spec);
            let condition = json!({"type": "Ready", "status": ready, "reason": "", "message": ""});
            identity.status = Some(json!({ "conditions": [condition] }));
            self.put(identity).await;
        }

        async fn sign_with(&mut self, authority: &BuiltinAuthority) {
            for (name, pem) in [("id-root-ca", &authority.cert_pem), ("id-private-key", &authority.key_pem)] {
                let secret = Secret { data: Some(pem.clone().into_bytes()) };
                self.put(Resource::from_proto(key(Kind::Secret, name), &secret)).await;
            }
        }

        async fn trust(&mut self, authorities: &[&BuiltinAuthority]) {
            let bundle = |authority: &&BuiltinAuthority| json!({"type": "Pem", "pem": {"value": authority.cert_pem}});
            let bundles: Vec<Value> = authorities.iter().map(bundle).collect();
            let spec = json!({"trustDomain": "demo.east.mesh.local", "caBundles": bundles});
            self.put(Resource::from_json(key(Kind::MeshTrust, "id"), spec)).await;
        }

        /// Refreshes once.
        async fn look(&mut self, otherwise: Otherwise) -> Result<(), WorkloadError> {
            let snapshot = self.index.snapshot();
            let issuer = Issuer { identities: &self.identities, issuing: &self.issuing, done: &self.done };
            self.workload.refresh(issuer, &snapshot, &key(Kind::Dataplane, "web"), otherwise).await
        }

        /// Refreshes until nothing is being made.
        async fn refresh(&mut self, otherwise: Otherwise) -> Result<(), WorkloadError> {
            self.look(otherwise).await?;
            while self.workload.is_coming() {
                self.done.notified().await;
                self.look(otherwise).await?;
            }
            Ok(())
        }

        fn certificate(&self) -> Option<Arc<WorkloadIdentity>> {
            self.workload.identity().cloned()
        }

        /// As if the time had passed that others may take to hear whom to trust.
        fn pass_time(&mut self) {
            let (_, at) = self.workload.next.as_mut().expect("something is to happen later");
            *at = Timestamp::now();
        }
    }

    #[tokio::test]
    async fn a_new_proxy_has_its_certificate_at_once() {
        let mut stage = Stage::new().await;
        let error = stage.refresh(Otherwise::New).await.expect_err("there is no authority").to_string();
        assert!(error.contains("\"id\"") && error.contains("id-root-ca"), "{error}");
        stage.sign_with(&authority()).await;
        stage.refresh(Otherwise::New).await.expect("all is there");
        let issued = stage.workload.issued().expect("issued");
        assert_eq!(&*issued.identity.name, "kri_mid_demo___id_");
        assert_eq!(stage.workload.due(), Some(issued.renew_at));
        let first = stage.certificate();
        stage.refresh(Otherwise::Plain).await.expect("all is there");
        assert_eq!(stage.certificate(), first, "a good certificate stays");
    }

    #[tokio::test]
    async fn a_secured_proxy_waits_until_others_know_whom_to_trust() {
        let mut stage = Stage::new().await;
        let authority = authority();
        stage.sign_with(&authority).await;
        stage.refresh(Otherwise::Secured).await.expect("all is there");
        assert_eq!((stage.certificate(), stage.workload.due()), (None, None), "nobody would accept it");
        stage.trust(&[&authority]).await;
        stage.refresh(Otherwise::Secured).await.expect("all is there");
        assert_eq!(stage.certificate(), None, "others have not heard of it yet");
        assert!(stage.workload.due().is_some(), "but will have");
        stage.pass_time();
        stage.refresh(Otherwise::Secured).await.expect("all is there");
        let first = stage.certificate();
        assert!(first.is_some());

        // The same with another authority.
        let another = self::authority();
        stage.sign_with(&another).await;
        stage.refresh(Otherwise::Plain).await.expect("all is there");
        assert_eq!(stage.certificate(), first, "the new one is not trusted");
        stage.trust(&[&authority, &another]).await;
        stage.refresh(Otherwise::Plain).await.expect("all is there");
        assert_eq!(stage.certificate(), first);
        stage.pass_time();
        stage.refresh(Otherwise::Plain).await.expect("all is there");
        assert_ne!(stage.certificate(), first);
    }

    #[tokio::test]
    async fn the_earlier_certificate_serves_while_another_one_is_made() {
        let mut stage = Stage::new().await;
        stage.sign_with(&authority()).await;
        stage.refresh(Otherwise::New).await.expect("all is there");
        let first = stage.certificate();
        let grow_old = |stage: &mut Stage| {
            stage.workload.issued.as_mut().expect("it has one").renew_at = Timestamp::now();
        };
        grow_old(&mut stage);
        stage.look(Otherwise::Plain).await.expect("all is there");
        assert!(stage.workload.is_coming() && stage.certificate() == first);
        assert_eq!(stage.workload.due(), None, "nothing more is to be done until it is there");
        stage.refresh(Otherwise::Plain).await.expect("all is there");
        assert!(first.is_some() && stage.certificate().is_some() && stage.certificate() != first);
        assert_eq!(stage.issuing.issued(), 2);
    }

    #[tokio::test]
    async fn only_a_deletion_takes_a_certificate_away() {
        let mut stage = Stage::new().await;
        stage.sign_with(&authority()).await;
        stage.refresh(Otherwise::New).await.expect("all is there");
        let first = stage.certificate();
        stage.identity("False").await;
        stage.refresh(Otherwise::Plain).await.expect("it is good still");
        assert!(first.is_some() && stage.certificate() == first);
        stage.index.apply([(&key(Kind::MeshIdentity, "id"), None)]);
        stage.refresh(Otherwise::Plain).await.expect("nothing is asked for");
        assert_eq!((stage.certificate(), stage.workload.due()), (None, None));
    }
}
