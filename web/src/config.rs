//! The web configuration file (`--web.config.file`), in exporter-toolkit's format.
//!
//! Read whole or refused whole: an unknown key, an unreadable file or a setting that rustls does
//! not have is an error that names it.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

use http::{HeaderName, HeaderValue};
use serde::Deserialize;

/// Headers that the file may set, as in exporter-toolkit.
const HEADERS_ALLOWED: &[&str] = &[
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
];

/// Why a web configuration file is refused.
#[derive(Debug, thiserror::Error)]
pub enum WebFileError {
    /// The file itself, or one that it names, cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// It is no YAML of the expected shape.
    #[error("parse {}: {message}", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// A value cannot be used.
    #[error("{key}: {message}")]
    Value {
        /// The key's path in the file.
        key: String,
        /// What is wrong with its value.
        message: String,
    },
}

impl WebFileError {
    pub(crate) fn value(key: impl Into<String>, message: impl ToString) -> Self {
        Self::Value { key: key.into(), message: message.to_string() }
    }
}

/// What the file says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebFile {
    /// TLS; absent: plain text.
    pub tls_server_config: Option<TlsSection>,
    /// HTTP settings.
    pub http_server_config: HttpSection,
    /// User names and bcrypt hashes.
    pub basic_auth_users: Option<HashMap<String, String>>,
    /// Directory that relative paths start from.
    #[serde(skip)]
    pub directory: PathBuf,
}

/// `tls_server_config`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSection {
    /// PEM text of the certificate chain; or `cert_file`.
    pub cert: Option<String>,
    pub cert_file: Option<PathBuf>,
    /// PEM text of the key; or `key_file`.
    pub key: Option<String>,
    pub key_file: Option<PathBuf>,
    /// `NoClientCert`, `VerifyClientCertIfGiven` or `RequireAndVerifyClientCert`.
    pub client_auth_type: Option<String>,
    /// PEM text of the CA that signs clients' certificates; or `client_ca_file`.
    pub client_ca: Option<String>,
    pub client_ca_file: Option<PathBuf>,
    /// `TLS12` or `TLS13`. Default `TLS12`.
    pub min_version: Option<String>,
    /// `TLS12` or `TLS13`. Default `TLS13`.
    pub max_version: Option<String>,
    /// Go's names; empty: rustls's choice.
    pub cipher_suites: Vec<String>,
    /// Go's names; empty: rustls's choice.
    pub curve_preferences: Vec<String>,
    /// Accepted and ignored: rustls keeps the server's order.
    pub prefer_server_cipher_suites: Option<bool>,
}

/// `http_server_config`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSection {
    /// Whether HTTP/2 is offered over TLS.
    pub http2: bool,
    /// Headers that every answer carries.
    pub headers: BTreeMap<String, String>,
}

impl Default for HttpSection {
    fn default() -> Self {
        Self { http2: true, headers: BTreeMap::new() }
    }
}

impl WebFile {
    /// Reads and checks the file at `path`.
    pub fn open(path: &Path) -> Result<Self, WebFileError> {
        let text = fs::read_to_string(path)
            .map_err(|source| WebFileError::Read { path: path.to_owned(), source })?;
        let mut file = Self::parse(&text)
            .map_err(|message| WebFileError::Parse { path: path.to_owned(), message })?;
        file.directory = path.parent().unwrap_or(Path::new(".")).to_owned();
        file.check_users()?;
        file.header_pairs()?;
        Ok(file)
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim().starts_with('#')) {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    fn check_users(&self) -> Result<(), WebFileError> {
        for (name, hash) in self.basic_auth_users.iter().flatten() {
            hash.parse::<bcrypt::HashParts>().map_err(|_| {
                WebFileError::value(format!("basic_auth_users.{name}"), "not a bcrypt hash")
            })?;
        }
        Ok(())
    }

    /// The extra headers, checked.
    pub fn header_pairs(&self) -> Result<Vec<(HeaderName, HeaderValue)>, WebFileError> {
        let mut pairs = Vec::new();
        for (name, value) in &self.http_server_config.headers {
            let key = format!("http_server_config.headers.{name}");
            if !HEADERS_ALLOWED.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)) {
                return Err(WebFileError::value(key, "this header cannot be configured"));
            }
            if value.is_empty() {
                continue;
            }
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|error| WebFileError::value(key.clone(), error))?;
            let value =
                HeaderValue::from_str(value).map_err(|error| WebFileError::value(key, error))?;
            pairs.push((name, value));
        }
        Ok(pairs)
    }

    /// The bytes of a setting that is either inline text or a file; both at once are refused.
    pub(crate) fn text_or_file(
        &self,
        key: &str,
        text: Option<&String>,
        file: Option<&PathBuf>,
    ) -> Result<Option<Vec<u8>>, WebFileError> {
        match (text, file) {
            (Some(_), Some(_)) => {
                Err(WebFileError::value(key, format!("{key} and {key}_file exclude each other")))
            }
            (Some(text), None) => Ok(Some(text.clone().into_bytes())),
            (None, Some(file)) => {
                let path = self.directory.join(file);
                let bytes =
                    fs::read(&path).map_err(|source| WebFileError::Read { path, source })?;
                Ok(Some(bytes))
            }
            (None, None) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &str) -> Result<WebFile, WebFileError> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("web.yml");
        fs::write(&path, text).expect("write");
        WebFile::open(&path)
    }

    #[test]
    fn an_empty_file_is_plain_text_without_users() {
        let file = open("# nothing\n").expect("valid");
        assert!(file.tls_server_config.is_none() && file.basic_auth_users.is_none());
        assert!(file.http_server_config.http2);
    }

    #[test]
    fn users_and_headers_are_read() {
        let hash = bcrypt::hash("x", 4).expect("hash");
        let text = format!(
            "basic_auth_users:\n  ann: {hash}\nhttp_server_config:\n  headers:\n    X-Frame-Options: deny\n"
        );
        let file = open(&text).expect("valid");
        assert_eq!(file.basic_auth_users.as_ref().map(HashMap::len), Some(1));
        assert_eq!(file.header_pairs().expect("valid").len(), 1);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let cases = [
            ("tls_config: {}\n", "tls_config"),
            ("basic_auth_users:\n  ann: secret\n", "basic_auth_users.ann"),
            ("http_server_config:\n  headers:\n    Server: x\n", "headers.Server"),
        ];
        for (text, named) in cases {
            let error = open(text).expect_err(text).to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
