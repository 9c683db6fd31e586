//! The listener: sockets, connections, TLS, and their bounds.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse as _, Redirect, Response},
};
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use parking_lot::RwLock;
use prometheus_client::registry::Registry;
use regex_automata::meta::Regex;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Service as _, service_fn};
use tracing::{debug, info, warn};

use crate::{
    access::{GRPC, HEALTHY, METRICS, READY, RoleSet, STATUS_SELF_METRICS},
    auth::Users,
    clock::Clock,
    config::{WebFile, WebFileError},
    gate::{Connection, Gate},
    metrics::{self, HttpMetrics, TEXT_FORMAT},
    origin::OriginPolicy,
    ready::Readiness,
    routes::{Routes, not_ready},
    self_metrics::families,
    tls::Tls,
    unread,
};

/// Time a client has for its TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// Time that open requests have to finish once the process stops.
const DRAIN_TIME: Duration = Duration::from_secs(10);
/// Pause between two looks at the web configuration file.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);
/// Streams a client may have open on one HTTP/2 connection.
const STREAMS_MAX: u32 = 200;
/// Largest head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// The `--web.*` flags.
#[derive(Debug, Clone)]
pub struct WebOptions {
    /// `--web.config.file`.
    pub config_file: Option<PathBuf>,
    /// `--web.external-url`: the URL under which browsers reach this process.
    pub external_url: Option<String>,
    /// `--web.route-prefix`. Default: the path of the external URL.
    pub route_prefix: Option<String>,
    /// `--web.cors.origin`: a regular expression for whole origins. Default `.*`.
    pub cors_origin: String,
    /// `--web.allow-anonymous`: what callers without credentials may do beyond loopback.
    pub allow_anonymous: RoleSet,
    /// `--web.enable-lifecycle`: `/-/reload` and `/-/quit` work. Default off.
    pub enable_lifecycle: bool,
    /// `--web.max-connections`. Default 512.
    pub connections_max: usize,
    /// `--web.read-timeout`: for a request to arrive, and for an idle connection. Default 5 m.
    pub read_timeout: Duration,
}

impl Default for WebOptions {
    fn default() -> Self {
        Self {
            config_file: None,
            external_url: None,
            route_prefix: None,
            cors_origin: ".*".to_owned(),
            allow_anonymous: RoleSet::NONE,
            enable_lifecycle: false,
            connections_max: 512,
            read_timeout: Duration::from_secs(300),
        }
    }
}

/// Why a process refuses to start its web listener.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// Everybody who reaches the address could do everything, or nobody anything.
    #[error(
        "{address} can be reached from other machines but nobody is allowed anything: give \
         --web.config.file with basic_auth_users, or --web.allow-anonymous=read,write to let \
         everybody in on purpose"
    )]
    Unprotected {
        /// The address that lies beyond loopback.
        address: SocketAddr,
    },
    /// The web configuration file is refused.
    #[error("--web.config.file")]
    File(#[from] WebFileError),
    /// A flag's value cannot be used.
    #[error("{flag}: {message}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// What is wrong with its value.
        message: String,
    },
}

/// A listener that is checked but not yet serving.
#[derive(Debug)]
pub struct Web {
    shared: Arc<Shared>,
    readiness: Readiness,
}

struct Shared {
    gate: Arc<Gate>,
    prefix: String,
    config_file: Option<PathBuf>,
    in_force: RwLock<InForce>,
    connections: Arc<Semaphore>,
    read_timeout: Duration,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// What the configuration file says, as last read.
#[derive(Clone, Default)]
struct InForce {
    tls: Option<Tls>,
    headers: Arc<[(HeaderName, HeaderValue)]>,
    read_at: Option<(SystemTime, u64)>,
}

impl Web {
    /// Checks `options` and the file they name. Opens no socket.
    pub fn open(options: WebOptions, clock: Clock) -> Result<Self, WebError> {
        let external = external_url(options.external_url.as_deref())?;
        let origins = OriginPolicy::new(&options.cors_origin, external.as_ref())
            .map_err(|message| WebError::Flag { flag: "--web.cors.origin", message })?;
        let prefix = options
            .route_prefix
            .unwrap_or_else(|| external.map(|url| url.path().to_owned()).unwrap_or_default());
        let gate = Gate {
            users: Users::new(),
            allow_anonymous: options.allow_anonymous,
            enable_lifecycle: options.enable_lifecycle,
            origins,
            metrics: HttpMetrics::default(),
            clock,
        };
        let shared = Shared {
            gate: Arc::new(gate),
            prefix: clean_prefix(&prefix),
            config_file: options.config_file,
            in_force: RwLock::default(),
            connections: Arc::new(Semaphore::new(options.connections_max)),
            read_timeout: options.read_timeout,
        };
        if let Some(path) = shared.config_file.clone() {
            shared.load(&path)?;
        }
        shared.gate.metrics.config_loaded.set(1);
        Ok(Self { shared: Arc::new(shared), readiness: Readiness::new() })
    }

