//! The node that a control plane presents itself as on a stream.

use prost_types::value::Kind as ValueKind;
use prost_types::{ListValue, Struct, Value};
use tandem_proto::system::v1alpha1::{KumaCpVersion, Version};
use tandem_runtime::version::are_compatible;

use crate::feature;
use crate::wire::Node;

/// What a control plane tells a peer about itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Identity {
    /// Instance id, e.g. `host-1a2b`; new at each start.
    pub instance: String,
    /// Version of this build.
    pub version: KumaCpVersion,
    /// Effective configuration as JSON text with masked secrets; empty on global. Kuma reads `store.type` from it.
    pub config: String,
}

impl Identity {
    /// Number of the version, e.g. `2.13.10`.
    pub fn version_text(&self) -> &str {
        &self.version.version
    }

    /// The node for the first request of a stream of `zone`: with version, configuration, instance and features.
    pub fn node(&self, zone: &str) -> Node {
        let mut fields = std::collections::BTreeMap::new();
        fields.insert("version".to_owned(), version_value(&self.version));
        fields.insert("config".to_owned(), text(&self.config));
        fields.insert("control-plane-id".to_owned(), text(&self.instance));
        let features = feature::NODE_FEATURES.iter().map(|name| text(name)).collect();
        fields
            .insert("features".to_owned(), Value { kind: Some(ValueKind::ListValue(ListValue { values: features })) });
        Node { id: zone.to_owned(), metadata: Some(Struct { fields }) }
    }
}

/// The node for all further requests: the id only.
pub fn bare(zone: &str) -> Node {
    Node { id: zone.to_owned(), metadata: None }
}

/// What a peer told about itself in the metadata of its node; missing parts are empty.
pub fn identity_of(node: &Node) -> Identity {
    let Some(metadata) = &node.metadata else { return Identity::default() };
    let string = |name: &str| match metadata.fields.get(name).and_then(|value| value.kind.as_ref()) {
        Some(ValueKind::StringValue(text)) => text.clone(),
        _ => String::new(),
    };
    Identity { instance: string("control-plane-id"), version: version_of(metadata), config: string("config") }
}

fn version_of(metadata: &Struct) -> KumaCpVersion {
    let member = |parent: &Struct, name: &str| match parent.fields.get(name).and_then(|value| value.kind.clone()) {
        Some(ValueKind::StructValue(child)) => Some(child),
        _ => None,
    };
    let Some(version) = member(metadata, "version").and_then(|version| member(&version, "kumaCp")) else {
        return KumaCpVersion::default();
    };
    let string = |name: &str| match version.fields.get(name).and_then(|value| value.kind.as_ref()) {
        Some(ValueKind::StringValue(text)) => text.clone(),
        _ => String::new(),
    };
    KumaCpVersion {
        version: string("version"),
        git_tag: string("gitTag"),
        git_commit: string("gitCommit"),
        build_date: string("buildDate"),
        kuma_cp_global_compatible: false,
    }
}

fn version_value(version: &KumaCpVersion) -> Value {
    let members = [
        ("version", &version.version),
        ("gitTag", &version.git_tag),
        ("gitCommit", &version.git_commit),
        ("buildDate", &version.build_date),
    ];
    let fields = members.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect();
    structure([("kumaCp".to_owned(), Value { kind: Some(ValueKind::StructValue(Struct { fields })) })])
}

fn structure(members: impl IntoIterator<Item = (String, Value)>) -> Value {
    Value { kind: Some(ValueKind::StructValue(Struct { fields: members.into_iter().collect() })) }
}

fn text(value: &str) -> Value {
    Value { kind: Some(ValueKind::StringValue(value.to_owned())) }
}

/// [`judged`], with a line in the log when `peer` and this control plane do not go together.
pub(crate) fn judged_aloud(peer: &str, theirs: &KumaCpVersion, ours: &KumaCpVersion) -> Version {
    let version = judged(theirs, ours);
    if version.kuma_cp.as_ref().is_some_and(|version| !version.kuma_cp_global_compatible) {
        let (theirs, ours) = (&theirs.version, &ours.version);
        tracing::warn!(
            peer,
            theirs,
            ours,
            "the versions of zone and global are more than two minor versions apart, which is not supported; upgrade the \
             older one"
        );
    }
    version
}

/// The version of a zone as its insight shows it, with the verdict whether it goes together with global's
/// ([`are_compatible`]). The verdict is for people; it never stops a connection.
pub fn judged(zone: &KumaCpVersion, global: &KumaCpVersion) -> Version {
    let compatible = are_compatible(&zone.version, &global.version);
    Version { kuma_cp: Some(KumaCpVersion { kuma_cp_global_compatible: compatible, ..zone.clone() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::Features;

    #[test]
    fn a_node_tells_what_it_was_made_of() {
        let identity = Identity {
            instance: "host-1a2b".into(),
            version: KumaCpVersion {
                version: "2.13.10".into(),
                git_tag: "v2.13.10".into(),
                ..KumaCpVersion::default()
            },
            config: "{}".into(),
        };
        let node = identity.node("zone-1");
        assert_eq!(node.id, "zone-1");
        assert_eq!(identity_of(&node), identity);
        assert_eq!(Features::of(&node), Features::all());
        assert_eq!(Features::of(&bare("zone-1")), Features::default());
        assert_eq!(identity_of(&bare("zone-1")), Identity::default());
    }

    #[test]
    fn compatibility_of_versions() {
        let compatible = |zone: &str, global: &str| {
            let version = |text: &str| KumaCpVersion { version: text.into(), ..KumaCpVersion::default() };
            judged(&version(zone), &version(global)).kuma_cp.expect("always set").kuma_cp_global_compatible
        };
        assert!(compatible("2.13.10", "2.13.0"));
        assert!(compatible("2.11.0", "2.13.0"));
        assert!(!compatible("2.10.9", "2.13.0"));
        assert!(!compatible("1.13.0", "2.13.0"));
        assert!(compatible("0.0.0-preview.v1", "2.13.0"));
        assert!(compatible("unknown", "2.13.0"));
    }
}
