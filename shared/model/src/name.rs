//! Names of resources, meshes and zones: what is allowed, and how clients of Kuma are told.
//!
//! Source of rules and texts: Kuma `pkg/core/resources/apis/mesh/{meta_validator,deprecated}.go`,
//! `pkg/api-server/resource_endpoints.go`, `pkg/config/multizone`.

mod dns;
mod hash;

pub(crate) use dns::is_dns1123_subdomain;
pub use dns::{dns1035_errors, dns1123_subdomain_errors, is_dns_name, is_dns1035_label, is_ip};
pub use hash::{hashed, keeps_name_when_synced, synced};

use crate::kind::Kind;
use crate::violation::{Path, Violations};

/// Greatest length of the name of any resource, in bytes.
pub const MAX_NAME_LENGTH: usize = 253;
/// Greatest length of the name of a new Mesh, in bytes.
pub const MAX_MESH_NAME_LENGTH: usize = 63;
/// Greatest length of the name of a zone, in bytes.
pub const MAX_ZONE_NAME_LENGTH: usize = 63;

/// Checks the name of a resource: an RFC 1123 subdomain of at most 253 bytes. Field: `name`.
pub fn validate_name(name: &str) -> Violations {
    check(&Path::new("name"), name, dns::is_dns1123_subdomain, NAME_CHARACTERS)
}

/// Checks a reference to a resource by name, reporting at `path`; same rules as [`validate_name`].
pub fn validate_reference(path: &Path, name: &str) -> Violations {
    check(path, name, dns::is_dns1123_subdomain, NAME_CHARACTERS)
}

/// Checks the mesh of a resource. Field: `mesh`.
///
/// Wider than [`validate_name`]: a Mesh may be older than the stricter rule for names.
pub fn validate_mesh_name(mesh: &str) -> Violations {
    let allowed = |mesh: &str| {
        mesh.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
    };
    check(&Path::new("mesh"), mesh, allowed, MESH_CHARACTERS)
}

const NAME_CHARACTERS: &str = "invalid characters. A lowercase RFC 1123 subdomain must consist of lower case \
                               alphanumeric characters, '-' or '.', and must start and end with an alphanumeric \
                               character";
const MESH_CHARACTERS: &str =
    "invalid characters. Valid characters are numbers, lowercase latin letters and '-', '_', '.' symbols.";

fn check(path: &Path, value: &str, allowed: impl Fn(&str) -> bool, characters: &str) -> Violations {
    if value.is_empty() {
        Violations::one(path, "cannot be empty")
    } else if value.len() > MAX_NAME_LENGTH {
        Violations::one(path, "value length must less or equal 253")
    } else if !allowed(value) {
        Violations::one(path, characters)
    } else {
        Violations::none()
    }
}

/// Checks that a resource written in a federated zone has a name that still fits with the zone's name before it.
/// Field: `name`.
pub fn validate_length_with_zone(zone: &str, name: &str) -> Violations {
    if zone.len() + 1 + name.len() < MAX_NAME_LENGTH {
        Violations::none()
    } else {
        Violations::one(&Path::new("name"), "the length of the name must be shorter")
    }
}

/// Checks the name of a Mesh that is about to be created. Field: `name`.
pub fn validate_new_mesh(name: &str) -> Violations {
    if name.len() > MAX_MESH_NAME_LENGTH {
        Violations::one(&Path::new("name"), "cannot be longer than 63 characters")
    } else {
        Violations::none()
    }
}

/// Checks the display name of kinds whose name becomes part of a host name. Field: `name`.
pub fn validate_display_name_length(kind: Kind, display_name: &str) -> Violations {
    let limit = match kind {
        Kind::MeshService | Kind::MeshExternalService => 63,
        Kind::Workload => MAX_NAME_LENGTH,
        _ => return Violations::none(),
    };
    if display_name.len() > limit {
        Violations::one(&Path::new("name"), format!("must not be longer than {limit} characters"))
    } else {
        Violations::none()
    }
}

/// The warning that a write of `kind` returns when its display name is not a DNS-1035 label.
///
/// `None` for kinds that never warn and for names that conform.
pub fn dns_warning(kind: Kind, display_name: &str) -> Option<String> {
    let warns = matches!(
        kind,
        Kind::Mesh | Kind::Zone | Kind::MeshService | Kind::MeshMultiZoneService | Kind::MeshExternalService
    );
    if !warns {
        return None;
    }
    let errors = dns1035_errors(display_name);
    (!errors.is_empty()).then(|| {
        format!(
            "Invalid {kind} resource name: '{display_name}'. It does not conform to the DNS format (RFC 1035). This \
             is deprecated. Errors: {}",
            errors.join("; ")
        )
    })
}

