//! What a simulated zone has been sent: enough of it to tell whether two zones have the same.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use prost::Message;
use serde_json::Value;
use tandem_proto::mesh::v1alpha1::KumaResource;

use super::wire::{DeltaResponse, TYPES};

/// The type whose resources the generator writes and changes.
pub(super) const POLICY: &str = "MeshTimeout";

/// Label with the name that a resource has where it was written.
const DISPLAY_NAME: &str = "kuma.io/display-name";

/// The applied state of a zone: digests of contents by digests of names, since a run holds many zones.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    types: BTreeMap<&'static str, HashMap<u64, u64>>,
    /// Contents of policies, by name; only where they are kept.
    policies: Option<BTreeMap<String, Bytes>>,
}

impl Mirror {
    /// A mirror that also keeps the contents of policies.
    pub(super) fn with_policies() -> Self {
        Self { types: BTreeMap::new(), policies: Some(BTreeMap::new()) }
    }

    /// Forgets everything: on a new stream, the first response of a type is its full state.
    pub(super) fn clear(&mut self) {
        self.types.clear();
        if let Some(policies) = &mut self.policies {
            policies.clear();
        }
    }

    /// Applies a response.
    ///
    /// # Errors
    /// When it is of a type that zones do not get, or removes what the zone does not have.
    pub(super) fn apply(&mut self, response: &DeltaResponse) -> Result<()> {
        let name = TYPES.into_iter().find(|name| *name == response.type_url);
        let name = name.ok_or_else(|| anyhow!("response of type {:?}, which nobody asked for", response.type_url))?;
        let known = self.types.entry(name).or_default();
        for resource in &response.resources {
            let body = resource.body.as_ref().map(|body| body.value.clone()).unwrap_or_default();
            known.insert(digest(resource.name.as_bytes()), digest(&body));
            if let (Some(policies), POLICY) = (&mut self.policies, name) {
                policies.insert(resource.name.clone(), body);
            }
        }
        for removed in &response.removed {
            if known.remove(&digest(removed.as_bytes())).is_none() {
                bail!("{name} {removed:?} is removed, which was never sent");
            }
            if let (Some(policies), POLICY) = (&mut self.policies, name) {
                policies.remove(removed);
            }
        }
        Ok(())
    }

    /// True when there was a response of each type.
    pub(super) fn is_complete(&self) -> bool {
        self.types.len() == TYPES.len()
    }

    /// Number of resources of all types.
    pub(super) fn len(&self) -> usize {
        self.types.values().map(HashMap::len).sum()
    }

    /// Names the first type in which two zones differ.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        TYPES.into_iter().find_map(|name| {
            let (here, there) = (self.types.get(name), other.types.get(name));
            let count = |known: Option<&HashMap<_, _>>| known.map_or(0, HashMap::len);
            (here != there).then(|| format!("{name}: {} resources, and {} or other ones", count(here), count(there)))
        })
    }

    /// The specifications of the policies, by the names that they have at global.
    ///
    /// # Errors
    /// When one of them does not decode.
    pub(super) fn policies(&self) -> Result<BTreeMap<String, Value>> {
        let kept = self.policies.iter().flatten();
        kept.map(|(name, body)| specification(body).with_context(|| format!("{POLICY} {name:?}"))).collect()
    }
}

/// True when a response carries a policy with this connect timeout.
pub(super) fn has_connect_timeout(response: &DeltaResponse, timeout: Duration) -> bool {
    let bodies = response.resources.iter().filter_map(|resource| resource.body.as_ref());
    response.type_url == POLICY
        && bodies.filter_map(|body| specification(&body.value).ok()).any(|(_, specification)| {
            let text = specification.pointer("/to/0/default/connectionTimeout").and_then(Value::as_str);
            text.and_then(|text| tandem_proto::duration::parse_std(text).ok()) == Some(timeout)
        })
}

