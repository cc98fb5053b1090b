//! The form in which a zone keeps virtual addresses: `{"0:web":{"address":…,"outbounds":[{"Port":…,"TagSet":…,"Origin":…}]}}`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{NameKind, Vip, VipName, VipTarget, Vips, tag_first};
use crate::tags::Tags;

/// Why the text of a Config tells no virtual addresses.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It is not JSON, or has another shape.
    #[error("invalid JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A key is not of the form `<number of the kind>:<name>`.
    #[error("{0:?} is not of the form <0, 1 or 2>:<name>")]
    Name(String),
    /// A name leads nowhere.
    #[error("no outbound for hostname: {0}")]
    NoOutbound(VipName),
}

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    address: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    outbounds: Vec<Target>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Target {
    port: u32,
    /// `null` is another way to say that there are none.
    tag_set: Option<Tags>,
    origin: String,
}

/// Reads the text of a Config in either form. Empty text tells no addresses.
///
/// # Errors
/// When it is in neither form.
pub fn parse(text: &str) -> Result<Vips, FormatError> {
    if text.is_empty() {
        return Ok(Vips::new());
    }
    let whole: BTreeMap<String, Value> = serde_json::from_str(text)?;
    // Keys of the plain form have a colon, so the two cannot be taken for each other.
    if let Some(services) = whole.get("v") {
        return Ok(tag_first::parse(services)?);
    }
    let entry = |(key, value): (String, Value)| {
        let entry: Entry = serde_json::from_value(value)?;
        let (kind, name) = key.split_once(':').ok_or_else(|| FormatError::Name(key.clone()))?;
        let kind = NameKind::from_number(kind).ok_or_else(|| FormatError::Name(key.clone()))?;
        let name = VipName::new(kind, name);
        if entry.outbounds.is_empty() {
            return Err(FormatError::NoOutbound(name));
        }
        let target = |target: Target| VipTarget {
            port: target.port,
            tags: target.tag_set.unwrap_or_default(),
            origin: target.origin,
        };
        let outbounds = entry.outbounds.into_iter().map(target).collect();
        Ok((name, Vip { address: entry.address, outbounds }))
    };
    whole.into_iter().map(entry).collect()
}

/// The text of a Config in the plain form.
pub fn to_json(vips: &Vips) -> String {
    let target = |target: &VipTarget| Target {
        port: target.port,
        tag_set: Some(target.tags.clone()),
        origin: target.origin.clone(),
    };
    let entry = |(name, vip): (&VipName, &Vip)| {
        let entry = Entry { address: vip.address.clone(), outbounds: vip.outbounds.iter().map(target).collect() };
        (format!("{}:{}", name.kind.number(), name.name), entry)
    };
    let whole: BTreeMap<String, Entry> = vips.iter().map(entry).collect();
    serde_json::to_string(&whole).expect("strings and numbers have a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = r#"{"0:backend":{"address":"240.0.0.0","outbounds":[{"Port":0,"TagSet":{"kuma.io/service":"backend"},"Origin":"service"}]},"1:example.com":{"address":"240.0.0.1","outbounds":[{"Port":443,"TagSet":{"kuma.io/service":"example"},"Origin":"external-service:example"}]},"2:v1.backend.mesh":{"outbounds":[{"Port":80,"TagSet":{"kuma.io/service":"backend","version":"v1"},"Origin":"virtual-outbound:versions"},{"Port":81,"TagSet":{},"Origin":"virtual-outbound:versions"}]}}"#;

    #[test]
    fn what_is_written_is_what_was_read() {
        let vips = parse(PLAIN).expect("the plain form");
        assert_eq!(to_json(&vips), PLAIN);
        let backend = &vips[&VipName::new(NameKind::Service, "backend")];
        assert_eq!((backend.address.as_str(), backend.outbounds[0].port), ("240.0.0.0", 0));
        assert_eq!(vips[&VipName::new(NameKind::Domain, "v1.backend.mesh")].address, "");
        assert_eq!(to_json(&Vips::new()), "{}");
        assert!(parse("{}").expect("no names").is_empty() && parse("").expect("no names").is_empty());
    }

    #[test]
    fn tags_may_be_null() {
        let vips =
            parse(r#"{"0:a":{"address":"240.0.0.0","outbounds":[{"Port":1,"TagSet":null,"Origin":"service"}]}}"#)
                .expect("the plain form");
        assert!(vips.values().all(|vip| vip.outbounds[0].tags.is_empty()));
    }

    #[test]
    fn other_texts_are_refused_with_what_is_wrong() {
        for (text, reason) in [
            ("[]", "invalid JSON"),
            (r#"{"backend":{"outbounds":[{}]}}"#, "\"backend\" is not of the form"),
            (r#"{"3:backend":{"outbounds":[{}]}}"#, "\"3:backend\" is not of the form"),
            (r#"{"0:backend":{}}"#, "no outbound for hostname: service:backend"),
            (r#"{"0:backend":"240.0.0.0"}"#, "invalid JSON"),
        ] {
            assert!(parse(text).is_err_and(|error| error.to_string().contains(reason)), "{text}");
        }
    }
}
