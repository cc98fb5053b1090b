//! VirtualOutbounds: host names and ports made of the tags of services.
//!
//! Source of the rules and texts: Kuma `pkg/core/resources/apis/mesh/virtual_outbound_helpers.go`,
//! `pkg/dns/virtual_outbound_selector.go`.

use jiff::Timestamp;
use tandem_proto::mesh::v1alpha1 as pb;

use crate::name::is_dns_name;
use crate::resource::{DecodeError, Resource};
use crate::tags::{Rank, Tags, selects};
use crate::template::Template;

/// What Go's templates render in place of a value that is not there.
pub(crate) const NO_VALUE: &str = "<no value>";

/// A VirtualOutbound, ready to be used.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualOutbound {
    /// Name as stored.
    pub name: String,
    created: Timestamp,
    selectors: Vec<Tags>,
    host: Result<Template, String>,
    port: Result<Template, String>,
    /// Name in templates, and tag that has the value.
    parameters: Vec<(String, String)>,
}

impl VirtualOutbound {
    /// Reads a VirtualOutbound. One whose templates are wrong is fine: whoever renders them is told.
    ///
    /// # Errors
    /// When the specification has another shape.
    pub fn decode(resource: &Resource) -> Result<Self, DecodeError> {
        let spec: pb::VirtualOutbound = resource.proto()?;
        let conf = spec.conf.unwrap_or_default();
        let parameters = conf.parameters.into_iter().map(|parameter| {
            let tag = if parameter.tag_key.is_empty() { parameter.name.clone() } else { parameter.tag_key };
            (parameter.name, tag)
        });
        Ok(Self {
            name: resource.key.name.clone(),
            created: resource.created,
            selectors: spec.selectors.into_iter().map(|selector| selector.r#match).collect(),
            host: parse(&conf.host),
            port: parse(&conf.port),
            parameters: parameters.collect(),
        })
    }

    /// How well its best selector fits; `None` when none does, or none asks for anything.
    fn rank(&self, tags: &Tags) -> Option<Rank> {
        let fitting = self.selectors.iter().filter(|selector| !selector.is_empty() && selects(selector, tags));
        fitting.map(Rank::of).max()
    }

    /// The host name for a service with these tags.
    ///
    /// # Errors
    /// When the template is wrong or makes no DNS name; the text is for people.
    pub fn host(&self, tags: &Tags) -> Result<String, String> {
        let host = self.render(&self.host, tags)?;
        check_host(&host)?;
        Ok(host)
    }

    /// The port for a service with these tags.
    ///
    /// # Errors
    /// When the template is wrong or makes no port; the text is for people.
    pub fn port(&self, tags: &Tags) -> Result<u16, String> {
        check_port(&self.render(&self.port, tags)?)
    }

    /// The tags that tell the services behind the host name apart: those of the parameters.
    #[must_use]
    pub fn tags(&self, tags: &Tags) -> Tags {
        let known = self.parameters.iter().filter_map(|(_, tag)| Some((tag.clone(), tags.get(tag)?.clone())));
        known.collect()
    }

    fn render(&self, template: &Result<Template, String>, tags: &Tags) -> Result<String, String> {
        let template = template.as_ref().map_err(Clone::clone)?;
        let value = |name: &str| {
            // Of several parameters with one name the last one that has a value counts.
            let named = self.parameters.iter().rev().filter(|(parameter, _)| parameter == name);
            let value = named.filter_map(|(_, tag)| tags.get(tag)).next();
            Some(value.map_or(NO_VALUE, String::as_str))
        };
        let rendered = template.render(value, |_| None);
        rendered.map_err(|error| {
            format!("pre evaluation of template with parameters failed with error={:?}", error.to_string())
        })
    }
}

fn parse(template: &str) -> Result<Template, String> {
    Template::parse(template).map_err(|error| format!("failed compiling gotemplate error={:?}", error.to_string()))
}

/// Checks the outcome of the template of a host.
///
/// # Errors
/// When it is no DNS name; the text is for people.
pub(crate) fn check_host(host: &str) -> Result<(), String> {
    if is_dns_name(host) {
        return Ok(());
    }
    Err(format!("evaluation of template with parameters didn't return a valid dns name result={host:?}"))
}

/// Reads the outcome of the template of a port.
///
/// # Errors
/// When it is no port; the text is for people.
pub(crate) fn check_port(port: &str) -> Result<u16, String> {
    let number = port.parse::<i64>().map_err(|_| {
        format!("evaluation of template with parameters didn't evaluate to a parsable number result={port:?}")
    })?;
    u16::try_from(number).ok().filter(|port| *port != 0).ok_or_else(|| {
        format!("evaluation of template returned a port outside of the range [1..65535] result={number}")
    })
}

/// The VirtualOutbounds that select a service with these tags: the most specific first, of equal ones the youngest.
pub fn matching<'a>(outbounds: impl IntoIterator<Item = &'a VirtualOutbound>, tags: &Tags) -> Vec<&'a VirtualOutbound> {
    let ranked = outbounds.into_iter().filter_map(|outbound| Some((outbound.rank(tags)?, outbound)));
    let mut ranked: Vec<_> = ranked.collect();
    ranked.sort_by(|(rank_a, a), (rank_b, b)| {
        rank_b.cmp(rank_a).then(b.created.cmp(&a.created)).then_with(|| a.name.cmp(&b.name))
    });
    ranked.into_iter().map(|(_, outbound)| outbound).collect()
}

