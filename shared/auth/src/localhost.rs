//! Who connects directly from this host is its administrator.
//!
//! A browser on the host also connects from the host, on behalf of whatever page it shows; hence the rules about headers.
//! Source of the rules: Kuma `pkg/api-server/authn/localhost.go`.

use std::net::IpAddr;

use http::HeaderMap;
use http::uri::{Authority, Uri};

/// True for a request that a program on this host made directly to this control plane.
///
/// `peer` is the address of the other end of the connection; `authority` is the host the request is for: the `Host`
/// header, or `:authority` with HTTP/2.
pub fn is_direct(peer: IpAddr, authority: Option<&str>, headers: &HeaderMap) -> bool {
    let is_set = |name: &str| headers.get_all(name).iter().any(|value| !value.is_empty());
    if !peer.to_canonical().is_loopback() || ["forwarded", "x-forwarded-for", "x-real-ip"].into_iter().any(is_set) {
        return false;
    }
    let Some(authority) = authority else { return false };
    if !origin_of("http", authority).is_some_and(|(host, _)| is_loopback(&host)) {
        return false;
    }
    let text = |name: &str| headers.get(name).map_or(Some(""), |value| value.to_str().ok());
    if !matches!(text("sec-fetch-site"), Some("" | "same-origin" | "none")) {
        return false;
    }
    match text("origin") {
        Some("") => true,
        Some(origin) => is_same_origin(origin, authority),
        None => false,
    }
}

fn is_same_origin(origin: &str, authority: &str) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else { return false };
    if !matches!(scheme, "http" | "https") {
        return false;
    }
    // What follows the authority (path, query, fragment) makes it no origin; a URI parser would drop some of it.
    let from = origin_of(scheme, rest);
    from.as_ref().is_some_and(|(host, _)| is_loopback(host)) && from == origin_of(scheme, authority)
}

/// Host (canonical) and port of an authority; the port of the scheme where it names none.
fn origin_of(scheme: &str, authority: &str) -> Option<(String, u16)> {
    if authority.contains(['/', '?', '#', '@', ',']) || authority.ends_with(':') {
        return None;
    }
    let parsed: Authority = authority.parse().ok()?;
    // The parser alone accepts what no URI can carry.
    let _: Uri = format!("{scheme}://{authority}/").parse().ok()?;
    // Not `Authority::port`, which is none for a port out of range too.
    let port = match parsed.as_str().strip_prefix(parsed.host())? {
        "" if scheme == "https" => 443,
        "" => 80,
        rest => rest.strip_prefix(':')?.parse().ok().filter(|port| *port > 0)?,
    };
    let host = parsed.host().to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return None;
    }
    Some((host.parse::<IpAddr>().map_or_else(|_| host.to_owned(), |address| address.to_string()), port))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn check(peer: &str, host: &str, headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("header value"));
        }
        is_direct(peer.parse().expect("address"), Some(host), &map)
    }

    #[test]
    fn direct_requests_of_this_host() {
        for (peer, host) in [
            ("127.0.0.1", "localhost:5681"),
            ("::1", "[::1]:5681"),
            ("::ffff:127.0.0.1", "127.0.0.1:5681"),
            ("127.8.8.8", "LOCALHOST."),
        ] {
            assert!(check(peer, host, &[]), "{peer} {host}");
        }
        assert!(check("127.0.0.1", "localhost:5681", &[("origin", "http://localhost:5681")]));
        assert!(check(
            "127.0.0.1",
            "localhost",
            &[("origin", "http://localhost:80"), ("sec-fetch-site", "same-origin")]
        ));
        assert!(check("127.0.0.1", "localhost:5682", &[("origin", "https://localhost:5682")]));
        assert!(check("127.0.0.1", "localhost", &[("origin", ""), ("x-real-ip", ""), ("sec-fetch-site", "none")]));
    }

    #[test]
    fn everything_else() {
        for (peer, host) in [
            ("10.0.0.1", "localhost"),
            ("127.0.0.1", "evil.example"),
            ("127.0.0.1", "localhost:"),
            ("127.0.0.1", "localhost:0"),
            ("127.0.0.1", "localhost:99999"),
            ("127.0.0.1", "user@localhost"),
            ("127.0.0.1", "localhost/x"),
            ("127.0.0.1", ""),
        ] {
            assert!(!check(peer, host, &[]), "{peer} {host}");
        }
        for header in [
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("sec-fetch-site", "cross-site"),
            ("origin", "http://127.0.0.1:5681"),
            ("origin", "http://localhost:5682"),
            ("origin", "http://localhost:5681/"),
            ("origin", "http://u@localhost:5681"),
            ("origin", "https://localhost"),
            ("origin", "ftp://localhost:5681"),
            ("origin", "null"),
        ] {
            assert!(!check("127.0.0.1", "localhost:5681", &[header]), "{header:?}");
        }
        assert!(!is_direct(IpAddr::from([127, 0, 0, 1]), None, &HeaderMap::new()));
    }
}