/// Name at global and specification of a policy.
fn specification(body: &Bytes) -> Result<(String, Value)> {
    let resource = KumaResource::decode(body.clone())?;
    let meta = resource.meta.ok_or_else(|| anyhow!("no meta"))?;
    let name = meta.labels.get(DISPLAY_NAME).cloned().unwrap_or(meta.name);
    let specification = resource.spec.ok_or_else(|| anyhow!("no spec"))?;
    Ok((name, serde_json::from_slice(&specification.value)?))
}

fn digest(bytes: &[u8]) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::super::wire::{Any, Resource};
    use super::*;
    use prost_types::Any as PackedAny;
    use tandem_proto::mesh::v1alpha1::kuma_resource::Meta;

    fn policy(name: &str, timeout: &str) -> Resource {
        let text = format!(r#"{{"to":[{{"default":{{"connectionTimeout":"{timeout}"}}}}]}}"#);
        let body = KumaResource {
            meta: Some(Meta {
                name: format!("{name}-hash"),
                mesh: "default".into(),
                labels: [(DISPLAY_NAME.to_owned(), name.to_owned())].into(),
                ..Meta::default()
            }),
            spec: Some(PackedAny { type_url: String::new(), value: text.into_bytes() }),
            status: None,
        };
        let body = Some(Any { value: body.encode_to_vec().into() });
        Resource { name: format!("{name}-hash.default"), body, ..Resource::default() }
    }

    fn response(type_url: &str, resources: Vec<Resource>, removed: &[&str]) -> DeltaResponse {
        let removed = removed.iter().map(|name| (*name).to_owned()).collect();
        DeltaResponse { type_url: type_url.into(), nonce: "1".into(), resources, removed }
    }

    #[test]
    fn equal_states_are_equal_however_they_came_about() {
        let (mut long, mut fresh) = (Mirror::default(), Mirror::with_policies());
        for step in [
            response(POLICY, vec![policy("a", "1s"), policy("b", "1s")], &[]),
            response(POLICY, vec![policy("a", "2s")], &["b-hash.default"]),
        ] {
            long.apply(&step).expect("applies");
        }
        fresh.apply(&response(POLICY, vec![policy("a", "1s")], &[])).expect("applies");
        assert!(long.difference(&fresh).is_some_and(|text| text.starts_with(POLICY)), "another content");
        fresh.apply(&response(POLICY, vec![policy("a", "2s")], &[])).expect("applies");
        assert_eq!(long.difference(&fresh), None);
        assert_eq!(
            fresh.policies().expect("decode")["a"].pointer("/to/0/default/connectionTimeout"),
            Some(&"2s".into())
        );
        assert_eq!(long.len(), 1);
        fresh.clear();
        assert!(fresh.policies().expect("decode").is_empty());
        assert!(long.difference(&fresh).is_some(), "nothing is not the same as something");
    }

    #[test]
    fn what_was_never_sent_cannot_be_removed() {
        let mut mirror = Mirror::default();
        let error = mirror.apply(&response("Mesh", vec![], &["gone."])).expect_err("phantom");
        assert!(error.to_string().contains("gone."), "{error}");
        assert!(mirror.apply(&response("Unknown", vec![], &[])).is_err());
    }

    #[test]
    fn a_zone_is_complete_with_one_response_of_each_type() {
        let mut mirror = Mirror::default();
        for name in TYPES {
            assert!(!mirror.is_complete());
            mirror.apply(&response(name, vec![], &[])).expect("applies");
        }
        assert!(mirror.is_complete());
    }

    #[test]
    fn the_connect_timeout_is_found_however_it_is_written() {
        let timeout = Duration::from_millis(10_001);
        for text in ["10001ms", "10.001s"] {
            assert!(has_connect_timeout(&response(POLICY, vec![policy("a", text)], &[]), timeout), "{text}");
        }
        assert!(!has_connect_timeout(&response(POLICY, vec![policy("a", "10s")], &[]), timeout));
        assert!(!has_connect_timeout(&response("MeshRetry", vec![policy("a", "10001ms")], &[]), timeout));
    }
}
