//! Resource identifiers: one text that names a resource, or a section of it, across zones.
//!
//! Source of the format: Kuma `pkg/core/kri/kri.go`:
//! `kri_<short name>_<mesh>_<zone>_<namespace>_<name>_<section>`, where absent parts stay empty.

use std::fmt;
use std::str::FromStr;

use crate::kind::Kind;
use crate::label;
use crate::resource::Resource;

/// Identifier of a resource, or of a section of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kri {
    /// Type; always one with a short name.
    pub kind: Kind,
    /// Mesh; empty for kinds of global scope.
    pub mesh: String,
    /// Zone the resource was created in; empty when created on global.
    pub zone: String,
    /// Kubernetes namespace; empty on Universal.
    pub namespace: String,
    /// Display name.
    pub name: String,
    /// Port, inbound or listener within the resource; empty for the whole resource.
    pub section: String,
}

/// Why a text is no resource identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KriError {
    /// Fewer than seven parts.
    #[error("invalid identifier string: {0:?}")]
    Parts(String),
    /// The first part is not `kri`.
    #[error("identifier must start with 'kri': {0:?}")]
    Prefix(String),
    /// No kind has this short name.
    #[error("unknown short name of resource type: {0:?}")]
    ShortName(String),
}

impl Kri {
    /// The identifier of a resource; `None` when its kind has no short name.
    ///
    /// Computed from the labels as they are now: a resource that its zone has not labelled yet has no zone.
    pub fn of(resource: &Resource) -> Option<Self> {
        resource.kind().descriptor().short_name?;
        let label = |name| resource.label(name).unwrap_or_default().to_owned();
        Some(Self {
            kind: resource.kind(),
            mesh: resource.key.mesh.clone(),
            zone: label(label::ZONE),
            namespace: label(label::K8S_NAMESPACE),
            name: resource.display_name().to_owned(),
            section: String::new(),
        })
    }

    /// The identifier of a section of the same resource.
    #[must_use]
    pub fn with_section(mut self, section: impl Into<String>) -> Self {
        self.section = section.into();
        self
    }

    /// The identifier of the whole resource.
    #[must_use]
    pub fn without_section(self) -> Self {
        self.with_section("")
    }
}

impl fmt::Display for Kri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short_name = self.kind.descriptor().short_name.unwrap_or_default();
        let Self { mesh, zone, namespace, name, section, .. } = self;
        write!(f, "kri_{short_name}_{mesh}_{zone}_{namespace}_{name}_{section}")
    }
}

impl FromStr for Kri {
    type Err = KriError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('_').collect();
        let [prefix, short_name, mesh, zone, namespace, name, section @ ..] = parts.as_slice() else {
            return Err(KriError::Parts(text.to_owned()));
        };
        if section.is_empty() {
            return Err(KriError::Parts(text.to_owned()));
        }
        if *prefix != "kri" {
            return Err(KriError::Prefix(text.to_owned()));
        }
        let kind = Kind::from_short_name(short_name).ok_or_else(|| KriError::ShortName((*short_name).to_owned()))?;
        Ok(Self {
            kind,
            mesh: (*mesh).to_owned(),
            zone: (*zone).to_owned(),
            namespace: (*namespace).to_owned(),
            name: (*name).to_owned(),
            section: section.concat(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{ResourceKey, Spec};

    fn resource(kind: Kind, mesh: &str, name: &str, labels: &[(&str, &str)]) -> Resource {
        Resource::new(ResourceKey::new(kind, mesh, name), Spec::Proto(Default::default()))
            .with_labels(labels.iter().copied())
    }

    fn text(resource: &Resource) -> Option<String> {
        Kri::of(resource).map(|kri| kri.to_string())
    }

    #[test]
    fn identifiers_of_resources() {
        assert_eq!(text(&resource(Kind::Mesh, "", "default", &[])).as_deref(), Some("kri_m____default_"));
        assert_eq!(
            text(&resource(Kind::MeshTimeout, "default", "mt2", &[("kuma.io/zone", "zone-a")])).as_deref(),
            Some("kri_mt_default_zone-a__mt2_")
        );
        let labels = [("kuma.io/zone", "z"), ("k8s.kuma.io/namespace", "ns"), ("kuma.io/display-name", "web")];
        assert_eq!(
            text(&resource(Kind::MeshService, "m", "web-hash", &labels)).as_deref(),
            Some("kri_msvc_m_z_ns_web_")
        );
        assert_eq!(text(&resource(Kind::Secret, "default", "s", &[])), None);
    }

    #[test]
    fn parsing_reverses_printing() {
        let kri = Kri::of(&resource(Kind::Dataplane, "default", "dp", &[("kuma.io/zone", "east")]))
            .map(|kri| kri.with_section("8080"));
        let kri = kri.expect("a Dataplane has a short name");
        assert_eq!(kri.to_string(), "kri_dp_default_east__dp_8080");
        assert_eq!(kri.to_string().parse(), Ok(kri));
    }

    #[test]
    fn further_parts_join_the_section() {
        assert_eq!("kri_dp_m____a_b_c".parse::<Kri>().map(|kri| kri.section), Ok("abc".to_owned()));
    }

    #[test]
    fn texts_that_are_no_identifiers() {
        assert_eq!(
            "kri_m".parse::<Kri>().map_err(|e| e.to_string()),
            Err(r#"invalid identifier string: "kri_m""#.into())
        );
        assert_eq!(
            "x_m____default_".parse::<Kri>().map_err(|e| e.to_string()),
            Err(r#"identifier must start with 'kri': "x_m____default_""#.into())
        );
        assert_eq!(
            "kri_nope____default_".parse::<Kri>().map_err(|e| e.to_string()),
            Err(r#"unknown short name of resource type: "nope""#.into())
        );
    }
}
