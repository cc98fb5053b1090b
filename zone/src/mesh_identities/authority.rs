//! The authority of the bundled provider: made here, or found where the MeshIdentity says.
//!
//! Source of the rules: Kuma `pkg/core/resources/apis/meshidentity/providers/bundled`.

use tandem_auth::ca::{self, BuiltinAuthority};
use tandem_model::core::mesh_identity::{
    Bundled, SecureDataSource, SecureDataSourceType, generated_certificate_secret, generated_key_secret,
};
use tandem_model::{Kind, Resource, ResourceKey};
use tandem_proto::system::v1alpha1::Secret;
use tandem_store::{SharedStore, StoreError, Write};

use super::conditions::{INITIALIZATION, VALIDATION};

const SELF_SIGNED: &str = "self-signed certificates are not allowed";

/// The certificates of the authority, PEM, or its key. The inner error tells why they cannot be read although nobody insists on it.
type Root = Result<String, String>;

/// Certificates and key of the authority.
///
/// # Errors
/// The inner error tells what is missing; the outer one means that the store failed.
pub(crate) async fn pair(
    store: &SharedStore,
    identity: &Resource,
    bundled: &Bundled,
) -> Result<Result<(String, String), String>, StoreError> {
    let mesh = identity.key.mesh.as_str();
    let (certificate, key) = if bundled.is_generated() {
        let name = identity.display_name();
        let certificate = secret(store, mesh, &generated_certificate_secret(name)).await?;
        (certificate, secret(store, mesh, &generated_key_secret(name)).await?)
    } else {
        let ca = bundled.ca.as_ref();
        let certificate = ca.and_then(|ca| ca.certificate.as_ref());
        let key = ca.and_then(|ca| ca.private_key.as_ref());
        let Some((certificate, key)) = certificate.zip(key) else {
            return Ok(Err("spec.provider.bundled.ca: certificate and privateKey must be defined".to_owned()));
        };
        (read(store, certificate, mesh).await?, read(store, key, mesh).await?)
    };
    Ok(certificate.and_then(|certificate| Ok((certificate, key?))))
}

/// Finds the certificates of the authority, and makes them if they are to be made and not there.
///
/// # Errors
/// The inner error is the reason and message of a condition; the outer one means that the store failed.
pub(super) async fn root(
    store: &SharedStore,
    identity: &Resource,
    bundled: &Bundled,
    trust_domain: &Result<String, String>,
) -> Result<Result<Root, (&'static str, String)>, StoreError> {
    let accepts_self_signed = bundled.insecure_allow_self_signed.unwrap_or(false);
    let invalid = |message: &str| Ok(Err((VALIDATION, message.to_owned())));
    if bundled.is_generated() {
        if !accepts_self_signed {
            return invalid(SELF_SIGNED);
        }
        let root = match trust_domain {
            Ok(trust_domain) => generated(store, identity, trust_domain).await?,
            Err(error) => Err(error.clone()),
        };
        return Ok(root.map(Ok).map_err(|error| (INITIALIZATION, error)));
    }
    let source = bundled.ca.as_ref().and_then(|ca| ca.certificate.as_ref());
    let root = match source {
        Some(source) => read(store, source, &identity.key.mesh).await?,
        None => Err("spec.provider.bundled.ca.certificate: must be defined".to_owned()),
    };
    if accepts_self_signed {
        return Ok(Ok(root));
    }
    match root {
        Err(error) => invalid(&error),
        Ok(root) => match ca::is_self_signed(root.as_bytes()) {
            Ok(true) => invalid(SELF_SIGNED),
            Ok(false) => Ok(Ok(Ok(root))),
            Err(error) => invalid(&error.to_string()),
        },
    }
}

/// The certificate of the authority that is made here, kept in two Secrets that go with the MeshIdentity.
async fn generated(store: &SharedStore, identity: &Resource, trust_domain: &str) -> Result<Root, StoreError> {
    let key = |name: String| ResourceKey::new(Kind::Secret, identity.key.mesh.as_str(), name);
    let certificate = key(generated_certificate_secret(identity.display_name()));
    let private_key = key(generated_key_secret(identity.display_name()));
    match (store.get(&certificate).await?, store.get(&private_key).await?) {
        (Some(certificate), Some(_)) => Ok(text(&certificate)),
        (None, None) => {
            let domain = trust_domain.to_owned();
            let made = tokio::task::spawn_blocking(move || BuiltinAuthority::for_trust_domain(&domain)).await;
            let made = match made {
                Ok(Ok(made)) => made,
                Ok(Err(error)) => return Ok(Err(error.to_string())),
                Err(error) => return Ok(Err(format!("could not finish: {error}"))),
            };
            let secret = |key: ResourceKey, data: &str| {
                let secret = Secret { data: Some(data.as_bytes().to_vec()) };
                Write::Create(Resource::from_proto(key, &secret).with_owner(identity.key.clone()))
            };
            store.commit(vec![secret(certificate, &made.cert_pem), secret(private_key, &made.key_pem)]).await?;
            tracing::info!(identity = %identity.key, trust_domain, "made a certificate authority");
            Ok(Ok(made.cert_pem))
        }
        // A certificate that does not belong to the key would break every proxy.
        (Some(_), None) => Ok(Err(half(&certificate, &private_key))),
        (None, Some(_)) => Ok(Err(half(&private_key, &certificate))),
    }
}

fn half(there: &ResourceKey, missing: &ResourceKey) -> String {
    format!(
        "Secret {:?} exists without Secret {:?}: restore the latter, or delete the former",
        there.name, missing.name
    )
}

/// Reads a value where a MeshIdentity says it is.
async fn read(store: &SharedStore, source: &SecureDataSource, mesh: &str) -> Result<Root, StoreError> {
    let undefined = || Err(format!("{:?}: must be defined", source.kind));
    Ok(match source.kind {
        SecureDataSourceType::File => match &source.file {
            Some(file) => {
                tokio::fs::read_to_string(&file.path).await.map_err(|error| format!("{}: {error}", file.path))
            }
            None => undefined(),
        },
        SecureDataSourceType::EnvVar => match &source.env_var {
            Some(variable) => std::env::var(&variable.name)
                .map_err(|_| format!("environment variable: {} is not defined", variable.name)),
            None => undefined(),
        },
        SecureDataSourceType::InsecureInline => match &source.insecure_inline {
            Some(inline) => Ok(inline.value.clone()),
            None => undefined(),
        },
        SecureDataSourceType::Secret => match &source.secret_ref {
            Some(reference) => secret(store, mesh, &reference.name).await?,
            None => undefined(),
        },
    })
}

/// Content of a Secret.
async fn secret(store: &SharedStore, mesh: &str, name: &str) -> Result<Root, StoreError> {
    let key = ResourceKey::new(Kind::Secret, mesh, name);
    Ok(match store.get(&key).await? {
        Some(secret) => text(&secret),
        None => Err(StoreError::NotFound(key).to_string()),
    })
}

fn text(secret: &Resource) -> Root {
    let data = secret.proto::<Secret>().map_err(|error| error.to_string())?.data.unwrap_or_default();
    String::from_utf8(data).map_err(|_| format!("Secret {:?} holds no text", secret.key.name))
}
