//! The web configuration, in the format of Prometheus's exporter-toolkit: TLS, users, headers.
//!
//! Reads text only; the files it names are read by whoever listens.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;

/// What `--web.config.file` says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebConfig {
    /// Certificates; plain HTTP without.
    pub tls_server_config: Option<TlsServerConfig>,
    /// HTTP itself.
    pub http_server_config: HttpServerConfig,
    /// Names and the bcrypt hashes of their passwords. Each has every role but peer.
    pub basic_auth_users: BTreeMap<String, PasswordHash>,
}

/// How TLS is served.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsServerConfig {
    /// The certificate chain as PEM, instead of `cert_file`.
    pub cert: Option<String>,
    /// The private key as PEM, instead of `key_file`.
    pub key: Option<Secret>,
    /// The file with the certificate chain.
    pub cert_file: Option<String>,
    /// The file with the private key.
    pub key_file: Option<String>,
    /// Whether clients show certificates. Default `NoClientCert`.
    pub client_auth_type: ClientAuthType,
    /// The authority of clients as PEM, instead of `client_ca_file`.
    pub client_ca: Option<String>,
    /// The file with the authority of clients.
    pub client_ca_file: Option<String>,
    /// Names of which a client's certificate must carry one, if any are listed.
    pub client_allowed_sans: Vec<String>,
    /// Default TLS12.
    pub min_version: TlsVersion,
    /// Default the newest.
    pub max_version: Option<TlsVersion>,
    /// Names as in Go's `crypto/tls`, for TLS 1.2 only; empty means all that are safe.
    pub cipher_suites: Vec<String>,
    /// Without effect, as in Go since 1.17.
    pub prefer_server_cipher_suites: Option<bool>,
    /// Names as in Go's `crypto/tls`; empty means all that are known.
    pub curve_preferences: Vec<String>,
}

/// Whether clients show certificates, by Go's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum ClientAuthType {
    /// They do not.
    #[default]
    #[serde(alias = "")]
    NoClientCert,
    /// They may; nothing is verified.
    RequestClientCert,
    /// They must; nothing is verified.
    #[serde(alias = "RequireClientCert")]
    RequireAnyClientCert,
    /// They may; what they show is verified.
    VerifyClientCertIfGiven,
    /// They must, and it is verified.
    RequireAndVerifyClientCert,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
pub enum TlsVersion {
    /// Refused: broken.
    TLS10,
    /// Refused: broken.
    TLS11,
    /// Version 1.2.
    #[default]
    TLS12,
    /// Version 1.3.
    TLS13,
}

/// How HTTP is served.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpServerConfig {
    /// Whether HTTP/2 is spoken. Only over TLS, and so also without effect on gRPC.
    pub http2: bool,
    /// Headers that every answer carries.
    pub headers: BTreeMap<String, String>,
}

impl Default for HttpServerConfig {
    fn default() -> Self {
        Self { http2: true, headers: BTreeMap::new() }
    }
}

