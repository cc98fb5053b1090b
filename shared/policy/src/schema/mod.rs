//! Value types and decoding shared by the schemas of all policies.

mod decode;
mod duration;
mod header;
mod item;
mod number;
mod shape;

pub use decode::{SchemaError, Unknown, decode};
pub use duration::GoDuration;
pub use header::{
    BackendRef, HeaderChanges, HeaderKeyValue, HeaderMatch, HeaderMatchType, SpiffeIdMatch, SpiffeIdMatchType,
    SpiffeMatch,
};
pub use item::{FromItem, RuleItem, ToItem};
pub use number::{Decimal, IntOrString};
pub(crate) use shape::lists_for_objects;

/// `true` when a member of this type can be left out of the encoding, as Go's `omitempty` does for strings.
pub(crate) fn is_empty(text: &str) -> bool {
    text.is_empty()
}
