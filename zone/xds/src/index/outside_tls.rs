//! TLS towards services outside of the mesh: what resources say about it, and what that amounts to with the secrets of the mesh.
//!
//! Source of the rules: Kuma `pkg/xds/topology/outbound.go`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use tandem_model::core::common;
use tandem_model::core::mesh_external_service as external;
use tandem_model::core::mesh_external_service::{SanMatch, TlsVersions, VerificationMode};
use tandem_proto::mesh::v1alpha1::external_service::networking;
use tandem_proto::system::v1alpha1 as system;
use tandem_proto::system::v1alpha1::data_source;

use super::pem;
use super::snapshot::Secrets;

/// How TLS is spoken to a service outside of the mesh, with everything it needs at hand.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct OutsideTls {
    /// Name to ask for; `None` for the host name of the endpoint.
    pub server_name: Option<String>,
    /// The names in the certificate of the server are not compared.
    pub any_name: bool,
    /// Names of which the certificate of the server may have one, besides that which is asked for.
    pub names: Vec<SanMatch>,
    /// The server may renegotiate.
    pub allow_renegotiation: bool,
    /// Versions of the protocol.
    pub versions: TlsVersions,
    /// Authorities of the server, PEM.
    pub authority: Option<Bytes>,
    /// The authorities of the proxy's host count where none is given.
    pub system_authority: bool,
    /// What the proxy shows of itself.
    pub certificate: Option<ClientCertificate>,
}

/// Certificate with which a proxy shows itself outside of the mesh.
#[derive(Clone, PartialEq)]
pub(crate) struct ClientCertificate {
    /// Certificate and intermediate ones, PEM.
    pub chain: Bytes,
    /// Private key, PEM.
    pub key: Bytes,
}

/// Shows nothing of the key.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate(..)")
    }
}

/// What a resource says about TLS, with the places of certificates and keys.
#[derive(Clone, PartialEq)]
pub(crate) struct TlsSettings {
    /// Everything but certificates and keys.
    settings: OutsideTls,
    authority: Option<Source>,
    certificate: Option<(Source, Source)>,
}

/// Shows nothing of what sources hold.
impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A member of a resource that names data.
#[derive(Clone, PartialEq)]
struct Source {
    field: &'static str,
    place: Place,
}

#[derive(Clone, PartialEq)]
enum Place {
    Inline(Bytes),
    Secret(String),
    /// Nowhere this control plane can read; with the reason.
    Unreadable(String),
}

impl TlsSettings {
    /// What a MeshExternalService says; `None` when the proxy is to add no TLS.
    pub fn of_resource(tls: Option<&external::Tls>) -> Option<Self> {
        let tls = tls.filter(|tls| tls.enabled)?;
        let verification = tls.verification.clone().unwrap_or_default();
        let mode = verification.mode;
        let any_name = matches!(mode, VerificationMode::SkipSAN | VerificationMode::SkipAll);
        let any_authority = matches!(mode, VerificationMode::SkipCA | VerificationMode::SkipAll);
        let source =
            |field, source: Option<common::DataSource>| source.map(|source| Source::of_resource(field, source));
        let authority = source("spec.tls.verification.caCert", verification.ca_cert);
        let certificate = source("spec.tls.verification.clientCert", verification.client_cert)
            .zip(source("spec.tls.verification.clientKey", verification.client_key));
        let settings = OutsideTls {
            server_name: verification.server_name.filter(|name| !any_name && !name.is_empty()),
            any_name,
            names: verification.subject_alt_names.filter(|_| !any_name).unwrap_or_default(),
            allow_renegotiation: tls.allow_renegotiation,
            versions: tls.version.clone().unwrap_or_default(),
            system_authority: !any_authority,
            ..OutsideTls::default()
        };
        Some(Self {
            settings,
            authority: authority.filter(|_| !any_authority),
            certificate: certificate.filter(|_| mode != VerificationMode::SkipAll),
        })
    }

