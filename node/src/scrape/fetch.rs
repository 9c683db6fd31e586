//! Fetching a page within a time and a size.
//!
//! Invariants
//! * the whole fetch ends within its timeout, whatever the target does;
//! * bytes are counted after decompression, and a page over the limit is cut off at once, with
//!   its connection;
//! * credentials go to the target's own origin only, not to where it redirects.

use std::{io::Write as _, time::Duration};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Uri,
    header::{
        ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, LOCATION,
        USER_AGENT,
    },
};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;

use super::client::{HttpClient, RequestError, is_secure};

/// Bytes of a page where the configuration sets no limit.
const BODY_BYTES_MAX: u64 = 512 << 20;
/// Bytes of all headers of an answer.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// How much larger a page may be than what was sent, once it is above a mebibyte: real pages
/// shrink to a tenth, and only an attack to less than this.
const INFLATE_RATIO_MAX: u64 = 200;
const INFLATE_RATIO_FROM: u64 = 1 << 20;
/// Silence in the middle of a page after which it is given up.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// As many as Go's client follows.
const REDIRECTS_MAX: usize = 10;

/// Formats of pages that are surely not text format 0.0.4.
const OTHER_FORMATS: [&str; 2] =
    ["application/openmetrics-text", "application/vnd.google.protobuf"];

const ACCEPTED: HeaderValue = HeaderValue::from_static("text/plain;version=0.0.4,*/*;q=0.1");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("Narthex/", env!("CARGO_PKG_VERSION")));

/// What to fetch.
#[derive(Debug, Clone, Copy)]
pub struct FetchRequest<'a> {
    /// Where the page is.
    pub url: &'a str,
    /// From the first byte sent to the last received.
    pub timeout: Duration,
    /// `body_size_limit`; 0 means the default.
    pub body_bytes_max: u64,
    /// `enable_compression`: ask for gzip.
    pub asks_gzip: bool,
    /// `fallback_scrape_protocol`: take a page of no known content type for text.
    pub falls_back_to_text: bool,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Correct the target's address, scheme or path.
    #[error("{0:?} is not a valid URL")]
    InvalidUrl(String),
    /// See the cause.
    #[error("Get {url:?}: {source}")]
    Request {
        /// Where the request went.
        url: String,
        /// Why it failed.
        #[source]
        source: RequestError,
    },
    /// The target is too slow, or its timeout too short.
    #[error("Get {url:?}: context deadline exceeded")]
    Timeout {
        /// Where the request went.
        url: String,
    },
    /// The target broke off in the middle of the page.
    #[error("read page: {0}")]
    Body(#[from] hyper::Error),
    /// The target fell silent in the middle of the page.
    #[error("read page: nothing came for {} s", SILENCE_MAX.as_secs())]
    Silence,
    /// The target answered with an error.
    #[error("server returned HTTP status {0}")]
    Status(StatusCode),
    /// Headers beyond all reason.
    #[error("headers of more than {HEADER_BYTES_MAX} bytes")]
    Headers,
    /// The answer is not in a format that can be read.
    #[error(
        "received unsupported Content-Type {0:?} and no fallback_scrape_protocol specified for target"
    )]
    ContentType(String),
    /// The answer does not say its format.
    #[error(
        "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target"
    )]
    NoContentType,
    /// The page is larger than allowed.
    #[error("body size limit exceeded ({0} bytes)")]
    BodyLimit(u64),
    /// The page inflates beyond what pages do.
    #[error("page inflates to more than {INFLATE_RATIO_MAX} times its size")]
    InflateRatio,
    /// Not the gzip that the header promised.
    #[error("gzip: {0}")]
    Gzip(std::io::Error),
    /// An encoding that was not asked for.
    #[error("unsupported Content-Encoding {0:?}")]
    Encoding(String),
    /// A circle, probably.
    #[error("stopped after {REDIRECTS_MAX} redirects")]
    Redirects,
}

/// Fetches a page; gives its bytes, decompressed. `expected_bytes` is how long it was last time.
pub async fn fetch(
    client: &HttpClient,
    request: FetchRequest<'_>,
    expected_bytes: usize,
) -> Result<Vec<u8>, FetchError> {
    let work = async {
        let response = follow(client, request).await?;
        check_head(&response, request.falls_back_to_text)?;
        let limit = match request.body_bytes_max {
            0 => BODY_BYTES_MAX,
            limit => limit,
        };
        read_body(response, limit, expected_bytes).await
    };
    match tokio::time::timeout(request.timeout, work).await {
        Ok(result) => result,
        Err(_) => Err(FetchError::Timeout { url: request.url.to_owned() }),
    }
}

/// Sends the request and follows redirects.
async fn follow(
    client: &HttpClient,
    request: FetchRequest<'_>,
) -> Result<Response<Incoming>, FetchError> {
    let failed = |uri: &Uri, source| FetchError::Request { url: uri.to_string(), source };
    let origin = parse_url(request.url)?;
    let mut uri = origin.clone();
    for _ in 0..=REDIRECTS_MAX {
        let mut head = head(&uri, request);
        if keeps_credentials(&origin, &uri)
            && let Some(value) = client.authorization().await.map_err(|e| failed(&uri, e))?
        {
            head.headers_mut().insert(AUTHORIZATION, value);
        }
        let response = client.send(head).await.map_err(|error| failed(&uri, error))?;
        match redirect(&uri, &response) {
            Some(next) if client.follows_redirects() => uri = parse_url(&next)?,
            _ => return Ok(response),
        }
    }
    Err(FetchError::Redirects)
}

