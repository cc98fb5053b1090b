//! Rules for a VirtualOutbound.

use std::collections::{BTreeMap, BTreeSet};

use tandem_proto::mesh::v1alpha1::VirtualOutbound;
use tandem_proto::mesh::v1alpha1::virtual_outbound::Conf;

use super::tags::{Rules, is_tag_name, selectors};
use crate::label::SERVICE_TAG;
use crate::template::Template;
use crate::violation::{Path, Violations};
use crate::virtual_outbound::{NO_VALUE, check_host, check_port};

pub(super) fn validate(outbound: &VirtualOutbound) -> Violations {
    let mut violations = selectors(&Path::new("selectors"), &outbound.selectors, Rules::ANY_TAGS);
    let path = Path::new("conf");
    let Some(conf) = &outbound.conf else {
        violations.add(&path, "has to be defined");
        return violations;
    };
    violations.extend(validate_parameters(&path.field("parameters"), conf));
    violations.extend(trial(&path.field("host"), conf, &conf.host, "dummy", check_host));
    violations.extend(trial(&path.field("port"), conf, &conf.port, "1", |port| check_port(port).map(drop)));
    violations
}

fn validate_parameters(path: &Path, conf: &Conf) -> Violations {
    let mut violations = Violations::none();
    let mut names = BTreeSet::new();
    for (index, parameter) in conf.parameters.iter().enumerate() {
        let path = path.index(index);
        let at_name = path.field("name");
        if !names.insert(&parameter.name) {
            violations.add(&at_name, "name is already used");
        }
        if !parameter.tag_key.is_empty() {
            if !is_tag_name(&parameter.tag_key) {
                violations.add(&path.field("tagKey"), "must be a valid tag name");
            }
        } else if !is_tag_name(&parameter.name) {
            violations.add(&at_name, "must be a valid tag name if you are not setting tagKey");
        }
        if parameter.name.is_empty() || !parameter.name.bytes().all(|b| b.is_ascii_alphanumeric()) {
            violations.add(&at_name, "must consist of alphanumeric characters to be used as a gotemplate key");
        }
    }
    if !conf.parameters.iter().any(|parameter| parameter.tag_key == SERVICE_TAG) {
        violations.add(path, format!("must contain a parameter with {SERVICE_TAG} as a tagKey"));
    }
    violations
}

/// Renders a template with the same value for all parameters and checks what comes out.
fn trial(
    path: &Path,
    conf: &Conf,
    template: &str,
    value: &str,
    check: impl Fn(&str) -> Result<(), String>,
) -> Violations {
    if template.is_empty() {
        return Violations::one(path, "has to be defined");
    }
    let values: BTreeMap<&str, &str> = conf.parameters.iter().map(|p| (p.name.as_str(), value)).collect();
    let outcome = Template::parse(template)
        .map_err(|error| format!("failed compiling gotemplate error={:?}", error.to_string()))
        .and_then(|template| {
            let rendered = template.render(|name| Some(values.get(name).copied().unwrap_or(NO_VALUE)), |_| None);
            rendered.map_err(|error| {
                format!("pre evaluation of template with parameters failed with error={:?}", error.to_string())
            })
        })
        .and_then(|text| check(&text));
    match outcome {
        Ok(()) => Violations::none(),
        Err(error) => Violations::one(path, format!("template pre evaluation failed with error={error:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::violations;
    use serde_json::{Value, json};

    fn outbound(conf: Value) -> Vec<String> {
        violations(json!({"type": "VirtualOutbound", "mesh": "default", "name": "vo", "conf": conf,
            "selectors": [{"match": {"kuma.io/service": "*"}}]}))
    }

    #[test]
    fn parameters() {
        let parameters = json!([{"name": "service", "tagKey": "kuma.io/service"}, {"name": "port"}]);
        assert_eq!(
            outbound(json!({"host": "{{.service}}.mesh", "port": "{{.port}}", "parameters": parameters})),
            [""; 0]
        );
        assert_eq!(
            outbound(json!({"host": "a", "port": "80", "parameters": [
                {"name": "a b"}, {"name": "x", "tagKey": "("}, {"name": "x"},
            ]})),
            [
                "conf.parameters[0].name: must be a valid tag name if you are not setting tagKey",
                "conf.parameters[0].name: must consist of alphanumeric characters to be used as a gotemplate key",
                "conf.parameters[1].tagKey: must be a valid tag name",
                "conf.parameters[2].name: name is already used",
                "conf.parameters: must contain a parameter with kuma.io/service as a tagKey",
            ]
        );
    }

    #[test]
    fn templates() {
        let with = |host: &str, port: &str| {
            outbound(json!({"host": host, "port": port, "parameters": [{"name": "s", "tagKey": "kuma.io/service"}]}))
        };
        assert_eq!(with("", ""), ["conf.host: has to be defined", "conf.port: has to be defined"]);
        assert_eq!(
            with("{{.nope}}", "70000"),
            [
                "conf.host: template pre evaluation failed with error=\"evaluation of template with parameters didn't \
                 return a valid dns name result=\\\"<no value>\\\"\"",
                "conf.port: template pre evaluation failed with error=\"evaluation of template returned a port outside of \
                 the range [1..65535] result=70000\"",
            ]
        );
        assert!(with("{{", "{{.s}}")[0].starts_with("conf.host: template pre evaluation failed with error="));
    }

    #[test]
    fn selectors_and_settings_are_required() {
        assert_eq!(
            violations(json!({"type": "VirtualOutbound", "mesh": "default", "name": "vo"})),
            ["selectors: must have at least one element", "conf: has to be defined"]
        );
    }
}
