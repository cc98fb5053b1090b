//! The name of one running process.

use std::fmt;

/// Identity of a process: `<hostname>-<4 hex digits>`, new at every start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceId {
    hostname: String,
    id: String,
}

impl InstanceId {
    /// A new identity on this host.
    pub fn generate() -> Self {
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let random = uuid::Uuid::new_v4().simple().to_string();
        Self { id: format!("{hostname}-{}", &random[..4]), hostname }
    }

    /// Name of the host.
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// The whole identity.
    pub fn as_str(&self) -> &str {
        &self.id
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_hex_digits_follow_the_hostname() {
        let instance = InstanceId::generate();
        let suffix =
            instance.as_str().strip_prefix(&format!("{}-", instance.hostname())).expect("begins with hostname");
        assert!(suffix.len() == 4 && suffix.bytes().all(|c| c.is_ascii_hexdigit()), "{instance}");
    }
}
