//! A part of a list.

use std::sync::Arc;

use tandem_model::Resource;

use crate::Revision;

/// Resources that follow each other in a list.
#[derive(Debug, Clone)]
pub struct Page {
    /// Revision of the store of which they are.
    pub revision: Revision,
    /// The resources, sorted by mesh and name.
    pub resources: Vec<Arc<Resource>>,
}

/// Resources at some places of a list.
#[derive(Debug, Clone)]
pub struct Window {
    /// How many resources the list has.
    pub total: usize,
    /// Those at the places asked for, sorted by mesh and name.
    pub resources: Vec<Arc<Resource>>,
}
