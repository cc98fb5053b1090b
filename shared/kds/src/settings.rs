//! Settings that both sides have.

use crate::apply::Validate;
use crate::insight::InsightSettings;
use crate::node::Identity;

/// What both sides of synchronization must know.
#[derive(Clone)]
pub struct CommonSettings {
    /// What this control plane tells peers about itself.
    pub identity: Identity,
    /// `kds.maxMsgSize`: largest message in bytes, in both directions.
    pub max_message_bytes: usize,
    /// `kds.labels.skipPrefixes`: labels with one of these prefixes are not sent.
    pub skip_label_prefixes: Vec<String>,
    /// How zone insights are written.
    pub insights: InsightSettings,
    /// Checks what is received.
    pub validate: Validate,
}