    /// What an ExternalService says; `None` when the proxy is to add no TLS.
    pub fn of_external(tls: Option<networking::Tls>) -> Option<Self> {
        let tls = tls.filter(|tls| tls.enabled)?;
        let source = |field, source: Option<system::DataSource>| Some(Source::of_external(field, source?));
        let settings = OutsideTls {
            server_name: tls.server_name.filter(|name| !name.is_empty()),
            any_name: tls.skip_hostname_verification.unwrap_or_default(),
            allow_renegotiation: tls.allow_renegotiation.unwrap_or_default(),
            ..OutsideTls::default()
        };
        let certificate = source("networking.tls.clientCert", tls.client_cert);
        Some(Self {
            settings,
            authority: source("networking.tls.caCert", tls.ca_cert),
            certificate: certificate.zip(source("networking.tls.clientKey", tls.client_key)),
        })
    }

    /// True when it names a Secret.
    pub fn uses_secret(&self, name: &str) -> bool {
        let pair = self.certificate.iter().flat_map(|(chain, key)| [chain, key]);
        self.authority.iter().chain(pair).any(|source| matches!(&source.place, Place::Secret(used) if used == name))
    }

    /// What it amounts to, or what is wrong, beginning with the member of the resource.
    pub fn load(&self, secrets: &Secrets) -> Result<OutsideTls, String> {
        let mut tls = self.settings.clone();
        if let Some(source) = &self.authority {
            tls.authority = Some(source.load(secrets, pem::check_certificates)?);
        }
        if let Some((certificate, private)) = &self.certificate {
            let chain = certificate.load(secrets, pem::check_certificates)?;
            let key = private.load(secrets, |key| pem::check_pair(&chain, key))?;
            tls.certificate = Some(ClientCertificate { chain, key });
        }
        Ok(tls)
    }
}

impl Source {
    fn of_resource(field: &'static str, source: common::DataSource) -> Self {
        let place = match source {
            common::DataSource { secret: Some(name), .. } => Place::Secret(name),
            common::DataSource { inline: Some(text), .. } => match BASE64.decode(&text) {
                Ok(bytes) => Place::Inline(bytes.into()),
                Err(error) => Place::Unreadable(format!("inline is not base64: {error}")),
            },
            common::DataSource { inline_string: Some(text), .. } => Place::Inline(text.into()),
            common::DataSource { .. } => Place::Unreadable("set secret, inline or inlineString".to_owned()),
        };
        Self { field, place }
    }

    fn of_external(field: &'static str, source: system::DataSource) -> Self {
        let place = match source.r#type {
            Some(data_source::Type::Secret(name)) => Place::Secret(name),
            Some(data_source::Type::Inline(bytes)) => Place::Inline(bytes.into()),
            Some(data_source::Type::InlineString(text)) => Place::Inline(text.into()),
            Some(data_source::Type::File(path)) => {
                Place::Unreadable(format!("the file {path:?} is not read by a zone; store its content as a secret"))
            }
            None => Place::Unreadable("set secret, inline or inlineString".to_owned()),
        };
        Self { field, place }
    }

    /// The data, once `check` accepts it.
    fn load(&self, secrets: &Secrets, check: impl FnOnce(&[u8]) -> Result<(), String>) -> Result<Bytes, String> {
        let data = match &self.place {
            Place::Inline(data) => Ok(data.clone()),
            Place::Unreadable(reason) => Err(reason.clone()),
            Place::Secret(name) => secret(secrets, name),
        };
        let checked = data.and_then(|data| check(&data).map(|()| data));
        checked.map_err(|reason| format!("{}: {reason}", self.field))
    }
}

