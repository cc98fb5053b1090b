//! Whether proxies notice a change.
//!
//! A case is the state of some meshes, and a change. Its first line says whether the state of a mesh, as upstream keeps it, differs
//! after the change. Here the change is given to the index, which says whom it concerns: where upstream notices, somebody has to be
//! concerned, but not everybody of the mesh; where upstream notices nothing in all the state of a mesh, nobody there may be.

use std::sync::Arc;

use serde_json::Value;
use tandem_model::{Kind, Resource, ResourceKey, Scope};

use super::zone_proxies::resource;
use super::{Report, report, text};
use crate::testing::change;
use crate::{MeshIndex, Touched, ZoneSettings};

/// Kinds from which nothing follows for proxies here.
const WITHOUT_EFFECT: [Kind; 2] = [Kind::MeshGateway, Kind::Workload];

fn resources(text: &str) -> Vec<Arc<Resource>> {
    use serde::Deserialize as _;
    let documents = serde_norway::Deserializer::from_str(text);
    let documents = documents.map(|document| Value::deserialize(document).expect("YAML"));
    let stored = documents.filter(|document| !document.is_null()).map(|document| {
        let resource = resource(&document);
        // Some name a mesh although they belong to none.
        let is_global = resource.kind().descriptor().scope == Scope::Global;
        let key = ResourceKey {
            mesh: if is_global { String::new() } else { resource.key.mesh.clone() },
            ..resource.key.clone()
        };
        Arc::new(Resource { key, ..resource })
    });
    stored.collect()
}

/// True when a Dataplane of a mesh may be concerned.
fn concerns_mesh(touched: &Touched, mesh: &str) -> bool {
    touched.everything
        || touched.meshes.contains(mesh)
        || touched.proxies.iter().any(|proxy| proxy.mesh == mesh)
        || touched.services.iter().any(|(of, _)| of == mesh)
}

/// What upstream says and what is found, if that is not the same; and why that need not be so, if it need not.
fn case(input: &str, changed: &str, is_whole_mesh: bool) -> (Option<&'static str>, Vec<String>) {
    let first = input.lines().next().unwrap_or_default().trim_start_matches('#');
    let words: Vec<_> = first.split_whitespace().collect();
    let (mesh, notices) = match words.as_slice() {
        [mesh, notices] => (Some(*mesh), *notices == "true"),
        [notices] => (None, *notices == "true"),
        _ => panic!("the first line tells nothing: {first}"),
    };
    let (stored, changed) = (resources(input), resources(changed));
    let mut index = MeshIndex::new(ZoneSettings::new("zone"));
    index.apply(stored.iter().map(change));
    let touched = index.apply(changed.iter().map(change));

    let is_same = |new: &Arc<Resource>| {
        stored.iter().any(|old| old.key == new.key && old.spec == new.spec && old.labels == new.labels)
    };
    let mut involved = stored.iter().chain(&changed);
    let reason = if involved.any(|resource| WITHOUT_EFFECT.contains(&resource.kind())) {
        Some("a kind without effect on proxies")
    } else if notices && changed.iter().all(is_same) {
        Some("nothing but the version of the resource changes")
    } else if !notices && !is_whole_mesh {
        Some("noticed in another part of the state")
    } else {
        None
    };
    let mut found = Vec::new();
    if notices && touched.is_empty() {
        found.push("nobody is concerned".to_owned());
    }
    if !notices && mesh.map_or(!touched.is_empty(), |mesh| concerns_mesh(&touched, mesh)) {
        found.push(format!("concerned: {touched:?}"));
    }
    (reason, found)
}

fn run(folder_name: &str, is_whole_mesh: bool) {
    let Some(folder) = report::folder(folder_name) else { return };
    let mut report = Report::new(folder_name);
    let entries = std::fs::read_dir(&folder).expect("a readable folder");
    let names = entries.map(|entry| entry.expect("a readable entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter_map(|name| Some(name.strip_suffix(".input.yaml")?.to_owned())).collect();
    names.sort();
    for name in names {
        let read = |what: &str| text(&folder.join(format!("{name}.{what}.yaml")));
        let (reason, found) = case(&read("input"), &read("change"), is_whole_mesh);
        match reason {
            Some(reason) => report.not_applicable(name, reason, found),
            None => report.case(name, found),
        }
    }
    report.finish();
}

#[test]
fn changes_of_the_whole_zone() {
    run("xds-context/globalcontext_hash", false);
}

#[test]
fn changes_of_what_a_mesh_consists_of() {
    run("xds-context/basemeshcontext_hash", false);
}

#[test]
fn changes_of_anything_in_a_mesh() {
    run("xds-context/meshcontext_hash", true);
}
