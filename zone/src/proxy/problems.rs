//! What keeps a proxy from serving all that its resources say, kept current for its insight.
//!
//! Problems of generation are all known after each generation. Those that Envoy tells are known by type: a later response of the
//! type that it takes ends them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tandem_proto::mesh::v1alpha1 as pb;
use tandem_xds::{ResourceSet, ResourceType, Warning};

use super::insight::to_proto;

/// Longest text of Envoy that is kept, in bytes; it may name hundreds of resources.
const LONGEST: usize = 4096;

/// Names of refused resources that are told at most.
const MOST_NAMES: usize = 100;

/// What kinds of problems there are, as insights, the API and metrics name them.
pub mod kind {
    /// Envoy refused resources and keeps the earlier ones.
    pub const REJECTED: &str = "Rejected";
    /// Something cannot be turned into configuration and is left out.
    pub const LEFT_OUT: &str = "LeftOut";
    /// No configuration can be made; the proxy keeps the earlier one.
    pub const NOT_CONFIGURED: &str = "NotConfigured";
    /// The constraints of the mesh have changed and no longer permit the proxy: it is served until it connects again.
    pub const NOT_PERMITTED: &str = "NotPermitted";

    /// All of them.
    pub const ALL: [&str; 4] = [REJECTED, LEFT_OUT, NOT_CONFIGURED, NOT_PERMITTED];
}

/// The problems of one proxy.
#[derive(Debug, Default)]
pub struct Problems {
    generation: Vec<pb::ProxyProblem>,
    membership: Option<pb::ProxyProblem>,
    rejected: BTreeMap<ResourceType, pb::ProxyProblem>,
}

impl Problems {
    /// Takes notice of a generation that succeeded but for these. Returns what is new; `None` when nothing changed.
    pub fn configured(&mut self, warnings: &[Warning]) -> Option<Vec<pb::ProxyProblem>> {
        let left_out = warnings.iter().map(|warning| pb::ProxyProblem {
            r#type: kind::LEFT_OUT.to_owned(),
            subject: warning.resource.as_ref().map(|key| pb::ProblemSubject {
                r#type: key.kind.to_string(),
                mesh: key.mesh.clone(),
                name: key.name.clone(),
            }),
            message: warning.reason.clone(),
            ..pb::ProxyProblem::default()
        });
        self.replace(left_out.collect())
    }

    /// Takes notice of a generation that failed. Returns what is new; `None` when nothing changed.
    pub fn not_configured(&mut self, reasons: &[String]) -> Option<Vec<pb::ProxyProblem>> {
        let problems = reasons.iter().map(|reason| pb::ProxyProblem {
            r#type: kind::NOT_CONFIGURED.to_owned(),
            message: reason.clone(),
            ..pb::ProxyProblem::default()
        });
        self.replace(problems.collect())
    }

    fn replace(&mut self, problems: Vec<pb::ProxyProblem>) -> Option<Vec<pb::ProxyProblem>> {
        let mut new = Vec::new();
        let known = std::mem::take(&mut self.generation);
        let before = known.len();
        for problem in problems {
            match known.iter().find(|known| is_same(known, &problem)) {
                Some(known) => self.generation.push(known.clone()),
                None => {
                    let problem = pb::ProxyProblem { time: Some(to_proto(Timestamp::now())), ..problem };
                    new.push(problem.clone());
                    self.generation.push(problem);
                }
            }
        }
        (!new.is_empty() || self.generation.len() != before).then_some(new)
    }

    /// Takes notice of whether the mesh would take the proxy now. True when that is new.
    pub fn permitted(&mut self, reason: Option<String>) -> bool {
        if reason.as_deref() == self.membership.as_ref().map(|problem| problem.message.as_str()) {
            return false;
        }
        self.membership = reason.map(|message| pb::ProxyProblem {
            r#type: kind::NOT_PERMITTED.to_owned(),
            message,
            time: Some(to_proto(Timestamp::now())),
            ..pb::ProxyProblem::default()
        });
        true
    }

    /// Takes notice that Envoy refused a response of a type, of which the proxy has `resources` now. True when that is new.
    pub fn rejected(&mut self, resource_type: ResourceType, message: &str, resources: Option<&ResourceSet>) -> bool {
        let names = resources.into_iter().flat_map(|resources| resources.of(resource_type)).map(|known| &*known.name);
        let problem = pb::ProxyProblem {
            r#type: kind::REJECTED.to_owned(),
            resource_type: resource_type.type_url().to_owned(),
            resources: names.filter(|name| names_in(message, name)).take(MOST_NAMES).map(str::to_owned).collect(),
            message: shortened(message).to_owned(),
            ..pb::ProxyProblem::default()
        };
        if self.rejected.get(&resource_type).is_some_and(|known| is_same(known, &problem)) {
            return false;
        }
        let problem = pb::ProxyProblem { time: Some(to_proto(Timestamp::now())), ..problem };
        self.rejected.insert(resource_type, problem);
        true
    }

