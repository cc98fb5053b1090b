//! Who may do what on the HTTP API.

use serde::Deserialize;

/// Access control.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Access {
    /// Always `static`.
    pub r#type: String,
    /// The rules.
    pub r#static: StaticAccess,
}

/// Access rules: for each protected action, who may do it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaticAccess {
    /// Read and write Secrets and GlobalSecrets.
    pub admin_resources: Allowed,
    /// Issue dataplane tokens.
    pub generate_dp_token: Allowed,
    /// Issue user tokens.
    pub generate_user_token: Allowed,
    /// Issue zone tokens.
    pub generate_zone_token: Allowed,
    /// See the configuration of an Envoy.
    pub view_config_dump: Allowed,
    /// See the statistics of an Envoy.
    pub view_stats: Allowed,
    /// See the clusters of an Envoy.
    pub view_clusters: Allowed,
    /// See the configuration of the control plane.
    pub control_plane_metadata: Allowed,
}

/// Users and groups that may do something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Allowed {
    /// Names of users.
    pub users: Vec<String>,
    /// Groups; a user needs one of them.
    pub groups: Vec<String>,
}
