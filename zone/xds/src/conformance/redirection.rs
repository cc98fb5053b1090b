//! What a sidecar has besides inbounds and outbounds when connections are redirected: direct access and virtual probes.

use std::sync::Arc;

use serde_json::{Value, json};
use tandem_model::dataplane::DataplaneExt as _;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_policy::envoy::DraftSet;

use super::generators::dataplane;
use super::{Report, differences, folder, golden, of_set, text, yaml};
use crate::generate::direct_access::{addresses, direct_access, services};
use crate::generate::names::Naming;
use crate::generate::probes::{ProbeSource, probes};
use crate::generate::transparent::Redirection;
use crate::metadata::ProxyMetadata;
use crate::testing::{Zone, mesh};

/// The documents of a YAML file.
fn documents(path: &std::path::Path) -> Vec<Value> {
    use serde::Deserialize as _;
    let text = text(path);
    serde_norway::Deserializer::from_str(&text).map(|document| Value::deserialize(document).expect("YAML")).collect()
}

/// A zone with these Dataplanes.
fn zone(dataplanes: &[Value]) -> Zone {
    let resources = dataplanes.iter().map(|document| {
        let name = document["name"].as_str().expect("Dataplanes have names");
        Resource::from_proto(ResourceKey::new(Kind::Dataplane, "default", name), &dataplane(document))
    });
    Zone::new("east", std::iter::once(mesh("default").resource()).chain(resources))
}

#[test]
fn other_proxies_at_their_own_addresses() {
    const AREA: &str = "generator/direct-access";
    let Some(folder) = folder(AREA) else { return };
    let mut report = Report::new(format!("xds-generator/{AREA}"));
    for number in 1..=4 {
        let file = |name: &str| folder.join(format!("{number:02}.{name}.yaml"));
        let own = yaml(&file("dataplane.input"));
        let mut all = documents(&file("dataplanes.input"));
        // One that stands for none has no name.
        all.retain(|document| document["name"].is_string() && document["name"] != own["name"]);
        all.push(own.clone());
        let zone = zone(&all);
        let snapshot = zone.index.snapshot();
        let state = &snapshot.meshes["default"];
        let view = snapshot.dataplane("default", own["name"].as_str().expect("named")).expect("put just now");
        let mesh = state.config.as_ref().expect("put just now");
        let mut set = DraftSet::default();
        let wanted = services(view);
        if Redirection::of(&view.spec, &ProxyMetadata::default()).enabled && !wanted.is_empty() {
            let others = state.dataplanes.values().map(|other| &**other);
            let mut found = addresses(mesh, others, view, wanted, &[]);
            // There the outbounds are those that the Dataplane lists.
            for outbound in view.spec.outbounds() {
                found.remove(&(outbound.address.clone(), outbound.port));
            }
            let found = found.into_iter().map(|address| (address, Vec::new())).collect();
            direct_access(&mut set, &found, None);
        }
        report.case(format!("{number:02}"), differences(&of_set(&set), &golden(&file("envoy-config.golden"))));
    }
    report.finish();
}

#[test]
fn virtual_probes() {
    const AREA: &str = "generator/probe";
    let Some(folder) = folder(AREA) else { return };
    let mut report = Report::new(format!("xds-generator/{AREA}"));
    let with_probe = |inbound: u32, query: &str| {
        let endpoint = json!({
            "inboundPort": 8080,
            "inboundPath": format!("/healthz/probe{query}"),
            "path": format!("/8080/healthz/probe{query}")
        });
        json!({
            "networking": {"inbound": [{"port": inbound}]},
            "probes": {"port": 9000, "endpoints": [endpoint]}
        })
    };
    let usual = with_probe(8080, "");
    let cases = [
        (1, usual.clone(), Naming::Legacy),
        (2, json!({}), Naming::Legacy),
        (3, with_probe(1010, ""), Naming::Legacy),
        (4, with_probe(8080, "?param1=value1&param2=value2"), Naming::Legacy),
        (6, usual, Naming::Unified),
    ];
    for (number, spec, naming) in cases {
        let dataplane = Arc::new(dataplane(&spec));
        let mut set = DraftSet::default();
        if let Some(listed) = &dataplane.probes {
            let source = ProbeSource {
                dataplane: &dataplane,
                probes: listed,
                naming,
                redirected: false,
                reuse_port: false,
                ipv6: true,
            };
            probes(&mut set, &source);
        }
        let golden = golden(&folder.join(format!("{number:02}.envoy.golden.yaml")));
        report.case(format!("{number:02}"), differences(&of_set(&set), &golden));
    }
    report.skip("05", "an application probe proxy takes their place: a unit test of the whole sidecar");
    report.finish();
}
