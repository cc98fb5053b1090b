//! Names and well-known values of the labels and tags that carry meaning.
//!
//! Source of the names: Kuma `api/mesh/v1alpha1/dataplane_helpers.go` and `pkg/core/resources/model/labels`.

mod compute;
mod syntax;
mod validate;

pub use compute::{compute, is_locally_originated};
pub use syntax::{label_key_errors, label_value_errors};
pub use validate::{validate, validate_unchanged, validate_workload};

use crate::mode::Mode;

/// What the labels of a resource depend on besides the resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelContext {
    /// Role of the control plane that stores the resource.
    pub mode: Mode,
    /// Name of the zone; unused on global.
    pub zone: String,
    /// False switches off the rules that the label [`ORIGIN`] has to name the side that is written to
    /// (`multizone.{global,zone}.disableOriginLabelValidation`).
    pub check_origin: bool,
}

/// Name of the mesh a resource belongs to.
pub const MESH: &str = "kuma.io/mesh";
/// Which side created the resource: [`ORIGIN_GLOBAL`] or [`ORIGIN_ZONE`], as seen by the holder.
pub const ORIGIN: &str = "kuma.io/origin";
/// Zone the resource was created in. As an inbound tag: the zone of the instance.
pub const ZONE: &str = "kuma.io/zone";
/// Environment of the zone: `universal` or `kubernetes`.
pub const ENV: &str = "kuma.io/env";
/// Name the user gave, kept when the stored name carries a hash.
pub const DISPLAY_NAME: &str = "kuma.io/display-name";
/// Kind of proxy a proxy resource describes.
pub const PROXY_TYPE: &str = "kuma.io/proxy-type";
/// Role of a policy: `system`, `producer`, `consumer` or `workload-owner`.
pub const POLICY_ROLE: &str = "kuma.io/policy-role";
/// Effect of a policy; only `shadow` is known.
pub const EFFECT: &str = "kuma.io/effect";
/// Whether one object takes part in synchronization: `enabled` or `disabled`.
pub const KDS_SYNC: &str = "kuma.io/kds-sync";
/// Component that manages the object.
pub const MANAGED_BY: &str = "kuma.io/managed-by";
/// Workload a Dataplane belongs to.
pub const WORKLOAD: &str = "kuma.io/workload";
/// Start of the grace period of a generated MeshService without proxies.
pub const DELETION_GRACE_PERIOD_STARTED_AT: &str = "kuma.io/deletion-grace-period-started-at";
/// Namespace of an object that came from Kubernetes.
pub const K8S_NAMESPACE: &str = "k8s.kuma.io/namespace";
/// Service account of a pod.
pub const K8S_SERVICE_ACCOUNT: &str = "k8s.kuma.io/service-account";

/// Tag that names the service of an inbound or outbound.
pub const SERVICE_TAG: &str = "kuma.io/service";
/// Tag that names the protocol of an inbound.
pub const PROTOCOL_TAG: &str = "kuma.io/protocol";

/// Value of [`ORIGIN`] for what global created.
pub const ORIGIN_GLOBAL: &str = "global";
/// Value of [`ORIGIN`] for what a zone created.
pub const ORIGIN_ZONE: &str = "zone";
/// Value of [`ENV`] for a control plane outside of Kubernetes, as this one.
pub const ENV_UNIVERSAL: &str = "universal";
