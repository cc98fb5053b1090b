//! The HTTP API and who may use it.

use super::{Key, keys};

keys! {
    used   "apiServer.readOnly" "KUMA_API_SERVER_READ_ONLY" Bool "false";
    used   "apiServer.corsAllowedDomains" "KUMA_API_SERVER_CORS_ALLOWED_DOMAINS" Texts "";
    used   "apiServer.http.enabled" "KUMA_API_SERVER_HTTP_ENABLED" Bool "true";
    used   "apiServer.http.interface" "KUMA_API_SERVER_HTTP_INTERFACE" Text "0.0.0.0";
    used   "apiServer.http.port" "KUMA_API_SERVER_HTTP_PORT" Port "5681";
    used   "apiServer.https.enabled" "KUMA_API_SERVER_HTTPS_ENABLED" Bool "true";
    used   "apiServer.https.interface" "KUMA_API_SERVER_HTTPS_INTERFACE" Text "0.0.0.0";
    used   "apiServer.https.port" "KUMA_API_SERVER_HTTPS_PORT" Port "5682";
    used   "apiServer.https.tlsCertFile" "KUMA_API_SERVER_HTTPS_TLS_CERT_FILE" Text "";
    used   "apiServer.https.tlsKeyFile" "KUMA_API_SERVER_HTTPS_TLS_KEY_FILE" Text "";
    used   "apiServer.https.tlsMinVersion" "KUMA_API_SERVER_HTTPS_TLS_MIN_VERSION" Text "TLSv1_2";
    used   "apiServer.https.tlsMaxVersion" "KUMA_API_SERVER_HTTPS_TLS_MAX_VERSION" Text "";
    used   "apiServer.https.tlsCipherSuites" "KUMA_API_SERVER_HTTPS_TLS_CIPHER_SUITES" Texts "";
    used   "apiServer.https.requireClientCert" "KUMA_API_SERVER_HTTPS_REQUIRE_CLIENT_CERT" Bool "false";
    used   "apiServer.https.tlsCaFile" "KUMA_API_SERVER_HTTPS_TLS_CA_FILE" Text "";
    used   "apiServer.auth.clientCertsDir" "KUMA_API_SERVER_AUTH_CLIENT_CERTS_DIR" Text "";
    used   "apiServer.authn.type" "KUMA_API_SERVER_AUTHN_TYPE" Text "tokens";
    used   "apiServer.authn.localhostIsAdmin" "KUMA_API_SERVER_AUTHN_LOCALHOST_IS_ADMIN" Bool "true";
    used   "apiServer.authn.tokens.bootstrapAdminToken" "KUMA_API_SERVER_AUTHN_TOKENS_BOOTSTRAP_ADMIN_TOKEN"
        Bool "true";
    used   "apiServer.authn.tokens.enableIssuer" "KUMA_API_SERVER_AUTHN_TOKENS_ENABLE_ISSUER" Bool "true";
    used   "apiServer.authn.tokens.validator.useSecrets" "KUMA_API_SERVER_AUTHN_TOKENS_VALIDATOR_USE_SECRETS"
        Bool "true";
    used   "apiServer.authn.tokens.validator.publicKeys" "" PublicKeys "";
    used   "apiServer.basePath" "KUMA_API_SERVER_BASE_PATH" Text "/";
    used   "apiServer.rootUrl" "KUMA_API_SERVER_ROOT_URL" Text "";
    used   "apiServer.gui.enabled" "KUMA_API_SERVER_GUI_ENABLED" Bool "true";
    used   "apiServer.gui.rootUrl" "KUMA_API_SERVER_GUI_ROOT_URL" Text "";
    used   "apiServer.gui.basePath" "KUMA_API_SERVER_GUI_BASE_PATH" Text "/gui";
}
