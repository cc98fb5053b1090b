//! One proxy as inspection sees it.

use std::sync::Arc;

use tandem_model::{Resource, ResourceKey};
use tandem_policy::subject::Subject;
use tandem_proto::mesh::v1alpha1::Dataplane;
use tandem_store::Store;

use super::MeshView;
use crate::problem::Problem;

/// A Dataplane, decoded.
#[derive(Debug)]
pub struct Proxy {
    /// The resource.
    pub resource: Arc<Resource>,
    /// Its specification.
    pub spec: Dataplane,
}

impl Proxy {
    /// Decodes a stored Dataplane.
    ///
    /// # Errors
    /// 500 under `title` when it does not decode.
    pub fn decode(resource: Arc<Resource>, title: &str) -> Result<Self, Problem> {
        let spec = resource.proto().map_err(|error| Problem::internal(title, &error))?;
        Ok(Self { resource, spec })
    }

    /// Reads a Dataplane.
    ///
    /// # Errors
    /// Under `title`: 404 when there is none, 500 when it cannot be read.
    pub async fn load(store: &dyn Store, key: &ResourceKey, title: &str) -> Result<Self, Problem> {
        let found = store.get(key).await.map_err(|error| Problem::store(title, &error))?;
        Self::decode(found.ok_or_else(|| Problem::not_found(title))?, title)
    }

    /// The proxy as policies of its mesh see it.
    pub fn subject<'a>(&'a self, mesh: &'a MeshView) -> Subject<'a> {
        Subject::new(&self.resource, &self.spec, &mesh.gateways)
    }
}
