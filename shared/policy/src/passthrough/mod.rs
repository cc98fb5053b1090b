//! MeshPassthrough: what traffic may leave the mesh.

mod schema;
mod validation;

pub use schema::{Conf, Match, MatchProtocol, MatchType, PassthroughMode, Spec};
