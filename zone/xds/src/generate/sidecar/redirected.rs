//! What a sidecar has only where connections are redirected to it, and the probes of its workload.

use std::collections::BTreeMap;

use tandem_model::dataplane::DataplaneExt as _;
use tandem_policy::access_log::TrafficDirection;
use tandem_policy::envoy::{Draft, Origin};
use tandem_policy::passthrough::{self, PassthroughMode};

use super::super::direct_access::{self, direct_access};
use super::super::dns::{document, name_server};
use super::super::dynconf::{Document, dynamic_config};
use super::super::outbounds::Address;
use super::super::probes::{ProbeSource, probes};
use super::super::transparent::{Outbound, Passthrough, transparent, workload_ports};
use super::outlook::Outlook;
use super::{AdminInput, Collector, Sidecar, infallible};
use crate::index::direct_access_to;
use crate::metadata::ProxyMetadata;

impl Sidecar<'_> {
    /// What MeshPassthroughs say, if they have an effect on the proxy.
    fn passthrough(&self, collector: &mut Collector<'_>) -> Option<&passthrough::Rules> {
        let rules = self.policies.own.passthrough.as_ref()?;
        let reason = if self.dataplane.spec.is_builtin_gateway() {
            "policy doesn't support builtin gateway"
        } else if !self.redirection.enabled || self.metadata.features.bind_outbounds {
            "policy doesn't support proxy running without transparent-proxy"
        } else {
            rules.left_out.iter().for_each(|(policy, reason)| collector.left_out(policy, reason));
            return Some(rules);
        };
        rules.policies.iter().for_each(|policy| collector.left_out(policy, reason));
        None
    }

    /// Adds what takes redirected connections that nothing else takes.
    pub(super) fn transparent(&self, collector: &mut Collector<'_>) {
        if self.metadata.features.bind_outbounds {
            // What is without effect is told all the same.
            self.passthrough(collector);
            return;
        }
        let ports = || workload_ports(&self.dataplane.spec);
        let outbound = match self.passthrough(collector) {
            None if self.mesh.passthrough => Outbound::All,
            None => Outbound::None,
            Some(rules) => match rules.mode {
                PassthroughMode::All => Outbound::All,
                PassthroughMode::Matched if !rules.matchers.is_empty() => Outbound::Matched(&rules.matchers),
                PassthroughMode::Matched | PassthroughMode::None => Outbound::None,
            },
        };
        let passthrough = Passthrough {
            outbound,
            internal: self.internal_addresses(),
            strict_ports: self.has_strict_ports().then(ports).filter(|ports| !ports.is_empty()),
            naming: self.naming,
            reuse_port: self.metadata.features.reuse_port,
            logs: self.passthrough_logs("external", TrafficDirection::Unspecified, collector),
        };
        infallible(collector.own("transparent", (&self.redirection, &passthrough), |set| {
            transparent(set, &self.redirection, &passthrough);
            Ok(())
        }));
    }

    /// Adds what secures connections to other proxies at their own addresses.
    pub(super) fn direct_access(&self, collector: &mut Collector<'_>, outbounds: &[Address]) {
        let Self { state, mesh, dataplane, .. } = *self;
        let services = direct_access::services(dataplane);
        if !self.redirection.enabled || services.is_empty() {
            return;
        }
        for service in services {
            collector.uses(&mesh.name, &direct_access_to(service));
        }
        let others = state.dataplanes.values().map(|other| &**other);
        let addresses = direct_access::addresses(mesh, others, dataplane, services, outbounds);
        let logged = |address| {
            let name = direct_access::listener_name(&address);
            let logs = self.passthrough_logs(&name, TrafficDirection::Outbound, collector);
            (address, logs)
        };
        let addresses: BTreeMap<_, _> = addresses.into_iter().map(logged).collect();
        let credential = self.credentials.inbound().map(|credential| &**credential);
        if let Some(credential) = credential {
            collector.secured_by(credential);
        }
        infallible(collector.own("direct access", (&addresses, credential), |set| {
            direct_access(set, &addresses, credential);
            Ok(())
        }));
    }

    /// Adds the listener for probes, unless kuma-dp answers them itself.
    pub(super) fn probes(&self, collector: &mut Collector<'_>) {
        let dataplane = &self.dataplane.spec;
        let Some(listed) = dataplane.probes.as_ref().filter(|_| !self.metadata.app_probe_proxy) else { return };
        let source = ProbeSource {
            dataplane,
            probes: listed,
            naming: self.naming,
            redirected: self.redirection.enabled,
            reuse_port: self.metadata.features.reuse_port,
            ipv6: self.metadata.ipv6_enabled,
        };
        infallible(collector.own("probes", &source, |set| {
            probes(set, &source);
            Ok(())
        }));
    }

    /// True when the names of virtual addresses are published.
    pub(super) fn has_names(&self) -> bool {
        let ProxyMetadata { dns_port, features, .. } = self.metadata;
        self.redirection.enabled && *dns_port != 0 && !features.bind_outbounds
    }

    /// Adds the name server, for a kuma-dp that does not answer queries itself.
    pub(super) fn dns(&self, collector: &mut Collector<'_>, outlook: &Outlook) {
        let Self { metadata, naming, .. } = *self;
        if !self.has_names() {
            return;
        }
        let Outlook { records, names, clashes, .. } = outlook;
        collector.warn(clashes);
        if !metadata.features.embedded_dns {
            infallible(collector.own("dns", (metadata.dns_port, naming, names), |set| {
                set.add_listener(Draft::new(Origin::Dns, name_server(records, metadata, naming)));
                Ok(())
            }));
        }
    }

    /// Adds what publishes settings to kuma-dp: names, if it answers queries itself, and how metrics are gathered.
    pub(super) fn dynamic_config(&self, collector: &mut Collector<'_>, outlook: &Outlook, metrics: Option<Document>) {
        let Self { metadata, naming, .. } = *self;
        let records = (self.has_names() && metadata.features.embedded_dns).then_some(&outlook.records);
        let names = records.map(|_| outlook.names);
        infallible(collector.own("dynamic config", (AdminInput(metadata), naming, names, &metrics), |set| {
            let documents: Vec<_> = records.map(document).into_iter().chain(metrics.clone()).collect();
            dynamic_config(set, &documents, metadata, naming);
            Ok(())
        }));
    }
}
