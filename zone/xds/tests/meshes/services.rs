//! Services that are resources, what identifies proxies behind them, and services outside of the mesh.

use serde_json::{Value, json};
use tandem_model::Kind;

use crate::authorities;
use crate::choice::Choice;
use crate::slots::{Make, Place, SERVICES, ZONE};

/// Kinds, names and contents.
pub const KINDS: [(Kind, &[&str], Make); 6] = [
    (Kind::MeshService, &["web", "api", "web-west"], mesh_service),
    (Kind::MeshMultiZoneService, &["web"], multi_zone),
    (Kind::MeshExternalService, &["outside", "other"], mesh_external),
    (Kind::ExternalService, &["outside", "other"], external),
    (Kind::MeshIdentity, &["identity", "other"], mesh_identity),
    (Kind::MeshTrust, &["identity", "other"], mesh_trust),
];

fn addresses(place: &Place, choice: &mut Choice, name: &str) -> Value {
    let hostname = place.host(&format!("{name}-{}", choice.below(2)));
    json!([{"hostname": hostname, "origin": "HostnameGenerator"}])
}

fn mesh_service(place: &Place, choice: &mut Choice) -> Value {
    let name = ["web", "api", "web-west"][place.number];
    let display_name = if place.number == 2 { "web" } else { name };
    let zone = if place.number == 2 { "west" } else { ZONE };
    let origin = if place.number == 2 { "global" } else { "zone" };
    let mut tags = json!({"kuma.io/service": choice.of(&SERVICES)});
    if choice.below(4) == 3 {
        tags["version"] = json!("v1");
    }
    let port = |number: u32, choice: &mut Choice| {
        let mut port = json!({"port": number, "appProtocol": choice.of(&["http", "tcp", "grpc"])});
        match choice.below(4) {
            1 => port["targetPort"] = json!(8080),
            2 => port["targetPort"] = json!("main"),
            3 => port["name"] = json!(choice.of(&["main", "http"])),
            _ => {}
        }
        port
    };
    let mut ports = vec![port(80, choice)];
    if choice.flag() {
        ports.push(port(8080, choice));
    }
    let mut identities = vec![json!({"type": "ServiceTag", "value": choice.of(&SERVICES)})];
    if choice.flag() {
        identities.push(json!({"type": "SpiffeID", "value": format!("spiffe://{}.mesh.local/x", place.mesh())}));
    }
    let vips = if choice.below(8) == 7 {
        json!([])
    } else {
        json!([{"ip": place.vip(100 + 2 * place.number + choice.below(2))}])
    };
    json!({
        "labels": {
            "kuma.io/display-name": display_name,
            "kuma.io/mesh": place.mesh(),
            "kuma.io/origin": origin,
            "kuma.io/zone": zone,
            "group": choice.of(&["one", "two"]),
        },
        "spec": {
            "selector": {"dataplaneTags": tags},
            "ports": ports,
            "identities": identities,
            "state": choice.of(&["Available", "Unavailable"]),
        },
        "status": {
            "vips": vips,
            "tls": {"status": choice.of(&["Ready", "NotReady"])},
            "addresses": addresses(place, choice, name),
        },
    })
}

fn multi_zone(place: &Place, choice: &mut Choice) -> Value {
    let all = [("web", ZONE), ("web", "west"), ("api", ZONE)];
    let matched: Vec<_> = all.iter().filter(|_| choice.flag()).collect();
    let matched: Vec<_> = matched
        .iter()
        .map(|(name, zone)| json!({"name": name, "namespace": "", "zone": zone, "mesh": place.mesh()}))
        .collect();
    json!({
        "labels": {"kuma.io/display-name": "web", "kuma.io/mesh": place.mesh(), "kuma.io/origin": "global"},
        "spec": {
            "selector": {"meshService": {"matchLabels": {"group": choice.of(&["one", "two"])}}},
            "ports": [{"port": 80, "appProtocol": choice.of(&["http", "tcp"])}],
        },
        "status": {
            "vips": [{"ip": place.vip(150)}],
            "meshServices": matched,
            "addresses": addresses(place, choice, "multi"),
        },
    })
}

