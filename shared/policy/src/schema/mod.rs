//! Value types and decoding shared by the schemas of all policies.

mod decode;
mod duration;
mod header;
mod item;
mod number;

pub use decode::{SchemaError, decode};
pub use duration::GoDuration;
pub use header::{
    BackendRef, HEADER_NAME, HeaderChanges, HeaderKeyValue, HeaderMatch, HeaderMatchType, SpiffeIdMatch,
    SpiffeIdMatchType, SpiffeMatch,
};
pub use item::{FromItem, RuleItem, ToItem};
pub use number::{Decimal, IntOrString};

/// `true` when a member of this type can be left out of the encoding, as Go's `omitempty` does for strings.
pub(crate) fn is_empty(text: &str) -> bool {
    text.is_empty()
}
