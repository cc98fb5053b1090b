//! Host names of listeners and routes. `*` and names that start with `*.` stand for many.

use std::cmp::{Ordering, Reverse};

/// Stands for every host name.
pub(super) const ANY_HOST: &str = "*";

/// What a host name ends with if it stands for many; `""` when it stands for all.
fn domain(hostname: &str) -> Option<&str> {
    let rest = hostname.strip_prefix('*')?;
    Some(rest.strip_prefix('.').unwrap_or(rest))
}

/// True when every host that `inner` stands for is one that `outer` stands for.
pub(super) fn covers(outer: &str, inner: &str) -> bool {
    let Some(outer_domain) = domain(outer) else { return outer == inner };
    // A wildcard stands for one label or more: `*.com` covers `*.example.com` and `example.com`, but not `com`.
    let inner_domain = domain(inner).or_else(|| inner.split_once('.').map(|(_, domain)| domain)).unwrap_or_default();
    let is_below = || inner_domain.strip_suffix(outer_domain).is_some_and(|front| front.ends_with('.'));
    outer_domain.is_empty() || inner_domain == outer_domain || is_below()
}

/// True when there is a host that both stand for.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    covers(one, other) || covers(other, one)
}

/// Order in which host names are tried: exact ones first, then wildcards of longer domains; `*` is last.
pub(super) fn by_exactness(one: &str, other: &str) -> Ordering {
    let order = |hostname: &str| {
        let domain = domain(hostname);
        let labels = domain.map(|domain| domain.split('.').filter(|label| !label.is_empty()).count());
        (domain.is_some(), Reverse(labels))
    };
    order(one).cmp(&order(other)).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage() {
        for (outer, inner) in [
            ("*", "a.example.com"),
            ("*", "*.example.com"),
            ("*", "*"),
            ("*.example.com", "a.example.com"),
            ("*.example.com", "a.b.example.com"),
            ("*.example.com", "*.b.example.com"),
            ("*.com", "example.com"),
            ("a.com", "a.com"),
        ] {
            assert!(covers(outer, inner), "{outer} {inner}");
            assert!(overlap(inner, outer));
        }
        for (outer, inner) in [
            ("*.example.com", "example.com"),
            ("*.example.com", "badexample.com"),
            ("*.example.com", "a.badexample.com"),
            ("*.example.com", "*"),
            ("a.com", "*"),
            ("a.com", "b.com"),
            ("a.com", "a.b.com"),
        ] {
            assert!(!covers(outer, inner), "{outer} {inner}");
        }
        assert!(!overlap("*.a.com", "*.b.com"));
    }

    #[test]
    fn exact_names_come_first() {
        let mut names = ["*", "*.com", "b.com", "*.b.com", "a.com"];
        names.sort_by(|a, b| by_exactness(a, b));
        assert_eq!(names, ["a.com", "b.com", "*.b.com", "*.com", "*"]);
    }
}
