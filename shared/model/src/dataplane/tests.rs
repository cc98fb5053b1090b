use tandem_proto::mesh::v1alpha1::dataplane::Networking;
use tandem_proto::mesh::v1alpha1::dataplane::networking::inbound::Health;

use super::*;

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn dataplane(inbound: Vec<Inbound>, gateway: Option<Gateway>) -> Dataplane {
    let networking = Networking { address: "10.0.0.1".into(), inbound, gateway, ..Default::default() };
    Dataplane { networking: Some(networking), ..Default::default() }
}

fn inbound(port: u32, pairs: &[(&str, &str)]) -> Inbound {
    Inbound { port, tags: tags(pairs), ..Default::default() }
}

#[test]
fn addresses_and_ports_have_defaults() {
    let mut proxy = dataplane(vec![inbound(8080, &[])], None);
    let plain = proxy.inbound_interface(&proxy.inbounds()[0]);
    assert_eq!(
        plain,
        InboundInterface {
            address: "10.0.0.1".into(),
            advertised_address: "10.0.0.1".into(),
            port: 8080,
            workload_address: "10.0.0.1".into(),
            workload_port: 8080,
        }
    );
    if let Some(networking) = &mut proxy.networking {
        networking.advertised_address = "1.2.3.4".into();
        networking.inbound[0] = Inbound {
            port: 8080,
            service_port: 80,
            address: "10.0.0.2".into(),
            service_address: "127.0.0.1".into(),
            ..Default::default()
        };
    }
    assert_eq!(
        proxy.inbound_interface(&proxy.inbounds()[0]),
        InboundInterface {
            address: "10.0.0.2".into(),
            advertised_address: "1.2.3.4".into(),
            port: 8080,
            workload_address: "127.0.0.1".into(),
            workload_port: 80,
        }
    );
    if let Some(networking) = &mut proxy.networking {
        networking.inbound[0].service_address.clear();
    }
    // An inbound with an address of its own forwards to that address.
    assert_eq!(proxy.inbound_interface(&proxy.inbounds()[0]).workload_address, "10.0.0.2");
    assert_eq!(
        Outbound { port: 1, ..Default::default() }.interface(),
        OutboundInterface { address: "127.0.0.1".into(), port: 1 }
    );
}

#[test]
fn health_of_inbounds() {
    let with = |state: State, ready: Option<bool>| Inbound {
        state: state.into(),
        health: ready.map(|ready| Health { ready }),
        ..Default::default()
    };
    assert!(with(State::Ready, None).is_healthy());
    assert!(with(State::Ready, Some(true)).is_healthy());
    assert!(!with(State::Ready, Some(false)).is_healthy());
    assert!(!with(State::NotReady, Some(true)).is_healthy());
    assert!(!with(State::Ignored, None).is_healthy());
    assert!(with(State::Ignored, None).is_ignored());
}

#[test]
fn tag_sets_of_inbounds_and_gateway() {
    let web = dataplane(
        vec![
            inbound(1, &[(SERVICE_TAG, "web"), (PROTOCOL_TAG, "HTTP")]),
            inbound(2, &[(SERVICE_TAG, "admin"), ("team", "a")]),
        ],
        None,
    );
    assert_eq!(web.tag_sets().count(), 2);
    assert_eq!(web.identifying_service(), "admin");
    assert!(web.is_selected_by(&tags(&[(SERVICE_TAG, "admin"), ("team", "*")])));
    // The tags must be on one and the same inbound.
    assert!(!web.is_selected_by(&tags(&[(SERVICE_TAG, "web"), ("team", "a")])));
    assert_eq!(web.all_tags()[SERVICE_TAG].iter().collect::<Vec<_>>(), ["admin", "web"]);
    assert_eq!(web.inbounds()[0].protocol(), Protocol::Http);
    assert_eq!(web.inbounds()[1].section_name(), "2");

    let mut edge = dataplane(vec![], Some(Gateway { tags: tags(&[(SERVICE_TAG, "edge")]), r#type: 1 }));
    assert!(edge.is_builtin_gateway());
    assert!(!edge.is_delegated_gateway());
    edge.set_zone("east");
    assert!(edge.is_selected_by(&tags(&[(ZONE, "east"), (SERVICE_TAG, "edge")])));
}

#[test]
fn a_dataplane_without_networking_has_nothing() {
    let mut empty = Dataplane::default();
    empty.set_zone("east");
    assert_eq!(empty.tag_sets().count(), 0);
    assert!(empty.is_selected_by(&Tags::new()));
    assert!(!empty.is_selected_by(&tags(&[("a", "*")])));
    assert_eq!(empty.identifying_service(), "unknown");
}
