//! Parts of a sidecar's configuration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use prost::Message as _;
use serde_json::{Value, json};
use tandem_model::dataplane::{DataplaneExt as _, InboundInterface};
use tandem_model::{Kind, Protocol};
use tandem_policy::envoy::pb::tls as pb_tls;
use tandem_policy::envoy::{Draft, DraftSet, Origin};
use tandem_policy::legacy::{self, Decoded};
use tandem_proto::json::{Unknown, from_json};
use tandem_proto::mesh::v1alpha1::Dataplane;

use super::{Report, canonical, differences, folder, golden, metadata, of_set, yaml};
use crate::generate::admin::admin;
use crate::generate::credential::Credential;
use crate::generate::dns::{Records, document, mapped_to_ipv6, name_server};
use crate::generate::dynconf::dynamic_config;
use crate::generate::http::internal_addresses;
use crate::generate::inbound::{InboundMode, InboundSource, drafts};
use crate::generate::names::{Naming, service_sni};
use crate::generate::secrets;
use crate::generate::tls::{PeerName, upstream};
use crate::generate::transparent::{Outbound, Passthrough, Redirection, transparent, workload_ports};
use crate::input::{AdminTls, Identity};
use crate::metadata::ProxyMetadata;
use crate::testing::{envoy_json, stored};

const UNIFIED: &str = "feature-unified-resource-naming";
const STRICT_PORTS: &str = "feature-strict-inbound-ports";

pub(super) fn dataplane(spec: &Value) -> Dataplane {
    let mut members = spec.as_object().cloned().unwrap_or_default();
    ["type", "name", "mesh"].iter().for_each(|name| {
        members.remove(*name);
    });
    let bytes = from_json("kuma.mesh.v1alpha1.Dataplane", &members, Unknown::Ignore).expect("a Dataplane");
    Dataplane::decode(bytes.as_slice()).expect("encoded just now")
}

fn address(dataplane: &Dataplane) -> &str {
    dataplane.networking.as_ref().map_or("", |networking| &networking.address)
}

#[test]
fn administration() {
    let Some(folder) = folder("generator/admin") else { return };
    let mut report = Report::new("xds-generator/generator/admin");
    let addresses = ["", "127.0.0.1", "::1", "0.0.0.0", "::", "::1", "", ""];
    for (index, admin_address) in addresses.into_iter().enumerate() {
        let number = index + 1;
        let mut features = Vec::new();
        features.extend((number >= 7).then_some(UNIFIED));
        features.extend((number == 8).then_some("feature-readiness-unix-socket"));
        let metadata = ProxyMetadata {
            admin_port: 9901,
            admin_address: admin_address.to_owned(),
            readiness_port: if number == 6 { 9400 } else { 9902 },
            ipv6_enabled: true,
            ..metadata(&features)
        };
        let material = AdminTls { ca: b"caPEM".into(), certificate: b"certPEM".into(), private_key: b"keyPEM".into() };
        let dataplane = dataplane(&yaml(&folder.join(format!("{number:02}.dataplane.input.yaml"))));
        let mut set = DraftSet::default();
        let result = admin(&mut set, address(&dataplane), &metadata, Some(&material));
        let golden = golden(&folder.join(format!("{number:02}.envoy-config.golden.yaml")));
        let mut found = differences(&of_set(&set), &golden);
        found.extend(result.err().map(|error| error.to_string()));
        report.case(format!("{number:02}"), found);
    }
    report.finish();
}

fn inbound_case(folder: &Path, number: u32) -> Vec<String> {
    let dataplane = dataplane(&yaml(&folder.join(format!("{number}-dataplane.input.yaml"))));
    let metadata = metadata(if matches!(number, 8 | 9) { &[UNIFIED] } else { &[] });
    let naming = Naming::unified_if(matches!(number, 8 | 9));
    let credential = match number {
        9 => Credential::of_mesh_with_trust(naming, "default"),
        _ => Credential::of_mesh(naming, "default"),
    };
    let template = InboundSource {
        credential: Some(credential.into()),
        mode: if matches!(number, 5 | 6) { InboundMode::Permissive } else { InboundMode::Strict },
        interface: InboundInterface {
            address: String::new(),
            advertised_address: String::new(),
            port: 0,
            workload_address: String::new(),
            workload_port: 0,
        },
        section: String::new(),
        tags: Default::default(),
        protocol: Protocol::Unknown,
        redirected: Redirection::of(&dataplane, &metadata).enabled,
        naming,
        reuse_port: false,
        ipv6: false,
    };
    // As written there, although two of them are no ranges.
    let internal = [("100.64.0.0", 16), ("fc00::/7", 128), ("::1/128", 128)].map(|(prefix, length)| {
        let mut range = internal_addresses(["10.0.0.0/8"], true).remove(0);
        range.address_prefix = prefix.to_owned();
        range.prefix_len = Some(tandem_policy::envoy::pb::UInt32Value { value: length });
        range
    });
    let mut set = DraftSet::default();
    for (_, source) in InboundSource::all(&dataplane, &template) {
        let is_about = source.interface.address == "192.168.0.1" && source.interface.port == 80;
        let policies = if is_about { older_policies_of_an_inbound() } else { Default::default() };
        let (cluster, listener) = drafts(&source, &policies, &internal);
        set.add_cluster(cluster);
        set.add_listener(listener);
    }
    differences(&of_set(&set), &golden(&folder.join(format!("{number}-envoy-config.golden.yaml"))))
}