    /// Refuses an address at which nobody could do anything, or everybody everything.
    pub fn check_address(&self, address: SocketAddr) -> Result<(), WebError> {
        let certified =
            self.shared.in_force.read().tls.as_ref().is_some_and(|t| t.clients_verified);
        let gate = &self.shared.gate;
        let protected = !gate.users.is_empty() || certified || !gate.allow_anonymous.is_empty();
        if address.ip().is_loopback() || protected {
            return Ok(());
        }
        Err(WebError::Unprotected { address })
    }

    /// The conditions behind `/-/ready`.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// The path that all routes lie below; empty, or with a slash in front and none behind.
    pub fn prefix(&self) -> &str {
        &self.shared.prefix
    }

    /// Serves `routes` on `sockets` until `stop` fires. Requests accepted by then have ten seconds
    /// to finish. `/metrics` shows `registry`, to which the listener's own metrics are added.
    pub async fn serve(
        self,
        sockets: Vec<TcpListener>,
        routes: Routes,
        registry: Registry,
        (tasks, stop): (&TaskTracker, &CancellationToken),
    ) -> Result<(), WebError> {
        let serving = self.listen(sockets, (tasks, stop)).await?;
        serving.open(routes, registry).await;
        Ok(())
    }

    /// Begins to serve health and the process's own metrics, for as long as its roles start. All
    /// else is answered with what [`Web::readiness`] waits for, until [`Serving::open`].
    pub async fn listen(
        &self,
        sockets: Vec<TcpListener>,
        (tasks, stop): (&TaskTracker, &CancellationToken),
    ) -> Result<Serving, WebError> {
        for socket in &sockets {
            if let Ok(address) = socket.local_addr() {
                self.check_address(address)?;
                self.announce(address);
            }
        }
        let serving = Serving {
            shared: Arc::clone(&self.shared),
            readiness: self.readiness.clone(),
            router: Arc::default(),
        };
        let starting = Routes::starting(self.readiness.clone());
        serving.put(starting, Registry::default()).await;
        for socket in sockets {
            let acceptor = Acceptor {
                shared: Arc::clone(&self.shared),
                router: Arc::clone(&serving.router),
                tasks: tasks.clone(),
                stop: stop.clone(),
            };
            tasks.spawn(acceptor.run(socket));
        }
        if let Some(path) = self.shared.config_file.clone() {
            tasks.spawn(Arc::clone(&self.shared).reload_until(path, stop.clone()));
        }
        Ok(serving)
    }

    fn announce(&self, address: SocketAddr) {
        let gate = &self.shared.gate;
        let tls = self.shared.in_force.read().tls.is_some();
        info!(%address, tls, "web listener");
        if !address.ip().is_loopback() && !gate.allow_anonymous.is_empty() {
            warn!(%address, roles = %gate.allow_anonymous, "callers without credentials are let in");
        }
    }
}

/// A listener that serves while its process starts.
#[derive(Debug)]
pub struct Serving {
    shared: Arc<Shared>,
    readiness: Readiness,
    router: Arc<RwLock<Router>>,
}

impl Serving {
    /// Serves `routes` from here on, also on connections that are open. `/metrics` shows
    /// `registry`, to which the listener's own metrics are added.
    pub async fn open(self, routes: Routes, registry: Registry) {
        self.put(routes, registry).await;
    }

