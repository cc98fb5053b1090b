use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};

use super::*;
use crate::pkcs1;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn tags(list: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
    list.iter().map(|(tag, values)| ((*tag).to_owned(), values.iter().map(|v| (*v).to_owned()).collect())).collect()
}

fn authority(mesh: &str) -> (BuiltinAuthority, Signer) {
    let authority = BuiltinAuthority::generate(mesh, RsaBits::default(), None).expect("made");
    let signer = Signer::from_pem(authority.cert_pem.as_bytes(), authority.key_pem.as_bytes()).expect("read back");
    (authority, signer)
}

fn parsed<T>(pem: &str, read: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
    let block = pem::parse(pem).expect("PEM");
    let (rest, certificate) = x509_parser::parse_x509_certificate(block.contents()).expect("certificate");
    assert!(rest.is_empty());
    read(&certificate)
}

fn extension<T>(certificate: &X509Certificate<'_>, find: impl Fn(&ParsedExtension<'_>) -> Option<T>) -> T {
    certificate.extensions().iter().find_map(|extension| find(extension.parsed_extension())).expect("extension")
}

fn subject_key_id(certificate: &X509Certificate<'_>) -> Vec<u8> {
    extension(certificate, |extension| match extension {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}

fn uris(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().expect("valid").expect("there");
    let uri = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => (*uri).to_owned(),
        other => panic!("{other} is no URI"),
    };
    names.value.general_names.iter().map(uri).collect()
}

fn lifetime(certificate: &X509Certificate<'_>) -> i64 {
    certificate.validity().not_after.timestamp() - certificate.validity().not_before.timestamp()
}

/// What a peer does with the certificate of another during the handshake.
fn verify(root_pem: &str, leaf_pem: &str) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(root_pem.as_bytes()) {
        roots.add(root.expect("PEM")).expect("an authority");
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("verifier");
    let leaf = CertificateDer::from_pem_slice(leaf_pem.as_bytes()).expect("PEM");
    verifier.verify_client_cert(&leaf, &[], UnixTime::now()).map(|_| ())
}

#[test]
fn authorities_have_kumas_contents() {
    let (authority, signer) = authority("default");
    assert_eq!(signer.root_pem(), authority.cert_pem);
    assert!(authority.key_pem.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
    parsed(&authority.cert_pem, |root| {
        root.verify_signature(None).expect("signed by itself");
        assert_eq!(root.raw_serial(), [0]);
        assert_eq!(root.subject().to_string(), "O=Kuma, OU=Mesh, CN=default");
        assert_eq!(root.issuer(), root.subject());
        assert_eq!(uris(root), ["spiffe://default"]);
        assert_eq!(lifetime(root), 3650 * 24 * 3600 + 10);
        let constraints = root.basic_constraints().expect("valid").expect("there");
        assert!(constraints.critical && constraints.value.ca && constraints.value.path_len_constraint.is_none());
        let usage = root.key_usage().expect("valid").expect("there");
        assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
        assert!(!usage.value.digital_signature() && !usage.value.key_agreement());
        assert_eq!(subject_key_id(root).len(), 20);
    });
}

#[test]
fn size_and_life_of_an_authority_are_as_asked() {
    let made = BuiltinAuthority::generate("m", RsaBits::try_from(3072).expect("known"), Some(DAY)).expect("made");
    parsed(&made.cert_pem, |root| {
        assert_eq!(lifetime(root), 24 * 3600 + 10);
        let key = root.public_key().parsed().expect("key");
        assert_eq!(key.key_size(), 3072);
    });
    assert!(RsaBits::try_from(1024).expect_err("too small").to_string().contains("1024 bits"));
    for mesh in ["", "Mesh", "a/b", "ä"] {
        assert!(
            matches!(BuiltinAuthority::generate(mesh, RsaBits::Rsa2048, None), Err(CaError::Identity(_))),
            "{mesh}"
        );
    }
}

#[test]
fn workload_certificates_have_kumas_contents() {
    let (authority, signer) = authority("default");
    let all = tags(&[("kuma.io/zone", &["east"]), ("kuma.io/service", &["web", "api"]), ("version", &["2"])]);
    let issued = issue(&signer, "default", &all, DEFAULT_VALIDITY, KeyType::Ecdsa).expect("issued");
    let root_id = parsed(&authority.cert_pem, subject_key_id);
    parsed(&issued.cert_pem, |leaf| {
        assert_eq!(leaf.subject().iter().count(), 0);
        assert!(leaf.subject_alternative_name().expect("valid").expect("there").critical);
        assert_eq!(
            uris(leaf),
            [
                "spiffe://default/api",
                "spiffe://default/web",
                "kuma://kuma.io/service/api",
                "kuma://kuma.io/service/web",
                "kuma://kuma.io/zone/east",
                "kuma://version/2",
            ]
        );
        assert_eq!(lifetime(leaf), 24 * 3600 + 10);
        let constraints = leaf.basic_constraints().expect("valid").expect("there");
        assert!(constraints.critical && !constraints.value.ca);
        let usage = leaf.key_usage().expect("valid").expect("there");
        assert!(usage.critical && usage.value.digital_signature() && usage.value.key_encipherment());
        assert!(usage.value.key_agreement() && !usage.value.key_cert_sign());
        let purposes = leaf.extended_key_usage().expect("valid").expect("there").value;
        assert!(purposes.server_auth && purposes.client_auth);
        let authority_id = extension(leaf, |extension| match extension {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
            _ => None,
        });
        assert_eq!(authority_id, root_id);
        assert_eq!(leaf.signature_algorithm.algorithm, x509_parser::oid_registry::OID_PKCS1_SHA256WITHRSA);
    });
    assert!(issued.key_pem.starts_with("-----BEGIN PRIVATE KEY-----"));
    assert!(!format!("{issued:?}{signer:?}").contains("PRIVATE"));
}

#[test]
fn keys_are_of_the_type_that_is_asked_for() {
    let (authority, signer) = authority("default");
    for (key_type, label, size) in [
        (KeyType::Ecdsa, "-----BEGIN PRIVATE KEY-----\n", 256),
        (KeyType::Rsa, "-----BEGIN RSA PRIVATE KEY-----\n", 2048),
    ] {
        let all = tags(&[("kuma.io/service", &["web"])]);
        let by_tags = issue(&signer, "default", &all, DAY, key_type).expect("issued");
        let by_name = issue_identity(&signer, "spiffe://default/web", DAY, key_type).expect("issued");
        for issued in [by_tags, by_name] {
            assert!(issued.key_pem.starts_with(label), "{key_type:?}");
            let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).expect("PEM");
            let key = KeyPair::try_from(&key).expect("a key");
            parsed(&issued.cert_pem, |leaf| {
                assert_eq!(leaf.public_key().subject_public_key.data, key.public_key_raw(), "they belong together");
                assert_eq!(leaf.public_key().parsed().expect("a key").key_size(), size);
            });
            verify(&authority.cert_pem, &issued.cert_pem).expect("trusted");
        }
    }
}

#[test]
fn peers_trust_what_their_authority_signed_and_nothing_else() {
    let (one, signer) = authority("one");
    let (two, _) = authority("one");
    let issued = issue(&signer, "one", &tags(&[("kuma.io/service", &["web"])]), DAY, KeyType::Ecdsa).expect("issued");
    verify(&one.cert_pem, &issued.cert_pem).expect("trusted");
    assert!(verify(&two.cert_pem, &issued.cert_pem).is_err());
    let expired = issue(&signer, "one", &BTreeMap::new(), Duration::ZERO, KeyType::Ecdsa).expect("issued");
    std::thread::sleep(Duration::from_millis(1100));
    assert!(verify(&one.cert_pem, &expired.cert_pem).is_err());
}

#[test]
fn renewal_is_due_after_four_fifths_of_the_life() {
    let (_, signer) = authority("m");
    let issued = issue(&signer, "m", &BTreeMap::new(), Duration::from_secs(1000), KeyType::Ecdsa).expect("issued");
    assert_eq!(issued.renew_at().duration_since(issued.issued).as_secs(), 800);
    assert!(issued.issued <= Timestamp::now());
}

#[test]
fn names_that_are_no_identity_are_refused() {
    let (_, signer) = authority("m");
    for service in ["", "a b", "a/b", "..", "ä"] {
        let error =
            issue(&signer, "m", &tags(&[("kuma.io/service", &[service])]), DAY, KeyType::Ecdsa).expect_err(service);
        assert!(matches!(error, CaError::Identity(_)), "{service}: {error}");
    }
}

#[test]
fn provided_authorities_of_any_key_type_sign() {
    let key = KeyPair::generate().expect("key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(rcgen::DnType::CommonName, "provided");
    let root = params.self_signed(&key).expect("signed").pem();
    let second = authority("m").0.cert_pem;
    let chain = format!("{root}{second}");
    let signer = Signer::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes()).expect("usable");
    assert_eq!(signer.root_pem(), chain);
    let issued = issue(&signer, "m", &BTreeMap::new(), DAY, KeyType::Ecdsa).expect("issued");
    verify(&root, &issued.cert_pem).expect("trusted");
}

/// Keys as OpenSSL writes them: P-256 and P-384, each as SEC1 and PKCS#8.
#[test]
fn keys_of_provided_authorities_are_read_in_every_form() {
    for (algorithm, oid) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, x509_parser::oid_registry::OID_SIG_ECDSA_WITH_SHA256),
        (&rcgen::PKCS_ECDSA_P384_SHA384, x509_parser::oid_registry::OID_SIG_ECDSA_WITH_SHA384),
        (&rcgen::PKCS_RSA_SHA256, x509_parser::oid_registry::OID_PKCS1_SHA256WITHRSA),
    ] {
        let key = KeyPair::generate_for(algorithm).expect("key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(rcgen::DnType::CommonName, "provided");
        let root = params.self_signed(&key).expect("signed").pem();
        let inner = pkcs1::from_pkcs8(key.serialized_der()).expect("PKCS#8");
        let label = if *algorithm == rcgen::PKCS_RSA_SHA256 { "RSA PRIVATE KEY" } else { "EC PRIVATE KEY" };
        // OpenSSL puts the name of the curve before such a key.
        let traditional = format!("{}{}", pkcs1::encode("EC PARAMETERS", vec![6, 1, 0]), pkcs1::encode(label, inner));
        for pem in [key.serialize_pem(), traditional] {
            let signer = Signer::from_pem(root.as_bytes(), pem.as_bytes()).expect("usable");
            let issued = issue(&signer, "m", &BTreeMap::new(), DAY, KeyType::Ecdsa).expect("issued");
            verify(&root, &issued.cert_pem).expect("trusted");
            parsed(&issued.cert_pem, |leaf| assert_eq!(leaf.signature_algorithm.algorithm, oid));
        }
    }
}

