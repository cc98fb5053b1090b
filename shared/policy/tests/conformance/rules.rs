//! Folder `policy-rules`: what given policies amount to.

use std::sync::Arc;

use serde_json::{Value, json};
use tandem_model::kind::Kind;
use tandem_model::resource::Resource;
use tandem_policy::destinations::Destinations;
use tandem_policy::policy::Policy;
use tandem_policy::rules::{from_rules, inbound_rules, resource_rules, single_item_rules, sorted_to_entries, to_rules};

use crate::load;
use crate::meta::{Metas, Place, is_rewritten, synced};
use crate::{Report, cases, folder, show};

/// In files with other resources, too, policies that count are marked by their name.
const MARK: &str = "matched-for-rules-";

fn marked(resources: &[Arc<Resource>]) -> Vec<Arc<Policy>> {
    let marked: Vec<Arc<Resource>> =
        resources.iter().filter(|resource| resource.display_name().starts_with(MARK)).cloned().collect();
    let kind = marked.first().map_or(Kind::MeshTimeout, |resource| resource.kind());
    load::policies(&marked, kind)
}

#[test]
fn from() {
    let Some(folder) = folder("policy-rules/testdata/rules/from") else { return };
    let mut report = Report::default();
    let metas = Metas::default();
    for (name, path) in cases(&folder, ".input.yaml") {
        let resources = load::resources(&path);
        let policies = load::policies(&resources, load::policy_kind(&resources));
        let computed = json!({
            "Rules": {"127.0.0.1:80": show::rules(&from_rules(&policies).expect("kinds with tags"), &metas)},
            "InboundRules": {"127.0.0.1:80": show::inbound_rules(&inbound_rules(&policies), &metas)},
        });
        report.compare(&folder.join(format!("{name}.golden.yaml")), &computed);
    }
    report.finish("from", 15);
}

#[test]
fn to() {
    let Some(folder) = folder("policy-rules/testdata/rules/to") else { return };
    let mut report = Report::default();
    for (name, path) in cases(&folder, ".input.yaml") {
        let resources = load::resources(&path);
        let policies = load::policies(&resources, load::policy_kind(&resources));
        let routes = load::policies(&resources, Kind::MeshHTTPRoute);
        let rules = to_rules(&policies, &routes, &Destinations::new(resources)).expect("resolvable routes");
        report.compare(&folder.join(format!("{name}.golden.yaml")), &show::to_rules(&rules, &Metas::default()));
    }
    report.finish("to", 4);
}

#[test]
fn single() {
    let Some(folder) = folder("policy-rules/testdata/rules/single") else { return };
    let mut report = Report::default();
    for (name, path) in cases(&folder, ".input.yaml") {
        let resources = load::resources(&path);
        let policies = load::policies(&resources, load::policy_kind(&resources));
        let rules = single_item_rules(&policies).expect("rules about the mesh");
        let computed = json!({"Rules": show::rules(&rules, &Metas::default())});
        report.compare(&folder.join(format!("{name}.golden.yaml")), &computed);
    }
    report.finish("single", 2);
}

#[test]
fn inbound() {
    let Some(folder) = folder("policy-rules/inbound/testdata/inboundrules") else { return };
    let mut report = Report::default();
    for (name, path) in cases(&folder, ".input.yaml") {
        let rules = inbound_rules(&marked(&load::resources(&path)));
        let computed = json!({"rules": show::inbound_rules(&rules, &Metas::default())});
        report.compare(&folder.join(format!("{name}.golden.yaml")), &computed);
    }
    report.finish("inboundrules", 6);
}

#[test]
fn sort() {
    let Some(folder) = folder("policy-rules/outbound/testdata/sort") else { return };
    let mut report = Report::default();
    for (name, path) in cases(&folder, ".input.yaml") {
        let policies = marked(&load::resources(&path));
        let computed: Value = sorted_to_entries(&policies)
            .into_iter()
            .map(|entry| {
                let item = &entry.policy.to[entry.index];
                json!({
                    "Entry": {"targetRef": item.target, "default": item.conf},
                    "TopLevel": entry.policy.target,
                    "Meta": Metas::default().show(&entry.policy.resource),
                    "RuleIndex": entry.index,
                })
            })
            .collect();
        report.compare(&folder.join(format!("{name}.golden.yaml")), &computed);
    }
    report.finish("sort", 7);
}

/// Where resources were created, and where they are looked at.
fn variants() -> Vec<(String, Place, Option<Place>)> {
    let mut variants = Vec::new();
    for created in Place::ALL {
        variants.push((created.name().to_owned(), created, None));
        for seen in Place::ALL {
            // Nothing is synchronized from global to global.
            if created.is_zone() || seen.is_zone() {
                variants.push((format!("{}-2-{}", created.name(), seen.name()), created, Some(seen)));
            }
        }
    }
    variants
}

#[test]
fn resource() {
    let Some(folder) = folder("policy-rules/outbound/testdata/resourcerules") else { return };
    let mut report = Report::default();
    for (name, path) in cases(&folder, ".input.yaml") {
        let inputs = load::resources(&path);
        for (variant, created, seen) in variants() {
            let mut metas = Metas::default();
            let resources: Vec<Arc<Resource>> = inputs
                .iter()
                .map(|resource| {
                    if !is_rewritten(resource.kind()) {
                        return Arc::clone(resource);
                    }
                    let mut meta = created.created(resource);
                    if let Some(seen) = seen {
                        // From zone to zone it goes through a global control plane outside Kubernetes.
                        if created.is_zone() && seen.is_zone() {
                            meta = synced(&meta, false);
                        }
                        meta = synced(&meta, seen.is_k8s());
                    }
                    metas.rewritten(&meta.resource, &meta);
                    Arc::new(meta.resource)
                })
                .collect();
            let rules = resource_rules(&marked(&resources), &Destinations::new(resources));
            let golden = folder.join(&name).join(format!("{variant}.golden.yaml"));
            report.compare(&golden, &show::resource_rules(&rules, &metas));
        }
    }
    report.finish("resourcerules", 208);
}
