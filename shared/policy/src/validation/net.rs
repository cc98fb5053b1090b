//! Forms of addresses, names and paths.
//!
//! Source of the rules: the validators Kuma uses, `github.com/asaskevich/govalidator`.

use std::net::IpAddr;

/// The parts of a URL, or of a host with an optional port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Url<'a> {
    /// Scheme; empty for none.
    pub scheme: &'a str,
    /// Whether a user is named.
    pub has_user: bool,
    /// Host.
    pub host: &'a str,
    /// Port; empty for none.
    pub port: &'a str,
    /// Path; empty for none.
    pub path: &'a str,
    /// Whether there is a query.
    pub has_query: bool,
    /// Whether there is a fragment.
    pub has_fragment: bool,
}

impl<'a> Url<'a> {
    /// Splits a URL with a scheme; `None` when there is no scheme or when it contains blanks.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        Self::split(text).filter(|url| !url.scheme.is_empty())
    }

    fn split(text: &'a str) -> Option<Self> {
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return None;
        }
        let (rest, has_fragment) = text.split_once('#').map_or((text, false), |(rest, _)| (rest, true));
        let (rest, has_query) = rest.split_once('?').map_or((rest, false), |(rest, _)| (rest, true));
        let (scheme, rest) = rest.split_once("://").unwrap_or(("", rest));
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let (user, address) = authority.rsplit_once('@').map_or((None, authority), |(user, rest)| (Some(user), rest));
        let (host, port) = match address.strip_prefix('[') {
            Some(v6) => {
                let (host, rest) = v6.split_once(']')?;
                (host, rest.strip_prefix(':').unwrap_or_default())
            }
            None => address.rsplit_once(':').unwrap_or((address, "")),
        };
        Some(Self { scheme, has_user: user.is_some(), host, port, path, has_query, has_fragment })
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
        let url = Url::parse("http://u@agent:8126/p?q#f").expect("a URL");
        assert_eq!((url.scheme, url.host, url.port, url.path), ("http", "agent", "8126", "/p"));
        assert!(url.has_user && url.has_query && url.has_fragment);
        assert_eq!(Url::parse("agent:8126"), None);
    }

    #[test]
    fn file_paths() {
        assert!(is_file_path("/tmp/x.log") && is_file_path("C:\\x"));
        assert!(!is_file_path("x") && !is_file_path("#x") && !is_file_path(""));
    }
}
