//! The routes of a process: what its roles serve, each guarded by its row of the access table.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::{Body, HttpBody as _},
    extract::{Request, State},
    handler::Handler,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use http::{HeaderValue, Method, StatusCode, header};
use tonic::{server::NamedService, service::Routes as GrpcRoutes};
use tower_http::compression::CompressionLayer;

use crate::{
    access::{Access, Endpoint, Role, grpc_access},
    gate::{Gate, Refusal},
    metrics::Answered,
    ready::Readiness,
};

/// What a process serves on its web listener. Every role adds its part.
#[derive(Default)]
pub struct Routes {
    http: Vec<(&'static Endpoint, MethodRouter)>,
    grpc: GrpcRoutes,
    services: Vec<&'static str>,
    descriptors: Vec<&'static [u8]>,
    /// Set while it is not known what else there is.
    starting: Option<Readiness>,
}

impl Routes {
    /// No routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// No routes yet: whatever is asked for may exist once the process is ready.
    pub(crate) fn starting(readiness: Readiness) -> Self {
        Self { starting: Some(readiness), ..Self::default() }
    }

    /// Serves `endpoint` by `handler`. An endpoint that two roles of a process add is served by
    /// the first.
    pub fn http<H, T>(&mut self, endpoint: &'static Endpoint, handler: H) -> &mut Self
    where
        H: Handler<T, ()>,
        T: 'static,
    {
        if self.http.iter().any(|(found, _)| found.path() == endpoint.path()) {
            return self;
        }
        let filter = endpoint
            .methods()
            .iter()
            .filter_map(|method| MethodFilter::try_from(method.clone()).ok())
            .reduce(MethodFilter::or)
            .expect("every row has a method that axum knows");
        self.http.push((endpoint, on(filter, handler)));
        self
    }

    /// Serves a gRPC service. Its methods need rows in the access table.
    pub fn grpc<S>(&mut self, service: S) -> &mut Self
    where
        S: tower::Service<http::Request<tonic::body::Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        self.grpc = std::mem::take(&mut self.grpc).add_service(service);
        self.services.push(S::NAME);
        self
    }

    /// Lets gRPC reflection describe the services of an encoded file descriptor set.
    pub fn reflect(&mut self, descriptors: &'static [u8]) -> &mut Self {
        self.descriptors.push(descriptors);
        self
    }

    /// The finished router. Requests carry a [`crate::Connection`] among their extensions.
    pub(crate) async fn into_router(mut self, gate: Arc<Gate>) -> Router {
        let mut router = Router::new();
        for (endpoint, methods) in std::mem::take(&mut self.http) {
            let guard = Guard {
                gate: Arc::clone(&gate),
                access: endpoint.access(),
                handler: endpoint.handler().into(),
                is_off: endpoint.is_lifecycle() && !gate.enable_lifecycle,
            };
            let guarded = methods.layer(middleware::from_fn_with_state(guard, admit_http));
            router = router.route(endpoint.path(), guarded);
        }
        let router = router.layer(CompressionLayer::new());
        let router = match self.starting.take() {
            Some(readiness) => router.fallback(async move || not_ready(&readiness)),
            None => router.fallback(not_found),
        };
        if self.services.is_empty() {
            return router;
        }
        self.add_health().await;
        self.add_reflection();
        let grpc = self.grpc.into_axum_router().reset_fallback();
        router.merge(grpc.layer(middleware::from_fn_with_state(gate, admit_grpc)))
    }

    async fn add_health(&mut self) {
        let (reporter, service) = tonic_health::server::health_reporter();
        for name in self.services.clone() {
            reporter.set_service_status(name, tonic_health::ServingStatus::Serving).await;
        }
        self.grpc(service);
    }

    fn add_reflection(&mut self) {
        let builder = || {
            let builder = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
            self.descriptors
                .iter()
                .fold(builder, |builder, set| builder.register_encoded_file_descriptor_set(set))
        };
        let v1 = builder().build_v1().expect("generated descriptors are well formed");
        let v1alpha = builder().build_v1alpha().expect("generated descriptors are well formed");
        self.grpc(v1).grpc(v1alpha);
    }
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let paths: Vec<_> = self.http.iter().map(|(endpoint, _)| endpoint.path()).collect();
        f.debug_struct("Routes").field("http", &paths).field("grpc", &self.services).finish()
    }
}

#[derive(Clone)]
struct Guard {
    gate: Arc<Gate>,
    access: Access,
    handler: Arc<str>,
    /// Its flag was not given.
    is_off: bool,
}

/// Why nothing but health is served, in the words of `/-/ready`.
pub(crate) fn not_ready(readiness: &Readiness) -> Response {
    let what = readiness.waits_for().unwrap_or_else(|| "it starts".to_owned());
    (StatusCode::SERVICE_UNAVAILABLE, format!("Narthex is not ready: {what}\n")).into_response()
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}

async fn admit_http(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let started = guard.gate.clock.monotonic();
    let (mut head, body) = request.into_parts();
    let headers = head.headers.clone();
    let mut response = if head.method == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        match guard.gate.admit(guard.access, &head).await {
            Ok(()) if guard.is_off => {
                (StatusCode::FORBIDDEN, "Lifecycle API is not enabled.\n").into_response()
            }
            Ok(()) => {
                guard.gate.note_sender(&mut head);
                next.run(Request::from_parts(head, body)).await
            }
            Err(refusal) => refuse_http(&refusal),
        }
    };
    if guard.access == Access::Needs(Role::Read) {
        guard.gate.origins.allow_reading(&headers, response.headers_mut());
    }
    guard.gate.metrics.answered(&Answered {
        handler: &guard.handler,
        code: response.status().as_u16(),
        seconds: guard.gate.clock.monotonic().saturating_sub(started).as_secs_f64(),
        bytes: response.body().size_hint().exact(),
    });
    response
}

fn refuse_http(refusal: &Refusal) -> Response {
    match refusal {
        Refusal::Unauthenticated => {
            let challenge = (header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
            (StatusCode::UNAUTHORIZED, [challenge], "Unauthorized\n").into_response()
        }
        Refusal::Forbidden(why) => (StatusCode::FORBIDDEN, format!("{why}\n")).into_response(),
        Refusal::UnknownTenant(tenant) => {
            (StatusCode::BAD_REQUEST, format!("{}\n", unknown_tenant(tenant))).into_response()
        }
    }
}

fn unknown_tenant(tenant: &str) -> String {
    format!("tenant {tenant:?} of X-Scope-OrgID is unknown: 0 is the only one")
}

async fn admit_grpc(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    let admitted = match grpc_access(head.uri.path()) {
        Some(access) => gate.admit(access, &head).await,
        None => Err(Refusal::Forbidden("no such method".to_owned())),
    };
    match admitted {
        Ok(()) => {
            gate.note_sender(&mut head);
            next.run(Request::from_parts(head, body)).await
        }
        Err(refusal) => refuse_grpc(refusal),
    }
}

fn refuse_grpc(refusal: Refusal) -> Response {
    let status = match refusal {
        Refusal::Unauthenticated => tonic::Status::unauthenticated("missing or wrong credentials"),
        Refusal::Forbidden(why) => tonic::Status::permission_denied(why),
        Refusal::UnknownTenant(tenant) => tonic::Status::invalid_argument(unknown_tenant(&tenant)),
    };
    status.into_http::<Body>()
}
