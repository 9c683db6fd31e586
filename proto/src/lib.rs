//! Narthex's gRPC messages and services, and the clients that know which node leads.
//!
//! `v1` is the public API; everything below `internal` is between processes of one cluster.
//! Generated types stop here and at the service files of `node`, `router` and `querier`.

pub mod batch;
pub mod client;
pub mod connect;
mod deposed;
pub mod follow;
mod names;
mod otlp_json;
pub mod service;
pub mod snapshot;

/// The public API. Its `.proto` files are its documentation.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("narthex.v1");
}

/// OpenTelemetry's metrics, in protobuf and JSON. Modules are the protocol's packages.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated code")]
pub mod opentelemetry {
    pub mod proto {
        pub mod common {
            pub mod v1 {
                tonic::include_proto!("opentelemetry.proto.common.v1");
            }
        }
        pub mod resource {
            pub mod v1 {
                tonic::include_proto!("opentelemetry.proto.resource.v1");
            }
        }
        pub mod metrics {
            pub mod v1 {
                tonic::include_proto!("opentelemetry.proto.metrics.v1");
            }
        }
        pub mod collector {
            pub mod metrics {
                pub mod v1 {
                    tonic::include_proto!("opentelemetry.proto.collector.metrics.v1");
                }
            }
        }
    }
}

/// Between the processes of one cluster.
pub mod internal {
    /// Version 1.
    #[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated code")]
    pub mod v1 {
        tonic::include_proto!("narthex.internal.v1");
    }
}

/// Descriptors of the public API, for gRPC reflection.
pub const PUBLIC_DESCRIPTORS: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/public_descriptors.bin"));
