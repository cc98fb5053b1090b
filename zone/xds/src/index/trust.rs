//! Whom the proxies of a mesh trust, by trust domain: the MeshTrusts of the mesh, and its own authority beside them.
//!
//! Source of the rules: Kuma `pkg/xds/context/mesh_context_builder.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_model::core::MeshTrust;
use tandem_model::{Kri, Resource};
use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;

use super::pem::check_certificates;

/// A MeshTrust, decoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TrustView {
    /// Identifier; empty when it has none.
    pub identifier: String,
    /// Trust domain.
    pub domain: Arc<str>,
    /// Certificates of its authorities, each PEM.
    pub bundles: Vec<String>,
}

impl TrustView {
    /// Decodes a MeshTrust.
    ///
    /// # Errors
    /// When it does not decode, or holds something that is no certificate: Envoy refuses all trust domains because of one.
    pub fn decode(resource: &Arc<Resource>) -> Result<Self, String> {
        let spec: MeshTrust = resource.json().map_err(|error| error.to_string())?;
        if spec.trust_domain.is_empty() {
            return Err("spec.trustDomain: must not be empty".to_owned());
        }
        let mut bundles = Vec::new();
        for (index, bundle) in spec.ca_bundles.into_iter().enumerate() {
            let Some(pem) = bundle.pem else { continue };
            check_certificates(pem.value.as_bytes())
                .map_err(|error| format!("spec.caBundles[{index}].pem.value: {error}"))?;
            bundles.push(pem.value);
        }
        let identifier = Kri::of(resource).map(|kri| kri.to_string()).unwrap_or_default();
        Ok(Self { identifier, domain: spec.trust_domain.into(), bundles })
    }
}

fn certificate(block: &pem::Pem) -> Option<X509Certificate<'_>> {
    parse_x509_certificate(block.contents()).ok().map(|(_, certificate)| certificate)
}

/// Certificates of authorities by trust domain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustBundle {
    domains: BTreeMap<Arc<str>, Vec<u8>>,
}

impl TrustBundle {
    /// What MeshTrusts say, in order of their names. With any of them, the authority of the mesh counts as that of the trust
    /// domain that is named as the mesh.
    pub(crate) fn of<'a>(
        trusts: impl Iterator<Item = &'a Arc<TrustView>>,
        mesh: &str,
        authority: Option<&[u8]>,
    ) -> Self {
        let mut domains: BTreeMap<Arc<str>, Vec<u8>> = BTreeMap::new();
        let mut add = |domain: &Arc<str>, pem: &[u8]| {
            let known = domains.entry(domain.clone()).or_default();
            if !known.is_empty() {
                known.push(b'\n');
            }
            known.extend_from_slice(pem);
        };
        let mut any = false;
        for trust in trusts {
            any = true;
            trust.bundles.iter().for_each(|pem| add(&trust.domain, pem.as_bytes()));
        }
        if let Some(authority) = authority.filter(|_| any) {
            add(&mesh.into(), authority);
        }
        Self { domains }
    }

    /// True when no trust domain is known.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// The trust domains with the certificates of their authorities (PEM), sorted.
    pub fn domains(&self) -> impl Iterator<Item = (&Arc<str>, &[u8])> {
        self.domains.iter().map(|(domain, pem)| (domain, pem.as_slice()))
    }

    /// True when certificates of a trust domain that an authority signed are accepted: it is one of those that are trusted, or one
    /// of them signed it. `authority` is its certificate as PEM; of several the first one.
    pub fn trusts(&self, domain: &str, authority: &[u8]) -> bool {
        let Some(bundle) = self.domains.get(domain) else { return false };
        let (Ok(authority), Ok(bundle)) = (pem::parse(authority), pem::parse_many(bundle)) else { return false };
        let Some(authority) = certificate(&authority) else { return false };
        let accepts = |known: X509Certificate<'_>| {
            known.as_raw() == authority.as_raw() || authority.verify_signature(Some(known.public_key())).is_ok()
        };
        bundle.iter().filter_map(certificate).any(accepts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{authority, trust};

    #[test]
    fn bundles_are_gathered_by_trust_domain() {
        let view = |domain: &str, bundles: &[&str]| {
            let bundles = bundles.iter().map(|&bundle| bundle.to_owned()).collect();
            Arc::new(TrustView { identifier: String::new(), domain: domain.into(), bundles })
        };
        let trusts = [view("b", &["1", "2"]), view("a", &["3"]), view("b", &["4"])];
        let all = |authority| {
            let bundle = TrustBundle::of(trusts.iter(), "m", authority);
            let text = |(domain, pem): (&Arc<str>, &[u8])| format!("{domain}={}", String::from_utf8_lossy(pem));
            bundle.domains().map(text).collect::<Vec<_>>()
        };
        assert_eq!(all(None), ["a=3", "b=1\n2\n4"]);
        assert_eq!(all(Some(b"ca")), ["a=3", "b=1\n2\n4", "m=ca"]);
        assert!(
            TrustBundle::of([].into_iter(), "m", Some(b"ca")).is_empty(),
            "without MeshTrusts there are no domains"
        );
    }

    #[test]
    fn what_envoy_would_refuse_is_left_out() {
        let decode = |pem: &str| TrustView::decode(&Arc::new(trust("m", "t", "domain", pem)));
        assert_eq!(decode(authority()).unwrap().bundles, [authority()]);
        for wrong in ["", "-----BEGIN CERTIFICATE-----\nMTIz\n-----END CERTIFICATE-----\n"] {
            let error = decode(wrong).expect_err(wrong);
            assert!(error.starts_with("spec.caBundles[0].pem.value: "), "{error}");
        }
    }

    #[test]
    fn an_authority_is_trusted_for_its_domain() {
        let view = Arc::new(TrustView::decode(&Arc::new(trust("m", "t", "domain", authority()))).unwrap());
        let bundle = TrustBundle::of([&view].into_iter(), "m", None);
        assert!(bundle.trusts("domain", format!("\n{}", authority()).as_bytes()));
        assert!(!bundle.trusts("other", authority().as_bytes()));
        assert!(!bundle.trusts("domain", b"nothing"));
    }
}
