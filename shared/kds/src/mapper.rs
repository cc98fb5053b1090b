//! How a resource changes on its way out: labels, names, and what a peer must not see.
//!
//! Source of the rules: Kuma `pkg/kds/context/context.go` and `pkg/kds/util/resource.go`.

use std::borrow::Cow;

use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use prost::Message;
use tandem_model::{Kind, Labels, Resource, Spec, label, name};
use tandem_proto::mesh::v1alpha1::{DataplaneInsight, DiscoverySubscription, ZoneEgressInsight, ZoneIngressInsight};
use tandem_proto::system::v1alpha1::Secret;

use crate::codec::{self, Encoded, Outgoing};

const ZONE_TOKEN_KEY: &str = "zone-token-signing-key";
const ZONE_TOKEN_PUBLIC_KEY: &str = "zone-token-signing-public-key";
const PRIVATE_KEY_PEM: &str = "RSA PRIVATE KEY";
const PUBLIC_KEY_PEM: &str = "RSA PUBLIC KEY";

/// Encodes a resource of global for zones; with or without hash in the name, as the zone wants it.
///
/// # Errors
/// When the signing key of zone tokens is no RSA private key, or the content cannot be written.
pub fn encode_for_zones(resource: &Resource, hash_names: bool, skip_prefixes: &[String]) -> Result<Encoded, String> {
    let mut labels = resource.labels.clone();
    labels.insert(label::ORIGIN.to_owned(), label::ORIGIN_GLOBAL.to_owned());
    drop_prefixes(&mut labels, skip_prefixes);
    let mut outgoing = outgoing(resource, labels);
    if resource.kind() == Kind::GlobalSecret
        && let Some(serial) = resource.key.name.strip_prefix(ZONE_TOKEN_KEY)
    {
        outgoing.spec = Cow::Owned(Spec::Proto(public_key_secret(resource)?.encode_to_vec().into()));
        outgoing.name = format!("{ZONE_TOKEN_PUBLIC_KEY}{serial}");
        outgoing.labels.insert(label::DISPLAY_NAME.to_owned(), resource.key.name.clone());
    }
    if hash_names {
        rename(&mut outgoing);
    }
    codec::encode(outgoing)
}

/// Encodes a resource of `zone` for global.
///
/// # Errors
/// When the insight of a proxy cannot be decoded, or the content cannot be written.
pub fn encode_for_global(resource: &Resource, zone: &str, skip_prefixes: &[String]) -> Result<Encoded, String> {
    let mut labels = resource.labels.clone();
    labels.insert(label::ORIGIN.to_owned(), label::ORIGIN_ZONE.to_owned());
    labels.insert(label::ZONE.to_owned(), zone.to_owned());
    labels.remove(label::DELETION_GRACE_PERIOD_STARTED_AT);
    drop_prefixes(&mut labels, skip_prefixes);
    let mut outgoing = outgoing(resource, labels);
    outgoing.status = resource.status.as_ref();
    if let Some(spec) = without_generations(resource)? {
        outgoing.spec = Cow::Owned(spec);
    }
    rename(&mut outgoing);
    codec::encode(outgoing)
}

fn outgoing(resource: &Resource, labels: Labels) -> Outgoing<'_> {
    Outgoing {
        kind: resource.kind(),
        mesh: &resource.key.mesh,
        name: resource.key.name.clone(),
        labels,
        spec: Cow::Borrowed(&resource.spec),
        status: None,
    }
}

fn drop_prefixes(labels: &mut Labels, prefixes: &[String]) {
    if !prefixes.is_empty() {
        labels.retain(|name, _| !prefixes.iter().any(|prefix| name.starts_with(prefix)));
    }
}

/// Gives the resource the name it bears everywhere else, and keeps the one the user gave as display name.
fn rename(outgoing: &mut Outgoing<'_>) {
    if name::keeps_name_when_synced(outgoing.kind) {
        return;
    }
    let display_name = outgoing.labels.entry(label::DISPLAY_NAME.to_owned()).or_default();
    if display_name.is_empty() {
        display_name.clone_from(&outgoing.name);
    }
    let display_name = display_name.clone();
    let extra = [label::ZONE, label::K8S_NAMESPACE].into_iter().filter_map(|name| outgoing.labels.get(name));
    outgoing.name = name::hashed(outgoing.mesh, &display_name, extra.map(String::as_str));
}

