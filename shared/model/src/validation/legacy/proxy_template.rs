//! Rules for a ProxyTemplate. The Envoy configuration inside is opaque here.

use tandem_proto::mesh::v1alpha1::ProxyTemplate;
use tandem_proto::mesh::v1alpha1::proxy_template::modifications::Type;
use tandem_proto::mesh::v1alpha1::proxy_template::{Conf, Modifications};

use crate::validation::native_resource_problem as problem_of;
use crate::validation::tags::{Rules, selector};
use crate::violation::{Path, Violations};

const PROFILES: [&str; 4] = ["default-proxy", "egress-proxy", "gateway-proxy", "ingress-proxy"];
const OF_LISTS: &[&str] = &["add", "patch", "remove"];
const OF_FILTERS: &[&str] = &["addFirst", "addLast", "addBefore", "addAfter", "patch", "remove"];
const EMPTY: &str = "cannot be empty";

pub(in crate::validation) fn validate(template: &ProxyTemplate) -> Violations {
    let mut violations = Violations::none();
    for (index, item) in template.selectors.iter().enumerate() {
        let path = Path::new("selectors").index(index).field("match");
        violations.extend(selector(&path, &item.r#match, Rules::WITH_SERVICE));
    }
    if let Some(conf) = &template.conf {
        violations.extend(validate_conf(&Path::new("conf"), conf));
    }
    violations
}

fn validate_conf(path: &Path, conf: &Conf) -> Violations {
    let mut violations = Violations::none();
    for (index, profile) in conf.imports.iter().enumerate() {
        let path = path.field("imports").index(index);
        if profile.is_empty() {
            violations.add(&path, EMPTY);
        } else if !PROFILES.contains(&profile.as_str()) {
            violations.add(&path, format!("profile not found. Available profiles: {}", PROFILES.join(",")));
        }
    }
    for (index, resource) in conf.resources.iter().enumerate() {
        let path = path.field("resources").index(index);
        for (name, text) in [("name", &resource.name), ("version", &resource.version), ("resource", &resource.resource)]
        {
            if text.is_empty() {
                violations.add(&path.field(name), EMPTY);
            }
        }
        if let Some(problem) =
            Some(&resource.resource).filter(|text| !text.is_empty()).and_then(|text| problem_of(text))
        {
            violations.add(&path.field("resource"), problem);
        }
    }
    for (index, modification) in conf.modifications.iter().enumerate() {
        violations.extend(validate_modification(&path.field("modifications").index(index), modification));
    }
    violations
}

fn validate_modification(path: &Path, modification: &Modifications) -> Violations {
    match &modification.r#type {
        None => Violations::none(),
        Some(Type::Cluster(of)) => {
            let selects = ("match", of.r#match.is_some());
            list_member(&path.field("cluster"), &of.operation, selects, &of.value)
        }
        Some(Type::Listener(of)) => {
            let selects = ("match", of.r#match.is_some());
            list_member(&path.field("listener"), &of.operation, selects, &of.value)
        }
        Some(Type::VirtualHost(of)) => {
            let named = of.r#match.as_ref().is_some_and(|matching| !matching.name.is_empty());
            list_member(&path.field("virtualHost"), &of.operation, ("match.name", named), &of.value)
        }
        Some(Type::NetworkFilter(of)) => {
            let name = of.r#match.as_ref().map_or("", |matching| &matching.name);
            filter(&path.field("networkFilter"), &of.operation, name, &of.value)
        }
        Some(Type::HttpFilter(of)) => {
            let name = of.r#match.as_ref().map_or("", |matching| &matching.name);
            filter(&path.field("httpFilter"), &of.operation, name, &of.value)
        }
    }
}

/// What is added to a list has nothing to match; `selects` is the member that would, and whether it is there.
fn list_member(path: &Path, operation: &str, selects: (&str, bool), value: &str) -> Violations {
    if !OF_LISTS.contains(&operation) {
        return unknown_operation(path, OF_LISTS);
    }
    let mut violations = Violations::none();
    if operation == "add" && selects.1 {
        violations.add(&path.field(selects.0), "cannot be defined");
    }
    violations.extend(native(path, operation, value));
    violations
}

/// What is placed beside a filter, or changes one, has to name it.
fn filter(path: &Path, operation: &str, name: &str, value: &str) -> Violations {
    let at_name = path.field("match").field("name");
    let mut violations = match operation {
        "addBefore" if name.is_empty() => {
            Violations::one(&at_name, "cannot be empty. You need to pick a filter before which this one will be added")
        }
        "addAfter" if name.is_empty() => {
            Violations::one(&at_name, "cannot be empty. You need to pick a filter after which this one will be added")
        }
        "patch" if name.is_empty() => Violations::one(&at_name, EMPTY),
        operation if !OF_FILTERS.contains(&operation) => return unknown_operation(path, OF_FILTERS),
        _ => Violations::none(),
    };
    violations.extend(native(path, operation, value));
    violations
}

/// What is wrong with the value that is added or that changes something.
fn native(path: &Path, operation: &str, value: &str) -> Violations {
    let problem = Some(value).filter(|value| operation != "remove" && !value.is_empty()).and_then(problem_of);
    problem.map_or_else(Violations::none, |problem| Violations::one(&path.field("value"), problem))
}

fn unknown_operation(path: &Path, available: &[&str]) -> Violations {
    let names: Vec<String> = available.iter().map(|name| format!("{name:?}")).collect();
    let text = format!("invalid operation. Available operations: {}", names.join(", "));
    Violations::one(&path.field("operation"), text)
}