    /// Takes notice that Envoy took a response of a type. True when that ends a problem.
    pub fn accepted(&mut self, resource_type: ResourceType) -> bool {
        self.rejected.remove(&resource_type).is_some()
    }

    /// All problems.
    pub fn all(&self) -> Vec<pb::ProxyProblem> {
        self.generation.iter().chain(&self.membership).chain(self.rejected.values()).cloned().collect()
    }
}

/// True when two problems differ in nothing but when they were noticed.
fn is_same(one: &pb::ProxyProblem, other: &pb::ProxyProblem) -> bool {
    pb::ProxyProblem { time: None, ..one.clone() } == pb::ProxyProblem { time: None, ..other.clone() }
}

/// True when a text of Envoy names a resource: the name alone, not as a part of a longer one.
fn names_in(text: &str, name: &str) -> bool {
    let is_end = |c: Option<char>| c.is_none_or(|c| c.is_whitespace() || "'\"(),;:".contains(c));
    !name.is_empty()
        && text.match_indices(name).any(|(start, _)| {
            is_end(text[..start].chars().next_back()) && is_end(text[start + name.len()..].chars().next())
        })
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tandem_model::{Kind, ResourceKey};
    use tandem_xds::Encoded;

    use super::*;

    fn warning(reason: &str) -> Warning {
        Warning { resource: Some(ResourceKey::new(Kind::MeshService, "m", "s")), reason: reason.to_owned() }
    }

    #[test]
    fn a_problem_is_new_once_and_gone_when_generation_no_longer_tells_it() {
        let mut problems = Problems::default();
        assert_eq!(problems.configured(&[]), None);
        let new = problems.configured(&[warning("a"), warning("b")]).expect("two are new");
        assert_eq!(new.len(), 2);
        let subject = new[0].subject.clone().expect("a resource");
        assert_eq!((subject.r#type.as_str(), subject.name.as_str()), ("MeshService", "s"));
        assert_eq!(problems.configured(&[warning("a"), warning("b")]), None);
        assert_eq!(problems.configured(&[warning("b")]), Some(Vec::new()));
        assert_eq!(problems.all().len(), 1);
        let new = problems.not_configured(&["no authority".to_owned()]).expect("it is new");
        assert_eq!((new[0].r#type.as_str(), new[0].message.as_str()), (kind::NOT_CONFIGURED, "no authority"));
        assert_eq!(problems.all(), new);
        assert_eq!(problems.configured(&[]), Some(Vec::new()));
        assert!(problems.all().is_empty());
    }

    #[test]
    fn a_refusal_names_its_resources_and_lasts_until_the_type_is_taken() {
        let encoded = |name: &str| (ResourceType::Listener, Arc::new(Encoded::new(ResourceType::Listener, name, b"")));
        let names = ["inbound:127.0.0.1:80", "inbound:127.0.0.1:8080", "inbound:127.0.0.1:9"];
        let resources = ResourceSet::collect(names.map(encoded));
        let text = "Error adding/updating listener(s) inbound:127.0.0.1:8080: cannot bind";
        let mut problems = Problems::default();
        assert!(problems.rejected(ResourceType::Listener, text, Some(&resources)));
        assert!(!problems.rejected(ResourceType::Listener, text, Some(&resources)), "it is known");
        let all = problems.all();
        assert_eq!((all[0].message.as_str(), &all[0].resources), (text, &vec![names[1].to_owned()]));
        assert_eq!(all[0].resource_type, ResourceType::Listener.type_url());
        assert!(!problems.accepted(ResourceType::Cluster));
        assert!(problems.accepted(ResourceType::Listener));
        assert!(problems.all().is_empty());
    }

    #[test]
    fn a_proxy_that_its_mesh_would_not_take_any_more_says_so() {
        let mut problems = Problems::default();
        assert!(!problems.permitted(None));
        assert!(problems.permitted(Some("restricted".to_owned())));
        assert!(!problems.permitted(Some("restricted".to_owned())));
        assert_eq!(problems.all()[0].r#type, kind::NOT_PERMITTED);
        assert!(problems.permitted(None) && problems.all().is_empty());
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let long = "ä".repeat(LONGEST);
        let mut problems = Problems::default();
        problems.rejected(ResourceType::Secret, &long, None);
        let message = &problems.all()[0].message;
        assert!(long.starts_with(message.as_str()) && message.len() <= LONGEST && message.len() > LONGEST - 4);
    }
}
