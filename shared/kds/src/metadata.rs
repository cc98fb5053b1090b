//! Request headers by which a zone introduces itself.
//!
//! Source of names: Kuma `pkg/kds/mux/client.go`, `pkg/kds/util`.

use tandem_model::name;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Code, Status};

use crate::feature;

const CLIENT_ID: &str = "client-id";
const FEATURES: &str = "features";
const VERSION: &str = "version";
const KDS_VERSION: &str = "kds-version";
/// Header with the token of a zone.
pub(crate) const AUTHORIZATION: &str = "authorization";

/// What a zone says in the headers of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Name of the zone.
    pub(crate) zone: String,
    /// The zone sends health checks.
    pub(crate) pings: bool,
    /// The zone sent exactly one authorization header.
    pub(crate) has_token: bool,
}

/// Headers of every call of a zone.
#[derive(Debug, Clone)]
pub(crate) struct Headers(Vec<(&'static str, MetadataValue<Ascii>)>);

impl Headers {
    /// Headers of the zone with this name and version.
    ///
    /// # Errors
    /// When one of them cannot be sent as a header.
    pub(crate) fn new(zone: &str, version: &str) -> Result<Self, String> {
        let value =
            |text: &str| MetadataValue::try_from(text).map_err(|_| format!("{text:?} cannot be sent as a header"));
        let mut headers = vec![(CLIENT_ID, value(zone)?), (VERSION, value(version)?), (KDS_VERSION, value("v3")?)];
        // One entry for each feature: peers do not split lists.
        for feature in feature::HEADER_FEATURES {
            headers.push((FEATURES, value(feature)?));
        }
        Ok(Self(headers))
    }

    /// These headers with that of a token, if there is one.
    pub(crate) fn with_authorization(mut self, value: Option<MetadataValue<Ascii>>) -> Self {
        self.0.extend(value.map(|value| (AUTHORIZATION, value)));
        self
    }

    /// Adds the headers to a request.
    pub(crate) fn apply(&self, metadata: &mut MetadataMap) {
        for (name, value) in &self.0 {
            metadata.append(*name, value.clone());
        }
    }
}

/// Reads the headers of a call; `missing` is the code for a call without name.
///
/// # Errors
/// When there is no name, it is no name of a zone, or the zone is too old.
pub(crate) fn caller(metadata: &MetadataMap, missing: Code) -> Result<Caller, Status> {
    let zone = metadata.get(CLIENT_ID).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if zone.is_empty() {
        return Err(Status::new(missing, "\"client-id\" is not present in metadata"));
    }
    name::validate_zone_name(zone).map_err(|error| Status::invalid_argument(format!("client-id: {error}")))?;
    let features: Vec<_> = metadata.get_all(FEATURES).iter().filter_map(|value| value.to_str().ok()).collect();
    if !features.contains(&feature::HASH_SUFFIX) {
        return Err(Status::failed_precondition(format!(
            "zone {zone:?} does not announce the feature {:?}; upgrade its control plane",
            feature::HASH_SUFFIX
        )));
    }
    Ok(Caller {
        zone: zone.to_owned(),
        pings: features.contains(&feature::ZONE_PING_HEALTH),
        has_token: metadata.get_all(AUTHORIZATION).iter().count() == 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(zone: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        Headers::new(zone, "2.13.10").expect("plain text").apply(&mut metadata);
        metadata
    }

    #[test]
    fn features_are_separate_entries() {
        let metadata = headers("east");
        let features: Vec<_> = metadata.get_all("features").iter().collect();
        assert_eq!(features, ["zone-ping-health", "hash-suffix"]);
        assert_eq!(metadata.get("kds-version").expect("set"), "v3");
        assert_eq!(metadata.get("version").expect("set"), "2.13.10");
    }

    #[test]
    fn a_zone_is_read_back() {
        let caller = caller(&headers("east"), Code::Unknown).expect("complete");
        assert_eq!(caller, Caller { zone: "east".into(), pings: true, has_token: false });
    }

    #[test]
    fn a_token_is_one_more_header() {
        let mut metadata = MetadataMap::new();
        let plain = Headers::new("east", "2.13.10").expect("plain text");
        plain.clone().with_authorization(Some("Bearer t".parse().expect("plain text"))).apply(&mut metadata);
        assert_eq!(metadata.get("authorization").expect("set"), "Bearer t");
        assert!(caller(&metadata, Code::Unknown).expect("complete").has_token);
        let mut without = MetadataMap::new();
        plain.with_authorization(None).apply(&mut without);
        assert!(without.get("authorization").is_none());
    }

    #[test]
    fn bad_headers_are_named() {
        let status = caller(&MetadataMap::new(), Code::Unknown).expect_err("no name");
        assert_eq!((status.code(), status.message()), (Code::Unknown, "\"client-id\" is not present in metadata"));
        let status = caller(&headers("not a name"), Code::Unknown).expect_err("no zone name");
        assert!(status.message().contains("has to be a valid DNS name"), "{status}");
        let mut old = MetadataMap::new();
        old.insert("client-id", "east".parse().expect("plain text"));
        let status = caller(&old, Code::Unknown).expect_err("too old");
        assert!(status.message().contains("hash-suffix"), "{status}");
        assert!(Headers::new("a\nb", "1").is_err());
    }
}
