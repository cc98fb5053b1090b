//! `…/_hostnames`: under which host names the workloads of each zone reach a service.
//!
//! Rules and shape: Kuma `pkg/api-server/inspect_mesh_service.go`.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};
use tandem_model::hostname::Generator;
use tandem_model::label::{ORIGIN, ORIGIN_GLOBAL, ORIGIN_ZONE, ZONE};
use tandem_model::{Kind, Resource};

use super::Place;
use crate::context::SharedContext;
use crate::json;
use crate::problem::Problem;

/// `GET /meshes/{mesh}/{type}/{name}/_hostnames` for a type of services.
pub async fn get(
    kind: Kind,
    State(context): State<SharedContext>,
    Path(place): Path<Place>,
) -> Result<Response, Problem> {
    const TITLE: &str = "could not retrieve service";
    const GENERATORS: &str = "could not retrieve hostname generators";
    let stored = context.store.get(&place.key(kind)).await.map_err(|error| Problem::store(TITLE, &error))?;
    let service = stored.ok_or_else(|| Problem::not_found(TITLE))?;
    let generators = context.store.list(Kind::HostnameGenerator, None).await;
    let generators = generators.map_err(|error| Problem::store(GENERATORS, &error))?;
    let hostnames = hostnames(&service, generators.iter().map(|generator| &**generator))?;
    Ok(json::ok(&shown(hostnames)))
}

/// `GET /meshes/{mesh}/{type}/{name}/_hostnames` for any other type.
pub async fn refuse() -> Problem {
    let types = tandem_model::hostname::KINDS.map(|kind| kind.descriptor().path.unwrap_or_default()).join(",");
    Problem {
        title: format!("only {types:?} are available for inspection"),
        ..Problem::bad_request("Resource is not valid")
    }
}

/// The zones in which each host name leads to the service.
fn hostnames<'a>(
    service: &Resource,
    generators: impl Iterator<Item = &'a Resource>,
) -> Result<BTreeMap<String, BTreeSet<String>>, Problem> {
    const TITLE: &str = "could not generate hostname";
    let zone = zone(service);
    let mut seen = service.clone();
    let mut hostnames: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for resource in generators {
        let generator = Generator::decode(resource).map_err(|error| Problem::internal(TITLE, &error))?;
        // Generators of the zone see its own services; those of global see what they are for the other zones.
        let of_zone = resource.label(ORIGIN) == Some(ORIGIN_ZONE) && self::zone(resource) == zone;
        let origin = if of_zone { ORIGIN_ZONE } else { ORIGIN_GLOBAL };
        seen.labels.insert(ORIGIN.to_owned(), origin.to_owned());
        match generator.hostname(&seen, &zone) {
            None => {}
            Some(Ok(hostname)) => {
                hostnames.entry(hostname).or_default().insert(zone.clone());
            }
            Some(Err(error)) => return Err(Problem::internal(TITLE, &error)),
        }
    }
    Ok(hostnames)
}

/// The zone that a resource is of, as far as its label or the beginning of its name tells.
fn zone(resource: &Resource) -> String {
    match resource.label(ZONE).filter(|zone| !zone.is_empty()) {
        Some(zone) => zone.to_owned(),
        None => resource.key.name.split('.').next().unwrap_or_default().to_owned(),
    }
}

fn shown(hostnames: BTreeMap<String, BTreeSet<String>>) -> Value {
    let total = hostnames.len();
    let items = hostnames.into_iter().map(|(hostname, zones)| {
        let zones: Vec<_> = zones.into_iter().map(|name| json!({ "name": name })).collect();
        json!({ "hostname": hostname, "zones": zones })
    });
    let items: Vec<_> = items.collect();
    // Clients of Kuma know the empty list as `null` here.
    json!({ "items": if items.is_empty() { Value::Null } else { Value::Array(items) }, "total": total })
}