fn secret(secrets: &Secrets, name: &str) -> Result<Bytes, String> {
    let secret = secrets.get(name).ok_or_else(|| format!("the mesh has no secret {name:?}"))?;
    let secret: system::Secret = secret.proto().map_err(|error| error.to_string())?;
    let data = secret.data.filter(|data| !data.is_empty()).ok_or_else(|| format!("the secret {name:?} is empty"))?;
    Ok(data.into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use tandem_model::{Kind, Resource, ResourceKey};

    use super::*;
    use crate::testing::{ClientPair, client_pair};

    fn secrets(entries: &[(&str, &str)]) -> Secrets {
        let secret = |(name, data): &(&str, &str)| {
            let spec = system::Secret { data: Some(data.as_bytes().to_vec()) };
            let key = ResourceKey::new(Kind::Secret, "default", *name);
            (Arc::from(*name), Arc::new(Resource::from_proto(key, &spec)))
        };
        entries.iter().map(secret).collect()
    }

    fn loaded(tls: Value, entries: &[(&str, &str)]) -> Result<OutsideTls, String> {
        let tls: external::Tls = serde_json::from_value(tls).expect("TLS");
        TlsSettings::of_resource(Some(&tls)).expect("enabled").load(&secrets(entries))
    }

    #[test]
    fn modes_decide_what_is_verified() {
        let ClientPair { chain, key } = client_pair();
        let with = |mode: &str| {
            let verification = json!({
                "mode": mode, "serverName": "a.example", "subjectAltNames": [{"value": "b.example"}],
                "caCert": {"inlineString": chain}, "clientCert": {"secret": "chain"}, "clientKey": {"secret": "key"}
            });
            let tls = loaded(json!({"enabled": true, "verification": verification}), &[("chain", chain), ("key", key)]);
            let tls = tls.expect("loads");
            let named = tls.server_name.is_some() && tls.names.len() == 1 && !tls.any_name;
            assert_eq!(named, !tls.any_name, "{mode}");
            (named, tls.authority.is_some(), tls.system_authority, tls.certificate.is_some())
        };
        assert_eq!(with("Secured"), (true, true, true, true));
        assert_eq!(with("SkipSAN"), (false, true, true, true));
        assert_eq!(with("SkipCA"), (true, false, false, true));
        assert_eq!(with("SkipAll"), (false, false, false, false));
    }

    #[test]
    fn what_is_wrong_is_told_with_the_member() {
        let ClientPair { chain, key } = client_pair();
        let with = |verification: Value| {
            let entries = [("chain", chain), ("key", key), ("empty", ""), ("other", "text")];
            loaded(json!({"enabled": true, "verification": verification}), &entries).expect_err("is wrong")
        };
        let authority = |source: Value| with(json!({"caCert": source}));
        assert_eq!(authority(json!({"secret": "x"})), r#"spec.tls.verification.caCert: the mesh has no secret "x""#);
        assert_eq!(
            authority(json!({"secret": "empty"})),
            r#"spec.tls.verification.caCert: the secret "empty" is empty"#
        );
        assert!(authority(json!({"inline": "?"})).starts_with("spec.tls.verification.caCert: inline is not base64"));
        assert!(authority(json!({})).contains("set secret, inline or inlineString"));
        assert!(authority(json!({"secret": "other"})).contains("no certificate"));
        assert!(authority(json!({"secret": "key"})).contains("no certificate"));
        let pair =
            |chain: &str, key: &str| with(json!({"clientCert": {"secret": chain}, "clientKey": {"secret": key}}));
        assert!(pair("chain", "chain").starts_with("spec.tls.verification.clientKey: "));
        assert!(pair("key", "key").starts_with("spec.tls.verification.clientCert: "));
    }

    #[test]
    fn secrets_in_use_are_known() {
        let tls: external::Tls =
            serde_json::from_value(json!({"enabled": true, "verification": {"caCert": {"secret": "a"}}})).expect("TLS");
        let settings = TlsSettings::of_resource(Some(&tls)).expect("enabled");
        assert!(settings.uses_secret("a") && !settings.uses_secret("b"));
        assert_eq!(TlsSettings::of_resource(Some(&external::Tls { enabled: false, ..tls })), None);
    }

    #[test]
    fn debugging_shows_no_key() {
        let ClientPair { chain, key } = client_pair();
        let pair = json!({"clientCert": {"inlineString": chain}, "clientKey": {"inlineString": key}});
        let tls: external::Tls = serde_json::from_value(json!({"enabled": true, "verification": pair})).expect("TLS");
        let settings = TlsSettings::of_resource(Some(&tls)).expect("enabled");
        let shown = format!("{settings:?} {:?}", settings.load(&secrets(&[])));
        assert!(!shown.contains("PRIVATE") && !shown.contains("BEGIN") && shown.contains("ClientCertificate(..)"));
    }
}
