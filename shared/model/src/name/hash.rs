//! Name that a resource bears on the other control planes after synchronization.
//!
//! Source of the format: Kuma `pkg/kds/hash/hash.go` and the safe alphabet of
//! `k8s.io/apimachinery/pkg/util/rand`.

use crate::kind::Kind;
use crate::label;
use crate::resource::Resource;

const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// Longest part of the original name that is kept: 253 minus the dash and 16 characters of hash.
const KEPT: usize = 253 - 17;

/// True for kinds whose resources keep their name on all control planes.
pub fn keeps_name_when_synced(kind: Kind) -> bool {
    matches!(kind, Kind::Mesh | Kind::Secret | Kind::GlobalSecret | Kind::Config)
}

/// Name of `resource` on the control planes it is sent to.
///
/// Depends only on the mesh, the display name and the labels `kuma.io/zone` and `k8s.kuma.io/namespace`, so it is
/// the same however often the resource is passed on.
pub fn synced(resource: &Resource) -> String {
    if keeps_name_when_synced(resource.kind()) {
        return resource.key.name.clone();
    }
    let extra = [label::ZONE, label::K8S_NAMESPACE].into_iter().filter_map(|name| resource.label(name));
    hashed(&resource.key.mesh, resource.display_name(), extra)
}

/// `name`, shortened if need be, with a hash of mesh, name and further values: `<name>-<16 characters>`.
///
/// Pass an empty mesh for kinds of global scope.
pub fn hashed<'a>(mesh: &str, name: &str, extra: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Fnv1a::new();
    hash.write(mesh);
    hash.write(name);
    for value in extra {
        hash.write(value);
    }
    let kept = &name[..name.floor_char_boundary(KEPT)];
    let mut result = String::with_capacity(kept.len() + 17);
    result.push_str(kept);
    result.push('-');
    result.extend(format!("{:016x}", hash.0).bytes().map(|b| char::from(LETTERS[usize::from(b) % LETTERS.len()])));
    result
}

/// FNV-1a with 64 bits.
struct Fnv1a(u64);

impl Fnv1a {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn write(&mut self, text: &str) {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{ResourceKey, Spec};

    #[test]
    fn hashes_are_those_of_kuma() {
        let long = "a".repeat(250);
        let kept = format!("{}-f9xd7wd2x526582v", "a".repeat(236));
        let vectors: [(&str, &str, &[&str], &str); 13] = [
            ("default", "redis-zone-1", &["zone-1"], "redis-zone-1-2v6wfvvcvbc9f55d"),
            ("default", "redis-zone-2", &["zone-2"], "redis-zone-2-ff29vc4685c6f594"),
            ("default", "default-timeout-global", &[], "default-timeout-global-54dbd4c66zwbcf9c"),
            ("default", "default-timeout-zone-1", &["zone-1"], "default-timeout-zone-1-c58w24w4vw27f454"),
            ("", "foo", &[], "foo-zxw6c95d42zfz9cc"),
            ("", "foo", &["zone-1", "custom-ns"], "foo-696vzv497z4cv4f4"),
            ("", "ingress-2", &["zone-2"], "ingress-2-8b4xzbx26wc82zz2"),
            ("", "synced-universal-mesh-service", &[], "synced-universal-mesh-service-46484vczc724vc29"),
            ("default", "mesh-circuit-breaker-all-default", &[], "mesh-circuit-breaker-all-default-w798xv6xczc42cwb"),
            ("default", "all-services-default", &[], "all-services-default-wv4b46z9d8z49284"),
            ("default", "web", &["east", "kuma-demo"], "web-bx6896ff6c84v5zz"),
            ("default", "web-1", &["east"], "web-1-v4526b8f6wc2z2w7"),
            ("", &long, &["east"], &kept),
        ];
        for (mesh, name, extra, expected) in vectors {
            assert_eq!(hashed(mesh, name, extra.iter().copied()), expected);
            assert!(expected.len() <= 253);
        }
    }

    fn resource(kind: Kind, mesh: &str, name: &str, labels: &[(&str, &str)]) -> Resource {
        Resource::new(ResourceKey::new(kind, mesh, name), Spec::Proto(Default::default()))
            .with_labels(labels.iter().copied())
    }

    #[test]
    fn a_name_passed_on_stays_the_same() {
        let local = resource(Kind::MeshService, "default", "redis-zone-1", &[(label::ZONE, "zone-1")]);
        let first = synced(&local);
        assert_eq!(first, "redis-zone-1-2v6wfvvcvbc9f55d");
        let passed_on = resource(
            Kind::MeshService,
            "default",
            &first,
            &[(label::DISPLAY_NAME, "redis-zone-1"), (label::ZONE, "zone-1"), (label::ORIGIN, "global")],
        );
        assert_eq!(synced(&passed_on), first);
    }

    #[test]
    fn an_empty_display_name_counts_as_none() {
        let labelled = resource(Kind::HostnameGenerator, "", "foo", &[(label::DISPLAY_NAME, "")]);
        assert_eq!(synced(&labelled), "foo-zxw6c95d42zfz9cc");
    }

    #[test]
    fn some_kinds_keep_their_name() {
        assert_eq!(synced(&resource(Kind::Mesh, "", "default", &[])), "default");
        assert_eq!(synced(&resource(Kind::Secret, "default", "s", &[(label::ZONE, "z")])), "s");
    }

    #[test]
    fn cutting_a_name_respects_characters() {
        let name = format!("{}ä", "a".repeat(235));
        assert!(hashed("", &name, []).starts_with(&format!("{}-", "a".repeat(235))));
    }
}
