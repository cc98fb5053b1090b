//! Changes to one message.

use tandem_envoy_json::prost_reflect::{DynamicMessage, ReflectMessage as _};
use tandem_envoy_json::{as_json, from_json, merge};
use tandem_policy::proxy_patch::JsonPatch;

use super::json_patch;

/// A change to a message.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Patch {
    /// What this one has is put into it, see [`merge`].
    Merge(DynamicMessage),
    /// Its JSON form, with names of members in lower camel case, is changed.
    Json(Vec<JsonPatch>),
}

impl Patch {
    /// Changes a message.
    ///
    /// # Errors
    /// When the change does not fit the message, with the reason.
    pub fn apply(&self, message: &mut DynamicMessage) -> Result<(), String> {
        match self {
            Self::Merge(patch) => merge(message, patch),
            Self::Json(patches) => {
                let mut json = as_json(message).map_err(|error| error.to_string())?;
                json_patch::apply(&mut json, patches)?;
                *message = from_json(message.descriptor().full_name(), &json)
                    .map_err(|error| format!("with jsonPatches {error}"))?;
            }
        }
        Ok(())
    }
}