fn parse_url(url: &str) -> Result<Uri, FetchError> {
    let uri: Option<Uri> = url.parse().ok();
    uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
        .ok_or_else(|| FetchError::InvalidUrl(url.to_owned()))
}

fn head(uri: &Uri, request: FetchRequest<'_>) -> Request<Full<Bytes>> {
    let mut head = Request::new(Full::default());
    *head.uri_mut() = uri.clone();
    let headers = head.headers_mut();
    headers.insert(ACCEPT, ACCEPTED);
    let encoding = if request.asks_gzip { "gzip" } else { "identity" };
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
    headers.insert(USER_AGENT, AGENT);
    if let Ok(seconds) = HeaderValue::from_str(&request.timeout.as_secs_f64().to_string()) {
        headers.insert("x-prometheus-scrape-timeout-seconds", seconds);
    }
    head
}

/// The same host and port, or the same host on `https` instead of `http`.
fn keeps_credentials(origin: &Uri, uri: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().unwrap_or(if is_secure(uri) { 443 } else { 80 });
    let is_upgrade = !is_secure(origin) && port(origin) == 80 && is_secure(uri) && port(uri) == 443;
    let is_same = is_secure(origin) == is_secure(uri) && port(origin) == port(uri);
    origin.host() == uri.host() && (is_same || is_upgrade)
}

/// Where an answer points to, if it does.
fn redirect<B>(uri: &Uri, response: &Response<B>) -> Option<String> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let location = location.split('#').next().unwrap_or_default();
    if location.contains("://") {
        return Some(location.to_owned());
    }
    let scheme = uri.scheme_str()?;
    if let Some(rest) = location.strip_prefix("//") {
        return Some(format!("{scheme}://{rest}"));
    }
    let authority = uri.authority()?;
    if location.starts_with('/') {
        return Some(format!("{scheme}://{authority}{location}"));
    }
    let folder = uri.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    Some(format!("{scheme}://{authority}{folder}/{location}"))
}

fn check_head<B>(response: &Response<B>, falls_back_to_text: bool) -> Result<(), FetchError> {
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let headers = response.headers();
    let bytes: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > HEADER_BYTES_MAX {
        return Err(FetchError::Headers);
    }
    let given = text_header(headers, CONTENT_TYPE);
    let media_type = given.split(';').next().unwrap_or_default().trim();
    match media_type {
        text if text.eq_ignore_ascii_case("text/plain") => Ok(()),
        other if falls_back_to_text && !OTHER_FORMATS.contains(&other) => Ok(()),
        "" => Err(FetchError::NoContentType),
        _ => Err(FetchError::ContentType(given.to_owned())),
    }
}

fn text_header(headers: &HeaderMap, name: http::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

async fn read_body(
    response: Response<Incoming>,
    limit: u64,
    expected_bytes: usize,
) -> Result<Vec<u8>, FetchError> {
    let encoding = text_header(response.headers(), CONTENT_ENCODING).trim();
    let page = Page { bytes: Vec::with_capacity(expected_bytes), limit };
    let mut sink = match encoding {
        "" | "identity" => Sink::Plain(page),
        "gzip" => Sink::Gzip { decoder: Box::new(MultiGzDecoder::new(page)), received: 0 },
        other => return Err(FetchError::Encoding(other.to_owned())),
    };
    let mut body = response.into_body();
    loop {
        let frame = tokio::time::timeout(SILENCE_MAX, body.frame());
        let Some(frame) = frame.await.map_err(|_| FetchError::Silence)? else { break };
        if let Ok(data) = frame?.into_data() {
            sink.take(&data)?;
        }
    }
    sink.finish()
}

/// A page so far.
struct Page {
    bytes: Vec<u8>,
    limit: u64,
}

enum Sink {
    Plain(Page),
    Gzip { decoder: Box<MultiGzDecoder<Page>>, received: u64 },
}

impl Page {
    fn exceeds(&self, more: usize) -> bool {
        (self.bytes.len() + more) as u64 > self.limit
    }
}

impl std::io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.exceeds(bytes.len()) {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn take(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        match self {
            Self::Plain(page) if page.exceeds(bytes.len()) => {
                Err(FetchError::BodyLimit(page.limit))
            }
            Self::Plain(page) => {
                page.bytes.extend_from_slice(bytes);
                Ok(())
            }
            Self::Gzip { decoder, received } => {
                *received += bytes.len() as u64;
                let limit = decoder.get_ref().limit;
                decoder.write_all(bytes).map_err(|error| gzip_error(error, limit))?;
                let inflated = decoder.get_ref().bytes.len() as u64;
                if inflated > INFLATE_RATIO_FROM && inflated / *received > INFLATE_RATIO_MAX {
                    return Err(FetchError::InflateRatio);
                }
                Ok(())
            }
        }
    }

    fn finish(self) -> Result<Vec<u8>, FetchError> {
        match self {
            Self::Plain(page) => Ok(page.bytes),
            Self::Gzip { decoder, .. } => {
                let limit = decoder.get_ref().limit;
                let page = decoder.finish().map_err(|error| gzip_error(error, limit))?;
                Ok(page.bytes)
            }
        }
    }
}

fn gzip_error(error: std::io::Error, limit: u64) -> FetchError {
    match error.kind() {
        std::io::ErrorKind::FileTooLarge => FetchError::BodyLimit(limit),
        _ => FetchError::Gzip(error),
    }
}

#[cfg(test)]
mod tests;