    async fn put(&self, mut routes: Routes, mut registry: Registry) {
        metrics::register_process(&mut registry);
        metrics::register_readiness(&mut registry, self.readiness.clone());
        self.shared.gate.metrics.register(&mut registry);
        add_own_routes(&mut routes, Arc::new(registry), self.readiness.clone());
        let router = routes.into_router(Arc::clone(&self.shared.gate)).await;
        *self.router.write() = router;
    }
}

fn add_own_routes(routes: &mut Routes, registry: Arc<Registry>, readiness: Readiness) {
    routes.http(&HEALTHY, async || "Narthex is Healthy.\n");
    routes.http(&READY, async move || match readiness.waits_for() {
        None => "Narthex is Ready.\n".into_response(),
        Some(_) => not_ready(&readiness),
    });
    let of_json = Arc::clone(&registry);
    routes.http(&STATUS_SELF_METRICS, async move |request: axum::extract::Request| {
        self_metrics(&of_json, request.uri().query().unwrap_or(""))
    });
    routes.http(&METRICS, async move || match metrics::encode(&registry) {
        Ok(text) => ([(http::header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    });
}

/// The metrics as JSON, those whose names match the pattern that was given, if any.
fn self_metrics(registry: &Registry, query: &str) -> Response {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let given = pairs.filter(|(name, _)| *name == "metric_name_pattern").map(|(_, text)| text);
    let given = given.map(unescaped).next().filter(|text| !text.is_empty());
    let compiled =
        given.map(|text| Regex::new(&format!("^(?:{text})$")).map_err(|error| error.to_string()));
    let failed = |status, kind, why: String| {
        let body = json!({"status": "error", "errorType": kind, "error": why});
        (status, [JSON], body.to_string()).into_response()
    };
    let pattern = match compiled.transpose() {
        Ok(pattern) => pattern,
        Err(error) => {
            let why = format!("invalid parameter \"metric_name_pattern\": {error}");
            return failed(StatusCode::BAD_REQUEST, "bad_data", why);
        }
    };
    match metrics::encode(registry) {
        Ok(page) => {
            let data = families(&page, pattern.as_ref());
            let body = json!({"status": "success", "data": data});
            ([JSON], body.to_string()).into_response()
        }
        Err(error) => failed(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()),
    }
}

const JSON: (HeaderName, &str) = (http::header::CONTENT_TYPE, "application/json");

/// A value of a query string; what is no UTF-8 then matches nothing.
fn unescaped(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

impl Shared {
    /// Reads the file and puts it in force.
    fn load(&self, path: &Path) -> Result<(), WebFileError> {
        let read_at = version(path);
        let file = WebFile::open(path)?;
        let tls = Tls::open(&file)?;
        let headers = file.header_pairs()?.into();
        *self.in_force.write() = InForce { tls, headers, read_at };
        self.gate.users.replace(file.basic_auth_users.unwrap_or_default());
        Ok(())
    }

    /// Reads the file again whenever it has changed; keeps the last good one.
    async fn reload_until(self: Arc<Self>, path: PathBuf, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(RELOAD_INTERVAL);
        let mut refused = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            let found = version(&path);
            if found == self.in_force.read().read_at || found == refused {
                continue;
            }
            let result = self.load(&path);
            self.gate.metrics.config_loaded.set(i64::from(result.is_ok()));
            match result {
                Ok(()) => info!(file = %path.display(), "web configuration reloaded"),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    warn!(file = %path.display(), error, "web configuration refused; keeping the old one");
                    refused = found;
                }
            }
        }
    }
}

/// Tells one content of a file from the next.
fn version(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Accepts the connections of one socket.
#[derive(Clone)]
struct Acceptor {
    shared: Arc<Shared>,
    router: Arc<RwLock<Router>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Acceptor {
    async fn run(self, socket: TcpListener) {
        let graceful = Arc::new(GracefulShutdown::new());
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = self.stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, peer)) => self.take(stream, peer, &graceful),
                Err(error) => {
                    // Mostly "too many open files": wait for some to close.
                    warn!(%error, "accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(socket);
        if let Some(graceful) = Arc::into_inner(graceful) {
            let _ = tokio::time::timeout(DRAIN_TIME, graceful.shutdown()).await;
        }
    }

    /// Serves one connection in a task of its own, or closes it where there are too many.
    fn take(&self, stream: TcpStream, peer: SocketAddr, graceful: &GracefulShutdown) {
        let Ok(permit) = Arc::clone(&self.shared.connections).try_acquire_owned() else {
            self.shared.gate.metrics.refused("too_many_connections");
            return;
        };
        let Ok(local) = stream.local_addr() else {
            return;
        };
        let _ = stream.set_nodelay(true);
        let connection = Connection { local, peer, certified: false };
        let acceptor = self.clone();
        let watcher = graceful.watcher();
        self.tasks.spawn(async move {
            let gauge = &acceptor.shared.gate.metrics.connections;
            gauge.inc();
            let tls = acceptor.shared.in_force.read().tls.clone();
            let served = match tls {
                None => acceptor.serve(stream, connection, watcher).await,
                Some(tls) => acceptor.serve_tls(&tls, (stream, connection), watcher).await,
            };
            if let Err(error) = served {
                debug!(%peer, error, "connection ended");
            }
            acceptor.shared.gate.metrics.connections.dec();
            drop(permit);
        });
    }

    async fn serve_tls(
        &self,
        tls: &Tls,
        (stream, mut connection): (TcpStream, Connection),
        watcher: hyper_util::server::graceful::Watcher,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let handshake = TlsAcceptor::from(Arc::clone(&tls.config)).accept(stream);
        let stream = tokio::time::timeout(HANDSHAKE_TIME, handshake).await??;
        connection.certified = tls.clients_verified;
        self.serve(stream, connection, watcher).await
    }

    async fn serve<S>(
        &self,
        stream: S,
        connection: Connection,
        watcher: hyper_util::server::graceful::Watcher,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.shared.read_timeout)
            .max_buf_size(HEAD_BYTES_MAX.max(400 << 10));
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .keep_alive_interval(Some(Duration::from_secs(30)));
        let (shared, router) = (Arc::clone(&self.shared), Arc::clone(&self.router));
        let tasks = self.tasks.clone();
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let request = unread::followed(request, &tasks);
            answer(Arc::clone(&shared), router.read().clone(), connection, request)
        });
        let served = builder.serve_connection_with_upgrades(
            TokioIo::new(stream),
            TowerToHyperService::new(service),
        );
        watcher.watch(served.into_owned()).await
    }
}

async fn answer(
    shared: Arc<Shared>,
    mut router: Router,
    connection: Connection,
    mut request: Request<Body>,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(connection);
    let mut response = match below_prefix(&shared.prefix, request.uri()) {
        Placed::Here => router.call(request).await?,
        Placed::Below(uri) => {
            *request.uri_mut() = uri;
            router.call(request).await?
        }
        Placed::Root => Redirect::to(&format!("{}/", shared.prefix)).into_response(),
        Placed::Elsewhere => (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
    };
    let headers = Arc::clone(&shared.in_force.read().headers);
    for (name, value) in headers.iter() {
        response.headers_mut().insert(name, value.clone());
    }
    Ok(response)
}

#[derive(Debug, PartialEq, Eq)]
enum Placed {
    /// The path is as the routes know it.
    Here,
    /// It is below the prefix; this is the rest.
    Below(Uri),
    /// It is the root above the prefix.
    Root,
    Elsewhere,
}

/// Takes the prefix off a path. gRPC clients know none, so their paths stay.
fn below_prefix(prefix: &str, uri: &Uri) -> Placed {
    let path = uri.path();
    let is_grpc = || GRPC.iter().any(|(service, ..)| path[1..].starts_with(service));
    if prefix.is_empty() || is_grpc() {
        return Placed::Here;
    }
    let Some(rest) = path.strip_prefix(prefix).filter(|r| r.is_empty() || r.starts_with('/'))
    else {
        return if path == "/" { Placed::Root } else { Placed::Elsewhere };
    };
    if rest.is_empty() {
        return Placed::Root;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{rest}{query}").parse().map_or(Placed::Elsewhere, Placed::Below)
}

fn external_url(text: Option<&str>) -> Result<Option<Uri>, WebError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let wrong = |message: String| WebError::Flag { flag: "--web.external-url", message };
    let url: Uri = text.parse().map_err(|error: http::uri::InvalidUri| wrong(error.to_string()))?;
    match (url.scheme_str(), url.authority()) {
        (Some("http" | "https"), Some(_)) => Ok(Some(url)),
        _ => Err(wrong(format!("{text:?} is no http or https URL"))),
    }
}

/// No slash behind, one in front; empty for the root.
fn clean_prefix(prefix: &str) -> String {
    let trimmed = prefix.trim_matches('/');
    if trimmed.is_empty() { String::new() } else { format!("/{trimmed}") }
}

#[cfg(test)]
mod tests;
