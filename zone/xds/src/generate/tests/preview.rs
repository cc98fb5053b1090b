//! What proxies would be sent with policies on trial.

use serde_json::json;
use tandem_model::Kind;

use super::{LISTENER, SECRET, key};
use crate::testing::{Zone, dataplane, for_all, json, mesh};
use crate::{Cache, Generated, ProxyInput, ProxyMetadata, Snapshot, generate};

fn configuration(snapshot: &Snapshot) -> Generated {
    let identity = crate::Identity { certificate_chain: b"CERT".to_vec(), private_key: b"KEY".to_vec() };
    let input = ProxyInput {
        key: &key("web"),
        metadata: &ProxyMetadata::default(),
        identities: &[("default".to_owned(), identity.into())].into(),
        workload: None,
        admin_tls: None,
        previous: None,
    };
    generate(snapshot, &input, &Cache::default()).expect("the proxy is known")
}

fn idle_timeout(generated: &Generated) -> serde_json::Value {
    let listener = json(generated, LISTENER, "inbound:10.0.0.1:8080");
    let filters = listener["filterChains"][0]["filters"].as_array().expect("filters").clone();
    filters.last().expect("the proxy itself comes last")["typedConfig"]["idleTimeout"].clone()
}

#[test]
fn policies_on_trial_have_an_effect_in_previews_only() {
    let policy = for_all(Kind::MeshTimeout, "default", "trial", "from", json!({"idleTimeout": "322s"}));
    let policy = policy.with_labels([("kuma.io/effect", "shadow")]);
    let web = dataplane("default", "web").inbound(8080, "web").resource();
    let zone = Zone::new("east", [mesh("default").resource(), web, policy]);
    let snapshot = zone.index.snapshot();
    for (snapshot, expected) in [
        (&*snapshot, "3600s"),
        (&snapshot.preview("default", b"CA", false), "3600s"),
        (&snapshot.preview("default", b"CA", true), "322s"),
        (&snapshot.preview("other", b"CA", true), "3600s"),
        (&*zone.index.snapshot(), "3600s"),
    ] {
        assert_eq!(idle_timeout(&configuration(snapshot)), expected);
    }
}

#[test]
fn a_preview_shows_no_certificate_and_needs_none() {
    // The secret with the certificate of the authority is missing.
    let web = dataplane("default", "web").inbound(8080, "web").resource();
    let mut zone = Zone::new("east", [web]);
    zone.put(mesh("default").mtls().resource());
    let preview = configuration(&zone.index.snapshot().preview("default", b"CA", false));
    let authority = json(&preview, SECRET, "mesh_ca:secret:default");
    assert_eq!(authority["validationContext"]["trustedCa"], json!({"inlineBytes": "Q0E="}));
}
