//! What an Envoy can be asked through its administration interface.
//!
//! Source: Kuma `pkg/envoy/admin/client.go`.

/// A question to an Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminOperation {
    /// Its configuration as JSON (`config_dump`).
    ConfigDump {
        /// With endpoints.
        include_eds: bool,
    },
    /// Its statistics (`stats`).
    Stats {
        /// As JSON instead of text.
        json: bool,
        /// Only what was touched.
        used_only: bool,
    },
    /// Its clusters with endpoints and their state (`clusters`).
    Clusters {
        /// As JSON instead of text.
        json: bool,
    },
}

impl AdminOperation {
    /// Path and query at Envoy's administration address, without leading slash.
    pub fn path(self) -> String {
        match self {
            Self::ConfigDump { include_eds: true } => "config_dump?include_eds=true".into(),
            Self::ConfigDump { include_eds: false } => "config_dump".into(),
            Self::Stats { json, used_only } => {
                let parts = [json.then_some("format=json"), used_only.then_some("usedonly=")];
                with_query("stats", parts)
            }
            Self::Clusters { json } => with_query("clusters", [json.then_some("format=json"), None]),
        }
    }

    /// True when the answer is JSON, else it is plain text.
    pub fn answers_json(self) -> bool {
        match self {
            Self::ConfigDump { .. } => true,
            Self::Stats { json, .. } | Self::Clusters { json } => json,
        }
    }
}

fn with_query(path: &str, parts: [Option<&str>; 2]) -> String {
    let query: Vec<_> = parts.into_iter().flatten().collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_envoy() {
        let stats = |json, used_only| AdminOperation::Stats { json, used_only }.path();
        assert_eq!(stats(true, true), "stats?format=json&usedonly=");
        assert_eq!(stats(false, true), "stats?usedonly=");
        assert_eq!(stats(false, false), "stats");
        assert_eq!(AdminOperation::ConfigDump { include_eds: true }.path(), "config_dump?include_eds=true");
        assert_eq!(AdminOperation::Clusters { json: true }.path(), "clusters?format=json");
    }
}
