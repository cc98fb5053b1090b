//! Unknown keys: what was probably meant, and which variables belong to other programs.

use super::keys::{self, Key};

/// Text for an unknown key or variable.
pub(super) fn unknown(what: &str, nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("unknown {what}; did you mean {nearest}?"),
        None => format!("unknown {what}; `config show --all` lists the known ones"),
    }
}

/// The known path that is most like `path`.
pub(super) fn nearest_path(path: &str) -> Option<&'static str> {
    nearest(path, '.', keys::all().map(|key| key.path))
}

/// The known variable that is most like `variable`.
pub(super) fn nearest_variable(variable: &str) -> Option<&'static str> {
    nearest(variable, '_', keys::all().filter_map(Key::variable))
}

fn nearest(name: &str, separator: char, known: impl Iterator<Item = &'static str> + Clone) -> Option<&'static str> {
    // A key written without its outer sections.
    let tail = format!("{separator}{name}").to_ascii_lowercase();
    let mut inner = known.clone().filter(|known| known.to_ascii_lowercase().ends_with(&tail));
    if let (Some(only), None) = (inner.next(), inner.next()) {
        return Some(only);
    }
    let limit = (name.len() / 6).clamp(2, 5);
    let distances = known.map(|known| (strsim::damerau_levenshtein(name, known), known));
    distances.min().filter(|(distance, _)| *distance <= limit).map(|(_, known)| known)
}

/// True for variables that configure a data plane proxy, which may be set on a host that runs both.
pub(super) fn is_of_kuma_dp(variable: &str) -> bool {
    const PREFIXES: [&str; 6] = [
        "KUMA_DATAPLANE_",
        "KUMA_CONTROL_PLANE_",
        "KUMA_DNS_",
        "KUMA_READINESS_",
        "KUMA_APPLICATION_PROBE_PROXY_",
        "KUMA_METRICS_OPENTELEMETRY_",
    ];
    !variable.starts_with("KUMA_DNS_SERVER_") && PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
}

/// True for variables that Kubernetes puts into pods for the services of their namespace.
pub(super) fn is_service_link(variable: &str, value: &str) -> bool {
    let is_address = value.starts_with("tcp://") || value.starts_with("udp://");
    variable.ends_with("_SERVICE_HOST")
        || variable.contains("_SERVICE_PORT")
        || (variable.ends_with("_PORT") && is_address)
        || ["_TCP", "_UDP"].iter().any(|protocol| {
            variable
                .split_once("_PORT_")
                .is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()) && rest.contains(protocol))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_and_missing_sections_find_the_key() {
        assert_eq!(nearest_path("multizone.zone.globalAdress"), Some("multizone.zone.globalAddress"));
        assert_eq!(nearest_path("zone.name"), Some("multizone.zone.name"));
        assert_eq!(nearest_variable("KUMA_MULTIZONE_ZONE_NAMES"), Some("KUMA_MULTIZONE_ZONE_NAME"));
        assert_eq!(nearest_path("completely.different"), None);
    }

    #[test]
    fn foreign_variables_are_told_apart() {
        assert!(is_of_kuma_dp("KUMA_DATAPLANE_RUNTIME_TOKEN_PATH"));
        assert!(!is_of_kuma_dp("KUMA_DNS_SERVER_DOMAINS"));
        assert!(is_service_link("KUMA_CP_PORT", "tcp://10.0.0.1:5681"));
        assert!(is_service_link("KUMA_CP_PORT_5681_TCP_ADDR", "10.0.0.1"));
        assert!(is_service_link("KUMA_CP_SERVICE_HOST", "10.0.0.1"));
        assert!(!is_service_link("KUMA_API_SERVER_HTTPP_PORT", "5681"));
    }
}
