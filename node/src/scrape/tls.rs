//! TLS towards targets.

use std::{sync::Arc, time::SystemTime};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _};

use crate::config::{SecretSource, TlsConfig, TlsVersion};

/// Why no TLS configuration can be made. Scrapes fail with it until the files are right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("read {path}: {reason}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// No certificates, or no key, where some should be.
    #[error("tls_config {what}: {reason}")]
    Invalid {
        /// Which setting.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// Makes the configuration; reads files and, without a `ca`, the system's certificates.
pub fn client_config(config: &TlsConfig) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let versions = versions(config);
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|error| invalid("min_version", &error))?;
    let builder = if config.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate { provider }))
    } else {
        let roots = Arc::new(roots(config)?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| invalid("ca", &error))?;
        builder.with_webpki_verifier(verifier)
    };
    let Some(identity) = &config.identity else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(&text_of(&identity.cert)?, "cert")?;
    let key = PrivateKeyDer::from_pem_slice(text_of(&identity.key)?.as_bytes())
        .map_err(|error| invalid("key", &error))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| invalid("cert", &error))
}

/// When the files that `config` names last changed: a new value asks for a new configuration.
pub fn file_times(config: &TlsConfig) -> Vec<Option<SystemTime>> {
    let identity = config.identity.as_ref();
    let sources = [
        config.ca.as_ref(),
        identity.map(|identity| &identity.cert),
        identity.map(|identity| &identity.key),
    ];
    let file = |source: &SecretSource| match source {
        SecretSource::File(path) => Some(path.clone()),
        SecretSource::Inline(_) => None,
    };
    let paths = sources.into_iter().flatten().filter_map(file);
    paths.map(|path| std::fs::metadata(path).and_then(|found| found.modified()).ok()).collect()
}

fn invalid(what: &'static str, error: &dyn std::error::Error) -> TlsError {
    TlsError::Invalid { what, reason: error.to_string() }
}

fn versions(config: &TlsConfig) -> Vec<&'static SupportedProtocolVersion> {
    let allows = |version: TlsVersion| {
        config.min_version.is_none_or(|min| version >= min)
            && config.max_version.is_none_or(|max| version <= max)
    };
    [(TlsVersion::Tls13, &TLS13), (TlsVersion::Tls12, &TLS12)]
        .into_iter()
        .filter(|(version, _)| allows(*version))
        .map(|(_, supported)| supported)
        .collect()
}

fn roots(config: &TlsConfig) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    match &config.ca {
        Some(source) => {
            for certificate in certificates(&text_of(source)?, "ca")? {
                roots.add(certificate).map_err(|error| invalid("ca", &error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(what, &error))?;
    if certificates.is_empty() {
        return Err(TlsError::Invalid { what, reason: "no certificate found".to_owned() });
    }
    Ok(certificates)
}

fn text_of(source: &SecretSource) -> Result<String, TlsError> {
    match source {
        SecretSource::Inline(text) => Ok(text.reveal().to_owned()),
        SecretSource::File(path) => std::fs::read_to_string(path)
            .map_err(|error| TlsError::Read { path: path.clone(), reason: error.to_string() }),
    }
}

/// `insecure_skip_verify`: whoever answers is believed, as long as it holds the key that it shows.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
