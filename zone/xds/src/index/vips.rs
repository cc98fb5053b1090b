//! Services known by the tag `kuma.io/service` at their virtual addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tandem_model::Resource;
use tandem_model::label::SERVICE_TAG;
use tandem_model::vips::{Expansion, VipOutbound, Vips, expand, parse};
use tandem_proto::system::v1alpha1::Config;

use super::snapshot::ZoneSettings;

/// Stands, among the services a proxy uses, for all virtual addresses of services: for proxies that do not restrict themselves.
pub(crate) const ALL_VIPS: &str = "*vips";

/// Stands, among the services a proxy uses, for the virtual addresses of one service: for proxies that restrict themselves to some.
pub(crate) fn vips_of(service: &str) -> String {
    format!("{ALL_VIPS}:{service}")
}

/// The virtual addresses of a mesh, from its Config.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VipsView {
    /// Names and where they lead.
    vips: Vips,
    /// What that means for proxies.
    expansion: Expansion,
}

impl VipsView {
    pub(crate) fn decode(resource: &Resource, settings: &ZoneSettings) -> Result<Self, String> {
        let text = resource.proto::<Config>().map_err(|error| error.to_string())?.config;
        let vips = parse(&text).map_err(|error| error.to_string())?;
        let expansion = expand(&vips, &settings.dns_domain, settings.service_vip_port);
        Ok(Self { vips, expansion })
    }

    /// Outbounds to services, in the order of their names.
    pub fn outbounds(&self) -> &[VipOutbound] {
        &self.expansion.outbounds
    }

    /// Host names and the addresses they lead to; of several addresses of one name the last one counts.
    pub fn domains(&self) -> &[(String, String)] {
        &self.expansion.domains
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.vips.is_empty()
    }

    /// Names for which no address was left.
    pub(crate) fn without_address(&self) -> impl Iterator<Item = String> + '_ {
        self.vips.iter().filter(|(_, vip)| vip.address.is_empty()).map(|(name, _)| name.to_string())
    }

    /// The services for which two versions make a difference.
    pub(crate) fn changed_services(&self, other: &Self) -> BTreeSet<String> {
        let (old, new) = (self.by_service(), other.by_service());
        let services: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
        let changed = services.into_iter().filter(|service| old.get(service) != new.get(service));
        changed.map(str::to_owned).collect()
    }

    /// For each service its outbounds, each with the host names that lead to it.
    fn by_service(&self) -> BTreeMap<&str, Vec<(&VipOutbound, Vec<&str>)>> {
        let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, address) in self.domains() {
            names.entry(address).or_default().push(name);
        }
        let mut services: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for outbound in self.outbounds() {
            let service = outbound.tags.get(SERVICE_TAG).map_or("", String::as_str);
            let names = names.get(outbound.address.as_str()).cloned().unwrap_or_default();
            services.entry(service).or_default().push((outbound, names));
        }
        services
    }
}

/// Shared by snapshots.
pub(crate) type SharedVips = Arc<VipsView>;