/// The secret with only the public half of its key.
fn public_key_secret(resource: &Resource) -> Result<Secret, String> {
    let secret: Secret = resource.proto().map_err(|error| error.to_string())?;
    let problem = |what: &str| {
        format!(
            "{} holds no {PRIVATE_KEY_PEM} in PEM form ({what}); zones get no key to check zone tokens with",
            resource.key
        )
    };
    let private = pem::parse(secret.data.unwrap_or_default()).map_err(|error| problem(&error.to_string()))?;
    if private.tag() != PRIVATE_KEY_PEM {
        return Err(problem(&format!("found {:?}", private.tag())));
    }
    let pair = KeyPair::from_der(private.contents()).map_err(|error| problem(&error.to_string()))?;
    let public = pem::Pem::new(PUBLIC_KEY_PEM, pair.public_key().as_ref());
    let text = pem::encode_config(&public, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF));
    Ok(Secret { data: Some(text.into_bytes()) })
}

/// The insight of a proxy with the generation of its subscriptions set to zero; `None` when there is nothing to change.
///
/// Generations count signs of life inside of the zone; passing them on would make traffic without news.
fn without_generations(resource: &Resource) -> Result<Option<Spec>, String> {
    fn reset(subscriptions: &mut [DiscoverySubscription]) -> bool {
        let running = subscriptions.iter_mut().filter(|subscription| subscription.generation != 0);
        running.map(|subscription| subscription.generation = 0).count() > 0
    }
    fn encoded(changed: bool, insight: &impl Message) -> Option<Spec> {
        changed.then(|| Spec::Proto(insight.encode_to_vec().into()))
    }
    let undecodable = |error: tandem_model::DecodeError| error.to_string();
    Ok(match resource.kind() {
        Kind::DataplaneInsight => {
            let mut insight: DataplaneInsight = resource.proto().map_err(undecodable)?;
            encoded(reset(&mut insight.subscriptions), &insight)
        }
        Kind::ZoneIngressInsight => {
            let mut insight: ZoneIngressInsight = resource.proto().map_err(undecodable)?;
            encoded(reset(&mut insight.subscriptions), &insight)
        }
        Kind::ZoneEgressInsight => {
            let mut insight: ZoneEgressInsight = resource.proto().map_err(undecodable)?;
            encoded(reset(&mut insight.subscriptions), &insight)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use serde_json::json;
    use tandem_model::ResourceKey;

    use super::*;

    fn decoded(kind: Kind, encoded: &Encoded) -> Resource {
        codec::decode(kind, &encoded.body).expect("what was just encoded")
    }

    fn to_zones(resource: &Resource) -> Resource {
        decoded(resource.kind(), &encode_for_zones(resource, true, &[]).expect("encodable"))
    }

    fn to_global(resource: &Resource) -> Resource {
        decoded(resource.kind(), &encode_for_global(resource, "east", &[]).expect("encodable"))
    }

    fn timeout(name: &str, labels: &[(&str, &str)]) -> Resource {
        Resource::from_json(ResourceKey::new(Kind::MeshTimeout, "default", name), json!({"to": []}))
            .with_labels(labels.iter().copied())
    }

    fn labels(resource: &Resource) -> Vec<(&str, &str)> {
        resource.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    #[test]
    fn global_renames_and_labels() {
        let sent = to_zones(&timeout("default-timeout-global", &[]));
        assert_eq!(sent.key.name, "default-timeout-global-54dbd4c66zwbcf9c");
        assert_eq!(labels(&sent), [(label::DISPLAY_NAME, "default-timeout-global"), (label::ORIGIN, "global")]);

        let unhashed = encode_for_zones(&timeout("t", &[]), false, &[]).expect("encodable");
        assert_eq!(&*unhashed.head.name, "t.default");
        assert_eq!(labels(&decoded(Kind::MeshTimeout, &unhashed)), [(label::ORIGIN, "global")]);
    }

    #[test]
    fn global_passes_on_under_the_same_name_and_without_status() {
        let mut service = Resource::from_json(
            ResourceKey::new(Kind::MeshService, "default", "redis-zone-2-ff29vc4685c6f594"),
            json!({"state": "Available"}),
        )
        .with_labels([(label::DISPLAY_NAME, "redis-zone-2"), (label::ORIGIN, "zone"), (label::ZONE, "zone-2")]);
        service.status = Some(json!({"vips": [{"ip": "10.0.0.1"}]}));
        let sent = to_zones(&service);
        assert_eq!(sent.key.name, service.key.name);
        assert_eq!(sent.label(label::ORIGIN), Some("global"));
        assert_eq!(sent.status, Some(json!({})));
        assert_eq!(to_global(&service).status, service.status);
    }

    #[test]
    fn some_kinds_keep_their_name_and_get_no_display_name() {
        let mesh = Resource::new(ResourceKey::global(Kind::Mesh, "default"), Spec::Proto(Default::default()));
        let sent = to_zones(&mesh);
        assert_eq!(sent.key.name, "default");
        assert_eq!(labels(&sent), [(label::ORIGIN, "global")]);
    }

    #[test]
    fn a_zone_forces_its_own_name() {
        let sent = to_global(&timeout(
            "t",
            &[(label::ZONE, "old-name"), (label::DELETION_GRACE_PERIOD_STARTED_AT, "2024"), ("team", "a")],
        ));
        assert_eq!(
            labels(&sent),
            [(label::DISPLAY_NAME, "t"), (label::ORIGIN, "zone"), (label::ZONE, "east"), ("team", "a")]
        );
        assert_eq!(sent.key.name, name::hashed("default", "t", ["east"]));
    }

    #[test]
    fn labels_with_configured_prefixes_are_dropped() {
        let skip = ["argocd.".to_owned()];
        let resource = timeout("t", &[("argocd.io/app", "x"), ("team", "a")]);
        let sent = encode_for_zones(&resource, true, &skip).expect("encodable");
        assert_eq!(decoded(Kind::MeshTimeout, &sent).label("argocd.io/app"), None);
        let sent = encode_for_global(&resource, "east", &skip).expect("encodable");
        assert_eq!(decoded(Kind::MeshTimeout, &sent).label("argocd.io/app"), None);
        assert_eq!(decoded(Kind::MeshTimeout, &sent).label("team"), Some("a"));
    }

    #[test]
    fn zones_get_the_public_half_of_the_zone_token_key() {
        let pair = KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("randomness is available");
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().expect("encodable");
        // PKCS#8 wraps the PKCS#1 key in an OCTET STRING that starts after 26 bytes of header.
        let private = pem::encode(&pem::Pem::new(PRIVATE_KEY_PEM, &pkcs8.as_ref()[26..]));
        let secret = |name: &str, data: String| {
            let spec = Secret { data: Some(data.into_bytes()) };
            Resource::from_proto(ResourceKey::global(Kind::GlobalSecret, name), &spec)
        };
        let sent = to_zones(&secret("zone-token-signing-key-1", private.clone()));
        assert_eq!(sent.key.name, "zone-token-signing-public-key-1");
        assert_eq!(sent.label(label::DISPLAY_NAME), Some("zone-token-signing-key-1"));
        let data = sent.proto::<Secret>().expect("a Secret").data.expect("has data");
        let public = pem::parse(data).expect("PEM");
        assert_eq!(public.tag(), "RSA PUBLIC KEY");
        assert_eq!(public.contents(), pair.public_key().as_ref());

        let error =
            encode_for_zones(&secret("zone-token-signing-key-2", "no key".into()), true, &[]).expect_err("no key");
        assert!(error.contains("zone-token-signing-key-2"), "{error}");
        let other = to_zones(&secret("zone-token-revocations", "1,2".into()));
        assert_eq!(other.proto::<Secret>().expect("a Secret").data.as_deref(), Some(&b"1,2"[..]));
    }

    #[test]
    fn generations_of_proxies_do_not_travel() {
        let insight = DataplaneInsight {
            subscriptions: vec![DiscoverySubscription { id: "1".into(), generation: 5, ..Default::default() }],
            ..Default::default()
        };
        let resource = Resource::from_proto(ResourceKey::new(Kind::DataplaneInsight, "default", "d"), &insight);
        let sent: DataplaneInsight = to_global(&resource).proto().expect("an insight");
        assert_eq!(sent.subscriptions[0].generation, 0);
        assert_eq!(sent.subscriptions[0].id, "1");
    }
}