#[cfg(test)]
mod tests {
    use tandem_proto::mesh::v1alpha1::virtual_outbound::Conf;
    use tandem_proto::mesh::v1alpha1::virtual_outbound::conf::TemplateParameter;

    use super::*;
    use crate::kind::Kind;
    use crate::resource::ResourceKey;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned())).collect()
    }

    fn outbound(name: &str, selectors: &[&[(&str, &str)]], host: &str, port: &str, created: &str) -> VirtualOutbound {
        let parameter = |name: &str, tag: &str| TemplateParameter { name: name.into(), tag_key: tag.into() };
        let spec = pb::VirtualOutbound {
            selectors: selectors.iter().map(|selector| pb::Selector { r#match: tags(selector) }).collect(),
            conf: Some(Conf {
                host: host.into(),
                port: port.into(),
                parameters: vec![parameter("service", "kuma.io/service"), parameter("version", "")],
            }),
        };
        let mut resource = Resource::from_proto(ResourceKey::new(Kind::VirtualOutbound, "m", name), &spec);
        resource.created = created.parse().expect("a time");
        VirtualOutbound::decode(&resource).expect("encoded just now")
    }

    const DAY: &str = "2026-01-01T00:00:00Z";

    #[test]
    fn names_and_ports_follow_from_tags() {
        let outbound = outbound("a", &[], "{{.version}}.{{.service}}.mesh", "8{{.version}}", DAY);
        let web = tags(&[("kuma.io/service", "web"), ("version", "1"), ("team", "x")]);
        assert_eq!(outbound.host(&web).as_deref(), Ok("1.web.mesh"));
        assert_eq!(outbound.port(&web), Ok(81));
        assert_eq!(outbound.tags(&web), tags(&[("kuma.io/service", "web"), ("version", "1")]));
        let plain = tags(&[("kuma.io/service", "web")]);
        assert!(outbound.host(&plain).is_err_and(|text| text.contains("<no value>.web.mesh")));
        assert!(outbound.port(&plain).is_err_and(|text| text.contains("8<no value>")));
        assert_eq!(outbound.tags(&plain), plain);
    }

    #[test]
    fn ports_are_in_their_range() {
        assert_eq!(check_port("65535"), Ok(65535));
        for port in ["0", "-1", "65536", "", "x"] {
            assert!(check_port(port).is_err(), "{port}");
        }
    }

    #[test]
    fn specific_and_young_ones_come_first() {
        let all = [
            outbound("any", &[&[("kuma.io/service", "*")]], "a", "1", DAY),
            outbound("exact", &[&[("kuma.io/service", "web")]], "a", "1", DAY),
            outbound("younger", &[&[("kuma.io/service", "*")], &[("nope", "*")]], "a", "1", "2026-01-02T00:00:00Z"),
            outbound("two", &[&[("kuma.io/service", "*"), ("version", "*")]], "a", "1", DAY),
            outbound("everything", &[&[]], "a", "1", DAY),
        ];
        let found = |pairs| -> Vec<_> { matching(&all, &tags(pairs)).iter().map(|found| found.name.clone()).collect() };
        assert_eq!(
            found(&[("kuma.io/service", "web"), ("version", "1")]),
            ["two", "exact", "younger", "any"],
            "a selector that asks for nothing selects nothing"
        );
        assert_eq!(found(&[("kuma.io/service", "db")]), ["younger", "any"]);
    }
}
