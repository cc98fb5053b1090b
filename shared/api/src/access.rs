//! Who may do what; the rules are those of the configuration (`access.static`).

use tandem_auth::access::User;
use tandem_model::{AdminOperation, Kind};

use crate::context::ApiContext;
use crate::problem::Problem;

/// Reading or writing resources of a type. Only administrators may with secrets; everybody else with the rest.
pub fn resource(context: &ApiContext, user: &User, kind: Kind) -> Result<(), Problem> {
    if !kind.descriptor().admin_only {
        return Ok(());
    }
    context.access.admin_resource(user, kind.name()).map_err(|denied| Problem::access_denied(denied.to_string()))
}

/// Reading the configuration of the control plane.
pub fn metadata(context: &ApiContext, user: &User) -> Result<(), Problem> {
    context.access.control_plane_metadata(user).map_err(|denied| Problem::access_denied(denied.to_string()))
}

/// Releasing deletions that synchronization holds back.
pub fn synchronization(context: &ApiContext, user: &User) -> Result<(), Problem> {
    context.access.admin_resource(user, "Zone").map_err(|denied| Problem::access_denied(denied.to_string()))
}

/// Asking an Envoy.
pub fn envoy(context: &ApiContext, user: &User, operation: AdminOperation) -> Result<(), Problem> {
    let allowed = match operation {
        AdminOperation::ConfigDump { .. } => context.access.config_dump(user),
        AdminOperation::Stats { .. } => context.access.stats(user),
        AdminOperation::Clusters { .. } => context.access.clusters(user),
    };
    allowed.map_err(|denied| Problem::access_denied(denied.to_string()))
}

/// Issuing a dataplane token.
pub fn dataplane_token(context: &ApiContext, user: &User) -> Result<(), Problem> {
    context.access.dataplane_token(user).map_err(|denied| Problem::access_denied(denied.to_string()))
}

/// Issuing a zone token.
pub fn zone_token(context: &ApiContext, user: &User, zone: &str) -> Result<(), Problem> {
    context.access.zone_token(user, zone).map_err(|denied| Problem::access_denied(denied.to_string()))
}

/// Issuing a user token.
pub fn user_token(context: &ApiContext, user: &User) -> Result<(), Problem> {
    context.access.user_token(user).map_err(|denied| Problem::access_denied(denied.to_string()))
}
