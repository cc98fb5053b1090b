use serde_json::{Value, json};
use tandem_admission::{Admission, AdmissionSettings};
use tandem_auth::keys::{Realm, generate_pem};
use tandem_auth::token::Settings;
use tandem_model::rest::{self, Unknown};
use tandem_model::{Mode, ResourceKey};
use tandem_proto::system::v1alpha1::Secret;
use tandem_store::{MemoryStore, SharedStore, Write};
use tandem_xds::{MeshIndex, ZoneSettings};

use super::*;

const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

/// A zone with the mesh `m` and its key.
struct Stage {
    store: SharedStore,
    index: MeshIndex,
    admission: Admission,
    authentication: Authentication,
}

impl Stage {
    async fn new() -> Self {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let index = MeshIndex::new(ZoneSettings::new("east"));
        let admission = Admission::new(store.clone(), AdmissionSettings::new(Mode::Zone { federated: true }, "east"));
        let authentication = Authentication {
            dataplanes: ProxyAuthn::Token,
            zone_proxies: ProxyAuthn::Token,
            zone: "east".to_owned(),
            tokens: Arc::new(Tokens::new(&store, Settings::default())),
            service_accounts: None,
            snapshot: Arc::new(arc_swap::ArcSwap::new(index.snapshot())),
            labels: admission.settings().label_context(),
            takeover_protection: true,
        };
        let mut stage = Self { store, index, admission, authentication };
        stage.put(json!({"type": "Mesh", "name": "m"})).await;
        for realm in [Realm::Dataplane { mesh: "m".to_owned() }, Realm::Zone] {
            let secret = Secret { data: Some(generate_pem().expect("a key").into_bytes()) };
            let write = Write::Put(Resource::from_proto(realm.key(1), &secret));
            stage.store.commit(vec![write]).await.expect("stored");
        }
        stage
    }

    /// Writes a resource, and lets the index see it.
    async fn put(&mut self, body: Value) {
        let resource = resource(body);
        let key = resource.key.clone();
        let stored = self.store.commit(vec![Write::Put(resource)]).await.expect("stored").resources.remove(0);
        self.index.apply([(&key, stored.as_ref())]);
        self.authentication.snapshot.store(self.index.snapshot());
    }

    async fn identify(&mut self, name: &str, labels: Value, path: Option<&str>) {
        let mut spec = json!({"selector": {"dataplane": {"matchLabels": labels}}, "provider": {"type": "Bundled"}});
        if let Some(path) = path {
            spec["spiffeID"] = json!({"path": path});
        }
        self.put(json!({"type": "MeshIdentity", "mesh": "m", "name": name, "spec": spec})).await;
    }

    fn token(&self, claims: DataplaneClaims) -> String {
        self.authentication.tokens.issue_dataplane(&claims, DAY).expect("issued")
    }

    async fn prove(&self, kind: Kind, token: &str) -> Result<Proof, String> {
        let key = if kind == Kind::Dataplane {
            ResourceKey::new(kind, "m", "web-1")
        } else {
            ResourceKey::global(kind, "zone-proxy")
        };
        self.authentication.prove(&key, token).await.map_err(|error| error.to_string())
    }

    /// What becomes of a proxy that brings a Dataplane.
    async fn connect(&self, token: &str, brought: &Resource) -> Result<(), String> {
        let proof = self.prove(Kind::Dataplane, token).await?;
        self.authentication.admit(&proof, brought).map_err(|error| error.to_string())?;
        self.authentication.check_workload(brought).map_err(|error| error.to_string())?;
        let may_replace = |stored: &Resource| self.authentication.may_replace(&proof, stored);
        self.admission.register(brought.clone(), may_replace).await.map(drop).map_err(|error| error.to_string())
    }
}

fn resource(body: Value) -> Resource {
    rest::from_json(body, None, Unknown::Refuse).expect("a resource").resource
}

