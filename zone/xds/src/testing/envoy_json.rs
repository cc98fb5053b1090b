//! Envoy messages as JSON, by the descriptors that come with the crate of the generated types.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

/// Files with the messages that this crate generates; what they import follows.
const FILES: [&str; 22] = [
    "envoy/config/bootstrap/v3/bootstrap.proto",
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/route/v3/route.proto",
    "envoy/data/dns/v3/dns_table.proto",
    "envoy/extensions/access_loggers/file/v3/file.proto",
    "envoy/extensions/filters/http/grpc_stats/v3/config.proto",
    "envoy/extensions/filters/http/rbac/v3/rbac.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto",
    "envoy/extensions/filters/network/direct_response/v3/config.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/filters/network/rbac/v3/rbac.proto",
    "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto",
    "envoy/extensions/filters/udp/dns_filter/v3/dns_filter.proto",
    "envoy/extensions/transport_sockets/tls/v3/tls.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
    "envoy/extensions/matching/common_inputs/ssl/v3/ssl_inputs.proto",
    "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto",
    "envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config.proto",
    "envoy/service/runtime/v3/rtds.proto",
];

/// Folders that imports are relative to.
const INCLUDES: [&str; 7] = [
    "data-plane-api",
    "googleapis",
    "opentelemetry-proto",
    "protoc-gen-validate",
    "xds",
    "cel-spec/proto",
    "client_model",
];

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let root = proto_folder();
    let files = FILES.map(|file| root.join("data-plane-api").join(file));
    let set = protox::compile(files, INCLUDES.map(|include| root.join(include))).expect("Envoy's own files compile");
    DescriptorPool::from_file_descriptor_set(set).expect("a compiled set is complete")
});

/// Where the crate of the generated types keeps the sources.
fn proto_folder() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--manifest-path"])
        .arg(manifest)
        .output()
        .expect("cargo runs, as it runs this test");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let mut packages = metadata["packages"].as_array().expect("packages are listed").iter();
    let package = packages.find(|package| package["name"] == "envoy-types").expect("this crate depends on it");
    let manifest = package["manifest_path"].as_str().expect("a path is text");
    Path::new(manifest).parent().expect("a manifest is in a folder").join("proto")
}

/// The JSON form of an encoded message inside an `Any`, with its type as member `@type`.
pub(crate) fn any_to_json(any: &[u8]) -> Value {
    to_json("google.protobuf.Any", any)
}

/// The JSON form of an encoded message.
pub(crate) fn to_json(message: &str, bytes: &[u8]) -> Value {
    let descriptor = POOL.get_message_by_name(message).unwrap_or_else(|| panic!("{message} is not among the files"));
    let message = DynamicMessage::decode(descriptor, bytes).expect("generated messages decode");
    let options = SerializeOptions::new().stringify_64_bit_integers(true);
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .unwrap_or_else(|error| panic!("{error}: {message:?}"))
}
