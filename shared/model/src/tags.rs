//! Tags of proxies and how selectors match them.
//!
//! Source of the rules: Kuma `api/mesh/v1alpha1/{dataplane_helpers,selector}.go`.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::Add;

/// One tag set: a value per tag, sorted by tag. Also the form of a selector, whose values may be [`ANY`].
pub type Tags = BTreeMap<String, String>;

/// All values of each tag, over several tag sets.
pub type TagMultimap = BTreeMap<String, BTreeSet<String>>;

/// Selector value that only asks for the presence of the tag.
pub const ANY: &str = "*";

/// True when a tag set carries every tag of the selector with its value, or any value where the selector has `*`.
///
/// The empty selector matches everything.
pub fn selects(selector: &Tags, tags: &Tags) -> bool {
    selector.iter().all(|(tag, wanted)| tags.get(tag).is_some_and(|value| wanted == ANY || wanted == value))
}

/// As [`selects`], over several tag sets at once: a tag matches when one of its values does.
pub fn selects_any_value(selector: &Tags, tags: &TagMultimap) -> bool {
    selector.iter().all(|(tag, wanted)| tags.get(tag).is_some_and(|values| wanted == ANY || values.contains(wanted)))
}

/// All tags of several tag sets in one multimap.
pub fn merged<'a>(sets: impl IntoIterator<Item = &'a Tags>) -> TagMultimap {
    let mut all = TagMultimap::new();
    for (tag, value) in sets.into_iter().flatten() {
        all.entry(tag.clone()).or_default().insert(value.clone());
    }
    all
}

/// The form of a tag set in messages: `k=v k2=v2`, sorted by tag.
pub fn display(tags: &Tags) -> String {
    let mut text = String::new();
    for (tag, value) in tags {
        if !text.is_empty() {
            text.push(' ');
        }
        let _ = write!(text, "{tag}={value}"); // a String takes everything
    }
    text
}

/// How specific a selector is: more tags win, then more exact values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Rank {
    /// Tags with a value.
    pub exact: usize,
    /// Tags with `*`.
    pub wildcard: usize,
}

impl Rank {
    /// The rank of a selector.
    pub fn of(selector: &Tags) -> Self {
        let wildcard = selector.values().filter(|value| *value == ANY).count();
        Self { exact: selector.len() - wildcard, wildcard }
    }
}

/// The rank of two selectors that matched together.
impl Add for Rank {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { exact: self.exact + other.exact, wildcard: self.wildcard + other.wildcard }
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let total = |rank: &Self| rank.exact + rank.wildcard;
        total(self).cmp(&total(other)).then(self.exact.cmp(&other.exact))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn selectors_match_tag_sets() {
        let web = tags(&[("kuma.io/service", "web"), ("version", "1")]);
        assert!(selects(&tags(&[]), &web));
        assert!(selects(&tags(&[("version", "1")]), &web));
        assert!(selects(&tags(&[("version", "*"), ("kuma.io/service", "web")]), &web));
        assert!(!selects(&tags(&[("version", "2")]), &web));
        assert!(!selects(&tags(&[("team", "*")]), &web));
        assert!(!selects(&tags(&[("version", "1"), ("team", "a")]), &web));
    }

    #[test]
    fn selectors_match_any_value_of_merged_sets() {
        let (one, two) = (tags(&[("s", "a"), ("v", "1")]), tags(&[("s", "b")]));
        let all = merged([&one, &two]);
        assert!(selects_any_value(&tags(&[("s", "b"), ("v", "1")]), &all));
        assert!(!selects_any_value(&tags(&[("s", "c")]), &all));
        assert!(selects_any_value(&tags(&[("v", "*")]), &all));
    }

    #[test]
    fn ranks_compare_by_size_and_then_exactness() {
        let rank = |pairs: &[(&str, &str)]| Rank::of(&tags(pairs));
        assert!(rank(&[("a", "*"), ("b", "*")]) > rank(&[("a", "1")]));
        assert!(rank(&[("a", "1")]) > rank(&[("a", "*")]));
        assert_eq!(rank(&[("a", "1")]) + rank(&[("b", "*")]), rank(&[("a", "1"), ("b", "*")]));
    }

    #[test]
    fn text_of_a_tag_set() {
        assert_eq!(display(&tags(&[("b", "2"), ("a", "1")])), "a=1 b=2");
        assert_eq!(display(&tags(&[])), "");
    }
}