#[test]
fn unusable_authorities_are_refused_with_the_part_that_is_wrong() {
    let (one, _) = authority("one");
    let (two, _) = authority("two");
    let refused =
        |cert: &str, key: &str| Signer::from_pem(cert.as_bytes(), key.as_bytes()).expect_err("refused").to_string();
    assert_eq!(refused(&one.cert_pem, &two.key_pem), "invalid CA key: the key does not belong to the certificate");
    assert!(refused("x", &one.key_pem).starts_with("invalid CA certificate"));
    assert!(refused(&one.cert_pem, "x").starts_with("invalid CA key"));
    assert!(refused(&one.key_pem, &one.key_pem).starts_with("invalid CA certificate"));
}

#[test]
fn workload_identities_are_named_by_nothing_else() {
    let authority = BuiltinAuthority::for_trust_domain("demo.east.mesh.local").expect("a trust domain");
    let signer = Signer::from_pem(authority.cert_pem.as_bytes(), authority.key_pem.as_bytes()).expect("read back");
    let uri = "spiffe://demo.east.mesh.local/workload/web";
    let issued = issue_identity(&signer, uri, DAY, KeyType::Ecdsa).expect("issued");
    parsed(&issued.cert_pem, |leaf| {
        assert_eq!(uris(leaf), [uri]);
        assert_eq!(lifetime(leaf), 24 * 3600 + 10);
        assert_eq!(leaf.subject().iter().count(), 0);
    });
    verify(&authority.cert_pem, &issued.cert_pem).expect("trusted");
    assert!(matches!(issue_identity(&signer, "spiffe://td/ä", DAY, KeyType::Ecdsa), Err(CaError::Identity(_))));
}
