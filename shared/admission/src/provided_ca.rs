//! Rules for certificate authorities that the operator brings.
//!
//! Rules and texts: Kuma `pkg/plugins/ca/provided` and `pkg/core/datasource`.

use tandem_auth::ca::{self, CaError, Signer};
use tandem_model::{Kind, Path, ResourceKey, Violations};
use tandem_proto::json;
use tandem_proto::mesh::v1alpha1::CertificateAuthorityBackend;
use tandem_proto::plugins::ca::ProvidedCertificateAuthorityConfig;
use tandem_proto::system::v1alpha1::DataSource;
use tandem_proto::system::v1alpha1::data_source::Type;
use tandem_store::{Reader, StoreError};

use crate::error::Reason;
use crate::secrets;

/// Checks the settings of a backend, loads what they point to, and checks that too.
pub(crate) async fn check(
    store: &dyn Reader,
    at: &Path,
    mesh: &str,
    backend: &CertificateAuthorityBackend,
) -> Result<Violations, Reason> {
    let config: ProvidedCertificateAuthorityConfig = match json::from_struct(backend.conf.as_ref()) {
        Ok(config) => config,
        Err(error) => return Ok(Violations::one(at, format!("could not convert backend config: {error}"))),
    };
    let (cert_at, key_at) = (at.field("cert"), at.field("key"));
    let mut violations = check_source(&cert_at, config.cert.as_ref());
    violations.extend(check_source(&key_at, config.key.as_ref()));
    let (Some(cert), Some(key)) = (&config.cert, &config.key) else { return Ok(violations) };
    if !violations.is_empty() {
        return Ok(violations);
    }
    match (load(store, mesh, cert).await?, load(store, mesh, key).await?) {
        (Ok(cert), Ok(key)) => Ok(check_pair(&cert_at, &cert, &key)),
        (Err(reason), _) | (_, Err(reason)) => {
            violations.add(&cert_at, reason.as_str());
            violations.add(&key_at, reason.as_str());
            Ok(violations)
        }
    }
}

fn check_source(at: &Path, source: Option<&DataSource>) -> Violations {
    let Some(source) = source else { return Violations::one(at, "has to be defined") };
    let empty = |field: &str, empty: bool| {
        if empty { Violations::one(&at.field(field), "cannot be empty") } else { Violations::none() }
    };
    match &source.r#type {
        None => Violations::one(at, "data source has to be chosen. Available sources: secret, file, inline"),
        Some(Type::Secret(name)) => empty("secret", name.is_empty()),
        Some(Type::File(path)) => empty("file", path.is_empty()),
        Some(Type::Inline(bytes)) => empty("inline", bytes.is_empty()),
        Some(Type::InlineString(text)) => empty("inlineString", text.is_empty()),
    }
}

/// The bytes a source stands for, or why they cannot be had.
async fn load(store: &dyn Reader, mesh: &str, source: &DataSource) -> Result<Result<Vec<u8>, String>, Reason> {
    Ok(match source.r#type.as_ref() {
        None => Err("could not load data: no source".to_owned()),
        Some(Type::Inline(bytes)) => Ok(bytes.clone()),
        Some(Type::InlineString(text)) => Ok(text.clone().into_bytes()),
        Some(Type::File(path)) => {
            tokio::fs::read(path).await.map_err(|error| format!("could not load data: file {path:?}: {error}"))
        }
        Some(Type::Secret(name)) => {
            let key = ResourceKey::new(Kind::Secret, mesh, name.as_str());
            match store.get(&key).await? {
                Some(secret) => Ok(secrets::data(&secret)?),
                None => Err(format!("could not load data: {}", StoreError::NotFound(key))),
            }
        }
    })
}

