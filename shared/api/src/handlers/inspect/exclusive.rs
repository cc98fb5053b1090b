//! What inspection by identifiers starts from: a proxy in a mesh whose services are all resources.

use std::str::FromStr as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_auth::access::User;
use tandem_model::{Kind, Kri};
use tandem_policy::policy::Policy;

use crate::access;
use crate::context::ApiContext;
use crate::handlers::{Place, require_mesh};
use crate::inspect::{MeshView, Proxy};
use crate::problem::Problem;

/// Identifiers in the path of a route. A route without one of them leaves it empty, which is no identifier.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Identifiers {
    inbound: String,
    outbound: String,
    route: String,
}

impl Identifiers {
    /// The inbound.
    ///
    /// # Errors
    /// 400 when the text is no identifier; so with the others.
    pub fn inbound(&self) -> Result<Kri, Problem> {
        parse(&self.inbound)
    }

    /// The outbound.
    pub fn outbound(&self) -> Result<Kri, Problem> {
        parse(&self.outbound)
    }

    /// The route.
    pub fn route(&self) -> Result<Kri, Problem> {
        parse(&self.route)
    }
}

fn parse(text: &str) -> Result<Kri, Problem> {
    Kri::from_str(text).map_err(|error| Problem::bad_request(format!("bad request: {error}")))
}

/// Answers 400 about an endpoint that has no answer in meshes where services may be tags.
pub fn require_exclusive(mesh: &MeshView, endpoint: &str) -> Result<(), Problem> {
    if mesh.exclusive() {
        return Ok(());
    }
    Err(Problem::bad_request(format!("bad request: can't use {endpoint} endpoint without meshService enabled")))
}

/// The proxy of a path and its mesh.
///
/// # Errors
/// 404 when there is no such mesh or Dataplane, 403 when access is refused, 400 when the mesh has services that are tags.
pub async fn load(context: &ApiContext, user: &User, place: &Place) -> Result<(MeshView, Proxy), Problem> {
    require_mesh(context, place.mesh.as_deref()).await?;
    access::resource(context, user, Kind::Dataplane)?;
    let key = place.key(Kind::Dataplane);
    let proxy = Proxy::load(&*context.store, &key, "Could not retrieve Dataplane").await?;
    let mesh = MeshView::load(&*context.store, &key.mesh, "Failed to build Mesh context").await?;
    require_exclusive(&mesh, "_policies")?;
    Ok((mesh, proxy))
}

/// Identifiers of policies as answers show them, one for each contribution, in the order in which they were merged.
pub fn origins<'a>(policies: impl IntoIterator<Item = &'a Policy>) -> Vec<ContributingPolicy> {
    policies.into_iter().map(|policy| ContributingPolicy { kri: policy.kri.to_string() }).collect()
}

/// A policy that contributed.
#[derive(Serialize, JsonSchema)]
pub struct ContributingPolicy {
    /// Its identifier.
    kri: String,
}