fn dataplane(service: &str, labels: Value) -> Resource {
    resource(json!({
        "type": "Dataplane", "mesh": "m", "name": "web-1", "labels": labels,
        "networking": {"address": "10.0.0.1", "inbound": [{"port": 80, "tags": {"kuma.io/service": service}}]},
    }))
}

fn claims(service: Option<&str>, workload: &str) -> DataplaneClaims {
    let tags = service.map(|service| ("kuma.io/service".to_owned(), vec![service.to_owned()])).into_iter().collect();
    DataplaneClaims { mesh: "m".to_owned(), tags, workload: workload.to_owned(), ..DataplaneClaims::default() }
}

#[tokio::test]
async fn a_credential_alone_says_who_cannot_come() {
    let stage = Stage::new().await;
    let named =
        |name: &str, kind: &str| DataplaneClaims { name: name.to_owned(), r#type: kind.to_owned(), ..claims(None, "") };
    for (claims, refusal) in [
        (named("web-1", "dataplane"), None),
        (named("", ""), None),
        (named("web-2", ""), Some("proxy name from requestor: web-1 is different than in token: web-2")),
        (named("", "egress"), Some("proxy type from requestor: dataplane is different than in token: egress")),
    ] {
        let proved = stage.prove(Kind::Dataplane, &stage.token(claims)).await;
        assert_eq!(proved.err().as_deref(), refusal);
    }
    let zone = |zone: &str, scope: &str| {
        let claims = tandem_auth::token::ZoneClaims { zone: zone.to_owned(), scope: vec![scope.to_owned()] };
        stage.authentication.tokens.issue_zone(&claims, DAY).expect("issued")
    };
    stage.prove(Kind::ZoneIngress, &zone("east", "ingress")).await.expect("for it");
    for (kind, token, refusal) in [
        (Kind::ZoneEgress, zone("east", "ingress"), "egress is out of token's scope: [ingress]"),
        (Kind::ZoneIngress, zone("west", "ingress"), "zone from requestor: east is different than in token: west"),
        // Each realm has its own keys.
        (Kind::Dataplane, zone("east", "ingress"), "token signature is invalid"),
        (Kind::ZoneIngress, stage.token(claims(None, "")), "token signature is invalid"),
    ] {
        let text = stage.prove(kind, &token).await.expect_err("refused");
        assert!(text.contains(refusal), "{text}");
    }
}

#[tokio::test]
async fn a_dataplane_is_not_taken_over_by_another_identity() {
    let mut stage = Stage::new().await;
    let (web, other) = (dataplane("web", json!({})), dataplane("other", json!({})));
    let (of_web, of_other) = (stage.token(claims(Some("web"), "")), stage.token(claims(Some("other"), "")));
    stage.connect(&of_web, &web).await.expect("the first");
    stage.connect(&of_web, &web).await.expect("the same again");
    let refused = stage.connect(&of_other, &other).await.expect_err("another one");
    assert!(
        refused.starts_with(
            "a Dataplane \"web-1\" is there already, and the token does not cover it: dataplane contains tag \
             \"kuma.io/service\" with value \"web\" which is not allowed with this token."
        ),
        "{refused}"
    );
    let stored = stage.store.get(&web.key).await.expect("readable").expect("there");
    assert!(stored.proto::<pb::Dataplane>().expect("decodes").all_tags()["kuma.io/service"].contains("web"));

    let both = DataplaneClaims {
        tags: [("kuma.io/service".to_owned(), vec!["web".to_owned(), "other".to_owned()])].into(),
        ..claims(None, "")
    };
    stage.connect(&stage.token(both), &other).await.expect("it covers both");
    stage.connect(&stage.token(claims(None, "")), &web).await.expect("one for the mesh covers all");

    // One that was written over HTTP is protected like one that a proxy brought.
    stage
        .put(json!({
            "type": "Dataplane", "mesh": "m", "name": "web-1",
            "networking": {"address": "10.0.0.9", "inbound": [{"port": 1, "tags": {"kuma.io/service": "db"}}]},
        }))
        .await;
    assert!(stage.connect(&of_web, &web).await.is_err());
    stage.authentication.takeover_protection = false;
    stage.connect(&of_web, &web).await.expect("as in Kuma");
}

#[tokio::test]
async fn the_zone_that_the_control_plane_adds_takes_nothing_away() {
    let stage = Stage::new().await;
    let elsewhere = resource(json!({
        "type": "Dataplane", "mesh": "m", "name": "web-1", "networking": {"address": "10.0.0.1", "inbound": [
            {"port": 80, "tags": {"kuma.io/service": "web", "kuma.io/zone": "elsewhere"}}]},
    }));
    let mut claims = claims(Some("web"), "");
    claims.tags.insert("kuma.io/zone".to_owned(), vec!["elsewhere".to_owned()]);
    let token = stage.token(claims);
    for _ in 0..2 {
        stage.connect(&token, &elsewhere).await.expect("its own Dataplane");
    }
}

#[tokio::test]
async fn a_workload_is_not_taken_over_either() {
    let stage = Stage::new().await;
    let labelled = |workload: &str| dataplane("web", json!({"kuma.io/workload": workload}));
    let bound = |workload: &str| stage.token(claims(None, workload));
    stage.connect(&bound("a"), &labelled("a")).await.expect("the first");
    stage.connect(&bound("b"), &labelled("b")).await.expect_err("another workload");
    stage.connect(&bound("a"), &labelled("a")).await.expect("the same again");
}

#[tokio::test]
async fn where_the_workload_is_the_identity_the_token_has_to_name_it() {
    let mut stage = Stage::new().await;
    let unbound = stage.token(claims(Some("web"), ""));
    let bound = stage.token(claims(Some("web"), "a"));
    let labelled = dataplane("web", json!({"kuma.io/workload": "a"}));
    let admitted = |stage: &Stage, token: &str, brought: &Resource| {
        let claims = stage.authentication.tokens.check_dataplane(token, "m").expect("valid");
        let proof = Proof::Dataplane(claims);
        let checked = stage.authentication.admit(&proof, brought).map_err(|error| error.to_string());
        checked.and_then(|()| stage.authentication.check_workload(brought).map_err(|error| error.to_string()))
    };
    let unlabelled = dataplane("web", json!({}));
    for brought in [&labelled, &unlabelled] {
        admitted(&stage, &unbound, brought).expect("no MeshIdentity");
    }

    // The selector names a label that the control plane adds.
    stage.identify("of-east", json!({"kuma.io/zone": "east"}), None).await;
    assert_eq!(
        admitted(&stage, &unbound, &labelled).expect_err("unbound"),
        r#"dataplane with "kuma.io/workload" label "a" derives its identity from the workload, so it requires a workload-bound token"#
    );
    admitted(&stage, &bound, &labelled).expect("bound");
    assert_eq!(
        admitted(&stage, &unbound, &unlabelled).expect_err("no workload"),
        "missing required label 'kuma.io/workload' - dataplane is selected by MeshIdentity 'of-east' with path template \
         '/workload/{{ .Workload }}'"
    );

    // The more specific one decides, and it does not name the workload.
    stage.identify("of-sidecars", json!({"kuma.io/zone": "east", "kuma.io/proxy-type": "sidecar"}), Some("/x")).await;
    for brought in [&labelled, &unlabelled] {
        admitted(&stage, &unbound, brought).expect("its workload is no part of its identity");
    }
}

#[tokio::test]
async fn where_nothing_is_asked_for_anything_goes() {
    let mut stage = Stage::new().await;
    stage.authentication.dataplanes = ProxyAuthn::None;
    stage.authentication.zone_proxies = ProxyAuthn::None;
    stage.connect("", &dataplane("web", json!({}))).await.expect("admitted");
    stage.connect("anything", &dataplane("other", json!({}))).await.expect("replaced");
    stage.prove(Kind::ZoneEgress, "").await.expect("admitted");
}
