//! How connections are secured: MeshTLS, MeshIdentity and MeshTrust.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_policy::envoy::{Draft, DraftSet, Origin};
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_proto::mesh::v1alpha1::dataplane::networking::TransparentProxying;
use tandem_proto::mesh::v1alpha1::dataplane::networking::transparent_proxying::IpFamilyMode;

use super::report::{Report, folder};
use super::{Resources, differences, golden, metadata, of_set, yaml};
use crate::encoded::ResourceType;
use crate::generate::secrets;
use crate::testing::{DataplaneBuilder, Zone, authority, dataplane, mesh, trust};
use crate::{AdminTls, Identity, ProxyInput, WorkloadIdentity, generate};

#[test]
fn trust_bundles() {
    let Some(folder) = folder("core-apis/meshtrust/generator-v1alpha1") else { return };
    let mut report = Report::new("core-apis/meshtrust/generator-v1alpha1");
    let domains: [(&str, &[u8]); 2] = [("domain-1", b"123\n456"), ("domain-2", b"789")];
    for name in ["secrets-multiple-trust-domains", "secrets-multiple-trust-domains-default-name"] {
        let mut set = DraftSet::default();
        set.add_secret(Draft::new(Origin::Secrets, secrets::trust_bundle(domains.into_iter())));
        report.case(name, differences(&of_set(&set), &golden(&folder.join(format!("{name}.secrets.golden.yaml")))));
    }
    let zone = Zone::new("east", [mesh("default").resource(), dataplane("default", "web").resource()]);
    let web = zone.generate(&ResourceKey::new(Kind::Dataplane, "default", "web"), None).expect("nothing is missing");
    let of_none: Resources =
        super::generated(web.resources.of(ResourceType::Secret).iter().map(|s| (ResourceType::Secret, s)));
    report.case("no-secrets", differences(&of_none, &golden(&folder.join("no-secrets.secrets.golden.yaml"))));
    report.skip("no-secrets-externally-managed", "SPIRE");
    report.finish();
}

/// What upstream's test of a file sets up.
struct Case {
    name: &'static str,
    /// Whether mutual TLS of the mesh is on, and lets plain text in.
    mtls: Option<bool>,
    /// Trust domains.
    domains: &'static [&'static str],
    /// The proxy has a MeshIdentity.
    identity: bool,
}

const CASES: [Case; 11] = [
    Case { name: "strict-no-mtls", mtls: None, domains: &[], identity: false },
    Case { name: "permissive-no-mtls", mtls: None, domains: &[], identity: false },
    Case { name: "strict-with-permissive-mtls", mtls: Some(true), domains: &[], identity: false },
    Case { name: "strict-with-permissive-mtls-meshservice", mtls: Some(true), domains: &[], identity: false },
    Case { name: "permissive-with-permissive-mtls", mtls: Some(true), domains: &[], identity: false },
    Case { name: "strict-with-strict-mtls", mtls: Some(false), domains: &[], identity: false },
    Case { name: "permissive-with-strict-mtls", mtls: Some(false), domains: &[], identity: false },
    Case { name: "strict-with-mesh-trust", mtls: Some(false), domains: &["domain-1"], identity: false },
    Case { name: "strict-with-workload-identity", mtls: None, domains: &[], identity: true },
    Case { name: "strict-with-workload-identity-no-ca", mtls: None, domains: &[], identity: true },
    Case {
        name: "strict-with-multiple-mesh-trust-kuma-managed",
        mtls: None,
        domains: &["domain-a", "domain-b", "domain-c"],
        identity: true,
    },
];

/// The proxy of all cases has two inbounds, and its traffic is redirected. As listed outbounds do not count then, the cluster is that of
/// another proxy which is like it otherwise.
fn proxy(name: &str) -> DataplaneBuilder {
    let proxy = dataplane("default", name).address("127.0.0.1").outbound(27777, "outgoing");
    proxy.inbound(17777, "backend").inbound(17778, "frontend")
}

fn redirected(mut proxy: DataplaneBuilder) -> Resource {
    let mut redirection =
        TransparentProxying { redirect_port_inbound: 15006, redirect_port_outbound: 15001, ..Default::default() };
    redirection.set_ip_family_mode(IpFamilyMode::IPv4);
    proxy.spec.networking.as_mut().expect("set by dataplane()").transparent_proxying = Some(redirection);
    proxy.resource()
}

