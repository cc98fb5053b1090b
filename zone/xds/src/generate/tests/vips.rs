//! Services at virtual addresses: who reaches which, under which names, and whom a change concerns.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1::dataplane::networking::TransparentProxying;
use tandem_proto::mesh::v1alpha1::dataplane::networking::transparent_proxying::{
    ReachableBackendRef, ReachableBackends,
};
use tandem_proto::mesh::v1alpha1::mesh::MeshServices;
use tandem_proto::mesh::v1alpha1::mesh::mesh_services::Mode;
use tandem_proto::system::v1alpha1::Config;

use super::{LISTENER, http_inbound, key};
use crate::testing::{DataplaneBuilder, Zone, json, mesh, metadata, names};
use crate::{Generated, ProxyMetadata};

/// Kind and name, address, ports and services.
type Name<'a> = (&'a str, &'a str, &'a [(u32, &'a str)]);

/// The Config of the mesh `default` with these names.
fn config(names: &[Name<'_>]) -> Resource {
    let entry = |(name, address, targets): &Name<'_>| {
        let target = |(port, service): &(u32, &str)| json!({"Port": port, "TagSet": {"kuma.io/service": service}, "Origin": "o"});
        let outbounds: Vec<Value> = targets.iter().map(target).collect();
        ((*name).to_owned(), json!({"address": address, "outbounds": outbounds}))
    };
    let whole: serde_json::Map<_, _> = names.iter().map(entry).collect();
    let key = ResourceKey::global(Kind::Config, "kuma-default-dns-vips");
    Resource::from_proto(key, &Config { config: Value::Object(whole).to_string() })
}

const WEB: Name<'_> = ("0:web", "240.0.0.0", &[(0, "web")]);
const DB: Name<'_> = ("0:db_main", "240.0.0.1", &[(0, "db_main")]);

fn mode(mode: Mode) -> Resource {
    let mut mesh = mesh("default");
    mesh.spec.mesh_services = Some(MeshServices { mode: mode.into() });
    mesh.resource()
}

/// The MeshService `web` at 241.0.0.0:80.
fn web(kind: Kind, hostname: &str, vip: &str) -> Resource {
    let spec = json!({"selector": {"dataplaneTags": {"kuma.io/service": "web"}, "meshService": {}},
        "ports": [{"port": 80, "targetPort": 8080, "appProtocol": "http"}]});
    let mut resource = Resource::from_json(ResourceKey::new(kind, "default", "web"), spec);
    resource.status = Some(json!({"vips": [{"ip": vip}], "addresses": [{"hostname": hostname}]}));
    resource
}

fn client(name: &str, section: TransparentProxying) -> DataplaneBuilder {
    let mut client = http_inbound("default", name).outbound(10001, "ignored");
    let section = TransparentProxying { redirect_port_inbound: 15006, redirect_port_outbound: 15001, ..section };
    client.spec.networking.as_mut().unwrap().transparent_proxying = Some(section);
    client
}

fn generate(zone: &Zone, name: &str) -> Generated {
    let metadata = ProxyMetadata { dns_port: 15053, ..metadata() };
    zone.generate_with(&key(name), &metadata, &BTreeMap::new(), None).unwrap()
}

/// Addresses of the outbounds.
fn reached(generated: &Generated) -> Vec<String> {
    let outbounds = names(generated, LISTENER).into_iter().filter_map(|name| name.strip_prefix("outbound:2"));
    outbounds.map(|rest| format!("2{rest}")).collect()
}

fn answers(generated: &Generated) -> String {
    let manager = &json(generated, LISTENER, "_kuma:dynamicconfig")["filterChains"][0]["filters"][0]["typedConfig"];
    let answer = &manager["routeConfig"]["virtualHosts"][0]["routes"][1]["directResponse"];
    let published: Value = serde_json::from_str(answer["body"]["inlineString"].as_str().unwrap()).unwrap();
    let records = published["records"].as_array().unwrap().iter();
    let records =
        records.map(|record| format!("{}={}", record["name"].as_str().unwrap(), record["ips"][0].as_str().unwrap()));
    records.collect::<Vec<_>>().join(" ")
}

#[test]
fn each_mode_offers_what_it_says() {
    let asking = TransparentProxying {
        reachable_backends: Some(ReachableBackends {
            refs: vec![ReachableBackendRef { kind: "MeshService".into(), name: "web".into(), ..Default::default() }],
        }),
        ..Default::default()
    };
    let mut zone = Zone::new(
        "east",
        [
            config(&[WEB]),
            web(Kind::MeshService, "web.svc", "241.0.0.0"),
            client("client", TransparentProxying::default()).resource(),
            client("asking", asking).resource(),
        ],
    );
    let (legacy, resource) = ("240.0.0.0:80", "241.0.0.0:80");
    for (of_mesh, client, asking) in [
        (Mode::Disabled, vec![legacy, resource], vec![legacy, resource]),
        (Mode::Everywhere, vec![legacy, resource], vec![legacy, resource]),
        (Mode::ReachableBackends, vec![legacy], vec![legacy, resource]),
        (Mode::Exclusive, vec![resource], vec![resource]),
    ] {
        zone.put(mode(of_mesh));
        assert_eq!(reached(&generate(&zone, "client")), client, "{of_mesh:?}");
        assert_eq!(reached(&generate(&zone, "asking")), asking, "{of_mesh:?}");
    }
}

#[test]
fn proxies_without_redirection_keep_to_what_they_list() {
    let zone =
        Zone::new("east", [mesh("default").resource(), config(&[WEB]), http_inbound("default", "client").resource()]);
    assert!(reached(&generate(&zone, "client")).is_empty());
    let binds = ProxyMetadata { features: crate::Features::from_names(["feature-bind-outbounds"]), ..metadata() };
    let bound = zone.generate_with(&key("client"), &binds, &BTreeMap::new(), None).unwrap();
    assert_eq!(reached(&bound), ["240.0.0.0:80"]);
    assert!(json(&bound, LISTENER, "outbound:240.0.0.0:80")["bindToPort"].is_null());
}

#[test]
fn names_lead_to_what_is_reached() {
    let names: [Name<'_>; 4] = [
        WEB,
        DB,
        ("1:example.com", "240.0.0.2", &[(443, "example")]),
        ("2:v1.web.mesh", "240.0.0.3", &[(81, "web"), (82, "web")]),
    ];
    let mut zone = Zone::new(
        "east",
        [mesh("default").resource(), config(&names), client("client", TransparentProxying::default()).resource()],
    );
    let generated = generate(&zone, "client");
    assert_eq!(
        reached(&generated),
        ["240.0.0.0:80", "240.0.0.1:80", "240.0.0.2:443", "240.0.0.2:80", "240.0.0.3:81", "240.0.0.3:82"]
    );
    assert_eq!(
        answers(&generated),
        "db.main.mesh=240.0.0.1 db_main.mesh=240.0.0.1 example.com=240.0.0.2 v1.web.mesh=240.0.0.3 web.mesh=240.0.0.0"
    );
    let section = TransparentProxying { reachable_services: vec!["db_main".into()], ..Default::default() };
    zone.put(client("client", section).resource());
    let restricted = generate(&zone, "client");
    assert_eq!(reached(&restricted), ["240.0.0.1:80"]);
    assert_eq!(answers(&restricted), "db.main.mesh=240.0.0.1 db_main.mesh=240.0.0.1");
}

#[test]
fn the_proxys_own_addresses_are_no_outbounds() {
    let mut own = client("client", TransparentProxying::default());
    own.spec.networking.as_mut().unwrap().inbound[0].address = "240.0.0.0".into();
    own.spec.networking.as_mut().unwrap().inbound[0].port = 80;
    let zone = Zone::new("east", [mesh("default").resource(), config(&[WEB, DB]), own.resource()]);
    assert_eq!(reached(&generate(&zone, "client")), ["240.0.0.1:80"]);
}

#[test]
fn a_name_that_is_claimed_twice_is_told() {
    let zone = Zone::new(
        "east",
        [
            mode(Mode::Everywhere),
            config(&[WEB]),
            web(Kind::MeshService, "web.mesh", "241.0.0.0"),
            web(Kind::MeshMultiZoneService, "both.mesh", "243.0.0.0"),
            client("client", TransparentProxying::default()).resource(),
        ],
    );
    let generated = generate(&zone, "client");
    assert_eq!(answers(&generated), "both.mesh=243.0.0.0 web.mesh=241.0.0.0");
    let reasons: Vec<_> = generated.warnings.iter().map(|warning| warning.reason.as_str()).collect();
    assert!(
        reasons.iter().any(|reason| reason.contains("\"web.mesh\" is claimed twice")
            && reason.contains("at 241.0.0.0 and not to 240.0.0.0")),
        "{reasons:?}"
    );
    assert_eq!(reached(&generated).len(), 3, "all of them are served");
}

#[test]
fn a_change_concerns_those_who_see_it() {
    let restricted = TransparentProxying { reachable_services: vec!["web".into()], ..Default::default() };
    let mut zone = Zone::new(
        "east",
        [
            mesh("default").resource(),
            config(&[WEB]),
            client("all", TransparentProxying::default()).resource(),
            client("some", restricted).resource(),
            http_inbound("default", "listing").outbound(10001, "web").resource(),
        ],
    );
    let concerned = |zone: &mut Zone, resource: Resource| {
        let generated = ["all", "some", "listing"].map(|name| (name, generate(zone, name)));
        let touched = zone.put(resource);
        assert!(!touched.everything && touched.meshes.is_empty() && !touched.zone_proxies, "{touched:?}");
        let concerned = generated.iter().filter(|(name, generated)| touched.concerns(&key(name), &generated.services));
        concerned.map(|(name, _)| *name).collect::<Vec<_>>()
    };
    assert_eq!(concerned(&mut zone, config(&[WEB, DB])), ["all"]);
    assert!(concerned(&mut zone, config(&[WEB, DB])).is_empty());
    let moved = ("0:web", "240.0.0.9", WEB.2);
    assert_eq!(concerned(&mut zone, config(&[moved, DB])), ["all", "some"]);
    assert_eq!(reached(&generate(&zone, "some")), ["240.0.0.9:80"]);
    assert_eq!(concerned(&mut zone, config(&[DB])), ["all", "some"], "it is gone");
    zone.put(mode(Mode::Exclusive));
    assert!(concerned(&mut zone, config(&[WEB, DB])).is_empty(), "nobody reaches services by tags");
}

#[test]
fn what_has_no_address_or_cannot_be_read_is_told() {
    let mut zone =
        Zone::new("east", [mesh("default").resource(), client("client", TransparentProxying::default()).resource()]);
    zone.put(config(&[WEB, ("0:db", "", &[(0, "db")])]));
    let problems = zone.index.take_problems();
    assert!(
        problems.iter().any(|problem| problem.reason.contains("no virtual address is left for service:db")),
        "{problems:?}"
    );
    assert_eq!(reached(&generate(&zone, "client")), ["240.0.0.0:80"]);
    let key = ResourceKey::global(Kind::Config, "kuma-default-dns-vips");
    zone.put(Resource::from_proto(key, &Config { config: "[]".into() }));
    assert_eq!(zone.index.take_problems().len(), 1);
    assert!(reached(&generate(&zone, "client")).is_empty());
    let other = ResourceKey::global(Kind::Config, "kuma-cluster-id");
    assert!(zone.put(Resource::from_proto(other, &Config { config: "id".into() })).is_empty());
}

#[test]
fn an_ingress_knows_what_policies_choose() {
    use tandem_proto::mesh::v1alpha1::virtual_outbound::Conf;
    use tandem_proto::mesh::v1alpha1::virtual_outbound::conf::TemplateParameter;
    use tandem_proto::mesh::v1alpha1::{Selector, VirtualOutbound};

    let versioned = |version: &str, address: &str| {
        let tags = [("kuma.io/service", "web"), ("version", version), ("team", "x")];
        let web = crate::testing::dataplane("default", &format!("web-{version}")).address(address);
        web.inbound_with(8080, &tags).resource()
    };
    let ingress = ResourceKey::global(Kind::ZoneIngress, "ingress");
    let mut resources = mesh("default").mtls().with_authority();
    resources.extend([
        versioned("v1", "10.0.0.2"),
        versioned("v2", "10.0.0.3"),
        crate::testing::remote_ingress("10.0.0.8", "ingress", "", &[("default", "web", 2)]),
    ]);
    let mut zone = Zone::new("east", resources);
    let chains = |zone: &Zone| {
        let generated = zone.generate(&ingress, None).unwrap();
        let listener = json(&generated, LISTENER, "inbound:10.0.0.8:10001");
        let chains = listener["filterChains"].as_array().unwrap().iter();
        chains.map(|chain| chain["filterChainMatch"]["serverNames"][0].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(chains(&zone), ["web{mesh=default}"]);
    let parameter = |name: &str, tag: &str| TemplateParameter { name: name.into(), tag_key: tag.into() };
    let spec = VirtualOutbound {
        selectors: vec![Selector { r#match: [("version".to_owned(), "*".to_owned())].into() }],
        conf: Some(Conf {
            host: "{{.version}}.web.mesh".into(),
            port: "80".into(),
            parameters: vec![parameter("service", "kuma.io/service"), parameter("version", "")],
        }),
    };
    let key = ResourceKey::new(Kind::VirtualOutbound, "default", "versions");
    assert!(zone.put(Resource::from_proto(key.clone(), &spec)).concerns(&ingress, &Default::default()));
    assert!(zone.put(Resource::from_proto(key, &spec)).is_empty());
    let mut found = chains(&zone);
    found.sort();
    assert_eq!(found, ["web{mesh=default,version=v1}", "web{mesh=default,version=v2}", "web{mesh=default}"]);
}

#[test]
fn a_policys_name_leads_to_proxies_with_its_tags() {
    let versioned = |version: &str, address: &str| {
        let tags = [("kuma.io/service", "web"), ("kuma.io/protocol", "http"), ("version", version)];
        crate::testing::dataplane("default", &format!("web-{version}"))
            .address(address)
            .inbound_with(8080, &tags)
            .resource()
    };
    let text = r#"{"2:v1.web.mesh":{"address":"240.0.0.0","outbounds":[{"Port":80,"TagSet":{"kuma.io/service":"web","version":"v1"},"Origin":"o"}]}}"#;
    let config_key = ResourceKey::global(Kind::Config, "kuma-default-dns-vips");
    let zone = Zone::new(
        "east",
        [
            mesh("default").resource(),
            Resource::from_proto(config_key, &Config { config: text.into() }),
            versioned("v1", "10.0.0.2"),
            versioned("v2", "10.0.0.3"),
            client("client", TransparentProxying::default()).resource(),
        ],
    );
    let generated = generate(&zone, "client");
    let cluster = names(&generated, super::ENDPOINT);
    let [cluster] = cluster[..] else { panic!("one destination: {cluster:?}") };
    assert!(cluster.starts_with("web-"), "{cluster}");
    let endpoints = json(&generated, super::ENDPOINT, cluster)["endpoints"].to_string();
    assert!(endpoints.contains("10.0.0.2") && !endpoints.contains("10.0.0.3"), "{endpoints}");
}