/// What the one inbound with policies of the older generation has.
fn older_policies_of_an_inbound() -> legacy::InboundPolicies {
    let between = |source: Value, conf: Value| {
        let selectors = |tags: Value| json!([{"match": tags}]);
        let destinations = selectors(json!({"kuma.io/service": "backend1"}));
        json!({"sources": selectors(source), "destinations": destinations, "conf": conf})
    };
    let service = |name: &str| json!({"kuma.io/service": name});
    let delay = json!({"delay": {"percentage": 50, "value": "5s"}});
    let header = json!({"key": "x-rate-limited", "value": "true", "append": false});
    let answer = json!({"status": 404, "headers": [header]});
    let limit = json!({"http": {"requests": 200, "interval": "10s"}});
    let other_limit = json!({"http": {"requests": 100, "interval": "2s", "onRateLimit": answer}});
    let mut permission = between(json!({"kuma.io/service": "web1", "version": "1.0"}), Value::Null);
    permission.as_object_mut().expect("written above").remove("conf");
    legacy::InboundPolicies {
        traffic_permission: Some(decoded(Kind::TrafficPermission, "tp-1", &permission)),
        fault_injections: vec![decoded(Kind::FaultInjection, "fi", &between(service("frontend"), delay))],
        rate_limits: vec![
            decoded(Kind::RateLimit, "rl-1", &between(service("frontend"), limit)),
            decoded(Kind::RateLimit, "rl-2", &between(service("*"), other_limit)),
        ],
    }
}

fn decoded<S: prost::Message + prost::Name + Default>(kind: Kind, name: &str, members: &Value) -> Arc<Decoded<S>> {
    let resource = stored(kind, "default", name, members);
    Arc::new(Decoded::decode(Arc::new(resource)).expect("encoded just now"))
}

#[test]
fn inbounds() {
    let Some(folder) = folder("generator/inbound-proxy") else { return };
    let mut report = Report::new("xds-generator/generator/inbound-proxy");
    for number in 1..=10 {
        report.case(number.to_string(), inbound_case(&folder, number));
    }
    report.finish();
}

#[test]
fn redirected_traffic() {
    let Some(folder) = folder("generator/transparent-proxy") else { return };
    let mut report = Report::new("xds-generator/generator/transparent-proxy");
    let redirected = |ports: &[u32], family: &str| {
        let inbound: Vec<_> = ports.iter().map(|port| json!({"port": port, "tags": {}})).collect();
        let redirection = json!({"ipFamilyMode": family, "redirectPortOutbound": 15001, "redirectPortInbound": 15006});
        json!({"networking": {"inbound": inbound, "transparentProxying": redirection}})
    };
    let both: [&str; 2] = [UNIFIED, STRICT_PORTS];
    let cases: [(u32, Value, &[&str], bool); 10] = [
        (1, json!({}), &[], false),
        (2, redirected(&[], "DualStack"), &[], false),
        (3, redirected(&[], "DualStack"), &[], false),
        (4, redirected(&[], "IPv4"), &[], false),
        (5, redirected(&[], "DualStack"), &[UNIFIED], false),
        (6, redirected(&[8080], "DualStack"), &both, true),
        (7, redirected(&[8080, 9000], "DualStack"), &both, false),
        (8, redirected(&[8080], "DualStack"), &both, false),
        (9, redirected(&[], "DualStack"), &both, true),
        (10, redirected(&[8080, 8080], "DualStack"), &both, true),
    ];
    for (number, spec, features, strict_mesh) in cases {
        let dataplane = dataplane(&spec);
        let metadata = metadata(features);
        let ports = workload_ports(&dataplane);
        let passthrough = Passthrough {
            outbound: Outbound::All,
            internal: Vec::new(),
            strict_ports: (strict_mesh && !dataplane.inbounds().is_empty()).then_some(ports),
            naming: Naming::unified_if(metadata.features.unified_naming),
            reuse_port: false,
            logs: (number == 3).then(super::observability::pass_through_log).into_iter().collect(),
        };
        let mut set = DraftSet::default();
        transparent(&mut set, &Redirection::of(&dataplane, &metadata), &passthrough);
        let golden = golden(&folder.join(format!("{number:02}.envoy.golden.yaml")));
        report.case(format!("{number:02}"), differences(&of_set(&set), &golden));
    }
    report.finish();
}

