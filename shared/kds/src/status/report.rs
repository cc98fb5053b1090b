//! What is told about synchronization over HTTP: `/_sync` and `/zones/{zone}/_sync`.
//!
//! Kuma has nothing like it. Figures that this process cannot know are absent, never zero.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tandem_store::Revision;

use super::State;

/// Synchronization with all peers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncOverview {
    /// Instance that tells this.
    pub instance: String,
    /// Revision of its store.
    pub revision: Revision,
    /// Sums over all peers.
    pub total: SyncTotal,
    /// On global every zone, on a zone its global; there `sent` and `received` tell about each type.
    pub items: Vec<PeerReport>,
}

/// Sums over all peers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncTotal {
    /// Peers.
    pub peers: usize,
    /// Peers by state.
    pub states: BTreeMap<String, usize>,
    /// Changes that are not confirmed, of all peers of which that is known.
    pub pending: usize,
    /// Resources that are left out on either side.
    pub left_out: usize,
    /// Deletions that are held back here.
    pub held_deletions: usize,
}

/// Synchronization with one peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerReport {
    /// Name of the zone, or `global`.
    pub name: String,
    /// `in sync`, `catching up`, `stalled`, `offline` or `disabled`.
    pub state: State,
    /// Instance id of the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Version of the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Id of another instance of this control plane, if the peer is connected to that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_to: Option<String>,
    /// Since when it is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub connected_since: Option<Timestamp>,
    /// Since when it is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub disconnected_since: Option<Timestamp>,
    /// Changes that the peer has not confirmed, and deletions that are held back here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<usize>,
    /// Age of the oldest change that the peer has not confirmed, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<f64>,
    /// Resources that are left out on either side.
    pub left_out: usize,
    /// Deletions that the peer asks for by not listing resources, and that are held back.
    pub held_deletions: usize,
    /// Resources that claimed to be of another zone or origin.
    pub relabelled: u64,
    /// Resources that were refused because their name belongs to somebody else.
    pub refused: u64,
    /// Bytes sent on this connection.
    pub bytes_sent: u64,
    /// Bytes received on this connection.
    pub bytes_received: u64,
    /// What went wrong last and is not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TroubleReport>,
    /// Types that are sent to the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Vec<SentReport>>,
    /// Types that are received from the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<Vec<ReceivedReport>>,
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TroubleReport {
    /// What, for people.
    pub text: String,
    /// Since when.
    #[schemars(with = "String")]
    pub since: Timestamp,
}

/// One type that is sent to the peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SentReport {
    /// Name of the type.
    pub r#type: String,
    /// State of the type.
    pub state: State,
    /// False when the peer has not asked for the type; older versions do not know newer types.
    pub subscribed: bool,
    /// How many resources the peer has, once everything is applied.
    pub resources: usize,
    /// Revision of the store that last changed something of the type that concerns the peer.
    pub revision: Revision,
    /// Up to which revision the peer has confirmed everything that is not in `leftOut`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_revision: Option<Revision>,
    /// Changes that the peer has not confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<usize>,
    /// Age of the oldest of them in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<f64>,
    /// Responses sent on this connection.
    pub responses: u64,
    /// How many of them were confirmed.
    pub acknowledged: u64,
    /// How many of them were rejected, in part or as a whole.
    pub rejected: u64,
    /// Their size before compression.
    pub bytes: u64,
    /// Text of the last rejection, or why the type cannot be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TroubleReport>,
    /// Resources that the peer rejected or that cannot be sent.
    pub left_out: Left<LeftOut>,
}

/// One type that is received from the peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceivedReport {
    /// Name of the type.
    pub r#type: String,
    /// State of the type.
    pub state: State,
    /// How many resources were accepted from the peer.
    pub resources: usize,
    /// Revision of the peer's store that is applied here; Kuma does not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// Responses received on this connection.
    pub responses: u64,
    /// How many of them were confirmed.
    pub acknowledged: u64,
    /// How many of them were rejected, in part or as a whole.
    pub rejected: u64,
    /// Their size before compression.
    pub bytes: u64,
    /// Text of the last complaint to the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TroubleReport>,
    /// Resources that were not accepted.
    pub left_out: Left<LeftOut>,
    /// Deletions that are held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_deletions: Option<HeldReport>,
    /// Resources that claimed to be of another zone or origin.
    pub relabelled: u64,
    /// Resources that were refused because their name belongs to somebody else.
    pub refused: u64,
}

/// Some of many.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Left<T> {
    /// How many there are.
    pub total: usize,
    /// The first of them.
    pub items: Vec<T>,
}

/// A resource that is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// Its mesh; empty for types of global scope.
    pub mesh: String,
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
    /// Since when.
    #[schemars(with = "String")]
    pub since: Timestamp,
}

/// Deletions that are held back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldReport {
    /// How many resources would be deleted.
    pub total: usize,
    /// The first of them.
    pub items: Vec<Held>,
    /// Since when.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// When they are deleted unless the peer lists them again; absent when somebody has to release them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
}

/// A resource that would be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Its mesh; empty for types of global scope.
    pub mesh: String,
    /// Its name.
    pub name: String,
}
