//! Answers that are not upstream's, each with the reason.

/// A file of answers, and why the answer is not upstream's. An entry ends in `*` to stand for all actions of a case.
pub type Reason = (&'static str, &'static str);

/// Answered differently on purpose. An answer that stops to differ fails the run too.
pub const DIFFERENT: &[Reason] =
    &[("put_update_dataplanes_01", "the zone adds its tag to inbounds; upstream's run bypasses the part that does")];

/// Not asked at all.
pub const NOT_APPLICABLE: &[Reason] = &[(
    "proxyconfig_*",
    "configurations are made by the zone control plane: these cases run in zone/tests/previews.rs",
)];

/// The reason given for an action, if there is one.
pub fn reason(list: &[Reason], action: &str) -> Option<&'static str> {
    let found = list.iter().find(|(name, _)| match name.strip_suffix('*') {
        Some(case) => action.starts_with(case),
        None => *name == action,
    });
    found.map(|(_, reason)| *reason)
}
