//! Narthex's gRPC messages and services, and the clients that know which node leads.
//!
//! `v1` is the public API; everything below `internal` is between processes of one cluster.
//! Generated types stop here and at the service files of `node`, `router` and `querier`.

pub mod batch;
pub mod client;
pub mod connect;
pub mod follow;
pub mod service;

/// The public API. Its `.proto` files are its documentation.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("narthex.v1");
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
