//! Dataplanes, ZoneIngresses and ZoneEgresses.

use serde_json::{Value, json};

use crate::choice::Choice;
use crate::slots::{MESHES, Place, SERVICES, ZONE};

fn tags(place: &Place, choice: &mut Choice) -> Value {
    let mut tags = json!({"kuma.io/service": choice.of(&SERVICES), "kuma.io/zone": ZONE, "mesh-of-it": place.mesh()});
    if choice.flag() {
        tags["kuma.io/protocol"] = json!(choice.of(&["http", "tcp", "grpc", "http2", "kafka"]));
    }
    if choice.flag() {
        tags["version"] = json!(choice.of(&["v1", "v2"]));
    }
    tags
}

fn inbound(place: &Place, choice: &mut Choice, port: u32) -> Value {
    let mut inbound = json!({"port": port, "tags": tags(place, choice)});
    match choice.below(4) {
        1 => inbound["name"] = json!(choice.of(&["main", "http"])),
        2 => inbound["servicePort"] = json!(port + 1),
        3 => inbound["state"] = json!(choice.of(&["Ready", "NotReady", "Ignored"])),
        _ => {}
    }
    if choice.below(8) == 7 {
        inbound["address"] = json!(place.address(90));
    }
    inbound
}

fn outbound(place: &Place, choice: &mut Choice, number: usize) -> Value {
    let mut outbound = json!({"port": 9000 + number, "address": format!("127.0.{}.1", place.mesh + 1)});
    match choice.below(4) {
        0 => outbound["tags"] = json!({"kuma.io/service": choice.of(&SERVICES)}),
        1 => {
            let version = choice.of(&["v1", "v2"]);
            outbound["tags"] = json!({"kuma.io/service": choice.of(&SERVICES), "version": version});
        }
        _ => {
            let (kind, name) = choice.of(&[
                ("MeshService", "web"),
                ("MeshService", "api"),
                ("MeshService", "web-west"),
                ("MeshMultiZoneService", "web"),
                ("MeshExternalService", "outside"),
            ]);
            let port = choice.of(&[80, 8080, 443]);
            outbound["backendRef"] = json!({"kind": kind, "name": name, "port": port});
        }
    }
    outbound
}

pub fn dataplane(place: &Place, choice: &mut Choice) -> Value {
    let mut address = place.address(place.number + 1);
    let mut networking = json!({});
    if choice.below(8) == 7 {
        let tags = tags(place, choice);
        networking["gateway"] = json!({"tags": tags});
    } else {
        let inbounds = (0..1 + choice.below(2)).map(|number| inbound(place, choice, 80 + 8000 * number as u32));
        networking["inbound"] = inbounds.collect();
    }
    match choice.below(3) {
        0 => {
            let mut section = json!({"redirectPortInbound": 15006, "redirectPortOutbound": 15001});
            match choice.below(6) {
                1 => section["reachableServices"] = json!([choice.of(&SERVICES)]),
                2 => {
                    let kind = choice.of(&["MeshService", "MeshMultiZoneService"]);
                    section["reachableBackends"] =
                        json!({"refs": [{"kind": kind, "name": choice.of(&["web", "api"])}]});
                }
                3 => section["reachableBackends"] = json!({"refs": []}),
                4 => section["directAccessServices"] = json!([choice.of(&["*", "web", "db"])]),
                5 => section["ipFamilyMode"] = json!(choice.of(&["IPv4", "DualStack"])),
                _ => {}
            }
            networking["transparentProxying"] = section;
        }
        1 => networking["outbound"] = (0..3).map(|number| outbound(place, choice, number)).collect(),
        _ => {}
    }
    match choice.below(8) {
        6 => address = place.host("dp"),
        7 => networking["advertisedAddress"] = json!(place.address(80 + place.number)),
        _ => {}
    }
    networking["address"] = json!(address);
    let mut dataplane = json!({"networking": networking, "labels": {"team": choice.of(&["one", "two"])}});
    if choice.flag() {
        dataplane["labels"]["kuma.io/workload"] = json!(choice.of(&["job", "page"]));
    }
    if choice.below(4) == 3 {
        let conf = json!({"port": 5671, "path": "/own", "tags": {"kuma.io/service": "metrics"}});
        dataplane["metrics"] = json!({"type": "prometheus", "conf": conf});
    }
    if choice.below(4) == 3 {
        let endpoint = json!({"inboundPort": 80, "inboundPath": "/healthy", "path": "/80/healthy"});
        dataplane["probes"] = json!({"port": 9010, "endpoints": [endpoint]});
    }
    dataplane
}

pub fn ingress(place: &Place, choice: &mut Choice) -> Value {
    let zone = [ZONE, "west", "west", "north"][place.number];
    let mut available = Vec::new();
    // Two meshes in the smaller worlds; a service of an unknown mesh is nothing special.
    for mesh in &MESHES[..place.mesh] {
        for service in SERVICES {
            if choice.flag() {
                let mut tags = json!({"kuma.io/service": service, "kuma.io/zone": zone, "mesh-of-it": mesh});
                if choice.flag() {
                    tags["version"] = json!(choice.of(&["v1", "v2"]));
                }
                let external = choice.below(8) == 7;
                let instances = 1 + choice.below(3);
                available
                    .push(json!({"mesh": mesh, "tags": tags, "instances": instances, "externalService": external}));
            }
        }
    }
    let address = match choice.below(8) {
        // The same as of another ingress, so that one of them does not count.
        6 => "192.0.2.1".to_owned(),
        7 => "ingress.west.example".to_owned(),
        _ => format!("192.0.2.{}", place.number + 1),
    };
    let mut networking = json!({"address": address, "port": 10001});
    if !choice.flag() {
        networking["advertisedAddress"] = json!(address);
        networking["advertisedPort"] = json!(10001);
    }
    let mut ingress = json!({"networking": networking, "availableServices": available});
    if zone != ZONE {
        ingress["zone"] = json!(zone);
        ingress["labels"] = json!({"kuma.io/zone": zone, "kuma.io/origin": "global"});
    }
    ingress
}

pub fn egress(place: &Place, choice: &mut Choice) -> Value {
    let address = format!("192.0.3.{}", place.number + 1 + choice.below(2));
    let mut egress = json!({"networking": {"address": address, "port": 10002}});
    match choice.below(4) {
        2 => egress["zone"] = json!(ZONE),
        3 => egress["zone"] = json!("west"),
        _ => {}
    }
    egress
}
