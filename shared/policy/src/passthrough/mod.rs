//! MeshPassthrough: what traffic may leave the mesh.
//!
//! Destinations become [`Matcher`]s in the order in which a proxy compares them; what a proxy's listeners are made of them is
//! where the listeners are made, in generation.

mod matcher;
mod rules;
mod schema;
mod validation;

pub use matcher::{Host, Matcher, MatcherKind, Range};
pub use rules::Rules;
pub use schema::{Conf, Match, MatchProtocol, MatchType, PassthroughMode, Spec};
