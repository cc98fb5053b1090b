//! What must not be in a configuration.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tandem_model::{Kind, ResourceKey};
use tandem_xds::{Generated, ResourceType};

use crate::authorities;
use crate::slots::{MESHES, marker};
use crate::zone::{World, json_of};

/// Says what leaked, if anything did.
pub fn find(world: &World<'_>) -> Result<(), String> {
    for (key, generated) in world.configurations() {
        let Ok(generated) = generated else { continue };
        let found = match key.kind {
            Kind::Dataplane => of_sidecar(key, generated),
            _ => of_zone_proxy(generated),
        };
        found.map_err(|leak| format!("{key}: {leak}"))?;
    }
    Ok(())
}

/// Everything a Dataplane has is of its mesh.
pub fn of_sidecar(key: &ResourceKey, generated: &Generated) -> Result<(), String> {
    let own = MESHES.iter().position(|mesh| **mesh == key.mesh).expect("one of the meshes");
    generated.resources.iter().try_for_each(|(_, resource)| only_of(own, &resource.body, &json_of(&resource.body)))
}

/// The meshes of which there is anything in a text.
fn meshes_in(text: &str) -> BTreeSet<usize> {
    let is_in = |mesh: &usize| {
        text.contains(MESHES[*mesh])
            || has_word(text, &marker(*mesh).to_string(), "s")
            || ["10", "241"].iter().any(|first| has_word_start(text, &format!("{first}.{}.0.", mesh + 1)))
    };
    (0..MESHES.len()).filter(is_in).collect()
}

/// True when a word is in a text, alone or with a suffix.
fn has_word(text: &str, word: &str, suffix: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let rest = &text[at + word.len()..];
        let rest = rest.strip_prefix(suffix).unwrap_or(rest);
        let is_part = |char: Option<char>| char.is_some_and(|char| char.is_ascii_alphanumeric());
        !is_part(text[..at].chars().next_back()) && !is_part(rest.chars().next())
    })
}

/// True when a text has this where no longer number begins earlier.
fn has_word_start(text: &str, start: &str) -> bool {
    let is_number = |char: char| char.is_ascii_digit() || char == '.';
    text.match_indices(start).any(|(at, _)| !text[..at].ends_with(is_number))
}

/// Fails when a resource has anything of a mesh other than its own.
fn only_of(own: usize, encoded: &[u8], json: &Value) -> Result<(), String> {
    let text = json.to_string();
    if let Some(other) = meshes_in(&text).into_iter().find(|mesh| *mesh != own) {
        return Err(format!("of {} in what is of {}: {text}", MESHES[other], MESHES[own]));
    }
    // Certificates are encoded in the JSON form.
    let bytes = String::from_utf8_lossy(encoded);
    for other in (0..MESHES.len()).filter(|mesh| *mesh != own) {
        let lines = (0..authorities::OWN).map(|number| authorities::line(authorities::own(other, number)));
        if bytes.contains(MESHES[other]) || lines.into_iter().any(|line| bytes.contains(line)) {
            return Err(format!("a secret of {} in what is of {}: {text}", MESHES[other], MESHES[own]));
        }
    }
    Ok(())
}

/// Every chain of a zone proxy, and all it leads to, is of one mesh; so is every other resource but the listener itself.
fn of_zone_proxy(generated: &Generated) -> Result<(), String> {
    let mut by_name: BTreeMap<(ResourceType, String), Value> = BTreeMap::new();
    for (resource_type, resource) in generated.resources.iter() {
        let json = json_of(&resource.body);
        if resource_type != ResourceType::Listener && !is_own(&resource.name) {
            let own = single(&json).map_err(|reason| format!("{}: {reason}: {json}", resource.name))?;
            only_of(own, &resource.body, &json)?;
        }
        by_name.insert((resource_type, resource.name.to_string()), json);
    }
    for ((resource_type, name), listener) in &by_name {
        if *resource_type != ResourceType::Listener || is_own(name) {
            continue;
        }
        for chain in listener["filterChains"].as_array().into_iter().flatten() {
            of_chain(chain, &by_name).map_err(|reason| format!("{name}: {reason}: {chain}"))?;
        }
    }
    Ok(())
}

/// True for what a proxy has for itself.
fn is_own(name: &str) -> bool {
    ["kuma:", "_kuma:", "system_", "self_"].iter().any(|prefix| name.starts_with(prefix))
}

/// The one mesh a value is of.
fn single(value: &Value) -> Result<usize, String> {
    let meshes = meshes_in(&value.to_string());
    match Vec::from_iter(meshes).as_slice() {
        [mesh] => Ok(*mesh),
        meshes => Err(format!("of {} meshes", meshes.len())),
    }
}

fn of_chain(chain: &Value, by_name: &BTreeMap<(ResourceType, String), Value>) -> Result<(), String> {
    let names = &chain["filterChainMatch"]["serverNames"];
    if names.as_array().is_none_or(Vec::is_empty) {
        // What takes connections to no known name leads nowhere.
        let mut clusters = BTreeSet::new();
        clusters_in(chain, &mut clusters);
        return if clusters.iter().all(|cluster| is_own(cluster)) {
            Ok(())
        } else {
            Err("leads somewhere without a name".into())
        };
    }
    let own = single(names)?;
    if single(chain)? != own {
        return Err("asked for by the name of one mesh, configured for another".to_owned());
    }
    let mut clusters = BTreeSet::new();
    clusters_in(chain, &mut clusters);
    for cluster in clusters {
        for resource_type in [ResourceType::Cluster, ResourceType::Endpoint] {
            let Some(value) = by_name.get(&(resource_type, cluster.clone())) else { continue };
            if single(value)? != own {
                return Err(format!("leads to {value}"));
            }
        }
    }
    Ok(())
}

/// Names of clusters in a value.
fn clusters_in(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| clusters_in(item, found)),
        Value::Object(members) => {
            for (name, member) in members {
                match (name.as_str(), member) {
                    ("cluster", Value::String(cluster)) => drop(found.insert(cluster.clone())),
                    ("clusters", Value::Array(weighted)) => {
                        let names = weighted.iter().filter_map(|cluster| cluster["name"].as_str());
                        found.extend(names.map(str::to_owned));
                    }
                    _ => {}
                }
                clusters_in(member, found);
            }
        }
        _ => {}
    }
}
