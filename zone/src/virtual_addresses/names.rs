//! The names of a mesh, and where each port of a name leads.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use tandem_model::ResourceKey;
use tandem_model::label::SERVICE_TAG;
use tandem_model::tags::{Tags, display};
use tandem_model::vips::{
    NameKind, ORIGIN_EXTERNAL_SERVICE, ORIGIN_GATEWAY, ORIGIN_SERVICE, ORIGIN_VIRTUAL_OUTBOUND, VipName, VipTarget,
};
use tandem_model::virtual_outbound::{VirtualOutbound, matching};

use super::facts::Facts;

/// The names of one mesh.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Where each name leads, by port.
    pub(super) names: BTreeMap<VipName, BTreeMap<u32, VipTarget>>,
    /// Names that somebody else has already, and templates that make none; for people.
    pub(super) problems: BTreeSet<String>,
}

impl Names {
    /// The names of `mesh`, with those of services only if `of_services`. Of several that claim a port of a name the first one has
    /// it: Dataplanes come before services of other zones, ExternalServices and gateways, each sorted by name.
    pub(super) fn of(facts: &Facts, mesh: &str, of_services: bool) -> Self {
        let mut names = Self::default();
        let outbounds: Vec<_> = in_mesh(&facts.virtual_outbounds, mesh).map(|(_, outbound)| outbound).collect();
        let dataplanes = in_mesh(&facts.dataplanes, mesh).flat_map(|(_, inbounds)| inbounds);
        let remote = facts.ingresses.values().flatten().filter(|(of, _)| of == mesh).map(|(_, tags)| tags);
        // Most proxies have the tags of another one.
        let mut seen = HashSet::new();
        for tags in dataplanes.chain(remote).filter(|tags| seen.insert(*tags)) {
            let service = tags.get(SERVICE_TAG).filter(|service| !service.is_empty());
            if let Some(service) = service.filter(|_| of_services) {
                names.add_service(service, 0);
            }
            names.add_virtual_outbounds(&outbounds, tags);
        }
        for (key, external) in in_mesh(&facts.externals, mesh) {
            let tags = Tags::from([(SERVICE_TAG.to_owned(), external.service.clone())]);
            if of_services {
                names.add_service(&external.service, external.port);
            }
            if let Some(host) = &external.host {
                let origin = format!("{ORIGIN_EXTERNAL_SERVICE}{}", key.name);
                let target = VipTarget { port: external.port, tags: tags.clone(), origin };
                names.add(VipName::new(NameKind::Host, host.as_str()), target);
            }
            names.add_virtual_outbounds(&outbounds, &tags);
        }
        for (key, listeners) in &facts.gateways {
            for listener in listeners {
                let origin = format!("{ORIGIN_GATEWAY}{}:{}:{}", key.mesh, key.name, listener.host);
                let target = VipTarget { port: listener.port, tags: listener.tags.clone(), origin };
                names.add(VipName::new(NameKind::Domain, listener.host.as_str()), target);
            }
        }
        names
    }

    fn add_service(&mut self, service: &str, port: u32) {
        let tags = [(SERVICE_TAG.to_owned(), service.to_owned())].into();
        let target = VipTarget { port, tags, origin: ORIGIN_SERVICE.to_owned() };
        self.add(VipName::new(NameKind::Service, service), target);
    }

    fn add_virtual_outbounds(&mut self, outbounds: &[&VirtualOutbound], tags: &Tags) {
        for outbound in matching(outbounds.iter().copied(), tags) {
            let made = outbound.host(tags).and_then(|host| Ok((host, outbound.port(tags)?)));
            match made {
                Ok((host, port)) => {
                    let origin = format!("{ORIGIN_VIRTUAL_OUTBOUND}{}", outbound.name);
                    let target = VipTarget { port: port.into(), tags: outbound.tags(tags), origin };
                    self.add(VipName::new(NameKind::Domain, host), target);
                }
                Err(reason) => {
                    let tags = display(tags);
                    self.problems.insert(format!(
                        "VirtualOutbound {:?} makes no host name for a service with the tags {tags}: {reason}",
                        outbound.name
                    ));
                }
            }
        }
    }

    /// Adds a port of a name, unless somebody has it.
    fn add(&mut self, name: VipName, target: VipTarget) {
        match self.names.entry(name.clone()).or_default().entry(target.port) {
            Entry::Vacant(free) => {
                free.insert(target);
            }
            Entry::Occupied(taken) if *taken.get() == target => {}
            Entry::Occupied(taken) => {
                let owner = taken.get();
                let remedy = match name.kind {
                    NameKind::Host => "; to have none for an ExternalService, set its networking.disableHostDNSEntry",
                    _ => "",
                };
                self.problems.insert(format!(
                    "port {} of {name} is of {} ({}), so it is not of {} ({}){remedy}",
                    target.port,
                    owner.origin,
                    display(&owner.tags),
                    target.origin,
                    display(&target.tags),
                ));
            }
        }
    }
}

/// What belongs to a mesh.
fn in_mesh<'a, V>(all: &'a BTreeMap<ResourceKey, V>, mesh: &'a str) -> impl Iterator<Item = (&'a ResourceKey, &'a V)> {
    // All keys are of one kind, so those of a mesh are next to each other.
    let kind = all.keys().next().map(|key| key.kind);
    let first = kind.map(|kind| ResourceKey::new(kind, mesh, ""));
    let from = first.into_iter().flat_map(move |first| all.range(first..));
    from.take_while(move |(key, _)| key.mesh == mesh)
}
