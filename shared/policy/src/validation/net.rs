//! Forms of addresses, names and paths.
//!
//! Source of the rules: the validators Kuma uses, `github.com/asaskevich/govalidator`.

use std::net::IpAddr;

/// The parts of a URL as Go reads one in a request: either with a scheme, or nothing but an absolute path. There is no fragment in it;
/// the sign for one belongs to the path or the query that it follows.
///
/// Source of the rules: `ParseRequestURI` of Go's `net/url`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RequestUri<'a> {
    /// Scheme, as it was written; empty for none.
    pub scheme: &'a str,
    /// Whether there is something else than an authority or a path behind the scheme.
    pub is_opaque: bool,
    /// Whether a user is named.
    pub has_user: bool,
    /// Port, digits; empty for none.
    pub port: &'a str,
    /// Path; empty for none.
    pub path: &'a str,
    /// Whether there is a query.
    pub has_query: bool,
}

impl<'a> RequestUri<'a> {
    /// Splits a URL; `None` when it is none.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        if text.bytes().any(|c| c.is_ascii_control()) {
            return None;
        }
        let (scheme, rest) = Self::split_scheme(text)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let uri = Self { scheme, has_query: !query.is_empty(), ..Self::default() };
        if !rest.starts_with('/') {
            return (!scheme.is_empty()).then_some(Self { is_opaque: !rest.is_empty(), ..uri });
        }
        let Some(rest) = rest.strip_prefix("//").filter(|_| !scheme.is_empty()) else {
            return Some(Self { path: rest, ..uri });
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let (has_user, address) = authority.rsplit_once('@').map_or((false, authority), |(_, rest)| (true, rest));
        if address.contains([' ', '#', '%', '^', '`', '{', '|', '}', '\\']) {
            return None;
        }
        let port = match address.strip_prefix('[') {
            Some(v6) => match v6.split_once(']')?.1 {
                "" => "",
                rest => rest.strip_prefix(':')?,
            },
            None => address.rsplit_once(':').map_or("", |(_, port)| port),
        };
        port.bytes().all(|c| c.is_ascii_digit()).then_some(Self { has_user, port, path, ..uri })
    }

    /// Scheme and rest; `None` when the scheme before a colon is missing.
    fn split_scheme(text: &'a str) -> Option<(&'a str, &'a str)> {
        let Some((scheme, rest)) = text.split_once(':') else { return Some(("", text)) };
        let valid = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.');
        match scheme.bytes().next() {
            None => None,
            Some(first) if first.is_ascii_alphabetic() && scheme.bytes().all(valid) => Some((scheme, rest)),
            Some(_) => Some(("", text)),
        }
    }
}

/// The parts of a URL, or of a host with an optional port, that tell whether it is one.
struct Url<'a> {
    /// Scheme; empty for none.
    scheme: &'a str,
    /// Host.
    host: &'a str,
    /// Port; empty for none.
    port: &'a str,
}

impl<'a> Url<'a> {
    fn split(text: &'a str) -> Option<Self> {
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return None;
        }
        let rest = text.split(['#', '?']).next().unwrap_or_default();
        let (scheme, rest) = rest.split_once("://").unwrap_or(("", rest));
        let authority = rest.split('/').next().unwrap_or_default();
        let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
        let (host, port) = match address.strip_prefix('[') {
            Some(v6) => {
                let (host, rest) = v6.split_once(']')?;
                (host, rest.strip_prefix(':').unwrap_or_default())
            }
            None => address.rsplit_once(':').unwrap_or((address, "")),
        };
        Some(Self { scheme, host, port })
    }
}

/// True for a URL, and for a host alone, with or without a port. A host without dots needs a port or a scheme, and three
/// characters are not enough.
pub(crate) fn is_url(text: &str) -> bool {
    const SCHEMES: &[&str] = &["", "ftp", "tcp", "udp", "ws", "wss", "http", "https"];
    let Some(url) = Url::split(text) else { return false };
    let valid_port = url.port.is_empty() || url.port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_bounded = |label: &str| {
        let alphanumeric = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        alphanumeric(label.bytes().next()) && alphanumeric(label.bytes().next_back())
    };
    let is_name = |host: &str| is_dns_name(host) && host.trim_end_matches('.').split('.').all(is_bounded);
    text.len() > 3
        && SCHEMES.contains(&url.scheme)
        && text.contains([':', '.'])
        && valid_port
        && (url.host.parse::<IpAddr>().is_ok() || is_name(url.host))
}

/// True for a name of the DNS: labels of letters, digits, dashes and underscores.
pub(crate) fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        let mut bytes = label.bytes();
        let valid = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
        label.len() <= 63 && bytes.next().is_some_and(valid) && bytes.all(|c| valid(c) || c == b'-')
    };
    let labels = text.strip_suffix('.').unwrap_or(text);
    text.len() <= 255 && text.parse::<IpAddr>().is_err() && labels.split('.').all(label)
}

/// True for the absolute path of a file, on Unix or on Windows.
pub(crate) fn is_file_path(text: &str) -> bool {
    let bytes = text.as_bytes();
    let on_windows = bytes.len() > 3 && bytes[0].is_ascii_alphabetic() && matches!(&bytes[1..3], b":\\" | b":/");
    (text.starts_with('/') || on_windows) && !text.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for valid in ["http://jaeger:9411/api/v2", "127.0.0.1:5000", "otel.svc", "otel:4317", "https://[::1]:80/"] {
            assert!(is_url(valid), "{valid}");
        }
        for invalid in
            ["", "not valid", "http://", "host:port", "host:0", "-a.b", "otel", "a:1", "foo://a.b", "_a.b", "a-.b"]
        {
            assert!(!is_url(invalid), "{invalid}");
        }
    }

    #[test]
    fn request_uris() {
        let uri = RequestUri::parse("http://u@agent:8126/p?q#f").expect("a URL");
        assert_eq!((uri.scheme, uri.port, uri.path), ("http", "8126", "/p"));
        assert!(uri.has_user && uri.has_query && !uri.is_opaque);
        assert_eq!(RequestUri::parse("http://[::1]:80").map(|uri| uri.port), Some("80"));
        assert_eq!(RequestUri::parse("http://agent:").map(|uri| uri.port), Some(""));
        assert!(RequestUri::parse("agent:8126").is_some_and(|uri| uri.scheme == "agent" && uri.is_opaque));
        assert_eq!(RequestUri::parse("//agent/p").map(|uri| uri.path), Some("//agent/p"));
        for invalid in ["", "agent", "127.0.0.1:80", ":80", "http://a:b", "http://a b", "http://a:1#f", "http://[::1"] {
            assert_eq!(RequestUri::parse(invalid), None, "{invalid}");
        }
    }

    #[test]
    fn file_paths() {
        assert!(is_file_path("/tmp/x.log") && is_file_path("C:\\x"));
        assert!(!is_file_path("x") && !is_file_path("#x") && !is_file_path(""));
    }
}
