//! What would be if some resources were others.

use std::sync::Arc;

use tandem_model::{Resource, ResourceKey};

use super::{MeshIndex, Snapshot, Touched};

impl Snapshot {
    /// The state after changes that nobody made, taken in as an index takes them in: see [`MeshIndex::apply`]. This state stays
    /// as it is, and so does the index that it is from.
    ///
    /// For policies selected by `targetRef`; of resources with host names the addresses would not be known.
    pub fn suppose<'a>(
        &self,
        changes: impl IntoIterator<Item = (&'a ResourceKey, Option<&'a Arc<Resource>>)>,
    ) -> (Arc<Self>, Touched) {
        let mut index = MeshIndex::continuing(self.clone());
        let touched = index.apply(changes);
        (index.snapshot(), touched)
    }
}
