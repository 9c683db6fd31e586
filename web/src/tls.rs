//! TLS of the web listener, made from the web configuration file.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    server::WebPkiClientVerifier,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use crate::config::{TlsSection, WebFile, WebFileError};

/// The TLS side of a listener.
#[derive(Clone)]
pub struct Tls {
    /// What rustls works from.
    pub config: Arc<ServerConfig>,
    /// Whether every client must show a certificate that the configured CA signed.
    pub clients_verified: bool,
}

impl Tls {
    /// Reads certificate and key and makes the configuration; `None` where the file has no TLS.
    pub fn open(file: &WebFile) -> Result<Option<Self>, WebFileError> {
        let Some(section) = &file.tls_server_config else {
            return Ok(None);
        };
        let wrong = |error| WebFileError::value("tls_server_config", error);
        let provider = Arc::new(provider(section)?);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(section)?)
            .map_err(|error| wrong(error.to_string()))?;
        let (certificates, key) = certificate(file, section)?;
        let (verifier, clients_verified) = match client_auth(file, section)? {
            None => (WebPkiClientVerifier::no_client_auth(), false),
            Some((roots, required)) => {
                let builder =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let builder = if required { builder } else { builder.allow_unauthenticated() };
                (builder.build().map_err(|error| wrong(error.to_string()))?, required)
            }
        };
        let mut config = builder
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates, key)
            .map_err(|error| wrong(error.to_string()))?;
        if file.http_server_config.http2 {
            config.alpn_protocols.push(b"h2".to_vec());
        }
        config.alpn_protocols.push(b"http/1.1".to_vec());
        Ok(Some(Self { config: Arc::new(config), clients_verified }))
    }
}

type Certificate = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn certificate(file: &WebFile, section: &TlsSection) -> Result<Certificate, WebFileError> {
    let cert = file
        .text_or_file("cert", section.cert.as_ref(), section.cert_file.as_ref())?
        .ok_or_else(|| WebFileError::value("tls_server_config", "missing cert or cert_file"))?;
    let key = file
        .text_or_file("key", section.key.as_ref(), section.key_file.as_ref())?
        .ok_or_else(|| WebFileError::value("tls_server_config", "missing key or key_file"))?;
    let certificates = certificates("tls_server_config.cert", &cert)?;
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|error| WebFileError::value("tls_server_config.key", error))?;
    Ok((certificates, key))
}

fn certificates(key: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, WebFileError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| WebFileError::value(key, error))?;
    if found.is_empty() {
        return Err(WebFileError::value(key, "no certificate found"));
    }
    Ok(found)
}

/// The CA of clients' certificates and whether one is required; `None` where none is asked for.
fn client_auth(
    file: &WebFile,
    section: &TlsSection,
) -> Result<Option<(RootCertStore, bool)>, WebFileError> {
    let ca = file.text_or_file(
        "client_ca",
        section.client_ca.as_ref(),
        section.client_ca_file.as_ref(),
    )?;
    let key = "tls_server_config.client_auth_type";
    let required = match section.client_auth_type.as_deref().unwrap_or("") {
        "" | "NoClientCert" if ca.is_none() => return Ok(None),
        "" | "NoClientCert" => {
            return Err(WebFileError::value(key, "a client CA is given but no client is verified"));
        }
        "VerifyClientCertIfGiven" => false,
        "RequireAndVerifyClientCert" => true,
        "RequestClientCert" | "RequireAnyClientCert" => {
            return Err(WebFileError::value(
                key,
                "an unverified certificate proves nothing; use RequireAndVerifyClientCert",
            ));
        }
        other => return Err(WebFileError::value(key, format!("unknown type {other:?}"))),
    };
    let Some(ca) = ca else {
        return Err(WebFileError::value(key, "missing client_ca or client_ca_file"));
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls_server_config.client_ca", &ca)? {
        roots
            .add(certificate)
            .map_err(|error| WebFileError::value("tls_server_config.client_ca", error))?;
    }
    Ok(Some((roots, required)))
}

