//! Headers that are added to messages.

use super::pb::core::{HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction};
use crate::schema::HeaderKeyValue;

/// A header to add to messages, beside one that is there already, or in its place.
pub(crate) fn header_to_add(key: String, value: String, append: bool) -> HeaderValueOption {
    let action = match append {
        true => HeaderAppendAction::AppendIfExistsOrAdd,
        false => HeaderAppendAction::OverwriteIfExistsOrAdd,
    };
    HeaderValueOption {
        header: Some(HeaderValue { key, value, ..HeaderValue::default() }),
        append_action: action.into(),
        ..HeaderValueOption::default()
    }
}

/// Headers of a policy as [`header_to_add`] has them, one for each of their values, which commas separate.
pub(crate) fn headers_to_add(headers: &[HeaderKeyValue], append: bool) -> impl Iterator<Item = HeaderValueOption> {
    let values = headers.iter().flat_map(|header| header.value.split(',').map(move |value| (&header.name, value)));
    values.map(move |(name, value)| header_to_add(name.clone(), value.to_owned(), append))
}
