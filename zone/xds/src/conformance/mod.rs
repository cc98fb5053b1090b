//! Comparison with recorded results of Kuma, read from the folder named by `CONFORMANCE_DIR`; skipped when it is not set.
//!
//! Both sides are brought to one form before they are compared: resources by type and name, and durations and numbers written in one way.
//! Each test reports the cases of its folder through a [`Report`]; what cannot be compared is listed there with the reason.
//! `.ci/conformance` prints the table of all folders.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tandem_policy::envoy::DraftSet;

use crate::encoded::{Encoded, ResourceType};
use crate::generate::collect;
use crate::metadata::{Features, ProxyMetadata};
use crate::testing::envoy_json;

mod compare;
mod contexts;
mod effects;
mod external_services;
mod faults;
mod generators;
mod health_checks;
mod http_routes;
mod load_balancing;
mod mesh_access_log;
mod mesh_metric;
mod mesh_passthrough;
mod mesh_tls;
mod observability;
mod older_policies;
mod redirection;
mod report;
mod routes;
mod tcp_routes;
mod zone_proxies;

use compare::{Resources, canonical, compare, differences};
use report::Report;

/// A folder of the data of generators; `None`, with a message, when there is none.
fn folder(name: &str) -> Option<PathBuf> {
    report::folder(&format!("xds-generator/{name}"))
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A YAML file; an empty one is null.
fn yaml(path: &Path) -> Value {
    serde_norway::from_str(&text(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn golden(path: &Path) -> Resources {
    let content = yaml(path);
    let listed = content["resources"].as_array().into_iter().flatten();
    listed
        .map(|entry| {
            let resource = entry["resource"].clone();
            let resource_type = resource["@type"].as_str().expect("resources tell their type").to_owned();
            ((resource_type, entry["name"].as_str().unwrap_or_default().to_owned()), canonical(resource))
        })
        .collect()
}

fn generated<'a>(resources: impl IntoIterator<Item = (ResourceType, &'a Arc<Encoded>)>) -> Resources {
    let entry = |(resource_type, resource): (ResourceType, &Arc<Encoded>)| {
        let json = envoy_json::any_to_json(&resource.body);
        ((resource_type.type_url().to_owned(), resource.name.to_string()), canonical(json))
    };
    resources.into_iter().map(entry).collect()
}

fn of_set(set: &DraftSet) -> Resources {
    let encoded = collect::encode(set);
    generated(encoded.iter().map(|(resource_type, resource)| (*resource_type, resource)))
}

/// Metadata with these features and nothing else; upstream's tests leave `ipv6Enabled` at false.
fn metadata(features: &[&str]) -> ProxyMetadata {
    ProxyMetadata {
        features: Features::from_names(features.iter().copied()),
        ipv6_enabled: false,
        ..ProxyMetadata::default()
    }
}

/// Members that MeshTimeout sets in every cluster and listener; upstream's tests of other parts do not have them.
const OF_MESH_TIMEOUT: [&str; 5] =
    ["connectTimeout", "commonHttpProtocolOptions", "idleTimeout", "requestHeadersTimeout", "timeout"];

/// Takes the members of these names out, wherever they are.
fn without(value: &mut Value, names: &[&str]) {
    match value {
        Value::Object(members) => {
            names.iter().for_each(|name| drop(members.remove(*name)));
            members.values_mut().for_each(|member| without(member, names));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| without(item, names)),
        _ => {}
    }
}
