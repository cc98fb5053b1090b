//! Query parameters of lists: pages and filters.

pub mod filter;
pub mod paging;

use crate::problem::Problem;

/// The decoded parameters of a query string, in order.
pub fn parameters(query: Option<&str>) -> Vec<(String, String)> {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect()
}

/// A truth value as Go reads it (`strconv.ParseBool`); `None` for anything else.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The value of the first parameter called `name`.
pub fn first<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Whether the flag `name` is set: its parameter is there without a value, or with one that means true.
///
/// # Errors
/// 400 for any other value: whoever misspells `dry-run=true` does not want to write.
pub fn flag(query: Option<&str>, name: &str) -> Result<bool, Problem> {
    match first(&parameters(query), name) {
        None => Ok(false),
        Some("") => Ok(true),
        Some(text) => boolean(text).ok_or_else(|| {
            let reason = format!("must be true or false, not {text:?}");
            Problem::bad_request(format!("invalid parameter {name:?}")).with_parameter(name, reason)
        }),
    }
}
