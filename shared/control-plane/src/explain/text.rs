//! Explanations as text for people. Writing to a String cannot fail.

use std::fmt::Write as _;

use serde_json::Value;
use tandem_policy::explain::{
    Contribution, Destination, DryRun, Effect, EnvoyKnowledge, EnvoyResource, Explanation, Inbound, InboundRule,
    KindExplanation, Outcome, ProxyChange, ProxyName, SelectedPolicy,
};
use tandem_runtime::cli::columns;

/// Most policies that are left out, and most destinations of one rule, that are listed.
const MOST: usize = 20;

/// Why policies have the effect on a proxy that they have.
pub(super) fn explanation(explanation: &Explanation) -> String {
    let mut text = format!("{}\n", proxy(&explanation.proxy));
    if explanation.policies.is_empty() {
        text.push_str("\nNo policy says anything about it.\n");
    }
    for kind in &explanation.policies {
        of_kind(&mut text, kind);
    }
    if let Some(change) = &explanation.change {
        text.push_str("\nWould change (nothing was stored)\n");
        changes(&mut text, change);
    }
    envoy(&mut text, &explanation.envoy);
    text
}

/// What a change of a policy would change in the whole mesh.
pub(super) fn dry_run(run: &DryRun) -> String {
    let mut text = format!(
        "Nothing was stored. The policy would be {}, select {} and change {}.\n",
        run.result,
        proxies(run.selected),
        proxies(run.total)
    );
    for warning in &run.warnings {
        let _ = writeln!(text, "Warning: {warning}");
    }
    for item in &run.items {
        let _ = writeln!(text, "\n{}", proxy(&item.proxy));
        changes(&mut text, item);
    }
    if run.items.len() < run.total {
        let _ = writeln!(text, "\nAnd {} more; -o json has the address of the next page.", run.total - run.items.len());
    }
    if !run.not_connected.is_empty() {
        let names: Vec<&str> = run.not_connected.iter().map(|proxy| proxy.name.as_str()).collect();
        let _ = writeln!(text, "\nNever connected, so nothing is known of their Envoys: {}", listed(&names));
    }
    envoy(&mut text, &run.envoy);
    text
}

fn proxies(number: usize) -> String {
    if number == 1 { "1 proxy".to_owned() } else { format!("{number} proxies") }
}

fn proxy(proxy: &ProxyName) -> String {
    let mesh = if proxy.mesh.is_empty() { String::new() } else { format!(" of mesh {}", proxy.mesh) };
    let zone = proxy.zone.iter().map(|zone| format!(" in zone {zone}")).collect::<String>();
    format!("{} {}{mesh}{zone}", proxy.kind, proxy.name)
}

fn envoy(text: &mut String, envoy: &EnvoyKnowledge) {
    if let Some(message) = &envoy.message {
        let _ = writeln!(text, "\nEnvoy: {message}");
    }
}

