//! What a control plane adds to a Dataplane that it takes in.
//!
//! Source: Kuma `pkg/core/managers/apis/dataplane/dataplane_manager.go`.

use tandem_proto::mesh::v1alpha1::Dataplane;
use tandem_proto::mesh::v1alpha1::dataplane::networking::inbound::{Health, State};

/// Marks inbounds with a probe as not ready until the probe has succeeded once.
pub(crate) fn reset_probed_inbounds(dataplane: &mut Dataplane) {
    let Some(networking) = dataplane.networking.as_mut() else { return };
    for inbound in networking.inbound.iter_mut().filter(|inbound| inbound.service_probe.is_some()) {
        inbound.set_state(State::NotReady);
        inbound.health = Some(Health { ready: false });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_proto::mesh::v1alpha1::dataplane::Networking;
    use tandem_proto::mesh::v1alpha1::dataplane::networking::Inbound;
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
}
