//! Messages that are right.

use std::borrow::Cow;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message;
use serde_json::{Value, json};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::mesh::v1alpha1::{Dataplane, Mesh, ZoneEgress, ZoneIngress, dataplane};
use tandem_proto::system::v1alpha1::Secret;

use crate::codec::{self, Outgoing};
use crate::node::Identity;
use crate::wire::{DeltaRequest, DeltaResponse, WILDCARD};

/// Encoded messages of each kind.
pub(super) struct Seeds {
    pub(super) requests: Vec<Bytes>,
    pub(super) responses: Vec<Bytes>,
    /// Resources as they are in responses.
    pub(super) resources: Vec<Bytes>,
}

/// A resource as it is in a response.
pub(super) fn encoded(resource: &Resource) -> Bytes {
    let outgoing = Outgoing {
        kind: resource.kind(),
        mesh: &resource.key.mesh,
        name: resource.key.name.clone(),
        labels: resource.labels.clone(),
        spec: Cow::Borrowed(&resource.spec),
        status: resource.status.as_ref(),
    };
    codec::encode(outgoing).expect("encodable").body
}

fn examples() -> Vec<Resource> {
    let inbound = dataplane::networking::Inbound {
        port: 8080,
        tags: [("kuma.io/service", "web"), ("kuma.io/zone", "west")].map(|(k, v)| (k.into(), v.into())).into(),
        ..Default::default()
    };
    let networking = dataplane::Networking { address: "10.0.0.1".into(), inbound: vec![inbound], ..Default::default() };
    let policy = json!({
        "targetRef": {"kind": "Mesh"},
        "to": [{"targetRef": {"kind": "MeshService", "name": "a"}, "default": {"idleTimeout": "1h"}}],
    });
    vec![
        Resource::from_proto(ResourceKey::global(Kind::Mesh, "default"), &Mesh::default()),
        Resource::from_proto(
            ResourceKey::new(Kind::Secret, "default", "key"),
            &Secret { data: Some(b"data".to_vec()) },
        ),
        Resource::from_proto(
            ResourceKey::new(Kind::Dataplane, "default", "web-1"),
            &Dataplane { networking: Some(networking), ..Dataplane::default() },
        ),
        Resource::from_proto(ResourceKey::global(Kind::ZoneIngress, "i"), &ZoneIngress::default()),
        Resource::from_proto(ResourceKey::global(Kind::ZoneEgress, "e"), &ZoneEgress::default()),
        Resource::from_json(ResourceKey::new(Kind::MeshTimeout, "default", "t"), policy)
            .with_labels([("kuma.io/origin", "global"), ("kuma.io/policy-role", "producer")]),
        super::service("web"),
    ]
}

impl Seeds {
    /// What is made here, and what was recorded if it is at hand.
    pub(super) fn collect() -> Self {
        let mut seeds = Self { requests: Vec::new(), responses: Vec::new(), resources: Vec::new() };
        for (index, resource) in examples().iter().enumerate() {
            let type_url = resource.kind().name().to_owned();
            let subscription = DeltaRequest {
                node: Some(Identity { instance: "i-1".into(), ..Identity::default() }.node("east")),
                type_url: type_url.clone(),
                resource_names_subscribe: vec![WILDCARD.into()],
                ..DeltaRequest::default()
            };
            let confirmation = DeltaRequest { response_nonce: index.to_string(), ..subscription.clone() };
            seeds.requests.extend([subscription, confirmation].map(|request| request.encode_to_vec().into()));
            let mut other = resource.clone();
            other.key.name.push_str("-other");
            let response = DeltaResponse {
                system_version_info: String::new(),
                resources: vec![encoded(resource), encoded(&other)],
                type_url,
                nonce: index.to_string(),
                removed_resources: vec!["gone.default".into()],
                control_plane: None,
            };
            seeds.responses.push(response.encode_to_vec().into());
            seeds.resources.push(encoded(resource));
        }
        seeds.recorded();
        seeds
    }

    /// Adds what real control planes said.
    fn recorded(&mut self) {
        let Some(folder) = std::env::var_os("CONFORMANCE_DIR").map(PathBuf::from) else {
            eprintln!("skipped recordings as seeds: CONFORMANCE_DIR is not set");
            return;
        };
        let Some(folder) = folder.parent().map(|parent| parent.join("recordings")).filter(|folder| folder.is_dir())
        else {
            eprintln!("skipped recordings as seeds: there are none beside {}", folder.display());
            return;
        };
        for file in ["kds-zone1.jsonl", "kds-zone2.jsonl"] {
            let text = std::fs::read_to_string(folder.join(file)).expect("the recording can be read");
            for line in text.lines() {
                let line: Value = serde_json::from_str(line).expect("a recording is JSON");
                let (Some(method), Some(raw)) = (line["method"].as_str(), line["raw_base64"].as_str()) else {
                    continue;
                };
                let bytes = Bytes::from(STANDARD.decode(raw).expect("base64"));
                let to_global = line["dir"].as_str().is_some_and(|dir| dir.starts_with("zone"));
                let is_request = match method.rsplit('/').next() {
                    Some("GlobalToZoneSync") => to_global,
                    Some("ZoneToGlobalSync") => !to_global,
                    _ => continue,
                };
                if is_request {
                    self.requests.push(bytes);
                } else if let Ok(response) = DeltaResponse::decode(bytes.clone()) {
                    self.resources.extend(response.resources);
                    self.responses.push(bytes);
                }
            }
        }
        eprintln!("{} requests and {} responses as seeds", self.requests.len(), self.responses.len());
    }
}
