//! What this program is, for people and for peers.

/// Product that compatible endpoints report.
pub const PRODUCT: &str = "Kuma";
/// Version of Kuma that compatible endpoints report, and that this program is compatible with.
pub const KUMA_VERSION: &str = "2.13.10";

/// Version of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Version of this project.
    pub version: &'static str,
    /// Git commit it was built from; empty when unknown.
    pub commit: &'static str,
}

impl Version {
    /// The version of this build.
    pub const fn current() -> Self {
        Self { version: env!("CARGO_PKG_VERSION"), commit: env!("TANDEM_GIT_COMMIT") }
    }

    /// The commit, shortened to 7 characters.
    pub fn short_commit(&self) -> &'static str {
        self.commit.get(..7).unwrap_or(self.commit)
    }
}

/// True when a peer of version `other` is expected to work with this program, see [`are_compatible`].
pub fn is_compatible(other: &str) -> bool {
    are_compatible(KUMA_VERSION, other)
}

/// True when programs of these versions of Kuma are expected to work together: same major version, and minor versions at
/// most two apart. Previews and what is no version number are given the benefit of the doubt.
pub fn are_compatible(one: &str, other: &str) -> bool {
    if one.contains("preview") || other.contains("preview") {
        return true;
    }
    match (major_minor(one), major_minor(other)) {
        (Some((one_major, one_minor)), Some((major, minor))) => one_major == major && one_minor.abs_diff(minor) <= 2,
        _ => true,
    }
}

fn major_minor(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.strip_prefix('v').unwrap_or(version).splitn(3, '.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_minor_versions_apart_is_compatible() {
        for version in ["2.13.10", "2.11.0", "2.15.1", "v2.13.0", "0.0.0-preview.vabc", "unknown", ""] {
            assert!(is_compatible(version), "{version}");
        }
        for version in ["2.10.9", "2.16.0", "1.13.0", "0.0.1"] {
            assert!(!is_compatible(version), "{version}");
        }
        assert!(are_compatible("2.7.0", "2.9.3"));
        assert!(!are_compatible("2.7.0", "2.10.0"));
        assert!(are_compatible("0.0.0-preview.v1", "1.0.0"));
    }
}
