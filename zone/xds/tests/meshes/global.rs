//! Meshes, what is kept for them, and what is counted of them.

use base64::Engine as _;
use serde_json::{Map, Value, json};

use crate::authorities;
use crate::choice::Choice;
use crate::slots::{Place, SERVICES};

pub fn mesh(place: &Place, choice: &mut Choice) -> Value {
    let mut mesh = json!({});
    let mode = choice.of(&["Exclusive", "Everywhere", "Disabled", "ReachableBackends"]);
    mesh["meshServices"] = json!({"mode": mode});
    let security = choice.below(6);
    if security > 0 {
        let mode = if choice.flag() { "PERMISSIVE" } else { "STRICT" };
        let rotation = json!({"rotation": {"expiration": choice.of(&["", "12h"])}});
        let builtin = json!({"name": "ca-1", "type": "builtin", "mode": mode, "dpCert": rotation});
        let cert = match security {
            3 => json!({"secret": "root"}),
            4 => json!({"inlineString": authorities::own(place.mesh, 2)}),
            // On purpose the same in every mesh.
            _ => json!({"inlineString": authorities::shared()}),
        };
        let conf = json!({"cert": cert, "key": {"secret": "root-key"}});
        let provided = json!({"name": "ca-2", "type": "provided", "mode": mode, "conf": conf});
        let both = choice.flag();
        let (enabled, backends) = match (security, both) {
            (1 | 2, false) => ("ca-1", vec![builtin]),
            (1 | 2, true) => ("ca-1", vec![builtin, provided]),
            (_, false) => ("ca-2", vec![provided]),
            (_, true) => ("ca-2", vec![builtin, provided]),
        };
        mesh["mtls"] = json!({"enabledBackend": enabled, "backends": backends});
    }
    mesh["routing"] = json!({
        "zoneEgress": choice.flag(),
        "localityAwareLoadBalancing": choice.flag(),
        "defaultForbidMeshExternalServiceAccess": choice.flag(),
    });
    mesh["networking"] = json!({"outbound": {"passthrough": !choice.flag()}});
    if choice.flag() {
        let conf = json!({"address": place.host("logs") + ":5000"});
        let backend = json!({"name": "log", "type": "tcp", "format": format!("of {}", place.mesh()), "conf": conf});
        mesh["logging"] = json!({"defaultBackend": "log", "backends": [backend]});
    }
    if choice.flag() {
        let url = format!("http://{}:9411/api/v2/spans", place.host("zipkin"));
        let backend = json!({"name": "zipkin", "type": "zipkin", "conf": {"url": url}});
        mesh["tracing"] = json!({"defaultBackend": "zipkin", "backends": [backend]});
    }
    if choice.flag() {
        let tags = json!({"kuma.io/service": "dataplane-metrics"});
        let tls = json!({"mode": choice.of(&["activeMTLSBackend", "disabled"])});
        let conf = json!({"port": 5670, "path": format!("/{}", place.mesh()), "tags": tags, "tls": tls});
        let backend = json!({"name": "prometheus", "type": "prometheus", "conf": conf});
        mesh["metrics"] = json!({"enabledBackend": "prometheus", "backends": [backend]});
    }
    mesh
}

pub fn secret(place: &Place, choice: &mut Choice) -> Value {
    let pem = authorities::own(place.mesh, choice.below(authorities::OWN));
    json!({"data": base64::engine::general_purpose::STANDARD.encode(pem)})
}

/// Virtual addresses of services by tag.
pub fn vips(place: &Place, choice: &mut Choice) -> Value {
    let mut vips = Map::new();
    for (number, service) in SERVICES.iter().enumerate() {
        if choice.flag() {
            let outbound = json!({"Port": 0, "TagSet": {"kuma.io/service": service}, "Origin": "service"});
            let address = place.vip(10 * (number + 1) + choice.below(2));
            vips.insert(format!("0:{service}"), json!({"address": address, "outbounds": [outbound]}));
        }
    }
    if choice.flag() {
        let tags = json!({"kuma.io/service": choice.of(&SERVICES), "version": choice.of(&["v1", "v2"])});
        let outbound = json!({"Port": 8080, "TagSet": tags, "Origin": "virtual-outbound:by-version"});
        let name = format!("2:{}", place.host("by-version"));
        vips.insert(name, json!({"address": place.vip(70), "outbounds": [outbound]}));
    }
    json!({"config": Value::Object(vips).to_string()})
}

pub fn service_insight(_: &Place, choice: &mut Choice) -> Value {
    let mut services = Map::new();
    for service in SERVICES {
        if choice.flag() {
            let issued = json!({"ca-1": choice.below(3), "ca-2": choice.below(3)});
            let dataplanes = json!({"total": 2, "online": choice.of(&[2, 1])});
            services.insert(service.to_owned(), json!({"dataplanes": dataplanes, "issuedBackends": issued}));
        }
    }
    json!({"services": services})
}