fn check_pair(cert_at: &Path, cert: &[u8], key: &[u8]) -> Violations {
    for (what, text) in [("certificate", cert), ("key", key)] {
        if pem::parse_many(text).is_ok_and(|blocks| blocks.is_empty()) {
            let reason = format!("not a valid TLS key pair: tls: failed to find any PEM data in {what} input");
            return Violations::one(cert_at, reason);
        }
    }
    match Signer::from_pem(cert, key) {
        Ok(_) => {}
        Err(CaError::OtherKey) => {
            return Violations::one(cert_at, "not a valid TLS key pair: tls: private key does not match public key");
        }
        Err(error) => return Violations::one(cert_at, format!("not a valid TLS key pair: {error}")),
    }
    match ca::authority_faults(cert) {
        Ok(faults) => {
            let mut violations = Violations::none();
            for (index, reason) in faults {
                violations.add(&cert_at.index(index), reason);
            }
            violations
        }
        Err(error) => Violations::one(cert_at, format!("not a valid TLS key pair: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};
    use tandem_auth::ca::{BuiltinAuthority, RsaBits};
    use tandem_store::MemoryStore;

    fn source(kind: Type) -> DataSource {
        DataSource { r#type: Some(kind) }
    }

    async fn violations(cert: Option<DataSource>, key: Option<DataSource>) -> String {
        let config = ProvidedCertificateAuthorityConfig { cert, key };
        let backend = CertificateAuthorityBackend {
            name: "ca".to_owned(),
            conf: Some(json::to_struct(&config).expect("every message has a JSON form")),
            ..CertificateAuthorityBackend::default()
        };
        let store = MemoryStore::new();
        check(&store, &Path::new("conf"), "m", &backend).await.expect("the store answers").to_string()
    }

    #[tokio::test]
    async fn sources() {
        assert_eq!(violations(None, None).await, "conf.cert: has to be defined; conf.key: has to be defined");
        let empty = source(Type::Secret(String::new()));
        let unchosen = DataSource { r#type: None };
        assert_eq!(
            violations(Some(empty), Some(unchosen)).await,
            "conf.cert.secret: cannot be empty; conf.key: data source has to be chosen. Available sources: secret, \
             file, inline"
        );
        let missing = source(Type::Secret("nope".to_owned()));
        let reason = violations(Some(missing.clone()), Some(missing)).await;
        assert!(
            reason.contains("conf.cert: could not load data: resource not found: type=\"Secret\" name=\"nope\""),
            "{reason}"
        );
        assert!(reason.contains("conf.key: could not load data"), "{reason}");
    }

    #[tokio::test]
    async fn pairs() {
        let inline = |text: String| Some(source(Type::InlineString(text)));
        let one = BuiltinAuthority::generate("m", RsaBits::default(), None).expect("a valid mesh name");
        let two = BuiltinAuthority::generate("m", RsaBits::default(), None).expect("a valid mesh name");
        assert_eq!(violations(inline(one.cert_pem.clone()), inline(one.key_pem.clone())).await, "");
        let crossed = violations(inline(one.cert_pem), inline(two.key_pem)).await;
        assert_eq!(crossed, "conf.cert: not a valid TLS key pair: tls: private key does not match public key");
        let garbage = violations(inline("x".to_owned()), inline("y".to_owned())).await;
        assert!(garbage.starts_with("conf.cert: not a valid TLS key pair"), "{garbage}");
    }

    /// A certificate that signs itself, with these properties, and its key.
    fn certificate(is_ca: bool, usages: &[KeyUsagePurpose]) -> (String, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = if is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
        params.key_usages = usages.to_vec();
        (params.self_signed(&key).expect("signed").pem(), key)
    }

    #[tokio::test]
    async fn every_certificate_is_one_of_an_authority() {
        use KeyUsagePurpose::{DigitalSignature, KeyAgreement, KeyCertSign};
        const CA: &str = "basic constraint 'CA' must be set to 'true' (see X509-SVID: 4.1. Basic Constraints)";
        const SIGN: &str = "key usage extension 'keyCertSign' must be set (see X509-SVID: 4.3. Key Usage)";
        const AGREE: &str =
            "key usage extension 'keyAgreement' must NOT be set (see X509-SVID: Appendix A. X.509 Field Reference)";
        let inline = |text: &str| Some(source(Type::InlineString(text.to_owned())));
        let good = certificate(true, &[KeyCertSign]);
        for (is_ca, usages, reasons) in [
            (true, &[KeyCertSign][..], &[][..]),
            (false, &[KeyCertSign], &[CA]),
            (true, &[DigitalSignature], &[SIGN]),
            (true, &[], &[SIGN]),
            (true, &[KeyCertSign, KeyAgreement], &[AGREE]),
            (false, &[DigitalSignature, KeyAgreement], &[CA, SIGN, AGREE]),
        ] {
            let (cert, key) = certificate(is_ca, usages);
            let told = |index: usize| {
                let told: Vec<_> = reasons.iter().map(|reason| format!("conf.cert[{index}]: {reason}")).collect();
                told.join("; ")
            };
            assert_eq!(violations(inline(&cert), inline(&key.serialize_pem())).await, told(0));
            let chain = format!("{}{cert}", good.0);
            assert_eq!(
                violations(inline(&chain), inline(&good.1.serialize_pem())).await,
                told(1),
                "later in the chain"
            );
        }
    }
}
