//! What admission must know of the control plane it serves.

use tandem_model::Mode;
use tandem_model::label::LabelContext;
use tandem_runtime::config::{Config, Role};

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

    /// The settings in a configuration.
    pub fn of(config: &Config) -> Self {
        let mode = match config.mode {
            Role::Global => Mode::Global,
            Role::Zone => Mode::Zone { federated: config.is_federated_zone() },
        };
        let zone = if mode.is_global() { "" } else { config.multizone.zone.name.as_str() };
        let authn = &config.api_server.authn;
        Self {
            mode,
            zone: zone.to_owned(),
            read_only: config.api_server.read_only,
            unsafe_delete: config.store.unsafe_delete,
            skip_origin_label_check: config.multizone.zone.disable_origin_label_validation,
            skip_mesh_creation: config.defaults.skip_mesh_creation,
            skip_tenant_resources: config.defaults.skip_tenant_resources,
            skip_hostname_generators: config.defaults.skip_hostname_generators,
            create_mesh_routing_resources: config.defaults.create_mesh_routing_resources,
            user_tokens: authn.r#type == "tokens",
            bootstrap_admin_token: authn.tokens.bootstrap_admin_token,
        }
    }

    /// What computing and checking labels depends on.
    pub(crate) fn label_context(&self) -> LabelContext {
        LabelContext { mode: self.mode, zone: self.zone.clone(), check_origin: !self.skip_origin_label_check }
    }
}