/// A private key: never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for whoever uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// The bcrypt hash of a password: never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Whether this is the password's hash. Takes tens of milliseconds of CPU on purpose: bound
    /// how many run at once.
    pub fn is_of(&self, password: &str) -> bool {
        bcrypt::verify(password, &self.0).unwrap_or(false)
    }

    /// `$2b$COST$` and 53 characters of salt and hash.
    fn is_well_formed(&self) -> bool {
        let mut parts = self.0.split('$');
        let (start, variant, cost, hash) = (parts.next(), parts.next(), parts.next(), parts.next());
        let is_hash = |text: &str| {
            text.len() == 53
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"./".contains(&byte))
        };
        start == Some("")
            && matches!(variant, Some("2a" | "2b" | "2x" | "2y"))
            && cost.is_some_and(|it| {
                it.len() == 2 && it.parse().is_ok_and(|cost: u8| (4..=31).contains(&cost))
            })
            && hash.is_some_and(is_hash)
            && parts.next().is_none()
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Why a web configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum InvalidWebConfig {
    /// Correct the YAML.
    #[error("not a web configuration")]
    Yaml(#[source] Box<serde_saphyr::Error>),
    /// Name what is missing.
    #[error("tls_server_config: {0}")]
    Tls(&'static str),
    /// Allow newer versions only.
    #[error("tls_server_config: {0:?} is broken and not spoken; the oldest is TLS12")]
    OldTls(TlsVersion),
    /// Name another one.
    #[error("tls_server_config: {0} is not spoken")]
    Algorithm(String),
    /// Leave it out.
    #[error("HTTP header {0:?} can not be configured")]
    Header(String),
    /// Use one of the values listed.
    #[error("invalid value for {header}: want one of {wanted:?}, got {got:?}")]
    HeaderValue {
        /// The header.
        header: String,
        /// What it may be.
        wanted: &'static [&'static str],
        /// What it was to be.
        got: String,
    },
    /// Hash the password with bcrypt.
    #[error("basic_auth_users: the password of {0:?} is not a bcrypt hash")]
    Password(String),
}

/// Headers that may be set, with the values they may have; none listed, any.
const HEADERS: &[(&str, &[&str])] = &[
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// Go's names of what rustls speaks in TLS 1.2 and 1.3.
pub const CIPHER_SUITES: &[&str] = &[
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// Go's names of the curves that rustls speaks.
pub const CURVES: &[&str] = &["CurveP256", "CurveP384", "X25519"];

impl WebConfig {
    /// Reads and checks a configuration. The empty text is one without anything.
    pub fn parse(text: &str) -> Result<Self, InvalidWebConfig> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let config: Self = serde_saphyr::from_str(text)
            .map_err(|error| InvalidWebConfig::Yaml(Box::new(error)))?;
        config.check()?;
        Ok(config)
    }

    /// Whether callers can be told apart: users are named, or clients' certificates verified.
    pub fn authenticates(&self) -> bool {
        let verifies = self.tls_server_config.as_ref().is_some_and(|tls| {
            use ClientAuthType::{RequireAndVerifyClientCert, VerifyClientCertIfGiven};
            matches!(tls.client_auth_type, RequireAndVerifyClientCert | VerifyClientCertIfGiven)
        });
        verifies || !self.basic_auth_users.is_empty()
    }

    /// Whether `password` is that of `user`. An unknown user costs as much time as a known one.
    pub fn knows(&self, user: &str, password: &str) -> bool {
        match self.basic_auth_users.get(user) {
            Some(hash) => hash.is_of(password),
            None => {
                let nobody = PasswordHash(NOBODYS_HASH.to_owned());
                let someone = self.basic_auth_users.values().next().unwrap_or(&nobody);
                // The answer is thrown away: only the time counts.
                let _ = someone.is_of(password);
                false
            }
        }
    }

    fn check(&self) -> Result<(), InvalidWebConfig> {
        if let Some(tls) = &self.tls_server_config {
            tls.check()?;
        }
        for (header, value) in &self.http_server_config.headers {
            let known = HEADERS.iter().find(|(name, _)| name == header);
            let (_, wanted) = known.ok_or_else(|| InvalidWebConfig::Header(header.clone()))?;
            let fits = wanted.iter().any(|it| it.eq_ignore_ascii_case(value));
            if !wanted.is_empty() && !fits && !value.is_empty() {
                let (header, got) = (header.clone(), value.clone());
                return Err(InvalidWebConfig::HeaderValue { header, wanted, got });
            }
        }
        match self.basic_auth_users.iter().find(|(_, hash)| !hash.is_well_formed()) {
            Some((user, _)) => Err(InvalidWebConfig::Password(user.clone())),
            None => Ok(()),
        }
    }
}

/// Of a password that nobody knows, at bcrypt's default cost.
const NOBODYS_HASH: &str = "$2b$10$nobodyhasthispassworduWP0X7fhQDphGz9TrtPz2EltLtiL4p02";

impl TlsServerConfig {
    fn check(&self) -> Result<(), InvalidWebConfig> {
        let one_of = |text: bool, file: bool, missing, both| match (text, file) {
            (false, false) => Err(InvalidWebConfig::Tls(missing)),
            (true, true) => Err(InvalidWebConfig::Tls(both)),
            _ => Ok(()),
        };
        let cert = (self.cert.is_some(), self.cert_file.is_some());
        one_of(cert.0, cert.1, "missing one of cert and cert_file", "cert and cert_file are one")?;
        let key = (self.key.is_some(), self.key_file.is_some());
        one_of(key.0, key.1, "missing one of key and key_file", "key and key_file are one")?;
        let authority = self.client_ca.is_some() || self.client_ca_file.is_some();
        let auth = self.client_auth_type;
        if authority && auth == ClientAuthType::NoClientCert {
            let problem = "a client CA is named, but client_auth_type asks for no certificate";
            return Err(InvalidWebConfig::Tls(problem));
        }
        let verifies = auth == ClientAuthType::RequireAndVerifyClientCert
            || auth == ClientAuthType::VerifyClientCertIfGiven;
        if verifies && !authority {
            let problem = "clients' certificates are to be verified, but client_ca_file is missing";
            return Err(InvalidWebConfig::Tls(problem));
        }
        self.check_algorithms()
    }

    fn check_algorithms(&self) -> Result<(), InvalidWebConfig> {
        let newest = self.max_version.unwrap_or(TlsVersion::TLS13);
        for version in [self.min_version, newest] {
            if version < TlsVersion::TLS12 {
                return Err(InvalidWebConfig::OldTls(version));
            }
        }
        if newest < self.min_version {
            return Err(InvalidWebConfig::Tls("max_version is older than min_version"));
        }
        let unknown = |names: &[String], known: &[&str]| {
            names.iter().find(|name| !known.contains(&name.as_str())).cloned()
        };
        let unknown = unknown(&self.cipher_suites, CIPHER_SUITES)
            .or_else(|| unknown(&self.curve_preferences, CURVES));
        unknown.map_or(Ok(()), |name| Err(InvalidWebConfig::Algorithm(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the password `open`, at the lowest cost.
    const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu5cldSTjqTa.nw4QeJC5.F6G/ueChgIa";

    fn refused(text: &str) -> String {
        WebConfig::parse(text).expect_err("should be refused").to_string()
    }

    #[test]
    fn users_are_told_by_their_passwords() {
        let config = WebConfig::parse(&format!("basic_auth_users:\n  ann: {HASH}\n")).unwrap();
        assert!(config.authenticates());
        assert!(config.knows("ann", "open"));
        assert!(!config.knows("ann", "Open") && !config.knows("bob", "open"));
        assert!(!format!("{config:?}").contains(HASH), "hashes are secret");
    }

    #[test]
    fn nobodys_hash_is_one() {
        let nobody = PasswordHash(NOBODYS_HASH.to_owned());
        assert!(nobody.is_well_formed() && !nobody.is_of(""));
    }

    #[test]
    fn a_full_file_is_read() {
        let text = "
tls_server_config:
  cert_file: server.crt
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.crt
  min_version: TLS13
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
  curve_preferences: [X25519]
http_server_config:
  http2: false
  headers:
    X-Frame-Options: deny
";
        let config = WebConfig::parse(text).unwrap();
        let tls = config.tls_server_config.as_ref().unwrap();
        assert_eq!(tls.min_version, TlsVersion::TLS13);
        assert!(config.authenticates() && !config.http_server_config.http2);
        assert_eq!(WebConfig::parse("").unwrap(), WebConfig::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let tls = |more: &str| format!("tls_server_config: {{cert_file: a, key_file: b, {more}}}");
        assert!(refused("users: {}").contains("not a web configuration"));
        assert!(refused("tls_server_config: {cert_file: a}").contains("key_file"));
        assert!(refused(&tls("client_ca_file: c")).contains("client_auth_type"));
        let verify = "client_auth_type: RequireAndVerifyClientCert";
        assert!(refused(&tls(verify)).contains("client_ca_file"));
        assert!(refused(&tls("min_version: TLS11")).contains("TLS12"));
        let cbc = "cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]";
        assert!(refused(&tls(cbc)).contains("TLS_RSA_WITH_AES_128_CBC_SHA"));
        let headers = |header: &str| format!("http_server_config: {{headers: {{{header}}}}}");
        assert!(refused(&headers("Server: x")).contains("\"Server\""));
        assert!(refused(&headers("X-Frame-Options: never")).contains("sameorigin"));
        assert!(refused("basic_auth_users: {ann: open}").contains("\"ann\""));
    }
}
