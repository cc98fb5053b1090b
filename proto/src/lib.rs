//! Wire formats of Kuma: message types, their descriptors and their JSON form.
//!
//! The modules mirror the protobuf packages `kuma.*`. All messages implement [`prost::Name`], and all maps are sorted, so
//! that equal messages have equal encodings.

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

pub mod duration;
pub mod json;

/// Package `kuma.mesh`.
pub mod mesh {
    /// Package `kuma.mesh.v1alpha1`: meshes, proxies, legacy policies and the messages between control planes.
    #[allow(missing_docs, clippy::all, clippy::pedantic)] // generated
    pub mod v1alpha1 {
        include!(concat!(env!("OUT_DIR"), "/kuma.mesh.v1alpha1.rs"));
    }
}

/// Package `kuma.system`.
pub mod system {
    /// Package `kuma.system.v1alpha1`: zones, secrets and the control plane's own records.
    #[allow(missing_docs, clippy::all, clippy::pedantic)] // generated
    pub mod v1alpha1 {
        include!(concat!(env!("OUT_DIR"), "/kuma.system.v1alpha1.rs"));
    }
}

/// Package `kuma.plugins`.
pub mod plugins {
    /// Package `kuma.plugins.ca`: settings of certificate authorities.
    #[allow(missing_docs, clippy::all, clippy::pedantic)] // generated
    pub mod ca {
        include!(concat!(env!("OUT_DIR"), "/kuma.plugins.ca.rs"));
    }
}

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin")).as_slice())
        .expect("the embedded descriptors were written by the build of this crate")
});

/// Descriptors of all messages of this crate and of the well-known types they use.
pub fn descriptor_pool() -> &'static DescriptorPool {
    &POOL
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost::{Message, Name};
    use prost_types::Any;
    use sha2::{Digest, Sha256};

    use crate::mesh::v1alpha1::kuma_resource::Meta;
    use crate::mesh::v1alpha1::{KumaResource, Mesh};

    fn digest(resource: &KumaResource) -> String {
        hex::encode(Sha256::digest(resource.encode_to_vec()))
    }

    fn labels<const N: usize>(labels: [(&str, &str); N]) -> BTreeMap<String, String> {
        labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// Versions that a Kuma peer computes for the same resources.
    #[test]
    fn encodings_equal_those_of_a_kuma_peer() {
        let mesh = KumaResource {
            meta: Some(Meta {
                name: "default".into(),
                labels: labels([("kuma.io/origin", "global")]),
                ..Meta::default()
            }),
            spec: Some(Any { type_url: format!("type.googleapis.com/{}", Mesh::full_name()), value: vec![] }),
            status: None,
        };
        assert_eq!(digest(&mesh), "ee3ed1993ca3721e6609c0fb78bb711a00f96c808af6675986293d420dc0d6d1");

        let secret = crate::system::v1alpha1::Secret { data: Some(b"global".to_vec()) };
        let secret = KumaResource {
            meta: Some(Meta {
                name: "zs1".into(),
                mesh: "default".into(),
                labels: labels([("kuma.io/origin", "global"), ("kuma.io/mesh", "default")]),
                ..Meta::default()
            }),
            spec: Some(Any {
                type_url: "type.googleapis.com/kuma.system.v1alpha1.Secret".into(),
                value: secret.encode_to_vec(),
            }),
            status: None,
        };
        assert_eq!(digest(&secret), "399412a5d72755e3dbdfdc958acdcfe16205b8ebe7abe3fba0dd44d39ed65475");

        let spec = r#"{"selector":{"meshService":{"matchLabels":{"kuma.io/display-name":"web"}}},"ports":[{"port":8080,"appProtocol":"http"}]}"#;
        let service = KumaResource {
            meta: Some(Meta {
                name: "web-cb6xdxxdc26z9czd".into(),
                mesh: "default".into(),
                labels: labels([
                    ("kuma.io/display-name", "web"),
                    ("kuma.io/mesh", "default"),
                    ("kuma.io/origin", "global"),
                ]),
                ..Meta::default()
            }),
            spec: Some(Any { type_url: String::new(), value: spec.into() }),
            status: Some(Any { type_url: String::new(), value: b"{}".to_vec() }),
        };
        assert_eq!(digest(&service), "4c3075dd0c8a529e60f2068eb68f47c56f9e8db887d6aca0e06ab84b88ace5c8");
    }
}
