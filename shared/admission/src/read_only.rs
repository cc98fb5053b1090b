//! How a control plane refuses to write what it may not.
//!
//! Texts: Kuma `pkg/api-server/resource_endpoints.go`; both end with a newline there.

use tandem_model::{Kind, Mode};

use crate::settings::AdmissionSettings;

const GLOBAL: &str = "On global control plane you can not modify dataplane resources with 'kumactl apply' or via the HTTP \
                      API. You can still use 'kumactl' or the HTTP API to modify them on the zone control plane.\n";
const ZONE: &str = "On zone control plane you can only modify zone resources with 'kumactl apply' or via the HTTP API. You \
                    can still use 'kumactl' or the HTTP API to modify the rest of the resource on the global control \
                    plane.\n";

/// Whether people may not write `kind` on a control plane with these settings.
pub(crate) fn is_read_only(settings: &AdmissionSettings, kind: Kind) -> bool {
    settings.read_only || !settings.mode.may_write(kind)
}

/// The answer to a write of a kind that is read-only on a control plane of this role.
pub(crate) fn refusal(mode: Mode) -> &'static str {
    if mode.is_global() { GLOBAL } else { ZONE }
}
