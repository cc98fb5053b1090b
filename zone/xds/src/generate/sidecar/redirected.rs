//! What a sidecar has only where connections are redirected to it, and the probes of its workload.

use std::collections::BTreeMap;

use tandem_policy::legacy::PASS_THROUGH;
use tandem_policy::legacy::traffic_log::TrafficDirection;

use super::super::direct_access::{self, direct_access};
use super::super::dns::dns;
use super::super::outbounds::Address;
use super::super::probes::{ProbeSource, probes};
use super::super::transparent::{Passthrough, transparent, workload_ports};
use super::outlook::Outlook;
use super::{AdminInput, Collector, Sidecar, infallible};
use crate::index::direct_access_to;

impl Sidecar<'_> {
    /// Adds what takes redirected connections that nothing else takes.
    pub(super) fn transparent(&self, collector: &mut Collector<'_>) {
        if self.metadata.features.bind_outbounds {
            return;
        }
        let ports = || workload_ports(&self.dataplane.spec);
        let passthrough = Passthrough {
            outbound: self.mesh.passthrough,
            strict_ports: self.has_strict_ports().then(ports).filter(|ports| !ports.is_empty()),
            naming: self.naming,
            reuse_port: self.metadata.features.reuse_port,
            log: self.logging().of(PASS_THROUGH, "external", TrafficDirection::Unspecified, collector),
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
        let logging = self.logging();
        let logged = |address| {
            let name = direct_access::listener_name(&address);
            let log = logging.of(PASS_THROUGH, &name, TrafficDirection::Outbound, collector);
            (address, log)
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

    /// Adds what publishes the names of virtual addresses.
    pub(super) fn dns(&self, collector: &mut Collector<'_>, outlook: &Outlook) {
        let metadata = self.metadata;
        if !self.redirection.enabled || metadata.dns_port == 0 || metadata.features.bind_outbounds {
            return;
        }
        let Outlook { records, names, clashes, .. } = outlook;
        collector.warn(clashes);
        let input = (AdminInput(metadata), metadata.dns_port, self.naming, names);
        infallible(collector.own("dns", input, |set| {
            dns(set, records, metadata, self.naming);
            Ok(())
        }));
    }
}
