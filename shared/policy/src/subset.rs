//! Sets of proxies described by tags that must be present or must not.
//!
//! Source of the definitions: Kuma `pkg/plugins/policies/core/rules/subsetutils/subset.go`.

use std::collections::{BTreeMap, BTreeSet};

/// A condition on one tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TagCondition {
    /// Name of the tag.
    pub key: String,
    /// Value of the tag.
    pub value: String,
    /// True when the tag must differ from the value.
    pub not: bool,
}

/// What fulfils all conditions; without any condition, everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Subset(pub Vec<TagCondition>);

impl Subset {
    /// What carries all these tags.
    pub fn of(tags: &BTreeMap<String, String>) -> Self {
        let condition =
            |(key, value): (&String, &String)| TagCondition { key: key.clone(), value: value.clone(), not: false };
        Self(tags.iter().map(condition).collect())
    }

    /// The conditions.
    pub fn conditions(&self) -> &[TagCondition] {
        &self.0
    }

    /// How many conditions ask for a tag, as opposed to ruling one out.
    pub fn positive_count(&self) -> usize {
        self.0.iter().filter(|tag| !tag.not).count()
    }

    /// True when every member of `other` is a member of this set.
    pub fn is_superset_of(&self, other: &Self) -> bool {
        self.0.iter().all(|own| {
            let mut same_key = other.0.iter().filter(|tag| tag.key == own.key).peekable();
            same_key.peek().is_some()
                && same_key.all(|tag| match (own.not, tag.not) {
                    (false, false) | (true, true) => own.value == tag.value,
                    (true, false) => own.value != tag.value,
                    (false, true) => false,
                })
        })
    }

    /// True unless the tags asked for by both sets contradict each other.
    pub fn intersects(&self, other: &Self) -> bool {
        self.0
            .iter()
            .filter(|tag| !tag.not)
            .all(|own| other.0.iter().filter(|tag| !tag.not && tag.key == own.key).all(|tag| tag.value == own.value))
    }

    /// True when something with these tags is a member. Nothing is known about what has no tags at all, so it is a
    /// member only of the set of everything.
    pub fn contains(&self, tags: &BTreeMap<&str, &str>) -> bool {
        self.0.is_empty()
            || (!tags.is_empty()
                && self.0.iter().all(|tag| match tags.get(tag.key.as_str()) {
                    Some(value) => (*value == tag.value) != tag.not,
                    None => tag.not,
                }))
    }
}

/// All combinations of conditions on the keys of `tags`: per key, one of its values or none of them.
///
/// The order is part of the result that users see and is that of Kuma: the key that comes first varies fastest, values
/// count down and "none of them" follows the values; the combination of the highest values comes last. `None` when
/// there are more than `limit`.
pub(crate) fn combinations(tags: &BTreeSet<(String, String)>, limit: usize) -> Option<Vec<Subset>> {
    let mut keys: Vec<(&str, Vec<&str>)> = Vec::new();
    for (key, value) in tags {
        match keys.last_mut() {
            Some((last, values)) if *last == key => values.push(value),
            _ => keys.push((key, vec![value])),
        }
    }
    let total = keys.iter().try_fold(1usize, |total, (_, values)| total.checked_mul(values.len() + 1))?;
    (total <= limit).then(|| (1..=total).map(|number| combination(&keys, number % total)).collect())
}

/// The combination with this number in mixed radix, first key fastest.
fn combination(keys: &[(&str, Vec<&str>)], mut number: usize) -> Subset {
    let mut conditions = Vec::new();
    for (key, values) in keys {
        let state = number % (values.len() + 1);
        number /= values.len() + 1;
        let condition = |value: &str, not| TagCondition { key: (*key).to_owned(), value: value.to_owned(), not };
        match values.len().checked_sub(state + 1) {
            Some(index) => conditions.push(condition(values[index], false)),
            None => conditions.extend(values.iter().map(|value| condition(value, true))),
        }
    }
    Subset(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subset(conditions: &[(&str, &str, bool)]) -> Subset {
        Subset(
            conditions
                .iter()
                .map(|(key, value, not)| TagCondition { key: (*key).into(), value: (*value).into(), not: *not })
                .collect(),
        )
    }

    fn show(subset: &Subset) -> String {
        let show = |tag: &TagCondition| format!("{}{}{}", tag.key, if tag.not { "!=" } else { "=" }, tag.value);
        subset.0.iter().map(show).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn supersets() {
        let all = subset(&[]);
        let east = subset(&[("zone", "east", false)]);
        let not_west = subset(&[("zone", "west", true)]);
        assert!(all.is_superset_of(&east));
        assert!(!east.is_superset_of(&all));
        assert!(not_west.is_superset_of(&east));
        assert!(!east.is_superset_of(&not_west));
    }

    #[test]
    fn intersections_look_at_what_is_asked_for() {
        let east = subset(&[("zone", "east", false)]);
        let west = subset(&[("zone", "west", false)]);
        assert!(!east.intersects(&west));
        assert!(east.intersects(&subset(&[("app", "a", false)])));
        assert!(east.intersects(&subset(&[("zone", "east", true)])));
    }

    #[test]
    fn membership() {
        let tags: BTreeMap<&str, &str> = [("app", "a")].into();
        assert!(subset(&[("app", "a", false)]).contains(&tags));
        assert!(subset(&[("app", "b", true), ("zone", "east", true)]).contains(&tags));
        assert!(!subset(&[("zone", "east", false)]).contains(&tags));
        assert!(!subset(&[("app", "a", true)]).contains(&BTreeMap::new()));
    }

    #[test]
    fn combinations_come_in_the_order_users_see() {
        let tags = [("a", "1"), ("a", "2"), ("b", "x")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let shown: Vec<String> = combinations(&tags, 6).expect("six").iter().map(show).collect();
        assert_eq!(shown, ["a=1,b=x", "a!=1,a!=2,b=x", "a=2,b!=x", "a=1,b!=x", "a!=1,a!=2,b!=x", "a=2,b=x"]);
        assert_eq!(combinations(&BTreeSet::new(), 1), Some(vec![Subset::default()]));
        assert_eq!(combinations(&tags, 5), None);
        let many = (0..100).map(|key| (key.to_string(), "x".to_owned())).collect();
        assert_eq!(combinations(&many, usize::MAX), None);
    }
}