/// The first of several.
fn listed(names: &[&str]) -> String {
    let more = names.len().saturating_sub(MOST);
    let shown = names[..names.len() - more].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

fn of_kind(text: &mut String, kind: &KindExplanation) {
    let _ = writeln!(text, "\n{}", kind.kind);
    if !kind.selected.is_empty() {
        text.push_str("  Selected, weakest first:\n");
        let rows: Vec<[String; 4]> = kind.selected.iter().map(selected).collect();
        indented(text, &columns(&rows), 4);
        for selected in &kind.selected {
            for note in &selected.notes {
                let _ = writeln!(text, "    note on {}: {note}", selected.policy.name);
            }
        }
    }
    for rule in &kind.outbound {
        let names: Vec<String> = rule.destinations.iter().map(destination).collect();
        let _ = writeln!(text, "  To {}", listed(&names.iter().map(String::as_str).collect::<Vec<_>>()));
        outcome(text, &rule.outcome);
        for destination in rule.destinations.iter().take(MOST) {
            resources(text, &destination.resources);
        }
    }
    for rule in &kind.inbound {
        let names: Vec<&str> = rule.inbounds.iter().map(|inbound| inbound.section.as_str()).collect();
        let _ = writeln!(text, "  At inbound {}{}", listed(&names), clients(rule));
        outcome(text, &rule.outcome);
        for Inbound { resources: carriers, .. } in rule.inbounds.iter().take(MOST) {
            resources(text, carriers);
        }
    }
    if let Some(rule) = &kind.proxy {
        text.push_str("  For the proxy itself\n");
        outcome(text, &rule.outcome);
        resources(text, &rule.resources);
    }
    if kind.left_out_total > 0 {
        text.push_str("  Left out:\n");
        let shown = kind.left_out.iter().take(MOST);
        let rows: Vec<[String; 2]> = shown.map(|left| [left.policy.name.clone(), left.message.clone()]).collect();
        indented(text, &columns(&rows), 4);
        if kind.left_out_total > rows.len() {
            let _ = writeln!(text, "    and {} more", kind.left_out_total - rows.len());
        }
    }
    for problem in &kind.problems {
        let _ = writeln!(text, "  Problem of {}: {}", problem.policy, problem.message);
    }
}

fn selected(selected: &SelectedPolicy) -> [String; 4] {
    let effect = match selected.effect {
        Effect::Contributes => "contributes",
        Effect::Overridden => "overridden",
        Effect::Nothing => "says nothing here",
    };
    let parts = match selected.selects.as_slice() {
        [all] if all == "all" => String::new(),
        parts => format!(" at {}", parts.join(", ")),
    };
    let stronger = selected.stronger_by.iter().map(|reason| format!("stronger: {reason}")).collect();
    [
        selected.policy.name.clone(),
        format!("{}{parts} ({})", selected.policy.target_ref.kind.name(), selected.policy.origin),
        effect.to_owned(),
        stronger,
    ]
}

fn destination(destination: &Destination) -> String {
    let route = destination.route.iter().map(|route| format!(" by route {route}")).collect::<String>();
    match destination.kind.as_str() {
        "Mesh" => format!("all other destinations of the mesh{route}"),
        "kuma.io/service" => format!("kuma.io/service {}{route}", destination.name),
        _ => format!("{}{route}", destination.name),
    }
}

fn clients(rule: &InboundRule) -> String {
    let tags: Vec<String> = rule
        .clients
        .iter()
        .map(|tag| format!("{}{}{}", tag.key, if tag.not { "!=" } else { "=" }, tag.value))
        .collect();
    let from = if tags.is_empty() { String::new() } else { format!(" from clients with {}", tags.join(", ")) };
    let matches = rule.matches.iter().map(|matches| format!(" where {matches}")).collect::<String>();
    format!("{from}{matches}")
}

fn outcome(text: &mut String, outcome: &Outcome) {
    if let [_, .., _] = outcome.merged.as_slice() {
        let entry = |entry: &Contribution| format!("{} {}", entry.policy, entry.entry);
        let order: Vec<String> = outcome.merged.iter().map(entry).collect();
        let _ = writeln!(text, "    merged from {}", order.join(", then "));
    }
    let mut rows = Vec::new();
    for configuration in &outcome.configurations {
        for host in configuration.conf["hostnames"].as_array().into_iter().flatten() {
            rows.push(["for the host".to_owned(), value(host), String::new(), String::new()]);
        }
        rows.extend(configuration.fields.iter().map(|field| {
            let over: Vec<String> = field
                .overrides
                .iter()
                .map(|weaker| format!("{} ({} {})", value(&weaker.value), weaker.policy, weaker.entry))
                .collect();
            let over = if over.is_empty() { String::new() } else { format!("over {}", over.join(", ")) };
            let path = field.path.trim_start_matches('/').replace('/', ".").replace("~1", "/").replace("~0", "~");
            [path, value(&field.value), format!("{} {}", field.policy, field.entry), over]
        }));
    }
    indented(text, &columns(&rows), 4);
}

/// A value in one line: text without quotes, anything else as JSON.
fn value(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn resources(text: &mut String, resources: &[EnvoyResource]) {
    for resource in resources {
        let changes = match resource.changes.len() {
            0 => " (as it would be anyway)".to_owned(),
            1 => format!(" at {}", resource.changes[0]),
            more => format!(" at {} and {} more", resource.changes[0], more - 1),
        };
        let _ = writeln!(text, "    in Envoy: {} {}{changes}", resource.kind, resource.name);
    }
}

fn changes(text: &mut String, change: &ProxyChange) {
    for rule in &change.rules {
        let shown = |conf: &Option<Value>| conf.as_ref().map_or_else(|| "nothing".to_owned(), Value::to_string);
        let _ =
            writeln!(text, "  {} {}: {} instead of {}", rule.kind, rule.about, shown(&rule.after), shown(&rule.before));
    }
    let diff = change.diff.iter().flatten();
    for operation in diff.filter(|operation| operation["op"] != "test") {
        let sign = if operation["op"] == "add" { '+' } else { '-' };
        let path = operation["path"].as_str().unwrap_or_default();
        let path = path.strip_prefix("/type.googleapis.com~1").unwrap_or(path);
        let _ = writeln!(text, "  {sign} {path} {}", operation["value"]);
    }
    if change.diff.as_ref().is_some_and(Vec::is_empty) {
        text.push_str("  Its Envoy configuration would stay as it is.\n");
    }
    if let Some(error) = &change.error {
        let _ = writeln!(text, "  {error}");
    }
}

fn indented(text: &mut String, lines: &str, by: usize) {
    for line in lines.lines() {
        let _ = writeln!(text, "{:by$}{line}", "");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(name: &str) -> Value {
        json!({"name": name, "kri": "kri_mt_m___p_", "targetRef": {"kind": "Mesh"}, "origin": "global", "role": "system"})
    }

    #[test]
    fn an_explanation_for_people() {
        let field = json!({"path": "/http/requestTimeout", "value": "2s", "policy": "b", "entry": "to[0]",
            "overrides": [{"policy": "a", "entry": "to[0]", "value": "1s"}]});
        let rule = json!({
            "destinations": [
                {"type": "kuma.io/service", "name": "backend", "resources": [
                    {"type": "Listener", "name": "outbound:127.0.0.1:1", "changes": ["/filterChains/0"]}
                ]},
                {"type": "Mesh", "name": "m"},
            ],
            "merged": [{"policy": "a", "entry": "to[0]"}, {"policy": "b", "entry": "to[0]", "strongerBy": "x"}],
            "configurations": [{"conf": {"http": {"requestTimeout": "2s"}}, "fields": [field]}],
        });
        let explained: Explanation = serde_json::from_value(json!({
            "proxy": {"type": "Dataplane", "mesh": "m", "name": "web-1", "zone": "east"},
            "policies": [{
                "kind": "MeshTimeout",
                "selected": [
                    {"policy": policy("a"), "selects": ["all"], "effect": "Overridden"},
                    {"policy": policy("b"), "selects": ["8080"], "effect": "Contributes", "strongerBy": "a reason"},
                ],
                "leftOut": [{"policy": policy("c"), "reason": "Name", "message": "another one"}],
                "leftOutTotal": 2,
                "outbound": [rule],
            }],
            "envoy": {"known": true},
        }))
        .expect("an explanation");
        let expected = "\
Dataplane web-1 of mesh m in zone east

MeshTimeout
  Selected, weakest first:
    a  Mesh (global)          overridden
    b  Mesh at 8080 (global)  contributes  stronger: a reason
  To kuma.io/service backend, all other destinations of the mesh
    merged from a to[0], then b to[0]
    http.requestTimeout  2s  b to[0]  over 1s (a to[0])
    in Envoy: Listener outbound:127.0.0.1:1 at /filterChains/0
  Left out:
    c  another one
    and 1 more
";
        assert_eq!(explanation(&explained), expected);
    }

    #[test]
    fn a_dry_run_for_people() {
        let change = json!({
            "proxy": {"type": "Dataplane", "mesh": "m", "name": "web-1"},
            "rules": [{"kind": "MeshTimeout", "about": "to Mesh m", "after": {"idleTimeout": "1s"}}],
            "diff": [
                {"op": "test", "path": "/type.googleapis.com~1x.Cluster/a", "value": 1},
                {"op": "remove", "path": "/type.googleapis.com~1x.Cluster/a", "value": 1},
                {"op": "add", "path": "/type.googleapis.com~1x.Cluster/a", "value": 2},
            ],
        });
        let run: DryRun = serde_json::from_value(json!({
            "dryRun": true, "result": "created", "selected": 3, "total": 2, "items": [change],
            "notConnected": [{"type": "Dataplane", "mesh": "m", "name": "new"}], "envoy": {"known": true},
        }))
        .expect("a dry run");
        let expected = "\
Nothing was stored. The policy would be created, select 3 proxies and change 2 proxies.

Dataplane web-1 of mesh m
  MeshTimeout to Mesh m: {\"idleTimeout\":\"1s\"} instead of nothing
  - x.Cluster/a 1
  + x.Cluster/a 2

And 1 more; -o json has the address of the next page.

Never connected, so nothing is known of their Envoys: new
";
        assert_eq!(dry_run(&run), expected);
    }
}
