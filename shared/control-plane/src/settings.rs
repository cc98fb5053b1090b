//! The configuration in the terms of the parts.

use std::sync::Arc;

use tandem_admission::AdmissionSettings;
use tandem_api::{ApiSettings, Authentication, GuiSettings};
use tandem_kds::status::Peers;
use tandem_kds::{CommonSettings, DeletionGuard, Identity, InsightSettings, Surroundings};
use tandem_model::{Kind, Mode, Resource, Spec, Violations};
use tandem_policy::PolicySettings;
use tandem_proto::system::v1alpha1::KumaCpVersion;
use tandem_runtime::cli::Start;
use tandem_runtime::config::{Config, Role};
use tandem_runtime::version::{KUMA_VERSION, Version};

/// Role of the control plane.
pub fn mode(config: &Config) -> Mode {
    match config.mode {
        Role::Global => Mode::Global,
        Role::Zone => Mode::Zone { federated: config.is_federated_zone() },
    }
}

/// With whom a control plane of this role synchronizes.
pub(crate) fn peers(config: &Config) -> Peers {
    match mode(config) {
        Mode::Global => Peers::Zones,
        Mode::Zone { federated: true } => Peers::Global,
        Mode::Zone { federated: false } => Peers::None,
    }
}

pub(crate) fn admission(config: &Config) -> AdmissionSettings {
    let zone = if config.mode == Role::Zone { config.multizone.zone.name.clone() } else { String::new() };
    AdmissionSettings {
        mode: mode(config),
        zone,
        read_only: config.api_server.read_only,
        unsafe_delete: config.store.unsafe_delete,
        skip_origin_label_check: config.multizone.zone.disable_origin_label_validation,
        skip_mesh_creation: config.defaults.skip_mesh_creation,
        skip_tenant_resources: config.defaults.skip_tenant_resources,
        skip_hostname_generators: config.defaults.skip_hostname_generators,
        create_mesh_routing_resources: config.defaults.create_mesh_routing_resources,
        user_tokens: authentication(config) == Authentication::Tokens,
        bootstrap_admin_token: config.api_server.authn.tokens.bootstrap_admin_token,
    }
}

/// How clients of the HTTP API prove who they are; the configuration allows these two.
pub(crate) fn authentication(config: &Config) -> Authentication {
    match config.api_server.authn.r#type.as_str() {
        "adminClientCerts" => Authentication::AdminClientCerts,
        _ => Authentication::Tokens,
    }
}

pub(crate) fn api(config: &Config) -> ApiSettings {
    ApiSettings {
        base_path: config.api_server.base_path.clone(),
        read_only: config.api_server.read_only,
        cors_allowed_domains: config.api_server.cors_allowed_domains.clone(),
        localhost_is_admin: config.api_server.authn.localhost_is_admin,
        authentication: authentication(config),
        dns_domain: config.dns_server.domain.clone(),
        service_vip_port: config.dns_server.service_vip_port,
        gui: GuiSettings {
            enabled: config.api_server.gui.enabled,
            base_path: config.api_server.gui.base_path.clone(),
            root_url: config.api_server.gui.root_url.clone(),
            api_url: config.api_server.root_url.clone(),
            global_address: config.multizone.zone.global_address.clone(),
        },
        policies: policies(config),
        ..ApiSettings::default()
    }
}

/// Which policies have an effect, and how.
pub fn policies(config: &Config) -> PolicySettings {
    let enabled = &config.policies.plugin_policies_enabled;
    PolicySettings {
        enabled: Some(enabled.iter().filter_map(|name| Kind::from_path(name)).collect()),
        deny_overrides_allow: config.policies.deny_overrides_allow,
    }
}

/// What synchronization must know on either side. `config` is the configuration that the peer is told; empty for none.
pub fn kds_settings(
    start: &Start,
    max_message_bytes: usize,
    skip_label_prefixes: &[String],
    config: String,
) -> CommonSettings {
    let settings = &start.loaded.config;
    let instance = start.instance.as_str().to_owned();
    let multizone = &settings.multizone;
    let (guard, response_backoff) = match settings.mode {
        Role::Global => (&multizone.global.kds.deletion_guard, multizone.global.kds.response_backoff),
        Role::Zone => (&multizone.zone.kds.deletion_guard, multizone.zone.kds.response_backoff),
    };
    CommonSettings {
        identity: Identity {
            instance: instance.clone(),
            version: KumaCpVersion {
                version: KUMA_VERSION.to_owned(),
                git_tag: format!("v{KUMA_VERSION}"),
                git_commit: Version::current().commit.to_owned(),
                build_date: String::new(),
                kuma_cp_global_compatible: true,
            },
            config,
        },
        max_message_bytes,
        skip_label_prefixes: skip_label_prefixes.to_vec(),
        insights: InsightSettings {
            instance,
            flush_interval: settings.multizone.global.kds.zone_insight_flush_interval,
            subscription_limit: settings.metrics.zone.subscription_limit,
            compact_finished: settings.metrics.zone.compact_finished_subscriptions,
            needs_zone: settings.mode == Role::Global,
        },
        validate: Arc::new(validate),
        deletion_guard: DeletionGuard { share: guard.share, minimum: guard.minimum, hold: guard.hold },
        response_backoff,
        surroundings: Surroundings::default(),
    }
}

/// Checks a resource that a peer sent, by the rules of the HTTP API; a member that this version does not know is fine.
fn validate(resource: &Resource) -> Violations {
    match &resource.spec {
        Spec::Json(spec) if resource.kind().is_target_ref_policy() => {
            tandem_policy::check_received(resource.kind(), spec)
        }
        _ => tandem_model::validate(resource),
    }
}
