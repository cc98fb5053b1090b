//! Names of types for people: `MeshHTTPRoute` is a "Mesh HTTP Route".

use tandem_model::Kind;

/// The words of a kind's name, e.g. `Mesh TLS`.
pub fn singular(kind: Kind) -> String {
    let name = kind.name().as_bytes();
    let mut words = String::with_capacity(name.len() + 4);
    for (at, &byte) in name.iter().enumerate() {
        let upper = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_uppercase);
        let lower = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_lowercase);
        let before = at.checked_sub(1).and_then(|at| name.get(at));
        // A word starts after a lower-case letter, and at the last capital of an acronym.
        if upper(Some(&byte)) && (lower(before) || (upper(before) && lower(name.get(at + 1)))) {
            words.push(' ');
        }
        words.push(char::from(byte));
    }
    words
}

/// The plural of [`singular`].
pub fn plural(kind: Kind) -> String {
    let singular = singular(kind);
    let ending = |endings: &[&str]| endings.iter().any(|ending| singular.to_ascii_lowercase().ends_with(ending));
    if ending(&["s", "ch", "sh"]) {
        format!("{singular}es")
    } else if ending(&["y"]) && !ending(&["ay", "ey", "oy", "uy"]) {
        format!("{}ies", &singular[..singular.len() - 1])
    } else {
        format!("{singular}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (kind, one, many) in [
            (Kind::MeshHTTPRoute, "Mesh HTTP Route", "Mesh HTTP Routes"),
            (Kind::MeshTLS, "Mesh TLS", "Mesh TLSes"),
            (Kind::MeshRetry, "Mesh Retry", "Mesh Retries"),
            (Kind::MeshGateway, "Mesh Gateway", "Mesh Gateways"),
            (Kind::MeshProxyPatch, "Mesh Proxy Patch", "Mesh Proxy Patches"),
            (Kind::ZoneIngress, "Zone Ingress", "Zone Ingresses"),
            (Kind::Mesh, "Mesh", "Meshes"),
            (Kind::HealthCheck, "Health Check", "Health Checks"),
        ] {
            assert_eq!((singular(kind).as_str(), plural(kind).as_str()), (one, many));
        }
    }
}
