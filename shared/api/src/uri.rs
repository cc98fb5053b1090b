//! Paths before routing: one spelling for each route.
//!
//! Rules of Kuma's server: the base path is cut off; a trailing slash means nothing; repeated slashes redirect to the
//! clean path; `%2F` inside a segment is never part of a name; `%2B` and `+` are the same in `dataplanes+insights`.

use http::Uri;
use http::uri::PathAndQuery;

/// What to do with the path of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// Route this path and query.
    Route(PathAndQuery),
    /// Send the client to this path and query.
    Redirect(String),
    /// No route can match.
    NotFound,
    /// Outside the base path.
    Outside,
}

/// Decides how `uri` is routed below `base` (`""` or `/prefix` without a slash at the end).
pub fn target(uri: &Uri, base: &str) -> Target {
    let path = uri.path();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    if path.contains("//") {
        return Target::Redirect(format!("{}{query}", clean(path)));
    }
    // Upstream mounts user tokens beside the base path.
    let below = if path == "/tokens/user" {
        path
    } else {
        match path.strip_prefix(base) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
            _ => return Target::Outside,
        }
    };
    if !base.is_empty() && below == "/tokens/user" && path != "/tokens/user" {
        return Target::Outside;
    }
    let Some(mut routed) = canonical(below.trim_end_matches('/')) else { return Target::NotFound };
    if routed.is_empty() {
        routed.push('/');
    }
    match PathAndQuery::try_from(format!("{routed}{query}")) {
        Ok(target) => Target::Route(target),
        Err(_) => Target::NotFound,
    }
}

fn clean(path: &str) -> String {
    let mut cleaned = String::with_capacity(path.len());
    let mut slash = false;
    for c in path.chars() {
        if c != '/' || !slash {
            cleaned.push(c);
        }
        slash = c == '/';
    }
    cleaned
}

/// `path` with every escape decoded that a path may carry literally; `None` when an escaped slash is among them.
fn canonical(path: &str) -> Option<String> {
    let bytes = path.as_bytes();
    let mut out = String::with_capacity(path.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (bytes[at], escape.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(b'/')) => return None,
            (b'%', Some(byte)) if byte.is_ascii_alphanumeric() || b"-._~+:@".contains(&byte) => {
                out.push(char::from(byte));
                at += 3;
            }
            _ => {
                // `at` is always on a character boundary: only whole escapes and whole characters are consumed.
                let c = path[at..].chars().next()?;
                out.push(c);
                at += c.len_utf8();
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(uri: &str, base: &str) -> Target {
        target(&uri.parse().expect("a URI"), base)
    }

    fn to(path: &str) -> Target {
        Target::Route(path.parse().expect("a path"))
    }

    #[test]
    fn spellings() {
        assert_eq!(route("/meshes/", ""), to("/meshes"));
        assert_eq!(route("/", ""), to("/"));
        assert_eq!(route("/meshes?size=1", ""), to("/meshes?size=1"));
        assert_eq!(route("//meshes?size=1", ""), Target::Redirect("/meshes?size=1".to_owned()));
        assert_eq!(route("/meshes/a%2Fb", ""), Target::NotFound);
        assert_eq!(route("/meshes/a%2fb", ""), Target::NotFound);
        assert_eq!(route("/zones%2Binsights", ""), to("/zones+insights"));
        assert_eq!(route("/zones+insights", ""), to("/zones+insights"));
        assert_eq!(route("/meshes/a%20b", ""), to("/meshes/a%20b"));
        assert_eq!(route("/meshes/%zz", ""), to("/meshes/%zz"));
    }

    #[test]
    fn base_path() {
        assert_eq!(route("/foo", "/foo"), to("/"));
        assert_eq!(route("/foo/meshes", "/foo"), to("/meshes"));
        assert_eq!(route("/foobar", "/foo"), Target::Outside);
        assert_eq!(route("/meshes", "/foo"), Target::Outside);
        assert_eq!(route("/tokens/user", "/foo"), to("/tokens/user"));
        assert_eq!(route("/foo/tokens/user", "/foo"), Target::Outside);
    }
}