fn versions(section: &TlsSection) -> Result<Vec<&'static SupportedProtocolVersion>, WebFileError> {
    let number = |key: &str, name: &str| match name {
        "TLS12" => Ok(12),
        "TLS13" => Ok(13),
        other => Err(WebFileError::value(
            format!("tls_server_config.{key}"),
            format!("{other:?} is not supported; use TLS12 or TLS13"),
        )),
    };
    let min = number("min_version", section.min_version.as_deref().unwrap_or("TLS12"))?;
    let max = number("max_version", section.max_version.as_deref().unwrap_or("TLS13"))?;
    let all = [(12, &rustls::version::TLS12), (13, &rustls::version::TLS13)];
    let chosen: Vec<_> =
        all.into_iter().filter(|(n, _)| (min..=max).contains(n)).map(|(_, v)| v).collect();
    if chosen.is_empty() {
        return Err(WebFileError::value("tls_server_config.min_version", "above max_version"));
    }
    Ok(chosen)
}

/// ring's algorithms, or those that the file lists.
fn provider(section: &TlsSection) -> Result<CryptoProvider, WebFileError> {
    let mut provider = ring::default_provider();
    if !section.cipher_suites.is_empty() {
        let mut suites = Vec::new();
        for name in &section.cipher_suites {
            // rustls marks the suites of TLS 1.3 in its names, Go does not.
            let suite = provider.cipher_suites.iter().find(|suite| {
                format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1) == *name
            });
            suites.push(*suite.ok_or_else(|| {
                WebFileError::value("tls_server_config.cipher_suites", format!("no {name:?}"))
            })?);
        }
        provider.cipher_suites = suites;
    }
    if !section.curve_preferences.is_empty() {
        let mut groups = Vec::new();
        for name in &section.curve_preferences {
            let wanted = match name.as_str() {
                "CurveP256" => "secp256r1",
                "CurveP384" => "secp384r1",
                other => other,
            };
            let group =
                provider.kx_groups.iter().find(|group| format!("{:?}", group.name()) == wanted);
            groups.push(*group.ok_or_else(|| {
                WebFileError::value("tls_server_config.curve_preferences", format!("no {name:?}"))
            })?);
        }
        provider.kx_groups = groups;
    }
    Ok(provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section() -> TlsSection {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("key");
        TlsSection {
            cert: Some(pair.cert.pem()),
            key: Some(pair.signing_key.serialize_pem()),
            ..TlsSection::default()
        }
    }

    fn open(section: TlsSection) -> Result<Option<Tls>, WebFileError> {
        Tls::open(&WebFile { tls_server_config: Some(section), ..WebFile::default() })
    }

    #[test]
    fn suites_and_curves_have_gos_names() {
        let mut section = section();
        section.cipher_suites = vec![
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".to_owned(),
            "TLS_AES_128_GCM_SHA256".to_owned(),
        ];
        section.curve_preferences = vec!["X25519".to_owned(), "CurveP256".to_owned()];
        assert!(open(section.clone()).expect("valid").is_some());
        section.cipher_suites = vec!["TLS_RSA_WITH_RC4_128_SHA".to_owned()];
        assert!(open(section).is_err());
    }

    #[test]
    fn clients_are_verified_against_a_ca() {
        let mut section = section();
        section.client_auth_type = Some("RequireAndVerifyClientCert".to_owned());
        assert!(open(section.clone()).is_err(), "no CA");
        section.client_ca = section.cert.clone();
        assert!(open(section.clone()).expect("valid").expect("TLS").clients_verified);
        section.client_auth_type = Some("RequireAnyClientCert".to_owned());
        assert!(open(section).is_err(), "an unverified certificate");
    }

    #[test]
    fn old_versions_and_missing_keys_are_refused() {
        let old = TlsSection { min_version: Some("TLS10".to_owned()), ..section() };
        assert!(open(old).is_err());
        assert!(open(TlsSection { key: None, ..section() }).is_err());
        assert!(Tls::open(&WebFile::default()).expect("valid").is_none());
    }
}