fn mesh_external(place: &Place, choice: &mut Choice) -> Value {
    let name = ["outside", "other"][place.number];
    let mut spec = json!({
        "match": {"type": "HostnameGenerator", "port": 443, "protocol": choice.of(&["http", "tcp", "grpc"])},
        "endpoints": [{"address": place.host(name), "port": 443}],
    });
    match choice.below(5) {
        1 => spec["tls"] = json!({"enabled": true}),
        2 => {
            let matched = json!({"type": "Exact", "value": place.host("san")});
            let verification = json!({"serverName": place.host("sni"), "subjectAltNames": [matched]});
            spec["tls"] = json!({"enabled": true, "verification": verification});
        }
        3 => {
            let verification = json!({"caCert": {"secret": "outside-ca"}});
            spec["tls"] = json!({"enabled": true, "verification": verification});
        }
        4 => {
            let verification = json!({"mode": choice.of(&["SkipAll", "SkipCA", "SkipSAN"])});
            spec["tls"] = json!({"enabled": true, "allowRenegotiation": choice.flag(), "verification": verification});
        }
        _ => {}
    }
    let mut labels = json!({"kuma.io/display-name": name, "kuma.io/mesh": place.mesh(), "kuma.io/origin": "zone"});
    if choice.flag() {
        labels["kuma.io/zone"] = json!(choice.of(&[ZONE, "west"]));
    }
    json!({
        "labels": labels,
        "spec": spec,
        "status": {
            "vip": {"ip": place.vip(160 + 2 * place.number + choice.below(2))},
            "addresses": addresses(place, choice, name),
        },
    })
}

fn external(place: &Place, choice: &mut Choice) -> Value {
    let name = ["outside", "other"][place.number];
    // A service may be provided inside and outside.
    let mut tags = json!({"kuma.io/service": choice.of(&["outside", "db", "web"]), "mesh-of-it": place.mesh()});
    if choice.flag() {
        tags["kuma.io/protocol"] = json!(choice.of(&["http", "tcp", "http2"]));
    }
    if choice.below(4) == 3 {
        tags["kuma.io/zone"] = json!(choice.of(&[ZONE, "west"]));
    }
    let mut networking = json!({"address": place.host(name) + ":443"});
    match choice.below(4) {
        1 => networking["tls"] = json!({"enabled": true}),
        2 => networking["tls"] = json!({"enabled": true, "caCert": {"secret": "outside-ca"}}),
        3 => networking["tls"] = json!({"enabled": true, "serverName": place.host("sni"), "allowRenegotiation": true}),
        _ => {}
    }
    json!({"networking": networking, "tags": tags})
}

fn mesh_identity(_: &Place, choice: &mut Choice) -> Value {
    let mut spec = json!({});
    match choice.below(3) {
        0 => spec["selector"] = json!({"dataplane": {"matchLabels": {}}}),
        1 => spec["selector"] = json!({"dataplane": {"matchLabels": {"team": choice.of(&["one", "two"])}}}),
        _ => {}
    }
    match choice.below(3) {
        0 => {
            let bundled = json!({"autogenerate": {"enabled": true}, "insecureAllowSelfSigned": true});
            spec["provider"] = json!({"type": "Bundled", "bundled": bundled});
        }
        1 => spec["spiffeID"] = json!({"trustDomain": "{{ .Mesh }}.other", "path": "/x/{{ .Workload }}"}),
        _ => {}
    }
    let ready = choice.of(&["True", "False"]);
    let condition = json!({"type": "Ready", "status": ready, "reason": "Ready", "message": "known"});
    json!({"spec": spec, "status": {"conditions": [condition]}})
}

fn mesh_trust(place: &Place, choice: &mut Choice) -> Value {
    let domain = choice.of(&["east.mesh.local", "west.mesh.local"]);
    let pem = authorities::own(place.mesh, choice.below(authorities::OWN));
    let bundle = json!({"type": "Pem", "pem": {"value": pem}});
    json!({"spec": {"trustDomain": format!("{}.{domain}", place.mesh()), "caBundles": [bundle]}})
}
