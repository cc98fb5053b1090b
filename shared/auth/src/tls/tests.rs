use std::io::{Read, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use tandem_runtime::config::{Config, Role, Tls, TlsVersion, load};

use super::*;
use crate::server_cert;

fn config(work_dir: &Path) -> Config {
    let environment = [("KUMA_GENERAL_WORK_DIR", work_dir.to_str().expect("UTF-8"))];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    load(Role::Zone, None, environment, &[]).expect("valid").config
}

fn tls(directory: &Path, name: &str, pair: &(String, String)) -> Tls {
    let (cert_file, key_file) = (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")));
    std::fs::write(&cert_file, &pair.0).expect("written");
    std::fs::write(&key_file, &pair.1).expect("written");
    Tls { cert_file, key_file, min_version: None, max_version: None, cipher_suites: Vec::new() }
}

/// Shakes hands in memory and sends a byte; the error is that of the side that refused.
fn connect(server: Arc<ServerConfig>, client: ClientConfig, name: &str) -> Result<ClientConnection, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(server)?;
    client.writer().write_all(b"x").expect("buffered");
    let mut buffer = Vec::new();
    for _ in 0..8 {
        buffer.clear();
        while client.wants_write() {
            client.write_tls(&mut buffer).expect("in memory");
        }
        server.read_tls(&mut buffer.as_slice()).expect("in memory");
        server.process_new_packets()?;
        buffer.clear();
        while server.wants_write() {
            server.write_tls(&mut buffer).expect("in memory");
        }
        client.read_tls(&mut buffer.as_slice()).expect("in memory");
        client.process_new_packets()?;
    }
    let mut byte = [0];
    server.reader().read_exact(&mut byte).expect("arrived");
    Ok(client)
}

#[test]
fn generated_certificate_is_kept_private_and_reused() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("directory");
    let config = config(&directory.path().join("new"));
    server_cert::ensure(&config.general, "host.example").expect("made");
    let read = || std::fs::read_to_string(&config.general.tls.cert_file).expect("there");
    let first = read();
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&config.general.tls.key_file), mode(&config.general.work_dir)), (0o600, 0o700));
    server_cert::ensure(&config.general, "host.example").expect("kept");
    assert_eq!(read(), first);

    let server = server_config(&config.dp_server.tls, &ClientAuth::None).expect("usable");
    let file = Trust::File(&config.general.tls.cert_file);
    for name in ["localhost", "host.example", "127.0.0.1"] {
        let client = connect(server.clone(), client_config(file).expect("usable"), name).expect("trusted");
        assert_eq!(client.alpn_protocol(), Some(b"h2".as_slice()));
    }
    let error = connect(server.clone(), client_config(file).expect("usable"), "other.example").expect_err("name");
    assert!(matches!(error, rustls::Error::InvalidCertificate(_)), "{error}");
    connect(server.clone(), client_config(Trust::Anyone).expect("usable"), "other.example").expect("not verified");

    std::fs::remove_file(&config.general.tls.key_file).expect("removed");
    server_cert::ensure(&config.general, "host.example").expect("made again");
    assert_ne!(read(), first);
    let error = connect(server, client_config(file).expect("usable"), "localhost").expect_err("another certificate");
    assert!(matches!(error, rustls::Error::InvalidCertificate(_)), "{error}");
}

#[test]
fn generated_certificate_has_kumas_contents() {
    let loopback = IpAddr::from([127, 0, 0, 1]);
    let (pem, key) = server_cert::generate("h", [loopback, "::1".parse().expect("address"), loopback]).expect("made");
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"));
    let block = pem::parse(pem).expect("PEM");
    let (_, certificate) = x509_parser::parse_x509_certificate(block.contents()).expect("certificate");
    certificate.verify_signature(None).expect("signed by itself");
    assert_eq!(certificate.subject().iter().count(), 0);
    let names = certificate.subject_alternative_name().expect("valid").expect("there");
    assert!(names.critical);
    let names: Vec<String> = names.value.general_names.iter().map(ToString::to_string).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    let usage = certificate.key_usage().expect("valid").expect("there").value;
    assert!(certificate.is_ca() && usage.key_cert_sign() && usage.digital_signature() && usage.key_encipherment());
    assert!(certificate.extended_key_usage().expect("valid").expect("there").value.server_auth);
    let seconds = certificate.validity().not_after.timestamp() - certificate.validity().not_before.timestamp();
    assert_eq!(seconds, 3650 * 24 * 3600);
}

