//! What a zone proves its name with: `multizone.zone.kds.auth`.

use std::fmt;
use std::path::PathBuf;

use tonic::metadata::{Ascii, MetadataValue};

/// The zone token, with the scope `cp`, that a zone shows to global.
#[derive(Clone, Default)]
pub enum CpToken {
    /// None.
    #[default]
    None,
    /// The token itself: `multizone.zone.kds.auth.cpTokenInline`.
    Inline(String),
    /// A file with the token, `multizone.zone.kds.auth.cpTokenPath`; read before each attempt to connect, so that a token
    /// can be replaced while the zone runs.
    File(PathBuf),
}

/// Does not show the token.
impl fmt::Debug for CpToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Inline(_) => f.write_str("Inline(*****)"),
            Self::File(file) => f.debug_tuple("File").field(file).finish(),
        }
    }
}

/// A token that cannot be sent. The text names the key and not the token.
#[derive(Debug, thiserror::Error)]
pub enum CpTokenError {
    /// The file cannot be read.
    #[error("multizone.zone.kds.auth.cpTokenPath: could not read '{}': {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Reason.
        reason: std::io::Error,
    },
    /// There is no token where one should be.
    #[error("{key}: there is no token in it, but nothing or something that cannot be a token")]
    NoToken {
        /// The key.
        key: &'static str,
    },
}

impl CpToken {
    /// The value of the header `authorization`; `None` without a token.
    ///
    /// # Errors
    /// When there should be a token and is none.
    pub(super) async fn header(&self) -> Result<Option<MetadataValue<Ascii>>, CpTokenError> {
        let (key, text) = match self {
            Self::None => return Ok(None),
            Self::Inline(token) => ("multizone.zone.kds.auth.cpTokenInline", token.clone()),
            Self::File(file) => {
                let read = tokio::fs::read_to_string(file).await;
                let text = read.map_err(|reason| CpTokenError::Unreadable { file: file.clone(), reason })?;
                ("multizone.zone.kds.auth.cpTokenPath", text)
            }
        };
        let token = text.trim();
        // What a token is made of (RFC 6750).
        let fits = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
        let value = (!token.is_empty() && token.chars().all(fits)).then(|| format!("Bearer {token}").parse().ok());
        let mut value: MetadataValue<Ascii> = value.flatten().ok_or(CpTokenError::NoToken { key })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_read_each_time_and_tokens_stay_secret() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let token = CpToken::File(file.path().to_owned());
        std::fs::write(file.path(), "a.b-1._c\n").expect("written");
        let header = token.header().await.expect("readable").expect("there");
        assert_eq!(header, "Bearer a.b-1._c");
        assert!(header.is_sensitive());
        std::fs::write(file.path(), "second").expect("written");
        assert_eq!(token.header().await.expect("readable").expect("there"), "Bearer second");
        let inline = CpToken::Inline("hush".into());
        assert_eq!(inline.header().await.expect("fine").expect("there"), "Bearer hush");
        assert!(!format!("{inline:?}").contains("hush"));
        assert!(CpToken::None.header().await.expect("fine").is_none());
    }

    #[tokio::test]
    async fn what_is_no_token_is_told_by_its_key() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for content in ["", " \n", "two words", "a\nb", "ü"] {
            std::fs::write(file.path(), content).expect("written");
            let error = CpToken::File(file.path().to_owned()).header().await.expect_err(content).to_string();
            assert!(error.starts_with("multizone.zone.kds.auth.cpTokenPath: there is no token"), "{error}");
            if !content.is_empty() {
                let error = CpToken::Inline(content.into()).header().await.expect_err(content).to_string();
                assert!(error.starts_with("multizone.zone.kds.auth.cpTokenInline: there is no token"), "{error}");
            }
        }
        let error = CpToken::File("/no/such/file".into()).header().await.expect_err("absent").to_string();
        assert!(error.contains("cpTokenPath: could not read '/no/such/file'"), "{error}");
    }
}
