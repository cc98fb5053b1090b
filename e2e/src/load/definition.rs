//! The Dataplane resources of the simulated proxies.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::options::Options;

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
}

impl Definition {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            mesh: options.mesh.clone(),
            prefix: format!("load-{:x}", rand::random::<u32>()),
            services: options.services,
            inbounds: options.inbounds,
            outbounds: options.outbounds,
        }
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
        let outbounds: Vec<Value> = (0..self.outbounds)
            .map(|k| json!({"port": 30_000 + k, "tags": {"kuma.io/service": service(self.inbounds + k)}}))
            .collect();
        json!({
            "type": "Dataplane",
            "mesh": self.mesh,
            "name": self.name(index),
            "networking": {"address": address(index), "inbound": inbounds, "outbound": outbounds},
        })
    }
}

fn address(index: usize) -> String {
    let offset = u32::try_from(index).unwrap_or(u32::MAX);
    Ipv4Addr::from(u32::from(FIRST_ADDRESS).wrapping_add(offset)).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn services_of_a_proxy_differ() {
        let definition = Definition { mesh: "m".into(), prefix: "p".into(), services: 5, inbounds: 2, outbounds: 3 };
        let resource = definition.resource(4);
        assert_eq!(resource["name"], "p-4");
        assert_eq!(resource["networking"]["address"], "10.0.0.5");
        let tags = |list: &str| -> HashSet<String> {
            let items = resource["networking"][list].as_array().expect("a list");
            items.iter().map(|item| item["tags"]["kuma.io/service"].as_str().expect("a tag").to_owned()).collect()
        };
        assert_eq!(tags("inbound"), ["service-4", "service-0"].map(str::to_owned).into());
        assert_eq!(tags("outbound"), ["service-1", "service-2", "service-3"].map(str::to_owned).into());
    }
}