fn generated(folder: &Path, case: &Case, features: &[&str]) -> Resources {
    let mut zone = Zone::new("east", [redirected(proxy("test")), proxy("caller").resource()]);
    let mesh = match case.mtls {
        None => mesh("default"),
        Some(false) => mesh("default").mtls(),
        Some(true) => mesh("default").mtls().permissive(),
    };
    mesh.with_authority().into_iter().for_each(|resource| drop(zone.put(resource)));
    for domain in case.domains {
        zone.put(trust("default", domain, domain, authority()));
    }
    // The service is ready for TLS, as the cluster that upstream begins with is secured.
    let services = [("outgoing".to_owned(), pb::service_insight::Service::default())].into();
    let insight = pb::ServiceInsight { services };
    let key = ResourceKey::new(Kind::ServiceInsight, "default", "all-services-default");
    zone.put(Resource::from_proto(key, &insight));
    let policy = yaml(&folder.join(format!("{}.policy.yaml", case.name)));
    zone.put(Resource::from_json(ResourceKey::new(Kind::MeshTLS, "default", "policy"), policy));

    let certificate = Identity { certificate_chain: b"CERT".into(), private_key: b"KEY".into() };
    let certificate = Arc::new(certificate);
    // The name of the secret is that of upstream's tests.
    let workload = Arc::new(WorkloadIdentity { name: "my-secret-name".into(), certificate: certificate.clone() });
    let of = |name: &str, kind: ResourceType| {
        let input = ProxyInput {
            key: &ResourceKey::new(Kind::Dataplane, "default", name),
            metadata: &metadata(features),
            identities: &[("default".to_owned(), certificate.clone())].into(),
            workload: case.identity.then_some(&workload),
            admin_tls: Some(&AdminTls::default()),
            previous: None,
        };
        let made = generate(&zone.index.snapshot(), &input, &zone.cache).expect("nothing is missing");
        super::generated(made.resources.of(kind).iter().map(|resource| (kind, resource)))
    };
    let mut resources = of("test", ResourceType::Listener);
    resources.extend(of("caller", ResourceType::Cluster));
    resources
}

/// Of inbound listeners all that decides who gets in, of clusters the parameters of TLS: what MeshTLS and the certificates decide.
/// The files have the rest without the defaults of other policies, and begin with a cluster that is no result. IPv6, which is not
/// redirected there, is left out.
fn security(resources: &Resources) -> Resources {
    let mut found = Resources::new();
    for ((kind, name), resource) in resources {
        let decided = if kind == ResourceType::Listener.type_url() && name.starts_with("inbound:") {
            if name.ends_with(":ipv6") {
                continue;
            }
            let chains = resource["filterChains"].as_array().into_iter().flatten();
            let chains: Vec<Value> = chains
                .map(|chain| json!({"match": chain["filterChainMatch"], "socket": chain["transportSocket"]}))
                .collect();
            json!({"chains": chains, "filters": resource["listenerFilters"]})
        } else if name.starts_with("outgoing") || name == "outbound" {
            resource["transportSocket"]["typedConfig"]["commonTlsContext"]["tlsParams"].clone()
        } else {
            continue;
        };
        let name = if kind == ResourceType::Cluster.type_url() { "outgoing" } else { name };
        found.insert((kind.clone(), name.to_owned()), decided);
    }
    found
}

/// Differences from the files of a case, which lack the listeners that nothing happened to.
fn compared(folder: &Path, case: &Case, features: &[&str]) -> Vec<String> {
    let name = case.name;
    let mut expected = golden(&folder.join(format!("{name}.listeners.golden.yaml")));
    expected.extend(golden(&folder.join(format!("{name}.clusters.golden.yaml"))));
    let expected = security(&expected);
    let mut actual = security(&generated(folder, case, features));
    actual.retain(|name, _| expected.contains_key(name));
    differences(&actual, &expected)
}

/// The secrets of a proxy with a MeshIdentity in a mesh with mutual TLS, without those that come from MeshIdentity and MeshTrust.
pub(super) fn certificates_of_the_mesh() -> Resources {
    let mut resources = mesh("default").mtls().with_authority();
    resources.push(dataplane("default", "test").inbound(8080, "web").resource());
    let zone = Zone::new("east", resources);
    let certificate = Arc::new(Identity { certificate_chain: b"CERT".into(), private_key: b"KEY".into() });
    let workload = Arc::new(WorkloadIdentity { name: "kri_mid_default___identity_".into(), certificate });
    let input = ProxyInput {
        key: &ResourceKey::new(Kind::Dataplane, "default", "test"),
        metadata: &metadata(&[]),
        identities: &Default::default(),
        workload: Some(&workload),
        admin_tls: Some(&AdminTls::default()),
        previous: None,
    };
    let made = generate(&zone.index.snapshot(), &input, &zone.cache).expect("nothing is missing");
    let mut secrets =
        super::generated(made.resources.of(ResourceType::Secret).iter().map(|s| (ResourceType::Secret, s)));
    assert_eq!(secrets.len(), 2, "the proxy has what its MeshIdentity gives");
    secrets.retain(|(_, name), _| *name != *workload.name && name != "system_trust_bundle");
    secrets
}

#[test]
fn mesh_tls() {
    const FOLDER: &str = "policy-plugins/meshtls/plugin-v1alpha1";
    let Some(folder) = folder(FOLDER) else { return };
    let mut report = Report::new(FOLDER);
    for case in &CASES {
        report.case(case.name, compared(&folder, case, &[]));
    }
    let name = "strict-with-feature-strict-inbound-ports";
    let case = Case { name, mtls: Some(true), domains: &[], identity: false };
    report.case(name, compared(&folder, &case, &["feature-strict-inbound-ports"]));
    for name in ["strict-with-external-validator", "permissive-with-workload-identity-custom-functions"] {
        report.skip(name, "SPIRE");
    }
    for name in ["gateway-tls-version-and-cipher", "gateway-tls-version-and-cipher-meshservice"] {
        report.skip(name, "MeshGateway");
    }
    report.finish();
}
