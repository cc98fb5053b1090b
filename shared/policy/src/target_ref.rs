//! `targetRef`: which proxies, or which traffic, a policy is about.
//!
//! Source of the format: Kuma `api/common/v1alpha1/targetref.go`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_model::kind::Kind;
use tandem_model::kri::Kri;

/// What a reference points at. Ordered by precedence, weakest first.
#[allow(missing_docs)] // the variants are the names users write, in the order in which clients see them listed
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
pub enum TargetKind {
    #[default]
    Mesh,
    MeshSubset,
    MeshGateway,
    MeshService,
    MeshExternalService,
    MeshMultiZoneService,
    MeshServiceSubset,
    MeshHTTPRoute,
    Dataplane,
}

impl PartialOrd for TargetKind {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TargetKind {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl TargetKind {
    fn rank(self) -> u8 {
        match self {
            Self::Mesh => 1,
            Self::Dataplane => 2,
            Self::MeshSubset => 3,
            Self::MeshGateway => 4,
            Self::MeshService => 5,
            Self::MeshExternalService => 6,
            Self::MeshMultiZoneService => 7,
            Self::MeshServiceSubset => 8,
            Self::MeshHTTPRoute => 9,
        }
    }

    /// Name of the kind as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mesh => "Mesh",
            Self::Dataplane => "Dataplane",
            Self::MeshSubset => "MeshSubset",
            Self::MeshGateway => "MeshGateway",
            Self::MeshService => "MeshService",
            Self::MeshExternalService => "MeshExternalService",
            Self::MeshMultiZoneService => "MeshMultiZoneService",
            Self::MeshServiceSubset => "MeshServiceSubset",
            Self::MeshHTTPRoute => "MeshHTTPRoute",
        }
    }

    /// True for kinds that can be expressed by tags, and so take part in rules about `kuma.io/service`.
    pub fn has_tag_form(self) -> bool {
        !matches!(self, Self::Dataplane | Self::MeshExternalService | Self::MeshMultiZoneService)
    }

    /// The kind of resource referred to; `None` for kinds that stand for sets of proxies.
    pub fn resource_kind(self) -> Option<Kind> {
        match self {
            Self::Mesh => Some(Kind::Mesh),
            Self::Dataplane => Some(Kind::Dataplane),
            Self::MeshGateway => Some(Kind::MeshGateway),
            Self::MeshService => Some(Kind::MeshService),
            Self::MeshExternalService => Some(Kind::MeshExternalService),
            Self::MeshMultiZoneService => Some(Kind::MeshMultiZoneService),
            Self::MeshHTTPRoute => Some(Kind::MeshHTTPRoute),
            Self::MeshSubset | Self::MeshServiceSubset => None,
        }
    }
}

/// Kind of proxy, as selected by `proxyTypes`.
#[allow(missing_docs)] // the variants are the names users write
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ProxyType {
    Sidecar,
    Gateway,
}

/// A reference. Which fields may be set depends on the kind and on the position in the policy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// What is referred to.
    pub kind: TargetKind,
    /// Name of the resource, or value of `kuma.io/service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Tags of a subset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
    /// Reserved; always refused by validation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<String>,
    /// Kinds of proxies selected; absent or empty for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_types: Option<Vec<ProxyType>>,
    /// Namespace of the resource; absent for the policy's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels of the resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Port or inbound within the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

impl TargetRef {
    /// A reference to the whole mesh, which is also what an absent reference means.
    pub fn mesh() -> Self {
        Self::default()
    }

    /// The name; empty when absent.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// The namespace; empty when absent.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    /// The section; empty when absent.
    pub fn section_name(&self) -> &str {
        self.section_name.as_deref().unwrap_or_default()
    }

    /// The labels, `None` when absent or empty.
    pub fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.labels.as_ref().filter(|labels| !labels.is_empty())
    }

    /// The tags by which the kind is expressed: those of the reference and, for services, `kuma.io/service`.
    ///
    /// `None` for kinds without such a form.
    pub fn as_tags(&self) -> Option<BTreeMap<String, String>> {
        let own = || self.tags.clone().unwrap_or_default();
        let service = || (tandem_model::label::SERVICE_TAG.to_owned(), self.name().to_owned());
        match self.kind {
            TargetKind::Mesh => Some(BTreeMap::new()),
            TargetKind::MeshSubset => Some(own()),
            TargetKind::MeshService => Some([service()].into()),
            TargetKind::MeshServiceSubset => {
                let mut tags = own();
                let (key, value) = service();
                tags.entry(key).or_insert(value);
                Some(tags)
            }
            _ => None,
        }
    }

    /// Identifier of the resource referred to by name from a policy with identifier `policy`: a name means a resource
    /// of the policy's own mesh and zone and, unless the reference says otherwise, namespace.
    ///
    /// Source: Kuma `pkg/plugins/policies/core/rules/resolve/backendref.go`, `TargetRefToKRI`. `None` for kinds that are no resource.
    pub fn kri(&self, policy: &Kri) -> Option<Kri> {
        let kind = self.kind.resource_kind()?;
        if kind == Kind::Mesh {
            return Some(mesh_kri(&policy.mesh));
        }
        let namespace = if self.namespace().is_empty() { &policy.namespace } else { self.namespace() };
        Some(Kri {
            kind,
            mesh: policy.mesh.clone(),
            zone: policy.zone.clone(),
            namespace: namespace.to_owned(),
            name: self.name().to_owned(),
            section: String::new(),
        })
    }
}

/// Identifier of a mesh.
pub fn mesh_kri(mesh: &str) -> Kri {
    Kri {
        kind: Kind::Mesh,
        mesh: String::new(),
        zone: String::new(),
        namespace: String::new(),
        name: mesh.to_owned(),
        section: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_rank_from_the_whole_mesh_to_one_route() {
        assert!(TargetKind::Mesh < TargetKind::Dataplane);
        assert!(TargetKind::Dataplane < TargetKind::MeshSubset);
        assert!(TargetKind::MeshMultiZoneService < TargetKind::MeshServiceSubset);
        assert!(TargetKind::MeshServiceSubset < TargetKind::MeshHTTPRoute);
    }

    #[test]
    fn a_name_means_the_policys_own_zone() {
        let policy: Kri = "kri_mt_m_east_ns_p_".parse().expect("an identifier");
        let reference = TargetRef { kind: TargetKind::MeshService, name: Some("web".into()), ..TargetRef::default() };
        assert_eq!(reference.kri(&policy).map(|kri| kri.to_string()).as_deref(), Some("kri_msvc_m_east_ns_web_"));
        assert_eq!(TargetRef::mesh().kri(&policy).map(|kri| kri.to_string()).as_deref(), Some("kri_m____m_"));
    }
}
