//! The HTTP client of a job, and of Alertmanagers: connections kept between scrapes, TLS and credentials.

use std::{path::Path, sync::Arc, time::Duration, time::SystemTime};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, Error as ClientError, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls_pki_types::ServerName;
use tokio::sync::Mutex;

use super::tls::{self, TlsError};
use crate::config::{HttpClientConfig, SecretSource};

/// A connection unused for longer than this and two intervals is closed.
const IDLE_EXTRA: Duration = Duration::from_secs(30);

type Plain = Client<HttpConnector, Full<Bytes>>;
type Secure = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Requests of one job. TLS is set up for the first `https` URL, and again when its files change.
#[derive(Debug)]
pub struct HttpClient {
    config: HttpClientConfig,
    idle_timeout: Duration,
    plain: Plain,
    secure: Mutex<Option<SecureClient>>,
}

#[derive(Debug, Clone)]
struct SecureClient {
    client: Secure,
    made_from: Arc<Vec<Option<SystemTime>>>,
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// TLS cannot be set up.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    /// The target cannot be reached, or broke off.
    #[error("{}", causes(.0))]
    Send(#[from] ClientError),
    /// A file with credentials cannot be read.
    #[error("read {path}: {source}")]
    Credentials {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Credentials that no header can hold.
    #[error("credentials hold a character that a header cannot")]
    InvalidCredentials,
}

impl HttpClient {
    /// A client without connections.
    pub fn new(config: HttpClientConfig, interval: Duration) -> Self {
        let idle_timeout = interval * 2 + IDLE_EXTRA;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            config,
            idle_timeout,
            plain: pooled(idle_timeout).build(connector),
            secure: Mutex::new(None),
        }
    }

    /// Sends a request and returns the head of the answer.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, RequestError> {
        match is_secure(request.uri()) {
            true => Ok(self.secure().await?.request(request).await?),
            false => Ok(self.plain.request(request).await?),
        }
    }

    /// Whether an answer that points elsewhere is followed there.
    pub fn follows_redirects(&self) -> bool {
        self.config.follow_redirects
    }

    /// The `Authorization` header, made anew so that a changed file counts at once.
    pub async fn authorization(&self) -> Result<Option<HeaderValue>, RequestError> {
        let text = if let Some(basic) = &self.config.basic_auth {
            let user = read(&basic.username).await?;
            let password = read(&basic.password).await?;
            format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
        } else if let Some(authorization) = &self.config.authorization {
            match &authorization.credentials {
                Some(source) => format!("{} {}", authorization.scheme, read(source).await?),
                None => return Ok(None),
            }
        } else {
            return Ok(None);
        };
        let mut value =
            HeaderValue::from_str(&text).map_err(|_| RequestError::InvalidCredentials)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    async fn secure(&self) -> Result<Secure, RequestError> {
        let tls = self.config.tls.clone();
        let mut slot = self.secure.lock().await;
        let known = slot.as_ref().map(|secure| secure.made_from.clone());
        let built = tokio::task::spawn_blocking(move || {
            let times = tls::file_times(&tls);
            match known.is_some_and(|known| *known == times) {
                true => Ok(None),
                false => tls::client_config(&tls).map(|config| Some((config, times))),
            }
        });
        let built = built.await.expect("BUG: reading TLS files panicked")?;
        if let Some((config, times)) = built {
            let client = self.build_secure(config)?;
            *slot = Some(SecureClient { client, made_from: Arc::new(times) });
        }
        Ok(slot.as_ref().expect("was made above or before").client.clone())
    }

    fn build_secure(&self, config: rustls::ClientConfig) -> Result<Secure, TlsError> {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.enforce_http(false);
        let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_only();
        let name = &self.config.tls.server_name;
        let builder = if name.is_empty() {
            builder
        } else {
            let name = ServerName::try_from(name.clone()).map_err(|error| TlsError::Invalid {
                what: "server_name",
                reason: error.to_string(),
            })?;
            builder.with_server_name_resolver(FixedServerNameResolver::new(name))
        };
        // What is offered by ALPN; plain connections speak HTTP/1.1, as Prometheus's do.
        let connector = match self.config.enable_http2 {
            true => builder.enable_all_versions().wrap_connector(http),
            false => builder.enable_http1().wrap_connector(http),
        };
        Ok(pooled(self.idle_timeout).build(connector))
    }
}

/// Whether a request for `uri` needs TLS.
pub fn is_secure(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

fn pooled(idle_timeout: Duration) -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new());
    builder.pool_idle_timeout(idle_timeout);
    builder.pool_max_idle_per_host(1);
    builder
}

async fn read(source: &SecretSource) -> Result<String, RequestError> {
    let path = match source {
        SecretSource::Inline(secret) => return Ok(secret.reveal().to_owned()),
        SecretSource::File(path) => path,
    };
    let text = tokio::fs::read_to_string(Path::new(path))
        .await
        .map_err(|source| RequestError::Credentials { path: path.clone(), source })?;
    Ok(text.trim().to_owned())
}

/// An error with all of its causes, which say more than "client error".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}
