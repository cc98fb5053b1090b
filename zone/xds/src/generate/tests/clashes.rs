//! Parts of one proxy that want the same address.

use super::*;

fn reasons(generated: &Generated) -> Vec<&str> {
    generated.warnings.iter().map(|warning| warning.reason.as_str()).collect()
}

#[test]
fn of_several_listeners_with_one_address_the_first_is_served() {
    let client = http_inbound("default", "client").address("127.0.0.1");
    let client = client.outbound(10001, "one").outbound(10001, "two").outbound(10001, "one").outbound(8080, "two");
    let others = [http_inbound("default", "one").resource(), http_inbound("default", "two").resource()];
    let mut zone = Zone::new("east", [mesh("default").resource(), client.resource()].into_iter().chain(others));
    let generated = zone.generate(&key("client"), None).expect("it is served");
    let listeners = names(&generated, LISTENER);
    assert!(listeners.contains(&"outbound:127.0.0.1:10001") && listeners.contains(&"inbound:127.0.0.1:8080"));
    assert!(!listeners.contains(&"outbound:127.0.0.1:8080"), "{listeners:?}");
    assert_eq!(json(&generated, LISTENER, "outbound:127.0.0.1:10001").to_string().matches("\"two\"").count(), 0);
    let reasons = reasons(&generated);
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].contains("127.0.0.1:10001") && reasons[1].contains("\"inbound:127.0.0.1:8080\""), "{reasons:?}");

    // What is taken over from last time clashes as well.
    let again = zone.generate(&key("client"), Some(&generated)).expect("it is served");
    assert_eq!((&again.resources, &again.warnings), (&generated.resources, &generated.warnings));
    zone.put(http_inbound("default", "client").address("127.0.0.1").outbound(10001, "two").resource());
    assert_eq!(zone.generate(&key("client"), Some(&again)).expect("it is served").warnings, []);
}

#[test]
fn services_of_one_application_share_its_listener() {
    let tags = |service| [("kuma.io/service", service), ("kuma.io/protocol", "http")];
    let client = dataplane("default", "client").inbound_with(8080, &tags("one")).inbound_with(8080, &tags("two"));
    let zone = Zone::new("east", [mesh("default").resource(), client.resource()]);
    let generated = zone.generate(&key("client"), None).expect("it is served");
    assert_eq!(generated.warnings, []);
    let listener = json(&generated, LISTENER, "inbound:10.0.0.1:8080").to_string();
    assert!(listener.contains("\"two\"") && !listener.contains("\"one\""), "{listener}");

    // Two applications cannot.
    let mut two = client;
    two.spec.networking.as_mut().expect("it is there").inbound[1].service_port = 9090;
    let zone = Zone::new("east", [mesh("default").resource(), two.resource()]);
    let generated = zone.generate(&key("client"), None).expect("it is served");
    assert_eq!(generated.warnings.len(), 1);
    assert!(json(&generated, LISTENER, "inbound:10.0.0.1:8080").to_string().contains("\"one\""), "the first is served");
}
