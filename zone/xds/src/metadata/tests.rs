use super::*;

fn text(value: &str) -> ValueKind {
    ValueKind::StringValue(value.to_owned())
}

fn members<const N: usize>(members: [(&str, ValueKind); N]) -> Struct {
    let fields = members.into_iter().map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) }));
    Struct { fields: fields.collect() }
}

fn read<const N: usize>(fields: [(&str, ValueKind); N]) -> ProxyMetadata {
    ProxyMetadata::from_node(&Node { metadata: Some(members(fields)), ..Node::default() })
}

#[test]
fn node_ids() {
    let id = NodeId::parse("default.web-1.east").expect("valid");
    assert_eq!((id.mesh.as_str(), id.name.as_str()), ("default", "web-1.east"));
    assert_eq!(id.to_string(), "default.web-1.east");
    assert_eq!(NodeId::parse(".ingress").map(|id| id.mesh), Ok(String::new()));
    assert_eq!(NodeId::parse("default"), Err(NodeIdError::NoName));
    assert_eq!(NodeId::parse("default."), Err(NodeIdError::NoName));
    assert_eq!(NodeId::parse(""), Err(NodeIdError::Empty));
}

#[test]
fn a_node_without_metadata_reads_as_defaults() {
    assert_eq!(ProxyMetadata::from_node(&Node::default()), ProxyMetadata::default());
}

#[test]
fn every_member_is_read() {
    let list = ["feature-reuse-port", "feature-unheard-of"].map(|name| Value { kind: Some(text(name)) });
    let port = members([("port", ValueKind::NumberValue(15000.0)), ("enabled", ValueKind::BoolValue(false))]);
    let directions = members([("outbound", ValueKind::StructValue(port))]);
    let redirection = members([("ipFamilyMode", text("ipv4")), ("redirect", ValueKind::StructValue(directions))]);
    let metadata = read([
        ("dataplane.proxyType", text("egress")),
        ("dataplane.resource", text("type: ZoneEgress")),
        ("dataplane.admin.port", text("9901")),
        ("dataplane.admin.address", text("::1")),
        ("dataplane.readinessReporter.port", text("9902")),
        ("dataplane.dns.port", text("15053")),
        ("dataplane.appProbeProxy.enabled", text("true")),
        ("features", ValueKind::ListValue(envoy_types::pb::google::protobuf::ListValue { values: list.into() })),
        ("workdir", text("/w")),
        ("ipv6Enabled", ValueKind::BoolValue(false)),
        ("transparentProxy", ValueKind::StructValue(redirection)),
        ("dynamicMetadata", ValueKind::StructValue(members([("version.dependencies.coredns", text("1.2"))]))),
    ]);
    assert_eq!(metadata.proxy_type.kind(), Kind::ZoneEgress);
    assert_eq!(metadata.resource.as_deref(), Some("type: ZoneEgress"));
    assert_eq!((metadata.admin_port, metadata.readiness_port, metadata.dns_port), (9901, 9902, 15053));
    assert_eq!(metadata.admin_address, "::1");
    assert!(metadata.app_probe_proxy && !metadata.ipv6_enabled);
    assert_eq!(metadata.features, Features { reuse_port: true, ..Features::default() });
    let redirection = metadata.transparent_proxy.expect("given");
    assert_eq!(redirection.ip_family_mode, IpFamilyMode::Ipv4);
    assert_eq!(redirection.outbound, Redirect { enabled: false, port: 15000 });
    assert_eq!(redirection.inbound, Redirect { enabled: true, port: 15006 });
    assert_eq!(metadata.versions.dependencies["coredns"], "1.2");
}

#[test]
fn mistyped_members_count_as_absent() {
    let metadata = read([
        ("dataplane.admin.port", text("99010")),
        ("dataplane.dns.port", ValueKind::NumberValue(53.0)),
        ("dataplane.proxyType", text("toaster")),
        ("features", text("feature-reuse-port")),
        ("ipv6Enabled", text("false")),
        ("transparentProxy", ValueKind::BoolValue(true)),
    ]);
    assert_eq!(metadata, ProxyMetadata::default());
}

#[test]
fn socket_paths_are_cut_to_the_limit() {
    let metadata = ProxyMetadata { workdir: "/w".into(), ..ProxyMetadata::default() };
    assert_eq!(metadata.socket("kuma-readiness-reporter"), "/w/kuma-readiness-reporter.sock");
    let long = metadata.socket(&"ä".repeat(100));
    assert!(long.len() <= 98 + ".sock".len() && long.ends_with("ä.sock"));
}
