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
