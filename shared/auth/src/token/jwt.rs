//! JSON Web Tokens in compact form: the two algorithms Kuma knows, with the texts that it gives for bad ones.
//!
//! Source of the format: RFC 7515 and RFC 7519; of the texts: `golang-jwt/jwt` v5 as Kuma's
//! `pkg/core/tokens/validator.go` uses it.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Fault;
use super::claims::member;
use crate::keys::{KeyError, SigningKey};

/// Longest token that is looked at; real ones have some hundred characters.
const MAX_LENGTH: usize = 64 << 10;

/// Algorithms that are known but that Kuma does not take.
const OTHER_ALGORITHMS: [&str; 12] =
    ["HS384", "HS512", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA", "none"];

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// HMAC with SHA-256.
    Hs256,
}

/// A token that was taken apart, not verified yet.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) algorithm: Algorithm,
    /// Id of the key.
    pub(super) kid: String,
    pub(super) claims: Map<String, Value>,
    /// Id of the token; empty when it has none.
    pub(super) id: String,
    /// What the signature is of.
    pub(super) signed: String,
    pub(super) signature: Vec<u8>,
    /// Times in seconds since the epoch.
    not_before: Option<f64>,
    expires: Option<f64>,
}

/// A token with these claims, signed with `key`.
pub(super) fn sign(key: &SigningKey, kid: &str, claims: &Map<String, Value>) -> Result<String, KeyError> {
    let header = json!({"alg": "RS256", "kid": kid, "typ": "JWT"});
    let claims = Value::Object(claims.clone());
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes())?);
    Ok(format!("{signed}.{signature}"))
}

/// What is wrong with a token, and the words for it.
#[derive(Debug)]
pub(super) struct Flaw {
    pub(super) fault: Fault,
    pub(super) reason: String,
}

impl Flaw {
    pub(super) fn malformed(what: impl fmt::Display) -> Self {
        Self { fault: Fault::Malformed, reason: format!("token is malformed: {what}") }
    }

    /// What keeps the token from being verified, before a key is looked for.
    pub(super) fn unverifiable(fault: Fault, reason: impl fmt::Display) -> Self {
        Self { fault, reason: format!("token is unverifiable: {reason}") }
    }

    /// As [`unverifiable`](Self::unverifiable), while the key is looked for.
    pub(super) fn without_key(fault: Fault, reason: impl fmt::Display) -> Self {
        Self::unverifiable(fault, format!("error while executing keyfunc: {reason}"))
    }
}

/// Takes a token apart.
pub(super) fn parse(token: &str) -> Result<Parsed, Flaw> {
    let malformed = |what: &str| Flaw::malformed(what);
    if token.len() > MAX_LENGTH {
        return Err(malformed(&format!("token is longer than {MAX_LENGTH} characters")));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        let fault = if token.is_empty() { Fault::Missing } else { Fault::Malformed };
        return Err(Flaw { fault, ..malformed("token contains an invalid number of segments") });
    };
    let decode = |part: &str, what: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(part);
        bytes.map_err(|error| malformed(&format!("could not base64 decode {what}: {error}")))
    };
    let object = |part: &str, what: &str| -> Result<Map<String, Value>, Flaw> {
        let value = serde_json::from_slice(&decode(part, what)?);
        value.map_err(|error| malformed(&format!("could not JSON decode {what}: {error}")))
    };
    let (header_members, claims) = (object(header, "header")?, object(claims, "claim")?);
    let signature = decode(signature, "signature")?;

    let name = match header_members.get("alg") {
        Some(Value::String(name)) => name.as_str(),
        _ => return Err(Flaw::unverifiable(Fault::Algorithm, "signing method (alg) is unspecified")),
    };
    let is_known = OTHER_ALGORITHMS.contains(&name) || matches!(name, "RS256" | "HS256");
    if !is_known {
        return Err(Flaw::unverifiable(Fault::Algorithm, "signing method (alg) is unavailable"));
    }
    let kid = match header_members.get("kid") {
        Some(Value::String(kid)) => kid.clone(),
        Some(_) => return Err(Flaw::without_key(Fault::Malformed, "JWT token kid header must be a string")),
        None => return Err(Flaw::without_key(Fault::Malformed, "JWT token must have kid header")),
    };
    let algorithm = match name {
        "RS256" => Algorithm::Rs256,
        "HS256" => Algorithm::Hs256,
        other => {
            let reason = format!("unsupported token alg {other}. Allowed algorithms are RS256 and HS256");
            return Err(Flaw::without_key(Fault::Algorithm, reason));
        }
    };
    let time = |name: &str| match member(&claims, name) {
        None => Ok(None),
        Some(value) => value
            .as_f64()
            .map(Some)
            .ok_or_else(|| malformed(&format!("could not JSON decode claim: {name} is not a number"))),
    };
    let (not_before, expires) = (time("nbf")?, time("exp")?);
    let id = match member(&claims, "jti") {
        None => String::new(),
        Some(Value::String(id)) => id.clone(),
        Some(_) => return Err(malformed("could not JSON decode claim: jti is not a string")),
    };
    let end = token.rfind('.').unwrap_or_default();
    Ok(Parsed { algorithm, kid, id, signed: token[..end].to_owned(), signature, not_before, expires, claims })
}

impl Parsed {
    /// When the token ends; `None` for never, or later than can be told.
    pub(super) fn expires(&self) -> Option<Timestamp> {
        let seconds = jiff::SignedDuration::try_from_secs_f64(self.expires?).ok()?;
        Timestamp::UNIX_EPOCH.checked_add(seconds).ok()
    }

    /// Checks that the token is valid at a time. Without `exp` it never ends.
    pub(super) fn check_time(&self, now: Timestamp) -> Result<(), String> {
        let now = now.as_duration().as_secs_f64();
        let mut reasons = Vec::new();
        if self.expires.is_some_and(|end| now >= end) {
            reasons.push("token is expired");
        }
        if self.not_before.is_some_and(|begin| now < begin) {
            reasons.push("token is not valid yet");
        }
        if reasons.is_empty() { Ok(()) } else { Err(format!("token has invalid claims: {}", reasons.join(", "))) }
    }
}

/// True when `signature` is the HMAC-SHA256 of a text.
pub(super) fn is_hmac(secret: &[u8], text: &str, signature: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes(), signature).is_ok()
}
