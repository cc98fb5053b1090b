//! The form that names each service once, which is shorter (`experimental.useTagFirstVirtualOutboundModel`):
//! `{"v":{"web":{"oe":[{"t":{…},"ap":[{"a":address,"d":host name,"p":port,"o":origin}]}]}}}`.
//!
//! Source: Kuma `pkg/dns/vips/tag_first_virtual_outbound_view.go`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    NameKind, ORIGIN_EXTERNAL_SERVICE, ORIGIN_GATEWAY, ORIGIN_SERVICE, ORIGIN_VIRTUAL_OUTBOUND, VipName, VipTarget,
    Vips,
};
use crate::label::SERVICE_TAG;
use crate::name::is_dns_name;
use crate::tags::Tags;

/// The origins that have a short form, and it.
const SHORT_ORIGINS: [(&str, &str); 2] = [(ORIGIN_SERVICE, "svc"), ("kubernetes", "k8s")];

#[derive(Serialize)]
struct Whole {
    #[serde(rename = "v", skip_serializing_if = "BTreeMap::is_empty")]
    services: BTreeMap<String, OfService>,
}

#[derive(Serialize, Deserialize, Default)]
struct OfService {
    #[serde(rename = "oe", default, skip_serializing_if = "Vec::is_empty")]
    outbounds: Vec<OfTags>,
}

#[derive(Serialize, Deserialize)]
struct OfTags {
    /// Without the service.
    #[serde(rename = "t", default, skip_serializing_if = "Tags::is_empty")]
    tags: Tags,
    #[serde(rename = "ap", default, skip_serializing_if = "Vec::is_empty")]
    places: Vec<Place>,
}

#[derive(Serialize, Deserialize)]
struct Place {
    #[serde(rename = "a", default)]
    address: String,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    #[serde(rename = "p", default, skip_serializing_if = "is_zero")]
    port: u32,
    #[serde(rename = "o", default)]
    origin: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(port: &u32) -> bool {
    *port == 0
}

/// Reads the services of this form.
pub(super) fn parse(services: &Value) -> Result<Vips, serde_json::Error> {
    let services = BTreeMap::<String, OfService>::deserialize(services)?;
    let mut vips = Vips::new();
    for (service, of_service) in services {
        for of_tags in of_service.outbounds {
            let mut tags = of_tags.tags;
            tags.insert(SERVICE_TAG.to_owned(), service.clone());
            for place in of_tags.places {
                let kind = kind_of(&place.origin);
                let name = match kind {
                    NameKind::Service => service.clone(),
                    _ => place.domain.unwrap_or_else(|| place.address.clone()),
                };
                let long = SHORT_ORIGINS.into_iter().find(|(_, short)| *short == place.origin);
                let origin = long.map_or(place.origin.clone(), |(long, _)| long.to_owned());
                let vip = vips.entry(VipName::new(kind, name)).or_default();
                vip.address = place.address;
                vip.outbounds.push(VipTarget { port: place.port, tags: tags.clone(), origin });
            }
        }
    }
    for vip in vips.values_mut() {
        vip.outbounds.sort_by_key(|target| target.port);
    }
    Ok(vips)
}

fn kind_of(origin: &str) -> NameKind {
    if origin == "k8s" || origin.starts_with(ORIGIN_EXTERNAL_SERVICE) {
        NameKind::Host
    } else if origin.starts_with(ORIGIN_VIRTUAL_OUTBOUND) || origin.starts_with(ORIGIN_GATEWAY) {
        NameKind::Domain
    } else {
        NameKind::Service
    }
}

/// The text of a Config in this form.
pub fn to_tag_first_json(vips: &Vips) -> String {
    let mut services: BTreeMap<String, OfService> = BTreeMap::new();
    for (name, vip) in vips {
        let domain = (name.kind != NameKind::Service && is_dns_name(&name.name)).then(|| name.name.clone());
        for target in &vip.outbounds {
            let mut tags = target.tags.clone();
            let service = tags.remove(SERVICE_TAG).unwrap_or_default();
            let short = SHORT_ORIGINS.into_iter().find(|(long, _)| *long == target.origin);
            let place = Place {
                address: vip.address.clone(),
                domain: domain.clone(),
                port: target.port,
                origin: short.map_or(target.origin.as_str(), |(_, short)| short).to_owned(),
            };
            let outbounds = &mut services.entry(service).or_default().outbounds;
            match outbounds.iter_mut().find(|known| known.tags == tags) {
                Some(known) => known.places.push(place),
                None => outbounds.push(OfTags { tags, places: vec![place] }),
            }
        }
    }
    serde_json::to_string(&Whole { services }).expect("strings and numbers have a JSON form")
}

#[cfg(test)]
mod tests {
    use super::super::{parse, to_json};
    use super::*;

    #[test]
    fn both_forms_tell_the_same() {
        let plain = concat!(
            r#"{"0:web":{"address":"240.0.0.0","outbounds":[{"Port":0,"TagSet":{"kuma.io/service":"web"},"Origin":"service"}]},"#,
            r#""1:10.0.0.1":{"address":"10.0.0.1","outbounds":[{"Port":9,"TagSet":{"kuma.io/service":"old"},"Origin":"external-service:old"}]},"#,
            r#""2:web.example":{"address":"240.0.0.1","outbounds":[{"Port":80,"TagSet":{"kuma.io/service":"web"},"Origin":"virtual-outbound:vo"},"#,
            r#"{"Port":81,"TagSet":{"kuma.io/service":"web","v":"1"},"Origin":"virtual-outbound:vo"}]}}"#
        );
        let short = concat!(
            r#"{"v":{"old":{"oe":[{"ap":[{"a":"10.0.0.1","p":9,"o":"external-service:old"}]}]},"#,
            r#""web":{"oe":[{"ap":[{"a":"240.0.0.0","o":"svc"},{"a":"240.0.0.1","d":"web.example","p":80,"o":"virtual-outbound:vo"}]},"#,
            r#"{"t":{"v":"1"},"ap":[{"a":"240.0.0.1","d":"web.example","p":81,"o":"virtual-outbound:vo"}]}]}}}"#
        );
        let vips = parse(plain).expect("the plain form");
        assert_eq!(to_tag_first_json(&vips), short);
        assert_eq!(to_json(&parse(short).expect("the short form")), plain);
        assert_eq!(to_tag_first_json(&Vips::new()), "{}");
    }
}