/// Why a text cannot be the name of a zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ZoneNameError {
    /// No name.
    #[error("Name is mandatory")]
    Missing,
    /// Not a DNS name.
    #[error("Zone name {0} has to be a valid DNS name")]
    NotDns(String),
    /// Longer than [`MAX_ZONE_NAME_LENGTH`].
    #[error("Zone name cannot be longer than 63 characters")]
    TooLong,
}

/// Checks the name of a zone: a DNS name of at most 63 bytes.
///
/// # Errors
/// When the name is empty, no DNS name, or too long.
pub fn validate_zone_name(name: &str) -> Result<(), ZoneNameError> {
    if name.is_empty() {
        Err(ZoneNameError::Missing)
    } else if !is_dns_name(name) {
        Err(ZoneNameError::NotDns(name.to_owned()))
    } else if name.len() > MAX_ZONE_NAME_LENGTH {
        Err(ZoneNameError::TooLong)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(violations: Violations) -> Option<String> {
        violations.iter().next().map(|v| format!("{}: {}", v.field, v.reason))
    }

    #[test]
    fn names_of_resources() {
        for good in ["a", "0", "a-b.c-d", "web-1", &"a".repeat(253)] {
            assert!(validate_name(good).is_empty(), "{good}");
        }
        assert_eq!(reason(validate_name("")).as_deref(), Some("name: cannot be empty"));
        assert_eq!(
            reason(validate_name(&"a".repeat(254))).as_deref(),
            Some("name: value length must less or equal 253")
        );
        for bad in ["A", "a_b", "-a", "a-", "a..b", ".a", "a.", "a b", "ä", "dp-4$"] {
            assert_eq!(reason(validate_name(bad)), Some(format!("name: {NAME_CHARACTERS}")), "{bad}");
        }
    }

    #[test]
    fn names_of_meshes_allow_underscores() {
        assert!(validate_mesh_name("my_mesh.-").is_empty());
        assert_eq!(reason(validate_mesh_name("def$ault")), Some(format!("mesh: {MESH_CHARACTERS}")));
        assert_eq!(reason(validate_mesh_name("")).as_deref(), Some("mesh: cannot be empty"));
        assert!(validate_new_mesh(&"m".repeat(63)).is_empty());
        assert_eq!(
            reason(validate_new_mesh(&"m".repeat(64))).as_deref(),
            Some("name: cannot be longer than 63 characters")
        );
    }

    #[test]
    fn name_and_zone_fit_together() {
        assert!(validate_length_with_zone("east", &"a".repeat(247)).is_empty());
        assert!(!validate_length_with_zone("east", &"a".repeat(248)).is_empty());
    }

    #[test]
    fn warning_for_names_that_are_no_dns_label() {
        assert_eq!(
            dns_warning(Kind::Mesh, "aa.a").as_deref(),
            Some(
                "Invalid Mesh resource name: 'aa.a'. It does not conform to the DNS format (RFC 1035). This is \
                 deprecated. Errors: a DNS-1035 label must consist of lower case alphanumeric characters or '-', \
                 start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or \
                 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
            )
        );
        assert_eq!(dns_warning(Kind::Mesh, "default"), None);
        assert_eq!(dns_warning(Kind::MeshTimeout, "aa.a"), None);
        assert!(
            dns_warning(Kind::Zone, &"z".repeat(64)).is_some_and(|w| w.ends_with("must be no more than 63 characters"))
        );
    }

    #[test]
    fn names_of_zones() {
        assert_eq!(validate_zone_name("zone-1"), Ok(()));
        assert_eq!(validate_zone_name(""), Err(ZoneNameError::Missing));
        assert_eq!(validate_zone_name("a b"), Err(ZoneNameError::NotDns("a b".into())));
        let long = format!("{}.{}", "a".repeat(40), "b".repeat(40));
        assert_eq!(validate_zone_name(&long), Err(ZoneNameError::TooLong));
    }

    #[test]
    fn display_names_that_become_host_names_are_short() {
        assert!(validate_display_name_length(Kind::MeshService, &"a".repeat(63)).is_empty());
        assert!(!validate_display_name_length(Kind::MeshService, &"a".repeat(64)).is_empty());
        assert!(validate_display_name_length(Kind::MeshTimeout, &"a".repeat(64)).is_empty());
    }
}
