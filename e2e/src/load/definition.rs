//! The Dataplane resources of the simulated proxies.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::options::Options;
use super::policies::LABEL;

/// Address of the first proxy. Nothing ever connects to these addresses; they only have to differ.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// Names and shape of all proxies of a run.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    pub(super) mesh: String,
    /// Differs from run to run: a control plane may still be about to remove the proxies of the last one.
    prefix: String,
    services: usize,
    inbounds: usize,
    outbounds: usize,
    redirection: Option<Redirection>,
    /// Each proxy has a label by which policies find it.
    labelled: bool,
    /// Number of groups that proxies belong to, by a label; 0 for none.
    groups: usize,
}

/// Label with the number of the group of a proxy.
pub(super) const GROUP: &str = "load-group";

/// So many proxies of successive numbers are of one group.
pub(super) const NEIGHBOURS: usize = 10;

/// What proxies with redirected traffic reach.
#[derive(Debug, Clone)]
struct Redirection {
    /// How many of the services each proxy lists; `None` for all without a list.
    reachable: Option<usize>,
    /// For each service with an endpoint that moves: how many of the proxies use it.
    users: Vec<usize>,
}

impl Definition {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            mesh: options.mesh.clone(),
            prefix: format!("load-{:x}", rand::random::<u32>()),
            services: options.services,
            inbounds: options.inbounds,
            outbounds: options.outbounds,
            redirection: options
                .transparent_proxy
                .then(|| Redirection { reachable: options.reachable, users: options.users.clone() }),
            labelled: options.policies > 0,
            groups: options.groups(),
        }
    }

    /// The group that a proxy belongs to.
    pub(super) fn group(&self, index: usize) -> Option<usize> {
        (self.groups > 0).then(|| index / NEIGHBOURS % self.groups)
    }

    /// Number of groups that are changed in turn. As each has few members, a change of one costs little.
    pub(super) fn groups(&self) -> usize {
        self.groups
    }

    pub(super) fn name(&self, index: usize) -> String {
        format!("{}-{index}", self.prefix)
    }

    /// The first inbounds of all proxies spread over the services in turn, and each proxy calls the services that follow
    /// its own ones.
    pub(super) fn resource(&self, index: usize) -> Value {
        let service = |offset: usize| format!("service-{}", (index + offset) % self.services);
        let inbounds: Vec<Value> = (0..self.inbounds)
            .map(|k| {
                json!({
                    "port": 20_000 + k,
                    "servicePort": 8_000 + k,
                    "tags": {"kuma.io/service": service(k), "kuma.io/protocol": "http"},
                })
            })
            .collect();
        let mut networking = json!({"address": address(index), "inbound": inbounds});
        match &self.redirection {
            None => {
                let outbound = |k| json!({"port": 30_000 + k, "tags": {"kuma.io/service": service(self.inbounds + k)}});
                networking["outbound"] = (0..self.outbounds).map(outbound).collect();
            }
            Some(Redirection { reachable, users }) => {
                let mut section = json!({"redirectPortInbound": 15_006, "redirectPortOutbound": 15_001});
                if let Some(count) = reachable {
                    let used = users.iter().filter(|users| index < **users).map(|users| moving_service(*users));
                    let names = (0..*count).map(|k| service(self.inbounds + k)).chain(used);
                    let refs: Vec<_> = names.map(|name| json!({"kind": "MeshService", "name": name})).collect();
                    section["reachableBackends"] = json!({"refs": refs});
                }
                networking["transparentProxying"] = section;
            }
        }
        let mut resource =
            json!({"type": "Dataplane", "mesh": self.mesh, "name": self.name(index), "networking": networking});
        let of_its_own = self.labelled.then_some((LABEL, index));
        for (label, value) in of_its_own.into_iter().chain(self.group(index).map(|group| (GROUP, group))) {
            resource["labels"][label] = json!(value.to_string());
        }
        resource
    }

    /// The one Dataplane of the service that so many proxies use. No proxy is behind it: it is written over the API of the zone, and moves.
    pub(super) fn moving(&self, users: usize, address: Ipv4Addr) -> Value {
        let service = moving_service(users);
        let inbound = json!({"port": 20_000, "tags": {"kuma.io/service": service, "kuma.io/protocol": "http"}});
        json!({
            "type": "Dataplane",
            "mesh": self.mesh,
            "name": service,
            "networking": {"address": address, "inbound": [inbound]},
        })
    }
}

/// Name of the service that so many proxies use, and of its Dataplane.
fn moving_service(users: usize) -> String {
    format!("moving-{users}")
}

fn address(index: usize) -> String {
    let offset = u32::try_from(index).unwrap_or(u32::MAX);
    Ipv4Addr::from(u32::from(FIRST_ADDRESS).wrapping_add(offset)).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn definition(redirection: Option<Redirection>) -> Definition {
        Definition {
            mesh: "m".into(),
            prefix: "p".into(),
            services: 5,
            inbounds: 2,
            outbounds: 3,
            redirection,
            labelled: false,
            groups: 2,
        }
    }

    #[test]
    fn redirected_proxies_list_what_they_reach() {
        let definition = definition(Some(Redirection { reachable: Some(1), users: vec![1, 9] }));
        let reached = |index| {
            let networking = &definition.resource(index)["networking"];
            assert!(networking["outbound"].is_null());
            let refs = networking["transparentProxying"]["reachableBackends"]["refs"].as_array().expect("a list");
            refs.iter().map(|backend| backend["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(reached(0), ["service-2", "moving-1", "moving-9"]);
        assert_eq!(reached(4), ["service-1", "moving-9"]);
        assert_eq!(reached(9), ["service-1"]);
    }

    #[test]
    fn services_of_a_proxy_differ() {
        let definition = definition(None);
        let resource = definition.resource(4);
        assert_eq!(resource["name"], "p-4");
        assert_eq!(resource["labels"], json!({GROUP: "0"}));
        assert_eq!([10, 19, 20].map(|index| definition.group(index)), [Some(1), Some(1), Some(0)]);
        assert_eq!(resource["networking"]["address"], "10.0.0.5");
        let tags = |list: &str| -> HashSet<String> {
            let items = resource["networking"][list].as_array().expect("a list");
            items.iter().map(|item| item["tags"]["kuma.io/service"].as_str().expect("a tag").to_owned()).collect()
        };
        assert_eq!(tags("inbound"), ["service-4", "service-0"].map(str::to_owned).into());
        assert_eq!(tags("outbound"), ["service-1", "service-2", "service-3"].map(str::to_owned).into());
    }
}
