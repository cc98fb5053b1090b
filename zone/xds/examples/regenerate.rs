//! Times what a zone control plane does for many proxies: `cargo run --release -p tandem-xds --example regenerate [proxies]
//! [services] [outbounds]`.
//!
//! Every proxy has one HTTP inbound and some outbounds, in a mesh with mutual TLS and the usual policies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_proto::mesh::v1alpha1::dataplane::networking::{Inbound, Outbound};
use tandem_proto::system::v1alpha1 as system;
use tandem_xds::{
    AdminTls, Cache, Features, Generated, Identity, MeshIndex, ProxyInput, ProxyMetadata, ZoneSettings, generate,
};

const MESH: &str = "default";

fn mesh() -> Vec<Resource> {
    let backend =
        pb::CertificateAuthorityBackend { name: "ca-1".into(), r#type: "builtin".into(), ..Default::default() };
    let mtls = pb::mesh::Mtls { enabled_backend: "ca-1".into(), backends: vec![backend], skip_validation: false };
    let mesh = pb::Mesh { mtls: Some(mtls), ..Default::default() };
    let secret = system::Secret { data: Some(vec![b'c'; 1200]) };
    vec![
        Resource::from_proto(ResourceKey::global(Kind::Mesh, MESH), &mesh),
        Resource::from_proto(ResourceKey::new(Kind::Secret, MESH, "default.ca-builtin-cert-ca-1"), &secret),
    ]
}

fn policy(kind: Kind, name: &str, list: &str, conf: serde_json::Value) -> Resource {
    let all = json!({"kind": "Mesh"});
    let spec = json!({"targetRef": all, list: [{"targetRef": all, "default": conf}]});
    Resource::from_json(ResourceKey::new(kind, MESH, name), spec)
}

fn permission(action: &str) -> Resource {
    policy(Kind::MeshTrafficPermission, "permission", "from", json!({"action": action}))
}

fn timeout(seconds: u32) -> Resource {
    policy(Kind::MeshTimeout, "timeout", "to", json!({"connectionTimeout": format!("{seconds}s")}))
}

fn policies() -> Vec<Resource> {
    let limits = json!({"connectionLimits": {"maxConnections": 1024, "maxRequests": 1024, "maxRetries": 3}});
    let retries = json!({"http": {"numRetries": 5, "perTryTimeout": "16s"}});
    let inbound = json!({"connectionTimeout": "10s", "http": {"streamIdleTimeout": "1h"}});
    vec![
        permission("Allow"),
        timeout(5),
        policy(Kind::MeshTimeout, "inbound-timeout", "from", inbound),
        policy(Kind::MeshCircuitBreaker, "limits", "to", limits),
        policy(Kind::MeshRetry, "retries", "to", retries),
    ]
}

fn tags(service: usize) -> BTreeMap<String, String> {
    [("kuma.io/service", format!("service-{service}").as_str()), ("kuma.io/protocol", "http"), ("kuma.io/zone", "east")]
        .map(|(tag, value)| (tag.to_owned(), value.to_owned()))
        .into()
}

fn dataplane(index: usize, services: usize, outbounds: usize) -> Resource {
    let inbound = Inbound { port: 8080, service_port: 80, tags: tags(index % services), ..Default::default() };
    let outbound = (0..outbounds).map(|number| {
        let service = (index + 1 + number) % services;
        let tags = [("kuma.io/service".to_owned(), format!("service-{service}"))].into();
        Outbound { port: 10000 + u32::try_from(service).unwrap_or_default(), tags, ..Default::default() }
    });
    let networking = pb::dataplane::Networking {
        address: format!("10.{}.{}.{}", index >> 16, (index >> 8) & 255, index & 255),
        inbound: vec![inbound],
        outbound: outbound.collect(),
        ..Default::default()
    };
    let spec = pb::Dataplane { networking: Some(networking), ..Default::default() };
    Resource::from_proto(ResourceKey::new(Kind::Dataplane, MESH, format!("proxy-{index}")), &spec)
}

struct Proxy {
    key: ResourceKey,
    metadata: ProxyMetadata,
    identities: BTreeMap<String, Arc<Identity>>,
    admin_tls: AdminTls,
    generated: Option<Generated>,
}

fn proxy(key: ResourceKey) -> Proxy {
    let identity = Identity { certificate_chain: vec![b'i'; 900], private_key: vec![b'k'; 250] };
    Proxy {
        key,
        metadata: ProxyMetadata {
            admin_port: 9901,
            readiness_port: 9902,
            features: Features::from_names(["feature-readiness-unix-socket", "feature-reuse-port"]),
            workdir: "/tmp/kuma-dp".into(),
            ..ProxyMetadata::default()
        },
        identities: [(MESH.to_owned(), Arc::new(identity))].into(),
        admin_tls: AdminTls { ca: vec![b'c'; 1200], certificate: vec![b's'; 1100], private_key: vec![b'k'; 250] },
        generated: None,
    }
}

/// Generates for all proxies; returns the time and how many resources differ from those before.
fn generate_all(index: &MeshIndex, proxies: &mut [Proxy], cache: &Cache) -> (Duration, usize) {
    let snapshot = index.snapshot();
    let start = Instant::now();
    let mut changed = 0;
    for proxy in proxies {
        let input = ProxyInput {
            key: &proxy.key,
            metadata: &proxy.metadata,
            identities: &proxy.identities,
            workload: None,
            admin_tls: Some(&proxy.admin_tls),
            previous: proxy.generated.as_ref(),
        };
        let generated = generate(&snapshot, &input, cache).expect("everything a proxy needs is there");
        let before = proxy.generated.as_ref();
        changed += generated
            .resources
            .iter()
            .filter(|(kind, new)| {
                let old = before.and_then(|before| before.resources.get(*kind, &new.name));
                old.is_none_or(|old| old.version != new.version)
            })
            .count();
        proxy.generated = Some(generated);
    }
    (start.elapsed(), changed)
}

fn main() {
    let argument = |index: usize, default: usize| {
        std::env::args().nth(index).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (count, services, outbounds) = (argument(1, 1000), argument(2, 100), argument(3, 3));
    println!("{count} proxies, {services} services, {outbounds} outbounds each");

    let mut index = MeshIndex::new(ZoneSettings::new("east"));
    let cache = Cache::default();
    let resources: Vec<_> = mesh()
        .into_iter()
        .chain(policies())
        .chain((0..count).map(|i| dataplane(i, services, outbounds)))
        .map(Arc::new)
        .collect();
    let start = Instant::now();
    index.apply(resources.iter().map(|resource| (&resource.key, Some(resource))));
    println!("index of everything:            {:?}", start.elapsed());

    let mut proxies: Vec<_> =
        resources.iter().filter(|r| r.kind() == Kind::Dataplane).map(|r| proxy(r.key.clone())).collect();
    let report = |what: &str, index: &MeshIndex, proxies: &mut [Proxy]| {
        let (time, changed) = generate_all(index, proxies, &cache);
        println!("{what:<32}{time:?}, {changed} resources changed");
    };
    report("first generation:", &index, &mut proxies);
    report("again, nothing changed:", &index, &mut proxies);

    let put = |index: &mut MeshIndex, resource: Resource| {
        let resource = Arc::new(resource);
        let _snapshot = index.snapshot();
        let start = Instant::now();
        let touched = index.apply([(&resource.key, Some(&resource))]);
        println!("index of one {}: {:?}", resource.kind(), start.elapsed());
        touched
    };
    for round in 0..3 {
        put(&mut index, timeout(6 + round));
        report("after a MeshTimeout:", &index, &mut proxies);
        put(&mut index, permission(if round % 2 == 0 { "Deny" } else { "Allow" }));
        report("after a MeshTrafficPermission:", &index, &mut proxies);
    }
    let touched = put(&mut index, dataplane(count, services, outbounds));
    println!("a Dataplane that joins concerns {:?} and {} proxy", touched.services, touched.proxies.len());
    report("after a Dataplane joined:", &index, &mut proxies);
}