#[test]
fn names_of_virtual_addresses() {
    let Some(folder) = folder("generator/dns") else { return };
    let mut report = Report::new("xds-generator/generator/dns");
    let (httpbin, backend) = (Ipv4Addr::new(240, 0, 0, 1), Ipv4Addr::new(240, 0, 0, 0));
    let domains: [(IpAddr, &[&str]); 3] = [
        (httpbin.into(), &["httpbin.mesh"]),
        (backend.into(), &["backend.test-ns.svc.8080.mesh", "backend_test-ns_svc_8080.mesh"]),
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0xff00, 0x42, 0x8329).into(), &["frontend.test-ns.svc.8080.mesh"]),
    ];
    for number in 1..=6 {
        let dataplane = dataplane(&yaml(&folder.join(format!("{number}-dataplane.input.yaml"))));
        let features: &[&str] = match number {
            4 => &["feature-embedded-dns"],
            5 => &["feature-embedded-dns", UNIFIED],
            _ => &[],
        };
        let metadata = ProxyMetadata { dns_port: 53001, ..metadata(features) };
        let redirection = Redirection::of(&dataplane, &metadata);
        let mut set = DraftSet::default();
        if redirection.enabled {
            let mut records = Records::new();
            for (address, names) in domains {
                if !dataplane.outbounds().iter().any(|outbound| outbound.address == address.to_string()) {
                    continue;
                }
                let mut addresses = vec![address];
                if let (IpAddr::V4(v4), true) = (address, redirection.ipv6) {
                    addresses.push(mapped_to_ipv6(v4));
                }
                records.extend(names.iter().map(|name| ((*name).to_owned(), addresses.clone())));
            }
            let naming = Naming::unified_if(number == 5);
            if metadata.features.embedded_dns {
                dynamic_config(&mut set, &[document(&records)], &metadata, naming);
            } else {
                set.add_listener(Draft::new(Origin::Dns, name_server(&records, &metadata, naming)));
            }
        }
        let golden = golden(&folder.join(format!("{number}-envoy-config.golden.yaml")));
        report.case(number.to_string(), differences(&of_set(&set), &golden));
    }
    report.finish();
}

#[test]
fn contexts_of_clients() {
    let Some(folder) = folder("clusters/client_side_mtls_configurer") else { return };
    let mut report = Report::new("xds-generator/clusters/client_side_mtls_configurer");
    let peers = || vec![PeerName::service("default", "backend")];
    let cases = [
        ("cluster-with-mtls", Naming::Legacy, String::new()),
        ("cluster-with-mtls-unified-naming", Naming::Unified, String::new()),
        ("cluster-with-mtls-and-credentials", Naming::Legacy, service_sni("backend", "default", [("version", "v1")])),
    ];
    let cases = cases.map(|(name, naming, sni)| (name, Credential::of_mesh(naming, "default"), sni));
    let with_trust = (
        "cluster-with-meshtrust-validation-ctx",
        Credential::of_mesh_with_trust(Naming::Legacy, "default"),
        service_sni("backend", "default", [("version", "v1")]),
    );
    for (name, credential, sni) in cases.into_iter().chain([with_trust]) {
        let context = upstream(&credential, peers(), sni);
        let actual = envoy_json::to_json(
            "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            &context.encode_to_vec(),
        );
        let golden = yaml(&folder.join(format!("{name}.golden.yaml")));
        let mut expected = golden["transportSocket"]["typedConfig"].clone();
        expected.as_object_mut().expect("a message").remove("@type");
        let mut found = Vec::new();
        super::compare(name, &canonical(actual), &canonical(expected), &mut found);
        report.case(name, found);
    }
    report.skip(
        "cluster-with-many-different-tag-sets",
        "every set of tags has a cluster of its own, as everywhere in Kuma",
    );
    report.finish();
}

#[test]
fn certificates_and_keys() {
    let Some(folder) = folder("secrets/secrets") else { return };
    let mut report = Report::new("xds-generator/secrets/secrets");
    let identity = Identity { certificate_chain: b"CERT".into(), private_key: b"KEY".into() };
    let cases = [
        ("envoy-config-dataplane-no-cross-mesh", "mesh-1", vec!["mesh-1"]),
        ("envoy-config-dataplane", "mesh-1", vec!["mesh-1", "mesh-2"]),
        ("envoy-config-egress", "mesh-2", vec!["mesh-2"]),
        ("envoy-config-zipkin", "default", vec!["default"]),
    ];
    for (name, own, authorities) in cases {
        let mut set = DraftSet::default();
        let naming = Naming::Legacy;
        set.add_secret(Draft::new(Origin::Secrets, secrets::identity(naming.identity_secret(own), &identity)));
        for mesh in authorities {
            let secret: pb_tls::Secret = secrets::authority(naming.authority_secret(mesh), b"CA");
            set.add_secret(Draft::new(Origin::Secrets, secret));
        }
        let golden = golden(&folder.join(format!("{name}.golden.yaml")));
        report.case(name, differences(&of_set(&set), &golden));
    }
    let golden = golden(&folder.join("envoy-config-workload-identity.golden.yaml"));
    report.case("envoy-config-workload-identity", differences(&super::mesh_tls::certificates_of_the_mesh(), &golden));
    report.finish();
}
