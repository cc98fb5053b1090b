//! What admission must know of the control plane it serves.

use tandem_model::Mode;
use tandem_model::label::LabelContext;

/// Settings of a control plane that bear on writes. Configuration keys are those of Kuma.
#[derive(Debug, Clone)]
pub struct AdmissionSettings {
    /// Role of the control plane.
    pub mode: Mode,
    /// Name of the zone (`multizone.zone.name`); empty on global.
    pub zone: String,
    /// `apiServer.readOnly`: people may write nothing.
    pub read_only: bool,
    /// `store.unsafeDelete`: the delete guards are off.
    pub unsafe_delete: bool,
    /// `multizone.zone.disableOriginLabelValidation`: any `kuma.io/origin` is accepted.
    pub skip_origin_label_check: bool,
    /// `defaults.skipMeshCreation`: no mesh `default` at start.
    pub skip_mesh_creation: bool,
    /// `defaults.skipTenantResources`: nothing at all is created at start.
    pub skip_tenant_resources: bool,
    /// `defaults.skipHostnameGenerators`: no HostnameGenerators at start.
    pub skip_hostname_generators: bool,
    /// `defaults.createMeshRoutingResources`: a new mesh also gets the legacy `allow-all` and `route-all`.
    pub create_mesh_routing_resources: bool,
    /// User tokens are in use (`apiServer.authn.type` is `tokens`): their signing key is created.
    pub user_tokens: bool,
    /// `apiServer.authn.tokens.bootstrapAdminToken`: GlobalSecret `admin-user-token` is created.
    pub bootstrap_admin_token: bool,
}

impl AdmissionSettings {
    /// Kuma's defaults for a control plane of this role; `zone` is empty on global.
    pub fn new(mode: Mode, zone: impl Into<String>) -> Self {
        Self {
            mode,
            zone: zone.into(),
            read_only: false,
            unsafe_delete: false,
            skip_origin_label_check: false,
            skip_mesh_creation: false,
            skip_tenant_resources: false,
            skip_hostname_generators: false,
            create_mesh_routing_resources: false,
            user_tokens: true,
            bootstrap_admin_token: true,
        }
    }

    /// What computing and checking labels depends on.
    /// What labels of resources that are written here are completed and checked with.
    pub fn label_context(&self) -> LabelContext {
        LabelContext { mode: self.mode, zone: self.zone.clone(), check_origin: !self.skip_origin_label_check }
    }
}