#[test]
fn versions_and_suites_are_limits() {
    let directory = tempfile::tempdir().expect("directory");
    let pair = server_cert::generate("localhost", []).expect("made");
    let mut settings = tls(directory.path(), "a", &pair);
    settings.max_version = Some(TlsVersion::V1_2);
    settings.cipher_suites = vec!["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256".to_owned()];
    let client = || client_config(Trust::File(&settings.cert_file)).expect("usable");
    let server = server_config(&settings, &ClientAuth::None).expect("usable");
    let connection = connect(server, client(), "localhost").expect("connected");
    let suite = connection.negotiated_cipher_suite().expect("negotiated").suite();
    assert_eq!(format!("{suite:?}"), settings.cipher_suites[0]);
    let newer = Tls { min_version: Some(TlsVersion::V1_3), max_version: None, ..settings.clone() };
    let connection = connect(server_config(&newer, &ClientAuth::None).expect("usable"), client(), "localhost");
    assert_eq!(connection.expect("connected").protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let none = Tls { min_version: Some(TlsVersion::V1_3), ..settings.clone() };
    assert!(matches!(server_config(&none, &ClientAuth::None), Err(TlsError::Settings(_))));
}

#[test]
fn clients_may_have_to_have_a_certificate() {
    let directory = tempfile::tempdir().expect("directory");
    let settings = tls(directory.path(), "a", &server_cert::generate("localhost", []).expect("made"));
    let roots = Arc::new(client_roots(Path::new(""), directory.path()).expect("the .crt file"));
    assert_eq!(roots.len(), 1);
    let client = || client_config(Trust::File(&settings.cert_file)).expect("usable");
    let optional = server_config(&settings, &ClientAuth::Optional(roots.clone())).expect("usable");
    connect(optional, client(), "localhost").expect("without a certificate");
    let required = server_config(&settings, &ClientAuth::Required(roots)).expect("usable");
    assert_eq!(connect(required, client(), "localhost").expect_err("refused"), rustls::Error::NoCertificatesPresented);
}

/// Certificate of a client in PEM, its key in PEM, and both in files.
fn issued(directory: &Path, name: &str, ca: &rcgen::Issuer<'_, rcgen::KeyPair>, days: (i64, i64)) -> Tls {
    let mut params = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
    let now = time::OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now + time::Duration::days(days.0), now + time::Duration::days(days.1));
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, ca).expect("signed");
    tls(directory, name, &(certificate.pem(), key.serialize_pem()))
}

fn authority(name: &str) -> (String, rcgen::Issuer<'static, rcgen::KeyPair>) {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = rcgen::KeyPair::generate().expect("a key");
    (params.self_signed(&key).expect("signed").pem(), rcgen::Issuer::new(params, key))
}

#[test]
fn certificates_that_clients_present_are_judged_later() {
    let directory = tempfile::tempdir().expect("directory");
    let settings = tls(directory.path(), "server", &server_cert::generate("localhost", []).expect("made"));
    let server = server_config(&settings, &ClientAuth::Presented).expect("usable");
    let trust = Trust::File(&settings.cert_file);
    connect(server.clone(), client_config(trust).expect("usable"), "localhost").expect("without a certificate");

    let ((ca, signer), (_, stranger)) = (authority("ours"), authority("theirs"));
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, ca).expect("written");
    let judge = ClientTrust::new(client_roots(&ca_file, Path::new("")).expect("readable")).expect("one CA");
    let present = |files: &Tls| {
        let client = client_config_with_certificate(trust, &files.cert_file, &files.key_file).expect("usable");
        connect(server.clone(), client, "localhost").expect("any certificate will do");
        judge.check(&files::certificates("certificate", &files.cert_file).expect("readable"))
    };
    let good = present(&issued(directory.path(), "east", &signer, (-1, 1))).expect("trusted");
    assert_eq!(good.dns_names, ["east"]);
    assert!(good.expires > Timestamp::now());
    let refused = |files: &Tls| present(files).expect_err("refused").to_string();
    let unknown = refused(&issued(directory.path(), "west", &stranger, (-1, 1)));
    assert!(unknown.contains("UnknownIssuer"), "{unknown}");
    let old = refused(&issued(directory.path(), "old", &signer, (-2, -1)));
    assert!(old.contains("expired"), "{old}");
    let future = refused(&issued(directory.path(), "early", &signer, (1, 2)));
    assert!(future.contains("not valid yet"), "{future}");
    assert_eq!(judge.check(&[]), Err(rustls::Error::NoCertificatesPresented));
    assert!(ClientTrust::new(rustls::RootCertStore::empty()).is_err());

    let (one, other) = (directory.path().join("east.crt"), directory.path().join("west.key"));
    let crossed = client_config_with_certificate(trust, &one, &other).expect_err("of two pairs").to_string();
    assert!(crossed.contains("east.crt' and key '") && crossed.contains("do not belong together"), "{crossed}");
}

#[test]
fn bad_files_are_named() {
    let directory = tempfile::tempdir().expect("directory");
    let one = tls(directory.path(), "one", &server_cert::generate("localhost", []).expect("made"));
    let two = tls(directory.path(), "two", &server_cert::generate("localhost", []).expect("made"));
    let empty = directory.path().join("empty");
    std::fs::write(&empty, "").expect("written");
    let refused = |cert_file: &Path, key_file: &Path| {
        let settings = Tls { cert_file: cert_file.into(), key_file: key_file.into(), ..one.clone() };
        server_config(&settings, &ClientAuth::None).expect_err("refused").to_string()
    };
    let crossed = refused(&one.cert_file, &two.key_file);
    assert!(crossed.contains("one.crt' and key '") && crossed.contains("two.key' do not belong together"), "{crossed}");
    assert!(refused(Path::new("/nope"), &one.key_file).starts_with("could not read certificate '/nope'"));
    assert!(refused(&empty, &one.key_file).contains("empty': no PEM block CERTIFICATE"));
    assert!(refused(&one.cert_file, &empty).starts_with("failed to parse private key"));
    let error = client_config(Trust::File(&empty)).expect_err("no CA").to_string();
    assert!(error.starts_with("failed to parse root certificate"), "{error}");
    let mut blocked = config(&empty.join("sub")).general;
    blocked.generated_certificate = true;
    assert!(server_cert::ensure(&blocked, "h").expect_err("no directory").to_string().starts_with("could not write"));
}
