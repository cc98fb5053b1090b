//! What a control plane adds to a Dataplane that it takes in.
//!
//! Source: Kuma `pkg/core/managers/apis/dataplane/dataplane_manager.go`.

use tandem_proto::mesh::v1alpha1::Dataplane;
use tandem_proto::mesh::v1alpha1::dataplane::networking::Inbound;
use tandem_proto::mesh::v1alpha1::dataplane::networking::inbound::{Health, State};

/// Marks inbounds with a probe as not ready until the probe has succeeded once.
pub(crate) fn reset_probed_inbounds(dataplane: &mut Dataplane) {
    let Some(networking) = dataplane.networking.as_mut() else { return };
    for inbound in networking.inbound.iter_mut().filter(|inbound| inbound.service_probe.is_some()) {
        inbound.set_state(State::NotReady);
        inbound.health = Some(Health { ready: false });
    }
}

/// What probes have found about inbounds stays when a proxy registers them again as they were: it came back, its application went on.
pub(crate) fn keep_probed_inbounds(dataplane: &mut Dataplane, stored: &Dataplane) {
    let (Some(networking), Some(stored)) = (dataplane.networking.as_mut(), stored.networking.as_ref()) else { return };
    for inbound in networking.inbound.iter_mut().filter(|inbound| inbound.service_probe.is_some()) {
        let is_same = |known: &&Inbound| {
            let known = Inbound { state: inbound.state, health: inbound.health, ..(*known).clone() };
            known == *inbound
        };
        if let Some(known) = stored.inbound.iter().find(is_same) {
            (inbound.state, inbound.health) = (known.state, known.health);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_proto::mesh::v1alpha1::dataplane::Networking;
    use tandem_proto::mesh::v1alpha1::dataplane::networking::inbound::ServiceProbe;

    #[test]
    fn only_probed_inbounds_start_as_not_ready() {
        let probed = Inbound { service_probe: Some(ServiceProbe::default()), ..Inbound::default() };
        let mut dataplane = Dataplane {
            networking: Some(Networking { inbound: vec![probed, Inbound::default()], ..Networking::default() }),
            ..Dataplane::default()
        };
        reset_probed_inbounds(&mut dataplane);
        let inbounds = dataplane.networking.expect("kept").inbound;
        assert_eq!(inbounds[0].state(), State::NotReady);
        assert_eq!(inbounds[0].health, Some(Health { ready: false }));
        assert_eq!(inbounds[1], Inbound::default());
    }

    #[test]
    fn what_probes_found_stays_with_inbounds_that_are_as_they_were() {
        let probed = |port| Inbound { port, service_probe: Some(ServiceProbe::default()), ..Inbound::default() };
        let dataplane = |inbound| Dataplane {
            networking: Some(Networking { inbound, ..Networking::default() }),
            ..Dataplane::default()
        };
        let mut stored = dataplane(vec![probed(1), probed(2), Inbound { port: 3, ..Inbound::default() }]);
        reset_probed_inbounds(&mut stored);
        let moved = Inbound { service_port: 9, ..probed(2) };
        let mut brought = dataplane(vec![probed(1), moved.clone(), Inbound { port: 3, ..Inbound::default() }]);
        keep_probed_inbounds(&mut brought, &stored);
        let inbounds = brought.networking.expect("kept").inbound;
        assert_eq!((inbounds[0].state(), inbounds[0].health), (State::NotReady, Some(Health { ready: false })));
        assert_eq!(inbounds[1], moved);
        assert_eq!(inbounds[2].state(), State::Ready);
    }
}
